//! What of the plugin's JavaScript no story can time: run by the pinned Node, alone.

use std::path::Path;

use ride_testkit::script::printed;
use serde_json::{Value, json};

/// Runs a script of this folder with a file or folder, and gives what it prints.
async fn run(script: &str, argument: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = tempfile::tempdir().expect("a temporary folder");
    let ran = printed(&root.join("tests").join(script), &root.join(argument), home.path()).await;
    ran.unwrap_or_else(|e| panic!("{e}"))
}

// Rule HAND-4.
#[tokio::test]
async fn what_a_turn_beside_the_ride_bound_stays_until_that_was_told_of() {
    let came = run("shell.mjs", "../../plugins/openclaw/lib/effects.js").await;
    let restored =
        |came: &Value| (came[0] == "ok" || came[0] == "restoredOver") && came[2] == "ridden" && came[3] == "ridden";
    assert_eq!(came[0], json!(["slipped", ["other"], "other", "ridden"]));
    // An addon of before does not say whether: as it was then.
    assert!(restored(&came[1]) && restored(&came[2]), "{came}");
}

// Rules INBOX-8, HAND-6.
#[tokio::test]
async fn messages_without_an_id_differ_and_a_channel_stays_a_channel() {
    let out = run("gate.mjs", "../../plugins/openclaw/lib").await;
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
