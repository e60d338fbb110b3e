//! The index: what is known of the host's entries, so that neither a listing nor
//! the gate has to ask the host for all of them.
//!
//! Filled by a list read off the event loop, kept by change notices and by whatever
//! was read for another reason. It may lag behind the host, never decide alone: a
//! claim reads the entry afresh, the gate asks the host about what is unknown here
//! or was changed since, and a turn the gate let in by the index is looked at once
//! more before it runs. Deliberately absent: the host's stores, time, what a row says.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use crate::host::Entry;
use crate::listing;

/// What is known.
#[derive(Debug, Default)]
pub struct Known {
    entries: HashMap<String, Kept>,
    /// Changed since they were read, or seen for the first time.
    changed: BTreeSet<String>,
    /// Found to be gone while a list was being read.
    gone: HashSet<String>,
    filled: bool,
    /// Counts the fills: what was read after one began is not undone by it.
    round: u64,
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    round: u64,
}

/// What the gate learns of a thread's binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Not known, or changed since: the host must be asked.
    Unknown,
    /// To this Claude session, or to none.
    To(Option<Uuid>),
}

impl Known {
    /// Whether all entries were read once.
    pub fn filled(&self) -> bool {
        self.filled
    }

    /// How many entries are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A list is about to be read; its number is given back to [`Known::fill`].
    pub fn begin(&mut self) -> u64 {
        self.round += 1;
        self.gone.clear();
        self.round
    }

    /// The list that was begun as `round`: what it does not have is gone, unless it was
    /// read by itself since.
    pub fn fill(&mut self, round: u64, list: Vec<Entry>) {
        self.entries.retain(|_, kept| kept.round >= round);
        for entry in list {
            if !self.gone.contains(&entry.key) && !self.entries.contains_key(&entry.key) {
                self.entries.insert(entry.key.clone(), Kept { entry, round });
            }
        }
        self.gone.clear();
        self.filled = true;
    }

    /// One entry as the host has it now; `None` when it has none.
    pub fn put(&mut self, key: &str, entry: Option<Entry>) {
        self.changed.remove(key);
        match entry {
            Some(entry) => {
                self.gone.remove(key);
                self.entries.insert(key.to_owned(), Kept { entry, round: self.round });
            }
            None => {
                self.entries.remove(key);
                self.gone.insert(key.to_owned());
            }
        }
    }

    /// An entry changed, was made or was deleted. Before the first list is begun only what
    /// is known already can be wrong.
    pub fn changed(&mut self, key: &str) {
        if (self.round > 0 || self.entries.contains_key(key)) && !self.changed.contains(key) {
            self.changed.insert(key.to_owned());
        }
    }

    /// Some of what must be read again, at most `limit`.
    pub fn stale(&self, limit: usize) -> Vec<String> {
        self.changed.iter().take(limit).cloned().collect()
    }

    /// How many must be read again.
    pub fn stale_count(&self) -> usize {
        self.changed.len()
    }

    /// The binding of a thread.
    pub fn binding(&self, key: &str) -> Binding {
        match self.entries.get(key) {
            Some(kept) if !self.changed.contains(key) => Binding::To(kept.entry.claude),
            _ => Binding::Unknown,
        }
    }

    /// Threads that are, or were when last read, bound to a Claude session; and those
    /// of which it is not known.
    pub fn bound(&self, claude: Uuid) -> Vec<String> {
        let bound = self.entries.values().filter(|k| k.entry.claude == Some(claude)).map(|k| k.entry.key.clone());
        let keys: HashSet<String> = bound.chain(self.changed.iter().cloned()).collect();
        keys.into_iter().collect()
    }

    /// One entry as it was last read.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).map(|kept| &kept.entry)
    }

    /// The threads, most recent first; equally recent ones by key.
    pub fn threads(&self) -> Vec<&Entry> {
        let mut threads: Vec<&Entry> = self.entries.values().map(|k| &k.entry).filter(|e| listing::listed(e)).collect();
        threads.sort_by(|a, b| b.last_activity.cmp(&a.last_activity).then_with(|| a.key.cmp(&b.key)));
        threads
    }
}
