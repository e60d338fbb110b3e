//! A disk that takes nothing more: the old value stays, and says so.
//!
//! In a mount namespace of its own where the machine gives one (root, or user
//! namespaces); the tests run themselves again inside. A limit on the size of files
//! stands in for the full disk where it does not.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ride_core::event::{Event, Reply};
use ride_core::rules::Rules;
use ride_core::thread::Thread;
use ride_store::mirror::{MirrorDir, Source};
use ride_store::{Gate, Store, StoreError, clock};
use uuid::Uuid;

use crate::{TOPIC, claim, says};

const WHERE: &str = "RIDE_STORE_TEST_DISK";

/// Runs one of these tests again, `before` it a script with `$D` as its folder.
fn again(test: &str, wrap: &[&str], before: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("{before}\nexec \"$0\" --exact disk::{test} --nocapture");
    let [first, rest @ ..] = wrap else { panic!("nothing to run") };
    let mut command = Command::new(first);
    command.args(rest).args(["sh", "-ec", &script]).arg(env::current_exe().unwrap());
    command.env("D", dir.path()).env(WHERE, dir.path().join("locks")).output().unwrap()
}

fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--mount", "--map-root-user"]];
    let works = |way: &&&[&str]| {
        Command::new(way[0])
            .args(&way[1..])
            .args(["mount", "-t", "tmpfs", "none", "/mnt"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    ways.iter().find(works).copied()
}

fn passed(output: &Output) {
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

fn inside() -> Option<PathBuf> {
    env::var_os(WHERE).map(PathBuf::from)
}

fn renew(store: &Store) -> Result<(Thread, Reply), StoreError> {
    let fence = store.read(TOPIC).unwrap().unwrap().lease().unwrap().fence;
    let event = Event::Renew { fence, secret_sha256: "ada".into(), claude: None, active: true };
    store.apply(TOPIC, event, clock::now(), &Rules::default())
}

// Rule STORE-6.
#[test]
fn a_full_disk_keeps_the_last_value() {
    let Some(dir) = inside() else {
        match namespace() {
            Some(wrap) => {
                passed(&again("a_full_disk_keeps_the_last_value", wrap, "mount -t tmpfs -o size=128k none \"$D\""))
            }
            // 64 blocks of 512 bytes; a write over it fails instead of ending the process.
            None => passed(&again("a_full_disk_keeps_the_last_value", &["env"], "trap '' XFSZ; ulimit -f 64")),
        }
        return;
    };
    let store = Store::files(&dir, "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    let refused = loop {
        let event = message(&format!("m{}", store.read(TOPIC).unwrap().unwrap().inbox.len()));
        match store.apply(TOPIC, event, clock::now(), &Rules::default()) {
            Ok((_, Reply::Hold)) => {}
            Ok(other) => panic!("the disk should be full first: {other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    let thread = store.read(TOPIC).unwrap().unwrap();
    assert!(!thread.inbox.is_empty() && thread.inbox.iter().enumerate().all(|(n, m)| m.id == format!("m{n}")));
    assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed);
    let names = |path: &Path| fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    let threads = crate::thread_file(&dir).parent().unwrap().to_owned();
    assert_eq!(names(&threads).len(), 1, "nothing half written stays in the way: {:?}", names(&threads));
    // What needs no more room than the last value finds it: the ride can end.
    let fence = thread.lease().unwrap().fence;
    store.apply(TOPIC, Event::Release { fence, accept_broken: false }, clock::now(), &Rules::default()).unwrap();
    assert!(store.read(TOPIC).unwrap().unwrap().lease().is_none());
}

#[test]
fn a_mirror_on_a_full_disk_keeps_what_counts() {
    let Some(dir) = inside() else {
        // Where nothing can be mounted there is no disk that gets room again.
        if let Some(wrap) = namespace() {
            passed(&again(
                "a_mirror_on_a_full_disk_keeps_what_counts",
                wrap,
                "mount -t tmpfs -o size=256k none \"$D\"",
            ));
        }
        return;
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let transcript = elsewhere.path().join("t.jsonl");
    let session = Uuid::from_u128(5);
    let source = Source {
        session,
        transcript: transcript.clone(),
        thread: "k".into(),
        title: "t".into(),
        cwd: "/w".into(),
        config_dir: "/c".into(),
    };
    fs::create_dir(&dir).unwrap();
    let ballast = dir.parent().unwrap().join("ballast");
    fs::write(&ballast, vec![0; 100 << 10]).unwrap();
    let mirror = MirrorDir::open(&dir).unwrap();
    let counts = || {
        let kept = mirror.all().unwrap().pop().unwrap().unwrap();
        kept.whole().unwrap();
        kept.about.size
    };
    let (mut counted, mut text) = (0, String::new());
    let refused = loop {
        text.push_str(&format!("{{\"type\":\"assistant\",\"uuid\":\"{}\",\"message\":{{\"stop_reason\":\"end_turn\",\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}]}}}}\n", Uuid::new_v4(), "x".repeat(9_000)));
        fs::write(&transcript, &text).unwrap();
        match mirror.mirror(&source, 1) {
            Ok(_) => counted = counts(),
            Err(error) => break error,
        }
        assert!(text.len() < 1 << 20, "the disk should be full first");
    };
    assert!(refused.to_string().contains("could not "), "{refused}");
    assert_eq!((counts(), counted > 0), (counted, true));
    fs::remove_file(&ballast).unwrap();
    mirror.mirror(&source, 1).unwrap();
    assert_eq!(counts(), text.len() as u64);
    let copied = fs::read_to_string(dir.join(session.to_string()).join("transcript.jsonl")).unwrap();
    assert!(copied == text, "the same file went on");
}

fn message(id: &str) -> Event {
    use ride_core::event::Inbound;
    use ride_core::id::Route;
    let route = Route { channel: "telegram".into(), to: "telegram:-100".into(), account_id: None, thread_id: None };
    Event::Message(Box::new(Inbound {
        id: id.into(),
        unnamed: None,
        sender: "1".into(),
        name: "Ada".into(),
        text: "x".repeat(2_000),
        client: None,
        route: Some(route),
        host: serde_json::json!({}),
        claude: None,
        behind: None,
    }))
}

// Rule STORE-6.
#[test]
fn a_folder_that_became_read_only_keeps_the_last_value() {
    let Some(dir) = inside() else {
        let test = "a_folder_that_became_read_only_keeps_the_last_value";
        match namespace() {
            Some(wrap) => passed(&again(test, wrap, "mount -t tmpfs none \"$D\"")),
            // Nobody but root passes over permissions, and root has namespaces.
            None => passed(&again(test, &["env"], "true")),
        }
        return;
    };
    let store = Store::files(&dir, "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    says(&store, TOPIC, "m1", None);
    let before = store.read(TOPIC).unwrap();
    let mounted = dir.parent().unwrap();
    // With `bind` only this mount becomes read-only. Without it the options of the file system are
    // given again, and its `uid=` of an ordinary user is no id of the namespace: that is refused.
    let remounted = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(mounted).output().unwrap();
    if !remounted.status.success() {
        let threads = crate::thread_file(&dir).parent().unwrap().to_owned();
        for folder in [&dir, &threads] {
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
        }
    }
    assert!(fs::write(dir.join("probe"), "").is_err(), "the folder is writable for this test: {remounted:?}");
    let said = renew(&store).unwrap_err().to_string();
    assert!(said.starts_with("could not ") && said.contains(dir.to_str().unwrap()), "{said}");
    assert_eq!(store.read(TOPIC).unwrap(), before);
    assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed);
}
