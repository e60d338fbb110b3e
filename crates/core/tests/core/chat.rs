//! Chat rides: the driver's prompts, one at a time, each let in once, and answered.

use ride_core::event::{Act, Ending, Event, Inbound, Outcome, Reply};
use ride_core::thread::{Phase, Thread};
use ride_core::view;
use ride_core::wire::{Holder, Reason, SayState};

use super::world::{World, id, name, route};

fn ridden() -> World {
    let mut w = World::new();
    w.chat = true;
    w.claim("ada", 500);
    assert_eq!(names(&w.settle()), ["settle"]);
    assert_eq!(w.t.phase_name(), "ridden");
    w
}

fn names(acts: &[Act]) -> Vec<&'static str> {
    acts.iter().map(name).collect()
}

fn say(w: &mut World, prompt: &str, text: &str) -> Reply {
    let fence = w.fence();
    w.does(Event::Say { fence, id: prompt.into(), text: text.into() })
}

fn reason(reply: Reply) -> Reason {
    match reply {
        Reply::Refused { refusal, .. } => refusal.reason,
        other => panic!("{other:?}"),
    }
}

/// What the thread is shown, in order.
fn shown(acts: &[Act]) -> Vec<String> {
    let sent = |act: &Act| match act {
        Act::Send { item, .. } => Some(item.text.clone()),
        _ => None,
    };
    acts.iter().filter_map(sent).collect()
}

const ADMITTED: Reply = Reply::Admit { because: "the driver's prompt" };

fn declined(reply: &Reply) -> bool {
    matches!(reply, Reply::Decline { .. })
}

// Rules GATE-2, RELAY-1.
#[test]
fn a_prompt_is_let_in_once_and_answered_once() {
    let mut w = ridden();
    assert_eq!(say(&mut w, "p1", "hello"), Reply::Said { state: SayState::Said });
    assert_eq!(shown(&w.settle()), [""; 0], "nothing is shown before the agent has it");
    assert!(declined(&w.sends("other", "hello")), "another client's is not the driver's");
    assert_eq!(w.sends("p1", "hello"), ADMITTED);
    assert!(declined(&w.sends("p1", "hello")), "the host repeats it: not a second time");
    assert_eq!(say(&mut w, "p1", "hello"), Reply::Said { state: SayState::Begun });
    assert_eq!(reason(say(&mut w, "p2", "more")), Reason::TurnRunning);
    assert_eq!(shown(&w.settle()), ["🖥 ada: hello", "answer to p1"]);
    assert_eq!(say(&mut w, "p1", "hello"), Reply::Said { state: SayState::Over });
    assert!(declined(&w.sends("p1", "hello")));
    assert_eq!(say(&mut w, "p2", "more"), Reply::Said { state: SayState::Said });
    assert_eq!(w.sends("p2", "more"), ADMITTED);
    assert_eq!(shown(&w.settle()), ["🖥 ada: more", "answer to p2"]);
}

#[test]
fn a_prompt_that_did_not_begin_gives_way_to_the_next() {
    let mut w = ridden();
    say(&mut w, "p1", "lost on the way");
    say(&mut w, "p2", "again");
    assert!(declined(&w.sends("p1", "lost on the way")));
    assert_eq!(w.sends("p2", "again"), ADMITTED);
    assert_eq!(shown(&w.settle()), ["🖥 ada: again", "answer to p2"]);
}

#[test]
fn prompts_that_are_refused() {
    let check = |prompt: &str, text: &str, expected| {
        assert_eq!(reason(say(&mut ridden(), prompt, text)), expected, "{prompt} {text}")
    };
    check("", "x", Reason::BadRequest);
    check("p 1", "x", Reason::BadRequest);
    check(&"p".repeat(65), "x", Reason::BadRequest);
    check("p1", "  ", Reason::BadRequest);
    check("p1", "/new", Reason::BadRequest);
    check("p1", " /status", Reason::BadRequest);
    check("p1", &"x".repeat(256 * 1024 + 1), Reason::TooLarge);
    assert_eq!(say(&mut ridden(), "p1", "/etc/hosts is a path"), Reply::Said { state: SayState::Said });
    let mut w = World::ridden_by("ada");
    assert_eq!(reason(say(&mut w, "p1", "x")), Reason::BadRequest, "a Claude ride has no chat prompts");
    let mut w = ridden();
    let stale = w.fence();
    w.does(Event::Release { fence: stale, accept_broken: false });
    assert_eq!(reason(w.does(Event::Say { fence: stale, id: "p1".into(), text: "x".into() })), Reason::Stale);
}

// Rule LEASE-11.
#[test]
fn a_lease_that_ran_out_lets_nothing_in() {
    let mut w = ridden();
    say(&mut w, "p1", "too late");
    w.wait(61_000);
    assert!(declined(&w.sends("p1", "too late")));
    assert_eq!(shown(&w.settle()), ["🖥 ada: too late", "the agent did not get this prompt: the ride had ended"]);
    assert_eq!(w.t.phase_name(), "open");
}

#[test]
fn a_thread_behind_another_ride_lets_nothing_in() {
    let mut w = ridden();
    say(&mut w, "p1", "x");
    let holder = Holder {
        name: "bob".into(),
        host: "desk".into(),
        identity: None,
        since_ms: 0,
        expires_in_ms: 1,
        phase: "ridden".into(),
        waiting_for: None,
        acceptable: false,
    };
    let sent = Inbound {
        id: "webchat|p1".into(),
        unnamed: None,
        sender: String::new(),
        name: String::new(),
        text: "x".into(),
        client: Some("p1".into()),
        route: None,
        host: serde_json::Value::Null,
        claude: None,
        behind: Some(holder),
    };
    assert!(declined(&w.does(Event::Message(Box::new(sent.clone())))));
    let by_channel = Inbound { behind: None, route: Some(route()), ..sent };
    assert_eq!(w.does(Event::Message(Box::new(by_channel))), Reply::Hold, "an id on a channel is a channel's");
}

#[test]
fn a_dead_drivers_turn_is_answered_before_the_thread_is_free() {
    let mut w = ridden();
    say(&mut w, "p1", "and then?");
    w.sends("p1", "and then?");
    let taken = w.take();
    assert_eq!(names(&taken.iter().map(|e| e.act.clone()).collect::<Vec<_>>()), ["follow", "send"]);
    w.done(taken[1].op, Outcome::Sent { message_id: "1".into() });
    let fence = w.fence();
    w.does(Event::Dropped { fence });
    let probe = w.take();
    assert_eq!(names(&probe.iter().map(|e| e.act.clone()).collect::<Vec<_>>()), ["probe"]);
    w.done(probe[0].op, Outcome::Gone);
    w.says(1, "hello?");
    assert_eq!(names(&w.settle()), ["send"], "the notice that it waits; the turn still runs");
    assert_eq!(view::waiting_for(&w.t).as_deref(), Some("the agent still answers the ride's last prompt"));
    w.done(taken[0].op, Outcome::Answered { how: Ending::Complete, text: "then this".into() });
    let acts = w.settle();
    assert_eq!(shown(&acts), ["then this"]);
    assert_eq!(names(&acts), ["send", "hand"], "what waited comes after the answer");
    assert!(!w.t.closed());
}

#[test]
fn how_a_turn_ends_is_said() {
    let check = |how, text: &str, expected: &[&str]| {
        let mut w = ridden();
        say(&mut w, "p1", "x");
        w.sends("p1", "x");
        for effect in w.take() {
            let outcome = match effect.act {
                Act::Follow { .. } => Outcome::Answered { how, text: text.into() },
                _ => Outcome::Sent { message_id: "1".into() },
            };
            w.done(effect.op, outcome);
        }
        assert_eq!(shown(&w.settle()), expected, "{how:?} {text:?}");
    };
    check(Ending::Complete, "yes", &["yes"]);
    check(Ending::Complete, "", &["the turn ended without a text"]);
    check(Ending::Aborted, "half an", &["half an", "interrupted at the terminal"]);
    check(Ending::Aborted, "", &["interrupted at the terminal, no answer"]);
    check(Ending::Failed, "", &["no answer: the agent's turn failed"]);
    check(Ending::Lost, "", &["no answer: the gateway was restarted during the turn"]);
}

// Rule HAND-5.
#[test]
fn a_turn_is_followed_again_by_the_next_performer() {
    let mut w = ridden();
    say(&mut w, "p1", "x");
    w.sends("p1", "x");
    let first = w.take();
    w.crash();
    // The prompt's own send is of unknown outcome: repeated once, marked, later.
    let again = w.take();
    assert_eq!(names(&again.iter().map(|e| e.act.clone()).collect::<Vec<_>>()), ["follow"]);
    w.done(again[0].op, Outcome::NotYet { what: "it still runs".into() });
    assert!(w.take().is_empty(), "not asked again at once");
    // What the dead one would have said is not taken twice.
    w.performer = id(100);
    w.flying.push(first[0].op);
    w.done(first[0].op, Outcome::Answered { how: Ending::Complete, text: "stale".into() });
    w.performer = id(101);
    w.wait(20_000);
    assert_eq!(shown(&w.settle()), ["(may be a repeat) 🖥 ada: x", "answer to p1"]);
}

#[test]
fn a_driver_that_comes_back_goes_on() {
    let mut w = ridden();
    let before = w.fence();
    say(&mut w, "p1", "not sent");
    w.claim_from("ada", 501, 11);
    assert_eq!(w.t.phase_name(), "ridden");
    assert_ne!(w.fence(), before);
    assert!(declined(&w.sends("p1", "not sent")));
    assert_eq!(shown(&w.settle()), ["🖥 ada: not sent", "the agent did not get this prompt: the ride had ended"]);
    say(&mut w, "p2", "sent");
    w.sends("p2", "sent");
    w.claim_from("ada", 502, 12);
    let Phase::Ridden { lease } = &w.t.phase else { panic!() };
    assert_eq!(view::turn(lease).map(|turn| (turn.id, turn.state)), Some(("p2".into(), SayState::Begun)));
    assert_eq!(shown(&w.settle()), ["🖥 ada: sent", "answer to p2"]);
}

#[test]
fn releasing_waits_for_the_turn_and_hands_back() {
    let mut w = ridden();
    say(&mut w, "p1", "x");
    w.sends("p1", "x");
    let taken = w.take();
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    for effect in taken {
        let outcome = match effect.act {
            Act::Follow { .. } => Outcome::Answered { how: Ending::Complete, text: "y".into() },
            _ => Outcome::Sent { message_id: "1".into() },
        };
        w.done(effect.op, outcome);
    }
    assert_eq!(names(&w.settle()), ["send"], "nothing was parked, so nothing returns");
    assert_eq!(w.t.phase_name(), "open");
}

#[test]
fn a_state_file_from_before_chat_rides_is_read() {
    let mut w = World::ridden_by("ada");
    let mut old = serde_json::to_value(&w.t).unwrap();
    assert_eq!(old["phase"]["lease"].as_object_mut().unwrap().remove("said"), Some(serde_json::Value::Null));
    w.t = serde_json::from_value::<Thread>(old).unwrap();
    assert_eq!(w.t.phase_name(), "ridden");
}
