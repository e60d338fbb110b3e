//! The rules of `docs/protocol.md` and the tests that cite them, as `// Rule LEASE-1.` or
//! `// Rules LEASE-1, GATE-2.` above a test or a story.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const AREAS: [&str; 8] = ["LEASE", "GATE", "OPEN", "RELAY", "INBOX", "HAND", "COPY", "STORE"];

#[test]
fn every_rule_is_cited_and_every_citation_is_of_a_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    let listed: Vec<String> = page.lines().filter_map(defined).collect();
    let rules: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(rules.len(), listed.len(), "a rule is there twice: {listed:?}");
    for area in AREAS {
        let numbers: Vec<usize> =
            listed.iter().filter_map(|rule| rule.strip_prefix(area)?.strip_prefix('-')?.parse().ok()).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "{area} is numbered without gaps");
    }

    let mut cited: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in ["crates", "xtask"] {
        sources(&root.join(folder), &mut |path| {
            let text = fs::read_to_string(path).unwrap();
            for rule in text.lines().flat_map(citations) {
                cited.insert(rule, path.to_owned());
            }
        });
    }
    let unknown: Vec<_> = cited.iter().filter(|(rule, _)| !rules.contains(rule.as_str())).collect();
    assert!(unknown.is_empty(), "cited, and no rule: {unknown:?}");
    let untested: Vec<_> = rules.iter().filter(|rule| !cited.contains_key(**rule)).collect();
    assert!(untested.is_empty(), "cited by no test: {untested:?}");
}

/// The rule that a row of the table defines.
fn defined(line: &str) -> Option<String> {
    let id = line.strip_prefix("| ")?.split(' ').next()?;
    let (area, number) = id.split_once('-')?;
    (AREAS.contains(&area) && number.parse::<usize>().is_ok()).then(|| id.to_owned())
}

/// The rules that a line cites.
fn citations(line: &str) -> Vec<String> {
    let line = line.trim();
    let cited = line.strip_prefix("// Rule ").or_else(|| line.strip_prefix("// Rules "));
    cited.map_or_else(Vec::new, |ids| ids.trim_end_matches('.').split(", ").map(str::to_owned).collect())
}

/// Calls `each` for every Rust file below a folder.
fn sources(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            sources(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            each(&path);
        }
    }
}

#[test]
fn every_bound_stands_in_the_protocols_table() {
    let read =
        |file: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is there");
    let (limits, protocol) = (read("../crates/core/src/limits.rs"), read("../docs/protocol.md"));
    let table =
        protocol.split("## Bounds").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section of bounds");
    let names = limits.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<&str> = names.filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "without a row in docs/protocol.md, section Bounds: {missing:?}");
}
