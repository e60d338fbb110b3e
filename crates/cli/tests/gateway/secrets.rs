//! What Claude Code and everything it starts can read of the gateway's secrets: nothing. The
//! command itself with the real Claude Code, each way of starting it; only the gateway and the
//! model are stand-ins.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ride_store::claude::process;
use ride_testkit::peers::Peer;
use ride_testkit::{Anthropic, ClaudeCode, Program, Terminal, claude, poll_until};
use serde_json::{Value, json};
use uuid::Uuid;

use super::command::{RIDE, grant_of, granting, row};
use super::standin::{Script, Standin, ok};

const DEADLINE: Duration = Duration::from_secs(60);

/// Every variable by which `ride` was given a secret, and its value.
const SECRETS: [(&str, &str); 6] = [
    ("OPENCLAW_GATEWAY_TOKEN", "value-of-the-token"),
    ("OPENCLAW_GATEWAY_PASSWORD", "value-of-the-password"),
    ("RIDE_PIN", "1111111111111111111111111111111111111111111111111111111111111111"),
    ("MY_TOKEN", "value-of-my-token"),
    ("MY_PASSWORD", "value-of-my-password"),
    ("MY_REMOTE_TOKEN", "value-of-my-remote-token"),
];
/// How the tool says which process it is.
const TOOL: &str = "tool-that-waits";

/// A machine on which a Claude session was once spoken to. Its hook and its MCP server wait
/// to be looked at.
struct Machine {
    home: tempfile::TempDir,
    anthropic: Anthropic,
    session: Uuid,
    claude: PathBuf,
}

impl Machine {
    async fn new(version: &str) -> Machine {
        let (home, anthropic) = (tempfile::tempdir().unwrap(), Anthropic::start().await.unwrap());
        let work = home.path().join("work");
        fs::create_dir_all(&work).unwrap();
        let config = home.path().join(".claude");
        claude::seed_config(&config, &[&work]).unwrap();
        let session = Uuid::new_v4();
        let peer = Peer::claude_code(version);
        let code = ClaudeCode::version(peer.clone(), &anthropic, home.path(), &work).await.unwrap();
        let mut terminal = code.args(["--session-id", &session.to_string()]).start().await.unwrap();
        terminal.submit("hello").await.unwrap();
        terminal.wait_for_text(DEADLINE, "echo[1]: hello").await.unwrap();
        // The answer is drawn before its lines are written; a session without them is not resumed.
        let whole = |text: &str| ["\"type\":\"user\"", "\"type\":\"assistant\""].iter().all(|kind| text.contains(kind));
        let written = || claude::transcript(&config, &session.to_string()).filter(|path| whole(&read(path)));
        poll_until("the turn in the transcript", DEADLINE, written).await.unwrap();
        terminal.submit("/exit").await.unwrap();
        terminal.wait_exit(DEADLINE).await.unwrap();
        // Only now: its programs are to be started by the ride.
        let spy = |name: &str, then: &str| {
            format!("cat /proc/self/environ > '{}/{name}.environ'; {then}", home.path().display())
        };
        change(&config.join(".claude.json"), |all| {
            all["mcpServers"]["spy"] =
                json!({"type": "stdio", "command": "/bin/sh", "args": ["-c", spy("mcp", "exec sleep 600")]});
        });
        change(&config.join("settings.json"), |all| {
            all["permissions"]["allow"] = json!(["Bash"]);
            all["hooks"]["SessionStart"] = json!([{"hooks": [{"type": "command", "command": spy("hook", "true")}]}]);
            all["hooks"]["UserPromptSubmit"] =
                json!([{"hooks": [{"type": "command", "command": spy("prompt", "true")}]}]);
        });
        Machine { claude: peer.fetched().await.unwrap(), home, anthropic, session }
    }

    /// `ride` in a terminal, with every secret in its environment.
    async fn ride(&self) -> (Standin, Terminal) {
        let standin = self.gateway().await;
        let home = self.home.path();
        fs::create_dir_all(home.join(".openclaw")).unwrap();
        let config = json!({"gateway": {
            "port": standin.address.port(),
            "auth": {"token": "${MY_TOKEN}", "password": {"source": "env", "provider": "default", "id": "MY_PASSWORD"}},
            "remote": {"token": "$MY_REMOTE_TOKEN"},
        }});
        fs::write(home.join(".openclaw/openclaw.json"), config.to_string()).unwrap();
        let mut program = Program::new(RIDE, home)
            .env("HOME", home)
            .env("PATH", "/usr/bin:/bin")
            .env("SHELL", "/bin/sh")
            .env("TMPDIR", home);
        for (name, value) in claude::environment(&self.anthropic, &home.join(".claude")) {
            program = program.env(name, value);
        }
        for (name, value) in SECRETS {
            program = program.env(name, value);
        }
        let claude = self.claude.to_str().unwrap();
        let terminal = program.args(["--claude", claude, "deploys"]).start().unwrap();
        terminal.wait_for(DEADLINE, claude::shows_prompt).await.unwrap();
        (standin, terminal)
    }

    async fn gateway(&self) -> Standin {
        let transcript = claude::transcript(&self.home.path().join(".claude"), &self.session.to_string()).unwrap();
        let (home, session) = (self.home.path().to_owned(), self.session);
        let answer = move |request: &Value| match request["method"].as_str().unwrap() {
            "sessions_rideable" => ok(request, json!({"rows": [row()]})),
            "ride_claim" => {
                ok(request, grant_of(&home, &transcript, session, &home.join("work").canonicalize().unwrap()))
            }
            _ => granting(request, &home),
        };
        Standin::start(vec![Script::Serve { scopes: &["operator.read", "operator.write"], answer: Box::new(answer) }])
            .await
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// The processes that one started, and all that these started.
fn descendants(of: u32) -> BTreeSet<u32> {
    let all: Vec<u32> =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    let parents: Vec<(u32, u32)> =
        all.into_iter().filter_map(|pid| Some((pid, process::look(pid).ok()??.ppid))).collect();
    let mut found = BTreeSet::from([of]);
    while let Some((pid, _)) = parents.iter().find(|(pid, parent)| found.contains(parent) && !found.contains(pid)) {
        found.insert(*pid);
    }
    found.remove(&of);
    found
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn environ(pid: u32) -> String {
    read(format!("/proc/{pid}/environ"))
}

/// The variables whose value stands in an environment.
fn leaked(environ: &str) -> Vec<&'static str> {
    SECRETS.iter().filter(|(_, value)| environ.contains(value)).map(|(name, _)| *name).collect()
}

async fn nothing_leaks(version: &str) {
    let machine = Machine::new(version).await;
    let (_standin, mut terminal) = machine.ride().await;
    let ride = terminal.pid().unwrap();
    let given: Vec<&str> = SECRETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(leaked(&environ(ride)), given, "ride itself was given all of them");
    terminal.submit(&format!(r#"::tool Bash {{"command":"until [ -e /{TOOL} ]; do sleep 0.1; done"}}"#)).await.unwrap();
    let tool = || descendants(ride).into_iter().find(|pid| read(format!("/proc/{pid}/cmdline")).contains(TOOL));
    poll_until("the tool to run", DEADLINE, tool).await.unwrap();
    let home = machine.home.path();
    let written = |name: &str| read(home.join(format!("{name}.environ")));
    let all = || ["mcp", "hook", "prompt"].iter().all(|name| written(name).contains("HOME=")).then_some(());
    poll_until("hooks and MCP server to run", DEADLINE, all).await.unwrap();
    let running = descendants(ride);
    // Claude Code, its MCP server, and the tool.
    assert!(running.len() >= 3, "{running:?}");
    for pid in running {
        assert_eq!(
            leaked(&environ(pid)),
            [""; 0],
            "process {pid}: {}",
            read(format!("/proc/{pid}/cmdline")).replace('\0', " ")
        );
    }
    for name in ["mcp", "hook", "prompt"] {
        assert_eq!(leaked(&written(name)), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn with_the_mod_no_secret_of_the_gateway_is_passed_on() {
    nothing_leaks("2.1.330").await;
}

#[tokio::test]
async fn with_hooks_no_secret_of_the_gateway_is_passed_on() {
    nothing_leaks("2.1.197").await;
}
