//! A chat ride's prompts: which one turn the agent may run for the driver, and what
//! came of it.
//!
//! One prompt at a time. It is written down under the fence before the driver sends
//! it to the host (*said*); the gate lets exactly that id in, once (*begun*), and
//! shows it in the thread in the same commit; the performer sees the turn to its end
//! and its answer follows. So a prompt the agent never got is in no thread, and one
//! it got is never run twice, whatever crashes in between.

use crate::command::{self, Command};
use crate::event::{Ending, Outcome, Reply};
use crate::id::Fence;
use crate::limits;
use crate::rules::Rules;
use crate::thread::{Deadline, Flight, Phase, Said, Thread};
use crate::time::Now;
use crate::view;
use crate::wire::{Reason, Refusal, RelayItem, RelayKind, SayState};

use super::{outbox, phases};

pub(super) fn say(t: &mut Thread, fence: Fence, id: String, text: String, now: Now, rules: &Rules) -> Reply {
    phases::if_overdue(t, now, rules);
    let full = t.outbox.len() >= limits::OUTBOX_MESSAGES;
    let over = t.taken.contains(&id);
    let lease = match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence => lease,
        _ => return view::stale(t, fence, now, rules),
    };
    if lease.claude.is_some() {
        return no(
            Reason::BadRequest,
            "this ride drives a Claude session, which is not spoken to through the gateway".into(),
        );
    }
    match &lease.said {
        // A driver that lost the answer asks again.
        Some(said) if said.id == id => return Reply::Said { state: view::say_state(said) },
        _ if over => return Reply::Said { state: SayState::Over },
        Some(said) if said.begun => return no(Reason::TurnRunning, "the agent still answers the prompt before".into()),
        _ => {}
    }
    if let Some(why) = unfit(&id, &text) {
        return no(Reason::BadRequest, why);
    }
    if text.len() > limits::RELAY_BYTES {
        return no(Reason::TooLarge, format!("the prompt has {} bytes; at most {}", text.len(), limits::RELAY_BYTES));
    }
    if full {
        return no(Reason::OutboxFull, format!("{} messages wait for the channel", limits::OUTBOX_MESSAGES));
    }
    lease.active = now.stamp();
    let before = lease.said.replace(Said { id, text, begun: false, flight: None, again: None });
    if let Some(before) = before {
        t.note(now, format!("prompt {} did not begin and was replaced", before.id));
    }
    Reply::Said { state: SayState::Said }
}

fn unfit(id: &str, text: &str) -> Option<String> {
    if id.is_empty() || id.len() > limits::SAY_ID_BYTES || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Some(format!("id is not 1 to {} letters, digits and hyphens", limits::SAY_ID_BYTES));
    }
    match command::of(text.trim_start()) {
        _ if text.trim().is_empty() => Some("the prompt is empty".into()),
        Command::None => None,
        // The host would run it as the driver's own, and it starts no turn whose end could be seen.
        Command::ReadOnly => Some("commands are for the chat, not for a ride".into()),
        Command::Other(name) => Some(format!("/{name} is a command of the chat, not for a ride")),
    }
}

/// Whether this is the driver's own prompt, on its way to the agent: then it begins.
pub(super) fn begins(t: &mut Thread, id: &str, now: Now, rules: &Rules) -> bool {
    phases::if_overdue(t, now, rules);
    let Phase::Ridden { lease } = &mut t.phase else { return false };
    let Some(said) = lease.said.as_mut().filter(|said| said.id == id && !said.begun) else { return false };
    said.begun = true;
    let item = RelayItem { id: said.id.clone(), kind: RelayKind::Prompt, text: std::mem::take(&mut said.text) };
    let route = lease.route.clone();
    lease.active = now.stamp();
    t.note(now, format!("prompt {id} began"));
    outbox::take_over(t, item, route.as_ref(), now, rules);
    true
}

/// Whether the agent still runs the driver's turn.
pub(super) fn runs(t: &Thread) -> bool {
    t.lease().and_then(|lease| lease.said.as_ref()).is_some_and(|said| said.begun)
}

/// What the driver's turn came to.
pub(super) fn answered(t: &mut Thread, outcome: Outcome, now: Now, rules: &Rules) {
    let Some(lease) = t.lease_mut() else { return };
    let Some(said) = lease.said.as_mut() else { return };
    said.flight = None;
    let (how, text) = match outcome {
        Outcome::Answered { how, text } => (how, text),
        // It still runs, or nobody could look.
        _ => {
            said.again = Some(Deadline::after(now, limits::RETRY_MS));
            return;
        }
    };
    let id = said.id.clone();
    let route = lease.route.clone();
    lease.said = None;
    lease.active = now.stamp();
    t.note(now, format!("prompt {id} ended: {how:?}"));
    let notice = match (how, text.is_empty()) {
        (Ending::Complete, false) => None,
        (Ending::Complete, true) => Some("the turn ended without a text"),
        (Ending::Aborted, false) => Some("interrupted at the terminal"),
        (Ending::Aborted, true) => Some("interrupted at the terminal, no answer"),
        (Ending::Failed, _) => Some("no answer: the agent's turn failed"),
        (Ending::Lost, _) => Some("no answer: the gateway was restarted during the turn"),
    };
    if !text.is_empty() && matches!(how, Ending::Complete | Ending::Aborted) {
        take_over(t, &format!("{id}/answer"), RelayKind::Answer, &text, route.as_ref(), now, rules);
    }
    if let Some(notice) = notice {
        take_over(t, &format!("{id}/end"), RelayKind::Notice, notice, route.as_ref(), now, rules);
    }
}

/// The ride ends before its prompt began: the thread is shown what was typed, unless the
/// driver is there to know.
pub(super) fn withdraw(t: &mut Thread, told: bool, now: Now, rules: &Rules) {
    let Some(lease) = t.lease_mut() else { return };
    let Some(said) = lease.said.take_if(|said| !said.begun) else { return };
    let route = lease.route.clone();
    t.note(now, format!("prompt {} did not begin", said.id));
    if !told {
        take_over(t, &said.id, RelayKind::Prompt, &said.text, route.as_ref(), now, rules);
        take_over(
            t,
            &format!("{}/end", said.id),
            RelayKind::Notice,
            "the agent did not get this prompt: the ride had ended",
            route.as_ref(),
            now,
            rules,
        );
    }
}

fn take_over(
    t: &mut Thread,
    id: &str,
    kind: RelayKind,
    text: &str,
    route: Option<&crate::id::Route>,
    now: Now,
    rules: &Rules,
) {
    outbox::take_over(t, RelayItem { id: id.to_owned(), kind, text: text.to_owned() }, route, now, rules);
}

/// The turn to be followed, when nobody follows it.
pub(super) fn to_follow(t: &Thread) -> Option<&Said> {
    t.lease()?.said.as_ref().filter(|said| said.begun && said.flight.is_none())
}

/// Marks it as followed.
pub(super) fn follow(t: &mut Thread, flight: Flight) {
    if let Some(said) = t.lease_mut().and_then(|lease| lease.said.as_mut()) {
        said.flight = Some(flight);
    }
}

fn no(reason: Reason, message: String) -> Reply {
    Reply::Refused { message, refusal: Refusal { reason, holder: None, hint: None } }
}
