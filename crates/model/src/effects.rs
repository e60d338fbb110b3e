//! Effects: taken, performed, acknowledged, or lost on the way; and the account
//! that is kept of every event a thread commits.

use crate::model::Model;
use crate::moves::Bad;
use crate::product::{Ask, Came, DOUBT_HAND, DOUBT_SEND, Do, Facts, Is, ORPHAN, Said};
use crate::ways::Way;
use crate::world::{
    Child, Claude, DRIVERS, Entry, FLIGHTS, Flight, Letter, MESSAGES, Post, Ride, Seen, THREADS, TURNS, World,
};

impl Model {
    pub(crate) fn tick(&mut self, w: &mut World, ask: Ask) -> bool {
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
    pub(crate) fn new_copy(&self, w: &World) -> u8 {
        let used = |n: u8| {
            w.flights.iter().flatten().any(|f| f.by == n)
                || (0..self.scope.threads).any(|i| self.product.facts(w.thread[i]).flights.contains(&n))
        };
        (1..=200).find(|n| *n != w.holder && !used(*n)).unwrap_or(200)
    }

    pub(crate) fn crash(&mut self, w: &mut World, happened: bool, orphan: bool) -> bool {
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
    pub(crate) fn performs(&mut self, w: &mut World, n: usize, whole: bool) -> bool {
        let Some(f) = w.flights[n].filter(|f| w.up && f.came == Came::Nothing) else { return false };
        if let Do::Barrier { threads } = f.what
            && (0..THREADS).any(|i| threads & 1 << i != 0 && w.written_soon(i))
        {
            self.gone.note(Way::EmptyPatchWaits);
            return false;
        }
        let came = self.perform(w, &f);
        match came {
            Came::ChildAgain => self.gone.note(Way::ChildAgain),
            Came::Slipped => self.gone.note(Way::Slipped),
            Came::NotYet if f.what == Do::Acknowledge => self.gone.note(Way::OtherGatewayWaitedFor),
            _ => {}
        }
        if f.op == ORPHAN {
            if f.agreed != 0 {
                self.gone.note(Way::LatePatchWritten);
            }
            // Nobody waits for it.
            w.flights[n] = None;
            return true;
        }
        let hand = matches!((f.what, came), (Do::Hand { .. }, Came::Ok));
        w.flights[n] = Some(Flight { came, agreed: 0, ..f });
        // A message is handed over when its turn has ended.
        if whole && !hand { self.acks(w, n) } else { whole || !hand }
    }

    /// The update callback of a patch runs, and the entry is written later.
    pub(crate) fn agrees(&mut self, w: &mut World, n: usize) -> bool {
        let Some(f) = w.flights[n].filter(|f| w.up && f.came == Came::Nothing && f.agreed == 0) else { return false };
        let agreed = self.to_be_written(w, &f);
        w.flights[n] = Some(Flight { agreed, ..f });
        agreed != 0
    }

    /// The entries that a patch changes, as its update callback finds them.
    fn to_be_written(&self, w: &World, f: &Flight) -> u8 {
        if f.agreed != 0 {
            return f.agreed;
        }
        if !self.product.in_flight(w.thread[f.on as usize], f.op, f.by) {
            return 0;
        }
        let entries = |threads: u8, change: &dyn Fn(Entry) -> bool| {
            (0..THREADS).filter(|i| threads & 1 << i != 0 && change(w.entry[*i])).fold(0, |mask, i| mask | 1 << i)
        };
        match f.what {
            Do::Park { threads } => entries(threads, &|entry| entry == Entry::Bound),
            Do::Restore { threads, over } => entries(threads, &|entry| over || entry != Entry::Other),
            _ => 0,
        }
    }

    pub(crate) fn acks(&mut self, w: &mut World, n: usize) -> bool {
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
        self.tell(w, i, Ask::Done { op: f.op, by: f.by, came: f.came });
        if f.by == w.holder {
            self.take(w, i);
        }
        true
    }

    pub(crate) fn fails(&mut self, w: &mut World, n: usize, bad: Bad) -> bool {
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
            (Do::Show | Do::Prove { .. }, Bad::Broken) => {
                w.broken = true;
                Came::Broken
            }
            (Do::Mark, Bad::Failed) => Came::Failed,
            (Do::EndChild | Do::Prove { .. } | Do::Hand { .. } | Do::Barrier { .. }, Bad::NotYet) => Came::NotYet,
            (Do::Park { .. } | Do::Restore { .. }, Bad::LostBefore) if f.agreed == 0 => Came::Unknown,
            (Do::Park { .. } | Do::Restore { .. }, Bad::LostAfter) => {
                self.perform(w, &f);
                Came::Unknown
            }
            (Do::Park { .. } | Do::Restore { .. }, Bad::Hangs) if f.agreed != 0 => {
                let Some(slot) = w.flights.iter_mut().find(|f| f.is_none()) else { return false };
                *slot = Some(Flight { op: ORPHAN, ..f });
                Came::Unknown
            }
            _ => return false,
        };
        w.flights[n] = Some(Flight { came, agreed: 0, ..f });
        // A message is told about when its turn has ended.
        w.handing[f.on as usize] != 0 || self.acks(w, n)
    }

    /// A `ride` ends; what it could not hand over stays on its disk.
    pub(crate) fn over(&self, w: &mut World, d: usize, how: Ride) {
        let on = self.scope.on(d);
        let driver = &mut w.drivers[d];
        w.leftover[on] |= std::mem::take(&mut driver.queue);
        (driver.ride, driver.left, driver.paused) = (how, 0, false);
    }

    /// What an effect does to the world, and what it tells.
    pub(crate) fn perform(&mut self, w: &mut World, f: &Flight) -> Came {
        let i = f.on as usize;
        let of = |threads: u8| (0..THREADS).filter(move |i| threads & 1 << i != 0);
        match f.what {
            Do::Settle { threads } => {
                let busy = |i: usize| {
                    w.pending[i] > 0 || w.child[i] == Child::Busy || w.handing[i] > 0 && self.scope.hand_seen
                };
                if of(threads).any(busy) { Came::NotYet } else { Came::Ok }
            }
            Do::EndChild => {
                if w.child.contains(&Child::Busy) {
                    return Came::NotYet;
                }
                w.child = [Child::None; THREADS];
                Came::Ok
            }
            Do::Copy { threads } => {
                Came::Copied(of(threads).filter(|i| w.entry[*i] == Entry::Bound).fold(0, |m, i| m | 1 << i))
            }
            Do::Park { .. } => {
                of(self.to_be_written(w, f)).for_each(|i| w.entry[i] = Entry::Absent);
                Came::Ok
            }
            Do::Barrier { .. } => Came::Ok,
            // The other gateway ends its idle child before it says so.
            Do::Acknowledge if w.other_pending || w.other == Child::Busy => Came::NotYet,
            Do::Acknowledge => {
                w.other = Child::None;
                Came::Ok
            }
            // Processes of another machine cannot be looked at.
            Do::Prove { pid, ride } if self.scope.far(pid) || self.scope.far(ride) => Came::Broken,
            Do::Prove { pid, ride } => {
                let here = |d: &usize| !self.scope.elsewhere(*d);
                let writes = (0..DRIVERS).filter(here).any(|d| w.drivers[d].claude != Claude::None || w.drivers[d].old);
                if w.lives(pid)
                    || w.lives(ride)
                    || writes
                    || w.other != Child::None
                    || w.stranger
                    || w.orphan && w.child.iter().all(|c| *c == Child::None)
                {
                    Came::NotYet
                } else if w.child.iter().any(|c| *c != Child::None) {
                    Came::ChildAgain
                } else {
                    Came::Ok
                }
            }
            Do::Mark => Came::Marked,
            Do::Probe { ride, claude } => {
                if self.scope.far(ride) || self.scope.far(claude) || w.lives(ride) || w.lives(claude) {
                    Came::Alive
                } else {
                    Came::Gone
                }
            }
            Do::Show => {
                let facts = self.product.facts(w.thread[i]);
                let (lease, copy) = (facts.lease, facts.copy);
                let of =
                    |k: &usize| w.turns[*k].typed == lease && w.turns[*k].on == f.on && (w.turns[*k].pushed || !copy);
                Came::Shown((0..TURNS).filter(of).fold(0, |m, k| m | 1 << k))
            }
            Do::Restore { threads, over } => {
                let slipped = !over && of(threads).any(|i| w.entry[i] == Entry::Other);
                of(self.to_be_written(w, f)).for_each(|i| w.entry[i] = Entry::Bound);
                if slipped { Came::Slipped } else { Came::Ok }
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
                if self.scope.door && (0..self.scope.threads).any(|i| self.product.facts(w.thread[i]).lease > 0) {
                    return Came::Failed;
                }
                w.handing[i] = (id + 1) | (u8::from(repeat) << 3);
                Came::Ok
            }
        }
    }

    /// The channel shows a turn.
    pub(crate) fn sent(&mut self, w: &mut World, k: usize, marked: bool, late: bool) {
        let f = *self.product.facts(w.thread[w.turns[k].on as usize]);
        let t = &mut w.turns[k];
        t.arrived += 1;
        if t.arrived == 2 {
            self.gone.note(Way::ShownTwice);
        }
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
    pub(crate) fn take(&mut self, w: &mut World, i: usize) -> bool {
        if !w.up || w.holder == 0 || i >= self.scope.threads {
            return false;
        }
        let behind = self.behind(w, i);
        let own = w.flights.iter().flatten().filter(|f| f.on as usize == i && f.by == w.holder && f.op != ORPHAN);
        let flying = own.fold(0, |mask, f| mask | 1 << f.op);
        let Said::Work(work) = self.tell(w, i, Ask::Take { by: w.holder, behind, flying }) else { return false };
        for (op, what) in work {
            let flight = Flight { on: i as u8, op, by: w.holder, what, came: Came::Nothing, agreed: 0 };
            match w.flights.iter_mut().find(|f| f.is_none()) {
                Some(slot) => *slot = Some(flight),
                None => self.full = true,
            }
        }
        true
    }

    pub(crate) fn behind(&self, w: &World, i: usize) -> bool {
        let other: Facts = *self.product.facts(w.thread[1 - i]);
        self.scope.threads > 1 && other.lease > 0 && (other.twins || w.noticed)
    }

    /// Commits an event, and keeps account of what it means.
    pub(crate) fn tell(&mut self, w: &mut World, i: usize, ask: Ask) -> Said {
        let before = *self.product.facts(w.thread[i]);
        let (next, (said, wrong, sorry)) = self.product.ask(w.thread[i], ask);
        let (said, sorry) = (said.clone(), *sorry);
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
                if sorry {
                    w.posts[m] = Post::Told;
                } else {
                    self.wrong = Some("I3: a held message vanished");
                }
            }
        }
        // The thread is the agent's again, or another driver's.
        let passes = before.heir != 0 && after.lease == before.heir;
        let over = (after.lease == 0 || passes) && before.lease != 0;
        if passes {
            self.gone.note(Way::PassesOn);
        }
        if matches!((before.is, after.is), (Is::Claiming(_), Is::Leaving(_))) {
            self.gone.note(Way::FailsAfterParking);
        }
        // What stayed on a copy waits on its driver's disk.
        let due =
            |t: &Seen| t.typed == before.lease && usize::from(t.on) == i && !t.accepted && (t.pushed || !before.copy);
        if over && !w.broken && w.turns.iter().any(due) {
            self.wrong = Some("I3: a prompt of the ride never reached the thread");
        }
        if after.lease == 0 && before.lease != 0 {
            w.noticed = false;
            if std::mem::take(&mut w.slipped[i]) && !before.beside {
                self.wrong = Some("I5: a turn ran beside the ride and nobody was told");
            }
            if before.twins && std::mem::take(&mut w.slipped[1 - i]) && !before.beside {
                self.wrong = Some("I5: a turn ran beside the ride and nobody was told");
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
            let late = Flight { op: ORPHAN, ..f };
            // Of a patch whose callback will decline nothing comes.
            let patch = matches!(f.what, Do::Park { .. } | Do::Restore { .. });
            let nothing = patch && f.agreed == 0 && !self.product.in_flight(w.thread[i], late.op, late.by);
            if nothing && f.came == Came::Nothing {
                self.gone.note(Way::LatePatchDeclines);
            }
            let goes_on = f.came == Came::Nothing && f.what.leaves_a_trace() && !nothing;
            w.flights[n] = goes_on.then_some(late);
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
pub(crate) fn unknown(w: &mut World, what: Do) {
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
