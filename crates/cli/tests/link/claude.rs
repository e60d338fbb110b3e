//! The link with the real Claude Code in a terminal. Only the model is a stand-in.

use std::fs;
use std::time::Duration;

use ride::launch::{PrivateDir, unpack};
use ride::link::{
    Ask, Ending, Link, LinkEvent, Origin, Prompt, SOCKET_VAR, Source, Status, TOKEN_VAR, Token, Turn, Verdict,
};
use ride_testkit::{Anthropic, ClaudeCode, Key, Terminal, claude, poll_until};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);

/// Claude Code with the mod, and this test in the place of `ride`.
struct Rig {
    terminal: Terminal,
    anthropic: Anthropic,
    link: Option<Link>,
    events: mpsc::Receiver<LinkEvent>,
    status: watch::Sender<Status>,
    session: Uuid,
    home: tempfile::TempDir,
    _dir: PrivateDir,
}

impl Rig {
    async fn start() -> Rig {
        let anthropic = Anthropic::start().await.unwrap();
        let home = home();
        let work = home.path().join("work");
        let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
        let token = Token::draw().unwrap();
        let (status, seen) = watch::channel(Status { line: "⇄ riding alice".to_owned(), warn: false, ending: false });
        let (link, events) = Link::open(dir.path(), token.clone(), Source::Mod, seen, None).unwrap();
        let plugin = unpack(dir.path(), Source::Mod, super::RIDE.as_ref()).unwrap().root;
        let session = Uuid::new_v4();
        let claude = ClaudeCode::newest(&anthropic, home.path(), &work).await.unwrap();
        let claude = claude.args(["--session-id", &session.to_string(), "--plugin-dir", plugin.to_str().unwrap()]);
        let claude = claude.env(SOCKET_VAR, link.socket()).env(TOKEN_VAR, token.expose());
        let terminal = claude.start().await.unwrap();
        Rig { terminal, anthropic, link: Some(link), events, status, session, home, _dir: dir }
    }

    /// With the greeting taken and checked.
    async fn greeted() -> Rig {
        let mut rig = Rig::start().await;
        let LinkEvent::Hello(hello) = rig.next().await else { panic!("no greeting") };
        assert_eq!((Some(hello.pid), hello.claude_session, hello.interactive), (rig.terminal.pid(), rig.session, true));
        assert_eq!(hello.cwd, rig.home.path().join("work").canonicalize().unwrap());
        rig
    }

    async fn next(&mut self) -> LinkEvent {
        match timeout(DEADLINE, self.events.recv()).await {
            Ok(event) => event.expect("the link is open"),
            Err(_) => panic!("nothing from Claude Code; its screen:\n{}", self.terminal.screen()),
        }
    }

    /// Answers the next question and says what was asked.
    async fn answer(&mut self, verdict: Verdict) -> Ask {
        let event = self.next().await;
        let LinkEvent::Ask { what, reply, .. } = event else { panic!("no question but {event:?}") };
        reply.send(verdict).unwrap();
        what
    }

    async fn prompt(&mut self) -> Prompt {
        let event = self.next().await;
        let LinkEvent::Prompt { prompt, kept } = event else { panic!("no prompt but {event:?}") };
        kept.send(()).unwrap();
        prompt
    }

    async fn turn(&mut self) -> Turn {
        let event = self.next().await;
        let LinkEvent::Turn { turn, kept } = event else { panic!("no turn but {event:?}") };
        kept.send(()).unwrap();
        turn
    }

    /// Submits a prompt and lets it through to its first request.
    async fn submit(&mut self, text: &str) -> Prompt {
        self.terminal.submit(text).await.unwrap();
        assert_eq!(self.answer(Verdict::Allow).await, typed(text));
        let prompt = self.prompt().await;
        assert_eq!((prompt.text.as_str(), &prompt.origin), (text, &Origin::Person));
        assert_eq!(self.answer(Verdict::Allow).await, Ask::Turn);
        prompt
    }

    async fn shows(&self, text: &str) {
        self.terminal.wait_for_text(DEADLINE, text).await.unwrap();
    }

    /// Waits until the transcript has a line of this type under this id.
    async fn on_disk(&self, id: Uuid, kind: &str) {
        let path = claude::transcript(&self.home.path().join(".claude"), &self.session.to_string()).unwrap();
        let found = || {
            let lines = fs::read_to_string(&path).unwrap();
            let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines.find(|line| line["uuid"] == id.to_string() && line["type"] == kind)
        };
        poll_until(&format!("a {kind} line {id}"), DEADLINE, found).await.unwrap();
    }

    /// How many requests the model has had for turns of the conversation.
    fn requests(&self) -> usize {
        self.anthropic.turns().len()
    }
}

/// A home in which Claude Code offers nothing: the offer of auto mode otherwise
/// covers the prompt on some starts.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("work")).unwrap();
    fs::create_dir_all(home.path().join(".claude")).unwrap();
    fs::write(home.path().join(".claude/.claude.json"), r#"{"hasSeenAutoDefaultNudge":true}"#).unwrap();
    home
}

fn typed(text: &str) -> Ask {
    Ask::Prompt { text: text.to_owned(), origin: Origin::Person }
}

fn refusal() -> Verdict {
    Verdict::Refuse("bob rides this thread now".to_owned())
}

#[tokio::test]
async fn prompts_and_answers_carry_their_transcript_ids() {
    let mut rig = Rig::greeted().await;
    rig.shows("⇄ riding alice").await;
    let prompt = rig.submit("hello there").await;
    let turn = rig.turn().await;
    assert_eq!((&turn.ending, turn.answer.as_str()), (&Ending::Answered, "echo[1]: hello there"));
    assert_eq!((turn.prompt_id, turn.claude_session), (Some(prompt.id), rig.session));
    rig.on_disk(prompt.id, "user").await;
    rig.on_disk(turn.answer_id.unwrap(), "assistant").await;

    // With a tool call in between, the answer is the last text.
    let prompt = rig.submit(r#"::tool Bash {"command":"echo from-the-tool"}"#).await;
    let turn = rig.turn().await;
    assert_eq!((turn.answer.as_str(), turn.prompt_id), ("tool-done: from-the-tool", Some(prompt.id)));
    rig.on_disk(turn.answer_id.unwrap(), "assistant").await;

    rig.status.send_replace(Status { line: "⇄ riding alice · 2 waiting".to_owned(), warn: true, ending: false });
    rig.shows("2 waiting").await;
}

#[tokio::test]
async fn a_refused_prompt_returns_to_the_box_and_reaches_nobody() {
    let mut rig = Rig::greeted().await;
    rig.terminal.submit("for the wrong driver").await.unwrap();
    assert_eq!(rig.answer(refusal()).await, typed("for the wrong driver"));
    rig.shows("bob rides this thread now").await;
    rig.shows("❯ for the wrong driver").await;
    // Enter again: the same prompt, asked about anew.
    rig.terminal.press(Key::Enter).unwrap();
    assert_eq!(rig.answer(Verdict::Allow).await, typed("for the wrong driver"));
    let prompt = rig.prompt().await;
    assert_eq!(rig.requests(), 0);
    assert_eq!(rig.answer(Verdict::Allow).await, Ask::Turn);
    assert_eq!(rig.turn().await.prompt_id, Some(prompt.id));
}

// Rule LEASE-11.
#[tokio::test]
async fn a_prompt_that_waited_is_checked_again_when_it_begins() {
    let mut rig = Rig::greeted().await;
    rig.submit("::gate first ::say first answer").await;
    rig.anthropic.wait_for_prompt(DEADLINE, "::gate first").await.unwrap();
    rig.terminal.submit("typed meanwhile").await.unwrap();
    assert_eq!(rig.answer(Verdict::Allow).await, typed("typed meanwhile"));
    rig.anthropic.open_gate("first");
    assert_eq!(rig.turn().await.answer, "first answer");
    let waited = rig.prompt().await;
    assert_eq!(waited.text, "typed meanwhile");
    assert_eq!(rig.answer(refusal()).await, Ask::Turn);
    let turn = rig.turn().await;
    assert_eq!((turn.ending, turn.answer_id, turn.prompt_id), (Ending::Aborted, None, Some(waited.id)));
    rig.shows("Turn stopped: bob rides this thread now").await;
    assert_eq!(rig.requests(), 1);
}

#[tokio::test]
async fn a_prompt_that_joins_a_running_turn_keeps_its_words() {
    let mut rig = Rig::greeted().await;
    let stop = rig.home.path().join("go-on");
    rig.submit(&format!(r#"::tool Bash {{"command":"until [ -e '{}' ]; do sleep 0.1; done"}}"#, stop.display())).await;
    rig.shows("until").await;
    rig.terminal.submit("one more thing").await.unwrap();
    assert_eq!(rig.answer(Verdict::Allow).await, typed("one more thing"));
    rig.shows("one more thing").await;
    fs::write(&stop, "").unwrap();
    let joined = rig.prompt().await;
    assert_eq!((joined.text.as_str(), &joined.origin), ("one more thing", &Origin::Person));
    assert_eq!(rig.turn().await.prompt_id, Some(joined.id));
    rig.on_disk(joined.id, "attachment").await;
}

#[tokio::test]
async fn an_interrupted_turn_is_reported_with_what_there_was() {
    let mut rig = Rig::greeted().await;
    let prompt = rig.submit("::slow 60 ::say one two three four five six").await;
    // A line is drawn once it is complete, its bullet when it begins.
    rig.terminal.wait_for(DEADLINE, |screen| screen.lines().any(|line| line.trim() == "●")).await.unwrap();
    rig.terminal.press(Key::Escape).unwrap();
    let turn = rig.turn().await;
    assert_eq!((&turn.ending, turn.prompt_id), (&Ending::Aborted, Some(prompt.id)));
    assert!(turn.answer.starts_with("one"), "{turn:?}");
    rig.on_disk(turn.answer_id.unwrap(), "assistant").await;
}

// Rule LEASE-14.
#[tokio::test]
async fn another_session_in_the_same_process_is_announced() {
    let mut rig = Rig::greeted().await;
    rig.terminal.submit("/clear").await.unwrap();
    let event = rig.next().await;
    let LinkEvent::SessionChanged { from, to, source } = event else { panic!("no change but {event:?}") };
    assert_eq!((from, source.as_deref()), (rig.session, Some("clear")));
    rig.session = to;
    assert_eq!(rig.submit("after it").await.claude_session, to);
    rig.turn().await;
    rig.terminal.submit("/exit").await.unwrap();
    assert!(matches!(rig.next().await, LinkEvent::Bye { reason } if reason == "prompt_input_exit"));
    assert_eq!(rig.terminal.wait_exit(DEADLINE).await.unwrap(), 0);
}

// Rule LEASE-12.
#[tokio::test]
async fn without_ride_no_prompt_is_sent() {
    let mut rig = Rig::greeted().await;
    rig.shows("⇄ riding alice").await;
    rig.link = None;
    rig.shows("ride does not answer: prompts are refused").await;
    rig.terminal.submit("to nobody").await.unwrap();
    rig.shows("not sent: ride does not answer").await;
    rig.shows("❯ to nobody").await;
    assert_eq!(rig.requests(), 0);
}

#[tokio::test]
async fn a_claude_that_ride_did_not_start_is_left_alone() {
    let anthropic = Anthropic::start().await.unwrap();
    let home = home();
    let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
    let plugin = unpack(dir.path(), Source::Mod, super::RIDE.as_ref()).unwrap().root;
    let claude = ClaudeCode::newest(&anthropic, home.path(), home.path()).await.unwrap();
    let mut terminal = claude.args(["--plugin-dir", plugin.to_str().unwrap()]).start().await.unwrap();
    terminal.submit("hello alone").await.unwrap();
    let screen = terminal.wait_for_text(DEADLINE, "echo[1]: hello alone").await.unwrap();
    assert!(!screen.contains("ride"), "{screen}");
}

#[tokio::test]
async fn what_is_typed_and_not_sent_is_told_before_the_end() {
    let mut rig = Rig::greeted().await;
    rig.terminal.type_text("half a thought").await.unwrap();
    rig.status.send_replace(Status { line: "⇄ your ride of alice is over".to_owned(), warn: true, ending: true });
    let LinkEvent::Draft(text) = rig.next().await else { panic!("no draft") };
    assert_eq!(text, "half a thought");
    rig.terminal.wait_for_text(DEADLINE, "⇄ your ride of alice is over").await.unwrap();
}
