//! Claim: the gate closes first, then the agent is seen off, stage by stage.
//!
//! Order: settle the running turn, end the gateway's Claude child, copy the
//! binding and only then take it out of the host's entry, prove that no process
//! is left, record the transcript. The proof comes after parking: whatever
//! started between the two shows up in it. For a chat ride the first is all: the agent
//! stays the one writer, and from then on runs a turn only for its driver.

use std::collections::VecDeque;

use crate::event::{Act, ClaimAsked, Outcome, Reply};
use crate::id::Fence;
use crate::limits;
use crate::thread::{At, ClaimStage, Deadline, Ended, LeaveStage, Lease, Phase, Thread, Why};
use crate::time::Now;
use crate::view;
use crate::wire::{Reason, Refusal};

use super::{Rules, say};

pub(super) fn asked(t: &mut Thread, asked: ClaimAsked, now: Now, rules: &Rules) -> Reply {
    if let Some(lease) = t.lease() {
        let same = lease.secret_sha256 == asked.secret_sha256 && !matches!(t.phase, Phase::Leaving { .. });
        return match (same, lease.driver.process == asked.driver.process) {
            (true, true) => Reply::Claiming { fence: lease.fence },
            (true, false) if matches!(t.phase, Phase::Ridden { .. }) => again(t, asked, now, rules),
            _ => view::held_by(t, now, rules),
        };
    }
    if let Some(holder) = asked.session_held {
        let message = format!("its Claude session is ridden through another thread by {}", view::who(&holder));
        return Reply::Refused { message, refusal: Refusal { reason: Reason::Held, holder: Some(holder), hint: None } };
    }
    t.epoch += 1;
    let fence = Fence { incarnation: t.incarnation, epoch: t.epoch, grant: asked.grant };
    t.note(now, format!("claim {fence} by {}@{}", asked.driver.name, asked.driver.host));
    let lease = Lease {
        fence,
        driver: asked.driver,
        secret_sha256: asked.secret_sha256,
        title: asked.title,
        claude: asked.claude,
        said: None,
        mark: None,
        file: None,
        route: asked.route,
        twins: asked.twins,
        parked: Vec::new(),
        since_ms: now.wall_ms,
        renewed: now.stamp(),
        active: now.stamp(),
        dropped: None,
        probe: None,
        probe_again: None,
        process: None,
        relay_stopped: None,
        told: Vec::new(),
        news: VecDeque::new(),
    };
    let give_up = Deadline::after(now, asked.wait_ms.min(limits::WAIT_MS));
    t.phase = Phase::Claiming { lease: Box::new(lease), at: At::new(ClaimStage::Settle), give_up };
    Reply::Claiming { fence }
}

/// A driver that died comes back by its secret: a new grant, once its old Claude Code
/// is proven gone. What was parked stays parked, and the chain begins where it began.
fn again(t: &mut Thread, asked: ClaimAsked, now: Now, rules: &Rules) -> Reply {
    let Phase::Ridden { lease } = &t.phase else { return Reply::Ok };
    let mut lease = lease.clone();
    t.epoch += 1;
    lease.fence = Fence { incarnation: t.incarnation, epoch: t.epoch, grant: asked.grant };
    lease.driver = asked.driver;
    lease.dropped = None;
    lease.probe = None;
    lease.probe_again = None;
    let fence = lease.fence;
    t.note(now, format!("claim {fence} by {}@{}, come back", lease.driver.name, lease.driver.host));
    if lease.claude.is_none() {
        // The agent was the only writer all along; what had not begun never will.
        t.phase = Phase::Ridden { lease };
        say::withdraw(t, false, now, rules);
        grant(t, now);
        return Reply::Claiming { fence };
    }
    let give_up = Deadline::after(now, asked.wait_ms.min(limits::WAIT_MS));
    t.phase = Phase::Claiming { lease, at: At::new(ClaimStage::Prove), give_up };
    Reply::Claiming { fence }
}

/// The effect a stage asks for.
pub(super) fn act(stage: ClaimStage, lease: &Lease, session: &str) -> Act {
    let sessions = || std::iter::once(session.to_owned()).chain(lease.twins.iter().cloned()).collect::<Vec<_>>();
    let Some(claude) = lease.claude.clone() else { return Act::Settle { sessions: sessions() } };
    match stage {
        ClaimStage::Settle => Act::Settle { sessions: sessions() },
        ClaimStage::EndChild => Act::EndChild { claude },
        ClaimStage::Copy => Act::Copy { sessions: sessions(), claude: claude.id },
        ClaimStage::Park => Act::Park { sessions: sessions(), claude: claude.id },
        ClaimStage::Prove => Act::Prove { claude, process: lease.process.clone() },
        ClaimStage::Mark => Act::Mark { claude },
    }
}

/// A claim gives up when the running turn takes too long.
pub(super) fn overdue(t: &mut Thread, now: Now) {
    let Phase::Claiming { at, give_up, lease } = &t.phase else { return };
    if at.flight.is_some() {
        return;
    }
    let text = if lease.dropped.is_some() {
        "the driver left while it waited".to_owned()
    } else if give_up.left_ms(now) == 0 {
        format!("gave up waiting: {}", at.blocked.as_deref().unwrap_or("the hand-over took too long"))
    } else {
        return;
    };
    fail(t, Reason::TurnRunning, text, now);
}

/// What came of a stage.
pub(super) fn done(t: &mut Thread, outcome: Outcome, now: Now) {
    let Phase::Claiming { lease, at, .. } = &mut t.phase else { return };
    let on = |at: &mut At<ClaimStage>, next| *at = At::new(next);
    match (at.stage, outcome) {
        // The agent stays the writer: there is nothing else to see off.
        (ClaimStage::Settle, Outcome::Ok) if lease.claude.is_none() => grant(t, now),
        (ClaimStage::Settle, Outcome::Ok) => on(at, ClaimStage::EndChild),
        (ClaimStage::EndChild, Outcome::Ok) => on(at, ClaimStage::Copy),
        (ClaimStage::Copy, Outcome::Copied { bindings }) => {
            // Copying again after a child came back finds the binding gone: keep the first.
            for one in bindings {
                if !lease.parked.iter().any(|p| p.session == one.session) {
                    lease.parked.push(one);
                }
            }
            // The running turn that was waited for may have ended without one, as `/stop` on 2026.8.2 does.
            if lease.parked.iter().any(|p| p.session == t.key.session) {
                on(at, ClaimStage::Park);
            } else {
                fail(t, Reason::NotRideable, "the thread lost its Claude session while the claim waited".into(), now);
            }
        }
        (ClaimStage::Park, Outcome::Ok) => on(at, ClaimStage::Prove),
        (ClaimStage::Prove, Outcome::Ok) => on(at, ClaimStage::Mark),
        (ClaimStage::Prove, Outcome::ChildAgain) => on(at, ClaimStage::Settle),
        (ClaimStage::Mark, Outcome::Marked { mark }) => {
            lease.mark.get_or_insert_with(|| mark.clone());
            lease.file = Some(mark);
            lease.process = None;
            grant(t, now);
        }
        // Somebody else's process: waiting for it is the person's to decide. A ride that
        // comes back waits for its own.
        (ClaimStage::Prove, Outcome::NotYet { what } | Outcome::Broken { what }) if lease.mark.is_none() => {
            fail(t, Reason::SessionInUse, what, now);
        }
        (_, Outcome::NotYet { what } | Outcome::Broken { what }) => at.wait(what, now),
        (_, Outcome::Failed { what, reason }) => fail(t, reason, what, now),
        (stage, other) => fail(t, Reason::Host, format!("stage {stage:?} ended in {other:?}"), now),
    }
}

/// The thread is the driver's.
fn grant(t: &mut Thread, now: Now) {
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
    let why = Why::Failed { reason, text };
    if lease.mark.is_some() {
        // Its own Claude Code of before may live: it is seen off like any driver's.
        t.phase = Phase::Leaving { lease, at: At::new(LeaveStage::Prove), why, accept_broken: false };
    } else if lease.parked.is_empty() {
        t.phase = Phase::Open;
        t.last = Some(Ended { fence: lease.fence, why });
    } else {
        t.phase = Phase::Leaving { lease, at: At::new(LeaveStage::Restore), why, accept_broken: false };
    }
}
