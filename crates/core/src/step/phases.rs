//! How a thread passes from one phase to another. Each stage of a claim or of the end of a ride
//! decides when; what changes then is here.

use crate::rules::Rules;
use crate::thread::{At, ClaimStage, Ended, Lease, LeaveStage, Phase, Rest, Thread, Why};
use crate::time::Now;
use crate::wire::Reason;

use super::opened;

/// Revokes: from here on the fence is stale for everything but the end itself.
pub(super) fn begin(t: &mut Thread, why: Why, now: Now) {
    let Phase::Ridden { lease } = &t.phase else { return };
    let lease = lease.clone();
    t.note(now, format!("{} leaves: {}", lease.fence, in_words(&why)));
    let first = if lease.claude.is_some() { LeaveStage::Prove } else { LeaveStage::Turn };
    t.phase = Phase::Leaving { lease, at: At::new(first), why, accept_broken: false, heir: None };
}

fn in_words(why: &Why) -> String {
    match why {
        Why::Released => "released".into(),
        Why::Expired => "its lease ran out".into(),
        Why::Silent => "silent for too long".into(),
        Why::Gone => "its driver is gone".into(),
        Why::Adopted { to, .. } => format!("adopted {}", to.id),
        Why::Back => "its driver is back".into(),
        Why::Stolen { by } => format!("{by} takes it over"),
        Why::TakenBack { by } => format!("{by} takes it back"),
        Why::Writer { process } => format!("{process} writes to its Claude session"),
        Why::Failed { text, .. } => format!("the claim failed: {text}"),
    }
}

/// Time takes what a driver does not keep.
pub(super) fn if_overdue(t: &mut Thread, now: Now, rules: &Rules) {
    let Phase::Ridden { lease } = &mut t.phase else { return };
    // After a restart of the machine the stamps say nothing: the lease counts anew from here.
    if now.since_ms(lease.renewed).is_none() {
        lease.renewed = now.stamp();
        lease.active = now.stamp();
        return;
    }
    if lease.left_ms(now, rules) == 0 {
        begin(t, Why::Expired, now);
    } else if lease.silent_ms(now, rules) == 0 {
        begin(t, Why::Silent, now);
    }
}

/// The agent has the thread again.
pub(super) fn open(t: &mut Thread, now: Now) {
    let Phase::Leaving { lease, why, accept_broken, .. } = &t.phase else { return };
    let (fence, why) = (lease.fence, why.clone());
    t.rest = rest_after(t, *accept_broken);
    t.phase = Phase::Open;
    opened::look_now(t);
    t.note(now, format!("open again after {fence}"));
    t.last = Some(Ended { fence, why });
}

/// The driver before has ended. The one that took the thread over continues at the stage that follows
/// parking, because the binding is parked already.
pub(super) fn succeed(t: &mut Thread, now: Now) {
    let Phase::Leaving { lease, why, heir: Some(heir), .. } = &t.phase else { return };
    let (before, why, heir) = (lease.fence, why.clone(), heir.clone());
    let lease = Lease {
        fence: heir.fence,
        driver: heir.driver,
        identity: heir.identity,
        secret_sha256: heir.secret_sha256,
        // A host that forgot it has not moved the thread.
        route: heir.route.or_else(|| lease.route.clone()),
        since_ms: heir.since_ms,
        mark: None,
        beside: Vec::new(),
        copy: None,
        dropped: None,
        probe: None,
        probe_again: None,
        process: None,
        lock: None,
        relay_stopped: None,
        shown: None,
        // Also a prompt that the agent still answers, whoever has the thread.
        ..(**lease).clone()
    };
    t.rest = rest_after(t, false);
    t.note(now, format!("{before} gives way to {}", heir.fence));
    t.last = Some(Ended { fence: before, why });
    let chat = lease.claude.is_none();
    let (lease, at) = (Box::new(lease), At::new(ClaimStage::Prove));
    t.phase = Phase::Claiming { lease, at, give_up: heir.give_up };
    if chat {
        grant(t, now);
    }
}

/// Where the conversation is known to stand once the lease ends: where it stood at the claim,
/// if its driver wrote there; else as before. A ride that never began must not hide what it found.
fn rest_after(t: &Thread, accepted: bool) -> Option<Rest> {
    let wrote = t.lease().filter(|lease| lease.process.is_some() || accepted);
    let known = wrote.and_then(|lease| {
        let (claude, mark) = (lease.claude.as_ref()?.id, lease.mark.as_ref()?);
        // What a person chose over the leaf at claim is not to be told of as lost.
        Some(Rest { claude, size: mark.size, leaf: mark.leaf.filter(|_| !accepted) })
    });
    known.or_else(|| t.rest.clone())
}

/// The thread is the agent's all along, with another Claude session behind it.
pub(super) fn adopted(t: &mut Thread, now: Now) {
    let Phase::Claiming { lease, .. } = &t.phase else { return };
    let Some(to) = lease.claude.clone() else { return };
    let (fence, beside) = (lease.fence, lease.beside.clone());
    let from = lease.adopts.clone().and_then(|adopts| adopts.from);
    let before = from.as_ref().map_or_else(|| "none".to_owned(), |from| from.id.to_string());
    t.phase = Phase::Open;
    opened::only_of(t, Some(to.id));
    t.note(now, format!("adopted {} in the place of {before}", to.id));
    t.former = from;
    t.last = Some(Ended { fence, why: Why::Adopted { to, beside } });
}

/// The thread is the driver's.
pub(super) fn grant(t: &mut Thread, now: Now) {
    let Some(lease) = t.lease_mut() else { return };
    lease.renewed = now.stamp();
    lease.active = now.stamp();
    let lease = Box::new(lease.clone());
    let fence = lease.fence;
    t.phase = Phase::Ridden { lease };
    t.note(now, format!("granted {fence}"));
}

/// Gives the thread back to the agent: what was parked returns first.
pub(super) fn fail(t: &mut Thread, reason: Reason, text: String, now: Now) {
    let Phase::Claiming { lease, .. } = &t.phase else { return };
    let lease = lease.clone();
    t.note(now, format!("claim {} failed: {text}", lease.fence));
    let why = Why::Failed { reason: reason.into(), text };
    if lease.parked.is_empty() {
        t.phase = Phase::Open;
        t.last = Some(Ended { fence: lease.fence, why });
    } else {
        // Of a driver before, whom this one would have followed, something may be on its way.
        let first =
            if t.outbox.iter().any(|item| item.kind.is_turn()) { LeaveStage::Drain } else { LeaveStage::Restore };
        t.phase = Phase::Leaving { lease, at: At::new(first), why, accept_broken: false, heir: None };
    }
}
