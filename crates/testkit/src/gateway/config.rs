//! The gateway's configuration per version family, and the shim through which
//! it reaches the real Claude Code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::anthropic::{API_KEY, Anthropic};
use crate::claude;
use crate::error::{Doing, Result};
use crate::telegram::{BOT_TOKEN, Telegram};

/// What differs between OpenClaw versions, as far as a test must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// 2026.6 and 2026.7: sessions in JSON, Claude Code as its own model provider.
    Mid2026,
    /// 2026.8 and later: sessions in SQLite, Claude Code as an agent runtime.
    Late2026,
}

impl Family {
    /// Tells the family of a version like `2026.9.6`.
    pub fn of(version: &str) -> Self {
        let month = version.split('.').nth(1).and_then(|month| month.parse::<u32>().ok());
        if month.is_some_and(|month| month < 8) { Self::Mid2026 } else { Self::Late2026 }
    }
}

pub(super) struct Inputs<'a> {
    pub(super) family: Family,
    pub(super) port: u16,
    pub(super) token: &'a str,
    pub(super) telegram: &'a Telegram,
    pub(super) workspace: &'a Path,
    pub(super) shim: &'a Path,
    pub(super) state: &'a Path,
    pub(super) allowed: &'a [i64],
}

/// Gives the configuration before plugins and the test's own additions.
pub(super) fn base(inputs: &Inputs<'_>) -> Value {
    let allowed: Vec<String> = inputs.allowed.iter().map(i64::to_string).collect();
    let mut config = json!({
        "gateway": {
            "mode": "local", "bind": "loopback", "port": inputs.port,
            "auth": { "mode": "token", "token": inputs.token },
            "controlUi": { "enabled": false }, "tailscale": { "mode": "off" } },
        // Nothing may leave loopback.
        "discovery": { "mdns": { "mode": "off" } },
        "update": { "checkOnStart": false },
        "agents": { "defaults": { "workspace": inputs.workspace, "skipBootstrap": true, "heartbeat": { "every": "0m" } } },
        "channels": { "telegram": {
            "enabled": true, "botToken": BOT_TOKEN, "apiRoot": inputs.telegram.api_root(),
            "dmPolicy": "allowlist", "allowFrom": allowed,
            "groupPolicy": "allowlist", "groupAllowFrom": allowed,
            "groups": { "*": { "requireMention": false } } } },
        "plugins": { "allow": ["anthropic", "telegram"], "entries": { "telegram": { "enabled": true }, "anthropic": { "enabled": true } } },
        "logging": { "level": "debug", "file": inputs.state.join("gateway.log.jsonl") },
    });
    let defaults = &mut config["agents"]["defaults"];
    match inputs.family {
        Family::Late2026 => {
            let model = "anthropic/claude-sonnet-5";
            defaults["model"] = model.into();
            defaults["models"] = json!({ model: { "agentRuntime": { "id": "claude-cli" } } });
        }
        Family::Mid2026 => {
            let model = "claude-cli/claude-sonnet-4-6";
            defaults["model"] = json!({ "primary": model });
            defaults["models"] = json!({ model: {} });
            // Prices come from the network here; later versions ship them and refuse the key.
            config["models"] = json!({ "pricing": { "enabled": false } });
            let defaults = &mut config["agents"]["defaults"];
            defaults["cliBackends"] = json!({ "claude-cli": { "command": inputs.shim } });
        }
    }
    config
}

/// Has these chats answered by the host's own (embedded) runner, without Claude Code.
pub fn plain_chats(family: Family, anthropic: &Anthropic, chats: &[i64]) -> Value {
    // A name that the model on Claude Code does not have: 2026.8.2 tells their runtimes apart by it.
    let model = "stand-in/plain-1";
    let runtime = match family {
        Family::Late2026 => json!({ "agentRuntime": { "id": "openclaw" } }),
        Family::Mid2026 => json!({}),
    };
    let by_chat: Map<String, Value> = chats.iter().map(|chat| (chat.to_string(), model.into())).collect();
    // Installing a plugin turns the models that were listed into the only ones allowed,
    // and one named for a chat is then passed over without a word.
    let agents = match family {
        Family::Late2026 => json!({ "agents": { "defaults": { "modelPolicy": { "allow": [] } } } }),
        Family::Mid2026 => json!({}),
    };
    let mut config = json!({
        "agents": { "defaults": { "models": { model: runtime } } },
        "channels": { "modelByChannel": { "telegram": by_chat } },
        "models": { "mode": "merge", "providers": { "stand-in": {
            "baseUrl": anthropic.base_url(), "apiKey": API_KEY, "api": "anthropic-messages",
            "models": [{
                "id": "plain-1", "name": "Stand-in", "reasoning": false, "input": ["text"],
                "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
                "contextWindow": 200_000, "maxTokens": 32_000 }] } } },
    });
    merge(&mut config, &agents);
    config
}

/// Merges objects key by key; `null` removes, everything else replaces what was there.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.remove(name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Writes the `claude` that the gateway finds first on its PATH: the gateway strips
/// `ANTHROPIC_*` from the child, so this sets them again and becomes the real program.
pub(crate) fn write_shim(shim: &Path, claude_code: &Path, anthropic: &Anthropic, config_dir: &Path) -> Result<()> {
    let mut script = "#!/bin/sh\n".to_owned();
    for (name, value) in claude::environment(anthropic, config_dir) {
        script.push_str(&format!("export {name}='{value}'\n"));
    }
    script.push_str(&format!("exec '{}' \"$@\"\n", claude_code.display()));
    fs::write(shim, script).doing(|| format!("write {}", shim.display()))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(shim, executable).doing(|| format!("make {} executable", shim.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_replaces_leaves_and_keeps_the_rest() {
        let mut config = json!({ "a": { "b": 1, "c": [1, 2] }, "d": 4 });
        merge(&mut config, &json!({ "a": { "c": [3] }, "e": { "f": 5 } }));
        assert_eq!(config, json!({ "a": { "b": 1, "c": [3] }, "d": 4, "e": { "f": 5 } }));
    }

    #[test]
    fn families_by_month() {
        let check = |version: &str, family: Family| assert_eq!(Family::of(version), family, "{version}");
        check("2026.6.1", Family::Mid2026);
        check("2026.7.35", Family::Mid2026);
        check("2026.8.2", Family::Late2026);
        check("2026.10.1", Family::Late2026);
    }
}
