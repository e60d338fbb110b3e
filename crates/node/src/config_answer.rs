//! The answer of `ride_config`: the configuration in force, the plugin's version and
//! what it tells of itself.

use ride_core::config::Config;
use ride_core::plugin_report::Condition;
use ride_store::claude::process;
use ride_store::clock;
use serde::{Deserialize, Serialize};

use crate::sync::Sync;

/// What only the shell knows.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Seen {
    conversation_hooks: bool,
    performing: bool,
}

/// The configuration's keys stand beside these.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    config: Config,
    version: &'static str,
    condition: Condition,
}

pub(crate) fn report(sync: &Sync, seen: &Seen) -> Report {
    let unread = sync.store.refusals();
    let condition = Condition {
        conversation_hooks: seen.conversation_hooks,
        performing: seen.performing,
        machine: clock::machine(),
        namespace: process::namespace(),
        sees_whole_machine: process::sees_whole_machine(),
        uid: clock::user(),
        claude_dir: sync.claude_dir.to_string_lossy().into_owned(),
        claude_dir_found: sync.claude_dir.is_dir(),
        proof_dir: sync.proofs.as_ref().map(|proofs| proofs.path().to_string_lossy().into_owned()),
        now_ms: clock::now().wall_ms,
        unread: unread.as_ref().map_or(0, |all| all.len() as u32),
        trouble: unread.map_or_else(|e| Some(e.to_string()), |all| all.into_iter().next().map(|(_, why)| why)),
        mirror: sync.mirror.condition(sync.mirror_dir()),
    };
    Report { config: (*sync.config()).clone(), version: env!("CARGO_PKG_VERSION"), condition }
}
