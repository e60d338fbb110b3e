//! (d) Whether work admission keeps turns out, and what tells that a turn runs.

use std::time::Duration;

use anyhow::{Context, Result};
use ride_testkit::Anthropic;
use serde_json::{Value, json};

use super::cells::{Cells, yes};
use super::handover::renamed;
use super::lab::{Lab, Mark, SOON, TURN, Thread, owner, stranger};
use super::log::{Entry, first};
use super::turns::EVERYWHERE;

/// What the model holds until the measurement lets it go on.
struct Slow<'a> {
    anthropic: &'a Anthropic,
    gate: &'static str,
}

/// The longest a started turn is watched.
const WATCH: Duration = Duration::from_secs(15);

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(4);
    lab.turn(&thread, &owner(), "the thread begins").await?;
    turn_meets_admission(lab, cells, &thread).await?;
    admission_meets_turn(lab, cells, &thread).await?;
    aborted(lab, cells).await?;
    // Last: it wedges the thread on 2026.6.35.
    hand_over_meets_turn(lab, cells, "dispatch", "durable", 8).await?;
    hand_over_meets_turn(lab, cells, "dispatchReply", EVERYWHERE, 6).await
}

impl<'a> Slow<'a> {
    /// Begins a turn that the model does not answer, and waits until it was asked.
    async fn begin(lab: &'a Lab, thread: &Thread, gate: &'static str) -> Result<Self> {
        lab.telegram.says(&owner(), &thread.place, &format!("a slow turn ::gate {gate}"));
        lab.anthropic.wait_for_prompt(TURN, &format!("::gate {gate}")).await?;
        Ok(Slow { anthropic: &lab.anthropic, gate })
    }

    fn go_on(&self) {
        self.anthropic.open_gate(self.gate);
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// A message comes while our callback holds the admission.
async fn turn_meets_admission(lab: &Lab, cells: &mut Cells, thread: &Thread) -> Result<()> {
    let since = lab.mark().await?;
    let asked = lab.step("admission", json!({ "sessionKey": thread.key, "ms": 5000 })).await?;
    if asked["exists"] != true {
        cells.cell("runWithWorkAdmission", "absent");
        return Ok(());
    }
    cells.cell("runWithWorkAdmission", "present");
    lab.wait(&since, SOON, "the admission", |e| is_admission(e, "in")).await?;
    lab.telegram.says(&owner(), &thread.place, "written while admitted");
    let out = lab.wait(&since, SOON, "the admission's end", |e| is_admission(e, "out")).await?;
    lab.telegram.wait_for_bot(&thread.place, TURN, "written while admitted").await?;
    let noted = lab.since(&since).await?;
    let start = first(&noted, |e| e.is_lifecycle("start", &thread.key)).context("no lifecycle start")?;
    cells.cell("a turn starts while our callback runs", yes(start.t < out.t));
    lab.calm().await
}

/// Our callback is asked for while a turn runs; on the way, the signs of that turn.
async fn admission_meets_turn(lab: &Lab, cells: &mut Cells, thread: &Thread) -> Result<()> {
    let session = lab.must_be_bound(thread).await?;
    let since = lab.mark().await?;
    let registry = lab.gateway.claude_dir().join("sessions");
    lab.step("watch", json!({ "sessionKey": thread.key, "ms": WATCH.as_millis() as u64, "dir": registry })).await?;
    let slow = Slow::begin(lab, thread, "admission").await?;
    // Not every host shows it; the signs below say so.
    let _ = lab.wait(&since, WATCH / 2, "a busy child", |e| is_busy(e, &session)).await;
    let asked = lab.step("admission", json!({ "sessionKey": thread.key, "ms": 100 })).await?;
    if asked["exists"] == true {
        let given = lab.wait(&since, SOON, "the admission", |e| is_admission(e, "in")).await?;
        cells.cell("our callback starts while a turn runs", format!("after {} ms", given.rest["waited"]));
    }
    slow.go_on();
    lab.telegram.wait_for_bot(&thread.place, TURN, "::gate admission").await?;
    lab.wait(&since, SOON, "the watch's end", |e| e.kind == "watch" && e.rest.contains_key("end")).await?;
    signs(cells, &lab.since(&since).await?, thread, &session)
}

fn signs(cells: &mut Cells, noted: &[Entry], thread: &Thread, session: &str) -> Result<()> {
    let key = &thread.key;
    let pass = first(noted, |e| e.is_hook("before_dispatch", key)).context("no before_dispatch")?;
    let end = first(noted, |e| e.is_hook("agent_end", key)).context("no agent_end")?;
    let watched = |e: &Entry| e.kind == "watch" && e.t >= pass.t && !e.rest.contains_key("end");
    let runs = |e: &Entry| watched(e) && e.rest.get("status").is_some_and(|status| status == "running");
    let busy = |e: &Entry| watched(e) && is_busy(e, session);
    let mut began = |name: &str, found: Option<&Entry>| {
        cells.cell(
            &format!("begin: {name}"),
            found.map_or("not seen".into(), |e| format!("{:+} ms after before_dispatch", e.t - pass.t)),
        );
    };
    began("user row", first(noted, |e| e.is_row("user", key)));
    began("lifecycle start", first(noted, |e| e.is_lifecycle("start", key)));
    began("entry.status running", first(noted, runs));
    began("registry busy", first(noted, busy));

    let after = |was: &dyn Fn(&Entry) -> bool| {
        noted.iter().rposition(was).and_then(|at| noted[at..].iter().find(|e| watched(e) && !was(e)))
    };
    let mut ended = |name: &str, found: Option<&Entry>| {
        cells.cell(
            &format!("end: {name}"),
            found.map_or("not seen".into(), |e| format!("{:+} ms after agent_end", e.t - end.t)),
        );
    };
    ended("registry idle or gone", after(&busy));
    ended("assistant row", first(noted, |e| e.is_row("assistant", key)));
    ended("lifecycle end", first(noted, |e| e.is_lifecycle("end", key)));
    ended("entry.status no longer running", after(&runs));
    Ok(())
}

/// `/stop` while a turn runs.
async fn aborted(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(5);
    lab.turn(&thread, &owner(), "the thread begins").await?;
    let since = lab.mark().await?;
    let _slow = Slow::begin(lab, &thread, "abort").await?;
    lab.telegram.says(&owner(), &thread.place, "/stop");
    let end = lab.wait(&since, SOON, "the aborted turn's agent_end", |e| e.is_hook("agent_end", &thread.key)).await?;
    lab.calm().await?;
    let noted = lab.since(&since).await?;
    let error = first(&noted, |e| e.is_lifecycle("error", &thread.key));
    let flag = error.map_or(Value::Null, |e| e.event["data"]["aborted"].clone());
    cells.cell("/stop: agent_end success", end.event["success"].to_string());
    cells.cell("/stop: lifecycle error", format!("{}, aborted {flag}", yes(error.is_some())));
    cells.cell("/stop: entry.status", lab.entry(&thread).await?["status"].to_string());
    cells.cell("/stop: binding kept", yes(lab.bound(&thread).await?.is_some()));
    Ok(())
}

/// A held message is handed over while a turn runs, which the product never does.
async fn hand_over_meets_turn(lab: &Lab, cells: &mut Cells, name: &str, via: &'static str, topic: i64) -> Result<()> {
    let thread = lab.topic(topic);
    lab.turn(&thread, &owner(), "the thread begins").await?;
    let held = lab.hold(&thread, &stranger(), "kept meanwhile").await?;
    lab.gate(&thread, false).await?;
    let slow = Slow::begin(lab, &thread, via).await?;
    let since = lab.begin_hand_over(&held, via, &renamed(&held)).await?;
    let early = resolved(lab, &since, SOON / 4).await;
    slow.go_on();
    let late = if early.is_none() { resolved(lab, &since, SOON).await } else { None };
    let when = match (&early, &late) {
        (Some(done), _) => format!("while the turn runs, {}", account(done)),
        (None, Some(done)) => format!("after the running turn, {}", account(done)),
        (None, None) => "not at all".into(),
    };
    cells.cell(&format!("{name} meets a turn: resolves"), when);
    let shown = async |text| lab.telegram.wait_for_bot(&thread.place, SOON, text).await.is_ok();
    cells.cell("… the running turn's reply sent", yes(shown("a slow turn").await));
    cells.cell("… the handed-over reply sent", yes(shown("kept meanwhile").await));
    Ok(())
}

/// How the host, or the error, describes a hand-over.
fn account(done: &Entry) -> String {
    if let Some(error) = done.rest["errors"][0].as_str() {
        return format!("fails: {}", error.lines().next().unwrap_or_default());
    }
    let result = &done.rest["result"]["dispatchResult"];
    format!("deferred {}, final replies {}", result["deferredToActiveRun"], result["counts"]["final"])
}

async fn resolved(lab: &Lab, since: &Mark, limit: Duration) -> Option<Entry> {
    lab.wait(since, limit, "the hand-over's promise", |e| e.kind == "handover").await.ok()
}

fn is_admission(entry: &Entry, at: &str) -> bool {
    entry.kind == "admission" && entry.rest["at"] == at
}

/// Whether the plugin saw a child of this Claude session marked busy.
fn is_busy(entry: &Entry, session: &str) -> bool {
    let registry = entry.rest.get("registry").and_then(Value::as_object);
    registry.is_some_and(|live| live.values().any(|seen| *seen == format!("{} busy", &session[..8])))
}
