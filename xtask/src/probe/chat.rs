//! (h) A turn by `chat.send` on the host's own runner.

use std::time::Duration;

use anyhow::Result;
use ride::gateway::client::Events;
use serde_json::{Value, json};

use super::cells::Cells;
use super::lab::{Lab, Mark, TURN, Thread, owner};

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.plain_topic();
    let since = lab.mark().await?;
    lab.telegram.says(&owner(), &thread.place, "the thread begins");
    lab.telegram.wait_for_bot(&thread.place, TURN, "the thread begins").await?;
    for request in lab.anthropic.requests() {
        println!("REQUEST {request}");
    }
    lab.calm().await?;
    dump(lab, &since, "TELEGRAM").await?;
    let (driver, mut events) = lab.connect().await?;
    for (name, text) in [("PLAIN", "typed by the driver"), ("TOOL", "::tool session_status {}"), ("ERR", "::err 400"), ("SLOW", "::slow 3 one two three four five six seven")] {
        let (run, since) = send(lab, &driver, &thread, text, true).await?;
        println!("RUN {run}");
        dump(lab, &since, name).await?;
        told(&mut events, name).await;
    }
    // abort
    let (run, since) = send(lab, &driver, &thread, "::slow 20 a b c d e f g h i j k l m n o p q r", false).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let again = driver.call::<_, Value>("chat.send", &request(&thread, "::slow 20 a b c d e f g h i j k l m n o p q r", &run)).await;
    println!("AGAIN while running: {again:?}");
    let answer = driver.call::<_, Value>("chat.abort", &json!({"sessionKey": thread.key, "runId": run})).await;
    println!("ABORT: {answer:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    lab.calm().await?;
    dump(lab, &since, "ABORTED").await?;
    told(&mut events, "ABORTED").await;
    let since = lab.mark().await?;
    let again = driver.call::<_, Value>("chat.send", &request(&thread, "::slow 20 a b c d e f g h i j k l m n o p q r", &run)).await;
    println!("AGAIN after abort: {again:?}");
    lab.calm().await?;
    dump(lab, &since, "AGAIN").await?;
    // declined
    lab.gate(&thread, true).await?;
    let (_, since) = send(lab, &driver, &thread, "declined", false).await?;
    lab.calm().await?;
    dump(lab, &since, "HELD").await?;
    told(&mut events, "HELD").await;
    let history = driver.call::<_, Value>("chat.history", &json!({"sessionKey": thread.key, "limit": 50})).await?;
    println!("HISTORY {history}");
    println!("ENTRY {}", lab.step("entry", json!({"sessionKey": thread.key})).await?);
    cells.cell("done", "yes");
    Ok(())
}

fn request(thread: &Thread, text: &str, run: &str) -> Value {
    json!({ "sessionKey": thread.key, "message": text, "deliver": false, "idempotencyKey": run })
}

async fn send(lab: &Lab, driver: &ride::gateway::client::Connection, thread: &Thread, text: &str, wait: bool) -> Result<(String, Mark)> {
    let since = lab.mark().await?;
    let run = uuid::Uuid::new_v4().to_string();
    let answer = driver.call::<_, Value>("chat.send", &request(thread, text, &run)).await?;
    println!("SENT {answer}");
    if wait {
        let _ = lab.wait(&since, Duration::from_secs(40), "the sent turn's agent_end", |e| e.is_hook("agent_end", &thread.key)).await;
        lab.calm().await?;
    }
    Ok((run, since))
}

async fn dump(lab: &Lab, since: &Mark, name: &str) -> Result<()> {
    let noted = lab.since(since).await?;
    let t0 = noted.first().map_or(0, |e| e.t);
    for e in noted {
        let text = serde_json::to_string(&json!({"event": e.event, "ctx": e.ctx, "flow": e.flow}))?;
        println!("{name} +{} {} {} {}", e.t - t0, e.kind, e.hook, text.chars().take(1500).collect::<String>());
    }
    for sent in lab.sent(since) {
        println!("{name} SENT TO TELEGRAM {sent:?}");
    }
    Ok(())
}

async fn told(events: &mut Events, name: &str) {
    while let Ok(Ok(event)) = tokio::time::timeout(Duration::from_millis(100), events.next()).await {
        println!("{name} WS {} {}", event.name, event.payload.chars().take(700).collect::<String>());
    }
}
