//! The plugin's configuration: every key with its default, and what is allowed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;
use crate::person::{Allow, Rule};
use crate::rules::Rules;

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
    /// Who may ride what; everything the scope allows when absent.
    #[serde(skip_serializing_if = "is_absent")]
    pub ride_allow: Allow,
    /// Advice for the Remote Control unit.
    pub enable_remote_control: bool,
    /// Advice for the Remote Control unit.
    pub remote_control_spawn: RemoteControlSpawn,
    /// Where finished turns are mirrored; off when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_mirror_dir: Option<String>,
}

fn is_absent(allow: &Allow) -> bool {
    allow.0.is_none()
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lock_backend: LockBackend::File,
            lock_dir: "~/.openclaw/claude-code-locks".into(),
            ride_ttl_minutes: 30,
            relay_to_channel: true,
            ride_allow: Allow(None),
            enable_remote_control: false,
            remote_control_spawn: RemoteControlSpawn::SameDir,
            sync_mirror_dir: None,
        }
    }
}

/// The keys, in the order people are told them.
pub const KEYS: [&str; 8] = [
    "lockBackend",
    "lockDir",
    "rideTtlMinutes",
    "relayToChannel",
    "rideAllow",
    "enableRemoteControl",
    "remoteControlSpawn",
    "syncMirrorDir",
];

impl Config {
    /// Reads what can be used of a configuration, with defaults in the place of the rest, and
    /// the first error: it names the key, the value and what is allowed.
    pub fn salvage(json: &str) -> (Self, Option<String>) {
        let mut config = Config::default();
        let given = match serde_json::from_str(json) {
            Ok(Value::Object(given)) => given,
            Ok(value) => {
                return (
                    config,
                    Some(format!("the plugin's config is {value}; allowed is an object of {}", KEYS.join(", "))),
                );
            }
            Err(e) => return (config, Some(format!("the plugin's config is no JSON: {e}"))),
        };
        let mut error = None;
        for (key, value) in &given {
            if let Err(allowed) = config.set(key, value) {
                error.get_or_insert_with(|| match allowed {
                    None => format!("{key} is no key of the plugin's config; allowed are {}", KEYS.join(", ")),
                    Some(allowed) => format!("{key} is {}; allowed {allowed}", shown(value)),
                });
            }
        }
        (config, error)
    }

    /// Sets one key; the error is what is allowed, or `None` where there is no such key.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), Option<String>> {
        match key {
            "lockBackend" => self.lock_backend = one_of(value, "are \"file\" and \"none\"")?,
            "lockDir" => self.lock_dir = folder(value)?,
            "rideTtlMinutes" => {
                let minutes = value.as_u64().and_then(|m| u32::try_from(m).ok()).filter(|m| (1..=1440).contains(m));
                self.ride_ttl_minutes = minutes.ok_or_else(|| Some("are whole numbers from 1 to 1440".into()))?;
            }
            "relayToChannel" => self.relay_to_channel = one_of(value, "are true and false")?,
            "rideAllow" => self.ride_allow = rules(value)?,
            "enableRemoteControl" => self.enable_remote_control = one_of(value, "are true and false")?,
            "remoteControlSpawn" => {
                self.remote_control_spawn = one_of(value, "are \"same-dir\", \"worktree\" and \"session\"")?
            }
            "syncMirrorDir" => self.sync_mirror_dir = Some(folder(value)?),
            _ => return Err(None),
        }
        Ok(())
    }

    /// What the decisions depend on.
    pub fn rules(&self) -> Rules {
        Rules {
            silence_ms: u64::from(self.ride_ttl_minutes) * 60_000,
            relay: self.relay_to_channel,
            ..Rules::default()
        }
    }
}

fn one_of<T: DeserializeOwned>(value: &Value, allowed: &str) -> Result<T, Option<String>> {
    serde_json::from_value(value.clone()).map_err(|_| Some(allowed.into()))
}

fn folder(value: &Value) -> Result<String, Option<String>> {
    let path = value.as_str().filter(|p| p.starts_with('/') || p.starts_with("~/"));
    path.map(str::to_owned).ok_or_else(|| Some("is an absolute path, or one that begins with ~/".into()))
}

fn rules(value: &Value) -> Result<Allow, Option<String>> {
    let (rules, patterns, characters) = limits::ALLOW;
    let allowed = format!(
        "is a list of at most {rules} rules {{\"threads\": [patterns], \"channels\": [names], \"people\": [patterns], \"projects\": [patterns]}}"
    );
    let allow: Vec<Rule> = serde_json::from_value(value.clone()).map_err(|e| Some(format!("{allowed}: {e}")))?;
    let fits = |list: &Vec<String>| {
        list.len() <= patterns && list.iter().all(|p| (1..=characters).contains(&p.chars().count()))
    };
    let fit =
        |rule: &Rule| [&rule.threads, &rule.channels, &rule.people, &rule.projects].into_iter().flatten().all(fits);
    if allow.len() > rules || !allow.iter().all(fit) {
        return Err(Some(format!("{allowed}, each with at most {patterns} patterns of 1 to {characters} characters")));
    }
    Ok(Allow(Some(allow)))
}

/// A value as it was written, cut where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(limits::NAME_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
