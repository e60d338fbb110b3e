//! What clients of the gateway wait for, in the plugin's own JavaScript, run by the pinned Node.

use std::path::Path;

use ride_testkit::peers::Peer;
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_waits_for_a_bounded_number_of_answers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let node = Peer::node().fetched().await.expect("the pinned Node is there");
    let ran = tokio::process::Command::new(node)
        .arg(root.join("tests/waits.mjs"))
        .arg(root.join("../../plugins/openclaw/lib/methods.js"))
        .env_clear()
        .output()
        .await
        .expect("Node starts");
    let came: Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ran.stderr)));
    let eight_wait: Vec<bool> = (0..9).map(|nth| nth < 8).collect();
    assert_eq!(came["waiting"], json!(eight_wait), "{came}");
    assert_eq!(came["refused"]["message"], "this connection waits for 8 claims, releases or copies already");
    assert_eq!(came["elsewhere"], "none", "another client waits for its own");
    assert_eq!(came["later"], "none", "one that was answered makes room");
    // 20 parts of a copy, without half a second between every two.
    assert_eq!(came["copy"], json!({ "looks": 20 }));
    assert_eq!(came["quick"], true);
}
