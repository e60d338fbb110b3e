//! The picker as a state machine: what happened goes in, what is to be done comes out.
//!
//! Invariants: at most one listing and one preview are on their way, and what comes back
//! for a thread that changed meanwhile is not kept. Whether a thread may be ridden is not
//! decided here: Enter asks, and a no is shown. The selection is in `selection`, drawing in
//! `view`, waiting in `picker`.

use std::collections::{HashMap, VecDeque};

use ride_core::wire::Row;

use super::keys::Key;
use super::preview::Preview;
use super::search::Threads;
use super::selection::{Choice, Pressed};

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
    /// The thread that Enter was pressed on cannot be had; why.
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
    /// Take the thread with this key, if it can be had.
    Take(String),
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
    choice: Choice<Threads>,
    /// What Enter does with a thread, in a word.
    verb: &'static str,
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
}

impl Picker {
    /// A picker of these threads, searching for `words` already. Enter does `verb`.
    pub fn new(threads: Threads, words: &str, verb: &'static str, now_ms: u64) -> Picker {
        Picker {
            choice: Choice::new(threads, words, now_ms),
            verb,
            with_preview: false,
            previews: HashMap::new(),
            previewed: VecDeque::new(),
            asked: None,
            listing: false,
            list_outdated: false,
            listed_ms: now_ms,
            down: None,
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
            Event::Room { threads, preview } => {
                self.choice.make_room(threads);
                self.with_preview = preview;
            }
            Event::Listed(Ok(threads)) => {
                self.choice.replace(threads);
                (self.listing, self.listed_ms) = (false, now_ms);
            }
            Event::Listed(Err(why)) => {
                (self.listing, self.listed_ms) = (false, now_ms);
                self.choice.tell(format!("the list could not be read again: {why}"));
            }
            Event::Previewed(key, preview) => self.previewed(key, preview),
            Event::Changed(key) => self.changed(key.as_deref()),
            Event::Up => (self.down, self.list_outdated) = (None, true),
            Event::Down(why) => {
                self.down = Some(why);
                // Nobody answers these any more.
                (self.listing, self.asked) = (false, None);
            }
            Event::Refused(why) => self.choice.tell(why),
            Event::Tick => {}
        }
        self.choice.scroll();
        if self.down.is_none() {
            effects.extend(self.list_wanted());
            effects.extend(self.preview_wanted());
        }
        effects
    }

    fn enter(&mut self) -> Option<Effect> {
        let key = self.selected_row()?.key.clone();
        if let Some(why) = &self.down {
            self.choice.tell(format!("not connected to the gateway: {why}"));
            return None;
        }
        Some(Effect::Take(key))
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
        if self.listing || self.choice.now_ms < self.wake_ms() {
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

    /// The thread the selection is on.
    pub fn selected_row(&self) -> Option<&Row> {
        self.choice.selected().map(|at| &self.threads().rows()[at])
    }

    /// All threads.
    pub fn threads(&self) -> &Threads {
        self.choice.list()
    }

    /// What is looked at.
    pub fn choice(&self) -> &Choice<Threads> {
        &self.choice
    }

    /// The same, to find what is shown.
    pub fn choice_mut(&mut self) -> &mut Choice<Threads> {
        &mut self.choice
    }

    /// What Enter does with a thread.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// What is known of the selected thread's last turns.
    pub fn preview(&self) -> Option<&Known> {
        self.previews.get(&self.selected_row()?.key)
    }

    /// Why there is no connection.
    pub fn down(&self) -> Option<&str> {
        self.down.as_deref()
    }
}

#[cfg(test)]
mod tests;
