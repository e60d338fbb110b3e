//! State files of other versions: older ones are migrated in one commit, what is not known is
//! refused and left as it is, and no other thread suffers.

use std::fs;
use std::path::{Path, PathBuf};

use ride_core::event::{Event, Reply};
use ride_core::rules::Rules;
use ride_core::thread::{FORMAT, Thread, stored};
use ride_store::slots::unseal;
use ride_store::{Gate, Store, StoreError, clock, may_be_ridden};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{OTHER, TOPIC, claim, gateway_folder, says, thread_file};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/state");

/// Every golden file, by its name, and the value it is to be read as.
fn golden() -> Vec<(String, Vec<u8>, Thread)> {
    let mut all = Vec::new();
    for shape in fs::read_dir(FIXTURES).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        for file in fs::read_dir(&shape).unwrap().map(|e| e.unwrap().path()) {
            let name = file.strip_prefix(FIXTURES).unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".expected.json") {
                let expected = stored::read(&fs::read(file.with_extension("expected.json")).unwrap()).unwrap();
                all.push((name, fs::read(&file).unwrap(), expected));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// A store with that file in the place of the thread's.
fn with_file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    says_nothing(&store);
    let file = thread_file(dir.path());
    fs::write(&file, bytes).unwrap();
    fs::remove_file(dir.path().join("index.json")).unwrap();
    (dir, file)
}

/// Makes the thread's file: a claim that nobody goes on with.
fn says_nothing(store: &Store) {
    claim(store, TOPIC, "x", Uuid::from_u128(99));
}

fn set_aside(dir: &Path) -> bool {
    gateway_folder(dir).join("damaged").exists()
}

// Rule STORE-3.
#[test]
fn every_shape_that_was_ever_committed_is_read() {
    let all = golden();
    // 16 shapes: their number is known, so that none is lost from the folder.
    let shapes: std::collections::BTreeSet<_> = all.iter().map(|(name, ..)| name.split('/').next().unwrap()).collect();
    assert_eq!(shapes.len(), 16, "{shapes:?}");
    for (name, file, expected) in all {
        let read: Thread = unseal(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(read, expected, "{name}");
        assert_eq!(read.format, FORMAT, "{name}");
        // Cut short it is nothing: no older layout is taken for a whole value.
        assert!(unseal::<Thread>(&file[..file.len() / 4]).is_err(), "{name}");
    }
}

// Rules STORE-1, STORE-3.
#[test]
fn an_older_file_is_migrated_in_one_commit_and_loses_nothing() {
    for (name, bytes, expected) in golden() {
        let (dir, file) = with_file(&bytes);
        let store = Store::files(dir.path(), "/state").unwrap();
        assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed, "{name}");
        assert_eq!(store.read(TOPIC).unwrap().unwrap(), expected, "{name}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "{name}: reading writes nothing");
        if let Some(claude) = expected.claude() {
            assert!(store.ridden(claude).unwrap(), "{name}");
        }
        let before = expected.inbox.len();
        assert_eq!(says(&store, TOPIC, "one more", None), Reply::Hold, "{name}");
        let written: Thread = unseal(&fs::read(&file).unwrap()).unwrap();
        assert!(fs::read_to_string(&file).unwrap().starts_with(&format!("{{\"format\":{FORMAT},")), "{name}");
        assert_eq!(
            written.inbox.iter().take(before).collect::<Vec<_>>(),
            expected.inbox.iter().collect::<Vec<_>>(),
            "{name}"
        );
        assert_eq!(
            (written.inbox.len(), &written.phase, written.incarnation),
            (before + 1, &expected.phase, expected.incarnation),
            "{name}"
        );
        assert!(!set_aside(dir.path()), "{name}");
    }
}

/// The value of a file with something of it replaced, under good headers of `format`.
fn sealed_with(from: &str, to: &str, format: u32) -> Vec<u8> {
    let (_, file, _) = golden().into_iter().find(|(name, ..)| name == "3d/leaving.json").unwrap();
    let text = String::from_utf8(file).unwrap();
    let value = &text[4096..].trim_end_matches(' ').replacen(from, to, 1);
    assert!(value.contains(to), "{from} is not in it");
    let (length, room) = (value.len(), 16_384);
    let hash = sha256(&format!("1 {length} {room} false\n{value}"));
    let line = |text: String| format!("{text:<511}\n");
    let first = line(format!(r#"{{"format":{format},"last":1,"room":{room}}}"#));
    let header = line(format!(r#"{{"nth":1,"length":{length},"sha256":"{hash}"}}"#));
    format!("{:<4096}{value}", first + &header).into_bytes()
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}

// Rules STORE-3, GATE-1, GATE-4.
#[test]
fn a_file_that_is_not_known_is_left_alone_and_its_thread_stays_closed() {
    let claude = Uuid::from_u128(5 << 96 | 0x4000_8000 << 48 | 5);
    let unknown = [
        // Another format, the same format with what it does not have, or a variant of it.
        (sealed_with(r#""format":3"#, r#""format":99"#, 99), "has format 99, this version reads 1 to 4"),
        (sealed_with(r#""format":3"#, r#""format":0"#, 0), "has format 0, this version reads 1 to 4"),
        (sealed_with(r#""format":3,"#, r#""format":4,"later":{"a":1},"#, 4), "unknown field later"),
        (
            sealed_with(r#""machine":"m","#, r#""machine":"m","moon":"x","#, 4),
            "unknown field phase.lease.driver.process.moon",
        ),
        (sealed_with(r#""twins":["#, r#""tides":1,"twins":["#, 3), "unknown field phase.lease.tides"),
        (sealed_with(r#""why":"stolen""#, r#""why":"sold""#, 3), "unknown variant `sold`"),
        (sealed_with(r#""stage":"show""#, r#""stage":"dance""#, 4), "unknown variant `dance`"),
    ];
    for (bytes, why) in unknown {
        let (dir, file) = with_file(&bytes);
        let store = Store::files(dir.path(), "/state").unwrap_or_else(|e| panic!("{why}: {e}"));
        assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed, "{why}");
        let refusal = store.refusal(TOPIC).unwrap().unwrap();
        assert!(refusal.contains(why) && refusal.contains("state file"), "{refusal}");
        assert_eq!(store.refusals().unwrap(), [(TOPIC.to_owned(), refusal)]);
        let event = Event::TakeBack { by: "ada".into(), accept_broken: true };
        for error in
            [store.read(TOPIC).unwrap_err(), store.apply(TOPIC, event, clock::now(), &Rules::default()).unwrap_err()]
        {
            assert!(
                error.to_string().contains(why)
                    && !matches!(error, StoreError::Damaged { .. } | StoreError::Lost { .. }),
                "{error}"
            );
        }
        // What it seems to ride is held too; a thread of its own goes on.
        assert!(store.ridden(claude).unwrap() && may_be_ridden(dir.path(), claude), "{why}");
        assert_eq!(store.gate(OTHER).unwrap(), Gate::Closed, "{why}: its twin");
        let third = "agent:main:main";
        assert!(matches!(claim(&store, third, "bob", Uuid::from_u128(77)), Reply::Claiming { .. }), "{why}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "{why}");
        assert!(!set_aside(dir.path()), "{why}");
        // The version that knows it is back, or the file was moved away by a person.
        fs::remove_file(&file).unwrap();
        let after = Store::files(dir.path(), "/state").unwrap();
        assert_eq!(after.refusal(TOPIC).unwrap(), None, "{why}");
    }
}

// Rule STORE-3.
#[test]
fn a_file_that_becomes_unknown_under_a_running_gateway_closes_its_thread() {
    let (dir, file) = with_file(&golden().pop().unwrap().1);
    let store = Store::files(dir.path(), "/state").unwrap();
    fs::write(&file, sealed_with(r#""format":3"#, r#""format":99"#, 99)).unwrap();
    let event = Event::TakeBack { by: "ada".into(), accept_broken: false };
    store.apply(TOPIC, event, clock::now(), &Rules::default()).unwrap_err();
    assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed);
    assert!(store.refusal(TOPIC).unwrap().unwrap().contains("has format 99"));
}

// Rule STORE-3.
#[test]
fn an_index_of_another_version_is_made_again() {
    let (dir, _) = with_file(&golden().pop().unwrap().1);
    Store::files(dir.path(), "/state").unwrap();
    let index = dir.path().join("index.json");
    let ours = fs::read_to_string(&index).unwrap();
    for format in [2, 3, 99] {
        fs::write(&index, ours.replacen(&format!("\"format\":{FORMAT}"), &format!("\"format\":{format}"), 1)).unwrap();
        let store = Store::files(dir.path(), "/state").unwrap_or_else(|e| panic!("{format}: {e}"));
        assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed, "{format}");
        assert_eq!(store.busy().unwrap(), [TOPIC], "{format}");
    }
}

/// Makes a change to a thread of an older format, in a process that may be ended by a limit on the
/// size of files while it writes.
fn change_in_the_folder() -> bool {
    let Some(dir) = std::env::var_os("RIDE_STORE_TEST_CUT") else { return false };
    let store = Store::files(Path::new(&dir), "/state").unwrap();
    assert_eq!(says(&store, TOPIC, "one more", None), Reply::Hold);
    true
}

// Rules STORE-1, STORE-3, STORE-6.
#[test]
fn a_migration_that_is_cut_short_leaves_the_old_value_whole() {
    if change_in_the_folder() {
        return;
    }
    let name = "versions::a_migration_that_is_cut_short_leaves_the_old_value_whole";
    // One of each layout; refused by the system, and killed in the middle of a write.
    for from in ["1a/leaving.json", "2a/leaving.json", "2e/leaving.json", "3d/leaving.json"] {
        let (_, bytes, expected) = golden().into_iter().find(|(name, ..)| name == from).unwrap();
        let (mut cut, mut done) = (0, 0);
        for before in ["trap '' XFSZ; ", ""] {
            for blocks in [1, 8, 9, 10, 16, 33, 40, 4096] {
                let (dir, file) = with_file(&bytes);
                let script = format!("{before}ulimit -f {blocks}; exec \"$0\" --exact {name} --nocapture");
                let mut command = std::process::Command::new("sh");
                command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
                let output = command.env("RIDE_STORE_TEST_CUT", dir.path()).output().unwrap();
                let found: Thread =
                    unseal(&fs::read(&file).unwrap()).unwrap_or_else(|e| panic!("{from} {blocks}: {e}"));
                let store = Store::files(dir.path(), "/state").unwrap();
                assert_eq!(store.read(TOPIC).unwrap().unwrap(), found, "{from} {blocks}");
                if output.status.success() {
                    assert_eq!(found.inbox.len(), expected.inbox.len() + 1, "{from} {blocks}");
                    done += 1;
                } else {
                    assert_eq!(found, expected, "{from} {blocks}: {output:?}");
                    cut += 1;
                }
                assert!(!set_aside(dir.path()), "{from} {blocks}");
            }
        }
        assert!(cut > 2 && done > 0, "{from}: {cut} cut, {done} done");
    }
}
