//! The effects the addon performs itself: processes and transcripts.

use std::path::Path;
use std::time::{Duration, Instant};

use ride_core::event::{Act, Outcome};
use ride_core::id::Process;
use ride_core::thread::{ClaudeSession, Rest};
use ride_core::transcript::Origin;
use ride_core::wire::{ChainMark, CopyEnd, Reason};
use ride_store::claude::process::{Alive, alive, is_under};
use ride_store::claude::{ClaudeDir, ClaudeError, EndChild, Look, Writers, chain_mark, end_idle_child, live_writers, program, show_chain, sides, why_not_ended, why_not_resumed};

use uuid::Uuid;

use crate::sync::Sync;

/// How long one attempt waits for the child to be gone; the stage asks again.
/// It holds one of Node's four pool threads meanwhile.
const END_WITHIN: Duration = Duration::from_millis(1_500);

/// Performs one effect.
pub(crate) fn perform(sync: &Sync, act: &Act) -> Outcome {
    let result = match act {
        Act::EndChild { claude } => end_child(sync, claude),
        Act::Prove { claude, process, ride } => prove(sync, claude, process.as_ref(), ride.as_ref()),
        Act::Mark { claude, whole, since } => mark(claude, *whole, since.as_ref()),
        Act::Probe { driver, process } => probe(driver, process.as_ref()),
        Act::Show { mark, copy } => show(mark, copy.as_ref()),
        other => return Outcome::Failed { what: format!("the host performs this, not the addon: {other:?}"), reason: Reason::Host },
    };
    // A table or a file that cannot be read now may be readable in a moment; until then nothing is proven.
    result.unwrap_or_else(|e| Outcome::NotYet { what: e.to_string() })
}

/// Ends this gateway's idle child on a Claude session that another gateway's thread holds.
pub(crate) fn let_go(sync: &Sync, claude: Uuid) -> Outcome {
    let ended = end_idle(sync, &ClaudeDir::at(&sync.claude_dir), claude);
    ended.unwrap_or_else(|e| Outcome::NotYet { what: e.to_string() })
}

fn end_child(sync: &Sync, claude: &ClaudeSession) -> Result<Outcome, ClaudeError> {
    end_idle(sync, &dir(claude), claude.id)
}

fn end_idle(sync: &Sync, dir: &ClaudeDir, claude: Uuid) -> Result<Outcome, ClaudeError> {
    Ok(match end_idle_child(dir, sync.gateway_pid, claude, END_WITHIN)? {
        EndChild::Gone(_) | EndChild::NotRunning => Outcome::Ok,
        EndChild::Busy { process, .. } => Outcome::NotYet { what: format!("the gateway's Claude (process {}) is busy", process.pid) },
        EndChild::Stuck(process) => Outcome::NotYet { what: format!("the gateway's Claude (process {}) does not end", process.pid) },
    })
}

fn prove(sync: &Sync, claude: &ClaudeSession, process: Option<&Process>, ride: Option<&Process>) -> Result<Outcome, ClaudeError> {
    for (name, process) in [("the ride's Claude Code", process), ("the driver's ride", ride)] {
        let Some(process) = process else { continue };
        let pid = process.pid;
        match alive(process)? {
            Alive::No => {}
            Alive::Yes => return Ok(Outcome::NotYet { what: format!("{name} (process {pid}) has not ended") }),
            Alive::CannotTell(why) => {
                let what = format!("whether {name} (process {pid}) has ended cannot be seen from here: {why}");
                return Ok(Outcome::Broken { what });
            }
        }
    }
    let dir = dir(claude);
    let transcript = dir.find(claude.id, Some(Path::new(&claude.cwd)))?;
    let writers = settled_writers(&dir, claude.id, transcript.as_deref())?;
    if let Some(writer) = writers.here.first() {
        return Ok(if is_under(writer.process.pid, sync.gateway_pid)? {
            Outcome::ChildAgain
        } else {
            Outcome::NotYet { what: format!("process {} ({}) has the Claude session open", writer.process.pid, program(&writer.command)) }
        });
    }
    if let Some(unclear) = writers.unclear.first() {
        return Ok(Outcome::Broken { what: unclear.to_string() });
    }
    Ok(match writers.elsewhere.first() {
        Some((pid, place)) => {
            let folder = dir.sessions();
            let what = format!("process {pid} of {place} is registered on the Claude session and cannot be seen from here; remove its file under {} if it is gone", folder.display());
            Outcome::Broken { what }
        }
        None => Outcome::Ok,
    })
}

/// How long an unclear Claude Code may take to register, or to be over: some only tell their version.
const CLEAR_WITHIN: Duration = Duration::from_millis(1_500);
/// How often that is looked at.
const CLEAR_EVERY: Duration = Duration::from_millis(100);

/// The writers, once nothing but what stays unclear is unclear.
fn settled_writers(dir: &ClaudeDir, session: Uuid, transcript: Option<&Path>) -> Result<Writers, ClaudeError> {
    let until = Instant::now() + CLEAR_WITHIN;
    loop {
        let writers = live_writers(dir, session, transcript, &[])?;
        if writers.unclear.is_empty() || !writers.here.is_empty() || Instant::now() >= until {
            return Ok(writers);
        }
        std::thread::sleep(CLEAR_EVERY);
    }
}

fn mark(claude: &ClaudeSession, whole: bool, since: Option<&Rest>) -> Result<Outcome, ClaudeError> {
    let failed = |what: String| Outcome::Failed { what, reason: Reason::Transcript };
    let Some(path) = dir(claude).find(claude.id, Some(Path::new(&claude.cwd)))? else {
        return Ok(failed(format!("the transcript of Claude session {} is gone", claude.id)));
    };
    if let (true, Some(why)) = (whole, why_not_resumed(&path)?) {
        return Ok(failed(format!("Claude session {} cannot be gone on with: {why}", claude.id)));
    }
    if let Some(why) = why_not_ended(&path)? {
        return Ok(failed(format!("{}: {why}", path.display())));
    }
    Ok(match chain_mark(&path) {
        Ok(mark) => {
            // What cannot be told of is no reason to refuse: the claim itself rests on the mark.
            let beside = since.map(|rest| sides(&path, rest.leaf, rest.size)).transpose().ok().flatten().unwrap_or_default();
            Outcome::Marked { mark, beside }
        }
        Err(e @ (ClaudeError::NoLeaf { .. } | ClaudeError::NotRegular(_))) => failed(e.to_string()),
        Err(e) => return Err(e),
    })
}

fn probe(driver: &Process, process: Option<&Process>) -> Result<Outcome, ClaudeError> {
    for one in [Some(driver), process].into_iter().flatten() {
        // What cannot be looked at from here may live: its lease decides.
        if alive(one)? != Alive::No {
            return Ok(Outcome::Alive);
        }
    }
    Ok(Outcome::Gone)
}

fn show(mark: &ChainMark, copy: Option<&CopyEnd>) -> Result<Outcome, ClaudeError> {
    let broken = |what: &str| Outcome::Broken { what: format!("{}: {what}", mark.path) };
    Ok(match show_chain(mark)? {
        Look::Shown { now, .. } if copy.is_some_and(|copy| !ends_with(&now, copy)) => broken("it does not end where the driver's copy ends"),
        Look::Shown { mut turns, .. } => {
            let typed = std::mem::take(&mut turns.beside).into_iter().filter(|p| p.from == Origin::Person);
            Outcome::Shown { beside: typed.map(|p| p.uuid.to_string()).collect(), turns: turns.into_items() }
        }
        Look::Broken(broken) => Outcome::Broken { what: format!("{}: {broken}", mark.path) },
        Look::Missing => broken("the transcript is gone"),
        Look::Replaced => broken("another file stands where the transcript was"),
        Look::Rewritten => broken("what was there at the claim has been changed"),
    })
}

/// Whether a transcript ends where a copy of it does.
fn ends_with(mark: &ChainMark, copy: &CopyEnd) -> bool {
    (mark.size, &mark.tail_sha256, mark.leaf) == (copy.size, &copy.tail_sha256, copy.leaf)
}

fn dir(claude: &ClaudeSession) -> ClaudeDir {
    ClaudeDir::at(&claude.config_dir)
}
