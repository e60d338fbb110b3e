//! (h) A turn by `chat.send` on the host's own runner: ids, the answer, its end, an
//! abort, a failure, a repeated key, and what the sender of a held one is told.

use std::time::Duration;

use anyhow::Result;
use ride::gateway::client::{Connection, Events};
use serde_json::{Value, json};

use super::cells::{Cells, listed, yes};
use super::lab::{Lab, Mark, SOON, TURN, Thread, owner};
use super::log::Entry;

/// Long enough to be interrupted on a busy machine.
const LONG: &str = "::slow 40 a b c d e f g h i j k l m n o p q r";

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.plain_topic();
    lab.telegram.says(&owner(), &thread.place, "the thread begins");
    lab.telegram.wait_for_bot(&thread.place, TURN, "the thread begins").await?;
    lab.calm().await?;
    let (driver, mut events) = lab.connect().await?;

    let (run, noted) = turn(lab, &driver, &thread, "typed by the driver").await?;
    let request =
        lab.anthropic.requests().into_iter().rev().find(|request| request.prompt().contains("typed by the driver"));
    cells.cell("on the host's own runner", yes(request.is_some_and(|request| request.session().is_none())));
    for name in ["message_received", "before_dispatch"] {
        let hook = noted.iter().find(|e| e.is_hook(name, &thread.key));
        let has = |value: &Value| *value == run.as_str();
        let id = hook.map_or("does not run", |e| {
            if has(&e.event["messageId"]) || has(&e.ctx["messageId"]) { "our id" } else { "no id" }
        });
        let stamp = hook.is_some_and(|e| !e.event["timestamp"].is_null());
        let flow = hook.is_some_and(|e| has(&e.flow));
        cells.cell(name, format!("{id}, timestamp: {}, id by AsyncLocalStorage: {}", yes(stamp), yes(flow)));
    }
    for role in ["user", "assistant"] {
        cells.cell(&format!("{role} rows"), rows(&noted, role, &thread, &run));
    }
    cells.cell("phases", phases(&noted, &run));
    cells.cell("events to the sender", told(&mut events, &run).await);

    let (run, noted) = turn(lab, &driver, &thread, "::tool session_status {}").await?;
    let said: Vec<&str> =
        noted.iter().filter(|e| is_of(e, &run, "assistant")).filter_map(|e| e.event["data"]["text"].as_str()).collect();
    cells.cell("words beside a tool in the stream", yes(said.iter().any(|text| text.starts_with("using"))));
    cells.cell("answer rows after a tool call", rows(&noted, "assistant", &thread, &run));

    let (run, noted) = turn(lab, &driver, &thread, "::err 400").await?;
    cells.cell("the model refuses: phases", phases(&noted, &run));

    let (run, since) = send(lab, &driver, &thread, LONG).await?;
    lab.anthropic.wait_for_prompt(TURN, LONG).await?;
    cells.cell("the same key while it runs", again(&driver, &thread, &run).await);
    driver.call::<_, Value>("chat.abort", &json!({ "sessionKey": thread.key, "runId": run })).await?;
    lab.wait(&since, TURN, "the aborted turn's agent_end", |e| e.is_hook("agent_end", &thread.key)).await?;
    lab.calm().await?;
    cells.cell("aborted: phases", phases(&lab.since(&since).await?, &run));
    cells.cell("the same key after the abort", again(&driver, &thread, &run).await);
    lab.calm().await?;

    lab.gate(&thread, true).await?;
    let (run, since) = send(lab, &driver, &thread, "held").await?;
    lab.wait(&since, SOON, "the message to be held", |e| e.kind == "held").await?;
    lab.calm().await?;
    cells.cell("held: rows", rows(&lab.since(&since).await?, "user", &thread, &run));
    cells.cell("held: events to the sender", told(&mut events, &run).await);
    lab.gate(&thread, false).await
}

fn request(thread: &Thread, text: &str, run: &str) -> Value {
    json!({ "sessionKey": thread.key, "message": text, "deliver": false, "idempotencyKey": run })
}

async fn send(lab: &Lab, driver: &Connection, thread: &Thread, text: &str) -> Result<(String, Mark)> {
    let since = lab.mark().await?;
    let run = uuid::Uuid::new_v4().to_string();
    driver.call::<_, Value>("chat.send", &request(thread, text, &run)).await?;
    Ok((run, since))
}

/// Sends and waits until the turn has ended.
async fn turn(lab: &Lab, driver: &Connection, thread: &Thread, text: &str) -> Result<(String, Vec<Entry>)> {
    let (run, since) = send(lab, driver, thread, text).await?;
    lab.wait(&since, TURN, "the sent turn's agent_end", |e| e.is_hook("agent_end", &thread.key)).await?;
    lab.calm().await?;
    Ok((run, lab.since(&since).await?))
}

/// What a repeated key is answered.
async fn again(driver: &Connection, thread: &Thread, run: &str) -> String {
    match driver.call::<_, Value>("chat.send", &request(thread, LONG, run)).await {
        Ok(answer) => answer["status"].as_str().unwrap_or("no status").to_owned(),
        Err(refused) => refused.to_string(),
    }
}

fn is_of(e: &Entry, run: &str, stream: &str) -> bool {
    e.kind == "agentEvent" && e.event["runId"] == run && e.event["stream"] == stream
}

/// The phases of a run's life, in order.
fn phases(noted: &[Entry], run: &str) -> String {
    let phases = noted.iter().filter(|e| is_of(e, run, "lifecycle")).filter_map(|e| {
        let data = &e.event["data"];
        let aborted = if data["aborted"] == true { " (aborted)" } else { "" };
        Some(format!("{}{aborted}", data["phase"].as_str()?))
    });
    listed(&phases.filter(|phase| phase != "model").collect::<Vec<_>>())
}

/// The ids of a role's rows, the run's made comparable.
fn rows(noted: &[Entry], role: &str, thread: &Thread, run: &str) -> String {
    let told = noted.iter().filter(|e| e.is_row(role, &thread.key)).map(|e| {
        let message = &e.event["message"];
        let key = message["idempotencyKey"].as_str().unwrap_or("no key").replace(run, "<runId>");
        let named = e.event["runId"] == run || message["__openclaw"]["runId"] == run;
        format!("{key}{}", if named { " with runId" } else { "" })
    });
    listed(&told.collect::<Vec<_>>())
}

/// What the sender is told of its turn, in order, each kind once.
async fn told(events: &mut Events, run: &str) -> String {
    let mut kinds: Vec<String> = Vec::new();
    while let Ok(Ok(event)) = tokio::time::timeout(Duration::from_millis(100), events.next()).await {
        let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
        if payload["runId"] != run {
            continue;
        }
        let text = if payload["message"]["content"].is_array() { "" } else { " without text" };
        let kind = match payload["state"].as_str() {
            Some(state) => format!("{} {state}{text}", event.name),
            None => event.name,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    listed(&kinds)
}
