//! The real gateway with our plugin, the stand-ins it talks to, and a few threads
//! with a Claude session behind each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ride::gateway::client::{Access, Connection, Events, connect};
use ride::gateway::locate::{Secret, Target};
use ride_core::wire::{Rideable, Row, method};
use ride_testkit::{Anthropic, Gateway, Person, Place, Plugin, Telegram};
use serde_json::json;
use tempfile::TempDir;

use crate::build::{self, Packed};

/// Threads that are ridden, and one that never is.
pub(super) const RIDDEN: usize = 4;
pub(super) const THREADS: usize = RIDDEN + 1;

/// A first turn starts Claude Code; several of them share this machine.
const TURN: Duration = Duration::from_secs(180);
const FORUM: i64 = -1_002_222_222_000;

/// One thread, as the chat and as the gateway know it.
pub(super) struct Thread {
    pub(super) place: Place,
    pub(super) key: String,
}

pub(super) struct Stage {
    /// Dropped first: it stops before the services it uses.
    pub(super) gateway: Gateway,
    pub(super) telegram: Telegram,
    pub(super) connection: Connection,
    /// The last is never ridden.
    pub(super) threads: Vec<Thread>,
    _events: Events,
    _anthropic: Anthropic,
    _state: TempDir,
}

impl Stage {
    pub(super) async fn set(packed: &Packed) -> Result<Self> {
        eprintln!("starting OpenClaw and {THREADS} threads");
        let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
        let ours = Plugin { id: "claude-code-sync".into(), source: packed.plugin.clone(), config: json!({}) };
        let steps = build::root().join("xtask/src/bench/steps");
        let probe = build::root().join("crates/testkit/probe-plugin");
        let probe = Plugin { id: "ride-probe".into(), source: probe, config: json!({ "steps": steps }) };
        let gateway = Gateway::builder(&telegram, &anthropic).plugin(ours).plugin(probe).start().await?;
        telegram.wait_until_polled(TURN).await?;

        // A forum each: the channel throttles by chat.
        let place = |i: i64| Place::topic(FORUM - i, &format!("Forum {i}"), 42, &format!("Plans {i}"));
        let places: Vec<Place> = (0..THREADS as i64).map(place).collect();
        for (i, place) in places.iter().enumerate() {
            telegram.says(&Person::tess(), place, &format!("hello thread number {i}"));
        }
        for (i, place) in places.iter().enumerate() {
            telegram.wait_for_bot(place, TURN, &format!("hello thread number {i}")).await?;
        }

        let state = tempfile::tempdir().context("could not make a state folder")?;
        let (connection, events) = connected(&gateway, state.path()).await?;
        let threads = threads(&connection, places).await?;
        Ok(Stage { gateway, telegram, connection, threads, _events: events, _anthropic: anthropic, _state: state })
    }

    /// The thread that is never ridden.
    pub(super) fn quiet(&self) -> &Thread {
        self.threads.last().expect("the stage has threads")
    }
}

/// Connects as a driver would.
pub(super) async fn connected(gateway: &Gateway, state: &Path) -> Result<(Connection, Events)> {
    let token = Some(Secret::new(gateway.token()));
    let target = Target { url: gateway.url(), source: "this bench", token, password: None, pin: None };
    connect(&target, Access::Write, state).await.context("could not connect to the gateway")
}

/// Waits until every place can be ridden: the host stores a binding after the reply.
async fn threads(connection: &Connection, places: Vec<Place>) -> Result<Vec<Thread>> {
    let end = tokio::time::Instant::now() + TURN;
    loop {
        let listed: Rideable = connection.call(method::RIDEABLE, &json!({})).await?;
        let key = |place: &Place| {
            let of = |row: &&Row| row.rideable && row.key.contains(&place.chat.to_string());
            Some(Thread { place: place.clone(), key: listed.rows.iter().find(of)?.key.clone() })
        };
        if let Some(threads) = places.iter().map(key).collect() {
            return Ok(threads);
        }
        if tokio::time::Instant::now() >= end {
            anyhow::bail!("not every thread can be ridden: {:?}", listed.rows);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
