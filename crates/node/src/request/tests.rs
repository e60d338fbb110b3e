//! Where a Claude session's transcript and its project folder are found.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ride_store::claude::project_slug;

use super::*;

const SESSION: Uuid = Uuid::from_u128(0x11111111_1111_4111_8111_111111111111);

/// A gateway with this folder of Claude Code.
fn sync(home: &Path) -> Sync {
    let options = json!({ "stateDir": home, "config": { "lockDir": home.join("locks") }, "pid": 1 });
    let mut sync = Sync::open(&options.to_string()).ok().unwrap();
    sync.claude_dir = home.join("claude");
    sync
}

/// The session's transcript in the slug's folder of a project, as it was written while the project was at `cwd`.
fn transcript(home: &Path, project: &Path, cwd: &Path) -> PathBuf {
    let folder = home.join("claude/projects").join(project_slug(project.to_str().unwrap()));
    fs::create_dir_all(&folder).unwrap();
    let line = json!({
        "type": "user", "uuid": Uuid::from_u128(1), "parentUuid": null, "isSidechain": false, "cwd": cwd,
        "sessionId": SESSION, "message": { "role": "user", "content": "hello" },
    });
    let file = folder.join(format!("{SESSION}.jsonl"));
    fs::write(&file, format!("{line}\n")).unwrap();
    file
}

#[test]
fn a_project_that_was_renamed_with_its_slug_folder_is_found() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("app"), home.path().join("shop.app"));
    fs::create_dir(&new).unwrap();
    transcript(home.path(), &new, &old);
    let sync = sync(home.path());
    let found = locate(&sync, SESSION, None).unwrap();
    assert_eq!(Path::new(&found.cwd), new);
    // Two folders that have this slug: neither is taken.
    fs::create_dir(home.path().join("shop-app")).unwrap();
    let said = locate(&sync, SESSION, None).unwrap_err().message.into_raw();
    assert!(said.starts_with("the project folder of ") && said.ends_with(" could not be told"), "{said}");
}

#[test]
fn a_session_in_two_project_folders_is_told_with_both_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    let files = [transcript(home.path(), &one, &one), transcript(home.path(), &two, &one)];
    let sync = sync(home.path());
    let refused = locate(&sync, SESSION, None).unwrap_err().message.into_raw();
    for file in &files {
        assert!(refused.contains(&file.display().to_string()), "{refused}");
    }
    assert!(refused.contains("move the other one out of Claude Code's projects folder"), "{refused}");
    // Where the thread says which project it is, or the other one was moved away, it is found.
    assert_eq!(locate(&sync, SESSION, Some(one.to_str().unwrap())).unwrap().cwd, one.to_str().unwrap());
    fs::rename(&files[1], home.path().join("aside.jsonl")).unwrap();
    assert_eq!(locate(&sync, SESSION, None).unwrap().cwd, one.to_str().unwrap());
}
