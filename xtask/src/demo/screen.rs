//! The person's terminal, taken over and given back: on return, on error, on panic.

use std::io::{self, IsTerminal, Write};
use std::panic;

use anyhow::{Context, Result, bail};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::prelude::CrosstermBackend;

use super::alarm::Alarm;

/// The whole screen; given back when dropped.
pub(super) struct FullScreen {
    pub(super) terminal: ratatui::Terminal<CrosstermBackend<io::Stdout>>,
}

impl FullScreen {
    /// Says why there can be none, before anything that takes long.
    pub(super) fn possible() -> Result<()> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            bail!("the demo needs a terminal to be shown in\nhint: `cargo xtask demo --headless` plays it without one");
        }
        Ok(())
    }

    /// Takes the screen. A panic anywhere gives it back before it is told, and rings the
    /// alarm: one in a stand-in's thread leaves nothing worth watching.
    pub(super) fn take(alarm: &Alarm) -> Result<FullScreen> {
        let (tell, alarm) = (panic::take_hook(), alarm.clone());
        panic::set_hook(Box::new(move |panicked| {
            alarm.ring();
            give_back();
            tell(panicked);
        }));
        let taken = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste))
            .and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(io::stdout())));
        if taken.is_err() {
            give_back();
        }
        Ok(FullScreen { terminal: taken.context("could not take over the terminal")? })
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Can be done twice. A terminal that is gone cannot be given back.
fn give_back() {
    let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    let _ = io::stdout().flush();
}
