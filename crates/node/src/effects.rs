//! The effects the addon performs itself: processes and transcripts.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ride_core::event::{Act, HeldLock, Outcome};
use ride_core::id::Process;
use ride_core::limits::{RELAY_BYTES, SHOWN_BYTES};
use ride_core::thread::{ClaudeSession, Rest};
use ride_core::transcript::{Origin, Turns, Wanted};
use ride_core::wire::{ChainMark, CopyEnd, Reason};
use ride_store::claude::lock::{self, Lock};
use ride_store::claude::process::{Alive, alive, command, holders, is_under};
use ride_store::claude::{
    ClaudeDir, ClaudeError, Elsewhere, EndChild, Look, Writers, chain_mark, end_idle_child, live_writers, program,
    show_chain_within, sides, why_not_ended, why_not_resumed,
};
use ride_store::copy::Files;
use uuid::Uuid;

use crate::sync::Sync;

/// How long one attempt waits for the child to be gone; the stage asks again.
/// It holds one of Node's four pool threads meanwhile.
const END_WITHIN: Duration = Duration::from_millis(1_500);

/// Performs one effect.
pub(crate) fn perform(sync: &Sync, act: &Act) -> Outcome {
    let result = match act {
        Act::EndChild { claude } => end_child(sync, claude),
        Act::Prove { claude, process, ride, lock, gone, open } => match still_open(open, gone) {
            Ok(None) => prove(sync, claude, [process.as_ref(), ride.as_ref()], lock.as_ref(), gone),
            found => found.map(|found| found.unwrap_or(Outcome::Ok)),
        },
        Act::Look { processes } => look(processes),
        Act::Mark { claude, whole, since } => mark(claude, *whole, since.as_ref()),
        Act::Probe { driver, process, lock } => probe(driver, process.as_ref(), lock.as_ref()),
        Act::Show { mark, copy, after, known } => {
            forget_staged(mark);
            show(mark, copy.as_ref(), &NextTurns { after: after.as_deref(), known })
        }
        other => {
            return Outcome::Failed {
                what: format!("the host performs this, not the addon: {other:?}"),
                reason: Reason::Host,
            };
        }
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
        EndChild::Busy { process, .. } => {
            Outcome::NotYet { what: format!("the gateway's Claude (process {}) is busy", process.pid) }
        }
        EndChild::Stuck(process) => {
            Outcome::NotYet { what: format!("the gateway's Claude (process {}) does not end", process.pid) }
        }
    })
}

/// A driver's lock, and what it says now.
type Asked<'l> = Option<(&'l HeldLock, Lock)>;

fn ask(lock: Option<&HeldLock>) -> Result<Asked<'_>, ClaudeError> {
    lock.map(|lock| Ok((lock, lock::ask(&ClaudeDir::at(&lock.config_dir), &lock.name)?))).transpose()
}

/// Whether a process is there: by the process table, and where that cannot tell, by its lock.
fn lives(process: &Process, lock: &Asked<'_>) -> Result<Alive, ClaudeError> {
    Ok(match (alive(process)?, lock) {
        (Alive::CannotTell(_), Some((_, Lock::Held))) => Alive::Yes,
        // On some mounts a held lock looks free from the other side: not where both were seen.
        (Alive::CannotTell(_), Some((lock, Lock::Free))) if lock.mutual => Alive::No,
        (known, _) => known,
    })
}

/// Who else holds a driver's lock, once its Claude Code is gone. Its `ride` may, for as long as it runs.
fn left_with(lock: &HeldLock) -> Result<Option<String>, ClaudeError> {
    let holders = holders(&lock::path_of(&ClaudeDir::at(&lock.config_dir), &lock.name))?;
    let other = holders.iter().find(|seen| seen.process() != lock.ride);
    Ok(match other {
        Some(seen) => {
            let command = command(seen.pid);
            Some(format!(
                "process {} ({}) holds the lock that the ride's Claude Code was started with",
                seen.pid,
                program(&command)
            ))
        }
        None if holders.is_empty() => Some(
            "a process that cannot be seen from here holds the lock that the ride's Claude Code was started with"
                .into(),
        ),
        None => None,
    })
}

fn prove(
    sync: &Sync,
    claude: &ClaudeSession,
    processes: [Option<&Process>; 2],
    lock: Option<&HeldLock>,
    gone: &[String],
) -> Result<Outcome, ClaudeError> {
    let lock = ask(lock)?;
    let mut ended = Vec::new();
    for (name, process) in ["the ride's Claude Code", "the driver's ride"].into_iter().zip(processes) {
        let Some(process) = process else { continue };
        let pid = process.pid;
        match lives(process, &lock)? {
            Alive::No => ended.push(process),
            Alive::Yes => return Ok(Outcome::NotYet { what: format!("{name} (process {pid}) has not ended") }),
            Alive::CannotTell(why) => {
                let what = format!("whether {name} (process {pid}) has ended cannot be seen from here: {why}");
                return Ok(Outcome::Broken { what });
            }
        }
    }
    // Nothing was heard of a Claude Code: one may have been started, by a `ride` that cannot be seen.
    if let (Some((held, _)), [None, None]) = (&lock, processes)
        && let Alive::CannotTell(why) = lives(&held.ride, &lock)?
    {
        let what =
            format!("whether the driver's ride (process {}) has ended cannot be seen from here: {why}", held.ride.pid);
        return Ok(Outcome::Broken { what });
    }
    if let Some((lock, Lock::Held)) = lock
        && let Some(what) = left_with(lock)?
    {
        return Ok(Outcome::NotYet { what });
    }
    let dir = dir(claude);
    let transcript = dir.find(claude.id, Some(Path::new(&claude.cwd)))?;
    let writers = settled_writers(&dir, claude.id, transcript.as_deref())?;
    if let Some(writer) = writers.here.first() {
        return Ok(if is_under(writer.process.pid, sync.gateway_pid)? {
            Outcome::ChildAgain
        } else {
            Outcome::NotYet {
                what: format!(
                    "process {} ({}) has the Claude session open",
                    writer.process.pid,
                    program(&writer.command)
                ),
            }
        });
    }
    if let Some(unclear) = writers.unclear.first() {
        return Ok(Outcome::Broken { what: unclear.to_string() });
    }
    // What was shown to have ended leaves its entry behind when it was killed.
    let left = |pid: u32, place: &Elsewhere| ended.iter().any(|one| one.pid == pid && Some(one.start) == place.start);
    let declared = |pid: u32, place: &Elsewhere| gone.contains(&place.name(pid));
    Ok(match writers.elsewhere.iter().find(|(pid, place)| !left(*pid, place) && !declared(*pid, place)) {
        Some((pid, place)) => {
            let name = place.name(*pid);
            let what = format!(
                "process {pid} of {place} is registered on the Claude session and cannot be seen from here; if it is gone, say so with --gone {name}"
            );
            Outcome::Broken { what }
        }
        None => Outcome::Ok,
    })
}

/// Which of these processes are gone, and of which nobody can tell.
fn look(processes: &[Process]) -> Result<Outcome, ClaudeError> {
    let (mut gone, mut unseen) = (Vec::new(), Vec::new());
    for process in processes {
        match alive(process)? {
            Alive::Yes => {}
            Alive::No => gone.push(process.clone()),
            Alive::CannotTell(_) => unseen.push(process.clone()),
        }
    }
    Ok(Outcome::Looked { gone, unseen })
}

/// What keeps a claim out of the Claude Codes that were told to have the session open.
fn still_open(open: &[Process], gone: &[String]) -> Result<Option<Outcome>, ClaudeError> {
    for process in open {
        let pid = process.pid;
        match alive(process)? {
            Alive::No => {}
            Alive::Yes => {
                let command = command(pid);
                let what = format!("process {pid} ({}) has the Claude session open", program(&command));
                return Ok(Some(Outcome::NotYet { what }));
            }
            Alive::CannotTell(why) => {
                let pids = process.namespace.as_deref().and_then(|all| all.split(' ').next());
                let place = Elsewhere {
                    domain: pids.map(|ns| format!("{}:{ns}", process.machine)),
                    start: Some(process.start),
                };
                let name = place.name(pid);
                if gone.contains(&name) {
                    continue;
                }
                let what = format!(
                    "process {pid} has the Claude session open, and whether it still lives cannot be seen from here \
                     ({why}); if it is gone, say so with --gone {name}"
                );
                return Ok(Some(Outcome::Broken { what }));
            }
        }
    }
    Ok(None)
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
            let beside =
                since.map(|rest| sides(&path, rest.leaf, rest.size)).transpose().ok().flatten().unwrap_or_default();
            Outcome::Marked { mark, beside }
        }
        Err(e @ (ClaudeError::NoLeaf { .. } | ClaudeError::NotRegular(_))) => failed(e.to_string()),
        Err(e) => return Err(e),
    })
}

fn probe(driver: &Process, process: Option<&Process>, lock: Option<&HeldLock>) -> Result<Outcome, ClaudeError> {
    let lock = ask(lock)?;
    if matches!(lock, Some((_, Lock::Held))) {
        return Ok(Outcome::Alive);
    }
    for one in [Some(driver), process].into_iter().flatten() {
        // What cannot be looked at from here may live: its lease decides.
        if lives(one, &lock)? != Alive::No {
            return Ok(Outcome::Alive);
        }
    }
    Ok(Outcome::Gone)
}

/// The ride is over: what its driver began to push and did not end is not waited for any more.
fn forget_staged(mark: &ChainMark) {
    let path = Path::new(&mark.path);
    let session = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    if let Some(session) = session {
        Files::of(path, session).forget_staged();
    }
}

/// What is asked for of a transcript's turns.
struct NextTurns<'a> {
    after: Option<&'a str>,
    known: &'a [String],
}

/// Shows the chain, with its next turns: not more than can cross the event loop at once.
fn show(mark: &ChainMark, copy: Option<&CopyEnd>, asked: &NextTurns<'_>) -> Result<Outcome, ClaudeError> {
    let broken = |what: &str| Outcome::Broken { what: format!("{}: {what}", mark.path) };
    let mut wanted = Wanted {
        after: asked.after.and_then(|id| id.parse().ok()),
        known: asked.known.iter().filter_map(|id| id.parse().ok()).collect(),
        // One byte more tells that it is too long.
        each: RELAY_BYTES + 1,
        room: SHOWN_BYTES,
    };
    loop {
        let turns = match show_chain_within(mark, &wanted)? {
            Look::Shown { now, .. } if copy.is_some_and(|copy| !ends_with(&now, copy)) => {
                return Ok(broken("it does not end where the driver's copy ends"));
            }
            Look::Shown { turns, .. } => turns,
            Look::Broken(broken) => return Ok(Outcome::Broken { what: format!("{}: {broken}", mark.path) }),
            Look::Missing => return Ok(broken("the transcript is gone")),
            Look::Replaced => return Ok(broken("another file stands where the transcript was")),
            Look::Rewritten => return Ok(broken("what was there at the claim has been changed")),
        };
        match part(turns, wanted.after) {
            Part::Next(outcome) => return Ok(outcome),
            // The chain is another one since: what was relayed is known by its id.
            Part::NotThere => wanted.after = None,
            Part::NoRoom => wanted.room *= 8,
        }
    }
}

/// What is found behind a turn.
enum Part {
    Next(Outcome),
    NotThere,
    NoRoom,
}

fn part(mut turns: Turns, after: Option<Uuid>) -> Part {
    let typed = std::mem::take(&mut turns.beside).into_iter().filter(|p| p.from == Origin::Person);
    let beside = typed.map(|p| p.uuid.to_string()).collect();
    let left_out: HashSet<String> = std::mem::take(&mut turns.left_out).iter().map(Uuid::to_string).collect();
    let mut items = turns.into_items();
    if let Some(after) = after.map(|id| id.to_string()) {
        let Some(at) = items.iter().position(|item| item.id == after) else { return Part::NotThere };
        items.drain(..=at);
    }
    match items.iter().position(|item| left_out.contains(&item.id)) {
        Some(0) => Part::NoRoom,
        Some(end) => {
            items.truncate(end);
            Part::Next(Outcome::ShownPart { turns: items, beside })
        }
        None => Part::Next(Outcome::Shown { turns: items, beside }),
    }
}

/// Whether a transcript ends where a copy of it does.
fn ends_with(mark: &ChainMark, copy: &CopyEnd) -> bool {
    (mark.size, &mark.tail_sha256, mark.leaf) == (copy.size, &copy.tail_sha256, copy.leaf)
}

fn dir(claude: &ClaudeSession) -> ClaudeDir {
    ClaudeDir::at(&claude.config_dir)
}

#[cfg(test)]
mod tests {
    use ride_store::claude::lock::{DriverLock, GatewayLock};
    use ride_store::claude::process::{Unseen, identity};

    use super::*;

    // Rules LEASE-20, LEASE-22.
    #[test]
    fn of_a_process_that_cannot_be_seen_its_lock_tells_once_both_sides_were_seen() {
        let home = tempfile::tempdir().unwrap();
        let dir = ClaudeDir::new(None, home.path());
        let driver = DriverLock::take(&dir).unwrap();
        let own = identity(std::process::id());
        let elsewhere = Process { namespace: Some("pid:[1]".into()), ..own.clone() };
        let lock = |mutual| HeldLock {
            config_dir: dir.path().display().to_string(),
            name: driver.name().into(),
            mutual,
            ride: own.clone(),
        };
        let (met, unmet) = (lock(true), lock(false));
        let life = |process: &Process, lock: Option<&HeldLock>| lives(process, &ask(lock).unwrap()).unwrap();
        let cannot_tell = Alive::CannotTell(Unseen::Namespace);
        assert_eq!(life(&elsewhere, None), cannot_tell);
        // Held is alive, whatever was seen.
        assert_eq!((life(&elsewhere, Some(&met)), life(&elsewhere, Some(&unmet))), (Alive::Yes, Alive::Yes));
        // A child that another test starts has every descriptor for a moment, until it is another program.
        let soon = |what: &str, is: &dyn Fn() -> bool| {
            let until = Instant::now() + Duration::from_secs(10);
            while !is() {
                assert!(Instant::now() < until, "{what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // Only `ride` holds it, and that may; its Claude Code is looked for in the table.
        soon("nobody but ride holds it", &|| left_with(&met).unwrap().is_none());
        // Somebody inherited it, as nothing that Claude Code starts does.
        let heir = HeldLock { ride: elsewhere.clone(), ..met.clone() };
        let (begins, ends) =
            (format!("process {} (", own.pid), "holds the lock that the ride's Claude Code was started with");
        soon("who inherited it is named", &|| {
            left_with(&heir).unwrap().is_some_and(|named| named.starts_with(&begins) && named.ends_with(ends))
        });
        let gateway = GatewayLock::meet(&dir, driver.name(), driver.nonce()).unwrap().unwrap();
        assert!(driver.sees_gateway(gateway.nonce()));
        assert_eq!(probe(&elsewhere, None, Some(&met)).unwrap(), Outcome::Alive);
        drop(driver);
        soon("nobody holds it", &|| lock::ask(&dir, &met.name).unwrap() != Lock::Held);
        // Free: gone where each side has seen the other's, and never where it has not.
        assert_eq!((life(&elsewhere, Some(&met)), life(&elsewhere, Some(&unmet))), (Alive::No, cannot_tell));
        assert_eq!(life(&own, Some(&met)), Alive::Yes, "what is seen to live lives");
        assert_eq!(probe(&elsewhere, None, Some(&met)).unwrap(), Outcome::Gone);
        assert_eq!(probe(&elsewhere, None, Some(&unmet)).unwrap(), Outcome::Alive);
        std::fs::remove_file(lock::path_of(&dir, &met.name)).unwrap();
        assert_eq!(life(&elsewhere, Some(&met)), cannot_tell, "without its file nobody can tell");
    }
}
