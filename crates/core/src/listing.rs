//! A thread as `sessions_rideable` lists it: its title, whether and how it can be
//! ridden, and why not.
//!
//! Invariant: a row that says `rideable` has a way to be driven: a Claude session
//! whose transcript is there, or a channel that takes what is relayed. Deliberately
//! absent: what changes between the listing and a claim; claim looks afresh.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::host::{Channel, Entry};
use crate::id::Route;
use crate::person::{Allow, Person};
use crate::rules::Rules;
use crate::thread::Thread;
use crate::time::Now;
use crate::view;
use crate::wire::{Mode, Row};

/// What a row depends on beside its entry.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The configured channels.
    pub channels: &'a [Channel],
    /// Claude sessions whose transcript is on this machine.
    pub transcripts: &'a HashSet<Uuid>,
    /// Claude sessions that a process has open which is not the gateway's.
    pub in_use: &'a HashMap<Uuid, u32>,
    /// Who asks.
    pub person: &'a Person,
    /// `rideAllow`.
    pub allow: &'a Allow,
    /// Now.
    pub now: Now,
    /// Times.
    pub rules: &'a Rules,
}

/// The row for an entry; `thread` is what we know of it.
pub fn row(e: &Entry, thread: Option<&Thread>, around: &Around<'_>) -> Row {
    let lease = thread.and_then(Thread::lease);
    let route = lease.map_or_else(|| e.route.clone(), |l| l.route.clone());
    let claude = match lease {
        Some(lease) => lease.claude.as_ref().map(|c| c.id),
        None => e.claude,
    };
    let relay = relay_ready(route.as_ref(), around.channels);
    let resumable = claude.is_some_and(|id| around.transcripts.contains(&id));
    let mode = match (claude, &relay) {
        (Some(_), _) => resumable.then_some(Mode::Claude),
        (None, Ok(())) => Some(Mode::Chat),
        (None, Err(_)) => None,
    };
    let driver = thread.and_then(|t| view::holder(t, around.now, around.rules));
    let in_use = claude.filter(|_| driver.is_none()).and_then(|id| around.in_use.get(&id)).copied();
    let open = thread.filter(|_| driver.is_none()).map(view::open).unwrap_or_default();
    let title = title(e, around.channels);
    let why_not = if let Some(holder) = &driver {
        Some(format!("ridden by {}", view::who(holder)))
    } else if e.archived {
        Some("archived".into())
    } else if let Err(refused) = around.person.may_ride(e, around.allow) {
        Some(refused)
    } else if let Some(terminal) = open.first() {
        Some(format!(
            "its Claude session is open in a terminal on {} (process {}), which is not a ride",
            terminal.host, terminal.process.pid
        ))
    } else if let Some(pid) = in_use {
        Some(format!("its Claude session is open in a Claude Code on the gateway's machine (process {pid})"))
    } else {
        match (mode, claude, &relay) {
            (Some(_), ..) => None,
            // A chat ride would start a new Claude session. Only a message of the channel may do that.
            (None, Some(_), _) => Some("the transcript of its Claude session is not on the gateway's machine: its next message in the chat begins a new one".into()),
            (None, None, Err(relay)) => Some(format!("no Claude session behind it, and {relay}")),
            (None, None, Ok(())) => Some("nothing to drive it by".into()),
        }
    };
    let conversation_id = e.group_id.clone().or_else(|| {
        let route = route.as_ref()?;
        Some(route.to.strip_prefix(&format!("{}:", route.channel)).unwrap_or(&route.to).to_owned())
    });
    Row {
        channel: route.as_ref().map(|r| r.channel.clone()).or_else(|| e.channel.clone()).map(Into::into),
        display_name: e.display_name.clone().map(Into::into),
        title: title.into(),
        conversation_id,
        cli_session_id: claude.map(|id| id.to_string()),
        echo_target: route,
        relay_ready: relay.is_ok(),
        last_activity: e.last_activity,
        key: e.key.clone(),
        agent_id: e.agent_id.clone(),
        rideable: why_not.is_none(),
        why_not: why_not.map(Into::into),
        in_use,
        mode,
        shared: shared(&e.key, around.channels) && e.chat_type.as_deref() != Some("group"),
        driver,
        waiting: thread.map_or(0, |t| t.inbox.len() as u32),
        open,
    }
}

/// The entry of a thread the host no longer has: what its lease remembers.
pub fn remembered(thread: &Thread) -> Entry {
    let key = thread.key.session.clone();
    let lease = thread.lease();
    Entry {
        agent_id: agent_of(&key).into(),
        label: lease.map(|l| l.title.clone()),
        route: lease.and_then(|l| l.route.clone()),
        claude: lease.and_then(|l| l.claude.as_ref()).map(|c| c.id),
        last_activity: lease.map(|l| l.since_ms),
        key,
        ..Entry::default()
    }
}

/// The agent of a session key.
pub fn agent_of(key: &str) -> &str {
    let mut parts = key.split(':');
    match (parts.next(), parts.next()) {
        (Some("agent"), Some(agent)) if !agent.is_empty() => agent,
        _ => "main",
    }
}

/// Whether the channel takes what is relayed; in words why it does not.
pub fn relay_ready(route: Option<&Route>, channels: &[Channel]) -> Result<(), String> {
    let Some(route) = route else { return Err("no channel route is stored for it: write in the thread first".into()) };
    let Some(channel) = channels.iter().find(|c| c.id == route.channel) else {
        return Err(format!("its channel {} is not configured", route.channel));
    };
    if !channel.enabled {
        return Err(format!("its channel {} is switched off", route.channel));
    }
    match route.account_id.as_deref() {
        None => Ok(()),
        Some(account) => match channel.accounts.get(account) {
            Some(true) => Ok(()),
            Some(false) => Err(format!("its account {account} of {} is switched off", route.channel)),
            // The account of a channel that names none.
            None if account == DEFAULT_ACCOUNT => Ok(()),
            None => Err(format!("its account {account} of {} is not configured", route.channel)),
        },
    }
}

const DEFAULT_ACCOUNT: &str = "default";

/// Session kinds that are no conversation with people.
const MACHINE_MADE: [&str; 5] = ["cron", "subagent", "hook", "heartbeat", "slash"];

/// Whether an entry is a thread: a conversation of people with something to drive it by.
pub fn listed(e: &Entry) -> bool {
    let rest = e.key.splitn(3, ':').nth(2).unwrap_or("");
    !e.archived
        && !rest.split(':').any(|part| MACHINE_MADE.contains(&part))
        && (e.claude.is_some() || e.route.is_some())
}

/// Whether several conversations share one gateway session. By `dmScope`:
///
/// | `dmScope` | key after `agent:<id>:` | shares |
/// |---|---|---|
/// | `main` | `main`, or what `mainKey` says | all direct messages and the Control UI |
/// | `per-peer` | `direct:<person>` | that person's messages on every channel |
/// | `per-channel-peer` | `<channel>:direct:<person>` | those to the channel's several accounts |
/// | `per-account-channel-peer` | `<channel>:<account>:direct:<person>` | nothing |
pub fn shared(key: &str, channels: &[Channel]) -> bool {
    let parts: Vec<&str> = key.split(':').collect();
    match parts.as_slice() {
        ["agent", _, _] | ["global"] | ["agent", _, "direct" | "dm", ..] => true,
        ["agent", _, channel, "direct" | "dm", ..] => several_accounts(channel, channels),
        _ => false,
    }
}

fn several_accounts(channel: &str, channels: &[Channel]) -> bool {
    channels.iter().any(|c| c.id == channel && c.accounts.values().filter(|on| **on).count() > 1)
}

/// A title a person recognises: what it was labelled, the group with its topic, or who writes there.
fn title(e: &Entry, channels: &[Channel]) -> String {
    // `telegram:g-lab-forum` is made from the group's name, not for people.
    let named = e.display_name.as_deref().filter(|n| !n.contains(":g-"));
    // `Tess Ter (@tess) id:1001`
    let who = e.origin.as_deref().map(|o| o.split(" id:").next().unwrap_or(o)).filter(|o| !o.is_empty());
    let direct = e.chat_type.as_deref() == Some("direct");
    let conversation =
        e.label.as_deref().or(e.subject.as_deref()).or(if direct { who.or(named) } else { named.or(who) });
    let Some(conversation) = conversation else { return e.key.clone() };
    let thread = e.route.as_ref().and_then(|r| r.thread_id.as_deref());
    let topic = e.topic.clone().or_else(|| thread.map(|id| format!("topic {id}")));
    let mut title = match topic {
        Some(topic) if e.label.is_none() => format!("{conversation} › {topic}"),
        _ => conversation.to_owned(),
    };
    if let Some(Route { channel, account_id: Some(account), .. }) = &e.route
        && several_accounts(channel, channels)
    {
        title.push_str(&format!(" ({account})"));
    }
    title
}
