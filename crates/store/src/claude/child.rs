//! Ends the gateway's own idle Claude child, and nothing else: the one signal
//! this project sends to a host's process (invariant 7).

use std::time::Duration;

use ride_core::id::Process;
use uuid::Uuid;

use super::process::Seen;
use super::{ClaudeDir, ClaudeError, Status};

/// What became of the gateway's child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndChild {
    /// It was idle, was asked to end, and is gone. Usually one.
    Gone(Vec<Process>),
    /// The gateway has no child on that Claude session.
    NotRunning,
    /// It is doing something, or does not say what; nothing was done.
    Busy {
        /// It.
        process: Process,
        /// What it is doing.
        status: Status,
        /// What it waits for, in the host's words.
        waiting_for: Option<String>,
    },
    /// It was asked to end and is still there.
    Stuck(Process),
}

/// Ends the idle Claude child of `gateway` on a Claude session and sees it gone
/// within `limit` (the design's default: ten seconds).
///
/// A child is a process with a live registry entry for that session (same pid,
/// same start time) whose parent is the gateway, or a wrapper between the two.
/// Only its registry entry makes it eligible; a child known by its arguments
/// alone is reported busy. Where the host tells no status (2.1.197 under `-p`),
/// the transcript decides: idle means that its last turn is over. The status
/// lags a prompt by up to a quarter second (2.1.330), so callers first close
/// the way by which prompts come. A process that ends meanwhile counts as gone.
///
/// # Errors
/// When the registry or the process table cannot be read, when the child may
/// not be signalled.
#[cfg(target_os = "linux")]
pub fn end_idle_child(dir: &ClaudeDir, gateway: u32, session: Uuid, limit: Duration) -> Result<EndChild, ClaudeError> {
    use super::process::Handle;
    use super::registry::Registry;

    let deadline = std::time::Instant::now() + limit;
    let mut gone = Vec::new();
    // Each round ends one child or returns; the host keeps one per session.
    for _ in 0..MAX_CHILDREN {
        let Some(child) = find(dir, gateway, session)? else {
            break;
        };
        let Some(handle) = Handle::open(child.pid)? else {
            continue;
        };
        if handle.seen != child {
            continue;
        }
        // Looked up again with the process in hand: a turn may have begun.
        let registry = Registry::read(dir)?;
        let process = child.process();
        let entry = registry.of(&child).filter(|entry| entry.session == session);
        let status = entry.map_or(Status::Other("not registered".to_owned()), |e| e.status.clone());
        let idle = match status {
            Status::Idle => true,
            Status::Untold => is_quiet(dir, session)?,
            _ => false,
        };
        if !idle {
            if handle.wait_gone(Duration::ZERO)? {
                gone.push(process);
                continue;
            }
            let waiting_for = entry.and_then(|entry| entry.waiting_for.clone());
            return Ok(EndChild::Busy { process, status, waiting_for });
        }
        handle.terminate()?;
        if !handle.wait_gone(deadline.saturating_duration_since(std::time::Instant::now()))? {
            return Ok(EndChild::Stuck(process));
        }
        gone.push(process);
    }
    Ok(if gone.is_empty() { EndChild::NotRunning } else { EndChild::Gone(gone) })
}

/// Not supported on this operating system yet.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn end_idle_child(
    _dir: &ClaudeDir,
    _gateway: u32,
    _session: Uuid,
    _limit: Duration,
) -> Result<EndChild, ClaudeError> {
    Err(ClaudeError::Unsupported)
}

/// Rounds of looking and ending: two children would already be a fault of the host.
#[cfg(target_os = "linux")]
const MAX_CHILDREN: usize = 8;

/// Whether the transcript's last turn is over; not so where there is none.
#[cfg(target_os = "linux")]
fn is_quiet(dir: &ClaudeDir, session: Uuid) -> Result<bool, ClaudeError> {
    match dir.find(session, None)? {
        Some(path) => super::transcript::is_idle(&path),
        None => Ok(false),
    }
}

/// The gateway's child on that Claude session, by registry first.
#[cfg(target_os = "linux")]
fn find(dir: &ClaudeDir, gateway: u32, session: Uuid) -> Result<Option<Seen>, ClaudeError> {
    use super::process;
    use super::registry::Registry;
    use super::writers::names;

    let registry = Registry::read(dir)?;
    let all = process::all()?;
    let under = |seen: &Seen| {
        let parent = |ppid: u32| all.iter().find(|p| p.pid == ppid);
        seen.ppid == gateway || parent(seen.ppid).is_some_and(|wrapper| wrapper.ppid == gateway)
    };
    let registered = registry.live(session).map(|(_, seen)| seen).find(|seen| under(seen));
    if let Some(child) = registered {
        return Ok(Some(child.clone()));
    }
    // Just started, or moved on to another session: only the former counts.
    let by_arguments = all
        .iter()
        .filter(|seen| under(seen))
        .find(|seen| registry.of(seen).is_none() && names(&process::command(seen.pid), session));
    Ok(by_arguments.cloned())
}
