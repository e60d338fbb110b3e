//! Names from outside (a chat's members, commands) as they may stand in a text of ours.
//!
//! Only letters, digits and a few signs stay. So a name cannot mention anybody, link
//! anywhere, carry markup or begin a line of its own.

use crate::limits;
use crate::text::plain;

/// A person's name; "somebody" where nothing of it can be shown.
pub fn name(text: &str) -> String {
    let shown = cut(text, limits::NAME_CHARS);
    if shown.is_empty() { "somebody".into() } else { shown }
}

/// A command's name, without its slash.
pub fn command(text: &str) -> String {
    cut(text, limits::COMMAND_CHARS)
}

/// A text of ours that has names of drivers in it: one line, without invisible signs.
pub fn line(text: &str) -> String {
    plain(text)
}

fn cut(text: &str, most: usize) -> String {
    let stays = |c: char| c.is_alphanumeric() || " -_'’".contains(c);
    // Words stay apart where a sign between them goes.
    let seen = plain(&text.chars().take(4 * most).collect::<String>());
    let kept: String = seen.chars().map(|c| if stays(c) { c } else { ' ' }).collect();
    let words: Vec<&str> = kept.split_whitespace().collect();
    let shown = words.join(" ");
    match shown.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", shown[..end].trim_end()),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_cut_and_cannot_speak() {
        for (given, shown) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Jürgen O’Neil-2", "Jürgen O’Neil-2"),
            ("田中 さくら", "田中 さくら"),
            ("\u{1b}]52;c;eA==\u{7}x", "52 c eA x"),
            ("a\nb\u{202e}c", "a bc"),
            ("[click](http://evil.example)", "click http evil example"),
            ("@everyone <!channel>", "everyone channel"),
            ("\u{3164}\u{e0041}", "somebody"),
            ("", "somebody"),
        ] {
            assert_eq!(super::name(given), shown, "{given:?}");
        }
        assert_eq!(super::name(&"x".repeat(10_000)).chars().count(), crate::limits::NAME_CHARS + 1);
        assert_eq!(super::command(&"x".repeat(10_000)).chars().count(), crate::limits::COMMAND_CHARS + 1);
        assert_eq!(super::line("ada\u{202e}@\u{1b}[2Jh\nx"), "ada@[2Jh x");
    }
}
