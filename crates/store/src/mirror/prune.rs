//! What is old goes out of a mirror.
//!
//! A session of which the transcript is still on this machine leaves an `about.json` that
//! says so: what was pruned comes back with its next turn, not with the next look.

use std::path::Path;

use uuid::Uuid;

use super::{Kept, MirrorDir, MirrorError, put_about, stamp_of};
use crate::error::StoreError;
use ride_core::mirror::{About, transcript_number};

/// What went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Of which Claude session.
    pub session: Uuid,
    /// Its thread's title.
    pub title: String,
    /// What of it.
    pub gone: Gone,
    /// Bytes.
    pub bytes: u64,
}

/// What of a session went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// All of it.
    All,
    /// So many transcripts that others took the place of.
    Former(u32),
}

impl MirrorDir {
    /// Takes out the sessions whose last turn was before that moment, and of the others
    /// the former transcripts last written before it. With `dry` only says which.
    ///
    /// # Errors
    /// When something cannot be removed; what was named before is gone.
    pub fn prune(&self, before_ms: u64, now_ms: u64, dry: bool) -> Result<Vec<Pruned>, MirrorError> {
        let _lock = self.folder.lock(super::LOCK)?;
        let mut all = Vec::new();
        for session in self.sessions()? {
            // One that cannot be read is for a person to look at.
            let Ok(Some(kept)) = self.one(session) else { continue };
            if kept.about.turn_ms >= before_ms && kept.about.there() {
                all.extend(kept.former(before_ms, dry)?);
            } else if let Some(pruned) = self.take_out(&kept, now_ms, dry)? {
                all.push(pruned);
            }
        }
        Ok(all)
    }

    /// Takes a whole session out, or what was left of one.
    fn take_out(&self, kept: &Kept, now_ms: u64, dry: bool) -> Result<Option<Pruned>, MirrorError> {
        let about = &kept.about;
        let folders: Vec<String> = kept.folder.names()?;
        let mut bytes = 0;
        let mut files = Vec::new();
        let mut inner = Vec::new();
        for name in folders {
            if transcript_number(&name).is_some() {
                bytes += size(&kept.folder.path().join(&name));
                files.push(name);
            } else if let Ok(Some(folder)) = kept.folder.inner(&name, false) {
                for file in folder.names()? {
                    bytes += size(&folder.path().join(&file));
                }
                inner.push((name, folder));
            }
        }
        let pruned =
            about.there().then(|| Pruned { session: kept.session, title: about.title.clone(), gone: Gone::All, bytes });
        if dry {
            return Ok(pruned);
        }
        let path = Path::new(&about.source.path);
        let source = stamp_of(path).map_err(|source| StoreError::Io {
            doing: "look at transcript",
            path: path.to_owned(),
            source,
        })?;
        if about.there() {
            put_about(&kept.folder, &About { beside: Vec::new(), pruned_ms: Some(now_ms), ..about.clone() })?;
        }
        for name in files {
            kept.folder.remove(&name)?;
        }
        for (name, folder) in inner {
            for file in folder.names()? {
                folder.remove(&file)?;
            }
            kept.folder.remove_folder(&name)?;
        }
        if source.is_none() {
            // Nobody would mirror it again from here.
            kept.folder.remove(super::ABOUT)?;
            self.folder.remove_folder(&kept.session.to_string())?;
        }
        self.folder.sync()?;
        Ok(pruned)
    }
}

impl Kept {
    /// Takes out the transcripts that others took the place of.
    fn former(&self, before_ms: u64, dry: bool) -> Result<Option<Pruned>, MirrorError> {
        let (mut n, mut bytes) = (0, 0);
        for name in self
            .folder
            .names()?
            .iter()
            .filter(|name| transcript_number(name).is_some() && **name != self.about.transcript)
        {
            let path = self.folder.path().join(name);
            let seen =
                stamp_of(&path).map_err(|source| StoreError::Io { doing: "look at", path: path.clone(), source })?;
            let Some(seen) = seen.filter(|seen| seen.modified_ns / 1_000_000 < before_ms) else { continue };
            (n, bytes) = (n + 1, bytes + seen.size);
            if !dry {
                self.folder.remove(name)?;
            }
        }
        Ok((n > 0).then(|| Pruned {
            session: self.session,
            title: self.about.title.clone(),
            gone: Gone::Former(n),
            bytes,
        }))
    }

    /// Bytes on disk: what counts, and the former transcripts.
    ///
    /// # Errors
    /// When its folder cannot be listed.
    pub fn bytes(&self) -> Result<u64, MirrorError> {
        let transcripts = self.folder.names()?.into_iter().filter(|name| transcript_number(name).is_some());
        let transcripts: u64 = transcripts.map(|name| size(&self.folder.path().join(name))).sum();
        Ok(transcripts + self.about.beside.iter().map(|one| one.size).sum::<u64>())
    }
}

fn size(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |meta| meta.len())
}
