//! One host under measurement: a real gateway with the probe plugin, the stand-ins it
//! talks to, and the calls a measurement makes. It knows no question.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ride::gateway::client::{Access, CallError, Connection, Events, connect};
use ride::gateway::locate::{Secret, Target};
use ride_testkit::gateway::Family;
use ride_testkit::gateway::config::{merge, plain_chats};
use ride_testkit::{Anthropic, Gateway, Person, Place, Telegram};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::log::Entry;
use crate::build;

/// A turn that starts Claude Code, on a machine that does other things too.
pub(super) const TURN: Duration = Duration::from_secs(120);
/// What the host does by itself within a moment.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// Nothing new for this long, and nothing is going on.
const CALM: Duration = Duration::from_millis(1500);
/// How often the plugin's log is looked at: it cannot announce itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Forums and groups, one per question: turns of one must not stand in another's context.
const FORUM: i64 = -1_002_222_220_000;
const GROUP: i64 = -1_001_111_110_000;
/// The forum that is answered without Claude Code.
const PLAIN_FORUM: i64 = -1_003_333_330_000;
/// Groups from this number on want the bot to be mentioned.
pub(super) const MENTION_ONLY: i64 = 50;

/// One thread, as the chat and as the gateway know it.
pub(super) struct Thread {
    pub(super) place: Place,
    pub(super) key: String,
}

/// A moment: what is after it is what came of the next act.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// Into the plugin's log.
    pub(super) log: u64,
    /// Into the Bot API's calls.
    pub(super) calls: usize,
    /// Into the model's requests.
    pub(super) requests: usize,
}

pub(super) struct Lab {
    /// Dropped first: it stops before the services it uses.
    pub(super) gateway: Gateway,
    pub(super) telegram: Telegram,
    pub(super) anthropic: Anthropic,
    connection: Connection,
    /// How much of the log was there when it was last looked at.
    logged: Cell<u64>,
    state: TempDir,
    _events: Events,
}

/// May everything; its id is the configured owner.
pub(super) fn owner() -> Person {
    Person::tess()
}

/// Admitted by the group policy only.
pub(super) fn stranger() -> Person {
    Person::omar()
}

impl Lab {
    pub(super) async fn start(version: &str) -> Result<Self> {
        let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
        let plugin = build::root().join("crates/testkit/probe-plugin");
        let starting = Gateway::builder(&telegram, &anthropic).version(version).allow(&[owner().id]);
        let gateway = starting.config(&config(version, &plugin, &anthropic)).start().await?;
        telegram.wait_until_polled(TURN).await?;
        let state = tempfile::tempdir().context("could not make a state folder")?;
        let (connection, _events) = connect_to(&gateway, state.path()).await?;
        Ok(Lab { gateway, telegram, anthropic, connection, logged: Cell::new(0), state, _events })
    }

    pub(super) async fn stop(&mut self) {
        self.gateway.stop().await;
    }

    /// A second connection, for what it is told.
    pub(super) async fn connect(&self) -> Result<(Connection, Events)> {
        connect_to(&self.gateway, self.state.path()).await
    }

    /// A forum topic of its own forum.
    pub(super) fn topic(&self, number: i64) -> Thread {
        let chat = FORUM - number;
        Thread {
            place: Place::topic(chat, &format!("Forum {number}"), 42, "Plans"),
            key: format!("agent:main:telegram:group:{chat}:topic:42"),
        }
    }

    /// A topic that the host's own runner answers.
    pub(super) fn plain_topic(&self) -> Thread {
        Thread {
            place: Place::topic(PLAIN_FORUM, "Plain forum", 42, "Plans"),
            key: format!("agent:main:telegram:group:{PLAIN_FORUM}:topic:42"),
        }
    }

    /// A plain group.
    pub(super) fn group(&self, number: i64) -> Thread {
        let chat = GROUP - number;
        Thread {
            place: Place::group(chat, &format!("Group {number}")),
            key: format!("agent:main:telegram:group:{chat}"),
        }
    }

    /// Calls a gateway method; what the host refuses is for the caller to tell.
    pub(super) async fn call(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        self.connection.call_within(method, &params, TURN).await
    }

    /// Runs one of the probe plugin's steps.
    pub(super) async fn step(&self, step: &str, mut params: Value) -> Result<Value> {
        params["step"] = step.into();
        self.call("probe_step", params).await.with_context(|| format!("could not run the plugin's step {step}"))
    }

    /// Closes or opens the gate of a thread.
    pub(super) async fn gate(&self, thread: &Thread, closed: bool) -> Result<()> {
        let mode = closed.then_some("hold");
        self.call("probe_gate", json!({ "sessionKey": thread.key, "mode": mode })).await?;
        Ok(())
    }

    /// The host's entry of a thread; null if it has none.
    pub(super) async fn entry(&self, thread: &Thread) -> Result<Value> {
        self.step("entry", json!({ "sessionKey": thread.key })).await
    }

    /// Now.
    pub(super) async fn mark(&self) -> Result<Mark> {
        let at = Mark {
            log: self.logged.get(),
            calls: self.telegram.calls().len(),
            requests: self.anthropic.requests().len(),
        };
        let newer = self.since(&at).await?;
        self.logged.set(newer.last().map_or(at.log, |entry| entry.n + 1));
        Ok(Mark { log: self.logged.get(), ..at })
    }

    /// Everything noted since.
    pub(super) async fn since(&self, mark: &Mark) -> Result<Vec<Entry>> {
        let noted = self.call("probe_log", json!({ "since": mark.log })).await?;
        serde_json::from_value(noted).context("could not read the plugin's log")
    }

    /// Waits until the plugin notes something.
    pub(super) async fn wait(
        &self,
        since: &Mark,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        let end = Instant::now() + limit;
        loop {
            let noted = self.since(since).await?;
            if let Some(found) = noted.iter().find(|entry| wanted(entry)) {
                return Ok(found.clone());
            }
            if Instant::now() >= end {
                let seen: Vec<String> = noted.iter().map(|entry| format!("{} {}", entry.kind, entry.hook)).collect();
                bail!("waited {} s for {what}\nnoted meanwhile: {}", limit.as_secs(), seen.join(", "));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nothing has happened for a moment: no hook, no row, no call, no request.
    pub(super) async fn calm(&self) -> Result<()> {
        // Seen once on 2026.9.6: a stranger's command not confirmed within 20 s. What came of it tells.
        let _ = self.telegram.wait_until_read(CALM * 2).await;
        let (end, mut since) = (Instant::now() + TURN, Instant::now());
        let mut before = (0, 0, 0);
        while since.elapsed() < CALM && Instant::now() < end {
            let mark = self.mark().await?;
            let now = (mark.log, mark.calls, mark.requests);
            if now != before {
                (before, since) = (now, Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

async fn connect_to(gateway: &Gateway, state: &Path) -> Result<(Connection, Events)> {
    let (url, token) = (gateway.url(), Some(Secret::new(gateway.token())));
    let target = Target { url, source: "this probe", token, password: None, pin: None };
    // 2026.6.1 wants admin from plugin methods after a channel turn.
    connect(&target, Access::Admin, state).await.context("could not connect to the gateway")
}

fn config(version: &str, plugin: &Path, anthropic: &Anthropic) -> Value {
    let mut groups = json!({ "*": { "requireMention": false } });
    groups[(GROUP - MENTION_ONLY).to_string()] = json!({ "requireMention": true });
    let mut config = json!({
        "commands": { "ownerAllowFrom": [format!("telegram:{}", owner().id)] },
        "channels": { "telegram": { "groupPolicy": "open", "groups": groups } },
        "plugins": {
            "allow": ["anthropic", "telegram", "ride-probe"],
            // From its folder: installing is not what is measured here.
            "load": { "paths": [plugin] },
            "entries": { "ride-probe": {
                "enabled": true,
                "hooks": { "allowConversationAccess": true },
                "config": { "steps": plugin.join("steps") } } },
        },
    });
    merge(&mut config, &plain_chats(Family::of(version), anthropic, &[PLAIN_FORUM]));
    if Family::of(version) == Family::Mid2026 {
        // Otherwise the child gets the bypass permission mode.
        config["tools"] = json!({ "exec": { "security": "allowlist", "ask": "on-miss" } });
    }
    config
}
