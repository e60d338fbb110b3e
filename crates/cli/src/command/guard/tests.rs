use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000_000;

#[test]
fn the_adopt_command_and_its_words() {
    let check = |prompt: &str, expected: Option<&str>| assert_eq!(adopts(prompt), expected, "{prompt:?}");
    check("/openclaw-session-sync:adopt forum plans", Some("forum plans"));
    check("/openclaw-session-sync:adopt", Some(""));
    check("/openclaw-session-sync:adopt\n x ", Some("x"));
    check("/openclaw-session-sync:adopted x", None);
    check("/openclaw-session-sync:inbox x", None);
    check("/adopt x", None);
    check("say /openclaw-session-sync:adopt x", None);
}

fn checked(more: Value) -> Checked {
    let mut checked = json!({
        "ridden": true, "key": "agent:main:x", "title": "Plans\u{1b}[2J",
        "holder": {"name": "ada", "host": "box", "sinceMs": NOW - 300_000, "expiresInMs": 1, "phase": "ridden"},
    });
    for (name, value) in more.as_object().unwrap() {
        checked[name] = value.clone();
    }
    serde_json::from_value(checked).unwrap()
}

#[test]
fn who_rides_it_is_said_and_the_gateways_own_is_let_through() {
    let said = ridden(&checked(json!({})), Uuid::nil(), NOW).unwrap();
    assert_eq!(
        said,
        "this conversation is that of Plans[2J, ridden by ada at box for 5m. Two writers would tear it apart.\n\
         leave with /exit; to ride it yourself: ride agent:main:x --steal; to go on in a copy: claude --resume 00000000-0000-0000-0000-000000000000 --fork-session"
    );
    assert_eq!(ridden(&checked(json!({"own": true})), Uuid::nil(), NOW), None);
    assert_eq!(ridden(&checked(json!({"ridden": false, "holder": null})), Uuid::nil(), NOW), None);
    // A gateway of before tells no thread.
    let said = ridden(&checked(json!({"key": null, "title": null})), Uuid::nil(), NOW).unwrap();
    assert!(
        said.starts_with("this conversation is that of a thread, ridden by ada") && !said.contains("--steal"),
        "{said}"
    );
}

fn fired(prompt: &str) -> Fired {
    serde_json::from_value(json!({"session_id": Uuid::from_u128(1), "prompt": prompt})).unwrap()
}

/// What Claude Code is told, as JSON.
fn told(env: &[(&str, &str)], home: &Path, event: &str, prompt: &str) -> Value {
    let home = home.to_str().unwrap();
    let env: Vec<(&str, &str)> = [("HOME", home)].into_iter().chain(env.iter().copied()).collect();
    json!(answer(&Env::of(&env, Path::new("/")), event, &fired(prompt)))
}

#[test]
fn whatever_cannot_be_told_lets_the_prompt_through() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    let check = |why: &str| assert_eq!(told(&[], home.path(), PROMPT, "hello"), Value::Null, "{why}");
    check("no gateway");
    std::fs::create_dir(&state).unwrap();
    check("no plugin");
    let place = |dir: &Path| std::fs::write(state.join(PLACE), json!({"lockDir": dir}).to_string()).unwrap();
    place(&home.path().join("gone"));
    check("no thread was ever ridden");
    let locks = home.path().join("locks");
    std::fs::create_dir(&locks).unwrap();
    place(&locks);
    // Now the gateway would know; there is none at this port.
    std::fs::write(state.join("openclaw.json"), r#"{"gateway":{"port":1,"auth":{"token":"t"}}}"#).unwrap();
    check("a gateway that is down");
    std::fs::write(
        state.join("openclaw.json"),
        r#"{"gateway":{"mode":"remote","remote":{"url":"wss://elsewhere.example"}}}"#,
    )
    .unwrap();
    check("a gateway elsewhere");
    std::fs::write(state.join(PLACE), "not json").unwrap();
    check("a note that cannot be read");
    std::fs::write(state.join(PLACE), " ".repeat(20_000)).unwrap();
    check("one that is too large");
}

#[test]
fn a_conversation_is_adopted_from_a_terminal_and_no_ride() {
    let home = tempfile::tempdir().unwrap();
    let check = |env: &[(&str, &str)], event: &str, prompt: &str, expected: &str| {
        let told = told(env, home.path(), event, prompt);
        assert_eq!(told["decision"], "block");
        let reason = told["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("not adopted: {expected}")), "{reason}");
    };
    let command = "/openclaw-session-sync:adopt plans";
    let ride = [(SOCKET_VAR, "/s"), (TOKEN_VAR, "t"), ("CLAUDE_CODE_ENTRYPOINT", "cli")];
    check(&ride, PROMPT, command, "this Claude Code is a ride's");
    check(
        &[("CLAUDE_CODE_ENTRYPOINT", "sdk-cli")],
        PROMPT,
        command,
        "a conversation is adopted from a Claude Code in a terminal only",
    );
    check(&[], PROMPT, command, "a conversation is adopted from a Claude Code in a terminal only");
    check(&[("CLAUDE_CODE_ENTRYPOINT", "cli")], PROMPT, "/openclaw-session-sync:adopt", "which thread?");
    check(&[("CLAUDE_CODE_ENTRYPOINT", "cli")], PROMPT, command, "nothing was said in this conversation yet");
    assert_eq!(told(&ride, home.path(), PROMPT, "hello"), Value::Null);
}

fn bound(more: Value) -> Told {
    let mut bound = json!({ "key": "agent:main:x", "title": "Plans\u{1b}[2J", "held": true });
    for (name, value) in more.as_object().unwrap() {
        bound[name] = value.clone();
    }
    Told::Bound(serde_json::from_value(bound).unwrap())
}

fn shows(event: &str, told: Told) -> Value {
    json!(said(event, &fired("hello"), told))
}

// Rule OPEN-7.
#[test]
fn a_session_that_is_a_threads_says_so_at_its_start_and_how_to_ride_it() {
    assert_eq!(
        shows(START, bound(json!({})))["systemMessage"],
        "this conversation is that of Plans[2J: the agent of the channel answers in it, too. While it is open here, \
         messages of the thread wait, and the thread does not see what you write.\n\
         to ride the thread, so that it does: leave with /exit, then: ride agent:main:x"
    );
    assert_eq!(shows(PROMPT, bound(json!({}))), Value::Null, "it is said once");
    assert_eq!(shows(END, bound(json!({}))), Value::Null);
    let none = json!({"key": null, "title": null, "held": false});
    assert_eq!(shows(START, bound(none)), Value::Null, "a session of no thread");
}

// Rule OPEN-7.
#[test]
fn one_that_was_opened_while_the_agent_answered_there_writes_nothing() {
    let stale = json!({"stale": true});
    let told = "not sent: this conversation is that of Plans[2J, and its agent was answering while it was opened here. \
                Claude Code does not see that answer, and would go on beside it.\n\
                leave with /exit; once the agent has answered, open it again: claude --resume 00000000-0000-0000-0000-000000000001";
    assert_eq!(shows(START, bound(stale.clone()))["systemMessage"], told);
    let blocked = shows(PROMPT, bound(stale));
    assert_eq!(blocked["decision"], "block");
    assert!(blocked["reason"].as_str().unwrap().starts_with(told), "{blocked}");
}
