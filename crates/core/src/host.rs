//! A host's session entry as the shell projects it, and what of it is kept.
//!
//! Wire side: lenient, both store shapes (`delivery.context` from 2026.8.1 on;
//! `deliveryContext` and `last*` before). `origin` is never used for the route:
//! one Control UI turn rewrites it. [`Entry`] is the other side: compact, since
//! the index holds one for each of the host's sessions.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::id::Route;

/// One entry with its key, as the shell or the lister hands it over.
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
    visibility: Option<String>,
    incognito: Option<bool>,
    created_actor: Option<Actor>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "type")]
    kind: String,
    source: String,
    id: String,
}

/// What is kept of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Session key.
    pub key: String,
    /// Agent.
    pub agent_id: String,
    /// `direct`, `group` or `channel`, where the host says so.
    pub chat_type: Option<String>,
    /// The channel, also where no route is stored.
    pub channel: Option<String>,
    /// The chat and topic within it.
    pub group_id: Option<String>,
    /// The host's own name.
    pub display_name: Option<String>,
    /// What a person called it.
    pub label: Option<String>,
    /// The group.
    pub subject: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// Who or what writes there, as the channel calls them.
    pub origin: Option<String>,
    /// The stored delivery route.
    pub route: Option<Route>,
    /// The Claude session it is bound to.
    pub claude: Option<Uuid>,
    /// Its project folder, where the entry names one.
    pub cwd: Option<String>,
    /// Last activity, milliseconds since 1970.
    pub last_activity: Option<u64>,
    /// Put away.
    pub archived: bool,
    /// For whom it is, where the host has such rules.
    pub sharing: Sharing,
    /// The profile that made it.
    pub creator: Option<String>,
}

/// The host's own rule of who may look into a session, and write there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Everybody may look; its creator and members write.
    Look,
    /// Its creator only.
    Hidden,
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
}

impl From<HostEntry> for Entry {
    fn from(host: HostEntry) -> Self {
        let (route, claude) = (host.entry.route(), host.entry.claude());
        let e = host.entry;
        let sharing = match (e.incognito, e.visibility.as_deref()) {
            (Some(true), _) | (_, Some("draft")) => Sharing::Hidden,
            (_, None | Some("shared")) => Sharing::Shared,
            // "read-only", "suggest", and whatever a later host adds.
            _ => Sharing::Look,
        };
        Entry {
            key: host.key,
            agent_id: host.agent_id,
            chat_type: e.chat_type,
            channel: route.as_ref().map(|r| r.channel.clone()).or(e.channel).filter(|c| c != WEBCHAT),
            group_id: e.group_id,
            display_name: e.display_name,
            label: e.label,
            subject: e.subject,
            topic: e.topic_name,
            origin: e.origin.and_then(|o| o.label),
            route,
            claude,
            cwd: e.spawned_cwd,
            last_activity: e.last_interaction_at.or(e.updated_at),
            archived: e.archived_at.is_some(),
            sharing,
            creator: e.created_actor.filter(|a| a.kind == "human" && a.source == "profile").map(|a| a.id),
        }
    }
}

/// A channel as the host is configured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Channel {
    /// Its id.
    pub id: String,
    /// Its plugin and the channel itself are switched on.
    pub enabled: bool,
    /// Accounts that are named in the configuration, and whether each is switched on.
    pub accounts: std::collections::BTreeMap<String, bool>,
}
