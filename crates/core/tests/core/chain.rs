//! The files of `step` call in one direction: each can be read with those below it, and no more.
//!
//! Reads the text of the files. It does not see a path that a macro makes, nor a call of a method.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Which files of `step` each one names, by `super::`.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/step");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts: BTreeMap<String, String> = files
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    let named = |text: &String| {
        let paths = text.split("super::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(str::trim).collect::<Vec<_>>(),
            None => vec![rest],
        });
        let words = paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
        let known: Vec<String> = words.filter(|word| texts.contains_key(*word)).map(str::to_owned).collect();
        known
    };
    // Another way to name a neighbour would not be seen.
    assert!(
        texts.values().all(|text| !text.contains("crate::step")),
        "a file of step names another one by crate::step"
    );
    texts.iter().map(|(name, text)| (name.clone(), named(text))).collect()
}

#[test]
fn the_files_of_a_step_make_no_circle() {
    let mut left = arrows();
    assert!(left.len() > 10 && left["perform"].contains(&"claim".to_owned()), "{left:?}");
    // Whatever names nothing that is left stands on the ground.
    loop {
        let ground: Vec<String> = left
            .iter()
            .filter(|(_, named)| named.iter().all(|name| !left.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if ground.is_empty() {
            break;
        }
        ground.iter().for_each(|name| drop(left.remove(name)));
    }
    assert!(left.is_empty(), "these name one another: {left:?}");
}

#[test]
fn what_a_step_stands_on_does_not_know_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in ["thread.rs", "event.rs", "view.rs", "rules.rs", "limits.rs"] {
        let text = fs::read_to_string(src.join(file)).unwrap();
        assert!(!text.contains("step::"), "{file} names the step");
    }
}
