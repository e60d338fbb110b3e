//! The process table, as far as it answers: is that very process still there,
//! who started it, what was it started as. A pid is always paired with its
//! start time, because pids are reused, and with the namespace it counts in.
//!
//! Decides what "gone" means: the process was looked for where it would be seen, and is not
//! there. Everything else is [`Alive::CannotTell`].
//!
//! Linux only: read from `/proc`. Other systems answer
//! [`ClaudeError::Unsupported`] until someone measures Claude Code there.

use std::fmt;

use ride_core::id::Process;

use super::ClaudeError;

/// Whether a process is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// It is.
    Yes,
    /// It is not, or only its exit status is left.
    No,
    /// Nobody can tell from here. This is never "gone".
    CannotTell(Unseen),
}

/// Why a process cannot be looked at from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// It runs on another machine.
    Machine,
    /// Its process id counts in another pid namespace, such as a container's.
    Namespace,
    /// Nobody wrote down which namespace its process id counts in.
    NamespaceUnknown,
    /// The process table here is not this process's own.
    Table,
    /// This user may not look at it.
    Permission,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unseen::Machine => "it runs on another machine",
            Unseen::Namespace => "it runs in another pid namespace, such as a container",
            Unseen::NamespaceUnknown => "its pid namespace is not known: an older ride wrote it down",
            Unseen::Table => "/proc here is of another pid namespace than this process",
            Unseen::Permission => "this user may not look at it",
        })
    }
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
        Process { machine: crate::clock::machine(), namespace: namespace(), pid: self.pid, start: self.start }
    }
}

/// The lasting name of a process that is seen from here. Its start is 0, which is no process's,
/// where it is gone or may not be looked at.
pub fn identity(pid: u32) -> Process {
    let seen = look(pid).ok().flatten();
    seen.unwrap_or(Seen { pid, start: 0, ppid: 0 }).process()
}

/// The namespaces that this process counts pids and start times in; `None` where that cannot be
/// told, and then nothing is proven about any process.
pub fn namespace() -> Option<String> {
    static OWN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    OWN.get_or_init(table::namespace).clone()
}

/// Whether every process of this machine is seen from here: only from the first pid namespace.
pub fn sees_whole_machine() -> bool {
    namespace().is_some_and(|own| own.split(' ').any(|one| one == FIRST_NAMESPACE))
}

/// `PROC_PID_INIT_INO` of Linux: fixed since 3.8.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Whether `process` is still there.
///
/// # Errors
/// When the process table cannot be read.
pub fn alive(process: &Process) -> Result<Alive, ClaudeError> {
    alive_as(process, namespace().as_deref())
}

/// The same, seen from a namespace.
pub(super) fn alive_as(process: &Process, own: Option<&str>) -> Result<Alive, ClaudeError> {
    if process.machine != crate::clock::machine() {
        let gone = crate::clock::earlier_boot(&process.machine);
        return Ok(if gone { Alive::No } else { Alive::CannotTell(Unseen::Machine) });
    }
    let Some(own) = own else { return Ok(Alive::CannotTell(Unseen::Table)) };
    if process.namespace.as_deref().is_some_and(|theirs| theirs != own) {
        return Ok(Alive::CannotTell(Unseen::Namespace));
    }
    Ok(match look(process.pid) {
        Ok(Some(seen)) if seen.start == process.start => Alive::Yes,
        Ok(_) if process.namespace.is_none() => Alive::CannotTell(Unseen::NamespaceUnknown),
        Ok(_) => Alive::No,
        Err(e) if e.is_denied() => Alive::CannotTell(Unseen::Permission),
        Err(e) => return Err(e),
    })
}

/// How long a process of this machine has run, in milliseconds; `None` where that cannot be seen from here.
#[cfg(target_os = "linux")]
pub fn age_ms(process: &Process) -> Option<u64> {
    if alive(process).ok()? != Alive::Yes {
        return None;
    }
    let started_ms = process.start.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1);
    Some(crate::clock::now().mono_ms.saturating_sub(started_ms))
}

/// Not supported on this operating system yet.
#[cfg(not(target_os = "linux"))]
pub fn age_ms(_process: &Process) -> Option<u64> {
    None
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

/// Generations between a process and the first of its ancestors that are looked at.
const GENERATIONS: usize = 64;

/// Whether a process is one of these, or was started by one of them through any number of others.
///
/// # Errors
/// When the process table cannot be read.
pub fn is_below(pid: u32, ancestors: &[u32]) -> Result<bool, ClaudeError> {
    let mut pid = pid;
    for _ in 0..GENERATIONS {
        if ancestors.contains(&pid) {
            return Ok(true);
        }
        let Some(seen) = look(pid)? else { return Ok(false) };
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

pub use table::{all, command, holders, look, speaks_to_its_parent};
pub(super) use table::{executable, folder, nested, owner, table};

#[cfg(all(test, target_os = "linux"))]
pub(super) use table::parse;
#[cfg(target_os = "linux")]
pub(super) use table::{Handle, open_for_writing};

#[cfg(target_os = "linux")]
mod table {
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};

    use super::{ClaudeError, Seen};

    /// This process's namespaces, as [`super::namespace`] tells them.
    pub(super) fn namespace() -> Option<String> {
        // A table that was mounted in another namespace numbers processes in its own way.
        let listed = fs::read_link("/proc/self").ok()?;
        if listed.to_str()?.parse::<u32>().ok()? != std::process::id() {
            return None;
        }
        let link = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok()?.into_os_string().into_string().ok();
        // Start times count within a time namespace; kernels before 5.6 have none.
        Some([link("pid")?].into_iter().chain(link("time")).collect::<Vec<_>>().join(" "))
    }

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
        let Some((seen, state)) = parse(pid, &stat) else { return Ok(None) };
        Ok((!is_dead(pid, state)?).then_some(seen))
    }

    /// Running processes of namespaces below this one, with the process id that each has in its
    /// own; those that may not be looked at are left out.
    pub(in crate::claude) fn nested() -> Result<Vec<(u32, Seen)>, ClaudeError> {
        let inner = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            ids.split_ascii_whitespace().skip(1).last()?.parse().ok()
        };
        Ok(all()?.into_iter().filter_map(|seen| Some((inner(seen.pid)?, seen))).collect())
    }

    /// The process table, as far as this user may look at it.
    #[derive(Debug, Default)]
    pub(in crate::claude) struct Table {
        /// Running processes.
        pub(in crate::claude) seen: Vec<Seen>,
        /// Process ids of those that may not be looked at.
        pub(in crate::claude) hidden: Vec<u32>,
    }

    /// Reads it.
    pub(in crate::claude) fn table() -> Result<Table, ClaudeError> {
        let proc = Path::new("/proc");
        let entries = fs::read_dir(proc).map_err(|e| ClaudeError::io("read", proc, e))?;
        let mut table = Table::default();
        for entry in entries {
            let entry = entry.map_err(|e| ClaudeError::io("read", proc, e))?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match look(pid) {
                Ok(seen) => table.seen.extend(seen),
                Err(e) if e.is_denied() => table.hidden.push(pid),
                Err(e) => return Err(e),
            }
        }
        Ok(table)
    }

    /// All running processes that may be looked at.
    ///
    /// # Errors
    /// When the process table cannot be read.
    pub fn all() -> Result<Vec<Seen>, ClaudeError> {
        Ok(table()?.seen)
    }

    /// Whom a process belongs to; `None` when it is gone.
    pub(in crate::claude) fn owner(pid: u32) -> Option<u32> {
        fs::metadata(format!("/proc/{pid}")).ok().map(|found| found.uid())
    }

    /// The folder a process works in; `None` when it is gone.
    ///
    /// # Errors
    /// When this user may not look at it.
    pub(in crate::claude) fn folder(pid: u32) -> Result<Option<PathBuf>, ClaudeError> {
        let path = format!("/proc/{pid}/cwd");
        match fs::read_link(&path) {
            Ok(folder) => Ok(Some(folder)),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(ClaudeError::io("look at process", Path::new(&path), e)),
        }
    }

    /// The program a process runs; `None` when it is gone or not ours to see.
    pub(in crate::claude) fn executable(pid: u32) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{pid}/exe")).ok()
    }

    /// The processes that have a file open, as far as this user may see.
    ///
    /// # Errors
    /// When the file or the process table cannot be read.
    pub fn holders(path: &Path) -> Result<Vec<Seen>, ClaudeError> {
        let found = fs::metadata(path).map_err(|e| ClaudeError::io("look at", path, e))?;
        let is_it = |fd: fs::DirEntry| {
            fs::metadata(fd.path()).is_ok_and(|open| (open.dev(), open.ino()) == (found.dev(), found.ino()))
        };
        let has_it =
            |seen: &Seen| fs::read_dir(format!("/proc/{}/fd", seen.pid)).is_ok_and(|fds| fds.flatten().any(is_it));
        Ok(all()?.into_iter().filter(has_it).collect())
    }

    /// Whether a process reads from and writes to somebody at the other end: both standard
    /// streams are pipes or sockets. Claude Code 2.1.197 and 2.1.330 start their hooks so, and
    /// their tools with `/dev/null` and a file.
    ///
    /// # Errors
    /// When it is gone, or this user may not look at it.
    pub fn speaks_to_its_parent(pid: u32) -> Result<bool, ClaudeError> {
        let joined = |fd| {
            let path = format!("/proc/{pid}/fd/{fd}");
            let found = fs::metadata(&path).map_err(|e| ClaudeError::io("look at process", Path::new(&path), e))?;
            Ok::<_, ClaudeError>(found.file_type().is_fifo() || found.file_type().is_socket())
        };
        Ok(joined(0)? && joined(1)?)
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
        args.split(|b| *b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
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
    fn is_dead(pid: u32, state: char) -> Result<bool, ClaudeError> {
        match state {
            'X' | 'x' => Ok(true),
            'Z' => threads(pid).map(|threads| threads <= 1),
            _ => Ok(false),
        }
    }

    fn threads(pid: u32) -> Result<usize, ClaudeError> {
        let path = format!("/proc/{pid}/task");
        match fs::read_dir(&path) {
            Ok(tasks) => Ok(tasks.count()),
            Err(e) if is_gone(&e) => Ok(0),
            Err(e) => Err(ClaudeError::io("look at process", Path::new(&path), e)),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod table {
    use super::{ClaudeError, Seen};

    /// Unknown here.
    pub(super) fn namespace() -> Option<String> {
        None
    }

    /// The process table.
    #[derive(Debug, Default)]
    pub(in crate::claude) struct Table {
        /// Running processes.
        pub(in crate::claude) seen: Vec<Seen>,
        /// Process ids of those that may not be looked at.
        pub(in crate::claude) hidden: Vec<u32>,
    }

    /// Always: not supported here.
    pub(in crate::claude) fn table() -> Result<Table, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

    /// The processes that have a file open.
    ///
    /// # Errors
    /// Always: not supported here.
    pub fn holders(_path: &std::path::Path) -> Result<Vec<Seen>, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

    /// Unknown here.
    pub(in crate::claude) fn owner(_pid: u32) -> Option<u32> {
        None
    }

    /// Always: not supported here.
    pub(in crate::claude) fn folder(_pid: u32) -> Result<Option<std::path::PathBuf>, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

    /// Unknown here.
    pub(in crate::claude) fn executable(_pid: u32) -> Option<std::path::PathBuf> {
        None
    }

    /// Whether a process reads from and writes to somebody at the other end.
    ///
    /// # Errors
    /// Always: not supported here.
    pub fn speaks_to_its_parent(_pid: u32) -> Result<bool, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

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

    /// Always: not supported here.
    pub(in crate::claude) fn nested() -> Result<Vec<(u32, Seen)>, ClaudeError> {
        Err(ClaudeError::Unsupported)
    }

    /// What a process was started as: unknown here.
    pub fn command(_pid: u32) -> Vec<String> {
        Vec::new()
    }
}
