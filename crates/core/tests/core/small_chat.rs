//! Every state that a small world of one chat ride can reach: one prompt that is sent twice, one crash of
//! the gateway, one death of the driver, in any order. What holds is looked
//! at in each state, and that the world can always come to rest.

use std::collections::{BTreeMap, HashSet};

use ride_core::event::{Act, Effect, Ending, Event, Outcome, Reply};
use ride_core::thread::{Kind, Phase};
use serde_json::Value;

use super::world::{World, fine};

const PROMPTS: [&str; 1] = ["p1"];

#[derive(Clone)]
struct Small {
    w: World,
    flying: Vec<Effect>,
    /// How often the agent ran each prompt.
    ran: BTreeMap<&'static str, u8>,
    /// Turns the agent has not ended: the host's side of it.
    running: Option<&'static str>,
    /// What the thread was shown, in order, and how many sends nobody knows about.
    shown: Vec<String>,
    unknown: u8,
    handed: bool,
    left: Left,
}

/// What may still happen.
#[derive(Clone, Debug)]
struct Left {
    say: [bool; 1],
    send: [u8; 1],
    crash: bool,
    drop: bool,
    release: bool,
    come_back: bool,
    message: bool,
}

impl Small {
    fn begin() -> Small {
        let mut w = World::new();
        (w.chat, w.disk) = (true, false);
        // Time is not what is looked at: whatever waits is due, and no lease ends by itself.
        (w.rules.lease_ms, w.rules.silence_ms) = (u64::MAX, u64::MAX);
        w.claim("ada", 500);
        w.settle();
        let left = Left {
            say: [true; 1],
            send: [2; 1],
            crash: true,
            drop: true,
            release: true,
            come_back: true,
            message: false,
        };
        Small {
            w,
            flying: Vec::new(),
            ran: BTreeMap::new(),
            running: None,
            shown: Vec::new(),
            unknown: 0,
            handed: false,
            left,
        }
    }

    /// The state as far as it matters: numbers by their order, no times, no journal.
    fn seen_as(&self) -> String {
        let mut thread = serde_json::to_value(&self.w.t).unwrap();
        thread["journal"] = Value::Null;
        thread["next"] = Value::Null;
        let mut ops: Vec<u64> = Vec::new();
        plain(&mut thread, &mut ops);
        let flying: Vec<String> = self.flying.iter().map(|e| format!("{:?}", std::mem::discriminant(&e.act))).collect();
        format!(
            "{thread} {flying:?} {:?} {:?} {:?} {} {} {:?}",
            self.ran, self.running, self.shown, self.unknown, self.handed, self.left
        )
    }

    fn happens(&mut self, act: &Act) {
        match act {
            Act::Send { item, .. } if item.kind != Kind::Notice || item.id.ends_with("/end") => {
                assert!(item.repeat || !self.shown.contains(&item.id), "{} is shown twice and not marked", item.id);
                self.shown.push(item.id.clone());
            }
            Act::Hand { .. } => {
                assert!(self.running.is_none(), "a message is handed over beside the driver's turn");
                self.handed = true;
            }
            _ => {}
        }
    }

    /// Everything that can happen next.
    fn nexts(&self) -> Vec<Small> {
        let mut nexts = Vec::new();
        let mut go = |change: &dyn Fn(&mut Small)| {
            let mut next = self.clone();
            next.w.wait(100_000);
            change(&mut next);
            nexts.push(next);
        };
        let fence = self.w.t.lease().map(|lease| lease.fence);
        for (n, id) in PROMPTS.into_iter().enumerate() {
            if let (true, Phase::Ridden { lease }) = (self.left.say[n], &self.w.t.phase) {
                let fence = lease.fence;
                go(&|next| {
                    next.left.say[n] = false;
                    next.w.does(Event::Say { fence, id: id.into(), text: "x".into() });
                });
            }
            // The host is sent it, by its driver or by somebody who heard the id.
            if self.left.send[n] > 0 && self.w.t.closed() {
                go(&|next| {
                    next.left.send[n] -= 1;
                    if matches!(next.w.sends(id, "x"), Reply::Admit { .. }) {
                        *next.ran.entry(id).or_default() += 1;
                        next.running = Some(id);
                    }
                });
            }
        }
        if self.left.message {
            go(&|next| {
                next.left.message = false;
                next.w.says(1, "hello");
            });
        }
        if let Some(fence) = fence {
            if self.left.drop {
                go(&|next| {
                    next.left.drop = false;
                    next.w.does(Event::Dropped { fence });
                });
            }
            if self.left.release {
                go(&|next| {
                    next.left.release = false;
                    next.w.does(Event::Release { fence, accept_broken: false });
                });
            }
        }
        if self.left.come_back && !self.left.drop {
            go(&|next| {
                next.left.come_back = false;
                next.w.claim_from("ada", 501, 11);
            });
        }
        if self.left.crash {
            // What was being sent arrived, or did not.
            for arrived in [false, true] {
                go(&|next| {
                    next.left.crash = false;
                    for e in std::mem::take(&mut next.flying) {
                        next.unknown += u8::from(matches!(e.act, Act::Send { .. }));
                        if arrived {
                            next.happens(&e.act);
                        }
                    }
                    next.running = None;
                    next.w.crash();
                });
            }
        }
        for n in 0..self.flying.len() {
            for outcome in outcomes(&self.flying[n].act, self.running.is_some()) {
                go(&|next| {
                    let e = next.flying.remove(n);
                    if matches!(outcome, Outcome::Answered { .. }) {
                        next.running = None;
                    }
                    next.happens(&e.act);
                    next.w.done(e.op, outcome.clone());
                });
            }
        }
        go(&|next| {
            let taken = next.w.take();
            next.flying.extend(taken);
        });
        nexts
    }

    fn promises(&self) {
        assert!(self.ran.values().all(|times| *times == 1), "a prompt is run twice: {:?}", self.ran);
        if let Some(id) = self.running {
            assert!(self.w.t.closed(), "the thread is free while the driver's turn {id} runs");
        }
        let at = |id: &str| self.shown.iter().position(|shown| shown == id);
        for id in PROMPTS {
            let end = at(&format!("{id}/answer")).or(at(&format!("{id}/end")));
            assert!(end.is_none() || at(id) < end, "{id} is answered before it is shown: {:?}", self.shown);
        }
    }

    /// Nothing more happens but what is to be done: it must be done.
    fn rests(mut self) {
        for _ in 0..60 {
            self.w.wait(100_000);
            if let Some(fence) = self.w.t.lease().map(|lease| lease.fence) {
                self.w.does(Event::Release { fence, accept_broken: false });
            }
            for e in std::mem::take(&mut self.flying) {
                if matches!(e.act, Act::Follow { .. }) {
                    self.running = None;
                }
                self.happens(&e.act);
                self.w.done(e.op, fine(&e.act));
            }
            let taken = self.w.take();
            self.flying.extend(taken);
            if self.flying.is_empty() && !self.w.t.closed() && self.w.t.outbox.is_empty() {
                break;
            }
        }
        assert!(!self.w.t.closed() && self.w.t.outbox.is_empty(), "never comes to rest: {:?}", self.w.t.phase);
        assert!(
            self.left.message || self.handed || self.ran.is_empty() || self.w.t.inbox.is_empty(),
            "a message vanished"
        );
        for id in self.ran.keys() {
            let told = |id: &String| self.shown.contains(id) || self.w.t.undelivered.iter().any(|item| item.id == *id);
            assert!(told(&(*id).into()), "{id} ran and is not shown");
            let ends = [format!("{id}/answer"), format!("{id}/end")];
            assert!(ends.iter().any(told) || self.unknown > 0, "{id} has no end: {:?}", self.shown);
        }
        let repeats = self.shown.len() - self.shown.iter().collect::<HashSet<_>>().len();
        assert!(repeats <= usize::from(self.unknown), "{:?}", self.shown);
    }
}

/// What can come of an effect.
fn outcomes(act: &Act, runs: bool) -> Vec<Outcome> {
    let answered = |how, text: &str| Outcome::Answered { how, text: text.into() };
    match act {
        Act::Follow { .. } if runs => vec![answered(Ending::Complete, "y"), Outcome::NotYet { what: "it runs".into() }],
        Act::Follow { .. } => vec![answered(Ending::Lost, ""), answered(Ending::Complete, "y")],
        Act::Probe { .. } => vec![Outcome::Alive, Outcome::Gone],
        act => vec![fine(act)],
    }
}

/// Takes out what only tells states apart that are alike.
fn plain(value: &mut Value, ops: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "monoMs" | "atMs" | "sinceMs" | "from" | "grant" => *field = Value::Null,
                    "noticed" => *field = Value::Null,
                    "op" | "seq" => {
                        let n = field.as_u64().unwrap();
                        let rank = ops.iter().position(|op| *op == n).unwrap_or_else(|| {
                            ops.push(n);
                            ops.len() - 1
                        });
                        *field = rank.into();
                    }
                    "id" if field.as_str().is_some_and(|id| id.starts_with("notice:")) => *field = "notice".into(),
                    _ => plain(field, ops),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plain(item, ops)),
        _ => {}
    }
}

#[test]
fn every_state_of_a_small_chat_ride() {
    let mut seen = HashSet::new();
    let mut todo = vec![Small::begin()];
    while let Some(state) = todo.pop() {
        if !seen.insert(state.seen_as()) {
            continue;
        }
        state.promises();
        state.clone().rests();
        todo.extend(state.nexts());
        assert!(seen.len() < 60_000, "the small world is not small");
    }
    assert!(seen.len() > 5_000, "only {} states: something cannot happen any more", seen.len());
    println!("{} states", seen.len());
}
