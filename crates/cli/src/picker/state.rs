//! The picker as a state machine: what happened goes in, what is to be done comes out.
//!
//! Invariants: the selection stays on its thread while the list changes under it; at
//! most one listing and one preview are on their way, and what comes back for a thread
//! that changed meanwhile is not kept. Whether a thread may be ridden is not decided
//! here: Enter asks, and a no is shown. Drawing is in `view`, waiting in `picker`.

use std::collections::{HashMap, VecDeque};

use ride_core::wire::Row;

use super::keys::Key;
use super::preview::Preview;
use super::query::Query;
use super::search::{Found, Search, Threads};

/// How often the list is asked for by itself: hosts before 2026.8 tell of no change,
/// and none tells of a new title.
pub const LIST_EVERY_MS: u64 = 10_000;
/// How soon after a list the next is asked for, however much changes meanwhile.
const LIST_AGAIN_MS: u64 = 500;
/// Previews kept. Some 20 KiB each at their limit.
const MAX_PREVIEWS: usize = 64;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A key, or a paste.
    Key(Key),
    /// Room for so many threads, and whether a preview is shown at all.
    Room {
        /// Lines of the list.
        threads: usize,
        /// Where there is none, none is asked for.
        preview: bool,
    },
    /// The threads as they are now.
    Listed(Result<Threads, String>),
    /// The last turns of a thread.
    Previewed(String, Result<Preview, String>),
    /// The gateway says that a thread changed, or that one of them did.
    Changed(Option<String>),
    /// The connection is there again.
    Up,
    /// It is gone; why.
    Down(String),
    /// The thread that Enter was pressed on cannot be ridden; why.
    Refused(String),
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask for the threads.
    List,
    /// Ask for the last turns of a thread.
    Preview(String),
    /// Ride the thread with this key, if it can be ridden.
    Ride(String),
    /// Stop, until the shell continues us.
    Suspend,
    /// Leave without a thread.
    Leave,
}

/// What is known of a preview.
#[derive(Clone, Debug)]
pub struct Known {
    /// The turns, or why they could not be had.
    pub preview: Result<Preview, String>,
    /// The thread's last activity when it was asked for.
    activity: Option<u64>,
    outdated: bool,
}

/// A preview on its way.
struct Asked {
    key: String,
    activity: Option<u64>,
    /// The thread changed since.
    outdated: bool,
}

/// The picker.
pub struct Picker {
    threads: Threads,
    search: Search,
    query: Query,
    /// What fits, best first: positions in the threads.
    fitting: Vec<u32>,
    /// In `fitting`; meaningless while that is empty.
    selected: usize,
    /// The first of `fitting` that is shown.
    top: usize,
    room: usize,
    with_preview: bool,
    previews: HashMap<String, Known>,
    /// Keys of `previews`, oldest first.
    previewed: VecDeque<String>,
    asked: Option<Asked>,
    /// A list is on its way.
    listing: bool,
    /// Something changed since it was asked for.
    list_outdated: bool,
    listed_ms: u64,
    down: Option<String>,
    note: Option<String>,
    help: bool,
    now_ms: u64,
}

impl Picker {
    /// A picker of these threads, searching for `words` already.
    pub fn new(threads: Threads, words: &str, now_ms: u64) -> Picker {
        let mut picker = Picker {
            threads,
            search: Search::default(),
            query: Query::of(words),
            fitting: Vec::new(),
            selected: 0,
            top: 0,
            room: 0,
            with_preview: false,
            previews: HashMap::new(),
            previewed: VecDeque::new(),
            asked: None,
            listing: false,
            list_outdated: false,
            listed_ms: now_ms,
            down: None,
            note: None,
            help: false,
            now_ms,
        };
        picker.fitting = picker.search.find(&picker.threads, picker.query.text(), None);
        picker
    }

    /// Takes an event; gives what is to be done, in order.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        self.now_ms = now_ms;
        let mut effects = Vec::new();
        match event {
            Event::Key(key) => effects.extend(self.key(key)),
            Event::Room { threads, preview } => (self.room, self.with_preview) = (threads, preview),
            Event::Listed(Ok(threads)) => self.list(threads),
            Event::Listed(Err(why)) => {
                (self.listing, self.listed_ms) = (false, now_ms);
                self.note = Some(format!("the list could not be read again: {why}"));
            }
            Event::Previewed(key, preview) => self.previewed(key, preview),
            Event::Changed(key) => self.changed(key.as_deref()),
            Event::Up => (self.down, self.list_outdated) = (None, true),
            Event::Down(why) => {
                self.down = Some(why);
                // Nobody answers these any more.
                (self.listing, self.asked) = (false, None);
            }
            Event::Refused(why) => self.note = Some(why),
            Event::Tick => {}
        }
        self.scroll();
        if self.down.is_none() {
            effects.extend(self.list_wanted());
            effects.extend(self.preview_wanted());
        }
        effects
    }

    fn key(&mut self, key: Key) -> Option<Effect> {
        self.note = None;
        let before = self.query.text().to_owned();
        let last = self.fitting.len().saturating_sub(1);
        match key {
            Key::Escape | Key::Ctrl('c') => return Some(Effect::Leave),
            Key::Ctrl('z') => return Some(Effect::Suspend),
            Key::Enter => return self.enter(),
            Key::Up | Key::Ctrl('p') => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Ctrl('n') => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(self.room.max(1)),
            Key::PageDown => self.selected = (self.selected + self.room.max(1)).min(last),
            Key::Home => self.selected = 0,
            Key::End => self.selected = last,
            Key::Help => self.help = !self.help,
            Key::Char('?') if self.query.text().is_empty() => self.help = !self.help,
            Key::Char(c) => self.query.insert(c.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.query.insert(&text),
            Key::Backspace => self.query.backspace(),
            Key::Delete | Key::Ctrl('d') => self.query.delete(),
            Key::Ctrl('w') => self.query.delete_word(),
            Key::Ctrl('u') => self.query.delete_to_start(),
            Key::Left | Key::Ctrl('b') => self.query.left(),
            Key::Right | Key::Ctrl('f') => self.query.right(),
            Key::Ctrl('a') => self.query.start(),
            Key::Ctrl('e') => self.query.end(),
            Key::Ctrl(_) => {}
        }
        if self.query.text() != before {
            self.fitting = self.search.find(&self.threads, self.query.text(), Some(&self.fitting));
            (self.selected, self.top) = (0, 0);
        }
        None
    }

    fn enter(&mut self) -> Option<Effect> {
        let key = self.selected_row()?.key.clone();
        if let Some(why) = &self.down {
            self.note = Some(format!("not connected to the gateway: {why}"));
            return None;
        }
        Some(Effect::Ride(key))
    }

    /// Takes a new list; the selection stays on its thread, or else where it was.
    fn list(&mut self, threads: Threads) {
        let selected = self.selected_row().map(|row| row.key.clone());
        self.threads = threads;
        self.fitting = self.search.find(&self.threads, self.query.text(), None);
        let rows = self.threads.rows();
        let again = selected.and_then(|key| self.fitting.iter().position(|at| rows[*at as usize].key == key));
        self.selected = again.unwrap_or(self.selected).min(self.fitting.len().saturating_sub(1));
        (self.listing, self.listed_ms) = (false, self.now_ms);
    }

    fn changed(&mut self, key: Option<&str>) {
        self.list_outdated = true;
        for (known, preview) in &mut self.previews {
            preview.outdated |= key.is_none_or(|key| key == known);
        }
        if let Some(asked) = &mut self.asked {
            asked.outdated |= key.is_none_or(|key| key == asked.key);
        }
    }

    fn list_wanted(&mut self) -> Option<Effect> {
        if self.listing || self.now_ms < self.wake_ms() {
            return None;
        }
        (self.listing, self.list_outdated) = (true, false);
        Some(Effect::List)
    }

    /// When the next `Tick` is due, wall clock.
    pub fn wake_ms(&self) -> u64 {
        self.listed_ms + if self.list_outdated { LIST_AGAIN_MS } else { LIST_EVERY_MS }
    }

    fn previewed(&mut self, key: String, preview: Result<Preview, String>) {
        // One from before a reconnection is nobody's.
        let Some(Asked { activity, outdated, .. }) = self.asked.take_if(|asked| asked.key == key) else { return };
        if outdated && self.previews.contains_key(&key) {
            return;
        }
        if self.previews.insert(key.clone(), Known { preview, activity, outdated }).is_none() {
            self.previewed.push_back(key);
        }
        if self.previewed.len() > MAX_PREVIEWS
            && let Some(oldest) = self.previewed.pop_front()
        {
            self.previews.remove(&oldest);
        }
    }

    fn preview_wanted(&mut self) -> Option<Effect> {
        if !self.with_preview || self.asked.is_some() {
            return None;
        }
        let row = self.selected_row()?;
        let fresh = |known: &Known| !known.outdated && known.activity == row.last_activity;
        if self.previews.get(&row.key).is_some_and(fresh) {
            return None;
        }
        let (key, activity) = (row.key.clone(), row.last_activity);
        self.asked = Some(Asked { key: key.clone(), activity, outdated: false });
        Some(Effect::Preview(key))
    }

    fn scroll(&mut self) {
        let room = self.room.max(1);
        self.top = self.top.min(self.selected).max((self.selected + 1).saturating_sub(room));
        // No empty lines below while there is something above.
        self.top = self.top.min(self.fitting.len().saturating_sub(room));
    }

    /// The thread the selection is on.
    pub fn selected_row(&self) -> Option<&Row> {
        self.fitting.get(self.selected).map(|at| &self.threads.rows()[*at as usize])
    }

    /// The threads in the list's room: position in [`Picker::threads`], whether it is
    /// the selected one, and where the letters searched for stand.
    pub fn shown(&mut self) -> Vec<(usize, bool, Found)> {
        let end = (self.top + self.room).min(self.fitting.len());
        let (search, threads) = (&mut self.search, &self.threads);
        (self.top..end)
            .map(|i| {
                let at = self.fitting[i] as usize;
                (at, i == self.selected, search.found(threads, at))
            })
            .collect()
    }

    /// All threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// How many fit the search.
    pub fn fitting(&self) -> usize {
        self.fitting.len()
    }

    /// The search.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// What is known of the selected thread's last turns.
    pub fn preview(&self) -> Option<&Known> {
        self.previews.get(&self.selected_row()?.key)
    }

    /// What the person has to be told, besides the list.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Why there is no connection.
    pub fn down(&self) -> Option<&str> {
        self.down.as_deref()
    }

    /// Whether all keys are explained.
    pub fn help(&self) -> bool {
        self.help
    }

    /// Wall clock of the last event.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

#[cfg(test)]
mod tests;
