//! What other clients do to a ridden thread: turns by `chat.send`, `sessions.send`,
//! `agent`, `wake`, a webhook and a cron job, then a reset and a deletion. One rule for
//! all of them stands in `docs/protocol.md`: none writes to the ridden conversation, and
//! either whoever asked is told why not, or the thread and the driver are.

use std::path::Path;

use serde_json::{Value, json};

use super::stage::{Stage, TURN, line_with};
use super::transcript::{chain, lines};
use super::{Facts, Product};
use crate::claude;
use crate::client::{Answered, Client, texts};
use crate::error::Result;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
/// Direct chats, the Control UI, heartbeats and cron share this one.
const MAIN: &str = "agent:main:main";
/// The webhook's own token.
const HOOK_TOKEN: &str = "webhooks-of-loopback-only";

// Rules GATE-3, HAND-4.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let hooks =
        json!({ "hooks": { "enabled": true, "token": HOOK_TOKEN, "path": "/hooks", "allowRequestSessionKey": true } });
    let stage = Stage::build(product, json!({}), |builder| builder.allow(&[1001]).config(&hooks)).await?;
    let (telegram, anthropic, tess) = (&stage.telegram, &stage.anthropic, Person::tess());
    let (direct, topic) = (Place::direct(&tess), Place::topic(FORUM, "Forum", 42, "Plans"));
    for place in [&direct, &topic] {
        telegram.says(&tess, place, "the code word is MANGO");
        telegram.wait_for_bot(place, TURN, "]: the code word is MANGO").await?;
    }
    let topic_key = format!("agent:main:telegram:group:{FORUM}:topic:42");
    stage.rideable(&[MAIN, &topic_key]).await?;
    let rows = stage.json(&["ls", "--json"]).await?;
    let session_of = |key: &str| {
        let row = rows["rows"].as_array().and_then(|rows| rows.iter().find(|r| r["key"] == key));
        row.and_then(|row| row["cliSessionId"].as_str()).unwrap_or_default().to_owned()
    };
    let (session, other) = (session_of(MAIN), session_of(&topic_key));
    let transcript =
        poll_until("the transcript", TURN, || claude::transcript(&stage.gateway.claude_dir(), &session)).await?;

    let mut ride = stage.drive(&["--yes", MAIN]).await?;
    ride.submit("first from the terminal").await?;
    telegram.wait_for_bot(&direct, TURN, "]: first from the terminal").await?;
    let mut client = Client::connect(&stage.gateway).await?;
    let ours = || lines(&transcript).len();

    let mut asked = Vec::new();
    let before = ours();
    let text = client.says(MAIN, "run-1", "slip by chat").await?;
    asked.push(("chat.send", text));
    let sent = client
        .call("sessions.send", json!({ "key": MAIN, "message": "slip by sessions", "idempotencyKey": "run-2" }))
        .await?;
    if !absent(&sent) {
        // It answers when the turn began; what came of it is in the thread's own events.
        let ended = |e: &Value| {
            e["event"] == "chat"
                && e["payload"]["runId"] == "run-2"
                && e["payload"]["state"] != "delta"
                && e["payload"]["state"] != "status"
        };
        let text = match &sent {
            Ok(_) => client
                .event(TURN, "the end of a sessions.send", ended)
                .await
                .map_or_else(|e| e.to_string(), |e| texts(&e["payload"])),
            Err(refused) => refused["message"].to_string(),
        };
        asked.push(("sessions.send", text));
    }
    let told = asked.iter().filter(|(_, text)| text.contains("rides this thread from a terminal")).count();
    facts.tell(
        told == asked.len(),
        "a message of another client is refused with who rides, in its own answer",
        show(&asked),
    );

    let agent = client
        .call(
            "agent",
            json!({ "message": "slip by agent", "sessionKey": MAIN, "idempotencyKey": "run-3", "deliver": false }),
        )
        .await?;
    let answer = spoken(&agent);
    let ran = anthropic.turns().iter().any(|r| r.prompt().contains("slip by agent"));
    if ran {
        let said = telegram.wait_for_bot(&direct, TURN, "the agent ran a turn beside it").await;
        let seen = stage.tells(&mut ride, "a turn of its own").await;
        facts.tell(
            said.is_ok() && seen.is_ok(),
            "an `agent` request runs beside the ride, and the thread and the driver are told",
            line_with(&ride.screen(), "riding"),
        );
    } else {
        facts.tell(
            answer.contains("ridden from a terminal"),
            "an `agent` request is refused with the reason in its answer",
            &answer,
        );
    }

    // What comes again, or is for later.
    let woke = client.call("wake", json!({ "mode": "now", "text": "slip by wake" })).await?;
    let hooked = post(
        &stage,
        "/hooks/agent",
        &json!({ "message": "slip by webhook", "sessionKey": MAIN, "deliver": false, "wakeMode": "now" }),
    )
    .await;
    let job = json!({
        "name": "slip", "enabled": true, "schedule": { "kind": "every", "everyMs": 3_600_000 },
        "sessionTarget": "main", "wakeMode": "now", "payload": { "kind": "systemEvent", "text": "slip by cron" },
    });
    let added = client.call("cron.add", job).await?;
    let id = added
        .as_ref()
        .ok()
        .and_then(|job| job["id"].as_str().or(job["job"]["id"].as_str()))
        .unwrap_or_default()
        .to_owned();
    let ran_job = client.call("cron.run", json!({ "id": id, "mode": "force" })).await?;
    ride.submit("second from the terminal").await?;
    telegram.wait_for_bot(&direct, TURN, "]: second from the terminal").await?;
    let went = |answered: &Answered| answered.as_ref().map_or_else(|e| e["message"].to_string(), |ok| ok.to_string());
    facts.tell(
        woke.is_ok() && ran_job.is_ok() && hooked.contains("200") || hooked.contains("202"),
        "wake, webhook and cron are taken by the host",
        format!("{}; {hooked}; {}", went(&woke), went(&ran_job)).chars().take(200).collect::<String>(),
    );

    ride_is_untouched(facts, &stage, &transcript, before, &session);

    // Reset under the ride.
    let reset = client.call("sessions.reset", json!({ "key": MAIN })).await?;
    let said = telegram.wait_for_bot(&direct, TURN, "was reset while it is ridden").await;
    let seen = stage.tells(&mut ride, "was reset in the chat or on the gateway").await;
    facts.tell(
        reset.is_ok() && said.is_ok() && seen.is_ok(),
        "a reset during the ride is announced at once, to the thread and the driver",
        line_with(&ride.screen(), "reset"),
    );
    ride.submit("third from the terminal").await?;
    telegram.wait_for_bot(&direct, TURN, "]: third from the terminal").await?;
    stage.leave(&mut ride).await?;
    telegram.says(&tess, &direct, "and now the KIWI");
    telegram.wait_for_bot(&direct, TURN, "and now the KIWI").await?;
    let after = anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    let goes_on = after.session() == Some(&session) && after.saw("third from the terminal") && after.saw("MANGO");
    facts.tell(
        goes_on,
        "after the ride the ridden conversation goes on",
        format!("session {}, saw the ride {}", after.session().unwrap_or("none"), after.saw("third from the terminal")),
    );
    let again = telegram.chat(&direct).count("was reset");
    facts.tell(again == 1, "and it is not announced twice", format!("{again} times"));
    let whole = poll_until("the last turn in the transcript", TURN, || {
        chain(&transcript).filter(|c| c.texts.iter().any(|t| t.contains("KIWI")))
    })
    .await?;
    let slips = whole.texts.iter().filter(|t| t.contains("slip by") && t.contains("\"role\":\"user\"")).count();
    facts.tell(
        whole.beside == 0,
        "its chain is one",
        format!("{} lines, {} beside it, {slips} with what others sent", whole.ids.len(), whole.beside),
    );

    deleted(&stage, facts, &mut client, &topic, &topic_key, &other).await
}

/// No turn of the others is in the ridden transcript, and none ran on its Claude session.
fn ride_is_untouched(facts: &mut Facts, stage: &Stage<'_>, transcript: &Path, before: usize, session: &str) {
    let slipped: Vec<String> = lines(transcript)[before..]
        .iter()
        .map(|l| l["message"].to_string())
        .filter(|m| m.contains("slip by"))
        .collect();
    facts.tell(
        slipped.is_empty(),
        "the ridden transcript has no line of any of them",
        format!("{} lines", slipped.len()),
    );
    let on: Vec<String> = stage
        .anthropic
        .turns()
        .iter()
        .filter(|r| r.prompt().contains("slip by"))
        .map(|r| {
            format!(
                "{} ({})",
                r.prompt().lines().last().unwrap_or_default().chars().take(40).collect::<String>(),
                if r.session() == Some(session) { "ON THE RIDDEN SESSION" } else { "beside" }
            )
        })
        .collect();
    facts.tell(
        !on.iter().any(|o| o.contains("RIDDEN")),
        "and none ran on the ridden Claude session",
        if on.is_empty() { "no model call".into() } else { on.join(", ") },
    );
}

/// A thread is deleted while it is ridden.
async fn deleted(
    stage: &Stage<'_>,
    facts: &mut Facts,
    client: &mut Client,
    topic: &Place,
    key: &str,
    session: &str,
) -> Result<()> {
    let (telegram, tess) = (&stage.telegram, Person::tess());
    let mut ride = stage.drive(&["forum", "topic:42"]).await?;
    let gone = client.call("sessions.delete", json!({ "key": key, "deleteTranscript": false })).await?;
    let said = telegram.wait_for_bot(topic, TURN, "was deleted while it is ridden").await;
    let seen = stage.tells(&mut ride, "was deleted on the gateway").await;
    facts.tell(
        gone.is_ok() && said.is_ok() && seen.is_ok(),
        "a deletion during the ride is announced at once, to the thread and the driver",
        gone.map_or_else(|e| e.to_string(), |_| line_with(&ride.screen(), "deleted")),
    );
    telegram.says(&tess, topic, "what about the PAPAYA?");
    telegram.wait_for_bot(topic, TURN, "Your message is kept").await?;
    ride.submit("still riding").await?;
    telegram.wait_for_bot(topic, TURN, "]: still riding").await?;
    stage.leave(&mut ride).await?;
    telegram.wait_for_bot(topic, TURN, "]: what about the PAPAYA?").await?;
    let held = stage.anthropic.wait_for_prompt(TURN, "what about the PAPAYA?").await?;
    facts.tell(
        held.session() != Some(session),
        "what waited begins a new conversation, as was announced",
        held.session().unwrap_or("none"),
    );
    Ok(())
}

/// What the `agent` method says at its end.
fn spoken(answered: &Answered) -> String {
    match answered {
        Ok(payload) => texts(payload),
        Err(error) => error["message"].as_str().unwrap_or_default().to_owned(),
    }
}

fn absent(answered: &Answered) -> bool {
    answered.as_ref().is_err_and(|e| e["message"].as_str().is_some_and(|m| m.contains("unknown method")))
}

fn show(asked: &[(&str, String)]) -> String {
    asked
        .iter()
        .map(|(how, text)| format!("{how}: {}", text.chars().take(90).collect::<String>()))
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Posts to one of the gateway's webhooks and gives the status line.
async fn post(stage: &Stage<'_>, path: &str, body: &Value) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = stage.gateway.url().replace("ws://", "");
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {HOOK_TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(&address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(TURN, ask).await {
        Ok(Ok(answer)) => {
            format!("{} {}", answer.lines().next().unwrap_or_default(), answer.lines().last().unwrap_or_default())
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".into(),
    }
}
