//! What grew beside the active conversation.

use super::*;

/// The branches as `leaf: prompts`, of a file that was known up to `|`.
fn check(short: &str, known: Option<&str>, expected: &[&str]) {
    let (before, since) = short.split_once('|').expect("a file has a known part");
    let size = file(before).len() as u64;
    let bytes = file(&format!("{before} {since}"));
    let transcript = read(&bytes);
    let named = |span: Span| name(transcript.nodes.iter().find(|node| node.span == span).expect("a line").uuid);
    let known = known.map(|name| id(name).parse().expect("an id"));
    let sides = transcript.sides(known, size);
    let sides: Vec<String> = sides
        .into_iter()
        .map(|side| format!("{}: {}", name(side.leaf), side.asked.into_iter().map(named).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(sides, expected, "{short}");
}

#[test]
fn a_second_writer_leaves_a_branch_beside_the_active_conversation() {
    // The agent answered U2, and somebody who had opened the session before went on from A1 too.
    const FORK: &str = "U1 A1<U1 | U2<A1 A2<U2 U3<A1 A3<U3";
    check(&format!("{FORK} >A2"), Some("A1"), &["A3: U3"]);
    check(&format!("{FORK} >A3"), Some("A1"), &["A2: U2"]);
    // One conversation, whoever wrote it, has no branch.
    check("U1 A1<U1 | U2<A1 A2<U2 U3<A2 A3<U3 >A3", Some("A1"), &[]);
    // Several, the newest first; each from where it leaves the active one.
    check("U1 A1<U1 | U2<A1 A2<U2 U3<A1 A3<U3 U4<A3 U5<A2 A5<U5 >A5", Some("A1"), &["U4: U3 U4"]);
    check("U1 A1<U1 | U2<A1 A2<U2 U3<A1 A3<U3 U4<A1 A4<U4 >A2", Some("A1"), &["A4: U4", "A3: U3"]);
    // Across lines that only pass a parent on, and across a compaction.
    check("U1 A1<U1 | U2<A1 A2<U2 U3<A1 P1<U3 A3<P1 >A2", Some("A1"), &["A3: U3"]);
    check("U1 A1<U1 | U2<A1 A2<U2 U3<A1 A3<U3 B1<A3 K1<B1 U4<K1 A4<U4 >A2", Some("A1"), &["A4: U3 K1 U4"]);
}

#[test]
fn what_was_known_before_is_told_only_where_it_was_left() {
    // An old branch that nothing was added to is no news.
    check("U1 A1<U1 U8<A1 A8<U8 U2<A1 A2<U2 >A2 | U3<A2 A3<U3 >A3", Some("A2"), &[]);
    // Somebody went back behind what was known.
    check("U1 A1<U1 U2<A1 A2<U2 | U3<A1 A3<U3 >A3", Some("A2"), &["A2: U2"]);
    check("U1 A1<U1 U2<A1 A2<U2 | U3<A1 A3<U3 >A3", None, &[]);
    // Lines of subagents are nobody's conversation, and a known line that is gone says nothing.
    check("U1 A1<U1 | U2<A1 A2<U2 ~U9<A1 ~A9<U9 >A2", Some("A1"), &[]);
    check("U1 A1<U1 | U2<A1 A2<U2 >A2", Some("X"), &[]);
}

#[test]
fn no_more_branches_are_told_than_a_person_can_choose_from() {
    let many: String = (0..=SIDES).map(|n| format!(" U{n}b<A1 A{n}b<U{n}b")).collect();
    let bytes = file(&format!("U1 A1<U1 U2<A1 A2<U2{many} >A2"));
    assert_eq!(read(&bytes).sides(None, 0).len(), SIDES);
}
