//! A thread as others see it: holders, refusals, status.

use crate::event::Reply;
use crate::id::Fence;
use crate::limits;
use crate::person::labelled;
use crate::rules::Rules;
use crate::thread::{Flight, Lease, Phase, Thread, Why};
use crate::time::Now;
use crate::wire::{Holder, Inboxed, Mode, News, Reason, Refusal, Renewed, SayState, Side, ThreadStatus, Turn, Waiting};
use uuid::Uuid;

/// Who holds a thread, if anybody.
pub fn holder(t: &Thread, now: Now, rules: &Rules) -> Option<Holder> {
    let lease = t.lease()?;
    if let Some(heir) = t.heir() {
        return Some(Holder {
            name: heir.driver.name.clone().into(),
            host: heir.driver.host.clone().into(),
            identity: heir.identity.clone().map(Into::into),
            since_ms: heir.since_ms,
            expires_in_ms: 0,
            phase: "claiming".into(),
            waiting_for: waiting_for(t).map(Into::into),
            acceptable: acceptable(t),
        });
    }
    Some(Holder {
        name: lease.driver.name.clone().into(),
        host: lease.driver.host.clone().into(),
        identity: lease.identity.clone().map(Into::into),
        since_ms: lease.since_ms,
        expires_in_ms: if matches!(t.phase, Phase::Ridden { .. }) { lease.left_ms(now, rules) } else { 0 },
        phase: t.phase_name().into(),
        waiting_for: waiting_for(t).map(Into::into),
        acceptable: acceptable(t),
    })
}

/// Who keeps the thread's messages from the agent, if anybody: a holder, or else a terminal that
/// has the Claude session open and is no ride.
pub fn keeper(t: &Thread, now: Now, rules: &Rules) -> Option<Holder> {
    holder(t, now, rules).or_else(|| {
        let opened = t.opened.as_ref()?;
        Some(Holder {
            name: "a terminal".into(),
            host: opened.terminals.first().map_or("the gateway's machine", |first| &first.host).into(),
            identity: None,
            since_ms: opened.since_ms,
            expires_in_ms: 0,
            phase: TERMINAL.into(),
            waiting_for: opened.at.blocked.clone().map(Into::into),
            acceptable: false,
        })
    })
}

/// The phase of a [`keeper`] that is no driver.
const TERMINAL: &str = "terminal";

/// Whether that is a terminal and no driver.
pub fn in_terminal(keeper: &Holder) -> bool {
    keeper.phase.raw() == TERMINAL
}

/// What to do about a Claude session that is open in a terminal.
pub(crate) fn open_hint(t: &Thread) -> Option<String> {
    let terminal = t.opened.as_ref()?.terminals.first()?;
    let (pid, host) = (terminal.process.pid, &terminal.host);
    Some(format!("its Claude session is open in a terminal on {host} (process {pid}): leave Claude Code there"))
}

/// A holder in words: `ada@laptop (user ada@example.org)`.
pub fn who(holder: &Holder) -> String {
    labelled(&format!("{}@{}", holder.name, holder.host), holder.identity.as_ref().map(ToString::to_string).as_deref())
}

/// What a thread waits for while it changes hands.
pub fn waiting_for(t: &Thread) -> Option<String> {
    match &t.phase {
        Phase::Claiming { at, .. } => at.blocked.clone(),
        Phase::Leaving { at, .. } => at.blocked.clone(),
        Phase::Open => t.opened.as_ref().and_then(|opened| opened.at.blocked.clone()),
        Phase::Ridden { .. } => None,
    }
}

/// Whether the effect of a thread's stage is still this operation, by this performer. A host
/// asks where the effect is about to be written; one that is not in flight writes nothing.
pub fn in_flight(t: &Thread, op: u64, performer: Uuid) -> bool {
    let flight = match &t.phase {
        Phase::Claiming { at, .. } => at.flight,
        Phase::Leaving { at, .. } => at.flight,
        Phase::Open | Phase::Ridden { .. } => None,
    };
    flight == Some(Flight { op, performer })
}

/// Whether a person may accept what a thread waits for, and have it handed back as it is.
pub fn acceptable(t: &Thread) -> bool {
    matches!(&t.phase, Phase::Leaving { at, .. } if at.acceptable)
}

/// The refusal of a claim on a taken thread.
pub fn held_by(t: &Thread, now: Now, rules: &Rules) -> Reply {
    let holder = holder(t, now, rules);
    let who = holder.as_ref().map_or_else(|| "somebody".into(), who);
    let (message, hint) = match t.phase {
        Phase::Leaving { heir: Some(_), .. } => {
            (format!("the thread is being taken over by {who}"), "it can be claimed once it is released")
        }
        Phase::Leaving { .. } => (format!("the thread is coming back from {who}"), "try again in a moment"),
        Phase::Claiming { .. } => {
            (format!("the thread is being claimed by {who}"), "it can be claimed once it is released")
        }
        _ => (
            format!("the thread is ridden by {who}"),
            "it can be claimed once it is released, or taken over from its driver",
        ),
    };
    Reply::Refused { message, refusal: Refusal { reason: Reason::Held, holder, hint: Some(hint.into()) } }
}

/// The refusal of a fence that is not in force.
pub fn stale(t: &Thread, fence: Fence, now: Now, rules: &Rules) -> Reply {
    let holder = holder(t, now, rules);
    let message = match &holder {
        Some(_) if t.lease().is_some_and(|l| l.fence == fence) => ended(t),
        Some(h) => format!("the thread is held by {} now", who(h)),
        None => "the ride is over and the agent has the thread".into(),
    };
    Reply::Refused { message, refusal: Refusal { reason: Reason::Stale, holder, hint: None } }
}

fn ended(t: &Thread) -> String {
    match &t.phase {
        Phase::Leaving { why, .. } => match why {
            Why::Released => "it was released".into(),
            Why::Expired => "its lease ran out".into(),
            Why::Silent => "it was silent for too long".into(),
            Why::Gone => "its driver was gone".into(),
            Why::Adopted { .. } => "the thread was bound to another Claude session".into(),
            Why::Back => "its driver came back from another process".into(),
            Why::Stolen { by } => format!("{by} took the thread over"),
            Why::TakenBack { by } => format!("{by} took the thread back"),
            Why::Writer { process } => format!(
                "another process writes to its Claude session: {process}. The thread stays closed until that process has ended. End it, then ride the thread again"
            ),
            Why::Failed { .. } => "its claim failed".into(),
        },
        _ => "it is not granted yet".into(),
    }
}

/// The messages that wait, as the driver sees them.
pub fn waiting(t: &Thread) -> Vec<Waiting> {
    let short = |text: &str| match text.char_indices().nth(limits::WAITING_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    };
    let one = |h: &crate::thread::Held| Waiting {
        seq: h.seq,
        from: h.name.clone().into(),
        text: short(&h.text).into(),
        at_ms: h.at_ms,
    };
    t.inbox.iter().take(limits::WAITING_LISTED).map(one).collect()
}

/// The lease of a driver that writes to a copy, while it may extend the transcript.
pub fn on_copy<'t>(t: &'t Thread, fence: Fence, now: Now, rules: &Rules) -> Option<&'t Lease> {
    t.lease().filter(|lease| rides(t, fence, now, rules) && lease.copy.is_some())
}

/// Whether a fence rides the thread, its lease not over.
pub fn rides(t: &Thread, fence: Fence, now: Now, rules: &Rules) -> bool {
    matches!(&t.phase, Phase::Ridden { lease } if lease.fence == fence && lease.left_ms(now, rules) > 0)
}

/// The messages after one, whole, as many as fit into one answer; `None` when this
/// fence does not ride the thread.
pub fn inbox(t: &Thread, fence: Fence, after: u64) -> Option<Inboxed> {
    let Phase::Ridden { lease } = &t.phase else { return None };
    if lease.fence != fence {
        return None;
    }
    let mut bytes = 0;
    let mut left = t.inbox.iter().filter(|held| held.seq > after).peekable();
    let mut messages = Vec::new();
    while let Some(held) = left.peek() {
        bytes += held.text.len();
        let room = messages.len() < limits::WAITING_LISTED && bytes <= limits::INBOX_READ_BYTES;
        if !messages.is_empty() && !room {
            break;
        }
        messages.push(Waiting {
            seq: held.seq,
            from: held.name.clone().into(),
            text: held.text.clone().into(),
            at_ms: held.at_ms,
        });
        left.next();
    }
    Some(Inboxed { more: left.peek().is_some(), messages })
}

/// The answer to a renewal; `None` when the thread is not ridden.
pub fn renewed(t: &Thread, now: Now, rules: &Rules) -> Option<Renewed> {
    let Phase::Ridden { lease } = &t.phase else { return None };
    Some(Renewed {
        lock: None,
        // Whichever ends the ride first: the driver must stop before the thread is given away.
        expires_in_ms: lease.left_ms(now, rules).min(lease.silent_ms(now, rules)),
        silent_in_ms: lease.silent_ms(now, rules),
        waiting: waiting(t),
        waiting_total: t.inbox.len() as u32,
        outbox: t.outbox.len() as u32,
        relay_stopped: lease.relay_stopped.clone().map(Into::into),
        turn: turn(lease),
        news: lease.news.iter().map(|n| News { seq: n.seq, text: n.text.clone().into(), at_ms: n.at_ms }).collect(),
    })
}

/// How a ride drives its thread.
pub fn mode(lease: &Lease) -> Mode {
    if lease.claude.is_some() { Mode::Claude } else { Mode::Chat }
}

/// A chat ride's prompt that waits for the agent or is being answered.
pub fn turn(lease: &Lease) -> Option<Turn> {
    lease.said.as_ref().map(|said| Turn { id: said.id.clone(), state: say_state(said) })
}

/// Where a said prompt is.
pub(crate) fn say_state(said: &crate::thread::Said) -> SayState {
    if said.begun { SayState::Begun } else { SayState::Said }
}

/// Branches beside a conversation, as others see them.
pub fn sides(sides: &[crate::thread::Side]) -> Vec<Side> {
    sides
        .iter()
        .map(|side| Side { leaf: side.leaf, prompts: side.prompts, last_prompt: side.last_prompt.as_str().into() })
        .collect()
}

/// Everything a person may ask about a thread.
pub fn status(t: &Thread, now: Now, rules: &Rules) -> ThreadStatus {
    let lease = t.lease();
    ThreadStatus {
        key: t.key.session.clone(),
        phase: t.phase_name().into(),
        epoch: t.epoch,
        fence: lease.map(|l| l.fence.to_string()),
        holder: holder(t, now, rules),
        process: lease.map(|l| l.driver.process.clone()),
        claude: lease.and_then(|l| l.process.clone()),
        cli_session_id: t.claude(),
        mode: lease.map(mode),
        copy: lease.is_some_and(|l| l.copy.is_some()),
        inbox: t.inbox.len() as u32,
        outbox: t.outbox.len() as u32,
        undelivered: t.undelivered(),
        former: t.former.as_ref().map(|former| former.id),
        waiting_for: waiting_for(t).map(Into::into),
        journal: t.journal.iter().cloned().map(Into::into).collect(),
        open: open(t),
    }
}

/// The terminals that have its Claude session open, outside any ride.
pub fn open(t: &Thread) -> Vec<crate::wire::Terminal> {
    let terminals = t.opened.iter().flat_map(|opened| &opened.terminals);
    let shown = |terminal: &crate::thread::Terminal| crate::wire::Terminal {
        host: terminal.host.clone().into(),
        process: terminal.process.clone(),
        since_ms: terminal.since_ms,
    };
    terminals.map(shown).collect()
}

/// A thread whose state file is not read, and stays closed; `key` tells which one it is.
pub fn unreadable(key: &str, why: &str) -> ThreadStatus {
    ThreadStatus {
        key: key.into(),
        phase: UNREADABLE.into(),
        epoch: 0,
        fence: None,
        holder: None,
        process: None,
        claude: None,
        cli_session_id: None,
        mode: None,
        copy: false,
        inbox: 0,
        outbox: 0,
        undelivered: 0,
        former: None,
        waiting_for: Some(why.into()),
        journal: Vec::new(),
        open: Vec::new(),
    }
}

/// The phase of a thread whose state file is not read.
pub const UNREADABLE: &str = "unreadable";

/// What the sender of a message to such a thread is told.
pub const UNREADABLE_SAID: &str = "⇄ The state of this thread is of another version of claude-code-sync and cannot be read, \
    so your message was not handled. Whoever runs the gateway can see why with `ride doctor`.";

/// The answer to `/ride` in the chat: who rides, for how long, what waits. `behind` is
/// who rides the thread's Claude session through another thread.
pub fn in_chat(t: Option<&Thread>, behind: Option<&Holder>, now: Now, rules: &Rules) -> String {
    let waiting = match t.map_or(0, |t| t.inbox.len()) {
        0 => String::new(),
        1 => " 1 message waits.".into(),
        n => format!(" {n} messages wait."),
    };
    let own = t.and_then(|t| keeper(t, now, rules));
    let behind = behind.or(own.as_ref().filter(|keeper| in_terminal(keeper)));
    let holder = own.clone().filter(|keeper| !in_terminal(keeper));
    let state = match (holder, behind) {
        (Some(h), _) => {
            let since = so_long(now.wall_ms.saturating_sub(h.since_ms));
            let by = who(&h);
            let state = match h.phase.raw() {
                "claiming" => format!("{by} is taking this thread over"),
                "leaving" => format!("This thread is coming back from {by}"),
                _ => format!("{by} has been riding this thread from a terminal for {since}"),
            };
            h.waiting_for.map_or_else(|| state.clone(), |what| format!("{state}: {what}"))
        }
        (None, Some(h)) if in_terminal(h) => {
            let since = so_long(now.wall_ms.saturating_sub(h.since_ms));
            format!(
                "The conversation of this thread has been open in a terminal on {} for {since}, which is no ride",
                h.host
            )
        }
        (None, Some(h)) => format!("{} rides the Claude session of this thread through another thread", who(h)),
        (None, None) if waiting.is_empty() => "Nobody rides this thread".into(),
        (None, None) => "The messages that waited are being answered".into(),
    };
    format!("⇄ {state}.{waiting}")
}

/// The answer to `/unride` in the chat; who takes the thread back is told by a notice.
pub fn unridden(reply: &Reply) -> String {
    match reply {
        Reply::Refused { refusal: Refusal { hint: Some(hint), .. }, .. } => {
            format!("⇄ Nobody rides this thread; {}.", crate::plain::line(hint.raw()))
        }
        Reply::Refused { .. } => "⇄ Nobody rides this thread.".into(),
        _ => {
            "⇄ The driver is told. The agent goes on as soon as the terminal has closed; /ride tells what it waits for."
                .into()
        }
    }
}

/// A time in words, to the minute.
fn so_long(ms: u64) -> String {
    match ms / 60_000 {
        0 => "less than a minute".into(),
        1 => "1 minute".into(),
        minutes @ 2..60 => format!("{minutes} minutes"),
        minutes => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}
