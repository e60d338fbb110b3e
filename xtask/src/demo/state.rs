//! What the demo shows beside the two screens, and what a key does. Nothing here acts.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ride_testkit::Person;

/// The longest message that Telegram takes, in characters.
const MAX_DRAFT: usize = 4096;

/// What runs in the left pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `ride` on the seeded topic.
    Ride,
    /// `ride ls`.
    List,
}

impl Command {
    pub(super) fn args(self) -> &'static [&'static str] {
        match self {
            Command::Ride => &["plans"],
            Command::List => &["ls"],
        }
    }
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    Ride,
    Chat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) focus: Focus,
    pub(super) command: Command,
    /// The command's exit code, once it ended.
    pub(super) ended: Option<u32>,
    /// Who writes, first, and who else could.
    pub(super) writers: [Person; 2],
    pub(super) draft: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Press this key in the left pane.
    Press(KeyEvent),
    /// Paste this into the left pane.
    Paste(String),
    /// Write this into the topic.
    Say(Person, String),
    /// Run this in the left pane, where nothing runs now.
    Run(Command),
    Quit,
}

impl State {
    pub(super) fn new() -> State {
        State {
            focus: Focus::Ride,
            command: Command::Ride,
            ended: None,
            writers: [Person::omar(), Person::tess()],
            draft: String::new(),
        }
    }

    pub(super) fn on(&mut self, event: Event) -> Option<Act> {
        match (event, self.focus) {
            (Event::Key(key), _) if switches(key) => {
                self.focus = if self.focus == Focus::Ride { Focus::Chat } else { Focus::Ride };
                None
            }
            (Event::Key(key), Focus::Ride) if self.ended.is_none() => (!suspends(key)).then_some(Act::Press(key)),
            (Event::Key(key), Focus::Ride) => self.after_the_ride(key),
            (Event::Key(key), Focus::Chat) => self.write(key),
            (Event::Paste(text), Focus::Ride) => self.ended.is_none().then_some(Act::Paste(text)),
            (Event::Paste(text), Focus::Chat) => {
                text.replace("\r\n", "\n").replace('\r', "\n").chars().for_each(|c| self.add(c));
                None
            }
            _ => None,
        }
    }

    fn after_the_ride(&mut self, key: KeyEvent) -> Option<Act> {
        let run = match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Char('r'), false) => Command::Ride,
            (KeyCode::Char('l'), false) => Command::List,
            (KeyCode::Char('q'), false) | (KeyCode::Char('c'), true) => return Some(Act::Quit),
            _ => return None,
        };
        (self.command, self.ended) = (run, None);
        Some(Act::Run(run))
    }

    fn write(&mut self, key: KeyEvent) -> Option<Act> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Act::Quit),
            KeyCode::Char('u') if control => self.draft.clear(),
            KeyCode::Char(c) if !control => self.add(c),
            KeyCode::Backspace => drop(self.draft.pop()),
            KeyCode::Esc => self.focus = Focus::Ride,
            KeyCode::Tab => self.writers.swap(0, 1),
            KeyCode::Enter if !self.draft.trim().is_empty() => {
                return Some(Act::Say(self.writers[0].clone(), std::mem::take(&mut self.draft)));
            }
            _ => {}
        }
        None
    }

    fn add(&mut self, c: char) {
        if self.draft.chars().count() < MAX_DRAFT {
            self.draft.push(c);
        }
    }
}

/// F2, which Claude Code (2.1.330) does not use. Where there is no F2: Control-],
/// which crossterm reports as Control-5.
fn switches(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.code == KeyCode::F(2) || control && matches!(key.code, KeyCode::Char(']' | '5'))
}

/// Control-Z: Claude Code would stop itself, and there is no shell here to bring it back.
fn suspends(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('z')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> Event {
        Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn control(c: char) -> Event {
        Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
    }

    /// What a run of events does.
    fn check(mut state: State, events: impl IntoIterator<Item = Event>, expected: &[Act]) -> State {
        let acts: Vec<Act> = events.into_iter().filter_map(|event| state.on(event)).collect();
        assert_eq!(acts, expected);
        state
    }

    fn typed(text: &str) -> Vec<Event> {
        text.chars().map(|c| key(KeyCode::Char(c))).collect()
    }

    #[test]
    fn keys_go_to_the_ride() {
        let press = |code| Act::Press(KeyEvent::new(code, KeyModifiers::NONE));
        let events = [key(KeyCode::Char('q')), key(KeyCode::Esc), Event::Paste("x".into())];
        let acts = [press(KeyCode::Char('q')), press(KeyCode::Esc), Act::Paste("x".into())];
        assert_eq!(check(State::new(), events, &acts), State::new());
        let interrupt = Act::Press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        check(State::new(), [control('c'), control('z')], &[interrupt]);
    }

    #[test]
    fn people_write_in_the_chat() {
        let chat = check(State::new(), [key(KeyCode::F(2))], &[]);
        assert_eq!(chat.focus, Focus::Chat);
        let mut events = typed("hi");
        events.extend([
            Event::Paste(" you\rthere".into()),
            key(KeyCode::Backspace),
            key(KeyCode::Enter),
            key(KeyCode::Enter),
        ]);
        let after = check(chat.clone(), events, &[Act::Say(Person::omar(), "hi you\nther".into())]);
        assert_eq!(after.draft, "");
        let mut events = vec![key(KeyCode::Tab)];
        events.extend(typed("me"));
        events.push(key(KeyCode::Enter));
        check(after, events, &[Act::Say(Person::tess(), "me".into())]);
        assert_eq!(check(chat.clone(), [control('5')], &[]).focus, Focus::Ride);
        check(chat, [control('c')], &[Act::Quit]);
    }

    #[test]
    fn after_the_ride_keys_are_ours() {
        let ended = State { ended: Some(0), ..State::new() };
        let running = check(ended.clone(), typed("xl"), &[Act::Run(Command::List)]);
        assert_eq!((running.command, running.ended), (Command::List, None));
        check(ended.clone(), typed("r"), &[Act::Run(Command::Ride)]);
        check(ended.clone(), typed("q"), &[Act::Quit]);
        check(ended.clone(), [control('c')], &[Act::Quit]);
        check(ended, [Event::Paste("q".into())], &[]);
    }
}
