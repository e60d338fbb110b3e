//! The picker over 10,000 threads: from the answer's text to the first frame, and from
//! a keystroke to the frame that shows it. The library's own functions and a terminal
//! that is a buffer: what the wire and the window add is not ours.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use ride::picker::keys::Key;
use ride::picker::search::Threads;
use ride::picker::state::{Event, Picker};
use ride::picker::view::{self, Look, Panes};
use serde_json::{Value, json};
use uuid::Uuid;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};

const THREADS: usize = 10_000;
const ROUNDS: usize = 21;
const SCREEN: Rect = Rect { x: 0, y: 0, width: 160, height: 50 };
const NOW: u64 = 1_800_000_000_000;
/// What is typed, letter by letter, then deleted and typed otherwise.
const TYPED: [&str; 4] = ["deploy", "release plans 42", "tele ops", "日本"];

/// A terminal whose output goes into memory.
type Buffered = Terminal<CrosstermBackend<Vec<u8>>>;

pub(super) fn measure() -> Result<Section> {
    let answer = answer().to_string();
    let mut first = Samples::default();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut picker = open(&answer)?;
        let frame = draw(&mut terminal()?, &mut picker)?;
        first.push(ms(begin));
        ensure!(frame > 1000, "the first frame is {frame} bytes");
    }
    let (mut keystrokes, mut slowest) = (Samples::default(), (0.0, String::new()));
    for text in TYPED {
        let keys: Vec<char> = text.chars().collect();
        let mut by_key = vec![Samples::default(); keys.len()];
        for _ in 0..ROUNDS {
            let (mut picker, mut terminal) = (open(&answer)?, terminal()?);
            draw(&mut terminal, &mut picker)?;
            for (key, samples) in keys.iter().zip(&mut by_key) {
                let begin = Instant::now();
                black_box(picker.step(Event::Key(Key::Char(*key)), NOW));
                draw(&mut terminal, &mut picker)?;
                let took = ms(begin);
                samples.push(took);
                keystrokes.push(took);
            }
            ensure!((1..THREADS).contains(&picker.fitting()), "{text:?} fits {} threads", picker.fitting());
        }
        for (i, samples) in by_key.iter().enumerate() {
            if samples.median() > slowest.0 {
                slowest = (samples.median(), format!("{}, the {} typed of {text:?}", samples.shown(Unit::Ms), ordinal(i + 1)));
            }
        }
    }
    Ok(Section {
        title: "The picker over 10,000 threads",
        how: format!(
            "The answer of `sessions_rideable` with {THREADS} rows ({:.1} MB) read and drawn on a screen of {} × {}; then {} typed letter\n\
             by letter, each with the frame that shows it. In this process, with the functions `ride` itself calls; the terminal is a buffer.",
            answer.len() as f64 / 1e6,
            SCREEN.width,
            SCREEN.height,
            TYPED.map(|text| format!("`{text}`")).join(", "),
        ),
        rows: vec![
            Row::plain("first frame after the data", first.shown(Unit::Ms)).target("≤ 30 ms", first.median() <= 30.0),
            Row::plain("a keystroke", keystrokes.shown(Unit::Ms)),
            Row::plain("the slowest keystroke", slowest.1).target("≤ 8 ms", slowest.0 <= 8.0),
        ],
    })
}

fn open(answer: &str) -> Result<Picker> {
    let mut picker = Picker::new(Threads::read(answer)?, "", NOW);
    let panes = Panes::of(SCREEN, false);
    picker.step(Event::Room { threads: panes.threads(), preview: panes.has_preview() }, NOW);
    Ok(picker)
}

fn terminal() -> Result<Buffered> {
    let options = TerminalOptions { viewport: Viewport::Fixed(SCREEN) };
    Ok(Terminal::with_options(CrosstermBackend::new(Vec::new()), options)?)
}

/// Draws, and gives how many bytes a terminal would have got so far.
fn draw(terminal: &mut Buffered, picker: &mut Picker) -> Result<usize> {
    terminal.draw(|frame| view::draw(frame, picker, Look { colour: true }))?;
    Ok(terminal.backend().writer().len())
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}

fn ordinal(n: usize) -> String {
    match n {
        1 => "1st".into(),
        2 => "2nd".into(),
        3 => "3rd".into(),
        n => format!("{n}th"),
    }
}

/// Threads as a busy gateway has them: several agents and channels, topics of forums,
/// people's names, every fifth title beyond ASCII, some ridden, some that cannot be.
fn answer() -> Value {
    let subjects = ["Deploys", "Release plans", "Holiday rota", "Größe und Gewicht", "日本の話", "Customer escalations 🚨", "ops: nightly", "Ada Lovelace", "Invoices 2027", "on-call / handover"];
    let rows: Vec<Value> = (0..THREADS).map(|i| {
        let channel = ["telegram", "discord", "slack", "whatsapp"][i % 4];
        let agent = ["main", "shop", "ops"][i % 7 % 3];
        let conversation = format!("-100{:010}:topic:{}", 2_000_000_000 + i / 25, i % 25);
        let title = format!("{} / {} {}", subjects[i / 10 % 10], subjects[i % 10], i / 100);
        let mut row = json!({
            "channel": channel, "displayName": title, "title": title, "conversationId": conversation,
            "cliSessionId": Uuid::from_u128(i as u128), "relayReady": true, "lastActivity": NOW - i as u64 * 45_000,
            "echoTarget": {"channel": channel, "to": format!("{channel}:{conversation}"), "accountId": "default", "threadId": i % 25},
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
