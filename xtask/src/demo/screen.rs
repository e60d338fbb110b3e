//! The person's terminal, taken over and given back: on return, on error, on panic.

use std::io::{self, IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::sync::mpsc::{self, Receiver};
use std::{panic, thread};

use anyhow::{Context, Result, bail};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::prelude::CrosstermBackend;

use super::alarm::Alarm;

/// Keys that may wait for a frame to be drawn; a paste is one.
const MAX_TYPED: usize = 1024;

/// The whole screen; given back when dropped.
pub(super) struct FullScreen {
    /// Never dropped: ratatui (0.30) then shows the cursor, and panics where standard
    /// error is as gone as the terminal.
    pub(super) terminal: ManuallyDrop<ratatui::Terminal<CrosstermBackend<io::Stdout>>>,
    /// What the person does; disconnected when the terminal cannot be read.
    pub(super) typed: Receiver<Event>,
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
            .and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(io::stdout())))
            .and_then(|terminal| Ok(FullScreen { terminal: ManuallyDrop::new(terminal), typed: read()? }));
        if taken.is_err() {
            give_back();
        }
        taken.context("could not take over the terminal")
    }
}

/// Reads the terminal on a thread of its own: crossterm (0.29) does not come back from
/// one that was closed, and the alarm must still be heard then.
fn read() -> io::Result<Receiver<Event>> {
    let (sender, typed) = mpsc::sync_channel(MAX_TYPED);
    let read = move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("typed".into()).spawn(read)?;
    Ok(typed)
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
