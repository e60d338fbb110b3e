//! Against the real Claude Code, kept idle: no prompt, so no model API.
//! `cargo xtask` installs it under `target/peers`; without it this fails.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ride_store::claude::process::{Alive, alive, look};
use ride_store::claude::{By, ClaudeDir, EndChild, Status, end_idle_child, live_writers};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

struct Claude(Child);

impl Claude {
    /// Started as the gateway starts it: one process for many turns, fed by stdin.
    fn start(version: &str, home: &Path, session: Uuid) -> Claude {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
        let claude: PathBuf = peers.join(format!("claude-code-{version}"));
        let claude = claude.join("node_modules/@anthropic-ai/claude-code-linux-x64/claude");
        assert!(claude.exists(), "no Claude Code {version} at {}", claude.display());
        let child = Command::new(claude)
            .args(["-p", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json"])
            .args(["--session-id", &session.to_string()])
            .current_dir(home)
            .env_clear()
            .env("HOME", home)
            .env("PATH", "/usr/bin:/bin")
            .env("ANTHROPIC_API_KEY", "sk-ant-dummy")
            .env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Claude Code starts");
        Claude(child)
    }
}

impl Drop for Claude {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_idle_claude_code_is_found_and_ended() {
    let home = tempfile::tempdir().expect("a folder");
    let session = Uuid::new_v4();
    let claude = Claude::start("2.1.330", home.path(), session);
    let dir = ClaudeDir::new(None, home.path());
    let own = std::process::id();
    let process = look(claude.0.id()).expect("a process table").expect("it runs").process();

    // Known by its arguments first, by the registry once it is up.
    let deadline = Instant::now() + LIMIT;
    loop {
        let writers = live_writers(&dir, session, None, &[]).expect("writers").here;
        match writers.iter().find(|w| w.process == process).map(|w| &w.by) {
            Some(By::Registry(Status::Idle)) => break,
            // Between fork and exec it has our arguments.
            Some(By::Arguments | By::Registry(_)) | None => {}
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline, "not registered as idle in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = Uuid::new_v4();
    assert_eq!(end_idle_child(&dir, own, other, LIMIT).expect("looked"), EndChild::NotRunning);
    assert_eq!(end_idle_child(&dir, 1, session, LIMIT).expect("looked"), EndChild::NotRunning);
    let ended = end_idle_child(&dir, own, session, LIMIT).expect("ended");
    assert_eq!(ended, EndChild::Gone(vec![process.clone()]));
    assert_eq!(alive(&process).expect("a process table"), Alive::No);
    assert_eq!(live_writers(&dir, session, None, &[]).expect("writers").here, []);
}

/// 2.1.197 registers a `-p` process at its first prompt only: until then it is
/// known by its arguments, and left alone.
#[test]
fn an_unregistered_claude_code_is_left_alone() {
    let home = tempfile::tempdir().expect("a folder");
    let session = Uuid::new_v4();
    let claude = Claude::start("2.1.197", home.path(), session);
    let dir = ClaudeDir::new(None, home.path());
    let process = look(claude.0.id()).expect("a process table").expect("it runs").process();
    let deadline = Instant::now() + LIMIT;
    let busy = loop {
        match end_idle_child(&dir, std::process::id(), session, LIMIT).expect("looked") {
            EndChild::NotRunning => assert!(Instant::now() < deadline, "not seen in {LIMIT:?}"),
            other => break other,
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(matches!(busy, EndChild::Busy { process: p, .. } if p == process));
    assert_eq!(alive(&process).expect("a process table"), Alive::Yes);
}
