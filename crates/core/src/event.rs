//! What can happen to a thread, what is to be done about it, and the answers.
//!
//! Any copy of the plugin may commit an [`Event`]; only the performer takes
//! [`Effect`]s, by [`Event::Take`], and acknowledges each by [`Event::Done`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{Fence, Process, Route};
use crate::person::labelled;
use crate::thread::{Adopts, ClaudeSession, Held, Outgoing, Parked, Rest};
use crate::wire::{ChainMark, CopyEnd, Driver, Holder, Opaque, Reason, Refusal, RelayItem, SayState};

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "event")]
pub enum Event {
    /// A driver asks for the thread.
    Claim(Box<ClaimAsked>),
    /// A driver is alive.
    Renew {
        /// Its fence.
        fence: Fence,
        /// SHA-256, hex, of its secret.
        secret_sha256: String,
        /// Its Claude Code, once known.
        claude: Option<Process>,
        /// A turn runs or a prompt was typed since the last renewal.
        active: bool,
    },
    /// The gateway looked at the lock that a driver keeps in the Claude folder.
    Locked {
        /// The driver's fence.
        fence: Fence,
        /// The lock's file.
        name: String,
        /// Each side has seen the other's lock on it.
        mutual: bool,
    },
    /// A person says of processes that cannot be seen from the gateway that they are gone.
    Declared {
        /// Who, as the client says.
        by: String,
        /// Who, as the host has found out.
        identity: Option<String>,
        /// Which, by their lasting names.
        gone: Vec<String>,
    },
    /// A driver hands over prompts and answers.
    Relay {
        /// Its fence.
        fence: Fence,
        /// In order.
        items: Vec<RelayItem>,
    },
    /// A driver of a chat ride is about to send a prompt to the host.
    Say {
        /// Its fence.
        fence: Fence,
        /// What the host will call the turn.
        id: String,
        /// The prompt.
        text: String,
    },
    /// A driver says that held messages are in its conversation, with a prompt.
    TakeAlong {
        /// Its fence.
        fence: Fence,
        /// `uuid` of the prompt's line in the transcript.
        prompt: Uuid,
        /// Which messages.
        seqs: Vec<u64>,
    },
    /// A driver works on a copy of its own.
    Copied {
        /// Its fence.
        fence: Fence,
        /// Where that ends, when the driver is done.
        end: Option<CopyEnd>,
    },
    /// A driver is done.
    Release {
        /// Its fence.
        fence: Fence,
        /// Hand back although the chain could not be shown.
        accept_broken: bool,
    },
    /// A person gives the thread back to the agent, whoever rides it.
    TakeBack {
        /// Who.
        by: String,
        /// Although the chain could not be shown.
        accept_broken: bool,
    },
    /// A driver's connection is gone.
    Dropped {
        /// Its fence.
        fence: Fence,
    },
    /// A message reached the gate.
    Message(Box<Inbound>),
    /// A Claude Code that is neither the gateway's nor a ride's has the Claude session open.
    Opened(Box<OpenedBy>),
    /// It ends, or goes on with another Claude session.
    Closed {
        /// The Claude Code.
        process: Process,
        /// It lives, and has another session now.
        left: bool,
    },
    /// The host reported something other than a message of the thread.
    Seen(Seen),
    /// The performer asks what is to be done.
    Take {
        /// Who asks.
        performer: Uuid,
        /// Another thread's ride holds this thread's Claude session.
        behind: bool,
        /// The operations it is performing.
        flying: Vec<u64>,
    },
    /// An effect was performed.
    Done {
        /// Which.
        op: u64,
        /// By whom.
        performer: Uuid,
        /// What came of it.
        outcome: Outcome,
    },
}

/// A claim, with what the gateway knows of the thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAsked {
    /// Who, as the client says.
    pub driver: Driver,
    /// Who, as the host has found out.
    #[serde(default)]
    pub identity: Option<String>,
    /// SHA-256, hex, of the driver's secret.
    pub secret_sha256: String,
    /// Drawn at random for this grant.
    pub grant: Uuid,
    /// Title of the thread.
    pub title: String,
    /// The Claude session behind it, where there is one.
    pub claude: Option<ClaudeSession>,
    /// The stored route.
    pub route: Option<Route>,
    /// Other threads bound to the same Claude session.
    pub twins: Vec<String>,
    /// How long to wait for it.
    pub wait_ms: u64,
    /// Take it over from whoever rides it.
    #[serde(default)]
    pub steal: bool,
    /// Do not ride it: bind it to `claude`.
    #[serde(default)]
    pub adopts: Option<Adopts>,
    /// Who holds the Claude session through another thread.
    pub session_held: Option<Holder>,
}

impl ClaimAsked {
    /// Who, in words.
    pub fn who(&self) -> String {
        labelled(&self.driver.to_string(), self.identity.as_deref())
    }
}

/// A Claude Code that has a thread's Claude session open, outside any ride.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenedBy {
    /// The Claude session.
    pub claude: ClaudeSession,
    /// Other threads bound to it.
    pub twins: Vec<String>,
    /// The Claude Code.
    pub process: Process,
    /// The name of its machine.
    pub host: String,
    /// A turn of the thread or of a twin runs, or ended while this Claude Code read the conversation.
    pub answered: bool,
}

/// A message at the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inbound {
    /// The channel's own id of it, with account and chat; never its text.
    pub id: String,
    /// The channel gave it no id: `id` has its place, time, sender and a hash of its content.
    #[serde(default)]
    pub unnamed: Option<Unnamed>,
    /// Sender's id.
    pub sender: String,
    /// Sender's name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What a client of the gateway called its `chat.send`; `None` for a channel's message.
    #[serde(default)]
    pub client: Option<String>,
    /// Where it came from; `None` when not through a channel (Control UI, another client).
    pub route: Option<Route>,
    /// What the host needs to handle it later.
    pub host: Opaque,
    /// The Claude session its thread is bound to, as the host's entry says.
    pub claude: Option<Uuid>,
    /// Another thread's ride holds this thread's Claude session, by whom.
    pub behind: Option<Holder>,
}

/// A message without an id of the channel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    /// The gateway's process. Within one, each message that comes to the gate is another one.
    pub run: Uuid,
    /// The channel said when it was written: one that comes again to another process, with all
    /// the same, is a repetition.
    pub timed: bool,
}

/// What the host tells of a thread beside its messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "seen")]
pub enum Seen {
    /// Somebody wrote what stops the agent: the host acts on it before any plugin.
    Stop {
        /// Sender's name.
        name: String,
        /// Where.
        route: Option<Route>,
    },
    /// The thread's entry, as it is now.
    Entry {
        /// Whether there is one.
        there: bool,
        /// What tells whether the conversation was reset.
        reset_mark: String,
        /// The Claude session it is bound to.
        claude: Option<Uuid>,
    },
    /// A look at the live processes found one that writes to the ridden Claude session and is
    /// surely not the driver's.
    Writer {
        /// The grant that was looked at.
        fence: Fence,
        /// Process id.
        pid: u32,
        /// The name of its program.
        program: String,
    },
}

/// An effect and the number to acknowledge it by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// Its number.
    pub op: u64,
    /// What to do.
    pub act: Act,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "act")]
pub enum Act {
    /// Host: tell whether a turn runs on these threads.
    Settle {
        /// Session keys.
        sessions: Vec<String>,
    },
    /// Addon: end the gateway's idle Claude child and see it gone.
    EndChild {
        /// The Claude session.
        claude: ClaudeSession,
    },
    /// Host: read the bindings of the entries.
    Copy {
        /// Session keys.
        sessions: Vec<String>,
        /// The Claude session they must name.
        claude: Uuid,
    },
    /// Host: take the bindings out of the entries.
    Park {
        /// Session keys.
        sessions: Vec<String>,
        /// The Claude session they must name.
        claude: Uuid,
    },
    /// Host: pass an empty patch through the critical section of each entry. What an earlier
    /// operation began to write is written when it ends.
    Barrier {
        /// Session keys.
        sessions: Vec<String>,
    },
    /// Host and addon: see that no turn that was let in, here past the gate or by another
    /// gateway, may still begin on the Claude session.
    Acknowledge {
        /// Session keys.
        sessions: Vec<String>,
        /// The Claude session.
        claude: Uuid,
    },
    /// Addon: show that no live process has the Claude session.
    Prove {
        /// The Claude session.
        claude: ClaudeSession,
        /// The driver's Claude Code: it must be gone, wherever the registry says it is.
        process: Option<Process>,
        /// Its `ride`, where that could still start another.
        ride: Option<Process>,
        /// The lock that both were started with.
        lock: Option<HeldLock>,
        /// Processes that a person declared gone.
        gone: Vec<String>,
        /// Claude Codes that had the session open outside any ride: they must be gone, too.
        open: Vec<Process>,
    },
    /// Addon: look whether processes still live.
    Look {
        /// Which.
        processes: Vec<Process>,
    },
    /// Addon: record the transcript.
    Mark {
        /// The Claude session.
        claude: ClaudeSession,
        /// It must be whole, and wait for nothing: the host is to resume it.
        whole: bool,
        /// Where it was last known to stand: what grew beside it since is told.
        #[serde(default)]
        since: Option<Rest>,
    },
    /// Host: bind the entry to this Claude session, to be reused by force.
    Adopt {
        /// Session key of the thread.
        session: String,
        /// The Claude session.
        claude: ClaudeSession,
        /// The one that it must still be bound to.
        from: Option<Uuid>,
    },
    /// Addon: look for a driver whose connection dropped.
    Probe {
        /// `ride`.
        driver: Process,
        /// Its Claude Code.
        process: Option<Process>,
        /// The lock that both were started with.
        lock: Option<HeldLock>,
    },
    /// Addon: show the chain from the mark on, and list its turns.
    Show {
        /// The mark of the claim.
        mark: ChainMark,
        /// Where the driver's copy ends: the transcript must end there, too.
        copy: Option<CopyEnd>,
        /// Only turns behind this one are wanted.
        #[serde(default)]
        after: Option<String>,
        /// Turns whose text is not wanted: they were relayed.
        #[serde(default)]
        known: Vec<String>,
    },
    /// Host: put the bindings back, to be reused by force.
    Restore {
        /// What was parked.
        parked: Vec<Parked>,
        /// The Claude session they name.
        claude: Uuid,
        /// Whether an entry that a turn beside the ride has bound to another one is bound
        /// back: only once that turn was told of, since nothing shows it afterwards.
        over: bool,
    },
    /// Host: send one platform message.
    Send {
        /// Session key whose stored route must still be this one; `None` for notices.
        session: Option<String>,
        /// The message.
        item: Outgoing,
    },
    /// Host: see the driver's turn to its end, and tell its answer.
    Follow {
        /// Session key of the thread.
        session: String,
        /// What the host calls the turn.
        id: String,
    },
    /// Host: handle a held message as if it arrived now, and wait until it is handled.
    Hand {
        /// Session key of the thread.
        session: String,
        /// The message.
        held: Held,
    },
}

/// The lock of a driver, as a look at its processes needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldLock {
    /// The Claude folder it is in.
    pub config_dir: String,
    /// Its file.
    pub name: String,
    /// Each side has seen the other's lock on it: only then "free" means "gone".
    pub mutual: bool,
    /// The driver's `ride`, which holds it, too.
    pub ride: Process,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// Done: no turn runs; the child is gone; nobody has the session; the bindings are back; the message was handled.
    Ok,
    /// Not yet: ask again. In words, what is in the way.
    NotYet {
        /// What.
        what: String,
    },
    /// The gateway's own child has the session again: end it again.
    ChildAgain,
    /// Cannot be done.
    Failed {
        /// For people.
        what: String,
        /// For programs.
        reason: Reason,
    },
    /// The bindings, as they are.
    Copied {
        /// One per entry that has one.
        bindings: Vec<Parked>,
    },
    /// A turn ran beside the ride, and its entry is as that turn left it.
    Slipped {
        /// The Claude sessions that are bound instead.
        sessions: Vec<String>,
    },
    /// The bindings are back, and something had happened to the thread meanwhile.
    RestoredOver {
        /// The host's conversation was reset.
        reset: bool,
        /// The thread was deleted: nothing is bound.
        deleted: bool,
    },
    /// The transcript.
    Marked {
        /// Now.
        mark: ChainMark,
        /// What grew beside the active conversation.
        #[serde(default)]
        beside: Vec<Grown>,
    },
    /// What was found of processes; the others live.
    Looked {
        /// These are gone.
        gone: Vec<Process>,
        /// Of these nobody can tell from here.
        unseen: Vec<Process>,
    },
    /// The driver lives.
    Alive,
    /// The driver and its Claude are gone.
    Gone,
    /// The chain is one.
    Shown {
        /// Turns since the mark, in order.
        turns: Vec<RelayItem>,
        /// Ids of prompts a person typed since the mark that are not on the chain any more.
        beside: Vec<String>,
    },
    /// The same, with the first of the turns that were asked for: more follow.
    ShownPart {
        /// In order.
        turns: Vec<RelayItem>,
        /// As above.
        beside: Vec<String>,
    },
    /// The chain cannot be shown.
    Broken {
        /// Why.
        what: String,
    },
    /// The driver's turn is over.
    Answered {
        /// How.
        how: Ending,
        /// The agent's last words in it; empty where there are none.
        text: String,
    },
    /// The channel took it.
    Sent {
        /// The platform's id of it.
        message_id: String,
    },
    /// The channel surely did not take it.
    NotSent {
        /// The cause.
        what: String,
        /// Whether another attempt can help.
        retry: bool,
        /// The channel asked for this pause.
        after_ms: Option<u64>,
    },
    /// Nobody can tell whether it arrived.
    Unknown {
        /// The cause.
        what: String,
    },
    /// The thread's route is another one now.
    RouteChanged {
        /// Which.
        to: String,
    },
}

/// A branch that grew beside the active conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grown {
    /// Its last line.
    pub leaf: Uuid,
    /// Ids of the prompts that people typed in it, oldest first, at most [`limits::SIDE_PROMPTS`](crate::limits::SIDE_PROMPTS).
    pub prompts: Vec<String>,
    /// The last of them, at most [`limits::WAITING_CHARS`](crate::limits::WAITING_CHARS) characters.
    pub last_prompt: String,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// By itself.
    Complete,
    /// The driver interrupted it.
    Aborted,
    /// The agent or its model failed.
    Failed,
    /// With its gateway: nobody knows of it any more.
    Lost,
}

/// The answer to an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "reply")]
pub enum Reply {
    /// Taken.
    Ok,
    /// The claim is under way, or granted already to this very driver.
    Claiming {
        /// The fence it will have.
        fence: Fence,
    },
    /// Taken over into the outbox.
    Relayed {
        /// Ids, repeated ones included.
        accepted: Vec<String>,
    },
    /// The prompt is written down, now or before.
    Said {
        /// Where it is.
        state: SayState,
    },
    /// They are not handed to the agent any more.
    Taken {
        /// How many messages wait now.
        waiting: u32,
    },
    /// Refused.
    Refused {
        /// For people.
        message: String,
        /// For programs.
        refusal: Refusal,
    },
    /// The gate lets the message through: `ALLOW`.
    Admit {
        /// Why, for the log.
        because: &'static str,
    },
    /// The gate keeps the message: `CANCEL (ridden)`.
    Hold,
    /// The gate cannot keep it and says so: no turn runs.
    Decline {
        /// What the sender is told.
        text: String,
    },
    /// What the performer has to do, and when to ask again at the latest.
    Work {
        /// At most one of each kind.
        effects: Vec<Effect>,
        /// Milliseconds.
        wake_in_ms: Option<u64>,
    },
}
