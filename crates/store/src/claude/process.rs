//! The process table, as far as it answers: is that very process still there,
//! who started it, what was it started as. A pid is always paired with its
//! start time, because pids are reused.
//!
//! Linux only: read from `/proc`. Other systems answer
//! [`ClaudeError::Unsupported`] until someone measures Claude Code there.

use ride_core::id::Process;

use super::ClaudeError;

/// Whether a process is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// It is.
    Yes,
    /// It is not, or only its exit status is left.
    No,
    /// It belongs to another machine, which cannot be looked at from here.
    Elsewhere,
}

/// One process as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start: u64,
    /// Who started it, or took it over.
    pub ppid: u32,
}

impl Seen {
    /// Its lasting name.
    pub fn process(&self) -> Process {
        Process {
            machine: crate::clock::machine(),
            pid: self.pid,
            start: self.start,
        }
    }
}

/// Whether `process` is still there.
///
/// # Errors
/// When the process table cannot be read.
pub fn alive(process: &Process) -> Result<Alive, ClaudeError> {
    if process.machine != crate::clock::machine() {
        let gone = crate::clock::earlier_boot(&process.machine);
        return Ok(if gone { Alive::No } else { Alive::Elsewhere });
    }
    Ok(match look(process.pid)? {
        Some(seen) if seen.start == process.start => Alive::Yes,
        _ => Alive::No,
    })
}

/// Waits until a process is gone; false when it is still there after `limit`.
///
/// # Errors
/// When it cannot be waited for, or is of another machine.
#[cfg(target_os = "linux")]
pub fn wait_gone(process: &Process, limit: std::time::Duration) -> Result<bool, ClaudeError> {
    match Handle::open(process.pid)? {
        Some(handle) if handle.seen.start == process.start => handle.wait_gone(limit),
        _ => Ok(alive(process)? == Alive::No),
    }
}

/// Not supported on this operating system yet.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn wait_gone(_process: &Process, _limit: std::time::Duration) -> Result<bool, ClaudeError> {
    Err(ClaudeError::Unsupported)
}

/// Wrappers between a process and who started it.
const WRAPPERS: usize = 2;

/// Whether a process was started by another one, or by a wrapper that one started.
///
/// # Errors
/// When the process table cannot be read.
pub fn is_under(pid: u32, ancestor: u32) -> Result<bool, ClaudeError> {
    let mut pid = pid;
    for _ in 0..=WRAPPERS {
        let Some(seen) = look(pid)? else { return Ok(false) };
        if seen.ppid == ancestor {
            return Ok(true);
        }
        pid = seen.ppid;
    }
    Ok(false)
}

/// The running children of a process.
///
/// # Errors
/// When the process table cannot be read.
pub fn children_of(pid: u32) -> Result<Vec<Seen>, ClaudeError> {
    Ok(all()?.into_iter().filter(|seen| seen.ppid == pid).collect())
}

pub use table::{all, command, look};

#[cfg(all(test, target_os = "linux"))]
pub(super) use table::parse;
#[cfg(target_os = "linux")]
pub(super) use table::{Handle, open_for_writing};

#[cfg(target_os = "linux")]
mod table {
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};

    use super::{ClaudeError, Seen};

    /// Longest command line that is read; the host's own are a few kilobytes.
    const MAX_COMMAND_BYTES: usize = 128 << 10;

    /// Looks at one process; `None` when it is gone.
    ///
    /// # Errors
    /// When the process table cannot be read, or hides this process.
    pub fn look(pid: u32) -> Result<Option<Seen>, ClaudeError> {
        let path = format!("/proc/{pid}/stat");
        let stat = match fs::read_to_string(&path) {
            Ok(stat) => stat,
            Err(e) if is_gone(&e) => {
                // A table mounted with `hidepid` shows strangers' processes as gone.
                let hidden = raw(pid).is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM));
                return match hidden {
                    true => Err(ClaudeError::io("look at process", Path::new(&path), Errno::PERM)),
                    false => Ok(None),
                };
            }
            Err(e) => return Err(ClaudeError::io("look at process", Path::new(&path), e)),
        };
        Ok(parse(pid, &stat)
            .filter(|(_, state)| !is_dead(pid, *state))
            .map(|(seen, _)| seen))
    }

    /// All running processes.
    ///
    /// # Errors
    /// When the process table cannot be read.
    pub fn all() -> Result<Vec<Seen>, ClaudeError> {
        let proc = Path::new("/proc");
        let entries = fs::read_dir(proc).map_err(|e| ClaudeError::io("read", proc, e))?;
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| ClaudeError::io("read", proc, e))?;
            let name = entry.file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
                all.extend(look(pid)?);
            }
        }
        Ok(all)
    }

    /// What a process was started as; empty when it is gone or not ours to see.
    pub fn command(pid: u32) -> Vec<String> {
        let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        let limited = io::Read::take(file, MAX_COMMAND_BYTES as u64);
        if io::Read::read_to_end(&mut { limited }, &mut bytes).is_err() {
            return Vec::new();
        }
        let args = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if args.is_empty() {
            return Vec::new();
        }
        args.split(|b| *b == 0)
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect()
    }

    /// Whether a process has a file open for writing. Processes that are not
    /// ours to see count as not.
    pub fn open_for_writing(pid: u32, path: &Path) -> bool {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        fds.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| target == path)
                && fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy()))
                    .is_ok_and(|info| writes(&info))
        })
    }

    fn writes(fdinfo: &str) -> bool {
        let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        // O_WRONLY is 1, O_RDWR 2.
        flags.is_some_and(|flags| flags & 3 != 0)
    }

    /// A process held by descriptor: signals through it reach that process or none.
    #[derive(Debug)]
    pub struct Handle {
        fd: OwnedFd,
        /// As it was when it was taken hold of.
        pub seen: Seen,
    }

    impl Handle {
        /// Takes hold of a process; `None` when it is gone.
        ///
        /// # Errors
        /// When it cannot be looked at.
        pub fn open(pid: u32) -> Result<Option<Handle>, ClaudeError> {
            let Some(raw) = raw(pid) else { return Ok(None) };
            let fd = match pidfd_open(raw, PidfdFlags::empty()) {
                Ok(fd) => fd,
                Err(Errno::SRCH) => return Ok(None),
                Err(e) => return Err(held("take hold of process", pid, e)),
            };
            // Looked at after the descriptor: what is seen now is what it names,
            // unless it is gone, and then the signal reaches nobody.
            Ok(look(pid)?.map(|seen| Handle { fd, seen }))
        }

        /// Asks it to end.
        ///
        /// # Errors
        /// When it may not be signalled.
        pub fn terminate(&self) -> Result<(), ClaudeError> {
            match pidfd_send_signal(&self.fd, Signal::TERM) {
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(e) => Err(held("end process", self.seen.pid, e)),
            }
        }

        /// Waits until it is gone; false when it is still there after `limit`.
        ///
        /// # Errors
        /// When it cannot be waited for.
        pub fn wait_gone(&self, limit: Duration) -> Result<bool, ClaudeError> {
            let deadline = Instant::now() + limit;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout = Timespec {
                    tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                };
                let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
                match poll(&mut fds, Some(&timeout)) {
                    Ok(0) => return Ok(false),
                    Ok(_) => return Ok(true),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(held("wait for process", self.seen.pid, e)),
                }
            }
        }
    }

    fn held(doing: &'static str, pid: u32, e: Errno) -> ClaudeError {
        ClaudeError::io(doing, Path::new(&format!("/proc/{pid}")), e)
    }

    fn raw(pid: u32) -> Option<Pid> {
        i32::try_from(pid).ok().and_then(Pid::from_raw)
    }

    fn is_gone(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::SRCH.raw_os_error())
    }

    /// `pid (name) state ppid … start …`, the name being anything, `)` too.
    pub(in crate::claude) fn parse(pid: u32, stat: &str) -> Option<(Seen, char)> {
        let rest = &stat[stat.rfind(')')? + 1..];
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let ppid = fields.next()?.parse().ok()?;
        // Field 22 of the file; the state was field 3.
        let start = fields.nth(17)?.parse().ok()?;
        Some((Seen { pid, start, ppid }, state))
    }

    /// An exit status nobody has collected writes no more, unless other
    /// threads of the process outlive its first.
    fn is_dead(pid: u32, state: char) -> bool {
        match state {
            'X' | 'x' => true,
            'Z' => fs::read_dir(format!("/proc/{pid}/task")).map_or(true, |tasks| tasks.count() <= 1),
            _ => false,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod table {
    use super::{ClaudeError, Seen};

    /// Looks at one process.
    ///
    /// # Errors
    /// Always: not supported here.
    pub fn look(_pid: u32) -> Result<Option<Seen>, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

    /// All running processes.
    ///
    /// # Errors
    /// Always: not supported here.
    pub fn all() -> Result<Vec<Seen>, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

    /// What a process was started as: unknown here.
    pub fn command(_pid: u32) -> Vec<String> {
        Vec::new()
    }
}
