//! A ride on a copy before its Claude Code runs: a person may think about the question where
//! the project is, and the thread stays theirs meanwhile, as long as they are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ride_testkit::poll_until;
use serde_json::{Value, json};

use super::command::{DEADLINE, Home, Machine, granting, row};
use super::standin::{fail, ok};

/// A machine that has not the gateway's file; renewals are refused once `lost` says so.
async fn elsewhere(lost: Arc<AtomicBool>) -> Machine {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::listing(|| json!([row()]), move |request: &Value| match request["method"].as_str() {
        Some("ride_claim") => {
            let mut answer = granting(request, &home.get())?;
            let grant = &mut answer["payload"];
            grant["renewEveryMs"] = json!(50);
            grant["claude"]["transcript"]["path"] = json!("/no-such-home/t.jsonl");
            Some(answer)
        }
        Some("ride_copy") => ok(request, json!({"size": 0, "compared": 0, "sha256": "", "leaf": null, "files": []})),
        Some("ride_renew") if lost.load(Ordering::Relaxed) => {
            let holder = json!({"name": "ben", "host": "box", "sinceMs": 1, "expiresInMs": 60_000, "phase": "ridden"});
            fail(request, json!({"code": "INVALID_REQUEST", "message": "the thread is held by ben@box now", "details": {"reason": "STALE", "holder": holder}}))
        }
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    machine
}

#[tokio::test]
async fn the_lease_is_renewed_while_a_person_is_asked() {
    let lost = Arc::new(AtomicBool::new(false));
    let machine = elsewhere(lost.clone()).await;
    let mut terminal = machine.terminal(&["deploys"], 40, 200);
    terminal.wait_for_text(DEADLINE, "Which folder of this machine is").await.unwrap();
    let renewals = || Some(machine.asked("ride_renew")).filter(|asked| asked.len() >= 3);
    let asked = poll_until("renewals at the question", DEADLINE, renewals).await.unwrap();
    // A question nobody answers is silence.
    assert!(asked.iter().all(|renewal| renewal["active"] == false), "{asked:?}");

    lost.store(true, Ordering::Relaxed);
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 9, "{}", terminal.screen());
    terminal.wait_for_text(DEADLINE, "your ride of Deploys is over").await.unwrap();
}
