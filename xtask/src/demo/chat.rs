//! A chat as lines of a pane: who wrote, then what, wrapped at words.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ride_testkit::telegram::{ChatView, Shown};

/// How far the text stands in from the writer's name.
const INDENT: &str = "  ";

/// Gives the chat's lines for a pane of this width, oldest first.
pub(super) fn lines(chat: &ChatView, width: u16) -> Vec<Line<'static>> {
    let room = usize::from(width).saturating_sub(INDENT.len());
    let mut lines = Vec::new();
    for shown in &chat.messages {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(heading(shown));
        lines.extend(wrap(&shown.text, room).into_iter().map(|text| Line::raw(format!("{INDENT}{text}"))));
    }
    lines
}

fn heading(shown: &Shown) -> Line<'static> {
    let colour = if shown.by_bot { Color::Cyan } else { Color::Yellow };
    let mut spans = vec![Span::styled(shown.from.clone(), Style::new().fg(colour).add_modifier(Modifier::BOLD))];
    if shown.by_bot {
        spans.push(Span::styled(" bot", Style::new().add_modifier(Modifier::DIM)));
    }
    if shown.edits > 0 {
        spans.push(Span::styled(" edited", Style::new().add_modifier(Modifier::DIM)));
    }
    if let Some(media) = &shown.media {
        spans.push(Span::raw(format!(" [{} {}]", media.kind, media.name)));
    }
    spans.extend(shown.reactions.iter().map(|reaction| Span::raw(format!(" {reaction}"))));
    Line::from(spans)
}

/// Breaks text into lines of at most `width` columns: at spaces, and inside a word
/// only where it is longer than a line. A width of 0 counts as 1.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let (mut line, mut used) = (String::new(), 0);
        let mut flush = |line: &mut String, used: &mut usize| {
            lines.push(line.trim_end().to_owned());
            line.clear();
            *used = 0;
        };
        for word in paragraph.trim_end().split_inclusive(' ') {
            if used > 0 && used + columns(word.trim_end()) > width {
                flush(&mut line, &mut used);
            }
            for c in word.chars() {
                let wide = columns(c.encode_utf8(&mut [0; 4]));
                // A space at the end of a line needs no room.
                if used > 0 && c != ' ' && used + wide > width {
                    flush(&mut line, &mut used);
                }
                line.push(c);
                used += wide;
            }
        }
        flush(&mut line, &mut used);
    }
    lines
}

/// The columns a text takes on a screen.
fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn wraps_at_words() {
        let check =
            |text: &str, width, expected: &[&str]| assert_eq!(wrap(text, width), expected, "{text:?} at {width}");
        check("", 10, &[]);
        check("short", 10, &["short"]);
        check("exactly ten", 11, &["exactly ten"]);
        check("one two three", 7, &["one two", "three"]);
        check("one two three", 8, &["one two", "three"]);
        check("first\n\nthird", 10, &["first", "", "third"]);
        check("    indented", 20, &["    indented"]);
        check("a longerthanthat b", 6, &["a", "longer", "thanth", "at b"]);
        check("日本語 です", 6, &["日本語", "です"]);
        check("日本語", 3, &["日", "本", "語"]);
        check("ab", 0, &["a", "b"]);
        check("trailing   ", 8, &["trailing"]);
    }

    #[test]
    fn each_message_tells_who_wrote_it() {
        let shown = |from: &str, by_bot, text: &str, edits| Shown {
            id: 1,
            from: from.into(),
            by_bot,
            text: text.into(),
            media: None,
            edits,
            reactions: Vec::new(),
            reply_to: None,
            buttons: Vec::new(),
            at: SystemTime::UNIX_EPOCH,
        };
        let messages = vec![shown("Tess", false, "when do we ride?", 0), shown("Bot", true, "soon", 1)];
        let chat = ChatView { title: "Club › Plans".into(), messages };
        let written: Vec<String> = lines(&chat, 10).iter().map(Line::to_string).collect();
        assert_eq!(written, ["Tess", "  when do", "  we ride?", "", "Bot bot edited", "  soon"]);
    }
}
