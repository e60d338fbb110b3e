//! What every story is played on: a gateway with the product installed, between the
//! stand-ins, and `ride` run against it as a person would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Product;
use crate::anthropic::Anthropic;
use crate::claude;
use crate::error::{Error, Result};
use crate::gateway::{Gateway, GatewayBuilder, Plugin};
use crate::peers::before;
use crate::process::{Process, descendants};
use crate::pty::{Key, Program, Terminal};
use crate::telegram::{Person, Place, Telegram};
use crate::wait::poll_until;

/// How long a turn of the agent, a claim or a hand-over may take on a busy machine.
pub(super) const TURN: Duration = Duration::from_secs(90);

/// The gateway and its surroundings.
pub(super) struct Stage<'p> {
    pub(super) product: &'p Product,
    pub(super) telegram: Telegram,
    pub(super) anthropic: Anthropic,
    pub(super) gateway: Gateway,
}

impl<'p> Stage<'p> {
    /// Starts it; `allow` may write in the chats, `config` is the plugin's.
    pub(super) async fn open(product: &'p Product, allow: &[i64], config: Value) -> Result<Self> {
        Self::build(product, config, |builder| builder.allow(allow)).await
    }

    /// Starts it with what else the gateway is given.
    pub(super) async fn build(
        product: &'p Product,
        config: Value,
        more: impl FnOnce(GatewayBuilder<'_>) -> GatewayBuilder<'_>,
    ) -> Result<Self> {
        Self::build_with(product, config, |builder, _| more(builder)).await
    }

    /// The same, for what names the stand-in model.
    pub(super) async fn build_with(
        product: &'p Product,
        config: Value,
        more: impl for<'b> FnOnce(GatewayBuilder<'b>, &Anthropic) -> GatewayBuilder<'b>,
    ) -> Result<Self> {
        let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
        let plugin = Plugin { id: "claude-code-sync".into(), source: product.plugin.clone(), config };
        let builder = Gateway::builder(&telegram, &anthropic)
            .version(&product.openclaw)
            .claude_code(&product.claude_code)
            .plugin(plugin);
        let gateway = more(builder, &anthropic).start().await?;
        telegram.wait_until_polled(TURN).await?;
        Ok(Stage { product, telegram, anthropic, gateway })
    }

    /// Starts `ride` in a terminal on the gateway's machine.
    pub(super) fn ride(&self, args: &[&str]) -> Result<Terminal> {
        self.ride_as("ada", args)
    }

    /// The same as another person, who keeps files of their own.
    pub(super) fn ride_as(&self, who: &str, args: &[&str]) -> Result<Terminal> {
        let mut program =
            Program::new(&self.product.ride, self.gateway.workspace()).args(self.scope()).args(args.iter().copied());
        for (name, value) in self.gateway.environment() {
            program = program.env(name, value);
        }
        if who != "ada" {
            program = program.env("RIDE_STATE_DIR", who);
        }
        program.env("USER", who).env("TERM", "xterm-256color").start()
    }

    /// Starts a program of the gateway's `PATH` as a person does in a folder of its machine.
    pub(super) fn in_terminal(&self, name: &str, folder: &Path, args: &[&str]) -> Result<Terminal> {
        let environment = self.gateway.environment();
        let path =
            environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str()).unwrap_or_default();
        let found = std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let found = found.ok_or_else(|| Error::Peer { what: name.into(), said: format!("not on {path}") })?;
        let mut program = Program::new(found, folder).args(args.iter().copied());
        for (name, value) in environment {
            program = program.env(name, value);
        }
        program.env("USER", "ada").env("TERM", "xterm-256color").start()
    }

    /// Starts `ride` on a thread, and waits until Claude Code takes a prompt.
    pub(super) async fn drive(&self, args: &[&str]) -> Result<Terminal> {
        let ride = self.ride(args)?;
        ride.wait_for(TURN, claude::shows_prompt).await?;
        Ok(ride)
    }

    /// Has the agent answer in a thread, with a code word to be remembered, until it can be
    /// ridden; its Claude session and transcript.
    pub(super) async fn begun(&self, place: &Place, key: &str) -> Result<(String, PathBuf)> {
        self.telegram.says(&Person::tess(), place, "the code word is MANGO");
        self.telegram.wait_for_bot(place, TURN, "]: the code word is MANGO").await?;
        let turn = self.anthropic.wait_for_prompt(TURN, "the code word is MANGO").await?;
        let session = turn.session().unwrap_or_default().to_owned();
        self.rideable(&[key]).await?;
        let config = self.gateway.claude_dir();
        let transcript = poll_until("the transcript", TURN, || claude::transcript(&config, &session)).await?;
        Ok((session, transcript))
    }

    /// Whether this Claude Code has no mods, and shows what is new only around a prompt.
    pub(super) fn by_hooks(&self) -> bool {
        before(&self.product.claude_code, &[2, 1, 287])
    }

    /// Waits until the driver is told something; how often "anything new?" was submitted for it.
    pub(super) async fn tells(&self, ride: &mut Terminal, text: &str) -> Result<usize> {
        // Where the host tells no changes, `ride` itself hears of it with a renewal, every 5 s.
        let most = if self.by_hooks() { 3 } else { 0 };
        for asked in 1..=most {
            ride.submit("anything new?").await?;
            if ride.wait_for(Duration::from_secs(8), |screen| screen.contains(text)).await.is_ok() {
                return Ok(asked);
            }
        }
        ride.wait_for(TURN, |screen| screen.contains(text)).await.map(|_| most)
    }

    /// Leaves a ride as a person does, once Claude Code takes it; its exit code.
    pub(super) async fn leave(&self, ride: &mut Terminal) -> Result<u32> {
        self.rests().await?;
        if claude::shows_prompt(&ride.screen()) {
            // On a busy machine 2.1.197 now and then has the last prompt in its input box again.
            ride.press(Key::Ctrl('u'))?;
        }
        ride.submit("/exit").await?;
        ride.wait_exit(TURN).await
    }

    /// Waits until no Claude Code has a turn: 2.1.197 swallows a command typed while it ends one.
    pub(super) async fn rests(&self) -> Result<()> {
        let live = self.gateway.claude_dir().join("sessions");
        let busy = |entry: fs::DirEntry| {
            let path = entry.path();
            let runs = path.file_stem().is_some_and(|pid| Path::new("/proc").join(pid).exists());
            runs && fs::read_to_string(path).is_ok_and(|text| text.contains(r#""status":"busy""#))
        };
        let rests = || (!fs::read_dir(&live).is_ok_and(|entries| entries.flatten().any(busy))).then_some(());
        poll_until("a resting Claude Code", TURN, rests).await
    }

    /// Runs a `ride` command without a terminal, to its end.
    pub(super) async fn run(&self, args: &[&str]) -> Result<Output> {
        let ran = tokio::process::Command::new(&self.product.ride)
            .args(self.scope())
            .args(args)
            .env_clear()
            .envs(self.gateway.environment().iter().map(|(k, v)| (k, v)))
            .kill_on_drop(true)
            .output();
        let failed = |cause: String| Error::Peer { what: format!("ride {}", args.join(" ")), said: cause };
        match tokio::time::timeout(TURN, ran).await {
            Ok(output) => output.map_err(|cause| failed(cause.to_string())),
            Err(_) => Err(failed(format!("no end within {} s", TURN.as_secs()))),
        }
    }

    /// Runs a `ride` command that prints JSON.
    pub(super) async fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self.run(args).await?;
        serde_json::from_slice(&output.stdout).map_err(|cause| Error::Peer {
            what: format!("ride {}", args.join(" ")),
            said: format!("{cause}: {}", said(&output)),
        })
    }

    /// Waits until every one of these threads can be ridden: the host stores a binding after the reply.
    pub(super) async fn rideable(&self, keys: &[&str]) -> Result<()> {
        let end = Instant::now() + TURN;
        loop {
            let listed = self.json(&["ls", "--json"]).await?;
            let none = Vec::new();
            let rows = listed["rows"].as_array().unwrap_or(&none);
            let is = |key: &&&str| rows.iter().any(|row| row["key"] == **key && row["rideable"] == true);
            match keys.iter().find(|key| !is(key)) {
                None => return Ok(()),
                Some(key) if Instant::now() >= end => {
                    return Err(Error::Peer { what: format!("{key} to be rideable"), said: listed.to_string() });
                }
                Some(_) => {}
            }
        }
    }

    /// Hosts up to 2026.6.1 want operator.admin for plugin methods after a channel turn.
    pub(super) fn scope(&self) -> Option<&'static str> {
        self.gateway.before(&[2026, 6, 2]).then_some("--admin")
    }
}

/// The Claude Code of a ride, by the Claude session it is on.
pub(super) fn claude_of(ride: &Terminal, session: &str) -> Option<Process> {
    descendants(ride.pid()?).into_iter().find(|p| p.command_line().iter().any(|a| a == session))
}

/// What a command printed, on both streams.
pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The file under a folder that contains a text.
pub(super) fn on_disk(folder: &Path, text: &str) -> Option<String> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = on_disk(&path, text) {
                return Some(found);
            }
        } else if fs::read_to_string(&path).is_ok_and(|content| content.contains(text)) {
            return Some(format!(
                "{} ({} bytes)",
                entry.file_name().to_string_lossy(),
                fs::metadata(&path).map_or(0, |m| m.len())
            ));
        }
    }
    None
}

/// The line of a screen that has a word, for the record of a fact.
pub(super) fn line_with(screen: &str, word: &str) -> String {
    screen.lines().find(|l| l.contains(word)).unwrap_or("nothing of it").trim().to_owned()
}

/// A JSON value as text, strings without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The certificate's SHA-256, as `openssl` tells it.
pub(super) async fn fingerprint(certificate: &Path) -> Result<String> {
    let args = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
    let output = tokio::process::Command::new("openssl").args(args).arg(certificate).output().await;
    let output = output.map_err(|e| Error::Peer { what: "openssl".into(), said: e.to_string() })?;
    let told = said(&output);
    let hex: String = told.rsplit('=').next().unwrap_or_default().chars().filter(char::is_ascii_hexdigit).collect();
    match hex.len() {
        64 => Ok(hex.to_lowercase()),
        _ => Err(Error::Peer { what: "openssl".into(), said: told }),
    }
}
