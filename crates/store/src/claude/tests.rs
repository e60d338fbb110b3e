//! Against files and child processes of our own; `tests/claude_code.rs` does
//! the same against the real Claude Code.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ride_core::transcript::{Broken, Why};
use serde_json::{Value, json};
use uuid::Uuid;

use super::process::{
    Alive, Seen, Unseen, alive, alive_as, children_of, command, identity, is_under, look, namespace, wait_gone,
};
use super::*;

/// A Claude session of one test alone: each looks at every process of the machine.
fn session() -> Uuid {
    thread_local!(static ID: Uuid = Uuid::new_v4());
    ID.with(|id| *id)
}
const OTHER: Uuid = Uuid::from_u128(0x22222222_2222_4222_8222_222222222222);
const LIMIT: Duration = Duration::from_secs(10);

/// A child that ends with the test.
struct Held(Child);

impl Held {
    fn start(program: &str, args: &[&str]) -> Held {
        let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Held(child.unwrap())
    }

    fn seen(&self) -> Seen {
        look(self.0.id()).unwrap().expect("it runs")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn home() -> (tempfile::TempDir, ClaudeDir) {
    let home = tempfile::tempdir().unwrap();
    let dir = ClaudeDir::new(None, home.path());
    fs::create_dir_all(dir.sessions()).unwrap();
    (home, dir)
}

fn register(dir: &ClaudeDir, seen: &Seen, session: Uuid, extra: Value) {
    let mut entry = json!({
        "pid": seen.pid, "sessionId": session, "procStart": seen.start.to_string(), "kind": "interactive",
    });
    entry.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    fs::write(dir.sessions().join(format!("{}.json", seen.pid)), entry.to_string()).unwrap();
}

fn transcript(dir: &ClaudeDir, cwd: &Path, lines: &[Value]) -> PathBuf {
    let project = dir.project(cwd);
    fs::create_dir_all(&project).unwrap();
    let path = project.join(format!("{}.jsonl", session()));
    append(&path, lines);
    path
}

fn append(path: &Path, lines: &[Value]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
}

fn prompt(n: u128, parent: Option<u128>) -> Value {
    json!({"parentUuid": parent.map(Uuid::from_u128), "type": "user", "uuid": Uuid::from_u128(n),
           "promptSource": "typed", "message": {"content": format!("prompt {n}")}, "cwd": "/p"})
}

fn answer(n: u128, parent: u128) -> Value {
    json!({"parentUuid": Uuid::from_u128(parent), "type": "assistant", "uuid": Uuid::from_u128(n),
           "message": {"content": [{"type": "text", "text": format!("answer {n}")}], "stop_reason": "end_turn"}})
}

#[test]
fn slugs() {
    let long = format!("/tmp/tr-lab/work{}", format!("/{}", "long-ü".repeat(10)).repeat(4));
    let cut = format!("-tmp-tr-lab-work{}", format!("-{}", "long--".repeat(10)).repeat(4));
    // Measured on the real Claude Code.
    let rows = [
        ("/lab/work/Slug_Test.v1 x+y@z/ünï-日本", "-lab-work-Slug-Test-v1-x-y-z--n----".to_owned()),
        ("/em😀ji", "-em--ji".to_owned()),
        (&long, format!("{}-9jmdmt", &cut[..200])),
    ];
    for (path, expected) in rows {
        assert_eq!(project_slug(path), expected);
    }
}

#[test]
fn transcripts_are_found_and_links_refused() {
    let (home, dir) = home();
    let cwd = home.path().join("work");
    fs::create_dir(&cwd).unwrap();
    assert_eq!(dir.find(session(), Some(&cwd)).unwrap(), None);
    let path = transcript(&dir, &cwd, &[]);
    assert_eq!(dir.find(session(), Some(&cwd)).unwrap(), Some(path.clone()));
    // From another folder, and without one.
    assert_eq!(dir.find(session(), Some(home.path())).unwrap(), Some(path.clone()));
    assert_eq!(dir.find(session(), None).unwrap(), Some(path.clone()));
    assert_eq!(dir.find(OTHER, None).unwrap(), None);
    // Through a link to the folder, as the host resolves it.
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&cwd, &link).unwrap();
    assert_eq!(dir.project(&link), dir.project(&cwd));
    // Twice: not for us to choose, unless the folder says which.
    let twin = dir.path().join("projects/other");
    fs::create_dir(&twin).unwrap();
    fs::copy(&path, twin.join(path.file_name().unwrap())).unwrap();
    let Err(ambiguous @ ClaudeError::Ambiguous(..)) = dir.find(session(), None) else { panic!("one was chosen") };
    let said = ambiguous.to_string();
    for folder in [path.parent().unwrap(), &twin] {
        assert!(said.contains(&folder.display().to_string()), "{said}");
    }
    assert!(said.contains("move the other one out of Claude Code's projects folder"), "{said}");
    assert_eq!(dir.find(session(), Some(&cwd)).unwrap(), Some(path.clone()));
    // A link in the transcript's place.
    let elsewhere = home.path().join("elsewhere.jsonl");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(matches!(dir.find(session(), Some(&cwd)), Err(ClaudeError::NotRegular(_))));
    assert!(matches!(chain_mark(&path), Err(ClaudeError::NotRegular(_))));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(chain_mark(&path), Err(ClaudeError::NotRegular(_))));
}

#[test]
fn a_mark_is_shown_or_not() {
    let (home, dir) = home();
    let path = transcript(&dir, home.path(), &[prompt(1, None), answer(2, 1)]);
    let mark = chain_mark(&path).unwrap();
    assert_eq!(mark.leaf, Some(Uuid::from_u128(2)));
    assert_eq!(mark.size, fs::metadata(&path).unwrap().len());
    let Look::Shown { turns, now, .. } = show_chain(&mark).unwrap() else { panic!("not shown") };
    assert_eq!((turns.turns.len(), now), (0, mark.clone()));

    append(&path, &[prompt(3, Some(2)), answer(4, 3)]);
    let Look::Shown { turns, now, .. } = show_chain(&mark).unwrap() else { panic!("not shown") };
    assert_eq!(turns.turns.len(), 1);
    assert_eq!(turns.turns[0].prompts[0].text, "prompt 3");
    assert_eq!(turns.turns[0].answer.as_ref().unwrap().text, "answer 4");
    assert_eq!(now, chain_mark(&path).unwrap());

    append(&path, &[prompt(5, Some(1))]);
    let why = |look| match look {
        Look::Broken(Broken { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(show_chain(&mark).unwrap()), Why::NotAncestor);

    // Changed before the mark, by as many bytes.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("prompt 1", "prompt !")).unwrap();
    assert_eq!(show_chain(&mark).unwrap(), Look::Rewritten);
    fs::write(&path, "").unwrap();
    assert_eq!(why(show_chain(&mark).unwrap()), Why::Shrunk);
    fs::rename(&path, home.path().join("gone")).unwrap();
    assert_eq!(show_chain(&mark).unwrap(), Look::Missing);
    fs::write(&path, text).unwrap();
    assert_eq!(show_chain(&mark).unwrap(), Look::Replaced);
}

#[test]
fn summaries_come_from_the_end() {
    let (home, dir) = home();
    let title = json!({"type": "custom-title", "customTitle": "t"});
    let last = json!({"type": "last-prompt", "lastPrompt": "hello", "leafUuid": Uuid::from_u128(2)});
    let body = json!({"type": "api-request-blob", "message": "x".repeat(1 << 20)});
    let path = transcript(&dir, home.path(), &[title, prompt(1, None), answer(2, 1), body, last]);
    let summary = summary(&path).unwrap();
    assert_eq!(summary.title.as_deref(), Some("t"));
    assert_eq!(summary.last_prompt.as_deref(), Some("hello"));
    assert_eq!(summary.cwd.as_deref(), Some("/p"));
}

#[test]
fn stat_lines() {
    let tail = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876 1000 200";
    for name in ["sleep", "a b", "x) S 1 (y", ")", ""] {
        let seen = process::parse(5, &format!("5 ({name}) {tail}\n"));
        assert_eq!(seen, Some((Seen { pid: 5, start: 9876, ppid: 7 }, 'S')), "{name}");
    }
    for broken in ["", "5", "5 (x)", "5 (x) S", "5 (x) S 7 1"] {
        assert_eq!(process::parse(5, broken), None, "{broken}");
    }
}

#[test]
fn processes_by_pid_and_start() {
    let mut child = Held::start("sleep", &["60"]);
    let seen = child.seen();
    assert_eq!(seen.ppid, std::process::id());
    assert!(children_of(std::process::id()).unwrap().contains(&seen));
    wait_for("command line", || (command(seen.pid) == ["sleep", "60"]).then_some(()));
    let process = seen.process();
    assert_eq!(alive(&process).unwrap(), Alive::Yes);
    let mut reused = process.clone();
    reused.start -= 1;
    assert_eq!(alive(&reused).unwrap(), Alive::No);
    let mut far = process.clone();
    far.machine.insert(0, 'x');
    assert_eq!(alive(&far).unwrap(), Alive::CannotTell(Unseen::Machine));
    // Gone as soon as only its status is left.
    child.0.kill().unwrap();
    wait_for("end", || (alive(&process).unwrap() == Alive::No).then_some(()));
    child.0.wait().unwrap();
    assert_eq!(alive(&process).unwrap(), Alive::No);
    assert_eq!(look(u32::MAX).unwrap(), None);
}

// Rule LEASE-20.
#[test]
fn a_process_of_another_namespace_is_never_gone() {
    let child = Held::start("sleep", &["60"]);
    let process = child.seen().process();
    assert_eq!(process, identity(child.0.id()));
    assert_eq!(process.namespace, namespace());
    assert!(process.namespace.is_some());
    let gone = |namespace: Option<&str>| {
        let namespace = namespace.map(str::to_owned);
        alive(&ride_core::id::Process { namespace, pid: process.pid, start: process.start - 1, ..process.clone() })
            .unwrap()
    };
    assert_eq!(gone(process.namespace.as_deref()), Alive::No);
    assert_eq!(gone(Some("pid:[1] time:[2]")), Alive::CannotTell(Unseen::Namespace));
    // What an older ride wrote down: seen here it lives, and not seen it may be of another namespace.
    assert_eq!(gone(None), Alive::CannotTell(Unseen::NamespaceUnknown));
    let old = ride_core::id::Process { namespace: None, ..process.clone() };
    assert_eq!(alive(&old).unwrap(), Alive::Yes);
    // A table that is not this process's own shows nothing.
    assert_eq!(alive_as(&process, None).unwrap(), Alive::CannotTell(Unseen::Table));
    // Nothing of before the machine was started again runs, wherever it ran.
    let (machine, _) = process.machine.split_once('.').unwrap();
    let before = format!("{machine}.0000000000000000");
    assert_eq!(alive(&ride_core::id::Process { machine: before, namespace: None, ..process }).unwrap(), Alive::No);
}

#[test]
fn registry_entries_live_dead_and_elsewhere() {
    let (_home, dir) = home();
    assert!(Registry::read(&ClaudeDir::at("/nowhere")).unwrap().entries.is_empty());
    let child = Held::start("sleep", &["60"]);
    let seen = child.seen();
    let check = |extra: Value, live: bool, status: Status| {
        register(&dir, &seen, session(), extra);
        let registry = Registry::read(&dir).unwrap();
        assert_eq!(registry.live(session()).count(), usize::from(live));
        assert_eq!(registry.live(OTHER).count(), 0);
        assert_eq!(registry.entries[0].status, status);
        registry.entries[0].liveness.clone()
    };
    check(json!({"status": "idle"}), true, Status::Idle);
    check(json!({"status": "waiting", "waitingFor": "dialog open"}), true, Status::Waiting);
    check(json!({"status": "shell", "pid_domain": 7}), true, Status::Shell);
    check(json!({"status": "dreaming"}), true, Status::Other("dreaming".to_owned()));
    check(json!({"name": 3, "cwd": null, "status": 5}), true, Status::Untold);
    check(json!({"procStart": seen.start}), true, Status::Untold);
    assert_eq!(check(json!({"procStart": "1"}), false, Status::Untold), Liveness::Dead);
    let far = json!({"pidDomain": "linux:someone:pid:[1]"});
    assert!(matches!(check(far, false, Status::Untold), Liveness::Elsewhere(_)));
    fs::write(dir.sessions().join("8.json"), "{\"pid\":8,").unwrap();
    fs::write(dir.sessions().join("9.json"), "{\"pid\":9,\"sessionId\":\"no\"}").unwrap();
    fs::write(dir.sessions().join("9.abc.key"), "{}").unwrap();
    let registry = Registry::read(&dir).unwrap();
    assert_eq!((registry.entries.len(), registry.odd.len()), (1, 2));
}

fn end(dir: &ClaudeDir, limit: Duration) -> EndChild {
    end_idle_child(dir, std::process::id(), session(), limit).unwrap()
}

#[test]
fn an_idle_child_is_ended_and_nothing_else() {
    let (home, dir) = home();
    assert_eq!(end(&dir, LIMIT), EndChild::NotRunning);
    let child = Held::start("sleep", &["60"]);
    let bystander = Held::start("sleep", &["60"]);
    register(&dir, &bystander.seen(), OTHER, json!({"status": "idle"}));
    let process = child.seen().process();
    for status in ["busy", "waiting", "shell", "dreaming"] {
        register(&dir, &child.seen(), session(), json!({"status": status}));
        let expected = EndChild::Busy { process: process.clone(), status: Status::from(status), waiting_for: None };
        assert_eq!(end(&dir, LIMIT), expected);
    }
    // A file left behind by an earlier process with this pid.
    register(&dir, &child.seen(), session(), json!({"status": "idle", "procStart": "1"}));
    assert_eq!(end(&dir, LIMIT), EndChild::NotRunning);
    // Somebody else's child.
    register(&dir, &child.seen(), session(), json!({"status": "idle"}));
    assert_eq!(end_idle_child(&dir, 1, session(), LIMIT).unwrap(), EndChild::NotRunning);
    assert_eq!(alive(&process).unwrap(), Alive::Yes);
    // Where the host tells no status, the transcript does.
    register(&dir, &child.seen(), session(), json!({}));
    assert!(matches!(end(&dir, LIMIT), EndChild::Busy { status: Status::Untold, .. }));
    let path = transcript(&dir, home.path(), &[prompt(1, None)]);
    assert!(matches!(end(&dir, LIMIT), EndChild::Busy { status: Status::Untold, .. }));
    append(&path, &[answer(2, 1)]);
    assert_eq!(end(&dir, LIMIT), EndChild::Gone(vec![process.clone()]));
    assert_eq!(alive(&process).unwrap(), Alive::No);
    assert_eq!(end(&dir, LIMIT), EndChild::NotRunning);
    assert_eq!(alive(&bystander.seen().process()).unwrap(), Alive::Yes);
}

#[test]
fn a_child_behind_a_wrapper_is_ended() {
    let (_home, dir) = home();
    let wrapper = Held::start("sh", &["-c", "sleep 60; exit 0"]);
    let child = wait_for("child of the wrapper", || children_of(wrapper.0.id()).unwrap().pop());
    register(&dir, &child, session(), json!({"status": "idle"}));
    assert_eq!(end(&dir, LIMIT), EndChild::Gone(vec![child.process()]));
}

#[test]
fn a_child_that_stays_is_stuck() {
    let (_home, dir) = home();
    let child = Held::start("sh", &["-c", "trap '' TERM; echo $$ > /dev/null; while :; do sleep 60; done"]);
    // The trap is set once the shell has a child.
    wait_for("trap", || (!children_of(child.0.id()).unwrap().is_empty()).then_some(()));
    register(&dir, &child.seen(), session(), json!({"status": "idle"}));
    assert_eq!(end(&dir, Duration::from_millis(200)), EndChild::Stuck(child.seen().process()));
    for grandchild in children_of(child.0.id()).unwrap() {
        let pid = rustix::process::Pid::from_raw(grandchild.pid as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[test]
fn arguments_alone_make_no_child_eligible() {
    let (_home, dir) = home();
    let id = session().to_string();
    let child = Held(
        Command::new("sh")
            .arg0("claude")
            .args(["-c", "read line", "claude", "--resume", &id])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    wait_for("command line", || command(child.0.id()).contains(&id).then_some(()));
    let EndChild::Busy { process, .. } = end(&dir, LIMIT) else { panic!("not busy") };
    assert_eq!(process, child.seen().process());
    // Registered on another session meanwhile: not this session's writer any more.
    register(&dir, &child.seen(), OTHER, json!({"status": "idle"}));
    assert_eq!(end(&dir, LIMIT), EndChild::NotRunning);
    assert_eq!(live_writers(&dir, session(), None, &[]).unwrap(), Writers::default());
}

#[test]
fn writers_by_registry_arguments_and_open_file() {
    let (home, dir) = home();
    let path = transcript(&dir, home.path(), &[]);
    let writers = |except: &[_]| live_writers(&dir, session(), Some(&path), except).unwrap();
    assert_eq!(writers(&[]), Writers::default());

    let registered = Held::start("sleep", &["60"]);
    register(&dir, &registered.seen(), session(), json!({"status": "busy"}));
    let id = session().to_string();
    let argued = Held::start("sh", &["-c", "sleep 60; exit", "sh", &format!("--resume={id}")]);
    wait_for("arguments", || (command(argued.0.id()).len() == 5).then_some(()));
    let shell = format!("exec sleep 60 >> '{}'", path.display());
    let opened = Held::start("sh", &["-c", &shell]);
    let reader = Held::start("tail", &["-f", path.to_str().unwrap()]);
    let forked = Held::start("sh", &["-c", "sleep 60; exit", "sh", "--resume", &id, "--fork-session"]);
    let all = wait_for("three writers", || Some(writers(&[])).filter(|w| w.here.len() == 3));
    let by = |process: &Held| {
        let process = process.seen().process();
        all.here.iter().find(|w| w.process == process).map(|w| w.by.clone())
    };
    assert_eq!(by(&registered), Some(By::Registry(Status::Busy)));
    assert_eq!(by(&argued), Some(By::Arguments));
    assert_eq!(by(&opened), Some(By::OpenFile));
    assert_eq!((by(&reader), by(&forked)), (None, None));

    let except = [registered.seen().process(), argued.seen().process()];
    assert_eq!(writers(&except).here.len(), 1);
    register(&dir, &registered.seen(), session(), json!({"pidDomain": "linux:far:pid:[9]"}));
    let pid = registered.0.id();
    let place = Elsewhere { domain: Some("linux:far:pid:[9]".to_owned()), start: Some(registered.seen().start) };
    assert_eq!(writers(&[]).elsewhere, [(pid, place)]);
}

// Rule LEASE-21.
#[test]
fn an_unregistered_claude_code_in_the_project_folder_is_unclear() {
    let (home, dir) = home();
    let (work, aside) = (home.path().join("work"), home.path().join("aside"));
    for folder in [&work, &aside] {
        fs::create_dir(folder).unwrap();
    }
    let path = transcript(&dir, &work, &[]);
    let script = home.path().join("script");
    fs::write(&script, "read line").unwrap();
    let start = |folder: &Path, name: &str, args: &[&str]| {
        let mut command = Command::new("sh");
        command.arg0(name).arg(&script).args(args).current_dir(folder).stdin(Stdio::piped());
        Held(command.spawn().unwrap())
    };
    let unclear = || live_writers(&dir, session(), Some(&path), &[]).unwrap().unclear;
    let check = |held: Held, expected: bool| {
        wait_for("command line", || command(held.0.id()).contains(&script.display().to_string()).then_some(()));
        let told: Vec<_> = unclear().into_iter().map(|one| (one.process, one.why)).collect();
        let expected = if expected { vec![(held.seen().process(), Doubt::Unregistered)] } else { Vec::new() };
        assert_eq!(told, expected, "{:?}", command(held.0.id()));
    };
    check(start(&work, "claude", &[]), true);
    check(start(&work, "/home/a/.local/share/claude/versions/2.1.330", &["--resume"]), true);
    // It may have been moved on to this session.
    check(start(&work, "claude", &["--resume", &OTHER.to_string()]), true);
    check(start(&aside, "claude", &[]), false);
    check(start(&work, "vim", &["claude"]), false);
    check(start(&work, "rg", &["claude"]), false);
    // Without a terminal it stays where its arguments say.
    check(start(&work, "claude", &["-p", "--resume", &OTHER.to_string()]), false);
    check(start(&work, "claude", &["-p", "hello"]), false);
    check(start(&work, "claude", &["-p", "--continue"]), true);
    // Its entry is deleted, as a 2.1.197 in a container does it, and it lives on.
    let registered = start(&work, "claude", &[]);
    let seen = registered.seen();
    register(&dir, &seen, session(), json!({"status": "idle"}));
    let writers = || live_writers(&dir, session(), Some(&path), &[]).unwrap();
    assert_eq!((writers().here.len(), writers().unclear.len()), (1, 0));
    fs::remove_file(dir.sessions().join(format!("{}.json", seen.pid))).unwrap();
    wait_for("command line", || (command(seen.pid).len() == 2).then_some(()));
    assert_eq!((writers().here.len(), writers().unclear.len()), (0, 1));
    let told = writers().unclear[0].to_string();
    assert_eq!(
        told,
        format!(
            "process {} (claude) may have the Claude session open: Claude Code's registry does not know it, and it works in the session's project folder",
            seen.pid
        )
    );
    // It is registered on another session: it is not on this one.
    register(&dir, &seen, OTHER, json!({"status": "idle"}));
    assert_eq!(writers(), Writers::default());
}

#[test]
fn the_last_prompt_is_looked_for_in_the_last_16_mib() {
    let (home, dir) = home();
    let body = |mib: usize| json!({"type": "api-request-blob", "message": "x".repeat(mib << 20)});
    let last = json!({"type": "last-prompt", "lastPrompt": "hello", "leafUuid": Uuid::from_u128(2)});
    for (lines, expected) in [
        (vec![prompt(1, None), answer(2, 1)], Some("prompt 1")),
        (vec![prompt(1, None), answer(2, 1), body(1)], Some("prompt 1")),
        (vec![prompt(1, None), answer(2, 1), last.clone(), body(1)], Some("prompt 1")),
        (vec![last, body(1)], Some("hello")),
        (vec![prompt(1, None), answer(2, 1), body(8), body(8)], None),
        (vec![], None),
    ] {
        let path = transcript(&dir, home.path(), &lines);
        assert_eq!(last_prompt(&path).unwrap().as_deref(), expected, "of {} lines", lines.len());
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_glance_reads_no_more_than_the_end() {
    let (home, dir) = home();
    let title = json!({"type": "custom-title", "customTitle": "t"});
    let last = json!({"type": "last-prompt", "lastPrompt": "hello", "leafUuid": Uuid::from_u128(2)});
    let body = |bytes| json!({"type": "api-request-blob", "message": "x".repeat(bytes)});
    let check = |lines: &[Value], expected: [Option<&str>; 3]| {
        let path = transcript(&dir, home.path(), lines);
        let seen = glance(&path).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!([seen.title.as_deref(), seen.last_prompt.as_deref(), seen.cwd.as_deref()], expected);
    };
    let turn = [prompt(1, None), answer(2, 1)];
    check(&[title.clone(), turn[0].clone(), turn[1].clone(), last.clone()], [Some("t"), Some("hello"), Some("/p")]);
    // One that is open, or was never left.
    check(&turn, [None, Some("prompt 1"), Some("/p")]);
    // The folder is further back than the near end.
    check(
        &[turn[0].clone(), turn[1].clone(), body(100 << 10), title.clone(), last.clone()],
        [Some("t"), Some("hello"), Some("/p")],
    );
    // And further than is looked at.
    check(&[title.clone(), turn[0].clone(), turn[1].clone(), body(1 << 20), last.clone()], [None, Some("hello"), None]);
    check(&[], [None, None, None]);
}

#[test]
fn who_started_a_process_is_told_through_wrappers_and_its_end_is_waited_for() {
    let own = std::process::id();
    // A shell that stays, with a child: what runs below it is under it and under us.
    let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    let sleep = loop {
        if let Some(sleep) = children_of(shell.id())
            .unwrap()
            .into_iter()
            .find(|seen| command(seen.pid).first().is_some_and(|name| name == "sleep"))
        {
            break sleep;
        }
        assert!(Instant::now() < deadline, "no sleep is started");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(
        is_under(shell.id(), own).unwrap()
            && is_under(sleep.pid, own).unwrap()
            && is_under(sleep.pid, shell.id()).unwrap()
    );
    assert!(!is_under(own, shell.id()).unwrap() && !is_under(shell.id(), sleep.pid).unwrap());
    let process = sleep.process();
    assert!(!wait_gone(&process, Duration::from_millis(20)).unwrap());
    // Another start time is another process, and that one is gone.
    let before = ride_core::id::Process { start: process.start - 1, ..process.clone() };
    assert!(wait_gone(&before, LIMIT).unwrap());
    let pid = rustix::process::Pid::from_raw(i32::try_from(sleep.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(wait_gone(&process, LIMIT).unwrap());
    shell.wait().unwrap();
    assert!(!is_under(sleep.pid, own).unwrap());
}

#[test]
fn a_folder_is_found_by_its_slug_alone() {
    let root = tempfile::tempdir().unwrap();
    let here = |path: &str| root.path().join(path);
    for folder in ["srv/app-old", "srv/app/old.2", "srv/other"] {
        fs::create_dir_all(here(folder)).unwrap();
    }
    let found = |slug: &str| folder_of_slug(root.path(), slug);
    assert_eq!(found("-srv-other"), Some(here("srv/other")));
    assert_eq!(found("-srv-app-old-2"), Some(here("srv/app/old.2")));
    assert_eq!(found("-srv-gone"), None);
    // Two folders have this slug: not for us to choose.
    fs::create_dir_all(here("srv/app/old")).unwrap();
    assert_eq!(found("-srv-app-old"), None);
}

#[test]
fn a_last_line_without_a_line_feed_is_not_gone_on_with() {
    let (home, dir) = home();
    let path = transcript(&dir, home.path(), &[prompt(1, None), answer(2, 1)]);
    assert_eq!((why_not_ended(&path).unwrap(), why_not_resumed(&path).unwrap()), (None, None));
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.trim_end()).unwrap();
    assert!(why_not_ended(&path).unwrap().is_some_and(|why| why.contains("line feed")));
    assert!(why_not_resumed(&path).unwrap().is_some_and(|why| why.contains("line feed")));
    // What a crash cut off nobody could read anyway.
    fs::write(&path, format!("{whole}{{\"type\":\"us")).unwrap();
    assert_eq!(why_not_ended(&path).unwrap(), None);
}

#[test]
fn an_id_that_was_written_again_is_the_reason_that_is_told() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/claude-code/resumed");
    let why = why_not_resumed(&Path::new(kept).join("b11-same-uuid-written-again.jsonl")).unwrap().unwrap();
    assert!(why.starts_with("its chain is damaged: an id was written again under another parent: line "), "{why}");
    assert!(why.ends_with("(00000000-0000-4000-8000-000000000007)"), "{why}");
}

#[test]
fn missing_history_is_a_note() {
    let (home, dir) = home();
    let path = transcript(&dir, home.path(), &[prompt(1, None), answer(2, 1)]);
    assert_eq!(missing_history(&path).unwrap(), None);
    append(&path, &[prompt(4, Some(9)), answer(5, 4)]);
    assert_eq!(why_not_resumed(&path).unwrap(), None);
    assert!(missing_history(&path).unwrap().is_some_and(|note| note.contains("history is missing")));
}
