//! What clients of the gateway wait for, in the plugin's own JavaScript, run by the pinned Node.

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

#[tokio::test]
async fn a_client_waits_for_a_bounded_number_of_answers() {
    let came = run("waits.mjs", "../../plugins/openclaw/lib/methods.js").await;
    let eight_wait: Vec<bool> = (0..9).map(|nth| nth < 8).collect();
    assert_eq!(came["waiting"], json!(eight_wait), "{came}");
    assert_eq!(came["refused"]["message"], "this connection waits for 8 claims, releases or copies already");
    assert_eq!(came["elsewhere"], "none", "another client waits for its own");
    assert_eq!(came["later"], "none", "one that was answered makes room");
    // 20 parts of a copy, without half a second between every two.
    assert_eq!(came["copy"], json!({ "looks": 20 }));
    assert_eq!(came["quick"], true);
}
