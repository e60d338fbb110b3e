//! Tables, and recordings of the real Claude Code (`fixtures/claude-code/`).

use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// A transcript in short, one word per line of the file:
/// `U2<A1` a node and its parent; the first letter is the kind (User,
/// Assistant, System, aTtachment, compaction Boundary with a logical parent,
/// Kompact summary, Progress, Q unknown type), `~` makes it a sidechain.
/// `>A1` last-prompt, `>>A1` an explicit one, `>!` one without a leaf, `>?` one
/// to a line that is not there, `>5` one that is a number.
/// `junk`, `nul`, `crlf` and `pad` (request bodies over 5 MiB) as they say.
fn file(short: &str) -> Vec<u8> {
    let mut out = String::new();
    for word in short.split_whitespace() {
        let line = match word {
            "junk" => "{\"parentUuid\":\"zz\",\"isSide".to_owned(),
            "nul" => "\0".repeat(50),
            "pad" => json!({"type": "api-request-blob", "message": "x".repeat(6 << 20)}).to_string(),
            ">!" => json!({"type": "last-prompt", "lastPrompt": "p", "leafUuid": null}).to_string(),
            ">5" => json!({"type": "last-prompt", "leafUuid": 5}).to_string(),
            _ => match word.strip_prefix(">>") {
                Some(leaf) => json!({"type": "last-prompt", "leafUuid": id(leaf), "explicit": true}).to_string(),
                None => match word.strip_prefix('>') {
                    Some(leaf) => json!({"type": "last-prompt", "leafUuid": id(leaf)}).to_string(),
                    None => node(word),
                },
            },
        };
        writeln!(out, "{line}").expect("writing to a string");
    }
    out.into_bytes()
}

fn node(word: &str) -> String {
    let (side, word) = (word.starts_with('~'), word.trim_start_matches('~'));
    let (name, parent) = word.split_once('<').map_or((word, None), |(name, p)| (name, Some(id(p))));
    let kind = match &name[..1] {
        "U" | "K" => "user",
        "A" => "assistant",
        "S" | "B" => "system",
        "T" => "attachment",
        "P" => "progress",
        "Q" => "of-a-newer-host",
        other => panic!("no such kind: {other}"),
    };
    let boundary = name.starts_with('B');
    json!({
        "parentUuid": if boundary { None } else { parent.clone() },
        "logicalParentUuid": if boundary { parent } else { None },
        "isSidechain": side,
        "type": kind,
        "subtype": if boundary { Some("compact_boundary") } else { None },
        "isCompactSummary": name.starts_with('K'),
        "message": {"content": format!("text of {name}")},
        "uuid": id(name),
    })
    .to_string()
}

fn id(name: &str) -> String {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes).to_string()
}

fn name(id: Uuid) -> String {
    String::from_utf8_lossy(id.as_bytes()).trim_end_matches('\0').to_owned()
}

fn read(bytes: &[u8]) -> Transcript {
    let mut reader = Reader::new();
    reader.feed(bytes);
    reader.finish()
}

fn check_leaf(short: &str, expected: &str) {
    let transcript = read(&file(short));
    let leaf = match transcript.leaf() {
        Ok(leaf) => leaf.map_or("-".to_owned(), name),
        Err(broken) => format!("{:?}", broken.why),
    };
    assert_eq!(leaf, expected, "{short}");
}

/// Each row was measured: the transcript was given to `claude -p --resume` of
/// 2.1.197 and of 2.1.330, and the expectation is the parent of the first line
/// each of them appended.
#[test]
fn leaf_as_the_host_resumes() {
    const LINE: &str = "U1 A1<U1 U2<A1 A2<U2";
    const FORK: &str = "U1 A1<U1 U2<A1 A2<U2 U3<A1 A3<U3";
    const COMPACT: &str = "U1 A1<U1 U2<A1 A2<U2 B1<A2 K1<B1 U3<K1 A3<U3";
    let rows: &[(&str, &str, &str)] = &[
        (LINE, "", "A2"),
        (LINE, ">A2", "A2"),
        (LINE, ">A1", "A2"),
        ("U1 A1<U1 >A1 U2<A1 A2<U2", "", "A2"),
        (FORK, "", "A3"),
        (FORK, ">A2", "A2"),
        (LINE, ">A2 U3<A1 A3<U3", "A2"),
        ("U1 A1<U1 U2<A1 U3<A1 A3<U3", ">A3 A2<U2", "A3"),
        (FORK, ">?", "A3"),
        (FORK, ">!", "A3"),
        (FORK, ">A2 >!", "A2"),
        (FORK, ">A2 >?", "A3"),
        (FORK, ">A2 >5", "A3"),
        (FORK, ">U2", "U2"),
        (FORK, ">A1", "A3"),
        (FORK, ">A3 >A2", "A2"),
        (FORK, ">A2 U4<A2 A4<U4", "A4"),
        (FORK, ">A2 U4<A2 A4<U4 U5<A3 A5<U5", "A2"),
        (FORK, "U4<A2 A4<U4 >A1", "A4"),
        (LINE, "S1<A2", "S1"),
        (LINE, "T1<A2", "T1"),
        (LINE, "T1<A2 >A2", "T1"),
        (LINE, "T1<A2 >T1", "T1"),
        (LINE, "T3<A1", "T3"),
        (LINE, "S3<A1", "S3"),
        (LINE, "T3<A1 >A2", "A2"),
        (LINE, "T3<A1 >A1", "T3"),
        (LINE, "T3<A1 >T3", "T3"),
        (FORK, ">A2 S1<A3", "A2"),
        (LINE, ">A2 ~X<A1", "A2"),
        ("U1 A1<U1 U2<A1", "", "U2"),
        ("U1 A1<U1 U2<A1", ">A1", "U2"),
        (COMPACT, "", "A3"),
        (COMPACT, ">A3", "A3"),
        (COMPACT, ">A2", "A2"),
        (LINE, ">A2 B1<A2 K1<B1 U3<K1 A3<U3", "A3"),
        (LINE, ">A2 B1<A2 K1<B1 U3<K1 A3<U3 >!", "A3"),
        (LINE, ">A2 B1 K1<B1 U3<K1 A3<U3", "A3"),
        (LINE, ">A2 B1<A2", "A2"),
        (LINE, "B1<A2", "A2"),
        (LINE, ">A2 B1<A2 T1<B1", "A2"),
        (LINE, ">A1 B1<A1", "A2"),
        (LINE, ">A2 B1<A2 K1<B1", "K1"),
        (LINE, ">A2 B1<A2 U3<B1 A3<U3", "A3"),
        (LINE, ">A2 K1 U3<K1 A3<U3", "A2"),
        (LINE, "B1<A2 >A2 K1<B1 U3<K1 A3<U3", "A2"),
        (FORK, ">A2 B1<A3", "A3"),
        (FORK, ">A2 B1<A3 K1<B1 U4<K1 A4<U4", "A4"),
        ("pad", "U1 A1<U1 U2<A1 A2<U2 B1<A2 K1<B1 U3<K1 A3<U3 >A2", "A3"),
        (COMPACT, ">A2 pad", "A3"),
        (FORK, "pad >A2", "A2"),
        (LINE, ">A2 pad U3<A1 A3<U3", "A2"),
        ("U1 A1<U1 B0<A1 K0<B0 U2<K0 A2<U2 B1<A2 K1<B1 U3<K1 A3<U3", ">A2", "A2"),
        (LINE, "U9<no A9<U9", "A9"),
        (FORK, "U9<no A9<U9 >A2", "A2"),
        (LINE, "U9<no A9<U9 >A1", "A1"),
        (LINE, "U9 A9<U9", "A9"),
        (LINE, "U9 A9<U9 >A2", "A2"),
        (LINE, ">A2 U9 A9<U9", "A2"),
        (LINE, "U3<A1 A2<U3", "A2"),
        (FORK, "A2<U2", "A2"),
        ("U1<A2 A1<U1 U2<A1 A2<U2", "", "A2"),
        ("U1<A2 A1<U1 U2<A1 A2<U2", ">A2", "A2"),
        ("U1 A1<U1 A2<U2 U2<A1", "", "U2"),
        ("U1 A1<U1 A2<U2 U2<A1", ">A1", "U2"),
        (LINE, "P1<A2", "A2"),
        (LINE, "P1<A1 U3<P1 A3<U3", "A3"),
        (LINE, "P1<A1 U3<P1 A3<U3 >A1", "A3"),
        (LINE, "Q1<A2", "A2"),
        (LINE, "Q1<A1 >Q1", "A2"),
        (LINE, "Q1<A1 U3<Q1 A3<U3", "A3"),
        (LINE, "nul", "A2"),
        (LINE, "junk >A2", "A2"),
        (LINE, ">>A1", "A1"),
        (LINE, ">>A1 U3<A1 A3<U3", "A3"),
        (LINE, ">>?", "A2"),
        (LINE, ">A1 >>?", "A2"),
        (LINE, ">>? U3 A3<U3", "A3"),
        (LINE, ">>A1 >A1", "A1"),
        (LINE, ">>A1 >!", "A1"),
        (LINE, ">>A1 B1<A2 K1<B1 U4<K1 A4<U4", "A4"),
        (FORK, ">>A1", "A1"),
        (FORK, ">>A1 U4<A2 A4<U4", "A4"),
        (FORK, ">>A2 U4<A2 A4<U4 U5<A3 A5<U5", "A2"),
        (FORK, ">>A1 U4<A1 A4<U4 >A2", "A2"),
        (LINE, "U3<A2 A3<U3 >>A1 >A2", "A3"),
        (LINE, "U3<A2 A3<U3 >>A1 >A2 >A1", "A3"),
        (LINE, "U3<A2 A3<U3 >>A1 >! >A1", "A1"),
        (LINE, "U3<A2 A3<U3 >>A1 >? >A1", "A3"),
        (LINE, "U3<A2 A3<U3 >A1 >>A1", "A1"),
        (LINE, "U3<A2 A3<U3 >>A1 U4<A1 A4<U4 >>A1", "A1"),
        (LINE, "U3<A2 A3<U3 >>A1 U4<A1 A4<U4 >A1", "A4"),
        (LINE, "U3<A2 A3<U3 >>A1 B1<A3 >A1", "A1"),
    ];
    for (head, rest, expected) in rows {
        check_leaf(&format!("{head} {rest}").replace("~X<", "~U8<"), expected);
    }
    check_leaf("U1 A1<U1 ~U8 ~A8<U8 >A8", "NoConversation");
    check_leaf("", "-");
}

/// Measured like the above, with an unknown type on the way: the host ends the
/// way there (and so stays at A1); here it passes through.
#[test]
fn leaf_differs_from_the_host_past_an_unknown_type() {
    check_leaf("U1 A1<U1 U2<A1 A2<U2 Q1<A1 U3<Q1 A3<U3 >A1", "A3");
}

fn check_show(before: &str, leaf: &str, after: &str, expected: &str) {
    let mut bytes = file(before);
    let size = bytes.len() as u64;
    bytes.extend(file(after));
    let from = (leaf != "-").then(|| id(leaf).parse().expect("a UUID"));
    let transcript = read(&bytes);
    let shown = match transcript.show(from, size) {
        Chain::Broken(b) => {
            format!("{:?} {}", b.why, b.uuid.map_or("-".to_owned(), name))
        }
        Chain::Shown(s) => {
            let names = |spans: &[Span]| {
                let find = |span: &Span| transcript.nodes.iter().find(|n| n.span == *span);
                let names: Vec<_> = spans.iter().filter_map(find).map(|n| name(n.uuid)).collect();
                names.join(" ")
            };
            format!("{} | {}", names(&s.path), names(&s.beside))
        }
    };
    assert_eq!(shown, expected, "{before} / {leaf} / {after}");
}

#[test]
fn one_chain() {
    let line = "U1 A1<U1 U2<A1 A2<U2 >A2";
    let rows = [
        // (before the claim, leaf at claim, appended since, outcome)
        (line, "A2", "", " | "),
        (line, "A2", "U3<A2 A3<U3 >A3", "U3 A3 | "),
        (line, "A2", "A3<U3 U3<A2 >A3", "U3 A3 | "),
        ("U1 A1<U1 U9<A1 A9<U9 U2<A1 A2<U2 >A2", "A2", "U3<A2 A3<U3 >A3", "U3 A3 | "),
        // Parallel tool calls: results hang beside the way.
        (line, "A2", "U3<A2 A3<U3 A4<A3 U4<A3 U5<A4 A5<U5 >A5", "U3 A3 A4 U5 A5 | U4"),
        // Rewound within the ride.
        (line, "A2", "U3<A2 A3<U3 >>A2 U4<A2 A4<U4 >A4", "U4 A4 | U3 A3"),
        // Compacted during the ride, twice.
        (line, "A2", "U3<A2 B1<U3 K1<B1 U4<K1 B2<U4 K2<B2 A4<K2 >A4", "U3 B1 K1 U4 B2 K2 A4 | "),
        (line, "A2", "junk U3<A2 nul A3<U3", "U3 A3 | "),
        (line, "A2", "~U8 ~A8<U8 U3<A2 A3<U3", "U3 A3 | "),
        (line, "A2", "P1<A2 U3<P1 Q1<U3 A3<Q1", "P1 U3 Q1 A3 | "),
        ("", "-", "U1 A1<U1", "U1 A1 | "),
        ("", "-", "U1 A1<U1 U2 A2<U2", "U2 A2 | U1 A1"),
        // A line repeated as it was.
        (line, "A2", "U3<A2 A3<U3 U3<A2", "U3 | A3"),
        // The other driver's branch, in front and behind.
        (line, "A2", "U3<A2 A3<U3 U4<A1 A4<U4 >A3", "Outside U4"),
        (line, "A2", "U3<A2 A3<U3 U4<A1 A4<U4 >A4", "NotAncestor A4"),
        (line, "A2", "U3<A2 A3<U3 >A1 U4<A1", "NotAncestor U4"),
        // The old writer's last word, written late.
        (line, "A2", "U3<A2 A3<U3 >A1", "U3 A3 | "),
        ("U1 A1<U1 U9<A1 A9<U9 U2<A1 A2<U2 >A2", "A2", "U3<A2 A3<U3 >A9", "NotAncestor A9"),
        (line, "A2", "U9 A9<U9 >A2", "Outside U9"),
        (line, "A2", "U9 A9<U9", "Outside U9"),
        (line, "A2", "B1 K1<B1 A3<K1", "NotAncestor A3"),
        (line, "A2", "U3<A2 A3<no", "UnknownParent A3"),
        (line, "A2", "U3<A2 A3<U3 U4<no >A3", "UnknownParent U4"),
        (line, "A2", "U3<A2 A3<U3 U4<A4 A4<U4 >A3", "Cycle U4"),
        (line, "A2", "U2<A2", "Moved U2"),
        (line, "A2", "U3<A2 A3<U3 U3<A1 >A3", "NotAncestor A3"),
        (line, "A2", "U3<A2 A3<U3 A1<U2 U4<A3", "Moved A1"),
        (line, "A2", "~U8 ~A8<U8 >A8", "NoConversation A8"),
        (line, "A7", "U3<A2", "LeafMissing A7"),
    ];
    for (before, leaf, after, expected) in rows {
        check_show(before, leaf, after, expected);
    }
    assert!(matches!(read(&file(line)).show(None, 1 << 30), Chain::Broken(Broken { why: Why::Shrunk, .. })));
}

#[test]
fn ancestry() {
    let t = read(&file("U1 A1<U1 B1<A1 K1<B1 A2<K1 U9<no U5<U6 U6<U5"));
    let rows = [
        ("A1", "A2", true),
        ("A2", "A2", true),
        ("U1", "A2", true),
        ("A2", "A1", false),
        ("A1", "U9", false),
        ("A1", "U5", false),
        ("U6", "U5", true),
        ("no", "A2", false),
        ("A1", "no", false),
    ];
    for (a, b, expected) in rows {
        let of = |n| id(n).parse().expect("a UUID");
        assert_eq!(t.is_ancestor(of(a), of(b)), expected, "{a} {b}");
    }
}

fn check_lines(bytes: &[u8], expected: (usize, u32, &[(u32, u64, Wrong)], Tail)) {
    // The same whatever the chunks.
    let small = bytes.len() < 1 << 20;
    for chunk in if small { [1, 7, 64, 1 << 20] } else { [4 << 10, 99_999, 1 << 20, 1 << 30] } {
        let mut reader = Reader::new();
        bytes.chunks(chunk).for_each(|piece| reader.feed(piece));
        let t = reader.finish();
        let bad: Vec<_> = t.malformed.iter().map(|m| (m.at.line, m.at.byte, m.wrong)).collect();
        assert_eq!((t.nodes.len(), t.lines, &bad[..], t.tail), expected, "chunks of {chunk}");
        assert_eq!(t.size, bytes.len() as u64);
    }
}

#[test]
fn damage_is_named_by_position() {
    let one = node("U1");
    let span = |line, byte: usize, len: usize| Span { line, byte: byte as u64, len: len as u32 };
    let len = one.len();
    check_lines(b"", (0, 0, &[], Tail::Whole));
    check_lines(format!("{one}\n").as_bytes(), (1, 1, &[], Tail::Whole));
    check_lines(format!("{one}\r\n\r\n").as_bytes(), (1, 2, &[], Tail::Whole));
    check_lines(one.as_bytes(), (1, 1, &[], Tail::Unterminated(span(1, 0, len))));
    let torn = format!("{one}\n{{\"parentUu");
    check_lines(torn.as_bytes(), (1, 2, &[], Tail::Torn(span(2, len + 1, 10))));
    let nul = format!("{one}\n\0\0\0");
    check_lines(nul.as_bytes(), (1, 2, &[], Tail::Torn(span(2, len + 1, 3))));
    let glued = format!("junk\n{one}\n[1]\n{{\"a\":\0}}\n");
    let bad = [(1, 0, Wrong::Json), (3, len as u64 + 6, Wrong::Json), (4, len as u64 + 10, Wrong::Json)];
    check_lines(glued.as_bytes(), (1, 4, &bad, Tail::Whole));
    let no_id = "{\"type\":\"user\",\"uuid\":7}\n{\"type\":\"user\"}\n";
    let bad = [(1, 0, Wrong::Id), (2, 25, Wrong::Id)];
    check_lines(no_id.as_bytes(), (0, 2, &bad, Tail::Whole));
    // Half a character, where the host cut a text.
    let half =
        "{\"type\":\"last-prompt\",\"lastPrompt\":\"a\\ud83d\",\"leafUuid\":\"LEAF\"}\n".replace("LEAF", &id("U1"));
    check_lines(half.as_bytes(), (0, 1, &[], Tail::Whole));
    assert_eq!(read(half.as_bytes()).last_prompt.as_deref(), Some("a\u{fffd}\u{fffd}\u{fffd}"));
    // Odd values of known fields, and fields nobody knows.
    let odd = "{\"type\":\"system\",\"subtype\":[1,{\"a\":2}],\"isSidechain\":\"no\",\"cwd\":{},\
               \"isMeta\":3,\"new\":{\"deep\":[[[]]]},\"uuid\":\"ID\",\"parentUuid\":null}\n"
        .replace("ID", &id("S1"));
    check_lines(odd.as_bytes(), (1, 1, &[], Tail::Whole));
}

#[test]
fn long_lines() {
    let long = json!({"type": "user", "uuid": id("U1"), "message": {"content": "é".repeat(10 << 20)}});
    let bytes = format!("{long}\n{}\n", node("A1<U1"));
    check_lines(bytes.as_bytes(), (2, 2, &[], Tail::Whole));

    let body = json!({"type": "api-request-blob", "message": "x".repeat(20 << 20)});
    let bytes = format!("{body}\n{}\n", node("U1"));
    check_lines(bytes.as_bytes(), (1, 2, &[], Tail::Whole));

    let too_long = json!({"type": "user", "uuid": id("U1"), "message": "x".repeat(MAX_LINE_BYTES)});
    let bytes = format!("{}\n{too_long}\n", node("U0"));
    let at = node("U0").len() as u64 + 1;
    check_lines(bytes.as_bytes(), (1, 2, &[(2, at, Wrong::TooLong)], Tail::Whole));
    let shown = read(bytes.as_bytes()).show(None, at);
    assert!(matches!(shown, Chain::Broken(Broken { why: Why::Unreadable, .. })), "{shown:?}");
}

mod follow;
mod recorded;
mod resumed;
mod side;
