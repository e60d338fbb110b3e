//! The link with a real Claude Code that has no mods, by hooks and transcript; and with
//! a newer one whose mod does not load. Only the model is a stand-in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use ride::launch::{PrivateDir, unpack};
use ride::link::{
    Ask, Ending, Link, LinkEvent, Origin, Prompt, SOCKET_VAR, Slip, Source, Status, TOKEN_VAR, Tailed, Token, Turn,
    Verdict,
};
use ride_testkit::peers::Peer;
use ride_testkit::{Anthropic, ClaudeCode, Key, Terminal, poll_until};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);
const OLD: &str = "2.1.197";
const NEW: &str = "2.1.330";

/// Claude Code with hooks, and this test in the place of `ride`.
struct Rig {
    terminal: Terminal,
    anthropic: Anthropic,
    link: Option<Link>,
    events: mpsc::Receiver<LinkEvent>,
    session: Uuid,
    program: PathBuf,
    home: tempfile::TempDir,
    _status: watch::Sender<Status>,
    _dir: PrivateDir,
}

impl Rig {
    async fn start(version: &str) -> Rig {
        let mut rig = Rig::begin(version, Source::Hooks, super::RIDE.as_ref(), |_| {}).await;
        let LinkEvent::Hello(hello) = rig.next().await else { panic!("no greeting") };
        assert_eq!(
            (Some(hello.pid), hello.source, hello.claude_session),
            (rig.terminal.pid(), Source::Hooks, rig.session)
        );
        rig
    }

    /// With the plugin changed before Claude Code sees it.
    async fn begin(
        version: &str,
        source: Source,
        ride: &std::path::Path,
        change: impl FnOnce(&std::path::Path),
    ) -> Rig {
        let anthropic = Anthropic::start().await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let work = home.path().join("work");
        fs::create_dir_all(&work).unwrap();
        let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
        let token = Token::draw().unwrap();
        let (status, seen) = watch::channel(Status { line: "⇄ riding alice".to_owned(), warn: false, ending: false });
        let session = Uuid::new_v4();
        let config_dir = home.path().join(".claude");
        let slug: String = work
            .canonicalize()
            .unwrap()
            .to_str()
            .unwrap()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let tailed = Tailed {
            path: config_dir.join("projects").join(slug).join(format!("{session}.jsonl")),
            from: 0,
            claude_session: session,
            config_dir,
        };
        let (link, events) = Link::open(dir.path(), token.clone(), source, seen, Some(tailed)).unwrap();
        let plugin = unpack(dir.path(), source, ride).unwrap();
        change(&plugin.root);
        let claude = ClaudeCode::version(Peer::claude_code(version), &anthropic, home.path(), &work).await.unwrap();
        let claude = claude.args(["--session-id", &session.to_string(), "--plugin-dir", plugin.root.to_str().unwrap()]);
        let claude = claude.env(SOCKET_VAR, link.socket()).env(TOKEN_VAR, token.expose());
        let terminal = claude.start().await.unwrap();
        let link = Some(link);
        Rig { terminal, anthropic, link, events, session, program: plugin.program, home, _status: status, _dir: dir }
    }

    async fn next(&mut self) -> LinkEvent {
        loop {
            match timeout(DEADLINE, self.events.recv()).await {
                // What they are for is told elsewhere.
                Ok(Some(LinkEvent::Runs)) => {}
                Ok(event) => return event.expect("the link is open"),
                Err(_) => panic!("nothing from Claude Code; its screen:\n{}", self.terminal.screen()),
            }
        }
    }

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

    async fn heard(&mut self) -> Vec<Uuid> {
        let event = self.next().await;
        let LinkEvent::Heard(prompts) = event else { panic!("not heard but {event:?}") };
        prompts
    }

    async fn turn(&mut self) -> Turn {
        let event = self.next().await;
        let LinkEvent::Turn { turn, kept } = event else { panic!("no turn but {event:?}") };
        kept.send(()).unwrap();
        turn
    }

    async fn slipped(&mut self) -> Slip {
        let event = self.next().await;
        let LinkEvent::Slipped(slip) = event else { panic!("nothing slipped but {event:?}") };
        slip
    }

    /// Submits a prompt, lets it in, and sees it in the transcript.
    async fn submit(&mut self, text: &str) -> Prompt {
        self.terminal.submit(text).await.unwrap();
        assert_eq!(self.answer(Verdict::Allow).await, typed(text));
        let prompt = self.prompt().await;
        assert_eq!((prompt.text.as_str(), &prompt.origin), (text, &Origin::Person));
        prompt
    }

    /// A whole turn of one prompt.
    async fn says(&mut self, text: &str) -> (Prompt, Turn) {
        let prompt = self.submit(text).await;
        assert_eq!(self.heard().await, [prompt.id]);
        let turn = self.turn().await;
        assert_eq!(turn.prompt_id, Some(prompt.id));
        (prompt, turn)
    }

    /// Waits until Claude Code says that it does nothing: before, it may swallow a command.
    async fn rests(&self) {
        let entry = self.home.path().join(".claude/sessions").join(format!("{}.json", self.terminal.pid().unwrap()));
        let idle = || fs::read_to_string(&entry).ok().filter(|text| text.contains(r#""status":"idle""#));
        poll_until("a resting Claude Code", DEADLINE, idle).await.unwrap();
    }

    async fn shows(&self, text: &str) {
        self.terminal.wait_for_text(DEADLINE, text).await.unwrap();
    }
}

fn typed(text: &str) -> Ask {
    Ask::Prompt { text: text.to_owned(), origin: Origin::Person }
}

fn refusal() -> Verdict {
    Verdict::Refuse("bob rides this thread now".to_owned())
}

#[tokio::test]
async fn prompts_and_answers_come_from_the_transcript() {
    for version in [OLD, NEW] {
        let mut rig = Rig::start(version).await;
        rig.shows("⇄ riding alice").await;
        let (_, turn) = rig.says("hello there").await;
        assert_eq!((&turn.ending, turn.answer.as_str()), (&Ending::Answered, "echo[1]: hello there"));
        let (_, turn) = rig.says(r#"::tool Bash {"command":"echo from-the-tool"}"#).await;
        assert_eq!((&turn.ending, turn.answer.as_str()), (&Ending::Answered, "tool-done: from-the-tool"));
        assert!(turn.answer_id.is_some());
    }
}

#[tokio::test]
async fn a_refused_prompt_is_shown_again_and_reaches_nobody() {
    let mut rig = Rig::start(OLD).await;
    rig.terminal.submit("for the wrong driver").await.unwrap();
    assert_eq!(rig.answer(refusal()).await, typed("for the wrong driver"));
    rig.shows("not sent: bob rides this thread now").await;
    // This version shows it again, and leaves the input box empty.
    rig.shows("Original prompt: for the wrong driver").await;
    assert_eq!(rig.anthropic.turns().len(), 0);
    rig.says("for the right one").await;
}

#[tokio::test]
async fn the_reason_for_a_long_prompt_is_not_scrolled_away_by_it() {
    let mut rig = Rig::start(OLD).await;
    rig.shows("⇄ riding alice").await;
    let text = "all work and no play ".repeat(4_000);
    rig.terminal.send(format!("\x1b[200~{text}\x1b[201~").as_bytes()).unwrap();
    rig.shows("Pasted text").await;
    rig.terminal.press(Key::Enter).unwrap();
    let Ask::Prompt { text, .. } = rig.answer(refusal()).await else { panic!("no prompt") };
    rig.shows("not sent: bob rides this thread now; ↑ brings it back").await;
    rig.terminal.send(b"\x1b[A").unwrap();
    rig.shows("[Pasted text").await;
    rig.terminal.press(Key::Enter).unwrap();
    let Ask::Prompt { text: again, .. } = rig.answer(refusal()).await else { panic!("no prompt") };
    assert_eq!(again.len(), text.len());
}

// Rule LEASE-11.
#[tokio::test]
async fn a_prompt_that_waited_is_asked_about_when_it_begins() {
    let mut rig = Rig::start(OLD).await;
    rig.submit("::gate first ::say first answer").await;
    rig.anthropic.wait_for_prompt(DEADLINE, "::gate first").await.unwrap();
    rig.terminal.submit("typed meanwhile").await.unwrap();
    rig.shows("typed meanwhile").await;
    rig.anthropic.open_gate("first");
    // Its question, the first one's line and the end of its turn race each other.
    let (mut asked, mut ended) = (false, false);
    while !(asked && ended) {
        match rig.next().await {
            LinkEvent::Ask { what, reply, .. } => {
                assert_eq!(what, typed("typed meanwhile"));
                reply.send(refusal()).unwrap();
                asked = true;
            }
            LinkEvent::Turn { turn, kept } => {
                assert_eq!(turn.answer, "first answer");
                kept.send(()).unwrap();
                ended = true;
            }
            LinkEvent::Heard(_) => {}
            other => panic!("{other:?}"),
        }
    }
    rig.shows("not sent: bob rides this thread now").await;
    assert_eq!(rig.anthropic.turns().len(), 1);
}

#[tokio::test]
async fn one_that_joins_a_turn_is_told_as_unasked() {
    let mut rig = Rig::start(OLD).await;
    let go_on = rig.home.path().join("go-on");
    let first = rig
        .submit(&format!(r#"::tool Bash {{"command":"until [ -e '{}' ]; do sleep 0.1; done"}}"#, go_on.display()))
        .await;
    assert_eq!(rig.heard().await, [first.id]);
    rig.shows("until").await;
    rig.terminal.submit("one more thing").await.unwrap();
    rig.shows("one more thing").await;
    fs::write(&go_on, "").unwrap();
    assert_eq!(rig.slipped().await, Slip::Unasked);
    let joined = rig.prompt().await;
    assert_eq!((joined.text.as_str(), &joined.origin), ("one more thing", &Origin::Person));
    assert_eq!(rig.heard().await, [joined.id]);
    assert_eq!(rig.turn().await.prompt_id, Some(joined.id));
}

#[tokio::test]
async fn interrupted_and_failed_turns_end() {
    for version in [OLD, NEW] {
        let mut rig = Rig::start(version).await;
        let prompt = rig.submit("::slow 60 ::say one two three four five six").await;
        rig.anthropic.wait_for_prompt(DEADLINE, "::slow 60").await.unwrap();
        // The older one draws nothing of a line before it is whole: it may still be silent.
        if version == NEW {
            rig.terminal
                .wait_for(DEADLINE, |screen| screen.lines().any(|line| line.trim_start().starts_with('●')))
                .await
                .unwrap();
        }
        rig.terminal.press(Key::Escape).unwrap();
        let mut event = rig.next().await;
        if matches!(event, LinkEvent::Heard(_)) {
            event = rig.next().await;
        }
        let LinkEvent::Turn { turn, kept } = event else { panic!("{version}: no turn but {event:?}") };
        kept.send(()).unwrap();
        assert_eq!((&turn.ending, turn.prompt_id), (&Ending::Aborted, Some(prompt.id)), "{version}");
        assert!(turn.answer.starts_with("one") || version == OLD && turn.answer.is_empty(), "{version}: {turn:?}");
        rig.terminal.press(Key::Ctrl('u')).unwrap();

        // Before a word was said no line tells: Claude Code's own registry does.
        let prompt = rig.submit("::gate never").await;
        rig.anthropic.wait_for_prompt(DEADLINE, "::gate never").await.unwrap();
        rig.terminal.press(Key::Escape).unwrap();
        let turn = rig.turn().await;
        assert_eq!(
            (&turn.ending, turn.answer.as_str(), turn.prompt_id),
            (&Ending::Aborted, "", Some(prompt.id)),
            "{version}"
        );
        rig.shows("❯ ::gate never").await;
        rig.terminal.press(Key::Ctrl('u')).unwrap();

        let prompt = rig.submit("::err 400").await;
        let turn = rig.turn().await;
        assert_eq!((&turn.ending, turn.prompt_id), (&Ending::Failed, Some(prompt.id)), "{version}");
    }
}

#[tokio::test]
async fn a_shell_command_is_told_with_its_answer() {
    let mut rig = Rig::start(OLD).await;
    rig.terminal.submit("!echo from-the-shell").await.unwrap();
    assert_eq!(rig.slipped().await, Slip::Unasked);
    let prompt = rig.prompt().await;
    assert_eq!((prompt.text.as_str(), &prompt.origin), ("!echo from-the-shell", &Origin::Person));
    rig.heard().await;
    let turn = rig.turn().await;
    assert_eq!((turn.prompt_id, &turn.ending), (Some(prompt.id), &Ending::Answered));
}

#[tokio::test]
async fn a_finished_task_begins_a_turn_of_the_machine() {
    let mut rig = Rig::start(OLD).await;
    rig.says(r#"::tool Bash {"command":"sleep 1; echo done-behind","run_in_background":true}"#).await;
    let asked = rig.answer(Verdict::Allow).await;
    assert!(matches!(&asked, Ask::Prompt { origin: Origin::Machine(_), .. }), "{asked:?}");
    let prompt = rig.prompt().await;
    assert_eq!(prompt.origin, Origin::Machine("task-notification".to_owned()));
    rig.heard().await;
    let turn = rig.turn().await;
    assert_eq!((turn.prompt_id, &turn.ending), (None, &Ending::Answered));
}

// Rule LEASE-14.
#[tokio::test]
async fn clear_resume_and_compact_are_told() {
    let mut rig = Rig::start(OLD).await;
    for text in ["before", "and more", "and enough"] {
        rig.says(text).await;
    }
    rig.terminal.submit("/compact").await.unwrap();
    assert_eq!(rig.slipped().await, Slip::Unasked);
    rig.shows("Compacted").await;
    rig.rests().await;
    rig.terminal.submit("/clear").await.unwrap();
    let event = rig.next().await;
    let LinkEvent::SessionChanged { from, to, source } = event else { panic!("no change but {event:?}") };
    assert_eq!((from, source.as_deref()), (rig.session, Some("clear")));
    rig.terminal.submit("elsewhere").await.unwrap();
    let LinkEvent::Ask { claude_session, reply, .. } = rig.next().await else { panic!("no question") };
    assert_eq!(claude_session, to);
    reply.send(refusal()).unwrap();
    rig.shows("not sent: bob rides this thread now").await;
    let back = format!("/resume {}", rig.session);
    rig.terminal.submit(&back).await.unwrap();
    let event = rig.next().await;
    assert!(matches!(&event, LinkEvent::SessionChanged { to, .. } if *to == rig.session), "{event:?}");
    // Until the conversation is drawn, what is typed may be swallowed.
    rig.shows("echo[3]: and enough").await;
    rig.rests().await;
    rig.says("back again").await;
    rig.terminal.submit("/branch aside").await.unwrap();
    let event = rig.next().await;
    assert!(
        matches!(&event, LinkEvent::SessionChanged { from, to, .. } if *from == rig.session && to != from),
        "{event:?}"
    );
}

#[tokio::test]
async fn what_goes_along_is_told_to_the_model_and_not_as_the_prompt() {
    let mut rig = Rig::start(OLD).await;
    rig.terminal.submit("/openclaw-session-sync:inbox answer him").await.unwrap();
    let asked = rig.answer(Verdict::Along("Omar wrote:\n> what about the PAPAYA?".to_owned())).await;
    assert_eq!(asked, typed("/openclaw-session-sync:inbox answer him"));
    assert_eq!(rig.prompt().await.text, "/openclaw-session-sync:inbox answer him");
    let request = rig.anthropic.wait_for_prompt(DEADLINE, "answer him").await.unwrap();
    let body = request.body.to_string();
    assert!(body.contains("Omar wrote:\\n> what about the PAPAYA?"), "{body}");
    let line = body.find("UserPromptSubmit hook additional context").expect("named as the hook's");
    assert!(body[line..].contains("PAPAYA"));
}

// Rule LEASE-12.
#[tokio::test]
async fn without_ride_no_prompt_is_sent() {
    let mut rig = Rig::start(OLD).await;
    rig.link = None;
    rig.terminal.submit("to nobody").await.unwrap();
    rig.shows("not sent: ride does not run any more").await;
    rig.shows("hint: leave Claude Code with /exit").await;
    rig.shows("Original prompt: to nobody").await;
    assert_eq!(rig.anthropic.turns().len(), 0);
}

#[tokio::test]
async fn a_prompt_that_a_missing_hook_let_through_is_told() {
    let mut rig = Rig::start(OLD).await;
    fs::remove_file(&rig.program).unwrap();
    rig.terminal.submit("nobody asked").await.unwrap();
    assert_eq!(rig.slipped().await, Slip::Prompt);
}

#[tokio::test]
async fn a_mod_that_does_not_load_is_told_before_any_prompt() {
    let break_it = |root: &std::path::Path| fs::remove_file(root.join("hooks/register.js")).unwrap();
    let mut rig = Rig::begin(NEW, Source::Mod, super::RIDE.as_ref(), break_it).await;
    rig.terminal.submit("typed early").await.unwrap();
    let event = rig.next().await;
    assert!(matches!(event, LinkEvent::NoMod), "{event:?}");
    assert_eq!(rig.anthropic.turns().len(), 0);
}

#[tokio::test]
async fn through_the_mod_no_process_runs_per_prompt() {
    let bin = tempfile::tempdir().unwrap();
    let (counting, log) = (bin.path().join("ride"), bin.path().join("log"));
    fs::write(&counting, format!("#!/bin/sh\necho \"$@\" >> '{}'\nexec '{}' \"$@\"\n", log.display(), super::RIDE))
        .unwrap();
    fs::set_permissions(&counting, fs::Permissions::from_mode(0o755)).unwrap();
    let mut rig = Rig::begin(NEW, Source::Mod, &counting, |_| {}).await;
    assert!(matches!(rig.next().await, LinkEvent::Hello(hello) if hello.source == Source::Mod));
    for text in ["one", "two", "three"] {
        rig.terminal.submit(text).await.unwrap();
        let mut over = false;
        while !over {
            match rig.next().await {
                LinkEvent::Ask { reply, .. } => reply.send(Verdict::Allow).unwrap(),
                LinkEvent::Prompt { kept, .. } => kept.send(()).unwrap(),
                LinkEvent::Turn { kept, .. } => {
                    kept.send(()).unwrap();
                    over = true;
                }
                LinkEvent::Heard(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    // The first is ours, when the plugin was laid out.
    assert_eq!(fs::read_to_string(&log).unwrap(), "hook\nhook SessionStart\n");
}
