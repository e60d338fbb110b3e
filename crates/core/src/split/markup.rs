//! What stands where in a Markdown text, as a CommonMark parser says.
//!
//! The parser is given one message's worth of text at a time, so that no input can make it slow. Block structure
//! depends only on the lines before, so what is found in such a window is what a reader of the part sees.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Longest info string that is repeated where a fence is opened again: names of languages are shorter.
const INFO_BYTES: usize = 32;

/// The structure of a text.
#[derive(Debug, Default)]
pub(super) struct Markup {
    /// Code blocks, in order.
    pub(super) code: Vec<Code>,
    /// List items and quotations, by their beginning.
    pub(super) holders: Vec<Holder>,
    /// Links, code spans and emphasis that stand in no other, in order.
    pub(super) spans: Vec<Range<usize>>,
}

/// A code block.
#[derive(Debug)]
pub(super) struct Code {
    /// All of it, with its fences.
    pub(super) all: Range<usize>,
    /// Its lines without the fences.
    pub(super) content: Range<usize>,
    /// `None` where it is indented.
    pub(super) fence: Option<Fence>,
    /// The list items and quotations around it, outermost first.
    pub(super) within: Vec<Holder>,
}

/// How a code block was opened.
#[derive(Debug)]
pub(super) struct Fence {
    /// The backticks or tildes.
    pub(super) run: String,
    /// The language; empty where none is given, or a long text stands in its place.
    pub(super) info: String,
    /// Columns before the run, within the list items and quotations around it: 0 to 3.
    pub(super) indent: usize,
    /// Whether a closing fence was found.
    pub(super) closed: bool,
}

/// A list item or a quotation.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    /// Where it stands.
    pub(super) all: Range<usize>,
    /// What opens it: `> `, `- `, `12. `.
    pub(super) first: String,
    /// What its other lines begin with.
    pub(super) next: String,
    /// Whether it is a quotation.
    pub(super) quote: bool,
}

impl Markup {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Markup {
        let mut found = Markup::default();
        let mut around: Vec<Holder> = Vec::new();
        let mut spans = 0_usize;
        // Of all that is open: what their lines begin with.
        let mut columns = 0;
        for (event, range) in Parser::new_ext(text, Options::empty()).into_offset_iter() {
            match event {
                Event::Start(Tag::BlockQuote(_) | Tag::Item) => {
                    let quote = matches!(event, Event::Start(Tag::BlockQuote(_)));
                    let holder = if quote { quotation(range) } else { item(text, range, &around, columns) };
                    columns += holder.next.len();
                    found.holders.push(holder.clone());
                    around.push(holder);
                }
                Event::End(TagEnd::BlockQuote(_) | TagEnd::Item) => {
                    columns -= around.pop().map_or(0, |holder| holder.next.len());
                }
                Event::Start(Tag::CodeBlock(kind)) => found.code.push(code(text, &kind, range, &around, columns)),
                Event::End(TagEnd::CodeBlock) => found.end_code(text),
                Event::Text(_) if spans == 0 => found.code_text(&range),
                Event::Start(Tag::Emphasis | Tag::Strong | Tag::Link { .. } | Tag::Image { .. }) => {
                    found.span(spans, range);
                    spans += 1;
                }
                Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link | TagEnd::Image) => spans -= 1,
                Event::Code(_) | Event::InlineHtml(_) => found.span(spans, range),
                _ => {}
            }
        }
        found
    }

    /// The code block that a place is in.
    pub(super) fn code_at(&self, at: usize) -> Option<&Code> {
        let before = self.code.partition_point(|code| code.all.start <= at);
        let code = &self.code[before.checked_sub(1)?];
        (at < code.all.end || code.open_at(at)).then_some(code)
    }

    /// Whether a place is in a link, a code span or emphasis.
    pub(super) fn in_span(&self, at: usize) -> bool {
        let before = self.spans.partition_point(|span| span.start < at);
        before.checked_sub(1).is_some_and(|nth| at < self.spans[nth].end)
    }

    /// The list items and quotations that began before a place and go on there, outermost first.
    pub(super) fn around(&self, at: usize) -> Vec<Holder> {
        self.holders.iter().filter(|holder| holder.all.start < at && at < holder.all.end).cloned().collect()
    }

    /// What closes the fence that is still open at the text's end.
    pub(super) fn closing(&self) -> String {
        let Some(code) = self.code.last() else { return String::new() };
        code.fence.as_ref().filter(|fence| !fence.closed).map_or_else(String::new, |fence| {
            format!("\n{}{}{}", nexts(&code.within), " ".repeat(fence.indent), fence.run)
        })
    }

    fn span(&mut self, around: usize, range: Range<usize>) {
        if around == 0 {
            self.spans.push(range);
        }
    }

    /// A text event lies in the last code block, or in no code.
    fn code_text(&mut self, range: &Range<usize>) {
        if let Some(code) = self.code.last_mut().filter(|code| range.end <= code.all.end) {
            code.content.end = code.content.end.max(range.end);
        }
    }

    fn end_code(&mut self, text: &str) {
        let Some(code) = self.code.last_mut() else { return };
        let Some(fence) = &mut code.fence else { return };
        let rest = text[code.content.end..code.all.end].trim_end();
        let run = rest.len() - rest.trim_end_matches(|c| fence.run.starts_with(c)).len();
        fence.closed = run >= fence.run.len();
    }
}

impl Code {
    /// Whether a fence that was never closed reaches to this place.
    fn open_at(&self, at: usize) -> bool {
        self.fence.as_ref().is_some_and(|fence| !fence.closed) && at >= self.all.end
    }

    /// Whether a line end at this place lies between two lines of code.
    pub(super) fn is_between_lines(&self, at: usize, next: usize) -> bool {
        let closed = self.fence.as_ref().is_some_and(|fence| fence.closed);
        at >= self.content.start && if closed { next < self.content.end } else { true }
    }

    /// Whether a place is in the line of its closing fence.
    pub(super) fn is_closing(&self, at: usize) -> bool {
        self.fence.as_ref().is_some_and(|fence| fence.closed) && at >= self.content.end
    }
}

/// What a line within these begins with.
pub(super) fn nexts(holders: &[Holder]) -> String {
    holders.iter().map(|holder| holder.next.as_str()).collect()
}

/// What opens all of these in one line.
pub(super) fn firsts(holders: &[Holder]) -> String {
    holders.iter().map(|holder| holder.first.as_str()).collect()
}

/// Columns of white space that a text begins with, and their bytes.
pub(super) fn indent(text: &str) -> (usize, usize) {
    let (mut columns, mut bytes) = (0, 0);
    for c in text.chars() {
        match c {
            ' ' => columns += 1,
            '\t' => columns += 4 - columns % 4,
            _ => break,
        }
        bytes += 1;
    }
    (columns, bytes)
}

fn quotation(all: Range<usize>) -> Holder {
    Holder { all, first: "> ".into(), next: "> ".into(), quote: true }
}

fn item(text: &str, all: Range<usize>, around: &[Holder], columns: usize) -> Holder {
    let source = &text[all.clone()];
    let (_, skip) = indent(source);
    let marker = marker(&source[skip..]);
    let behind = &source[(skip + marker.len()).min(source.len())..];
    let (gap, bytes) = indent(behind);
    let blank = behind[bytes..].starts_with(['\n', '\r']) || behind.len() == bytes;
    // Five columns and more are one column and code.
    let pad = if blank || !(1..=4).contains(&gap) { 1 } else { gap };
    let begun_here = around.last().is_some_and(|last| !text[last.all.start..all.start].contains(['\n', '\r']));
    let before = line_start(text, all.start + skip);
    let own = if begun_here { 0 } else { columns_of(&text[before..all.start + skip]).saturating_sub(columns).min(3) };
    let pad_first = (own + pad).min(4);
    Holder {
        all,
        first: format!("{marker}{}", " ".repeat(pad_first)),
        next: " ".repeat(marker.len() + pad_first),
        quote: false,
    }
}

/// The bullet or number that a list item begins with.
fn marker(item: &str) -> &str {
    let digits = item.bytes().take_while(u8::is_ascii_digit).count();
    item.get(..digits + 1).unwrap_or("-")
}

fn code(text: &str, kind: &CodeBlockKind<'_>, all: Range<usize>, around: &[Holder], columns: usize) -> Code {
    let within = around.to_vec();
    let CodeBlockKind::Fenced(_) = kind else { return Code { content: all.clone(), all, fence: None, within } };
    let (_, skip) = indent(&text[all.clone()]);
    let at = all.start + skip;
    let opener = &text[at..line_end(text, at)];
    let mark = opener.chars().next().unwrap_or('`');
    let info = opener.trim_start_matches(mark);
    let run = opener[..opener.len() - info.len()].to_owned();
    let word = info.split_whitespace().next().filter(|word| word.len() <= INFO_BYTES).unwrap_or_default();
    let column = columns_of(&text[line_start(text, at)..at]);
    let fence = Fence { run, info: word.to_owned(), indent: column.saturating_sub(columns).min(3), closed: false };
    let begin = next_line(text, at).min(all.end);
    Code { all, content: begin..begin, fence: Some(fence), within }
}

fn columns_of(text: &str) -> usize {
    text.chars().fold(0, |columns, c| if c == '\t' { columns + 4 - columns % 4 } else { columns + 1 })
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find(['\n', '\r']).map_or(text.len(), |end| at + end)
}

fn next_line(text: &str, at: usize) -> usize {
    let end = line_end(text, at);
    end + if text[end..].starts_with("\r\n") { 2 } else { usize::from(end < text.len()) }
}
