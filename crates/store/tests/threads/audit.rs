//! The audit log: what it has, and what becomes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ride_core::event::Event;
use ride_core::limits;
use ride_core::rules::Rules;
use ride_core::wire::AuditWhat;
use ride_store::{Store, clock};
use uuid::Uuid;

use crate::{OTHER, TOPIC, claim, gateway_folder};

fn takes_back(store: &Store, session: &str, by: &str) {
    let event = Event::TakeBack { by: by.into(), accept_broken: false };
    store.apply(session, event, clock::now(), &Rules::default()).unwrap();
}

// Rule LEASE-21.
#[test]
fn a_take_back_is_in_the_log_with_who_and_from_whom_for_longer_than_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    takes_back(&store, TOPIC, "nobody rides");
    assert_eq!(store.audit(None).unwrap(), []);
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    claim(&store, OTHER, "bob", Uuid::new_v4());
    takes_back(&store, OTHER, "Tess (user tess)");
    for n in 0..limits::JOURNAL + 1 {
        takes_back(&store, TOPIC, &format!("Eve {n}"));
    }
    let lines = store.audit(Some(OTHER)).unwrap();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        (line.what, line.by.as_str(), line.from.as_deref()),
        (AuditWhat::TakeBack, "Tess (user tess)", Some("bob@laptop"))
    );
    let all = store.audit(None).unwrap();
    assert_eq!(all.len(), limits::JOURNAL + 2);
    assert_eq!((all[0].key.as_str(), all[1].by.as_str()), (OTHER, "Eve 0"), "oldest first");
    let file = gateway_folder(dir.path()).join("audit.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Another copy of the addon reads the same.
    assert_eq!(Store::files(dir.path(), "/state").unwrap().audit(None).unwrap(), all);
}

// Rule LEASE-21.
#[test]
fn the_log_is_bounded_and_a_torn_line_spoils_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    takes_back(&store, TOPIC, "first");
    let folder = gateway_folder(dir.path());
    let file = folder.join("audit.jsonl");
    let torn = [fs::read(&file).unwrap(), br#"{"atMs":1,"ke"#.to_vec()].concat();
    fs::write(&file, torn).unwrap();
    takes_back(&store, TOPIC, "second");
    let by = || store.audit(None).unwrap().into_iter().map(|line| line.by).collect::<Vec<_>>();
    assert_eq!(by(), ["first", "second"]);
    // Full, it makes room, and what was last is still there.
    let full = fs::OpenOptions::new().write(true).open(&file).unwrap();
    full.set_len(limits::AUDIT_BYTES).unwrap();
    takes_back(&store, TOPIC, "third");
    assert_eq!(by(), ["first", "second", "third"]);
    assert!(fs::metadata(&file).unwrap().len() < 1_000);
    assert_eq!(fs::metadata(folder.join("audit.1.jsonl")).unwrap().len(), limits::AUDIT_BYTES);
}

// Rule LEASE-21.
#[test]
fn what_cannot_be_written_into_the_log_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    let before = store.read(TOPIC).unwrap();
    fs::create_dir(gateway_folder(dir.path()).join("audit.jsonl")).unwrap();
    let event = Event::TakeBack { by: "Tess".into(), accept_broken: false };
    assert!(store.apply(TOPIC, event, clock::now(), &Rules::default()).is_err());
    assert_eq!(store.read(TOPIC).unwrap(), before);
}
