//! The demo for a person: `ride` on a living thread, beside the chat.
//!
//! A thin loop on the main thread: draw, take what was typed, do what comes out.
//! The stand-ins live on the runtime's own threads.

use std::ops::ControlFlow;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ratatui::layout::Rect;
use ride_testkit::Terminal;
use ride_testkit::story::Product;
use tokio::runtime::Runtime;

use super::alarm::Alarm;
use super::hosts::{Hosts, tell};
use super::keys::{self, Modes};
use super::screen::FullScreen;
use super::state::{Act, Command, State};
use super::view::{self, Areas};

/// How often the screens are looked at; keys are taken at once.
const FRAME: Duration = Duration::from_millis(100);
/// And how often while somebody types: an echo that comes later is felt.
const FRAME_TYPING: Duration = Duration::from_millis(25);
/// How long after the last key that is.
const TYPING: Duration = Duration::from_secs(1);
/// The smallest terminal Claude Code is given; a smaller pane shows part of it.
const LEAST: (u16, u16) = (5, 20);

/// Plays until the person quits.
pub(super) fn play(build: impl FnOnce() -> Result<Product>) -> Result<()> {
    FullScreen::possible()?;
    tell("building ride and the gateway plugin");
    let product = build()?;
    let runtime = Runtime::new()?;
    let alarm = Alarm::on_signals(&runtime)?;
    let hosts = runtime.block_on(async {
        tokio::select! {
            hosts = Hosts::start(product) => hosts,
            () = alarm.wait() => bail!("stopped before it began"),
        }
    })?;
    let mut full = FullScreen::take(&alarm)?;
    let pane = Pane::start(&hosts, Command::Ride, full.terminal.size()?.into())?;
    let mut live = Live { runtime: &runtime, hosts: &hosts, state: State::new(), pane };
    let played = live.play(&mut full, &alarm);
    let ride = live.pane.terminal;
    drop(full);
    runtime.block_on(hosts.stop(ride));
    played
}

/// The terminal on the left, and how large it is.
struct Pane {
    terminal: Terminal,
    size: (u16, u16),
}

impl Pane {
    fn start(hosts: &Hosts, command: Command, full: Rect) -> Result<Pane> {
        let size = fitting(full);
        Ok(Pane { terminal: hosts.run(command, size.0, size.1)?, size })
    }

    fn fit(&mut self, full: Rect) -> Result<()> {
        let size = fitting(full);
        if size != self.size {
            self.terminal.resize(size.0, size.1)?;
            self.size = size;
        }
        Ok(())
    }

    fn modes(&self) -> Modes {
        self.terminal.look(|screen| Modes {
            application_cursor: screen.application_cursor(),
            bracketed_paste: screen.bracketed_paste(),
        })
    }
}

/// Rows and columns of the left pane.
fn fitting(full: Rect) -> (u16, u16) {
    let screen = Areas::of(full).screen();
    (screen.height.max(LEAST.0), screen.width.max(LEAST.1))
}

struct Live<'a> {
    runtime: &'a Runtime,
    hosts: &'a Hosts,
    state: State,
    pane: Pane,
}

impl Live<'_> {
    fn play(&mut self, full: &mut FullScreen, alarm: &Alarm) -> Result<()> {
        let mut typed: Option<Instant> = None;
        while !alarm.rang() {
            self.look_for_the_end();
            self.draw(full)?;
            let typing = typed.is_some_and(|at| at.elapsed() < TYPING);
            let mut wait = if typing { FRAME_TYPING } else { FRAME };
            loop {
                let event = match full.typed.recv_timeout(wait) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => bail!("could not read the terminal"),
                };
                (wait, typed) = (Duration::ZERO, Some(Instant::now()));
                if let Some(act) = self.state.on(event)
                    && self.perform(act, full)?.is_break()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn draw(&mut self, full: &mut FullScreen) -> Result<()> {
        self.pane.fit(full.terminal.size()?.into())?;
        let (state, topic) = (&self.state, self.hosts.topic());
        self.pane
            .terminal
            .look(|screen| full.terminal.draw(|frame| view::draw(frame, state, screen, &topic)).map(drop))?;
        Ok(())
    }

    fn perform(&mut self, act: Act, full: &mut FullScreen) -> Result<ControlFlow<()>> {
        // Typing may fail where the program has just ended; the next look tells.
        match act {
            Act::Press(key) => drop(self.pane.terminal.send(&keys::bytes(key, self.pane.modes()))),
            Act::Paste(text) => drop(self.pane.terminal.send(&keys::paste(&text, self.pane.modes()))),
            Act::Say(person, text) => self.hosts.say(&person, &text),
            Act::Run(command) => self.pane = Pane::start(self.hosts, command, full.terminal.size()?.into())?,
            Act::Quit => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn look_for_the_end(&mut self) {
        if self.state.ended.is_none() {
            // Running out of time means that it has not ended.
            self.state.ended = self.runtime.block_on(self.pane.terminal.wait_exit(Duration::ZERO)).ok();
        }
    }
}
