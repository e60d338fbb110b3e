//! Random walks: drivers, messages, effects that fail or vanish, restarts. After
//! each step the thread must keep its promises; a failure prints its seed.

use std::collections::{BTreeSet, HashMap};

use ride_core::event::{Act, Effect, Event, OpenedBy, Outcome, Reply};
use ride_core::id::Process;
use ride_core::thread::{ClaudeSession, Kind, Phase};
use ride_core::wire::RelayKind;

use super::world::{World, fine, id, item};

/// A small generator: the same seed gives the same walk.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What the outside has seen.
#[derive(Default)]
struct Seen {
    sent: Vec<String>,
    repeats: usize,
    unknown: usize,
    relayed: Vec<String>,
    held: BTreeSet<String>,
    handed: HashMap<String, usize>,
    /// Rode along with a prompt.
    took: BTreeSet<String>,
    parked: bool,
    /// Terminals that have the Claude session open, outside any ride.
    open: BTreeSet<u32>,
    /// How often a message was held for one of them.
    held_open: usize,
}

/// How often a message was held for a terminal.
fn walk(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut w = World::new();
    w.disk = seed.is_multiple_of(10);
    let mut seen = Seen::default();
    let mut flying: Vec<Effect> = Vec::new();
    let mut n = 0;
    for _ in 0..400 {
        n += 1;
        match dice.roll(16) {
            0 => {
                w.claim(if dice.roll(2) == 0 { "ada" } else { "bob" }, u128::from(seed) << 32 | n);
            }
            1 | 2 => {
                let text = format!("m{n}");
                let reply = w.says(n as u32, &text);
                let admitted = matches!(reply, Reply::Admit { .. });
                assert!(seen.open.is_empty() || !admitted, "seed {seed}: a turn beside a terminal");
                seen.held_open += usize::from(!seen.open.is_empty() && w.t.lease().is_none());
                // One sender has a part of the inbox only.
                if w.t.inbox.back().is_some_and(|held| held.id == text) {
                    seen.held.insert(format!("m{n}"));
                }
            }
            3 | 4 => {
                if let Phase::Ridden { lease } = &w.t.phase {
                    let fence = lease.fence;
                    let name = format!("p{n}");
                    if let Reply::Relayed { .. } =
                        w.does(Event::Relay { fence, items: vec![item(&name, RelayKind::Prompt)] })
                    {
                        seen.relayed.push(name);
                    }
                }
            }
            5 => {
                if let Some(fence) = w.t.lease().map(|l| l.fence) {
                    let event = if dice.roll(3) == 0 {
                        Event::Dropped { fence }
                    } else {
                        Event::Release { fence, accept_broken: true }
                    };
                    w.does(event);
                }
            }
            6 => w.wait(dice.roll(3) * 700 + 1),
            7 if dice.roll(4) == 0 => {
                // The gateway dies: what was flying is performed or not, nobody knows.
                for e in flying.drain(..) {
                    if dice.roll(2) == 0 {
                        happens(&e.act, &mut seen);
                    }
                    seen.unknown += usize::from(matches!(e.act, Act::Send { .. } | Act::Hand { .. }));
                }
                w.crash();
            }
            12 => {
                let ridden = matches!(w.t.phase, Phase::Ridden { .. });
                if let Some(held) = w.t.inbox.get(dice.roll(3) as usize).cloned().filter(|_| ridden) {
                    // A fence of before takes nothing.
                    let stale = dice.roll(4) == 0;
                    let mut fence = w.fence();
                    fence.epoch -= u64::from(stale);
                    let reply = w.does(Event::TakeAlong { fence, prompt: id(n), seqs: vec![held.seq] });
                    assert_eq!(matches!(reply, Reply::Taken { .. }), !stale, "seed {seed}: {reply:?}");
                    if !stale {
                        seen.took.insert(held.id);
                    }
                }
            }
            13 if dice.roll(3) == 0 => {
                let pid = dice.roll(3) as u32;
                seen.open.insert(pid);
                w.does(opens(pid));
            }
            14 => {
                let pid = dice.roll(3) as u32;
                // Not each of them says that it ends.
                if seen.open.remove(&pid) && dice.roll(2) == 0 {
                    w.does(Event::Closed { process: terminal(pid), left: dice.roll(2) == 0 });
                }
            }
            8..=11 if !flying.is_empty() => {
                let e = flying.remove(dice.roll(flying.len() as u64) as usize);
                let outcome = match (&e.act, dice.roll(6)) {
                    (Act::Send { .. }, 0) => Outcome::NotSent { what: "down".into(), retry: true, after_ms: None },
                    (
                        Act::Settle { .. }
                        | Act::EndChild { .. }
                        | Act::Acknowledge { .. }
                        | Act::Prove { .. }
                        | Act::Hand { .. },
                        0,
                    ) => Outcome::NotYet { what: "busy".into() },
                    (Act::Look { processes }, _) => looked(processes, &seen),
                    (Act::Copy { .. }, 0) => Outcome::Copied { bindings: Vec::new() },
                    // The acknowledgement is lost: nobody performs it any more.
                    (act, 1) => {
                        happens(act, &mut seen);
                        seen.unknown += usize::from(matches!(act, Act::Send { .. } | Act::Hand { .. }));
                        w.flying.retain(|op| *op != e.op);
                        continue;
                    }
                    (Act::Probe { .. }, 0) => Outcome::Gone,
                    (act, _) => {
                        happens(act, &mut seen);
                        fine(act)
                    }
                };
                w.done(e.op, outcome);
            }
            _ => flying.extend(takes(&mut w, &seen, seed)),
        }
        promises(&w, &seen, seed);
    }
    // Everybody goes home: it must come to rest with nothing lost.
    seen.open.clear();
    for _ in 0..2_000 {
        if let Some(fence) = w.t.lease().map(|l| l.fence) {
            w.does(Event::Release { fence, accept_broken: true });
        }
        for e in std::mem::take(&mut flying) {
            happens(&e.act, &mut seen);
            let outcome = if let Act::Look { processes } = &e.act { looked(processes, &seen) } else { fine(&e.act) };
            w.done(e.op, outcome);
        }
        flying = w.take();
        w.wait(1_000);
        if flying.is_empty() && !w.t.closed() && w.t.outbox.is_empty() {
            break;
        }
    }
    assert!(!w.t.closed() && w.t.outbox.is_empty(), "seed {seed}: never came to rest: {:?}", w.t.phase);
    assert!(!seen.parked, "seed {seed}: a binding stayed parked");
    for m in &seen.held {
        let handed = seen.handed.get(m).copied().unwrap_or(0);
        // Nobody may hand over three times; none at all only where it was given up, and said.
        assert!(handed <= 2, "seed {seed}: {m} was handed over {handed} times");
        assert!(handed > 0 || seen.unknown > 0 || seen.took.contains(m), "seed {seed}: {m} was not handed over");
    }
    // Each relayed item once, in order; a repeat only where an outcome was unknown, and marked.
    let mut once = seen.sent.clone();
    let mut had = BTreeSet::new();
    once.retain(|s| had.insert(s.clone()));
    let lost: Vec<_> = seen.relayed.iter().filter(|r| !had.contains(*r)).collect();
    assert!(lost.len() <= w.t.undelivered.len(), "seed {seed}: lost {lost:?}");
    assert!(seen.repeats <= seen.unknown, "seed {seed}: {} repeats, {} unknown outcomes", seen.repeats, seen.unknown);
    let order: Vec<_> = seen.relayed.iter().filter(|r| had.contains(*r)).cloned().collect();
    assert_eq!(once, order, "seed {seed}: out of order");
    seen.held_open
}

fn terminal(pid: u32) -> Process {
    Process { machine: "m".into(), namespace: Some("pid:[1]".into()), pid: 100 + pid, start: 1 }
}

fn opens(pid: u32) -> Event {
    let claude = ClaudeSession { id: id(50), config_dir: "/c".into(), cwd: "/w".into() };
    Event::Opened(Box::new(OpenedBy {
        claude,
        twins: Vec::new(),
        process: terminal(pid),
        host: "box".into(),
        answered: false,
    }))
}

fn looked(processes: &[Process], seen: &Seen) -> Outcome {
    let gone = processes.iter().filter(|process| !seen.open.contains(&(process.pid - 100)));
    Outcome::Looked { gone: gone.cloned().collect(), unseen: Vec::new() }
}

/// What there is to do: nothing is handed to the agent while the session is open in a terminal.
fn takes(w: &mut World, seen: &Seen, seed: u64) -> Vec<Effect> {
    let effects = w.take();
    let hands = effects.iter().any(|effect| matches!(effect.act, Act::Hand { .. }));
    assert!(seen.open.is_empty() || !hands, "seed {seed}: handed over beside a terminal");
    effects
}

fn happens(act: &Act, seen: &mut Seen) {
    match act {
        Act::Send { item, .. } if item.kind != Kind::Notice => {
            if item.repeat {
                assert!(item.text.starts_with("(may be a repeat)"));
                seen.repeats += 1;
            }
            seen.sent.push(item.id.clone());
        }
        Act::Hand { held, .. } => {
            assert!(!seen.took.contains(&held.id), "{} rode along, and was handed over", held.id);
            *seen.handed.entry(held.id.clone()).or_default() += 1;
        }
        Act::Park { .. } => seen.parked = true,
        Act::Restore { .. } => seen.parked = false,
        _ => {}
    }
}

/// What holds at every moment.
fn promises(w: &World, seen: &Seen, seed: u64) {
    if let Phase::Ridden { lease } = &w.t.phase {
        assert!(lease.mark.is_some(), "seed {seed}: ridden without a transcript mark");
        assert!(!lease.parked.is_empty() && seen.parked, "seed {seed}: ridden with a binding in place");
        assert_eq!(lease.fence.epoch, w.t.epoch, "seed {seed}: a fence of another epoch is in force");
    }
    let waiting: BTreeSet<_> = w.t.inbox.iter().map(|h| &h.id).collect();
    for m in &seen.held {
        let said = w.t.journal.iter().any(|j| j.what.starts_with("gave up handing"));
        let along = seen.took.contains(m);
        assert!(!along || !waiting.contains(m), "seed {seed}: {m} rode along and waits");
        assert!(waiting.contains(m) || seen.handed.contains_key(m) || along || said, "seed {seed}: {m} vanished");
    }
}

// Rules LEASE-1, GATE-1, RELAY-1, INBOX-3, HAND-1, OPEN-1.
#[test]
fn promises_hold_on_random_walks() {
    let held_open: usize = (0..150).map(walk).sum();
    assert!(held_open > 100, "messages met an open terminal {held_open} times only");
}
