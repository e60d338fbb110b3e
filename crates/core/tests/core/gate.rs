//! What the gate does with a message.

use ride_core::event::{Act, Event, Inbound, Outcome, Reply, Unnamed};
use ride_core::limits;
use ride_core::wire::{Holder, Reason};

use super::world::{World, fine, id, inbound, name, route};

#[test]
fn nobody_rides() {
    assert_eq!(World::new().says(1, "hello"), Reply::Admit { because: "nobody rides" });
}

// Rules GATE-1, INBOX-1, HAND-1.
#[test]
fn a_held_message_is_kept_once_its_sender_told_once_and_handed_over_in_order() {
    let mut w = World::ridden_by("ada");
    assert_eq!(w.says(1, "one"), Reply::Hold);
    assert_eq!(w.says(1, "one"), Reply::Hold, "the channel repeated it");
    assert_eq!(w.says(2, "two"), Reply::Hold);
    assert_eq!(w.t.inbox.len(), 2);
    let notices: Vec<_> = w.settle().into_iter().filter(|a| matches!(a, Act::Send { .. })).collect();
    let [Act::Send { item, session: None }] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(item.route, route());
    assert!(item.text.contains("ada@laptop rides this thread"));

    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let acts = w.settle();
    let order: Vec<_> = acts.iter().map(name).collect();
    assert_eq!(order, ["prove", "show", "restore", "hand", "hand"]);
    let texts: Vec<_> = acts
        .iter()
        .filter_map(|a| if let Act::Hand { held, .. } = a { Some(held.text.as_str()) } else { None })
        .collect();
    assert_eq!(texts, ["one", "two"]);
    assert!(!w.t.closed());
}

// Rule INBOX-3.
#[test]
fn nothing_overtakes_what_waits() {
    let mut w = World::ridden_by("ada");
    w.says(1, "one");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    while w.t.phase_name() != "open" {
        for e in w.take() {
            w.done(e.op, fine(&e.act));
        }
    }
    assert_eq!(w.says(2, "two"), Reply::Hold, "the first is still being handed over");
}

#[test]
fn a_hand_over_that_failed_is_tried_again() {
    let mut w = World::ridden_by("ada");
    w.says(1, "one");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let mut tries = 0;
    for _ in 0..20 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Hand { .. } if tries == 0 => {
                    tries += 1;
                    Outcome::NotYet { what: "draining".into() }
                }
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
        w.wait(1_000);
    }
    assert!(w.t.inbox.is_empty());
    assert_eq!(tries, 1);
}

// Rule HAND-2.
#[test]
fn a_hand_over_of_unknown_outcome_is_repeated_once_marked_and_then_said() {
    let mut w = World::ridden_by("ada");
    w.says(1, "one");
    w.settle();
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let mut handed = Vec::new();
    let mut said = Vec::new();
    for _ in 0..60 {
        for e in w.take() {
            match &e.act {
                Act::Hand { held, .. } => {
                    handed.push(held.repeat);
                    w.done(e.op, Outcome::Unknown { what: "it failed after it began".into() });
                }
                Act::Send { item, .. } => {
                    said.push(item.text.clone());
                    w.done(e.op, fine(&e.act));
                }
                act => w.done(e.op, fine(act)),
            }
        }
        w.wait(1_000);
    }
    assert_eq!(handed, [false, true]);
    assert_eq!(said, ["⇄ Ada's message that waited could not be handled. Please send it again."]);
    assert!(!w.t.closed());
}

#[test]
fn an_old_performer_may_still_say_that_it_was_handled() {
    let mut w = World::ridden_by("ada");
    w.says(1, "one");
    w.settle();
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let op = loop {
        let effects = w.take();
        match effects.iter().find(|e| matches!(e.act, Act::Hand { .. })) {
            Some(hand) => break hand.op,
            None => effects.iter().for_each(|e| w.done(e.op, fine(&e.act))),
        }
    };
    let old = w.performer;
    w.crash();
    assert!(w.take().is_empty(), "not at once: it may be running");
    w.does(Event::Done { op, performer: old, outcome: Outcome::Ok });
    assert!(w.t.inbox.is_empty() && !w.t.closed());
}

// Rule HAND-2.
#[test]
fn a_message_the_host_will_not_take_does_not_hold_the_thread_for_ever() {
    let mut w = World::ridden_by("ada");
    w.says(1, "poison");
    w.says(2, "fine");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    for _ in 0..600 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Hand { held, .. } if held.text == "poison" => {
                    Outcome::Failed { what: "no".into(), reason: Reason::Host }
                }
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
        w.wait(1_000);
    }
    assert!(!w.t.closed());
}

// Rule GATE-2.
#[test]
fn commands_while_ridden() {
    for (text, want) in [
        ("/status", Some("read-only command")),
        ("/status@my_bot", Some("read-only command")),
        ("/WhoAmI", Some("read-only command")),
        ("/usage  cost", Some("read-only command")),
        ("/ride", Some("read-only command")),
        ("/usage", None),
        ("/status tell me a story", None),
        ("/status@my_bot now", None),
        ("/status: now", None),
        ("/new", None),
        ("/reset please", None),
        ("/model opus", None),
        ("/btw what is this", None),
        ("/no_such_command", None),
    ] {
        let mut w = World::ridden_by("ada");
        let reply = w.says(1, text);
        match want {
            Some(because) => assert_eq!(reply, Reply::Admit { because }, "{text}"),
            None => {
                assert_eq!(reply, Reply::Hold, "{text}");
                assert!(w.t.inbox.is_empty(), "{text} is never queued");
                let said = w.settle();
                let [Act::Send { item, .. }] = &said[..] else { panic!("{text}: {said:?}") };
                assert!(item.text.contains("is not possible now"), "{text}");
            }
        }
    }
    let mut w = World::ridden_by("ada");
    for (n, text) in ["/etc/passwd is a path", "/ alone", "1/2"].iter().enumerate() {
        w.says(n as u32, text);
        assert_eq!(w.t.inbox.len(), n + 1, "{text:?} is a message");
    }
}

// Rule GATE-3.
#[test]
fn what_does_not_come_through_a_channel_is_declined_not_kept() {
    let mut w = World::ridden_by("ada");
    let mut m = message("w1");
    m.route = None;
    let Reply::Decline { text } = w.does(Event::Message(Box::new(m))) else { panic!() };
    assert!(text.contains("send it again afterwards"));
    assert!(w.t.inbox.is_empty());
}

// Rule INBOX-2.
#[test]
fn a_full_inbox_tells_the_sender() {
    let mut w = World::ridden_by("ada");
    for n in 0..limits::INBOX_MESSAGES as u32 {
        w.says_as(&format!("s{}", n % 5), "Ada", n, "x");
    }
    w.settle();
    assert_eq!(w.says_as("last", "Last", 9_999, "one too many"), Reply::Hold);
    assert_eq!(w.t.inbox.len(), limits::INBOX_MESSAGES);
    let said = w.settle();
    let [Act::Send { item, .. }] = &said[..] else { panic!("{said:?}") };
    assert!(item.text.contains("Send yours again"), "{}", item.text);
    let mut w = World::ridden_by("ada");
    w.says(1, &"x".repeat(limits::HELD_BYTES + 1));
    assert!(w.t.inbox.is_empty());
}

// Rules INBOX-1, INBOX-8.
#[test]
fn messages_without_an_id_are_told_apart_and_a_repetition_is_known() {
    let unnamed = |w: &mut World, text: &str, run: u128, timed: bool| {
        let mut m = message(&format!("sms||C1|at:5|7|hash of {text}"));
        (m.text, m.unnamed) = (text.into(), Some(Unnamed { run: id(run), timed }));
        w.does(Event::Message(Box::new(m)));
        w.t.inbox.len()
    };
    let mut w = World::ridden_by("ada");
    // Of one millisecond, in one process.
    let held: Vec<usize> = ["one", "two", "two"].iter().map(|text| unnamed(&mut w, text, 1, true)).collect();
    assert_eq!(held, [1, 2, 3]);
    // The gateway was killed, and the channel brings all of them again, and one more.
    let held: Vec<usize> = ["one", "two", "two", "two"].iter().map(|text| unnamed(&mut w, text, 2, true)).collect();
    assert_eq!(held, [3, 3, 3, 4]);
    // A channel that does not say when: nothing is taken for a repetition.
    let held: Vec<usize> = [3, 3, 4].iter().map(|run| unnamed(&mut w, "later", *run, false)).collect();
    assert_eq!(held, [5, 6, 7]);
    let mut ids: Vec<&str> = w.t.inbox.iter().map(|held| held.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 7);
    for n in 0..1_000 {
        unnamed(&mut w, &format!("{n}"), 5, true);
    }
    assert_eq!(w.t.alike.len(), limits::ALIKE);
}

// Rule GATE-4.
#[test]
fn a_thread_bound_to_a_ridden_claude_session_is_held_too() {
    let mut w = World::new();
    let mut m = message("m1");
    m.behind = Some(Holder {
        name: "ada".into(),
        identity: None,
        host: "laptop".into(),
        since_ms: 0,
        expires_in_ms: 1,
        phase: "ridden".into(),
        waiting_for: None,
        acceptable: false,
    });
    assert_eq!(w.does(Event::Message(Box::new(m))), Reply::Hold);
    assert_eq!(w.t.inbox.len(), 1);
    let performer = w.performer;
    let Reply::Work { effects, .. } = w.does(Event::Take { performer, behind: true, flying: Vec::new() }) else {
        panic!()
    };
    assert!(effects.iter().all(|e| name(&e.act) == "send"), "not handed over while the other rides");
    for e in effects {
        w.done(e.op, fine(&e.act));
    }
    assert_eq!(w.settle().iter().map(name).collect::<Vec<_>>(), ["hand"]);
}

fn message(id: &str) -> Inbound {
    Inbound { id: id.into(), ..inbound("1001", "Ada", 1, "hello") }
}
