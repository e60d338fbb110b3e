//! What can go wrong on the disk, and where.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::slots::Unsealed;

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
    /// Not what was written there.
    #[error("state file {} is damaged: {source}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Unsealed,
    },
    /// The thread's file was damaged or is gone while somebody rode it. It is begun anew
    /// when that driver must have stopped.
    #[error("the state of this thread was lost: {what}; it is begun anew in {} s, when its driver has stopped", left_ms.div_ceil(1000))]
    Lost {
        /// How.
        what: String,
        /// Until then.
        left_ms: u64,
    },
    /// Written by another version.
    #[error("state file {} has format {found}, this version reads 1 to {known}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Exactly what another version wrote.
    #[error("state file {} is whole, but this version does not know its shape: {what}", path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// What is not known.
        what: String,
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
    /// Whoever can write there decides what is taken from there.
    #[error("folder {} can be written into by everybody", path.display())]
    Writable {
        /// Which.
        path: PathBuf,
    },
    /// A link, or no folder at all.
    #[error("state folder {} is a link or no folder; links are not followed", path.display())]
    NotAFolder {
        /// Which.
        path: PathBuf,
    },
    /// Locks that do not exclude would allow two drivers.
    #[error("the file system of {} has no working locks ({why}); set lockDir to a local one", path.display())]
    NoLocks {
        /// Which.
        path: PathBuf,
        /// What was seen.
        why: String,
    },
    /// Somebody deletes it as often as it is made.
    #[error("the index of {} does not stay", path.display())]
    NoIndex {
        /// Of which folder.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether a file is refused as it is: the same one is refused the next time, too.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, StoreError::Format { .. } | StoreError::Shape { .. } | StoreError::TooLarge { .. })
    }

    /// Whether the file that was read cannot be, and others may: its thread stays closed, and
    /// theirs do not suffer.
    pub(crate) fn is_of_one_file(&self) -> bool {
        let lasts = |source: &io::Error| source.raw_os_error().is_none_or(|code| !PASSING.contains(&code));
        self.is_refusal() || matches!(self, StoreError::Io { source, .. } if lasts(source))
    }
}

/// Errors that say something of this process or machine, and nothing of the file.
const PASSING: [i32; 4] = [
    rustix::io::Errno::MFILE.raw_os_error(),
    rustix::io::Errno::NFILE.raw_os_error(),
    rustix::io::Errno::NOMEM.raw_os_error(),
    rustix::io::Errno::INTR.raw_os_error(),
];
