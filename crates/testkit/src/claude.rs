//! The real Claude Code, with a private configuration and the loopback model.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::anthropic::{API_KEY, Anthropic};
use crate::error::{Doing, Error, Result};
use crate::peers::Peer;
use crate::pty::{Program, Terminal};

/// How long Claude Code may take to draw its prompt on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Writes a configuration with which Claude Code asks nothing at start: onboarding
/// done, `folders` trusted, the default permission mode.
///
/// Files that exist are kept and only what is missing for this is set.
pub fn seed_config(config_dir: &Path, folders: &[&Path]) -> Result<()> {
    fs::create_dir_all(config_dir).doing(|| format!("create {}", config_dir.display()))?;
    update_json(&config_dir.join(".claude.json"), |config| {
        config["hasCompletedOnboarding"] = true.into();
        // Offered on some starts, over the prompt.
        config["hasSeenAutoDefaultNudge"] = true.into();
        config["lastOnboardingVersion"] = Peer::newest_claude_code().version().into();
        config["theme"] = "dark".into();
        for folder in folders {
            // Claude Code names projects by their real path.
            let real = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
            let project = &mut config["projects"][real.to_string_lossy().as_ref()];
            project["hasTrustDialogAccepted"] = true.into();
            project["hasCompletedProjectOnboarding"] = true.into();
        }
    })?;
    // The default mode is now "auto", whose classifier a custom base URL lacks.
    update_json(&config_dir.join("settings.json"), |settings| settings["permissions"]["defaultMode"] = "default".into())
}

fn update_json(path: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut value = match fs::read(path) {
        Ok(raw) => serde_json::from_slice(&raw)
            .map_err(|cause| Error::Malformed { what: path.display().to_string(), cause: cause.to_string() })?,
        Err(_) => json!({}),
    };
    change(&mut value);
    fs::write(path, value.to_string()).doing(|| format!("write {}", path.display()))
}

/// Gives the environment that points Claude Code at the stand-in and keeps it off the network.
pub fn environment(anthropic: &Anthropic, config_dir: &Path) -> Vec<(String, String)> {
    let set = [
        ("ANTHROPIC_BASE_URL", anthropic.base_url()),
        // A key would have to be approved in a file that several Claude Codes write: beside
        // the gateway's own, one was now and then "not logged in".
        ("ANTHROPIC_AUTH_TOKEN", API_KEY.into()),
        ("CLAUDE_CONFIG_DIR", config_dir.display().to_string()),
        // Else it is the machine's /tmp, where files of a test would stay.
        ("CLAUDE_CODE_TMPDIR", config_dir.join("tmp").display().to_string()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
        ("DISABLE_AUTOUPDATER", "1".into()),
        ("DISABLE_TELEMETRY", "1".into()),
        // Some gateways ask for bypassed permissions, which Claude Code refuses to root outside a sandbox.
        ("IS_SANDBOX", "1".into()),
    ];
    set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The real Claude Code, ready to be started in a terminal.
#[derive(Clone, Debug)]
pub struct ClaudeCode {
    program: Program,
}

impl ClaudeCode {
    /// Prepares the newest pinned version in `cwd`, with `home` as the private home (configuration in `home/.claude`).
    pub async fn newest(anthropic: &Anthropic, home: &Path, cwd: &Path) -> Result<Self> {
        Self::version(Peer::newest_claude_code(), anthropic, home, cwd).await
    }

    /// Prepares a chosen version.
    pub async fn version(peer: Peer, anthropic: &Anthropic, home: &Path, cwd: &Path) -> Result<Self> {
        let config_dir = home.join(".claude");
        seed_config(&config_dir, &[cwd])?;
        let mut program = Program::new(peer.fetched().await?, cwd)
            .env("HOME", home)
            .env("SHELL", "/bin/sh")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        for (name, value) in environment(anthropic, &config_dir) {
            program = program.env(name, value);
        }
        Ok(Self { program })
    }

    /// Adds arguments.
    pub fn args<A: Into<std::ffi::OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.program = self.program.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<std::ffi::OsString>, value: impl Into<std::ffi::OsString>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// Starts it and waits until its prompt takes input.
    pub async fn start(self) -> Result<Terminal> {
        let terminal = self.program.start()?;
        terminal.wait_for(START_DEADLINE, shows_prompt).await?;
        Ok(terminal)
    }

    /// Starts it without waiting, for what asks something first.
    pub fn start_unready(self) -> Result<Terminal> {
        self.program.start()
    }
}

/// Tells whether a screen shows Claude Code's empty or filled prompt line.
pub fn shows_prompt(screen: &str) -> bool {
    screen.lines().any(|line| line.trim_start_matches(['│', ' ']).starts_with('❯'))
}

/// Gives the transcript files below a Claude configuration folder, subagents' excluded.
pub fn transcripts(config_dir: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let projects = folders(&config_dir.join("projects"));
    let files = projects.flat_map(|project| folders(&project).collect::<Vec<_>>());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.is_file() && path.extension().is_some_and(|end| end == "jsonl")).collect();
    found.sort();
    found
}

/// Gives the transcript file of one Claude session.
pub fn transcript(config_dir: &Path, session: &str) -> Option<PathBuf> {
    transcripts(config_dir).into_iter().find(|path| path.file_stem().is_some_and(|stem| stem == session))
}
