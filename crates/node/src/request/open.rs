//! `ride_open`: a Claude Code outside any ride has a Claude session open, or has not any more.
//!
//! The guard of the installed plugin tells it. What counts is the process: one that is not there,
//! one that the gateway started, and one that is no Claude Code hold nothing.

use ride_core::event::{Event, OpenedBy};
use ride_core::host::Entry;
use ride_core::id::{Fence, Process};
use ride_core::limits;
use ride_core::thread::{OpenedStage, Thread};
use ride_core::view;
use ride_core::wire::{self, Bound, Opening, method};
use ride_store::claude::process::{Alive, age_ms, alive, is_under};
use ride_store::claude::runs_claude_code;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Answer, Host, Outcome, Waiting, locate, may, named, store_error, value};
use crate::sync::Sync;

/// How long the guard waits until nothing of the gateway writes any more; it has 2 s in all.
const WAIT_MS: u64 = 1_000;

/// What the shell knows of turns on a Claude session.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Turns {
    /// One runs, or is about to.
    running: bool,
    /// How long ago the last one ended.
    ended_ms_ago: Option<u64>,
}

impl Turns {
    /// Whether the agent answered while a Claude Code that runs for so long read the conversation.
    fn meanwhile(&self, age_ms: Option<u64>) -> bool {
        let read_within = age_ms.unwrap_or(u64::MAX).min(limits::TERMINAL_READS_MS);
        self.running || self.ended_ms_ago.is_some_and(|ago| ago < read_within)
    }
}

pub(super) fn open(sync: &Sync, params: &str, mut host: Host) -> Outcome<Answer> {
    let asked: wire::Open = wire::parse(method::OPEN, params)?;
    named("host", &asked.host, limits::NAME_CHARS)?;
    elsewhere(sync, &asked)?;
    let (id, twins) = (asked.cli_session_id, std::mem::take(&mut host.twins));
    let Some(bound) = host.entry.as_ref().map(|entry| entry.key.clone()) else { return none() };
    if asked.state != Opening::Open {
        let event = Event::Closed { process: asked.process, left: asked.state == Opening::Left };
        let key = keeper(sync, id, bound, &twins)?;
        let (thread, _) = sync.apply(&key, event).map_err(store_error)?;
        return value(&answer(&thread, None)).map(Answer::Ok);
    }
    if own_or_gone(sync, &asked.process) {
        return none();
    }
    let (entry, row): (Entry, wire::Row) = may(sync, &bound, &mut host, "open")?;
    if entry.claude != Some(id) {
        return none();
    }
    let claude = locate(sync, id, entry.cwd.as_deref())?;
    let key = keeper(sync, id, bound.clone(), &twins)?;
    let twins = twins.into_iter().chain([bound]).filter(|twin| *twin != key).collect();
    let process = asked.process.clone();
    let answered = host.turns.meanwhile(age_ms(&process));
    let by = OpenedBy { claude, twins, process: asked.process, host: asked.host, answered };
    let (thread, _) = sync.apply(&key, Event::Opened(Box::new(by))).map_err(store_error)?;
    let answer = Bound { title: Some(row.title), ..answer(&thread, Some(&process)) };
    if is_settled(&thread) {
        return value(&answer).map(Answer::Ok);
    }
    let fence = Fence { incarnation: thread.incarnation, epoch: thread.epoch, grant: Uuid::nil() };
    let method = method::OPEN.into();
    Ok(Answer::Wait(Waiting {
        method,
        key,
        fence,
        wait_ms: WAIT_MS,
        size: 0,
        again: false,
        opens: Some((answer.title, process)),
    }))
}

/// A Claude Code has one session at a time: what it was told to have open before, it has left.
fn elsewhere(sync: &Sync, asked: &wire::Open) -> Outcome<()> {
    for key in sync.store.busy().map_err(|e| store_error(e.to_string()))? {
        let Ok(Some(thread)) = sync.store.read(&key) else { continue };
        let Some(opened) = thread.opened.filter(|opened| opened.claude.id != asked.cli_session_id) else { continue };
        if opened.terminals.iter().any(|terminal| terminal.process == asked.process) {
            let event = Event::Closed { process: asked.process.clone(), left: true };
            sync.apply(&key, event).map_err(store_error)?;
        }
    }
    Ok(())
}

/// Which of the threads that are bound to a session keeps it: the one that has it already.
fn keeper(sync: &Sync, claude: Uuid, bound: String, twins: &[String]) -> Outcome<String> {
    let has = sync.store.riding(claude).map_err(|e| store_error(e.to_string()))?.map(|thread| thread.key.session);
    Ok(has.filter(|key| *key == bound || twins.contains(key)).unwrap_or(bound))
}

/// Whether a process holds nothing: it is the gateway's, is not there, or is no Claude Code.
fn own_or_gone(sync: &Sync, process: &Process) -> bool {
    match alive(process) {
        Ok(Alive::Yes) => is_under(process.pid, sync.gateway_pid).unwrap_or(false) || !runs_claude_code(process.pid),
        Ok(Alive::No) => true,
        // Nobody can tell: it counts as alive, for a time.
        Ok(Alive::CannotTell(_)) | Err(_) => false,
    }
}

/// Whether nothing of the gateway writes to the session any more.
fn is_settled(thread: &Thread) -> bool {
    let stage = thread.opened.as_ref().map(|opened| opened.at.stage);
    !matches!(stage, Some(OpenedStage::Settle | OpenedStage::EndChild)) || thread.lease().is_some()
}

pub(super) fn settled(sync: &Sync, waiting: Waiting) -> Outcome<Answer> {
    let thread = sync.store.read(&waiting.key).map_err(|e| store_error(e.to_string()))?;
    let thread = thread.ok_or_else(|| store_error(format!("the state of {} is gone", waiting.key)))?;
    if is_settled(&thread) {
        return value(&found(&thread, &waiting)).map(Answer::Ok);
    }
    Ok(Answer::Wait(waiting))
}

/// The agent's turn, or its Claude Code, took longer than the guard waits.
pub(super) fn late(thread: &Thread, waiting: &Waiting) -> Outcome<Value> {
    let what = view::waiting_for(thread).unwrap_or_else(|| "the gateway's own Claude Code is being ended".into());
    value(&Bound { waiting_for: Some(what.into()), ..found(thread, waiting) })
}

fn found(thread: &Thread, waiting: &Waiting) -> Bound {
    let (title, process) = waiting.opens.clone().unzip();
    Bound { title: title.flatten(), ..answer(thread, process.as_ref()) }
}

fn answer(thread: &Thread, process: Option<&Process>) -> Bound {
    let mut terminals = thread.opened.iter().flat_map(|opened| &opened.terminals);
    let stale = terminals.any(|terminal| terminal.stale && Some(&terminal.process) == process);
    let held = thread.opened.is_some();
    Bound { key: Some(thread.key.session.clone()), title: None, held, stale, waiting_for: None }
}

fn none() -> Outcome<Answer> {
    value(&Bound::default()).map(Answer::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rule OPEN-7.
    #[test]
    fn a_turn_counts_that_ended_while_the_conversation_was_read() {
        let check = |turns: &str, age_ms, meanwhile| {
            let turns: Turns = serde_json::from_str(turns).expect("what the shell says");
            assert_eq!(turns.meanwhile(age_ms), meanwhile, "{age_ms:?}");
        };
        check("{}", None, false);
        check(r#"{"running": true, "endedMsAgo": null}"#, Some(10), true);
        let ended = r#"{"running": false, "endedMsAgo": 1500}"#;
        check(ended, Some(1_499), false);
        check(ended, Some(1_501), true);
        // One that changed to this session later read it when it told.
        check(ended, Some(u64::MAX), true);
        let long_ago = r#"{"endedMsAgo": 30000}"#;
        check(long_ago, Some(u64::MAX), false);
        check(long_ago, None, false);
    }
}
