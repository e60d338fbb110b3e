//! The value: all that is known of one thread, in one file.
//!
//! Invariant: a thread is *closed* (its gate holds messages) in every phase but
//! [`Phase::Open`], and in that one too while held messages are being handed
//! over, so nothing overtakes what waited, or while its Claude session is open in a
//! terminal outside any ride. Deliberately absent: anything that
//! is only true within one process.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::event::HeldLock;
use crate::id::{Fence, Process, Route, ThreadKey};
use crate::limits;
use crate::person::labelled;
use crate::rules::Rules;
use crate::time::{Now, Stamp};

mod opened;
mod parts;
pub mod stored;

pub use opened::{Opened, OpenedStage, Terminal};
pub use parts::{CopyEnd, Driver, JournalLine, Kind, Mark, ReasonName};

/// Format of the state file. Older ones are migrated, see [`stored`]; others are refused,
/// never guessed at.
pub const FORMAT: u32 = 4;

/// One thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// [`FORMAT`].
    pub format: u32,
    /// Which thread.
    pub key: ThreadKey,
    /// Drawn when this value was first made.
    pub incarnation: Uuid,
    /// Epoch of the last grant.
    pub epoch: u64,
    /// Next number for an operation, a held message or an outgoing one.
    pub next: u64,
    /// Who may write.
    pub phase: Phase,
    /// Messages held, oldest first.
    pub inbox: VecDeque<Held>,
    /// The first of them is being handed to the agent.
    pub handing: Option<Flight>,
    /// Platform messages the channel has not acknowledged, oldest first.
    pub outbox: VecDeque<Outgoing>,
    /// The first of them is being sent.
    pub sending: Option<Flight>,
    /// What is to be said in the thread and belongs to no turn. It never holds up a turn or
    /// the end of a ride.
    #[serde(default)]
    pub notices: VecDeque<Notice>,
    /// When the last notices were sent, oldest first.
    #[serde(default)]
    pub noticed: VecDeque<Stamp>,
    /// Who was told that another thread's ride holds this thread's Claude session.
    #[serde(default)]
    pub behind: Option<Behind>,
    /// What the channel refused for good, or was too long for it.
    pub undelivered: VecDeque<Outgoing>,
    /// How many were such before, and are not remembered one by one.
    #[serde(default)]
    pub undelivered_before: u64,
    /// Relay ids already taken over.
    pub taken: VecDeque<String>,
    /// Message ids already held.
    pub met: VecDeque<String>,
    /// Messages without an id of the channel's, counted where they are alike; the latest ones.
    #[serde(default)]
    pub alike: VecDeque<Alike>,
    /// The last fence that ended, and why the last claim failed.
    pub last: Option<Ended>,
    /// The Claude session it was bound to before another was adopted.
    #[serde(default)]
    pub former: Option<ClaudeSession>,
    /// Where its conversation stood when a ride last began to write there.
    #[serde(default)]
    pub rest: Option<Rest>,
    /// What happened, oldest first.
    pub journal: VecDeque<JournalLine>,
    /// Processes that cannot be seen from the gateway and that a person declared gone, by their
    /// lasting names; at most [`limits::GONE_NAMES`], oldest first.
    #[serde(default)]
    pub gone: VecDeque<String>,
    /// Its Claude session is open in a terminal, and that is no ride.
    #[serde(default)]
    pub opened: Option<Box<Opened>>,
}

/// Where a conversation was known to stand. What a person adds beside the thread and its
/// rides is recognised by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// The Claude session.
    pub claude: Uuid,
    /// Length of its transcript.
    pub size: u64,
    /// Its active leaf; `None` where a person decided to go on from another one.
    pub leaf: Option<Uuid>,
}

/// A branch of the conversation that is not the one which is gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Its last line.
    pub leaf: Uuid,
    /// How many prompts of people it has.
    pub prompts: u32,
    /// The last of them, shortened.
    pub last_prompt: String,
}

/// Who may append to the Claude transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is")]
pub enum Phase {
    /// The gateway's agent.
    Open,
    /// Nobody new: a claim waits until the agent has stopped writing.
    Claiming {
        /// The grant in the making.
        lease: Box<Lease>,
        /// How far it is.
        at: At<ClaimStage>,
        /// When the driver stops waiting for the running turn.
        give_up: Deadline,
    },
    /// The driver.
    Ridden {
        /// The driver's grant.
        lease: Box<Lease>,
    },
    /// Nobody new: the ride ends, and the driver stops writing.
    Leaving {
        /// The grant that ends.
        lease: Box<Lease>,
        /// How far it is.
        at: At<LeaveStage>,
        /// Why it ends.
        why: Why,
        /// A person accepted that the chain could not be shown.
        accept_broken: bool,
        /// Who gets the thread then, in the agent's place.
        #[serde(default)]
        heir: Option<Box<Heir>>,
    },
}

/// A driver that took a ridden thread over, and waits until the one before has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heir {
    /// The fence it will have.
    pub fence: Fence,
    /// Who, as the client says.
    pub driver: Driver,
    /// Who, as the host has found out.
    #[serde(default)]
    pub identity: Option<String>,
    /// SHA-256, hex, of its secret.
    pub secret_sha256: String,
    /// Where its turns will go.
    pub route: Option<Route>,
    /// Since when, wall clock.
    pub since_ms: u64,
    /// When it stops waiting.
    pub give_up: Deadline,
    /// It went while it waited.
    pub gone: bool,
}

/// A stage under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct At<S> {
    /// Which.
    pub stage: S,
    /// Its operation, when one is being performed.
    pub flight: Option<Flight>,
    /// Not to be asked again before.
    pub again: Option<Deadline>,
    /// What it waits for, in words.
    pub blocked: Option<String>,
    /// A person may accept it as it is.
    pub acceptable: bool,
    /// How often it was asked in vain.
    pub tries: u32,
    /// A patch that an earlier operation of this stage began may still be written. The
    /// earlier operation counts as ended once an empty patch has passed behind it.
    #[serde(default)]
    pub late: bool,
}

/// A moment a number of milliseconds after a recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    /// Counted from here.
    pub from: Stamp,
    /// So long.
    pub ms: u64,
}

impl Deadline {
    /// A deadline `ms` from now.
    pub fn after(now: Now, ms: u64) -> Self {
        Deadline { from: now.stamp(), ms }
    }

    /// What is left; zero when it has passed, or when the machine was restarted since.
    pub fn left_ms(&self, now: Now) -> u64 {
        now.since_ms(self.from).map_or(0, |gone| self.ms.saturating_sub(gone))
    }
}

/// The stages of a claim, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClaimStage {
    /// The running turn ends.
    Settle,
    /// The gateway's Claude child is idle, ended and seen gone.
    EndChild,
    /// The binding is copied into the lease: from here on a failure restores it.
    Copy,
    /// The binding is taken out of the host's entry.
    Park,
    /// Each gateway of this `lockDir` has said that no turn that it let in is on the session.
    Acknowledge,
    /// No other live process has the Claude session.
    Prove,
    /// The transcript is recorded.
    Mark,
    /// Of an adoption, in the place of a grant: the host's entry is bound to it.
    Adopt,
}

/// The stages of the end of a ride, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaveStage {
    /// Of a chat ride: the agent's turn for the driver ends.
    Turn,
    /// The driver's Claude Code is seen gone.
    Prove,
    /// The chain is shown to be one, and what was not relayed is taken from it.
    Show,
    /// The outbox empties.
    Drain,
    /// The binding returns to the host's entry.
    Restore,
}

/// Why a ride ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "why")]
pub enum Why {
    /// The driver released.
    Released,
    /// No renewal within the lease.
    Expired,
    /// Claude idle and no prompt for too long.
    Silent,
    /// `ride` and its Claude are both gone.
    Gone,
    /// It was no ride: the thread is bound to another Claude session.
    Adopted {
        /// Which.
        to: ClaudeSession,
        /// What had grown beside its conversation.
        #[serde(default)]
        beside: Vec<Side>,
    },
    /// It died, and its driver is back.
    Back,
    /// Another driver took it over.
    Stolen {
        /// Who.
        by: String,
    },
    /// A person gave it back to the agent.
    TakenBack {
        /// Who.
        by: String,
    },
    /// A process that is not the driver's writes to the ridden Claude session.
    Writer {
        /// Which, by name and process id.
        process: String,
    },
    /// The claim could not be completed.
    Failed {
        /// For programs.
        reason: ReasonName,
        /// For people.
        text: String,
    },
}

/// How the last ride or claim ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Its fence.
    pub fence: Fence,
    /// Why.
    pub why: Why,
}

/// One driver's grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Proves it.
    pub fence: Fence,
    /// Who, as the client says: a label.
    pub driver: Driver,
    /// Who, as the host has found out.
    #[serde(default)]
    pub identity: Option<String>,
    /// SHA-256, hex, of the driver's secret.
    pub secret_sha256: String,
    /// Title of the thread, for messages.
    pub title: String,
    /// The Claude session; `None` for a chat ride, whose driver speaks to the agent itself.
    pub claude: Option<ClaudeSession>,
    /// No ride: the thread is to be bound to `claude`.
    #[serde(default)]
    pub adopts: Option<Adopts>,
    /// Of a chat ride: the driver's prompt that waits for the agent or is being answered.
    #[serde(default)]
    pub said: Option<Said>,
    /// The transcript when this driver got it.
    pub mark: Option<Mark>,
    /// What had grown beside the conversation by then.
    #[serde(default)]
    pub beside: Vec<Side>,
    /// The driver writes to a copy of its own: the transcript is extended by what it pushes.
    #[serde(default)]
    pub copy: Option<OnCopy>,
    /// Frozen delivery route; `None` where nothing is relayed.
    pub route: Option<Route>,
    /// Other threads bound to the same Claude session; their gates hold too.
    pub twins: Vec<String>,
    /// Bindings taken out of the host's entries, or about to be.
    pub parked: Vec<Parked>,
    /// Since when, wall clock.
    pub since_ms: u64,
    /// Last renewal.
    pub renewed: Stamp,
    /// Last prompt or running turn.
    pub active: Stamp,
    /// Its claim is not wanted any more; in words.
    #[serde(default)]
    pub withdrawn: Option<String>,
    /// The connection was lost then, and the driver not heard of since.
    pub dropped: Option<Stamp>,
    /// The search for a dropped driver, when one is under way.
    pub probe: Option<Flight>,
    /// Not to be searched again before.
    pub probe_again: Option<Deadline>,
    /// The driver's Claude Code.
    pub process: Option<Process>,
    /// The lock in the Claude folder that the driver and its Claude Code hold.
    #[serde(default)]
    pub lock: Option<DriverLock>,
    /// Why relaying stopped.
    pub relay_stopped: Option<String>,
    /// How far the turns of its transcript were taken over, when it ends.
    #[serde(default)]
    pub shown: Option<ShownTo>,
    /// Sender ids that were told that the thread is ridden.
    pub told: Vec<String>,
    /// What the host reported during the ride, oldest first.
    #[serde(default)]
    pub news: VecDeque<News>,
}

impl Heir {
    /// In words.
    pub fn who(&self) -> String {
        labelled(&self.driver.to_string(), self.identity.as_deref())
    }
}

/// A driver's lock in the Claude folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverLock {
    /// Its file.
    pub name: String,
    /// Each side has seen the other's lock on it, during this lease.
    pub mutual: bool,
}

impl Lease {
    /// Its lock, as a look at its processes needs it. What runs beside a copy holds none.
    pub(crate) fn held_lock(&self) -> Option<HeldLock> {
        let DriverLock { name, mutual } = self.lock.clone().filter(|_| self.copy.is_none())?;
        Some(HeldLock {
            config_dir: self.claude.as_ref()?.config_dir.clone(),
            name,
            mutual,
            ride: self.driver.process.clone(),
        })
    }

    /// In words.
    pub fn who(&self) -> String {
        labelled(&self.driver.to_string(), self.identity.as_deref())
    }

    /// What is left of a lease without another renewal.
    pub fn left_ms(&self, now: Now, rules: &Rules) -> u64 {
        rules.lease_ms.saturating_sub(now.since_ms(self.renewed).unwrap_or(0))
    }

    /// What is left until silence ends the ride.
    pub fn silent_ms(&self, now: Now, rules: &Rules) -> u64 {
        rules.silence_ms.saturating_sub(now.since_ms(self.active).unwrap_or(0))
    }

    /// Whether the host reported something of this kind during the ride.
    pub fn was_told(&self, kind: NewsKind) -> bool {
        self.news.iter().any(|news| news.kind == kind)
    }
}

/// How far the turns of a transcript were taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownTo {
    /// The last one that was looked at.
    pub id: String,
    /// What follows was not relayed before, as far as ids are remembered.
    pub fresh: bool,
}

/// A ride on a copy of the transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCopy {
    /// Where the copy ended when the driver released.
    pub end: Option<CopyEnd>,
}

/// Another Claude session is to be the thread's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adopts {
    /// The one it is bound to.
    pub from: Option<ClaudeSession>,
}

/// What the host reported during a ride, for the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct News {
    /// Position.
    pub seq: u64,
    /// What kind of thing.
    pub kind: NewsKind,
    /// In words.
    pub text: String,
    /// Wall clock.
    pub at_ms: u64,
}

/// What can happen to a thread beside its ride.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NewsKind {
    /// Somebody in the chat told the agent to stop.
    Stop,
    /// The agent ran a turn.
    Turn,
    /// The host's conversation was reset.
    Reset,
    /// The host's entry was deleted.
    Deleted,
}

/// A prompt of a chat ride, until its turn is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Drawn by the driver; the host calls its turn by it.
    pub id: String,
    /// Its text, until the thread is shown it.
    pub text: String,
    /// The gate let it in: it runs, or has run.
    pub begun: bool,
    /// Who sees the turn to its end.
    pub flight: Option<Flight>,
    /// Not to be looked at again before.
    pub again: Option<Deadline>,
}

/// The Claude session behind a thread, as the host's entry names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaudeSession {
    /// Its id.
    pub id: Uuid,
    /// Claude's configuration folder.
    pub config_dir: String,
    /// The project folder.
    pub cwd: String,
}

/// A binding taken out of a host entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// Session key of the entry.
    pub session: String,
    /// The fields as the host had them.
    pub binding: Value,
    /// What tells whether the host's conversation was reset since.
    #[serde(default)]
    pub reset_mark: String,
}

/// An operation being performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flight {
    /// Its number; an acknowledgement must name it.
    pub op: u64,
    /// Who performs it. A later performer takes its outcome for unknown.
    pub performer: Uuid,
}

/// A message held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Position.
    pub seq: u64,
    /// The channel's own id of it, with account and chat.
    pub id: String,
    /// Sender's id on the channel.
    pub sender: String,
    /// Sender's name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Wall clock.
    pub at_ms: u64,
    /// Where it came from and where its answer goes.
    pub route: Route,
    /// What the host needs to handle it as if it arrived now.
    pub host: Value,
    /// It may have been handed over before a crash: this time it is marked.
    pub repeat: bool,
    /// The hand-over of unknown outcome; its performer may still tell.
    pub doubt: Option<Flight>,
    /// Not to be handed over before.
    pub again: Option<Deadline>,
    /// Hand-overs that failed.
    pub attempts: u32,
}

/// One platform message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outgoing {
    /// Position.
    pub seq: u64,
    /// Relay id with part number, or the notice's own.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its text, at most [`limits::MESSAGE_UNITS`].
    pub text: String,
    /// Where to.
    pub route: Route,
    /// An earlier attempt may have arrived: this one is marked.
    pub repeat: bool,
    /// The attempt of unknown outcome; its performer may still tell.
    pub doubt: Option<Flight>,
    /// Attempts that did not arrive.
    pub attempts: u32,
    /// Not to be sent before.
    pub again: Option<Deadline>,
}

impl ClaimStage {
    /// Whether its effect changes entries of the host.
    pub(crate) fn patches(self) -> bool {
        matches!(self, ClaimStage::Park | ClaimStage::Adopt)
    }
}

impl LeaveStage {
    /// Whether its effect changes entries of the host.
    pub(crate) fn patches(self) -> bool {
        self == LeaveStage::Restore
    }
}

/// Messages of one place, time, sender and content, which came without an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alike {
    /// What they have in common.
    pub id: String,
    /// The gateway's process that brought them.
    pub run: Uuid,
    /// How many there were.
    pub count: u32,
}

/// Something to be said in the thread that belongs to no turn of a ride.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Position.
    pub seq: u64,
    /// Where to.
    pub route: Route,
    /// What.
    pub words: Words,
    /// It is being sent: nothing is added to it any more.
    pub flight: Option<Flight>,
    /// The attempt of unknown outcome; its performer may still tell.
    pub doubt: Option<Flight>,
    /// An earlier attempt may have arrived: this one is marked.
    pub repeat: bool,
    /// Attempts that did not arrive.
    pub attempts: u32,
    /// Not to be sent before.
    pub again: Option<Deadline>,
}

/// What a notice says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is")]
pub enum Words {
    /// What happened to the thread.
    Text {
        /// In words.
        text: String,
    },
    /// What became of one sender's messages.
    Owed {
        /// Sender's id on the channel; `None`: of several senders.
        sender: Option<String>,
        /// What is to be said.
        owed: Owed,
    },
}

/// What became of a sender's messages since the last notice, merged into one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owed {
    /// Sender's name, as it can be shown.
    pub name: String,
    /// Who has the thread, in words.
    pub state: String,
    /// Messages are kept from now on.
    pub kept: bool,
    /// They wait for a terminal to be left that is no ride.
    #[serde(default)]
    pub open: bool,
    /// Messages that were not kept.
    pub unkept: u32,
    /// Commands that were refused.
    pub commands: u32,
    /// The last of them.
    pub command: String,
    /// Messages that had waited and could not be handled.
    pub unhandled: u32,
}

/// Senders who were told that their messages wait for the end of another thread's ride.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Behind {
    /// Which ride: since when, wall clock.
    pub since_ms: u64,
    /// Sender ids.
    pub told: Vec<String>,
}

impl Thread {
    /// A thread nobody has ever ridden.
    pub fn new(key: ThreadKey, incarnation: Uuid) -> Self {
        Thread {
            format: FORMAT,
            key,
            incarnation,
            epoch: 0,
            next: 1,
            phase: Phase::Open,
            inbox: VecDeque::new(),
            handing: None,
            outbox: VecDeque::new(),
            sending: None,
            notices: VecDeque::new(),
            noticed: VecDeque::new(),
            behind: None,
            undelivered: VecDeque::new(),
            undelivered_before: 0,
            taken: VecDeque::new(),
            met: VecDeque::new(),
            alike: VecDeque::new(),
            last: None,
            former: None,
            rest: None,
            journal: VecDeque::new(),
            gone: VecDeque::new(),
            opened: None,
        }
    }

    /// Whether the gate holds this thread's messages.
    pub fn closed(&self) -> bool {
        !matches!(self.phase, Phase::Open) || !self.inbox.is_empty() || self.opened.is_some()
    }

    /// The lease in force or changing hands.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Open => None,
            Phase::Claiming { lease, .. } | Phase::Ridden { lease } | Phase::Leaving { lease, .. } => Some(lease),
        }
    }

    /// The same, to change it.
    pub fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.phase {
            Phase::Open => None,
            Phase::Claiming { lease, .. } | Phase::Ridden { lease } | Phase::Leaving { lease, .. } => Some(lease),
        }
    }

    /// How many turns are not in the channel and never will be.
    pub fn undelivered(&self) -> u32 {
        u32::try_from(self.undelivered_before).unwrap_or(u32::MAX).saturating_add(self.undelivered.len() as u32)
    }

    /// Who waits to be the next driver.
    pub fn heir(&self) -> Option<&Heir> {
        match &self.phase {
            Phase::Leaving { heir, .. } => heir.as_deref(),
            _ => None,
        }
    }

    /// The Claude session in a driver's hands, changing hands, or open in a terminal.
    pub fn claude(&self) -> Option<Uuid> {
        let claude = match self.lease() {
            Some(lease) => lease.claude.as_ref(),
            None => self.opened.as_ref().map(|opened| &opened.claude),
        };
        claude.map(|claude| claude.id)
    }

    /// Other threads bound to that Claude session, whose gates hold too.
    pub fn twins(&self) -> &[String] {
        match (self.lease(), &self.opened) {
            (Some(lease), _) => &lease.twins,
            (None, Some(opened)) => &opened.twins,
            (None, None) => &[],
        }
    }

    /// Whether it keeps others from its Claude session.
    pub fn holds(&self) -> bool {
        self.lease().is_some() || self.opened.is_some()
    }

    /// The phase in one word.
    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Open => "open",
            Phase::Claiming { .. } => "claiming",
            Phase::Ridden { .. } => "ridden",
            Phase::Leaving { .. } => "leaving",
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        let n = self.next;
        self.next += 1;
        n
    }

    /// Notes something that a chat can bring about at will: not twice in a row, so that the
    /// journal keeps what happened before.
    pub(crate) fn once(&mut self, now: Now, what: &str) {
        if self.journal.back().is_none_or(|last| last.what != what) {
            self.note(now, what);
        }
    }

    pub(crate) fn note(&mut self, now: Now, what: impl Into<String>) {
        if self.journal.len() == limits::JOURNAL {
            self.journal.pop_front();
        }
        self.journal.push_back(JournalLine { at_ms: now.wall_ms, what: what.into() });
    }
}
