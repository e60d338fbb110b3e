//! Ctrl-C, SIGTERM and a closed terminal, until Claude Code runs.
//!
//! Invariant: whoever waits for anything before that waits for these too, since taking
//! the signals once takes them for the life of the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Kind};

/// The signals that end what is being done.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// One that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted(&'static str);

impl Interrupted {
    /// The error of what it ended.
    pub fn while_doing(self, what: &str) -> Error {
        Error::new(Kind::Left, format!("{} while {what}", self.0))
    }
}

impl Interrupts {
    /// Takes the signals. Needs a running tokio.
    pub fn take() -> Result<Interrupts, Error> {
        let take = |kind| signal(kind).map_err(|e| Error::new(Kind::Other, format!("could not wait for Ctrl-C: {e}")));
        Ok(Interrupts {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Waits for one.
    pub async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupted("interrupted"),
            _ = self.terminate.recv() => Interrupted("ended by SIGTERM"),
            _ = self.hang_up.recv() => Interrupted("the terminal was closed"),
        }
    }

    /// Does something unless one comes first.
    pub async fn or<T, E: Into<Error>>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            came = self.next() => Err(came.while_doing(what)),
            done = work => done.map_err(Into::into),
        }
    }
}
