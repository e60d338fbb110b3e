//! One small world and what must hold in it: the promises of the design, checked
//! in every state, and that a thread nobody drives any more becomes the agent's.

use crate::hash::{Seen, fingerprint};
use crate::moves::Move;
use crate::mutant::Mutant;
use crate::product::{Facts, Is, Product};
use crate::ways::Gone;
use crate::world::{Child, Claude, DRIVERS, Entry, FLIGHTS, Flight, LETTERS, Post, Ride, THREADS, TURNS, World};

/// How large a world is, and which assumptions about the host it makes.
#[derive(Clone, Debug)]
pub struct Scope {
    /// In a word.
    pub name: &'static str,
    pub drivers: usize,
    pub threads: usize,
    pub messages: usize,
    pub turns: usize,
    /// Most grants of one thread.
    pub epochs: u8,
    /// `rideTtlMinutes`, in milliseconds.
    pub silence_ms: u64,
    /// The second thread becomes bound to the Claude session only later.
    pub late_twin: bool,
    /// The gateway's record of turns sees a hand-over from its first moment on.
    pub hand_seen: bool,
    /// A message handed over is stopped at the gate when the Claude session is claimed by then.
    pub door: bool,
    /// The first driver is on another machine, and rides on a copy of the transcript.
    pub copy: bool,
    /// A thread of another gateway of the `lockDir` is bound to the same Claude session.
    pub two_gateways: bool,
    /// During a ride somebody may open its Claude session in a process of their own.
    pub stranger: bool,
}

impl Scope {
    /// Which thread a driver claims.
    pub fn on(&self, driver: usize) -> usize {
        if self.threads > 1 { driver % 2 } else { 0 }
    }

    /// Which thread a message comes to.
    pub fn thread_of(&self, message: usize) -> usize {
        if self.threads > 1 { message % 2 } else { 0 }
    }

    /// Whether a driver's machine is not the gateway's.
    pub fn elsewhere(&self, driver: usize) -> bool {
        self.copy && driver == 0
    }

    /// Whether a process, by its number, is of such a driver.
    pub(crate) fn far(&self, pid: u8) -> bool {
        pid != 0 && self.elsewhere(usize::from(pid % 10))
    }

    /// A driver on a copy, and one beside the gateway.
    pub fn copy() -> Self {
        Scope { name: "on a copy", drivers: 2, messages: 1, turns: 1, epochs: 2, copy: true, ..Scope::one_thread() }
    }

    /// Three drivers, one thread.
    pub fn one_thread() -> Self {
        Scope {
            name: "one thread",
            drivers: 3,
            threads: 1,
            messages: 2,
            turns: 2,
            epochs: 3,
            silence_ms: u64::MAX / 4,
            late_twin: false,
            hand_seen: true,
            door: true,
            copy: false,
            two_gateways: false,
            stranger: false,
        }
    }

    /// Two threads bound to one Claude session, or one of them later.
    pub fn twins(late_twin: bool) -> Self {
        Scope {
            name: if late_twin { "late twin" } else { "twins" },
            drivers: 2,
            threads: 2,
            turns: 1,
            epochs: 1,
            late_twin,
            ..Scope::one_thread()
        }
    }

    /// Two gateways with one `lockDir`.
    pub fn two_gateways() -> Self {
        Scope {
            name: "two gateways",
            drivers: 1,
            messages: 0,
            turns: 1,
            epochs: 2,
            two_gateways: true,
            ..Scope::one_thread()
        }
    }

    /// Somebody opens the ridden Claude session in a process of their own.
    pub fn stranger() -> Self {
        Scope {
            name: "a stranger",
            drivers: 1,
            messages: 0,
            turns: 0,
            epochs: 1,
            stranger: true,
            ..Scope::one_thread()
        }
    }

    /// Silence ends rides as soon as it may (`rideTtlMinutes: 1`).
    pub fn silent() -> Self {
        Scope {
            name: "silence",
            drivers: 2,
            messages: 1,
            turns: 1,
            epochs: 2,
            silence_ms: 2 * crate::product::TICK_MS,
            ..Scope::one_thread()
        }
    }
}

/// A world under exploration.
#[derive(Debug)]
pub struct Model {
    pub product: Product,
    pub scope: Scope,
    /// What the last move broke.
    pub wrong: Option<&'static str>,
    /// The rare ways gone so far.
    pub gone: Gone,
    /// More effects were under way than this world has room for.
    pub full: bool,
    live: Seen,
}

/// Fair steps within which a thread nobody drives must be open.
const FAIR_STEPS: usize = 80;

impl Model {
    pub fn new(scope: Scope, mutant: Mutant) -> Self {
        Model {
            product: Product::new(mutant, scope.silence_ms),
            scope,
            wrong: None,
            gone: Gone::default(),
            full: false,
            live: Seen::default(),
        }
    }

    pub fn start(&mut self) -> World {
        let threads = [self.product.fresh(0), self.product.fresh(1)];
        let twin = if self.scope.late_twin || self.scope.threads == 1 { Entry::Never } else { Entry::Bound };
        World::new(threads, twin)
    }

    /// What holds in every state.
    pub(crate) fn promises(&self, w: &World) -> Option<&'static str> {
        let here = w.drivers.iter().enumerate().filter(|(d, _)| !self.scope.elsewhere(*d));
        let claudes: usize = here.map(|(_, d)| usize::from(d.claude != Claude::None) + usize::from(d.old)).sum();
        if claudes > 1 {
            return Some("I1: two drivers' Claude Code live on one Claude session");
        }
        if claudes > 0 && w.other != Child::None {
            return Some("I1: a driver's Claude Code and another gateway's child live on one Claude session");
        }
        // A chain that a person accepted is the person's word.
        if w.stranger && !w.broken && self.product.facts(w.thread[0]).is == Is::Open {
            return Some("I1: the thread is the agent's while another process writes to its Claude session");
        }
        if claudes > 0 && (w.orphan || w.child.iter().any(|c| *c != Child::None)) {
            return Some("I1: a driver's Claude Code and the agent's child live on one Claude session");
        }
        let facts: Vec<&Facts> = (0..self.scope.threads).map(|i| self.product.facts(w.thread[i])).collect();
        for (i, f) in facts.iter().enumerate() {
            let kept = facts.iter().any(|f| f.parked & 1 << i != 0);
            if matches!(w.entry[i], Entry::Absent | Entry::Other) && !kept {
                return Some("I5: a binding is neither in the entry nor in a lease");
            }
            if f.inbox.count_ones() != u32::from(f.inbox_len) {
                return Some("I4: a message is held twice");
            }
        }
        for (m, post) in w.posts.iter().enumerate() {
            let f = facts[self.scope.thread_of(m)];
            if matches!(post, Post::Held { handed: 0, .. }) && f.inbox & 1 << m == 0 {
                return Some("I3: a held message vanished");
            }
        }
        for (k, t) in w.turns.iter().enumerate().filter(|(_, t)| t.accepted) {
            let f = facts[t.on as usize];
            if (f.outbox | f.undelivered) & 1 << k == 0 && t.arrived == 0 && t.unknown < 2 {
                return Some("I4: an item the gateway had accepted is lost");
            }
        }
        None
    }

    /// Whether, with every driver gone and all else well, the threads come home.
    pub(crate) fn comes_home(&mut self, from: &World) -> Result<(), Vec<Move>> {
        let mut w = *from;
        for d in &mut w.drivers {
            if d.ride != Ride::Off {
                d.ride = Ride::Dead;
            }
            (d.claude, d.old, d.paused, d.queue, d.left) = (Claude::None, false, false, 0, 0);
        }
        w.letters = [None; LETTERS];
        w.leftover = [0; THREADS];
        // What the agent does by itself: it ends its turns.
        (w.orphan, w.stranger) = (false, false);
        let mut path = Vec::new();
        let mut moves = Vec::new();
        for _ in 0..FAIR_STEPS {
            w.tidy();
            let mark = fingerprint(&w);
            if self.live.contains(&mark) {
                break;
            }
            path.push(mark);
            if self.at_rest(&w) {
                break;
            }
            let Some((step, next)) = self.fair(&w) else { return Err(moves) };
            moves.push(step);
            w = next;
            if path.len() == FAIR_STEPS {
                return Err(moves);
            }
        }
        self.live.extend(path);
        Ok(())
    }

    fn at_rest(&self, w: &World) -> bool {
        (0..self.scope.threads).all(|i| {
            let f = self.product.facts(w.thread[i]);
            f.is == Is::Open && !f.closed && f.outbox_len == 0
        })
    }

    /// The next step of a gateway whose host and channel work.
    fn fair(&mut self, w: &World) -> Option<(Move, World)> {
        let mut tries = vec![Move::Starts, Move::OtherBegins, Move::OtherEnds];
        for i in 0..self.scope.threads {
            tries.extend([Move::HandBegins(i), Move::AgentBegins(i), Move::AgentEnds(i)]);
        }
        tries.extend((0..FLIGHTS).flat_map(|n| [Move::Acks(n), Move::Performs(n)]));
        tries.extend((0..self.scope.threads).map(Move::Takes));
        tries.extend((0..self.scope.threads).map(Move::ChildEnds));
        tries.extend([Move::OtherChildEnds, Move::Tick]);
        let mut taken = None;
        for step in tries {
            if let Some(next) = self.after(w, step) {
                taken = Some((step, next));
                break;
            }
        }
        self.wrong = None;
        taken
    }

    /// A state in words, for a trace.
    pub fn words(&self, w: &World) -> String {
        let threads: Vec<String> = (0..self.scope.threads)
            .map(|i| {
                let f = self.product.facts(w.thread[i]);
                let lease = if f.lease > 0 { format!(" lease {}", f.lease) } else { String::new() };
                let waits = if f.inbox_len > 0 { format!(" inbox {}", f.inbox_len) } else { String::new() };
                let sends = if f.outbox_len > 0 { format!(" outbox {}", f.outbox_len) } else { String::new() };
                format!("{:?}{lease}{waits}{sends}, entry {:?}, child {:?}", f.is, w.entry[i], w.child[i])
            })
            .collect();
        let drivers: Vec<String> = (0..DRIVERS)
            .filter(|d| w.drivers[*d].ride != Ride::Off)
            .map(|d| {
                let one = &w.drivers[d];
                let paused = if one.paused { " stopped" } else { "" };
                format!("d{d} {:?}{paused} claude {:?} left {}", one.ride, one.claude, one.left)
            })
            .collect();
        let flights: Vec<String> = w
            .flights
            .iter()
            .flatten()
            .map(|Flight { what, by, came, op, agreed, .. }| {
                let writes = if *agreed != 0 { ", about to be written" } else { "" };
                format!("{what:?} by {by} op {op} ({came:?}{writes})")
            })
            .collect();
        let turns: Vec<String> = (0..TURNS)
            .filter(|k| w.turns[*k].typed > 0)
            .map(|k| format!("p{k} arrived {}", w.turns[k].arrived))
            .collect();
        let other = if w.other_pending || w.other != Child::None {
            format!("other gateway: pending {} child {:?}", w.other_pending, w.other)
        } else {
            String::new()
        };
        [threads.join(" | "), other, drivers.join("; "), flights.join("; "), turns.join("; ")]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(" // ")
    }
}
