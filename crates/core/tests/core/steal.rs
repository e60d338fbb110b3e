//! Taking a thread over from another driver, and taking it back for the agent.

use ride_core::event::{Act, Event, Outcome, Reply};
use ride_core::id::Fence;
use ride_core::thread::Why;
use ride_core::view;
use ride_core::wire::{Reason, RelayKind};

use super::world::{World, id, item, name};

fn names(acts: &[Act]) -> Vec<&'static str> {
    acts.iter().map(name).filter(|n| *n != "send").collect()
}

fn refused(reply: &Reply) -> (Reason, &str, Option<&str>) {
    match reply {
        Reply::Refused { message, refusal } => (refusal.reason, message, refusal.holder.as_ref().map(|h| h.name.raw())),
        other => panic!("not refused: {other:?}"),
    }
}

fn renew(w: &mut World, fence: Fence, name: &str) -> Reply {
    w.does(Event::Renew { fence, secret_sha256: format!("secret of {name}"), claude: None, active: true })
}

/// The stage that proves it takes this driver's Claude Code for living, `times` times.
fn lives_on(w: &mut World, times: usize) {
    for _ in 0..times {
        let effects = w.take();
        assert!(effects.iter().any(|e| matches!(e.act, Act::Prove { .. })), "a proof is asked for");
        for e in effects {
            let lives = Outcome::NotYet { what: "process 30 still has the Claude session".into() };
            w.done(e.op, if matches!(e.act, Act::Prove { .. }) { lives } else { super::world::fine(&e.act) });
        }
        w.wait(1_000);
    }
}

// Rules LEASE-15, LEASE-13.
#[test]
fn a_thread_taken_over_passes_from_driver_to_driver_and_stays_closed() {
    let mut w = World::ridden_by("ada");
    let ada = w.fence();
    w.says(1, "hello?");
    assert!(matches!(w.claim("bob", 600), Reply::Refused { .. }), "not by a claim");
    let Reply::Claiming { fence: bob } = w.steal("bob", 601, 11) else { panic!("refused") };
    assert_eq!(bob.epoch, ada.epoch + 1);

    // Who lost it is told at once, by whom, and has nothing to say any more.
    assert_eq!(refused(&renew(&mut w, ada, "ada")), (Reason::Stale, "bob@laptop took the thread over", Some("bob")));
    let late = w.does(Event::Relay { fence: ada, items: vec![item("p1", RelayKind::Prompt)] });
    assert_eq!(refused(&late).0, Reason::Stale);
    assert_eq!(refused(&w.does(Event::Release { fence: ada, accept_broken: false })).0, Reason::Stale);
    assert_eq!(refused(&renew(&mut w, bob, "bob")).0, Reason::Stale, "and whoever takes it has not got it yet");

    // The same request again, after a lost answer.
    assert_eq!(w.steal("bob", 602, 11), Reply::Claiming { fence: bob });

    lives_on(&mut w, 3);
    assert!(w.t.closed() && w.t.phase_name() == "leaving", "while Claude Code of the one before lives, nobody has it");
    // The binding was parked all along: nothing of the agent's is touched.
    assert_eq!(names(&w.settle()), ["prove", "show", "prove", "mark"]);
    assert_eq!((w.t.phase_name(), w.fence()), ("ridden", bob));
    assert_eq!(w.t.inbox.len(), 1, "what waited waits for the next one");
    assert_eq!(renew(&mut w, bob, "bob"), Reply::Ok);
    assert_eq!(
        refused(&renew(&mut w, ada, "ada")),
        (Reason::Stale, "the thread is held by bob@laptop now", Some("bob"))
    );

    w.does(Event::Release { fence: bob, accept_broken: false });
    assert_eq!(names(&w.settle()), ["prove", "show", "restore", "hand"]);
}

// Rule RELAY-7.
#[test]
fn what_the_one_before_had_said_comes_first_and_under_its_name() {
    let mut w = World::ridden_by("ada");
    w.steal("bob", 601, 11);
    let mut sent = Vec::new();
    for _ in 0..50 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Show { .. } if w.t.heir().is_some() => Outcome::Shown {
                    turns: vec![item("p1", RelayKind::Prompt), item("a1", RelayKind::Answer)],
                    beside: Vec::new(),
                },
                Act::Send { item, .. } => {
                    sent.push(item.text.clone());
                    super::world::fine(&e.act)
                }
                act => super::world::fine(act),
            };
            w.done(e.op, outcome);
        }
    }
    let bob = w.fence();
    w.does(Event::Relay { fence: bob, items: vec![item("p2", RelayKind::Prompt)] });
    for act in w.settle() {
        if let Act::Send { item, .. } = act {
            sent.push(item.text);
        }
    }
    assert_eq!(
        sent,
        [
            "⇄ bob@laptop takes this thread over from ada@laptop.",
            "🖥 ada: text of p1",
            "text of a1",
            "🖥 bob: text of p2"
        ]
    );
}

// Rule LEASE-15.
#[test]
fn whoever_waits_too_long_or_goes_leaves_the_thread_to_the_agent() {
    type Way = fn(&mut World, Fence);
    let ways: [(&str, Way); 4] = [
        ("gave up waiting: process 30 still has the Claude session", |w, _| w.wait(5_000)),
        ("it was given up while it waited", |w, fence| drop(w.does(Event::Dropped { fence }))),
        ("it was given up while it waited", |w, fence| drop(w.does(Event::Release { fence, accept_broken: false }))),
        ("it was given up while it waited", |w, _| {
            w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false });
        }),
    ];
    for (expected, way) in ways {
        let mut w = World::ridden_by("ada");
        let Reply::Claiming { fence } = w.steal("bob", 601, 11) else { panic!("refused") };
        lives_on(&mut w, 1);
        way(&mut w, fence);
        lives_on(&mut w, 1);
        assert!(w.t.heir().is_none(), "{expected}");
        let last = w.t.last.as_ref().expect("told why");
        assert_eq!(
            (&last.fence, &last.why),
            (&fence, &Why::Failed { reason: Reason::Held.into(), text: expected.into() })
        );
        w.wait(10_000);
        assert_eq!(names(&w.settle()), ["prove", "show", "restore"], "{expected}");
        assert_eq!(w.t.phase_name(), "open");
    }
}

// Rule LEASE-15.
#[test]
fn one_takes_over_at_a_time() {
    let mut w = World::ridden_by("ada");
    w.steal("bob", 601, 11);
    let reply = w.steal("eve", 602, 12);
    assert_eq!(refused(&reply), (Reason::Held, "the thread is being taken over by bob@laptop", Some("bob")));
    w.settle();
    assert_eq!(w.t.lease().unwrap().driver.name, "bob");
    // And an agent that is only just being seen off is not raced for.
    let mut w = World::new();
    w.claim("ada", 500);
    assert_eq!(
        refused(&w.steal("bob", 601, 11)),
        (Reason::Held, "the thread is being claimed by ada@laptop", Some("ada"))
    );
    // What is coming back may be taken on the way.
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    assert!(matches!(w.steal("bob", 601, 11), Reply::Claiming { .. }));
    assert_eq!(names(&w.settle()), ["prove", "show", "prove", "mark"]);
}

// Rule LEASE-16.
#[test]
fn a_thread_taken_back_is_the_agents_once_the_driver_is_seen_off() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.says(1, "hello?");
    assert_eq!(w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false }), Reply::Ok);
    assert_eq!(refused(&renew(&mut w, fence, "ada")).1, "Tess took the thread back");
    lives_on(&mut w, 2);
    assert!(w.t.closed());
    assert_eq!(names(&w.settle()), ["prove", "show", "restore", "hand"]);
    assert!(w.t.journal.iter().any(|line| line.what == "Tess takes the thread back"));
    let again = w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false });
    assert_eq!(refused(&again).1, "nobody rides this thread");

    // A claim under way ends, and what it had parked returns.
    let mut w = World::new();
    w.claim("ada", 500);
    for _ in 0..3 {
        let effects = w.take();
        effects.iter().for_each(|e| w.done(e.op, super::world::fine(&e.act)));
    }
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false });
    w.settle();
    assert_eq!(w.t.phase_name(), "open");
    assert!(matches!(&w.t.last.as_ref().unwrap().why, Why::Failed { .. }));

    // Also where its last stage is under way, which would grant it.
    let mut w = World::new();
    w.claim("ada", 500);
    loop {
        let effects = w.take();
        if let Some(mark) = effects.iter().find(|e| matches!(e.act, Act::Mark { .. })) {
            w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false });
            w.done(mark.op, super::world::fine(&mark.act));
            break;
        }
        effects.iter().for_each(|e| w.done(e.op, super::world::fine(&e.act)));
    }
    assert_eq!(names(&w.settle()), ["restore"]);
    let last = w.t.last.as_ref().unwrap();
    assert_eq!(last.why, Why::Failed { reason: Reason::Held.into(), text: "Tess took the thread back".into() });

    // And nobody takes over what a person takes back.
    let mut w = World::ridden_by("ada");
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: true });
    assert_eq!(refused(&w.steal("bob", 601, 11)).0, Reason::Held);
    let broken = |act: &Act| match act {
        Act::Prove { .. } => Outcome::Broken { what: "of another machine".into() },
        act => super::world::fine(act),
    };
    for _ in 0..3 {
        w.take().iter().for_each(|e| w.done(e.op, broken(&e.act)));
        w.wait(1_000);
    }
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: true });
    w.take();
    assert_eq!(w.t.phase_name(), "leaving", "a driver that may still act is not accepted away");

    // Where the chain cannot be shown, a person may say that it is well.
    let mut w = World::ridden_by("ada");
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false });
    for _ in 0..3 {
        for e in w.take() {
            let outcome = if matches!(e.act, Act::Show { .. }) {
                Outcome::Broken { what: "two leaves".into() }
            } else {
                super::world::fine(&e.act)
            };
            w.done(e.op, outcome);
        }
    }
    assert!(view::acceptable(&w.t));
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: true });
    w.settle();
    assert_eq!(w.t.phase_name(), "open");
}

// Rule LEASE-15.
#[test]
fn a_chat_ride_is_taken_over_once_its_turn_has_ended() {
    let mut w = World { chat: true, ..World::new() };
    w.claim("ada", 500);
    w.settle();
    let ada = w.fence();
    w.does(Event::Say { fence: ada, id: "one".into(), text: "hello".into() });
    w.sends("one", "hello");
    w.steal("bob", 601, 11);
    assert_eq!(w.t.phase_name(), "leaving", "the agent still answers");
    w.settle();
    assert_eq!((w.t.phase_name(), w.t.lease().unwrap().driver.name.as_str()), ("ridden", "bob"));
    assert_eq!(refused(&w.does(Event::Say { fence: ada, id: "two".into(), text: "hello".into() })).0, Reason::Stale);
    let bob = w.fence();
    assert!(matches!(w.does(Event::Say { fence: bob, id: "three".into(), text: "hello".into() }), Reply::Said { .. }));
    assert_eq!(w.t.lease().unwrap().fence.grant, id(601));
}
