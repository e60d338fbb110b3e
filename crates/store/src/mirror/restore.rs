//! A Claude session out of the mirror, into a Claude configuration folder.
//!
//! Invariant: nothing that is there is overwritten. A transcript is put where none is, or
//! in the place of one that it continues; the transcript is last, so that one that can be
//! resumed has what belongs to it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::copy::{made, regular, wrote};
use super::{Kept, MirrorError};
use crate::byte_copy::{copy, same};
use crate::claude::{ClaudeDir, live_writers, program};
use crate::error::StoreError;
use crate::file::Folder;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It was not there.
    New(PathBuf),
    /// So many bytes of it were there.
    Continued(PathBuf, u64),
    /// It was there.
    Same(PathBuf),
    /// What is there goes on further than the mirror.
    Ahead(PathBuf),
}

impl Restored {
    /// The transcript.
    pub fn path(&self) -> &Path {
        let (Restored::New(path) | Restored::Continued(path, _) | Restored::Same(path) | Restored::Ahead(path)) = self;
        path
    }
}

impl Kept {
    /// Puts the session where `claude --resume` finds it in the folder `cwd`.
    ///
    /// # Errors
    /// When the mirror is not whole, the folder is not there, a process has the session, or
    /// another transcript of it is there: then nothing was done. When something cannot be
    /// written.
    pub fn restore(&self, claude: &ClaudeDir, cwd: &Path) -> Result<Restored, MirrorError> {
        self.whole()?;
        if !cwd.is_dir() {
            return Err(MirrorError::NoProject(cwd.to_owned()));
        }
        let project = claude.project(cwd);
        let id = self.session.to_string();
        let name = format!("{id}.jsonl");
        let found = claude.find(self.session, Some(cwd))?;
        if let Some(path) = found.clone().filter(|path| path.parent() != Some(project.as_path())) {
            return Err(MirrorError::Elsewhere { session: self.session, path });
        }
        self.unopened(claude, found.as_deref())?;
        let from = self.transcript()?;
        let path = project.join(&name);
        let there = if found.is_some() {
            Folder::as_is(&project)?.map(|folder| regular(&folder, &name, false)).transpose()?.flatten()
        } else {
            None
        };
        let reads = |source| StoreError::Io { doing: "read", path: path.clone(), source };
        let before = there.as_ref().map(File::metadata).transpose().map_err(reads)?;
        let known = before.as_ref().map_or(0, fs::Metadata::len);
        if let Some(there) = &there
            && !same(there, &from, known.min(self.about.size)).map_err(reads)?
        {
            return Err(MirrorError::Diverged(path));
        }
        if there.is_some() && known > self.about.size {
            return Ok(Restored::Ahead(path));
        }
        let slug = project.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let config = claude.path();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(config).map_err(|source| StoreError::Io {
            doing: "make the folder",
            path: config.to_owned(),
            source,
        })?;
        // The configuration folder may be a link of the person's own; below it none is followed.
        let real = fs::canonicalize(config).map_err(|source| StoreError::Io {
            doing: "look at",
            path: config.to_owned(),
            source,
        })?;
        let config = Folder::as_is(&real)?.ok_or_else(|| MirrorError::NoProject(real.clone()))?;
        let into = made(&made(&config, "projects")?, slug)?;
        self.put_beside(&into, &id)?;
        if there.is_some() && known == self.about.size {
            return Ok(Restored::Same(path));
        }
        let temporary = format!("{name}.new");
        let new = into.create(&temporary)?;
        let done = copy(&from, &new, 0, self.about.size)
            .and_then(|()| new.sync_all())
            .map_err(|e| wrote(&into, &temporary, e));
        let put = done.and_then(|()| match &before {
            None => Ok(into.rename_new(&temporary, &name)?),
            Some(before) => {
                // What was looked at is what is replaced.
                self.unopened(claude, Some(&path))?;
                let now = fs::symlink_metadata(&path).map_err(reads)?;
                let still = (now.dev(), now.ino(), now.len()) == (before.dev(), before.ino(), before.len());
                if still {
                    into.rename(&temporary, &name)?;
                }
                Ok(still)
            }
        });
        match put {
            Ok(true) => into.sync()?,
            Ok(false) => {
                into.remove(&temporary)?;
                return Err(MirrorError::Changed(path));
            }
            Err(e) => {
                into.remove(&temporary).ok();
                return Err(e);
            }
        }
        Ok(if before.is_some() { Restored::Continued(path, known) } else { Restored::New(path) })
    }

    /// Shows that no process of this machine has the session.
    fn unopened(&self, claude: &ClaudeDir, transcript: Option<&Path>) -> Result<(), MirrorError> {
        let writers = live_writers(claude, self.session, transcript, &[])?;
        let open = |pid, command| MirrorError::Open { session: self.session, pid, command };
        if let Some(writer) = writers.here.first() {
            return Err(open(writer.process.pid, program(&writer.command).to_owned()));
        }
        if let Some(unclear) = writers.unclear.first() {
            return Err(open(unclear.process.pid, program(&unclear.command).to_owned()));
        }
        match writers.elsewhere.first() {
            Some((pid, place)) => Err(open(*pid, format!("of another machine or container, {place}"))),
            None => Ok(()),
        }
    }

    /// Puts the files beside the transcript that are not there, or that go on.
    fn put_beside(&self, project: &Folder, id: &str) -> Result<(), MirrorError> {
        if self.about.beside.is_empty() {
            return Ok(());
        }
        let into = made(project, id)?;
        for one in &self.about.beside {
            let (folder, name) = one.path.split_once('/').expect("it was read so");
            let Some(from) =
                self.folder.inner(folder, false)?.map(|folder| regular(&folder, name, false)).transpose()?.flatten()
            else {
                continue;
            };
            let into = made(&into, folder)?;
            let there = into.regular(name, false)?;
            let io = |source: io::Error| wrote(&into, name, source);
            let known = there.as_ref().map(|file| file.metadata().map(|meta| meta.len())).transpose().map_err(io)?;
            // One that is there and is no beginning of it stays as it is.
            if let (Some(there), Some(known)) = (&there, known)
                && (known >= one.size || !same(there, &from, known).map_err(io)?)
            {
                continue;
            }
            let temporary = format!("{name}.new");
            let new = into.create(&temporary)?;
            let size = from.metadata().map_err(io)?.len().min(one.size);
            copy(&from, &new, 0, size).and_then(|()| new.sync_all()).map_err(io)?;
            into.rename(&temporary, name)?;
            into.sync()?;
        }
        Ok(())
    }
}
