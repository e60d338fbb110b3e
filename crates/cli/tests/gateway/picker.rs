//! The picker in a real terminal, against a gateway that answers by a script.

use ride_testkit::Key;
use serde_json::{Value, json};
use uuid::Uuid;

use super::command::{DEADLINE, Home, KEY, Machine, granting, row};
use super::standin::ok;

/// A thread beside the one that can be ridden.
fn other(title: &str, key: &str, more: Value) -> Value {
    let mut other = row();
    (other["title"], other["key"]) = (json!(title), json!(key));
    for (name, value) in more.as_object().unwrap() {
        other[name] = value.clone();
    }
    other
}

fn rows() -> Value {
    json!([
        other("Holidays", "agent:main:telegram:group:-100:topic:7", json!({"rideable": false, "whyNot": "no Claude session behind it", "cliSessionId": null})),
        other("日本の話 👩‍👩‍👧", "agent:main:telegram:group:-100:topic:8", json!({"cliSessionId": Uuid::from_u128(8)})),
        row(),
    ])
}

fn history(request: &Value) -> Value {
    let key = request["params"]["sessionKey"].as_str().unwrap();
    let said = format!("what was said in {}", key.rsplit(':').next().unwrap());
    json!({"messages": [
        {"role": "user", "content": said, "timestamp": 1, "__openclaw": {"senderName": "Tess", "seq": 1}},
        {"role": "assistant", "content": [{"type": "text", "text": "an answer"}], "timestamp": 2},
    ]})
}

async fn machine() -> Machine {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::listing(rows, move |request: &Value| match request["method"].as_str() {
        Some("chat.history") => ok(request, history(request)),
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    machine
}

#[tokio::test]
async fn a_thread_is_searched_seen_and_ridden() {
    let machine = machine().await;
    let mut terminal = machine.terminal(&[], 24, 120);
    terminal.wait_for_text(DEADLINE, "no Claude session behind it").await.unwrap();
    terminal.wait_for_text(DEADLINE, "what was said in 7").await.unwrap();
    // One that cannot be ridden says so, and the picker stays.
    terminal.press(Key::Enter).unwrap();
    terminal.wait_for_text(DEADLINE, "Holidays cannot be ridden: no Claude session behind it").await.unwrap();
    terminal.type_text("dep").await.unwrap();
    terminal.wait_for_text(DEADLINE, "1 of 3").await.unwrap();
    terminal.wait_for_text(DEADLINE, "what was said in 42").await.unwrap();
    terminal.press(Key::Enter).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 0, "{}", terminal.screen());
    assert!(machine.started());
    assert_eq!(machine.asked("ride_claim")[0]["key"], KEY);
    // The terminal is as it was: not on the alternate screen, echoing.
    let screen = terminal.wait_for_text(DEADLINE, "Deploys is handed back").await.unwrap();
    assert!(!terminal.look(|screen| screen.alternate_screen()) && !screen.contains("❯"), "{screen}");
}
