//! Proof that a driver lives which no namespace can hide: one file per driver in the Claude
//! folder that both sides share, with a kernel lock on its first byte. `ride` takes it and its
//! Claude Code inherits it, so it is held until both are gone, however they end.
//!
//! Decides what a lock says. Held means that somebody lives. Free means "gone" only after each
//! side has seen the other's lock on that very file: on some mounts (a folder shared with a
//! virtual machine) a held lock looks free from the other side. To be sure that both look at the
//! same file, each writes a nonce into it that the other repeats.
//!
//! The locks are of the open file (`F_OFD_SETLK`): a child that inherits the descriptor holds
//! them, and each of two can be asked about without being taken.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{ClaudeDir, ClaudeError};

/// The folder of these files, below Claude Code's.
const FOLDER: &str = "ride-locks";
/// A nonce: 16 random bytes in hex.
const NONCE: usize = 32;
/// Where the gateway's nonce stands; the driver's is at the beginning.
const GATEWAYS: u64 = 64;
/// Which byte each side locks.
const DRIVER_BYTE: i64 = 0;
const GATEWAY_BYTE: i64 = 1;
/// A file that nobody has locked is removed after this long: rides last for hours.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// What a driver's lock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// `ride`, its Claude Code, or somebody who inherited it, lives.
    Held,
    /// Nobody holds it, as far as this mount tells.
    Free,
    /// Its file is not there.
    Missing,
}

/// Whether this is the name of a lock: nothing else becomes part of a path.
pub fn is_name(name: &str) -> bool {
    name.len() == NONCE && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The file of a lock.
pub fn path_of(dir: &ClaudeDir, name: &str) -> PathBuf {
    dir.path().join(FOLDER).join(name)
}

/// A driver's own lock; released when this and every inherited descriptor is closed.
#[derive(Debug)]
pub struct DriverLock {
    name: String,
    nonce: String,
    path: PathBuf,
    file: File,
}

impl DriverLock {
    /// Makes a file and locks it.
    ///
    /// # Errors
    /// When it cannot be written or locked there.
    pub fn take(dir: &ClaudeDir) -> Result<DriverLock, ClaudeError> {
        let folder = dir.path().join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| ClaudeError::io("make the folder of locks", &folder, e))?;
        sweep(&folder);
        let (name, nonce) = (draw(), draw());
        let path = folder.join(&name);
        let failed = |e: io::Error| ClaudeError::io("lock", &path, e);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        if !kernel::take(&file, DRIVER_BYTE).map_err(failed)? {
            return Err(failed(io::ErrorKind::WouldBlock.into()));
        }
        file.write_all_at(nonce.as_bytes(), 0).map_err(failed)?;
        Ok(DriverLock { name, nonce, path, file })
    }

    /// Its file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the gateway is to find in it.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Whether the gateway's lock is seen on this file, beside that nonce of the gateway's.
    pub fn sees_gateway(&self, nonce: &str) -> bool {
        kernel::is_held(&self.file, GATEWAY_BYTE).unwrap_or(false) && holds(&self.file, GATEWAYS, nonce)
    }

    /// Removes the file: the thread is given back and nobody asks any more.
    pub fn remove(&self) {
        // One that stays is swept by a later ride.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The descriptor that Claude Code inherits.
impl AsFd for DriverLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The gateway's lock beside a driver's, until the driver has seen it.
#[derive(Debug)]
pub struct GatewayLock {
    nonce: String,
    _file: File,
}

impl GatewayLock {
    /// Meets a driver in its file: its nonce stands there and its lock is seen. `None` where one
    /// of them is not so.
    ///
    /// # Errors
    /// When the file cannot be read, written or locked.
    pub fn meet(dir: &ClaudeDir, name: &str, driver: &str) -> Result<Option<GatewayLock>, ClaudeError> {
        let path = path_of(dir, name);
        let Some(file) = open(&path, true)? else { return Ok(None) };
        let failed = |e: io::Error| ClaudeError::io("lock", &path, e);
        if !holds(&file, 0, driver) || !kernel::is_held(&file, DRIVER_BYTE).map_err(failed)? {
            return Ok(None);
        }
        if !kernel::take(&file, GATEWAY_BYTE).map_err(failed)? {
            return Ok(None);
        }
        let nonce = draw();
        file.write_all_at(nonce.as_bytes(), GATEWAYS).map_err(failed)?;
        Ok(Some(GatewayLock { nonce, _file: file }))
    }

    /// What the driver is to find and repeat.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// What a driver's lock says now.
///
/// # Errors
/// When the file cannot be opened or asked about.
pub fn ask(dir: &ClaudeDir, name: &str) -> Result<Lock, ClaudeError> {
    let path = path_of(dir, name);
    let Some(file) = open(&path, false)? else { return Ok(Lock::Missing) };
    let held = kernel::is_held(&file, DRIVER_BYTE).map_err(|e| ClaudeError::io("ask about the lock", &path, e))?;
    Ok(if held { Lock::Held } else { Lock::Free })
}

fn draw() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Opens a lock's file; `None` where there is none.
fn open(path: &Path, write: bool) -> Result<Option<File>, ClaudeError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let options = OpenOptions::new().read(true).write(write).custom_flags(flags.bits().cast_signed()).open(path);
    match options {
        Ok(file) if file.metadata().is_ok_and(|found| found.is_file()) => Ok(Some(file)),
        Ok(_) => Err(ClaudeError::NotRegular(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ClaudeError::io("open lock", path, e)),
    }
}

fn holds(file: &File, at: u64, nonce: &str) -> bool {
    let mut bytes = [0; NONCE];
    nonce.len() == NONCE && file.read_exact_at(&mut bytes, at).is_ok() && bytes == nonce.as_bytes()
}

/// Removes files of rides that are long over.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|found| found.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT));
        let path = entry.path();
        let ours = entry.file_name().to_str().is_some_and(is_name);
        // Asked through a descriptor of its own; one that cannot be asked about stays.
        let free = || {
            open(&path, false)
                .is_ok_and(|file| file.is_some_and(|file| kernel::is_held(&file, DRIVER_BYTE).is_ok_and(|held| !held)))
        };
        if old && ours && free() {
            // Another ride may have swept it.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// The two calls of the kernel.
#[cfg(target_os = "linux")]
mod kernel {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd as _;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

    fn byte(at: i64) -> flock {
        flock { l_type: F_WRLCK as i16, l_whence: SEEK_SET as i16, l_start: at, l_len: 1, l_pid: 0 }
    }

    /// Locks one byte; false where somebody else has it.
    pub(super) fn take(file: &File, at: i64) -> io::Result<bool> {
        match fcntl(file.as_raw_fd(), FcntlArg::F_OFD_SETLK(&byte(at))) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether somebody else has locked one byte.
    pub(super) fn is_held(file: &File, at: i64) -> io::Result<bool> {
        let mut asked = byte(at);
        fcntl(file.as_raw_fd(), FcntlArg::F_OFD_GETLK(&mut asked))?;
        Ok(asked.l_type != F_UNLCK as i16)
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::fs::File;
    use std::io;

    pub(super) fn take(_file: &File, _at: i64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_held(_file: &File, _at: i64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, ClaudeDir) {
        let home = tempfile::tempdir().unwrap();
        let dir = ClaudeDir::new(None, home.path());
        (home, dir)
    }

    /// A child that another test starts has every descriptor for a moment, until it is another program.
    fn comes_free(dir: &ClaudeDir, name: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while ask(dir, name).unwrap() != Lock::Free {
            assert!(std::time::Instant::now() < until, "nobody holds it");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    // Rule LEASE-22.
    #[test]
    fn a_lock_is_held_until_its_last_descriptor_is_closed() {
        let (_home, dir) = folder();
        let lock = DriverLock::take(&dir).unwrap();
        let name = lock.name().to_owned();
        assert!(is_name(&name));
        assert_eq!(ask(&dir, &name).unwrap(), Lock::Held);
        let inherited = lock.file.try_clone().unwrap();
        lock.remove();
        assert_eq!(ask(&dir, &name).unwrap(), Lock::Missing);
        std::fs::write(path_of(&dir, &name), "").unwrap();
        assert_eq!(ask(&dir, &name).unwrap(), Lock::Free, "another file of that name is not locked");
        drop((lock, inherited));
        let again = DriverLock::take(&dir).unwrap();
        let copy = again.file.try_clone().unwrap();
        let name = again.name().to_owned();
        drop(again);
        assert_eq!(ask(&dir, &name).unwrap(), Lock::Held);
        drop(copy);
        comes_free(&dir, &name);
    }

    // Rule LEASE-22.
    #[test]
    fn both_sides_meet_in_one_file_or_not_at_all() {
        let (_home, dir) = folder();
        let (_other, elsewhere) = folder();
        let driver = DriverLock::take(&dir).unwrap();
        assert!(GatewayLock::meet(&elsewhere, driver.name(), driver.nonce()).unwrap().is_none(), "no such file there");
        assert!(GatewayLock::meet(&dir, driver.name(), &draw()).unwrap().is_none(), "another nonce");
        let gateway = GatewayLock::meet(&dir, driver.name(), driver.nonce()).unwrap().unwrap();
        assert!(driver.sees_gateway(gateway.nonce()));
        assert!(!driver.sees_gateway(&draw()));
        let nonce = gateway.nonce().to_owned();
        drop(gateway);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while driver.sees_gateway(&nonce) {
            assert!(std::time::Instant::now() < until, "its lock is not there any more");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // A file of that name with the nonce in it, and no lock: a mount that does not pass locks on.
        let copied = path_of(&dir, driver.name());
        let bytes = std::fs::read(&copied).unwrap();
        std::fs::remove_file(&copied).unwrap();
        std::fs::write(&copied, bytes).unwrap();
        assert!(GatewayLock::meet(&dir, driver.name(), driver.nonce()).unwrap().is_none());
    }
}
