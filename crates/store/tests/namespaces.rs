//! Two pid namespaces with one host name, as two containers have that share a Claude folder:
//! a process of the other one is never taken for gone.
//!
//! The tests run themselves again inside, as the first process of a user and pid namespace. A
//! machine that gives an ordinary user no namespaces fails here, and says so.
#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ride_core::id::Process;
use ride_store::claude::lock::{self, DriverLock, GatewayLock, Lock};
use ride_store::claude::process::{Alive, Unseen, alive, identity, namespace, sees_whole_machine};
use ride_store::claude::{ClaudeDir, Liveness, Registry, live_writers};
use serde_json::json;
use uuid::Uuid;

/// What the inner run of a test is told.
const INSIDE: &str = "RIDE_STORE_TEST_NAMESPACE";
const SESSION: Uuid = Uuid::from_u128(0x33333333_3333_4333_8333_333333333333);

/// A run of one of these tests in namespaces of its own; it ends with its first process.
struct Inner {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Inner {
    fn start(test: &str, told: &str) -> Inner {
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(env::current_exe().expect("this program has a path"))
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Inner { child, lines }
    }

    /// The first line that begins like this, without its beginning.
    fn says(&mut self, begin: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).expect("text") > 0,
                "no {begin} from inside; is a namespace allowed here? {all}"
            );
            // The harness writes `test … ... ` before what a test prints first.
            if let Some(at) = line.find(begin) {
                return line[at + begin.len()..].trim().to_owned();
            }
            all += &line;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn told() -> Option<String> {
    env::var(INSIDE).ok()
}

fn folder(home: &Path) -> ClaudeDir {
    let dir = ClaudeDir::new(None, home);
    fs::create_dir_all(dir.sessions()).expect("a folder");
    dir
}

/// An entry as 2.1.197 writes it: without the place its process id counts in.
fn register(dir: &ClaudeDir, process: &Process) {
    let entry =
        json!({"pid": process.pid, "sessionId": SESSION, "procStart": process.start.to_string(), "status": "idle"});
    fs::write(dir.sessions().join(format!("{}.json", process.pid)), entry.to_string()).expect("a file");
}

// Rule LEASE-20.
#[test]
fn a_living_writer_in_a_namespace_below_never_counts_as_gone() {
    if told().is_some() {
        println!("identity {}", serde_json::to_string(&identity(std::process::id())).unwrap());
        // Until the outer run lets go.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = folder(home.path());
    let mut inner = Inner::start("a_living_writer_in_a_namespace_below_never_counts_as_gone", "1");
    let process: Process = serde_json::from_str(&inner.says("identity ")).unwrap();
    let own = identity(std::process::id());
    assert_eq!(
        (process.machine == own.machine, process.namespace == own.namespace),
        (true, false),
        "one host name, two namespaces"
    );
    assert_eq!(alive(&process).unwrap(), Alive::CannotTell(Unseen::Namespace));
    // The registry, without a place: the process is seen from above, by its own number.
    register(&dir, &process);
    let writers = live_writers(&dir, SESSION, None, &[]).unwrap();
    assert_eq!(writers.here.len(), 1, "{writers:?}");
    // From above it has another number, and is named by that.
    assert_ne!(writers.here[0].process.pid, process.pid);
    assert_eq!(alive(&writers.here[0].process).unwrap(), Alive::Yes);
    let seen = writers.here[0].process.clone();
    drop(inner);
    until("the namespace ended with its first process", || alive(&seen).unwrap() == Alive::No);
    // Of the name that counts in the other namespace nobody can tell, also now.
    assert_eq!(alive(&process).unwrap(), Alive::CannotTell(Unseen::Namespace));
    let expected = if sees_whole_machine() { 0 } else { 1 };
    assert_eq!(live_writers(&dir, SESSION, None, &[]).unwrap().elsewhere.len(), expected);
}

// Rule LEASE-20.
#[test]
fn a_gateway_in_a_namespace_below_proves_nothing_about_the_one_above() {
    if let Some(told) = told() {
        let (home, process): (String, Process) = serde_json::from_str(&told).unwrap();
        assert!(!sees_whole_machine() && namespace() != process.namespace);
        assert_eq!(alive(&process).unwrap(), Alive::CannotTell(Unseen::Namespace));
        let dir = ClaudeDir::new(None, Path::new(&home));
        let registry = Registry::read(&dir).unwrap();
        assert!(
            matches!(&registry.entries[0].liveness, Liveness::Elsewhere(place) if place.domain.is_none()),
            "{registry:?}"
        );
        assert_eq!(live_writers(&dir, SESSION, None, &[]).unwrap().elsewhere.len(), 1);
        println!("held to the end");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut writer = Command::new("sleep").arg("60").spawn().unwrap();
    let process = identity(writer.id());
    register(&folder(home.path()), &process);
    let told = serde_json::to_string(&(home.path(), &process)).unwrap();
    let mut inner = Inner::start("a_gateway_in_a_namespace_below_proves_nothing_about_the_one_above", &told);
    inner.says("held to the end");
    writer.kill().unwrap();
    writer.wait().unwrap();
}

// Rule LEASE-22.
#[test]
fn a_lock_is_seen_from_both_namespaces_and_free_when_its_holder_is_killed() {
    if let Some(home) = told() {
        let lock = DriverLock::take(&ClaudeDir::new(None, Path::new(&home))).unwrap();
        println!("lock {} {}", lock.name(), lock.nonce());
        let mut nonce = String::new();
        std::io::stdin().read_line(&mut nonce).unwrap();
        println!("seen {}", lock.sees_gateway(nonce.trim()));
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = folder(home.path());
    let mut inner = Inner::start(
        "a_lock_is_seen_from_both_namespaces_and_free_when_its_holder_is_killed",
        home.path().to_str().unwrap(),
    );
    let said = inner.says("lock ");
    let (name, nonce) = said.split_once(' ').unwrap();
    assert_eq!(lock::ask(&dir, name).unwrap(), Lock::Held);
    let gateway = GatewayLock::meet(&dir, name, nonce).unwrap().expect("its nonce and its lock are seen");
    writeln!(inner.child.stdin.as_ref().unwrap(), "{}", gateway.nonce()).unwrap();
    assert_eq!(inner.says("seen "), "true");
    assert_eq!(lock::ask(&dir, name).unwrap(), Lock::Held);
    drop(inner);
    until("the namespace ended with its first process, and its locks with it", || {
        lock::ask(&dir, name).unwrap() == Lock::Free
    });
}
