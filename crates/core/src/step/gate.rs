//! The gate: whether a message that reached the agent's door goes in.
//!
//! Open thread: always. Otherwise it is held, or its sender is told at once
//! that it could not be; either way no turn runs and nothing disappears.

use crate::command::{self, Command};
use crate::event::{Inbound, Reply};
use crate::id::Route;
use crate::limits;
use crate::thread::{Held, Thread};
use crate::time::Now;
use crate::view;
use crate::wire::Opaque;

use super::{Rules, outbox, say};

pub(super) fn message(t: &mut Thread, m: Inbound, now: Now, rules: &Rules) -> Reply {
    if !t.closed() && m.behind.is_none() {
        return Reply::Admit { because: "nobody rides" };
    }
    if let (Some(id), None, None) = (&m.client, &m.route, &m.behind)
        && say::begins(t, id, now, rules)
    {
        return Reply::Admit { because: "the driver's prompt" };
    }
    let holder = m.behind.clone().or_else(|| view::holder(t, now, rules));
    let state = match &holder {
        Some(holder) => format!("{} rides this thread from a terminal", view::who(holder)),
        None => "The messages that waited during a ride are being answered".to_owned(),
    };
    let Some(route) = m.route else {
        return Reply::Decline { text: format!("⇄ {state}. Your message was not delivered; send it again afterwards.") };
    };
    match command::of(&m.text) {
        Command::None => {}
        Command::ReadOnly => return Reply::Admit { because: "read-only command" },
        Command::Other(name) => {
            return say(t, &route, format!("⇄ {state}: /{name} is not possible now."));
        }
    }
    if t.met.contains(&m.id) {
        return Reply::Hold;
    }
    if !fits(t, &m.text, &m.host) {
        t.note(now, "a message could not be kept: the inbox is full");
        return say(t, &route, format!("⇄ {state} and no more messages can be kept. Send yours again afterwards."));
    }
    if t.met.len() == limits::MET_IDS {
        t.met.pop_front();
    }
    t.met.push_back(m.id.clone());
    if to_be_told(t, &m.sender, m.behind.is_some()) {
        say(t, &route, format!("⇄ {state}. Your message is kept and will be answered after the ride."));
    }
    let seq = t.number();
    t.note(now, format!("held message {seq}"));
    t.inbox.push_back(Held {
        seq,
        id: m.id,
        sender: m.sender,
        name: m.name,
        text: m.text,
        at_ms: now.wall_ms,
        route,
        host: m.host,
        repeat: false,
        doubt: None,
        again: None,
        attempts: 0,
    });
    Reply::Hold
}

/// Tells the chat through the relay path; through the hook's answer only where that is full.
fn say(t: &mut Thread, route: &Route, text: String) -> Reply {
    if t.outbox.len() >= limits::OUTBOX_MESSAGES {
        return Reply::Decline { text };
    }
    outbox::notice(t, route, &text);
    Reply::Hold
}

/// Each sender is told once per ride; nobody while the waiting ones are being handled.
fn to_be_told(t: &mut Thread, sender: &str, behind: bool) -> bool {
    let Some(lease) = t.lease_mut() else { return behind };
    if lease.told.len() == limits::TOLD || lease.told.iter().any(|s| s == sender) {
        return false;
    }
    lease.told.push(sender.to_owned());
    true
}

fn fits(t: &Thread, text: &str, host: &Opaque) -> bool {
    let size = text.len() + weight(host);
    let held: usize = t.inbox.iter().map(|h| h.text.len() + weight(&h.host)).sum();
    t.inbox.len() < limits::INBOX_MESSAGES && size <= limits::HELD_BYTES && held + size <= limits::INBOX_BYTES
}

/// About as many bytes as the value takes in the state file.
fn weight(value: &Opaque) -> usize {
    match value {
        Opaque::String(s) => s.len() + 2,
        Opaque::Array(a) => a.iter().map(|v| weight(v) + 1).sum(),
        Opaque::Object(o) => o.iter().map(|(k, v)| k.len() + weight(v) + 4).sum(),
        _ => 8,
    }
}
