use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::*;
use crate::picker::keys::Key;
use crate::picker::preview::{History, Preview};
use crate::picker::search::Threads;
use crate::picker::state::Event;

const NOW: u64 = 1_800_000_000_000;

fn rows() -> Value {
    let row = |title: &str, channel: &str, ago: u64, more: Value| {
        let mut row = json!({
            "channel": channel, "displayName": null, "title": title, "conversationId": "-1001:topic:42",
            "cliSessionId": null, "echoTarget": null, "relayReady": true, "lastActivity": NOW - ago,
            "key": format!("agent:main:{channel}:group:{title}"), "agentId": "main", "rideable": true,
        });
        for (name, value) in more.as_object().unwrap() {
            row[name] = value.clone();
        }
        row
    };
    let driver = json!({"name": "Ada", "host": "box", "sinceMs": NOW, "expiresInMs": 1, "phase": "ridden"});
    json!([
        row("Forum / Plans", "telegram", 5_000, json!({"mode": "chat"})),
        row("Deploys", "telegram", 180_000, json!({"rideable": false, "driver": driver, "waiting": 2})),
        row("日本の話 👩‍👩‍👧 \u{1b}[31mred", "discord", 10_000_000, json!({"shared": true})),
        row(
            "A rather long title of a thread that goes on",
            "slack",
            400_000_000,
            json!({"rideable": false, "whyNot": "it has no stored route"})
        ),
    ])
}

fn picker(rows: Value) -> Picker {
    Picker::new(Threads::new(serde_json::from_value(rows).unwrap()), "", "ride", NOW)
}

/// The screen after some keys, as text: what is wide takes two columns.
fn screen(picker: &mut Picker, width: u16, height: u16, keys: &[Key]) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    for key in keys {
        picker.step(Event::Key(key.clone()), NOW);
    }
    let panes = Panes::of(Rect::new(0, 0, width, height), picker.choice().help());
    picker.step(Event::Room { threads: panes.rows(), preview: panes.has_preview() }, NOW);
    terminal.draw(|frame| draw(frame, picker, Look { colour: false })).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| {
        let mut line = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += symbol.width().max(1) as u16;
        }
        line.trim_end().to_owned() + "\n"
    };
    (0..height).map(line).collect()
}

#[test]
fn a_narrow_screen_has_only_the_list() {
    assert_eq!(
        screen(&mut picker(rows()), 64, 8, &[]).lines().collect::<Vec<_>>(),
        [
            " ›                                                             4",
            "────────────────────────────────────────────────────────────────",
            " ▸  now  telegram  Forum / Plans",
            "     3m  telegram  Deploys      2 waiting · ridden by Ada at box",
            "     2h  discord   日本の話 👩‍👩‍👧 [31mred                    shared",
            "     4d  slack     A rather long title …  it has no stored route",
            "",
            " Enter ride · Esc leave · ? help",
        ]
    );
}

#[test]
fn a_wide_screen_shows_what_was_said_last() {
    let mut picker = picker(rows());
    screen(&mut picker, 110, 14, &[]);
    let history: History = serde_json::from_value(json!({"messages": [
        {"role": "user", "content": "one that there is no room for", "timestamp": NOW - 900_000, "__openclaw": {"senderName": "Omar"}},
        {"role": "assistant", "content": "the beginning of this one is cut:\nits name is gone", "timestamp": NOW - 900_000},
        {"role": "user", "content": "what about 日本の話, and a longer question that has to be broken?", "timestamp": NOW - 600_000, "__openclaw": {"senderName": "Tess", "seq": 3}},
        {"role": "assistant", "content": [{"type": "text", "text": "an answer"}], "timestamp": NOW - 5_000},
    ]}))
    .unwrap();
    let key = picker.selected_row().unwrap().key.clone();
    picker.step(Event::Previewed(key, Ok(Preview::from(history))), NOW);
    assert_eq!(
        screen(&mut picker, 110, 14, &[]).lines().collect::<Vec<_>>(),
        [
            " ›                                                                                                           4",
            "──────────────────────────────────────────────────────────────────────────────────────────────────────────────",
            " ▸  now  telegram  Forum / Plans                             │ Forum / Plans",
            "     3m  telegram  Deploys  2 waiting · ridden by Ada at box │ telegram -1001:topic:42 · agent main · by chat",
            "     2h  discord   日本の話 👩‍👩‍👧 [31mred                shared │ agent:main:telegram:group:Forum / Plans",
            "     4d  slack     A rather long ti…  it has no stored route │",
            "                                                             │   the beginning of this one is cut:",
            "                                                             │   its name is gone",
            "                                                             │ Tess  10m",
            "                                                             │   what about 日本の話, and a longer question",
            "                                                             │   that has to be broken?",
            "                                                             │ agent  now",
            "                                                             │   an answer",
            " Enter ride · Esc leave · ? help",
        ]
    );
}

#[test]
fn a_search_tells_how_many_fit_and_marks_its_letters() {
    let mut picker = picker(rows());
    let text: Vec<Key> = "話 red".chars().map(Key::Char).collect();
    assert_eq!(
        screen(&mut picker, 64, 6, &text).lines().collect::<Vec<_>>(),
        [
            " › 話 red                                                 1 of 4",
            "────────────────────────────────────────────────────────────────",
            " ▸   2h  discord  日本の話 👩‍👩‍👧 [31mred                     shared",
            "",
            "",
            " Enter ride · Esc leave · ? help",
        ]
    );
    let mut terminal = Terminal::new(TestBackend::new(64, 6)).unwrap();
    terminal.draw(|frame| draw(frame, &mut picker, Look { colour: false })).unwrap();
    let buffer = terminal.backend().buffer();
    let marked: String = buffer
        .content()
        .iter()
        .filter(|cell| cell.modifier.contains(Modifier::UNDERLINED))
        .map(|cell| cell.symbol())
        .collect();
    assert_eq!(marked, "話red");
    terminal.backend_mut().assert_cursor_position((9, 0));
}

#[test]
fn what_is_empty_says_what_to_do() {
    let check = |rows: Value, keys: &[Key], expected: &str| {
        let screen = screen(&mut picker(rows), 80, 8, keys);
        assert!(screen.contains(expected), "{screen}");
    };
    check(
        json!([]),
        &[],
        "   the gateway has no threads yet\n   write to your agent in a channel: the conversation appears here\n",
    );
    check(rows(), &[Key::Paste("no such thread".into())], "   nothing fits\n   Ctrl-U clears the search\n");
}

#[test]
fn help_and_notes_take_their_lines() {
    let mut picker = picker(rows());
    let text = screen(&mut picker, 64, 8, &[Key::Help]);
    assert!(
        text.ends_with(
            "\n Enter rides · Esc or Ctrl-C leaves · ? or F1 hides this\n Enter ride · Esc leave · ? help\n"
        ),
        "{text}"
    );
    picker.step(Event::Refused("Deploys is ridden by Ada at box".into()), NOW);
    assert!(screen(&mut picker, 64, 8, &[]).ends_with("\n Deploys is ridden by Ada at box\n"));
    picker.step(Event::Down("it was closed".into()), NOW);
    let text = screen(&mut picker, 64, 8, &[Key::Down]);
    assert!(text.ends_with("\n the connection was lost, trying again: it was closed\n"), "{text}");
}

#[test]
fn no_screen_is_too_small() {
    for width in [0, 1, 2, 5, 20, 99, 100, 101, 300] {
        for height in [0, 1, 2, 3, 4, 5, 9] {
            for keys in [&[][..], &[Key::Help], &[Key::Paste("x".repeat(150))]] {
                screen(&mut picker(rows()), width, height, keys);
                screen(&mut picker(json!([])), width, height, keys);
            }
        }
    }
}

#[test]
fn lines_are_broken_between_words() {
    let check = |text: &str, width: usize, expected: &[&str]| assert_eq!(wrapped(text, width), expected, "{text:?}");
    check("", 10, &[""]);
    check("one two three", 8, &["one two ", "three"]);
    check("donaudampfschiff", 6, &["donaud", "ampfsc", "hiff"]);
    check("日本の話", 5, &["日本", "の話"]);
    check("👩‍👩‍👧👩‍👩‍👧", 3, &["👩‍👩‍👧", "👩‍👩‍👧"]);
    assert_eq!(
        (thousands(0), thousands(999), thousands(10_240), thousands(1_234_567)),
        ("0".into(), "999".into(), "10,240".into(), "1,234,567".into())
    );
}

/// What a terminal acts on, and what nobody sees.
const HOSTILE: [&str; 10] = [
    "\u{1b}]52;c;aGk=\u{7}",
    "\u{1b}[2J",
    "\u{9b}31m",
    "\u{1b}]8;;http://x\u{1b}\\",
    "\u{202e}",
    "\u{2066}",
    "\r\n",
    "\u{2028}",
    "\u{e0041}",
    "\u{3164}\u{ad}\u{200f}\u{180e}",
];

/// The value with a hostile text in the place of each text in it.
fn hostile(value: &mut Value, text: &str) {
    match value {
        Value::String(found) => *found = format!("A{text}{found}{text}Z"),
        Value::Array(all) => all.iter_mut().for_each(|one| hostile(one, text)),
        Value::Object(all) => all.values_mut().for_each(|one| hostile(one, text)),
        _ => {}
    }
}

#[test]
fn no_text_from_outside_reaches_the_screen_raw() {
    for text in HOSTILE {
        let mut listed = rows();
        let fields = ["channel", "title", "conversationId", "key", "agentId", "whyNot", "displayName"];
        for row in listed.as_array_mut().unwrap() {
            row["displayName"] = "a name".into();
            for field in fields {
                hostile(&mut row[field], text);
            }
            // The phase too: a newer gateway may have others.
            hostile(&mut row["driver"], text);
        }
        let mut picker = picker(listed);
        screen(&mut picker, 110, 14, &[]);
        let mut said = json!([
            {"content": "asked", "timestamp": NOW, "__openclaw": {"senderName": "Tess", "seq": 3}},
            {"content": [{"text": "answered"}], "timestamp": NOW},
        ]);
        hostile(&mut said, text);
        (said[0]["role"], said[1]["role"], said[1]["content"][0]["type"]) =
            ("user".into(), "assistant".into(), "text".into());
        let history: History = serde_json::from_value(json!({ "messages": said })).unwrap();
        let key = picker.selected_row().unwrap().key.clone();
        picker.step(Event::Previewed(key, Ok(Preview::from(history))), NOW);
        let typed: Vec<Key> = text.chars().map(Key::Char).collect();
        for keys in [vec![], vec![Key::Down], vec![Key::Enter], vec![Key::Char('?')], typed] {
            for width in [40, 110] {
                let drawn = screen(&mut picker, width, 14, &keys);
                let raw: Vec<char> = drawn
                    .chars()
                    .filter(|c| *c != '\n' && ride_core::text::plain(&c.to_string()) != c.to_string())
                    .filter(|c| text.contains(*c) || c.is_control())
                    .collect();
                assert!(raw.is_empty(), "{text:?} at {width}: {raw:?} in {drawn}");
            }
        }
    }
}
