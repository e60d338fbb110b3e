//! Choosing what to start, and the private home it starts in.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Family, Gateway, config};
use crate::anthropic::Anthropic;
use crate::claude;
use crate::error::{Doing, Result};
use crate::peers::{self, Peer};
use crate::telegram::Telegram;

/// A plugin to install before the gateway starts.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its id, as in its manifest.
    pub id: String,
    /// The tarball or folder to install.
    pub source: PathBuf,
    /// Its `plugins.entries.<id>.config`.
    pub config: Value,
}

/// What to start.
#[derive(Debug)]
pub struct GatewayBuilder<'a> {
    telegram: &'a Telegram,
    anthropic: &'a Anthropic,
    openclaw: Peer,
    claude_code: Peer,
    plugins: Vec<Plugin>,
    extra: Value,
    env: Vec<(String, String)>,
    allowed: Vec<i64>,
    home: Option<PathBuf>,
    port: Option<u16>,
    tls: bool,
}

impl<'a> GatewayBuilder<'a> {
    pub(super) fn new(telegram: &'a Telegram, anthropic: &'a Anthropic) -> Self {
        Self {
            telegram,
            anthropic,
            openclaw: Peer::newest_openclaw(),
            claude_code: Peer::newest_claude_code(),
            plugins: Vec::new(),
            extra: json!({}),
            env: Vec::new(),
            allowed: vec![1001, 1002],
            home: None,
            port: None,
            tls: false,
        }
    }

    /// Chooses the OpenClaw version.
    pub fn version(mut self, version: &str) -> Self {
        self.openclaw = Peer::openclaw(version);
        self
    }

    /// Chooses the Claude Code version.
    pub fn claude_code(mut self, version: &str) -> Self {
        self.claude_code = Peer::claude_code(version);
        self
    }

    /// Installs a plugin before the start, with its configuration.
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Merges into the configuration, after everything else.
    pub fn config(mut self, extra: &Value) -> Self {
        config::merge(&mut self.extra, extra);
        self
    }

    /// Sets an environment variable of the gateway.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Chooses whose messages are taken, in direct chats and groups (1001 and 1002 otherwise).
    pub fn allow(mut self, people: &[i64]) -> Self {
        self.allowed = people.to_vec();
        self
    }

    /// Uses and keeps this home instead of a private one that vanishes.
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Lets other machines in, over TLS with a certificate it makes for itself.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self.config(&json!({ "gateway": { "bind": "lan", "tls": { "enabled": true, "autoGenerate": true } } }))
    }

    /// Prepares the home, installs the plugins, starts the gateway and waits until it is ready.
    pub async fn start(self) -> Result<Gateway> {
        let mut gateway = self.prepare().await?;
        gateway.start().await?;
        Ok(gateway)
    }

    /// Prepares the home and installs the plugins, without starting the gateway.
    pub async fn prepare(self) -> Result<Gateway> {
        let node = Peer::node().fetched().await?;
        self.openclaw.fetched().await?;
        let claude_code = self.claude_code.fetched().await?;

        let (home, private_home) = match self.home {
            Some(home) => (home, None),
            None => {
                let made = tempfile::Builder::new().prefix("ride-gateway-").tempdir();
                let made = made.doing(|| "create a private home".into())?;
                (made.path().to_path_buf(), Some(made))
            }
        };
        let (bin, state, workspace, tmp) =
            (home.join("bin"), home.join(".openclaw"), home.join("workspace"), home.join("tmp"));
        for folder in [&bin, &state, &workspace, &tmp] {
            fs::create_dir_all(folder).doing(|| format!("create {}", folder.display()))?;
        }
        share_compiled(&tmp)?;
        let claude_dir = home.join(".claude");
        claude::seed_config(&claude_dir, &[&workspace])?;
        let shim = bin.join("claude");
        config::write_shim(&shim, &claude_code, self.anthropic, &claude_dir)?;

        let port = match self.port {
            Some(port) => port,
            None => free_port()?,
        };
        let token = uuid::Uuid::new_v4().simple().to_string();
        let inputs = config::Inputs {
            family: Family::of(self.openclaw.version()),
            port,
            token: &token,
            telegram: self.telegram,
            workspace: &workspace,
            shim: &shim,
            state: &state,
            allowed: &self.allowed,
        };
        let base = config::base(&inputs);
        let mut env = environment(&home, &node);
        env.extend(self.env);
        let gateway =
            Gateway { openclaw: self.openclaw, home, port, tls: self.tls, token, env, child: None, private_home };
        gateway.write_config(&base)?;
        for plugin in &self.plugins {
            gateway.install(plugin).await?;
        }
        gateway.merge_config(&self.extra)?;
        Ok(gateway)
    }
}

/// Lets all gateways share what Node keeps of the host's compiled code, which is in the temporary
/// folder. With a folder of its own, each would compile everything again.
fn share_compiled(tmp: &Path) -> Result<()> {
    let shared = peers::folder().join("compiled");
    fs::create_dir_all(&shared).doing(|| format!("create {}", shared.display()))?;
    let link = tmp.join("node-compile-cache");
    match std::os::unix::fs::symlink(&shared, &link) {
        // A home that is used again has it already.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.doing(|| format!("create {}", link.display())),
    }
}

/// The whole environment of the gateway and its commands.
fn environment(home: &Path, node: &Path) -> Vec<(String, String)> {
    let folder_of = |program: &Path| program.parent().map(|folder| folder.display().to_string());
    // Tarball installs run npm; the person's may stand anywhere.
    let npm = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let npm = npm.map(|folder| folder.join("npm")).find(|file| file.is_file());
    let mut path = vec![home.join("bin").display().to_string()];
    path.extend(folder_of(node));
    path.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned));
    path.extend(npm.as_deref().and_then(folder_of));
    let mut env = vec![
        ("HOME".into(), home.display().to_string()),
        ("PATH".into(), path.join(":")),
        ("TMPDIR".into(), home.join("tmp").display().to_string()),
        // 2026.8 and later refuse the session catalog of an overridden HOME without it.
        ("CLAUDE_CONFIG_DIR".into(), home.join(".claude").display().to_string()),
        ("LANG".into(), "C.UTF-8".into()),
    ];
    let on = [
        "OPENCLAW_NO_RESPAWN",
        "OPENCLAW_NO_AUTO_UPDATE",
        "OPENCLAW_DISABLE_BONJOUR",
        "OPENCLAW_SKIP_GMAIL_WATCHER",
        "OPENCLAW_SKIP_CANVAS_HOST",
        "OPENCLAW_SKIP_BROWSER_CONTROL_SERVER",
        "OPENCLAW_SKIP_STARTUP_MODEL_PREWARM",
        "NO_COLOR",
    ];
    env.extend(on.map(|name| (name.to_owned(), "1".to_owned())));
    // Packages under test bring what they need.
    env.push(("npm_config_offline".into(), "true".into()));
    env
}

/// A port that was free a moment ago; the gateway takes it before another asks, or fails loudly.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(|| "look for a free port".into())?;
    Ok(listener.local_addr().doing(|| "read a listening address".into())?.port())
}
