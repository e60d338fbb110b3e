//! The whole plugin, its JavaScript and its addon, on a stand-in host, while the disk or the
//! process's limits refuse: run by the pinned Node.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ride_store::Store;
use ride_store::claude::process;
use ride_testkit::peers::{Peer, platform};
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
        for copy in ["first", "second"] {
            let to = shell.path(copy);
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

// Rules GATE-1, INBOX-3.
#[tokio::test]
async fn the_event_loop_waits_for_no_other_process_and_a_message_does() {
    let out = locked().play("locked", &["env"], "").await;
    assert_eq!((&out["waits"], &out["during"]), (&json!(true), &json!(["kept", "turn"])), "{out}");
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
