//! A real OpenClaw gateway on the pinned Node, in a private home on loopback.
//!
//! Invariant: it uses nothing of the person's own setup (environment cleared,
//! HOME private) and never outlives this process. It reaches the real Claude
//! Code through a shim, and both reach only the stand-ins.

mod builder;
pub mod config;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub use builder::{GatewayBuilder, Plugin};
pub use config::Family;

use crate::anthropic::Anthropic;
use crate::claude;
use crate::error::{Doing, Error, Result};
use crate::peers::{Peer, before, pinned};
use crate::process::{self, Child, Process};
use crate::telegram::Telegram;
use crate::wait::poll_until;

/// How long a gateway may take to start: 9 to 37 s were seen, on a machine less busy than CI.
pub const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long a gateway is given to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How long one `openclaw` command may take.
const CLI_DEADLINE: Duration = Duration::from_secs(180);
/// Log lines shown when something fails.
const LOG_LINES_SHOWN: usize = 60;

/// A real gateway; it stops with its children when dropped.
#[derive(Debug)]
pub struct Gateway {
    openclaw: Peer,
    home: PathBuf,
    port: u16,
    tls: bool,
    token: String,
    env: Vec<(String, String)>,
    child: Option<Child>,
    /// Removed with the gateway, unless the test fails.
    private_home: Option<TempDir>,
}

impl Gateway {
    /// Begins a gateway of the newest pinned version, between these two stand-ins.
    pub fn builder<'a>(telegram: &'a Telegram, anthropic: &'a Anthropic) -> GatewayBuilder<'a> {
        GatewayBuilder::new(telegram, anthropic)
    }
}

impl Gateway {
    /// Gives the OpenClaw version.
    pub fn version(&self) -> &str {
        self.openclaw.version()
    }

    /// Whether it is older than a version, of which the leading numbers are given.
    pub fn before(&self, than: &[u64]) -> bool {
        before(self.version(), than)
    }

    /// Gives the version family.
    pub fn family(&self) -> Family {
        Family::of(self.version())
    }

    /// Gives the WebSocket address for clients.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Gives the address it takes other machines' connections on.
    pub fn address_from_elsewhere(&self) -> Result<std::net::SocketAddr> {
        Ok((own_address()?, self.port).into())
    }

    /// Gives the address by which another machine would reach it: a client that comes
    /// in by it is none of this machine's to the gateway.
    pub fn url_from_elsewhere(&self) -> Result<String> {
        Ok(self.url().replace("127.0.0.1", &own_address()?.to_string()))
    }

    /// Gives the certificate it made for itself, where it speaks TLS.
    pub fn certificate(&self) -> PathBuf {
        self.state_dir().join("gateway/tls/gateway-cert.pem")
    }

    /// Gives the shared token for clients.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Gives the private home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Gives the state folder (`~/.openclaw`).
    pub fn state_dir(&self) -> PathBuf {
        self.home.join(".openclaw")
    }

    /// Gives the agent's workspace, the project folder of its Claude sessions.
    pub fn workspace(&self) -> PathBuf {
        self.home.join("workspace")
    }

    /// Gives the Claude configuration folder.
    pub fn claude_dir(&self) -> PathBuf {
        self.home.join(".claude")
    }

    /// Gives the environment the gateway and its commands run in.
    pub fn environment(&self) -> &[(String, String)] {
        &self.env
    }

    /// Gives the process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    /// Gives the gateway's living Claude Code children, the warm ones included.
    pub fn claude_processes(&self) -> Vec<Process> {
        let all = self.pid().map(process::descendants).unwrap_or_default();
        // Version and login checks are Claude Code too; only agents speak this format (2026.8 leaves out `-p`).
        let is_agent = |process: &Process| {
            let line = process.command_line();
            line.first().is_some_and(|program| program.ends_with("/claude"))
                && line.iter().any(|arg| arg == "stream-json")
        };
        all.into_iter().filter(is_agent).collect()
    }

    /// Gives the transcript files of the gateway's Claude sessions.
    pub fn transcripts(&self) -> Vec<PathBuf> {
        claude::transcripts(&self.claude_dir())
    }

    /// Gives the file that takes what the gateway prints.
    pub fn log_path(&self) -> PathBuf {
        self.home.join("gateway.out")
    }

    /// Gives what the gateway printed so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|raw| String::from_utf8_lossy(&raw).into_owned()).unwrap_or_default()
    }

    /// Waits until the gateway has printed `text`.
    pub async fn wait_for_log(&self, deadline: Duration, text: &str) -> Result<()> {
        poll_until(&format!("the gateway to log {text:?}"), deadline, || self.log().contains(text).then_some(())).await
    }

    /// Gives the configuration as it stands on disk.
    pub fn read_config(&self) -> Result<Value> {
        let path = self.config_path();
        let raw = fs::read(&path).doing(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&raw)
            .map_err(|cause| Error::Malformed { what: path.display().to_string(), cause: cause.to_string() })
    }

    /// Replaces the configuration; a running gateway reloads what it can by itself.
    pub fn write_config(&self, config: &Value) -> Result<()> {
        let path = self.config_path();
        // Whole or not at all: a running gateway watches this file.
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, format!("{config:#}")).doing(|| format!("write {}", fresh.display()))?;
        fs::rename(&fresh, &path).doing(|| format!("replace {}", path.display()))
    }

    /// Merges into the configuration.
    pub fn merge_config(&self, extra: &Value) -> Result<()> {
        let mut config = self.read_config()?;
        config::merge(&mut config, extra);
        self.write_config(&config)
    }

    fn config_path(&self) -> PathBuf {
        self.state_dir().join("openclaw.json")
    }

    /// Installs a plugin, or a newer build of it, and sets its configuration.
    pub async fn install(&self, plugin: &Plugin) -> Result<()> {
        let source = plugin.source.display().to_string();
        let mut args = vec!["plugins", "install", &source, "--force"];
        if self.family() == Family::Late2026 {
            args.push("--accept-capabilities");
        }
        self.cli(&args).await?;
        let entry = json!({ "enabled": true, "hooks": { "allowConversationAccess": true }, "config": plugin.config });
        self.merge_config(&json!({ "plugins": { "entries": { plugin.id.as_str(): entry } } }))
    }

    /// Loads a plugin anew in the running gateway (2026.9 and later).
    pub async fn reload(&self, plugin: &str) -> Result<()> {
        self.cli(&["plugins", "reload", plugin, "--accept-capabilities"]).await.map(|_| ())
    }

    /// Runs an `openclaw` command in the gateway's home and gives what it printed.
    pub async fn cli(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.command()?);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let what = || format!("openclaw {}", args.join(" "));
        let ran = tokio::time::timeout(CLI_DEADLINE, command.output()).await;
        let timed_out = |_| Error::TimedOut { what: what(), waited: CLI_DEADLINE, last_seen: String::new() };
        let Output { status, stdout, stderr } = ran.map_err(timed_out)?.doing(|| format!("run {}", what()))?;
        let said = String::from_utf8_lossy(&stdout).into_owned();
        if status.success() {
            return Ok(said);
        }
        Err(Error::Peer { what: what(), said: said + &String::from_utf8_lossy(&stderr) })
    }

    /// Starts it (again) and waits until it is ready.
    pub async fn start(&mut self) -> Result<()> {
        let path = self.log_path();
        let log = File::options().create(true).append(true).open(&path).doing(|| format!("open {}", path.display()))?;
        let errors = log.try_clone().doing(|| format!("share {}", path.display()))?;
        let printed = self.log().len();
        let mut command = self.command()?;
        let port = self.port.to_string();
        command.args(["gateway", "run", "--port", &port]).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(Child::spawn(&format!("gateway {}", self.version()), command)?);
        self.ready(printed).await
    }

    /// Waits until it answers; over TLS, until it says that it listens, in what it
    /// printed since.
    async fn ready(&mut self, printed: usize) -> Result<()> {
        let end = tokio::time::Instant::now() + START_DEADLINE;
        loop {
            let ready = match self.tls {
                true => self.log().get(printed..).is_some_and(|log| log.contains("http server listening")),
                false => http_status(self.port, "/readyz").await == Some(200),
            };
            if ready {
                return Ok(());
            }
            let what = format!("gateway {} to start", self.version());
            if let Some(status) = self.child.as_mut().and_then(Child::ended) {
                return Err(Error::Peer { what, said: format!("{status}\n{}", self.log_tail()) });
            }
            if tokio::time::Instant::now() >= end {
                return Err(Error::TimedOut { what, waited: START_DEADLINE, last_seen: self.log_tail() });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops it in good order, with its children.
    pub async fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            child.stop(STOP_GRACE).await;
        }
    }

    /// Kills the gateway process alone, as a crash would.
    pub fn crash(&mut self) -> Result<()> {
        self.child.take().map_or(Ok(()), Child::crash)
    }

    /// Stops and starts it on the same home and port.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        self.start().await
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(Peer::node().entry()?);
        command.arg(self.openclaw.entry()?).current_dir(&self.home).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("gateway {} when the test failed:\n{}", self.version(), self.log_tail());
            if let Some(home) = self.private_home.take() {
                eprintln!("its home is kept: {}", home.keep().display());
            }
        }
    }
}

/// The address this machine has on its network; no packet is sent.
fn own_address() -> Result<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    // An address set aside for documents (RFC 5737): it need not be reached.
    let routed = socket.and_then(|socket| {
        socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
        socket.local_addr()
    });
    let own = routed.doing(|| "find an address of this machine that is not loopback".into())?.ip();
    if own.is_loopback() {
        return Err(Error::Peer { what: "this machine".into(), said: "it has no address but loopback".into() });
    }
    Ok(own)
}

/// The status of a plain GET on loopback, if anything answers.
async fn http_status(port: u16, path: &str) -> Option<u16> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        // "HTTP/1.1 200" is all that is wanted.
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse().ok()
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.ok().flatten()
}

/// Gives every pinned OpenClaw version, newest first.
pub fn versions() -> &'static [String] {
    &pinned().openclaw
}
