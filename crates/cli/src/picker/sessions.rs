//! The picker over the Claude sessions of this machine, as a state machine: their files
//! first, the last used ones on top; what stands in them (title, last prompt, folder) is
//! read afterwards, what is in sight before the rest.
//!
//! Invariants: at most one listing and one handful of files are being read at a time; a
//! file is read again only once it changed. One that a Claude Code has open is shown and
//! cannot be chosen: two would write it.

mod draw;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use ride_store::claude::{ClaudeDir, Found, Liveness, Registry, Summary};
use uuid::Uuid;

use super::keys::Key;
use super::search::{Names, Searched, Title};
use super::selection::{Choice, Pressed};

/// How often the files are looked at again: Claude Codes begin and end meanwhile.
pub const LIST_EVERY_MS: u64 = 5_000;
/// Files read at a time: more than a screen has lines would keep a person waiting for it.
pub const READ_AT_ONCE: usize = 64;
/// The title of one whose file was not read yet.
const UNREAD: &str = "…";

/// A Claude session's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Where it is, of which session, when it changed.
    pub found: Found,
    /// The process that has it open.
    pub live: Option<u32>,
}

/// The Claude sessions of this machine, the last used first.
pub fn list(dir: &ClaudeDir) -> Vec<Local> {
    // A registry that cannot be read marks none; the gateway looks again before it adopts.
    let registry = Registry::read(dir).unwrap_or_default();
    let live = |entry: &ride_store::claude::Entry| {
        matches!(entry.liveness, Liveness::Live(_)).then_some((entry.session, entry.pid))
    };
    let live: HashMap<Uuid, u32> = registry.entries.iter().filter_map(live).collect();
    let mut found = dir.transcripts();
    found.sort_by_key(|one| std::cmp::Reverse(one.changed_ms));
    found.into_iter().map(|found| Local { live: live.get(&found.session).copied(), found }).collect()
}

/// What is known of a file.
#[derive(Clone, Debug, Default)]
enum Seen {
    /// Nothing yet.
    #[default]
    Unread,
    /// It could not be read.
    Unreadable,
    /// What stands in it.
    Read(Box<Summary>),
}

/// The list, as it is searched.
#[derive(Debug, Default)]
pub struct Sessions {
    locals: Vec<Local>,
    seen: Vec<Seen>,
    titles: Vec<Title>,
    /// The last prompts of those that have a title beside.
    prompts: Vec<Option<Title>>,
    /// Names of project folders.
    projects: [Names; 1],
    ids: Vec<String>,
    /// The first that may be unread.
    unread: usize,
}

impl Sessions {
    /// Files, with what `before` knows of them; those that changed are to be read again.
    pub fn new(locals: Vec<Local>, before: &Sessions) -> Sessions {
        let known: HashMap<&PathBuf, usize> =
            before.locals.iter().enumerate().map(|(at, local)| (&local.found.path, at)).collect();
        let mut sessions = Sessions {
            seen: vec![Seen::Unread; locals.len()],
            titles: locals.iter().map(|_| Title::of(UNREAD)).collect(),
            prompts: locals.iter().map(|_| None).collect(),
            projects: [Names::of(locals.iter().map(|_| UNREAD))],
            ids: locals.iter().map(|local| local.found.session.to_string()).collect(),
            unread: 0,
            locals,
        };
        for at in 0..sessions.locals.len() {
            let found = &sessions.locals[at].found;
            let Some(then) = known.get(&found.path).copied() else { continue };
            let changed = found.changed_ms != before.locals[then].found.changed_ms;
            sessions.note(at, before.seen[then].clone());
            // What was known is shown until it is read again.
            if changed {
                sessions.seen[at] = Seen::Unread;
            }
        }
        sessions
    }

    fn note(&mut self, at: usize, seen: Seen) {
        let (title, prompt, project) = match &seen {
            Seen::Unread => return,
            Seen::Unreadable => ("its file could not be read", None, "-"),
            Seen::Read(summary) => {
                let prompt = summary.last_prompt.as_deref();
                let title = summary.title.as_deref().or(prompt).unwrap_or("without a prompt");
                let folder =
                    summary.cwd.as_deref().map(|cwd| cwd.trim_end_matches('/').rsplit('/').next().unwrap_or(cwd));
                (title, prompt.filter(|_| summary.title.is_some()), folder.unwrap_or("-"))
            }
        };
        self.titles[at] = Title::of(title);
        self.prompts[at] = prompt.map(Title::of);
        self.projects[0].set(at, &crate::render::clean(project));
        self.seen[at] = seen;
    }

    /// A file and what is known of it.
    pub fn local(&self, at: usize) -> (&Local, Option<&Summary>) {
        let summary = match &self.seen[at] {
            Seen::Read(summary) => Some(summary.as_ref()),
            Seen::Unread | Seen::Unreadable => None,
        };
        (&self.locals[at], summary)
    }

    fn is_unread(&self, at: usize) -> bool {
        matches!(self.seen[at], Seen::Unread)
    }

    /// How many were not read yet.
    pub fn unread(&self) -> usize {
        (self.unread..self.seen.len()).filter(|at| self.is_unread(*at)).count()
    }
}

impl Searched for Sessions {
    fn rows(&self) -> usize {
        self.locals.len()
    }

    fn same(&self, at: usize, before: &Self, at_before: usize) -> bool {
        self.locals[at].found.path == before.locals[at_before].found.path
    }

    fn title(&self, at: usize) -> &Title {
        &self.titles[at]
    }

    fn is_long(&self, at: usize) -> bool {
        self.local(at).1.is_some_and(|summary| summary.title.is_none())
    }

    fn beside(&self, at: usize) -> Option<&Title> {
        self.prompts[at].as_ref()
    }

    fn names(&self) -> &[Names] {
        &self.projects
    }

    fn ids(&self, at: usize) -> [Option<&str>; 2] {
        [Some(&self.ids[at]), self.local(at).1.and_then(|summary| summary.cwd.as_deref())]
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A key, or a paste.
    Key(Key),
    /// Room for so many rows.
    Room {
        /// Lines of the list.
        rows: usize,
    },
    /// The files as they are now.
    Listed(Vec<Local>),
    /// What stands in some of them; `None` where one could not be read.
    Read(Vec<(PathBuf, Option<Summary>)>),
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look for the files.
    List,
    /// Read these.
    Read(Vec<PathBuf>),
    /// Take this Claude session.
    Choose(Uuid),
    /// Stop, until the shell continues us.
    Suspend,
    /// Leave without one.
    Leave,
}

/// The picker.
pub struct SessionPicker {
    choice: Choice<Sessions>,
    /// A list is on its way.
    listing: bool,
    /// There was one at all.
    listed: bool,
    listed_ms: u64,
    /// Files are on their way.
    reading: bool,
    /// Files that are not listed.
    hidden: HashSet<PathBuf>,
}

impl SessionPicker {
    /// A picker that has to look for the files first.
    pub fn new(now_ms: u64) -> SessionPicker {
        SessionPicker {
            choice: Choice::new(Sessions::default(), "", now_ms),
            listing: false,
            listed: false,
            listed_ms: 0,
            reading: false,
            hidden: HashSet::new(),
        }
    }

    /// Takes an event; gives what is to be done, in order.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        self.choice.now_ms = now_ms;
        let mut effects = Vec::new();
        match event {
            Event::Key(key) => match self.choice.key(key) {
                Some(Pressed::Leave) => return vec![Effect::Leave],
                Some(Pressed::Suspend) => effects.push(Effect::Suspend),
                Some(Pressed::Enter) => effects.extend(self.enter()),
                None => {}
            },
            Event::Room { rows } => self.choice.make_room(rows),
            Event::Listed(mut locals) => {
                locals.retain(|local| !self.hidden.contains(&local.found.path));
                let sessions = Sessions::new(locals, self.choice.list());
                self.choice.replace(sessions);
                (self.listing, self.listed, self.listed_ms) = (false, true, now_ms);
            }
            Event::Read(mut read) => {
                self.reading = false;
                self.hide_sides(&mut read);
                self.choice.amend(|sessions| take(sessions, read));
            }
            Event::Tick => {}
        }
        self.choice.scroll();
        if !self.listing && (!self.listed || now_ms >= self.listed_ms + LIST_EVERY_MS) {
            self.listing = true;
            effects.push(Effect::List);
        }
        effects.extend(self.read_wanted());
        effects
    }

    /// Takes subagents' sessions off the list: Claude Code does not resume them.
    fn hide_sides(&mut self, read: &mut Vec<(PathBuf, Option<Summary>)>) {
        let side = |summary: &Option<Summary>| summary.as_ref().is_some_and(|summary| summary.side);
        let found: Vec<PathBuf> = read.extract_if(.., |(_, summary)| side(summary)).map(|(path, _)| path).collect();
        if found.is_empty() {
            return;
        }
        self.hidden.extend(found);
        let left = self
            .choice
            .list()
            .locals
            .iter()
            .filter(|local| !self.hidden.contains(&local.found.path))
            .cloned()
            .collect();
        let sessions = Sessions::new(left, self.choice.list());
        self.choice.replace(sessions);
    }

    fn enter(&mut self) -> Option<Effect> {
        let (local, _) = self.choice.list().local(self.choice.selected()?);
        match local.live {
            None => Some(Effect::Choose(local.found.session)),
            Some(pid) => {
                self.choice.tell(format!("it is open in a Claude Code, process {pid}: leave that with /exit first"));
                None
            }
        }
    }

    /// The next files to read: those in sight, then the others by age.
    fn read_wanted(&mut self) -> Option<Effect> {
        if self.reading {
            return None;
        }
        let sessions = self.choice.list();
        let in_sight = self.choice.in_sight().filter(|at| sessions.is_unread(*at));
        let mut wanted: Vec<usize> = in_sight.take(READ_AT_ONCE).collect();
        if wanted.is_empty() {
            wanted = (sessions.unread..sessions.seen.len())
                .filter(|at| sessions.is_unread(*at))
                .take(READ_AT_ONCE)
                .collect();
        }
        if wanted.is_empty() {
            return None;
        }
        self.reading = true;
        Some(Effect::Read(wanted.into_iter().map(|at| sessions.locals[at].found.path.clone()).collect()))
    }

    /// What is looked at.
    pub fn choice(&self) -> &Choice<Sessions> {
        &self.choice
    }
}

/// Notes what was read; of a file that went or changed meanwhile it is kept all the same
/// where its path is still listed: it is read again once the list tells of the change.
fn take(sessions: &mut Sessions, read: Vec<(PathBuf, Option<Summary>)>) {
    let mut read: HashMap<PathBuf, Option<Summary>> = read.into_iter().collect();
    for at in sessions.unread..sessions.locals.len() {
        if read.is_empty() {
            break;
        }
        if let Some(summary) = read.remove(&sessions.locals[at].found.path) {
            sessions.note(at, summary.map_or(Seen::Unreadable, |summary| Seen::Read(Box::new(summary))));
        }
    }
    while sessions.unread < sessions.seen.len() && !sessions.is_unread(sessions.unread) {
        sessions.unread += 1;
    }
}

#[cfg(test)]
mod tests;
