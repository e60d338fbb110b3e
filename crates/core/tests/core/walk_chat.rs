//! Random walks of chat rides: prompts said, sent, sent twice or by somebody else, turns
//! that end or vanish, drivers and gateways that die. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};

use ride_core::event::{Act, Effect, Ending, Event, Outcome, Reply};
use ride_core::thread::{Kind, Phase};
use ride_core::wire::SayState;

use super::walk::Dice;
use super::world::{World, fine};

/// What the outside has seen.
#[derive(Default)]
struct Seen {
    /// How often the agent ran each prompt.
    ran: BTreeMap<String, usize>,
    /// Prompts said while the fence was in force.
    said: BTreeSet<String>,
    /// What the thread was shown, in order; repeats left out.
    shown: Vec<String>,
    repeats: usize,
    unknown: usize,
    held: BTreeSet<String>,
    handed: BTreeMap<String, usize>,
}

fn happens(w: &World, act: &Act, seen: &mut Seen, seed: u64) {
    match act {
        Act::Send { item, .. } if item.kind != Kind::Notice || item.id.ends_with("/end") => {
            seen.repeats += usize::from(item.repeat);
            if !seen.shown.contains(&item.id) {
                seen.shown.push(item.id.clone());
            }
        }
        Act::Hand { held, .. } => {
            let runs = w.t.lease().and_then(|lease| lease.said.as_ref()).is_some_and(|said| said.begun);
            assert!(!runs, "seed {seed}: a message is handed over beside the driver's turn");
            *seen.handed.entry(held.id.clone()).or_default() += 1;
        }
        Act::Park { .. }
        | Act::Acknowledge { .. }
        | Act::Restore { .. }
        | Act::Prove { .. }
        | Act::Mark { .. }
        | Act::Show { .. }
        | Act::EndChild { .. }
        | Act::Copy { .. } => {
            panic!("seed {seed}: a chat ride touches no Claude session: {act:?}");
        }
        _ => {}
    }
}

fn walk(seed: u64) {
    let mut dice = Dice(seed);
    let mut w = World::new();
    w.chat = true;
    w.disk = seed.is_multiple_of(10);
    let mut seen = Seen::default();
    let mut flying: Vec<Effect> = Vec::new();
    for n in 0..400_u64 {
        match dice.roll(14) {
            0 => {
                let (name, pid) = if dice.roll(2) == 0 { ("ada", 10 + dice.roll(2)) } else { ("bob", 20) };
                w.claim_from(name, u128::from(seed) << 32 | u128::from(n), pid as u32);
            }
            1 => {
                if w.says(n as u32, "x") == Reply::Hold {
                    seen.held.insert(format!("m{n}"));
                }
            }
            2..=4 => {
                if let Phase::Ridden { lease } = &w.t.phase {
                    let fence = lease.fence;
                    let id = format!("p{}", n / 5);
                    if w.does(Event::Say { fence, id: id.clone(), text: "x".into() })
                        == (Reply::Said { state: SayState::Said })
                    {
                        seen.said.insert(id);
                    }
                }
            }
            5 | 6 => {
                // Late, twice, or by somebody else.
                let id = if dice.roll(5) == 0 {
                    "stranger".into()
                } else {
                    format!("p{}", n / 5 - dice.roll(n / 5 + 1).min(2))
                };
                if w.t.closed() && matches!(w.sends(&id, "x"), Reply::Admit { .. }) {
                    *seen.ran.entry(id).or_default() += 1;
                }
            }
            7 => {
                if let Some(fence) = w.t.lease().map(|l| l.fence) {
                    let event = if dice.roll(2) == 0 {
                        Event::Dropped { fence }
                    } else {
                        Event::Release { fence, accept_broken: false }
                    };
                    w.does(event);
                }
            }
            8 => w.wait(dice.roll(3) * 900 + 1),
            9 if dice.roll(4) == 0 => {
                for e in flying.drain(..) {
                    if dice.roll(2) == 0 {
                        happens(&w, &e.act, &mut seen, seed);
                    }
                    seen.unknown += usize::from(matches!(e.act, Act::Send { .. } | Act::Hand { .. }));
                }
                w.crash();
            }
            10..=13 if !flying.is_empty() => {
                let e = flying.remove(dice.roll(flying.len() as u64) as usize);
                let outcome = match (&e.act, dice.roll(6)) {
                    (Act::Settle { .. } | Act::Follow { .. } | Act::Hand { .. }, 0) => {
                        Outcome::NotYet { what: "busy".into() }
                    }
                    (Act::Follow { .. }, 1) => Outcome::Answered { how: Ending::Lost, text: String::new() },
                    (Act::Probe { .. }, 0) => Outcome::Gone,
                    (Act::Send { .. } | Act::Hand { .. }, 1) => {
                        happens(&w, &e.act, &mut seen, seed);
                        seen.unknown += 1;
                        w.flying.retain(|op| *op != e.op);
                        continue;
                    }
                    (act, _) => {
                        happens(&w, act, &mut seen, seed);
                        fine(act)
                    }
                };
                w.done(e.op, outcome);
            }
            _ => flying.extend(w.take()),
        }
        let twice: Vec<_> = seen.ran.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "seed {seed}: run twice: {twice:?}");
        let strange: Vec<_> = seen.ran.keys().filter(|id| !seen.said.contains(*id)).collect();
        assert!(strange.is_empty(), "seed {seed}: not the driver's: {strange:?}");
    }
    for _ in 0..2_000 {
        if let Some(fence) = w.t.lease().map(|l| l.fence) {
            w.does(Event::Release { fence, accept_broken: false });
        }
        for e in std::mem::take(&mut flying) {
            happens(&w, &e.act, &mut seen, seed);
            w.done(e.op, fine(&e.act));
        }
        flying = w.take();
        w.wait(1_000);
        if flying.is_empty() && !w.t.closed() && w.t.outbox.is_empty() {
            break;
        }
    }
    assert!(!w.t.closed() && w.t.outbox.is_empty(), "seed {seed}: never came to rest: {:?}", w.t.phase);
    assert!(seen.repeats <= seen.unknown, "seed {seed}: {} repeats, {} unknown outcomes", seen.repeats, seen.unknown);
    let lost: BTreeSet<_> = w.t.undelivered.iter().map(|item| item.id.clone()).collect();
    for id in seen.ran.keys() {
        let at = |id: &String| seen.shown.iter().position(|shown| shown == id);
        let (prompt, answer, end) = (at(id), at(&format!("{id}/answer")), at(&format!("{id}/end")));
        assert!(prompt.is_some() || lost.contains(id), "seed {seed}: {id} ran and was not shown");
        // A notice that nobody knows to have arrived is given up: the walk makes them unknown.
        assert!(answer.or(end).is_some() || seen.unknown > 0, "seed {seed}: {id} has no end");
        if let (Some(prompt), Some(end)) = (prompt, answer.or(end)) {
            assert!(prompt < end, "seed {seed}: {id} was answered before it was shown");
        }
    }
    for m in &seen.held {
        let handed = seen.handed.get(m).copied().unwrap_or(0);
        assert!(handed <= 2 && (handed > 0 || seen.unknown > 0), "seed {seed}: {m} was handed over {handed} times");
    }
}

#[test]
fn promises_of_chat_rides_hold_on_random_walks() {
    for seed in 0..150 {
        walk(seed);
    }
}
