//! A driver: a person, `ride` with its own decisions, and a Claude Code. The last one is on
//! another machine, and rides on a copy of the transcript.

use ride::link::{Ask, Ending, Origin, Prompt, Turn, Verdict};
use ride::ride::state::{Effect, Event, Outcome, Ride, Trouble, may_start};
use ride_core::id::{Fence, Process};
use ride_core::wire::{
    CopyEnd, Grant, Inboxed, RelayItem, RelayKind, Relayed, Release, Released, Renew, Renewed, Taken,
};
use uuid::Uuid;

use crate::gateway::{Asked, CLAUDE, KEY};
use crate::outside::{Line, items};
use crate::{DRIVERS, Next, Sim};

/// The mod gives `ride` so long for an answer; none means no.
const VERDICT_MS: u64 = 4_000;
/// From a turn's end until its last lines are in the file.
const WRITTEN_MS: u64 = 1_000;

/// What reaches a driver's process.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "some thousand of them in a run")]
pub enum Heard {
    /// On a connection, from the gateway.
    Answer(u64, Box<Heard>),
    Granted(Result<Grant, Trouble>),
    Renewed(u64, Result<Renewed, Trouble>),
    Relayed(Result<Relayed, Trouble>),
    Inboxed(Result<Inboxed, Trouble>),
    Took(Result<Taken, Trouble>),
    Released(Result<Released, Trouble>),
    /// The gateway's transcript, to be copied.
    Copied(Result<Vec<Line>, Trouble>),
    /// The gateway has so many lines.
    Pushed(Result<u64, Trouble>),
    Changed,
    /// Tries to connect.
    Connect,
    /// Its connection is gone.
    Down,
    Tick,
    /// Claude Code greets.
    Greets,
    /// A prompt was let in: it is in the transcript.
    Began {
        prompt: Uuid,
        along: bool,
    },
    /// Claude Code's turn ends.
    TurnEnds {
        prompt: Uuid,
    },
    /// The lines of the turn are in the copy.
    Grown,
    /// This Claude Code ends.
    ClaudeEnds(u32),
    /// No answer came to a claim.
    GivesUp,
    /// What Claude Code said while `ride` was stopped.
    Linked(Box<Event>),
}

/// A Claude Code of a driver.
#[derive(Debug)]
pub struct Claude {
    pub pid: u32,
    /// What it takes for the leaf.
    leaf: Option<Uuid>,
    turn: Option<Uuid>,
}

enum State {
    Off,
    /// A claim is under way.
    Asking,
    /// Granted on another machine; the copy is compared and brought.
    Copying(Box<Grant>),
    /// Granted; the lease is proven once more before Claude Code starts.
    Starting(Box<Grant>),
    Riding(Box<Ride>),
}

pub struct Driver {
    pub n: usize,
    /// Grows with each start of `ride`.
    pub run: u64,
    state: State,
    pub claude: Option<Claude>,
    pub connected: bool,
    /// The connection; grows.
    pub line: u64,
    paused_until: Option<u64>,
    /// What came while it was stopped.
    missed: Vec<Heard>,
    /// On its disk: of a ride that was not handed back, its secret; and the outbox.
    secret: Option<String>,
    disk: Vec<RelayItem>,
    /// Whether its machine is not the gateway's.
    pub elsewhere: bool,
    /// There: its copy of the transcript, of which the gateway had so many lines.
    copy: Vec<Line>,
    had: usize,
    said: Vec<RelayItem>,
    fence: Option<Fence>,
    /// Prompts the person still types before leaving.
    prompts: u64,
    /// The next prompt is to take along what waits.
    along: bool,
    pub leaves: bool,
    asks: u64,
}

impl Driver {
    pub fn new(n: usize) -> Driver {
        Driver {
            n,
            run: 0,
            state: State::Off,
            claude: None,
            connected: false,
            line: 0,
            paused_until: None,
            missed: Vec::new(),
            secret: None,
            disk: Vec::new(),
            elsewhere: n + 1 == DRIVERS,
            copy: Vec::new(),
            had: 0,
            said: Vec::new(),
            fence: None,
            prompts: 0,
            along: false,
            leaves: false,
            asks: 0,
        }
    }

    pub fn is_off(&self) -> bool {
        matches!(self.state, State::Off) && self.claude.is_none()
    }

    fn process(&self, pid: u32) -> Process {
        Process { machine: if self.elsewhere { "laptop" } else { HERE }.into(), namespace: None, pid, start: 1 }
    }

    /// The process of its `ride`, while that runs.
    pub fn ride_pid(&self) -> Option<u32> {
        (!matches!(self.state, State::Off)).then(|| pid(self.n, self.run, 0))
    }
}

fn pid(n: usize, run: u64, which: u32) -> u32 {
    (n as u32 + 1) * 100_000 + run as u32 * 10 + which
}

/// What its processes are called at the gateway's machine, which cannot look at another's.
pub const HERE: &str = "m";

impl Sim {
    pub(crate) fn uuid(&mut self) -> Uuid {
        self.count += 1;
        Uuid::from_u128(0xa000_0000_0000_0000_0000_0000_0000_0000 | u128::from(self.count))
    }

    fn asks_gateway(&mut self, d: usize, asked: Asked) {
        let line = self.drivers[d].line;
        if self.drivers[d].connected {
            let takes = self.dice.between(1, 80);
            self.later(takes, Next::Asks { driver: d, line, asked });
        }
    }

    fn hear_later(&mut self, d: usize, after: u64, heard: Heard) {
        let run = self.drivers[d].run;
        self.later(after, Next::Hears { driver: d, run, heard });
    }

    /// The person at the terminal does the next thing.
    pub(crate) fn person(&mut self, d: usize) {
        let driver = &mut self.drivers[d];
        let mut next = self.dice.between(1_000, 40_000);
        match &driver.state {
            State::Off if driver.leaves => return,
            State::Off => {
                driver.run += 1;
                driver.prompts = self.dice.below(6);
                driver.state = State::Asking;
                if driver.secret.is_none() {
                    driver.secret = Some(format!("secret {} of d{d}", driver.run));
                }
                self.log(format!("d{d}: starts"));
                self.hear_later(d, 1, Heard::Connect);
                self.hear_later(d, 90_000, Heard::GivesUp);
            }
            State::Asking | State::Copying(_) | State::Starting(_) => {}
            State::Riding(_) if driver.paused_until.is_some() => {}
            State::Riding(_) => {
                let busy = driver.claude.as_ref().is_some_and(|claude| claude.turn.is_some());
                if driver.claude.is_none() || busy && !driver.leaves {
                    next = self.dice.between(500, 3_000);
                } else if driver.prompts == 0 || driver.leaves {
                    // `/exit`.
                    self.log(format!("d{d}: leaves"));
                    self.end_claude(d, 300);
                    next = 5_000;
                } else {
                    driver.prompts -= 1;
                    self.types(d);
                }
            }
        }
        if self.drivers[d].leaves {
            next = next.min(2_000);
        }
        self.later(next, Next::Person { driver: d });
    }

    fn types(&mut self, d: usize) {
        let along = self.dice.one_in(3);
        let driver = &mut self.drivers[d];
        driver.asks += 1;
        driver.along = along;
        let text =
            if along { format!("{} what about these?", ride::ride::include::command()) } else { "go on".to_owned() };
        let ask = driver.asks;
        self.step(d, Event::Ask { ask, what: Ask::Prompt { text, origin: Origin::Person }, session: CLAUDE });
    }

    pub(crate) fn hears(&mut self, d: usize, run: u64, heard: Heard) {
        let driver = &mut self.drivers[d];
        // Claude Code goes its own way, whatever became of its `ride`.
        let alone = matches!(heard, Heard::ClaudeEnds(_) | Heard::TurnEnds { .. } | Heard::Began { .. });
        if driver.run != run && !alone {
            return;
        }
        if driver.paused_until.is_some() && !alone {
            driver.missed.push(heard);
            return;
        }
        match heard {
            Heard::Answer(line, heard) => {
                if line == self.drivers[d].line && self.drivers[d].connected {
                    self.answered(d, *heard);
                }
            }
            Heard::Connect => self.connects(d),
            Heard::Down => self.went_down(d),
            Heard::Tick => self.step(d, Event::Tick),
            Heard::Greets => {
                if let Some(claude) = &self.drivers[d].claude {
                    let greets = Event::Claude(self.drivers[d].process(claude.pid));
                    self.step(d, greets);
                }
            }
            Heard::Began { prompt, along } => self.began(d, prompt, along),
            Heard::TurnEnds { prompt } => self.turn_ends(d, prompt),
            Heard::Grown => {
                let driver = &self.drivers[d];
                let lines = driver.copy.len() as u64;
                if driver.claude.as_ref().is_none_or(|claude| claude.turn.is_none()) {
                    self.step(d, Event::Grown(lines));
                }
            }
            Heard::ClaudeEnds(pid) => self.claude_ends(d, pid),
            Heard::GivesUp => {
                if matches!(self.drivers[d].state, State::Asking) {
                    self.log(format!("d{d}: gives up its claim"));
                    self.over(d);
                }
            }
            other => self.answered(d, other),
        }
    }

    fn answered(&mut self, d: usize, heard: Heard) {
        match heard {
            Heard::Granted(answer) => self.granted_to(d, answer),
            Heard::Renewed(sent_ms, answer) => match std::mem::replace(&mut self.drivers[d].state, State::Off) {
                State::Starting(grant) => self.launches(d, *grant, sent_ms, answer),
                state => {
                    self.drivers[d].state = state;
                    self.step(d, Event::Renewed { sent_ms, answer });
                }
            },
            Heard::Relayed(answer) => self.step(d, Event::Relayed(answer)),
            Heard::Inboxed(answer) => self.step(d, Event::Inboxed(answer)),
            Heard::Took(answer) => self.step(d, Event::Took(answer)),
            Heard::Released(answer) => self.step(d, Event::Released(answer)),
            Heard::Copied(answer) => self.copied(d, answer),
            Heard::Pushed(answer) => self.step(d, Event::Pushed(answer)),
            Heard::Changed => self.step(d, Event::Changed(KEY.into())),
            _ => {}
        }
    }

    fn granted_to(&mut self, d: usize, answer: Result<Grant, Trouble>) {
        if !matches!(self.drivers[d].state, State::Asking) {
            return;
        }
        match answer {
            Ok(grant) if grant.claude.is_some() => {
                self.log(format!("d{d}: has it as {}", grant.fence));
                if self.drivers[d].elsewhere {
                    let fence = grant.fence;
                    self.drivers[d].state = State::Copying(Box::new(grant));
                    self.asks_gateway(d, Asked::Copy(fence));
                } else {
                    self.proves(d, grant);
                }
            }
            Ok(_) => self.broken("a grant without a Claude session"),
            Err(trouble) => {
                self.log(format!("d{d}: refused: {trouble:?}"));
                self.over(d);
            }
        }
    }

    /// Renews once more before Claude Code starts.
    fn proves(&mut self, d: usize, grant: Grant) {
        let (key, fence) = (grant.key.clone(), grant.fence);
        self.drivers[d].fence = Some(fence);
        let secret = self.drivers[d].secret.clone().unwrap_or_default();
        self.drivers[d].state = State::Starting(Box::new(grant));
        let renew = Renew { key, fence, secret, claude: None, active: false, lock: None };
        let sent_ms = self.now;
        self.asks_gateway(d, Asked::Renew(sent_ms, renew));
    }

    /// How the copy of here stands to the gateway's, as `standing` of crates/cli/src/copy.rs.
    fn copied(&mut self, d: usize, answer: Result<Vec<Line>, Trouble>) {
        let State::Copying(grant) = std::mem::replace(&mut self.drivers[d].state, State::Off) else { return };
        let there = match answer {
            Ok(there) => there,
            Err(trouble) => {
                self.log(format!("d{d}: has no copy: {trouble:?}"));
                return self.over(d);
            }
        };
        let here = &self.drivers[d].copy;
        let both = here.len().min(there.len());
        let alike = here[..both].iter().zip(&there).all(|(a, b)| a.id == b.id);
        let more = here.len() - both;
        if alike && more > 0 && self.dice.one_in(3) {
            self.log(format!("d{d}: does not go on with {more} lines that never reached the gateway"));
            let release = Release {
                key: grant.key.clone(),
                fence: grant.fence,
                accept_broken_chain: false,
                wait_ms: 0,
                copy: None,
            };
            self.asks_gateway(d, Asked::Release(release));
            return self.over(d);
        }
        self.drivers[d].had = there.len();
        self.drivers[d].said.clear();
        match (alike, more) {
            // As `ride repair` does where the gateway's branch is kept.
            (false, _) => {
                self.log(format!("d{d}: its branch is set aside"));
                self.drivers[d].copy = there;
            }
            (true, 0) => self.drivers[d].copy = there,
            (true, more) => {
                self.log(format!("d{d}: goes on with {more} lines that never reached the gateway"));
                self.drivers[d].said = items(&self.drivers[d].copy[there.len()..]);
            }
        }
        self.proves(d, *grant);
    }

    /// The lease is proven: Claude Code starts, and reads the transcript as it is.
    fn launches(&mut self, d: usize, grant: Grant, sent_ms: u64, answer: Result<Renewed, Trouble>) {
        let now = self.now;
        match answer {
            Ok(renewed) if may_start(sent_ms, &renewed, now) => {
                let driver = &mut self.drivers[d];
                let leaf = if driver.elsewhere { driver.copy.last().map(|line| line.id) } else { self.outside.leaf() };
                let secret = driver.secret.clone().unwrap_or_default();
                let mut ride = Ride::new(&grant, &secret, driver.disk.clone(), now);
                if driver.elsewhere {
                    ride.on_copy(driver.had as u64, driver.copy.len() as u64, now);
                    ride.said_before(std::mem::take(&mut driver.said));
                }
                driver.state = State::Riding(Box::new(ride));
                let claude = pid(d, driver.run, 1);
                driver.claude = Some(Claude { pid: claude, leaf, turn: None });
                self.log(format!("d{d}: Claude Code starts"));
                self.step(d, Event::Renewed { sent_ms, answer: Ok(renewed) });
                let claude = self.drivers[d].process(claude);
                self.step(d, Event::Claude(claude));
                self.step(d, Event::Up);
                let greets = self.dice.between(800, 3_000);
                self.hear_later(d, greets, Heard::Greets);
            }
            _ => {
                self.log(format!("d{d}: does not start Claude Code"));
                self.over(d);
            }
        }
    }

    /// Takes an event into the driver's decisions, and does what comes out.
    fn step(&mut self, d: usize, event: Event) {
        let now = self.now;
        let driver = &mut self.drivers[d];
        let State::Riding(ride) = &mut driver.state else { return };
        let effects = ride.step(event, now);
        let wake = ride.wake_ms(now).saturating_sub(now);
        if wake == 0 {
            self.broken(format!("d{d}: has nothing to wait for, and nothing to do"));
        }
        self.hear_later(d, wake, Heard::Tick);
        for effect in effects {
            self.does(d, effect);
        }
    }

    fn does(&mut self, d: usize, effect: Effect) {
        match effect {
            Effect::Renew(renew) => {
                let sent_ms = self.now;
                self.asks_gateway(d, Asked::Renew(sent_ms, renew));
            }
            Effect::Relay(items) => {
                let State::Riding(ride) = &self.drivers[d].state else { return };
                let relay = ride.relay_request(items);
                self.asks_gateway(d, Asked::Relay(relay));
            }
            Effect::Inbox(inbox) => self.asks_gateway(d, Asked::Inbox(inbox)),
            Effect::Take(take) => self.asks_gateway(d, Asked::Take(take)),
            Effect::Release(release) => self.asks_gateway(d, Asked::Release(release)),
            Effect::Keep(items) => self.drivers[d].disk.extend(items),
            Effect::Forget(ids) => self.drivers[d].disk.retain(|item| !ids.contains(&item.id)),
            Effect::Verdict(_, Verdict::Refuse(why)) => {
                self.log(format!("d{d}: not sent: {why}"));
                self.drivers[d].prompts += 1;
            }
            Effect::Verdict(_, verdict) => {
                // From the verdict to the line in the transcript.
                let takes = self.dice.between(1, VERDICT_MS);
                let prompt = self.uuid();
                if let Some(claude) = &mut self.drivers[d].claude {
                    claude.turn = Some(prompt);
                    self.hear_later(d, takes, Heard::Began { prompt, along: matches!(verdict, Verdict::Along(_)) });
                }
            }
            Effect::EndClaude => {
                let takes = self.dice.between(100, 2_000);
                self.end_claude(d, takes);
            }
            Effect::Done(outcome) => {
                self.log(format!("d{d}: over: {outcome:?}"));
                if matches!(outcome, Outcome::Released(_)) {
                    self.drivers[d].secret = None;
                    let copy = &self.drivers[d].copy;
                    let there = &self.outside.transcript;
                    if self.drivers[d].elsewhere
                        && !(copy.len() <= there.len() && copy.iter().zip(there).all(|(a, b)| a.id == b.id))
                    {
                        self.broken(format!(
                            "I5: the copy of d{d} was handed back, and the gateway's does not begin with it"
                        ));
                    }
                }
                self.over(d);
            }
            Effect::Push { from, to } => {
                let State::Riding(_) = &self.drivers[d].state else { return };
                let (from, to) = (from as usize, to as usize);
                let lines = self.drivers[d].copy[from..to].to_vec();
                if let Some(fence) = self.drivers[d].fence {
                    self.asks_gateway(d, Asked::Push { fence, from, lines });
                }
            }
            Effect::Say(_) | Effect::Status(_) | Effect::Tell(_) => {}
        }
    }

    fn append(&mut self, d: usize, kind: RelayKind, id: Uuid) {
        let Some(claude) = &mut self.drivers[d].claude else { return };
        let line = Line { id, parent: claude.leaf, turn: Some((d, kind)) };
        claude.leaf = Some(id);
        if self.drivers[d].elsewhere {
            self.drivers[d].copy.push(line);
        } else if !self.outside.append(line) {
            self.broken(format!("I5: the Claude Code of d{d} made a fork"));
        }
    }

    fn began(&mut self, d: usize, prompt: Uuid, along: bool) {
        if self.drivers[d].claude.as_ref().is_none_or(|claude| claude.turn != Some(prompt)) {
            return;
        }
        self.append(d, RelayKind::Prompt, prompt);
        self.log(format!("d{d}: prompt {}", short(prompt)));
        let text = if along { format!("{} {prompt}", ride::ride::include::command()) } else { prompt.to_string() };
        let takes = self.dice.between(500, 15_000);
        self.hear_later(d, takes, Heard::TurnEnds { prompt });
        let Some(pid) = self.drivers[d].claude.as_ref().map(|claude| claude.pid) else { return };
        self.link(d, pid, Event::Prompt(Prompt { id: prompt, text, origin: Origin::Person, claude_session: CLAUDE }));
        self.link(d, pid, Event::Heard(vec![prompt]));
    }

    fn turn_ends(&mut self, d: usize, prompt: Uuid) {
        if self.drivers[d].claude.as_ref().is_none_or(|claude| claude.turn != Some(prompt)) {
            return;
        }
        let answer = self.uuid();
        self.append(d, RelayKind::Answer, answer);
        self.log(format!("d{d}: answer {}", short(answer)));
        let Some(claude) = &mut self.drivers[d].claude else { return };
        claude.turn = None;
        let pid = claude.pid;
        if self.drivers[d].elsewhere {
            self.hear_later(d, WRITTEN_MS, Heard::Grown);
        }
        self.link(
            d,
            pid,
            Event::Turn(Turn {
                turn_id: "t".into(),
                ending: Ending::Answered,
                answer: answer.to_string(),
                answer_id: Some(answer),
                prompt_id: Some(prompt),
                claude_session: CLAUDE,
            }),
        );
    }

    /// What Claude Code tells its `ride`; one that is stopped reads it when it goes on.
    fn link(&mut self, d: usize, pid: u32, event: Event) {
        // The mod repeats what it could not say until it is acknowledged; here it waits.
        if pid != self::pid(d, self.drivers[d].run, 1) {
            return;
        }
        if self.drivers[d].paused_until.is_some() {
            self.drivers[d].missed.push(Heard::Linked(Box::new(event)));
            return;
        }
        self.step(d, event);
    }

    fn end_claude(&mut self, d: usize, after: u64) {
        if let Some(pid) = self.drivers[d].claude.as_ref().map(|claude| claude.pid) {
            self.hear_later(d, after, Heard::ClaudeEnds(pid));
        }
    }

    fn claude_ends(&mut self, d: usize, pid: u32) {
        if self.drivers[d].claude.take_if(|claude| claude.pid == pid).is_none() {
            return;
        }
        self.log(format!("d{d}: Claude Code is gone"));
        self.link(d, pid, Event::ClaudeGone);
        if self.drivers[d].elsewhere {
            let copy = &self.drivers[d].copy;
            let end =
                CopyEnd { size: copy.len() as u64, tail_sha256: String::new(), leaf: copy.last().map(|line| line.id) };
            self.link(d, pid, Event::Rests(Ok(end)));
        }
    }

    fn connects(&mut self, d: usize) {
        let driver = &mut self.drivers[d];
        if matches!(driver.state, State::Off) || driver.connected {
            return;
        }
        if !self.gateway.up {
            let again = self.dice.between(300, 3_000);
            self.hear_later(d, again, Heard::Connect);
            return;
        }
        driver.line += 1;
        driver.connected = true;
        match &driver.state {
            State::Asking => {
                let (secret, process) =
                    (driver.secret.clone().unwrap_or_default(), driver.process(pid(d, driver.run, 0)));
                let steal = self.dice.one_in(3);
                self.asks_gateway(d, Asked::Claim { secret, process, steal });
            }
            State::Riding(_) => self.step(d, Event::Up),
            // It was waiting for an answer on the old one.
            _ => self.over(d),
        }
    }

    fn went_down(&mut self, d: usize) {
        match &self.drivers[d].state {
            State::Riding(_) => {
                self.step(d, Event::Down("the connection was lost".into()));
                let again = self.dice.between(200, 4_000);
                self.hear_later(d, again, Heard::Connect);
            }
            State::Off => {}
            _ => {
                self.log(format!("d{d}: loses the gateway before it rides"));
                self.over(d);
            }
        }
    }

    /// A connection ends; the gateway sees it at once or later, the driver too.
    pub(crate) fn disconnect(&mut self, d: usize, gateway_sees: bool) {
        if !self.drivers[d].connected {
            return;
        }
        let line = self.drivers[d].line;
        self.drivers[d].connected = false;
        if gateway_sees {
            let sees = if self.dice.one_in(3) { self.dice.between(1_000, 30_000) } else { self.dice.between(1, 50) };
            self.later(sees, Next::Closes { driver: d, line });
        }
        let hears = self.dice.between(1, 2_000);
        self.hear_later(d, hears, Heard::Down);
    }

    pub(crate) fn cut(&mut self, d: usize) {
        if self.drivers[d].connected {
            self.log(format!("fault: the connection of d{d} is cut"));
            self.disconnect(d, true);
        }
    }

    pub(crate) fn kill(&mut self, d: usize) {
        if matches!(self.drivers[d].state, State::Off) {
            return;
        }
        self.log(format!("fault: the ride of d{d} is killed"));
        self.over(d);
        // The kernel ends Claude Code with it.
        let takes = self.dice.between(1, 900);
        self.end_claude(d, takes);
    }

    pub(crate) fn pause(&mut self, d: usize) {
        if matches!(self.drivers[d].state, State::Off) || self.drivers[d].paused_until.is_some() {
            return;
        }
        let long =
            if self.dice.one_in(2) { self.dice.between(500, 10_000) } else { self.dice.between(50_000, 200_000) };
        self.log(format!("fault: the ride of d{d} is stopped for {long} ms"));
        self.drivers[d].paused_until = Some(self.now + long);
        let run = self.drivers[d].run;
        self.later(long, Next::Wakes { driver: d, run });
    }

    pub(crate) fn wakes(&mut self, d: usize, run: u64) {
        if self.drivers[d].run != run || self.drivers[d].paused_until.take().is_none() {
            return;
        }
        self.log(format!("d{d}: goes on"));
        for heard in std::mem::take(&mut self.drivers[d].missed) {
            match heard {
                Heard::Linked(event) => self.step(d, *event),
                heard => self.hears(d, run, heard),
            }
        }
    }

    /// Its `ride` has ended, of itself or not.
    fn over(&mut self, d: usize) {
        self.disconnect(d, true);
        let driver = &mut self.drivers[d];
        driver.state = State::Off;
        driver.paused_until = None;
        driver.missed.clear();
    }
}

fn short(id: Uuid) -> String {
    format!("p{}", id.as_u128() & 0xffff_ffff)
}
