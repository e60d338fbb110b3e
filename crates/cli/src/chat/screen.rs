//! The terminal of a chat ride: what was said scrolls by like any program's output, and
//! below it stand the answer as it comes, a line on how things are, and the prompt.
//!
//! Invariant: nothing a person or the agent wrote reaches the terminal before control
//! and invisible characters are taken out. The terminal is left as it was found,
//! whatever ends this process in an orderly way. Nothing is decided here.

use std::io::{self, Stdout};
use std::time::Duration;

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{execute, terminal};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget as _};
use ratatui::{Terminal, TerminalOptions, Viewport};
use ratatui_textarea::{CursorMove, TextArea, WrapMode};
use ride_core::wire::Waiting;
use tokio::sync::mpsc;

use super::state::Show;
use super::wire::Line as Said;
use crate::link::Status;
use crate::render::{clean, cut};

/// Rows of the answer that comes, of the status, and of the prompt.
const ROWS: [u16; 3] = [2, 1, 4];
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
    terminal: Terminal<CrosstermBackend<Stdout>>,
    keys: mpsc::Receiver<Event>,
    input: TextArea<'static>,
    past: Vec<String>,
    /// Which of them is shown.
    recalled: Option<usize>,
    coming: Coming,
    _raw: Raw,
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
        let viewport = Viewport::Inline(ROWS.iter().sum());
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), TerminalOptions { viewport })?;
        let (key_in, keys) = mpsc::channel(64);
        std::thread::Builder::new().name("keys".into()).spawn(move || read_keys(&key_in))?;
        let mut screen =
            Screen { terminal, keys, input: TextArea::default(), past: Vec::new(), recalled: None, coming: Coming::default(), _raw: raw };
        screen.empty();
        screen.scroll(&format!("── {} ──", clean(title)), Style::new().add_modifier(Modifier::BOLD), "");
        for said in last {
            let rows = wrapped(&said.text, screen.columns());
            let more = if rows.len() > TOLD_ROWS { "\n…" } else { "" };
            let text = rows[..rows.len().min(TOLD_ROWS)].join("\n") + more;
            screen.scroll(&text, Style::new().fg(Color::DarkGray), if said.agent { "● " } else { "> " });
        }
        Ok(screen)
    }

    /// Gives the terminal back, with the cursor below everything.
    pub fn close(mut self) {
        let _ = self.terminal.clear();
    }

    /// What the person does next.
    pub async fn typed(&mut self) -> Typed {
        match self.keys.recv().await {
            None => Typed::Gone,
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release => self.key(key),
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
                let _ = self.terminal.clear();
            }
            KeyCode::Char('j') if ctrl => self.input.insert_newline(),
            KeyCode::Enter if key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SHIFT) => self.input.insert_newline(),
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
                self.scroll(HELP, Style::new().fg(Color::DarkGray), "  ");
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
        self.input.set_wrap_mode(WrapMode::WordOrGlyph);
        self.input.set_cursor_line_style(Style::new());
        self.input.set_placeholder_text("write to the agent; /help tells the keys");
        self.recalled = None;
    }

    fn columns(&self) -> usize {
        let size = self.terminal.size().map_or(80, |size| usize::from(size.width));
        size.saturating_sub(2).max(MIN_COLUMNS)
    }

    /// Shows what came, once.
    pub fn show(&mut self, show: &Show) {
        match show {
            Show::Prompt(text) => self.scroll(text, Style::new().add_modifier(Modifier::BOLD), "> "),
            Show::Answer { text, .. } => {
                self.come(text);
                self.end_answer();
            }
            Show::NoAnswer { why, .. } => {
                self.end_answer();
                self.scroll(&format!("({why})"), Style::new().fg(Color::Yellow), "  ");
            }
            Show::Waiting(waiting) => self.scroll(&waits(waiting), Style::new().fg(Color::Yellow), ""),
            Show::Note(text) => self.scroll(text, Style::new().fg(Color::DarkGray), "  "),
        }
    }

    /// Draws what stands below.
    pub fn draw<'a>(&mut self, status: &Status, answer: &str, queued: impl Iterator<Item = &'a str>) {
        if !answer.is_empty() {
            self.come(answer);
        }
        let rows = wrapped(&self.coming.text, self.coming.columns.max(MIN_COLUMNS));
        let mut tail: Vec<Line<'_>> = rows.iter().skip(self.coming.scrolled).map(|row| Line::from(format!("  {row}"))).collect();
        tail.extend(queued.map(|text| Line::styled(format!("  next: {}", clean(text)), Style::new().fg(Color::DarkGray))));
        let style = if status.warn { Style::new().fg(Color::Yellow) } else { Style::new().fg(Color::Cyan) };
        let input = &self.input;
        // A terminal that cannot be written to is about to be reported as gone.
        let _ = self.terminal.draw(|frame| {
            let [above, line, below] = Layout::vertical(ROWS.map(Constraint::Length)).areas(frame.area());
            frame.render_widget(Paragraph::new(tail), above);
            frame.render_widget(Line::styled(cut(&status.line, usize::from(line.width)), style), line);
            frame.render_widget(input, below);
        });
    }

    /// More of the answer: rows that will not change any more scroll by.
    fn come(&mut self, text: &str) {
        let text = cleaned(text);
        if !text.starts_with(&self.coming.text) {
            // Another message of the same turn, after a tool.
            self.end_answer();
        }
        if self.coming.text.is_empty() {
            self.coming.columns = self.columns();
        }
        self.coming.text = text;
        let rows = wrapped(&self.coming.text, self.coming.columns);
        let done = rows.len().saturating_sub(1);
        self.scroll_rows(&rows, done);
    }

    fn end_answer(&mut self) {
        let rows = wrapped(&self.coming.text, self.coming.columns.max(MIN_COLUMNS));
        if !self.coming.text.is_empty() {
            self.scroll_rows(&rows, rows.len());
        }
        self.coming = Coming::default();
    }

    fn scroll_rows(&mut self, rows: &[String], until: usize) {
        while self.coming.scrolled < until {
            let first = if self.coming.scrolled == 0 { "● " } else { "  " };
            let row = format!("{first}{}", rows[self.coming.scrolled]);
            self.insert(&[Line::from(row)]);
            self.coming.scrolled += 1;
        }
    }

    /// Puts a text above what stands below.
    fn scroll(&mut self, text: &str, style: Style, first: &str) {
        let indent = " ".repeat(first.chars().count());
        let rows = wrapped(&cleaned(text), self.columns());
        let lines: Vec<Line<'_>> =
            rows.iter().enumerate().map(|(n, row)| Line::styled(format!("{}{row}", if n == 0 { first } else { &indent }), style)).collect();
        self.insert(&lines);
    }

    fn insert(&mut self, lines: &[Line<'_>]) {
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let _ = self.terminal.insert_before(height, |buffer| Paragraph::new(lines.to_vec()).render(buffer.area, buffer));
    }
}

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
    textwrap::wrap(text, textwrap::Options::new(columns).break_words(true)).into_iter().map(std::borrow::Cow::into_owned).collect()
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
    fn rows_are_measured_in_columns() {
        assert_eq!(wrapped("日本語のことば", 10), ["日本語のこ", "とば"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), [""]);
        assert_eq!(wrapped("a\n\nb", 7), ["a", "", "b"]);
    }
}
