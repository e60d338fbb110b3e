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

fn copy_of(shape: &str, root: &Path) -> std::path::PathBuf {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/kept/outbox").join(shape);
    let dir = root.join("0123");
    fs::create_dir(&dir).unwrap();
    for file in fs::read_dir(kept).unwrap().map(|file| file.unwrap()) {
        fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    dir
}

// Rule RELAY-5.
#[test]
fn every_folder_that_was_ever_written_is_read() {
    for shape in ["1a", "2a"] {
        let root = tempfile::tempdir().unwrap();
        copy_of(shape, root.path());
        let mut outbox = reopened(root.path());
        assert_eq!(outbox.owner(), &owner(), "{shape}");
        let kinds = [RelayKind::Prompt, RelayKind::Answer, RelayKind::Notice];
        let expected = (0..3).zip(kinds).map(|(n, kind)| Queued {
            item: RelayItem { id: format!("id-{n}"), kind, text: format!("text {n}\né") },
            at_ms: 5 + n,
        });
        assert_eq!(outbox.held().cloned().collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{shape}");
        outbox.push(item("new")).unwrap();
        drop(outbox);
        assert_eq!(ids(&reopened(root.path())), ["id-0", "id-1", "id-2", "new"], "{shape}");
    }
}

#[test]
fn what_is_written_has_the_shape_of_the_newest_golden_file() {
    let root = tempfile::tempdir().unwrap();
    let golden = copy_of("2a", root.path());
    let own = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::create(own.path(), owner()).unwrap();
    let queued = reopened(root.path()).held().next().unwrap().clone();
    outbox.push(queued).unwrap();
    let own = leftovers(own.path()).unwrap().remove(0);
    for name in ["ride.json", "00000000000000000001.item"] {
        let value = |dir: &Path| {
            let mut value: serde_json::Value = serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap();
            if let Some(by) = value.get_mut("writtenBy") {
                *by = "any".into();
            }
            value
        };
        assert_eq!(value(&own), value(&golden), "{name}");
    }
}

// Rule STORE-7.
#[test]
fn a_folder_of_another_version_is_named_and_left_as_it_is() {
    for (name, text, why) in [
        ("ride.json", r#"{"format":3,"writtenBy":"ride 9.0.0"}"#, "ride 9.0.0 wrote it"),
        ("ride.json", r#"{"format":0}"#, "formats 1 to 2 are read"),
        (
            "00000000000000000002.item",
            r#"{"item":{"id":"b","kind":"picture","text":""},"atMs":1}"#,
            "variant `picture`",
        ),
        ("00000000000000000002.item", r#"{"item":{"id":"b","kind":"prompt","text":"","at":1},"atMs":1}"#, "item.at"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let dir = copy_of("2a", root.path());
        fs::write(dir.join(name), text).unwrap();
        let e = Outbox::reopen(&dir).unwrap_err();
        assert!(matches!(e, OutboxError::OtherVersion { .. }), "{e}");
        let said = e.to_string();
        let begins = format!("could not read {}: ", dir.join(name).display());
        assert!(said.starts_with(&begins) && said.contains(why), "{said}");
        assert!(said.ends_with("the folder is left as it is, and a ride with that version sends it"), "{said}");
        assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), text);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 5, "its files, and the lock");
    }
}
