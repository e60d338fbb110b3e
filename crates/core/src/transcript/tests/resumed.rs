//! Against `fixtures/claude-code/resumed`: what the real Claude Code does when it resumes a file. Each
//! expectation was measured; `cargo xtask resume-check` measures it again in every test run.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;

use super::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/claude-code/resumed")
}

/// A file by the beginning of its name, up to the first `-`.
fn case(name: &str) -> Vec<u8> {
    let files = std::fs::read_dir(folder()).expect("the folder").map(|file| file.expect("a file").path());
    let starts = |path: &PathBuf| {
        path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(&format!("{name}-")))
    };
    let path = files.into_iter().find(starts).unwrap_or_else(|| panic!("no file for {name}"));
    std::fs::read(path).expect("a readable file")
}

fn fetch(bytes: &[u8]) -> impl FnMut(Span) -> Result<Vec<u8>, Infallible> {
    |span| Ok(bytes[span.byte as usize..][..span.len as usize].to_vec())
}

/// The last digits of an id: the cases number their lines.
fn number(id: Option<Uuid>) -> u64 {
    let id = id.expect("an id").to_string();
    id[id.len() - 4..].parse().expect("a number")
}

/// Name; below which line 2.1.330 and 2.1.197 continue; whether no turn is under way.
const CASES: &[(&str, u64, u64, bool)] = &[
    ("a1", 7, 7, true),
    ("a3", 7, 7, true),
    ("a6", 4, 4, false),
    ("a8", 5, 5, true),
    ("a9", 6, 6, true),
    ("a13", 5, 5, true),
    ("a16", 91, 91, true),
    ("b2", 6, 6, true),
    ("b4", 6, 6, true),
    ("b5", 6, 6, true),
    ("b6", 8, 8, true),
    ("b7", 6, 6, true),
    ("b8", 11, 11, true),
    ("b9", 8, 8, true),
    ("b11", 7, 7, false),
    ("e1", 12, 12, true),
    ("e2", 13, 12, true),
    ("e3", 12, 12, true),
    ("f1", 6, 6, true),
    ("g1", 10, 9, true),
    ("h1", 6, 6, true),
    ("k1", 4, 4, false),
    ("k2", 6, 7, false),
    ("k3", 5, 4, false),
    ("k4", 6, 8, false),
    ("k5", 8, 7, true),
    ("k6", 8, 7, false),
    ("k7", 6, 6, true),
    ("k8", 5, 5, true),
    ("k9", 5, 5, true),
    ("k10", 9, 8, true),
    ("k11", 7, 7, true),
    ("k12", 8, 8, true),
    ("k13", 4, 4, false),
    ("k14", 7, 7, true),
    ("k15", 6, 6, true),
    ("k16", 4, 4, true),
    ("k17", 6, 6, true),
    ("k18", 7, 7, true),
    ("k19", 4, 4, false),
];

#[test]
fn each_version_continues_where_it_was_measured() {
    for (name, newer, older, _) in CASES {
        let bytes = case(name);
        let t = read(&bytes);
        for (version, expected) in [("2.1.330", newer), ("2.1.197", older)] {
            let Ok(place) = t.continues(Rules::of(version).expect("a measured version"), fetch(&bytes));
            assert_eq!(number(place.expect("a conversation")), *expected, "{name} on {version}");
        }
    }
}

#[test]
fn a_mark_is_above_every_place_where_a_host_continues() {
    for (name, newer, older, _) in CASES {
        let bytes = case(name);
        let t = read(&bytes);
        let Ok(mark) = t.anchor(fetch(&bytes));
        let mark = mark.expect("a conversation");
        // The lines of every case are numbered downwards.
        assert_eq!(number(mark), *newer.min(older), "{name}");
        for place in [newer, older] {
            let id = format!("00000000-0000-4000-8000-{place:012}").parse().expect("an id");
            assert!(t.is_ancestor(mark.expect("an id"), id), "{name}: {place}");
            let line =
                json!({"type": "user", "uuid": Uuid::from_u128(1), "parentUuid": id, "message": {"content": "go on"}});
            let after = [bytes.as_slice(), b"\n", line.to_string().as_bytes(), b"\n"].concat();
            assert!(matches!(read(&after).show(mark, bytes.len() as u64), Chain::Shown(_)), "{name} below {place}");
        }
    }
}

#[test]
fn a_turn_is_over_when_it_was_answered() {
    for (name, _, _, expected) in CASES {
        let bytes = case(name);
        let t = read(&bytes);
        let leaf = t.leaf().expect("a leaf").expect("a leaf");
        let Ok(quiet) = t.is_quiet(leaf, fetch(&bytes));
        assert_eq!(quiet, *expected, "{name}");
    }
}

#[test]
fn every_case_is_in_the_table() {
    let files = std::fs::read_dir(folder()).expect("the folder").count();
    let names: BTreeSet<&str> = CASES.iter().map(|case| case.0).collect();
    assert_eq!((files, names.len()), (CASES.len(), CASES.len()));
}

/// The answers of a stretch of the chain, as the thread is given them when a ride is reconciled.
fn answers(name: &str, from: u64) -> Vec<String> {
    let bytes = case(name);
    let t = read(&bytes);
    let from: Uuid = format!("00000000-0000-4000-8000-{from:012}").parse().expect("an id");
    let size = t.span(from).map(|span| span.byte + u64::from(span.len)).expect("that line");
    let Chain::Shown(shown) = t.show(Some(from), size) else { panic!("{name} is not one chain") };
    let Ok(turns) = turns(&shown.path, &shown.beside, fetch(&bytes));
    let answers = turns.into_items().into_iter().filter(|item| item.kind == crate::wire::RelayKind::Answer);
    answers.map(|item| item.text).collect()
}

#[test]
fn an_answer_without_a_stop_reason_is_an_answer() {
    assert_eq!(answers("b7", 3), ["second answer"]);
}

#[test]
fn an_answer_beside_an_error_of_the_service_is_an_answer() {
    assert_eq!(answers("b8", 3), ["second answer", "third answer"]);
}

#[test]
fn titles_of_older_hosts_count_for_their_own_conversation() {
    let node = node("U1");
    let summary = |of: &str| json!({"type": "summary", "summary": "a name", "leafUuid": id(of)});
    let title = |of: &str| read(format!("{}\n{node}\n", summary(of)).as_bytes()).title().map(str::to_owned);
    assert_eq!(title("U1").as_deref(), Some("a name"));
    assert_eq!(title("U9"), None);
}

#[test]
fn prompts_that_do_not_say_who_wrote_them_make_a_label() {
    let asked_of = |text: &str, more: Value| {
        let mut line = json!({"type": "user", "uuid": id("U1"), "message": {"content": text}});
        for (name, value) in more.as_object().expect("fields") {
            line[name] = value.clone();
        }
        asked(line.to_string().as_bytes())
    };
    assert_eq!(asked_of("plain words", json!({})).as_deref(), Some("plain words"));
    assert_eq!(asked_of("typed", json!({"promptSource": "typed"})).as_deref(), Some("typed"));
    assert_eq!(asked_of("<command-name>/exit</command-name>", json!({})), None);
    assert_eq!(asked_of("<bash-input>ls</bash-input>", json!({})), None);
    assert_eq!(asked_of("Warmup", json!({"isSidechain": true})), None);
    assert_eq!(asked_of("<task-notification>", json!({"origin": {"kind": "task-notification"}})), None);
}

#[test]
fn a_subagents_own_file_is_told() {
    assert!(read(&file("~U1 ~A1<U1")).is_side());
    assert!(!read(&file("~U1 ~A1<U1 U2")).is_side());
    assert!(!read(b"").is_side());
}
