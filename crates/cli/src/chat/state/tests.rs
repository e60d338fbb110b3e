//! A chat ride as a table of what happens and what comes of it.

use ride_core::wire::{Grant, Turn as Asked, Waiting};
use serde_json::json;

use super::*;

fn grant() -> Grant {
    serde_json::from_value(json!({
        "key": "k", "title": "Forum › Plans", "route": null, "claude": null, "leaseMs": 60_000, "renewEveryMs": 5_000,
        "silenceMs": 1_800_000, "relay": true, "waiting": [],
        "fence": { "incarnation": uuid::Uuid::nil(), "epoch": 1, "grant": uuid::Uuid::nil() },
    }))
    .unwrap()
}

fn renewed(turn: Option<(&str, SayState)>) -> Renewed {
    Renewed {
        lock: None,
        expires_in_ms: 60_000,
        silent_in_ms: 1_800_000,
        waiting: Vec::new(),
        waiting_total: 0,
        outbox: 0,
        relay_stopped: None,
        turn: turn.map(|(id, state)| Asked { id: id.into(), state }),
        news: Vec::new(),
    }
}

/// A ride whose lease is proven, at 1,000 ms.
fn ridden() -> Chat {
    let mut chat = Chat::new(&grant(), "secret", 0);
    assert!(matches!(chat.step(Event::Up, 0).as_slice(), [Effect::Renew(_)]));
    assert_eq!(chat.step(Event::Renewed { sent_ms: 0, answer: Ok(renewed(None)) }, 1_000), []);
    chat
}

fn typed(id: &str, text: &str) -> Event {
    Event::Typed { id: id.into(), text: text.into() }
}

fn said(state: SayState) -> Event {
    Event::Said(Ok(Saying { state }))
}

fn told(run: &str, state: State, text: &str) -> Event {
    Event::Told(Told { run: run.into(), state, text: text.into(), error: None })
}

/// The effects by name, with what tells them apart.
fn names(effects: &[Effect]) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::Renew(renew) => format!("renew active={}", renew.active),
        Effect::Say(say) => format!("say {}", say.id),
        Effect::Send { id, text } => format!("send {id} {text}"),
        Effect::Abort(id) => format!("abort {id}"),
        Effect::LookUp(id) => format!("look up {id}"),
        Effect::Release(release) => format!("release within {}", release.wait_ms),
        Effect::Show(Show::Prompt(text)) => format!("> {text}"),
        Effect::Show(Show::Answer { id, text }) => format!("{id}: {text}"),
        Effect::Show(Show::NoAnswer { id, why }) => format!("{id}! {why}"),
        Effect::Show(Show::Waiting(waiting)) => format!("waits {}", waiting.from),
        Effect::Show(Show::Note(text)) => format!("({text})"),
        Effect::Done(Outcome::Lost { why, .. }) => format!("lost: {why}"),
        Effect::Done(outcome) => format!("done: {outcome:?}"),
    };
    effects.iter().map(name).collect()
}

fn check(chat: &mut Chat, now_ms: u64, event: Event, expected: &[&str]) {
    let what = format!("{event:?}");
    assert_eq!(names(&chat.step(event, now_ms)), expected, "{what}");
    assert!(chat.wake_ms(now_ms) > now_ms, "{what}: there is nothing to wait for, and nothing is done");
}

#[test]
fn a_prompt_is_written_down_then_sent_then_answered() {
    let mut chat = ridden();
    check(&mut chat, 1_000, typed("p1", "hello"), &["> hello", "say p1"]);
    check(&mut chat, 1_001, typed("p2", "and more"), &[]);
    assert_eq!(chat.queued().collect::<Vec<_>>(), ["and more"]);
    check(&mut chat, 1_002, said(SayState::Said), &["send p1 hello"]);
    check(&mut chat, 1_003, Event::Sent(Ok(())), &[]);
    check(&mut chat, 1_004, told("p1", State::Delta, "hi"), &[]);
    check(&mut chat, 1_005, told("other", State::Delta, "no"), &[]);
    assert_eq!(chat.answer(), "hi");
    check(&mut chat, 1_006, told("p1", State::Final, "hi there"), &["p1: hi there", "> and more", "say p2"]);
    // The answer before is still being put into the thread.
    let busy = Trouble::Refused { reason: Reason::TurnRunning, message: String::new(), holder: None };
    check(&mut chat, 1_007, Event::Said(Err(busy)), &[]);
    check(&mut chat, 1_507, Event::Tick, &["say p2"]);
}

#[test]
fn nothing_begins_that_cannot_be_proven() {
    let mut chat = Chat::new(&grant(), "secret", 0);
    check(&mut chat, 0, typed("p1", "hello"), &[]);
    check(&mut chat, 0, Event::Up, &["renew active=true"]);
    check(&mut chat, 10, Event::Renewed { sent_ms: 0, answer: Ok(renewed(None)) }, &["> hello", "say p1"]);
    check(&mut chat, 20, Event::Down("cut".into()), &[]);
    check(&mut chat, 54_000, Event::Tick, &[]);
    // Back, but later than the lease is known to last: first the renewal.
    check(&mut chat, 58_000, Event::Up, &["renew active=true"]);
    check(&mut chat, 58_100, Event::Renewed { sent_ms: 58_000, answer: Ok(renewed(None)) }, &["say p1"]);
    let stale = Trouble::Refused { reason: Reason::Stale, message: "taken".into(), holder: None };
    check(&mut chat, 58_200, Event::Said(Err(stale)), &["lost: taken"]);
    check(&mut chat, 58_300, typed("p2", "more"), &[]);
}

#[test]
fn a_lost_connection_never_sends_twice_what_began() {
    let at_sending = || {
        let mut chat = ridden();
        check(&mut chat, 1_000, typed("p1", "x"), &["> x", "say p1"]);
        check(&mut chat, 1_000, said(SayState::Said), &["send p1 x"]);
        check(&mut chat, 1_100, Event::Sent(Err(NotSent::Unsure("cut".into()))), &[]);
        check(&mut chat, 1_100, Event::Down("cut".into()), &[]);
        check(&mut chat, 2_000, Event::Up, &["say p1", "renew active=true"]);
        chat
    };
    check(&mut at_sending(), 2_001, said(SayState::Said), &["send p1 x"]);
    check(&mut at_sending(), 2_001, said(SayState::Over), &["look up p1"]);
    let mut chat = at_sending();
    check(&mut chat, 2_001, said(SayState::Begun), &[]);
    // Its end was not heard either: the gateway knows no turn any more.
    check(&mut chat, 2_050, Event::Renewed { sent_ms: 2_000, answer: Ok(renewed(None)) }, &[]);
    check(&mut chat, 7_000, Event::Tick, &["renew active=true"]);
    check(&mut chat, 7_010, Event::Renewed { sent_ms: 7_000, answer: Ok(renewed(Some(("p1", SayState::Begun)))) }, &[]);
    check(&mut chat, 12_000, Event::Tick, &["renew active=true"]);
    check(&mut chat, 12_010, Event::Renewed { sent_ms: 12_000, answer: Ok(renewed(None)) }, &["look up p1"]);
    check(&mut chat, 12_020, Event::Found(Some("y".into())), &["p1: y"]);
}

#[test]
fn a_prompt_the_host_does_not_begin_is_sent_again_and_then_given_up() {
    let mut chat = ridden();
    check(&mut chat, 1_000, typed("p1", "x"), &["> x", "say p1"]);
    for n in 0..SENDS {
        let now = 1_000 + u64::from(n) * 20_000;
        check(&mut chat, now, said(SayState::Said), &["send p1 x"]);
        check(&mut chat, now, Event::Sent(Ok(())), &[]);
        let unbegun = || Ok(renewed(Some(("p1", SayState::Said))));
        let mut comes = |at: u64| {
            let effects = names(&chat.step(Event::Renewed { sent_ms: at, answer: unbegun() }, at));
            effects.into_iter().filter(|name| !name.starts_with("renew")).collect::<Vec<_>>()
        };
        assert_eq!(comes(now + 1_000), [""; 0], "too early to tell");
        let last = if n + 1 == SENDS { "p1! the agent did not begin it" } else { "say p1" };
        assert_eq!(comes(now + 6_000), [last]);
    }
}

#[test]
fn how_a_turn_ends_is_shown() {
    let check = |event: Event, expected: &[&str]| {
        let mut chat = ridden();
        chat.step(typed("p1", "x"), 1_000);
        chat.step(said(SayState::Said), 1_000);
        chat.step(Event::Sent(Ok(())), 1_000);
        chat.step(told("p1", State::Delta, "half"), 1_000);
        assert_eq!(names(&chat.step(event, 1_001)), expected);
    };
    check(told("p1", State::Final, ""), &["p1: half"]);
    check(told("p1", State::Aborted, ""), &["p1: half", "p1! interrupted"]);
    check(told("p1", State::Error, ""), &["p1! the turn failed"]);
    check(Event::Interrupt, &["abort p1"]);
}

#[test]
fn leaving_waits_for_the_answer_unless_it_is_wanted_at_once() {
    let mut chat = ridden();
    check(&mut chat, 1_000, Event::Leave, &["release within 30000"]);
    let running = || {
        let mut chat = ridden();
        chat.step(typed("p1", "x"), 1_000);
        chat.step(typed("p2", "y"), 1_000);
        chat.step(said(SayState::Said), 1_000);
        chat.step(Event::Sent(Ok(())), 1_000);
        let leaves = chat.step(Event::Leave, 1_001);
        assert_eq!(names(&leaves)[0], "(1 prompt was not sent)");
        chat
    };
    check(&mut running(), 1_002, told("p1", State::Final, "z"), &["p1: z", "release within 30000"]);
    check(&mut running(), 1_002, Event::Leave, &["release within 500"]);
    check(&mut running(), 1_002, Event::Stop("SIGTERM"), &["(the ride was ended: SIGTERM)", "release within 500"]);
}

#[test]
fn what_came_meanwhile_is_shown_once() {
    let mut chat = ridden();
    let waiting = |seq| Waiting { seq, from: format!("w{seq}").into(), text: "t".into(), at_ms: 0 };
    let with = |seqs: &[u64]| Ok(Renewed { waiting: seqs.iter().map(|seq| waiting(*seq)).collect(), ..renewed(None) });
    check(&mut chat, 2_000, Event::Renewed { sent_ms: 1_900, answer: with(&[4]) }, &["waits w4"]);
    check(&mut chat, 2_100, Event::Renewed { sent_ms: 2_050, answer: with(&[4, 6]) }, &["waits w6"]);
}
