//! The list of threads: conversations of every kind and of several agents, named as
//! people know them, each with how it can be driven or why it cannot.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{Stage, TURN, line_with, said};
use super::{Facts, Product};
use crate::claude;
use crate::error::{Error, Result};
use crate::gateway::Family;
use crate::peers::Peer;
use crate::telegram::{Person, Place};

const FORUM: i64 = -1_002_222_222_222;
const GROUP: i64 = -1_001_111_111_111;

// Rule GATE-6.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let allow = json!({ "rideAllow": [{ "threads": ["agent:main:*", "agent:old:*"] }, { "people": ["user:nobody"] }] });
    let config = json!({
        "session": { "dmScope": "per-channel-peer" },
        // A second account: the same chat, told apart by its name.
        "channels": { "telegram": { "accounts": { "spare": { "enabled": false, "botToken": "7000000009:AAnobody" } } } },
    });
    let stage = Stage::build(product, allow, |builder| builder.config(&config)).await?;
    let (telegram, tess) = (&stage.telegram, Person::tess());
    let places = [Place::direct(&tess), Place::group(GROUP, "Harvest"), Place::topic(FORUM, "Forum", 42, "Plans")];
    for place in &places {
        telegram.says(&tess, place, "good morning");
    }
    for place in &places {
        telegram.wait_for_bot(place, TURN, "good morning").await?;
    }
    seed(&stage).await?;

    let listed =
        || async { stage.json(&["ls", "--json"]).await.map(|v| v["rows"].as_array().cloned().unwrap_or_default()) };
    let rows = listed().await?;
    let row = |key: &str| rows.iter().find(|r| r["key"] == key).cloned().unwrap_or(Value::Null);
    // Only 2026.9 keeps a topic's name in its entry.
    let topic_name = if !stage.gateway.before(&[2026, 9]) { "Forum › Plans" } else { "Forum › topic 42" };
    let live = [
        ("agent:main:telegram:direct:1001", "Tess (@tess)", "a direct message is listed under the person's name"),
        (&format!("agent:main:telegram:group:{GROUP}"), "Harvest", "a group under the group's"),
        (&format!("agent:main:telegram:group:{FORUM}:topic:42"), topic_name, "a topic under the forum's and its own"),
    ];
    for (key, title, fact) in live {
        let row = row(key);
        let right = row["title"] == title
            && row["rideable"] == true
            && row["mode"] == "claude"
            && row["relayReady"] == true
            && row["shared"] == false;
        facts.tell(right, fact, brief(&row));
    }
    let check = |facts: &mut Facts, key: &str, mode: Value, why: Option<&str>, fact: &str| {
        let row = row(key);
        let right = row["mode"] == mode
            && row["rideable"] == why.is_none()
            && why.is_none_or(|why| row["whyNot"].as_str().is_some_and(|w| w.contains(why)));
        facts.tell(right, fact, brief(&row));
    };
    check(
        facts,
        OLD_AGENT,
        json!("chat"),
        None,
        "a thread of an agent no configuration names is listed, to be driven through its channel",
    );
    check(
        facts,
        LOST,
        Value::Null,
        Some("transcript of its Claude session is not on the gateway's machine"),
        "one whose transcript is gone says so",
    );
    check(
        facts,
        SPARE,
        Value::Null,
        Some("account spare of telegram is switched off"),
        "a thread of an account that is off says so",
    );
    check(facts, SLACK, Value::Null, Some("channel slack is not configured"), "and one of a channel that is not there");
    check(
        facts,
        OTHER_AGENT,
        json!("chat"),
        Some("rule 2 of rideAllow has the thread, but not"),
        "rideAllow narrows what can be ridden, and says that it does",
    );
    let machine = rows.iter().filter(|r| MADE_BY_MACHINES.iter().any(|key| r["key"] == *key)).count();
    facts.tell(
        machine == 0,
        "runs of cron and of subagents, commands and put away conversations are no threads",
        format!("{machine} of {} listed", MADE_BY_MACHINES.len()),
    );

    for (key, why) in
        [(SLACK, "channel slack is not configured"), (OTHER_AGENT, "rule 2 of rideAllow has the thread, but not")]
    {
        let mut ride = stage.ride(&[key])?;
        let code = ride.wait_exit(TURN).await?;
        let _ = ride.wait_for(TURN, |screen| screen.contains(why)).await;
        facts.tell(
            code == 5 && ride.history().contains(why),
            "riding such a thread is refused with the same reason",
            format!("exit {code}: {}", line_with(&ride.history(), "error:")),
        );
    }

    // The list follows the host.
    let new = Place::topic(FORUM, "Forum", 43, "Seeds");
    telegram.says(&tess, &new, "a new topic");
    telegram.wait_for_bot(&new, TURN, "a new topic").await?;
    let key = format!("agent:main:telegram:group:{FORUM}:topic:43");
    let end = std::time::Instant::now() + TURN;
    let found = loop {
        let found = listed().await?.into_iter().find(|r| r["key"] == key.as_str() && r["mode"] == "claude");
        if found.is_some() || std::time::Instant::now() >= end {
            break found;
        }
    };
    facts.tell(
        found.is_some(),
        "a new topic is listed once its turn is over",
        found.as_ref().map_or_else(|| "never".into(), brief),
    );
    if !stage.gateway.before(&[2026, 9]) {
        let session = row(&format!("agent:main:telegram:group:{FORUM}:topic:42"))["cliSessionId"].clone();
        bound_anew(facts, &stage, &session).await?;
    }
    Ok(())
}

/// The host's session catalog binds a thread nobody knew of to a Claude session while it is ridden.
async fn bound_anew(facts: &mut Facts, stage: &Stage<'_>, session: &Value) -> Result<()> {
    let mut ride = stage.ride(&["forum", "topic:42"])?;
    ride.wait_for(TURN, claude::shows_prompt).await?;
    let listed = call(stage, "sessions.catalog.list", &json!({})).await?;
    let mut request = json!({ "threadId": session });
    for catalog in listed["catalogs"].as_array().into_iter().flatten() {
        for host in catalog["hosts"].as_array().into_iter().flatten() {
            if host["sessions"].as_array().into_iter().flatten().any(|s| s["threadId"] == *session) {
                (request["catalogId"], request["hostId"]) = (catalog["id"].clone(), host["hostId"].clone());
            }
        }
    }
    let bound = call(stage, "sessions.catalog.continue", &request).await?;
    let key = bound["sessionKey"].clone();
    let id = Uuid::new_v4();
    let asked = json!({ "sessionKey": key, "message": "written past the ride: DURIAN", "idempotencyKey": id, "deliver": false });
    call(stage, "chat.send", &asked).await?;
    let sent = call(stage, "agent.wait", &json!({ "runId": id, "timeoutMs": 60_000 })).await?;
    let ran = stage.anthropic.turns().iter().any(|turn| turn.prompt().contains("written past the ride"));
    facts.tell(
        key.is_string() && !ran,
        "a thread bound to the ridden Claude session meanwhile is held too",
        format!("{key}: {}", sent["status"]),
    );
    stage.leave(&mut ride).await?;
    Ok(())
}

async fn call(stage: &Stage<'_>, method: &str, params: &Value) -> Result<Value> {
    let said = stage.gateway.cli(&["gateway", "call", method, "--params", &params.to_string(), "--json"]).await?;
    serde_json::from_str(&said).map_err(|cause| Error::Peer { what: method.into(), said: format!("{cause}: {said}") })
}

const OLD_AGENT: &str = "agent:old:telegram:direct:1001";
const OTHER_AGENT: &str = "agent:elsewhere:telegram:direct:1001";
const LOST: &str = "agent:main:telegram:group:-100777";
const SPARE: &str = "agent:main:telegram:group:-100888";
const SLACK: &str = "agent:main:slack:channel:c123";
const MADE_BY_MACHINES: [&str; 4] = [
    "agent:main:cron:daily:run:1",
    "agent:main:subagent:1",
    "agent:main:telegram:slash:1001",
    "agent:main:telegram:group:-100999",
];

/// What a long life leaves in a host's store, written from outside by the host's own SDK.
async fn seed(stage: &Stage<'_>) -> Result<()> {
    let route = |channel: &str, to: &str, account: &str| json!({ "channel": channel, "to": format!("{channel}:{to}"), "accountId": account });
    let late = stage.gateway.family() == Family::Late2026;
    let entry = |key: &str, route: Value, more: Value| {
        let mut entry = json!({ "sessionId": Uuid::new_v4(), "updatedAt": 1_795_000_000_000_u64, "chatType": "group", "subject": "Old" });
        if late {
            let (channel, to, account) = (&route["channel"], &route["to"], &route["accountId"]);
            entry["delivery"] = json!({ "kind": "external", "context": route, "route": { "channel": channel, "accountId": account, "target": { "to": to } } });
        } else {
            entry["deliveryContext"] = route;
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            entry[name] = value.clone();
        }
        json!({ "agentId": key.split(':').nth(1), "sessionKey": key, "entry": entry })
    };
    let bound = json!({ "cliSessionIds": { "claude-cli": Uuid::new_v4() }, "cliSessionBindings": { "claude-cli": { "sessionId": Uuid::new_v4() } } });
    let put_away = json!({ "archivedAt": 1_795_000_000_000_u64 });
    let entries = [
        entry(OLD_AGENT, route("telegram", "1001", "default"), json!({ "chatType": "direct" })),
        entry(OTHER_AGENT, route("telegram", "1001", "default"), json!({ "chatType": "direct" })),
        entry(LOST, route("telegram", "-100777", "default"), bound),
        entry(SPARE, route("telegram", "-100888", "spare"), json!({})),
        entry(SLACK, route("slack", "c123", "default"), json!({})),
        entry(MADE_BY_MACHINES[0], route("telegram", "1001", "default"), json!({})),
        entry(MADE_BY_MACHINES[1], route("telegram", "1001", "default"), json!({})),
        entry(MADE_BY_MACHINES[2], route("telegram", "1001", "default"), json!({})),
        entry(MADE_BY_MACHINES[3], route("telegram", "-100999", "default"), put_away),
    ];
    let openclaw = Peer::openclaw(stage.gateway.version()).entry()?;
    let sdk = openclaw.parent().unwrap_or(Path::new("/")).join("dist/plugin-sdk/session-store-runtime.js");
    let script = stage.gateway.home().join("seed.mjs");
    std::fs::write(&script, include_str!("seed.mjs")).map_err(|e| broke(&e.to_string()))?;
    let argument = json!({ "sdk": format!("file://{}", sdk.display()), "entries": entries }).to_string();
    let ran = tokio::process::Command::new(Peer::node().entry()?)
        .arg(&script)
        .arg(argument)
        .env_clear()
        .envs(stage.gateway.environment().iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| broke(&e.to_string()))?;
    if ran.status.success() { Ok(()) } else { Err(broke(&said(&ran))) }
}

fn broke(cause: &str) -> Error {
    Error::Peer { what: "writing entries from outside".into(), said: cause.into() }
}

/// A row on one line.
fn brief(row: &Value) -> String {
    if row.is_null() {
        return "not listed".into();
    }
    format!(
        "{}, mode {}, relay {}, shared {}, {}",
        row["title"], row["mode"], row["relayReady"], row["shared"], row["whyNot"]
    )
}
