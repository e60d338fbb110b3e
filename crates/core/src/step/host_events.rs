//! What the host reports about a ridden thread, other than messages. It is announced at once:
//! to the thread as a notice, and to the driver with its next renewal.
//!
//! Each report is announced once per ride, a stop once per person. The lease does not change:
//! the ridden conversation is the driver's, and the hand-back decides what to restore. One
//! exception: a process that writes to the ridden Claude session and is not the driver's ends
//! the ride.

use crate::event::{Reply, Seen};
use crate::id::Fence;
use crate::limits;
use crate::plain;
use crate::thread::{News, NewsKind, Phase, Thread, Why};
use crate::time::Now;

use super::{notice, phases};

pub(super) fn seen(t: &mut Thread, what: Seen, now: Now) -> Reply {
    let Phase::Ridden { lease } = &t.phase else { return Reply::Ok };
    let driver = lease.who();
    match what {
        Seen::Writer { fence, pid, program } => writer(t, fence, pid, &program, now),
        Seen::Stop { name, route } => {
            let name = plain::name(&name);
            let text = format!("{name} asked in the chat to stop");
            // The agent's own turn, where it is the agent that the driver speaks to.
            let answer = match &lease.claude {
                Some(_) => format!(
                    "⇄ {driver} rides this thread from a terminal, so there was nothing to stop here. The driver is told."
                ),
                None => format!(
                    "⇄ {driver} rides this thread from a terminal. A turn that ran is stopped, and the driver is told."
                ),
            };
            let route = route.or_else(|| lease.route.clone());
            let first = !lease.news.iter().any(|n| n.kind == NewsKind::Stop && n.text == text);
            tell(t, NewsKind::Stop, text, now);
            if first {
                notice::tell(t, route.as_ref(), &answer);
            }
        }
        Seen::Entry { there, reset_mark, claude } => {
            let Some(parked) = lease.parked.iter().find(|p| p.session == t.key.session) else { return Reply::Ok };
            let reset = there && parked.reset_mark != reset_mark;
            let turn = lease.claude.as_ref().is_some_and(|ridden| claude.is_some_and(|id| id != ridden.id));
            once(
                t,
                !there,
                NewsKind::Deleted,
                "the thread was deleted on the gateway",
                "⇄ This thread was deleted while it is ridden. The ride goes on; after it the next message begins a new conversation.",
                now,
            );
            once(
                t,
                reset,
                NewsKind::Reset,
                "the thread was reset in the chat or on the gateway",
                "⇄ This thread was reset while it is ridden. The ridden conversation goes on; reset the thread again after the ride to begin anew.",
                now,
            );
            once(
                t,
                turn,
                NewsKind::Turn,
                "the agent ran a turn of its own beside the ride",
                "⇄ While this thread is ridden, the agent ran a turn beside it. What it said there is not part of this conversation.",
                now,
            );
        }
    }
    Reply::Ok
}

/// Another process writes to the ridden Claude session: the ride ends. The thread opens only after
/// the proof that no process has the session, so not before that process has ended.
fn writer(t: &mut Thread, fence: Fence, pid: u32, program: &str, now: Now) {
    let Phase::Ridden { lease } = &t.phase else { return };
    // What was found during another grant says nothing about this one.
    if lease.fence != fence || lease.claude.is_none() {
        return;
    }
    let (driver, route) = (lease.who(), lease.route.clone());
    let process = format!("process {pid} ({})", plain::name(program));
    let text = format!(
        "⇄ The ride of {driver} has ended: another process writes to this conversation, {process}. Messages are kept until that process has ended."
    );
    phases::begin(t, Why::Writer { process }, now);
    notice::tell(t, route.as_ref(), &text);
}

/// A turn ran beside the ride, and nobody reported it before the bindings were to be restored.
pub(super) fn slipped(t: &mut Thread, sessions: &[String], now: Now) {
    let text = format!("a turn ran beside the ride, in Claude session {}", sessions.join(", "));
    once(
        t,
        true,
        NewsKind::Turn,
        &text,
        "⇄ While this thread was ridden, the agent ran a turn beside it. What it said there is not part of this conversation.",
        now,
    );
}

/// The bindings are restored, over a change that nobody had reported.
pub(super) fn restored_over(t: &mut Thread, reset: bool, deleted: bool, now: Now) {
    once(
        t,
        reset,
        NewsKind::Reset,
        "the thread was reset during the ride",
        "⇄ This thread was reset while it was ridden. The ridden conversation goes on; reset it again to begin anew.",
        now,
    );
    once(
        t,
        deleted,
        NewsKind::Deleted,
        "the thread was deleted during the ride",
        "⇄ This thread was deleted while it was ridden. The next message begins a new conversation.",
        now,
    );
}

fn once(t: &mut Thread, happened: bool, kind: NewsKind, text: &str, announced: &str, now: Now) {
    let known = t.lease().is_some_and(|lease| lease.was_told(kind));
    if !happened || known {
        return;
    }
    let route = t.lease().and_then(|lease| lease.route.clone());
    tell(t, kind, text.to_owned(), now);
    notice::tell(t, route.as_ref(), announced);
}

/// The oldest gives way; a person who asks to stop again and again must not displace the rest.
fn tell(t: &mut Thread, kind: NewsKind, text: String, now: Now) {
    t.note(now, text.clone());
    let seq = t.number();
    let Some(lease) = t.lease_mut() else { return };
    if lease.news.len() == limits::NEWS {
        let at = lease.news.iter().position(|n| n.kind == NewsKind::Stop).unwrap_or(0);
        lease.news.remove(at);
    }
    lease.news.push_back(News { seq, kind, text, at_ms: now.wall_ms });
}
