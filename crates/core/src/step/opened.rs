//! A Claude session that is open in a terminal, outside any ride.
//!
//! The guard of the installed Claude Code plugin tells of it. From then on the gate holds the
//! thread's messages: the terminal is the one writer. First the agent's turn ends and the
//! gateway's child is ended, so that nothing of the gateway writes any more. Then the processes
//! are watched until all are gone. Then the agent goes on, from what the terminal wrote.
//!
//! A claim does not wait for this: it is refused with the process, as of any other writer.
//! Nothing is watched while somebody claims or rides the thread; what is known stays known.

use uuid::Uuid;

use crate::event::{Act, Effect, OpenedBy, Outcome, Reply};
use crate::id::Process;
use crate::limits;
use crate::thread::{At, Deadline, Flight, Opened, OpenedStage, Phase, Terminal, Thread};
use crate::time::Now;

use super::due::Wake;

/// A Claude Code has the session open; told again at each prompt.
pub(super) fn opened(t: &mut Thread, by: OpenedBy, now: Now) -> Reply {
    // Another session is the thread's now: what was open before is not its conversation.
    let mut opened = match t.opened.take().filter(|opened| opened.claude.id == by.claude.id) {
        Some(opened) => opened,
        None => Box::new(Opened {
            claude: by.claude.clone(),
            twins: Vec::new(),
            terminals: Vec::new(),
            since_ms: now.wall_ms,
            told: Vec::new(),
            at: At::new(OpenedStage::Settle),
        }),
    };
    opened.twins = by.twins;
    let known = opened.terminals.iter_mut().find(|terminal| terminal.process == by.process);
    if let Some(terminal) = known {
        (terminal.heard, terminal.ends) = (now.stamp(), false);
    } else if opened.terminals.len() == limits::TERMINALS {
        t.once(now, "its Claude session is open in more terminals than are watched");
    } else {
        t.note(now, format!("its Claude session is open in process {} on {}", by.process.pid, by.host));
        opened.terminals.push(Terminal {
            process: by.process,
            host: by.host,
            since_ms: now.wall_ms,
            heard: now.stamp(),
            ends: false,
            stale: t.handing.is_some() || by.answered,
        });
    }
    if matches!(opened.at.stage, OpenedStage::SettleAgain | OpenedStage::EndChildAgain) {
        opened.at = At::new(OpenedStage::Settle);
    }
    t.opened = Some(opened);
    Reply::Ok
}

/// A Claude Code ends, or goes on with another session.
pub(super) fn closed(t: &mut Thread, process: &Process, left: bool, now: Now) -> Reply {
    let Some(opened) = &mut t.opened else { return Reply::Ok };
    let Some(terminal) = opened.terminals.iter_mut().find(|terminal| terminal.process == *process) else {
        return Reply::Ok;
    };
    terminal.ends = true;
    if left {
        opened.terminals.retain(|terminal| terminal.process != *process);
    }
    if opened.at.stage == OpenedStage::Watch && opened.at.flight.is_none() {
        opened.at.again = None;
    }
    if left {
        t.note(now, format!("process {} goes on with another Claude session", process.pid));
    }
    Reply::Ok
}

/// The thread is bound to this Claude session now: what another one is open in does not matter.
pub(super) fn only_of(t: &mut Thread, claude: Option<Uuid>) {
    t.opened.take_if(|opened| Some(opened.claude.id) != claude);
}

/// The thread was somebody's meanwhile: nothing was watched.
pub(super) fn look_now(t: &mut Thread) {
    if let Some(opened) = &mut t.opened {
        opened.at.again = None;
    }
}

/// The next effect, while nobody claims or rides the thread.
pub(super) fn watch(t: &mut Thread, performer: Uuid, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
    let (handing, op, session) = (t.handing.is_some(), t.next, t.key.session.clone());
    let (Phase::Open, Some(opened)) = (&t.phase, &mut t.opened) else { return };
    if opened.at.flight.is_some() {
        return;
    }
    if opened.at.stage == OpenedStage::Watch && opened.terminals.is_empty() {
        opened.at = At::new(OpenedStage::SettleAgain);
    }
    // A waiting message on its way to the agent is a turn, before any sign of it.
    let settles = matches!(opened.at.stage, OpenedStage::Settle | OpenedStage::SettleAgain);
    if settles && handing || wake.not_before(opened.at.again, now) {
        return;
    }
    opened.at.flight = Some(Flight { op, performer });
    let act = act(opened, session);
    t.next += 1;
    effects.push(Effect { op, act });
}

fn act(opened: &Opened, session: String) -> Act {
    match opened.at.stage {
        OpenedStage::Settle | OpenedStage::SettleAgain => {
            Act::Settle { sessions: std::iter::once(session).chain(opened.twins.iter().cloned()).collect() }
        }
        OpenedStage::EndChild | OpenedStage::EndChildAgain => Act::EndChild { claude: opened.claude.clone() },
        OpenedStage::Watch => {
            Act::Look { processes: opened.terminals.iter().map(|terminal| terminal.process.clone()).collect() }
        }
    }
}

/// What came of it.
pub(super) fn done(t: &mut Thread, outcome: Outcome, now: Now) {
    let Some(opened) = &mut t.opened else { return };
    match (opened.at.stage, outcome) {
        // Claude Code reads a conversation once, when it is opened.
        (OpenedStage::Settle, Outcome::NotYet { what }) => {
            opened.terminals.iter_mut().for_each(|terminal| terminal.stale = true);
            opened.at.wait(what, now);
        }
        (OpenedStage::Settle, Outcome::Ok) => opened.at = At::new(OpenedStage::EndChild),
        (OpenedStage::EndChild, Outcome::Ok) => opened.at = At::new(OpenedStage::Watch),
        (OpenedStage::Watch, Outcome::Looked { gone, unseen }) => {
            opened.terminals.retain_mut(|terminal| lives(terminal, &gone, &unseen, now));
            let ends = opened.terminals.iter().any(|terminal| terminal.ends);
            let pause = if ends { limits::PROBE_MS } else { limits::TERMINAL_LOOK_MS };
            opened.at = At { again: Some(Deadline::after(now, pause)), ..At::new(OpenedStage::Watch) };
        }
        (OpenedStage::SettleAgain, Outcome::Ok) => opened.at = At::new(OpenedStage::EndChildAgain),
        (OpenedStage::EndChildAgain, Outcome::Ok) => {
            t.opened = None;
            t.note(now, "its Claude session is not open in a terminal any more");
        }
        (_, Outcome::NotYet { what } | Outcome::Failed { what, .. } | Outcome::Broken { what }) => {
            opened.at.wait(what, now)
        }
        (stage, other) => opened.at.wait(format!("stage {stage:?} ended in {other:?}"), now),
    }
}

/// Whether a Claude Code counts as alive: it was seen, or nobody can tell and it was heard of
/// within the limit.
fn lives(terminal: &mut Terminal, gone: &[Process], unseen: &[Process], now: Now) -> bool {
    if gone.contains(&terminal.process) {
        return false;
    }
    if !unseen.contains(&terminal.process) {
        return true;
    }
    let Some(silent) = now.since_ms(terminal.heard) else {
        // After a restart of the machine the time counts anew from here.
        terminal.heard = now.stamp();
        return true;
    };
    silent < limits::TERMINAL_UNSEEN_MS
}
