//! A chat ride of the command itself, against a gateway that says what a real one said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ride_testkit::Key;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::command::{Machine, row};
use super::standin::{Script, Standin, fail, ok};

const DEADLINE: Duration = Duration::from_secs(20);

/// A gateway whose thread has no Claude session. Each prompt is answered in two pieces,
/// but `fail` with an error and `silent` by nothing that is heard.
async fn gateway() -> Machine {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let running = Arc::new(Mutex::new(None::<String>));
    let script = || {
        let (asked, running) = (asked.clone(), running.clone());
        let answer = move |request: &Value| {
            asked.lock().unwrap().push(json!({"method": request["method"], "params": request["params"]}));
            answer(request, &mut running.lock().unwrap())
        };
        Script::Serve { scopes: &["operator.read", "operator.write"], answer: Box::new(answer) }
    };
    Machine::with(Standin::start((0..4).map(|_| script()).collect()).await, asked)
}

fn answer(request: &Value, running: &mut Option<String>) -> Option<Value> {
    let params = &request["params"];
    let waiting = json!([{"seq": 3, "from": "Omar\u{1b}[2J", "text": "and the papaya?", "atMs": 1}]);
    match request["method"].as_str().unwrap() {
        "sessions_rideable" => {
            let mut row = row();
            row["cliSessionId"] = Value::Null;
            row["mode"] = "chat".into();
            ok(request, json!({"rows": [row]}))
        }
        "ride_claim" => ok(
            request,
            json!({
                "key": row()["key"], "title": "Deploys", "route": null, "leaseMs": 60_000, "renewEveryMs": 500, "silenceMs": 1_800_000,
                "relay": true, "waiting": [], "claude": null,
                "fence": {"incarnation": uuid::Uuid::nil(), "epoch": 1, "grant": uuid::Uuid::nil()},
            }),
        ),
        "ride_renew" => {
            let turn = running.as_ref().map(|id| json!({"id": id, "state": "begun"}));
            let renewed = json!({"expiresInMs": 60_000, "silentInMs": 1_800_000, "waiting": waiting, "waitingTotal": 1, "outbox": 0, "turn": turn});
            *running = None;
            ok(request, renewed)
        }
        "ride_say" => ok(request, json!({"state": "said"})),
        "chat.send" => {
            let (run, text) = (params["idempotencyKey"].as_str().unwrap(), params["message"].as_str().unwrap());
            assert_eq!(params["deliver"], false);
            let chat = |state: &str, text: &str| {
                json!({"type": "event", "event": "chat", "payload": {
                "runId": run, "sessionKey": params["sessionKey"], "state": state,
                "message": {"role": "assistant", "content": [{"type": "text", "text": text}]}}})
            };
            match text {
                "fail" => fail(request, json!({"code": "INVALID_REQUEST", "message": "no such model"})),
                "silent" => {
                    *running = Some(run.to_owned());
                    ok(request, json!({"runId": run, "status": "started"}))
                }
                _ => Some(json!([
                    ok(request, json!({"runId": run, "status": "started"})).unwrap(),
                    chat("delta", "you"),
                    chat("final", &format!("you said 「{text}」")),
                ])),
            }
        }
        "chat.history" => ok(
            request,
            json!({"messages": [
                {"role": "user", "content": "of yesterday"},
                {"role": "assistant", "content": [{"type": "text", "text": "long ago"}]},
            ]}),
        ),
        "ride_release" => ok(request, json!({"open": true, "waiting": 1})),
        _ => ok(request, json!({})),
    }
}

#[tokio::test]
async fn one_prompt_from_a_script() {
    let machine = gateway().await;
    let (code, out, said) = machine.output(&["deploys", "--say", "hello"]).await;
    assert_eq!((code, out.as_str()), (0, "you said 「hello」\n"), "{said}");
    let id = machine.asked("ride_say")[0]["id"].clone();
    assert_eq!(
        machine.asked("chat.send")[0]["idempotencyKey"],
        id,
        "the id that was written down is the one that is sent"
    );
    assert_eq!(machine.asked("ride_release").len(), 1);
    assert!(machine.record().is_none(), "nothing is left of a ride that was handed back");

    let (code, out, said) = gateway().await.output(&["deploys", "--say", "hello", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, told["answer"].as_str()), (0, Some("you said 「hello」")), "{said}");
}

#[tokio::test]
async fn a_prompt_that_is_not_answered_is_an_error() {
    let machine = gateway().await;
    let (code, out, said) = machine.output(&["deploys", "--say", "fail"]).await;
    assert!(code != 0 && out.is_empty() && said.contains("no such model"), "exit {code}: {said}");
    assert_eq!(machine.asked("ride_release").len(), 1, "and the thread is handed back");
    // An end that was not heard is looked up; here the host knows nothing of it.
    let (code, _, said) = gateway().await.output(&["deploys", "--say", "silent"]).await;
    assert!(code != 0 && said.contains("no answer: the turn ended without a text"), "exit {code}: {said}");
    let (code, _, said) = gateway().await.output(&["deploys", "--say", " "]).await;
    assert!(code == 2 && said.contains("the prompt is empty"), "exit {code}: {said}");
}

/// The window's new size and a key that reach `ride` at once: neither is left lying.
#[tokio::test]
async fn a_key_pressed_while_the_window_changes() {
    let machine = gateway().await;
    let mut terminal = machine.terminal(&["deploys"], 24, 60);
    terminal.wait_for_text(DEADLINE, "1 waiting").await.unwrap();
    let process = Pid::from_raw(terminal.pid().unwrap().cast_signed()).unwrap();
    for n in 1..=40 {
        kill_process(process, Signal::STOP).unwrap();
        terminal.resize(24, 60 + n % 2).unwrap();
        terminal.send(b"x").unwrap();
        kill_process(process, Signal::CONT).unwrap();
        let typed = "x".repeat(usize::from(n));
        terminal.wait_for(DEADLINE, |screen| screen.contains(&format!("› {typed}"))).await.unwrap();
    }
    terminal.press(Key::Ctrl('c')).unwrap();
    terminal.press(Key::Ctrl('d')).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 0, "{}", terminal.screen());
}

#[tokio::test]
async fn a_chat_at_a_terminal() {
    let machine = gateway().await;
    let mut terminal = machine.terminal(&["deploys"], 24, 60);
    let screen = terminal.wait_for(DEADLINE, |screen| screen.contains("1 waiting")).await.unwrap();
    let order: Vec<_> =
        ["Deploys", "> of yesterday", "● long ago", "⇄ Omar[2J: and the papaya? (waits)", "⇄ riding Deploys"]
            .iter()
            .map(|text| screen.find(text))
            .collect();
    assert!(order.is_sorted() && order.iter().all(Option::is_some), "{screen}");
    terminal.submit("日本語 first").await.unwrap();
    terminal.wait_for_text(DEADLINE, "● you said 「日本語 first」").await.unwrap();
    // Two lines, by a backslash and by Ctrl-J.
    terminal.submit("one \\").await.unwrap();
    terminal.type_text("two").await.unwrap();
    terminal.press(Key::Ctrl('j')).unwrap();
    terminal.submit("three").await.unwrap();
    terminal.wait_for_text(DEADLINE, "three」").await.unwrap();
    // The prompt before brought back, and then a narrower window.
    terminal.press(Key::Up).unwrap();
    terminal.wait_for(DEADLINE, |screen| screen.matches("three").count() >= 3).await.unwrap();
    terminal.resize(24, 40).unwrap();
    terminal.press(Key::Ctrl('c')).unwrap();
    // The empty prompt names /help itself.
    terminal.wait_for_text(DEADLINE, "tells the keys").await.unwrap();
    terminal.send(b"/help").unwrap();
    terminal.wait_for_text(DEADLINE, "› /help").await.unwrap();
    terminal.press(Key::Enter).unwrap();
    terminal.wait_for_text(DEADLINE, "hands the thread back").await.unwrap();
    terminal.submit("fail").await.unwrap();
    terminal.wait_for_text(DEADLINE, "no such model").await.unwrap();
    terminal.press(Key::Ctrl('d')).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 0, "{}", terminal.screen());
    terminal.wait_for_text(DEADLINE, "Deploys is handed back").await.unwrap();
    let sent: Vec<_> = machine.asked("chat.send").iter().map(|send| send["message"].clone()).collect();
    assert_eq!(sent, ["日本語 first", "one \ntwo\nthree", "fail"]);
}
