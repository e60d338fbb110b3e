//! The lock that a ride's Claude Code inherits, with the real one in a terminal: it keeps the
//! descriptor until it exits, and nothing that it starts has it. Another version of Claude Code
//! is to be added here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ride::env::Env;
use ride::launch::Launch;
use ride::link::Token;
use ride_store::claude::lock::{self, DriverLock, Lock};
use ride_store::claude::process::holders;
use ride_store::claude::{ClaudeDir, runs_claude_code};
use ride_testkit::claude::{environment, seed_config, shows_prompt};
use ride_testkit::peers::Peer;
use ride_testkit::{Anthropic, Program, poll_until};
use serde_json::{Value, json};
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(90);
/// How long a child that is not another program yet may have the lock: less than the one in the background runs.
const FORKED: Duration = Duration::from_secs(5);
/// What the run in the terminal is told, as JSON.
const TOLD: &str = "RIDE_LINK_TEST_LOCK";
/// What Claude Code starts, and each writes down which files it has open.
const STARTED: [&str; 5] = ["session-start", "prompt", "server", "tool", "background"];

#[tokio::test]
async fn claude_code_2_1_330_keeps_the_lock_and_what_it_starts_has_it_not() {
    keeps_the_lock("2.1.330").await;
}

#[tokio::test]
async fn claude_code_2_1_197_keeps_the_lock_and_what_it_starts_has_it_not() {
    keeps_the_lock("2.1.197").await;
}

/// In the place of `ride`, in the terminal: starts Claude Code as `ride` does, and lets go of
/// the lock at once, so that Claude Code is the only one that holds it.
#[tokio::test]
async fn starts_claude_code_when_it_is_told_to() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let lock = Arc::new(DriverLock::take(&ClaudeDir::at(text("config"))).unwrap());
    fs::write(text("name"), lock.name()).unwrap();
    let vars: Vec<(String, String)> = serde_json::from_value(told["env"].clone()).unwrap();
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut launch = Launch {
        env: Env::of(&vars, Path::new(&text("work"))),
        claude: text("claude").into(),
        claude_session: text("session").parse().unwrap(),
        cwd: text("work").into(),
        config_dir: Some(text("config").into()),
        plugin: text("plugin").into(),
        socket: "/none".into(),
        token: Token::draw().unwrap(),
        extra: Vec::new(),
        lock: Some(lock),
    };
    let mut claude = launch.start().unwrap();
    launch.lock = None;
    claude.ended().await;
}

async fn keeps_the_lock(version: &str) {
    let anthropic = Anthropic::start().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let (work, config, plugin) = (home.path().join("work"), home.path().join(".claude"), home.path().join("plugin"));
    fs::create_dir_all(&work).unwrap();
    seed_config(&config, &[&work]).unwrap();
    let dump = dumps(home.path(), &work, &config, &plugin);
    let session = a_session(&config, &work);
    let claude = Peer::claude_code(version).fetched().await.unwrap();
    let mut env = environment(&anthropic, &config);
    env.extend([
        ("HOME".into(), home.path().display().to_string()),
        ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
    ]);
    env.extend([("SHELL".into(), "/bin/sh".into()), ("TERM".into(), "xterm-256color".into())]);
    let name = home.path().join("name");
    let told = json!({"config": config, "name": name, "env": env, "work": work, "claude": claude, "session": session, "plugin": plugin});
    let mut program = Program::new(std::env::current_exe().unwrap(), &work);
    program = program
        .args(["--exact", "lock::starts_claude_code_when_it_is_told_to", "--nocapture"])
        .env(TOLD, told.to_string());
    for (name, value) in &env {
        program = program.env(name, value);
    }
    let mut terminal = program.start().unwrap();
    terminal.wait_for(DEADLINE, shows_prompt).await.unwrap();
    let (dir, name) = (ClaudeDir::at(&config), fs::read_to_string(&name).unwrap());
    // What Claude Code has just forked has it too, until it is another program: for a moment.
    let only_claude = async || {
        let path = lock::path_of(&dir, &name);
        let alone = || {
            let holders = holders(&path).unwrap();
            (holders.len() == 1 && runs_claude_code(holders[0].pid)).then_some(())
        };
        let alone = poll_until("Claude Code alone with the lock", FORKED, alone).await;
        alone.unwrap_or_else(|e| panic!("{version}: {e}: {:?}", holders(&path)));
        assert_eq!(lock::ask(&dir, &name).unwrap(), Lock::Held);
    };
    only_claude().await;
    let command = format!("{dump} tool; ({dump} background; sleep 20) >/dev/null 2>&1 & sleep 1");
    let tool = json!({"command": command, "description": "tell"});
    terminal.submit(&format!("::tool Bash {tool}")).await.unwrap();
    terminal.wait_for_text(DEADLINE, "tool-done").await.unwrap_or_else(|e| panic!("{e}"));
    for what in STARTED {
        let file = home.path().join(what);
        let seen = poll_until(what, DEADLINE, || fs::read_to_string(&file).ok().filter(|seen| seen.ends_with("end\n")));
        let seen = seen.await.unwrap_or_else(|e| panic!("{version} did not start {what}: {e}"));
        assert!(seen.contains(" -> ") && !seen.contains(&name), "{version}: {what} has it: {seen}");
    }
    // The one in the background still runs.
    only_claude().await;
    terminal.submit("/exit").await.unwrap();
    terminal.wait_exit(DEADLINE).await.unwrap();
    let free = poll_until("a free lock", DEADLINE, || (lock::ask(&dir, &name).ok()? == Lock::Free).then_some(()));
    free.await.unwrap_or_else(|e| panic!("something of {version} has it for longer: {e}"));
}

/// Lays out what Claude Code starts; gives the command that writes down what it has open.
fn dumps(home: &Path, work: &Path, config: &Path, plugin: &Path) -> String {
    let script = home.join("dump");
    let at = home.display();
    fs::write(&script, format!("ls -l /proc/$$/fd >'{at}/'$1 2>&1; echo end >>'{at}/'$1\n")).unwrap();
    let dump = format!("sh '{}'", script.display());
    // It tells, and then is no server: Claude Code goes on without it.
    fs::write(
        work.join(".mcp.json"),
        json!({"mcpServers": {"x": {"command": "sh", "args": [script, "server"]}}}).to_string(),
    )
    .unwrap();
    fs::create_dir_all(plugin.join(".claude-plugin")).unwrap();
    fs::write(plugin.join(".claude-plugin/plugin.json"), json!({"name": "none", "version": "1.0.0"}).to_string())
        .unwrap();
    let hook = |what: &str| json!([{"hooks": [{"type": "command", "command": format!("{dump} {what}")}]}]);
    let settings = json!({
        "permissions": {"defaultMode": "default", "allow": ["Bash"]},
        "hooks": {"SessionStart": hook("session-start"), "UserPromptSubmit": hook("prompt")},
        "enableAllProjectMcpServers": true,
    });
    fs::write(config.join("settings.json"), settings.to_string()).unwrap();
    dump
}

/// A conversation to be resumed.
fn a_session(config: &Path, work: &Path) -> Uuid {
    let (session, prompt, answer) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let line = |more: Value| {
        let mut line = json!({"isSidechain": false, "userType": "external", "cwd": work, "sessionId": session, "version": "2.1.197", "gitBranch": "", "timestamp": "2026-11-01T00:00:00.000Z"});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{line}\n")
    };
    let said = line(
        json!({"type": "user", "uuid": prompt, "parentUuid": null, "message": {"role": "user", "content": "hello"}}),
    );
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let told = line(json!({"type": "assistant", "uuid": answer, "parentUuid": prompt, "message": message}));
    let file: PathBuf = ClaudeDir::at(config).project(work).join(format!("{session}.jsonl"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, said + &told).unwrap();
    session
}
