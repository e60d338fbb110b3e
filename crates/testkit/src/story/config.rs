//! The configuration: its defaults, wrong values, and changes while a thread is ridden.

use serde_json::{Value, json};

use super::stage::{Stage, TURN, line_with, said};
use super::{Facts, Product};
use crate::error::Result;
use crate::telegram::{Person, Place};
use crate::wait::settled;

const FORUM: i64 = -1_002_222_222_222;

// Rule GATE-5.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let mut stage = Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let tess = Person::tess();
    stage.telegram.says(&tess, &plans, "the code word is MANGO");
    stage.telegram.wait_for_bot(&plans, TURN, "code word is MANGO").await?;

    let given = in_force(&stage).await?;
    let defaults = json!({
        "lockBackend": "file", "rideTtlMinutes": 30, "relayToChannel": true,
        "enableRemoteControl": false, "remoteControlSpawn": "same-dir",
    });
    let right = defaults.as_object().into_iter().flatten().all(|(key, value)| given[key] == *value);
    // 2026.9.6 writes the home folder out.
    let folder = given["lockDir"].as_str().is_some_and(|dir| dir.ends_with("/.openclaw/claude-code-locks"));
    facts.tell(
        right && folder && given["syncMirrorDir"].is_null() && given["rideAllow"].is_null(),
        "every key has its default",
        brief(&given),
    );

    // Changed while the thread is ridden.
    let mut ride = stage.drive(&["forum", "topic:42"]).await?;
    let before = holder(&stage).await?;
    let elsewhere = stage.gateway.home().join("other-locks");
    change(&mut stage, &json!({ "rideTtlMinutes": 5, "relayToChannel": false, "lockDir": elsewhere })).await?;
    let changed = applied(&stage, |config| config["rideTtlMinutes"] == 5).await?;
    facts.tell(
        changed["rideTtlMinutes"] == 5 && changed["relayToChannel"] == false,
        "a change applies",
        brief(&changed),
    );
    let waits = changed["waits"]["why"].as_str().unwrap_or("nothing").to_owned();
    let stays = changed["lockDir"].as_str().is_some_and(|dir| dir.ends_with("claude-code-locks"));
    facts.tell(
        stays && waits.contains("1 of them ridden"),
        "but for the state folder, which waits for the ride and says so",
        format!("{} — {waits}", changed["lockDir"]),
    );
    let after = holder(&stage).await?;
    facts.tell(before == after && !before.is_null(), "the ride is the same as before", format!("{before} and {after}"));
    ride.submit("not to be relayed").await?;
    ride.wait_for(TURN, |screen| screen.contains("]: not to be relayed")).await?;
    stage.telegram.says(&tess, &plans, "what about the PAPAYA?");
    stage.telegram.wait_for_bot(&plans, TURN, "Your message is kept").await?;
    let held = stage.anthropic.turns().iter().any(|r| r.prompt().contains("PAPAYA"));
    facts.tell(!held, "a message is held as before", "no model call for it");
    let relayed = stage.telegram.chat(&plans).by_bot().iter().filter(|t| t.contains("not to be relayed")).count();
    facts.tell(relayed == 0, "and nothing is relayed any more", format!("{relayed} messages"));
    let code = stage.leave(&mut ride).await?;
    stage.telegram.wait_for_bot(&plans, TURN, "]: what about the PAPAYA?").await?;
    facts.tell(code == 0, "the ride is handed back, and what waited is answered", format!("exit {code}"));

    // Nothing is ridden: the folder follows at the next load.
    change(&mut stage, &json!({ "rideTtlMinutes": 6 })).await?;
    let moved = applied(&stage, |config| config["rideTtlMinutes"] == 6).await?;
    let there = moved["lockDir"] == json!(elsewhere) && moved["waits"].is_null() && elsewhere.is_dir();
    facts.tell(there, "then the state folder is the new one", brief(&moved));

    wrong(facts, &mut stage).await
}

/// Values nobody can use: what the host finds itself, and what only we can.
async fn wrong(facts: &mut Facts, stage: &mut Stage<'_>) -> Result<()> {
    let good = stage.gateway.read_config()?;
    merge(stage, &json!({ "rideTtlMinutes": 0 }))?;
    let told = match stage.gateway.cli(&["config", "validate"]).await {
        Ok(said) => said,
        Err(error) => error.to_string(),
    };
    facts.tell(
        told.contains("rideTtlMinutes"),
        "the host names a key whose value its schema does not have",
        line_with(&told, "rideTtlMinutes"),
    );
    stage.gateway.write_config(&good)?;

    stage.gateway.stop().await;
    let file = stage.gateway.home().join("no-folder");
    std::fs::write(&file, "").map_err(|e| crate::error::Error::Peer { what: "a file".into(), said: e.to_string() })?;
    merge(stage, &json!({ "lockDir": file.join("locks") }))?;
    stage.gateway.start().await?;
    let listed = stage.run(&["ls"]).await?;
    let text = said(&listed);
    let named = text.contains(&format!("lockDir is {}", file.join("locks").display()));
    facts.tell(
        !listed.status.success() && named,
        "a folder that cannot be is named with its key, and what to correct",
        text.lines().collect::<Vec<_>>().join(" | "),
    );
    let logged = stage.gateway.log().contains("lockDir is ");
    facts.tell(logged, "and in the gateway's log", line_with(&stage.gateway.log(), "lockDir is "));
    Ok(())
}

/// Who holds the thread, with the fence.
async fn holder(stage: &Stage<'_>) -> Result<Value> {
    let status = stage.json(&["status", "--json"]).await?;
    let thread = &status["threads"][0];
    Ok(if thread["phase"] == "ridden" { json!([thread["fence"], thread["holder"]["name"]]) } else { Value::Null })
}

fn merge(stage: &Stage<'_>, config: &Value) -> Result<()> {
    stage.gateway.merge_config(&json!({ "plugins": { "entries": { "claude-code-sync": { "config": config } } } }))
}

/// Writes it and has it applied: by itself on 2026.9, by a restart before.
async fn change(stage: &mut Stage<'_>, config: &Value) -> Result<()> {
    merge(stage, config)?;
    if stage.gateway.before(&[2026, 9]) {
        stage.gateway.restart().await?;
    }
    Ok(())
}

async fn in_force(stage: &Stage<'_>) -> Result<Value> {
    stage.json(&["config", "--json"]).await.map(|mut told| told["gateway"].take())
}

/// The configuration in force once it is the wanted one, or as it is at last.
async fn applied(stage: &Stage<'_>, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    settled(TURN, async || Ok(in_force(stage).await.unwrap_or_default()), wanted).await
}

fn brief(config: &Value) -> String {
    let keys = ["lockBackend", "lockDir", "rideTtlMinutes", "relayToChannel", "rideAllow", "syncMirrorDir"];
    keys.iter().map(|key| format!("{key} {}", config[key])).collect::<Vec<_>>().join(", ")
}
