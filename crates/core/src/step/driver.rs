//! What a driver does with its lease. Every act carries the fence, and a stale
//! one is refused with who holds the thread now.

use crate::event::Reply;
use crate::id::{Fence, Process};
use crate::limits;
use crate::rules::Rules;
use crate::thread::{ClaimStage, DriverLock, LeaveStage, OnCopy, Phase, Thread, Why};
use crate::time::Now;
use crate::view;
use crate::wire::{CopyEnd, Reason, Refusal, RelayItem};

use super::{outbox, phases};

pub(super) fn renew(
    t: &mut Thread,
    fence: Fence,
    secret_sha256: &str,
    claude: Option<Process>,
    active: bool,
    now: Now,
    rules: &Rules,
) -> Reply {
    phases::if_overdue(t, now, rules);
    match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence && lease.secret_sha256 == secret_sha256 => {
            lease.renewed = now.stamp();
            lease.dropped = None;
            lease.probe_again = None;
            if claude.is_some() {
                lease.process = claude;
            }
            if active {
                lease.active = now.stamp();
            }
            Reply::Ok
        }
        _ => view::stale(t, fence, now, rules),
    }
}

/// The gateway looked at a driver's lock. That both sides have seen each other's stays true.
pub(super) fn locked(t: &mut Thread, fence: Fence, name: String, mutual: bool, now: Now, rules: &Rules) -> Reply {
    match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence => {
            let before = lease.lock.take().filter(|lock| lock.name == name).is_some_and(|lock| lock.mutual);
            lease.lock = Some(DriverLock { name, mutual: mutual || before });
            Reply::Ok
        }
        _ => view::stale(t, fence, now, rules),
    }
}

pub(super) fn relay(t: &mut Thread, fence: Fence, items: Vec<RelayItem>, now: Now, rules: &Rules) -> Reply {
    phases::if_overdue(t, now, rules);
    let route = match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence => {
            lease.active = now.stamp();
            lease.route.clone()
        }
        // `ride` empties its own outbox after Claude Code has ended.
        Phase::Leaving { lease, at, why: Why::Released, .. }
            if lease.fence == fence && at.stage == LeaveStage::Prove =>
        {
            lease.route.clone()
        }
        _ => return view::stale(t, fence, now, rules),
    };
    if items.len() > limits::RELAY_ITEMS {
        return too_large(format!("{} items; at most {} at once", items.len(), limits::RELAY_ITEMS));
    }
    if let Some(big) = items.iter().find(|i| i.text.len() > limits::RELAY_BYTES) {
        return too_large(format!("item {} has {} bytes; at most {}", big.id, big.text.len(), limits::RELAY_BYTES));
    }
    let (mut accepted, mut bytes) = (Vec::new(), 0);
    for item in items {
        if t.taken.contains(&item.id) {
            accepted.push(item.id);
            continue;
        }
        // Texts are cut under the store's lock: what follows is handed over again.
        bytes += item.text.len();
        if bytes > limits::RELAY_BYTES && bytes > item.text.len() {
            break;
        }
        if t.outbox.len() >= limits::OUTBOX_MESSAGES {
            let message = format!("{} messages wait for the channel", t.outbox.len());
            let hint = Some("the channel does not take messages; they are kept and sent when it does".into());
            return Reply::Refused { message, refusal: Refusal { reason: Reason::OutboxFull, holder: None, hint } };
        }
        accepted.push(item.id.clone());
        outbox::take_over(t, item, route.as_ref(), now, rules);
    }
    Reply::Relayed { accepted }
}

/// A driver says that it writes to a copy, or, when it is done, where that ends.
pub(super) fn copied(t: &mut Thread, fence: Fence, end: Option<CopyEnd>, now: Now, rules: &Rules) -> Reply {
    phases::if_overdue(t, now, rules);
    let refused = |message: &str| {
        let refusal = Refusal { reason: Reason::BadRequest, holder: None, hint: None };
        Reply::Refused { message: message.into(), refusal }
    };
    match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence => match (&mut lease.copy, end) {
            (_, _) if lease.claude.is_none() => refused("the thread has no Claude session to be copied"),
            (None, Some(_)) => refused("the ride is not on a copy"),
            (None, None) if lease.process.is_some() => {
                refused("the ride's Claude Code writes to the transcript itself")
            }
            (None, None) => {
                lease.copy = Some(OnCopy::default());
                let note = format!("{fence} rides on a copy at {}", lease.driver.host);
                t.note(now, note);
                Reply::Ok
            }
            (Some(_), None) => Reply::Ok,
            (Some(copy), end @ Some(_)) => {
                copy.end = end.map(Into::into);
                Reply::Ok
            }
        },
        // A release that is asked again.
        Phase::Leaving { lease, why: Why::Released, .. } if lease.fence == fence && end.is_some() => Reply::Ok,
        _ if end.is_some() && t.last.as_ref().is_some_and(|l| l.fence == fence && l.why == Why::Released) => Reply::Ok,
        _ => view::stale(t, fence, now, rules),
    }
}

fn too_large(message: String) -> Reply {
    Reply::Refused { message, refusal: Refusal { reason: Reason::TooLarge, holder: None, hint: None } }
}

pub(super) fn release(t: &mut Thread, fence: Fence, accept_broken: bool, now: Now, rules: &Rules) -> Reply {
    match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence => {
            phases::begin(t, Why::Released, now);
            Reply::Ok
        }
        Phase::Leaving { heir: Some(heir), .. } if heir.fence == fence => {
            heir.gone = true;
            Reply::Ok
        }
        // Whoever lost the thread has nothing to give; but it may let go of what holds it up.
        Phase::Leaving { lease, why: Why::Stolen { .. }, .. } if lease.fence == fence && !accept_broken => {
            view::stale(t, fence, now, rules)
        }
        Phase::Leaving { lease, accept_broken: accepted, at, .. } if lease.fence == fence => {
            if accept_broken && !*accepted {
                *accepted = true;
                at.again = None;
                let what = at.blocked.clone().unwrap_or_else(|| "a chain that could not be shown".into());
                let note = format!("release {fence} by {} accepts: {what}", lease.who());
                t.note(now, note);
            }
            Reply::Ok
        }
        Phase::Claiming { lease, at, .. } if lease.fence == fence => {
            if at.flight.is_none() && !at.late && at.stage != ClaimStage::Adopt {
                phases::fail(t, Reason::Stale, "the driver changed its mind".into(), now);
            } else {
                lease.withdrawn = Some("the driver changed its mind".into());
            }
            Reply::Ok
        }
        // A driver that lost the answer asks again.
        _ if t.last.as_ref().is_some_and(|l| l.fence == fence) => Reply::Ok,
        _ => view::stale(t, fence, now, rules),
    }
}

pub(super) fn dropped(t: &mut Thread, fence: Fence, now: Now) -> Reply {
    if let Phase::Leaving { heir: Some(heir), .. } = &mut t.phase
        && heir.fence == fence
    {
        heir.gone = true;
    }
    if let Some(lease) = t.lease_mut()
        && lease.fence == fence
        && lease.dropped.is_none()
    {
        lease.dropped = Some(now.stamp());
        lease.probe_again = None;
    }
    Reply::Ok
}
