//! Keys and pastes as the bytes a terminal would send for them.
//!
//! The encodings are xterm's, which `TERM=xterm-256color` promises to the program:
//! <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>, "PC-Style Function Keys".

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What the program asked its terminal for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes {
    /// Arrows, Home and End as `ESC O` (DECCKM).
    pub(super) application_cursor: bool,
    /// Pastes marked as such.
    pub(super) bracketed_paste: bool,
}

/// What a key sends; nothing, if a terminal has no bytes for it.
pub(super) fn bytes(key: KeyEvent, modes: Modes) -> Vec<u8> {
    let modifiers = key.modifiers;
    let control = modifiers.contains(KeyModifiers::CONTROL);
    let plain = match key.code {
        KeyCode::Char(c) if control => vec![control_byte(c)],
        KeyCode::Char(c) => c.to_string().into_bytes(),
        KeyCode::Enter => vec![b'\r'],
        KeyCode::Tab => vec![b'\t'],
        KeyCode::Esc => vec![0x1b],
        KeyCode::Backspace if control => vec![0x08],
        KeyCode::Backspace => vec![0x7f],
        code => return special(code, parameter(modifiers), modes),
    };
    match modifiers.contains(KeyModifiers::ALT) {
        true => [&[0x1b], &plain[..]].concat(),
        false => plain,
    }
}

/// What a paste sends. An escape character in it could end the paste and type the rest.
pub(super) fn paste(text: &str, modes: Modes) -> Vec<u8> {
    let text = text.replace('\x1b', "").replace("\r\n", "\r").replace('\n', "\r");
    match modes.bracketed_paste {
        true => format!("\x1b[200~{text}\x1b[201~").into_bytes(),
        false => text.into_bytes(),
    }
}

/// Control and a character. Without extensions a terminal reports 0x1c to 0x1f
/// as Control and a digit (crossterm 0.29), so those are among them.
fn control_byte(c: char) -> u8 {
    match c.to_ascii_lowercase() {
        letter @ 'a'..='z' => letter as u8 & 0x1f,
        ' ' | '@' | '2' => 0x00,
        '[' | '3' => 0x1b,
        '\\' | '4' => 0x1c,
        ']' | '5' => 0x1d,
        '^' | '6' => 0x1e,
        '_' | '/' | '7' => 0x1f,
        '?' | '8' => 0x7f,
        // Terminals have no byte for Control and these: they send the character.
        other => u8::try_from(other).unwrap_or(b'?'),
    }
}

/// xterm's modifier parameter; 1 is none.
fn parameter(modifiers: KeyModifiers) -> u8 {
    let bit = |of, bit| if modifiers.contains(of) { bit } else { 0 };
    1 + bit(KeyModifiers::SHIFT, 1) + bit(KeyModifiers::ALT, 2) + bit(KeyModifiers::CONTROL, 4)
}

fn special(code: KeyCode, parameter: u8, modes: Modes) -> Vec<u8> {
    let lettered = |letter: char, bare: &str| match parameter {
        1 => format!("\x1b{bare}{letter}"),
        with => format!("\x1b[1;{with}{letter}"),
    };
    let numbered = |number: u8| match parameter {
        1 => format!("\x1b[{number}~"),
        with => format!("\x1b[{number};{with}~"),
    };
    let cursor = if modes.application_cursor { "O" } else { "[" };
    let sent = match code {
        KeyCode::BackTab => "\x1b[Z".into(),
        KeyCode::Up => lettered('A', cursor),
        KeyCode::Down => lettered('B', cursor),
        KeyCode::Right => lettered('C', cursor),
        KeyCode::Left => lettered('D', cursor),
        KeyCode::Home => lettered('H', cursor),
        KeyCode::End => lettered('F', cursor),
        KeyCode::Insert => numbered(2),
        KeyCode::Delete => numbered(3),
        KeyCode::PageUp => numbered(5),
        KeyCode::PageDown => numbered(6),
        KeyCode::F(n @ 1..=4) => lettered(char::from(b'O' + n), "O"),
        KeyCode::F(n @ 5..=12) => numbered([15, 17, 18, 19, 20, 21, 23, 24][usize::from(n) - 5]),
        _ => String::new(),
    };
    sent.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_xterms_bytes() {
        const NONE: KeyModifiers = KeyModifiers::NONE;
        const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
        const ALT: KeyModifiers = KeyModifiers::ALT;
        const CTRL: KeyModifiers = KeyModifiers::CONTROL;
        let check = |code, modifiers, expected: &str| {
            let sent = bytes(KeyEvent::new(code, modifiers), Modes::default());
            assert_eq!(String::from_utf8_lossy(&sent), expected, "{code:?} {modifiers:?}");
        };
        check(KeyCode::Char('a'), NONE, "a");
        check(KeyCode::Char('A'), SHIFT, "A");
        check(KeyCode::Char('ü'), NONE, "ü");
        check(KeyCode::Char('🚲'), NONE, "🚲");
        check(KeyCode::Char('b'), ALT, "\x1bb");
        check(KeyCode::Char('c'), CTRL, "\x03");
        check(KeyCode::Char('z'), CTRL, "\x1a");
        check(KeyCode::Char('e'), CTRL | ALT, "\x1b\x05");
        check(KeyCode::Char(' '), CTRL, "\0");
        check(KeyCode::Char('4'), CTRL, "\x1c");
        check(KeyCode::Char('7'), CTRL, "\x1f");
        check(KeyCode::Enter, NONE, "\r");
        check(KeyCode::Enter, ALT, "\x1b\r");
        check(KeyCode::Tab, NONE, "\t");
        check(KeyCode::BackTab, SHIFT, "\x1b[Z");
        check(KeyCode::Esc, NONE, "\x1b");
        check(KeyCode::Backspace, NONE, "\x7f");
        check(KeyCode::Backspace, ALT, "\x1b\x7f");
        check(KeyCode::Backspace, CTRL, "\x08");
        check(KeyCode::Up, NONE, "\x1b[A");
        check(KeyCode::Left, CTRL, "\x1b[1;5D");
        check(KeyCode::Right, ALT | SHIFT, "\x1b[1;4C");
        check(KeyCode::End, NONE, "\x1b[F");
        check(KeyCode::Delete, NONE, "\x1b[3~");
        check(KeyCode::PageUp, SHIFT, "\x1b[5;2~");
        check(KeyCode::F(1), NONE, "\x1bOP");
        check(KeyCode::F(4), CTRL, "\x1b[1;5S");
        check(KeyCode::F(5), NONE, "\x1b[15~");
        check(KeyCode::F(12), NONE, "\x1b[24~");
        check(KeyCode::CapsLock, NONE, "");
    }

    #[test]
    fn application_mode_changes_bare_cursor_keys_only() {
        let modes = Modes { application_cursor: true, ..Modes::default() };
        let check =
            |code, modifiers, expected: &[u8]| assert_eq!(bytes(KeyEvent::new(code, modifiers), modes), expected);
        check(KeyCode::Down, KeyModifiers::NONE, b"\x1bOB");
        check(KeyCode::Home, KeyModifiers::NONE, b"\x1bOH");
        check(KeyCode::Down, KeyModifiers::CONTROL, b"\x1b[1;5B");
        check(KeyCode::Delete, KeyModifiers::NONE, b"\x1b[3~");
    }

    #[test]
    fn pastes_are_marked_where_asked_for_and_cannot_end_themselves() {
        let marked = Modes { bracketed_paste: true, ..Modes::default() };
        let check = |text, modes, expected: &str| assert_eq!(String::from_utf8_lossy(&paste(text, modes)), expected);
        check("two\nlines", Modes::default(), "two\rlines");
        check("two\r\nlines", marked, "\x1b[200~two\rlines\x1b[201~");
        check("out\x1b[201~rm", marked, "\x1b[200~out[201~rm\x1b[201~");
    }
}
