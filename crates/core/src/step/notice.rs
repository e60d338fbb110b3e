//! Notices: what is said in the thread and belongs to no turn of a ride.
//!
//! They have a queue and a send of their own. A turn goes before them, and neither a turn
//! nor the end of a ride waits for them. Whatever members of the chat do, the queue and the
//! number of sends are bounded: what is owed to one sender is merged into one notice with
//! its numbers, and stays owed until it is sent, so that nobody is refused in silence.

use uuid::Uuid;

use crate::event::{Act, Effect, Outcome};
use crate::id::Route;
use crate::limits;
use crate::plain;
use crate::thread::{Deadline, Flight, Kind, Notice, Outgoing, Owed, Thread, Words};
use crate::time::Now;

use super::due::{self, Wake};

/// Whom a notice is for.
#[derive(Clone, Copy)]
pub(super) struct Whom<'a> {
    /// Sender's id.
    pub sender: &'a str,
    /// Sender's name, as the channel gave it.
    pub name: &'a str,
    /// Where the sender wrote.
    pub route: &'a Route,
    /// Who has the thread, in words.
    pub state: &'a str,
}

/// What became of a message.
#[derive(Clone, Copy)]
pub(super) enum Fate<'a> {
    /// It is kept until the end of a ride.
    Kept,
    /// It is kept until a terminal is left that is no ride.
    KeptOpen,
    /// There is no room for it.
    Unkept,
    /// It is a command of this name.
    Command(&'a str),
    /// It had waited, and could not be handled.
    Unhandled,
}

/// Says what happened to the thread, if there is room: the driver knows by other ways.
pub(super) fn tell(t: &mut Thread, route: Option<&Route>, text: &str) {
    let Some(route) = route else { return };
    let text = plain::line(text);
    let texts = t.notices.iter().filter(|n| matches!(n.words, Words::Text { .. })).count();
    let same = |n: &Notice| {
        n.flight.is_none() && n.route == *route && matches!(&n.words, Words::Text { text: t } if *t == text)
    };
    if texts < limits::NOTICES && !t.notices.iter().any(same) {
        push(t, route, Words::Text { text });
    }
}

/// Owes a sender a word about a message; false where there is no room for one more.
pub(super) fn owe(t: &mut Thread, whom: Whom<'_>, fate: Fate<'_>) -> bool {
    let place = find(t, Some(whom.sender), whom.route).or_else(|| open(t, whom)).or_else(|| crowd(t, whom, fate));
    let Some(Words::Owed { owed, .. }) = place.and_then(|at| t.notices.get_mut(at)).map(|notice| &mut notice.words)
    else {
        return false;
    };
    owed.add(whom.state, fate);
    true
}

/// The same for a sender whom nothing is owed yet, in words.
pub(super) fn alone(whom: Whom<'_>, fate: Fate<'_>) -> String {
    let mut owed = Owed { name: plain::name(whom.name), ..Owed::default() };
    owed.add(whom.state, fate);
    owed.text()
}

/// The notice of a sender that can still be added to.
fn find(t: &Thread, sender: Option<&str>, route: &Route) -> Option<usize> {
    t.notices.iter().position(|notice| {
        let its = matches!(&notice.words, Words::Owed { sender: whose, .. } if whose.as_deref() == sender);
        its && notice.route == *route && notice.flight.is_none() && !notice.repeat
    })
}

fn open(t: &mut Thread, whom: Whom<'_>) -> Option<usize> {
    let owed = t.notices.iter().filter(|n| matches!(n.words, Words::Owed { sender: Some(_), .. })).count();
    if owed >= limits::OWED {
        return None;
    }
    let owed = Owed { name: plain::name(whom.name), ..Owed::default() };
    Some(push(t, whom.route, Words::Owed { sender: Some(whom.sender.to_owned()), owed }))
}

/// The notice that several senders share. What is kept need not be said there.
fn crowd(t: &mut Thread, whom: Whom<'_>, fate: Fate<'_>) -> Option<usize> {
    if matches!(fate, Fate::Kept | Fate::KeptOpen) {
        return None;
    }
    find(t, None, whom.route).or_else(|| {
        let places = t.notices.iter().filter(|n| matches!(n.words, Words::Owed { sender: None, .. })).count();
        let owed = Owed { name: "Several people".into(), ..Owed::default() };
        (places < limits::OWED_PLACES).then(|| push(t, whom.route, Words::Owed { sender: None, owed }))
    })
}

fn push(t: &mut Thread, route: &Route, words: Words) -> usize {
    let seq = t.number();
    let notice =
        Notice { seq, route: route.clone(), words, flight: None, doubt: None, repeat: false, attempts: 0, again: None };
    t.notices.push_back(notice);
    t.notices.len() - 1
}

impl Owed {
    fn add(&mut self, state: &str, fate: Fate<'_>) {
        self.state = plain::line(state);
        match fate {
            Fate::Kept => (self.kept, self.open) = (true, false),
            Fate::KeptOpen => (self.kept, self.open) = (true, true),
            Fate::Unkept => self.unkept = self.unkept.saturating_add(1),
            Fate::Unhandled => self.unhandled = self.unhandled.saturating_add(1),
            Fate::Command(name) => {
                self.commands = self.commands.saturating_add(1);
                self.command = plain::command(name);
            }
        }
    }

    /// As the chat reads it: one thing in a sentence of its own, several as a list.
    fn text(&self) -> String {
        let Owed { name, state, command, .. } = self;
        match (self.kept, self.unkept, self.commands, self.unhandled) {
            (true, 0, 0, 0) => format!("⇄ {state}. Your message is kept and will be answered {}.", self.until()),
            (false, 1, 0, 0) => format!("⇄ {state}, and your message could not be kept. Send yours again afterwards."),
            (false, 0, 1, 0) => format!("⇄ {state}: /{command} is not possible now."),
            (false, 0, 0, 1) => format!("⇄ {name}'s message that waited could not be handled. Please send it again."),
            _ => self.list(),
        }
    }

    /// When what is kept will be answered.
    fn until(&self) -> &'static str {
        if self.open { "once it is closed there" } else { "after the ride" }
    }

    fn list(&self) -> String {
        let number = |n: u32, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
        let mut parts = Vec::new();
        if self.kept {
            parts.push(format!("what was written before is kept and will be answered {}", self.until()));
        }
        if self.unkept > 0 {
            parts.push(format!("{} could not be kept: send again afterwards", number(self.unkept, "message")));
        }
        if self.commands > 0 {
            parts.push(format!("{} refused, the last was /{}", number(self.commands, "command"), self.command));
        }
        if self.unhandled > 0 {
            parts.push(format!(
                "{} that waited could not be handled: please send again",
                number(self.unhandled, "message")
            ));
        }
        let (name, state) = (&self.name, &self.state);
        let state = if state.is_empty() { String::new() } else { format!(" {state}.") };
        format!("⇄ {name}: {}.{state}", parts.join("; "))
    }
}

/// The next notice, when no turn waits and the last minute had not too many.
pub(super) fn send(t: &mut Thread, performer: Uuid, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
    // Where a turn cannot be sent for minutes, another place may still be reached.
    let turn_first = t.outbox.front().is_some_and(|head| head.attempts < limits::ATTEMPTS);
    if turn_first || t.notices.is_empty() || t.notices.iter().any(|notice| notice.flight.is_some()) {
        return;
    }
    let pause = pause_ms(t, now);
    if pause > 0 {
        return wake.at_most(pause);
    }
    let Some(at) = t.notices.iter().position(|notice| !wake.not_before(notice.again, now)) else { return };
    let op = t.number();
    if t.noticed.len() == limits::NOTICES_A_MINUTE {
        t.noticed.pop_front();
    }
    t.noticed.push_back(now.stamp());
    let notice = &mut t.notices[at];
    notice.flight = Some(Flight { op, performer });
    effects.push(Effect { op, act: Act::Send { session: None, item: outgoing(notice) } });
}

/// How long until one more may be sent.
fn pause_ms(t: &Thread, now: Now) -> u64 {
    let oldest = t.noticed.front().filter(|_| t.noticed.len() == limits::NOTICES_A_MINUTE);
    oldest.and_then(|then| now.since_ms(*then)).map_or(0, |gone| 60_000_u64.saturating_sub(gone))
}

fn outgoing(notice: &Notice) -> Outgoing {
    let text = match &notice.words {
        Words::Text { text } => text.clone(),
        Words::Owed { owed, .. } => owed.text(),
    };
    Outgoing {
        seq: notice.seq,
        id: format!("notice:{}", notice.seq),
        kind: Kind::Notice,
        text: if notice.repeat { format!("(may be a repeat) {text}") } else { text },
        route: notice.route.clone(),
        repeat: notice.repeat,
        doubt: None,
        attempts: notice.attempts,
        again: None,
    }
}

/// What nobody performs any more: its outcome is unknown.
pub(super) fn recover(t: &mut Thread, old: impl Fn(&Option<Flight>) -> bool, now: Now) {
    let Some(at) = t.notices.iter().position(|notice| old(&notice.flight)) else { return };
    let doubt = t.notices[at].flight;
    if let Some(notice) = ended(t, at, Outcome::Unknown { what: "nobody knows whether it was sent".into() }, now) {
        notice.doubt = doubt;
    }
}

/// What came of sending one; false where none was sent by this operation.
pub(super) fn done(t: &mut Thread, flight: Flight, outcome: Outcome, now: Now) -> bool {
    let its = |n: &Notice| n.flight == Some(flight) || n.flight.is_none() && n.doubt == Some(flight);
    let Some(at) = t.notices.iter().position(its) else { return false };
    ended(t, at, outcome, now);
    true
}

/// The notice, where it is to be sent once more.
fn ended(t: &mut Thread, at: usize, outcome: Outcome, now: Now) -> Option<&mut Notice> {
    let notice = t.notices.get_mut(at)?;
    notice.flight = None;
    let owed = matches!(notice.words, Words::Owed { .. });
    match outcome {
        // What is owed to a sender stays owed for as long as the channel may take it.
        Outcome::NotSent { retry: true, after_ms, .. } if owed || notice.attempts + 1 < limits::ATTEMPTS => {
            notice.attempts = notice.attempts.saturating_add(1);
            let pause = after_ms.unwrap_or_else(|| due::backoff_ms(notice.attempts));
            notice.again = Some(Deadline::after(now, pause));
        }
        // Once more, marked, and never again.
        Outcome::Unknown { .. } if !notice.repeat => {
            notice.repeat = true;
            notice.attempts = notice.attempts.saturating_add(1);
            notice.again = Some(Deadline::after(now, limits::REPEAT_MS));
        }
        Outcome::Sent { .. } => {
            t.notices.remove(at);
            return None;
        }
        other => {
            let seq = notice.seq;
            t.notices.remove(at);
            t.note(now, format!("notice:{seq} was not delivered: {}", in_words(&other)));
            return None;
        }
    }
    t.notices.get_mut(at)
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NotSent { what, .. } | Outcome::Unknown { what } => what.clone(),
        other => format!("sending ended in {other:?}"),
    }
}
