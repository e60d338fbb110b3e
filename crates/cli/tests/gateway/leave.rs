//! Ctrl-C at every stage before Claude Code runs: the same exit code, said where it
//! happened, nothing of Claude Code started and nothing claimed left behind.

use ride_testkit::{Key, Terminal};
use serde_json::{Value, json};

use super::command::{DEADLINE, Home, Machine, RIDE, granting, row};
use super::standin::ok;

/// A machine whose gateway does not answer one method.
async fn silent_at(method: &'static str) -> Machine {
    let home = Home::default();
    let learn = home.clone();
    let rows = move || if method == "sessions_rideable" { Value::Null } else { json!([row()]) };
    let machine = Machine::listing(rows, move |request: &Value| match request["method"].as_str() {
        Some(asked) if asked == method => None,
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    machine
}

/// Presses Ctrl-C, and gives exit code and screen.
async fn interrupted(mut terminal: Terminal, said: &str) -> String {
    terminal.press(Key::Ctrl('c')).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 130, "{}", terminal.screen());
    terminal.wait_for_text(DEADLINE, said).await.unwrap()
}

/// Waits until the gateway was asked something.
async fn asked(machine: &Machine, method: &str) {
    let look = || Some(machine.asked(method)).filter(|asked| !asked.is_empty());
    ride_testkit::poll_until(method, DEADLINE, look).await.unwrap();
}

#[tokio::test]
async fn while_connecting() {
    let machine = silent_at("nothing").await;
    // Takes the connection and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let terminal = machine.program(RIDE, ["--url", &url, "deploys"].map(str::to_owned).to_vec()).start().unwrap();
    let _taken = listener.accept().await.unwrap();
    interrupted(terminal, "error: interrupted while connecting to the gateway").await;
}

#[tokio::test]
async fn while_the_list_is_read() {
    let machine = silent_at("sessions_rideable").await;
    let terminal = machine.terminal(&["deploys"], 40, 120);
    machine.listed().await;
    interrupted(terminal, "error: interrupted while reading the threads").await;
}

#[tokio::test]
async fn at_the_question() {
    let machine = Machine::listing(
        || {
            let mut shared = row();
            shared["shared"] = json!(true);
            json!([shared])
        },
        |request: &Value| ok(request, json!({})),
    )
    .await;
    let terminal = machine.terminal(&["deploys"], 40, 120);
    terminal.wait_for_text(DEADLINE, "Ride it? [y/N]").await.unwrap();
    interrupted(terminal, "error: interrupted while asking").await;

    // A no, and the end of the input, are the same without having been interrupted.
    for answer in ["n\r", "\x04"] {
        let mut terminal = machine.terminal(&["deploys"], 40, 120);
        terminal.wait_for_text(DEADLINE, "Ride it? [y/N]").await.unwrap();
        terminal.send(answer.as_bytes()).unwrap();
        assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 130);
        terminal.wait_for_text(DEADLINE, "error: Deploys is not ridden").await.unwrap();
    }
    assert!(machine.asked("ride_claim").is_empty());
}

#[tokio::test]
async fn while_a_turn_is_waited_for() {
    let machine = silent_at("ride_claim").await;
    let terminal = machine.terminal(&["deploys"], 40, 120);
    asked(&machine, "ride_claim").await;
    interrupted(terminal, "error: interrupted while claiming; the gateway takes the thread back by itself").await;
    // A grant may still have been made: what could prove it is kept.
    assert!(machine.record().is_some() && !machine.started());
}

#[tokio::test]
async fn while_claude_code_is_being_started() {
    let machine = silent_at("ride_renew").await;
    let terminal = machine.terminal(&["deploys"], 40, 120);
    asked(&machine, "ride_renew").await;
    let screen = interrupted(terminal, "error: interrupted while starting Claude Code").await;
    assert!(screen.contains("Deploys is handed back"), "{screen}");
    assert_eq!((machine.asked("ride_release").len(), machine.record(), machine.started()), (1, None, false));
}

#[tokio::test]
async fn while_it_is_handed_back() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::listing(
        || json!([row()]),
        move |request: &Value| match request["method"].as_str() {
            Some("ride_renew" | "ride_release") => None,
            _ => granting(request, &home.get()),
        },
    )
    .await;
    learn.is(&machine);
    let mut terminal = machine.terminal(&["deploys"], 40, 120);
    asked(&machine, "ride_renew").await;
    terminal.press(Key::Ctrl('c')).unwrap();
    asked(&machine, "ride_release").await;
    let screen = interrupted(terminal, "error: interrupted while starting Claude Code").await;
    assert!(screen.contains("not waiting for the hand-back"), "{screen}");
    // The fence is kept: it is what a later release goes by.
    assert!(machine.record().unwrap().fence.is_some());
}
