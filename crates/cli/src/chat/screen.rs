//! The terminal of a chat ride: what was said scrolls by like any program's output, and
//! below it stand the answer as it comes, a line on how things are, and the prompt.
//!
//! Invariant: nothing a person or the agent wrote reaches the terminal before control
//! and invisible characters are taken out. The terminal is left as it was found,
//! whatever ends this process in an orderly way. Nothing is decided here.

use std::io::{self, Write as _};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveToColumn, MoveUp, Show as ShowCursor};
use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use crossterm::{QueueableCommand as _, execute, terminal};
use ratatui_textarea::{CursorMove, TextArea};
use ride_core::wire::Waiting;
use tokio::sync::mpsc;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::state::Show;
use super::wire::Line as Said;
use crate::link::Status;
use crate::render::{clean, cut};

/// Rows of the prompt that are shown; a longer one scrolls.
const INPUT_ROWS: usize = 8;
/// Prompts typed ahead that are shown.
const QUEUED_ROWS: usize = 3;
/// How long the thread that reads keys waits before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);
/// Prompts that the arrow keys bring back.
const REMEMBERED: usize = 200;
/// Rows of each message of the thread's last turns; the thread has them whole.
const TOLD_ROWS: usize = 6;
/// Narrower than this nothing is wrapped sensibly.
const MIN_COLUMNS: usize = 10;

/// What the person did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Wrote a prompt.
    Prompt(String),
    /// Wants the running turn to end.
    Interrupt,
    /// Wants to leave.
    Leave,
    /// Edited, or nothing that matters.
    Nothing,
    /// The terminal is gone.
    Gone,
}

/// The terminal, while the ride has it.
pub struct Screen {
    keys: mpsc::Receiver<Event>,
    input: TextArea<'static>,
    past: Vec<String>,
    /// Which of them is shown.
    recalled: Option<usize>,
    coming: Coming,
    /// Rows that are to scroll by, not written yet.
    scrolling: Vec<Row>,
    /// What stands below, as it was last written, and in which of its rows the cursor is.
    below: (Vec<Row>, (usize, usize)),
    _raw: Raw,
}

/// A row of text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    text: String,
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Quiet,
    Status,
    Warning,
}

/// The answer that comes: its finished rows scroll by already.
#[derive(Debug, Default)]
struct Coming {
    text: String,
    columns: usize,
    scrolled: usize,
}

/// Raw mode, given back when dropped.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Raw> {
        terminal::enable_raw_mode()?;
        let raw = Raw;
        execute!(io::stdout(), EnableBracketedPaste)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nothing to be done about a terminal that does not take it.
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        let _ = terminal::disable_raw_mode();
    }
}

impl Screen {
    /// Takes the terminal and shows where the thread is.
    pub fn open(title: &str, last: &[Said]) -> io::Result<Screen> {
        let raw = Raw::enter()?;
        let (key_in, keys) = mpsc::channel(64);
        std::thread::Builder::new().name("keys".into()).spawn(move || read_keys(&key_in))?;
        let mut screen = Screen {
            keys,
            input: TextArea::default(),
            past: Vec::new(),
            recalled: None,
            coming: Coming::default(),
            scrolling: Vec::new(),
            below: (Vec::new(), (0, 0)),
            _raw: raw,
        };
        screen.scroll(&format!("── {} ──", clean(title)), Style::Bold, "");
        for said in last {
            let rows = wrapped(&cleaned(&said.text), columns());
            let more = if rows.len() > TOLD_ROWS { "\n…" } else { "" };
            let text = rows[..rows.len().min(TOLD_ROWS)].join("\n") + more;
            screen.scroll(&text, Style::Quiet, if said.agent { "● " } else { "> " });
        }
        Ok(screen)
    }

    /// Gives the terminal back, with the cursor below everything.
    pub fn close(mut self) {
        // A terminal that cannot be written to is gone, and nobody reads it.
        let _ = self.write(Vec::new(), (0, 0));
    }

    /// What the person does next.
    pub async fn typed(&mut self) -> Typed {
        match self.keys.recv().await {
            None => Typed::Gone,
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release => self.key(key),
            Some(Event::Resize(..)) => {
                // The rows below may be broken anew; what is drawn next stands under them.
                self.below.0.clear();
                Typed::Nothing
            }
            Some(Event::Paste(text)) => {
                self.input.insert_str(text.replace("\r\n", "\n").replace('\r', "\n"));
                Typed::Nothing
            }
            Some(_) => Typed::Nothing,
        }
    }

    fn key(&mut self, key: KeyEvent) -> Typed {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl && !self.input.is_empty() => self.empty(),
            KeyCode::Char('c') if ctrl => return Typed::Interrupt,
            KeyCode::Esc => return Typed::Interrupt,
            KeyCode::Char('d') if ctrl && self.input.is_empty() => return Typed::Leave,
            KeyCode::Char('l') if ctrl => {
                let _ = execute!(io::stdout(), Clear(ClearType::All), crossterm::cursor::MoveTo(0, 0));
                self.below = (Vec::new(), (0, 0));
            }
            KeyCode::Char('j') if ctrl => self.input.insert_newline(),
            KeyCode::Enter if key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SHIFT) => {
                self.input.insert_newline()
            }
            KeyCode::Enter => return self.submit(),
            KeyCode::Up if self.input.cursor().0 == 0 => self.recall(true),
            KeyCode::Down if self.input.cursor().0 + 1 == self.input.lines().len() => self.recall(false),
            _ => {
                self.input.input(Event::Key(key));
            }
        }
        Typed::Nothing
    }

    fn submit(&mut self) -> Typed {
        if self.input.lines().last().is_some_and(|line| line.ends_with('\\')) {
            self.input.move_cursor(CursorMove::Bottom);
            self.input.move_cursor(CursorMove::End);
            self.input.delete_char();
            self.input.insert_newline();
            return Typed::Nothing;
        }
        let text = self.input.lines().join("\n");
        match text.trim() {
            "" => return Typed::Nothing,
            "/exit" | "/quit" => {
                self.empty();
                return Typed::Leave;
            }
            "/help" => {
                self.empty();
                self.scroll(HELP, Style::Quiet, "  ");
                return Typed::Nothing;
            }
            _ => {}
        }
        if self.past.len() == REMEMBERED {
            self.past.remove(0);
        }
        self.past.push(text.clone());
        self.empty();
        Typed::Prompt(text)
    }

    /// The prompt before the one that is shown, or after it.
    fn recall(&mut self, back: bool) {
        let at = match (self.recalled, back) {
            (None, true) => self.past.len().checked_sub(1),
            (Some(at), true) => Some(at.saturating_sub(1)),
            (None, false) => return,
            (Some(at), false) => Some(at + 1).filter(|at| *at < self.past.len()),
        };
        let text = at.and_then(|at| self.past.get(at)).cloned();
        self.empty();
        self.recalled = at;
        self.input.insert_str(text.unwrap_or_default());
    }

    fn empty(&mut self) {
        self.input = TextArea::default();
        self.recalled = None;
    }

    /// Shows what came, once.
    pub fn show(&mut self, show: &Show) {
        match show {
            Show::Prompt(text) => self.scroll(text, Style::Bold, "> "),
            Show::Answer { text, .. } => {
                self.come(text);
                self.end_answer();
            }
            Show::NoAnswer { why, .. } => {
                self.end_answer();
                self.scroll(&format!("({why})"), Style::Warning, "  ");
            }
            Show::Waiting(waiting) => self.scroll(&waits(waiting), Style::Warning, ""),
            Show::Note(text) => self.scroll(text, Style::Quiet, "  "),
        }
    }

    /// Draws what scrolled by and what stands below.
    pub fn draw<'a>(&mut self, status: &Status, answer: &str, queued: impl Iterator<Item = &'a str>) {
        if !answer.is_empty() {
            self.come(answer);
        }
        let columns = columns();
        let coming = wrapped(&self.coming.text, self.coming.columns.max(MIN_COLUMNS));
        let mut rows: Vec<Row> = Vec::new();
        if !self.coming.text.is_empty() {
            rows.extend((self.coming.scrolled..coming.len()).map(|n| Row::new(answer_row(&coming, n), Style::Plain)));
        }
        rows.extend(
            queued
                .take(QUEUED_ROWS)
                .map(|text| Row::new(cut(&format!("  next: {}", clean(text)), columns), Style::Quiet)),
        );
        let style = if status.warn { Style::Warning } else { Style::Status };
        rows.push(Row::new(cut(&status.line, columns), style));
        let (input, (row, column)) = typed_rows(
            self.input.lines(),
            (self.input.cursor().0, self.input.cursor().1),
            columns.saturating_sub(2).max(1),
        );
        let first = (row + 1).saturating_sub(INPUT_ROWS);
        let at = (rows.len() + row - first, column + 2);
        let empty = self.input.is_empty();
        rows.extend(input.into_iter().enumerate().skip(first).take(INPUT_ROWS).map(|(n, text)| {
            let prefix = if n == 0 { "› " } else { "  " };
            if empty {
                Row::new(format!("{prefix}{HINT}"), Style::Quiet)
            } else {
                Row::new(format!("{prefix}{text}"), Style::Plain)
            }
        }));
        if self.scrolling.is_empty() && self.below == (rows.clone(), at) {
            return;
        }
        // A terminal that cannot be written to is about to be reported as gone.
        let _ = self.write(rows, at);
    }

    /// Writes what scrolls by over what stood below, and what stands there now after it.
    fn write(&mut self, rows: Vec<Row>, at: (usize, usize)) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.queue(BeginSynchronizedUpdate)?.queue(Hide)?.queue(MoveToColumn(0))?;
        up(&mut out, self.below.1.0)?;
        out.queue(Clear(ClearType::FromCursorDown))?;
        for row in self.scrolling.drain(..) {
            row.write(&mut out)?;
            out.queue(Print("\r\n"))?;
        }
        for (n, row) in rows.iter().enumerate() {
            if n > 0 {
                out.queue(Print("\r\n"))?;
            }
            row.write(&mut out)?;
        }
        up(&mut out, rows.len().saturating_sub(1).saturating_sub(at.0))?;
        out.queue(MoveToColumn(u16::try_from(at.1).unwrap_or(u16::MAX)))?
            .queue(ShowCursor)?
            .queue(EndSynchronizedUpdate)?;
        self.below = (rows, at);
        out.flush()
    }

    /// More of the answer: rows that will not change any more scroll by.
    fn come(&mut self, text: &str) {
        let text = cleaned(text);
        if !text.starts_with(&self.coming.text) {
            // Another message of the same turn, after a tool.
            self.end_answer();
        }
        if self.coming.text.is_empty() {
            self.coming.columns = columns().saturating_sub(2).max(MIN_COLUMNS);
        }
        self.coming.text = text;
        let rows = wrapped(&self.coming.text, self.coming.columns);
        let done = rows.len().saturating_sub(1);
        self.scroll_answer(&rows, done);
    }

    fn end_answer(&mut self) {
        let rows = wrapped(&self.coming.text, self.coming.columns.max(MIN_COLUMNS));
        if !self.coming.text.is_empty() {
            self.scroll_answer(&rows, rows.len());
        }
        self.coming = Coming::default();
    }

    fn scroll_answer(&mut self, rows: &[String], until: usize) {
        while self.coming.scrolled < until {
            self.scrolling.push(Row::new(answer_row(rows, self.coming.scrolled), Style::Plain));
            self.coming.scrolled += 1;
        }
    }

    /// Puts a text above what stands below.
    fn scroll(&mut self, text: &str, style: Style, first: &str) {
        let indent = " ".repeat(first.width());
        let rows = wrapped(&cleaned(text), columns().saturating_sub(first.width()).max(MIN_COLUMNS));
        let prefixed = rows
            .iter()
            .enumerate()
            .map(|(n, row)| Row::new(format!("{}{row}", if n == 0 { first } else { &indent }), style));
        self.scrolling.extend(prefixed);
    }
}

impl Row {
    /// Cleaned here, whatever it was made of: nothing else is written to the terminal.
    fn new(text: String, style: Style) -> Row {
        Row { text: clean(&text), style }
    }

    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self.style {
            Style::Plain => {}
            Style::Bold => drop(out.queue(SetAttribute(Attribute::Bold))?),
            Style::Quiet => drop(out.queue(SetAttribute(Attribute::Dim))?),
            Style::Status => drop(out.queue(SetForegroundColor(Color::Cyan))?),
            Style::Warning => drop(out.queue(SetForegroundColor(Color::Yellow))?),
        }
        out.queue(Print(&self.text))?.queue(SetAttribute(Attribute::Reset))?.queue(ResetColor)?;
        Ok(())
    }
}

fn up(out: &mut impl io::Write, rows: usize) -> io::Result<()> {
    // Zero would mean one.
    if rows > 0 {
        out.queue(MoveUp(u16::try_from(rows).unwrap_or(u16::MAX)))?;
    }
    Ok(())
}

/// Columns that are written to; the last is left free, where some terminals break the row.
fn columns() -> usize {
    let width = terminal::size().map_or(80, |(columns, _)| usize::from(columns));
    width.saturating_sub(1).max(MIN_COLUMNS)
}

fn answer_row(rows: &[String], n: usize) -> String {
    format!("{}{}", if n == 0 { "● " } else { "  " }, rows[n])
}

/// What is typed, in rows of so many columns, and the cursor's place in them.
fn typed_rows(lines: &[String], cursor: (usize, usize), columns: usize) -> (Vec<String>, (usize, usize)) {
    let (mut rows, mut at) = (Vec::new(), (0, 0));
    for (n, line) in lines.iter().enumerate() {
        rows.push(String::new());
        let mut used = 0;
        for (m, c) in line.chars().chain(std::iter::once(' ')).enumerate() {
            // Pasted text keeps what it is; only its picture is made harmless.
            let c = if c.is_control() { ' ' } else { c };
            let width = c.width().unwrap_or(0);
            if used + width > columns {
                rows.push(String::new());
                used = 0;
            }
            if (n, m) == cursor {
                at = (rows.len() - 1, used);
            }
            if m < line.chars().count() {
                rows.last_mut().expect("one was pushed for the line").push(c);
                used += width;
            }
        }
    }
    (rows, at)
}

const HINT: &str = "write to the agent; /help tells the keys";
const HELP: &str = "Enter sends · Alt-Enter, Ctrl-J or a \\ at the end begins another line · ↑ ↓ earlier prompts\n\
                    Esc ends the running turn · Ctrl-D or /exit hands the thread back";

/// A message that waits, on one line.
pub fn waits(waiting: &Waiting) -> String {
    format!("⇄ {}: {} (waits)", clean(&waiting.from), clean(&waiting.text))
}

/// A text of many lines without control or invisible characters.
pub fn cleaned(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// A text in rows of at most so many columns; an empty text is one empty row.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    textwrap::wrap(text, textwrap::Options::new(columns).break_words(true))
        .into_iter()
        .map(std::borrow::Cow::into_owned)
        .collect()
}

fn read_keys(keys: &mpsc::Sender<Event>) {
    while !keys.is_closed() {
        match crossterm::event::poll(LOOK) {
            Ok(false) => {}
            Ok(true) => {
                let Ok(event) = crossterm::event::read() else { return };
                if keys.blocking_send(event).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_commands_a_terminal_is_left() {
        assert_eq!(cleaned("a\u{1b}[31mred\u{7}\n\u{202e}b\tc\r\nd"), "a[31mred\nb c \nd");
    }

    #[test]
    fn no_row_of_the_screen_commands_the_terminal() {
        let hostile =
            ["\u{1b}]52;c;aGk=\u{7}", "\u{1b}[2J", "\u{9b}31m", "\u{202e}\u{2066}", "\r\n", "\u{2028}\u{e0041}\u{ad}"];
        for text in hostile {
            let mut out = Vec::new();
            Row::new(format!("  ridden by A{text}Z"), Style::Plain).write(&mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            // What stands before the reset that ends each row.
            let (shown, _) = out.split_once("\u{1b}[0m").unwrap();
            assert!(shown.starts_with("  ridden by A") && shown.ends_with('Z'), "{shown:?}");
            assert_eq!(shown, clean(shown), "{text:?}");
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }

    #[test]
    fn the_cursor_is_where_the_next_character_comes() {
        let check = |lines: &[&str], cursor, rows: &[&str], at| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let (got, place) = typed_rows(&lines, cursor, 6);
            assert_eq!((got, place), (rows.iter().map(|row| (*row).to_owned()).collect(), at), "{lines:?} {cursor:?}");
        };
        check(&[""], (0, 0), &[""], (0, 0));
        check(&["abc"], (0, 3), &["abc"], (0, 3));
        check(&["abcdef"], (0, 6), &["abcdef", ""], (1, 0));
        check(&["日本語x"], (0, 3), &["日本語", "x"], (1, 0));
        check(&["abc", "d"], (1, 1), &["abc", "d"], (1, 1));
        check(&["a\u{1b}b"], (0, 3), &["a b"], (0, 3));
    }

    #[test]
    fn rows_are_measured_in_columns() {
        assert_eq!(wrapped("日本語のことば", 10), ["日本語のこ", "とば"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), [""]);
        assert_eq!(wrapped("a\n\nb", 7), ["a", "", "b"]);
    }
}
