//! Patches of a host's entry that come late, and turns that a claim did not see: what the
//! plugin's JavaScript does about them, and what the hosts promise.

use std::path::Path;

use ride_testkit::peers::{Peer, pinned};
use ride_testkit::script::printed;
use serde_json::{Value, json};

/// Runs a script of this folder and gives what it prints.
async fn run(script: &str, argument: &Path, home: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    printed(&script, argument, home).await.unwrap_or_else(|e| panic!("{e}"))
}

// Rule HAND-5.
#[tokio::test]
async fn a_patch_that_comes_late_changes_nothing_and_the_next_performer_passes_behind_it() {
    let home = tempfile::tempdir().unwrap();
    let acts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/openclaw/lib/effects.js");
    let came = run("late.mjs", &acts, home.path()).await;
    for (act, claude) in [("park", json!("ridden")), ("restore", json!(null)), ("adopt", json!("ridden"))] {
        let expected =
            json!({ "early": "waits", "barrier": "ok", "late": "unknown", "claude": claude, "asked": [["t", 7]] });
        assert_eq!(came[act], expected, "{act}");
    }
    assert_eq!(came["unasked"], json!({ "outcome": "unknown", "what": "the disk is gone", "claude": "ridden" }));
}

// The barrier rests on this: docs/hosts.md, T.
// Rule HAND-5.
#[tokio::test]
async fn a_patch_is_a_critical_section_on_hosts_of_both_kinds_of_store() {
    // The newest keeps its entries in SQLite, 2026.7.1 in a file.
    for version in [&pinned().openclaw[0], &pinned().openclaw[2]] {
        let host = Peer::openclaw(version);
        host.fetched().await.expect("the pinned host is there");
        let home = tempfile::tempdir().unwrap();
        let order = run("section.mjs", &host.folder(), home.path()).await;
        let order: Vec<&str> = order.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert_eq!(order[..2], ["asked", "agreed"], "{version}: {order:?}");
        for line in ["empty one finds after", "empty one ended, one is after", "empty none ended, one is after"] {
            assert!(order.contains(&line), "{version}: {line}: {order:?}");
        }
    }
}

// What another gateway let in, and on 2026.7 and before what passed no gate.
// Rule LEASE-3.
#[tokio::test]
async fn a_claim_waits_for_turns_that_were_let_in_elsewhere_or_past_the_gate() {
    let home = tempfile::tempdir().unwrap();
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/openclaw/lib");
    let came = run("others.mjs", &lib, home.path()).await;
    // Nothing while a turn is on its way, or runs; then that it may go on.
    let told = json!([0, 0, [["letGo", { "claude": "ridden", "since": 5 }]]]);
    assert_eq!((&came["other"]["new"], &came["other"]["old"]), (&told, &told));
    let ok = json!("ok");
    assert_eq!(came["own"]["new"], json!(vec![&ok; 8]), "there every turn passes a gate");
    let (unseen, runs) = ("notYet: a turn that passed no gate could still begin", "notYet: a turn is running");
    assert_eq!(came["own"]["old"], json!(["ok", "ok", unseen, runs, "childAgain", "ok", "ok", "ok"]));
    let waits = "notYet: the gateway of /elsewhere shares the lockDir and has not said that no turn of it is on the Claude session";
    assert_eq!(came["own"]["waits"][7], waits);
}
