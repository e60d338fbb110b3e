//! A picker on a screen: one line of search, the rows, what the selected one was about,
//! one line for the person. Only what is shown is looked at, so that the length of the
//! list costs nothing. Nothing is decided here. What the rows are of is said by [`Drawn`].

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;
use ride_core::wire::{Mode, Row};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::preview::{Said, Speaker};
use super::search::{Found, Searched};
use super::selection::Choice;
use super::state::{Known, Picker};
use crate::render::{self, age, clean, count};

/// A terminal narrower than this has no preview: list and preview would both tell too little.
const PREVIEW_FROM: u16 = 100;
/// Columns of the time since a row's last activity.
const AGE: usize = 4;
/// A column of names (channel, agent, project) wider than this is cut.
const MAX_NAME: usize = 12;
/// A title is not cut below this for the sake of what stands behind it.
const MIN_TITLE: usize = 16;
/// Lines of one text in the preview, so that one long answer does not hide the others.
const MAX_LINES: usize = 8;

/// Lines that explain the keys.
const HELP_LINES: u16 = 3;

/// What differs between the lists that are picked from.
pub trait Drawn {
    /// The list.
    type List: Searched;
    /// What is looked at.
    fn choice(&self) -> &Choice<Self::List>;
    /// The same, to find what is shown.
    fn choice_mut(&mut self) -> &mut Choice<Self::List>;
    /// What Enter does, in a word.
    fn verb(&self) -> &'static str;
    /// What is searched, in words.
    fn searched(&self) -> &'static str;
    /// What to say of a list without a row.
    fn empty(&self) -> [&'static str; 2];
    /// A row; its title is the list's.
    fn line(&self, at: usize) -> RowLook;
    /// Three lines on the selected row: title, what it belongs to, its key.
    fn head(&self, at: usize) -> [String; 3];
    /// What is below them, at the bottom of so many lines of a width.
    fn body<'a>(&self, at: usize, width: usize, room: usize, look: Look) -> Vec<Line<'a>>;
    /// What is wrong, before the keys are told.
    fn alarm(&self) -> Option<String>;
}

/// A row beside its title.
#[derive(Clone, Debug, Default)]
pub struct RowLook {
    /// Its last activity, wall clock.
    pub at_ms: Option<u64>,
    /// Columns before the title; what was found in the first is marked.
    pub names: Vec<String>,
    /// What else there is to know, behind the title.
    pub state: String,
    /// Whether that stands out.
    pub stands_out: bool,
    /// Whether it cannot be had.
    pub dim: bool,
}

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
        let help_lines = if help { HELP_LINES } else { 0 };
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

    /// How many rows there is room for.
    pub fn rows(&self) -> usize {
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
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn found(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        if self.colour { style.fg(Color::Yellow) } else { style }
    }

    pub(super) fn mark(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Cyan) } else { style }
    }

    pub(super) fn alarm(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Red) } else { style }
    }
}

/// Draws a picker.
pub fn draw<P: Drawn>(frame: &mut Frame<'_>, picker: &mut P, look: Look) {
    let panes = Panes::of(frame.area(), picker.choice().help());
    search(frame, panes.search, picker.choice(), look);
    put(frame, panes.rule, 0, Line::styled("─".repeat(usize::from(panes.rule.width)), look.dim()));
    list(frame, panes.list, picker, look);
    if let Some(area) = panes.preview {
        preview(frame, area, picker, look);
    }
    let help: [String; HELP_LINES as usize] = [
        format!("type to search {}; all words fit", picker.searched()),
        "↑ ↓ Ctrl-P Ctrl-N · PgUp PgDn · Home End · Ctrl-U clears".to_owned(),
        format!("Enter {}s · Esc or Ctrl-C leaves · ? or F1 hides this", picker.verb()),
    ];
    for (y, text) in (0..panes.help.height).zip(help) {
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

fn search<L: Searched>(frame: &mut Frame<'_>, area: Rect, choice: &Choice<L>, look: Look) {
    let (fitting, all) = (choice.fitting(), choice.list().rows());
    let tally = if choice.query().text().trim().is_empty() {
        thousands(all)
    } else {
        format!("{} of {}", thousands(fitting), thousands(all))
    };
    let width = usize::from(area.width);
    let room = width.saturating_sub(3 + tally.width() + 1);
    // The end of what stands before the cursor is what is looked at while typing.
    let before = fit_end(choice.query().before(), room);
    let after = fit(&choice.query().text()[choice.query().before().len()..], room - before.width().min(room));
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

fn list<P: Drawn>(frame: &mut Frame<'_>, area: Rect, picker: &mut P, look: Look) {
    let shown = picker.choice_mut().shown();
    if shown.is_empty() {
        let nothing = picker.choice().list().rows() == 0;
        let lines = if nothing { picker.empty() } else { ["nothing fits", "Ctrl-U clears the search"] };
        for (y, text) in (1..).zip(lines) {
            put(frame, area, y, Line::styled(fit(&format!("   {text}"), usize::from(area.width)), look.dim()));
        }
        return;
    }
    let rows: Vec<RowLook> = shown.iter().map(|(at, ..)| picker.line(*at)).collect();
    let count = rows.iter().map(|row| row.names.len()).max().unwrap_or(0);
    let wide = |column: usize| {
        rows.iter().filter_map(|row| row.names.get(column)).map(|name| name.width()).max().unwrap_or(1).min(MAX_NAME)
    };
    let columns = Columns {
        names: (0..count).map(wide).collect(),
        width: usize::from(area.width),
        now_ms: picker.choice().now_ms,
    };
    for ((y, row), (at, selected, found)) in (0..area.height).zip(rows).zip(&shown) {
        put(frame, area, y, line(row, picker.choice().list().title(*at).text(), *selected, found, &columns, look));
    }
}

/// How wide the list's columns are.
struct Columns {
    names: Vec<usize>,
    width: usize,
    now_ms: u64,
}

fn line<'a>(row: RowLook, title: &str, selected: bool, found: &Found, columns: &Columns, look: Look) -> Line<'a> {
    let mut spans = vec![if selected { Span::styled(" ▸ ", look.mark()) } else { Span::raw("   ") }];
    let ago = row.at_ms.map_or_else(|| "-".to_owned(), |at| age(columns.now_ms, at));
    spans.push(Span::styled(format!("{ago:>AGE$}  "), look.dim()));
    for (nth, (name, width)) in row.names.iter().zip(&columns.names).enumerate() {
        let found: &[u32] = if nth == 0 { &found.name } else { &[] };
        letters(&mut spans, &padded(name, *width), found, Style::new(), look);
        spans.push(Span::raw("  "));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let room = columns.width.saturating_sub(used);
    let state = fit(&row.state, room.saturating_sub(title.width().min(MIN_TITLE) + 2));
    let title_room = room.saturating_sub(if state.is_empty() { 0 } else { state.width() + 2 });
    let shown = fit(title, title_room);
    letters(&mut spans, &shown, &found.title, Style::new(), look);
    if !state.is_empty() {
        spans.push(Span::raw(" ".repeat(title_room - shown.width() + 2)));
        spans.push(Span::styled(state, if row.stands_out { look.mark() } else { look.dim() }));
    }
    let line = Line::from(spans);
    match (selected, row.dim) {
        (true, _) => line.patch_style(Modifier::BOLD),
        (false, true) => line.patch_style(look.dim()),
        (false, false) => line,
    }
}

impl Drawn for Picker {
    type List = super::search::Threads;

    fn choice(&self) -> &Choice<Self::List> {
        Picker::choice(self)
    }

    fn choice_mut(&mut self) -> &mut Choice<Self::List> {
        Picker::choice_mut(self)
    }

    fn verb(&self) -> &'static str {
        Picker::verb(self)
    }

    fn searched(&self) -> &'static str {
        "title, channel, agent and ids"
    }

    fn empty(&self) -> [&'static str; 2] {
        ["the gateway has no threads yet", "write to your agent in a channel: the conversation appears here"]
    }

    fn line(&self, at: usize) -> RowLook {
        let row = &self.threads().rows()[at];
        let mut names = vec![row.channel.as_ref().map_or_else(|| "-".to_owned(), clean)];
        names.extend(self.threads().several_agents().then(|| clean(&row.agent_id)));
        RowLook {
            at_ms: row.last_activity,
            names,
            state: state(row),
            stands_out: row.driver.is_some(),
            dim: !row.rideable,
        }
    }

    fn head(&self, at: usize) -> [String; 3] {
        let row = &self.threads().rows()[at];
        let route = [row.channel.as_ref().map(clean), row.conversation_id.as_deref().map(clean)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        // With Claude Code is the rule, and not worth a word.
        let by = if row.mode == Some(Mode::Chat) { " · by chat" } else { "" };
        [clean(&row.title), format!("{route} · agent {}{by}", clean(&row.agent_id)), clean(&row.key)]
    }

    fn body<'a>(&self, _at: usize, width: usize, room: usize, look: Look) -> Vec<Line<'a>> {
        turns(self.preview(), width, room, self.choice().now_ms, look)
    }

    fn alarm(&self) -> Option<String> {
        self.down().map(|why| format!("the connection was lost, trying again: {}", clean(why)))
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
        // The ellipsis stands for text that was cut off: it is never highlighted.
        let is_found = found.binary_search(&at).is_ok() && grapheme != "…";
        if is_found != in_found && !run.is_empty() {
            spans.push(Span::styled(std::mem::take(&mut run), if in_found { look.found() } else { style }));
        }
        in_found = is_found;
        run.push_str(grapheme);
    }
    spans.push(Span::styled(run, if in_found { look.found() } else { style }));
}

fn preview<P: Drawn>(frame: &mut Frame<'_>, area: Rect, picker: &P, look: Look) {
    let edge = Rect { x: area.x.saturating_sub(2), width: 1, ..area };
    for y in 0..edge.height {
        put(frame, edge, y, Line::styled("│", look.dim()));
    }
    let Some(at) = picker.choice().selected() else { return };
    let width = usize::from(area.width);
    let head = picker.head(at);
    let below = area.height.saturating_sub(head.len() as u16 + 1);
    for (y, text) in (0..).zip(head) {
        let style = if y == 0 { Modifier::BOLD.into() } else { look.dim() };
        put(frame, area, y, Line::styled(fit(&text, width), style));
    }
    let mut lines = picker.body(at, width, usize::from(below), look);
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
    lines.extend(quoted(&said.lines, width));
    lines
}

/// A text's lines, set in, as many as are worth it.
pub(super) fn quoted<'a>(said: &[String], width: usize) -> Vec<Line<'a>> {
    let mut texts: Vec<String> = said.iter().flat_map(|line| wrapped(line, width.saturating_sub(2))).collect();
    if texts.len() > MAX_LINES {
        texts.truncate(MAX_LINES - 1);
        texts.push("…".to_owned());
    }
    texts.into_iter().map(|text| Line::raw(format!("  {text}"))).collect()
}

fn foot<P: Drawn>(frame: &mut Frame<'_>, area: Rect, picker: &P, look: Look) {
    let width = usize::from(area.width);
    let (text, style) = match (picker.choice().note(), picker.alarm()) {
        (Some(note), _) => (clean(note), look.alarm()),
        (None, Some(alarm)) => (alarm, look.alarm()),
        (None, None) => (format!("Enter {} · Esc leave · ? help", picker.verb()), look.dim()),
    };
    put(frame, area, 0, Line::styled(fit(&format!(" {text}"), width), style));
}

/// Text cut to a width between what a person takes for characters, with an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> String {
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
