//! The plugin's configuration: every key with its default, and what is allowed.

use serde::{Deserialize, Serialize};

use crate::step::Rules;

/// Where thread values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockBackend {
    /// In files under `lockDir`.
    #[default]
    File,
    /// In the gateway's memory, lost when it restarts.
    None,
}

/// How a Remote Control server makes sessions; advice for the unit in `deploy/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteControlSpawn {
    /// In the server's folder.
    #[default]
    SameDir,
    /// In a git worktree each.
    Worktree,
    /// One session only.
    Session,
}

/// The configuration, as a person writes it under `plugins.entries.claude-code-sync.config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Where thread values are kept.
    pub lock_backend: LockBackend,
    /// Folder of the files; `~/` is the gateway user's home.
    pub lock_dir: String,
    /// Silence after which a ride ends, minutes, 1 to 1440.
    pub ride_ttl_minutes: u32,
    /// Whether prompts and answers of a ride are sent to the channel.
    pub relay_to_channel: bool,
    /// Advice for the Remote Control unit.
    pub enable_remote_control: bool,
    /// Advice for the Remote Control unit.
    pub remote_control_spawn: RemoteControlSpawn,
    /// Where finished turns are mirrored; off when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_mirror_dir: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lock_backend: LockBackend::File,
            lock_dir: "~/.openclaw/claude-code-locks".into(),
            ride_ttl_minutes: 30,
            relay_to_channel: true,
            enable_remote_control: false,
            remote_control_spawn: RemoteControlSpawn::SameDir,
            sync_mirror_dir: None,
        }
    }
}

impl Config {
    /// Reads a configuration; the error names the key and what is allowed.
    pub fn parse(json: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(json).map_err(|e| format!("could not read plugin config: {e}"))?;
        if !(1..=1440).contains(&config.ride_ttl_minutes) {
            return Err(format!("rideTtlMinutes is {}; allowed are 1 to 1440", config.ride_ttl_minutes));
        }
        if config.lock_dir.trim().is_empty() {
            return Err("lockDir is empty; give a folder".into());
        }
        Ok(config)
    }

    /// What the decisions depend on.
    pub fn rules(&self) -> Rules {
        Rules { silence_ms: u64::from(self.ride_ttl_minutes) * 60_000, relay: self.relay_to_channel, ..Rules::default() }
    }
}
