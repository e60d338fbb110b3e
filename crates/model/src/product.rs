//! The product's `step` on values made small: what people read and how far two
//! clocks are apart in milliseconds is left out, what decides is kept.
//!
//! A thread is known by a number; each question to `step` is asked once and its
//! answer remembered, which a pure function allows. Each is asked at two wall
//! clocks, an hour early and an hour late: the answers must be the same.

use ride_core::event::{Act, ClaimAsked, Event, Inbound, Outcome, Reply, Seen};
use ride_core::id::{Fence, Process, Route, ThreadKey};
use ride_core::rules::Rules;
use ride_core::step::step;
use ride_core::thread::{
    At, ClaimStage, ClaudeSession, Deadline, Flight, Kind, LeaveStage, NewsKind, Notice, Parked, Phase, Thread, Why,
    Words,
};
use ride_core::time::{Now, Stamp};
use ride_core::view;
use ride_core::wire::{ChainMark, Driver, Holder, Reason, RelayItem, RelayKind};
use serde_json::json;
use uuid::Uuid;

use crate::hash::{Map, fingerprint};
use crate::mutant::Mutant;

/// One step of the model's clock: half a lease.
pub const TICK_MS: u64 = 30_000;
const HOUR_MS: u64 = 3_600_000;
const NOW: Now = Now { boot: 1, mono_ms: 100_000_000, wall_ms: 1_700_000_000_000 };
/// Numbers given out by a step start here; afterwards they are named by kind.
const FRESH: u64 = 1_000;
/// Numbers of effects: by what its thread waits for, or whose outcome it would still hear.
pub const DOUBT_SEND: u8 = 5;
pub const DOUBT_HAND: u8 = 6;
/// The number of an effect that its thread does not wait for any more.
pub const ORPHAN: u8 = 9;

/// What a thread is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    Claim {
        driver: u8,
        run: u8,
        twins: bool,
        held: bool,
        steal: bool,
    },
    Renew {
        driver: u8,
        run: u8,
        epoch: u8,
        claude: bool,
        active: bool,
    },
    Relay {
        epoch: u8,
        items: u8,
    },
    Along {
        epoch: u8,
        id: u8,
    },
    Release {
        epoch: u8,
        accept: bool,
    },
    /// Its driver writes to a copy.
    Copied {
        epoch: u8,
    },
    /// May the transcript be extended? Changes nothing.
    Push {
        epoch: u8,
    },
    TakeBack {
        accept: bool,
    },
    Dropped {
        epoch: u8,
    },
    /// A look found a process that writes and is not the driver's.
    Writer {
        epoch: u8,
    },
    Message {
        id: u8,
        behind: bool,
    },
    Take {
        by: u8,
        behind: bool,
        flying: u8,
    },
    Done {
        op: u8,
        by: u8,
        came: Came,
    },
    Tick,
    Reboot,
}

/// What came of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Came {
    Nothing,
    Ok,
    NotYet,
    ChildAgain,
    Failed,
    Copied(u8),
    Slipped,
    Marked,
    Alive,
    Gone,
    Shown(u8),
    Broken,
    Sent,
    NotSent,
    Refused,
    Unknown,
    RouteChanged,
}

/// An effect, reduced to what the world needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Do {
    Settle { threads: u8 },
    EndChild,
    Copy { threads: u8 },
    Park { threads: u8 },
    Barrier { threads: u8 },
    Acknowledge,
    Prove { pid: u8, ride: u8 },
    Mark,
    Probe { ride: u8, claude: u8 },
    Show,
    Restore { threads: u8, over: bool },
    Send { item: u8, repeat: bool, marked: bool, route: bool },
    Hand { id: u8, repeat: bool },
}

/// An answer, reduced likewise.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Ok,
    Claiming { epoch: u8 },
    Relayed,
    Taken,
    Refused,
    Admit,
    Hold { told: bool },
    Decline,
    Work(Vec<(u8, Do)>),
}

/// The phase and stage of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    Open,
    Claiming(ClaimStage),
    Ridden,
    Leaving(LeaveStage),
}

/// What the properties look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub is: Is,
    pub epoch: u8,
    /// Epoch of the lease, 0 without one.
    pub lease: u8,
    /// Epoch that whoever takes it over will have, 0 without one.
    pub heir: u8,
    pub released: bool,
    pub expired: bool,
    /// Epoch of the last ride that ended by its lease running out.
    pub last_expired: u8,
    pub last: u8,
    pub twins: bool,
    /// Its driver writes to a copy.
    pub copy: bool,
    /// A turn beside the ride was told of.
    pub beside: bool,
    pub parked: u8,
    /// Held message ids, and all of them are different.
    pub inbox: u8,
    pub inbox_len: u8,
    pub outbox: u8,
    pub outbox_len: u8,
    pub undelivered: u8,
    pub closed: bool,
    /// Who performs stage, probe, sending and handing; 0 for nobody.
    pub flights: [u8; 4],
    /// Who may still tell about the first item and the first message.
    pub doubts: [u8; 2],
    /// Remaining lease in ticks, as a renewal would be told.
    pub left: u8,
}

/// An answer, what is wrong with the step in itself, and whether somebody was asked
/// to send a message again.
pub type Answer = (Said, Option<&'static str>, bool);

/// Numbers and answers.
#[derive(Debug)]
pub struct Product {
    mutant: Mutant,
    rules: Rules,
    known: Map<u64, u32>,
    threads: Vec<Thread>,
    facts: Vec<Facts>,
    asked: Map<(u32, Ask), (u32, u32)>,
    answers: Vec<Answer>,
}

pub fn uuid(n: u64) -> Uuid {
    Uuid::from_u128(n.into())
}

fn session(i: u8) -> String {
    format!("t{i}")
}

fn threads_of(sessions: &[String]) -> u8 {
    sessions.iter().fold(0, |mask, s| mask | if s == "t0" { 1 } else { 2 })
}

fn fence(t: &Thread, epoch: u8) -> Fence {
    Fence { incarnation: t.incarnation, epoch: epoch.into(), grant: uuid(500 + u64::from(epoch)) }
}

fn route() -> Route {
    Route { channel: "c".into(), to: "c:1".into(), account_id: None, thread_id: None }
}

fn process(pid: u8) -> Process {
    Process { machine: "m".into(), namespace: None, pid: pid.into(), start: 1 }
}

/// The process ids of a driver's `ride` and of its Claude Code, in its first and second run.
pub fn ride_pid(driver: u8, run: u8) -> u8 {
    10 + 20 * run + driver
}
pub fn claude_pid(driver: u8, run: u8) -> u8 {
    20 + 20 * run + driver
}

fn number(id: &str) -> u8 {
    id.trim_start_matches(['p', 'm']).parse().unwrap_or(7)
}

fn bits(mask: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |i| mask & (1 << i) != 0)
}

fn item(k: u8) -> RelayItem {
    RelayItem { id: format!("p{k}"), kind: RelayKind::Prompt, text: "x".into() }
}

impl Product {
    pub fn new(mutant: Mutant, silence_ms: u64) -> Self {
        let rules = Rules { silence_ms, ..Rules::default() };
        Product {
            mutant,
            rules,
            known: Map::default(),
            threads: Vec::new(),
            facts: Vec::new(),
            asked: Map::default(),
            answers: Vec::new(),
        }
    }

    /// A thread nobody has ridden.
    pub fn fresh(&mut self, i: u8) -> u32 {
        let key = ThreadKey { gateway: "/g".into(), session: session(i) };
        self.intern(Thread { next: FRESH, ..Thread::new(key, uuid(1 + u64::from(i))) })
    }

    pub fn facts(&self, thread: u32) -> &Facts {
        &self.facts[thread as usize]
    }

    pub fn thread(&self, thread: u32) -> &Thread {
        &self.threads[thread as usize]
    }

    /// Whether an operation is still in flight, as the host asks before it writes an entry.
    pub fn in_flight(&self, thread: u32, op: u8, by: u8) -> bool {
        self.mutant.in_flight(self.thread(thread), op.into(), uuid(by.into()))
    }

    pub fn distinct(&self) -> usize {
        self.threads.len()
    }

    /// Asks; beside the answer, what is wrong with the step in itself.
    pub fn ask(&mut self, thread: u32, ask: Ask) -> (u32, &Answer) {
        let (next, answer) = match self.asked.get(&(thread, ask)) {
            Some(known) => *known,
            None => {
                let (next, said, wrong, sorry) = self.find_out(thread, ask);
                let found = (said, wrong, sorry);
                let next = self.intern(next);
                let answer = match self.answers.iter().position(|a| *a == found) {
                    Some(at) => at,
                    None => {
                        self.answers.push(found);
                        self.answers.len() - 1
                    }
                };
                self.asked.insert((thread, ask), (next, answer as u32));
                (next, answer as u32)
            }
        };
        (next, &self.answers[answer as usize])
    }

    fn find_out(&self, thread: u32, ask: Ask) -> (Thread, Said, Option<&'static str>, bool) {
        let old = &self.threads[thread as usize];
        let event = match ask {
            Ask::Tick => {
                let now = Now { mono_ms: NOW.mono_ms + TICK_MS, ..NOW };
                return (small(old.clone(), now, &self.rules), Said::Ok, None, false);
            }
            Ask::Reboot => {
                let now = Now { boot: 2, mono_ms: 5_000, ..NOW };
                return (small(old.clone(), now, &self.rules), Said::Ok, None, false);
            }
            // As `ridden` of crates/node/src/request/copy.rs asks.
            Ask::Push { epoch } => {
                let may = self.mutant.may_push(old, fence(old, epoch), NOW, &self.rules);
                return (old.clone(), if may { Said::Ok } else { Said::Refused }, None, false);
            }
            other => event(old, other),
        };
        let at = |wall_ms| {
            let now = Now { wall_ms, ..NOW };
            let (new, reply) = self.mutant.step(old.clone(), event.clone(), now, &self.rules, step);
            let wrong = wrong(old, &new, &reply, &ask);
            let told = owed(&new) > owed(old);
            let said = said(&reply, told);
            let sorry = unhandled(&new) > unhandled(old);
            (small(new, now, &self.rules), said, wrong, sorry)
        };
        let (early, late) = (at(NOW.wall_ms - HOUR_MS), at(NOW.wall_ms + HOUR_MS));
        if early == late {
            return early;
        }
        (early.0, early.1, Some("a jump of the wall clock changes a decision"), early.3)
    }

    fn intern(&mut self, t: Thread) -> u32 {
        let text = fingerprint(&serde_json::to_string(&t).unwrap_or_default());
        if let Some(known) = self.known.get(&text) {
            return *known;
        }
        let id = self.threads.len() as u32;
        self.facts.push(facts(&t, &self.rules));
        self.threads.push(t);
        self.known.insert(text, id);
        id
    }
}

fn event(t: &Thread, ask: Ask) -> Event {
    let holder = || Holder {
        name: "x".into(),
        host: "h".into(),
        identity: None,
        since_ms: 0,
        expires_in_ms: 0,
        phase: "ridden".into(),
        waiting_for: None,
        acceptable: false,
    };
    let other = if t.key.session == "t0" { 1 } else { 0 };
    match ask {
        Ask::Claim { driver, run, twins, held, steal } => Event::Claim(Box::new(ClaimAsked {
            identity: None,
            driver: Driver { name: format!("d{driver}"), host: "h".into(), process: process(ride_pid(driver, run)) },
            secret_sha256: format!("s{driver}"),
            grant: uuid(500 + t.epoch + 1),
            title: String::new(),
            claude: Some(ClaudeSession { id: uuid(50), config_dir: String::new(), cwd: String::new() }),
            route: Some(route()),
            twins: if twins { vec![session(other)] } else { Vec::new() },
            wait_ms: TICK_MS,
            session_held: held.then(holder),
            steal,
            adopts: None,
        })),
        Ask::Renew { driver, run, epoch, claude, active } => Event::Renew {
            fence: fence(t, epoch),
            secret_sha256: format!("s{driver}"),
            claude: claude.then(|| process(claude_pid(driver, run))),
            active,
        },
        Ask::Relay { epoch, items } => Event::Relay { fence: fence(t, epoch), items: bits(items).map(item).collect() },
        Ask::Along { epoch, id } => Event::TakeAlong {
            fence: fence(t, epoch),
            prompt: uuid(60),
            seqs: t.inbox.iter().filter(|h| number(&h.id) == id).map(|h| h.seq).collect(),
        },
        Ask::Release { epoch, accept } => Event::Release { fence: fence(t, epoch), accept_broken: accept },
        Ask::Copied { epoch } => Event::Copied { fence: fence(t, epoch), end: None },
        Ask::TakeBack { accept } => Event::TakeBack { by: "p".into(), accept_broken: accept },
        Ask::Dropped { epoch } => Event::Dropped { fence: fence(t, epoch) },
        Ask::Writer { epoch } => Event::Seen(Seen::Writer { fence: fence(t, epoch), pid: 9, program: String::new() }),
        Ask::Message { id, behind } => Event::Message(Box::new(Inbound {
            id: format!("m{id}"),
            unnamed: None,
            sender: "1".into(),
            name: "n".into(),
            text: "x".into(),
            client: None,
            route: Some(route()),
            host: json!(null),
            claude: None,
            behind: behind.then(holder),
        })),
        Ask::Take { by, behind, flying } => {
            Event::Take { performer: uuid(by.into()), behind, flying: bits(flying).map(u64::from).collect() }
        }
        Ask::Done { op, by, came } => Event::Done { op: op.into(), performer: uuid(by.into()), outcome: outcome(came) },
        Ask::Tick | Ask::Reboot | Ask::Push { .. } => unreachable!("no event"),
    }
}

fn outcome(came: Came) -> Outcome {
    let what = String::new;
    match came {
        Came::Nothing => unreachable!("nothing came of it yet"),
        Came::Ok => Outcome::Ok,
        Came::NotYet => Outcome::NotYet { what: what() },
        Came::ChildAgain => Outcome::ChildAgain,
        Came::Failed => Outcome::Failed { what: what(), reason: Reason::Host },
        Came::Copied(threads) => Outcome::Copied {
            bindings: bits(threads)
                .map(|i| Parked { session: session(i), binding: json!({}), reset_mark: String::new() })
                .collect(),
        },
        Came::Slipped => Outcome::Slipped { sessions: vec!["other".into()] },
        Came::Marked => Outcome::Marked {
            beside: Vec::new(),
            mark: ChainMark { path: String::new(), dev: 0, ino: 0, size: 0, tail_sha256: String::new(), leaf: None },
        },
        Came::Alive => Outcome::Alive,
        Came::Gone => Outcome::Gone,
        Came::Shown(items) => Outcome::Shown { turns: bits(items).map(item).collect(), beside: Vec::new() },
        Came::Broken => Outcome::Broken { what: what() },
        Came::Sent => Outcome::Sent { message_id: what() },
        Came::NotSent => Outcome::NotSent { what: what(), retry: true, after_ms: None },
        Came::Refused => Outcome::NotSent { what: what(), retry: false, after_ms: None },
        Came::Unknown => Outcome::Unknown { what: what() },
        Came::RouteChanged => Outcome::RouteChanged { to: what() },
    }
}

fn said(reply: &Reply, told: bool) -> Said {
    match reply {
        Reply::Ok => Said::Ok,
        Reply::Claiming { fence } => Said::Claiming { epoch: fence.epoch as u8 },
        Reply::Relayed { .. } => Said::Relayed,
        Reply::Taken { .. } => Said::Taken,
        Reply::Refused { .. } => Said::Refused,
        Reply::Said { .. } => unreachable!("the drivers of this world ride with Claude Code"),
        Reply::Admit { .. } => Said::Admit,
        Reply::Hold => Said::Hold { told },
        Reply::Decline { .. } => Said::Decline,
        Reply::Work { effects, .. } => Said::Work(effects.iter().map(|e| doing(&e.act)).collect()),
    }
}

/// The name of an effect's number, and the effect.
fn doing(act: &Act) -> (u8, Do) {
    match act {
        Act::Settle { sessions } => (1, Do::Settle { threads: threads_of(sessions) }),
        Act::EndChild { .. } => (1, Do::EndChild),
        Act::Copy { sessions, .. } => (1, Do::Copy { threads: threads_of(sessions) }),
        Act::Park { sessions, .. } => (1, Do::Park { threads: threads_of(sessions) }),
        Act::Barrier { sessions } => (1, Do::Barrier { threads: threads_of(sessions) }),
        Act::Acknowledge { .. } => (1, Do::Acknowledge),
        Act::Prove { process, ride, .. } => {
            let pid = |p: &Option<Process>| p.as_ref().map_or(0, |p| p.pid as u8);
            (1, Do::Prove { pid: pid(process), ride: pid(ride) })
        }
        Act::Mark { .. } => (1, Do::Mark),
        Act::Show { .. } => (1, Do::Show),
        Act::Restore { parked, over, .. } => (
            1,
            Do::Restore {
                threads: parked.iter().fold(0, |m, p| m | if p.session == "t0" { 1 } else { 2 }),
                over: *over,
            },
        ),
        Act::Probe { driver, process, .. } => {
            (2, Do::Probe { ride: driver.pid as u8, claude: process.as_ref().map_or(0, |p| p.pid as u8) })
        }
        Act::Send { session, item } => (
            3,
            Do::Send {
                item: if item.kind == Kind::Notice { 7 } else { number(&item.id) },
                repeat: item.repeat,
                marked: item.text.starts_with("(may be a repeat)"),
                route: session.is_some(),
            },
        ),
        Act::Hand { held, .. } => (4, Do::Hand { id: number(&held.id), repeat: held.repeat }),
        Act::Follow { .. } => unreachable!("the drivers of this world ride with Claude Code"),
        Act::Adopt { .. } => unreachable!("nobody adopts in this world"),
        Act::Look { .. } => unreachable!("nobody opens a session outside a ride in this world"),
    }
}

/// What no step may do, whatever the world.
fn wrong(old: &Thread, new: &Thread, reply: &Reply, ask: &Ask) -> Option<&'static str> {
    if new.next < old.next {
        return Some("I2: a number is given out twice");
    }
    if new.epoch < old.epoch {
        return Some("I2: the epoch fell");
    }
    if let (Reply::Claiming { fence }, None) = (reply, old.lease())
        && fence.epoch <= old.epoch
    {
        return Some("I2: an epoch is granted twice");
    }
    if !matches!(new.phase, Phase::Open) && !new.closed() {
        return Some("I3: the gate is open while the thread changes hands");
    }
    if let Phase::Ridden { lease } = &new.phase
        && lease.mark.is_none()
    {
        return Some("I5: ridden without a mark of the transcript");
    }
    let opened = matches!(new.phase, Phase::Open) && matches!(old.phase, Phase::Leaving { .. });
    if opened && new.outbox.iter().any(|o| o.kind != Kind::Notice) {
        return Some("I4: the thread opened before what was said in the ride had arrived");
    }
    if told_beside(new) && !told_beside(old) && !said_beside(new) {
        return Some("I5: a turn ran beside the ride and nobody was told");
    }
    // A message is answered, held, or its sender is told; a repeated one was already.
    if let (Ask::Message { .. }, Reply::Hold) = (ask, reply) {
        let id = |t: &Thread| t.inbox.iter().map(|h| h.id.clone()).collect::<Vec<_>>();
        if id(old) == id(new) && owed(old) == owed(new) && old.met.len() == new.met.len() && new != old {
            return Some("I3: a message is neither held nor refused");
        }
    }
    None
}

/// How much is to be said beside the turns of rides.
fn owed(t: &Thread) -> u32 {
    let of = |notice: &Notice| match &notice.words {
        Words::Text { .. } => 1,
        Words::Owed { owed, .. } => u32::from(owed.kept) + owed.unkept + owed.commands + owed.unhandled,
    };
    t.notices.iter().map(of).sum()
}

/// How many messages their senders are asked to send again.
fn unhandled(t: &Thread) -> u32 {
    let of = |notice: &Notice| if let Words::Owed { owed, .. } = &notice.words { owed.unhandled } else { 0 };
    t.notices.iter().map(of).sum()
}

/// Whether the thread is told of a turn beside the ride.
fn said_beside(t: &Thread) -> bool {
    t.notices.iter().any(|notice| matches!(&notice.words, Words::Text { text } if text.contains("ran a turn beside")))
}

fn told_beside(t: &Thread) -> bool {
    t.lease().is_some_and(|lease| lease.was_told(NewsKind::Turn))
}

fn facts(t: &Thread, rules: &Rules) -> Facts {
    let flight = |f: Option<Flight>| f.map_or(0, |f| f.performer.as_u128() as u8);
    let (is, stage) = match &t.phase {
        Phase::Open => (Is::Open, None),
        Phase::Claiming { at, .. } => (Is::Claiming(at.stage), at.flight),
        Phase::Ridden { .. } => (Is::Ridden, None),
        Phase::Leaving { at, .. } => (Is::Leaving(at.stage), at.flight),
    };
    let why = match &t.phase {
        Phase::Leaving { why, .. } => Some(why),
        _ => None,
    };
    let lease = t.lease();
    let mask = |ids: &mut dyn Iterator<Item = u8>| ids.fold(0u8, |m, k| m | 1 << k);
    let turns = |o: &std::collections::VecDeque<ride_core::thread::Outgoing>| {
        mask(&mut o.iter().filter(|o| o.kind != Kind::Notice).map(|o| number(&o.id)))
    };
    Facts {
        is,
        epoch: t.epoch as u8,
        lease: lease.map_or(0, |l| l.fence.epoch as u8),
        heir: t.heir().map_or(0, |h| h.fence.epoch as u8),
        released: why == Some(&Why::Released),
        expired: why == Some(&Why::Expired),
        last_expired: t.last.as_ref().filter(|l| l.why == Why::Expired).map_or(0, |l| l.fence.epoch as u8),
        last: t.last.as_ref().map_or(0, |l| l.fence.epoch as u8),
        twins: lease.is_some_and(|l| !l.twins.is_empty()),
        copy: lease.is_some_and(|l| l.copy.is_some()),
        beside: told_beside(t),
        parked: lease.map_or(0, |l| l.parked.iter().fold(0, |m, p| m | if p.session == "t0" { 1 } else { 2 })),
        inbox: mask(&mut t.inbox.iter().map(|h| number(&h.id))),
        inbox_len: t.inbox.len() as u8,
        outbox: turns(&t.outbox),
        outbox_len: t.outbox.len() as u8,
        undelivered: turns(&t.undelivered),
        closed: t.closed(),
        doubts: [flight(t.outbox.front().and_then(|o| o.doubt)), flight(t.inbox.front().and_then(|h| h.doubt))],
        flights: [flight(stage), flight(lease.and_then(|l| l.probe)), flight(t.sending), flight(t.handing)],
        left: view::renewed(t, NOW, rules).map_or(0, |r| (r.expires_in_ms / TICK_MS) as u8),
    }
}

/// Leaves out what decides nothing, and measures time from now in ticks.
fn small(mut t: Thread, now: Now, rules: &Rules) -> Thread {
    let stamp = |s: Stamp, most: u64| match now.since_ms(s) {
        None => Stamp { boot: 0, mono_ms: 0 },
        Some(gone) => Stamp {
            boot: NOW.boot,
            mono_ms: NOW.mono_ms - (gone / TICK_MS * TICK_MS).min(most.next_multiple_of(TICK_MS)),
        },
    };
    let named = |f: &mut Option<Flight>, op: u64| {
        if let Some(f) = f {
            f.op = op;
        }
    };
    fn calm<S>(at: &mut At<S>) {
        at.again = None;
        at.tries = 0;
        if let Some(blocked) = &mut at.blocked {
            blocked.clear();
        }
        if let Some(flight) = &mut at.flight {
            flight.op = 1;
        }
    }
    t.next = FRESH;
    t.journal.clear();
    // Only what a person is told at a claim follows from it.
    t.rest = None;
    // No turn, and no end of a ride, waits for what is said beside them.
    (t.notices, t.noticed) = (Default::default(), Default::default());
    named(&mut t.handing, 4);
    named(&mut t.sending, 3);
    for (n, held) in t.inbox.iter_mut().enumerate() {
        (held.seq, held.at_ms, held.again, held.attempts) = (n as u64, 0, None, 0);
        named(&mut held.doubt, DOUBT_HAND.into());
    }
    for (n, out) in t.outbox.iter_mut().chain(&mut t.undelivered).enumerate() {
        (out.seq, out.again, out.attempts) = (n as u64, None, 0);
        named(&mut out.doubt, DOUBT_SEND.into());
        if out.kind == Kind::Notice {
            out.id = "n".into();
        }
    }
    t.undelivered.iter_mut().for_each(|u| (u.seq, u.doubt) = (0, None));
    if let Some(last) = &mut t.last
        && let Why::Failed { text, .. } = &mut last.why
    {
        text.clear();
    }
    match &mut t.phase {
        Phase::Open | Phase::Ridden { .. } => {}
        Phase::Claiming { at, give_up, .. } => {
            calm(at);
            *give_up = Deadline { from: NOW.stamp(), ms: give_up.left_ms(now).div_ceil(TICK_MS) * TICK_MS };
        }
        Phase::Leaving { at, why, heir, .. } => {
            calm(at);
            if let Some(heir) = heir {
                heir.since_ms = 0;
                heir.give_up =
                    Deadline { from: NOW.stamp(), ms: heir.give_up.left_ms(now).div_ceil(TICK_MS) * TICK_MS };
            }
            if let Why::Failed { text, .. } = why {
                text.clear();
            }
        }
    }
    let ridden = matches!(t.phase, Phase::Ridden { .. });
    // Whoever was not asked counts for as long as it may think that the lease is its own.
    let unasked = matches!(
        &t.phase,
        Phase::Leaving { why: Why::Back | Why::Stolen { .. } | Why::TakenBack { .. } | Why::Writer { .. }, .. }
    );
    if let Some(lease) = t.lease_mut() {
        lease.since_ms = 0;
        let silence = if rules.silence_ms > 10 * TICK_MS { 0 } else { rules.silence_ms };
        lease.renewed = if ridden || unasked { stamp(lease.renewed, rules.lease_ms) } else { NOW.stamp() };
        lease.active = if ridden { stamp(lease.active, silence) } else { NOW.stamp() };
        lease.dropped = lease.dropped.map(|_| NOW.stamp());
        lease.probe_again = None;
        for news in &mut lease.news {
            (news.seq, news.at_ms) = (0, 0);
            news.text.clear();
        }
        named(&mut lease.probe, 2);
        if let Some(why) = &mut lease.relay_stopped {
            why.clear();
        }
    }
    t
}
