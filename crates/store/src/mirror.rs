//! The mirror: finished turns of chosen Claude sessions as plain files, for a backup or
//! another machine.
//!
//! Layout under `syncMirrorDir`: `mirror.lock`, and per Claude session a folder of its id
//! with `about.json`, the transcript it names, and the folders Claude Code keeps beside a
//! transcript (`subagents/`, …). `about.json` is replaced last, atomically; what it says of
//! is on disk by then, and what it does not say of does not count. So a reader needs no
//! lock: it reads `about.json`, then so many bytes of that file. Whoever changes anything
//! holds the lock, the kernel's.
//!
//! A folder of somebody else, or one everybody can write into, is refused; no link is
//! followed. What is written here is 0600, in folders that are 0700.

mod check;
mod copy;
mod prune;
mod restore;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ride_core::mirror::{self, About, FORMAT};
use thiserror::Error;
use uuid::Uuid;

pub use check::Checked;
pub use copy::{Mirrored, Source, stamp_of};
pub use prune::{Gone, Pruned};
pub use restore::Restored;

use crate::claude::ClaudeError;
use crate::error::StoreError;
use crate::file::{Folder, Locked};

const ABOUT: &str = "about.json";
const LOCK: &str = "mirror.lock";
/// Largest `about.json`: 4,096 files beside a transcript, 250 bytes each, and room.
const MAX_ABOUT: u64 = 4 << 20;

/// What went wrong with the mirror, and where.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The disk, or the folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A transcript of Claude Code.
    #[error(transparent)]
    Claude(#[from] ClaudeError),
    /// Not what is written there.
    #[error("could not read {}: {why}", path.display())]
    About {
        /// Which.
        path: PathBuf,
        /// Where and why.
        why: String,
    },
    /// Written by another version.
    #[error("{} has format {found}, this version reads {FORMAT}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// Over the bound.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// It was rewritten, not appended to, at that moment.
    #[error("{} was changed while it was copied", .0.display())]
    Changed(PathBuf),
    /// Over the bound.
    #[error("{} holds {limit} Claude sessions, which is all it may", path.display())]
    Full {
        /// The mirror.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// The mirror does not have what its `about.json` says.
    #[error("the mirror of Claude session {session} is not whole: {why}")]
    NotWhole {
        /// Of which.
        session: Uuid,
        /// Why.
        why: String,
    },
    /// `claude --resume` works in a folder that is there only.
    #[error("the project folder {} is not on this machine", .0.display())]
    NoProject(PathBuf),
    /// It would be written by two.
    #[error("process {pid} ({command}) has Claude session {session} open")]
    Open {
        /// Which.
        session: Uuid,
        /// Whose.
        pid: u32,
        /// What it was started as.
        command: String,
    },
    /// A second transcript of a Claude session would hide one of them.
    #[error("Claude session {session} is on this machine already, in another project: {}", path.display())]
    Elsewhere {
        /// Which.
        session: Uuid,
        /// Its transcript.
        path: PathBuf,
    },
    /// Nothing is overwritten.
    #[error("{} is there already, and the mirrored transcript does not continue it", .0.display())]
    Diverged(PathBuf),
}

/// A mirror's folder.
#[derive(Debug)]
pub struct MirrorDir {
    folder: Folder,
}

/// Held while something of a mirror is changed, or must not be.
#[derive(Debug)]
pub struct Held {
    _lock: Locked,
}

/// One Claude session's folder in a mirror.
#[derive(Debug)]
pub struct Kept {
    /// Which.
    pub session: Uuid,
    /// What it says of itself.
    pub about: About,
    folder: Folder,
}

impl MirrorDir {
    /// Opens a mirror, if it is there.
    ///
    /// # Errors
    /// When the folder is somebody else's, a link, or one that everybody can write into.
    pub fn existing(path: &Path) -> Result<Option<Self>, MirrorError> {
        Ok(Folder::as_is(path)?.map(|folder| MirrorDir { folder }))
    }

    /// Opens a mirror, making its folder where it is not there.
    ///
    /// # Errors
    /// The same, or when it cannot be made.
    pub fn open(path: &Path) -> Result<Self, MirrorError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let io = |source| StoreError::Io { doing: "make the mirror's folder", path: path.to_owned(), source };
        if fs::symlink_metadata(path).is_err() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        }
        Self::existing(path)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()).into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps everybody else from changing it, waiting for whoever does. Of one that cannot
    /// be written to by this user nothing is held: nobody here changes it.
    ///
    /// # Errors
    /// When its file system cannot lock.
    pub fn hold(&self) -> Result<Option<Held>, MirrorError> {
        match self.folder.lock(LOCK) {
            Ok(lock) => Ok(Some(Held { _lock: lock })),
            Err(StoreError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) =>
            {
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// What is in it, each by itself: one that cannot be read hides no other. What was
    /// pruned is left out.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn all(&self) -> Result<Vec<Result<Kept, MirrorError>>, MirrorError> {
        let there = |one: &Result<Kept, MirrorError>| one.as_ref().map_or(true, |kept| kept.about.there());
        Ok(self.sessions()?.into_iter().filter_map(|id| self.one(id).transpose()).filter(there).collect())
    }

    /// The folders of Claude sessions.
    fn sessions(&self) -> Result<Vec<Uuid>, MirrorError> {
        let id = |name: &String| name.parse::<Uuid>().ok().filter(|id| id.to_string() == *name);
        Ok(self.folder.names()?.iter().filter_map(id).collect())
    }

    /// One session, if anything of it counts.
    fn one(&self, session: Uuid) -> Result<Option<Kept>, MirrorError> {
        let Some(folder) = self.folder.inner(&session.to_string(), false)? else { return Ok(None) };
        Ok(about(&folder, session)?.map(|about| Kept { session, about, folder }))
    }
}

/// Reads what a session's folder says of itself; `None` where it says nothing yet.
fn about(folder: &Folder, session: Uuid) -> Result<Option<About>, MirrorError> {
    let path = || folder.path().join(ABOUT);
    let Some(file) = folder.regular(ABOUT, false)? else { return Ok(None) };
    let mut text = Vec::new();
    file.take(MAX_ABOUT + 1).read_to_end(&mut text).map_err(|source| StoreError::Io {
        doing: "read",
        path: path(),
        source,
    })?;
    if text.len() as u64 > MAX_ABOUT {
        return Err(MirrorError::TooLarge { path: path(), limit: MAX_ABOUT });
    }
    let odd = |why: String| MirrorError::About { path: path(), why };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| odd(e.to_string()))?;
    match value["format"].as_u64() {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => return Err(MirrorError::Format { path: path(), found }),
        None => return Err(odd("it names no format".into())),
    }
    let about: About = serde_json::from_value(value).map_err(|e| odd(e.to_string()))?;
    // Names become paths.
    let plain = |path: &str| {
        path.split_once('/').is_some_and(|(folder, name)| mirror::is_plain(folder) && mirror::is_plain(name))
    };
    if about.session != session {
        return Err(odd(format!("it is of Claude session {}", about.session)));
    }
    if mirror::transcript_number(&about.transcript).is_none() || !about.beside.iter().all(|one| plain(&one.path)) {
        return Err(odd("it names a file that cannot be one of the mirror's".into()));
    }
    Ok(Some(about))
}

/// Replaces it: from here on it counts.
fn put_about(folder: &Folder, about: &About) -> Result<(), MirrorError> {
    let mut text = serde_json::to_vec_pretty(about)
        .map_err(|e| MirrorError::About { path: folder.path().join(ABOUT), why: e.to_string() })?;
    text.push(b'\n');
    Ok(folder.put_whole(ABOUT, &text)?)
}

#[cfg(test)]
mod tests;
