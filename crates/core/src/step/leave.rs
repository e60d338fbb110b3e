//! The end of a ride: the driver's Claude Code is seen gone, the chain shown,
//! the turns of the ride sent, the binding restored, and only then the gate opens.

use std::collections::{HashSet, VecDeque};

use crate::event::{Act, Outcome, Reply};
use crate::id::Process;
use crate::limits;
use crate::rules::Rules;
use crate::thread::{At, Ended, Heir, Lease, LeaveStage, NewsKind, Phase, ShownTo, Thread, Why};
use crate::time::Now;
use crate::view;
use crate::wire::{Reason, Refusal, RelayItem};

use super::{host_events, notice, outbox, phases, say};

/// The agent is to have the thread again, whoever rides it or waits for it.
pub(super) fn take_back(t: &mut Thread, by: String, accept: bool, now: Now) -> Reply {
    let Some(lease) = t.lease() else {
        let hint = view::open_hint(t).map(Into::into);
        let refusal = Refusal { reason: Reason::NotRideable, holder: None, hint };
        return Reply::Refused { message: "nobody rides this thread".into(), refusal };
    };
    // Whoever waits to follow the driver is the one it is taken from.
    let from = t.heir().map_or_else(|| lease.who(), Heir::who);
    let route = lease.route.clone();
    t.note(now, format!("{by} takes the thread back"));
    let mut accepted = None;
    let changed = match &mut t.phase {
        Phase::Claiming { lease, at, .. } => {
            lease.withdrawn = Some(format!("{by} took the thread back"));
            at.again = None;
            true
        }
        Phase::Leaving { at, accept_broken, heir, .. } => {
            // What a person has not been told of cannot be accepted.
            if accept {
                *accept_broken = true;
                at.again = None;
                accepted = at.blocked.clone();
            }
            heir.as_mut().is_some_and(|heir| !std::mem::replace(&mut heir.gone, true))
        }
        Phase::Ridden { .. } | Phase::Open => {
            phases::begin(t, Why::TakenBack { by: by.clone() }, now);
            true
        }
    };
    if let Some(what) = accepted {
        t.note(now, format!("{by} accepts: {what}"));
    }
    if changed {
        notice::tell(t, route.as_ref(), &format!("⇄ {by} takes this thread back from {from}."));
    }
    Reply::Ok
}

/// Whoever waits to follow the driver stops waiting.
pub(super) fn heir_overdue(t: &mut Thread, now: Now) {
    let Phase::Leaving { heir, at, .. } = &mut t.phase else { return };
    let Some(waits) = heir.take_if(|heir| heir.gone || heir.give_up.left_ms(now) == 0) else { return };
    let text = match &at.blocked {
        _ if waits.gone => "it was given up while it waited".to_owned(),
        Some(what) => format!("gave up waiting: {what}"),
        None => "gave up waiting for the driver before to let go".to_owned(),
    };
    t.note(now, format!("claim {} failed: {text}", waits.fence));
    t.last = Some(Ended { fence: waits.fence, why: Why::Failed { reason: Reason::Held.into(), text } });
}

/// Whether a driver that was not asked may still act on its lease, as far as it knows.
fn unasked(lease: &Lease, why: &Why, now: Now, rules: &Rules) -> bool {
    let revoked = matches!(why, Why::Back | Why::Stolen { .. } | Why::TakenBack { .. } | Why::Writer { .. });
    revoked && now.since_ms(lease.renewed).is_some_and(|gone| gone < rules.lease_ms)
}

/// What of a thread a stage's effect depends on, beside its lease.
pub(super) struct Before<'t> {
    /// Its session key.
    pub(super) session: &'t str,
    /// Turns that were taken over.
    pub(super) taken: &'t VecDeque<String>,
    /// How many messages wait for the channel.
    pub(super) outbox: usize,
}

/// The effect a stage asks for; a turn is followed and the outbox sends by itself.
pub(super) fn act(
    at: &At<LeaveStage>,
    lease: &Lease,
    why: &Why,
    before: &Before<'_>,
    now: Now,
    rules: &Rules,
) -> Option<Act> {
    match at.stage {
        LeaveStage::Turn | LeaveStage::Drain => None,
        LeaveStage::Prove => {
            // Who was not asked may be about to start Claude Code, until its own clock forbids that.
            let ride = unasked(lease, why, now, rules).then(|| lease.driver.process.clone());
            // What runs beside a copy cannot write here, wherever it is: its pushes are refused by now.
            let here = |process: Option<Process>| process.filter(|_| lease.copy.is_none());
            let (process, ride) = (here(lease.process.clone()), here(ride));
            let (claude, lock) = (lease.claude.clone()?, lease.held_lock());
            Some(Act::Prove { claude, process, ride, lock, gone: Vec::new(), open: Vec::new() })
        }
        // The next turns are read when half of those before are in the channel.
        LeaveStage::Show if before.outbox >= limits::OUTBOX_MESSAGES => None,
        LeaveStage::Show if lease.shown.is_some() && before.outbox > limits::OUTBOX_MESSAGES / 2 => None,
        LeaveStage::Show => {
            let copy = lease.copy.as_ref().and_then(|copy| copy.end.clone().map(Into::into));
            let after = lease.shown.as_ref().map(|shown| shown.id.clone());
            let known = before.taken.iter().cloned().collect();
            lease.mark.clone().map(|mark| Act::Show { mark: mark.into(), copy, after, known })
        }
        LeaveStage::Restore => {
            // As was announced: a deleted thread begins anew, also where somebody has written there since.
            let gone = lease.was_told(NewsKind::Deleted);
            let parked = lease.parked.iter().filter(|p| !gone || p.session != before.session).cloned();
            Some(Act::Restore {
                parked: parked.collect(),
                claude: lease.claude.as_ref()?.id,
                over: lease.was_told(NewsKind::Turn),
            })
        }
    }
}

/// Steps that need no effect.
pub(super) fn advance(t: &mut Thread, now: Now, rules: &Rules) {
    let Phase::Leaving { at, why, .. } = &t.phase else { return };
    if at.stage == LeaveStage::Turn {
        // A driver that released knows what it sent.
        let told = *why == Why::Released;
        say::withdraw(t, told, now, rules);
    }
    let (empty, runs) = (!outbox::turns_wait(t), say::runs(t));
    let Phase::Leaving { lease, at, why, accept_broken, heir } = &mut t.phase else { return };
    match at.stage {
        // What is on its way to the channel goes before what the next driver says.
        LeaveStage::Drain if heir.is_some() => return phases::succeed(t, now),
        LeaveStage::Turn if runs => at.blocked = Some("the agent still answers the ride's last prompt".into()),
        LeaveStage::Turn => *at = At::new(LeaveStage::Drain),
        LeaveStage::Drain if empty && lease.claude.is_none() => return phases::open(t, now),
        LeaveStage::Show if lease.mark.is_none() => *at = At::new(LeaveStage::Restore),
        LeaveStage::Prove if *accept_broken && at.acceptable && !unasked(lease, why, now, rules) => {
            *at = At::new(LeaveStage::Show)
        }
        LeaveStage::Show if *accept_broken && at.acceptable => *at = At::new(LeaveStage::Drain),
        LeaveStage::Drain if empty => *at = At::new(LeaveStage::Restore),
        LeaveStage::Drain => {
            at.blocked = Some(match &lease.relay_stopped {
                Some(why) => format!("messages for the thread cannot be sent: {why}"),
                None => "messages on their way to the channel".into(),
            });
        }
        _ => return,
    }
    if matches!(&t.phase, Phase::Leaving { at: At { stage: LeaveStage::Drain, .. }, heir, .. } if empty || heir.is_some())
    {
        advance(t, now, rules);
    }
}

/// What came of a stage.
pub(super) fn done(t: &mut Thread, outcome: Outcome, now: Now, rules: &Rules) {
    let Phase::Leaving { at, .. } = &mut t.phase else { return };
    at.flight = None;
    if at.late {
        return at.passed(outcome, now);
    }
    if at.stage.patches() && at.in_doubt(&outcome, now) {
        return;
    }
    match (at.stage, outcome) {
        (LeaveStage::Prove, Outcome::Ok) => *at = At::new(LeaveStage::Show),
        // The driver rewinds what it reported; what it never reported, another process wrote.
        // Where ids had to be forgotten this cannot be told.
        (LeaveStage::Show, Outcome::Shown { beside, .. } | Outcome::ShownPart { beside, .. })
            if t.taken.len() < limits::TAKEN_IDS && beside.iter().any(|id| !t.taken.contains(id)) =>
        {
            at.wait("a prompt that this ride did not send stands beside its chain".into(), now);
            at.acceptable = true;
        }
        (LeaveStage::Show, Outcome::Shown { turns, .. }) => from_transcript(t, turns, false, now, rules),
        (LeaveStage::Show, Outcome::ShownPart { turns, .. }) => from_transcript(t, turns, true, now, rules),
        // Asked again: a person may mend it, or accept it.
        (LeaveStage::Prove | LeaveStage::Show, Outcome::Broken { what }) => {
            at.wait(what, now);
            at.acceptable = true;
        }
        // It is asked again, by then over what that turn left.
        (LeaveStage::Restore, Outcome::Slipped { sessions }) => host_events::slipped(t, &sessions, now),
        (LeaveStage::Restore, Outcome::RestoredOver { reset, deleted }) => {
            host_events::restored_over(t, reset, deleted, now);
            phases::open(t, now);
        }
        (LeaveStage::Restore, Outcome::Ok) => phases::open(t, now),
        (_, Outcome::NotYet { what } | Outcome::Failed { what, .. }) => at.wait(what, now),
        (LeaveStage::Prove, Outcome::ChildAgain) => at.wait("the gateway's own Claude has the session".into(), now),
        (stage, other) => at.wait(format!("stage {stage:?} ended in {other:?}"), now),
    }
}

/// Takes over turns that were never handed over: so many at once as one `ride_relay` may bring, while there is room in
/// the outbox. What is left is asked for again, from the last one on.
fn from_transcript(t: &mut Thread, turns: Vec<RelayItem>, more: bool, now: Now, rules: &Rules) {
    let Some(lease) = t.lease() else { return };
    let route = lease.route.clone();
    let known: HashSet<String> = t.taken.iter().cloned().collect();
    // Ids are forgotten oldest first: what stands before a known one was relayed.
    let mut fresh = lease.shown.as_ref().map_or(known.len() < limits::TAKEN_IDS, |shown| shown.fresh);
    let (mut last, mut taken, mut bytes, mut left) = (None, 0, 0, false);
    let before = lease.shown.as_ref().and_then(|shown| turns.iter().position(|turn| turn.id == shown.id));
    for turn in turns.into_iter().skip(before.map_or(0, |at| at + 1)) {
        let is_known = turn.text.is_empty() || known.contains(&turn.id);
        fresh |= known.contains(&turn.id);
        let id = turn.id.clone();
        if fresh && !is_known {
            bytes += turn.text.len();
            let over = taken > 0 && bytes > limits::RELAY_BYTES;
            left = over || taken == limits::RELAY_ITEMS || t.outbox.len() >= limits::OUTBOX_MESSAGES;
            if left {
                break;
            }
            taken += 1;
            t.note(now, format!("relayed {id} from the transcript"));
            outbox::take_over(t, turn, route.as_ref(), now, rules);
        }
        last = Some(id);
    }
    let Phase::Leaving { lease, at, .. } = &mut t.phase else { return };
    match last {
        _ if !more && !left => *at = At::new(LeaveStage::Drain),
        None => at.wait("turns of the transcript wait for the channel".into(), now),
        Some(id) => {
            lease.shown = Some(ShownTo { id, fresh });
            *at = At::new(LeaveStage::Show);
            at.blocked = Some("messages on their way to the channel".into());
        }
    }
}
