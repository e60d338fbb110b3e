//! The gateway: the thread, the performer and its effects, the agent's turns.

use std::collections::HashMap;

use ride::ride::state::Trouble;
use ride_core::event::{Act, ClaimAsked, Effect, Event, Inbound, Outcome, Reply};
use ride_core::id::{Fence, Process, Route, ThreadKey};
use ride_core::rules::Rules;
use ride_core::step::step;
use ride_core::thread::{ClaudeSession, Parked, Phase, Thread, Why, Words};
use ride_core::time::Now;
use ride_core::wire::{
    ChainMark, ClaudeTarget, Driver as Name, Grant, Inbox, Inboxed, Reason, Relay, RelayItem, RelayKind, Relayed,
    Release, Released, Renew, Renewed, Take, Taken,
};
use ride_core::{limits, view};
use serde_json::json;
use uuid::Uuid;

use crate::driver::{HERE, Heard};
use crate::outside::{Line, Message};
use crate::terminal::Terminal;
use crate::{Next, Sim};

pub const KEY: &str = "agent:main:telegram:group:-100:topic:42";
pub const CLAUDE: Uuid = Uuid::from_u128(7);
/// A claim waits for so long.
const WAIT_MS: u64 = 60_000;
/// Messages of a flood are numbered from here on.
const FLOODED: usize = 1_000;

/// A driver's request.
#[derive(Debug)]
pub enum Asked {
    Claim {
        secret: String,
        process: Process,
        steal: bool,
    },
    Renew(u64, Renew),
    Relay(Relay),
    Inbox(Inbox),
    Take(Take),
    Release(Release),
    Copy(Fence),
    /// Lines behind the first so many.
    Push {
        fence: Fence,
        from: usize,
        lines: Vec<Line>,
    },
}

pub struct Gateway {
    pub thread: Thread,
    pub up: bool,
    /// Grows with each start of the process and each reload.
    pub life: u64,
    performer: u128,
    flying: HashMap<u64, Act>,
    /// Claims and releases that wait for their answer.
    waits: Vec<(usize, u64, bool, Fence)>,
    /// The connection the ride was last heard on.
    heard: Option<(usize, u64, Fence)>,
    looks_at: u64,
    grants: u64,
    /// Grows with each start of the process.
    process: u64,
    /// The host answers so many more patches too late.
    pub slow_patches: u64,
    /// Patches whose callback has agreed, and that are not written yet.
    to_be_written: u64,
}

fn route() -> Route {
    Route { channel: "telegram".into(), to: "telegram:-100".into(), account_id: None, thread_id: Some("42".into()) }
}

fn secret_sha256(secret: &str) -> String {
    format!("sha256 of {secret}")
}

impl Gateway {
    pub fn new() -> Gateway {
        let key = ThreadKey { gateway: "/state".into(), session: KEY.into() };
        Gateway {
            thread: Thread::new(key, Uuid::from_u128(1)),
            up: true,
            life: 0,
            performer: 1,
            flying: HashMap::new(),
            waits: Vec::new(),
            heard: None,
            looks_at: 0,
            grants: 0,
            process: 0,
            slow_patches: 0,
            to_be_written: 0,
        }
    }
}

impl Gateway {
    pub(crate) fn process(&self) -> u64 {
        self.process
    }
}

impl Sim {
    fn time(&self) -> Now {
        Now {
            boot: 1,
            mono_ms: self.now,
            wall_ms: 1_700_000_000_000u64.saturating_add_signed(self.wall + self.now as i64),
        }
    }

    /// Commits an event; whoever waits hears what came of it, and the performer looks.
    fn commit(&mut self, event: Event) -> Reply {
        let before = self.gateway.thread.journal.clone();
        let (thread, reply) = step(self.gateway.thread.clone(), event, self.time(), &Rules::default());
        // The journal is short: its oldest lines go.
        let kept = (0..=before.len())
            .find(|gone| thread.journal.iter().take(before.len() - gone).eq(before.iter().skip(*gone)))
            .unwrap_or(0);
        let fresh: Vec<String> =
            thread.journal.iter().skip(before.len() - kept).map(|line| line.what.clone()).collect();
        self.gateway.thread = thread;
        for what in fresh {
            self.ways(&what);
            self.log(format!("thread: {what}"));
        }
        self.answer_waiting();
        reply
    }

    /// Rare ways that the thread's journal tells of.
    fn ways(&mut self, what: &str) {
        let told = [
            ("come back", "a driver came back by its secret"),
            ("leaves: its lease ran out", "a lease ran out"),
            ("takes it over", "a ridden thread was taken over"),
            ("takes it back", "a ridden thread was taken back"),
            ("from the transcript", "a turn was taken from the transcript"),
        ];
        told.iter().filter(|(words, _)| what.contains(words)).for_each(|(_, way)| self.reached(way));
        let leaves = matches!(&self.gateway.thread.phase, Phase::Leaving { why: Why::Failed { .. }, .. });
        if leaves && what.contains("failed: ") {
            self.reached("a claim failed after parking");
        }
    }

    /// The same, and the performer looks at once.
    pub(crate) fn tell(&mut self, event: Event) -> Reply {
        let reply = self.commit(event);
        self.take();
        reply
    }

    fn take(&mut self) {
        if !self.gateway.up {
            return;
        }
        let performer = Uuid::from_u128(self.gateway.performer);
        let flying = self.gateway.flying.keys().copied().collect();
        let Reply::Work { effects, wake_in_ms } = self.commit(Event::Take { performer, behind: false, flying }) else {
            return;
        };
        for Effect { op, act } in effects {
            let before = self.gateway.thread.outbox.front().is_some_and(|head| head.attempts < limits::ATTEMPTS);
            if before && matches!(&act, Act::Send { item, .. } if item.id.starts_with("notice:")) {
                self.broken("bounds: a notice goes before a turn");
            }
            let takes = match &act {
                Act::Send { .. } => self.dice.between(20, 900),
                Act::EndChild { .. } => self.dice.between(20, 1_500),
                Act::Show { .. } | Act::Mark { .. } => self.dice.between(5, 300),
                _ => self.dice.between(1, 60),
            };
            self.gateway.flying.insert(op, act);
            self.later(takes, Next::Performs { performer: self.gateway.performer, op });
        }
        if let Some(ms) = wake_in_ms {
            let at = self.now + ms.max(1);
            if self.gateway.looks_at <= self.now || at < self.gateway.looks_at {
                self.gateway.looks_at = at;
                let life = self.gateway.life;
                self.later(ms.max(1), Next::Looks { life });
            }
        }
    }

    pub(crate) fn looks(&mut self, life: u64) {
        if life == self.gateway.life {
            self.take();
        }
    }

    pub(crate) fn performs(&mut self, performer: u128, op: u64) {
        if performer != self.gateway.performer {
            return;
        }
        let Some(act) = self.gateway.flying.get(&op).cloned() else { return };
        if is_patch(&act) && self.gateway.slow_patches > 0 {
            self.gateway.slow_patches -= 1;
            self.reached("the outcome of a patch was unknown");
            self.outlives(performer, op, &act);
            return self.done(op, Outcome::Unknown { what: "no answer within 60 s".into() });
        }
        let Some(outcome) = self.perform(op, &act) else { return };
        self.done(op, outcome);
    }

    /// A patch goes on that nobody waits for: its callback has run, or runs later.
    fn outlives(&mut self, performer: u128, op: u64, act: &Act) {
        let (process, parks) = (self.gateway.process, matches!(act, Act::Park { .. }));
        let after = self.dice.between(1, 90_000);
        if self.dice.one_in(2) {
            self.gateway.to_be_written += 1;
            self.later(after, Next::Written { process, parks });
        } else {
            self.later(after, Next::LatePatch { process, performer, op, parks });
        }
    }

    pub(crate) fn late_patch(&mut self, process: u64, performer: u128, op: u64, parks: bool) {
        if process != self.gateway.process {
            return;
        }
        if view::in_flight(&self.gateway.thread, op, Uuid::from_u128(performer)) {
            self.outside.parked = parks;
        } else {
            self.reached("a late patch declined");
        }
    }

    pub(crate) fn written(&mut self, process: u64, parks: bool) {
        if process != self.gateway.process {
            return;
        }
        self.gateway.to_be_written -= 1;
        self.outside.parked = parks;
        self.reached("a patch that had agreed was written late");
    }

    fn done(&mut self, op: u64, outcome: Outcome) {
        self.gateway.flying.remove(&op);
        let performer = Uuid::from_u128(self.gateway.performer);
        self.tell(Event::Done { op, performer, outcome });
    }

    /// What an effect does; `None` for one whose end comes later.
    fn perform(&mut self, op: u64, act: &Act) -> Option<Outcome> {
        let not_yet = |what: &str| Some(Outcome::NotYet { what: what.into() });
        match act {
            Act::Settle { .. } if !self.outside.agent.is_idle() => not_yet("a turn of the agent"),
            Act::Settle { .. } => Some(Outcome::Ok),
            Act::EndChild { .. } if self.outside.agent.turn.is_some() => not_yet("the agent's Claude is busy"),
            Act::EndChild { .. } => {
                self.outside.agent.child = false;
                Some(Outcome::Ok)
            }
            Act::Copy { .. } if self.outside.parked => Some(Outcome::Copied { bindings: Vec::new() }),
            Act::Copy { .. } => {
                let binding = Parked { session: KEY.into(), binding: json!({}), reset_mark: String::new() };
                Some(Outcome::Copied { bindings: vec![binding] })
            }
            Act::Park { .. } => {
                self.outside.parked = true;
                Some(Outcome::Ok)
            }
            Act::Barrier { .. } if self.gateway.to_be_written > 0 => {
                self.reached("an empty patch waited behind a late one");
                self.later(2_000, Next::Performs { performer: self.gateway.performer, op });
                None
            }
            Act::Barrier { .. } | Act::Acknowledge { .. } => Some(Outcome::Ok),
            Act::Restore { .. } => {
                self.outside.parked = false;
                Some(Outcome::Ok)
            }
            Act::Prove { process, ride, .. } => {
                let lives = [process, ride].into_iter().flatten().any(|p| self.lives(p));
                if let Some(other) = [process, ride].into_iter().flatten().find(|p| p.machine != HERE) {
                    return Some(Outcome::Broken { what: format!("process {} of another machine", other.pid) });
                }
                if self.outside.terminal.is_some() {
                    if matches!(self.gateway.thread.phase, Phase::Claiming { .. }) {
                        self.reached("a claim met a terminal");
                    }
                    return not_yet("a process has the Claude session open");
                }
                if lives || self.drivers.iter().any(|d| !d.elsewhere && d.claude.is_some()) {
                    return not_yet("a driver's process has not ended");
                }
                Some(if self.outside.agent.child { Outcome::ChildAgain } else { Outcome::Ok })
            }
            Act::Mark { .. } => Some(Outcome::Marked { mark: self.mark(), beside: Vec::new() }),
            Act::Show { copy: Some(end), .. }
                if (end.size, end.leaf) != (self.outside.transcript.len() as u64, self.outside.leaf()) =>
            {
                self.broken("I5: a copy was released, and the gateway's transcript does not end where it does");
                None
            }
            Act::Show { mark, .. } => {
                Some(Outcome::Shown { turns: self.outside.turns_after(mark.leaf), beside: Vec::new() })
            }
            Act::Probe { driver, process, .. } => {
                // What cannot be looked at from here may live: its lease decides.
                let lives =
                    driver.machine != HERE || self.lives(driver) || process.as_ref().is_some_and(|p| self.lives(p));
                Some(if lives { Outcome::Alive } else { Outcome::Gone })
            }
            Act::Send { item, .. } => {
                if self.outside.bad_channel > 0 {
                    self.outside.bad_channel -= 1;
                    let arrived = self.dice.one_in(2);
                    if self.dice.one_in(2) {
                        return Some(Outcome::NotSent { what: "502".into(), retry: true, after_ms: None });
                    }
                    *self.outside.unknown.entry(item.id.clone()).or_default() += 1;
                    if arrived {
                        self.outside.shows(item);
                    }
                    return Some(Outcome::Unknown { what: "no answer".into() });
                }
                self.outside.shows(item);
                self.log(format!("channel: {}", item.id));
                Some(Outcome::Sent { message_id: item.id.clone() })
            }
            Act::Look { processes } => {
                let lives = |p: &&Process| self.outside.terminal.as_ref().is_some_and(|t| t.is(p));
                let gone = processes.iter().filter(|p| !lives(p)).cloned().collect();
                Some(Outcome::Looked { gone, unseen: Vec::new() })
            }
            // As `handing` of plugins/openclaw/lib/gate.js: it is not let in.
            Act::Hand { .. } if self.outside.terminal.as_ref().is_some_and(Terminal::is_known) => {
                not_yet("its Claude session is held")
            }
            Act::Hand { held, .. } => {
                if !self.outside.agent.is_idle() {
                    return not_yet("a turn of the agent");
                }
                let n = held.id.trim_start_matches('m').parse().unwrap_or(0);
                let message = self.outside.messages.entry(n).or_default();
                message.answered += 1;
                message.marked += u32::from(held.repeat);
                if held.repeat {
                    self.reached("a message was handed over again, marked");
                }
                self.agent_begins(n, Some(op));
                None
            }
            other => Some(Outcome::Failed { what: format!("{other:?}"), reason: Reason::Host }),
        }
    }

    fn mark(&self) -> ChainMark {
        let size = self.outside.transcript.len() as u64;
        ChainMark {
            path: "/t.jsonl".into(),
            dev: 1,
            ino: 2,
            size,
            tail_sha256: String::new(),
            leaf: self.outside.leaf(),
        }
    }

    fn agent_begins(&mut self, n: usize, op: Option<u64>) {
        if self.outside.parked {
            self.broken(format!("I5: the agent's turn for message {n} ran beside the ridden Claude session"));
        }
        let leaf = self.outside.leaf();
        let agent = &mut self.outside.agent;
        if !agent.child {
            (agent.child, agent.leaf) = (true, leaf);
        }
        agent.turns += 1;
        let turn = agent.turns;
        agent.turn = Some((turn, n, op));
        self.log(format!("agent: begins with message {n}"));
        let takes = self.dice.between(500, 20_000);
        self.later(takes, Next::AgentEnds { turn });
        if self.dice.one_in(4) {
            let during = self.dice.below(takes);
            self.later(during, Next::Opens);
        }
    }

    pub(crate) fn agent_ends(&mut self, turn: u64) {
        let Some((running, n, op)) = self.outside.agent.turn else { return };
        if running != turn {
            return;
        }
        for _ in 0..2 {
            let id = self.uuid();
            let straight = self.outside.append(Line { id, parent: self.outside.agent.leaf, turn: None });
            self.outside.agent.leaf = Some(id);
            if !straight {
                self.broken("I5: the agent's Claude made a fork");
            }
        }
        self.log(format!("agent: ends with message {n}"));
        self.outside.agent.turn = None;
        if let Some(op) = op {
            self.done(op, Outcome::Ok);
        } else {
            self.take();
        }
        self.agent_goes_on();
    }

    fn agent_goes_on(&mut self) {
        if self.outside.agent.turn.is_none() && !self.outside.agent.pending.is_empty() && self.gateway.up {
            let n = self.outside.agent.pending.remove(0);
            self.outside.messages.entry(n).or_default().answered += 1;
            self.agent_begins(n, None);
        }
    }

    /// Members of the chat write without end, and a rider says more than the channel takes.
    pub(crate) fn flood(&mut self, nth: u64) {
        if self.gateway.up && matches!(self.gateway.thread.phase, Phase::Ridden { .. }) {
            let crowd = self.dice.one_in(2);
            for _ in 0..self.dice.between(20, 120) {
                self.written += 1;
                let sender = if crowd { self.written % 97 } else { 0 };
                let text = if self.dice.one_in(3) { "/new" } else { "x" };
                self.writes(FLOODED + self.written, &format!("e{sender}"), text);
            }
            if self.dice.one_in(3) {
                self.says_much(nth);
            }
            self.bounds();
        }
        let pause = self.dice.between(2_000, 30_000);
        // The storm ends before the calm: nobody writes then.
        if nth < 12 {
            self.later(pause, Next::Flood(nth + 1));
        }
    }

    /// A rider hands over turns while the channel takes nothing, until it is told to wait.
    fn says_much(&mut self, nth: u64) {
        self.outside.bad_channel = 10;
        for part in 0..20 {
            let Some(fence) = self.gateway.thread.lease().map(|lease| lease.fence) else { return };
            let item =
                |n| RelayItem { id: format!("much {nth}.{part}.{n}"), kind: RelayKind::Answer, text: "x".into() };
            match self.commit(Event::Relay { fence, items: (0..limits::RELAY_ITEMS).map(item).collect() }) {
                Reply::Relayed { .. } => {}
                Reply::Refused { refusal, .. } if refusal.reason == Reason::OutboxFull => {
                    self.reached("outbox full");
                    return;
                }
                _ => return,
            }
        }
    }

    /// Which bounds are reached; none may be exceeded.
    fn bounds(&mut self) {
        let t = &self.gateway.thread;
        let owed = |several: bool| {
            t.notices
                .iter()
                .filter(|n| matches!(&n.words, Words::Owed { sender, .. } if sender.is_none() == several))
                .count()
        };
        let own = t.inbox.iter().filter(|held| held.sender == "e0").count();
        let sizes = [
            ("inbox full", t.inbox.len(), limits::INBOX_MESSAGES),
            ("a sender's part full", own, limits::INBOX_MESSAGES / limits::SENDER_PART),
            ("all owed", owed(false), limits::OWED),
            ("notices of a minute", t.noticed.len(), limits::NOTICES_A_MINUTE),
        ];
        let several = owed(true) > 0;
        for (name, size, most) in sizes {
            if size > most {
                self.broken(format!("bounds: {name}: {size} of {most}"));
            } else if size == most {
                self.reached(name);
            }
        }
        if several {
            self.reached("several people");
        }
    }

    pub(crate) fn message(&mut self, n: usize) {
        self.writes(n, &format!("{}", n % 3), &format!("message {n}"));
    }

    fn writes(&mut self, n: usize, sender: &str, text: &str) {
        if !self.gateway.up {
            // The channel keeps it until the gateway asks again.
            self.outside.unsent.push(n);
            return;
        }
        let known: Message = self.outside.messages.entry(n).or_default().clone();
        let before = self.gateway.thread.inbox.len();
        let reply = self.tell(Event::Message(Box::new(Inbound {
            id: format!("m{n}"),
            unnamed: None,
            sender: sender.into(),
            name: "Tess".into(),
            text: text.into(),
            client: None,
            route: Some(route()),
            host: json!(null),
            claude: Some(CLAUDE),
            behind: None,
        })));
        self.log(format!(
            "gate: message {n}: {}",
            match &reply {
                Reply::Admit { .. } => "ALLOW",
                Reply::Hold => "CANCEL (ridden)",
                _ => "declined",
            }
        ));
        let held = self.gateway.thread.inbox.len() > before
            || self.gateway.thread.inbox.iter().any(|held| held.id == format!("m{n}"));
        let message = self.outside.messages.entry(n).or_default();
        match reply {
            Reply::Admit { .. } if self.outside.terminal.as_ref().is_some_and(Terminal::is_known) => {
                self.broken("OPEN-1: a message was let in beside a terminal");
            }
            Reply::Admit { .. } => {
                message.admitted = true;
                self.outside.agent.pending.push(n);
                self.agent_goes_on();
            }
            Reply::Hold if held || known.held => message.held = true,
            _ => message.told = true,
        }
    }

    pub(crate) fn take_back(&mut self) {
        if self.gateway.up {
            self.log("fault: somebody takes the thread back");
            self.tell(Event::TakeBack { by: "Tess".into(), accept_broken: false });
            self.changed();
        }
    }

    /// The drivers that are connected hear that the thread changed.
    fn changed(&mut self) {
        for driver in 0..self.drivers.len() {
            let line = self.drivers[driver].line;
            self.respond(driver, line, Heard::Changed);
        }
    }

    /// Answers a driver, if the connection still stands.
    fn respond(&mut self, driver: usize, line: u64, heard: Heard) {
        if self.drivers[driver].line == line && self.drivers[driver].connected {
            let run = self.drivers[driver].run;
            let takes = self.dice.between(1, 80);
            self.later(takes, Next::Hears { driver, run, heard: Heard::Answer(line, Box::new(heard)) });
        }
    }

    pub(crate) fn asks(&mut self, driver: usize, line: u64, asked: Asked) {
        if !self.gateway.up || self.drivers[driver].line != line {
            return;
        }
        match asked {
            Asked::Claim { secret, process, steal } => self.claims(driver, line, &secret, process, steal),
            Asked::Renew(sent_ms, renew) => {
                let fence = renew.fence;
                let event = Event::Renew {
                    fence,
                    secret_sha256: secret_sha256(&renew.secret),
                    claude: renew.claude,
                    active: renew.active,
                };
                let reply = self.tell(event);
                let answer: Result<Renewed, Trouble> =
                    match (reply, view::renewed(&self.gateway.thread, self.time(), &Rules::default())) {
                        (Reply::Ok, Some(renewed)) => {
                            self.gateway.heard = Some((driver, line, fence));
                            Ok(renewed)
                        }
                        (reply, _) => Err(refused(reply)),
                    };
                self.respond(driver, line, Heard::Renewed(sent_ms, answer));
            }
            Asked::Relay(relay) => {
                let answer = match self.tell(Event::Relay { fence: relay.fence, items: relay.items }) {
                    Reply::Relayed { accepted } => {
                        Ok(Relayed { accepted, outbox: self.gateway.thread.outbox.len() as u32 })
                    }
                    reply => Err(refused(reply)),
                };
                self.respond(driver, line, Heard::Relayed(answer));
            }
            Asked::Inbox(inbox) => {
                let answer: Result<Inboxed, Trouble> = match view::inbox(&self.gateway.thread, inbox.fence, inbox.after)
                {
                    Some(inboxed) => Ok(inboxed),
                    None => {
                        Err(refused(view::stale(&self.gateway.thread, inbox.fence, self.time(), &Rules::default())))
                    }
                };
                self.respond(driver, line, Heard::Inboxed(answer));
            }
            Asked::Take(take) => {
                let ids: Vec<String> = self
                    .gateway
                    .thread
                    .inbox
                    .iter()
                    .filter(|held| take.seqs.contains(&held.seq))
                    .map(|held| held.id.clone())
                    .collect();
                let answer =
                    match self.tell(Event::TakeAlong { fence: take.fence, prompt: take.prompt, seqs: take.seqs }) {
                        Reply::Taken { waiting } => {
                            if !ids.is_empty() {
                                self.reached("a message rode along");
                            }
                            for id in ids {
                                let n = id.trim_start_matches('m').parse().unwrap_or(0);
                                self.outside.messages.entry(n).or_default().along = true;
                            }
                            Ok(Taken { waiting })
                        }
                        reply => Err(refused(reply)),
                    };
                self.respond(driver, line, Heard::Took(answer));
            }
            Asked::Copy(fence) => {
                let answer = match self.tell(Event::Copied { fence, end: None }) {
                    Reply::Ok => self.may_extend(fence).map(|()| self.outside.transcript.clone()),
                    reply => Err(refused(reply)),
                };
                self.respond(driver, line, Heard::Copied(answer));
            }
            Asked::Push { fence, from, lines } => {
                let answer = self.may_extend(fence).map(|()| self.extends(from, lines));
                self.respond(driver, line, Heard::Pushed(answer));
            }
            Asked::Release(release) => {
                if let Some(end) = release.copy {
                    self.reached("a copy was released");
                    self.tell(Event::Copied { fence: release.fence, end: Some(end) });
                }
                match self.tell(Event::Release { fence: release.fence, accept_broken: release.accept_broken_chain }) {
                    Reply::Ok => {
                        self.gateway.waits.push((driver, line, false, release.fence));
                        self.answer_waiting();
                    }
                    reply => self.respond(driver, line, Heard::Released(Err(refused(reply)))),
                }
            }
        }
    }

    /// As `ridden` of crates/node/src/request/copy.rs.
    fn may_extend(&self, fence: Fence) -> Result<(), Trouble> {
        let (thread, now, rules) = (&self.gateway.thread, self.time(), Rules::default());
        match view::on_copy(thread, fence, now, &rules) {
            Some(_) => Ok(()),
            None => Err(refused(view::stale(thread, fence, now, &rules))),
        }
    }

    /// Puts a range behind the transcript; what of it is there already stays, as `commit` of
    /// crates/store/src/copy.rs has it.
    fn extends(&mut self, from: usize, lines: Vec<Line>) -> u64 {
        let end = (from + lines.len()) as u64;
        let there = self.outside.transcript.len().saturating_sub(from);
        let alike = self.outside.transcript.iter().skip(from).zip(&lines).all(|(a, b)| a.id == b.id);
        if !alike || there > lines.len() || self.outside.agent.child {
            self.broken(format!(
                "I1: somebody else wrote while d2 had the thread: {there} lines where its range begins"
            ));
        }
        for line in lines.into_iter().skip(there) {
            if !self.outside.append(line) {
                self.broken("I5: a push made a fork");
            }
        }
        end
    }

    fn claims(&mut self, driver: usize, line: u64, secret: &str, process: Process, steal: bool) {
        self.gateway.grants += 1;
        let held = self.gateway.thread.lease().is_some();
        let event = ClaimAsked {
            identity: None,
            driver: Name { name: format!("d{driver}"), host: "h".into(), process },
            secret_sha256: secret_sha256(secret),
            grant: Uuid::from_u128(u128::from(self.gateway.grants) << 64),
            title: "Plans".into(),
            claude: Some(ClaudeSession { id: CLAUDE, config_dir: "/c".into(), cwd: "/w".into() }),
            route: Some(route()),
            twins: Vec::new(),
            wait_ms: WAIT_MS,
            session_held: None,
            steal,
            adopts: None,
        };
        match self.tell(Event::Claim(Box::new(event))) {
            Reply::Claiming { fence } => {
                self.gateway.heard = Some((driver, line, fence)).filter(|_| !held).or(self.gateway.heard);
                self.gateway.waits.push((driver, line, true, fence));
                self.answer_waiting();
                self.changed();
            }
            reply => self.respond(driver, line, Heard::Granted(Err(refused(reply)))),
        }
    }

    /// Those who wait for a grant or a release hear of it once it is there.
    fn answer_waiting(&mut self) {
        let waits = std::mem::take(&mut self.gateway.waits);
        for (driver, line, claim, fence) in waits {
            let thread = &self.gateway.thread;
            let heard = if claim {
                self.granted(fence).map(Heard::Granted)
            } else {
                thread.lease().is_none_or(|lease| lease.fence != fence).then(|| {
                    let (waiting, undelivered) = (thread.inbox.len() as u32, thread.undelivered());
                    Heard::Released(Ok(Released {
                        open: true,
                        waiting_for: None,
                        acceptable: false,
                        waiting,
                        undelivered,
                    }))
                })
            };
            match heard {
                None => self.gateway.waits.push((driver, line, claim, fence)),
                Some(heard) => {
                    if let Heard::Granted(Ok(_)) = heard {
                        self.run.grants += 1;
                    }
                    self.respond(driver, line, heard);
                }
            }
        }
    }

    /// As `granted` of crates/node/src/request.rs.
    fn granted(&self, fence: Fence) -> Option<Result<Grant, Trouble>> {
        let thread = &self.gateway.thread;
        let claim = |reason, message: String| Some(Err(Trouble::Refused { reason, message, holder: None }));
        match &thread.phase {
            Phase::Claiming { lease, .. } if lease.fence == fence => None,
            Phase::Leaving { lease, why: Why::Failed { .. }, .. } if lease.fence == fence => None,
            Phase::Leaving { heir: Some(heir), .. } if heir.fence == fence => None,
            Phase::Ridden { lease } if lease.fence == fence => Some(Ok(Grant {
                locks: false,
                key: KEY.into(),
                fence,
                title: lease.title.clone().into(),
                route: lease.route.clone(),
                claude: lease.mark.clone().map(|mark| ClaudeTarget {
                    session_id: CLAUDE,
                    config_dir: "/c".into(),
                    cwd: "/w".into(),
                    transcript: mark.into(),
                }),
                turn: None,
                lease_ms: limits::LEASE_MS,
                renew_every_ms: limits::RENEW_EVERY_MS,
                silence_ms: Rules::default().silence_ms,
                relay: true,
                waiting: view::waiting(thread),
                beside: view::sides(&lease.beside),
            })),
            _ => match &thread.last {
                Some(last) if last.fence == fence => match &last.why {
                    Why::Failed { reason, text } => claim(reason.into(), text.clone()),
                    _ => claim(Reason::Stale, "the ride ended before it began".into()),
                },
                _ => claim(Reason::Stale, "the claim was overtaken".into()),
            },
        }
    }

    pub(crate) fn closes(&mut self, driver: usize, line: u64) {
        self.gateway.waits.retain(|(d, l, claim, fence)| {
            let _ = (claim, fence);
            (*d, *l) != (driver, line)
        });
        if !self.gateway.up {
            return;
        }
        if let Some((d, l, fence)) = self.gateway.heard
            && (d, l) == (driver, line)
        {
            self.gateway.heard = None;
            self.tell(Event::Dropped { fence });
        }
    }

    /// What is under way, in order, when nobody will hear what comes of it.
    fn interrupted(&mut self) -> Vec<(u64, Act)> {
        let mut flying: Vec<(u64, Act)> = std::mem::take(&mut self.gateway.flying).into_iter().collect();
        flying.sort_by_key(|(op, _)| *op);
        for (_, act) in &flying {
            match act {
                Act::Send { item, .. } => *self.outside.unknown.entry(item.id.clone()).or_default() += 1,
                Act::Hand { held, .. } => {
                    let n = held.id.trim_start_matches('m').parse().unwrap_or(0);
                    self.outside.messages.entry(n).or_default().unknown += 1;
                }
                _ => {}
            }
        }
        flying
    }

    pub(crate) fn crash(&mut self) {
        if !self.gateway.up {
            return;
        }
        self.log("fault: the gateway is killed");
        // What was under way has happened, or not.
        for (_, act) in self.interrupted() {
            let does = matches!(act, Act::Send { .. } | Act::Park { .. } | Act::Restore { .. }) && self.dice.one_in(2);
            if does {
                match &act {
                    Act::Send { item, .. } => self.outside.shows(item),
                    Act::Park { .. } => self.outside.parked = true,
                    _ => self.outside.parked = false,
                }
            }
        }
        // Its Claude child ends with it, and what the agent was about is the host's own loss.
        self.outside.agent.child = false;
        self.outside.agent.turn = None;
        self.outside.agent.pending.clear();
        self.gateway.up = false;
        self.gateway.process += 1;
        self.gateway.to_be_written = 0;
        self.gateway.life += 1;
        self.gateway.waits.clear();
        self.gateway.heard = None;
        for driver in 0..self.drivers.len() {
            self.disconnect(driver, false);
        }
        let down = self.dice.between(1_000, 40_000);
        self.later(down, Next::Starts);
    }

    pub(crate) fn starts(&mut self) {
        if self.gateway.up {
            return;
        }
        self.log("gateway: starts");
        self.gateway.up = true;
        self.gateway.performer += 1;
        self.gateway.looks_at = 0;
        // As `restarted` of crates/node/src/sync.rs: the drivers are looked for.
        let thread = &self.gateway.thread;
        let waits = thread.heir().map(|heir| heir.fence);
        let fences: Vec<Fence> = thread.lease().map(|lease| lease.fence).into_iter().chain(waits).collect();
        for fence in fences {
            self.commit(Event::Dropped { fence });
        }
        self.take();
        for n in std::mem::take(&mut self.outside.unsent) {
            self.later(10, Next::Message(n));
        }
    }

    /// Another copy of the plugin performs; what flew has an outcome nobody hears of.
    pub(crate) fn reload(&mut self) {
        if !self.gateway.up {
            return;
        }
        self.log("fault: the plugin is reloaded");
        for (op, act) in self.interrupted() {
            if is_patch(&act) {
                self.outlives(self.gateway.performer, op, &act);
            } else if matches!(act, Act::Send { .. }) {
                self.perform(op, &act);
            }
        }
        if let Some((_, n, Some(_))) = self.outside.agent.turn {
            // The turn goes on; who handed it over is gone.
            self.outside.agent.turn = self.outside.agent.turn.map(|(turn, _, _)| (turn, n, None));
        }
        self.gateway.performer += 1;
        self.gateway.life += 1;
        self.gateway.looks_at = 0;
        self.take();
    }

    fn lives(&self, process: &Process) -> bool {
        self.drivers
            .iter()
            .any(|d| d.ride_pid() == Some(process.pid) || d.claude.as_ref().is_some_and(|c| c.pid == process.pid))
    }
}

fn is_patch(act: &Act) -> bool {
    matches!(act, Act::Park { .. } | Act::Restore { .. })
}

/// As a client reads it.
fn refused(reply: Reply) -> Trouble {
    match reply {
        Reply::Refused { message, refusal } => {
            Trouble::Refused { reason: refusal.reason, message, holder: refusal.holder }
        }
        other => Trouble::Unsure(format!("{other:?}")),
    }
}
