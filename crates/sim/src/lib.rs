//! Whole rides in virtual time: drivers that claim, take over, type, leave and die; a
//! gateway with its agent; a channel that answers late or never. Every decision is the
//! product's own: `ride_core::step` on the gateway's side, `ride::ride::state` on the
//! driver's. Everything else is a queue of what happens next, drawn from one seed.
//!
//! Between any two things that happen a fault may come. What must hold is looked at from
//! outside: the transcript, the channel and who lives. `gateway`, `driver` and `outside`
//! are the three places; `dice` is all the chance there is. Absent on purpose: the shell
//! around both decisions, which the stories play on the real peers.

mod dice;
mod driver;
mod gateway;
mod outside;
mod terminal;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

pub use dice::Dice;
use driver::{Driver, Heard};
use gateway::{Asked, Gateway};
use outside::Outside;

/// People who drive; the last of them from another machine, on a copy.
pub const DRIVERS: usize = 3;
/// How often in a run somebody opens the session in a terminal.
const TERMINALS: usize = 3;
/// Faults come in the first part of a run; in the second everybody leaves and all comes home.
const STORM_MS: u64 = 15 * 60_000;
const CALM_MS: u64 = 45 * 60_000;
/// One of so many steps is followed by a fault: seeds differ, so that some rides get far.
const FAULT_EVERY: [u64; 4] = [40, 150, 500, 2_000];

/// What came of a run.
#[derive(Debug, Default)]
pub struct Run {
    /// Line by line what happened; the same seed gives the same lines.
    pub log: Vec<String>,
    /// Things that happened.
    pub steps: u64,
    /// Of those, faults.
    pub faults: u64,
    /// Times a driver had the thread.
    pub grants: u64,
    /// Prompts and answers of drivers.
    pub turns: u64,
    /// Messages of the channel.
    pub messages: u64,
    /// Shown twice, with the mark that says so.
    pub marked: u64,
    /// Rare ways that were gone, and how often; [`SOMETIMES`] names those that must be.
    pub reached: BTreeMap<&'static str, u64>,
    /// The first promise that was broken.
    pub broken: Option<String>,
}

/// Rare ways through a ride. Runs that never go one of them do not show that it is right.
pub const SOMETIMES: &[&str] = &[
    "a late patch declined",
    "a patch that had agreed was written late",
    "an empty patch waited behind a late one",
    "the outcome of a patch was unknown",
    "a message was handed over again, marked",
    "a turn was shown again, marked",
    "a message rode along",
    "a driver came back by its secret",
    "a ridden thread was taken over",
    "a ridden thread was taken back",
    "a lease ran out",
    "a claim failed after parking",
    "a turn was taken from the transcript",
    "a copy was released",
    "a person typed in a terminal",
    "a terminal that was opened beside a turn was stopped",
    "a turn ended while a terminal read the conversation",
    "a message waited for a terminal",
    "a terminal went without a word",
    "a claim met a terminal",
];

/// Those of them that some runs never went.
pub fn never_reached(all: &Run) -> Vec<&'static str> {
    SOMETIMES.iter().copied().filter(|way| !all.reached.contains_key(way)).collect()
}

impl Run {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Run) {
        self.steps += other.steps;
        self.faults += other.faults;
        self.grants += other.grants;
        self.turns += other.turns;
        self.messages += other.messages;
        self.marked += other.marked;
        for (way, times) in &other.reached {
            *self.reached.entry(way).or_default() += times;
        }
    }
}

/// What happens next, to whom.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "some thousand of them in a run")]
enum Next {
    /// A message is written in the channel.
    Message(usize),
    /// The chat is flooded, for the so manieth time.
    Flood(u64),
    /// A request reaches the gateway on a connection.
    Asks { driver: usize, line: u64, asked: Asked },
    /// The gateway sees a connection end.
    Closes { driver: usize, line: u64 },
    /// An effect ends.
    Performs { performer: u128, op: u64 },
    /// A patch that nobody waits for runs its update callback.
    LatePatch { process: u64, performer: u128, op: u64, parks: bool },
    /// A patch whose callback had agreed is written.
    Written { process: u64, parks: bool },
    /// The performer looks again.
    Looks { life: u64 },
    /// The agent's turn ends.
    AgentEnds { turn: u64 },
    /// Something reaches a driver's process.
    Hears { driver: usize, run: u64, heard: Heard },
    /// The person at a driver's terminal does something.
    Person { driver: usize },
    /// A stopped `ride` goes on.
    Wakes { driver: usize, run: u64 },
    /// The gateway starts again.
    Starts,
    /// Somebody opens the Claude session in a terminal, outside any ride.
    Opens,
    /// Its guard tells the gateway.
    Tells { pid: u32 },
    /// A prompt is typed there.
    Types { pid: u32 },
    /// It is left.
    Leaves { pid: u32 },
}

struct Sim {
    dice: Dice,
    now: u64,
    /// How far the wall clock is off.
    wall: i64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    coming: std::collections::HashMap<u64, Next>,
    count: u64,
    /// Messages of a flood so far.
    written: usize,
    fault_every: u64,
    gateway: Gateway,
    drivers: Vec<Driver>,
    outside: Outside,
    run: Run,
}

/// Plays one seed to its end.
pub fn play(seed: u64) -> Run {
    run(seed, false)
}

/// The same, with members of the chat who write without end while the thread is ridden, and
/// a rider who says more than the channel takes.
pub fn play_flooded(seed: u64) -> Run {
    run(seed, true)
}

/// Every bound that a flood must reach in some run, by name.
pub const BOUNDS: [&str; 6] =
    ["inbox full", "a sender's part full", "outbox full", "all owed", "several people", "notices of a minute"];

fn run(seed: u64, flood: bool) -> Run {
    let mut sim = Sim {
        dice: Dice::new(seed),
        now: 1_000_000,
        wall: 0,
        queue: BinaryHeap::new(),
        coming: std::collections::HashMap::new(),
        count: 0,
        written: 0,
        fault_every: FAULT_EVERY[(seed % 4) as usize],
        gateway: Gateway::new(),
        drivers: (0..DRIVERS).map(Driver::new).collect(),
        outside: Outside::default(),
        run: Run::default(),
    };
    sim.begin();
    if flood {
        sim.later(1_000, Next::Flood(0));
    }
    sim.go(sim.now + STORM_MS, true);
    sim.calm();
    // After a flood each message that waited is a turn of the agent's.
    sim.go(sim.now + if flood { 4 * CALM_MS } else { CALM_MS }, false);
    sim.finish();
    sim.run
}

impl Sim {
    fn begin(&mut self) {
        for n in 0..12 {
            let at = self.dice.below(STORM_MS);
            self.later(at, Next::Message(n));
        }
        for driver in 0..DRIVERS {
            let at = self.dice.below(60_000);
            self.later(at, Next::Person { driver });
        }
        for _ in 0..TERMINALS {
            let at = self.dice.below(STORM_MS);
            self.later(at, Next::Opens);
        }
        self.later(1, Next::Looks { life: 0 });
    }

    fn later(&mut self, after: u64, next: Next) {
        self.count += 1;
        self.queue.push(Reverse((self.now + after, self.count)));
        self.coming.insert(self.count, next);
    }

    fn log(&mut self, text: impl Into<String>) {
        let line = format!("{:>9.3} {}", self.now as f64 / 1_000.0, text.into());
        self.run.log.push(line);
    }

    fn broken(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.log(format!("BROKEN: {what}"));
        self.run.broken.get_or_insert(what);
    }

    fn go(&mut self, until: u64, storm: bool) {
        while self.run.broken.is_none() {
            let Some(Reverse((at, id))) = self.queue.pop() else { return };
            let Some(next) = self.coming.remove(&id) else { continue };
            if at > until {
                self.queue.push(Reverse((at, id)));
                self.coming.insert(id, next);
                self.now = until;
                return;
            }
            self.now = self.now.max(at);
            self.run.steps += 1;
            self.happens(next);
            self.one_writer();
            self.beside_a_terminal();
            self.binding();
            if storm && self.dice.one_in(self.fault_every) {
                self.fault();
            }
            if !storm && self.at_rest() {
                return;
            }
        }
    }

    fn happens(&mut self, next: Next) {
        match next {
            Next::Message(n) => self.message(n),
            Next::Flood(nth) => self.flood(nth),
            Next::Asks { driver, line, asked } => self.asks(driver, line, asked),
            Next::Closes { driver, line } => self.closes(driver, line),
            Next::Performs { performer, op } => self.performs(performer, op),
            Next::LatePatch { process, performer, op, parks } => self.late_patch(process, performer, op, parks),
            Next::Written { process, parks } => self.written(process, parks),
            Next::Looks { life } => self.looks(life),
            Next::AgentEnds { turn } => self.agent_ends(turn),
            Next::Hears { driver, run, heard } => self.hears(driver, run, heard),
            Next::Person { driver } => self.person(driver),
            Next::Wakes { driver, run } => self.wakes(driver, run),
            Next::Starts => self.starts(),
            Next::Opens => self.opens(),
            Next::Tells { pid } => self.tells(pid),
            Next::Types { pid } => self.types_there(pid),
            Next::Leaves { pid } => self.leaves(pid),
        }
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        self.run.faults += 1;
        let driver = self.dice.below(DRIVERS as u64) as usize;
        match self.dice.below(10) {
            0 => self.kill(driver),
            1 => self.pause(driver),
            2 | 3 => self.cut(driver),
            4 => self.crash(),
            5 => self.reload(),
            6 => {
                self.wall += if self.dice.one_in(2) { 3_600_000 } else { -3_600_000 };
                self.log("fault: the clock jumps an hour");
            }
            7 => {
                self.outside.bad_channel = 1 + self.dice.below(6);
                self.log("fault: the channel fails for a while");
            }
            8 => {
                self.gateway.slow_patches = 1 + self.dice.below(2);
                self.log("fault: the host does not answer patches");
            }
            _ => self.take_back(),
        }
    }

    /// Notes that a rare way was gone.
    fn reached(&mut self, way: &'static str) {
        *self.run.reached.entry(way).or_default() += 1;
    }

    /// Everybody is to leave, and nothing goes wrong any more.
    fn calm(&mut self) {
        self.log("calm");
        self.outside.bad_channel = 0;
        self.gateway.slow_patches = 0;
        for driver in 0..DRIVERS {
            self.drivers[driver].leaves = true;
            let run = self.drivers[driver].run;
            self.wakes(driver, run);
            self.later(1, Next::Person { driver });
        }
        if !self.gateway.up {
            self.later(1, Next::Starts);
        }
        if let Some(pid) = self.outside.terminal.as_ref().map(terminal::Terminal::pid) {
            self.later(1, Next::Leaves { pid });
        }
    }

    fn at_rest(&self) -> bool {
        let thread = &self.gateway.thread;
        let idle =
            self.drivers.iter().all(Driver::is_off) && self.outside.agent.is_idle() && self.outside.unsent.is_empty();
        idle && !thread.closed() && thread.outbox.is_empty() && thread.notices.is_empty() && self.gateway.up
    }

    fn one_writer(&mut self) {
        let mut alive: Vec<String> = self
            .drivers
            .iter()
            .filter(|d| d.claude.is_some() && !d.elsewhere)
            .map(|d| format!("the Claude Code of d{}", d.n))
            .collect();
        if self.outside.agent.child {
            alive.push("the agent's Claude".into());
        }
        if alive.len() > 1 {
            self.broken(format!("I1: {} live on one Claude session", alive.join(" and ")));
        }
    }

    /// The host's entry is as the thread's phase says.
    fn binding(&mut self) {
        match self.gateway.thread.phase_name() {
            "open" if self.outside.parked => self.broken("I5: the binding of an open thread was taken out"),
            "ridden" if !self.outside.parked => self.broken("I5: the binding of a ridden thread was put back"),
            _ => {}
        }
    }

    fn finish(&mut self) {
        if self.run.broken.is_none() && !self.at_rest() {
            let thread = &self.gateway.thread;
            let what = format!(
                "liveness: everybody has left, and the thread is {} for {:?}, {} in its inbox, {} in its outbox, {} notices",
                thread.phase_name(),
                ride_core::view::waiting_for(thread),
                thread.inbox.len(),
                thread.outbox.len(),
                thread.notices.len()
            );
            self.broken(what);
        }
        if self.run.broken.is_none()
            && let Some(what) = self.outside.account(&self.gateway.thread, &mut self.run)
        {
            self.broken(what);
        }
    }
}
