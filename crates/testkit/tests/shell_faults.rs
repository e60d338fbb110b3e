//! The whole plugin, its JavaScript and its addon, on a stand-in host, while the disk or the
//! process's limits refuse: run by the pinned Node.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ride_store::Store;
use ride_store::claude::process;
use ride_testkit::peers::{Peer, platform};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two copies of the plugin with one addon, as a reload loads it, and a gateway's folders.
struct Shell {
    home: TempDir,
}

impl Shell {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = Command::new(env!("CARGO"))
            .current_dir(&root)
            .args(["build", "--quiet", "--locked", "--package", "ride-node"])
            .status()
            .expect("cargo starts");
        assert!(built.success(), "the addon is built");
        let home = tempfile::tempdir().unwrap();
        let shell = Shell { home };
        let library = format!("{}ride_node{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let native = shell.path("native");
        fs::create_dir(&native).unwrap();
        let libc = if cfg!(target_env = "musl") {
            "-musl"
        } else if cfg!(target_os = "linux") {
            "-gnu"
        } else {
            ""
        };
        let addon = native.join(format!("claude-code-sync.{}{libc}.node", platform()));
        fs::copy(root.join("target/debug").join(library), addon).unwrap();
        for copy in ["first", "second"].into_iter().map(str::to_owned).chain((0..COPIES).map(|n| format!("copies/{n}")))
        {
            let to = shell.path(&copy);
            fs::create_dir_all(to.join("lib")).unwrap();
            for file in ["index.js", "package.json"] {
                fs::copy(root.join("plugins/openclaw").join(file), to.join(file)).unwrap();
            }
            for file in fs::read_dir(root.join("plugins/openclaw/lib")).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), to.join("lib").join(file.file_name())).unwrap();
            }
            symlink(&native, to.join("native")).unwrap();
        }
        fs::create_dir(shell.path("state")).unwrap();
        shell
    }

    /// Where it is, as the plugin finds it.
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    /// A folder for the states, which another gateway shares.
    fn with_locks(self, locks: &Path) -> Self {
        fs::create_dir_all(locks.parent().unwrap()).unwrap();
        drop(Store::files(locks, "/another").unwrap());
        let names = fs::read_dir(locks).unwrap().map(|entry| entry.unwrap().path());
        let other = names.into_iter().find(|path| path.is_dir()).unwrap();
        fs::write(other.join("other"), "").unwrap();
        self
    }

    /// Plays one fault; `before` runs in the same shell, before Node.
    async fn play(self, fault: &str, wrap: &[&str], before: &str) -> Value {
        let node = Peer::node().fetched().await.expect("the pinned Node is there");
        let (locks, state) = (self.path("locks/of"), self.path("state"));
        let driver = json!({ "name": "ada", "host": "h", "process": process::identity(std::process::id()) });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shell_faults/open.mjs");
        let [first, rest @ ..] = wrap else { panic!("nothing to run") };
        let ran = tokio::process::Command::new(first)
            .args(rest)
            .args(["sh", "-ec", &format!("{before}\nexec \"$@\""), "sh"])
            .arg(node)
            .arg(script)
            .args([fault, &driver.to_string()])
            .args([self.home.path(), &state, &locks])
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home.path())
            .env("D", self.path("locks"))
            .env("OF", self.path("made"))
            .env("SHOW", std::env::var_os("SHOW").unwrap_or_default())
            .stderr(std::process::Stdio::inherit())
            .output()
            .await
            .expect("Node starts");
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| {
            panic!("{e}: {}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
        })
    }
}

const ASKED_AGAIN: &str =
    "⇄ The state of this thread could not be read, so your message was not handled. Send it again in a moment.";

fn locked() -> Shell {
    let shell = Shell::new();
    let locks = shell.path("locks/of");
    shell.with_locks(&locks)
}

/// The ridden thread's senders are asked to send again, and the other thread is as ever.
fn refuses_what_is_ridden_alone(out: &Value) {
    assert_eq!(out["before"], json!(["kept", "turn"]), "{out}");
    assert_eq!(out["during"], json!(["refused", "turn"]), "{out}");
    assert_eq!(out["history"][0]["reply"], ASKED_AGAIN, "{out}");
    assert_eq!(out["after"], json!(["kept", "turn"]), "it is tried again: {out}");
}

// Rules GATE-1, GATE-5.
#[tokio::test]
async fn a_process_without_descriptors_keeps_the_gate_of_what_is_ridden() {
    let out = locked().play("descriptors", &["env"], "ulimit -n 256").await;
    assert_eq!(out["error"], "EMFILE");
    refuses_what_is_ridden_alone(&out);
}

// Rules GATE-1, GATE-5, STORE-6.
#[tokio::test]
async fn a_full_disk_after_a_restart_keeps_the_gate_of_what_is_ridden() {
    let shell = Shell::new();
    let made = shell.path("made");
    let shell = shell.with_locks(&made);
    fs::create_dir(shell.path("locks")).unwrap();
    let Some(wrap) = namespace() else { return };
    let before = "mount -t tmpfs -o size=256k none \"$D\"\ncp -a \"$OF\" \"$D/of\"";
    let out = shell.play("full", wrap, before).await;
    assert_eq!(out["error"], "ENOSPC");
    refuses_what_is_ridden_alone(&out);
}

// Rules GATE-1, GATE-5, STORE-6.
#[tokio::test]
async fn a_folder_that_takes_nothing_keeps_the_gate_of_what_is_ridden() {
    refuses_what_is_ridden_alone(&locked().play("readonly", ordinary(), "").await);
}

// Rules GATE-1, GATE-5, INBOX-3.
#[tokio::test]
async fn states_that_cannot_be_read_let_no_turn_run() {
    let out = locked().play("unreadable", ordinary(), "").await;
    assert_eq!(out["during"], json!(["refused", "refused"]), "{out}");
    assert!(out["history"].as_array().unwrap().iter().all(|line| line["reply"] == ASKED_AGAIN), "{out}");
    assert_eq!((&out["before"], &out["after"]), (&json!(["kept", "turn"]), &json!(["kept", "turn"])), "{out}");
}

// Rules GATE-1, GATE-5, INBOX-3.
#[tokio::test]
async fn without_an_addon_turns_run_only_where_no_thread_has_a_state() {
    let out = locked().play("absent", &["env"], "").await;
    assert!(out["refused"].as_str().is_some_and(|why| why.contains("is not built for")), "{out}");
    assert_eq!((&out["during"], &out["without"]), (&json!(["refused", "refused"]), &json!(["turn", "turn"])), "{out}");
    assert_eq!(out["after"], json!(["kept", "turn"]), "{out}");
}

// Rules GATE-1, INBOX-3.
#[tokio::test]
async fn the_event_loop_waits_for_no_other_process_and_a_message_does() {
    let out = locked().play("locked", &["env"], "").await;
    assert_eq!((&out["waits"], &out["during"]), (&json!(true), &json!(["kept", "turn"])), "{out}");
}

/// One line of what happened.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    what: String,
    gateway: String,
    key: String,
    text: String,
    claude: Option<String>,
    driver: Option<String>,
    answer: Value,
    texts: Vec<String>,
    binding: Option<String>,
    status: Value,
}

const REPEAT: &str = "(may be a repeat) ";

/// What the protocol promises, asked of a history. Each violation in words.
fn violations(history: &[Line], claude: &str) -> Vec<String> {
    let mut wrong = one_writer(history, claude);
    wrong.extend(nothing_lost(history));
    wrong.extend(relayed_in_order(history));
    let ends: Vec<&Line> = history.iter().filter(|line| line.what == "end").collect();
    for end in &ends {
        if end.binding.as_deref() != Some(claude) {
            wrong.push(format!("gateway {} ends bound to {:?}", end.gateway, end.binding));
        }
        if end.status["ok"]["threads"].as_array().is_none_or(|threads| threads.iter().any(|t| t["phase"] != "open")) {
            wrong.push(format!("gateway {} ends with {}", end.gateway, end.status));
        }
    }
    if ends.len() != 2 {
        wrong.push("the world did not come to its end".into());
    }
    wrong
}

/// Never two writers on the Claude session, and never a turn beside it (rules LEASE-1, GATE-1).
fn one_writer(history: &[Line], claude: &str) -> Vec<String> {
    let (mut wrong, mut driver, mut turns) = (Vec::new(), None, Vec::new());
    for line in history {
        match line.what.as_str() {
            "granted" => {
                if driver.is_some() || !turns.is_empty() {
                    wrong.push(format!("granted to {:?} beside {driver:?} and {turns:?}", line.driver));
                }
                driver = line.driver.clone();
            }
            "ends" if driver == line.driver => driver = None,
            "turn begins" if line.claude.as_deref() == Some(claude) => {
                if driver.is_some() {
                    wrong.push(format!("a turn for {:?} beside the driver of {driver:?}", line.text));
                }
                turns.push((line.gateway.clone(), line.text.clone()));
            }
            "turn begins" if line.key.ends_with(":1") || line.key.ends_with(":2") => {
                wrong.push(format!("a turn for {:?} on a new Claude session", line.text));
            }
            "turn ends" => turns.retain(|(gateway, text)| *gateway != line.gateway || *text != line.text),
            "killed" => turns.retain(|(gateway, _)| *gateway != line.gateway),
            _ => {}
        }
    }
    wrong
}

/// Each message is answered once, or its sender is told; what waits is not overtaken (rules
/// INBOX-1 to INBOX-3, HAND-1).
fn nothing_lost(history: &[Line]) -> Vec<String> {
    let mut wrong = Vec::new();
    let turns: Vec<&Line> = history.iter().filter(|line| line.what == "turn begins").collect();
    for came in history.iter().filter(|line| line.what == "came") {
        let plain = turns.iter().filter(|turn| turn.text == came.text).count();
        let again = turns.iter().filter(|turn| turn.text.strip_prefix(REPEAT) == Some(&came.text)).count();
        let right = match came.answer.as_str() {
            Some("refused") => plain == 0,
            Some("in doubt") => plain <= 1,
            _ => plain <= 1 && plain + again >= 1,
        };
        if !right {
            wrong.push(format!("{:?} was {}, with {plain} turns and {again} repeats", came.text, came.answer));
        }
    }
    let keys: BTreeSet<&str> = history.iter().map(|line| line.key.as_str()).collect();
    for key in keys {
        let of = |what: &'static str| history.iter().filter(move |line| line.what == what && line.key == key);
        let kept: Vec<&str> = of("kept").map(|line| line.text.as_str()).collect();
        let mut handed: Vec<&str> =
            of("handed").map(|line| line.text.strip_prefix(REPEAT).unwrap_or(&line.text)).collect();
        // One whose gateway was killed may be kept without anybody knowing.
        handed.retain(|text| kept.contains(text));
        handed.dedup();
        let expected: Vec<&str> = kept.iter().copied().filter(|text| handed.contains(text)).collect();
        if handed != expected {
            wrong.push(format!("kept as {kept:?}, handed over as {handed:?}"));
        }
    }
    wrong
}

/// What was accepted is in the chat once, in order; a repeat says so (rules RELAY-1 to RELAY-3).
fn relayed_in_order(history: &[Line]) -> Vec<String> {
    let mut wrong = Vec::new();
    let sent = |text: &str| -> Vec<(usize, bool)> {
        let lines = history.iter().enumerate().filter(|(_, line)| line.what == "sent" && line.text.contains(text));
        lines.map(|(at, line)| (at, line.text.contains("may be a repeat"))).collect()
    };
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for relayed in history.iter().filter(|line| line.what == "relayed") {
        for text in &relayed.texts {
            let found = sent(text);
            if found.iter().filter(|(_, repeat)| !repeat).count() > 1 || found.is_empty() {
                wrong.push(format!("{text:?} was sent {found:?}"));
            }
            let Some((first, _)) = found.first() else { continue };
            if last.insert(&relayed.key, *first).is_some_and(|before| before > *first) {
                wrong.push(format!("{text:?} was sent before what was relayed earlier"));
            }
        }
    }
    wrong
}

// Rules LEASE-1, GATE-1, INBOX-1, INBOX-3, HAND-1, RELAY-1, STORE-5.
#[tokio::test]
async fn two_gateways_under_faults_keep_what_the_protocol_promises() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let first = number("RIDE_SHELL_SEED", 1);
    let mut reached = BTreeSet::new();
    for seed in first..first + number("RIDE_SHELL_SEEDS", 2) {
        let history = world(locked(), seed, number("RIDE_SHELL_MS", 6_000), 90_000).await;
        let wrong = violations(&history, CLAUDE);
        let told = history.iter().map(|line| format!("{line:?}\n")).collect::<String>();
        assert!(wrong.is_empty(), "seed {seed}:\n{}\n{told}", wrong.join("\n"));
        let count = |what: &str| history.iter().filter(|line| line.what == what).count();
        let counted =
            ["granted", "relayed", "kept", "handed", "sent", "killed", "fault"].map(|what| (what, count(what)));
        println!("seed {seed}: {counted:?}");
        reached.extend(history.into_iter().map(|line| line.what));
    }
    // A run that never came there has shown nothing.
    for what in ["granted", "released", "relayed", "kept", "handed", "killed", "turn ends"] {
        assert!(reached.contains(what), "never reached: {what}");
    }
}

/// The judge is judged: with a mistake in the shell the same world breaks a rule.
#[tokio::test]
async fn a_mistake_in_the_shell_breaks_a_rule() {
    let mistakes = [
        (
            "gate.js",
            "if (!isClosed(api, addon, session, gate, confirmed)) {",
            "if (gate !== 9) {",
            "on a new Claude session",
        ),
        ("hand_over.js", "  const handing = { session, used: false };", "  return { outcome: \"ok\" };", "0 turns"),
    ];
    for (file, right, mistaken, found) in mistakes {
        let shell = locked();
        for copy in 0..COPIES {
            let path = shell.path(&format!("copies/{copy}/lib/{file}"));
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(right), "{file} has no {right:?}");
            fs::write(&path, text.replace(right, mistaken)).unwrap();
        }
        let wrong = violations(&world(shell, 1, 4_000, 10_000).await, CLAUDE);
        assert!(wrong.iter().any(|wrong| wrong.contains(found)), "{mistaken}: {wrong:?}");
    }
}

/// Copies of the plugin, for reloads.
const COPIES: usize = 8;

const CLAUDE: &str = "11111111-2222-4333-8444-555555555555";

async fn world(shell: Shell, seed: u64, ms: u64, settle_ms: u64) -> Vec<Line> {
    let node = Peer::node().fetched().await.expect("the pinned Node is there");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shell_faults");
    let project = shell.path(".claude/projects/-home-p-proj");
    fs::create_dir_all(&project).unwrap();
    let transcript = project.join(format!("{CLAUDE}.jsonl"));
    let line = |parent: Value, uuid: &str, kind: &str, message: Value| {
        json!({ "parentUuid": parent, "isSidechain": false, "type": kind, "message": message, "uuid": uuid,
            "timestamp": "2026-11-23T06:46:09.128Z", "userType": "external", "cwd": "/home/p/proj",
            "sessionId": CLAUDE, "version": "2.1.330" })
    };
    let [one, two] = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];
    let prompt = line(Value::Null, one, "user", json!({ "role": "user", "content": "hello" }));
    let answer =
        json!({ "role": "assistant", "content": [{ "type": "text", "text": "hi" }], "stop_reason": "end_turn" });
    fs::write(&transcript, format!("{prompt}\n{}\n", line(json!(one), two, "assistant", answer))).unwrap();
    let options = json!({
        "seed": seed, "ms": ms, "settleMs": settle_ms, "home": shell.home.path(), "lockDir": shell.path("locks/of"), "claude": CLAUDE,
        "script": scripts.join("gateway.mjs"), "transcript": transcript,
        "copies": COPIES, "driver": { "name": "ada", "host": "h", "process": process::identity(std::process::id()) },
    });
    let ran = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -n 256; exec \"$@\"", "sh"])
        .arg(node)
        .arg(scripts.join("world.mjs"))
        .arg(options.to_string())
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", shell.home.path())
        .env("SHOW", std::env::var_os("SHOW").unwrap_or_default())
        .kill_on_drop(true)
        .status()
        .await
        .expect("Node starts");
    assert!(ran.success(), "seed {seed}: {ran}");
    let history = fs::read_to_string(shell.path("history.jsonl")).unwrap();
    history.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs as a user whom permissions bind.
fn ordinary() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["unshare", "--user", "--map-user=1000", "--map-group=1000"],
        false => &["env"],
    }
}

/// A mount namespace, where the machine gives one.
fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--mount", "--map-root-user"]];
    let works = |way: &&&[&str]| {
        let mount = ["mount", "-t", "tmpfs", "none", "/mnt"];
        Command::new(way[0]).args(&way[1..]).args(mount).output().is_ok_and(|o| o.status.success())
    };
    ways.iter().find(works).copied()
}
