//! What can go wrong while standing up peers.

use std::path::PathBuf;
use std::time::Duration;

/// An error of the testkit, saying what was being done to what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A deadline passed; `last_seen` is what was there instead.
    #[error("waited {} ms for {what}\nlast seen:\n{last_seen}", waited.as_millis())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What could be seen when the deadline passed.
        last_seen: String,
    },
    /// A peer's program ended badly or said something unexpected.
    #[error("{what} failed: {said}")]
    Peer {
        /// Which peer, doing what.
        what: String,
        /// What it printed, shortened.
        said: String,
    },
    /// A peer is not installed and could not be fetched.
    #[error("peer {name} is missing: no {}", entry.display())]
    Missing {
        /// Name and version.
        name: String,
        /// The file that should be there.
        entry: PathBuf,
    },
    /// Data that a peer or a file gave could not be read.
    #[error("could not read {what}: {cause}")]
    Malformed {
        /// The file or message.
        what: String,
        /// What is wrong with it, where.
        cause: String,
    },
}

/// A result with the testkit's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds to an I/O error what was being done.
pub(crate) trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}
