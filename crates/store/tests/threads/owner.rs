//! Whose the files are, and what may stand in their places.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ride_core::event::Event;
use ride_core::rules::Rules;
use ride_store::{Store, StoreError, clock};
use uuid::Uuid;

use crate::{TOPIC, claim, gateway_folder, thread_file};

/// What the thread's file is written as first.
const LEFT: &str = "ce855faf49546562537f2f0ca90405e4.json.new";

fn all(dir: &Path) -> Vec<PathBuf> {
    let inside = |path: PathBuf| if path.is_dir() { all(&path) } else { vec![path] };
    let mut found = vec![dir.to_owned()];
    found.extend(fs::read_dir(dir).unwrap().flat_map(|entry| inside(entry.unwrap().path())));
    found
}

// Rule STORE-4.
#[test]
fn folders_and_files_are_private_whatever_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("locks");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let store = Store::files(&root, "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    // What a crash left is not written into: it may be open elsewhere, or everybody's.
    fs::remove_file(thread_file(&root)).unwrap();
    let left = gateway_folder(&root).join("threads").join(LEFT);
    fs::write(&left, "left").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    let found = all(&root);
    assert!(found.len() >= 7, "{found:?}");
    for path in found {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, expected, "{}", path.display());
    }
}

// Rule STORE-4.
#[test]
fn no_link_is_followed_at_any_place_that_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("locks");
    let elsewhere = dir.path().join("elsewhere");
    let open = |root: &Path| {
        let store = Store::files(root, "/state")?;
        store.read(TOPIC)?;
        let event = Event::Take { performer: Uuid::from_u128(9), behind: false, flying: Vec::new() };
        store.apply(TOPIC, event, clock::now(), &Rules::default())
    };
    {
        let store = Store::files(&root, "/state").unwrap();
        claim(&store, TOPIC, "ada", Uuid::new_v4());
    }
    let own = gateway_folder(&root);
    let check = |place: &Path, opened: &Path| {
        fs::rename(place, &elsewhere).unwrap();
        symlink(&elsewhere, place).unwrap();
        let result = open(opened);
        assert!(
            matches!(&result, Err(StoreError::NotAFolder { .. } | StoreError::Io { .. })),
            "{}: {result:?}",
            place.display()
        );
        fs::remove_file(place).unwrap();
        fs::rename(&elsewhere, place).unwrap();
        open(opened).unwrap();
    };
    check(&root, &root);
    // A trailing slash would have the kernel follow it.
    check(&root, &root.join(""));
    check(&own, &root);
    check(&own.join("threads"), &root);
    check(&own.join("store.lock"), &root);
    check(&thread_file(&root), &root);
    check(&root.join("probe.lock"), &root);
    check(&root.join("index.json"), &root);
}

// Rule STORE-4.
#[test]
fn what_is_no_file_in_a_files_place_hangs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    let file = thread_file(dir.path());
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let said = store.read(TOPIC).unwrap_err().to_string();
    assert!(said.ends_with("not a regular file"), "{said}");
}

#[test]
fn what_lies_above_the_folder_may_be_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("home")).unwrap();
    let store = Store::files(&dir.path().join("home/locks"), "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    assert!(dir.path().join("real/locks/index.json").exists());
}
