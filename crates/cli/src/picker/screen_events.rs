//! A person at the terminal: the screen as long as it is taken, and what is felt there
//! (keys, another size). What every picker waits for, whatever else it waits for.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use ratatui::Frame;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::keys::{Key, Keys};
use super::screen::Screen;
use super::view::Panes;
use crate::error::{Error, Kind};

/// How long an Escape may be the beginning of a sequence. A sequence cut in two by a
/// slow line arrives within one packet of the other half.
const ESCAPE_WITHIN: Duration = Duration::from_millis(50);
/// One read of the terminal.
const READ_BYTES: usize = 1024;

/// What happened at the terminal.
#[derive(Debug)]
pub enum Felt {
    /// A key.
    Key(Key),
    /// There may be another amount of room.
    Room,
}

/// The taken terminal.
pub struct Seat {
    input: AsyncFd<io::Stdin>,
    resized: Signal,
    continued: Signal,
    keys: Keys,
    screen: Screen,
}

impl Seat {
    /// Takes the terminal. Needs a running tokio.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn take() -> Result<Seat, Error> {
        // SAFETY: nothing in this program closes or replaces standard input.
        let input = unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) }
            .map_err(|e| failed(e.into()))?;
        let resized = signal(SignalKind::window_change()).map_err(failed)?;
        let continued = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())).map_err(failed)?;
        Ok(Seat { input, resized, continued, keys: Keys::default(), screen: Screen::take().map_err(failed)? })
    }

    /// Waits for what happens; nothing is lost where it is not waited to the end.
    ///
    /// # Errors
    /// When the terminal was closed or broke.
    pub async fn next(&mut self) -> Result<Vec<Felt>, Error> {
        loop {
            tokio::select! {
                biased;
                ready = self.input.readable() => {
                    let mut ready = ready.map_err(failed)?;
                    let mut bytes = [0; READ_BYTES];
                    match read(&mut bytes).map_err(failed)? {
                        Some(0) => return Err(closed()),
                        Some(n) => return Ok(self.keys.feed(&bytes[..n]).into_iter().map(Felt::Key).collect()),
                        None => ready.clear_ready(),
                    }
                }
                () = sleep(ESCAPE_WITHIN), if self.keys.undecided() => return Ok(self.keys.decide().map(Felt::Key).into_iter().collect()),
                _ = self.resized.recv() => {
                    self.screen.redraw().map_err(failed)?;
                    return Ok(vec![Felt::Room]);
                }
                _ = self.continued.recv() => {
                    self.screen.renew().map_err(failed)?;
                    return Ok(vec![Felt::Room]);
                }
            }
        }
    }

    /// Where things are on the screen as it is.
    ///
    /// # Errors
    /// When its size cannot be told.
    pub fn panes(&self, help: bool) -> Result<Panes, Error> {
        self.screen.area().map(|area| Panes::of(area, help)).map_err(failed)
    }

    /// Draws what differs.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Error> {
        self.screen.draw(draw).map_err(failed)
    }

    /// Stops the job, until the shell continues it.
    ///
    /// # Errors
    /// When the terminal cannot be taken again.
    pub fn suspend(&mut self) -> Result<(), Error> {
        self.screen.suspend().map_err(failed)
    }
}

/// What the terminal has to read; `None` where there is nothing after all.
fn read(bytes: &mut [u8]) -> io::Result<Option<usize>> {
    let stdin = io::stdin();
    let mut waiting = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut waiting, Some(&at_once))? == 0 {
        return Ok(None);
    }
    match rustix::io::read(stdin.as_fd(), bytes) {
        Ok(n) => Ok(Some(n)),
        // How Linux reports the end of a terminal.
        Err(rustix::io::Errno::IO) => Ok(Some(0)),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn failed(e: io::Error) -> Error {
    Error::new(Kind::Other, format!("could not use the terminal: {e}"))
}

fn closed() -> Error {
    Error::new(Kind::Left, "the terminal was closed while choosing")
}
