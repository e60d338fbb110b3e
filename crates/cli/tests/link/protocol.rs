//! Who is heard, what is asked, what is kept.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use ride::launch::PrivateDir;
use ride::link::{Ask, Ending, Link, LinkEvent, MAX_BODY_BYTES, Origin, Prompt, Source, Status, Token, Turn, Verdict};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::http;

const SESSION: Uuid = Uuid::from_u128(0x5e55);
const DEADLINE: Duration = Duration::from_secs(10);

struct Rig {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    status: watch::Sender<Status>,
    token: Token,
    _dir: PrivateDir,
}

impl Rig {
    fn new() -> Rig {
        let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
        let token = Token::draw().unwrap();
        let (status, seen) = watch::channel(Status::default());
        let (link, events) = Link::open(dir.path(), token.clone(), Source::Mod, seen, None).unwrap();
        Rig { link, events, status, token, _dir: dir }
    }

    async fn greeted() -> Rig {
        let mut rig = Rig::new();
        let (status, _) = rig.post("/hello", hello()).await;
        assert_eq!(status, 200);
        assert!(matches!(rig.next().await, LinkEvent::Hello(_)));
        rig
    }

    /// One call as the mod makes it.
    fn call(&self, path: &str, body: Value) -> impl Future<Output = (u16, Value)> + use<> {
        let (socket, token, path) = (self.link.socket().to_owned(), self.token.clone(), path.to_owned());
        let mut said = json!({ "session": SESSION });
        said.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        async move { http::post(&socket, token.expose(), &path, &said).await }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        timeout(DEADLINE, self.call(path, body)).await.expect("an answer in time")
    }

    async fn next(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").unwrap()
    }
}

fn hello() -> Value {
    json!({ "protocol": 1, "cwd": "/work", "version": "2.1.330", "isInteractive": true, "new": "field" })
}

fn prompt_row(n: u128, text: &str) -> Value {
    json!({ "door": "prompt", "origin": { "kind": "composer" }, "uuid": Uuid::from_u128(n), "hasText": true, "text": text })
}

#[tokio::test]
async fn only_this_user_can_reach_the_socket() {
    let rig = Rig::new();
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(rig.link.socket().to_owned()), 0o600);
    assert_eq!(mode(rig.link.socket().parent().unwrap().to_owned()), 0o700);
}

#[tokio::test]
async fn nothing_is_said_without_the_token() {
    let rig = Rig::greeted().await;
    for token in ["", "x", &"0".repeat(64)] {
        let (status, said) = http::post(rig.link.socket(), token, "/prompt", &json!({})).await;
        assert_eq!((status, &said["code"]), (401, &json!("token")), "{token:?}");
    }
}

#[tokio::test]
async fn before_the_greeting_every_prompt_is_refused() {
    let rig = Rig::new();
    let (status, said) = rig.post("/prompt", json!({ "text": "hi", "origin": { "kind": "composer" } })).await;
    assert_eq!((status, &said["code"]), (409, &json!("not-greeted")));
}

#[tokio::test]
async fn a_mod_of_another_build_is_told_so() {
    let rig = Rig::new();
    let mut other = hello();
    other["protocol"] = json!(2);
    let (status, said) = rig.post("/hello", other).await;
    assert_eq!((status, &said["error"]), (400, &json!("the plugin speaks protocol 2, this ride 1")));
}

#[tokio::test]
async fn the_link_belongs_to_the_first_process_that_greets() {
    let mut rig = Rig::greeted().await;
    // Another process with the same token, as a program started by Claude Code would have.
    let stranger = tokio::process::Command::new("curl")
        .args(["-sS", "--unix-socket"])
        .arg(rig.link.socket())
        .args(["-H", &format!("authorization: Bearer {}", rig.token.expose()), "-d", "{}", "http://ride/hello"])
        .output()
        .await
        .unwrap();
    let said: Value = serde_json::from_slice(&stranger.stdout).unwrap();
    assert_eq!(said["code"], "stranger");
    // The first may greet again: its mod was reloaded.
    assert_eq!(rig.post("/hello", hello()).await.0, 200);
    let LinkEvent::Hello(again) = rig.next().await else { panic!("no greeting") };
    assert_eq!((again.pid, again.claude_session, again.cwd), (std::process::id(), SESSION, PathBuf::from("/work")));
}

#[tokio::test]
async fn a_prompt_is_held_until_the_verdict() {
    let mut rig = Rig::greeted().await;
    for (verdict, expected) in [
        (Verdict::Allow, json!({ "allow": true })),
        (Verdict::Refuse("bob rides it now".to_owned()), json!({ "allow": false, "reason": "bob rides it now" })),
    ] {
        let call = tokio::spawn(rig.call("/prompt", json!({ "text": "hi", "origin": { "kind": "composer" } })));
        let LinkEvent::Ask { what, claude_session, reply } = rig.next().await else { panic!("no question") };
        assert_eq!(what, Ask::Prompt { text: "hi".to_owned(), origin: Origin::Person });
        assert_eq!(claude_session, SESSION);
        reply.send(verdict).unwrap();
        assert_eq!(call.await.unwrap(), (200, expected));
    }
}

#[tokio::test(start_paused = true)]
async fn no_verdict_in_time_is_a_no() {
    let mut rig = Rig::greeted().await;
    let call = tokio::spawn(rig.call("/turn/start", json!({ "turnId": "t" })));
    let LinkEvent::Ask { what: Ask::Turn, reply, .. } = rig.next().await else { panic!("no question") };
    let (status, said) = call.await.unwrap();
    assert_eq!((status, &said["allow"]), (200, &json!(false)));
    assert!(reply.send(Verdict::Allow).is_err(), "too late to be heard");
}

// Rule LEASE-12.
#[tokio::test]
async fn a_dropped_question_is_a_no() {
    let mut rig = Rig::greeted().await;
    let call = tokio::spawn(rig.call("/compact", json!({ "trigger": "auto" })));
    let LinkEvent::Ask { what, reply, .. } = rig.next().await else { panic!("no question") };
    assert_eq!(what, Ask::Compaction { trigger: "auto".to_owned() });
    drop(reply);
    assert_eq!(call.await.unwrap().1["allow"], json!(false));
}

#[tokio::test]
async fn a_turn_is_reported_under_its_transcript_ids() {
    let mut rig = Rig::greeted().await;
    let call = tokio::spawn(rig.call("/row", prompt_row(7, "hi")));
    let LinkEvent::Prompt { prompt, kept } = rig.next().await else { panic!("no prompt") };
    let id = Uuid::from_u128(7);
    assert_eq!(prompt, Prompt { id, text: "hi".to_owned(), origin: Origin::Person, claude_session: SESSION });
    assert!(!call.is_finished(), "the row waits until the prompt is kept");
    kept.send(()).unwrap();
    assert_eq!(call.await.unwrap().0, 200);

    let answer = json!({ "door": "response", "origin": { "kind": "model", "model": "m" }, "uuid": Uuid::from_u128(8), "hasText": true });
    assert_eq!(rig.post("/row", answer).await.0, 200);
    let end = json!({ "turnId": "t", "reason": "answer", "answer": "hello", "durationMs": 12 });
    let call = tokio::spawn(rig.call("/turn/end", end));
    let LinkEvent::Turn { turn, kept } = rig.next().await else { panic!("no turn") };
    let expected = Turn {
        turn_id: "t".to_owned(),
        ending: Ending::Answered,
        answer: "hello".to_owned(),
        answer_id: Some(Uuid::from_u128(8)),
        prompt_id: Some(id),
        claude_session: SESSION,
    };
    assert_eq!(turn, expected);
    kept.send(()).unwrap();
    assert_eq!(call.await.unwrap().0, 200);
}

#[tokio::test]
async fn what_was_not_kept_is_said() {
    let mut rig = Rig::greeted().await;
    let call = tokio::spawn(rig.call("/row", prompt_row(7, "hi")));
    let LinkEvent::Prompt { kept, .. } = rig.next().await else { panic!("no prompt") };
    drop(kept);
    let (status, said) = call.await.unwrap();
    assert_eq!((status, &said["code"]), (503, &json!("not-kept")));
}

// Rule LEASE-14.
#[tokio::test]
async fn another_claude_session_is_announced_first() {
    let mut rig = Rig::greeted().await;
    let to = Uuid::from_u128(2);
    assert_eq!(rig.post("/session", json!({ "session": to, "source": "clear" })).await.0, 200);
    let LinkEvent::SessionChanged { from, to: told, source } = rig.next().await else { panic!("no change") };
    assert_eq!((from, told, source.as_deref()), (SESSION, to, Some("clear")));
    // The same again is no change; back again is one, even without its own report.
    assert_eq!(rig.post("/session", json!({ "session": to, "source": "compact" })).await.0, 200);
    let call = tokio::spawn(rig.call("/turn/start", json!({})));
    assert!(matches!(rig.next().await, LinkEvent::SessionChanged { from, .. } if from == to));
    let LinkEvent::Ask { reply, .. } = rig.next().await else { panic!("no question") };
    reply.send(Verdict::Allow).unwrap();
    assert_eq!(call.await.unwrap().0, 200);
}

#[tokio::test(start_paused = true)]
async fn the_status_line_is_pushed() {
    let rig = Rig::greeted().await;
    let line = |text: &str, warn| json!({ "line": text, "warn": warn, "lines": [], "said": 0, "ending": false });
    // Nothing new: the poll ends by itself and says the same.
    assert_eq!(rig.call("/status", line("", false)).await, (200, line("", false)));
    let poll = tokio::spawn(rig.call("/status", line("", false)));
    tokio::task::yield_now().await;
    rig.status.send_replace(Status { line: "⇄ riding alice".to_owned(), warn: false, ending: false });
    assert_eq!(poll.await.unwrap(), (200, line("⇄ riding alice", false)));
    // What was missed is told at once.
    assert_eq!(rig.call("/status", line("older", true)).await, (200, line("⇄ riding alice", false)));

    // A line for the conversation ends the poll too, and comes until it was shown.
    let now = line("⇄ riding alice", false);
    let poll = tokio::spawn(rig.call("/status", now.clone()));
    tokio::task::yield_now().await;
    rig.link.say("⇄ Omar wrote".to_owned());
    let told =
        json!({ "line": "⇄ riding alice", "warn": false, "lines": ["⇄ Omar wrote"], "said": 1, "ending": false });
    assert_eq!(poll.await.unwrap(), (200, told.clone()));
    assert_eq!(rig.call("/status", now.clone()).await, (200, told.clone()));
    let shown = json!({ "line": "⇄ riding alice", "warn": false, "said": 1 });
    assert_eq!(rig.call("/status", shown.clone()).await.1["lines"], json!([]));
    // The mod was reloaded and remembers nothing: what it showed it is not told again.
    assert_eq!(rig.call("/status", now).await.1["lines"], json!([]));
    assert_eq!(rig.link.unshown(), Some(Vec::new()));
}

#[tokio::test]
async fn broken_and_oversized_requests_are_refused() {
    let mut rig = Rig::greeted().await;
    let huge = "x".repeat(MAX_BODY_BYTES);
    let (status, said) = rig.post("/prompt", json!({ "text": huge, "origin": { "kind": "composer" } })).await;
    assert_eq!((status, &said["error"]), (413, &json!("larger than 1024 KiB")));
    let (status, said) = rig.post("/prompt", json!({ "text": 7 })).await;
    assert_eq!(status, 400);
    assert_eq!(said["error"], "/prompt: invalid type: integer `7`, expected a string at line 1 column 58");
    assert_eq!(rig.post("/nowhere", json!({})).await.0, 404);
    assert_eq!(http::raw(rig.link.socket(), "not http\r\n\r\n").await.0, 400);
    let (status, _) = rig.post("/bye", json!({ "reason": "prompt_input_exit" })).await;
    assert_eq!(status, 200, "and the next one is served");
    assert!(matches!(rig.next().await, LinkEvent::Bye { reason } if reason == "prompt_input_exit"));
}

#[tokio::test]
async fn a_closed_link_answers_nobody() {
    let rig = Rig::greeted().await;
    let socket = rig.link.socket().to_owned();
    drop(rig.link);
    assert!(tokio::net::UnixStream::connect(&socket).await.is_err());
}
