//! Waiting for a condition with a deadline, woken by changes and never by a
//! guessed delay.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Result};

/// Counts changes of some state; waiters look again after each.
#[derive(Debug)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn announce(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    /// Waits until `look` sees something, looking after every change.
    ///
    /// `last_seen` is asked only when the deadline passes.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Option<T>,
        last_seen: impl FnOnce() -> String,
    ) -> Result<T> {
        let mut changes = self.subscribe();
        let end = Instant::now() + deadline;
        loop {
            if let Some(seen) = look() {
                return Ok(seen);
            }
            // An error means that the sender is gone; it lives as long as `self`.
            if tokio::time::timeout_at(end, changes.changed()).await.is_err() {
                return Err(Error::TimedOut { what: what.into(), waited: deadline, last_seen: last_seen() });
            }
        }
    }
}

/// What `look` sees once it is as wanted, or as it is after `within`: for a fact that tells it.
pub(crate) async fn settled<T>(
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T>,
    wanted: impl Fn(&T) -> bool,
) -> Result<T> {
    let end = Instant::now() + within;
    loop {
        let seen = look().await?;
        if wanted(&seen) || Instant::now() >= end {
            return Ok(seen);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How often a condition that cannot announce itself (a file, another process) is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until `look` sees something that changes without telling us: files, processes.
pub async fn poll_until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if Instant::now() >= end {
            return Err(Error::TimedOut { what: what.into(), waited: deadline, last_seen: String::new() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
