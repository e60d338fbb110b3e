//! The outbox: the platform messages of a ride in order, one in flight, one retrier.
//! What belongs to no turn is a [`super::notice`].

use crate::event::Outcome;
use crate::id::Route;
use crate::limits;
use crate::rules::Rules;
use crate::split::{labelled, split};
use crate::thread::{Deadline, Kind, Outgoing, Thread};
use crate::time::Now;
use crate::wire::{RelayItem, RelayKind};

use super::{due, notice};

/// Turns a relay item into platform messages; its id is remembered for good.
pub(super) fn take_over(t: &mut Thread, item: RelayItem, route: Option<&Route>, now: Now, rules: &Rules) {
    if t.taken.len() == limits::TAKEN_IDS {
        t.taken.pop_front();
    }
    t.taken.push_back(item.id.clone());
    let (Some(route), true) = (route, rules.relay) else { return };
    if item.text.len() > limits::RELAY_BYTES {
        return too_long(t, item, route, now);
    }
    let text = match item.kind {
        RelayKind::Prompt => {
            let name = t.lease().map_or("terminal", |l| l.driver.name.as_str());
            labelled(&format!("🖥 {name}:"), &item.text)
        }
        RelayKind::Answer | RelayKind::Notice => item.text,
    };
    let parts = split(&text, limits::MESSAGE_UNITS);
    let many = parts.len() > 1;
    for (n, part) in parts.into_iter().enumerate() {
        let id = if many { format!("{}#{}", item.id, n + 1) } else { item.id.clone() };
        push(t, id, item.kind.into(), part, route);
    }
}

/// What is over the bound of one item is not in the channel: it is counted, and the thread is told where it stands.
fn too_long(t: &mut Thread, item: RelayItem, route: &Route, now: Now) {
    let what = if item.kind == RelayKind::Prompt { "A prompt" } else { "An answer" };
    let kib = limits::RELAY_BYTES / 1024;
    let text =
        format!("⇄ {what} of more than {kib} KiB is not shown here: it is too long. It stands in the conversation.");
    t.note(now, format!("{} was not delivered: it is longer than {kib} KiB", item.id));
    notice::tell(t, Some(route), &text);
    let seq = t.number();
    give_up(t, outgoing(seq, item.id, item.kind.into(), text, route));
}

/// Counts what the channel will never have.
fn give_up(t: &mut Thread, item: Outgoing) {
    if t.undelivered.len() == limits::UNDELIVERED {
        t.undelivered.pop_front();
        t.undelivered_before += 1;
    }
    t.undelivered.push_back(item);
}

/// Whether something of a ride is not in the thread yet. States of before the notices had a
/// queue of their own have some here: nothing waits for them.
pub(super) fn turns_wait(t: &Thread) -> bool {
    t.outbox.iter().any(|item| !item.id.starts_with("notice:"))
}

fn push(t: &mut Thread, id: String, kind: Kind, text: String, route: &Route) {
    let seq = t.number();
    t.outbox.push_back(outgoing(seq, id, kind, text, route));
}

fn outgoing(seq: u64, id: String, kind: Kind, text: String, route: &Route) -> Outgoing {
    Outgoing { seq, id, kind, text, route: route.clone(), repeat: false, doubt: None, attempts: 0, again: None }
}

/// What came of sending the first of them.
pub(super) fn done(t: &mut Thread, outcome: Outcome, now: Now) {
    t.sending = None;
    let Some(head) = t.outbox.front_mut() else { return };
    match outcome {
        Outcome::Sent { .. } => {
            t.outbox.pop_front();
        }
        Outcome::NotSent { retry: true, after_ms, .. }
            if head.kind.is_turn() || head.attempts + 1 < limits::ATTEMPTS =>
        {
            head.attempts += 1;
            head.again = Some(Deadline::after(now, after_ms.unwrap_or_else(|| due::backoff_ms(head.attempts))));
        }
        Outcome::NotSent { what, .. } => refuse(t, &what, now),
        // Nobody can tell whether it arrived: once more, marked, and never again.
        Outcome::Unknown { .. } if !head.repeat => {
            head.repeat = true;
            head.attempts += 1;
            head.again = Some(Deadline::after(now, limits::REPEAT_MS));
        }
        Outcome::Unknown { what } => refuse(t, &what, now),
        Outcome::RouteChanged { to } => {
            let what = format!("its route is {to} now");
            if let Some(lease) = t.lease_mut() {
                lease.relay_stopped = Some(what.clone());
            }
            refuse(t, &what, now);
        }
        other => refuse(t, &format!("sending ended in {other:?}"), now),
    }
}

fn refuse(t: &mut Thread, what: &str, now: Now) {
    let Some(item) = t.outbox.pop_front() else { return };
    t.note(now, format!("{} was not delivered: {what}", item.id));
    if !item.kind.is_turn() {
        return;
    }
    give_up(t, item);
}
