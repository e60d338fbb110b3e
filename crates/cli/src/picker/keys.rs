//! Bytes of a terminal as the keys the picker knows.
//!
//! Read by us and not by crossterm: its reader blocks the one thread there is in the
//! middle of an escape sequence, and one in a thread of its own would take the first
//! keys typed to Claude Code. Invariant: nothing is read ahead, a sequence may arrive in
//! pieces, and what is not known is skipped as a whole, never typed into the search.
//! Encodings: xterm's, and the Linux console's function keys.

/// A key, or what came as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Typed text.
    Char(char),
    /// Text that was pasted, control characters and all.
    Paste(String),
    /// Return.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// One screen up.
    PageUp,
    /// One screen down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// F1.
    Help,
    /// Control and a lower-case letter.
    Ctrl(char),
}

const ESC: u8 = 0x1b;
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";
/// A paste longer than this is no search; what is over is dropped.
const MAX_PASTE_BYTES: usize = 4096;
/// Longer than any sequence of a key; guards against a terminal that never ends one.
const MAX_SEQUENCE_BYTES: usize = 32;

/// Turns bytes into keys, keeping what is not whole yet.
#[derive(Debug, Default)]
pub struct Keys {
    pending: Vec<u8>,
    paste: Option<Vec<u8>>,
}

impl Keys {
    /// Takes bytes, gives the keys they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        loop {
            let (used, key) = match &mut self.paste {
                Some(text) => pasted(&self.pending, text),
                None => next(&self.pending),
            };
            if used == 0 {
                return keys;
            }
            self.pending.drain(..used);
            match (key, self.paste.take()) {
                (Some(Key::Paste(_)), None) => self.paste = Some(Vec::new()),
                (Some(Key::Paste(_)), Some(text)) => keys.push(Key::Paste(String::from_utf8_lossy(&text).into_owned())),
                (key, paste) => {
                    self.paste = paste;
                    keys.extend(key);
                }
            }
        }
    }

    /// Whether an Escape waits to be told from the beginning of a sequence.
    pub fn undecided(&self) -> bool {
        self.paste.is_none() && self.pending.first() == Some(&ESC)
    }

    /// Nothing followed in time: a lone Escape is the key, a piece of a sequence is none.
    pub fn decide(&mut self) -> Option<Key> {
        let lone = self.pending == [ESC];
        self.pending.clear();
        lone.then_some(Key::Escape)
    }
}

/// Bytes used and the key they are; no bytes where more are needed. `Paste` stands for
/// the beginning of one.
fn next(bytes: &[u8]) -> (usize, Option<Key>) {
    let Some(&first) = bytes.first() else { return (0, None) };
    match first {
        b'\r' | b'\n' => (1, Some(Key::Enter)),
        0x7f | 0x08 => (1, Some(Key::Backspace)),
        ESC => escape(bytes),
        control @ 0x01..0x1b => (1, Some(Key::Ctrl(char::from(control + b'a' - 1)))),
        0x00..0x20 => (1, None),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> (usize, Option<Key>) {
    let length = match bytes[0] {
        0x00..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => return (1, None),
    };
    let Some(whole) = bytes.get(..length) else {
        // Not to be waited for where the next byte already cannot belong to it.
        let broken = bytes[1..].iter().any(|byte| byte & 0xc0 != 0x80);
        return (usize::from(broken), None);
    };
    match std::str::from_utf8(whole) {
        Ok(text) => (length, text.chars().next().map(Key::Char)),
        Err(_) => (1, None),
    }
}

fn escape(bytes: &[u8]) -> (usize, Option<Key>) {
    match bytes.get(1) {
        None => (0, None),
        Some(b'[') => control_sequence(bytes),
        Some(b'O') => match bytes.get(2) {
            None => (0, None),
            Some(last) => (3, named(*last)),
        },
        // Escape twice: the first was the key.
        Some(&ESC) => (1, Some(Key::Escape)),
        // Alt and a key: none of ours, and not to be typed.
        Some(_) => (2 + character_rest(&bytes[1..]), None),
    }
}

fn character_rest(bytes: &[u8]) -> usize {
    character(bytes).0.saturating_sub(1)
}

fn control_sequence(bytes: &[u8]) -> (usize, Option<Key>) {
    // The Linux console's F1 to F5.
    if bytes.get(2) == Some(&b'[') {
        return match bytes.get(3) {
            None => (0, None),
            Some(b'A') => (4, Some(Key::Help)),
            Some(_) => (4, None),
        };
    }
    let Some(length) = bytes[2..].iter().position(|byte| (0x40..0x7f).contains(byte)) else {
        return if bytes.len() > MAX_SEQUENCE_BYTES { (bytes.len(), None) } else { (0, None) };
    };
    let used = 2 + length + 1;
    if bytes.starts_with(PASTE_BEGINS) {
        return (used, Some(Key::Paste(String::new())));
    }
    let parameters = &bytes[2..2 + length];
    let number = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    let key = match (bytes[used - 1], number) {
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"3") => Some(Key::Delete),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (b'~', b"11") => Some(Key::Help),
        (b'~', _) => None,
        (last, _) => named(last),
    };
    (used, key)
}

/// The last byte of `ESC [ …` and `ESC O …`.
fn named(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'P' => Key::Help,
        b'M' => Key::Enter,
        _ => return None,
    })
}

/// Bytes that belong to the paste; `Paste` stands for its end.
fn pasted(bytes: &[u8], text: &mut Vec<u8>) -> (usize, Option<Key>) {
    let end = bytes.windows(PASTE_ENDS.len()).position(|window| window == PASTE_ENDS);
    // The end may have arrived in part.
    let length = end.unwrap_or_else(|| bytes.len().saturating_sub(PASTE_ENDS.len() - 1));
    let room = MAX_PASTE_BYTES.saturating_sub(text.len());
    text.extend_from_slice(&bytes[..length.min(room)]);
    match end {
        Some(_) => (length + PASTE_ENDS.len(), Some(Key::Paste(String::new()))),
        None => (length, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_to_keys() {
        let check = |bytes: &[u8], expected: &[Key]| {
            assert_eq!(Keys::default().feed(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
            // In pieces of one byte, the same.
            let mut keys = Keys::default();
            let one_by_one: Vec<Key> = bytes.iter().flat_map(|byte| keys.feed(&[*byte])).collect();
            assert_eq!(one_by_one, expected, "{:?} in pieces", bytes.escape_ascii().to_string());
        };
        let typed = |text: &str| text.chars().map(Key::Char).collect::<Vec<_>>();
        check("aä日😀".as_bytes(), &typed("aä日😀"));
        check(b"\r\x7f\x08\t", &[Key::Enter, Key::Backspace, Key::Backspace, Key::Ctrl('i')]);
        check(
            b"\x03\x0e\x10\x15\x1a",
            &[Key::Ctrl('c'), Key::Ctrl('n'), Key::Ctrl('p'), Key::Ctrl('u'), Key::Ctrl('z')],
        );
        check(b"\x1b[A\x1bOB\x1b[5~\x1b[6~", &[Key::Up, Key::Down, Key::PageUp, Key::PageDown]);
        check(
            b"\x1b[H\x1b[1~\x1bOH\x1b[F\x1b[4~\x1b[3~",
            &[Key::Home, Key::Home, Key::Home, Key::End, Key::End, Key::Delete],
        );
        check(b"\x1bOP\x1b[11~\x1b[[A", &[Key::Help, Key::Help, Key::Help]);
        // With modifiers the same key; unknown ones nothing, and nothing of them typed.
        check(b"\x1b[1;5A\x1b[15~\x1b[?1u\x1bx\x1b\xc3\xa4y", &[Key::Up, Key::Char('y')]);
        check(b"\x1b[200~two\r\nlines\x1b[A\x1b[201~x", &[Key::Paste("two\r\nlines\x1b[A".into()), Key::Char('x')]);
        // Broken UTF-8 costs its own bytes only.
        check(b"\xffa\xc3b", &typed("ab"));
    }

    #[test]
    fn a_lone_escape_is_decided_by_time() {
        let mut keys = Keys::default();
        assert_eq!((keys.feed(b"\x1b"), keys.undecided()), (vec![], true));
        assert_eq!((keys.decide(), keys.undecided()), (Some(Key::Escape), false));
        assert_eq!((keys.feed(b"\x1b["), keys.undecided(), keys.decide()), (vec![], true, None));
        assert_eq!(keys.feed(b"A"), [Key::Char('A')]);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut keys = Keys::default();
        keys.feed(b"\x1b[200~");
        for _ in 0..100 {
            keys.feed(&[b'x'; 1000]);
        }
        assert!(keys.pending.len() < 16);
        assert_eq!(keys.feed(PASTE_ENDS), [Key::Paste("x".repeat(MAX_PASTE_BYTES))]);
        keys.feed(b"\x1b[");
        keys.feed(&[b'1'; 100]);
        assert!(keys.pending.is_empty());
    }
}
