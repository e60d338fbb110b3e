//! The order of a ride, and every way it ends.

use ride_core::event::{Act, Effect, Event, Outcome, Reply};
use ride_core::limits;
use ride_core::thread::Why;
use ride_core::wire::{Reason, RelayItem, RelayKind};
use uuid::Uuid;

use serde_json::json;

use super::world::{SESSION, World, fine, id, item, name, route};

fn names(acts: &[Act]) -> Vec<&'static str> {
    acts.iter().map(name).collect()
}

fn refused(reply: &Reply) -> Reason {
    match reply {
        Reply::Refused { refusal, .. } => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

// Rules LEASE-3, LEASE-8.
#[test]
fn claim_sees_the_agent_off_in_order_and_release_the_driver() {
    let mut w = World::new();
    assert!(matches!(w.claim("ada", 500), Reply::Claiming { .. }));
    assert!(w.t.closed(), "the gate closes before anything else");
    assert_eq!(names(&w.settle()), ["settle", "end child", "copy", "park", "acknowledge", "prove", "mark"]);
    assert_eq!(w.t.phase_name(), "ridden");

    let fence = w.fence();
    assert_eq!(w.does(Event::Release { fence, accept_broken: false }), Reply::Ok);
    assert_eq!(names(&w.settle()), ["prove", "show", "restore"]);
    assert_eq!(w.t.phase_name(), "open");
    assert!(!w.t.closed());
    assert_eq!(w.does(Event::Release { fence, accept_broken: false }), Reply::Ok, "asked again after a lost answer");
}

#[test]
fn a_child_that_came_back_is_ended_again_and_the_first_binding_kept() {
    let mut w = World::new();
    w.claim("ada", 500);
    let mut seen = Vec::new();
    let mut proofs = 0;
    while w.t.phase_name() == "claiming" {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Prove { .. } if proofs == 0 => {
                    proofs += 1;
                    Outcome::ChildAgain
                }
                Act::Copy { .. } if seen.contains(&"copy") => Outcome::Copied { bindings: Vec::new() },
                act => fine(act),
            };
            seen.push(name(&e.act));
            w.done(e.op, outcome);
        }
    }
    assert_eq!(
        seen,
        [
            "settle",
            "end child",
            "copy",
            "park",
            "acknowledge",
            "prove",
            "settle",
            "end child",
            "copy",
            "park",
            "acknowledge",
            "prove",
            "mark"
        ]
    );
    assert_eq!(w.t.lease().unwrap().parked.len(), 1);
}

// Rule LEASE-5.
#[test]
fn a_second_driver_is_told_who_has_it_and_the_same_one_gets_the_same_fence() {
    let mut w = World::ridden_by("ada");
    let Reply::Refused { message, refusal } = w.claim("bob", 501) else { panic!() };
    assert_eq!(message, "the thread is ridden by ada@laptop");
    assert_eq!(refusal.reason, Reason::Held);
    // Who, from where, since when, until when.
    let holder = refusal.holder.unwrap();
    let lease = w.t.lease().unwrap();
    assert_eq!((holder.name.raw(), holder.host.raw(), holder.phase.raw()), ("ada", "laptop", "ridden"));
    assert_eq!(holder.since_ms, lease.since_ms);
    assert!((1..=ride_core::limits::LEASE_MS).contains(&holder.expires_in_ms), "{holder:?}");
    let fence = w.fence();
    assert_eq!(w.claim("ada", 502), Reply::Claiming { fence });
}

#[test]
fn a_running_turn_is_waited_for_and_given_up_on() {
    let mut w = World::new();
    w.claim("ada", 500);
    for _ in 0..100 {
        for e in w.take() {
            assert_eq!(name(&e.act), "settle");
            w.done(e.op, Outcome::NotYet { what: "a turn is running".into() });
        }
        w.wait(100);
    }
    assert_eq!(w.t.phase_name(), "open");
    let Some(last) = &w.t.last else { panic!() };
    assert_eq!(
        last.why,
        Why::Failed { reason: Reason::TurnRunning.into(), text: "gave up waiting: a turn is running".into() }
    );
}

// Rule LEASE-4.
#[test]
fn a_claim_that_fails_after_parking_restores() {
    let mut w = World::new();
    w.claim("ada", 500);
    let mut seen = Vec::new();
    while w.t.closed() {
        for e in w.take() {
            seen.push(name(&e.act));
            let outcome = match &e.act {
                Act::Mark { .. } => Outcome::Failed { what: "no transcript".into(), reason: Reason::Transcript },
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
    }
    assert_eq!(seen, ["settle", "end child", "copy", "park", "acknowledge", "prove", "mark", "restore"]);
}

#[test]
fn a_claim_waits_for_a_message_being_handed_over() {
    let mut w = World::ridden_by("ada");
    w.says(1, "one");
    w.settle();
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let hand = loop {
        let effects = w.take();
        match effects.iter().find(|e| matches!(e.act, Act::Hand { .. })) {
            Some(hand) => break hand.op,
            None => effects.iter().for_each(|e| w.done(e.op, fine(&e.act))),
        }
    };
    assert!(matches!(w.claim("bob", 501), Reply::Claiming { .. }));
    assert!(w.settle().is_empty(), "nothing before the handed turn is over");
    w.done(hand, Outcome::Ok);
    assert_eq!(names(&w.settle())[0], "settle");
}

#[test]
fn a_thread_that_lost_its_binding_while_the_claim_waited_is_not_ridden() {
    let mut w = World::new();
    w.claim("ada", 500);
    while w.t.phase_name() == "claiming" {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Copy { .. } => Outcome::Copied { bindings: Vec::new() },
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
    }
    assert_eq!(w.t.phase_name(), "open");
    assert!(
        matches!(&w.t.last.as_ref().unwrap().why, Why::Failed { reason, .. } if Reason::from(reason) == Reason::NotRideable)
    );
}

// Rule LEASE-10.
#[test]
fn a_driver_that_died_comes_back_once_its_claude_is_gone() {
    let mut w = World::ridden_by("ada");
    let first = w.fence();
    let Reply::Claiming { fence } = w.claim_from("ada", 501, 11) else { panic!() };
    assert_eq!(fence.epoch, first.epoch + 1);
    let stale = w.does(Event::Relay { fence: first, items: vec![item("x", RelayKind::Prompt)] });
    assert_eq!(refused(&stale), Reason::Stale);
    let [prove] = &w.take()[..] else { panic!() };
    assert_eq!(name(&prove.act), "prove");
    w.done(prove.op, Outcome::NotYet { what: "its old Claude lives".into() });
    assert_eq!(w.t.phase_name(), "leaving", "it waits for its own");
    w.wait(300);
    let mut acts = Vec::new();
    let said = |act: &Act| match act {
        Act::Show { .. } => Outcome::Shown { turns: vec![item("a1", RelayKind::Answer)], beside: Vec::new() },
        act => fine(act),
    };
    while w.t.phase_name() != "ridden" {
        for e in w.take() {
            w.done(e.op, said(&e.act));
            acts.push(name(&e.act));
        }
    }
    // What it had said when it died stands in the thread before what it says now.
    assert_eq!(acts, ["prove", "show", "prove", "send", "mark"]);
    assert_eq!(w.t.lease().unwrap().parked.len(), 1, "still parked");
}

#[test]
fn an_acknowledgement_that_could_not_be_stored_is_an_unknown_outcome() {
    let mut w = World::new();
    w.claim("ada", 500);
    assert_eq!(w.take().len(), 1);
    assert!(w.take().is_empty(), "it is under way");
    w.flying.clear();
    assert_eq!(w.take().len(), 1, "it is not any more");
}

// Rule RELAY-1.
#[test]
fn a_ride_of_more_turns_than_ids_are_kept_is_not_sent_again() {
    let mut w = World::ridden_by("ada");
    w.disk = false;
    let fence = w.fence();
    let turns: Vec<_> = (0..1_500).map(|n| item(&format!("t{n}"), RelayKind::Answer)).collect();
    for chunk in turns.chunks(30) {
        w.does(Event::Relay { fence, items: chunk.to_vec() });
        w.settle();
    }
    w.does(Event::Release { fence, accept_broken: false });
    let mut sent = 0;
    while w.t.closed() {
        for e in w.take() {
            sent += usize::from(matches!(e.act, Act::Send { .. }));
            let outcome = match &e.act {
                Act::Show { .. } => Outcome::Shown { turns: turns.clone(), beside: vec!["t3".into()] },
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
    }
    assert_eq!(sent, 0);
}

// Rules RELAY-1, RELAY-2.
#[test]
fn relays_are_sent_once_in_order_and_a_stale_fence_sends_nothing() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    let items = vec![item("p1", RelayKind::Prompt), item("a1", RelayKind::Answer)];
    w.does(Event::Relay { fence, items: items.clone() });
    w.does(Event::Relay { fence, items: [items, vec![item("p2", RelayKind::Prompt)]].concat() });
    let texts: Vec<String> = w
        .settle()
        .into_iter()
        .filter_map(|a| match a {
            Act::Send { item, .. } => Some(item.text),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["🖥 ada: text of p1", "text of a1", "🖥 ada: text of p2"]);

    let mut old = fence;
    old.grant = id(9);
    let reply = w.does(Event::Relay { fence: old, items: vec![item("x", RelayKind::Prompt)] });
    assert_eq!(refused(&reply), Reason::Stale);
    assert!(w.t.outbox.is_empty());
}

// Rule RELAY-3.
#[test]
fn an_unknown_outcome_is_repeated_once_and_marked() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Relay { fence, items: vec![item("p1", RelayKind::Prompt)] });
    let mut texts = Vec::new();
    for _ in 0..20 {
        for e in w.take() {
            if let Act::Send { item, .. } = &e.act {
                texts.push(item.text.clone());
            }
            // The performer is gone before it can say what came of it.
        }
        w.crash();
        w.wait(2_000);
    }
    assert_eq!(texts, ["🖥 ada: text of p1", "(may be a repeat) 🖥 ada: text of p1"]);
    assert_eq!(w.t.undelivered.len(), 1, "and it is not forgotten");
}

// Rule RELAY-4.
#[test]
fn a_refused_send_is_tried_again_with_the_pause_the_channel_asked_for() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Relay { fence, items: vec![item("p1", RelayKind::Prompt)] });
    let [e] = &w.take()[..] else { panic!() };
    w.done(e.op, Outcome::NotSent { what: "429".into(), retry: true, after_ms: Some(7_000) });
    assert!(w.take().is_empty());
    w.wait(7_000);
    assert_eq!(w.take().len(), 1);
}

// Rule RELAY-8.
#[test]
fn a_changed_route_stops_the_relay_and_tells_the_driver() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Relay { fence, items: vec![item("p1", RelayKind::Prompt)] });
    let [e] = &w.take()[..] else { panic!() };
    w.done(e.op, Outcome::RouteChanged { to: "telegram:other".into() });
    assert!(w.t.lease().unwrap().relay_stopped.is_some());
    assert_eq!(w.t.undelivered.len(), 1);
}

// Rules LEASE-6, LEASE-7, LEASE-9.
#[test]
fn silence_a_lost_lease_and_a_dead_driver_end_a_ride() {
    for (what, ms, why) in [("lease", 60_000, Why::Expired), ("silence", 30 * 60_000, Why::Silent)] {
        let mut w = World::ridden_by("ada");
        let fence = w.fence();
        let mut left = ms;
        while left > 0 {
            let step = left.min(5_000);
            w.wait(step);
            left -= step;
            if what == "silence" && left > 0 {
                let reply =
                    w.does(Event::Renew { fence, secret_sha256: "secret of ada".into(), claude: None, active: false });
                assert_eq!(reply, Reply::Ok);
            }
        }
        w.take();
        assert_eq!(w.t.phase_name(), "leaving", "{what}");
        let reply = w.does(Event::Relay { fence, items: vec![item("late", RelayKind::Prompt)] });
        assert_eq!(refused(&reply), Reason::Stale);
        w.settle();
        assert_eq!(w.t.phase_name(), "leaving", "the proof is still in flight with the first take");
        w.crash();
        w.settle();
        assert_eq!(w.t.last.as_ref().unwrap().why, why);
    }

    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Dropped { fence });
    let [probe] = &w.take()[..] else { panic!() };
    w.done(probe.op, Outcome::Gone);
    w.settle();
    assert_eq!(w.t.last.as_ref().unwrap().why, Why::Gone);
}

#[test]
fn a_driver_is_told_no_longer_than_silence_leaves_it() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.rules.silence_ms = 60_000;
    w.wait(40_000);
    w.does(Event::Renew { fence, secret_sha256: "secret of ada".into(), claude: None, active: false });
    let told = ride_core::view::renewed(&w.t, w.now, &w.rules).unwrap().expires_in_ms;
    assert_eq!(told, 20_000, "it would start Claude Code, or let a prompt in, after the thread was given back");
    w.wait(told);
    w.take();
    assert_eq!(w.t.phase_name(), "leaving");
}

// Rules LEASE-9, LEASE-10.
#[test]
fn a_driver_that_returns_keeps_its_thread_and_a_wrong_secret_does_not() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Dropped { fence });
    let [probe] = &w.take()[..] else { panic!() };
    let op = probe.op;
    let wrong = w.does(Event::Renew { fence, secret_sha256: "guess".into(), claude: None, active: false });
    assert_eq!(refused(&wrong), Reason::Stale);
    w.does(Event::Renew { fence, secret_sha256: "secret of ada".into(), claude: None, active: false });
    w.done(op, Outcome::Gone);
    assert_eq!(w.t.phase_name(), "ridden", "a late search result does not end a ride that was heard of since");
}

#[test]
fn a_search_that_ends_after_the_release_changes_nothing() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Dropped { fence });
    let [probe] = &w.take()[..] else { panic!() };
    let op = probe.op;
    w.does(Event::Release { fence, accept_broken: false });
    w.done(op, Outcome::Gone);
    assert_eq!(w.t.phase_name(), "leaving", "the binding is still parked");
}

// Rule LEASE-6.
#[test]
fn a_restart_of_the_machine_gives_a_lease_its_time_again() {
    let mut w = World::ridden_by("ada");
    w.now.boot = 2;
    w.now.mono_ms = 5_000;
    w.take();
    assert_eq!(w.t.phase_name(), "ridden");
    w.wait(60_000);
    w.take();
    assert_eq!(w.t.phase_name(), "leaving");
}

// Rule HAND-3.
#[test]
fn a_broken_chain_keeps_the_thread_closed_until_it_is_accepted() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    for _ in 0..5 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Show { .. } => Outcome::Broken { what: "line 9 hangs outside".into() },
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
        w.wait(300);
    }
    assert_eq!(w.t.phase_name(), "leaving");
    assert_eq!(ride_core::view::waiting_for(&w.t).as_deref(), Some("line 9 hangs outside"));
    w.does(Event::Release { fence, accept_broken: true });
    let acts = w.settle();
    assert_eq!(names(&acts), ["restore"]);
    assert_eq!(w.t.phase_name(), "open");
}

#[test]
fn a_prompt_nobody_reported_beside_the_chain_keeps_the_thread_closed() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    for _ in 0..3 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Show { .. } => Outcome::Shown { turns: Vec::new(), beside: vec!["stranger".into()] },
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
        w.wait(300);
    }
    assert_eq!(w.t.phase_name(), "leaving");
    assert!(ride_core::view::waiting_for(&w.t).is_some_and(|what| what.contains("did not send")));
}

// Rule RELAY-7.
#[test]
fn what_a_crash_kept_from_the_thread_is_taken_from_the_transcript() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Relay { fence, items: vec![item("p1", RelayKind::Prompt)] });
    w.settle();
    w.does(Event::Release { fence, accept_broken: false });
    let mut sent = Vec::new();
    while w.t.closed() {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Show { .. } => Outcome::Shown {
                    turns: vec![item("p1", RelayKind::Prompt), item("a1", RelayKind::Answer)],
                    beside: vec!["p1".into()],
                },
                act => fine(act),
            };
            if let Act::Send { item, .. } = &e.act {
                assert_eq!(item.route, route());
                sent.push(item.id.clone());
            }
            w.done(e.op, outcome);
        }
    }
    assert_eq!(sent, ["a1"]);
}

// Rule HAND-4.
#[test]
fn a_turn_that_slipped_through_is_announced_before_its_binding_goes() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let (mut sent, mut restores) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Restore { over, .. } => {
                    restores.push((*over, sent.len()));
                    if *over { Outcome::Ok } else { Outcome::Slipped { sessions: vec!["other".into()] } }
                }
                act => fine(act),
            };
            if let Act::Send { item, .. } = &e.act {
                sent.push(item.text.clone());
            }
            w.done(e.op, outcome);
        }
    }
    assert!(matches!(&sent[..], [one] if one.contains("ran a turn beside it")), "{sent:?}");
    assert!(matches!(restores[..], [(false, 0), (true, _)]), "{restores:?}");
    assert!(!w.t.closed());
}

// Rule HAND-5.
#[test]
fn a_patch_that_nobody_waits_for_counts_as_ended_behind_an_empty_one() {
    use ride_core::view::in_flight;
    let mut w = World::new();
    w.claim("ada", 500);
    let park = loop {
        let effect = w.take().remove(0);
        if matches!(effect.act, Act::Park { .. }) {
            break effect.op;
        }
        w.done(effect.op, fine(&effect.act));
    };
    let first = w.performer;
    assert!(in_flight(&w.t, park, first) && !in_flight(&w.t, park + 1, first));
    // Its performer stops; the driver goes, and the claim is to be given up.
    w.crash();
    let effects = w.take();
    assert!(
        matches!(&effects[..], [Effect { act: Act::Barrier { sessions }, .. }] if sessions == &[SESSION]),
        "{effects:?}"
    );
    assert!(!in_flight(&w.t, park, first), "the late patch declines");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    w.done(effects[0].op, Outcome::NotYet { what: "no answer within 60 s".into() });
    assert!(w.take().is_empty() && w.t.phase_name() == "claiming", "nothing goes on before the empty patch is through");
    w.wait(1_000);
    assert_eq!(names(&w.settle()), ["barrier", "restore"]);
    assert_eq!(w.t.phase_name(), "open");
}

// Rule HAND-5.
#[test]
fn a_patch_of_which_nobody_can_tell_is_followed_by_an_empty_one() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    loop {
        let effect = w.take().remove(0);
        if matches!(effect.act, Act::Restore { .. }) {
            w.done(effect.op, Outcome::Unknown { what: "no answer within 60 s".into() });
            break;
        }
        w.done(effect.op, fine(&effect.act));
    }
    w.wait(1_000);
    assert_eq!(names(&w.settle()), ["barrier", "restore"]);
    assert_eq!(w.t.phase_name(), "open");
}

// Rule LEASE-4.
#[test]
fn only_what_was_copied_is_taken_out() {
    let mut w = World::new();
    w.claim("ada", 500);
    if let ride_core::thread::Phase::Claiming { lease, .. } = &mut w.t.phase {
        lease.twins.push("twin".into());
    }
    loop {
        let effect = w.take().remove(0);
        let outcome = match &effect.act {
            // The twin is not bound at this moment; it may be again when the bindings are taken out.
            Act::Copy { .. } => Outcome::Copied {
                bindings: vec![ride_core::thread::Parked {
                    session: SESSION.into(),
                    binding: json!({}),
                    reset_mark: String::new(),
                }],
            },
            Act::Park { sessions, .. } => {
                assert_eq!(sessions, &[SESSION]);
                return;
            }
            act => fine(act),
        };
        w.done(effect.op, outcome);
    }
}

// Rule LEASE-3.
#[test]
fn a_claim_waits_for_what_another_gateway_has_let_in() {
    let mut w = World::new();
    w.claim("ada", 500);
    let waits = Outcome::NotYet { what: "the gateway of /other has not let go".into() };
    let mut looks = 0;
    while w.t.phase_name() == "claiming" {
        w.wait(250);
        for effect in w.take() {
            assert!(!matches!(effect.act, Act::Prove { .. }), "nothing is proven before every gateway has let go");
            let here = matches!(effect.act, Act::Acknowledge { .. });
            looks += u32::from(here);
            w.done(effect.op, if here { waits.clone() } else { fine(&effect.act) });
        }
    }
    assert!(looks > 3);
    w.settle();
    let why = w.t.last.clone().unwrap().why;
    let Why::Failed { reason, text } = why else { panic!("{why:?}") };
    assert_eq!(
        (Reason::from(&reason), text.as_str()),
        (Reason::TurnRunning, "gave up waiting: the gateway of /other has not let go")
    );
    assert_eq!(w.t.phase_name(), "open");
}

// Rule LEASE-3.
#[test]
fn what_a_turn_past_the_gate_has_bound_again_is_parked_again() {
    let mut w = World::new();
    w.claim("ada", 500);
    let (mut seen, mut ran) = (Vec::new(), false);
    while w.t.phase_name() == "claiming" {
        for effect in w.take() {
            seen.push(name(&effect.act));
            let again = matches!(effect.act, Act::Acknowledge { .. }) && !std::mem::replace(&mut ran, true);
            w.done(effect.op, if again { Outcome::ChildAgain } else { fine(&effect.act) });
        }
    }
    let round = ["settle", "end child", "copy", "park", "acknowledge"];
    assert_eq!(seen, [&round[..], &round[..], &["prove", "mark"]].concat());
}

/// Ends a ride whose transcript has these turns, `batch` of them read at once; the messages that were sent.
fn ends_with_turns(turns: &[RelayItem], batch: usize) -> (World, Vec<String>) {
    let mut w = World::ridden_by("ada");
    w.disk = false;
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let mut sent = Vec::new();
    let mut most = 0;
    for _ in 0..20_000 {
        if !w.t.closed() && w.t.outbox.is_empty() {
            assert!(most < 2 * 1024 * 1024, "a state of {most} bytes");
            return (w, sent);
        }
        for e in w.take() {
            let outcome = match &e.act {
                Act::Show { after, .. } => {
                    let rest = after.as_ref().map_or(0, |id| 1 + turns.iter().position(|turn| turn.id == *id).unwrap());
                    let next = turns[rest..].iter().take(batch).cloned().collect();
                    let beside = Vec::new();
                    if turns.len() - rest > batch {
                        Outcome::ShownPart { turns: next, beside }
                    } else {
                        Outcome::Shown { turns: next, beside }
                    }
                }
                Act::Send { item, .. } => {
                    sent.push(item.text.clone());
                    fine(&e.act)
                }
                act => fine(act),
            };
            w.done(e.op, outcome);
            assert!(w.t.outbox.len() < limits::OUTBOX_MESSAGES + 100, "{} wait", w.t.outbox.len());
        }
        if sent.len() % 50 == 0 {
            most = most.max(serde_json::to_vec(&w.t).unwrap().len());
        }
    }
    panic!("the thread is not handed back: {:?}", w.t.phase);
}

// Rules RELAY-7, RELAY-10.
#[test]
fn turns_of_the_transcript_are_taken_over_in_batches_with_the_bounds_of_a_relay() {
    let answer = |n: usize| RelayItem {
        id: Uuid::from_u128(n as u128).to_string(),
        kind: RelayKind::Answer,
        text: format!("{n} {}", "x".repeat(9_000)),
    };
    let turns: Vec<_> = (0..1_200).map(answer).collect();
    for batch in [1, 40, 2_000] {
        let (w, sent) = ends_with_turns(&turns, batch);
        assert_eq!(sent.len(), 3 * turns.len(), "in batches of {batch}");
        let firsts: Vec<usize> = sent.iter().filter_map(|text| text.split_once(' ')?.0.parse().ok()).collect();
        assert_eq!(firsts, (0..1_200).collect::<Vec<_>>(), "in batches of {batch}");
        assert_eq!(w.t.undelivered(), 0);
    }
}

// Rule RELAY-10.
#[test]
fn a_turn_over_the_bound_is_counted_and_the_thread_is_told() {
    let long = |n: u128| RelayItem {
        id: Uuid::from_u128(n).to_string(),
        kind: RelayKind::Answer,
        text: "y".repeat(limits::RELAY_BYTES + 1),
    };
    let mut turns: Vec<_> = (0..40).map(long).collect();
    turns.push(RelayItem { id: "last".into(), kind: RelayKind::Answer, text: "the last answer".into() });
    let (w, sent) = ends_with_turns(&turns, 50);
    assert_eq!(w.t.undelivered(), 40, "all are counted, though {} are remembered", w.t.undelivered.len());
    assert!(sent.iter().any(|text| text.starts_with("⇄ An answer of more than 256 KiB is not shown here")), "{sent:?}");
    assert!(sent.iter().any(|text| text == "the last answer"), "{sent:?}");
    assert!(w.t.journal.iter().any(|line| line.what.contains("was not delivered: it is longer than 256 KiB")));
}

// Rule RELAY-10.
#[test]
fn a_relay_takes_over_a_bounded_text_at_once() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    let big =
        |id: &str| RelayItem { id: id.into(), kind: RelayKind::Answer, text: "x".repeat(limits::RELAY_BYTES - 10) };
    let items = vec![big("a"), big("b"), big("c")];
    assert_eq!(w.does(Event::Relay { fence, items: items.clone() }), Reply::Relayed { accepted: vec!["a".into()] });
    assert_eq!(w.does(Event::Relay { fence, items }), Reply::Relayed { accepted: vec!["a".into(), "b".into()] });
}
