//! What the probe plugin noted, as it writes it (`crates/testkit/probe-plugin/index.js`).

use serde::Deserialize;
use serde_json::{Map, Value};

/// One note.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    /// Its place in the log.
    pub(super) n: u64,
    /// When, by the gateway's clock in milliseconds.
    pub(super) t: i64,
    /// `hook`, `held`, `handover`, `transcript`, `agentEvent`, …
    pub(super) kind: String,
    /// Of a hook: its name.
    #[serde(default)]
    pub(super) hook: String,
    /// Of a hook: the hand-over it runs in, by AsyncLocalStorage.
    #[serde(default)]
    pub(super) handover: Value,
    /// Of a hook: what message_received of the same message left in AsyncLocalStorage.
    #[serde(default)]
    pub(super) flow: Value,
    /// The host's event.
    #[serde(default)]
    pub(super) event: Value,
    /// Of a hook: the host's context.
    #[serde(default)]
    pub(super) ctx: Value,
    /// Whatever else this kind has.
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Entry {
    /// Whether it is this hook of this thread.
    pub(super) fn is_hook(&self, name: &str, key: &str) -> bool {
        self.hook == name && (self.event["sessionKey"] == key || self.ctx["sessionKey"] == key)
    }

    /// Whether it is a transcript row of this role in this thread.
    pub(super) fn is_row(&self, role: &str, key: &str) -> bool {
        self.kind == "transcript" && self.event["sessionKey"] == key && self.event["message"]["role"] == role
    }

    /// Whether it is a phase of an agent run's life in this thread.
    pub(super) fn is_lifecycle(&self, phase: &str, key: &str) -> bool {
        self.kind == "agentEvent"
            && self.event["stream"] == "lifecycle"
            && self.event["data"]["phase"] == phase
            && self.event["sessionKey"] == key
    }
}

/// Finds the first of these notes.
pub(super) fn first(entries: &[Entry], wanted: impl Fn(&Entry) -> bool) -> Option<&Entry> {
    entries.iter().find(|entry| wanted(entry))
}

/// The field names of an object.
pub(super) fn fields(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect()
}
