//! What can go wrong on the disk, and where.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error of the store; the thread it concerns is left as it was.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Not JSON, or not of our shape.
    #[error("could not understand state file {}: {source}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error("state file {} has format {found}, this version reads {known}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Over the bound.
    #[error("state file {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// Somebody else's folder.
    #[error("state folder {} belongs to another user", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// Locks that do not exclude would allow two drivers.
    #[error("the file system of {} has no working locks; set lockDir to a local one", path.display())]
    NoLocks {
        /// Which.
        path: PathBuf,
    },
}
