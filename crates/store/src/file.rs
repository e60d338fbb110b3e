//! Folders and files: private, never through a link, replaced whole, locked by the kernel.
//!
//! A file is written beside its place, synced, renamed into it, and the folder synced;
//! one that is there is changed as [`slots`](crate::slots) says. Either way a crash
//! leaves the old value or the new one. Lock files are others than those they guard,
//! and are never deleted. What the files mean is not known here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::slots::{self, Anything, Place, Stored, Unsealed};

/// Largest state file: an inbox of 1 MiB, an outbox of 500 messages of 3,500 characters of
/// any script, twice, and room.
const MAX_FILE: u64 = 64 * 1024 * 1024;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::RDONLY).union(OFlags::CLOEXEC);

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

/// Reads of a file that is changed meanwhile; each change takes a sync, a read none.
const READS: usize = 8;

/// A value's file, open to be changed.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    /// Where its value stands; `None` where an older version wrote it.
    place: Option<Place>,
}

/// What a replaced file must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Survives {
    /// The end of the process.
    Crash,
    /// The end of the machine's power too: synced, with its folder.
    PowerLoss,
}

impl Folder {
    /// Opens the folder of all, making it (mode 0700) when it is not there. What lies
    /// above it is not ours and may be a link.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        // Without a trailing slash, which would follow a link in spite of NOFOLLOW.
        let path: PathBuf = path.components().collect();
        let io = |source: io::Error| StoreError::Io { doing: "open the state folder", path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io)?;
        let dir = rustix::fs::open(&path, FOLDER, Mode::empty());
        Self::checked(path.clone(), dir)
    }

    /// Opens a folder in this one, making it when it is not there.
    pub(crate) fn child(&self, name: &str) -> Result<Self, StoreError> {
        match rustix::fs::mkdirat(&self.dir, name, Mode::RWXU) {
            Ok(()) => rustix::fs::fsync(&self.dir).map_err(|e| self.err("sync the folder of", name, e))?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(self.err("make the state folder", name, e)),
        }
        Self::checked(self.path.join(name), rustix::fs::openat(&self.dir, name, FOLDER, Mode::empty()))
    }

    /// Opens a folder in this one, if it is there.
    pub(crate) fn existing(&self, name: &str) -> Result<Option<Self>, StoreError> {
        match rustix::fs::openat(&self.dir, name, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            dir => Self::checked(self.path.join(name), dir).map(Some),
        }
    }

    /// Opens a folder of the user's whose mode is theirs to choose, if it is there; one that
    /// everybody can write into is refused.
    pub(crate) fn as_is(path: &Path) -> Result<Option<Self>, StoreError> {
        let path: PathBuf = path.components().collect();
        match rustix::fs::open(&path, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            dir => Self::private(Self::ours(path, dir)?).map(Some),
        }
    }

    /// The same in this folder; it is made, mode 0700, where it is not there and `make` says so.
    pub(crate) fn inner(&self, name: &str, make: bool) -> Result<Option<Self>, StoreError> {
        if make {
            match rustix::fs::mkdirat(&self.dir, name, Mode::RWXU) {
                Ok(()) => rustix::fs::fsync(&self.dir).map_err(|e| self.err("sync the folder of", name, e))?,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(self.err("make the folder", name, e)),
            }
        }
        match rustix::fs::openat(&self.dir, name, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            dir => Self::private(Self::ours(self.path.join(name), dir)?).map(Some),
        }
    }

    fn checked(path: PathBuf, dir: Result<OwnedFd, Errno>) -> Result<Self, StoreError> {
        let (folder, mode) = Self::ours(path, dir)?;
        if mode & 0o077 != 0 {
            let io = |e: Errno| StoreError::Io {
                doing: "open the state folder",
                path: folder.path.clone(),
                source: e.into(),
            };
            rustix::fs::fchmod(&folder.dir, Mode::RWXU).map_err(io)?;
        }
        Ok(folder)
    }

    fn private((folder, mode): (Self, u32)) -> Result<Self, StoreError> {
        if mode & 0o002 == 0 { Ok(folder) } else { Err(StoreError::Writable { path: folder.path }) }
    }

    /// A folder of this user, and its mode.
    #[allow(clippy::unnecessary_cast, reason = "the types differ between platforms")]
    fn ours(path: PathBuf, dir: Result<OwnedFd, Errno>) -> Result<(Self, u32), StoreError> {
        let io = |e: Errno| StoreError::Io { doing: "open the state folder", path: path.clone(), source: e.into() };
        let dir = match dir {
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(StoreError::NotAFolder { path }),
            dir => dir.map_err(io)?,
        };
        let stat = rustix::fs::fstat(&dir).map_err(io)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(StoreError::NotOurs { path });
        }
        Ok((Folder { path, dir }, stat.st_mode as u32))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names what is in it.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let io =
            |e: Errno| StoreError::Io { doing: "list the state folder", path: self.path.clone(), source: e.into() };
        let entries = rustix::fs::Dir::read_from(&self.dir).map_err(io)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io)?;
            names.extend(entry.file_name().to_str().ok().filter(|n| !n.starts_with('.')).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Takes the lock file `name`, waiting for it.
    pub(crate) fn lock(&self, name: &str) -> Result<Locked, StoreError> {
        Ok(self.take(name, FlockOperation::LockExclusive)?.expect("whoever waits gets it"))
    }

    /// Takes the lock file `name` unless somebody has it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Locked>, StoreError> {
        self.take(name, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock file `name` together with whoever shares it, unless somebody has it alone.
    pub(crate) fn try_lock_shared(&self, name: &str) -> Result<Option<Locked>, StoreError> {
        self.take(name, FlockOperation::NonBlockingLockShared)
    }

    fn take(&self, name: &str, how: FlockOperation) -> Result<Option<Locked>, StoreError> {
        let err = |e| self.err("lock", name, e);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|e| self.err("open", name, e))?;
            match rustix::fs::flock(&file, how) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e @ (Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)) => {
                    return Err(StoreError::NoLocks { path: self.path.clone(), why: io::Error::from(e).to_string() });
                }
                Err(e) => return Err(err(e)),
            }
            // Somebody may have deleted it while it was waited for: that lock excludes nobody.
            let (ours, named) = (
                rustix::fs::fstat(&file).map_err(err)?,
                rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW),
            );
            match named {
                Ok(named) if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino) => {
                    return Ok(Some(Locked { _file: file }));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(err(e)),
            }
        }
    }

    /// Refuses a file system whose locks do not exclude. The second descriptor is to the
    /// kernel what another process would be. One that another process has at this moment excludes us.
    pub(crate) fn check_locks(&self) -> Result<(), StoreError> {
        let Some(held) = self.try_lock("probe.lock")? else { return Ok(()) };
        let second = self.try_lock("probe.lock")?;
        drop(held);
        match second {
            None => Ok(()),
            Some(_) => Err(StoreError::NoLocks { path: self.path.clone(), why: "a lock was given out twice".into() }),
        }
    }

    /// Reads a sealed value; `None` when there is none. Nobody need hold a lock.
    pub(crate) fn read<T: Stored>(&self, name: &str) -> Result<Option<T>, StoreError> {
        for read in 1.. {
            let Some((file, version)) = self.open_file(name, OFlags::RDONLY)? else { return Ok(None) };
            match self.parse(name, &file, version.size) {
                Err(StoreError::Damaged { .. }) if read < READS => {}
                parsed => return parsed.map(|(value, _)| Some(value)),
            }
        }
        unreachable!("the last read is answered")
    }

    /// Reads a sealed value to change it, under its lock.
    pub(crate) fn open_value<T: Stored>(&self, name: &str) -> Result<Option<(T, Opened)>, StoreError> {
        let Some((file, version)) = self.open_file(name, OFlags::RDWR)? else { return Ok(None) };
        let (value, place) = self.parse(name, &file, version.size)?;
        Ok(Some((value, Opened { file, place })))
    }

    /// Reads a sealed value and keeps its file open, to be asked by [`Folder::is_current`].
    /// Nobody need hold a lock.
    pub(crate) fn watch<T: Stored>(&self, name: &str) -> Result<Option<(Watched, T)>, StoreError> {
        for read in 1.. {
            // Its version is taken before the content: what happens to the file later shows next time.
            let Some((file, version)) = self.open_file(name, OFlags::RDONLY)? else { return Ok(None) };
            match self.parse(name, &file, version.size) {
                Err(StoreError::Damaged { .. }) if read < READS => {}
                parsed => return parsed.map(|(value, _)| Some((Watched(file, version), value))),
            }
        }
        unreachable!("the last read is answered")
    }

    /// Tells, by one system call, whether `name` is still what was read: the open file
    /// is asked, which costs half of asking by name.
    pub(crate) fn is_current(&self, name: &str, watched: &Watched) -> Result<bool, StoreError> {
        let Watched(file, seen) = watched;
        let now = rustix::fs::fstat(file).map(|stat| Version::of(&stat)).map_err(|e| self.err("look at", name, e))?;
        // It may have lost its name between being opened and being looked at first.
        Ok(now == *seen && now.links > 0 && now.modified != RETIRED)
    }

    /// Opens a regular file, if something has that name; no link is followed.
    pub(crate) fn regular(&self, name: &str, write: bool) -> Result<Option<File>, StoreError> {
        let how = if write { OFlags::RDWR } else { OFlags::RDONLY };
        Ok(self.open_file(name, how)?.map(|(file, _)| file))
    }

    fn open_file(&self, name: &str, how: OFlags) -> Result<Option<(File, Version)>, StoreError> {
        // NONBLOCK: a fifo in its place must not hang the gateway.
        let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.err("open", name, e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| self.err("look at", name, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(StoreError::Io { doing: "open", path: self.path.join(name), source });
        }
        Ok(Some((File::from(fd), Version::of(&stat))))
    }

    fn parse<T: Stored>(&self, name: &str, file: &File, size: u64) -> Result<(T, Option<Place>), StoreError> {
        let path = || self.path.join(name);
        slots::placed(&self.bytes(name, file, size)?).map_err(|unsealed| match unsealed {
            Unsealed::Format(found) => StoreError::Format { path: path(), found, known: ride_core::thread::FORMAT },
            Unsealed::Shape(what) => StoreError::Shape { path: path(), what },
            source => StoreError::Damaged { path: path(), source },
        })
    }

    fn bytes(&self, name: &str, file: &File, size: u64) -> Result<Vec<u8>, StoreError> {
        let path = || self.path.join(name);
        if size > MAX_FILE {
            return Err(StoreError::TooLarge { path: path(), limit: MAX_FILE });
        }
        let mut bytes = vec![0; size as usize];
        // One that became shorter meanwhile is not whole.
        let read =
            file.read_at(&mut bytes, 0).map_err(|source| StoreError::Io { doing: "read", path: path(), source })?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// What can be told of a value that this version does not read.
    pub(crate) fn glimpse(&self, name: &str) -> Option<serde_json::Value> {
        let (file, version) = self.open_file(name, OFlags::RDONLY).ok().flatten()?;
        slots::glimpse(&self.bytes(name, &file, version.size).ok()?)
    }

    /// Writes a value in the place of the one that was read, durably.
    pub(crate) fn change<T: Serialize>(
        &self,
        name: &str,
        opened: Option<&Opened>,
        value: &T,
    ) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { doing: "write", path: self.path.join(name), source };
        let bytes = serde_json::to_vec(value).map_err(|e| io(e.into()))?;
        let Some((opened, place)) = opened.and_then(|o| Some((o, o.place?.beside(&bytes)?))) else {
            let whole = slots::whole(&bytes);
            // What could not be read again is not written.
            if whole.len() as u64 > MAX_FILE {
                return Err(StoreError::TooLarge { path: self.path.join(name), limit: MAX_FILE });
            }
            return self.replace(name, &whole, Survives::PowerLoss);
        };
        let file = &opened.file;
        put(file, place, &bytes).and_then(|()| file.sync_data()).map_err(|error| {
            // Whoever is told that it failed must not find it done.
            file.write_all_at(&slots::NOTHING, place.header_at()).ok();
            io(error)
        })?;
        // Committed; the next change's sync takes this along.
        file.write_all_at(&place.counts(), 0).ok();
        Ok(())
    }

    /// Replaces a file whole, durably.
    pub(crate) fn put_whole(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(name, bytes, Survives::PowerLoss)
    }

    /// Replaces a file whole.
    fn replace(&self, name: &str, bytes: &[u8], survives: Survives) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { doing: "write", path: self.path.join(name), source };
        let temporary = format!("{name}.new");
        let written = self.create(&temporary).and_then(|mut file| {
            file.write_all(bytes).map_err(io)?;
            if survives == Survives::PowerLoss {
                file.sync_all().map_err(io)?;
            }
            rustix::fs::renameat(&self.dir, &temporary, &self.dir, name).map_err(|e| self.err("replace", name, e))
        });
        if let Err(error) = written {
            // On a full disk it would stay in the way.
            rustix::fs::unlinkat(&self.dir, &temporary, AtFlags::empty()).ok();
            return Err(error);
        }
        if survives == Survives::PowerLoss {
            rustix::fs::fsync(&self.dir).map_err(|e| self.err("sync the folder of", name, e))?;
        }
        Ok(())
    }

    /// Writes a value that others [`watch`](Folder::watch) in the place of the one that
    /// was read; it survives the process. They see it by the file's time, which is `nth`
    /// and not a clock's: two changes within a tick of that one would look the same.
    pub(crate) fn change_watched<T: Serialize>(&self, name: &str, value: &T, nth: u64) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { doing: "write", path: self.path.join(name), source };
        let bytes = serde_json::to_vec(value).map_err(|e| io(e.into()))?;
        // Whatever else is in its place is replaced, odd things too.
        let old = self.open_value::<Anything>(name).ok().flatten().map(|(_, opened)| opened);
        let stamp = |file: &File, nth| {
            // Whole seconds: not every file system keeps parts of them.
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(nth);
            file.set_modified(time).map_err(|source| StoreError::Io {
                doing: "stamp",
                path: self.path.join(name),
                source,
            })
        };
        if let Some((old, place)) = old.as_ref().and_then(|o| Some((o, o.place?.beside(&bytes)?))) {
            put(&old.file, place, &bytes).and_then(|()| old.file.write_all_at(&place.counts(), 0)).map_err(io)?;
            return stamp(&old.file, nth);
        }
        self.replace(name, &slots::whole(&bytes), Survives::Crash)?;
        // It lost its name, which shows, unless somebody linked it meanwhile.
        old.map_or(Ok(()), |old| stamp(&old.file, 0))
    }

    /// Makes a file that was not there; what a crash left under that name goes first.
    pub(crate) fn create(&self, name: &str) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR);
        let fd = match open() {
            Err(Errno::EXIST) => rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()).and_then(|()| open()),
            opened => opened,
        };
        fd.map(File::from).map_err(|e| self.err("create", name, e))
    }

    /// Gives a file another name, in place of what had it.
    pub(crate) fn rename(&self, name: &str, to: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.dir, name, &self.dir, to).map_err(|e| self.err("replace", to, e))
    }

    /// Gives a file another name that nothing has; tells whether nothing had.
    pub(crate) fn rename_new(&self, name: &str, to: &str) -> Result<bool, StoreError> {
        match rustix::fs::linkat(&self.dir, name, &self.dir, to, AtFlags::empty()) {
            Ok(()) => self.remove(name).map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(self.err("make", to, e)),
        }
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes an empty folder, if it is there.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), StoreError> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &str, how: AtFlags) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.dir, name, how) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.err("remove", name, e)),
        }
    }

    /// Makes names that were given or taken survive the end of the machine's power.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.dir).map_err(|source| StoreError::Io {
            doing: "sync",
            path: self.path.clone(),
            source: source.into(),
        })
    }

    /// Moves a file into another folder, in place of one of that name.
    pub(crate) fn set_aside(&self, name: &str, into: &Folder) -> Result<(), StoreError> {
        let moved = rustix::fs::renameat(&self.dir, name, &into.dir, name).and_then(|()| rustix::fs::fsync(&into.dir));
        moved.and_then(|()| rustix::fs::fsync(&self.dir)).map_err(|e| self.err("set aside", name, e))
    }

    /// Whether something has that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn err(&self, doing: &'static str, name: &str, e: Errno) -> StoreError {
        StoreError::Io { doing, path: self.path.join(name), source: e.into() }
    }
}

/// Writes a value where it does not disturb the last one.
fn put(file: &File, place: Place, value: &[u8]) -> io::Result<()> {
    file.write_all_at(value, place.at())?;
    file.write_all_at(&place.header(value), place.header_at())
}

/// The modification time of a watched file that another has taken the name of.
const RETIRED: (i64, u64) = (0, 0);

/// A file as it was read, still open.
#[derive(Debug)]
pub(crate) struct Watched(File, Version);

/// What of an open file changes with its value, or when another takes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    links: u64,
    modified: (i64, u64),
    size: u64,
}

impl Version {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between platforms")]
    fn of(s: &rustix::fs::Stat) -> Self {
        Version {
            links: s.st_nlink as u64,
            modified: (s.st_mtime as i64, s.st_mtime_nsec as u64),
            size: s.st_size as u64,
        }
    }
}

/// The name of a thread's file.
pub(crate) fn thread_file(session: &str) -> String {
    format!("{}.json", file_name(session))
}

/// A file name for a name of any length and spelling.
pub(crate) fn file_name(of: &str) -> String {
    Sha256::digest(of.as_bytes())[..16].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_file_is_current_until_it_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let other = folder.path().join("linked");
        let folder = Folder::open(folder.path()).unwrap();
        let write = |value: &str, nth| folder.change_watched("f", &value, nth).unwrap();
        write("0", 1);
        // What happens to the file, and whether it is still what was read.
        let check = |happens: &dyn Fn(), expected: bool| {
            let (watched, _) = folder.watch::<String>("f").unwrap().unwrap();
            assert!(folder.is_current("f", &watched).unwrap());
            happens();
            assert_eq!(folder.is_current("f", &watched).unwrap(), expected);
        };
        check(&|| {}, true);
        check(&|| write("1", 2), false);
        check(&|| {}, true);
        // The same content, and the same length.
        check(&|| write("1", 3), false);
        // Out of its room, so that another file takes its name.
        check(&|| write(&"x".repeat(10_000), 4), false);
        // A backup by hard links keeps the number of names as it was.
        let linked_and_replaced = || {
            fs::hard_link(&path, &other).unwrap();
            write(&"x".repeat(100_000), 5);
        };
        check(&linked_and_replaced, false);
        check(&|| folder.change("f", None, &"3").unwrap(), false);
        check(&|| fs::remove_file(&path).unwrap(), false);
        assert!(folder.watch::<String>("f").unwrap().is_none());
    }

    // Rule STORE-5.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_lock_whose_file_was_deleted_while_it_was_waited_for_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let first = folder.lock("l").unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| folder.lock("l").unwrap());
            // It waits once the kernel lists a second holder-to-be of that file.
            let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path().join("l")).unwrap());
            let waits = || {
                fs::read_to_string("/proc/locks")
                    .unwrap()
                    .lines()
                    .any(|l| l.contains("->") && l.contains(&format!(":{inode} ")))
            };
            let end = std::time::Instant::now() + Duration::from_secs(60);
            while !waits() {
                assert!(std::time::Instant::now() < end, "nobody waits for the lock");
                std::thread::yield_now();
            }
            fs::remove_file(dir.path().join("l")).unwrap();
            drop(first);
            let second = waiting.join().unwrap();
            assert!(folder.try_lock("l").unwrap().is_none(), "the lock that was taken is the one that has the name");
            drop(second);
        });
    }
}
