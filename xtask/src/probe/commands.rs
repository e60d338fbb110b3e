//! (g) Which commands reach before_dispatch while the gate holds, and what a reset does
//! to a parked thread.

use std::collections::BTreeMap;

use anyhow::Result;
use ride_testkit::Person;
use serde_json::{Value, json};

use super::cells::{Cells, listed, yes};
use super::lab::{Lab, Mark, Thread, owner, stranger};

/// Built-in commands of 2026.6.1 to 2026.9.6 that a person may type in a ridden thread.
const BUILT_IN: [&str; 10] =
    ["/status", "/help", "/whoami", "/commands", "/new", "/reset", "/compact", "/model", "/btw hi", "/think high"];
/// The probe plugin's own two: for anyone, and for authorized senders.
const OWN: [&str; 2] = ["/probe", "/probeauth"];

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(9);
    lab.turn(&thread, &owner(), "the thread begins").await?;
    lab.gate(&thread, true).await?;
    let before = standing(lab, &thread).await?;
    let by_owner: Vec<&str> = BUILT_IN.into_iter().chain(["/stop", "stop"]).chain(OWN).collect();
    typed(lab, cells, &thread, "owner", &owner(), &by_owner).await?;
    let by_stranger: Vec<&str> = ["/status", "/new", "/stop", "stop"].into_iter().chain(OWN).collect();
    typed(lab, cells, &thread, "stranger", &stranger(), &by_stranger).await?;
    cells
        .cell("entry after all of them", if standing(lab, &thread).await? == before { "unchanged" } else { "changed" });
    resets(lab, cells).await
}

/// Types commands while the gate holds, and tells together those that fared alike.
async fn typed(
    lab: &Lab,
    cells: &mut Cells,
    thread: &Thread,
    name: &str,
    who: &Person,
    commands: &[&str],
) -> Result<()> {
    let mut fared: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for command in commands {
        let since = lab.mark().await?;
        lab.telegram.says(who, &thread.place, command);
        lab.calm().await?;
        fared.entry(fate(lab, &since).await?).or_default().push(command);
    }
    for (fate, commands) in fared {
        cells.cell(&format!("held, {name}: {}", commands.join(" ")), fate);
    }
    Ok(())
}

/// What became of the last thing typed.
async fn fate(lab: &Lab, since: &Mark) -> Result<String> {
    let noted = lab.since(since).await?;
    let mut told: Vec<String> = Vec::new();
    for hook in ["message_received", "before_dispatch"] {
        if let Some(e) = noted.iter().find(|e| e.hook == hook) {
            let slash = e.ctx["conversationId"].as_str().is_some_and(|id| id.starts_with("slash:"));
            told.push(format!("{hook}{}", if slash { " (slash:)" } else { "" }));
        }
    }
    if told.is_empty() {
        told.push("no hook".into());
    }
    if noted.iter().any(|e| e.kind == "held") {
        told.push("held".into());
    }
    told.push(match lab.sent(since).first() {
        Some(sent) => format!("says \"{}\"", sent.text.lines().next().unwrap_or_default()),
        None => "silent".into(),
    });
    Ok(listed(&told))
}

/// `/new` let through and `sessions.reset`, both on a parked thread; then the restore.
async fn resets(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(10);
    lab.turn(&thread, &owner(), "said before the reset").await?;
    let entry = lab.entry(&thread).await?;
    let binding = entry["cliSessionBindings"]["claude-cli"].clone();
    lab.step("patch", json!({ "sessionKey": thread.key, "verb": "park" })).await?;

    let since = lab.mark().await?;
    lab.telegram.says(&owner(), &thread.place, "/new");
    lab.calm().await?;
    let renewed = lab.entry(&thread).await?;
    cells.cell("/new let through: sessionId", compared(&entry, &renewed));
    cells.cell("/new let through: events", reasons(lab, &since).await?);

    let since = lab.mark().await?;
    lab.call("sessions.reset", json!({ "key": thread.key })).await?;
    lab.calm().await?;
    let reset = lab.entry(&thread).await?;
    let marked = reset["lifecycleRevision"] != renewed["lifecycleRevision"];
    cells.cell("sessions.reset: sessionId", compared(&renewed, &reset));
    cells.cell("sessions.reset: lifecycleRevision", if marked { "changed" } else { "not changed" });
    cells.cell("sessions.reset: events", reasons(lab, &since).await?);

    let legacy = !entry["claudeCliSessionId"].is_null();
    let restore = json!({ "sessionKey": thread.key, "verb": "restore", "binding": binding, "legacy": legacy });
    lab.step("patch", restore).await?;
    let turn = lab.turn(&thread, &owner(), "said after the restore").await?;
    let same = turn.request.session() == binding["sessionId"].as_str();
    cells.cell(
        "restore after a reset",
        format!(
            "same Claude session {}, model saw what was before {}",
            yes(same),
            yes(turn.request.saw("said before the reset"))
        ),
    );
    Ok(())
}

/// What a command must not change.
async fn standing(lab: &Lab, thread: &Thread) -> Result<Value> {
    let entry = lab.entry(thread).await?;
    Ok(["sessionId", "cliSessionIds", "cliSessionBindings", "claudeCliSessionId"]
        .iter()
        .map(|name| entry[*name].clone())
        .collect())
}

fn compared(before: &Value, after: &Value) -> &'static str {
    if before["sessionId"] == after["sessionId"] { "unchanged" } else { "new" }
}

/// The reasons of the host's session events since.
async fn reasons(lab: &Lab, since: &Mark) -> Result<String> {
    let noted = lab.since(since).await?;
    let changed = noted.iter().filter(|e| e.kind == "sessionsChanged");
    let mut reasons: Vec<String> =
        changed.map(|e| e.event["reason"].as_str().unwrap_or("without reason").to_owned()).collect();
    reasons.dedup();
    Ok(listed(&reasons))
}
