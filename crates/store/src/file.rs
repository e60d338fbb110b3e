//! Thread values on disk: lock, load, step, commit, unlock.
//!
//! Layout under `lockDir`: `store.lock` (a kernel lock, never deleted),
//! `claude/<session id>.json` (which thread last claimed that Claude session),
//! and per gateway a folder with `closed.json` (the threads whose gate holds)
//! and `threads/<hash>.json` (one value each).
//!
//! Invariant: `closed.json` names at least every thread that is closed. It is
//! written before a thread closes and after it opens, so a crash in between
//! costs one look at the thread's own file and never lets a message through.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::StoreError;

/// Largest state file read: an inbox of 1 MiB, an outbox of 500 messages, and room.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A folder of state files, private to its user.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    dir: OwnedFd,
}

/// Held while a value is changed; released by the kernel when its process dies.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: OwnedFd,
}

impl Folder {
    /// Opens a folder, making it (mode 0700) when it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let err = |source: io::Error| StoreError::Io { doing: "open the state folder", path: path.into(), source };
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(err)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| err(e.into()))?;
        let stat = rustix::fs::fstat(&dir).map_err(|e| err(e.into()))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(StoreError::NotOurs { path: path.into() });
        }
        if stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&dir, Mode::RWXU).map_err(|e| err(e.into()))?;
        }
        Ok(Folder { path: path.into(), dir })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock file `name`, waiting for it.
    pub(crate) fn lock(&self, name: &str) -> Result<Locked, StoreError> {
        let file = self.lock_file(name)?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.err("lock", name, e)),
            }
        }
    }

    /// Takes the lock file `name` unless somebody has it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Locked>, StoreError> {
        let file = self.lock_file(name)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Locked { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(self.err("lock", name, e)),
        }
    }

    /// Refuses a file system whose locks do not exclude.
    pub(crate) fn check_locks(&self) -> Result<(), StoreError> {
        let held = self.lock("probe.lock")?;
        let second = self.try_lock("probe.lock")?;
        drop(held);
        match second {
            None => Ok(()),
            Some(_) => Err(StoreError::NoLocks { path: self.path.clone() }),
        }
    }

    /// Reads a JSON file; `None` when there is none.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.open_file(name)?.map(|file| self.parse(name, &file)).transpose()
    }

    /// Reads a JSON file and keeps it open, to be asked by [`Folder::is_current`].
    pub(crate) fn watch<T: DeserializeOwned>(&self, name: &str) -> Result<(Watched, Option<T>), StoreError> {
        let Some(file) = self.open_file(name)? else { return Ok((Watched(None), None)) };
        // Taken before the content: what happens to the file later shows next time.
        let version = version(&file).map_err(|e| self.err("look at", name, e))?;
        let value = self.parse(name, &file)?;
        Ok((Watched(Some((file, version))), Some(value)))
    }

    /// Tells, by one system call, whether `name` is still what was read: the open file
    /// is asked, which costs half of asking by name.
    pub(crate) fn is_current(&self, name: &str, watched: &Watched) -> Result<bool, StoreError> {
        match &watched.0 {
            // It may have lost its name between being opened and being looked at first.
            Some((file, seen)) => version(file)
                .map(|now| now == *seen && now.links > 0 && now.modified != RETIRED)
                .map_err(|e| self.err("look at", name, e)),
            None => match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Ok(false),
                Err(Errno::NOENT) => Ok(true),
                Err(e) => Err(self.err("look at", name, e)),
            },
        }
    }

    fn open_file(&self, name: &str) -> Result<Option<File>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.err("open", name, e)),
        }
    }

    fn parse<T: DeserializeOwned>(&self, name: &str, file: &File) -> Result<T, StoreError> {
        let mut bytes = Vec::new();
        let io = |source| StoreError::Io { doing: "read", path: self.path.join(name), source };
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(StoreError::TooLarge { path: self.path.join(name), limit: MAX_FILE });
        }
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Damaged { path: self.path.join(name), source })
    }

    /// Replaces a JSON file whole: a crash leaves the old one or the new one.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { doing: "write", path: self.path.join(name), source };
        let bytes = serde_json::to_vec(value).map_err(|e| io(e.into()))?;
        let temporary = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.err("create", &temporary, e))?;
        let mut file = File::from(fd);
        file.write_all(&bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        rustix::fs::renameat(&self.dir, &temporary, &self.dir, name).map_err(|e| self.err("replace", name, e))?;
        rustix::fs::fsync(&self.dir).map_err(|e| self.err("sync the folder of", name, e))
    }

    /// Replaces a file that others [`watch`](Folder::watch). They see that theirs lost
    /// its name; it is marked besides, for where somebody linked it meanwhile.
    pub(crate) fn write_watched<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let old = self.open_file(name)?;
        self.write(name, value)?;
        let Some(old) = old else { return Ok(()) };
        old.set_modified(SystemTime::UNIX_EPOCH)
            .map_err(|source| StoreError::Io { doing: "retire", path: self.path.join(name), source })
    }

    fn lock_file(&self, name: &str) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| self.err("open", name, e))
    }

    fn err(&self, doing: &'static str, name: &str, e: Errno) -> StoreError {
        StoreError::Io { doing, path: self.path.join(name), source: e.into() }
    }
}

/// The modification time of a file that another has taken the name of.
const RETIRED: (i64, u64) = (0, 0);

/// A file as it was read, still open; `None` when there was none.
#[derive(Debug, Default)]
pub(crate) struct Watched(Option<(File, Version)>);

/// What of an open file changes when another takes its name: its links, and the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    links: u64,
    modified: (i64, u64),
    size: u64,
}

fn version(file: &File) -> Result<Version, Errno> {
    let s = rustix::fs::fstat(file)?;
    // Types differ between platforms.
    Ok(Version { links: s.st_nlink as u64, modified: (s.st_mtime as i64, s.st_mtime_nsec as u64), size: s.st_size as u64 })
}

/// A file name for a name of any length and spelling.
pub(crate) fn file_name(of: &str) -> String {
    Sha256::digest(of.as_bytes())[..16].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_file_is_current_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let other = folder.path().join("linked");
        let folder = Folder::open(folder.path()).unwrap();
        // What happens to the file, and whether it is still what was read.
        let check = |happens: &dyn Fn(), expected: bool| {
            let (watched, _) = folder.watch::<u32>("f").unwrap();
            assert!(folder.is_current("f", &watched).unwrap());
            happens();
            assert_eq!(folder.is_current("f", &watched).unwrap(), expected);
        };
        check(&|| {}, true);
        check(&|| folder.write_watched("f", &1).unwrap(), false);
        check(&|| {}, true);
        // The same content, and the same length: another file all the same.
        check(&|| folder.write_watched("f", &1).unwrap(), false);
        // A backup by hard links keeps the number of names as it was.
        let linked_and_replaced = || {
            fs::hard_link(&path, &other).unwrap();
            folder.write_watched("f", &2).unwrap();
        };
        check(&linked_and_replaced, false);
        check(&|| folder.write("f", &3).unwrap(), false);
        check(&|| fs::remove_file(&path).unwrap(), false);
        check(&|| {}, true);
    }
}
