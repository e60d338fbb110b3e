//! The names things go by. An id is compared for equality, never parsed for
//! meaning; what comes from outside is checked where it enters.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names a thread: one gateway's conversation that can be ridden.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadKey {
    /// The gateway's identity: its state folder, resolved.
    pub gateway: String,
    /// The host's session key, such as `agent:main:telegram:group:-100:topic:42`.
    pub session: String,
}

/// Proves one grant of a thread. Valid only as a whole, by equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    /// Changes when the thread's state was lost and begun anew.
    pub incarnation: Uuid,
    /// Grows by one per grant and never falls within an incarnation.
    pub epoch: u64,
    /// Drawn at random for this grant alone.
    pub grant: Uuid,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = |id: &Uuid| id.simple().to_string()[..8].to_owned();
        write!(f, "{}.{}.{}", head(&self.incarnation), self.epoch, head(&self.grant))
    }
}

/// Where a thread's messages go. Frozen in the lease; compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The host's channel id, such as `telegram`.
    pub channel: String,
    /// The host's address of the chat, such as `telegram:-100:topic:42`.
    pub to: String,
    /// The channel account that speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The topic, as the host writes it (a number or a string there).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
}

/// Names a process for good: a pid alone is reused, and counts only within its pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// The machine it runs on (machine id and boot id together).
    pub machine: String,
    /// The namespaces that `pid` and `start` count in, such as `pid:[4026531836] time:[4026531834]`.
    /// Two containers may have one machine name, and then differ in this alone. `None` where
    /// nobody wrote it down (older states and drivers): then it is unknown, and equal to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    pub start: u64,
}
