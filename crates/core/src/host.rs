//! A host's session entry as the shell projects it, and what it means here.
//!
//! Wire side: lenient, both store shapes (`delivery.context` from 2026.8.1 on;
//! `deliveryContext` and `last*` before). `origin` is never used for the route:
//! one Control UI turn rewrites it.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::id::Route;
use crate::thread::Thread;
use crate::time::Now;
use crate::view;
use crate::wire::{Mode, Row};

/// One entry with its key, as the shell hands it over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostEntry {
    /// Session key.
    pub key: String,
    /// Agent.
    pub agent_id: String,
    /// The entry's fields.
    pub entry: EntryFields,
}

/// The fields read, by their names on the host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryFields {
    chat_type: Option<String>,
    channel: Option<String>,
    group_id: Option<String>,
    subject: Option<String>,
    topic_name: Option<String>,
    display_name: Option<String>,
    label: Option<String>,
    delivery: Option<Delivery>,
    delivery_context: Option<Context>,
    last_channel: Option<String>,
    last_to: Option<String>,
    last_account_id: Option<String>,
    last_thread_id: Option<Value>,
    origin: Option<Origin>,
    last_interaction_at: Option<u64>,
    updated_at: Option<u64>,
    archived_at: Option<u64>,
    cli_session_bindings: Option<Value>,
    cli_session_ids: Option<Value>,
    claude_cli_session_id: Option<String>,
    spawned_cwd: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Delivery {
    context: Option<Context>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    channel: Option<String>,
    to: Option<String>,
    account_id: Option<String>,
    thread_id: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Origin {
    label: Option<String>,
}

/// Internal surfaces are not channels.
const WEBCHAT: &str = "webchat";

impl EntryFields {
    /// The stored delivery route, where there is one to a channel.
    pub fn route(&self) -> Option<Route> {
        let last = Context {
            channel: self.last_channel.clone(),
            to: self.last_to.clone(),
            account_id: self.last_account_id.clone(),
            thread_id: self.last_thread_id.clone(),
        };
        let stored = self.delivery.as_ref().and_then(|d| d.context.clone());
        let context = stored.or_else(|| self.delivery_context.clone()).unwrap_or(last);
        let channel = context.channel.filter(|c| c != WEBCHAT)?;
        let thread_id = context.thread_id.and_then(|id| match id {
            Value::String(s) => Some(s),
            Value::Number(n) => Some(n.to_string()),
            _ => None,
        });
        Some(Route { channel, to: context.to?, account_id: context.account_id, thread_id })
    }

    /// The Claude session the entry is bound to.
    pub fn claude(&self) -> Option<Uuid> {
        let bound = self.cli_session_bindings.as_ref().and_then(|b| b.get("claude-cli")?.get("sessionId")?.as_str());
        let listed = self.cli_session_ids.as_ref().and_then(|i| i.get("claude-cli")?.as_str());
        bound.or(listed).or(self.claude_cli_session_id.as_deref()).and_then(|id| id.parse().ok())
    }

    /// The project folder, when the entry names one.
    pub fn cwd(&self) -> Option<&str> {
        self.spawned_cwd.as_deref()
    }

    fn title(&self, key: &str) -> String {
        let named = self.display_name.as_deref().filter(|n| !n.contains(":g-"));
        let subject = self.subject.as_deref();
        let label = self.origin.as_ref().and_then(|o| o.label.as_deref()).map(|l| l.split(" id:").next().unwrap_or(l));
        let thread = self.route().and_then(|r| r.thread_id);
        let topic = match (&self.topic_name, thread) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(id)) => Some(format!("topic {id}")),
            _ => None,
        };
        match (self.label.as_deref().or(subject), topic) {
            (Some(group), Some(topic)) => format!("{group} › {topic}"),
            (Some(group), None) => group.to_owned(),
            (None, _) => named.or(label).map_or_else(|| key.to_owned(), str::to_owned),
        }
    }
}

/// Whether several conversations share one gateway session: `agent:<id>:main`
/// holds all direct messages and the Control UI unless `dmScope` parts them.
pub fn shared(key: &str) -> bool {
    key.split(':').nth(2) == Some("main") && key.split(':').count() == 3
}

/// The row of `sessions_rideable` for an entry; `thread` is what we know of it.
pub fn row(host: &HostEntry, thread: Option<&Thread>, channels: &[String], now: Now, rules: &crate::step::Rules) -> Row {
    let e = &host.entry;
    let lease = thread.and_then(Thread::lease);
    let route = lease.map_or_else(|| e.route(), |l| l.route.clone());
    let claude = match lease {
        Some(lease) => lease.claude.as_ref().map(|c| c.id),
        None => e.claude(),
    };
    let relay_ready = route.as_ref().is_some_and(|r| channels.contains(&r.channel));
    let driver = thread.and_then(|t| view::holder(t, now, rules));
    let why_not = if let Some(holder) = &driver {
        Some(format!("ridden by {}", view::who(holder)))
    } else if e.archived_at.is_some() {
        Some("archived".into())
    } else if claude.is_none() && !relay_ready {
        Some("neither a Claude session behind it nor a channel to answer in".into())
    } else {
        None
    };
    let conversation_id = e.group_id.clone().or_else(|| {
        let route = route.as_ref()?;
        Some(route.to.strip_prefix(&format!("{}:", route.channel)).unwrap_or(&route.to).to_owned())
    });
    Row {
        channel: route.as_ref().map(|r| r.channel.clone()).or_else(|| e.channel.clone().filter(|c| c != WEBCHAT)),
        display_name: e.display_name.clone(),
        title: e.title(&host.key),
        conversation_id,
        cli_session_id: claude.map(|id| id.to_string()),
        echo_target: route,
        relay_ready,
        last_activity: e.last_interaction_at.or(e.updated_at),
        key: host.key.clone(),
        agent_id: host.agent_id.clone(),
        mode: match claude {
            Some(_) => Some(Mode::Claude),
            None => relay_ready.then_some(Mode::Chat),
        },
        rideable: why_not.is_none(),
        why_not,
        shared: shared(&host.key) && e.chat_type.as_deref() != Some("group"),
        driver,
        waiting: thread.map_or(0, |t| t.inbox.len() as u32),
    }
}

/// Whether a thread is worth a row: a conversation of people, not a cron or heartbeat run.
pub fn listed(host: &HostEntry) -> bool {
    let rest = host.key.splitn(3, ':').nth(2).unwrap_or("");
    !(rest.starts_with("cron:") || rest.contains(":slash:")) && (host.entry.claude().is_some() || host.entry.route().is_some())
}
