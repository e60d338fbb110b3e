//! The picker in a real terminal, against a gateway that answers by a script.

use std::sync::{Arc, Mutex};

use ride_testkit::process::descendants;
use ride_testkit::{Key, Process, Program, Terminal, poll_until};
use serde_json::{Value, json};
use uuid::Uuid;

use super::command::{DEADLINE, Home, KEY, Machine, granting, row};
use super::standin::{Script, Standin, ok};

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
        other(
            "Holidays",
            "agent:main:telegram:group:-100:topic:7",
            json!({"rideable": false, "whyNot": "no Claude session behind it", "cliSessionId": null})
        ),
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
    assert!(!terminal.look(|screen| screen.alternate_screen()) && !screen.contains("▸"), "{screen}");
}

/// The `ride` that runs in a shell.
async fn ride_of(shell: &Terminal) -> Process {
    let shell = shell.pid().unwrap();
    let find =
        || descendants(shell).into_iter().find(|process| process.command_line().iter().any(|arg| arg == "--url"));
    poll_until("ride to run in the shell", DEADLINE, find).await.unwrap()
}

#[tokio::test]
async fn every_way_out_gives_the_terminal_back() {
    let machine = machine().await;
    let line = "before=$(stty -g); ride; echo \"ended with $?, $([ \"$(stty -g)\" = \"$before\" ] && echo whole)\"";
    for how in ["\x1b", "\x03", "TERM", "INT", "HUP"] {
        let mut shell = machine.shell();
        shell.wait_for_text(DEADLINE, "> ").await.unwrap();
        shell.send(format!("{line}\r").as_bytes()).unwrap();
        shell.wait_for_text(DEADLINE, "what was said in 7").await.unwrap();
        assert!(shell.look(|screen| screen.alternate_screen()));
        match how {
            "TERM" => ride_of(&shell).await.signal(15).unwrap(),
            "INT" => ride_of(&shell).await.signal(2).unwrap(),
            "HUP" => ride_of(&shell).await.signal(1).unwrap(),
            key => shell.send(key.as_bytes()).unwrap(),
        }
        let screen = shell.wait_for(DEADLINE, |screen| screen.contains("ended with 130, whole")).await.unwrap();
        assert!(!shell.look(|screen| screen.alternate_screen()), "{how:?}: {screen}");
        // A person who leaves is told nothing.
        assert_eq!(screen.contains("while choosing a thread"), how.len() > 1, "{how:?}: {screen}");
    }
    assert!(machine.asked("ride_claim").is_empty());
}

#[tokio::test]
async fn it_can_be_suspended_and_comes_back() {
    let machine = machine().await;
    let mut shell = machine.shell();
    shell.wait_for_text(DEADLINE, "> ").await.unwrap();
    shell.send(b"ride\r").unwrap();
    shell.wait_for_text(DEADLINE, "what was said in 7").await.unwrap();
    shell.send(b"ho\x1a").unwrap();
    let screen = shell.wait_for_text(DEADLINE, "Stopped").await.unwrap();
    assert!(!shell.look(|screen| screen.alternate_screen()), "{screen}");
    shell.send(b"fg\r").unwrap();
    shell.wait_for_text(DEADLINE, "1 of 3").await.unwrap();
    assert!(shell.look(|screen| screen.alternate_screen()));
    // Keys reach it again, one by one.
    shell.send(b"x").unwrap();
    shell.wait_for_text(DEADLINE, "nothing fits").await.unwrap();
    shell.send(b"\x1b").unwrap();
    shell.wait_for(DEADLINE, |screen| !screen.contains("nothing fits")).await.unwrap();
}

#[tokio::test]
async fn it_follows_its_window_and_its_gateway() {
    let listed = Arc::new(Mutex::new(rows()));
    let told = listed.clone();
    let machine = Machine::listing(
        move || listed.lock().unwrap().clone(),
        |request: &Value| match request["method"].as_str() {
            Some("chat.history") => ok(request, history(request)),
            _ => None,
        },
    )
    .await;
    let mut terminal = machine.terminal(&[], 24, 120);
    terminal.wait_for_text(DEADLINE, "what was said in 7").await.unwrap();
    terminal.press(Key::Down).unwrap();
    terminal.wait_for_text(DEADLINE, "what was said in 8").await.unwrap();

    // A narrow window has no preview, and a wide one has it back.
    terminal.resize(10, 60).unwrap();
    terminal.wait_for_text(DEADLINE, "no Claude session behind it").await.unwrap();
    assert!(!terminal.screen().contains("what was said"));
    // Faster than it can look, too: what the window lost is drawn again.
    terminal.resize(4, 20).unwrap();
    terminal.resize(24, 120).unwrap();
    terminal.wait_for_text(DEADLINE, "what was said in 8").await.unwrap();

    // The stand-in says that something changed after each question: the selection stays.
    told.lock()
        .unwrap()
        .as_array_mut()
        .unwrap()
        .insert(0, other("Fresh", "agent:main:telegram:group:-100:topic:9", json!({})));
    let screen = terminal.wait_for_text(DEADLINE, "Fresh").await.unwrap();
    assert!(screen.lines().any(|line| line.contains("▸") && line.contains("日本の話")), "{screen}");
    terminal.press(Key::Escape).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 130);
}

#[tokio::test]
async fn it_outlives_a_restart_of_the_gateway() {
    let home = Home::default();
    let learn = home.clone();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answering = |rows: Value| {
        let (asked, home) = (asked.clone(), home.clone());
        move |request: &Value| {
            asked.lock().unwrap().push(json!({"method": request["method"], "params": request["params"]}));
            match request["method"].as_str() {
                Some("sessions_rideable") => ok(request, json!({"rows": rows})),
                Some("chat.history") => ok(request, history(request)),
                _ => granting(request, &home.get()),
            }
        }
    };
    let mut grown = rows();
    grown.as_array_mut().unwrap().insert(0, other("Fresh", "agent:main:telegram:group:-100:topic:9", json!({})));
    let before = Script::ServeSome { requests: 2, answer: Box::new(answering(rows())) };
    let refused = Script::Reject(json!({"code": "UNAVAILABLE", "message": "starting"}));
    let after = Script::Serve { scopes: &["operator.read", "operator.write"], answer: Box::new(answering(grown)) };
    let machine = Machine::with(Standin::start(vec![before, refused, after]).await, asked.clone());
    learn.is(&machine);

    let mut terminal = machine.terminal(&[], 24, 120);
    terminal.wait_for_text(DEADLINE, "what was said in 7").await.unwrap();
    terminal.wait_for_text(DEADLINE, "the connection was lost, trying again").await.unwrap();
    // What is known can be searched meanwhile, and is ridden on the new connection.
    terminal.type_text("dep").await.unwrap();
    terminal.wait_for_text(DEADLINE, "1 of 4").await.unwrap();
    terminal.wait_for_text(DEADLINE, "what was said in 42").await.unwrap();
    terminal.press(Key::Enter).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 0, "{}", terminal.screen());
    assert_eq!(machine.asked("ride_claim")[0]["key"], KEY);
}

/// Not a test: what the next one runs, in a terminal of its own.
#[test]
#[ignore = "panics on purpose"]
fn panics_while_it_has_the_terminal() {
    let _screen = ride::picker::screen::Screen::take().unwrap();
    panic!("on purpose");
}

#[tokio::test]
async fn a_panic_is_told_on_the_terminal_it_gives_back() {
    let run = "{ME} --ignored --exact gateway::picker::panics_while_it_has_the_terminal --nocapture; echo \"ended, $([ \"$(stty -g)\" = \"$before\" ] && echo whole)\"";
    let me = std::env::current_exe().unwrap();
    let script = format!("before=$(stty -g); {}", run.replace("{ME}", me.to_str().unwrap()));
    let terminal = Program::new("/bin/bash", "/")
        .args(["-c", &script])
        .env("PATH", "/usr/bin:/bin")
        .env("RUST_BACKTRACE", "0")
        .size(40, 160)
        .start()
        .unwrap();
    let screen = terminal.wait_for_text(DEADLINE, "ended, whole").await.unwrap();
    assert!(screen.contains("on purpose") && !terminal.look(|screen| screen.alternate_screen()), "{screen}");
}

#[tokio::test]
async fn words_that_fit_several_open_it() {
    let machine = machine().await;
    let mut terminal = machine.terminal(&["telegram"], 24, 120);
    let screen = terminal.wait_for_text(DEADLINE, "3 of 3").await.unwrap();
    assert!(screen.contains("› telegram"), "{screen}");
    terminal.type_text(" dep").await.unwrap();
    terminal.wait_for_text(DEADLINE, "1 of 3").await.unwrap();
    terminal.press(Key::Enter).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 0, "{}", terminal.screen());
    assert_eq!(machine.asked("ride_claim")[0]["key"], KEY);

    // Without a terminal it is the error it was.
    let (code, _, said) = machine.output(&["telegram"]).await;
    assert_eq!(
        (code, said.as_str()),
        (
            2,
            "error: riding needs a terminal: standard input or output is not one\nhint: --say sends one prompt without one, to a thread without a Claude session\n"
        )
    );
}

#[tokio::test]
async fn a_terminal_that_knows_only_lines_gets_an_error() {
    let machine = machine().await;
    let mut shell = machine.shell();
    shell.wait_for_text(DEADLINE, "> ").await.unwrap();
    shell.send(b"TERM=dumb ride; echo ended with $?\r").unwrap();
    let screen = shell.wait_for_text(DEADLINE, "ended with 2").await.unwrap();
    assert!(screen.contains("error: which thread? this terminal cannot show them to choose from"), "{screen}");
}

#[tokio::test]
async fn a_claude_session_is_chosen_and_then_its_thread() {
    let home = Home::default();
    let answer = |request: &Value| match request["method"].as_str() {
        Some("ride_config") => ok(request, json!({})),
        Some("ride_adopt") => {
            ok(request, json!({"cliSessionId": request["params"]["cliSessionId"], "cwd": "/srv/shop"}))
        }
        _ => ok(request, history(request)),
    };
    let machine = Machine::listing(rows, answer).await;
    home.is(&machine);
    let project = home.get().join(".claude/projects/-srv-shop");
    std::fs::create_dir_all(&project).unwrap();
    for (n, prompt) in [(1, "add the tax"), (2, "why is it slow?")] {
        let id = Uuid::from_u128(n);
        let user = json!({"type": "user", "uuid": Uuid::from_u128(9), "parentUuid": null, "cwd": "/srv/shop", "message": {"role": "user", "content": prompt}});
        let last =
            json!({"type": "last-prompt", "lastPrompt": prompt, "leafUuid": Uuid::from_u128(9), "sessionId": id});
        std::fs::write(project.join(format!("{id}.jsonl")), format!("{user}\n{last}\n")).unwrap();
    }
    let mut terminal = machine.terminal(&["adopt"], 24, 120);
    terminal.wait_for_text(DEADLINE, "why is it slow?").await.unwrap();
    terminal.type_text("tax").await.unwrap();
    terminal.wait_for_text(DEADLINE, "1 of 2").await.unwrap();
    terminal.press(Key::Enter).unwrap();
    terminal.wait_for_text(DEADLINE, "Enter choose").await.unwrap();
    terminal.type_text("dep").await.unwrap();
    terminal.wait_for_text(DEADLINE, "1 of 3").await.unwrap();
    terminal.press(Key::Enter).unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 0, "{}", terminal.screen());
    let asked = machine.asked("ride_adopt");
    assert_eq!((&asked[0]["key"], &asked[0]["cliSessionId"]), (&json!(KEY), &json!(Uuid::from_u128(1))));
    terminal
        .wait_for_text(DEADLINE, "Deploys goes on in Claude session 00000000-0000-0000-0000-000000000001, in /srv/shop")
        .await
        .unwrap();

    // Left in either picker, nothing is adopted.
    for (thread_too, args) in
        [(false, vec!["adopt"]), (true, vec!["adopt", "--session", "00000000-0000-0000-0000-000000000002"])]
    {
        let mut terminal = machine.terminal(&args, 24, 120);
        terminal.wait_for_text(DEADLINE, if thread_too { "Enter choose" } else { "Enter adopt" }).await.unwrap();
        terminal.press(Key::Escape).unwrap();
        assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 130, "{}", terminal.screen());
    }
    assert_eq!(machine.asked("ride_adopt").len(), 1);
    // Without a terminal there is a list, and a thread has to be named.
    let (code, listed, _) = machine.output(&["adopt"]).await;
    assert!(code == 0 && listed.contains("add the tax") && listed.contains("why is it slow?"), "{listed}");
    let (code, _, said) = machine.output(&["adopt", "--session", "00000000-0000-0000-0000-000000000002"]).await;
    assert!(code == 2 && said.contains("which thread?"), "{code} {said}");
}
