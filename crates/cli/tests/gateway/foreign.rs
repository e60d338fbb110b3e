//! Text from outside never reaches the terminal raw: every error and every listing is printed
//! with hostile text in each field that comes from elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ride::env::Terminal;
use ride::error::Error;
use ride::gateway::client::{CallError, ConnectError};
use ride::gateway::locate::Pin;
use ride::{matching, render};
use ride_core::wire::{Holder, JournalLine, MethodError, Reason, Refusal, Row, ThreadStatus, Waiting};
use serde_json::{Value, json};

use super::command::{KEY, Machine, row};
use super::standin::{Script, Standin, fail, ok};

/// The clipboard, the screen, C1, bidirectional marks, tags and line ends.
const NASTY: &str = "A\u{1b}]52;c;aGk=\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200f}\r\nerror: forged\u{2028}\u{85}\u{ad}\u{e0041}\u{3164}Z";

/// Nothing but lines of what can be seen; a plain text in the place of the hostile one has
/// as many lines.
fn check(what: &str, lines: usize, text: &str) {
    let hidden: Vec<char> =
        text.chars().filter(|c| *c != '\n' && ride_core::text::plain(&c.to_string()) != c.to_string()).collect();
    assert!(hidden.is_empty(), "{what} prints {hidden:?}: {text:?}");
    assert_eq!(text.lines().count(), lines, "{what}: {text}");
}

fn holder() -> Holder {
    Holder {
        name: NASTY.into(),
        host: NASTY.into(),
        identity: Some(NASTY.into()),
        since_ms: 0,
        expires_in_ms: 1,
        phase: NASTY.into(),
        waiting_for: Some(NASTY.into()),
        acceptable: true,
    }
}

fn nasty_row() -> Row {
    let mut value = row();
    for field in ["channel", "displayName", "title", "conversationId", "agentId", "whyNot", "key"] {
        value[field] = NASTY.into();
    }
    value["rideable"] = false.into();
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_error_is_printed_clean() {
    let text = || NASTY.to_owned();
    let connect: Vec<ConnectError> = vec![
        ConnectError::Unreachable { url: text(), origin: "test", cause: text(), local: true },
        ConnectError::Silent { url: text(), after_ms: 1 },
        ConnectError::NotGateway { url: text(), cause: text(), status: None },
        ConnectError::Tls { url: text(), cause: text(), seen: None },
        ConnectError::Plain { url: text() },
        ConnectError::WrongSecret { url: text(), what: "token" },
        ConnectError::NoSecret { url: text() },
        ConnectError::TakenBack { url: text() },
        ConnectError::Unpaired { url: text(), device_id: NASTY.into(), request_id: None, why: NASTY.into() },
        ConnectError::NarrowToken { url: text(), granted: NASTY.into(), wanted: text() },
        ConnectError::Starting { url: text(), message: NASTY.into() },
        ConnectError::Protocol { url: text(), message: NASTY.into() },
        ConnectError::Rejected { url: text(), code: NASTY.into(), message: NASTY.into() },
    ];
    for e in connect {
        let name = format!("{e:?}");
        let printed = Error::from(e).to_string();
        // The address is of the person's own making: its line ends stay.
        let own = printed.lines().filter(|line| line.starts_with("error: forged")).count();
        check(&name, printed.lines().count(), &printed);
        assert!(own <= 2, "{printed}");
    }
    let pair = ConnectError::Unpaired {
        url: "u".into(),
        device_id: NASTY.into(),
        request_id: Some(NASTY.into()),
        why: NASTY.into(),
    };
    check("pairing", 3, &Error::from(pair).to_string());
    let pinned = ConnectError::Pinned { url: "u".into(), expected: Pin([1; 32]), seen: Pin([2; 32]) };
    check("pin", 5, &Error::from(pinned).to_string());
    let refused = || {
        let details = Refusal { reason: Reason::Held, holder: Some(holder()), hint: Some(NASTY.into()) };
        CallError::Refused(Box::new(MethodError { code: NASTY.into(), message: NASTY.into(), details }))
    };
    check("a refusal", 2, &Error::from(refused()).to_string());
    check("a lost ride", 1, &Error::lost(NASTY, NASTY, Some(&holder())).to_string().replace('\n', " "));
    let host = CallError::Host { method: "ride_claim", code: NASTY.into(), message: NASTY.into() };
    check("the host's error", 1, &Error::from(host).to_string());
    let scope = CallError::MissingScope { method: "ride_claim", scope: NASTY.into() };
    check("a scope", 2, &Error::from(scope).to_string());
    let rows = [nasty_row(), nasty_row()];
    let several = matching::find(&rows, &["A".to_owned()]).unwrap_err();
    let printed = Error::from(several).to_string();
    check("several threads", printed.lines().count(), &printed);
    assert!(!printed.lines().any(|line| line.starts_with("error: forged")), "{printed}");
    // What a program reads is exact.
    assert_eq!(Error::from(refused()).json()["error"]["exitCode"], 4);
}

#[test]
fn every_listing_is_printed_clean() {
    let wide = Terminal { width: None, colour: false, interactive: false };
    let rows = render::rows(&[nasty_row()], 1, wide);
    check("ls", 2, &rows);
    let driven = Row { driver: Some(holder()), ..nasty_row() };
    check("ls of a ride", 2, &render::rows(&[driven], 1, wide));
    let mut status: ThreadStatus = serde_json::from_value(json!({
        "key": NASTY, "phase": NASTY, "epoch": 7, "fence": NASTY, "cliSessionId": null, "inbox": 1, "outbox": 2,
        "undelivered": 0, "waitingFor": NASTY, "journal": [{"atMs": 1, "what": NASTY}],
    }))
    .unwrap();
    check("status", 6, &render::statuses(std::slice::from_ref(&status), 1, wide));
    status.holder = Some(holder());
    check("status of a ride", 6, &render::statuses(&[status], 1, wide));
    let journal = [JournalLine { at_ms: 1, what: NASTY.into() }];
    check("log", 1, &render::log(&journal, &jiff::tz::TimeZone::UTC));
    check(
        "waiting",
        1,
        &render::waiting(&[Waiting { seq: 1, from: NASTY.into(), text: NASTY.into(), at_ms: 1 }], 1, wide),
    );
}

/// A gateway in whose answers every text is hostile.
async fn hostile() -> Machine {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let script = || {
        let answer = |request: &Value| {
            let error = json!({"code": NASTY, "message": NASTY, "details": {"reason": "HELD", "hint": NASTY, "holder": holder()}});
            match request["method"].as_str().unwrap() {
                "sessions_rideable" => {
                    let mut row = serde_json::to_value(nasty_row()).unwrap();
                    (row["key"], row["rideable"]) = (KEY.into(), true.into());
                    ok(request, json!({"rows": [row]}))
                }
                "ride_status" => ok(
                    request,
                    json!({"threads": [{
                        "key": NASTY, "phase": NASTY, "epoch": 7, "fence": NASTY, "holder": holder(), "cliSessionId": null, "inbox": 1, "outbox": 2,
                        "undelivered": 0, "waitingFor": NASTY, "journal": [{"atMs": 1, "what": NASTY}],
                    }]}),
                ),
                "ride_claim" | "ride_release" | "ride_take_back" | "ride_adopt" => fail(request, error),
                _ => fail(request, json!({"code": NASTY, "message": NASTY, "details": {"missingScope": NASTY}})),
            }
        };
        Script::Serve { scopes: &["operator.read", "operator.write"], answer: Box::new(answer) }
    };
    Machine::with(Standin::start((0..40).map(|_| script()).collect()).await, asked)
}

#[tokio::test]
async fn no_command_prints_a_hostile_text_raw() {
    let machine = hostile().await;
    let commands = [
        "ls",
        "ls --json",
        "status",
        "status --json",
        "log A",
        "log A --json",
        "release A",
        "release A --take-back",
        "release A --json",
        "config",
        "config --json",
        "doctor",
        "doctor A",
        "doctor --json",
        "A --say hello",
        "adopt --undo --to A",
    ];
    let mut said = BTreeMap::new();
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let (_, out, err) = machine.output(&words).await;
        for text in [&out, &err] {
            check(command, text.lines().count(), text);
            assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{command}: {text}");
        }
        said.insert(command, out + &err);
    }
    // The texts were there, and a program gets them as they are.
    assert!(said["ls"].contains("error: forged"), "{}", said["ls"]);
    let rows: Value = serde_json::from_str(&said["ls --json"]).unwrap();
    assert!(rows.to_string().contains(&serde_json::to_string(NASTY).unwrap()), "{rows}");
    for command in ["status", "release A", "A --say hello"] {
        assert!(said[command].contains("error: forged"), "{command}: {}", said[command]);
    }
}
