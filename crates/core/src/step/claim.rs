//! Claim: the gate closes first, then the agent stops writing, stage by stage.
//!
//! Order: settle the running turn; end the gateway's Claude child; copy the binding
//! and only then take it out of the host's entry; wait until the other gateways say
//! that no turn of theirs is on the session; prove that no process is left; record the
//! transcript. The proof comes after parking, so it finds whatever started between the
//! two. A chat ride needs only the first stage: the agent stays the one writer, and
//! from then on runs a turn only for its driver.

use std::collections::VecDeque;

use crate::event::{Act, ClaimAsked, Grown, Outcome, Reply};
use crate::id::Fence;
use crate::limits;
use crate::rules::Rules;
use crate::thread::{At, ClaimStage, Deadline, Heir, Lease, LeaveStage, Phase, Rest, Side, Thread, Why};
use crate::time::Now;
use crate::transcript::SIDES;
use crate::view;
use crate::wire::{Reason, Refusal};

use super::{notice, opened, phases, say};

pub(super) fn asked(t: &mut Thread, asked: ClaimAsked, now: Now, rules: &Rules) -> Reply {
    if let Some(heir) = t.heir()
        && heir.secret_sha256 == asked.secret_sha256
        && heir.driver.process == asked.driver.process
    {
        return Reply::Claiming { fence: heir.fence };
    }
    if let Some(lease) = t.lease() {
        let same = lease.secret_sha256 == asked.secret_sha256 && !matches!(t.phase, Phase::Leaving { .. });
        return match (same, lease.driver.process == asked.driver.process) {
            (true, true) => Reply::Claiming { fence: lease.fence },
            (true, false) if matches!(t.phase, Phase::Ridden { .. }) => again(t, asked, now, rules),
            _ if asked.steal => steal(t, asked, now, rules),
            _ => view::held_by(t, now, rules),
        };
    }
    if let Some(holder) = asked.session_held {
        let message = match view::in_terminal(&holder) {
            true => format!("its Claude session is open in a terminal on {}, through another thread", holder.host),
            false => format!("its Claude session is ridden through another thread by {}", view::who(&holder)),
        };
        return Reply::Refused { message, refusal: Refusal { reason: Reason::Held, holder: Some(holder), hint: None } };
    }
    if asked.adopts.is_none() {
        opened::only_of(t, asked.claude.as_ref().map(|claude| claude.id));
    }
    t.epoch += 1;
    let fence = Fence { incarnation: t.incarnation, epoch: t.epoch, grant: asked.grant };
    let what = if asked.adopts.is_some() { "adoption" } else { "claim" };
    t.note(now, format!("{what} {fence} by {}", asked.who()));
    let lease = Lease {
        fence,
        driver: asked.driver.into(),
        identity: asked.identity,
        secret_sha256: asked.secret_sha256,
        title: asked.title,
        claude: asked.claude,
        adopts: asked.adopts,
        copy: None,
        said: None,
        mark: None,
        beside: Vec::new(),
        route: asked.route,
        twins: asked.twins,
        parked: Vec::new(),
        since_ms: now.wall_ms,
        renewed: now.stamp(),
        active: now.stamp(),
        withdrawn: None,
        dropped: None,
        probe: None,
        probe_again: None,
        process: None,
        lock: None,
        relay_stopped: None,
        shown: None,
        told: Vec::new(),
        news: VecDeque::new(),
    };
    let give_up = Deadline::after(now, asked.wait_ms.min(limits::WAIT_MS));
    t.phase = Phase::Claiming { lease: Box::new(lease), at: At::new(ClaimStage::Settle), give_up };
    Reply::Claiming { fence }
}

/// A person declares processes gone that cannot be seen from the gateway.
pub(super) fn declared(t: &mut Thread, by: &str, gone: Vec<String>, now: Now) -> Reply {
    for name in gone {
        t.note(now, format!("{by} declares process {name} gone"));
        if !t.gone.contains(&name) {
            t.gone.push_back(name);
        }
        if t.gone.len() > limits::GONE_NAMES {
            t.gone.pop_front();
        }
    }
    Reply::Ok
}

/// A driver that died comes back by its secret. What it had said and not handed over goes
/// first, as when another one takes over; what was parked stays parked.
fn again(t: &mut Thread, asked: ClaimAsked, now: Now, rules: &Rules) -> Reply {
    let back = format!("{}, come back", asked.who());
    let chat = t.claude().is_none();
    if chat {
        // The agent was the only writer all along; what had not begun never will.
        say::withdraw(t, false, now, rules);
    }
    phases::begin(t, Why::Back, now);
    let fence = follow(t, asked, &back, now);
    if chat {
        phases::succeed(t, now);
    }
    Reply::Claiming { fence }
}

/// Another driver takes a ridden thread over: the one before is revoked at once, and seen
/// off as ever; the thread stays closed and passes from one to the other.
fn steal(t: &mut Thread, asked: ClaimAsked, now: Now, rules: &Rules) -> Reply {
    let by = asked.who();
    phases::begin(t, Why::Stolen { by: by.clone() }, now);
    let (from, route) = match &t.phase {
        // Where the binding is on its way back already, the next claim is as fast.
        Phase::Leaving { lease, at, why, heir: None, .. }
            if at.stage != LeaveStage::Restore && !matches!(why, Why::Failed { .. } | Why::TakenBack { .. }) =>
        {
            (lease.who(), lease.route.clone())
        }
        _ => return view::held_by(t, now, rules),
    };
    let fence = follow(t, asked, &format!("{by}, taking it over from {from}"), now);
    notice::tell(t, route.as_ref(), &format!("⇄ {by} takes this thread over from {from}."));
    Reply::Claiming { fence }
}

/// Waits to be the next driver of a thread that comes back; the fence it will have.
fn follow(t: &mut Thread, asked: ClaimAsked, by: &str, now: Now) -> Fence {
    t.epoch += 1;
    let fence = Fence { incarnation: t.incarnation, epoch: t.epoch, grant: asked.grant };
    t.note(now, format!("claim {fence} by {by}"));
    let give_up = Deadline::after(now, asked.wait_ms.min(limits::WAIT_MS));
    let ClaimAsked { driver, identity, secret_sha256, route, .. } = asked;
    if let Phase::Leaving { heir, .. } = &mut t.phase {
        *heir = Some(Box::new(Heir {
            fence,
            driver: driver.into(),
            identity,
            secret_sha256,
            route,
            since_ms: now.wall_ms,
            give_up,
            gone: false,
        }));
    }
    fence
}

/// The thread and its twins.
fn sessions(lease: &Lease, session: &str) -> Vec<String> {
    std::iter::once(session.to_owned()).chain(lease.twins.iter().cloned()).collect()
}

/// What ends an earlier operation that may still write.
pub(super) fn barrier(lease: &Lease, session: &str) -> Act {
    Act::Barrier { sessions: sessions(lease, session) }
}

/// The effect a stage asks for.
pub(super) fn act(stage: ClaimStage, lease: &Lease, session: &str, rest: Option<&Rest>) -> Act {
    let sessions = || sessions(lease, session);
    let Some(claude) = lease.claude.clone() else { return Act::Settle { sessions: sessions() } };
    let from = lease.adopts.as_ref().and_then(|adopts| adopts.from.clone());
    match stage {
        ClaimStage::Settle => Act::Settle { sessions: sessions() },
        ClaimStage::EndChild => Act::EndChild { claude: from.unwrap_or(claude) },
        ClaimStage::Copy => Act::Copy { sessions: sessions(), claude: claude.id },
        // What was not copied is not taken out: nothing could bring it back.
        ClaimStage::Park => {
            let sessions = lease.parked.iter().map(|parked| parked.session.clone()).collect();
            Act::Park { sessions, claude: claude.id }
        }
        ClaimStage::Acknowledge => Act::Acknowledge { sessions: sessions(), claude: claude.id },
        ClaimStage::Prove => {
            let process = lease.process.clone();
            Act::Prove { claude, process, ride: None, lock: None, gone: Vec::new(), open: Vec::new() }
        }
        ClaimStage::Mark => {
            let since = rest.filter(|rest| rest.claude == claude.id).cloned();
            Act::Mark { claude, whole: lease.adopts.is_some(), since }
        }
        ClaimStage::Adopt => Act::Adopt { session: session.to_owned(), claude, from: from.map(|from| from.id) },
    }
}

/// A claim gives up when the running turn takes too long.
pub(super) fn overdue(t: &mut Thread, now: Now) {
    let Phase::Claiming { at, give_up, lease } = &t.phase else { return };
    // A binding that may be exchanged already is not left in doubt: it is asked for until it is known.
    if at.flight.is_some() || at.late || at.stage == ClaimStage::Adopt {
        return;
    }
    if let Some(why) = lease.withdrawn.clone() {
        return phases::fail(t, Reason::Held, why, now);
    }
    let text = if lease.dropped.is_some() {
        "the driver left while it waited".to_owned()
    } else if give_up.left_ms(now) == 0 {
        format!("gave up waiting: {}", at.blocked.as_deref().unwrap_or("the hand-over took too long"))
    } else {
        return;
    };
    phases::fail(t, Reason::TurnRunning, text, now);
}

/// What came of a stage.
pub(super) fn done(t: &mut Thread, outcome: Outcome, now: Now) {
    let Phase::Claiming { lease, at, .. } = &mut t.phase else { return };
    let on = |at: &mut At<ClaimStage>, next| *at = At::new(next);
    if at.late {
        return at.passed(outcome, now);
    }
    if at.stage.patches() && at.in_doubt(&outcome, now) {
        return;
    }
    if let Some(why) = lease.withdrawn.clone().filter(|_| at.stage != ClaimStage::Adopt) {
        return phases::fail(t, Reason::Held, why, now);
    }
    match (at.stage, outcome) {
        // The agent stays the writer: there is nothing else to see off.
        (ClaimStage::Settle, Outcome::Ok) if lease.claude.is_none() => phases::grant(t, now),
        (ClaimStage::Settle, Outcome::Ok) if lease.adopts.as_ref().is_some_and(|adopts| adopts.from.is_none()) => {
            on(at, ClaimStage::Acknowledge)
        }
        (ClaimStage::Settle, Outcome::Ok) => on(at, ClaimStage::EndChild),
        // Of an adoption nothing is parked: the binding is exchanged in one step, at the end.
        (ClaimStage::EndChild, Outcome::Ok) if lease.adopts.is_some() => on(at, ClaimStage::Acknowledge),
        (ClaimStage::Prove, Outcome::ChildAgain) if lease.adopts.is_some() => {
            phases::fail(t, Reason::SessionInUse, "the gateway's own Claude has the session".into(), now);
        }
        (ClaimStage::Mark, Outcome::Marked { mark, beside }) if lease.adopts.is_some() => {
            lease.mark = Some(mark.into());
            lease.beside = sides(beside, &t.taken);
            on(at, ClaimStage::Adopt);
        }
        (ClaimStage::Adopt, Outcome::Ok) => phases::adopted(t, now),
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
                phases::fail(
                    t,
                    Reason::NotRideable,
                    "the thread lost its Claude session while the claim waited".into(),
                    now,
                );
            }
        }
        (ClaimStage::Park, Outcome::Ok) => on(at, ClaimStage::Acknowledge),
        (ClaimStage::Acknowledge, Outcome::Ok) => on(at, ClaimStage::Prove),
        // A turn that passed no gate has ended since: it may have bound the entry again.
        (ClaimStage::Acknowledge, Outcome::ChildAgain) => on(at, ClaimStage::Settle),
        (ClaimStage::Prove, Outcome::Ok) => on(at, ClaimStage::Mark),
        (ClaimStage::Prove, Outcome::ChildAgain) => on(at, ClaimStage::Settle),
        (ClaimStage::Mark, Outcome::Marked { mark, beside }) => {
            lease.mark = Some(mark.into());
            lease.beside = sides(beside, &t.taken);
            phases::grant(t, now);
        }
        // Somebody else's process: waiting for it is the person's to decide.
        (ClaimStage::Prove, Outcome::NotYet { what } | Outcome::Broken { what }) => {
            phases::fail(t, Reason::SessionInUse, what, now);
        }
        (_, Outcome::NotYet { what } | Outcome::Broken { what }) => at.wait(what, now),
        (_, Outcome::Failed { what, reason }) => phases::fail(t, reason, what, now),
        (stage, other) => phases::fail(t, Reason::Host, format!("stage {stage:?} ended in {other:?}"), now),
    }
}

/// The branches that nobody answers for: prompts that a ride handed over itself are left
/// behind by its driver, who went back behind them.
fn sides(grown: Vec<Grown>, taken: &VecDeque<String>) -> Vec<Side> {
    let strange = |grown: &Grown| grown.prompts.iter().any(|id| !taken.contains(id));
    let side = |grown: Grown| Side {
        leaf: grown.leaf,
        prompts: u32::try_from(grown.prompts.len()).unwrap_or(u32::MAX),
        last_prompt: grown.last_prompt,
    };
    grown.into_iter().filter(strange).take(SIDES).map(side).collect()
}
