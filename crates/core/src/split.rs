//! Cuts a text into platform messages without breaking its Markdown.
//!
//! Each message is shown on its own, so each part must be right on its own: a fence that is open at a cut is closed
//! and opened again, code keeps its indentation, and a quotation or a deep list item is opened again. The work grows
//! with the text and not faster: a window of one message is looked at, then the next.
//!
//! Inverse: gaps and bodies of all parts, one behind the other, are the text without the white space at its end.

mod markup;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};

use markup::{Code, Holder, Markup, firsts, indent, nexts};

/// UTF-16 units that are read beyond a message: what a line behind a cut belongs to is seen there.
const AHEAD: usize = 256;
/// A part of a message (one in so many) that may be taken by what is opened or closed again at a cut.
const REPEATED: usize = 3;
/// How often a cut is moved forward so that a closing fence fits behind it.
const MOVES: usize = 4;
/// Bytes of white space at a text's beginning that can be indentation.
const INDENT: usize = 64;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Left out before it: white space, and marks of lists and quotations that `lead` has again.
    pub gap: &'a str,
    /// Put before it.
    pub lead: String,
    /// What it has of the text.
    pub body: &'a str,
    /// Put behind it.
    pub close: String,
}

impl Part<'_> {
    /// The message.
    pub fn message(&self) -> String {
        format!("{}{}{}", self.lead, self.body, self.close)
    }
}

/// Splits `text` into messages of at most `units` UTF-16 units.
pub fn split(text: &str, units: usize) -> Vec<String> {
    parts(text, units).iter().map(Part::message).collect()
}

/// The same, with what was put in and left out.
pub fn parts(text: &str, units: usize) -> Vec<Part<'_>> {
    let text = text.trim_end();
    let mut parts = Vec::new();
    if prefix(text, units) == text.len() {
        return vec![Part { gap: "", lead: String::new(), body: text, close: String::new() }];
    }
    let mut at = Begin { gap: 0, body: blank(text), lead: String::new() };
    loop {
        let (part, next) = part(text, at, units);
        parts.push(part);
        match next {
            Some(next) => at = next,
            None => return parts,
        }
    }
}

/// Puts a label before a text: in its line, or in one of its own where the text begins with a block of Markdown.
pub fn labelled(label: &str, text: &str) -> String {
    let markup = Markup::of(&text[..prefix(text, AHEAD)]);
    let first = indent(text).1;
    let begins = |at: usize| at <= first;
    let block = markup.code.first().is_some_and(|code| begins(code.all.start))
        || markup.holders.first().is_some_and(|holder| begins(holder.all.start))
        || text[first..].starts_with('#');
    format!("{label}{}{text}", if block { "\n\n" } else { " " })
}

/// Bytes of blank lines at a text's beginning, with the last line's indentation where that is no indentation any more.
fn blank(text: &str) -> usize {
    let white = white(text);
    let line = text[..white].rfind(['\n', '\r']).map_or(0, |end| end + 1);
    if white - line > INDENT { white } else { line }
}

/// Where a part begins.
struct Begin {
    gap: usize,
    body: usize,
    lead: String,
}

/// A place to cut: where the body ends, and where the text goes on.
#[derive(Clone, Copy)]
struct Cut {
    end: usize,
    next: usize,
}

fn part(text: &str, begin: Begin, units: usize) -> (Part<'_>, Option<Begin>) {
    let Begin { gap, body, lead } = begin;
    let rest = &text[body..];
    let made = |end: usize, lead, close| Part { gap: &text[gap..body], lead, body: &rest[..end], close };
    let room = units.saturating_sub(width(&lead)).max(1);
    let whole = prefix(rest, room) == rest.len();
    let window = &rest[..prefix(rest, room + AHEAD)];
    let source = format!("{lead}{window}");
    let markup = Markup::of(&source);
    let close = if whole { markup.closing() } else { String::new() };
    if whole && width(&close) + width(&source) <= units {
        return (made(rest.len(), lead, close), None);
    }
    let (cut, close) = place(&markup, &lead, window, room, units);
    let next = begin_again(&markup, &lead, window, cut, units);
    let mut next = Begin { gap: body + cut.end, body: body + next.body, lead: next.lead };
    // White space that goes on behind the window is left out as well, where it is not code.
    if next.body == body + window.len() && markup.code_at(lead.len() + cut.end).is_none() {
        next.body += white(&text[next.body..]);
    }
    // A mark that is set on a white space goes on with it.
    while next.body > next.gap && !is_boundary(text, next.body) {
        next.body -= text[..next.body].chars().next_back().map_or(1, char::len_utf8);
    }
    (made(cut.end, lead, close), Some(next))
}

/// Finds the place for a cut, and what closes the part there.
fn place(markup: &Markup, lead: &str, window: &str, room: usize, units: usize) -> (Cut, String) {
    let mut limit = room;
    for _ in 0..MOVES {
        let cut = choose(markup, lead.len(), window, limit, units);
        let close = Markup::of(&format!("{lead}{}", &window[..cut.end])).closing();
        let over = (width(lead) + width(&window[..cut.end]) + width(&close)).saturating_sub(units);
        if over == 0 {
            return (cut, close);
        }
        limit = limit.saturating_sub(over);
        if limit < room / REPEATED {
            break;
        }
    }
    // Fences that would take most of every message are left as they are.
    (choose(markup, lead.len(), window, room, units), String::new())
}

/// The best cut within `limit`, in the last half where there is one.
fn choose(markup: &Markup, lead: usize, window: &str, limit: usize, units: usize) -> Cut {
    let mut best: [Option<Cut>; 5] = [None; 5];
    let (mut used, mut hard) = (0, None);
    let mut graphemes = window.grapheme_indices(true).peekable();
    while let Some((at, grapheme)) = graphemes.next() {
        let code = markup.code_at(lead + at);
        // A closing fence must fit behind a cut in code.
        let closing = code.map_or(0, |code| closing_width(code, units));
        if used + closing <= limit && at > 0 {
            hard = Some(Cut { end: at, next: at });
            let next = at + grapheme.len();
            let blank = graphemes.peek().is_some_and(|(_, next)| is_line_end(next));
            if let Some(rank) = rank(markup, lead, window, at, next, grapheme, code, blank) {
                best[rank] = Some(Cut { end: at, next });
            }
        }
        used += width(grapheme);
        if used > limit {
            break;
        }
    }
    let hard = hard.unwrap_or_else(|| {
        let end = prefix(window, limit).max(window.chars().next().map_or(0, char::len_utf8));
        Cut { end, next: end }
    });
    best.into_iter().flatten().find(|cut| cut.end > hard.end / 2).unwrap_or(hard)
}

/// How good a cut in the place of this grapheme is: 0 is best; `None` where it is none.
#[allow(clippy::too_many_arguments)]
fn rank(
    markup: &Markup,
    lead: usize,
    window: &str,
    at: usize,
    next: usize,
    grapheme: &str,
    code: Option<&Code>,
    blank: bool,
) -> Option<usize> {
    let outside = code.is_none_or(|code| code.fence.is_some() && code.is_closing(lead + at));
    match grapheme {
        _ if is_line_end(grapheme) && outside => Some(usize::from(!blank)),
        _ if is_line_end(grapheme) => code.filter(|code| code.is_between_lines(lead + at, lead + next)).map(|_| 2),
        // What would begin the next part as the mark of a list, a quotation or code is no place for a cut.
        " " if outside && !begins_block(&window[next..]) => Some(if markup.in_span(lead + at) { 4 } else { 3 }),
        _ => None,
    }
}

fn begins_block(rest: &str) -> bool {
    rest.trim_start_matches(' ').starts_with(|c: char| c.is_ascii_digit() || "`~>#-+*=<|".contains(c))
}

fn closing_width(code: &Code, units: usize) -> usize {
    code.fence.as_ref().map_or(0, |fence| {
        let width = 1 + nexts(&code.within).len() + fence.indent + fence.run.len();
        if width > units / REPEATED { 0 } else { width }
    })
}

/// How the text goes on behind a cut.
fn begin_again(markup: &Markup, lead: &str, window: &str, cut: Cut, units: usize) -> Begin {
    let at = lead.len() + cut.end;
    let code = markup.code_at(at).filter(|code| at > code.all.start && !code.is_closing(at));
    let again = match code {
        Some(code) => code_again(code, window, cut),
        None => prose_again(markup, lead.len(), window, cut),
    };
    if width(&again.lead) <= units / REPEATED { again } else { Begin { body: cut.next, lead: String::new(), ..again } }
}

fn code_again(code: &Code, window: &str, cut: Cut) -> Begin {
    let (within, next) = (&code.within, nexts(&code.within));
    let middle = cut.next == cut.end;
    let items = within.iter().any(|holder| !holder.quote);
    let begin = |body, lead| Begin { gap: cut.end, body, lead };
    let Some(fence) = &code.fence else {
        let strip = if middle { 0 } else { strip(&window[cut.next..], within) };
        return match (items, middle) {
            (true, _) => {
                begin(cut.next + strip, if middle { format!("{}    ", firsts(within)) } else { firsts(within) })
            }
            (false, true) => begin(cut.next, format!("{next}    ")),
            (false, false) => begin(cut.next, String::new()),
        };
    };
    let indent = " ".repeat(fence.indent);
    let shallow = next.len() + fence.indent <= 3 && within.iter().all(|holder| !holder.quote);
    let opens = if items && !shallow { firsts(within) } else { next.clone() };
    let line = if middle { format!("{next}{indent}") } else { String::new() };
    begin(cut.next, format!("{opens}{indent}{}{}\n{line}", fence.run, fence.info))
}

fn prose_again(markup: &Markup, lead: usize, window: &str, cut: Cut) -> Begin {
    let rest = &window[cut.end..];
    let begin = white(rest);
    let line = rest[..begin].rfind(['\n', '\r']).map(|end| cut.end + end + 1);
    let within = markup.around(lead + cut.end + begin);
    let next = nexts(&within);
    let deep =
        within.iter().any(|holder| !holder.quote) && (next.len() > 3 || within.iter().any(|holder| holder.quote));
    let again = |body, lead| Begin { gap: cut.end, body, lead };
    let Some(line) = line else {
        let opens = if deep {
            firsts(&within)
        } else if next.trim().is_empty() {
            String::new()
        } else {
            next
        };
        return again(cut.end + begin, opens);
    };
    if deep {
        return again(line + strip(&window[line..], &within), firsts(&within));
    }
    if markup.code_at(lead + cut.end + begin).is_some_and(|code| code.fence.is_none()) {
        let items = within.iter().any(|holder| !holder.quote);
        return if items {
            again(line + strip(&window[line..], &within), firsts(&within))
        } else {
            again(line, String::new())
        };
    }
    let lazy = next.contains('>') && !window[line..].trim_start().starts_with('>');
    let (columns, _) = indent(&window[line..]);
    let kept = if columns <= 3 { 0 } else { strip(&window[line..], &within) };
    // What is indented further was no code where it stood, and is to be none here.
    let kept = if indent(&window[line + kept..]).0 <= 3 { line + kept } else { cut.end + begin };
    again(kept, if lazy { next } else { String::new() })
}

/// Bytes at a line's beginning that belong to the list items and quotations around it.
fn strip(line: &str, within: &[Holder]) -> usize {
    let mut at = 0;
    for holder in within {
        let rest = &line[at..];
        if holder.quote {
            let (_, bytes) = indent(rest);
            if !rest[bytes..].starts_with('>') {
                break;
            }
            at += bytes + 1;
            at += usize::from(line[at..].starts_with(' '));
        } else {
            at += rest.bytes().take(holder.next.len()).take_while(|b| *b == b' ').count();
        }
    }
    at
}

/// Bytes of white space that a text begins with.
fn white(text: &str) -> usize {
    text.graphemes(true).take_while(|grapheme| grapheme.trim().is_empty()).map(str::len).sum()
}

fn is_boundary(text: &str, at: usize) -> bool {
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

fn is_line_end(grapheme: &str) -> bool {
    matches!(grapheme, "\n" | "\r\n" | "\r")
}

fn width(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The longest prefix of at most `units` UTF-16 units, in bytes.
fn prefix(text: &str, units: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.len_utf16();
        if used > units {
            return at;
        }
    }
    text.len()
}
