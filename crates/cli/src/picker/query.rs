//! The line of the search: one line of text with a cursor, edited by graphemes.

use unicode_segmentation::UnicodeSegmentation as _;

use super::search::MAX_QUERY_CHARS;
use crate::render::clean;

/// The text typed, and where the next goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    text: String,
    /// In bytes, on a grapheme's edge.
    cursor: usize,
}

impl Query {
    /// A line with its cursor at the end.
    pub fn of(text: &str) -> Query {
        let mut query = Query::default();
        query.insert(text);
        query
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor.
    pub fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Types or pastes at the cursor; what makes no line, and what is over the limit,
    /// is left out.
    pub fn insert(&mut self, text: &str) {
        let room = MAX_QUERY_CHARS.saturating_sub(self.text.chars().count());
        let text: String = clean(text).chars().take(room).collect();
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    /// Removes what stands before the cursor: a character,
    pub fn backspace(&mut self) {
        self.remove_from(self.left_of());
    }

    /// a word,
    pub fn delete_word(&mut self) {
        let word = self.before().trim_end();
        let from =
            word.rfind(char::is_whitespace).map_or(0, |at| at + word[at..].chars().next().map_or(0, char::len_utf8));
        self.remove_from(from);
    }

    /// or everything.
    pub fn delete_to_start(&mut self) {
        self.remove_from(0);
    }

    /// Removes the character under the cursor.
    pub fn delete(&mut self) {
        let to = self.right_of();
        self.text.replace_range(self.cursor..to, "");
    }

    /// Moves the cursor.
    pub fn left(&mut self) {
        self.cursor = self.left_of();
    }

    /// Moves the cursor.
    pub fn right(&mut self) {
        self.cursor = self.right_of();
    }

    /// Moves the cursor to the beginning,
    pub fn start(&mut self) {
        self.cursor = 0;
    }

    /// or to the end.
    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    fn remove_from(&mut self, from: usize) {
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
    }

    fn left_of(&self) -> usize {
        self.before().grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn right_of(&self) -> usize {
        let next = self.text[self.cursor..].graphemes(true).next().map_or(0, str::len);
        self.cursor + next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_by_what_a_person_sees() {
        let check = |edit: &dyn Fn(&mut Query), expected: (&str, &str)| {
            let mut query = Query::of("größe 日本👩‍👩‍👧 e\u{301}");
            edit(&mut query);
            assert_eq!((query.text(), query.before()), expected);
        };
        check(&|_| {}, ("größe 日本👩‍👩‍👧 e\u{301}", "größe 日本👩‍👩‍👧 e\u{301}"));
        check(&|q| q.backspace(), ("größe 日本👩‍👩‍👧 ", "größe 日本👩‍👩‍👧 "));
        check(
            &|q| {
                q.left();
                q.left();
                q.backspace()
            },
            ("größe 日本 e\u{301}", "größe 日本"),
        );
        check(
            &|q| {
                q.left();
                q.left();
                q.left();
                q.delete()
            },
            ("größe 日本 e\u{301}", "größe 日本"),
        );
        check(&|q| q.delete_word(), ("größe 日本👩‍👩‍👧 ", "größe 日本👩‍👩‍👧 "));
        check(
            &|q| {
                q.delete_word();
                q.delete_word()
            },
            ("größe ", "größe "),
        );
        check(&|q| q.delete_to_start(), ("", ""));
        check(
            &|q| {
                q.left();
                q.insert("x\ny")
            },
            ("größe 日本👩‍👩‍👧 x ye\u{301}", "größe 日本👩‍👩‍👧 x y"),
        );
        check(
            &|q| q.insert(&"x".repeat(500)),
            (
                &format!("größe 日本👩‍👩‍👧 e\u{301}{}", "x".repeat(MAX_QUERY_CHARS - 16)),
                &format!("größe 日本👩‍👩‍👧 e\u{301}{}", "x".repeat(MAX_QUERY_CHARS - 16)),
            ),
        );
        check(
            &|q| {
                q.right();
                q.delete()
            },
            ("größe 日本👩‍👩‍👧 e\u{301}", "größe 日本👩‍👩‍👧 e\u{301}"),
        );
    }
}
