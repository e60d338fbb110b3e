//! What can happen next. Each move is one atomic thing of the real system, or
//! several that nothing can come between; what goes wrong costs a fault.

use crate::model::Model;
use crate::product::{Ask, Came, DOUBT_HAND, DOUBT_SEND, Do, Facts, Is, ORPHAN, Said, ride_pid};
use crate::world::{Child, Claude, DRIVERS, Entry, FLIGHTS, Flight, LETTERS, Letter, MESSAGES, Post, Ride, THREADS, TURNS, World};

/// Which request of a driver is late, or arrives twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Claim,
    Renew,
    Relay,
    Release,
    Dropped,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A driver asks for its thread.
    Claim(usize),
    /// It hears that it has it, or that the claim failed.
    Granted(usize),
    /// It renews before it starts Claude Code.
    Checks(usize),
    /// It starts Claude Code, if its lease can still be proven.
    Launch(usize),
    /// A killed `ride` is started again, with its secret.
    Returns(usize),
    /// The Claude Code of the killed one is gone.
    OldEnds(usize),
    Renew(usize),
    /// A prompt is typed and, by the driver's own deadline, let in.
    Prompt(usize),
    TurnEnds(usize),
    Relay(usize),
    /// The person leaves Claude Code.
    Quit(usize),
    Release(usize),
    /// It cannot release: the gateway is away.
    GiveUp(usize),
    /// A Claude Code that must not stay is gone.
    ClaudeEnds(usize),
    /// The gateway sees the connection of a dead driver close.
    Closes(usize),
    Resume(usize),
    /// A late request arrives; its answer is lost.
    Arrives(usize),
    /// A late renewal arrives, and its answer too.
    Answered(usize),
    /// An effect is performed, acknowledged, and the next one taken.
    Performs(usize),
    /// The acknowledgement of an effect arrives.
    Acks(usize),
    /// The performer asks what is to be done.
    Takes(usize),
    /// The gateway starts.
    Starts,
    /// A message of the channel arrives.
    Message(usize),
    /// A turn the gate let in begins.
    AgentBegins(usize),
    /// A held message handed over begins its turn.
    HandBegins(usize),
    AgentEnds(usize),
    /// A warm child ends by itself.
    ChildEnds(usize),
    OrphanEnds,
    /// Half a lease passes.
    Tick,

    /// `ride` is killed; its Claude Code follows, but not at once.
    Kill(usize),
    /// `ride` is stopped by a signal.
    Pause(usize),
    /// The connection of a living driver is lost.
    Drops(usize),
    /// A request is sent that arrives late; the driver does not know.
    Late(usize, Which),
    /// An effect happens; its acknowledgement is still on its way.
    Happens(usize),
    /// An effect happens, and that cannot be stored.
    Unstored(usize),
    /// An effect ends badly.
    Fails(usize, Bad),
    /// The gateway crashes; what was flying has happened or not.
    Crash { happened: bool, orphan: bool },
    /// Another copy of the plugin becomes the performer, flights still up.
    Reload,
    /// The machine restarts.
    Reboot,
    /// A turn begins that passed no hook.
    Slip(usize),
    /// The thread's stored route changes.
    Reroute,
    /// The channel delivers a message again.
    Redelivered(usize),
    /// Another thread becomes bound to the Claude session.
    LateTwin,
}

/// How an effect ends badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Nothing happened: ask again.
    NotYet,
    /// It cannot be done.
    Failed,
    /// The chain cannot be shown.
    Broken,
    /// The channel did not take it: later, or never.
    NotSent,
    Refused,
    /// Nobody knows, and it had arrived, or not.
    LostAfter,
    LostBefore,
    /// It happened, and then an exception hid it.
    HiddenAfter,
}

/// Every move there is, the free ones first; how many are free.
pub fn all() -> (Vec<Move>, usize) {
    use Move::*;
    let mut moves = Vec::new();
    for d in 0..DRIVERS {
        moves.extend([Claim(d), Granted(d), Checks(d), Launch(d), Returns(d), OldEnds(d), Renew(d), Prompt(d), TurnEnds(d), Relay(d), Quit(d), Release(d), GiveUp(d), ClaudeEnds(d), Closes(d), Resume(d)]);
    }
    moves.extend((0..LETTERS).flat_map(|n| [Arrives(n), Answered(n)]));
    moves.extend((0..FLIGHTS).flat_map(|n| [Performs(n), Acks(n)]));
    moves.extend((0..THREADS).flat_map(|i| [Takes(i), AgentBegins(i), HandBegins(i), AgentEnds(i), ChildEnds(i)]));
    moves.extend((0..MESSAGES).map(Message));
    moves.extend([Starts, OrphanEnds, Tick]);
    let free = moves.len();
    for d in 0..DRIVERS {
        moves.extend([Kill(d), Pause(d), Drops(d)]);
        moves.extend([Which::Claim, Which::Renew, Which::Relay, Which::Release, Which::Dropped].map(|w| Late(d, w)));
    }
    for n in 0..FLIGHTS {
        moves.extend([Happens(n), Unstored(n)]);
        let bad = [Bad::NotYet, Bad::Failed, Bad::Broken, Bad::NotSent, Bad::Refused, Bad::LostAfter, Bad::LostBefore, Bad::HiddenAfter];
        moves.extend(bad.map(|b| Fails(n, b)));
    }
    for happened in [false, true] {
        moves.extend([false, true].map(|orphan| Crash { happened, orphan }));
    }
    moves.extend([Reload, Reboot, Reroute, LateTwin]);
    moves.extend((0..THREADS).map(Slip));
    moves.extend((0..MESSAGES).map(Redelivered));
    (moves, free)
}

impl Model {
    /// The world after a move; `None` where it cannot happen or changes nothing.
    /// What is wrong with it is left in `self.wrong`.
    pub fn after(&mut self, old: &World, what: Move) -> Option<World> {
        self.wrong = None;
        let mut next = *old;
        if !self.happens(&mut next, what) {
            return None;
        }
        next.tidy();
        if next == *old && self.wrong.is_none() {
            return None;
        }
        if self.wrong.is_none() {
            self.wrong = self.promises(&next);
        }
        Some(next)
    }

    fn happens(&mut self, w: &mut World, what: Move) -> bool {
        match what {
            Move::Claim(d) => w.up && self.may_claim(w, d) && self.claim(w, d, w.drivers[d].run, true),
            Move::Granted(d) => w.up && self.granted(w, d),
            Move::Launch(d) => {
                let driver = &mut w.drivers[d];
                // `may_start` of crates/cli/src/ride/state.rs.
                if driver.ride != Ride::Checked || driver.paused || driver.left == 0 {
                    return false;
                }
                (driver.ride, driver.claude) = (Ride::Riding, Claude::Idle);
                driver.queue = std::mem::take(&mut w.leftover);
                true
            }
            Move::Checks(d) => {
                let driver = w.drivers[d];
                if !matches!(driver.ride, Ride::Granted | Ride::Checked) || driver.paused || !w.up {
                    return false;
                }
                w.drivers[d].ride = Ride::Checked;
                self.renew(w, d, driver.epoch, false, Some(0))
            }
            Move::Returns(d) => {
                let driver = &mut w.drivers[d];
                if driver.ride != Ride::Dead || driver.run != 0 || driver.epoch == 0 {
                    return false;
                }
                (driver.ride, driver.run, driver.old, driver.claude) = (Ride::Off, 1, driver.claude != Claude::None, Claude::None);
                true
            }
            Move::OldEnds(d) => std::mem::take(&mut w.drivers[d].old),
            Move::Renew(d) => {
                let driver = w.drivers[d];
                let asks = matches!(driver.ride, Ride::Riding | Ride::Flushing) && !driver.paused && w.up;
                asks && self.renew(w, d, driver.epoch, driver.claude != Claude::None, Some(0))
            }
            Move::Prompt(d) => self.prompt(w, d),
            Move::TurnEnds(d) => {
                let driver = &mut w.drivers[d];
                let was = driver.claude;
                driver.claude = Claude::Idle;
                was == Claude::Turn
            }
            Move::Relay(d) => {
                let driver = w.drivers[d];
                let asks = matches!(driver.ride, Ride::Riding | Ride::Flushing) && !driver.paused && w.up && driver.queue != 0;
                asks && self.relay(w, d, driver.epoch, driver.queue, true)
            }
            Move::Quit(d) => {
                let driver = &mut w.drivers[d];
                if driver.ride != Ride::Riding || driver.paused {
                    return false;
                }
                (driver.ride, driver.claude) = (Ride::Flushing, Claude::None);
                true
            }
            Move::Release(d) => {
                let driver = w.drivers[d];
                if driver.ride != Ride::Flushing || driver.paused || !w.up {
                    return false;
                }
                self.release(w, d, driver.epoch);
                over(w, d, Ride::Over);
                true
            }
            Move::GiveUp(d) => {
                if w.up || w.drivers[d].ride != Ride::Flushing || w.drivers[d].paused {
                    return false;
                }
                over(w, d, Ride::Over);
                true
            }
            Move::ClaudeEnds(d) => {
                let driver = &mut w.drivers[d];
                if driver.claude == Claude::None || !(driver.ride == Ride::Dead || driver.ride == Ride::Lost && !driver.paused) {
                    return false;
                }
                driver.claude = Claude::None;
                if driver.ride == Ride::Lost {
                    over(w, d, Ride::Over);
                }
                true
            }
            Move::Closes(d) => {
                let driver = w.drivers[d];
                w.up && matches!(driver.ride, Ride::Dead | Ride::Over) && driver.epoch > 0 && self.dropped(w, d, driver.epoch)
            }
            Move::Resume(d) => std::mem::take(&mut w.drivers[d].paused),
            Move::Arrives(n) => w.up && self.arrives(w, n, false),
            Move::Answered(n) => w.up && matches!(w.letters[n], Some(Letter::Renew { .. })) && self.arrives(w, n, true),
            Move::Performs(n) => self.performs(w, n, true),
            Move::Happens(n) => self.performs(w, n, false),
            Move::Unstored(n) => {
                let Some(f) = w.flights[n].filter(|f| w.up && f.by == w.holder && f.op != ORPHAN && !matches!(f.what, Do::Hand { .. })) else {
                    return false;
                };
                if f.came == Came::Nothing {
                    self.perform(w, &f);
                }
                unknown(w, f.what);
                w.flights[n] = None;
                true
            }
            Move::Acks(n) => self.acks(w, n),
            Move::Fails(n, bad) => self.fails(w, n, bad),
            Move::Takes(i) => i < self.scope.threads && w.up && w.holder != 0 && self.take(w, i),
            Move::Starts => {
                if w.up {
                    return false;
                }
                w.up = true;
                w.holder = self.new_copy(w);
                (0..self.scope.threads).for_each(|i| {
                    self.take(w, i);
                });
                true
            }
            Move::Message(m) => {
                // Named in the order they arrive in.
                let first = (0..m).all(|e| self.scope.thread_of(e) != self.scope.thread_of(m) || w.posts[e] != Post::Unsent);
                w.up && first && w.posts[m] == Post::Unsent && self.message(w, m)
            }
            Move::Redelivered(m) => w.up && matches!(w.posts[m], Post::Held { handed: 0, .. }) && self.message(w, m),
            Move::AgentBegins(i) => {
                if !w.up || w.pending[i] == 0 || w.child[i] == Child::Busy {
                    return false;
                }
                w.pending[i] -= 1;
                self.begins(w, i);
                true
            }
            Move::HandBegins(i) => {
                if !w.up || w.handing[i] == 0 || w.child[i] == Child::Busy {
                    return false;
                }
                let m = std::mem::take(&mut w.handing[i]);
                self.handed(w, usize::from(m & 7) - 1, m & 8 != 0);
                self.begins(w, i);
                true
            }
            Move::AgentEnds(i) => {
                let was = w.child[i];
                w.child[i] = Child::Idle;
                w.up && was == Child::Busy
            }
            Move::ChildEnds(i) => {
                let was = w.child[i];
                w.child[i] = Child::None;
                was == Child::Idle
            }
            Move::OrphanEnds => std::mem::take(&mut w.orphan),
            Move::Tick => self.tick(w, Ask::Tick),
            Move::Kill(d) => {
                if !rides(w, d) {
                    return false;
                }
                over(w, d, Ride::Dead);
                true
            }
            Move::Pause(d) => {
                let lives = rides(w, d);
                lives && !std::mem::replace(&mut w.drivers[d].paused, true)
            }
            Move::Drops(d) => {
                let driver = w.drivers[d];
                let on = rides(w, d);
                w.up && on && driver.epoch > 0 && self.dropped(w, d, driver.epoch)
            }
            Move::Late(d, which) => self.late(w, d, which),
            Move::Crash { happened, orphan } => self.crash(w, happened, orphan),
            Move::Reload => {
                if !w.up || w.holder == 0 {
                    return false;
                }
                w.holder = self.new_copy(w);
                true
            }
            Move::Reboot => {
                self.crash(w, false, false);
                w.orphan = false;
                for d in 0..DRIVERS {
                    w.drivers[d].old = false;
                    if rides(w, d) {
                        over(w, d, Ride::Dead);
                    }
                    (w.drivers[d].claude, w.drivers[d].paused) = (Claude::None, false);
                }
                w.letters = [None; LETTERS];
                self.tick(w, Ask::Reboot);
                true
            }
            Move::Slip(i) => {
                let blind = i == 1 && self.scope.late_twin;
                if i >= self.scope.threads || !w.up || w.child[i] == Child::Busy || blind {
                    return false;
                }
                if w.entry[i] == Entry::Bound {
                    w.child[i] = Child::Busy;
                } else {
                    (w.entry[i], w.slipped[i]) = (Entry::Other, true);
                }
                true
            }
            Move::Reroute => !std::mem::replace(&mut w.rerouted, true),
            Move::LateTwin => {
                let was = w.entry[1];
                w.entry[1] = Entry::Bound;
                was == Entry::Never && self.scope.late_twin
            }
        }
    }

    fn may_claim(&self, w: &World, d: usize) -> bool {
        let driver = &w.drivers[d];
        let on = self.scope.on(d);
        // Drivers are alike: the first of a thread that never rode goes first.
        let turn = (0..d).all(|e| self.scope.on(e) != on || w.drivers[e].ride != Ride::Off || w.drivers[e].epoch != 0);
        d < self.scope.drivers && turn && matches!(driver.ride, Ride::Off | Ride::Asking) && !driver.paused
    }

    /// A claim reaches the gateway; `heard` when its answer reaches the driver.
    fn claim(&mut self, w: &mut World, d: usize, run: u8, heard: bool) -> bool {
        let i = self.scope.on(d);
        let f = *self.product.facts(w.thread[i]);
        if f.epoch >= self.scope.epochs && (f.lease == 0 || run == 1) || f.lease == 0 && w.entry[i] != Entry::Bound {
            return false;
        }
        let other = 1 - i;
        let held = self.scope.threads > 1 && self.product.facts(w.thread[other]).lease > 0;
        let twins = self.scope.threads > 1 && w.entry[other] == Entry::Bound;
        if let Said::Claiming { epoch } = self.tell(w, i, Ask::Claim { driver: d as u8, run, twins, held }) {
            // The one that comes back by its secret gets a new fence, and its old one ends.
            let back = run == 1 && epoch == f.lease + 1;
            if f.lease != 0 && f.lease != epoch && !back {
                self.wrong = Some("I2: a claim on a held thread was granted another fence");
            }
            if heard {
                (w.drivers[d].ride, w.drivers[d].epoch) = (Ride::Asking, epoch);
            }
        }
        self.take(w, i);
        true
    }

    fn granted(&mut self, w: &mut World, d: usize) -> bool {
        let driver = w.drivers[d];
        let f = *self.product.facts(w.thread[self.scope.on(d)]);
        if driver.ride != Ride::Asking || driver.paused {
            return false;
        }
        w.drivers[d].ride = match f.is {
            Is::Ridden if f.lease == driver.epoch => Ride::Granted,
            Is::Claiming(_) if f.lease == driver.epoch => return false,
            Is::Leaving(_) if f.lease == driver.epoch && !f.released && !f.expired => return false,
            _ => Ride::Off,
        };
        true
    }

    /// `age` in ticks since it was sent, when its answer reaches the driver.
    fn renew(&mut self, w: &mut World, d: usize, epoch: u8, claude: bool, age: Option<u8>) -> bool {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let active = w.drivers[d].claude == Claude::Turn;
        let said = self.tell(w, i, Ask::Renew { driver: d as u8, run: w.drivers[d].run, epoch, claude, active });
        if said == Said::Ok && (before.lease != epoch || before.is != Is::Ridden || w.ended[i] & 1 << epoch != 0) {
            self.wrong = Some("I2: a renewal with a stale fence was accepted");
        }
        let left = self.product.facts(w.thread[i]).left;
        if let Some(age) = age
            && w.drivers[d].epoch == epoch
        {
            let driver = &mut w.drivers[d];
            match (said, driver.ride) {
                (Said::Ok, _) => driver.left = left.saturating_sub(age),
                (_, Ride::Riding) => (driver.ride, driver.left) = (Ride::Lost, 0),
                (_, Ride::Flushing | Ride::Checked) => over(w, d, Ride::Over),
                _ => {}
            }
        }
        self.take(w, i);
        true
    }

    fn prompt(&mut self, w: &mut World, d: usize) -> bool {
        let driver = w.drivers[d];
        let i = self.scope.on(d);
        let Some(k) = w.turns.iter().take(self.scope.turns).position(|t| t.typed == 0) else { return false };
        // The rule of crates/cli/src/ride/state.rs: riding, and more than the margin left by its own clock.
        if driver.ride != Ride::Riding || driver.paused || driver.claude != Claude::Idle || driver.left == 0 {
            return false;
        }
        let f = self.product.facts(w.thread[i]);
        if (f.lease == driver.epoch && f.expired) || f.last_expired == driver.epoch {
            self.wrong = Some("I2: a prompt was let in after the lease had run out at the gateway");
        }
        (w.turns[k].typed, w.turns[k].on) = (driver.epoch, i as u8);
        w.drivers[d].queue |= 1 << k;
        w.drivers[d].claude = Claude::Turn;
        true
    }

    fn relay(&mut self, w: &mut World, d: usize, epoch: u8, items: u8, heard: bool) -> bool {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let said = self.tell(w, i, Ask::Relay { epoch, items });
        if said == Said::Relayed {
            let rides = before.is == Is::Ridden && w.ended[i] & 1 << epoch == 0;
            let leaves = matches!(before.is, Is::Leaving(ride_core::thread::LeaveStage::Prove)) && before.released;
            if before.lease != epoch || !(rides || leaves) {
                self.wrong = Some("I2: items with a stale fence were accepted");
            }
            if (0..TURNS).any(|k| items & 1 << k != 0 && !w.turns[k].accepted) {
                self.wrong = Some("I4: an item was acknowledged and not kept");
            }
        }
        if heard {
            match (said, w.drivers[d].ride) {
                (Said::Relayed, _) => w.drivers[d].queue &= !items,
                (_, Ride::Riding) => (w.drivers[d].ride, w.drivers[d].left) = (Ride::Lost, 0),
                (_, Ride::Flushing) => over(w, d, Ride::Over),
                _ => {}
            }
        }
        self.take(w, i);
        true
    }

    fn release(&mut self, w: &mut World, d: usize, epoch: u8) {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let accept = w.turns.iter().any(|t| t.typed == epoch && t.on == i as u8);
        self.tell(w, i, Ask::Release { epoch, accept });
        let f = self.product.facts(w.thread[i]);
        if before.lease != epoch && (f.is != before.is || f.lease != before.lease) {
            self.wrong = Some("I2: a release with a stale fence was accepted");
        }
        if f.lease == epoch && before.is == Is::Ridden {
            w.ended[i] |= 1 << epoch;
        }
        self.take(w, i);
    }

    fn dropped(&mut self, w: &mut World, d: usize, epoch: u8) -> bool {
        let i = self.scope.on(d);
        let before = w.thread[i];
        self.tell(w, i, Ask::Dropped { epoch });
        if self.product.facts(before).lease != epoch && w.thread[i] != before {
            self.wrong = Some("I2: a lost connection of a stale fence counted");
        }
        self.take(w, i);
        true
    }

    fn late(&mut self, w: &mut World, d: usize, which: Which) -> bool {
        let driver = w.drivers[d];
        let rides = matches!(driver.ride, Ride::Riding | Ride::Flushing) && !driver.paused;
        let (d8, epoch) = (d as u8, driver.epoch);
        w.post(match which {
            Which::Claim if self.may_claim(w, d) => Letter::Claim { driver: d8, run: driver.run },
            Which::Renew if rides => Letter::Renew { driver: d8, run: driver.run, epoch, claude: driver.claude != Claude::None, age: 0 },
            Which::Relay if rides && driver.queue != 0 => Letter::Relay { driver: d8, epoch, items: driver.queue },
            Which::Release if driver.ride == Ride::Flushing && !driver.paused => Letter::Release { driver: d8, epoch },
            Which::Dropped if rides || driver.ride == Ride::Asking => Letter::Dropped { driver: d8, epoch },
            _ => return false,
        })
    }

    fn arrives(&mut self, w: &mut World, n: usize, heard: bool) -> bool {
        match w.letters[n].take() {
            None => false,
            Some(Letter::Claim { driver, run }) => self.claim(w, driver.into(), run, false),
            Some(Letter::Renew { driver, epoch, claude, age, .. }) => self.renew(w, driver.into(), epoch, claude, heard.then_some(age)),
            Some(Letter::Relay { driver, epoch, items }) => self.relay(w, driver.into(), epoch, items, false),
            Some(Letter::Release { driver, epoch }) => {
                self.release(w, driver.into(), epoch);
                true
            }
            Some(Letter::Dropped { driver, epoch }) => self.dropped(w, driver.into(), epoch),
        }
    }

    fn message(&mut self, w: &mut World, m: usize) -> bool {
        if m >= self.scope.messages {
            return false;
        }
        let i = self.scope.thread_of(m);
        let owner = self.scope.threads > 1 && self.product.facts(w.thread[1 - i]).lease > 0 && w.entry[i] == Entry::Bound;
        let behind = self.behind(w, i) || owner;
        w.noticed |= owner && self.scope.threads > 1;
        let f = *self.product.facts(w.thread[i]);
        let again = w.posts[m] != Post::Unsent;
        match self.tell(w, i, Ask::Message { id: m as u8, behind }) {
            Said::Admit => {
                w.posts[m] = Post::Admitted;
                w.pending[i] += 1;
                if f.is != Is::Open || behind {
                    self.wrong = Some("I1: the gate let a turn in while the Claude session was ridden or changed hands");
                } else if f.inbox != 0 {
                    self.wrong = Some("I3: a message overtook one that waits");
                }
            }
            Said::Hold { told } => {
                let f = self.product.facts(w.thread[i]);
                if f.inbox & 1 << m != 0 {
                    if !again {
                        w.posts[m] = Post::Held { handed: 0, unknown: 0 };
                    }
                } else if told && !again {
                    w.posts[m] = Post::Told;
                } else {
                    self.wrong = Some("I3: a message was taken and is nowhere");
                }
            }
            _ => w.posts[m] = Post::Told,
        }
        self.take(w, i);
        true
    }

    /// A turn of the agent that the gate, or we, let in.
    fn begins(&mut self, w: &mut World, i: usize) {
        if w.entry[i] == Entry::Bound {
            w.child[i] = Child::Busy;
        } else {
            self.wrong = Some("I3: a turn that was let in ran beside its own Claude session");
        }
    }

    fn handed(&mut self, w: &mut World, m: usize, marked: bool) {
        let waits = (0..m).any(|e| self.scope.thread_of(e) == self.scope.thread_of(m) && matches!(w.posts[e], Post::Held { handed: 0, .. }));
        if waits {
            self.wrong = Some("I3: messages were handed over out of order");
        }
        if let Post::Held { handed, unknown } = &mut w.posts[m] {
            *handed += 1;
            if *handed > 1 + *unknown || *handed > 2 {
                self.wrong = Some("I4: a message was handed over once too often");
            }
            if *handed == 2 && !marked {
                self.wrong = Some("I4: a message was handed over again and not marked");
            }
            if marked && *unknown == 0 {
                self.wrong = Some("I4: a message was marked as a repeat, though every outcome was known");
            }
        }
    }

    fn tick(&mut self, w: &mut World, ask: Ask) -> bool {
        for i in 0..self.scope.threads {
            (w.thread[i], _) = self.product.ask(w.thread[i], ask);
        }
        for driver in &mut w.drivers {
            driver.left = driver.left.saturating_sub(1);
        }
        for letter in w.letters.iter_mut().flatten() {
            if let Letter::Renew { age, .. } = letter {
                *age = (*age + 1).min(2);
            }
        }
        true
    }

    /// A name for a copy of the plugin that nothing remembers.
    fn new_copy(&self, w: &World) -> u8 {
        let used = |n: u8| {
            w.flights.iter().flatten().any(|f| f.by == n)
                || (0..self.scope.threads).any(|i| self.product.facts(w.thread[i]).flights.contains(&n))
        };
        (1..=200).find(|n| *n != w.holder && !used(*n)).unwrap_or(200)
    }

    fn crash(&mut self, w: &mut World, happened: bool, orphan: bool) -> bool {
        if !w.up || orphan && w.child.iter().all(|c| *c == Child::None) {
            return false;
        }
        for n in 0..FLIGHTS {
            let Some(f) = w.flights[n] else { continue };
            if happened && f.came == Came::Nothing && f.what.leaves_a_trace() {
                let came = self.perform(w, &f);
                if let (Do::Hand { id, repeat }, Came::Ok) = (f.what, came) {
                    w.handing[f.on as usize] = 0;
                    self.handed(w, id.into(), repeat);
                }
            }
            if f.op < DOUBT_SEND {
                unknown(w, f.what);
            }
        }
        w.flights = [None; FLIGHTS];
        w.up = false;
        w.holder = 0;
        w.orphan |= orphan;
        w.pending = [0; THREADS];
        w.handing = [0; THREADS];
        w.child = [Child::None; THREADS];
        true
    }

    /// Performs effect `n` as the world is now; with `whole`, its acknowledgement
    /// and the next taking follow before anything else.
    fn performs(&mut self, w: &mut World, n: usize, whole: bool) -> bool {
        let Some(f) = w.flights[n].filter(|f| w.up && f.came == Came::Nothing) else { return false };
        let came = self.perform(w, &f);
        if f.op == ORPHAN {
            // Nobody waits for it.
            w.flights[n] = None;
            return true;
        }
        let hand = matches!((f.what, came), (Do::Hand { .. }, Came::Ok));
        w.flights[n] = Some(Flight { came, ..f });
        // A message is handed over when its turn has ended.
        if whole && !hand { self.acks(w, n) } else { whole || !hand }
    }

    fn acks(&mut self, w: &mut World, n: usize) -> bool {
        let Some(f) = w.flights[n].filter(|f| w.up && f.came != Came::Nothing) else { return false };
        let i = f.on as usize;
        let hand = matches!((f.what, f.came), (Do::Hand { .. }, Came::Ok | Came::Unknown));
        if hand && (w.handing[i] != 0 || w.child[i] == Child::Busy) {
            return false;
        }
        w.flights[n] = None;
        if f.came == Came::Unknown {
            unknown(w, f.what);
        }
        if f.came == Came::RestoredOver {
            w.slipped = [false; THREADS];
        }
        self.tell(w, i, Ask::Done { op: f.op, by: f.by, came: f.came });
        if f.by == w.holder {
            self.take(w, i);
        }
        true
    }

    fn fails(&mut self, w: &mut World, n: usize, bad: Bad) -> bool {
        let Some(f) = w.flights[n].filter(|f| w.up && f.came == Came::Nothing && f.op != ORPHAN) else { return false };
        let came = match (f.what, bad) {
            (Do::Send { .. }, Bad::NotSent) => Came::NotSent,
            (Do::Send { .. }, Bad::Refused) => Came::Refused,
            (Do::Send { .. }, Bad::LostBefore) => Came::Unknown,
            (Do::Send { .. }, Bad::LostAfter) => {
                if self.perform(w, &f) != Came::Sent {
                    return false;
                }
                Came::Unknown
            }
            (Do::Hand { .. }, Bad::Failed) => Came::Failed,
            (Do::Hand { .. }, Bad::LostBefore) => Came::Unknown,
            (Do::Hand { .. }, Bad::LostAfter) => {
                if self.perform(w, &f) != Came::Ok {
                    return false;
                }
                Came::Unknown
            }
            (Do::Show | Do::Prove { .. }, Bad::Broken) => Came::Broken,
            (Do::Mark, Bad::Failed) => Came::Failed,
            (Do::EndChild | Do::Prove { .. } | Do::Hand { .. } | Do::Restore { .. }, Bad::NotYet) => Came::NotYet,
            (Do::Park { .. } | Do::Restore { .. }, Bad::HiddenAfter) => {
                if self.perform(w, &f) == Came::RestoredOver {
                    // The host says it whole or not at all.
                    return false;
                }
                Came::NotYet
            }
            _ => return false,
        };
        w.flights[n] = Some(Flight { came, ..f });
        // A message is told about when its turn has ended.
        w.handing[f.on as usize] != 0 || self.acks(w, n)
    }

    /// What an effect does to the world, and what it tells.
    fn perform(&mut self, w: &mut World, f: &Flight) -> Came {
        let i = f.on as usize;
        let of = |threads: u8| (0..THREADS).filter(move |i| threads & 1 << i != 0);
        match f.what {
            Do::Settle { threads } => {
                let busy = |i: usize| w.pending[i] > 0 || w.child[i] == Child::Busy || w.handing[i] > 0 && self.scope.hand_seen;
                if of(threads).any(busy) { Came::NotYet } else { Came::Ok }
            }
            Do::EndChild => {
                if w.child.contains(&Child::Busy) {
                    return Came::NotYet;
                }
                w.child = [Child::None; THREADS];
                Came::Ok
            }
            Do::Copy { threads } => Came::Copied(of(threads).filter(|i| w.entry[*i] == Entry::Bound).fold(0, |m, i| m | 1 << i)),
            Do::Park { threads } => {
                for i in of(threads) {
                    if w.entry[i] == Entry::Bound {
                        w.entry[i] = Entry::Absent;
                    }
                }
                Came::Ok
            }
            Do::Prove { pid } => {
                if w.lives(pid) || w.drivers.iter().any(|d| d.claude != Claude::None || d.old) || w.orphan && w.child.iter().all(|c| *c == Child::None) {
                    Came::NotYet
                } else if w.child.iter().any(|c| *c != Child::None) {
                    Came::ChildAgain
                } else {
                    Came::Ok
                }
            }
            Do::Mark => Came::Marked,
            Do::Probe { ride, claude } => if w.lives(ride) || w.lives(claude) { Came::Alive } else { Came::Gone },
            Do::Show => {
                let lease = self.product.facts(w.thread[i]).lease;
                let of = |k: &usize| w.turns[*k].typed == lease && w.turns[*k].on == f.on;
                Came::Shown((0..TURNS).filter(of).fold(0, |m, k| m | 1 << k))
            }
            Do::Restore { threads } => {
                let over = of(threads).any(|i| w.entry[i] == Entry::Other);
                of(threads).for_each(|i| w.entry[i] = Entry::Bound);
                if over { Came::RestoredOver } else { Came::Ok }
            }
            Do::Send { item, marked, route, .. } => {
                if route && w.rerouted {
                    return Came::RouteChanged;
                }
                if usize::from(item) < TURNS {
                    self.sent(w, item.into(), marked, f.op == ORPHAN);
                }
                Came::Sent
            }
            Do::Hand { id, repeat } => {
                if w.pending[i] > 0 || w.handing[i] > 0 || w.child[i] == Child::Busy {
                    return Came::NotYet;
                }
                w.handing[i] = id + 1 | u8::from(repeat) << 3;
                Came::Ok
            }
        }
    }

    /// The channel shows a turn.
    fn sent(&mut self, w: &mut World, k: usize, marked: bool, late: bool) {
        let f = *self.product.facts(w.thread[w.turns[k].on as usize]);
        let t = &mut w.turns[k];
        t.arrived += 1;
        t.marked += u8::from(marked);
        if marked && t.unknown == 0 {
            self.wrong = Some("I4: marked as a repeat, though every outcome was known");
        }
        if t.arrived > 1 && (t.unknown == 0 || t.arrived > 2) {
            self.wrong = Some("I4: a turn was shown twice too often");
        }
        if t.arrived == 2 && t.marked == 0 {
            self.wrong = Some("I4: a repeat was not marked");
        }
        let on = t.on;
        let before = w.order.iter().take_while(|o| **o != k as u8 + 1).filter(|o| **o > 0).map(|o| usize::from(*o - 1));
        for e in before {
            let e_seen = &w.turns[e];
            if !late && e_seen.on == on && e_seen.arrived == 0 && e_seen.unknown < 2 && f.undelivered & 1 << e == 0 {
                self.wrong = Some("I4: turns were shown out of order");
            }
        }
    }

    /// The performer asks, and notes what it is to do.
    fn take(&mut self, w: &mut World, i: usize) -> bool {
        if !w.up || w.holder == 0 || i >= self.scope.threads {
            return false;
        }
        let behind = self.behind(w, i);
        let own = w.flights.iter().flatten().filter(|f| f.on as usize == i && f.by == w.holder && f.op != ORPHAN);
        let flying = own.fold(0, |mask, f| mask | 1 << f.op);
        let Said::Work(work) = self.tell(w, i, Ask::Take { by: w.holder, behind, flying }) else { return false };
        for (op, what) in work {
            let flight = Flight { on: i as u8, op, by: w.holder, what, came: Came::Nothing };
            match w.flights.iter_mut().find(|f| f.is_none()) {
                Some(slot) => *slot = Some(flight),
                None => self.full = true,
            }
        }
        true
    }

    fn behind(&self, w: &World, i: usize) -> bool {
        let other: Facts = *self.product.facts(w.thread[1 - i]);
        self.scope.threads > 1 && other.lease > 0 && (other.twins || w.noticed)
    }

    /// Commits an event, and keeps account of what it means.
    fn tell(&mut self, w: &mut World, i: usize, ask: Ask) -> Said {
        let before = *self.product.facts(w.thread[i]);
        let (next, (said, wrong)) = self.product.ask(w.thread[i], ask);
        let said = said.clone();
        if wrong.is_some() {
            self.wrong = *wrong;
        }
        if next == w.thread[i] {
            return said;
        }
        w.thread[i] = next;
        let after = *self.product.facts(next);
        let valid = |f: &Facts| if matches!(f.is, Is::Claiming(_) | Is::Ridden) { f.lease } else { 0 };
        if valid(&before) != 0 && valid(&after) != valid(&before) {
            w.ended[i] |= 1 << valid(&before);
        }
        if w.ended[i] & 1 << valid(&after) & !1 != 0 {
            self.wrong = Some("I2: a fence that had ended is in force again");
        }
        for k in 0..TURNS {
            if (after.outbox | after.undelivered) & 1 << k != 0 && !w.turns[k].accepted {
                w.turns[k].accepted = true;
                if let Some(slot) = w.order.iter_mut().find(|o| **o == 0) {
                    *slot = k as u8 + 1;
                }
            }
        }
        for m in 0..MESSAGES {
            let gone = before.inbox & !after.inbox & 1 << m != 0;
            if gone && matches!(w.posts[m], Post::Held { handed: 0, .. }) {
                if after.outbox_len > before.outbox_len {
                    w.posts[m] = Post::Told;
                } else {
                    self.wrong = Some("I3: a held message vanished");
                }
            }
        }
        if after.lease == 0 && before.lease != 0 {
            w.noticed = false;
            if std::mem::take(&mut w.slipped[i]) {
                self.wrong = Some("I5: a turn ran beside the ride and nobody was told");
            }
            if before.twins {
                w.slipped[1 - i] = false;
            }
        }
        for n in 0..FLIGHTS {
            let Some(f) = w.flights[n] else { continue };
            let waits = match f.op {
                ORPHAN => true,
                DOUBT_SEND => after.doubts[0] == f.by,
                DOUBT_HAND => after.doubts[1] == f.by,
                op => after.flights[usize::from(op) - 1] == f.by,
            };
            if f.on as usize != i || f.op == ORPHAN || waits {
                continue;
            }
            if f.op < DOUBT_SEND {
                unknown(w, f.what);
            }
            let doubt = match f.what {
                Do::Send { .. } if f.op < DOUBT_SEND && after.doubts[0] == f.by => Some(DOUBT_SEND),
                Do::Hand { .. } if f.op < DOUBT_SEND && after.doubts[1] == f.by => Some(DOUBT_HAND),
                _ => None,
            };
            if let Some(op) = doubt {
                w.flights[n] = Some(Flight { op, ..f });
                continue;
            }
            let goes_on = f.came == Came::Nothing && f.what.leaves_a_trace() && (self.scope.late || !matches!(f.what, Do::Park { .. } | Do::Restore { .. }));
            if !goes_on && f.came == Came::Nothing && matches!(f.what, Do::Park { .. } | Do::Restore { .. }) {
                // A host's patch takes milliseconds; a copy that stops waits for seconds.
                self.perform(w, &f);
            }
            w.flights[n] = goes_on.then_some(Flight { op: ORPHAN, ..f });
        }
        said
    }
}

impl Do {
    /// Whether performing it changes the world.
    pub fn leaves_a_trace(self) -> bool {
        matches!(self, Do::EndChild | Do::Park { .. } | Do::Restore { .. } | Do::Send { .. } | Do::Hand { .. })
    }
}

/// Nobody waits for an effect's outcome any more.
fn unknown(w: &mut World, what: Do) {
    match what {
        Do::Send { item, .. } if usize::from(item) < TURNS => {
            let t = &mut w.turns[usize::from(item)];
            t.unknown = (t.unknown + 1).min(3);
        }
        Do::Hand { id, .. } => {
            if let Post::Held { unknown, .. } = &mut w.posts[usize::from(id)] {
                *unknown = (*unknown + 1).min(6);
            }
        }
        _ => {}
    }
}

/// Whether the process of a `ride` runs.
fn rides(w: &World, d: usize) -> bool {
    w.lives(ride_pid(d as u8, w.drivers[d].run))
}

/// A `ride` ends; what it could not hand over stays on its disk.
fn over(w: &mut World, d: usize, how: Ride) {
    let driver = &mut w.drivers[d];
    w.leftover |= std::mem::take(&mut driver.queue);
    (driver.ride, driver.left, driver.paused) = (how, 0, false);
}
