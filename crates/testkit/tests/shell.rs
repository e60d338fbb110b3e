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
    let came: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ran.stderr)));
    let restored = |came: &Value| (came[0] == "ok" || came[0] == "restoredOver") && came[2] == "ridden" && came[3] == "ridden";
    assert_eq!(came[0], json!(["slipped", ["other"], "other", "ridden"]));
    // An addon of before does not say whether: as it was then.
    assert!(restored(&came[1]) && restored(&came[2]), "{came}");
}
