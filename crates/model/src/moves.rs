//! What can happen next. Each move is one atomic thing of the real system, or
//! several that nothing can come between; what goes wrong costs a fault.

use crate::effects::unknown;
use crate::model::Model;
use crate::product::{Ask, Came, Do, Is, ORPHAN, ride_pid};
use crate::world::{Child, Claude, DRIVERS, Entry, FLIGHTS, LETTERS, Letter, MESSAGES, Post, Ride, THREADS, World};

/// Which request of a driver is late, or arrives twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Claim,
    Steal,
    Renew,
    Relay,
    /// Of this message.
    Along(usize),
    Release,
    Push,
    Dropped,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A driver asks for its thread.
    Claim(usize),
    /// A driver takes a ridden thread over.
    Steal(usize),
    /// A person gives a thread back to the agent.
    TakeBack(usize),
    /// It hears that it has it, or that the claim failed.
    Granted(usize),
    /// One on another machine says so, and brings the transcript.
    Copies(usize),
    /// It pushes what was said.
    Push(usize),
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
    /// A held message is in the driver's conversation, and it says so.
    Along(usize, usize),
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
    /// The gate of another gateway of the `lockDir` lets a turn in.
    OtherAdmits,
    /// That turn begins: its Claude child can be seen from now on.
    OtherBegins,
    OtherEnds,
    /// The other gateway's warm child ends by itself.
    OtherChildEnds,
    /// The gateway looks who writes to the ridden Claude session.
    Looks,
    /// The process that is neither the gateway's nor a driver's ends.
    StrangerEnds,
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
    /// The update callback of a patch runs and agrees; the entry is written later.
    Agrees(usize),
    /// An effect happens, and that cannot be stored.
    Unstored(usize),
    /// An effect ends badly.
    Fails(usize, Bad),
    /// The gateway crashes; what was flying has happened or not.
    Crash {
        happened: bool,
        orphan: bool,
    },
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
    /// During a ride somebody opens its Claude session in a process of their own.
    Stranger,
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
    /// Nobody waits for it any longer, and it may still happen.
    Hangs,
}

/// Every move there is, the free ones first; how many are free.
pub fn all() -> (Vec<Move>, usize) {
    use Move::*;
    let mut moves = Vec::new();
    for d in 0..DRIVERS {
        moves.extend([
            Claim(d),
            Granted(d),
            Copies(d),
            Push(d),
            Checks(d),
            Launch(d),
            Returns(d),
            OldEnds(d),
            Renew(d),
            Prompt(d),
            TurnEnds(d),
            Relay(d),
            Quit(d),
            Release(d),
            GiveUp(d),
            ClaudeEnds(d),
            Closes(d),
            Resume(d),
        ]);
    }
    moves.extend((0..DRIVERS).flat_map(|d| (0..MESSAGES).map(move |m| Along(d, m))));
    moves.extend((0..LETTERS).flat_map(|n| [Arrives(n), Answered(n)]));
    moves.extend((0..FLIGHTS).flat_map(|n| [Performs(n), Acks(n)]));
    moves.extend((0..THREADS).flat_map(|i| [Takes(i), AgentBegins(i), HandBegins(i), AgentEnds(i), ChildEnds(i)]));
    moves.extend((0..MESSAGES).map(Message));
    moves.extend([Starts, OrphanEnds, OtherAdmits, OtherBegins, OtherEnds, OtherChildEnds, Looks, StrangerEnds, Tick]);
    let free = moves.len();
    for d in 0..DRIVERS {
        moves.extend([Kill(d), Pause(d), Drops(d), Steal(d)]);
        moves.extend(
            [Which::Claim, Which::Steal, Which::Renew, Which::Relay, Which::Release, Which::Push, Which::Dropped]
                .map(|w| Late(d, w)),
        );
        moves.extend((0..MESSAGES).map(|m| Late(d, Which::Along(m))));
    }
    for n in 0..FLIGHTS {
        moves.extend([Happens(n), Agrees(n), Unstored(n)]);
        let bad = [
            Bad::NotYet,
            Bad::Failed,
            Bad::Broken,
            Bad::NotSent,
            Bad::Refused,
            Bad::LostAfter,
            Bad::LostBefore,
            Bad::Hangs,
        ];
        moves.extend(bad.map(|b| Fails(n, b)));
    }
    for happened in [false, true] {
        moves.extend([false, true].map(|orphan| Crash { happened, orphan }));
    }
    moves.extend([Reload, Reboot, Reroute, LateTwin, Stranger]);
    moves.extend((0..THREADS).flat_map(|i| [Slip(i), TakeBack(i)]));
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
            Move::Claim(d) => w.up && self.may_claim(w, d) && self.claim(w, d, w.drivers[d].run, false, true),
            Move::Steal(d) => w.up && self.may_steal(w, d) && self.claim(w, d, w.drivers[d].run, true, true),
            Move::TakeBack(i) => i < self.scope.threads && w.up && self.take_back(w, i),
            Move::Granted(d) => w.up && self.granted(w, d),
            Move::Launch(d) => {
                let on = self.scope.on(d);
                let driver = &mut w.drivers[d];
                // `may_start` of crates/cli/src/ride/state.rs.
                if driver.ride != Ride::Checked || driver.paused || driver.left == 0 {
                    return false;
                }
                (driver.ride, driver.claude) = (Ride::Riding, Claude::Idle);
                driver.queue = std::mem::take(&mut w.leftover[on]);
                true
            }
            Move::Copies(d) => {
                let driver = w.drivers[d];
                let asks = self.scope.elsewhere(d) && driver.ride == Ride::Granted && !driver.paused && w.up;
                asks && self.copies(w, d, driver.epoch)
            }
            Move::Push(d) => {
                let driver = w.drivers[d];
                let asks = self.scope.elsewhere(d)
                    && matches!(driver.ride, Ride::Riding | Ride::Flushing)
                    && !driver.paused
                    && w.up;
                asks && self.push(w, d, driver.epoch, true)
            }
            Move::Checks(d) => {
                let driver = w.drivers[d];
                let ready = if self.scope.elsewhere(d) { Ride::Copied } else { Ride::Granted };
                if driver.ride != ready && driver.ride != Ride::Checked || driver.paused || !w.up {
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
                (driver.ride, driver.run, driver.old, driver.claude) =
                    (Ride::Off, 1, driver.claude != Claude::None, Claude::None);
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
                let asks =
                    matches!(driver.ride, Ride::Riding | Ride::Flushing) && !driver.paused && w.up && driver.queue != 0;
                asks && self.relay(w, d, driver.epoch, driver.queue, true)
            }
            Move::Along(d, m) => w.up && self.may_take(w, d, m) && self.along(w, d, w.drivers[d].epoch, m, true),
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
                let whole = !self.scope.elsewhere(d) || w.turns.iter().all(|t| t.typed != driver.epoch || t.pushed);
                if driver.ride != Ride::Flushing || driver.paused || !w.up || !whole {
                    return false;
                }
                self.release(w, d, driver.epoch);
                self.over(w, d, Ride::Over);
                true
            }
            Move::GiveUp(d) => {
                if w.up || w.drivers[d].ride != Ride::Flushing || w.drivers[d].paused {
                    return false;
                }
                self.over(w, d, Ride::Over);
                true
            }
            Move::ClaudeEnds(d) => {
                let driver = &mut w.drivers[d];
                if driver.claude == Claude::None
                    || !(driver.ride == Ride::Dead || driver.ride == Ride::Lost && !driver.paused)
                {
                    return false;
                }
                driver.claude = Claude::None;
                if driver.ride == Ride::Lost {
                    self.over(w, d, Ride::Over);
                }
                true
            }
            Move::Closes(d) => {
                let driver = w.drivers[d];
                w.up && matches!(driver.ride, Ride::Dead | Ride::Over)
                    && driver.epoch > 0
                    && self.dropped(w, d, driver.epoch)
            }
            Move::Resume(d) => std::mem::take(&mut w.drivers[d].paused),
            Move::Arrives(n) => w.up && self.arrives(w, n, false),
            Move::Answered(n) => w.up && matches!(w.letters[n], Some(Letter::Renew { .. })) && self.arrives(w, n, true),
            Move::Performs(n) => self.performs(w, n, true),
            Move::Happens(n) => self.performs(w, n, false),
            Move::Agrees(n) => self.agrees(w, n),
            Move::Unstored(n) => {
                let Some(f) = w.flights[n]
                    .filter(|f| w.up && f.by == w.holder && f.op != ORPHAN && !matches!(f.what, Do::Hand { .. }))
                else {
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
                let first =
                    (0..m).all(|e| self.scope.thread_of(e) != self.scope.thread_of(m) || w.posts[e] != Post::Unsent);
                w.up && first && w.posts[m] == Post::Unsent && self.message(w, m)
            }
            Move::Redelivered(m) => {
                w.up && matches!(w.posts[m], Post::Held { handed: 0, .. } | Post::Along { .. }) && self.message(w, m)
            }
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
            Move::OtherAdmits => {
                // Its gate reads the same index: what is held is held there, too.
                let held = self.product.facts(w.thread[0]).lease > 0;
                self.scope.two_gateways
                    && !held
                    && w.other != Child::Busy
                    && !std::mem::replace(&mut w.other_pending, true)
            }
            Move::OtherBegins => {
                let begins = std::mem::take(&mut w.other_pending);
                w.other = if begins { Child::Busy } else { w.other };
                begins
            }
            Move::OtherEnds => w.other == Child::Busy && std::mem::replace(&mut w.other, Child::Idle) == Child::Busy,
            Move::OtherChildEnds => {
                w.other == Child::Idle && std::mem::replace(&mut w.other, Child::None) == Child::Idle
            }
            Move::Looks => w.up && w.holder != 0 && w.stranger && self.looks(w),
            Move::StrangerEnds => std::mem::take(&mut w.stranger),
            Move::Stranger => {
                let ridden = self.product.facts(w.thread[0]).is == Is::Ridden;
                self.scope.stranger && ridden && !std::mem::replace(&mut w.stranger, true)
            }
            // The gateway that runs looks every two seconds: no half lease passes without a look.
            Move::Tick if self.unseen(w) => false,
            Move::Tick => self.tick(w, Ask::Tick),
            Move::Kill(d) => {
                if !rides(w, d) {
                    return false;
                }
                self.over(w, d, Ride::Dead);
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
                (w.orphan, w.other_pending, w.other, w.stranger) = (false, false, Child::None, false);
                for d in (0..DRIVERS).filter(|d| !self.scope.elsewhere(*d)) {
                    w.drivers[d].old = false;
                    if rides(w, d) {
                        self.over(w, d, Ride::Dead);
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
                } else if w.written_soon(i) {
                    // The host writes the turn's own binding in the same critical section.
                    return false;
                } else {
                    (w.entry[i], w.slipped[i]) = (Entry::Other, true);
                }
                true
            }
            Move::Reroute => !std::mem::replace(&mut w.rerouted, true),
            Move::LateTwin => {
                let was = w.entry[1];
                if w.written_soon(1) {
                    return false;
                }
                w.entry[1] = Entry::Bound;
                // A turn of it that was let in before is beyond anybody's reach.
                was == Entry::Never && self.scope.late_twin && w.pending[1] == 0 && w.handing[1] == 0
            }
        }
    }
}

/// Whether the process of a `ride` runs.
fn rides(w: &World, d: usize) -> bool {
    w.lives(ride_pid(d as u8, w.drivers[d].run))
}
