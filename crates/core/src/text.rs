//! Text that somebody else wrote: what a chat, a host, a gateway or a transcript holds.
//!
//! It decides what of such a text may be shown to a person or given to a model. Both see
//! the same: what has no glyph of its own is not there. [`Foreign`] is the one type for it;
//! it cannot be printed in another way than cleaned.
//!
//! What is taken out (Unicode 16, by property and not by list):
//!
//! | what | then |
//! | --- | --- |
//! | line ends, tabs, every other space | a space |
//! | `Default_Ignorable_Code_Point` (variation selectors, tags, fillers, joiners) and the categories `Cc` and `Cf` (controls, bidirectional marks, soft hyphens) | removed |
//! | unassigned and private use (`Cn`, `Co`) | `U+FFFD`, so that it is seen that something is missing |
//! | more than [`MARKS`] marks on one character | the rest is removed |
//!
//! What emoji and scripts need stays, only where it has an effect that can be seen: the
//! joiner between two emoji, a presentation selector directly after an emoji or in a
//! keycap, and the joiners of UAX #31 (after a virama; the non-joiner between two letters
//! that would join). Flags of regions are written with tags, and become the plain flag.

use std::fmt;

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, EmojiModifier, ExtendedPictographic, GeneralCategory,
    JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use serde::{Deserialize, Serialize};

/// Marks on one character. Pointed and cantillated Hebrew has up to five; more only draw
/// over the lines around.
pub const MARKS: usize = 8;

/// Text from outside. Printed, it is one line, without anything that cannot be seen.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Foreign(String);

impl Foreign {
    /// As it was written: to compare, search and store it, never to print it.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// The same, with its memory.
    pub fn into_raw(self) -> String {
        self.0
    }

    /// Whether nothing at all was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&plain(&self.0))
    }
}

/// As Rust writes a string: everything that cannot be seen is escaped.
impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<String> for Foreign {
    fn from(text: String) -> Foreign {
        Foreign(text)
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Foreign {
        Foreign(text.to_owned())
    }
}

impl PartialEq<str> for Foreign {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Foreign {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// What [`plain`] can be made of.
pub trait Written {
    /// The text as it was written.
    fn written(&self) -> &str;
}

impl Written for Foreign {
    fn written(&self) -> &str {
        &self.0
    }
}

impl Written for str {
    fn written(&self) -> &str {
        self
    }
}

impl Written for String {
    fn written(&self) -> &str {
        self
    }
}

impl Written for std::borrow::Cow<'_, str> {
    fn written(&self) -> &str {
        self
    }
}

impl<T: Written + ?Sized> Written for &T {
    fn written(&self) -> &str {
        (**self).written()
    }
}

/// The text on one line, without anything that cannot be seen.
pub fn plain(text: &(impl Written + ?Sized)) -> String {
    let text = text.written();
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let (mut before, mut marks) = (None, 0);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let Some(shown) = shown(c, before, rest.as_str()) else { continue };
        marks = if is_mark(shown) { marks + 1 } else { 0 };
        if marks <= MARKS {
            out.push(shown);
            before = Some(shown);
        }
    }
    out
}

/// The same with its lines kept.
pub fn plain_lines(text: &(impl Written + ?Sized)) -> String {
    text.written().lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON with everything escaped that cannot be seen: exact for a program, harmless for a
/// terminal. In JSON such characters stand in strings only.
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || (' '..='~').contains(&c) || shown(c, None, "") == Some(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// What stands for a character; `before` is what was shown last, `after` what comes.
fn shown(c: char, before: Option<char>, after: &str) -> Option<char> {
    if (' '..='~').contains(&c) {
        return Some(c);
    }
    match category(c) {
        _ if matches!(c, '\n' | '\r' | '\t' | '\u{2800}') => Some(' '),
        _ if is_ignorable(c) => Some(c).filter(|c| is_needed(*c, before, after)),
        GeneralCategory::SpaceSeparator | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
            Some(' ')
        }
        GeneralCategory::Control | GeneralCategory::Format | GeneralCategory::Surrogate => None,
        GeneralCategory::PrivateUse | GeneralCategory::Unassigned => Some(char::REPLACEMENT_CHARACTER),
        _ => Some(c),
    }
}

/// Whether an invisible character changes what is seen around it, as emoji and scripts
/// that join their letters have it.
fn is_needed(c: char, before: Option<char>, after: &str) -> bool {
    let Some(before) = before else { return false };
    let next = after.chars().find(|c| !is_mark(*c));
    match c {
        '\u{fe0e}' => is_pictographic(before),
        '\u{fe0f}' => {
            is_pictographic(before) || matches!(before, '0'..='9' | '#' | '*') && after.starts_with('\u{20e3}')
        }
        '\u{200d}' => is_virama(before) || ends_emoji(before) && next.is_some_and(is_pictographic),
        '\u{200c}' => is_virama(before) || joins_next(before) && next.is_some_and(joins_previous),
        _ => false,
    }
}

fn ends_emoji(c: char) -> bool {
    c == '\u{fe0f}' || is_pictographic(c) || CodePointSetData::new::<EmojiModifier>().contains(c)
}

fn is_pictographic(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

fn joins_next(c: char) -> bool {
    matches!(CodePointMapData::<JoiningType>::new().get(c), JoiningType::DualJoining | JoiningType::LeftJoining)
}

fn joins_previous(c: char) -> bool {
    matches!(CodePointMapData::<JoiningType>::new().get(c), JoiningType::DualJoining | JoiningType::RightJoining)
}

fn is_mark(c: char) -> bool {
    matches!(category(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(plain(text), expected, "{text:?}");
        assert_eq!(plain(expected), expected, "cleaned twice: {text:?}");
    }

    #[test]
    fn what_cannot_be_seen_is_taken_out() {
        check("plain ~ text", "plain ~ text");
        check("two\nlines\tof\rtext\u{85}", "two lines of text");
        check("\u{1b}]52;c;aGk=\u{7}\u{1b}[2J\u{9b}31m", "]52;c;aGk=[2J31m");
        check("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e", "abcde");
        // Tags, variation selectors, soft hyphen, Mongolian separator, Hangul fillers, joiner of graphemes.
        check("a\u{e0068}\u{e0069}b\u{fe00}\u{e0100}c\u{ad}d\u{180e}e\u{3164}f\u{ffa0}g\u{115f}h\u{34f}i", "abcdefghi");
        check("a\u{200b}b\u{feff}c\u{2060}d\u{2063}e\u{200d}f\u{200c}g", "abcdefg");
        check("a\u{2028}b\u{2029}c\u{a0}d\u{3000}e\u{2800}f", "a b c d e f");
        check("a\u{e000}b\u{378}c\u{10ffff}d", "a\u{fffd}b\u{fffd}c\u{fffd}d");
        check(&format!("a{}b", "\u{301}".repeat(50)), &format!("a{}b", "\u{301}".repeat(MARKS)));
    }

    #[test]
    fn what_emoji_and_scripts_need_stays() {
        for text in [
            "héllo, wörld: 日本の話, Ελληνικά, русский, 한국어, ไทย",
            "👩\u{200d}🚀 ❤\u{fe0f} 👍🏽 1\u{fe0f}\u{20e3} 🇩🇪 👩🏽\u{200d}🚀 🏳\u{fe0f}\u{200d}🌈",
            // A Persian plural, a Marathi half form, a Sinhala conjunct.
            "کتاب\u{200c}ها र\u{94d}\u{200d}य ශ\u{dca}\u{200d}ර\u{dd3}",
        ] {
            check(text, text);
        }
        // Where they have no effect they could carry something unseen.
        check("a\u{fe0f}b 1\u{fe0f}2 \u{fe0f}", "ab 12 ");
        check("👍\u{fe0f}\u{fe0f}\u{fe0e}", "👍\u{fe0f}");
        check("👩\u{200d}\u{200d}🚀 👩\u{200d}a", "👩\u{200d}🚀 👩a");
        // The flag of a region is the plain one.
        check("🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}", "🏴");
    }

    #[test]
    fn foreign_text_is_printed_clean_and_stored_as_it_is() {
        let text: Foreign = serde_json::from_str(r#""a\u001b[2J\nb""#).expect("a string");
        assert_eq!((text.to_string(), format!("{text:>8}").as_str()), ("a[2J b".to_owned(), "  a[2J b"));
        assert_eq!(serde_json::to_string(&text).expect("a string"), r#""a\u001b[2J\nb""#);
        assert!(!format!("{text:?}").contains(['\u{1b}', '\n']));
        assert_eq!(escaped("{\n  \"a\": \"é\u{9b}\u{e0041}\"\n}"), "{\n  \"a\": \"é\\u009b\\udb40\\udc41\"\n}");
        assert_eq!(plain_lines("a\u{1b}\r\nb\u{9b}\n"), "a\nb");
    }
}
