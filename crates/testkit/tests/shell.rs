//! What of the plugin's JavaScript no story can time: run by the pinned Node, alone.

use std::path::Path;

use ride_testkit::peers::Peer;
use serde_json::{Value, json};

// Rule HAND-4.
#[tokio::test]
async fn what_a_turn_beside_the_ride_bound_stays_until_that_was_told_of() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let node = Peer::node().fetched().await.expect("the pinned Node is there");
    let ran = tokio::process::Command::new(node)
        .arg(root.join("tests/shell.mjs"))
        .arg(root.join("../../plugins/openclaw/lib/acts.js"))
        .env_clear()
        .output()
        .await
        .expect("Node starts");
    let came: Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ran.stderr)));
    let restored =
        |came: &Value| (came[0] == "ok" || came[0] == "restoredOver") && came[2] == "ridden" && came[3] == "ridden";
    assert_eq!(came[0], json!(["slipped", ["other"], "other", "ridden"]));
    // An addon of before does not say whether: as it was then.
    assert!(restored(&came[1]) && restored(&came[2]), "{came}");
}

// Rules INBOX-8, HAND-6.
#[tokio::test]
async fn messages_without_an_id_differ_and_a_channel_stays_a_channel() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let node = Peer::node().fetched().await.expect("the pinned Node is there");
    let ran = tokio::process::Command::new(node)
        .arg(root.join("tests/gate.mjs"))
        .arg(root.join("../../plugins/openclaw/lib"))
        .env_clear()
        .output()
        .await
        .expect("Node starts");
    let out: Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ran.stderr)));
    // The addon tells them apart, by sender, content and count; time is no id.
    let asked = out["ids"].as_array().expect("three were asked about");
    assert!(
        asked.iter().all(|m| m["unnamed"]["timed"] == true && m["unnamed"]["run"] == asked[0]["unnamed"]["run"]),
        "{out}"
    );
    let texts: Vec<&Value> = asked.iter().map(|m| &m["text"]).collect();
    assert_eq!(texts, ["one", "two", "two"]);
    let kinds = ["channel", "channel", "group", "channel", "group", "direct"];
    // Held by an older version: as the host's entry says, and else a group.
    assert_eq!(out["kinds"], json!([&kinds[..], &["direct", "channel", "group"]].concat()));
}
