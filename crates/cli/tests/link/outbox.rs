//! What an outbox holds after a crash.

use std::fs;
use std::path::Path;

use ride::outbox::{MAX_ITEMS, Outbox, OutboxError, Owner, Pushed, Queued, Reopened, leftovers};
use ride_core::limits::RELAY_BYTES;
use ride_core::wire::{RelayItem, RelayKind};
use uuid::Uuid;

fn owner() -> Owner {
    Owner {
        gateway: "ws://127.0.0.1:18789".to_owned(),
        thread: "agent:main:main".to_owned(),
        claude_session: Uuid::from_u128(1),
    }
}

fn item(id: &str) -> Queued {
    Queued { item: RelayItem { id: id.to_owned(), kind: RelayKind::Prompt, text: format!("text of {id}") }, at_ms: 5 }
}

fn ids(outbox: &Outbox) -> Vec<&str> {
    outbox.held().map(|queued| queued.item.id.as_str()).collect()
}

/// What a later ride finds. The dead one's lock is gone with its descriptor.
fn reopened(root: &Path) -> Outbox {
    let found = leftovers(root).unwrap();
    assert_eq!(found.len(), 1);
    match Outbox::reopen(&found[0]).unwrap() {
        Reopened::Ours(outbox) => outbox,
        Reopened::Busy => panic!("its ride is dead"),
    }
}

// Rule RELAY-5.
#[test]
fn items_survive_in_order() {
    let root = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(root.path(), owner()).unwrap();
    for id in ["a", "b", "c"] {
        assert_eq!(outbox.push(item(id)).unwrap(), Pushed::Kept);
    }
    outbox.acknowledge("b").unwrap();
    outbox.acknowledge("b").unwrap();
    drop(outbox);
    let mut outbox = reopened(root.path());
    assert_eq!(outbox.owner(), &owner());
    assert_eq!(outbox.held().cloned().collect::<Vec<_>>(), [item("a"), item("c")]);
    outbox.push(item("d")).unwrap();
    drop(outbox);
    assert_eq!(ids(&reopened(root.path())), ["a", "c", "d"]);
}

#[test]
fn an_id_is_held_once() {
    let root = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(root.path(), owner()).unwrap();
    outbox.push(item("a")).unwrap();
    assert_eq!(outbox.push(item("a")).unwrap(), Pushed::Known);
    outbox.acknowledge("a").unwrap();
    assert_eq!(outbox.push(item("a")).unwrap(), Pushed::Known);
    assert_eq!(ids(&outbox), Vec::<&str>::new());
}

// Rule RELAY-6.
#[test]
fn it_is_bounded() {
    let root = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(root.path(), owner()).unwrap();
    let mut long = item("long");
    long.item.text = "\u{1}".repeat(RELAY_BYTES);
    assert_eq!(outbox.push(long.clone()).unwrap(), Pushed::Kept);
    long.item.id = "longer".to_owned();
    long.item.text.push('x');
    assert_eq!(outbox.push(long).unwrap(), Pushed::TooLarge);
    for n in 1..MAX_ITEMS {
        assert_eq!(outbox.push(item(&n.to_string())).unwrap(), Pushed::Kept);
    }
    assert_eq!(outbox.push(item("one more")).unwrap(), Pushed::Full);
    outbox.acknowledge("1").unwrap();
    assert_eq!(outbox.push(item("one more")).unwrap(), Pushed::Kept);
    drop(outbox);
    assert_eq!(reopened(root.path()).held().len(), MAX_ITEMS);
}

#[test]
fn a_live_ride_keeps_its_own() {
    let root = tempfile::tempdir().unwrap();
    let outbox = Outbox::create(root.path(), owner()).unwrap();
    let dir = &leftovers(root.path()).unwrap()[0];
    assert!(matches!(Outbox::reopen(dir).unwrap(), Reopened::Busy));
    drop(outbox);
    assert!(matches!(Outbox::reopen(dir).unwrap(), Reopened::Ours(_)));
}

#[test]
fn a_write_that_was_cut_short_was_never_promised() {
    let root = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(root.path(), owner()).unwrap();
    outbox.push(item("a")).unwrap();
    drop(outbox);
    let dir = leftovers(root.path()).unwrap().remove(0);
    fs::write(dir.join("00000000000000000002.item.tmp"), r#"{"item":{"id":"b","#).unwrap();
    assert_eq!(ids(&reopened(root.path())), ["a"]);
    assert!(!dir.join("00000000000000000002.item.tmp").exists());
}

#[test]
fn a_ride_that_died_while_beginning_left_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("0123.new")).unwrap();
    fs::create_dir(root.path().join("4567")).unwrap();
    assert_eq!(leftovers(root.path()).unwrap(), Vec::<std::path::PathBuf>::new());
    assert_eq!(leftovers(&root.path().join("absent")).unwrap(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_damaged_item_is_named_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(root.path(), owner()).unwrap();
    outbox.push(item("a")).unwrap();
    drop(outbox);
    let dir = leftovers(root.path()).unwrap().remove(0);
    let path = dir.join("00000000000000000001.item");
    fs::write(&path, "{").unwrap();
    let OutboxError::Malformed { path: named, cause } = Outbox::reopen(&dir).unwrap_err() else { panic!("not named") };
    assert_eq!((named, cause.as_str()), (path.clone(), "EOF while parsing an object at line 1 column 1"));
    assert!(path.exists());
}

#[test]
fn only_an_empty_one_goes_away() {
    let root = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(root.path(), owner()).unwrap();
    outbox.push(item("a")).unwrap();
    outbox.close().unwrap();
    let mut outbox = reopened(root.path());
    outbox.acknowledge("a").unwrap();
    outbox.close().unwrap();
    assert_eq!(leftovers(root.path()).unwrap(), Vec::<std::path::PathBuf>::new());
}
