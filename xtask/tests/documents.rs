//! What the documents name is there.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// Where a path in a document begins.
const ROOTS: [&str; 8] = ["crates/", "plugins/", "xtask/", "docs/", "fixtures/", "deploy/", ".github/", ".ci/"];

/// The documents that tell where something is. Decisions tell what was, too.
fn documents(root: &Path) -> Vec<std::path::PathBuf> {
    let inside =
        |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut all = inside("");
    all.extend(inside("docs"));
    all.retain(|path| path.extension().is_some_and(|e| e == "md") && !path.ends_with("CHANGELOG.md"));
    all
}

#[test]
fn every_path_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut gone = Vec::new();
    for document in documents(root) {
        let text = fs::read_to_string(&document).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            let path = named.split_whitespace().next().unwrap_or_default();
            let exact = ROOTS.iter().any(|begin| path.starts_with(begin)) && !path.contains(['<', '*', '…', '{']);
            if exact && !root.join(path.trim_end_matches('/')).exists() {
                gone.push(format!("{}: {path}", document.file_name().unwrap().display()));
            }
        }
    }
    assert!(gone.is_empty(), "{gone:#?}");
}
