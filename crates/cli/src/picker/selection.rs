//! One row chosen from a list: the line of the search, the selection, what is in sight.
//! What all pickers have in common; what a row is, and what else goes on, is theirs.
//!
//! Invariant: the selection stays on its row while the list changes under it.

use super::keys::Key;
use super::query::Query;
use super::search::{Found, Search, Searched};

/// A key that is not this part's to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// The selected row is wanted.
    Enter,
    /// The person leaves.
    Leave,
    /// Ctrl-Z.
    Suspend,
}

/// A list, and what of it is looked at.
pub struct Choice<L> {
    list: L,
    search: Search,
    query: Query,
    /// What fits, best first: positions in the list.
    fitting: Vec<u32>,
    /// In `fitting`; meaningless while that is empty.
    selected: usize,
    /// The first of `fitting` that is shown.
    top: usize,
    room: usize,
    note: Option<String>,
    help: bool,
    /// Wall clock of the last event.
    pub now_ms: u64,
}

impl<L: Searched> Choice<L> {
    /// A choice from this list, searching for `words` already.
    pub fn new(list: L, words: &str, now_ms: u64) -> Choice<L> {
        let (query, search) = (Query::of(words), Search::default());
        let mut choice = Choice {
            list,
            search,
            query,
            fitting: Vec::new(),
            selected: 0,
            top: 0,
            room: 0,
            note: None,
            help: false,
            now_ms,
        };
        choice.find();
        choice
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Option<Pressed> {
        self.note = None;
        let before = self.query.text().to_owned();
        let last = self.fitting.len().saturating_sub(1);
        match key {
            Key::Escape | Key::Ctrl('c') => return Some(Pressed::Leave),
            Key::Ctrl('z') => return Some(Pressed::Suspend),
            Key::Enter => return Some(Pressed::Enter),
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
            self.fitting = self.search.find(&self.list, self.query.text(), Some(&self.fitting));
            (self.selected, self.top) = (0, 0);
        }
        None
    }

    /// Takes a new list; the selection stays on its row, or else where it was.
    pub fn replace(&mut self, list: L) {
        let selected = self.selected();
        let before = std::mem::replace(&mut self.list, list);
        self.find();
        let again =
            selected.and_then(|at| self.fitting.iter().position(|now| self.list.same(*now as usize, &before, at)));
        self.selected = again.unwrap_or(self.selected).min(self.fitting.len().saturating_sub(1));
    }

    /// Changes what is known of rows, none of which comes, goes or moves.
    pub fn amend(&mut self, change: impl FnOnce(&mut L)) {
        let selected = self.selected();
        change(&mut self.list);
        if self.query.text().trim().is_empty() {
            return;
        }
        self.find();
        let again = selected.and_then(|at| self.fitting.iter().position(|now| *now as usize == at));
        self.selected = again.unwrap_or(self.selected).min(self.fitting.len().saturating_sub(1));
    }

    fn find(&mut self) {
        self.fitting = self.search.find(&self.list, self.query.text(), None);
    }

    /// Says how many rows there is room for.
    pub fn make_room(&mut self, rows: usize) {
        self.room = rows;
    }

    /// Brings the selection into sight.
    pub fn scroll(&mut self) {
        let room = self.room.max(1);
        self.top = self.top.min(self.selected).max((self.selected + 1).saturating_sub(room));
        // No empty lines below while there is something above.
        self.top = self.top.min(self.fitting.len().saturating_sub(room));
    }

    /// The row the selection is on: its position in [`Choice::list`].
    pub fn selected(&self) -> Option<usize> {
        self.fitting.get(self.selected).map(|at| *at as usize)
    }

    /// The rows in sight, by position in [`Choice::list`].
    pub fn in_sight(&self) -> impl Iterator<Item = usize> {
        let end = (self.top + self.room).min(self.fitting.len());
        self.fitting[self.top.min(end)..end].iter().map(|at| *at as usize)
    }

    /// The same, with whether one is the selected, and where the letters searched for stand.
    pub fn shown(&mut self) -> Vec<(usize, bool, Found)> {
        let (rows, selected): (Vec<usize>, _) = (self.in_sight().collect(), self.selected());
        let (search, list) = (&mut self.search, &self.list);
        rows.into_iter().map(|at| (at, selected == Some(at), search.found(list, at))).collect()
    }

    /// All rows.
    pub fn list(&self) -> &L {
        &self.list
    }

    /// How many fit the search.
    pub fn fitting(&self) -> usize {
        self.fitting.len()
    }

    /// The search.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Tells the person something, until the next key.
    pub fn tell(&mut self, note: String) {
        self.note = Some(note);
    }

    /// What the person has to be told, besides the list.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether all keys are explained.
    pub fn help(&self) -> bool {
        self.help
    }
}
