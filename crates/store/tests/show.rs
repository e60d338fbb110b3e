//! The turns at the end of a ride, of a transcript of any size.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use ride_core::transcript::{Turns, Wanted};
use ride_store::claude::{Look, chain_mark, show_chain_within};
use serde_json::json;
use uuid::Uuid;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n + 1)
}

/// A prompt and its answer, of about so many bytes.
fn turn(nth: u128, bytes: usize) -> String {
    let parent = (nth > 0).then(|| id(2 * nth - 1));
    let prompt = json!({
        "type": "user", "uuid": id(2 * nth), "parentUuid": parent, "sessionId": Uuid::nil(), "promptSource": "typed",
        "origin": { "kind": "human" }, "message": { "role": "user", "content": format!("prompt {nth}") },
    });
    let answer = json!({
        "type": "assistant", "uuid": id(2 * nth + 1), "parentUuid": id(2 * nth), "sessionId": Uuid::nil(),
        "message": { "role": "assistant", "stop_reason": "end_turn", "content": [{ "type": "text", "text": format!("{nth} {}", "x".repeat(bytes)) }] },
    });
    format!("{prompt}\n{answer}\n")
}

fn texts(turns: &Turns) -> usize {
    let texts = |turn: &ride_core::transcript::Turn| {
        turn.prompts.iter().map(|prompt| prompt.text.len()).sum::<usize>()
            + turn.answer.as_ref().map_or(0, |answer| answer.text.len())
    };
    turns.turns.iter().map(texts).sum()
}

// Rules RELAY-7, RELAY-10.
#[test]
fn turns_are_read_part_by_part_within_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    fs::write(&path, turn(0, 10)).unwrap();
    let mark = chain_mark(&path).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    for nth in 1..=60 {
        file.write_all(turn(nth, if nth == 30 { 90_000 } else { 20_000 }).as_bytes()).unwrap();
    }
    let mut wanted = Wanted { each: 30_000, room: 100_000, ..Wanted::default() };
    let mut answers = Vec::new();
    loop {
        let Look::Shown { turns, .. } = show_chain_within(&mark, &wanted).unwrap() else { panic!("one chain") };
        assert!(texts(&turns) <= wanted.room, "{} bytes of texts", texts(&turns));
        let (more, left_out) = (!turns.left_out.is_empty(), turns.left_out.clone());
        let items = turns.into_items();
        let known = |id: &str| left_out.contains(&id.parse().unwrap());
        let next: Vec<_> = items.into_iter().filter(|item| !item.text.is_empty() && !known(&item.id)).collect();
        wanted.after = next.last().map(|item| item.id.parse().unwrap());
        answers.extend(
            next.iter()
                .filter(|item| !item.text.starts_with("prompt"))
                .map(|item| (item.text.split(' ').next().unwrap().parse::<u32>().unwrap(), item.text.len())),
        );
        if !more {
            break;
        }
    }
    assert_eq!(answers.iter().map(|(nth, _)| *nth).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    assert_eq!(answers[29].1, 30_000, "what is longer is cut, and counts as too long");
}
