//! What the plugin tells of itself to `ride doctor`: part of the answer of
//! `ride_config`. Nothing is judged here; the doctor does that.

use serde::{Deserialize, Serialize};

/// How the plugin is, on its gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Whether the host let it register the hooks that see conversations
    /// (`hooks.allowConversationAccess`): they keep heartbeats and cron runs out of a ride.
    #[serde(default)]
    pub conversation_hooks: bool,
    /// Whether its service runs and carries out what the threads need.
    #[serde(default)]
    pub performing: bool,
    /// The gateway's machine and boot.
    pub machine: String,
    /// The namespaces that the gateway counts process ids in; absent where it cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the gateway sees every process of its machine; in a container it does not.
    #[serde(default)]
    pub sees_whole_machine: bool,
    /// The user the gateway runs as.
    pub uid: u32,
    /// The Claude configuration folder that is ridden from.
    pub claude_dir: String,
    /// Whether that folder is there.
    pub claude_dir_found: bool,
    /// Where a client of this machine shows that it is the gateway's own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_dir: Option<String>,
    /// The gateway's clock, milliseconds since 1970.
    pub now_ms: u64,
    /// State files that are not read: their threads stay closed.
    #[serde(default)]
    pub unread: u32,
    /// Why the index of threads, or the first of those files, cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The mirror of finished turns; absent where none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// How the mirror is, since the plugin was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Its folder.
    pub dir: String,
    /// Threads whose Claude session is mirrored.
    pub threads: u32,
    /// When something was mirrored last, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored_ms: Option<u64>,
    /// How many of them could not be mirrored when it was tried last.
    #[serde(default)]
    pub failing: u32,
    /// Why the first of those could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
