//! The world around the threads, as small as its faults allow: who lives, what is
//! under way, what the channel has seen. A plain value; 64 bits of it name a state.

use crate::product::{Came, Do};

/// Most drivers, threads, effects under way, requests under way, turns, messages.
pub const DRIVERS: usize = 3;
pub const THREADS: usize = 2;
pub const FLIGHTS: usize = 6;
pub const LETTERS: usize = 2;
pub const TURNS: usize = 2;
pub const MESSAGES: usize = 2;

/// What a host's entry says of the Claude session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Bound to the one Claude session of this world.
    Bound,
    /// Bound to none, since it was parked.
    Absent,
    /// Bound to a fresh one that a slipped turn began.
    Other,
    /// Not bound yet (a twin to be).
    Never,
}

/// The gateway's Claude child on the Claude session, for one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    None,
    Idle,
    Busy,
}

/// How far a `ride` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ride {
    Off,
    /// Its claim waits for the hand-over.
    Asking,
    /// It has the grant and has not started Claude Code.
    Granted,
    /// On another machine: it has the grant and a copy of the transcript.
    Copied,
    Riding,
    /// It knows that the thread is not its own; Claude Code is being ended.
    Lost,
    /// Claude Code is gone; the last items go out.
    Flushing,
    /// It has renewed and is about to start Claude Code.
    Checked,
    /// Its process has ended.
    Over,
    /// Killed.
    Dead,
}

/// A driver's Claude Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claude {
    None,
    Idle,
    /// A prompt was let in: it may append until the turn ends.
    Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Driver {
    pub ride: Ride,
    /// Stopped by a signal.
    pub paused: bool,
    pub claude: Claude,
    /// Epoch of its fence.
    pub epoch: u8,
    /// What is left of its lease by its own clock, in ticks.
    pub left: u8,
    /// Turns the gateway has not acknowledged.
    pub queue: u8,
    /// 1 once it was started again with the secret of a run that was killed.
    pub run: u8,
    /// The Claude Code of that first run lives.
    pub old: bool,
}

/// An effect that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    pub on: u8,
    pub op: u8,
    pub by: u8,
    pub what: Do,
    pub came: Came,
    /// Entries that the host is about to write: its update callback has run, and agreed.
    pub agreed: u8,
}

/// A request that arrives late, or a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Letter {
    Claim { driver: u8, run: u8, steal: bool },
    Renew { driver: u8, run: u8, epoch: u8, claude: bool, age: u8 },
    Relay { driver: u8, epoch: u8, items: u8 },
    Along { driver: u8, epoch: u8, id: u8 },
    Release { driver: u8, epoch: u8 },
    Push { driver: u8, epoch: u8 },
    Dropped { driver: u8, epoch: u8 },
}

/// What the channel has seen of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Epoch of the ride it was typed in, 0 for not yet.
    pub typed: u8,
    /// In which thread.
    pub on: u8,
    /// It stands in the gateway's transcript, though it was typed on a copy.
    pub pushed: bool,
    /// The gateway took it over.
    pub accepted: bool,
    pub arrived: u8,
    /// Of those, so many with the mark of a repeat.
    pub marked: u8,
    /// Attempts of which nobody knows.
    pub unknown: u8,
}

/// A message of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Post {
    Unsent,
    /// The gate let it in.
    Admitted,
    /// Held, handed over so often, and so often with an outcome nobody knows.
    Held {
        handed: u8,
        /// Of those, so many with the mark of a repeat.
        marked: u8,
        unknown: u8,
    },
    /// It rode along with a prompt of a driver.
    Along {
        /// Hand-overs of before with an outcome nobody knows.
        unknown: u8,
    },
    /// Its sender was told to send it again.
    Told,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub thread: [u32; THREADS],
    pub entry: [Entry; THREADS],
    /// Turns the gate let in that have not begun.
    pub pending: [u8; THREADS],
    /// A held message on its way into the agent: its id and one, 0 for none.
    pub handing: [u8; THREADS],
    pub child: [Child; THREADS],
    /// A turn ran beside a ride, and nobody was told yet.
    pub slipped: [bool; THREADS],
    /// A twin that was not known at claim has met the gate.
    pub noticed: bool,
    /// A child of a gateway that crashed lives.
    pub orphan: bool,
    /// Another gateway of the `lockDir` has let a turn in that has not begun.
    pub other_pending: bool,
    /// The Claude child of that gateway on the same Claude session.
    pub other: Child,
    /// A process that is neither the gateway's nor a driver's writes to the Claude session.
    pub stranger: bool,
    /// The gateway's process runs.
    pub up: bool,
    /// The copy of the plugin that performs, 0 for none.
    pub holder: u8,
    pub drivers: [Driver; DRIVERS],
    /// Items of rides that ended before the gateway had them, on the terminal's disk.
    pub leftover: [u8; THREADS],
    pub flights: [Option<Flight>; FLIGHTS],
    pub letters: [Option<Letter>; LETTERS],
    pub turns: [Seen; TURNS],
    /// Turns in the order the gateway took them over, and one; 0 for none.
    pub order: [u8; TURNS],
    pub posts: [Post; MESSAGES],
    /// Epochs whose fence has ended, by thread.
    pub ended: [u8; THREADS],
    pub rerouted: bool,
    /// A chain could not be shown: what was not relayed is accepted as lost.
    pub broken: bool,
}

impl World {
    pub fn new(thread: [u32; THREADS], twin: Entry) -> Self {
        let driver = Driver {
            ride: Ride::Off,
            paused: false,
            claude: Claude::None,
            epoch: 0,
            left: 0,
            queue: 0,
            run: 0,
            old: false,
        };
        World {
            thread,
            entry: [Entry::Bound, twin],
            pending: [0; THREADS],
            handing: [0; THREADS],
            child: [Child::None; THREADS],
            slipped: [false; THREADS],
            noticed: false,
            orphan: false,
            other_pending: false,
            other: Child::None,
            stranger: false,
            up: true,
            holder: 1,
            drivers: [driver; DRIVERS],
            leftover: [0; THREADS],
            flights: [None; FLIGHTS],
            letters: [None; LETTERS],
            turns: [Seen::default(); TURNS],
            order: [0; TURNS],
            posts: [Post::Unsent; MESSAGES],
            ended: [0; THREADS],
            rerouted: false,
            broken: false,
        }
    }

    /// Whether a process lives, by its number in this world.
    pub fn lives(&self, pid: u8) -> bool {
        let d = self.drivers[(pid % 10) as usize];
        let ride = !matches!(d.ride, Ride::Off | Ride::Over | Ride::Dead);
        match (pid / 10, d.run) {
            (1, 0) | (3, 1) => ride,
            (2, 0) | (4, 1) => d.claude != Claude::None,
            (2, 1) => d.old,
            _ => false,
        }
    }

    /// Whether the host is about to write this entry.
    pub fn written_soon(&self, i: usize) -> bool {
        self.flights.iter().flatten().any(|f| f.agreed & 1 << i != 0)
    }

    pub fn post(&mut self, letter: Letter) -> bool {
        if self.letters.contains(&Some(letter)) {
            return false;
        }
        let Some(slot) = self.letters.iter_mut().find(|l| l.is_none()) else { return false };
        *slot = Some(letter);
        true
    }

    /// The same world written in one way only.
    pub fn tidy(&mut self) {
        let key = |f: &Option<Flight>| f.map_or((9, 0, 0, 0), |f| (f.on, f.op, f.by, order(f.what)));
        self.flights.sort_by_key(key);
        let key = |l: &Option<Letter>| match l {
            None => (9, 0, 0, 0),
            Some(Letter::Claim { driver, run, steal }) => (0, *driver, *run, u8::from(*steal)),
            Some(Letter::Renew { driver, run, epoch, claude, age }) => {
                (1, *driver, *epoch, *run << 4 | *age << 1 | u8::from(*claude))
            }
            Some(Letter::Relay { driver, epoch, items }) => (2, *driver, *epoch, *items),
            Some(Letter::Release { driver, epoch }) => (3, *driver, *epoch, 0),
            Some(Letter::Dropped { driver, epoch }) => (4, *driver, *epoch, 0),
            Some(Letter::Along { driver, epoch, id }) => (5, *driver, *epoch, *id),
            Some(Letter::Push { driver, epoch }) => (6, *driver, *epoch, 0),
        };
        self.letters.sort_by_key(key);
    }
}

fn order(what: Do) -> u8 {
    match what {
        Do::Settle { .. } => 0,
        Do::EndChild => 1,
        Do::Copy { .. } => 2,
        Do::Park { .. } => 3,
        Do::Prove { .. } => 4,
        Do::Mark => 5,
        Do::Probe { .. } => 6,
        Do::Show => 7,
        Do::Restore { .. } => 8,
        Do::Send { item, .. } => 9 + item,
        Do::Barrier { .. } => 19,
        Do::Acknowledge => 18,
        Do::Hand { id, .. } => 20 + id,
    }
}
