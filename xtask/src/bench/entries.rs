//! `sessions_rideable` on a gateway with 10,000 entries: what the person waits for, and
//! how long the gateway's event loop is held at a stretch meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ride::gateway::client::{Access, Connection, Events, connect};
use ride::gateway::locate::{Secret, Target};
use ride_core::wire::{List, Rideable, method};
use ride_testkit::peers::Peer;
use ride_testkit::{Anthropic, Gateway, Plugin, Telegram};
use serde_json::{Value, json};
use tokio::process::Command;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use crate::build::{self, Packed};

pub(super) const ENTRIES: usize = 10_000;
const ROUNDS: usize = 7;
/// A gateway does other things too: as long as a listing, nothing asked of it.
const IDLE: Duration = Duration::from_secs(2);

pub(super) async fn measure(packed: &Packed) -> Result<Section> {
    eprintln!("starting OpenClaw with {ENTRIES} entries");
    let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
    let ours = Plugin { id: "claude-code-sync".into(), source: packed.plugin.clone(), config: json!({}) };
    let steps = build::root().join("xtask/src/bench/steps");
    let probe = build::root().join("crates/testkit/probe-plugin");
    let probe = Plugin { id: "ride-probe".into(), source: probe, config: json!({ "steps": steps }) };
    let mut gateway = Gateway::builder(&telegram, &anthropic).plugin(ours).plugin(probe).prepare().await?;
    fill(&gateway).await?;
    gateway.start().await?;
    let state = tempfile::tempdir().context("could not make a state folder")?;
    let (connection, _events) = session(&gateway, state.path()).await?;

    // What starting left to do is not the listing's.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (mut idle, mut pages, mut whole, mut held, mut theirs) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default(), Samples::default());
    let first = held_during(&connection, list(&connection, true)).await?;
    let mut rest = Vec::new();
    for _ in 0..ROUNDS {
        idle.push(
            held_during(&connection, async {
                tokio::time::sleep(IDLE).await;
                Ok(0.0)
            })
            .await?
            .held,
        );
        let page = held_during(&connection, list(&connection, true)).await?;
        let all = held_during(&connection, list(&connection, false)).await?;
        pages.push(page.took);
        whole.push(all.took);
        held.push(page.held.max(all.held));
        rest.push(page.held.max(all.held));
        let host: Value = connection.call("probe_step", &json!({ "step": "list" })).await?;
        if host["entries"].as_u64() < Some(ENTRIES as u64) {
            bail!("the host listed {} entries", host["entries"]);
        }
        theirs.push(host["ms"].as_f64().context("a time is a number")?);
    }
    let ms = |value: f64| Samples::from(vec![value]).shown(Unit::Ms);
    let longest = rest.iter().copied().fold(0.0, f64::max);
    Ok(Section {
        title: "`sessions_rideable` over 10,000 entries",
        how: format!(
            "A gateway started on a store of {ENTRIES} entries of 6 KB each, one client on loopback. Held: the longest of libuv's\n\
             event loop delays at 1 ms resolution, from before the request to after its answer, inside the gateway's process; an idle\n\
             gateway's over {} s beside it. The first call has the list made; the host's own list is called by turns with ours.",
            IDLE.as_secs()
        ),
        rows: vec![
            Row::plain("first call, until answered", ms(first.took)),
            Row::plain("first call, event loop held for", ms(first.held))
                .against(format!("idle {}", idle.shown(Unit::Ms)), first.held / idle.median())
                .target("≤ 10 ms", first.held <= 10.0),
            Row::plain("a page of 250 rows", pages.shown(Unit::Ms)),
            Row::plain("all rows, page by page", whole.shown(Unit::Ms)),
            Row::plain("steady state, event loop held for", held.shown(Unit::Ms))
                .against(format!("idle {}", idle.shown(Unit::Ms)), held.median() / idle.median())
                .target("≤ 10 ms", longest <= 10.0),
            Row::plain("the host's own list, which holds it as long", theirs.shown(Unit::Ms)),
        ],
    })
}

/// What a call took, and how long the event loop was held meanwhile.
struct Held {
    took: f64,
    held: f64,
}

async fn held_during(connection: &Connection, what: impl Future<Output = Result<f64>>) -> Result<Held> {
    let _: Value = connection.call("probe_step", &json!({ "step": "held", "begin": true })).await?;
    let took = what.await?;
    let held: Value = connection.call("probe_step", &json!({ "step": "held" })).await?;
    Ok(Held { took, held: held["longestMs"].as_f64().context("a time is a number")? })
}

/// Lists the first page or all; milliseconds.
async fn list(connection: &Connection, first_only: bool) -> Result<f64> {
    let begin = Instant::now();
    let (mut seen, mut ask) = (0, List::default());
    loop {
        let page: Rideable = connection.call(method::RIDEABLE, &ask).await?;
        seen += page.rows.len();
        if page.total as usize != ENTRIES {
            bail!("{} threads are listed", page.total);
        }
        match page.next {
            Some(next) if !first_only => ask.after = Some(next),
            _ if first_only || seen == ENTRIES => return Ok(begin.elapsed().as_secs_f64() * 1000.0),
            _ => bail!("{seen} rows were listed in all"),
        }
    }
}

async fn fill(gateway: &Gateway) -> Result<()> {
    let openclaw = Peer::newest_openclaw().entry()?;
    let sdk = openclaw.parent().context("the host lies in a folder")?.join("dist/plugin-sdk/session-store-runtime.js");
    let script = build::root().join("xtask/src/bench/steps/fill.mjs");
    let mut command = Command::new(Peer::node().entry()?);
    command.arg(script).arg(format!("file://{}", sdk.display())).arg(ENTRIES.to_string()).env_clear();
    command.envs(gateway.environment().iter().map(|(k, v)| (k, v))).kill_on_drop(true);
    let status = command.status().await.context("could not run node")?;
    if !status.success() {
        bail!("filling the store ended with {status}");
    }
    Ok(())
}

pub(super) async fn session(gateway: &Gateway, state: &Path) -> Result<(Connection, Events)> {
    let (url, token) = (gateway.url(), Some(Secret::new(gateway.token())));
    let target = Target { url, source: "this bench", token, password: None, pin: None };
    Ok(connect(&target, Access::Write, state).await?)
}
