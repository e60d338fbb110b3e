//! The picker over 10,000 threads, timed: from the answer's text to the first frame, and
//! from a keystroke to the frame that shows it. The library's own functions and a
//! terminal that only counts bytes: what the wire and the window add is not ours.
//! Prints its samples as JSON; `cargo xtask bench` makes figures of them.

#[path = "shared/screen.rs"]
mod screen;

use std::time::Instant;

use ride::picker::keys::Key;
use ride::picker::search::Threads;
use ride::picker::state::{Event, Picker};
use ride::picker::view::Panes;
use serde_json::{Value, json};
use uuid::Uuid;

use screen::{Result, SCREEN, Screen};

const THREADS: usize = 10_000;
const ROUNDS: usize = 21;
const NOW: u64 = 1_800_000_000_000;
/// What is typed, letter by letter.
const TYPED: [&str; 4] = ["deploy", "release plans 42", "tele ops", "日本"];

fn main() -> Result<()> {
    let answer = answer().to_string();
    let mut first = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut picker = open(&answer)?;
        let mut screen = Screen::new()?;
        screen.draw(&mut picker)?;
        first.push(ms(begin));
        assert!(screen.bytes.get() > 2_000, "the first frame is {} bytes", screen.bytes.get());
    }
    let mut keystrokes = Vec::new();
    for text in TYPED {
        let keys: Vec<char> = text.chars().collect();
        let mut by_key = vec![Vec::new(); keys.len()];
        for _ in 0..ROUNDS {
            let (mut picker, mut screen) = (open(&answer)?, Screen::new()?);
            screen.draw(&mut picker)?;
            for (key, samples) in keys.iter().zip(&mut by_key) {
                let begin = Instant::now();
                picker.step(Event::Key(Key::Char(*key)), NOW);
                screen.draw(&mut picker)?;
                samples.push(ms(begin));
            }
            assert!(
                (1..THREADS).contains(&picker.choice().fitting()),
                "{text:?} fits {} threads",
                picker.choice().fitting()
            );
        }
        let typed = |i: usize| keys[..=i].iter().collect::<String>();
        keystrokes.extend(by_key.into_iter().enumerate().map(|(i, ms)| json!({"typed": typed(i), "ms": ms})));
    }
    println!("{}", json!({"threads": THREADS, "bytes": answer.len(), "firstMs": first, "keystrokes": keystrokes}));
    Ok(())
}

fn open(answer: &str) -> Result<Picker> {
    let mut picker = Picker::new(Threads::read(answer)?, "", "ride", NOW);
    let panes = Panes::of(SCREEN, false);
    picker.step(Event::Room { threads: panes.rows(), preview: panes.has_preview() }, NOW);
    Ok(picker)
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}

/// Threads as a busy gateway has them: several agents and channels, topics of forums,
/// people's names, every fifth title beyond ASCII, some ridden, some that cannot be.
fn answer() -> Value {
    let subjects = [
        "Deploys",
        "Release plans",
        "Holiday rota",
        "Größe und Gewicht",
        "日本の話",
        "Customer escalations 🚨",
        "ops: nightly",
        "Ada Lovelace",
        "Invoices 2027",
        "on-call / handover",
    ];
    let rows: Vec<Value> = (0..THREADS).map(|i| {
        let channel = ["telegram", "discord", "slack", "whatsapp"][i % 4];
        let agent = ["main", "shop", "ops"][i % 7 % 3];
        let conversation = format!("-100{:010}:topic:{}", 2_000_000_000 + i / 25, i % 25);
        let title = format!("{} / {} {}", subjects[i / 10 % 10], subjects[i % 10], i / 100);
        let mut row = json!({
            "channel": channel, "displayName": title, "title": title, "conversationId": conversation,
            "cliSessionId": Uuid::from_u128(i as u128), "relayReady": true, "lastActivity": NOW - i as u64 * 45_000,
            "echoTarget": {"channel": channel, "to": format!("{channel}:{conversation}"), "accountId": "default", "threadId": (i % 25).to_string()},
            "key": format!("agent:{agent}:{channel}:group:{conversation}"), "agentId": agent, "rideable": true, "shared": i % 50 == 0,
        });
        if i % 90 == 0 {
            row["driver"] = json!({"name": "Ada", "host": "workstation", "sinceMs": NOW, "expiresInMs": 60_000, "phase": "ridden", "acceptable": false});
            row["waiting"] = json!(i % 4);
        } else if i % 3 == 0 {
            row["rideable"] = json!(false);
            row["whyNot"] = json!("no Claude session behind it");
        }
        row
    }).collect();
    json!({"rows": rows})
}
