//! How a ride ends for the person: what is the last thing on the screen, what is waited for,
//! and that no command reports what it did not do.

use std::fs;

use ride_testkit::{Key, Terminal};
use serde_json::{Value, json};

use super::command::{DEADLINE, Home, KEY, Machine, dead, fence, granting, open, until_accepted};
use super::standin::{fail, ok};

/// A machine that is granted the thread; `answer` comes first, where it has one.
async fn granted(answer: impl Fn(&Value) -> Option<Value> + Send + Sync + Clone + 'static) -> Machine {
    let home = Home::default();
    let learn = home.clone();
    let machine =
        Machine::start(move |request: &Value| answer(request).or_else(|| granting(request, &home.get()))).await;
    learn.is(&machine);
    machine
}

/// What stands below everything else on the screen.
fn last_lines(screen: &str) -> Vec<String> {
    let lines: Vec<&str> = screen.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len() - 2..].iter().map(|&line| line.to_owned()).collect()
}

async fn ends_with(machine: &Machine, mut terminal: Terminal, code: u32, said: &str) {
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), code, "{}", terminal.screen());
    let screen = terminal.wait_for_text(DEADLINE, "to come back:").await.unwrap();
    let claude = machine.home.path().join("claude");
    let state = machine.state_dir();
    // Quoted where a shell would take it for more than one word.
    let word = |path: &std::path::Path| {
        let text = path.display().to_string();
        if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) { text } else { format!("'{text}'") }
    };
    let way = format!(
        "to come back: ride --url {} --state-dir {} --claude {} deploys",
        machine.origin(),
        word(&state),
        word(&claude)
    );
    let warning = "do not use \"claude --resume …\" from above: it opens a second writer beside the thread's agent";
    assert_eq!(last_lines(&screen), [warning, &way], "{screen}");
    // Ended at once, it may not have come to its own last words.
    assert!(code != 0 || said.contains("SIGTERM") || screen.contains("claude --resume 7"), "{screen}");
    assert!(screen.contains(said), "{screen}");
}

#[tokio::test]
async fn the_last_word_of_every_ride_is_how_to_come_back() {
    let stale = |request: &Value| {
        let taken = request["method"] == "ride_renew" && request["params"].get("claude").is_some();
        let details = json!({"reason": "STALE", "holder": null});
        taken.then(|| {
            fail(
                request,
                json!({"code": "INVALID_REQUEST", "message": "Omar took the thread back", "details": details}),
            )
            .unwrap()
        })
    };
    let stuck = |request: &Value| (request["method"] == "ride_release").then(|| until_accepted(request).unwrap());

    let machine = granted(|_| None).await;
    ends_with(&machine, machine.terminal(&["deploys"], 40, 400), 0, "Deploys is handed back").await;
    fs::write(machine.home.path().join("fail"), "").unwrap();
    ends_with(&machine, machine.terminal(&["deploys"], 40, 400), 11, "error: Claude Code ended with exit code 3").await;

    let machine = granted(stuck).await;
    ends_with(&machine, machine.terminal(&["deploys"], 40, 400), 12, "--accept-broken-chain").await;

    let machine = granted(stale).await;
    fs::write(machine.home.path().join("stay"), "").unwrap();
    let terminal = machine.terminal(&["deploys"], 40, 400);
    ends_with(&machine, terminal, 9, "error: your ride of Deploys is over: Omar took the thread back").await;

    // Ended from outside.
    let machine = granted(|_| None).await;
    fs::write(machine.home.path().join("stay"), "").unwrap();
    let terminal = machine.terminal(&["deploys"], 40, 400);
    ride_testkit::poll_until("Claude Code", DEADLINE, || machine.started().then_some(())).await.unwrap();
    let pid = i32::try_from(terminal.pid().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM).unwrap();
    ends_with(&machine, terminal, 0, "the ride was ended: SIGTERM").await;
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_waited_for_aloud_and_left_by_two_interrupts() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_release") => None,
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    let mut terminal = machine.terminal(&["deploys"], 40, 400);
    terminal
        .wait_for_text(
            DEADLINE,
            "waiting for the gateway to take Deploys back, at most 30s; Ctrl-C twice leaves at once",
        )
        .await
        .unwrap();
    terminal.press(Key::Ctrl('c')).unwrap();
    terminal.wait_for_text(DEADLINE, "Ctrl-C again leaves at once").await.unwrap();
    terminal.press(Key::Ctrl('c')).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 6, "{}", terminal.screen());
    let screen = terminal.wait_for_text(DEADLINE, "to come back:").await.unwrap();
    assert!(screen.contains("error: Deploys could not be handed back: you did not wait for the gateway"), "{screen}");
    assert!(machine.record().unwrap().fence.is_some(), "what a later release goes by is kept");
}

/// One thread's status, held by this fence.
fn status(request: &Value, fence: &str, holder: Value) -> Option<Value> {
    ok(
        request,
        json!({"threads": [{
            "key": KEY, "phase": if holder.is_null() { "open" } else { "ridden" }, "epoch": 9, "fence": fence, "holder": holder, "process": null,
            "claude": null, "cliSessionId": null, "inbox": 0, "outbox": 0, "undelivered": 0, "waitingFor": null, "journal": [],
        }]}),
    )
}

fn ben() -> Value {
    json!({"name": "ben", "host": "vm", "sinceMs": 1, "expiresInMs": 40_000, "phase": "ridden"})
}

#[tokio::test]
async fn a_ride_that_is_over_is_not_said_to_be_handed_back() {
    // Somebody else rides the thread by now.
    let machine = Machine::start(|request: &Value| match request["method"].as_str() {
        Some("ride_status") => status(request, "other.9.other", ben()),
        _ => ok(request, open()),
    })
    .await;
    machine.left(dead());
    let (code, _, said) = machine.output(&["release", "deploys", "--json"]).await;
    assert!(
        code == 4 && said.contains("the ride of Deploys from here is over; it is ridden by ben at vm"),
        "{code} {said}"
    );
    assert_eq!((machine.asked("ride_release"), machine.record()), (vec![], None));
    machine.left(dead());
    let (code, said) = machine.run(&["release", "deploys"]).await;
    let hint = format!("hint: to give it to the agent all the same: ride release {KEY} --take-back\n");
    assert_eq!(
        (code, said),
        (4, format!("error: the ride of Deploys from here is over; it is ridden by ben at vm\n{hint}"))
    );

    // The agent has it: what was wanted is so, and nothing was done.
    let machine = Machine::start(|request: &Value| match request["method"].as_str() {
        Some("ride_status") => status(request, "", Value::Null),
        _ => ok(request, open()),
    })
    .await;
    machine.left(dead());
    let said = machine.run(&["release", "deploys"]).await;
    let expected =
        "there was nothing to hand back: the ride of Deploys from here was over already\nthe agent has Deploys\n";
    assert_eq!(said, (0, expected.to_owned()));
    assert_eq!((machine.asked("ride_release"), machine.record()), (vec![], None));

    // In force, it is handed back and said so.
    let machine = Machine::start(|request: &Value| match request["method"].as_str() {
        Some("ride_status") => status(request, &fence(3).to_string(), ben()),
        _ => ok(request, open()),
    })
    .await;
    machine.left(dead());
    assert_eq!(machine.run(&["release", "deploys"]).await, (0, "Deploys is handed back\n".to_owned()));
    assert_eq!(machine.asked("ride_release").len(), 1);
}

#[tokio::test]
async fn the_doctor_finds_nothing_left_behind_by_a_ride_that_is_over() {
    for (held, expected) in [("other.9.other".to_owned(), false), (fence(3).to_string(), true)] {
        let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
            Some("ride_status") => status(request, &held, ben()),
            _ => ok(request, json!({})),
        })
        .await;
        machine.left(dead());
        let (_, said, _) = machine.output(&["doctor"]).await;
        assert_eq!(said.contains("left behind"), expected, "{said}");
        let (_, said, _) = machine.output(&["doctor", "deploys"]).await;
        assert!(!said.contains("still remembers"), "{said}");
    }
}

#[tokio::test]
async fn a_status_of_one_thread_says_nothing_about_the_others() {
    let machine = Machine::start(|request: &Value| ok(request, json!({"threads": []}))).await;
    assert_eq!(machine.output(&["status", "deploys"]).await, (0, String::new(), "nobody rides Deploys\n".into()));
    assert_eq!(machine.output(&["status"]).await, (0, String::new(), "no thread is ridden\n".into()));
}
