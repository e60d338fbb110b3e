//! The search: words to the rows of a list that they fit, best first. And threads, made
//! ready to be searched.
//!
//! Every word must fit one field of the row. Titles, channels and agents fit
//! fuzzily. The ids do too where the word has a digit in it (`topic42`), else only as a
//! piece: the letters of nearly any word stand in order in some session key. Among
//! equals the more recent row comes first. No threads, no clock.

use std::collections::HashMap;

use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use ride_core::wire::{Rideable, Row};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::render::clean;

/// What a fitting title is worth beyond the score: that of a whole word's beginning.
const TITLE_BONUS: u32 = 24;
/// A longer search tells nothing more; the matcher's cost grows with it.
pub const MAX_QUERY_CHARS: usize = 200;

/// A list as the search sees it.
pub trait Searched {
    /// How many rows there are.
    fn rows(&self) -> usize;
    /// Whether one row and one of an earlier list are of the same thing.
    fn same(&self, at: usize, before: &Self, at_before: usize) -> bool;
    /// What a row is called: searched first, letters in order.
    fn title(&self, at: usize) -> &Title;
    /// Whether that is a text of any length: then it is searched by pieces, since the letters
    /// of nearly any word stand in order in a long one.
    fn is_long(&self, _at: usize) -> bool {
        false
    }
    /// Another text of any length.
    fn beside(&self, _at: usize) -> Option<&Title> {
        None
    }
    /// Fields with few values: letters in order. Those found in the first are shown.
    fn names(&self) -> &[Names];
    /// Searched by pieces.
    fn ids(&self, at: usize) -> [Option<&str>; 2];
}

/// The threads of one answer, most recent first.
#[derive(Debug, Default)]
pub struct Threads {
    rows: Vec<Row>,
    titles: Vec<Title>,
    /// Channels and agents.
    names: [Names; 2],
}

/// A field that has few values over many rows: each is looked at once per search.
#[derive(Debug, Default)]
pub struct Names {
    all: Vec<String>,
    known: HashMap<String, u32>,
    /// By row, which of them.
    of: Vec<u32>,
}

impl Names {
    /// The values of all rows.
    pub fn of<'r>(values: impl Iterator<Item = &'r str>) -> Names {
        let mut names = Names::default();
        for value in values {
            let at = names.at(value);
            names.of.push(at);
        }
        names
    }

    /// Gives a row another value.
    pub fn set(&mut self, row: usize, value: &str) {
        self.of[row] = self.at(value);
    }

    /// The value of a row.
    pub fn get(&self, row: usize) -> &str {
        &self.all[self.of[row] as usize]
    }

    fn at(&mut self, value: &str) -> u32 {
        if let Some(at) = self.known.get(value) {
            return *at;
        }
        let at = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(value.to_owned());
        self.known.insert(value.to_owned(), at);
        at
    }

    fn scores(&self, atom: &Atom, matcher: &mut Matcher, buffer: &mut Vec<char>) -> Vec<Option<u16>> {
        self.all.iter().map(|name| atom.score(haystack(name, buffer), matcher)).collect()
    }
}

/// A text as it is shown and searched.
#[derive(Debug)]
pub struct Title {
    text: String,
    /// The first character of each grapheme; absent where bytes are the same.
    graphemes: Option<Vec<char>>,
}

impl Title {
    /// A text without what a terminal must not get.
    pub fn of(text: &str) -> Title {
        let text = clean(text);
        let graphemes = (!text.is_ascii()).then(|| text.graphemes(true).filter_map(|g| g.chars().next()).collect());
        Title { text, graphemes }
    }

    /// As it is shown.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn haystack(&self) -> Utf32Str<'_> {
        match &self.graphemes {
            Some(chars) => Utf32Str::Unicode(chars),
            None => Utf32Str::Ascii(self.text.as_bytes()),
        }
    }
}

impl Threads {
    /// Reads the answer of `sessions_rideable`.
    pub fn read(answer: &str) -> Result<Threads, serde_json::Error> {
        serde_json::from_str::<Rideable>(answer).map(|answer| Threads::new(answer.rows))
    }

    /// Prepares rows; of 10,000 this is the work of a millisecond or two.
    pub fn new(rows: Vec<Row>) -> Threads {
        let titles = rows.iter().map(|row| Title::of(row.title.raw())).collect();
        let channels = Names::of(rows.iter().map(|row| row.channel.as_ref().map_or("", |channel| channel.raw())));
        let agents = Names::of(rows.iter().map(|row| row.agent_id.as_str()));
        Threads { rows, titles, names: [channels, agents] }
    }

    /// The rows, in the gateway's order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether agents have to be told apart.
    pub fn several_agents(&self) -> bool {
        self.names[1].all.len() > 1
    }
}

impl Searched for Threads {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn same(&self, at: usize, before: &Self, at_before: usize) -> bool {
        self.rows[at].key == before.rows[at_before].key
    }

    fn title(&self, at: usize) -> &Title {
        &self.titles[at]
    }

    fn names(&self) -> &[Names] {
        &self.names
    }

    fn ids(&self, at: usize) -> [Option<&str>; 2] {
        let row = &self.rows[at];
        [Some(&row.key), row.conversation_id.as_deref()]
    }
}

/// The words looked for, and the memory the matcher works in.
pub struct Search {
    matcher: Matcher,
    words: Vec<Word>,
    text: String,
    buffer: Vec<char>,
}

struct Word {
    fuzzy: Atom,
    /// How it is looked for in ids.
    id: Atom,
    /// How it is looked for in long texts.
    piece: Atom,
    /// What it scores in each value of each of the names.
    names: Vec<Vec<Option<u16>>>,
}

/// Where letters of a row were found, in graphemes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the title.
    pub title: Vec<u32>,
    /// In the first of the names: a thread's channel.
    pub name: Vec<u32>,
}

impl Default for Search {
    fn default() -> Search {
        Search { matcher: Matcher::new(Config::DEFAULT), words: Vec::new(), text: String::new(), buffer: Vec::new() }
    }
}

impl Search {
    /// The rows that fit `text`, best first, as positions in the list.
    /// `within` is what it found last: used where the text only grew, since a longer
    /// word fits nothing that its beginning does not.
    pub fn find<L: Searched>(&mut self, list: &L, text: &str, within: Option<&[u32]>) -> Vec<u32> {
        // A new digit changes how ids are looked at, so that more may fit.
        let grew =
            text.strip_prefix(self.text.as_str()).is_some_and(|more| !more.contains(|c: char| c.is_ascii_digit()));
        let narrows = grew && !self.words.is_empty();
        self.words =
            text.split_whitespace().map(|word| Word::of(word, list, &mut self.matcher, &mut self.buffer)).collect();
        text.clone_into(&mut self.text);
        let all = 0..u32::try_from(list.rows()).unwrap_or(u32::MAX);
        if self.words.is_empty() {
            return all.collect();
        }
        let mut scored: Vec<(u32, u32)> = match within {
            Some(within) if narrows => within.iter().filter_map(|at| self.scored(list, *at)).collect(),
            _ => all.filter_map(|at| self.scored(list, at)).collect(),
        };
        scored.sort_unstable_by_key(|(score, at)| (std::cmp::Reverse(*score), *at));
        scored.into_iter().map(|(_, at)| at).collect()
    }

    fn scored<L: Searched>(&mut self, list: &L, at: u32) -> Option<(u32, u32)> {
        let mut sum = 0;
        for word in &self.words {
            sum += word.score(list, at as usize, &mut self.matcher, &mut self.buffer)?;
        }
        Some((sum, at))
    }

    /// Where the words stand in one row.
    pub fn found<L: Searched>(&mut self, list: &L, at: usize) -> Found {
        let mut found = Found::default();
        for word in &self.words {
            let title = list.title(at).haystack();
            let atom = word.for_title(list, at);
            if atom.indices(title, &mut self.matcher, &mut found.title).is_none()
                && let Some(names) = list.names().first()
            {
                let name = haystack(names.get(at), &mut self.buffer);
                word.fuzzy.indices(name, &mut self.matcher, &mut found.name);
            }
        }
        found.title.sort_unstable();
        found.name.sort_unstable();
        found
    }
}

impl Word {
    fn of<L: Searched>(text: &str, list: &L, matcher: &mut Matcher, buffer: &mut Vec<char>) -> Word {
        let atom = |kind| Atom::new(text, CaseMatching::Ignore, Normalization::Smart, kind, false);
        let id = if text.chars().any(|c| c.is_ascii_digit()) { AtomKind::Fuzzy } else { AtomKind::Substring };
        let fuzzy = atom(AtomKind::Fuzzy);
        let names = list.names().iter().map(|names| names.scores(&fuzzy, matcher, buffer)).collect();
        Word { fuzzy, id: atom(id), piece: atom(AtomKind::Substring), names }
    }

    fn for_title<L: Searched>(&self, list: &L, at: usize) -> &Atom {
        if list.is_long(at) { &self.piece } else { &self.fuzzy }
    }

    /// What it scores in the first field that it fits: title, text beside it, a name, an id.
    fn score<L: Searched>(&self, list: &L, at: usize, matcher: &mut Matcher, buffer: &mut Vec<char>) -> Option<u32> {
        if let Some(score) = self.for_title(list, at).score(list.title(at).haystack(), matcher) {
            return Some(u32::from(score) + TITLE_BONUS);
        }
        if let Some(score) = list.beside(at).and_then(|text| self.piece.score(text.haystack(), matcher)) {
            return Some(u32::from(score));
        }
        let names = self.names.iter().zip(list.names()).filter_map(|(scores, names)| scores[names.of[at] as usize]);
        if let Some(score) = names.max() {
            return Some(u32::from(score));
        }
        let mut id = |text: &str| self.id.score(haystack(text, buffer), matcher);
        list.ids(at).into_iter().flatten().find_map(&mut id).map(u32::from)
    }
}

/// Text as the matcher takes it; not by its own constructor, which takes some texts
/// with combining characters for ASCII and then counts bytes.
fn haystack<'a>(text: &'a str, buffer: &'a mut Vec<char>) -> Utf32Str<'a> {
    if text.is_ascii() {
        return Utf32Str::Ascii(text.as_bytes());
    }
    buffer.clear();
    buffer.extend(text.graphemes(true).filter_map(|grapheme| grapheme.chars().next()));
    Utf32Str::Unicode(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn threads() -> Threads {
        let row = |title: &str, channel: &str, agent: &str, conversation: &str| {
            json!({
                "channel": channel, "displayName": null, "title": title, "conversationId": conversation,
                "cliSessionId": null, "echoTarget": null, "relayReady": true, "lastActivity": null, "agentId": agent,
                "key": format!("agent:{agent}:{channel}:group:{conversation}"), "rideable": true,
            })
        };
        let rows = json!([
            row("Forum / Plans", "telegram", "main", "-1001:topic:42"),
            row("Holiday plans 2027", "telegram", "main", "-1001:topic:7"),
            row("日本の話 👩‍👩‍👧 home", "discord", "main", "555"),
            row("Größe und Gewicht", "telegram", "shop", "-1002"),
            row("e\u{301}cole", "slack", "main", "C0042"),
            row("Crêpes à Croîx", "slack", "main", "C0043"),
        ]);
        Threads::new(serde_json::from_value(rows).unwrap())
    }

    #[test]
    fn words_to_threads_best_first() {
        let threads = threads();
        let check = |text: &str, expected: &[u32]| {
            assert_eq!(Search::default().find(&threads, text, None), expected, "{text:?}");
            // Typed letter by letter, within what was found before.
            let (mut search, mut found) = (Search::default(), None);
            for end in text.char_indices().map(|(at, c)| at + c.len_utf8()) {
                found = Some(search.find(&threads, &text[..end], found.as_deref()));
            }
            assert_eq!(found.as_deref(), Some(expected).filter(|_| !text.is_empty()), "{text:?} typed");
        };
        check("", &[0, 1, 2, 3, 4, 5]);
        check("plans", &[0, 1]);
        check("PLANS 2027", &[1]);
        check("fpl", &[0]);
        check("topic:42", &[0]);
        check("topic42", &[0]);
        check("groesse", &[]);
        check("größe", &[3]);
        check("gewicht UND", &[3]);
        // Without its marks a letter fits too.
        check("croi", &[5]);
        check("shop", &[3]);
        check("disc", &[2]);
        check("本話", &[2]);
        check("ecole", &[4]);
        // Its letters stand in order in every telegram key, and in no title.
        check("lamp", &[]);
        check("telegram main", &[0, 1]);
    }

    #[test]
    fn letters_are_found_by_grapheme() {
        let threads = threads();
        let check = |text: &str, at: usize, title: &[u32], channel: &[u32]| {
            let mut search = Search::default();
            search.find(&threads, text, None);
            assert_eq!(search.found(&threads, at), Found { title: title.to_vec(), name: channel.to_vec() }, "{text:?}");
        };
        check("plans", 0, &[8, 9, 10, 11, 12], &[]);
        check("話 home", 2, &[3, 7, 8, 9, 10], &[]);
        check("cole", 4, &[1, 2, 3, 4], &[]);
        check("tele for", 0, &[0, 1, 2], &[0, 1, 2, 3]);
        check("topic:42", 0, &[], &[]);
    }
}
