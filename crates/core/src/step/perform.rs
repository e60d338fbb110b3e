//! The performer's side: which effects follow from the state, and what came of them.

use uuid::Uuid;

use crate::event::{Act, Effect, Outcome, Reply};
use crate::limits;
use crate::rules::Rules;
use crate::split::labelled;
use crate::thread::{ClaimStage, Deadline, Flight, Phase, Thread, Why};
use crate::time::Now;

use super::due::{self, Wake};
use super::{claim, leave, notice, opened, outbox, phases, say};

pub(super) fn take(t: &mut Thread, performer: Uuid, behind: bool, flying: &[u64], now: Now, rules: &Rules) -> Reply {
    recover(t, performer, flying, now);
    claim::overdue(t, now);
    leave::heir_overdue(t, now);
    phases::if_overdue(t, now, rules);
    leave::advance(t, now, rules);
    let mut effects = Vec::new();
    let mut wake = Wake::default();
    stage(t, performer, now, rules, &mut effects, &mut wake);
    opened::watch(t, performer, now, &mut effects, &mut wake);
    probe(t, performer, now, rules, &mut effects, &mut wake);
    follow(t, performer, now, &mut effects, &mut wake);
    send(t, performer, now, &mut effects, &mut wake);
    notice::send(t, performer, now, &mut effects, &mut wake);
    hand(t, performer, behind, now, &mut effects, &mut wake);
    Reply::Work { effects, wake_in_ms: wake.0 }
}

pub(super) fn done(t: &mut Thread, op: u64, performer: Uuid, outcome: Outcome, now: Now, rules: &Rules) -> Reply {
    let flight = Flight { op, performer };
    if t.sending == Some(flight) {
        outbox::done(t, outcome, now);
    } else if t.handing == Some(flight) {
        handed(t, outcome, now);
    } else if t.sending.is_none() && t.outbox.front().is_some_and(|item| item.doubt == Some(flight)) {
        outbox::done(t, outcome, now);
    } else if t.handing.is_none() && t.inbox.front().is_some_and(|held| held.doubt == Some(flight)) {
        handed(t, outcome, now);
    } else if t.lease().is_some_and(|l| l.probe == Some(flight)) {
        probed(t, &outcome, now);
    } else if t.lease().and_then(|l| l.said.as_ref()).is_some_and(|said| said.flight == Some(flight)) {
        say::answered(t, outcome, now, rules);
    } else if matches!(&t.phase, Phase::Claiming { at, .. } if at.flight == Some(flight)) {
        claim::done(t, outcome, now);
    } else if matches!(&t.phase, Phase::Leaving { at, .. } if at.flight == Some(flight)) {
        leave::done(t, outcome, now, rules);
    } else if t.opened.as_ref().is_some_and(|opened| opened.at.flight == Some(flight)) {
        opened::done(t, outcome, now);
    } else {
        notice::done(t, flight, outcome, now);
    }
    Reply::Ok
}

/// What nobody performs any more has an unknown outcome: another performer's, or an
/// own one whose acknowledgement could not be stored.
fn recover(t: &mut Thread, performer: Uuid, flying: &[u64], now: Now) {
    let old = |f: &Option<Flight>| f.is_some_and(|f| f.performer != performer || !flying.contains(&f.op));
    if old(&t.sending) {
        let doubt = t.sending;
        outbox::done(t, Outcome::Unknown { what: "nobody knows whether it was sent".into() }, now);
        if let Some(head) = t.outbox.front_mut().filter(|head| head.repeat) {
            head.doubt = doubt;
        }
    }
    if old(&t.handing) {
        let doubt = t.handing;
        handed(t, Outcome::Unknown { what: "nobody knows whether it was handled".into() }, now);
        if let Some(head) = t.inbox.front_mut().filter(|head| head.repeat) {
            head.doubt = doubt;
        }
    }
    notice::recover(t, old, now);
    match &mut t.phase {
        Phase::Claiming { at, .. } if old(&at.flight) => at.abandon(at.stage.patches()),
        Phase::Leaving { at, .. } if old(&at.flight) => at.abandon(at.stage.patches()),
        _ => {}
    }
    if let Some(opened) = t.opened.as_mut().filter(|opened| old(&opened.at.flight)) {
        opened.at.abandon(false);
    }
    if let Some(lease) = t.lease_mut()
        && old(&lease.probe)
    {
        lease.probe = None;
    }
    if let Some(said) = t.lease_mut().and_then(|lease| lease.said.as_mut())
        && old(&said.flight)
    {
        said.flight = None;
    }
}

fn stage(t: &mut Thread, performer: Uuid, now: Now, rules: &Rules, effects: &mut Vec<Effect>, wake: &mut Wake) {
    let op = t.next;
    let session = t.key.session.clone();
    let handing = t.handing.is_some();
    let rest = t.rest.clone();
    let (mut act, flight) = match &mut t.phase {
        // A waiting message on its way to the agent is a turn, before any sign of it.
        Phase::Claiming { at, .. } if at.stage == ClaimStage::Settle && handing => return,
        Phase::Claiming { lease, at, give_up } if at.flight.is_none() => {
            wake.at_most(give_up.left_ms(now));
            if wake.not_before(at.again, now) {
                return;
            }
            let act = if at.late {
                claim::barrier(lease, &session)
            } else {
                claim::act(at.stage, lease, &session, rest.as_ref())
            };
            (act, &mut at.flight)
        }
        Phase::Leaving { lease, at, why, heir, .. } if at.flight.is_none() => {
            if let Some(heir) = heir {
                wake.at_most(heir.give_up.left_ms(now));
            }
            if wake.not_before(at.again, now) {
                return;
            }
            let before = leave::Before { session: &session, taken: &t.taken, outbox: t.outbox.len() };
            let act = match at.late {
                true => Some(claim::barrier(lease, &session)),
                false => leave::act(at, lease, why, &before, now, rules),
            };
            let Some(act) = act else { return };
            (act, &mut at.flight)
        }
        _ => return,
    };
    if let Act::Prove { gone, open, .. } = &mut act {
        gone.extend(t.gone.iter().cloned());
        let terminals = t.opened.iter().flat_map(|opened| &opened.terminals);
        open.extend(terminals.map(|terminal| terminal.process.clone()));
    }
    *flight = Some(Flight { op, performer });
    t.next += 1;
    effects.push(Effect { op, act });
}

fn probe(t: &mut Thread, performer: Uuid, now: Now, rules: &Rules, effects: &mut Vec<Effect>, wake: &mut Wake) {
    let op = t.next;
    let Phase::Ridden { lease } = &mut t.phase else { return };
    wake.at_most(lease.left_ms(now, rules));
    wake.at_most(lease.silent_ms(now, rules));
    if lease.dropped.is_none() || lease.probe.is_some() || wake.not_before(lease.probe_again, now) {
        return;
    }
    lease.probe = Some(Flight { op, performer });
    let act =
        Act::Probe { driver: lease.driver.process.clone(), process: lease.process.clone(), lock: lease.held_lock() };
    t.next += 1;
    effects.push(Effect { op, act });
}

fn probed(t: &mut Thread, outcome: &Outcome, now: Now) {
    let Some(lease) = t.lease_mut() else { return };
    lease.probe = None;
    lease.probe_again = Some(Deadline::after(now, limits::PROBE_MS));
    if *outcome == Outcome::Gone && lease.dropped.is_some() {
        phases::begin(t, Why::Gone, now);
    }
}

/// A chat ride's turn is seen to its end whatever becomes of its driver.
fn follow(t: &mut Thread, performer: Uuid, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
    let Some(said) = say::to_follow(t) else { return };
    if wake.not_before(said.again, now) {
        return;
    }
    let act = Act::Follow { session: t.key.session.clone(), id: said.id.clone() };
    let op = t.number();
    say::follow(t, Flight { op, performer });
    effects.push(Effect { op, act });
}

fn send(t: &mut Thread, performer: Uuid, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
    let Some(head) = t.outbox.front() else { return };
    if t.sending.is_some() || wake.not_before(head.again, now) {
        return;
    }
    let mut item = head.clone();
    if item.repeat {
        item.text = labelled("(may be a repeat)", &item.text);
    }
    let session = item.kind.is_turn().then(|| t.key.session.clone());
    let op = t.number();
    t.sending = Some(Flight { op, performer });
    effects.push(Effect { op, act: Act::Send { session, item } });
}

/// Waiting messages go to the agent one by one, in order, once the thread is its own again.
fn hand(t: &mut Thread, performer: Uuid, behind: bool, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
    if behind || t.handing.is_some() || t.opened.is_some() || !matches!(t.phase, Phase::Open) {
        return;
    }
    let Some(head) = t.inbox.front() else { return };
    if wake.not_before(head.again, now) {
        return;
    }
    let held = head.clone();
    let op = t.number();
    t.handing = Some(Flight { op, performer });
    let session = t.key.session.clone();
    effects.push(Effect { op, act: Act::Hand { session, held } });
}

fn handed(t: &mut Thread, outcome: Outcome, now: Now) {
    t.handing = None;
    let Some(head) = t.inbox.front_mut() else { return };
    let seq = head.seq;
    match outcome {
        Outcome::Ok => {
            t.inbox.pop_front();
            t.note(now, format!("handed message {seq} to the agent"));
        }
        // A turn runs: not an attempt.
        Outcome::NotYet { .. } => head.again = Some(Deadline::after(now, limits::RETRY_MS)),
        // Once more, marked, and never again.
        Outcome::Unknown { .. } if !head.repeat => {
            head.repeat = true;
            head.attempts += 1;
            head.again = Some(Deadline::after(now, limits::REPEAT_MS));
        }
        Outcome::Failed { what, .. } if head.attempts + 1 < limits::ATTEMPTS => {
            head.attempts += 1;
            head.again = Some(Deadline::after(now, due::backoff_ms(head.attempts)));
            t.note(now, format!("message {seq} could not be handed over: {what}"));
        }
        other => {
            let Some(held) = t.inbox.pop_front() else { return };
            t.note(now, format!("gave up handing message {seq} over: {other:?}"));
            let whom = notice::Whom { sender: &held.sender, name: &held.name, route: &held.route, state: "" };
            if !notice::owe(t, whom, notice::Fate::Unhandled) {
                t.note(now, format!("the sender of message {seq} could not be told"));
            }
        }
    }
}
