//! Requests of drivers, messages of the channel, and what each of them must not do.

use crate::model::Model;
use crate::moves::Which;
use crate::product::{Ask, Is, Said};
use crate::ways::Way;
use crate::world::{Child, Claude, DRIVERS, Entry, Letter, Post, Ride, TURNS, World};

impl Model {
    pub(crate) fn may_claim(&self, w: &World, d: usize) -> bool {
        let driver = &w.drivers[d];
        let on = self.scope.on(d);
        // Drivers are alike: the first of a thread that never rode goes first.
        let turn = self.scope.copy
            || (0..d).all(|e| self.scope.on(e) != on || w.drivers[e].ride != Ride::Off || w.drivers[e].epoch != 0);
        d < self.scope.drivers && turn && matches!(driver.ride, Ride::Off | Ride::Asking) && !driver.paused
    }

    /// Whether it may take over what another rides: any driver may, but for the one that does.
    pub(crate) fn may_steal(&self, w: &World, d: usize) -> bool {
        let f = *self.product.facts(w.thread[self.scope.on(d)]);
        f.lease != 0 && f.lease != w.drivers[d].epoch && self.may_claim(w, d)
    }

    /// A claim reaches the gateway; `heard` when its answer reaches the driver.
    pub(crate) fn claim(&mut self, w: &mut World, d: usize, run: u8, steal: bool, heard: bool) -> bool {
        let i = self.scope.on(d);
        let f = *self.product.facts(w.thread[i]);
        if f.epoch >= self.scope.epochs && (f.lease == 0 || run == 1 || steal)
            || f.lease == 0 && w.entry[i] != Entry::Bound
        {
            return false;
        }
        let other = 1 - i;
        let held = self.scope.threads > 1 && self.product.facts(w.thread[other]).lease > 0;
        let twins = self.scope.threads > 1 && w.entry[other] == Entry::Bound;
        if let Said::Claiming { epoch } = self.tell(w, i, Ask::Claim { driver: d as u8, run, twins, held, steal }) {
            // The one that comes back by its secret gets a new fence, and its old one ends.
            let back = run == 1 && epoch == f.lease + 1;
            if back {
                self.gone.note(Way::ComesBack);
            }
            let takes_over = epoch == f.heir
                || steal && f.heir == 0 && epoch == f.epoch + 1 && matches!(f.is, Is::Ridden | Is::Leaving(_));
            if f.lease != 0 && f.lease != epoch && !back && !takes_over {
                self.wrong = Some("I2: a claim on a held thread was granted another fence");
            }
            if heard {
                (w.drivers[d].ride, w.drivers[d].epoch) = (Ride::Asking, epoch);
            }
        }
        self.take(w, i);
        true
    }

    pub(crate) fn granted(&mut self, w: &mut World, d: usize) -> bool {
        let driver = w.drivers[d];
        let f = *self.product.facts(w.thread[self.scope.on(d)]);
        if driver.ride != Ride::Asking || driver.paused {
            return false;
        }
        w.drivers[d].ride = match f.is {
            Is::Ridden if f.lease == driver.epoch => Ride::Granted,
            Is::Claiming(_) if f.lease == driver.epoch => return false,
            Is::Leaving(_) if f.heir == driver.epoch => return false,
            Is::Leaving(_) if f.lease == driver.epoch && !f.released && !f.expired => return false,
            _ => Ride::Off,
        };
        true
    }

    /// `age` in ticks since it was sent, when its answer reaches the driver.
    pub(crate) fn renew(&mut self, w: &mut World, d: usize, epoch: u8, claude: bool, age: Option<u8>) -> bool {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let active = w.drivers[d].claude == Claude::Turn;
        let said = self.tell(w, i, Ask::Renew { driver: d as u8, run: w.drivers[d].run, epoch, claude, active });
        if said == Said::Ok && (before.lease != epoch || before.is != Is::Ridden || w.ended[i] & 1 << epoch != 0) {
            self.wrong = Some("I2: a renewal with a stale fence was accepted");
        }
        if said != Said::Ok {
            self.gone.note(Way::StaleRenewal);
        }
        let left = self.product.facts(w.thread[i]).left;
        if let Some(age) = age
            && w.drivers[d].epoch == epoch
        {
            let driver = &mut w.drivers[d];
            match (said, driver.ride) {
                (Said::Ok, _) => driver.left = left.saturating_sub(age),
                (_, Ride::Riding) => (driver.ride, driver.left) = (Ride::Lost, 0),
                (_, Ride::Flushing | Ride::Checked) => self.over(w, d, Ride::Over),
                _ => {}
            }
        }
        self.take(w, i);
        true
    }

    pub(crate) fn prompt(&mut self, w: &mut World, d: usize) -> bool {
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

    pub(crate) fn relay(&mut self, w: &mut World, d: usize, epoch: u8, items: u8, heard: bool) -> bool {
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
                (_, Ride::Flushing) => self.over(w, d, Ride::Over),
                _ => {}
            }
        }
        self.take(w, i);
        true
    }

    /// A prompt of the driver has the message with it; which one decides nothing.
    pub(crate) fn may_take(&self, w: &World, d: usize, m: usize) -> bool {
        let driver = &w.drivers[d];
        let i = self.scope.on(d);
        let rides = matches!(driver.ride, Ride::Riding | Ride::Flushing) && !driver.paused && driver.epoch > 0;
        rides && m < self.scope.messages && self.scope.thread_of(m) == i && matches!(w.posts[m], Post::Held { .. })
    }

    pub(crate) fn along(&mut self, w: &mut World, d: usize, epoch: u8, m: usize, heard: bool) -> bool {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let was = w.posts[m];
        if let Post::Held { unknown, .. } = was {
            w.posts[m] = Post::Along { unknown };
        }
        let said = self.tell(w, i, Ask::Along { epoch, id: m as u8 });
        let after = *self.product.facts(w.thread[i]);
        // A late request may find it gone already.
        if before.inbox & !after.inbox & 1 << m == 0 {
            w.posts[m] = was;
        }
        if said == Said::Taken {
            let rides = before.is == Is::Ridden && w.ended[i] & 1 << epoch == 0;
            let leaves = matches!(before.is, Is::Leaving(ride_core::thread::LeaveStage::Prove)) && before.released;
            if before.lease != epoch || !(rides || leaves) {
                self.wrong = Some("I2: a message was taken with a stale fence");
            }
            if after.inbox & 1 << m != 0 {
                self.wrong = Some("I4: a message that rode along waits for the agent");
            }
        }
        if heard && said != Said::Taken {
            match w.drivers[d].ride {
                Ride::Riding => (w.drivers[d].ride, w.drivers[d].left) = (Ride::Lost, 0),
                Ride::Flushing => self.over(w, d, Ride::Over),
                _ => {}
            }
        }
        self.take(w, i);
        true
    }

    pub(crate) fn release(&mut self, w: &mut World, d: usize, epoch: u8) {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let accept = w.turns.iter().any(|t| t.typed == epoch && t.on == i as u8);
        self.tell(w, i, Ask::Release { epoch, accept });
        let f = self.product.facts(w.thread[i]);
        if before.lease != epoch && before.heir != epoch && (f.is != before.is || f.lease != before.lease) {
            self.wrong = Some("I2: a release with a stale fence was accepted");
        }
        if f.lease == epoch && before.is == Is::Ridden {
            w.ended[i] |= 1 << epoch;
        }
        self.take(w, i);
    }

    /// A person gives the thread back to the agent, and accepts what cannot be shown where
    /// nothing else would free it.
    pub(crate) fn take_back(&mut self, w: &mut World, i: usize) -> bool {
        let before = w.thread[i];
        self.tell(w, i, Ask::TakeBack { accept: false });
        let changed = w.thread[i] != before;
        self.take(w, i);
        changed
    }

    /// Whether a process that nobody looked for yet writes beside a ride.
    pub(crate) fn unseen(&self, w: &World) -> bool {
        w.up && w.holder != 0 && w.stranger && self.product.facts(w.thread[0]).is == Is::Ridden
    }

    /// The gateway looks who writes to the ridden Claude session, and finds a stranger.
    pub(crate) fn looks(&mut self, w: &mut World) -> bool {
        let before = *self.product.facts(w.thread[0]);
        if before.is != Is::Ridden {
            return false;
        }
        self.tell(w, 0, Ask::Writer { epoch: before.lease });
        if self.product.facts(w.thread[0]).is == Is::Ridden {
            self.wrong = Some("I1: a ride goes on beside a process that was seen to write to its Claude session");
        } else {
            w.ended[0] |= 1 << before.lease;
            self.gone.note(Way::Stranger);
        }
        self.take(w, 0);
        true
    }

    /// The driver's machine is not the gateway's: it says so before it is told the transcript.
    pub(crate) fn copies(&mut self, w: &mut World, d: usize, epoch: u8) -> bool {
        let said = self.tell(w, self.scope.on(d), Ask::Copied { epoch });
        match said {
            Said::Ok => w.drivers[d].ride = Ride::Copied,
            _ => self.over(w, d, Ride::Over),
        }
        true
    }

    /// What was said on a copy is put behind the gateway's transcript, as far as it is typed.
    pub(crate) fn push(&mut self, w: &mut World, d: usize, epoch: u8, heard: bool) -> bool {
        let i = self.scope.on(d);
        let before = *self.product.facts(w.thread[i]);
        let said = self.tell(w, i, Ask::Push { epoch });
        if said == Said::Ok {
            self.gone.note(Way::Pushed);
            if before.is != Is::Ridden || before.lease != epoch || !before.copy || w.ended[i] & 1 << epoch != 0 {
                self.wrong = Some("I2: lines were pushed with a stale fence");
            }
            let here = (0..DRIVERS)
                .any(|e| !self.scope.elsewhere(e) && (w.drivers[e].claude != Claude::None || w.drivers[e].old));
            if here || w.orphan || w.child.iter().any(|c| *c != Child::None) {
                self.wrong = Some("I1: lines were pushed beside a Claude Code that lives on the session");
            }
            w.turns.iter_mut().filter(|t| t.typed == epoch && usize::from(t.on) == i).for_each(|t| t.pushed = true);
        }
        match (said, w.drivers[d].ride) {
            (Said::Ok, _) => {}
            _ if !heard => {}
            (_, Ride::Riding) => (w.drivers[d].ride, w.drivers[d].left) = (Ride::Lost, 0),
            (_, Ride::Flushing) => self.over(w, d, Ride::Over),
            _ => {}
        }
        true
    }

    pub(crate) fn dropped(&mut self, w: &mut World, d: usize, epoch: u8) -> bool {
        let i = self.scope.on(d);
        let before = w.thread[i];
        self.tell(w, i, Ask::Dropped { epoch });
        let f = self.product.facts(before);
        if f.lease != epoch && f.heir != epoch && w.thread[i] != before {
            self.wrong = Some("I2: a lost connection of a stale fence counted");
        }
        self.take(w, i);
        true
    }

    pub(crate) fn late(&mut self, w: &mut World, d: usize, which: Which) -> bool {
        let driver = w.drivers[d];
        let rides = matches!(driver.ride, Ride::Riding | Ride::Flushing) && !driver.paused;
        let (d8, epoch) = (d as u8, driver.epoch);
        w.post(match which {
            Which::Claim if self.may_claim(w, d) => Letter::Claim { driver: d8, run: driver.run, steal: false },
            Which::Steal if self.may_steal(w, d) => Letter::Claim { driver: d8, run: driver.run, steal: true },
            Which::Renew if rides => {
                Letter::Renew { driver: d8, run: driver.run, epoch, claude: driver.claude != Claude::None, age: 0 }
            }
            Which::Relay if rides && driver.queue != 0 => Letter::Relay { driver: d8, epoch, items: driver.queue },
            Which::Along(m) if self.may_take(w, d, m) => Letter::Along { driver: d8, epoch, id: m as u8 },
            Which::Release if driver.ride == Ride::Flushing && !driver.paused => Letter::Release { driver: d8, epoch },
            Which::Push if rides && self.scope.elsewhere(d) => Letter::Push { driver: d8, epoch },
            Which::Dropped if rides || driver.ride == Ride::Asking => Letter::Dropped { driver: d8, epoch },
            _ => return false,
        })
    }

    pub(crate) fn arrives(&mut self, w: &mut World, n: usize, heard: bool) -> bool {
        match w.letters[n].take() {
            None => false,
            Some(Letter::Claim { driver, run, steal }) => self.claim(w, driver.into(), run, steal, false),
            Some(Letter::Renew { driver, epoch, claude, age, .. }) => {
                self.renew(w, driver.into(), epoch, claude, heard.then_some(age))
            }
            Some(Letter::Relay { driver, epoch, items }) => self.relay(w, driver.into(), epoch, items, false),
            Some(Letter::Along { driver, epoch, id }) => self.along(w, driver.into(), epoch, id.into(), false),
            Some(Letter::Release { driver, epoch }) => {
                self.release(w, driver.into(), epoch);
                true
            }
            Some(Letter::Push { driver, epoch }) => self.push(w, driver.into(), epoch, false),
            Some(Letter::Dropped { driver, epoch }) => self.dropped(w, driver.into(), epoch),
        }
    }

    pub(crate) fn message(&mut self, w: &mut World, m: usize) -> bool {
        if m >= self.scope.messages {
            return false;
        }
        let i = self.scope.thread_of(m);
        let owner =
            self.scope.threads > 1 && self.product.facts(w.thread[1 - i]).lease > 0 && w.entry[i] == Entry::Bound;
        let behind = self.behind(w, i) || owner;
        w.noticed |= owner && self.scope.threads > 1;
        let f = *self.product.facts(w.thread[i]);
        let again = w.posts[m] != Post::Unsent;
        match self.tell(w, i, Ask::Message { id: m as u8, behind }) {
            Said::Admit => {
                w.posts[m] = Post::Admitted;
                w.pending[i] += 1;
                if f.is != Is::Open || behind {
                    self.wrong =
                        Some("I1: the gate let a turn in while the Claude session was ridden or changed hands");
                } else if f.inbox != 0 {
                    self.wrong = Some("I3: a message overtook one that waits");
                }
            }
            Said::Hold { told } => {
                let f = self.product.facts(w.thread[i]);
                if f.inbox & 1 << m != 0 {
                    if !again {
                        w.posts[m] = Post::Held { handed: 0, marked: 0, unknown: 0 };
                    }
                } else if matches!(w.posts[m], Post::Along { .. }) {
                    // Known, and not kept a second time.
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
    pub(crate) fn begins(&mut self, w: &mut World, i: usize) {
        if w.entry[i] == Entry::Bound {
            w.child[i] = Child::Busy;
        } else if w.entry[i] != Entry::Never {
            self.wrong = Some("I3: a turn that was let in ran beside its own Claude session");
        }
    }

    pub(crate) fn handed(&mut self, w: &mut World, m: usize, marked: bool) {
        let waits = (0..m).any(|e| {
            self.scope.thread_of(e) == self.scope.thread_of(m) && matches!(w.posts[e], Post::Held { handed: 0, .. })
        });
        if waits {
            self.wrong = Some("I3: messages were handed over out of order");
        }
        if w.posts[m] == (Post::Along { unknown: 0 }) {
            self.wrong = Some("I4: a message that rode along was handed over");
        }
        if let Post::Held { handed, marked: marks, unknown } = &mut w.posts[m] {
            *handed += 1;
            if *handed == 2 {
                self.gone.note(Way::HandedTwice);
            }
            *marks += u8::from(marked);
            if *handed > 1 + *unknown || *handed > 2 {
                self.wrong = Some("I4: a message was handed over once too often");
            }
            if *handed == 2 && *marks == 0 {
                self.wrong = Some("I4: a message was handed over again and not marked");
            }
            if marked && *unknown == 0 {
                self.wrong = Some("I4: a message was marked as a repeat, though every outcome was known");
            }
        }
    }
}
