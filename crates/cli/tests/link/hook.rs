//! `ride hook` as a program, with this test in the place of both Claude Code and `ride`.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ride::launch::PrivateDir;
use ride::link::{
    Ask, Ending, Link, LinkEvent, MAX_BODY_BYTES, Origin, SOCKET_VAR, Slip, Source, Status, TOKEN_VAR, Tailed, Token,
    Verdict,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::http;

const SESSION: Uuid = Uuid::from_u128(0x5e55);
const DEADLINE: Duration = Duration::from_secs(20);

struct Rig {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    status: watch::Sender<Status>,
    token: Token,
    transcript: PathBuf,
    dir: PrivateDir,
}

impl Rig {
    fn new(expect: Source) -> Rig {
        let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
        let token = Token::draw().unwrap();
        let (status, seen) = watch::channel(Status { line: "⇄ riding Plans".to_owned(), warn: false, ending: false });
        let transcript = dir.path().join("t.jsonl");
        let tailed =
            Tailed { path: transcript.clone(), from: 0, claude_session: SESSION, config_dir: dir.path().to_owned() };
        let (link, events) = Link::open(dir.path(), token.clone(), expect, seen, Some(tailed)).unwrap();
        Rig { link, events, status, token, transcript, dir }
    }

    async fn greeted() -> Rig {
        let mut rig = Rig::new(Source::Hooks);
        let said = rig.fire("SessionStart", json!({ "source": "resume" })).await;
        assert_eq!(said, json!({ "systemMessage": "⇄ riding Plans" }));
        let LinkEvent::Hello(hello) = rig.next().await else { panic!("no greeting") };
        assert_eq!((hello.pid, hello.source, hello.claude_session), (std::process::id(), Source::Hooks, SESSION));
        rig
    }

    /// Runs the hook as Claude Code does; it must succeed.
    fn fire(&self, event: &str, more: Value) -> impl Future<Output = Value> + use<> {
        let mut hook = hook(event);
        hook.env(SOCKET_VAR, self.link.socket()).env(TOKEN_VAR, self.token.expose());
        let input = input(event, more);
        async move {
            let output = tokio::task::spawn_blocking(move || run(hook, input.as_bytes())).await.unwrap();
            assert!(output.status.success(), "{output:?}");
            serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
        }
    }

    async fn next(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").unwrap()
    }

    /// Answers the next question and says what was asked.
    async fn answer(&mut self, verdict: Verdict) -> (Ask, Uuid) {
        let event = self.next().await;
        let LinkEvent::Ask { what, claude_session, reply } = event else { panic!("no question but {event:?}") };
        reply.send(verdict).unwrap();
        (what, claude_session)
    }

    fn write(&self, lines: &[Value]) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.transcript).unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
    }
}

fn hook(event: &str) -> Command {
    let mut hook = Command::new(super::RIDE);
    hook.args(["hook", event]).env_clear();
    hook
}

fn input(event: &str, more: Value) -> String {
    let mut said = json!({ "session_id": SESSION, "cwd": "/work", "hook_event_name": event, "new": ["field"] });
    said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    said.to_string()
}

fn run(mut hook: Command, input: &[u8]) -> Output {
    let mut child = hook.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have answered already, without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What a prompt's hook says against this socket.
fn prompt_against(socket: &Path) -> Value {
    let mut hook = hook("UserPromptSubmit");
    hook.env(SOCKET_VAR, socket).env(TOKEN_VAR, "x");
    let output = run(hook, input("UserPromptSubmit", json!({ "prompt": "hello" })).as_bytes());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn prompt(text: &str, id: &str) -> Value {
    json!({ "prompt": text, "prompt_id": id })
}

#[tokio::test]
async fn a_prompt_is_let_in_or_blocked() {
    let mut rig = Rig::greeted().await;
    let (said, asked) = tokio::join!(rig.fire("UserPromptSubmit", prompt("hello", "p1")), rig.answer(Verdict::Allow));
    let typed = |text: &str| Ask::Prompt { text: text.to_owned(), origin: Origin::Person };
    assert_eq!((said, asked), (json!({}), (typed("hello"), SESSION)));

    let no = Verdict::Refuse("bob rides this thread now".to_owned());
    let (said, _) = tokio::join!(rig.fire("UserPromptSubmit", prompt("hello", "p2")), rig.answer(no));
    assert_eq!(said, json!({ "decision": "block", "reason": "not sent: bob rides this thread now" }));

    let with = Verdict::Along("> quoted".to_owned());
    let (said, _) = tokio::join!(rig.fire("UserPromptSubmit", prompt("hello", "p4")), rig.answer(with));
    assert_eq!(
        said,
        json!({ "hookSpecificOutput": { "hookEventName": "UserPromptSubmit", "additionalContext": "> quoted" } })
    );

    // A turn of Claude Code's own asks like any other.
    let by_machine = prompt("<task-notification>\n…", "p3");
    let (_, (asked, _)) = tokio::join!(rig.fire("UserPromptSubmit", by_machine), rig.answer(Verdict::Allow));
    assert!(matches!(asked, Ask::Prompt { origin: Origin::Machine(_), .. }), "{asked:?}");
}

#[tokio::test]
async fn what_is_new_is_shown_once() {
    let mut rig = Rig::greeted().await;
    assert_eq!(rig.fire("Stop", json!({})).await, json!({}));
    rig.status.send_replace(Status {
        line: "⇄ riding Plans · 1 waiting: Omar: hi".to_owned(),
        warn: false,
        ending: false,
    });
    assert_eq!(rig.fire("Stop", json!({})).await, json!({ "systemMessage": "⇄ riding Plans · 1 waiting: Omar: hi" }));
    let (said, _) = tokio::join!(rig.fire("UserPromptSubmit", prompt("hello", "p1")), rig.answer(Verdict::Allow));
    assert_eq!(said, json!({}));

    rig.link.say("⇄ Omar wrote in the thread: hi".to_owned());
    rig.link.say("x".repeat(7_950));
    rig.link.say("⇄ Omar wrote in the thread: bye".to_owned());
    // As much as one answer may hold, and the rest with the next.
    let first = rig.fire("Stop", json!({})).await["systemMessage"].as_str().unwrap().to_owned();
    assert!(first.starts_with("⇄ Omar wrote in the thread: hi\nxxx") && !first.contains("bye"), "{first}");
    assert_eq!(rig.fire("Stop", json!({})).await["systemMessage"], "⇄ Omar wrote in the thread: bye");
    assert_eq!(rig.link.unshown(), Some(Vec::new()));
}

// Rule INBOX-4.
#[tokio::test]
async fn a_refusal_shows_what_was_not_shown_yet() {
    let mut rig = Rig::greeted().await;
    rig.link.say("⇄ Omar\u{1b}[2J wrote in the thread: hi".to_owned());
    assert_eq!(rig.link.unshown().unwrap().len(), 1);
    let refused = Verdict::Refuse("read\u{9b} first".to_owned());
    let (said, _) = tokio::join!(rig.fire("UserPromptSubmit", prompt("hello", "p1")), rig.answer(refused));
    assert_eq!(said["reason"], "not sent: read first\n⇄ Omar[2J wrote in the thread: hi");
    assert_eq!(rig.link.unshown(), Some(Vec::new()));
}

#[tokio::test]
async fn another_session_is_told_before_its_prompt() {
    let mut rig = Rig::greeted().await;
    let other = Uuid::from_u128(7);
    rig.fire("SessionStart", json!({ "session_id": other, "source": "clear" })).await;
    let event = rig.next().await;
    assert!(
        matches!(&event, LinkEvent::SessionChanged { from, to, source } if (*from, *to) == (SESSION, other) && source.as_deref() == Some("clear")),
        "{event:?}"
    );
}

#[tokio::test]
async fn prompts_and_answers_are_those_of_the_transcript() {
    let mut rig = Rig::greeted().await;
    let line = |n: u128, kind: &str, more: Value| {
        let mut line = json!({ "type": kind, "uuid": Uuid::from_u128(n), "isSidechain": false });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let typed = |n: u128, id: &str, text: &str| {
        line(
            n,
            "user",
            json!({ "promptId": id, "promptSource": "typed", "origin": { "kind": "human" }, "message": { "content": text } }),
        )
    };
    tokio::join!(rig.fire("UserPromptSubmit", prompt("hello", "p1")), rig.answer(Verdict::Allow));
    rig.write(&[
        typed(1, "p1", "hello"),
        line(
            2,
            "assistant",
            json!({ "message": { "stop_reason": "end_turn", "content": [{ "type": "text", "text": "hi there" }] } }),
        ),
        line(3, "system", json!({ "subtype": "turn_duration" })),
    ]);
    assert!(matches!(rig.next().await, LinkEvent::Runs));
    let LinkEvent::Prompt { prompt: entered, kept } = rig.next().await else { panic!("no prompt") };
    assert_eq!((entered.id, entered.text.as_str(), entered.origin), (Uuid::from_u128(1), "hello", Origin::Person));
    kept.send(()).unwrap();
    assert!(matches!(rig.next().await, LinkEvent::Heard(ids) if ids == [entered.id]));
    let LinkEvent::Turn { turn, kept } = rig.next().await else { panic!("no turn") };
    assert_eq!((turn.ending, turn.answer.as_str()), (Ending::Answered, "hi there"));
    assert_eq!((turn.answer_id, turn.prompt_id), (Some(Uuid::from_u128(2)), Some(entered.id)));
    kept.send(()).unwrap();

    // One that no hook asked for, although it should have.
    rig.write(&[typed(4, "p2", "who let me in?")]);
    assert!(matches!(rig.next().await, LinkEvent::Slipped(Slip::Prompt)));
}

#[tokio::test]
async fn only_a_child_of_the_claude_that_greeted_is_heard() {
    let rig = Rig::greeted().await;
    let mut shell = Command::new("/bin/sh");
    // Not `exec`: the hook's parent is the shell.
    shell.arg("-c").arg(format!("'{}' hook UserPromptSubmit; true", super::RIDE)).env_clear();
    shell.env(SOCKET_VAR, rig.link.socket()).env(TOKEN_VAR, rig.token.expose());
    let said = input("UserPromptSubmit", prompt("hello", "p1"));
    let output = tokio::task::spawn_blocking(move || run(shell, said.as_bytes())).await.unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["decision"], "block");
    assert!(said["reason"].as_str().unwrap().contains("another process has this link"), "{said}");
}

#[tokio::test]
async fn a_tool_that_puts_the_hook_in_its_place_is_not_heard() {
    let rig = Rig::greeted().await;
    let (said, out) = (rig.dir.path().join("said"), rig.dir.path().join("out"));
    fs::write(&said, input("UserPromptSubmit", prompt("hello", "p1"))).unwrap();
    // As Claude Code starts a tool: its own child, without anybody at the other end. Who only
    // redirects one of the two is no hook, either.
    for script in [
        "exec \"$0\" hook UserPromptSubmit <\"$1\" >\"$2\"",
        "cat \"$1\" | { exec \"$0\" hook UserPromptSubmit >\"$2\"; }",
    ] {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, super::RIDE]).args([&said, &out]).env_clear();
        shell.env(SOCKET_VAR, rig.link.socket()).env(TOKEN_VAR, rig.token.expose());
        let output = tokio::task::spawn_blocking(move || run(shell, b"")).await.unwrap();
        let answer: Value =
            serde_json::from_slice(&fs::read(&out).unwrap()).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!(answer["decision"], "block");
        let reason = answer["reason"].as_str().unwrap();
        let expected = ["this is no hook of Claude Code", "another process has this link"];
        assert!(expected.iter().any(|why| reason.contains(why)), "{reason}");
    }
}

// Rule LEASE-12.
#[tokio::test]
async fn before_the_greeting_every_prompt_is_blocked() {
    let rig = Rig::new(Source::Hooks);
    let said = rig.fire("UserPromptSubmit", prompt("hello", "p1")).await;
    assert_eq!(said["reason"], "not sent: Claude Code has not greeted ride yet");
}

#[tokio::test]
async fn where_the_mod_greeted_hooks_say_nothing() {
    let mut rig = Rig::new(Source::Mod);
    let hello =
        json!({ "session": SESSION, "protocol": 1, "cwd": "/work", "version": "2.1.330", "isInteractive": true });
    let (status, _) = http::post(rig.link.socket(), rig.token.expose(), "/hello", &hello).await;
    assert_eq!(status, 200);
    assert!(matches!(rig.next().await, LinkEvent::Hello(hello) if hello.source == Source::Mod));
    for event in ["SessionStart", "UserPromptSubmit", "Stop"] {
        assert_eq!(rig.fire(event, prompt("hello", "p1")).await, json!({}), "{event}");
    }
    assert!(rig.events.try_recv().is_err());
}

#[tokio::test]
async fn a_mod_that_does_not_come_is_told() {
    let mut rig = Rig::new(Source::Mod);
    // Not answered while this Claude Code lives: no prompt begins before.
    let asking = tokio::spawn(rig.fire("SessionStart", json!({ "source": "resume" })));
    assert!(matches!(rig.next().await, LinkEvent::NoMod));
    assert!(!asking.is_finished());
}

#[test]
fn without_ride_nothing_happens() {
    let output = run(hook("UserPromptSubmit"), b"{}");
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

// Rule LEASE-12.
#[test]
fn a_prompt_that_nobody_answers_for_is_blocked_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = |said: &Value, why: &str| {
        let reason = said["reason"].as_str().unwrap();
        assert_eq!(said["decision"], "block");
        assert!(reason.contains(why) && reason.contains("\nhint: leave Claude Code with /exit"), "{reason}");
    };
    blocked(&prompt_against(&dir.path().join("gone")), "not sent: ride does not run any more");

    // A ride that is stopped: the kernel takes the connection and nobody reads it.
    let silent = dir.path().join("silent");
    let listener = UnixListener::bind(&silent).unwrap();
    blocked(&prompt_against(&silent), "not sent: ride does not answer within 6 s; is it stopped?");
    drop(listener);
    // A socket whose ride was killed stays as a file.
    blocked(&prompt_against(&silent), "not sent: ride does not run any more");

    let cut = dir.path().join("cut");
    let listener = UnixListener::bind(&cut).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}").unwrap();
    });
    blocked(&prompt_against(&cut), "not sent: ride");
    answering.join().unwrap();
}

#[tokio::test]
async fn a_prompt_too_large_to_ask_about_is_blocked() {
    let rig = Rig::greeted().await;
    let said = rig.fire("UserPromptSubmit", prompt(&"x".repeat(MAX_BODY_BYTES), "p1")).await;
    assert_eq!(said["decision"], "block");
    assert!(said["reason"].as_str().unwrap().starts_with("not sent: it is larger than 1024 KiB"), "{said}");
    assert!(rig.dir.path().exists());
}
