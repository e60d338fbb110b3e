//! (e) Which source gives the answer of a `chat.send` turn, with an id.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use ride::gateway::client::Events;
use serde_json::json;

use super::cells::{Cells, listed, those, yes};
use super::lab::{Lab, Mark, TURN, Thread, owner};
use super::log::Entry;

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(7);
    lab.turn(&thread, &owner(), "the thread begins").await?;
    let (driver, mut events) = lab.connect().await?;
    let subscribed =
        driver.call::<_, serde_json::Value>("sessions.messages.subscribe", &json!({ "key": thread.key })).await;
    let (run, since) = send(lab, &thread, "typed by the driver").await?;
    let noted = lab.since(&since).await?;
    let hook = |name: &str| noted.iter().find(|e| e.is_hook(name, &thread.key)).cloned();
    for name in ["message_received", "before_dispatch"] {
        let told = match hook(name) {
            None => "does not run".into(),
            Some(e) => {
                let id = if e.event["messageId"] == run.as_str() || e.ctx["messageId"] == run.as_str() {
                    "the idempotencyKey"
                } else {
                    "another or none"
                };
                format!("messageId {id}, channel {}, senderId {}", e.ctx["channelId"], e.event["senderId"])
            }
        };
        cells.cell(name, told);
    }
    cells.cell("transcript row, user", rows(&noted, "user", &thread, &run));
    cells.cell("transcript row, answer", rows(&noted, "assistant", &thread, &run));
    cells.cell("sent to Telegram", lab.sent(&since).len());
    cells.cell("events to the driver, by name", told(&mut events).await);
    cells.cell("… subscribed to session.message", yes(subscribed.is_ok()));

    let (run, since) = send(lab, &thread, "::tool Bash {\"command\":\"echo hi\"}").await?;
    cells.cell("answer rows after a tool call", rows(&lab.since(&since).await?, "assistant", &thread, &run));
    Ok(())
}

/// Sends as a driver would, undelivered, and waits for the turn's end.
async fn send(lab: &Lab, thread: &Thread, text: &str) -> Result<(String, Mark)> {
    let since = lab.mark().await?;
    let run = uuid::Uuid::new_v4().to_string();
    let request = json!({ "sessionKey": thread.key, "message": text, "deliver": false, "idempotencyKey": run });
    lab.call("chat.send", request).await?;
    lab.wait(&since, TURN, "the sent turn's agent_end", |e| e.is_hook("agent_end", &thread.key)).await?;
    lab.calm().await?;
    Ok((run, since))
}

/// The keys of a role's rows, the run's id made comparable.
fn rows(noted: &[Entry], role: &str, thread: &Thread, run: &str) -> String {
    let rows = noted.iter().filter(|e| e.is_row(role, &thread.key));
    let told: Vec<String> = rows
        .map(|e| {
            let key =
                e.event["message"]["idempotencyKey"].as_str().unwrap_or("no idempotencyKey").replace(run, "<runId>");
            format!("{key}{}", if e.event["messageId"].is_string() { " with messageId" } else { "" })
        })
        .collect();
    listed(&told)
}

/// Which events came, each counted once: only their names can be read here.
async fn told(events: &mut Events) -> String {
    let mut names = BTreeMap::new();
    while let Ok(Ok(event)) = tokio::time::timeout(Duration::from_millis(100), events.next()).await {
        *names.entry(event.name).or_insert(0_usize) += 1;
    }
    let wanted = ["chat", "session.message", "agent"];
    those(wanted.map(|name| (name, names.contains_key(name))))
}
