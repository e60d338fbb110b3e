//! The index under changes, reads and lists that overtake each other.

use ride_core::entry_index::{Binding, Known};
use ride_core::host::{Entry, HostEntry};
use serde_json::json;
use uuid::Uuid;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn entry(key: &str, claude: u128) -> Entry {
    serde_json::from_value::<HostEntry>(
        json!({ "key": key, "entry": { "claudeCliSessionId": id(claude).to_string() } }),
    )
    .unwrap()
    .into()
}

fn keys(known: &Known) -> Vec<&str> {
    known.threads().into_iter().map(|e| e.key.as_str()).collect()
}

// Rule GATE-5.
#[test]
fn what_is_unknown_or_changed_must_be_asked() {
    let mut known = Known::default();
    assert_eq!(known.binding("a"), Binding::Unknown);
    known.put("a", Some(entry("a", 1)));
    assert_eq!(known.binding("a"), Binding::To(Some(id(1))));
    known.changed("a");
    assert_eq!(known.binding("a"), Binding::Unknown);
    assert_eq!(known.stale(9), ["a"]);
    known.put("a", Some(entry("a", 2)));
    assert_eq!((known.binding("a"), known.stale_count()), (Binding::To(Some(id(2))), 0));
    known.put("a", None);
    assert_eq!(known.binding("a"), Binding::Unknown);
}

#[test]
fn a_list_does_not_undo_what_was_read_since_it_began() {
    let mut known = Known::default();
    known.put("old", Some(entry("old", 1)));
    let round = known.begin();
    // While it is read: one is changed and read, one deleted, one made, one only changed.
    known.put("rebound", Some(entry("rebound", 7)));
    known.put("deleted", None);
    known.put("new", Some(entry("new", 8)));
    known.changed("touched");
    assert!(!known.filled());
    known.fill(round, vec![entry("rebound", 2), entry("deleted", 3), entry("touched", 4), entry("calm", 5)]);
    assert!(known.filled());
    assert_eq!(keys(&known), ["calm", "new", "rebound", "touched"]);
    assert_eq!(known.binding("rebound"), Binding::To(Some(id(7))));
    assert_eq!(known.binding("touched"), Binding::Unknown);
    assert_eq!(known.binding("calm"), Binding::To(Some(id(5))));
    // A later list has the last word on what was not read since.
    let round = known.begin();
    known.fill(round, vec![entry("calm", 6)]);
    assert_eq!(keys(&known), ["calm"]);
}

#[test]
fn twins_are_the_bound_and_the_doubtful() {
    let mut known = Known::default();
    for (key, claude) in [("a", 1), ("b", 1), ("c", 2)] {
        known.put(key, Some(entry(key, claude)));
    }
    known.changed("c");
    known.changed("never seen");
    let mut bound = known.bound(id(1));
    bound.sort_unstable();
    assert_eq!(bound, ["a", "b", "c"]);
}
