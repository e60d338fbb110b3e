//! A connection that comes back: after a gateway restart, a suspended laptop, a cut
//! network. For a ride; a command that asks once connects once.
//!
//! Every refusal is tried again too, since a restarting gateway refuses what it takes
//! a moment later. When to stop is the ride's decision, by its lease.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{Access, Connection, Event, Events, connect};
use super::locate::Target;

/// The first pause before trying again; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: a gateway takes 6 to 30 s to start, and the person waits for it.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// What happens to the connection.
#[derive(Debug)]
pub enum Line {
    /// It is there (again).
    Up(Connection),
    /// The gateway told something.
    Event(Event),
    /// It is gone; why.
    Down(String),
    /// Trying again failed; why.
    Failed(String),
}

/// Keeps a connection, beginning with one that stands. Ends when the receiver is dropped.
pub fn keep(
    target: Target,
    access: Access,
    state_dir: PathBuf,
    (connection, events): (Connection, Events),
) -> mpsc::Receiver<Line> {
    let (lines, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut standing = Some((connection, events));
        let mut pause = PAUSE_MIN;
        loop {
            let (connection, mut events) = match standing.take() {
                Some(pair) => pair,
                None => match connect(&target, access, &state_dir).await {
                    Ok(pair) => pair,
                    Err(e) => {
                        if lines.send(Line::Failed(e.to_string())).await.is_err() {
                            return;
                        }
                        sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                        continue;
                    }
                },
            };
            pause = PAUSE_MIN;
            if lines.send(Line::Up(connection)).await.is_err() {
                return;
            }
            let why = loop {
                tokio::select! {
                    () = lines.closed() => return,
                    event = events.next() => match event {
                        Ok(event) => {
                            if lines.send(Line::Event(event)).await.is_err() {
                                return;
                            }
                        }
                        Err(why) => break why,
                    },
                }
            };
            if lines.send(Line::Down(why)).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    });
    receiver
}
