use serde_json::json;

use super::*;
use crate::picker::preview::History;
use crate::picker::search::{Found, Searched as _};

const NOW: u64 = 1_800_000_000_000;

fn threads(rows: &[(&str, u64)]) -> Threads {
    let row = |(title, at): &(&str, u64)| {
        json!({
            "channel": "telegram", "displayName": null, "title": title, "conversationId": null, "cliSessionId": null,
            "echoTarget": null, "relayReady": true, "lastActivity": at, "key": title, "agentId": "main", "rideable": true,
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    Threads::new(serde_json::from_value(json!(rows)).unwrap())
}

/// Ten threads, room for four, a preview beside them.
fn picker() -> Picker {
    let rows: Vec<String> = (0..10).map(|i| format!("t{i}")).collect();
    let rows: Vec<(&str, u64)> = rows.iter().map(|title| (title.as_str(), 1)).collect();
    let mut picker = Picker::new(threads(&rows), "", "ride", NOW);
    let effects = picker.step(Event::Room { threads: 4, preview: true }, NOW);
    assert_eq!(effects, [Effect::Preview("t0".into())]);
    picker
}

fn said(text: &str) -> Preview {
    let history: History = serde_json::from_value(json!({"messages": [{"role": "user", "content": text}]})).unwrap();
    history.into()
}

fn press(picker: &mut Picker, keys: &[Key]) -> Vec<Effect> {
    keys.iter().flat_map(|key| picker.step(Event::Key(key.clone()), NOW)).collect()
}

fn typed(picker: &mut Picker, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| picker.step(Event::Key(Key::Char(c)), NOW)).collect()
}

/// What is shown, the selected one in brackets.
fn shown(picker: &mut Picker) -> String {
    let shown = picker.choice_mut().shown();
    let name = |(at, selected, _): &(usize, bool, Found)| match selected {
        true => format!("[{}]", picker.threads().title(*at).text()),
        false => picker.threads().title(*at).text().to_owned(),
    };
    shown.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[test]
fn moving_keeps_the_selection_in_sight() {
    let check = |keys: &[Key], expected: &str| {
        let mut picker = picker();
        press(&mut picker, keys);
        assert_eq!(shown(&mut picker), expected, "{keys:?}");
    };
    check(&[], "[t0] t1 t2 t3");
    check(&[Key::Up], "[t0] t1 t2 t3");
    check(&[Key::Down, Key::Ctrl('n')], "t0 t1 [t2] t3");
    check(&[Key::PageDown], "t1 t2 t3 [t4]");
    check(&[Key::PageDown, Key::PageUp], "[t0] t1 t2 t3");
    check(&[Key::PageDown, Key::Ctrl('p'), Key::Up, Key::Up], "[t1] t2 t3 t4");
    check(&[Key::End], "t6 t7 t8 [t9]");
    check(&[Key::End, Key::Down, Key::PageDown], "t6 t7 t8 [t9]");
    check(&[Key::End, Key::Home], "[t0] t1 t2 t3");
}

#[test]
fn typing_searches_and_begins_at_the_best() {
    let mut picker = picker();
    press(&mut picker, &[Key::End]);
    typed(&mut picker, "t7");
    assert_eq!((shown(&mut picker).as_str(), picker.choice().fitting()), ("[t7]", 1));
    press(&mut picker, &[Key::Backspace]);
    assert_eq!((shown(&mut picker).as_str(), picker.choice().fitting()), ("[t0] t1 t2 t3", 10));
    press(&mut picker, &[Key::Ctrl('u'), Key::Paste("no\nsuch".into())]);
    assert_eq!((shown(&mut picker).as_str(), picker.choice().query().text()), ("", "no such"));
    // Nothing to ride, nothing to move to, and nothing breaks.
    assert_eq!(press(&mut picker, &[Key::Enter, Key::Down, Key::PageDown, Key::End, Key::Up]), []);
    press(&mut picker, &[Key::Ctrl('w'), Key::Ctrl('w')]);
    assert_eq!(shown(&mut picker), "[t0] t1 t2 t3");
    // A question mark asks for help only where it is not searched for.
    press(&mut picker, &[Key::Char('?')]);
    assert!(picker.choice().help());
    typed(&mut picker, "t?");
    assert_eq!((picker.choice().help(), picker.choice().query().text()), (true, "t?"));
}

#[test]
fn leaving_riding_and_suspending_are_asked_for() {
    let check = |keys: &[Key], expected: Effect| assert_eq!(press(&mut picker(), keys).last(), Some(&expected));
    check(&[Key::Escape], Effect::Leave);
    check(&[Key::Ctrl('c')], Effect::Leave);
    check(&[Key::Ctrl('z')], Effect::Suspend);
    check(&[Key::Down, Key::Enter], Effect::Take("t1".into()));
    let mut picker = picker();
    press(&mut picker, &[Key::Enter]);
    picker.step(Event::Refused("t0 cannot be ridden".into()), NOW);
    assert_eq!(picker.choice().note(), Some("t0 cannot be ridden"));
    press(&mut picker, &[Key::Down]);
    assert_eq!(picker.choice().note(), None);
}

#[test]
fn the_selection_stays_on_its_thread() {
    let check = |before: &[Key], rows: &[(&str, u64)], expected: &str| {
        let mut picker = picker();
        press(&mut picker, before);
        picker.step(Event::Listed(Ok(threads(rows))), NOW);
        assert_eq!(shown(&mut picker), expected);
    };
    check(&[Key::Down], &[("new", 2), ("t1", 1), ("t0", 1)], "new [t1] t0");
    check(&[], &[("new", 2), ("t0", 1)], "new [t0]");
    // One that is gone leaves its place to the next.
    check(&[Key::Down], &[("t0", 1), ("t2", 1), ("t3", 1)], "t0 [t2] t3");
    check(&[Key::End], &[("t0", 1), ("t2", 1)], "t0 [t2]");
    check(&[Key::End], &[], "");
    // Within a search too.
    check(&[Key::Char('t'), Key::Down], &[("other", 3), ("tx", 2), ("t1", 1)], "tx [t1] other");
}

#[test]
fn one_preview_is_on_its_way_and_kept_only_while_it_is_true() {
    let mut picker = picker();
    let preview = |picker: &Picker| picker.preview().map(|known| known.preview.clone());
    // While the first is on its way, moving asks for nothing; afterwards for where it ended.
    assert_eq!(press(&mut picker, &[Key::Down, Key::Down]), []);
    assert_eq!(picker.step(Event::Previewed("t0".into(), Ok(said("zero"))), NOW), [Effect::Preview("t2".into())]);
    assert_eq!(preview(&picker), None);
    picker.step(Event::Previewed("t2".into(), Err("slow".into())), NOW);
    assert_eq!(preview(&picker), Some(Err("slow".into())));
    // What is known is not asked for again.
    assert_eq!(press(&mut picker, &[Key::Home]), []);
    assert_eq!(preview(&picker), Some(Ok(said("zero"))));
    // One that changed is, and until then the old one is shown.
    let effects = picker.step(Event::Changed(Some("t0".into())), NOW);
    assert_eq!(effects, [Effect::Preview("t0".into())]);
    assert_eq!(preview(&picker), Some(Ok(said("zero"))));
    // It changes again on the way: what arrives is dropped.
    picker.step(Event::Changed(Some("t0".into())), NOW);
    assert_eq!(picker.step(Event::Previewed("t0".into(), Ok(said("stale"))), NOW), [Effect::Preview("t0".into())]);
    assert_eq!(preview(&picker), Some(Ok(said("zero"))));
    picker.step(Event::Previewed("t0".into(), Ok(said("new"))), NOW);
    assert_eq!(preview(&picker), Some(Ok(said("new"))));
    // Somebody's from before, or an activity the list tells of.
    assert_eq!(picker.step(Event::Previewed("t5".into(), Ok(said("five"))), NOW), []);
    assert_eq!(picker.step(Event::Listed(Ok(threads(&[("t0", 2)]))), NOW), [Effect::Preview("t0".into())]);
}

#[test]
fn without_room_for_a_preview_none_is_asked_for() {
    let mut picker = Picker::new(threads(&[("t0", 1)]), "", "ride", NOW);
    assert_eq!(picker.step(Event::Room { threads: 4, preview: false }, NOW), []);
    assert_eq!(picker.step(Event::Room { threads: 4, preview: true }, NOW), [Effect::Preview("t0".into())]);
}

#[test]
fn previews_are_bounded() {
    let rows: Vec<String> = (0..200).map(|i| format!("t{i}")).collect();
    let rows: Vec<(&str, u64)> = rows.iter().map(|title| (title.as_str(), 1)).collect();
    let mut picker = Picker::new(threads(&rows), "", "ride", NOW);
    let mut effects = picker.step(Event::Room { threads: 4, preview: true }, NOW);
    for _ in 0..200 {
        let Some(Effect::Preview(key)) = effects.pop() else { panic!("no preview is asked for") };
        picker.step(Event::Previewed(key, Ok(said("x"))), NOW);
        effects = press(&mut picker, &[Key::Down]);
    }
    assert_eq!((picker.previews.len(), picker.previewed.len()), (MAX_PREVIEWS, MAX_PREVIEWS));
}

#[test]
fn the_list_is_asked_for_when_it_is_due() {
    let mut picker = picker();
    let tick = |picker: &mut Picker, ms: u64| picker.step(Event::Tick, NOW + ms);
    assert_eq!(tick(&mut picker, LIST_EVERY_MS - 1), []);
    assert_eq!(tick(&mut picker, LIST_EVERY_MS), [Effect::List]);
    // Once, however much changes meanwhile; then once more, and not at once.
    for _ in 0..3 {
        assert_eq!(picker.step(Event::Changed(Some("t9".into())), NOW + LIST_EVERY_MS), []);
    }
    let listed = NOW + LIST_EVERY_MS + 50;
    assert_eq!(picker.step(Event::Listed(Err("busy".into())), listed), []);
    assert_eq!(picker.choice().note(), Some("the list could not be read again: busy"));
    assert_eq!(picker.wake_ms(), listed + LIST_AGAIN_MS);
    assert_eq!(picker.step(Event::Tick, listed + LIST_AGAIN_MS), [Effect::List]);
}

#[test]
fn a_lost_connection_is_told_and_asks_for_nothing() {
    let mut picker = picker();
    assert_eq!(picker.step(Event::Down("closed".into()), NOW + LIST_EVERY_MS), []);
    assert_eq!(picker.down(), Some("closed"));
    // Search and preview of what is known still work; riding says why not.
    assert_eq!(press(&mut picker, &[Key::Down, Key::Enter]), []);
    assert_eq!(picker.choice().note(), Some("not connected to the gateway: closed"));
    let effects = picker.step(Event::Up, NOW + LIST_EVERY_MS);
    assert_eq!((effects, picker.down()), (vec![Effect::List, Effect::Preview("t1".into())], None));
}
