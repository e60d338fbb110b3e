//! The picture: left the terminal that `ride` runs in, right the topic, below what keys do.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};
use ride_testkit::telegram::ChatView;

use super::chat;
use super::state::{Command, Focus, State};

/// Where the parts are, frames included.
pub(super) struct Areas {
    left: Rect,
    chat: Rect,
    draft: Rect,
    help: Rect,
}

impl Areas {
    pub(super) fn of(full: Rect) -> Areas {
        let [panes, help] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(full);
        let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(panes);
        let [chat, draft] = Layout::vertical([Constraint::Fill(1), Constraint::Length(3)]).areas(right);
        Areas { left, chat, draft, help }
    }

    /// The part of the left pane that the program draws on.
    pub(super) fn screen(&self) -> Rect {
        Block::bordered().inner(self.left)
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, state: &State, screen: &vt100::Screen, topic: &ChatView) {
    let areas = Areas::of(frame.area());
    let (here, there) = (state.focus == Focus::Ride, state.focus == Focus::Chat);
    let mut left = pane(format!(" ride {} ", state.command.args().join(" ")), here);
    if let Some(code) = state.ended {
        let text = format!(" {} ended (exit {code}): r rides again, l runs `ride ls`, q quits ", name(state.command));
        left = left.title_bottom(Line::styled(text, Style::new().add_modifier(Modifier::REVERSED)));
    }
    frame.render_widget(left, areas.left);
    paint(screen, areas.screen(), frame.buffer_mut());

    let chat = pane(format!(" {} ", topic.title), false);
    let room = chat.inner(areas.chat);
    frame.render_widget(chat, areas.chat);
    let lines = chat::lines(topic, room.width);
    let newest = lines.len().saturating_sub(usize::from(room.height));
    frame.render_widget(Paragraph::new(lines[newest..].to_vec()), room);

    let draft = pane(format!(" write as {} ", state.writers[0].first_name), there);
    let room = draft.inner(areas.draft);
    frame.render_widget(draft, areas.draft);
    // The last line is where one writes.
    let caret = if there { "▏" } else { "" };
    let line = chat::wrap(&format!("{}{caret}", state.draft), usize::from(room.width)).pop();
    frame.render_widget(Paragraph::new(line.unwrap_or_default()), room);

    frame.render_widget(Paragraph::new(help(state)).style(Style::new().add_modifier(Modifier::DIM)), areas.help);
    if here && state.ended.is_none() && !screen.hide_cursor() {
        frame.set_cursor_position(cursor(screen, areas.screen()));
    }
}

fn name(command: Command) -> &'static str {
    match command {
        Command::Ride => "ride",
        Command::List => "ride ls",
    }
}

fn help(state: &State) -> String {
    match (state.focus, state.ended) {
        (Focus::Ride, None) => " keys go to Claude Code, /exit leaves it │ F2 or Ctrl-]: write in the chat".into(),
        (Focus::Ride, Some(_)) => " F2 or Ctrl-]: write in the chat".into(),
        (Focus::Chat, _) => {
            let [now, other] = &state.writers;
            let (now, other) = (&now.first_name, &other.first_name);
            format!(" Enter: send as {now} │ Tab: be {other} │ F2 or Esc: back │ Ctrl-C: quit the demo")
        }
    }
}

fn pane(title: String, focused: bool) -> Block<'static> {
    let (lines, colour) =
        if focused { (BorderType::Thick, Color::Green) } else { (BorderType::Plain, Color::DarkGray) };
    Block::bordered().border_type(lines).border_style(Style::new().fg(colour)).title(title)
}

fn cursor(screen: &vt100::Screen, area: Rect) -> Position {
    let (row, column) = screen.cursor_position();
    let last = |length: u16| length.saturating_sub(1);
    Position { x: area.x + column.min(last(area.width)), y: area.y + row.min(last(area.height)) }
}

/// Paints a terminal's cells; what does not fit is cut off.
fn paint(screen: &vt100::Screen, area: Rect, buffer: &mut Buffer) {
    for position in area.intersection(buffer.area).positions() {
        let Some(cell) = screen.cell(position.y - area.y, position.x - area.x) else { continue };
        let Some(painted) = buffer.cell_mut(position) else { continue };
        // The second half of a wide character stays blank; so does a wide one cut in half.
        let cut = cell.is_wide() && position.x + 1 == area.right();
        let symbol = if cell.has_contents() && !cut { cell.contents() } else { " " };
        painted.set_symbol(symbol).set_style(style(cell));
    }
}

fn style(cell: &vt100::Cell) -> Style {
    let modifiers = [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ];
    let set = modifiers.into_iter().filter(|(on, _)| *on).map(|(_, modifier)| modifier).collect();
    Style::new().fg(colour(cell.fgcolor())).bg(colour(cell.bgcolor())).add_modifier(set)
}

fn colour(colour: vt100::Color) -> Color {
    match colour {
        vt100::Color::Default => Color::Reset,
        vt100::Color::Idx(index) => Color::Indexed(index),
        vt100::Color::Rgb(red, green, blue) => Color::Rgb(red, green, blue),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// The picture of 60 columns and 9 rows after this output.
    fn picture(state: &State, output: &str) -> String {
        let mut full = Terminal::new(TestBackend::new(60, 9)).unwrap();
        let inner = Areas::of(Rect::new(0, 0, 60, 9)).screen();
        let mut parser = vt100::Parser::new(inner.height, inner.width, 0);
        parser.process(output.as_bytes());
        let topic = ChatView { title: "Club › Plans".into(), messages: Vec::new() };
        full.draw(|frame| draw(frame, state, parser.screen(), &topic)).unwrap();
        // A wide character is followed by the blank cell it covers: two columns each here.
        let rows = full.backend().buffer().content().chunks(60);
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn two_panes_and_a_line_of_help() {
        let running = picture(&State::new(), "日本\r\n\x1b[1mbold\x1b[m");
        assert_eq!(running, RUNNING);
        let state = State { focus: Focus::Chat, draft: "about the van".into(), ..State::new() };
        let writing = picture(&state, "");
        assert!(writing.contains("about the van▏") && writing.contains("Enter: send as Omar"), "{writing}");
        let state = State { ended: Some(3), ..State::new() };
        let ended = picture(&state, "bye");
        assert!(ended.contains("ride ended (exit 3): r rides"), "{ended}");
    }

    const RUNNING: &str = "\
┏ ride plans ━━━━━━━━━━━━━━━━━━━━━━┓┌ Club › Plans ────────┐
┃日 本                               ┃│                      │
┃bold                              ┃│                      │
┃                                  ┃│                      │
┃                                  ┃└──────────────────────┘
┃                                  ┃┌ write as Omar ───────┐
┃                                  ┃│                      │
┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛└──────────────────────┘
 keys go to Claude Code, /exit leaves it │ F2 or Ctrl-]: wri
";
}
