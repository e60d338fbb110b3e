//! The picker on a screen: one line of search, the threads, what the selected one was
//! about, one line for the person. Only what is shown is looked at, so that the length
//! of the list costs nothing. Nothing is decided here.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;
use ride_core::wire::{Mode, Row};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::preview::{Said, Speaker};
use super::search::Found;
use super::state::{Known, Picker};
use crate::render::{self, age, clean, count};

/// A terminal narrower than this has no preview: list and preview would both tell too little.
const PREVIEW_FROM: u16 = 100;
/// Columns of the time since a thread's last activity.
const AGE: usize = 4;
/// A channel or agent column wider than this is cut.
const MAX_NAME: usize = 12;
/// A title is not cut below this for the sake of what stands behind it.
const MIN_TITLE: usize = 16;
/// Lines of one text in the preview, so that one long answer does not hide the others.
const MAX_LINES: usize = 8;

const KEYS: &str = "Enter ride · Esc leave · ? help";
const HELP: [&str; 3] = [
    "type to search title, channel, agent and ids; all words fit",
    "↑ ↓ Ctrl-P Ctrl-N · PgUp PgDn · Home End · Ctrl-U clears",
    "Enter rides · Esc or Ctrl-C leaves · ? or F1 hides this",
];

/// Where things are on a screen of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panes {
    search: Rect,
    rule: Rect,
    list: Rect,
    preview: Option<Rect>,
    help: Rect,
    foot: Rect,
}

impl Panes {
    /// Divides a screen.
    pub fn of(area: Rect, help: bool) -> Panes {
        let line = |y: u16, height: u16| Rect { y, height, ..area }.intersection(area);
        let (top, foot) = (area.y, area.bottom().saturating_sub(1));
        let help_lines = if help { HELP.len() as u16 } else { 0 };
        let help = foot.saturating_sub(help_lines).max(top + 3);
        let middle = line(top + 2, help.saturating_sub(top + 2));
        let list_width = if area.width >= PREVIEW_FROM { area.width * 11 / 20 } else { area.width };
        // Between them a blank, the edge and another blank.
        let preview = (area.width >= PREVIEW_FROM).then(|| Rect {
            x: middle.x + list_width + 3,
            width: area.width.saturating_sub(list_width + 3),
            ..middle
        });
        Panes {
            search: line(top, 1),
            rule: line(top + 1, 1),
            list: Rect { width: list_width, ..middle },
            preview,
            help: line(help, foot.saturating_sub(help)),
            foot: line(foot.max(top + 1), 1),
        }
    }

    /// How many threads there is room for.
    pub fn threads(&self) -> usize {
        usize::from(self.list.height)
    }

    /// Whether there is room for a preview.
    pub fn has_preview(&self) -> bool {
        self.preview.is_some()
    }
}

/// What may be written.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether colours may be used.
    pub colour: bool,
}

impl Look {
    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn found(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        if self.colour { style.fg(Color::Yellow) } else { style }
    }

    fn mark(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Cyan) } else { style }
    }

    fn alarm(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Red) } else { style }
    }
}

/// Draws the picker.
pub fn draw(frame: &mut Frame<'_>, picker: &mut Picker, look: Look) {
    let panes = Panes::of(frame.area(), picker.help());
    search(frame, panes.search, picker, look);
    put(frame, panes.rule, 0, Line::styled("─".repeat(usize::from(panes.rule.width)), look.dim()));
    list(frame, panes.list, picker, look);
    if let Some(area) = panes.preview {
        preview(frame, area, picker, look);
    }
    for (y, text) in (0..panes.help.height).zip(HELP) {
        put(frame, panes.help, y, Line::styled(fit(&format!(" {text}"), usize::from(panes.help.width)), look.dim()));
    }
    foot(frame, panes.foot, picker, look);
}

/// Writes a line over whatever stood there.
fn put(frame: &mut Frame<'_>, area: Rect, y: u16, line: Line<'_>) {
    if y < area.height {
        let area = Rect { y: area.y + y, height: 1, ..area };
        frame.render_widget(Clear, area);
        frame.render_widget(line, area);
    }
}

fn search(frame: &mut Frame<'_>, area: Rect, picker: &Picker, look: Look) {
    let (fitting, all) = (picker.fitting(), picker.threads().rows().len());
    let tally = if picker.query().text().trim().is_empty() { thousands(all) } else { format!("{} of {}", thousands(fitting), thousands(all)) };
    let width = usize::from(area.width);
    let room = width.saturating_sub(3 + tally.width() + 1);
    // The end of what stands before the cursor is what is looked at while typing.
    let before = fit_end(picker.query().before(), room);
    let after = fit(&picker.query().text()[picker.query().before().len()..], room - before.width().min(room));
    let gap = width.saturating_sub(3 + before.width() + after.width() + tally.width());
    let cursor = u16::try_from(3 + before.width()).unwrap_or(u16::MAX);
    let line = Line::from(vec![
        Span::styled(" › ", look.mark()),
        Span::raw(before),
        Span::raw(after),
        Span::raw(" ".repeat(gap)),
        Span::styled(tally, look.dim()),
    ]);
    put(frame, area, 0, line);
    if area.height > 0 && cursor < area.width {
        frame.set_cursor_position(Position { x: area.x + cursor, y: area.y });
    }
}

fn list(frame: &mut Frame<'_>, area: Rect, picker: &mut Picker, look: Look) {
    let shown = picker.shown();
    let threads = picker.threads();
    if shown.is_empty() {
        let lines: &[&str] = if threads.rows().is_empty() {
            &["the gateway has no threads yet", "write to your agent in a channel: the conversation appears here"]
        } else {
            &["nothing fits", "Ctrl-U clears the search"]
        };
        for (y, text) in (1..).zip(lines) {
            put(frame, area, y, Line::styled(fit(&format!("   {text}"), usize::from(area.width)), look.dim()));
        }
        return;
    }
    let names = |name: &dyn Fn(&Row) -> Option<String>| {
        shown.iter().filter_map(|(at, ..)| name(&threads.rows()[*at])).map(|name| name.width()).max().unwrap_or(1).min(MAX_NAME)
    };
    let columns = Columns {
        channel: names(&|row| row.channel.as_deref().map(clean)),
        agent: threads.several_agents().then(|| names(&|row| Some(clean(&row.agent_id)))),
        width: usize::from(area.width),
        now_ms: picker.now_ms(),
    };
    for (y, (at, selected, found)) in (0..area.height).zip(&shown) {
        put(frame, area, y, thread(&threads.rows()[*at], threads.title(*at), *selected, found, columns, look));
    }
}

/// How wide the list's columns are.
#[derive(Clone, Copy)]
struct Columns {
    channel: usize,
    agent: Option<usize>,
    width: usize,
    now_ms: u64,
}

fn thread<'a>(row: &Row, title: &str, selected: bool, found: &Found, columns: Columns, look: Look) -> Line<'a> {
    let mut spans = vec![if selected { Span::styled(" ▸ ", look.mark()) } else { Span::raw("   ") }];
    let ago = row.last_activity.map_or_else(|| "-".to_owned(), |at| age(columns.now_ms, at));
    spans.push(Span::styled(format!("{ago:>AGE$}  "), look.dim()));
    let channel = row.channel.as_deref().map_or_else(|| "-".to_owned(), clean);
    letters(&mut spans, &padded(&channel, columns.channel), &found.channel, Style::new(), look);
    spans.push(Span::raw("  "));
    if let Some(width) = columns.agent {
        spans.push(Span::raw(format!("{}  ", padded(&clean(&row.agent_id), width))));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let room = columns.width.saturating_sub(used);
    let state = state(row);
    let state = fit(&state, room.saturating_sub(title.width().min(MIN_TITLE) + 2));
    let title_room = room.saturating_sub(if state.is_empty() { 0 } else { state.width() + 2 });
    let shown = fit(title, title_room);
    letters(&mut spans, &shown, &found.title, Style::new(), look);
    if !state.is_empty() {
        spans.push(Span::raw(" ".repeat(title_room - shown.width() + 2)));
        spans.push(Span::styled(state, if row.driver.is_some() { look.mark() } else { look.dim() }));
    }
    let line = Line::from(spans);
    match (selected, row.rideable) {
        (true, _) => line.patch_style(Modifier::BOLD),
        (false, false) => line.patch_style(look.dim()),
        (false, true) => line,
    }
}

/// What else there is to know of a thread: its driver, or why it cannot be ridden.
fn state(row: &Row) -> String {
    let mut parts = Vec::new();
    if row.waiting > 0 {
        parts.push(count(row.waiting, "waiting", "waiting"));
    }
    if row.shared {
        parts.push("shared".to_owned());
    }
    match (&row.driver, &row.why_not) {
        (Some(holder), _) => parts.push(render::holder(holder)),
        (None, Some(why)) => parts.push(clean(why)),
        (None, None) if !row.rideable => parts.push("cannot be ridden".to_owned()),
        (None, None) => {}
    }
    parts.join(" · ")
}

/// Text with the found letters (by grapheme) told apart.
fn letters(spans: &mut Vec<Span<'_>>, text: &str, found: &[u32], style: Style, look: Look) {
    let mut run = String::new();
    let mut in_found = false;
    for (at, grapheme) in (0..).zip(text.graphemes(true)) {
        // What was cut off shows as an ellipsis, which nobody searched for.
        let is_found = found.binary_search(&at).is_ok() && grapheme != "…";
        if is_found != in_found && !run.is_empty() {
            spans.push(Span::styled(std::mem::take(&mut run), if in_found { look.found() } else { style }));
        }
        in_found = is_found;
        run.push_str(grapheme);
    }
    spans.push(Span::styled(run, if in_found { look.found() } else { style }));
}

fn preview(frame: &mut Frame<'_>, area: Rect, picker: &Picker, look: Look) {
    let edge = Rect { x: area.x.saturating_sub(2), width: 1, ..area };
    for y in 0..edge.height {
        put(frame, edge, y, Line::styled("│", look.dim()));
    }
    let Some(row) = picker.selected_row() else { return };
    let width = usize::from(area.width);
    let route = [row.channel.as_deref(), row.conversation_id.as_deref()].into_iter().flatten().map(clean).collect::<Vec<_>>().join(" ");
    // With Claude Code is the rule, and not worth a word.
    let by = if row.mode == Some(Mode::Chat) { " · by chat" } else { "" };
    let head = [
        Line::styled(fit(&clean(&row.title), width), Modifier::BOLD),
        Line::styled(fit(&format!("{route} · agent {}{by}", clean(&row.agent_id)), width), look.dim()),
        Line::styled(fit(&clean(&row.key), width), look.dim()),
    ];
    let below = area.height.saturating_sub(head.len() as u16 + 1);
    for (y, line) in (0..).zip(head) {
        put(frame, area, y, line);
    }
    let mut lines = turns(picker.preview(), width, usize::from(below), picker.now_ms(), look);
    lines.truncate(usize::from(below));
    let begin = area.height - lines.len().min(usize::from(area.height)) as u16;
    for (y, line) in (begin..).zip(lines) {
        put(frame, area, y, line);
    }
}

/// The last turns that there is room for, oldest first.
fn turns<'a>(known: Option<&Known>, width: usize, room: usize, now_ms: u64, look: Look) -> Vec<Line<'a>> {
    let told = |text: &str| vec![Line::styled(fit(text, width), look.dim())];
    let said = match known.map(|known| &known.preview) {
        None => return told("…"),
        Some(Err(why)) => return told(&format!("its last turns could not be read: {}", clean(why))),
        Some(Ok(preview)) if preview.said.is_empty() => return told("nothing was said here yet"),
        Some(Ok(preview)) => &preview.said,
    };
    let mut lines = Vec::new();
    for said in said.iter().rev() {
        let mut turn = turn(said, width, now_ms, look);
        if lines.len() + turn.len() > room {
            // What is cut is the beginning of the oldest.
            turn.drain(..(lines.len() + turn.len() - room).min(turn.len()));
            turn.append(&mut lines);
            return turn;
        }
        turn.append(&mut lines);
        lines = turn;
    }
    lines
}

fn turn<'a>(said: &Said, width: usize, now_ms: u64, look: Look) -> Vec<Line<'a>> {
    let by = match &said.by {
        Speaker::Agent => "agent".to_owned(),
        Speaker::Person(name) => name.clone().unwrap_or_else(|| "somebody".to_owned()),
        Speaker::Terminal => "terminal".to_owned(),
    };
    let ago = said.at_ms.map_or_else(String::new, |at| format!("  {}", age(now_ms, at)));
    let name = if said.by == Speaker::Agent { look.dim() } else { look.mark() };
    let mut lines = vec![Line::from(vec![Span::styled(fit(&by, width), name), Span::styled(ago, look.dim())])];
    let mut texts: Vec<String> = said.lines.iter().flat_map(|line| wrapped(line, width.saturating_sub(2))).collect();
    if texts.len() > MAX_LINES {
        texts.truncate(MAX_LINES - 1);
        texts.push("…".to_owned());
    }
    lines.extend(texts.into_iter().map(|text| Line::raw(format!("  {text}"))));
    lines
}

fn foot(frame: &mut Frame<'_>, area: Rect, picker: &Picker, look: Look) {
    let width = usize::from(area.width);
    let (text, style) = match (picker.note(), picker.down()) {
        (Some(note), _) => (clean(note), look.alarm()),
        (None, Some(why)) => (format!("the connection was lost, trying again: {}", clean(why)), look.alarm()),
        (None, None) => (KEYS.to_owned(), look.dim()),
    };
    put(frame, area, 0, Line::styled(fit(&format!(" {text}"), width), style));
}

/// Text cut to a width between what a person takes for characters, with an ellipsis.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        used += grapheme.width();
        if used + 1 > width {
            break;
        }
        out.push_str(grapheme);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// As [`fit`], keeping the end.
fn fit_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let kept = text.grapheme_indices(true).rev().take_while(|(_, grapheme)| {
        used += grapheme.width();
        used <= width
    });
    let from = kept.last().map_or(text.len(), |(at, _)| at);
    if width > 0 { format!("…{}", &text[from..]) } else { String::new() }
}

fn padded(text: &str, width: usize) -> String {
    let text = fit(text, width);
    let pad = width.saturating_sub(text.width());
    text + &" ".repeat(pad)
}

/// A line broken between words, and within one that is longer than a line.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in line.split_word_bounds() {
        let long = word.width();
        if used + long > width && used > 0 && !word.trim().is_empty() {
            lines.push(String::new());
            used = 0;
        }
        for grapheme in word.graphemes(true) {
            if used + grapheme.width() > width {
                lines.push(String::new());
                used = 0;
            }
            // A line does not begin with the blank it was broken at.
            if used == 0 && lines.len() > 1 && grapheme.trim().is_empty() {
                continue;
            }
            used += grapheme.width();
            if let Some(last) = lines.last_mut() {
                last.push_str(grapheme);
            }
        }
    }
    lines
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
