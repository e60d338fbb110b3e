//! The gate: whether a message starts a turn of the agent.
//!
//! In an open thread it does. Otherwise the message is held, or its sender is told
//! at once that it is not held. No turn runs, and no message disappears.

use crate::command::{self, Command};
use crate::event::{Inbound, Reply, Unnamed};
use crate::id::Route;
use crate::limits;
use crate::rules::Rules;
use crate::thread::{Alike, Behind, Held, Thread};
use crate::time::Now;
use crate::view;
use crate::wire::Opaque;

use super::notice::{Fate, Whom};
use super::{notice, say};

pub(super) fn message(t: &mut Thread, mut m: Inbound, now: Now, rules: &Rules) -> Reply {
    if !t.closed() && m.behind.is_none() {
        return Reply::Admit { because: "nobody rides" };
    }
    if let (Some(id), None, None) = (&m.client, &m.route, &m.behind)
        && say::begins(t, id, now, rules)
    {
        return Reply::Admit { because: "the driver's prompt" };
    }
    let holder = m.behind.clone().or_else(|| view::keeper(t, now, rules));
    let state = match &holder {
        Some(holder) if view::in_terminal(holder) => {
            format!("The conversation of this thread is open in a terminal on {}", holder.host)
        }
        Some(holder) => format!("{} rides this thread from a terminal", view::who(holder)),
        None => "The messages that waited are being answered".to_owned(),
    };
    let kept = if holder.as_ref().is_some_and(view::in_terminal) { Fate::KeptOpen } else { Fate::Kept };
    let Some(route) = m.route.clone() else {
        return Reply::Decline {
            text: format!("⇄ {state}. Your message was not delivered; send it again afterwards."),
        };
    };
    match command::of(&m.text) {
        Command::None => {}
        Command::ReadOnly => return Reply::Admit { because: "read-only command" },
        Command::Other(name) => return refuse(t, whom(&m, &route, &state), Fate::Command(name)),
    }
    if let Some(unnamed) = m.unnamed {
        m.id = named(t, &m.id, unnamed);
    }
    if t.met.contains(&m.id) {
        return Reply::Hold;
    }
    if !fits(t, &m) {
        t.once(now, "a message could not be kept: there is no room for it");
        return refuse(t, whom(&m, &route, &state), Fate::Unkept);
    }
    if t.met.len() == limits::MET_IDS {
        t.met.pop_front();
    }
    t.met.push_back(m.id.clone());
    if to_be_told(t, &m) && notice::owe(t, whom(&m, &route, &state), kept) {
        told(t, &m);
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

fn whom<'a>(m: &'a Inbound, route: &'a Route, state: &'a str) -> Whom<'a> {
    Whom { sender: &m.sender, name: &m.name, route, state }
}

/// The sender is owed a notice; where there is no room for one, the host answers at once.
fn refuse(t: &mut Thread, whom: Whom<'_>, fate: Fate<'_>) -> Reply {
    if notice::owe(t, whom, fate) { Reply::Hold } else { Reply::Decline { text: notice::alone(whom, fate) } }
}

/// The id of a message that the channel gave none: which one it is of those that are alike.
/// The count begins anew with the gateway's process, since the channel may then repeat what
/// was not acknowledged. Without a time a repetition could not be told from a new message,
/// so that such a message is never taken for one.
fn named(t: &mut Thread, id: &str, Unnamed { run, timed }: Unnamed) -> String {
    let id = if timed { id.to_owned() } else { format!("{id}|{run}") };
    let before = t.alike.iter().position(|alike| alike.id == id).and_then(|at| t.alike.remove(at));
    let count = before.filter(|alike| alike.run == run).map_or(1, |alike| alike.count.saturating_add(1));
    if t.alike.len() == limits::ALIKE {
        t.alike.pop_front();
    }
    t.alike.push_back(Alike { id: id.clone(), run, count });
    format!("{id}|{count}")
}

/// Each sender is told once per ride; nobody while the waiting ones are being handled.
fn to_be_told(t: &Thread, m: &Inbound) -> bool {
    let known = match (t.lease(), &m.behind) {
        (Some(lease), _) => &lease.told,
        (None, Some(holder)) => match t.behind.as_ref().filter(|behind| behind.since_ms == holder.since_ms) {
            Some(behind) => &behind.told,
            None => return true,
        },
        (None, None) => match &t.opened {
            Some(opened) => &opened.told,
            None => return false,
        },
    };
    known.len() < limits::TOLD && !known.contains(&m.sender)
}

/// Remembers that a sender was told.
fn told(t: &mut Thread, m: &Inbound) {
    if let Some(lease) = t.lease_mut() {
        lease.told.push(m.sender.clone());
    } else if let Some(holder) = &m.behind {
        let same = t.behind.take().filter(|behind| behind.since_ms == holder.since_ms);
        let mut behind = same.unwrap_or(Behind { since_ms: holder.since_ms, told: Vec::new() });
        behind.told.push(m.sender.clone());
        t.behind = Some(behind);
    } else if let Some(opened) = &mut t.opened {
        opened.told.push(m.sender.clone());
    }
}

/// Whether there is room: for this message, in the inbox, and in this sender's part of it.
fn fits(t: &Thread, m: &Inbound) -> bool {
    let size = m.text.len() + weight(&m.host);
    let all = filled(t.inbox.iter());
    let own = filled(t.inbox.iter().filter(|held| held.sender == m.sender));
    let room = |(messages, bytes): (usize, usize), part: usize| {
        messages < limits::INBOX_MESSAGES / part && bytes + size <= limits::INBOX_BYTES / part
    };
    size <= limits::HELD_BYTES && room(all, 1) && room(own, limits::SENDER_PART)
}

/// How many messages, and how many bytes they take.
fn filled<'a>(held: impl Iterator<Item = &'a Held>) -> (usize, usize) {
    held.fold((0, 0), |(messages, bytes), held| (messages + 1, bytes + held.text.len() + weight(&held.host)))
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
