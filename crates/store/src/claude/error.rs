//! What can break while looking at Claude Code's files and processes.

use std::io;
use std::path::PathBuf;

use ride_core::transcript::Broken;

/// Something broke; expected outcomes are values, not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaudeError {
    /// A file or folder could not be read.
    #[error("could not {doing} {}: {cause}", path.display())]
    Io {
        /// What was being done, such as `read transcript`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A transcript is a link, a folder or a device.
    #[error("transcript is no regular file: {}", .0.display())]
    NotRegular(PathBuf),
    /// A transcript's path is no text, so it cannot travel.
    #[error("path of transcript is no text: {}", .0.display())]
    NotText(PathBuf),
    /// A transcript kept growing while it was read.
    #[error("transcript is being written: {}", .0.display())]
    Moving(PathBuf),
    /// One Claude session id names several transcripts.
    #[error(
        "this Claude session has a transcript in two project folders, {} and {}; keep the one to go on with, move the \
         other one out of Claude Code's projects folder, and try again",
        .0.display(), .1.display()
    )]
    Ambiguous(PathBuf, PathBuf),
    /// The host itself would not resume this transcript.
    #[error("could not find the active leaf of {}: {broken}", path.display())]
    NoLeaf {
        /// Which transcript.
        path: PathBuf,
        /// Why.
        broken: Broken,
    },
    /// More of something than is looked at.
    #[error("too many {what} in {}: more than {max}", path.display())]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// This operating system's process table is not read yet.
    #[error("could not look at processes: not supported on this operating system")]
    Unsupported,
}

impl ClaudeError {
    /// Whether this user was not allowed to look.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, ClaudeError::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied)
    }

    pub(super) fn io(doing: &'static str, path: &std::path::Path, cause: impl Into<io::Error>) -> Self {
        ClaudeError::Io { doing, path: path.to_owned(), cause: cause.into() }
    }
}
