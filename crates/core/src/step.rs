//! What follows from an event: `step(thread, event, now) -> (thread, reply)`.
//!
//! Whoever commits an event does not get its effects. Effects follow from the
//! state. Only the performer takes them ([`Event::Take`]), and the state records
//! each one before it is performed. So after a crash an effect was either not
//! performed, or the state says that its outcome is unknown.

mod claim;
mod driver;
mod due;
mod gate;
mod host_events;
mod include;
mod leave;
mod notice;
mod opened;
mod outbox;
mod perform;
mod phases;
mod say;
mod stage;

use crate::event::{Event, Reply};
use crate::person::labelled;
use crate::rules::Rules;
use crate::thread::Thread;
use crate::time::Now;

/// Decides. Nothing else changes a thread.
pub fn step(mut thread: Thread, event: Event, now: Now, rules: &Rules) -> (Thread, Reply) {
    let t = &mut thread;
    let reply = match event {
        Event::Claim(asked) => claim::asked(t, *asked, now, rules),
        Event::Renew { fence, secret_sha256, claude, active } => {
            driver::renew(t, fence, &secret_sha256, claude, active, now, rules)
        }
        Event::Locked { fence, name, mutual } => driver::locked(t, fence, name, mutual, now, rules),
        Event::Declared { by, identity, gone } => claim::declared(t, &labelled(&by, identity.as_deref()), gone, now),
        Event::Relay { fence, items } => driver::relay(t, fence, items, now, rules),
        Event::Say { fence, id, text } => say::say(t, fence, id, text, now, rules),
        Event::TakeAlong { fence, prompt, seqs } => include::take(t, fence, prompt, &seqs, now, rules),
        Event::Copied { fence, end } => driver::copied(t, fence, end, now, rules),
        Event::Release { fence, accept_broken } => driver::release(t, fence, accept_broken, now, rules),
        Event::TakeBack { by, accept_broken } => leave::take_back(t, by, accept_broken, now),
        Event::Dropped { fence } => driver::dropped(t, fence, now),
        Event::Message(message) => gate::message(t, *message, now, rules),
        Event::Opened(by) => opened::opened(t, *by, now),
        Event::Closed { process, left } => opened::closed(t, &process, left, now),
        Event::Seen(what) => host_events::seen(t, what, now),
        Event::Take { performer, behind, flying } => perform::take(t, performer, behind, &flying, now, rules),
        Event::Done { op, performer, outcome } => perform::done(t, op, performer, outcome, now, rules),
    };
    (thread, reply)
}
