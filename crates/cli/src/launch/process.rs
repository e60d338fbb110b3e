//! The running Claude Code: one child on our terminal, in our process group.
//!
//! Measured on 2.1.330: Ctrl-Z in Claude Code sends SIGTSTP to the whole
//! group. `ride` outlives that signal long enough to see its child stopped and
//! then stops itself, so that the shell takes over; `fg` wakes both.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use ride_store::claude::lock::DriverLock;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::oneshot;

/// How Claude Code ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Gone, and the system would not say how.
    Unknown,
}

/// Keeps the terminal's signals from ending `ride` while Claude Code runs.
///
/// Handlers, not `SIG_IGN`: an ignored signal would stay ignored in Claude
/// Code. They stay for the life of the process once this was called.
#[derive(Debug)]
pub struct TerminalSignals([SignalStream; 3]);

impl TerminalSignals {
    /// Takes SIGINT, SIGQUIT and SIGTSTP. Needs a running tokio.
    pub fn hold() -> io::Result<TerminalSignals> {
        let stop = SignalKind::from_raw(Signal::TSTP.as_raw());
        Ok(TerminalSignals([signal(SignalKind::interrupt())?, signal(SignalKind::quit())?, signal(stop)?]))
    }

    /// Waits for the next Ctrl-C that reaches this process. While Claude Code has the terminal
    /// it takes the key itself.
    pub async fn interrupted(&mut self) {
        if self.0[0].recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// A started Claude Code. Dropping it does not end it.
#[derive(Debug)]
pub struct Claude {
    pid: Pid,
    start: Option<u64>,
    /// Locked around both signalling and reaping, so that a signal never meets
    /// another process with the same pid.
    reaped: Arc<Mutex<bool>>,
    ended: oneshot::Receiver<Ended>,
    before: Option<Termios>,
}

impl Claude {
    pub(super) fn spawn(mut command: Command, lock: Option<Arc<DriverLock>>) -> io::Result<Claude> {
        let before = tcgetattr(io::stdin()).ok();
        die_with_parent(&mut command, lock);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let start = start_of(child.id());
        let reaped = Arc::new(Mutex::new(false));
        let (tell, ended) = oneshot::channel();
        let lock = Arc::clone(&reaped);
        // A thread, since tokio's child does not tell of stops. It ends with the child.
        std::thread::Builder::new().name("claude".to_owned()).spawn(move || {
            let how = wait(pid, &lock);
            // Nobody listens any more: `ride` is ending.
            let _ = tell.send(how);
        })?;
        Ok(Claude { pid, start, reaped, ended, before })
    }

    /// The child's pid. Where the child is a wrapper, `Hello::pid` has the real one.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Its start time in clock ticks since boot; `None` where the system has no `/proc`.
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    /// Waits for its end and puts the terminal back as it was before.
    pub async fn ended(&mut self) -> Ended {
        let how = (&mut self.ended).await.unwrap_or(Ended::Unknown);
        if let Some(before) = &self.before {
            // The terminal may be gone; then there is nothing to put back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
        how
    }

    /// Asks it to end. It writes its last lines to the transcript first.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
        // One that is stopped would never see the first signal.
        self.signal(Signal::CONT);
    }

    /// Ends it at once; up to 0.1 s of its transcript may be lost.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // It is our unreaped child, so the only failure is that it has exited.
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }
}

fn wait(pid: Pid, reaped: &Mutex<bool>) -> Ended {
    loop {
        let look = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(pid), look) {
            Ok(Some(status)) if status.stopped() => {
                // A look leaves the stop to be seen again: take it.
                let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
                if status.stopping_signal() == Some(Signal::TSTP.as_raw()) {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
                }
            }
            Ok(Some(_)) => {
                let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
                let status = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                *reaped = true;
                return match status {
                    Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Ended::Exited(code),
                        (None, Some(signal)) => Ended::Signaled(signal),
                        (None, None) => Ended::Unknown,
                    },
                    Ok(None) | Err(_) => Ended::Unknown,
                };
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => {
                *reaped.lock().unwrap_or_else(PoisonError::into_inner) = true;
                return Ended::Unknown;
            }
        }
    }
}

/// SIGTERM and not SIGKILL: Claude Code then writes what it holds back and
/// leaves the live registry. The lock is passed on to this child alone: everywhere else its
/// descriptor closes on `exec`.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command, lock: Option<Arc<DriverLock>>) {
    let parent = rustix::process::getpid();
    let bind = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have died before the line above.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        if let Some(lock) = &lock {
            rustix::io::fcntl_setfd(lock, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec, `bind` makes three system calls and does not
    // allocate, lock or touch memory shared with the parent.
    unsafe { command.pre_exec(bind) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _lock: Option<Arc<DriverLock>>) {}

/// When a process started, in clock ticks since boot: field 22 of
/// `/proc/<pid>/stat`. `None` for a process that is gone, and without `/proc`.
pub fn start_of(pid: u32) -> Option<u64> {
    ride_store::claude::process::look(pid).ok().flatten().map(|seen| seen.start)
}
