//! Children that do not outlive the test: own process group, killed with their
//! descendants on drop, and by the kernel if this process dies first (Linux).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::error::{Doing, Error, Result};
use crate::wait::poll_until;

/// A running program.
#[derive(Debug)]
pub(crate) struct Child {
    child: std::process::Child,
    what: String,
}

type Spawn = (Command, mpsc::Sender<std::io::Result<std::process::Child>>);

/// Spawns on one thread that lives as long as this process: the kernel's death
/// signal fires when the spawning *thread* ends, and test and pool threads come and go.
static NURSERY: LazyLock<mpsc::Sender<Spawn>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Spawn>();
    let serve = move || {
        for (mut command, answer) in receiver {
            // Whoever asked is gone: drop the child it cannot take.
            if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                let _ = child.kill();
            }
        }
    };
    std::thread::Builder::new().name("nursery".into()).spawn(serve).expect("a thread starts before any test can run");
    sender
});

impl Child {
    pub(crate) fn spawn(what: &str, mut command: Command) -> Result<Self> {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        // SAFETY: prctl is async-signal-safe, and nothing else runs between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let (sender, receiver) = mpsc::channel();
        NURSERY.send((command, sender)).expect("the nursery thread never ends");
        let spawned = receiver.recv().expect("the nursery answers every command");
        let child = spawned.doing(|| format!("start {what}"))?;
        Ok(Self { child, what: what.into() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells how it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(crate) async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.what);
        poll_until(&what, deadline, || self.ended()).await
    }

    /// Asks it to end, and kills it with its descendants after `grace`.
    pub(crate) async fn stop(mut self, grace: Duration) {
        let family = family(self.pid());
        if self.ended().is_none() {
            signal(self.pid(), Signal::TERM);
            let _ = self.wait(grace).await;
        }
        kill(&family);
        drop(self);
    }

    /// Kills this one process as a crash would, and nothing else.
    pub(crate) fn crash(mut self) -> Result<()> {
        let what = self.what.clone();
        self.child.kill().doing(|| format!("kill {what}"))?;
        self.child.wait().doing(|| format!("wait for {what}")).map(|_| ())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Ended and reaped already: its process id may belong to another by now.
        if self.ended().is_none() {
            kill_family(self.pid());
            let _ = self.child.wait();
        }
    }
}

/// A process by id and start time, so that a reused id is not mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Process {
    /// Finds a live process by its id.
    pub fn find(pid: u32) -> Option<Self> {
        stat(pid).filter(|stat| stat.alive).map(|stat| Self { pid, start_ticks: stat.start_ticks })
    }

    /// Tells whether it still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid) == Some(*self)
    }

    /// Gives its command line.
    pub fn command_line(&self) -> Vec<String> {
        let raw = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let arguments = raw.split(|byte| *byte == 0).filter(|argument| !argument.is_empty());
        arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
    }

    /// Sends it a signal by number (`15` to end it, `9` to kill it, `19` and `18` to stop and continue it).
    pub fn signal(&self, number: i32) -> Result<()> {
        let named = Signal::from_named_raw(number).filter(|_| self.is_alive());
        let sent = named.and_then(|named| Some(kill_process(Pid::from_raw(self.pid.cast_signed())?, named)));
        let said = || "no such process or signal".to_owned();
        let failed = |said| Error::Peer { what: format!("signal {number} to process {}", self.pid), said };
        match sent {
            Some(sent) => sent.map_err(|cause| failed(cause.to_string())),
            None => Err(failed(said())),
        }
    }
}

/// Gives all living descendants of a process (Linux; elsewhere none are known).
pub fn descendants(pid: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<_> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let mut known = BTreeSet::from([pid]);
    let mut found = Vec::new();
    // Parents may come after their children in the list, so look until nothing is new.
    loop {
        let before = found.len();
        for (pid, stat) in &all {
            if stat.alive && known.contains(&stat.parent) && known.insert(*pid) {
                found.push(Process { pid: *pid, start_ticks: stat.start_ticks });
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

struct Stat {
    parent: u32,
    start_ticks: u64,
    alive: bool,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may contain anything; fields count from after it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let alive = !matches!(*fields.first()?, "Z" | "X");
    Some(Stat { parent: fields.get(1)?.parse().ok()?, start_ticks: fields.get(19)?.parse().ok()?, alive })
}

fn family(pid: u32) -> Vec<Process> {
    let mut family = descendants(pid);
    family.extend(Process::find(pid));
    family
}

fn kill(family: &[Process]) {
    for process in family.iter().filter(|process| process.is_alive()) {
        signal(process.pid, Signal::KILL);
    }
}

/// Kills a process group leader, its group and all its descendants.
pub(crate) fn kill_family(pid: u32) {
    let family = family(pid);
    if let Some(group) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    kill(&family);
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    // It may have ended just now, which is what was wanted.
    let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, signal));
}
