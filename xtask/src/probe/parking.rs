//! (b) Parking the binding at claim and restoring it at release, and what reaches the
//! Claude session in between.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use ride_testkit::Process;
use ride_testkit::gateway::Family;
use serde_json::{Value, json};

use super::cells::{Cells, listed, those, yes};
use super::lab::{Lab, SOON, TURN, Thread, owner};
use super::transcript::Transcript;
use super::turns::Turn;

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(2);
    lab.turn(&thread, &owner(), "before the claim").await?;
    let ridden = lab.must_be_bound(&thread).await?;
    let file = Transcript::of(&lab.gateway.claude_dir(), &ridden)?;
    let entry = lab.entry(&thread).await?;
    let binding = entry["cliSessionBindings"]["claude-cli"].clone();
    let legacy = !entry["claudeCliSessionId"].is_null();

    lab.gate(&thread, true).await?;
    children(lab, cells, &ridden, &file).await?;
    let same = lab.entry(&thread).await?["cliSessionBindings"]["claude-cli"] == binding;
    cells.cell("entry after the child's end", if same { "untouched" } else { "changed" });

    let parked = lab.step("patch", json!({ "sessionKey": thread.key, "verb": "park" })).await?;
    let kept = parked["now"]["updatedAt"] == entry["updatedAt"];
    cells.cell("parked", format!("bound {}, updatedAt kept {}", yes(lab.bound(&thread).await?.is_some()), yes(kept)));

    let at_park = file.lines()?;
    let slip = agent(lab, &thread).await?;
    cells
        .cell("agent RPC while parked", format!("{slip}, {}", meanwhile(lab, &thread, &ridden, &file, at_park).await?));
    let woken = wake(lab, &thread).await?;
    cells.cell("wake while parked", format!("{woken}, {}", meanwhile(lab, &thread, &ridden, &file, at_park).await?));
    let continued = catalog(lab, &ridden, &file).await?;
    cells.cell("catalog.continue + chat.send", continued);
    end_children(lab, &ridden).await?;

    let before = file.lines()?;
    terminal(lab, &ridden).await?;
    let grown = file.lines()? - before;
    cells.cell(
        "terminal claude -p --resume",
        if grown > 0 { format!("appended (+{grown} lines)") } else { "wrote elsewhere".into() },
    );

    let restore = json!({ "sessionKey": thread.key, "verb": "restore", "binding": binding, "legacy": legacy });
    lab.step("patch", restore).await?;
    let reused =
        || lab.gateway.log().rsplit("reuse=").next().and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    let turn = lab.turn(&thread, &owner(), "after the release").await?;
    cells.cell("restored, next turn", resumed(lab, &thread, &ridden, &turn).await?);
    cells.cell("… reuse= in the host's log", reused().unwrap_or_default());
    cells.cell("… the model saw the terminal's turn", yes(turn.request.saw("typed at the terminal")));
    cells.cell("… forks in the transcript", file.forks()?);
    let knows = [("agent RPC", "slipped by agent"), ("wake", "slipped by wake")]
        .map(|(name, text)| (name, turn.request.saw(text)));
    cells.cell("… the model knows the slipped", those(knows));
    let turn = lab.turn(&thread, &owner(), "one turn more").await?;
    cells.cell("the turn after that", resumed(lab, &thread, &ridden, &turn).await?);
    Ok(())
}

/// The host's warm children, and how they end.
async fn children(lab: &Lab, cells: &mut Cells, ridden: &str, file: &Transcript) -> Result<()> {
    let ours = children_of(lab, ridden);
    if ours.is_empty() {
        cells.cell("child between turns", "none");
        return Ok(());
    }
    for child in ours {
        let registered = registry(lab, &child);
        let parent = fs::read_to_string(format!("/proc/{}/status", child.pid)).unwrap_or_default();
        let ours = parent.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim)
            == lab.gateway.pid().map(|pid| pid.to_string()).as_deref();
        let status = registered["status"].as_str().unwrap_or("unregistered").to_owned();
        cells.cell("child between turns", format!("warm, status {status}"));
        let names = registered["sessionId"] == ridden;
        cells.cell("recognised by", those([("ppid = gateway", ours), ("registry names the bound id", names)]));
        cells.cell("argv", argv(&child, ridden));
        let before = file.lines()?;
        child.signal(15)?;
        let ms = lab.gone(&child).await?;
        lab.calm().await?;
        let left = if registry(lab, &child).is_null() { "registry file removed" } else { "registry file left" };
        cells.cell("SIGTERM while idle", format!("gone in {ms} ms, +{} lines, {left}", file.lines()? - before));
    }
    Ok(())
}

/// The gateway's children that hold this Claude session.
fn children_of(lab: &Lab, session: &str) -> Vec<Process> {
    let named = |child: &Process| child.command_line().iter().any(|arg| arg.contains(session));
    let registered = |child: &Process| registry(lab, child)["sessionId"] == session;
    lab.gateway.claude_processes().into_iter().filter(|child| named(child) || registered(child)).collect()
}

/// What Claude Code wrote about a process of its own; null when nothing.
fn registry(lab: &Lab, child: &Process) -> Value {
    let path = lab.gateway.claude_dir().join(format!("sessions/{}.json", child.pid));
    fs::read(path).ok().and_then(|raw| serde_json::from_slice(&raw).ok()).unwrap_or_default()
}

/// How the command line names the session, and whether at its end.
fn argv(child: &Process, session: &str) -> String {
    let line = child.command_line();
    let Some(at) = line.iter().position(|arg| arg.contains(session)) else {
        return "does not name it".into();
    };
    let shape = match line[at].replace(session, "<id>") {
        alone if alone == "<id>" => format!("{} <id>", line[at.saturating_sub(1)]),
        joined => joined,
    };
    format!("{shape}{}", if at + 1 == line.len() { ", at the end" } else { "" })
}

/// What became of the thread and of the ridden file by now.
async fn meanwhile(lab: &Lab, thread: &Thread, ridden: &str, file: &Transcript, at_park: usize) -> Result<String> {
    let bound = match lab.bound(thread).await? {
        Some(id) if id == ridden => "bound to the ridden session",
        Some(_) => "bound to a fresh session",
        None => "not bound",
    };
    Ok(format!("{bound}, ridden file +{}", file.lines()? - at_park))
}

async fn agent(lab: &Lab, thread: &Thread) -> Result<String> {
    let since = lab.mark().await?;
    let request =
        json!({ "sessionKey": thread.key, "message": "slipped by agent", "idempotencyKey": uuid::Uuid::new_v4() });
    let begun = match lab.call("agent", request).await {
        Ok(begun) => begun,
        Err(refused) => return Ok(format!("refused: {refused}")),
    };
    lab.call("agent.wait", json!({ "runId": begun["runId"], "timeoutMs": TURN.as_millis() as u64 / 2 })).await?;
    lab.calm().await?;
    Ok(format!("turn ran {}", yes(lab.asked(&since).is_some())))
}

async fn wake(lab: &Lab, thread: &Thread) -> Result<String> {
    let since = lab.mark().await?;
    let request = json!({ "mode": "now", "text": "slipped by wake", "sessionKey": thread.key });
    if let Err(refused) = lab.call("wake", request).await {
        return Ok(format!("refused: {refused}"));
    }
    // A turn, if there is one, is in a thread of the host's choosing: only the model tells.
    let ran = lab.anthropic.wait_for(SOON / 2, |request| request.saw("slipped by wake")).await.is_ok();
    lab.calm().await?;
    let here = lab.since(&since).await?.iter().any(|e| e.is_hook("agent_end", &thread.key));
    Ok(format!("turn ran {}, in this thread {}", yes(ran), yes(here)))
}

/// Lets the host's session catalog continue the ridden session, and writes to what it gives.
async fn catalog(lab: &Lab, ridden: &str, file: &Transcript) -> Result<String> {
    let listed_in = match lab.call("sessions.catalog.list", json!({})).await {
        Ok(list) => list,
        Err(absent) => return Ok(format!("method absent: {absent}")),
    };
    let Some((catalog, host)) = listing(&listed_in, ridden) else {
        return Ok("the catalog does not list the ridden session".into());
    };
    let at = file.lines()?;
    let request = json!({ "catalogId": catalog, "hostId": host, "threadId": ridden });
    let continued = match lab.call("sessions.catalog.continue", request).await {
        Ok(continued) => continued,
        Err(refused) => return Ok(format!("listed; refused: {refused}")),
    };
    let alone = file.lines()? - at;
    let key = continued["sessionKey"].as_str().or(continued["key"].as_str()).context("the catalog gave no key")?;
    let since = lab.mark().await?;
    let request = json!({ "sessionKey": key, "message": "by the catalog", "idempotencyKey": uuid::Uuid::new_v4(), "deliver": false });
    lab.call("chat.send", request).await?;
    lab.wait(&since, TURN, "the catalog's turn", |e| e.is_hook("agent_end", key)).await?;
    lab.calm().await?;
    let resumed = lab.asked(&since).is_some_and(|request| request.session() == Some(ridden));
    let gate = lab.since(&since).await?.iter().any(|e| e.is_hook("before_dispatch", key));
    let seen = listed(&[
        if resumed { "resumes the ridden id" } else { "another id" },
        if gate { "passes before_dispatch under its own key" } else { "no before_dispatch" },
    ]);
    Ok(format!("continue +{alone}, chat.send +{} lines, {seen}", file.lines()? - at - alone))
}

/// Catalog and host of a session, wherever this version lists it.
fn listing(list: &Value, session: &str) -> Option<(Value, Value)> {
    let either =
        |value: &Value, names: [&str; 2]| names.iter().map(|name| &value[*name]).find(|v| !v.is_null()).cloned();
    for catalog in list["catalogs"].as_array()? {
        for host in catalog["hosts"].as_array()? {
            let rows = either(host, ["sessions", "rows"])?;
            if rows.as_array()?.iter().any(|row| row["threadId"] == session) {
                return Some((either(catalog, ["id", "catalogId"])?, either(host, ["hostId", "id"])?));
            }
        }
    }
    None
}

async fn end_children(lab: &Lab, ridden: &str) -> Result<()> {
    for child in children_of(lab, ridden) {
        child.signal(15)?;
        lab.gone(&child).await?;
    }
    Ok(())
}

/// The real Claude Code, as a person would resume it in the session's folder.
async fn terminal(lab: &Lab, ridden: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(lab.gateway.home().join("bin/claude"));
    command.args(["-p", "--resume", ridden, "typed at the terminal"]).current_dir(lab.gateway.workspace()).env_clear();
    command.envs(lab.gateway.environment().iter().map(|(name, value)| (name, value)));
    let ran = tokio::time::timeout(TURN, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let ran = ran.context("claude -p did not end")?.context("could not run claude -p")?;
    if !ran.status.success() {
        bail!("claude -p ended with {}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
    }
    Ok(())
}

/// Whether a turn went on in the ridden session.
async fn resumed(lab: &Lab, thread: &Thread, ridden: &str, turn: &Turn) -> Result<String> {
    let bound = lab.bound(thread).await?.as_deref() == Some(ridden);
    let asked = turn.request.session() == Some(ridden);
    // 2026.8 and later keep the child; a second one for the same session would be a fork in waiting.
    let children = children_of(lab, ridden).len();
    let odd = lab.gateway.family() == Family::Late2026 && children != 1;
    Ok(format!("same id {}{}", yes(bound && asked), if odd { format!(", {children} children") } else { String::new() }))
}
