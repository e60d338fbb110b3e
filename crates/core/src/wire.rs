//! Requests and responses of the gateway methods, exactly as they travel.
//!
//! Requests refuse unknown fields by name; responses are read leniently, so an
//! older `ride` understands a newer gateway. Normative page: `docs/protocol.md`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::id::{Fence, Process, Route};
use crate::text::Foreign;

/// The method names, in one place.
pub mod method {
    /// Lists the threads and says which can be ridden. Needs `operator.read`.
    pub const RIDEABLE: &str = "sessions_rideable";
    /// Claims a thread for a driver; answers when it is granted or refused. Needs `operator.write`.
    pub const CLAIM: &str = "ride_claim";
    /// Renews a lease, and gives the messages that wait. Needs `operator.write`.
    pub const RENEW: &str = "ride_renew";
    /// Hands prompts and answers over for the thread. Needs `operator.write`.
    pub const RELAY: &str = "ride_relay";
    /// Writes a chat ride's prompt down before it is sent by `chat.send`. Needs `operator.write`.
    pub const SAY: &str = "ride_say";
    /// Reads the messages that wait, whole. Needs `operator.write`.
    pub const INBOX: &str = "ride_inbox";
    /// Says that messages rode along with a prompt: the agent is not given them again. Needs `operator.write`.
    pub const TAKE: &str = "ride_take";
    /// Ends a ride and hands the thread back. Needs `operator.write`.
    pub const RELEASE: &str = "ride_release";
    /// A person gives a thread back to the agent, whoever rides it.
    pub const TAKE_BACK: &str = "ride_take_back";
    /// Binds a thread to another Claude session.
    pub const ADOPT: &str = "ride_adopt";
    /// Says that the driver works on a copy of its own, and compares the two. Needs `operator.write`.
    pub const COPY: &str = "ride_copy";
    /// Reads a range of the conversation's files. Needs `operator.read`.
    pub const PULL: &str = "ride_pull";
    /// Extends the conversation's files by what the driver's copy has more. Needs `operator.write`.
    pub const PUSH: &str = "ride_push";
    /// Tells whether a fence is still the thread's. Needs `operator.read`.
    pub const CHECK: &str = "ride_check";
    /// Tells of a Claude Code that has a Claude session open outside any ride, and learns which
    /// thread that is the conversation of. Needs `operator.write`.
    pub const OPEN: &str = "ride_open";
    /// Shows the state of one thread or of all that are not open. Needs `operator.read`.
    pub const STATUS: &str = "ride_status";
    /// Shows the configuration in force. Needs `operator.read`.
    pub const CONFIG: &str = "ride_config";
    /// All of them.
    pub const ALL: [&str; 17] = [
        RIDEABLE, CLAIM, RENEW, RELAY, SAY, INBOX, TAKE, RELEASE, TAKE_BACK, ADOPT, COPY, PULL, PUSH, CHECK, OPEN,
        STATUS, CONFIG,
    ];
}

/// One thread as `sessions_rideable` lists it. The first eight are the seed's fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Channel id, `null` for a thread without one.
    pub channel: Option<Foreign>,
    /// The host's name for the conversation.
    pub display_name: Option<Foreign>,
    /// A title a person recognises.
    pub title: Foreign,
    /// The chat and topic within the channel.
    pub conversation_id: Option<String>,
    /// The Claude session behind the thread, `null` where there is none.
    pub cli_session_id: Option<String>,
    /// The stored delivery route.
    pub echo_target: Option<Route>,
    /// Whether turns can be relayed: a configured channel and a stored route.
    pub relay_ready: bool,
    /// Last activity of a person or the agent, milliseconds since 1970.
    pub last_activity: Option<u64>,

    /// The host's session key; names the thread in every other method.
    pub key: String,
    /// The agent the thread belongs to.
    pub agent_id: String,
    /// Whether it can be ridden now by somebody who has no ride.
    pub rideable: bool,
    /// Why not, in words, when `rideable` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<Foreign>,
    /// The process of the gateway's machine that has its Claude session open, where it is
    /// neither the gateway's nor a driver's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<u32>,
    /// How it would be driven; absent where it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether other conversations share it (a direct-message session).
    #[serde(default)]
    pub shared: bool,
    /// Who rides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Holder>,
    /// How many messages wait.
    #[serde(default)]
    pub waiting: u32,
    /// Terminals that have its Claude session open, outside any ride.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Terminal>,
}

/// How a thread is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// By Claude Code, which resumes the Claude session behind it.
    Claude,
    /// By `chat.send`: a channel without a Claude session that could be resumed.
    Chat,
    /// A mode of a newer gateway.
    #[serde(other)]
    Unknown,
}

/// Request of `sessions_rideable`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct List {
    /// Rows of one answer, 1 to 250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Answer of `sessions_rideable`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rideable {
    /// Most recent first.
    pub rows: Vec<Row>,
    /// Where the rest begins; absent with the last rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are in all.
    #[serde(default)]
    pub total: u32,
}

/// Request of a method without parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Who holds a thread, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The driver's name.
    pub name: Foreign,
    /// The machine the driver sits at.
    pub host: Foreign,
    /// Who it is, as the host has found out; the name is what the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Foreign>,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Until when at the latest without another renewal, milliseconds from now.
    pub expires_in_ms: u64,
    /// `claiming`, `ridden` or `leaving`.
    pub phase: Foreign,
    /// What the thread is waiting for while it changes hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Foreign>,
    /// Whether a release with `acceptBrokenChain` goes on in spite of it.
    #[serde(default)]
    pub acceptable: bool,
}

/// Who asks for a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Driver {
    /// A name people know, at most 64 characters.
    pub name: String,
    /// The machine's name, at most 64 characters.
    pub host: String,
    /// The `ride` process.
    pub process: Process,
}

/// In words: `ada@laptop`.
impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.host)
    }
}

/// Request of `ride_claim`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// Session key of the thread.
    pub key: String,
    /// Who claims.
    pub driver: Driver,
    /// 16 random bytes, hex, chosen by the driver: proves that a returning driver is the same.
    pub secret: String,
    /// How long to wait for a running turn, milliseconds; at most 600,000.
    #[serde(default = "default_claim_wait_ms")]
    pub wait_ms: u64,
    /// Take the thread over from whoever rides it.
    #[serde(default)]
    pub steal: bool,
    /// Processes that cannot be seen from the gateway and that the person declares gone, by the
    /// names that a refusal gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
}

fn default_claim_wait_ms() -> u64 {
    120_000
}

/// Answer of `ride_claim`: the grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Session key of the thread.
    pub key: String,
    /// To be carried by every effect of this driver.
    pub fence: Fence,
    /// Title of the thread.
    pub title: Foreign,
    /// Where relayed turns go.
    pub route: Option<Route>,
    /// The Claude session to open; `null` for a chat ride.
    pub claude: Option<ClaudeTarget>,
    /// Of a chat ride that its driver comes back to: the prompt being answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// The lease ends this long after the last renewal.
    pub lease_ms: u64,
    /// How often to renew.
    pub renew_every_ms: u64,
    /// Silence (Claude idle and no prompt) after which the thread is given up.
    pub silence_ms: u64,
    /// Whether prompts and answers are relayed to the channel.
    pub relay: bool,
    /// What waited already.
    pub waiting: Vec<Waiting>,
    /// Whether the gateway meets the driver in a lock file (`lock` of a renewal).
    #[serde(default)]
    pub locks: bool,
    /// Branches that grew beside the conversation since it was last known, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Side>,
}

/// A branch of the conversation that Claude Code would not go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Its last line, by which `ride repair --keep` goes on with it.
    pub leaf: Uuid,
    /// How many prompts of people it has.
    pub prompts: u32,
    /// The last of them, at most 280 characters.
    pub last_prompt: Foreign,
}

/// The Claude session a driver opens, and the file it must find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaudeTarget {
    /// Claude session id.
    pub session_id: Uuid,
    /// The Claude configuration folder on the gateway's machine.
    pub config_dir: String,
    /// The project folder the session belongs to.
    pub cwd: String,
    /// The transcript as claim found it.
    pub transcript: ChainMark,
}

/// A transcript at one moment: which file, how long, and where its chain ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainMark {
    /// Absolute path on the gateway's machine.
    pub path: String,
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, hex, of the last 64 KiB before `size` (all of it when shorter).
    pub tail_sha256: String,
    /// The active leaf, `null` for a transcript without a turn.
    pub leaf: Option<Uuid>,
}

/// A message that waits for release, as the driver sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Position in the thread's inbox, growing.
    pub seq: u64,
    /// Who wrote it.
    pub from: Foreign,
    /// What was written, at most 280 characters of it.
    pub text: Foreign,
    /// When it arrived, milliseconds since 1970.
    pub at_ms: u64,
}

/// Request of `ride_renew`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Renew {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// The secret of the claim.
    pub secret: String,
    /// The driver's Claude Code, once it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claude: Option<Process>,
    /// A turn is running or a prompt was typed since the last renewal.
    #[serde(default)]
    pub active: bool,
    /// The driver's lock, until both sides have seen each other's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
}

/// A driver's lock in the Claude folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lock {
    /// Its file: 32 hex digits.
    pub name: String,
    /// What the driver wrote into it: 32 hex digits.
    pub nonce: String,
    /// What the driver read there beside a lock of the gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// Answer of `ride_renew`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// What the gateway wrote into the driver's lock file, beside a lock of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The lease ends this long from now.
    pub expires_in_ms: u64,
    /// Silence ends the ride this long from now.
    pub silent_in_ms: u64,
    /// What waits in the inbox, oldest first, at most 20.
    pub waiting: Vec<Waiting>,
    /// How many wait in all.
    pub waiting_total: u32,
    /// Relay items the channel has not acknowledged.
    pub outbox: u32,
    /// Why nothing is relayed at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_stopped: Option<Foreign>,
    /// Of a chat ride: the prompt that waits for the agent or is being answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// What the host reported during this ride, oldest first, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub news: Vec<News>,
}

/// A chat ride's prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// The driver's id of it.
    pub id: String,
    /// Where it is.
    pub state: SayState,
}

/// Where a chat ride's prompt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SayState {
    /// Written down: `chat.send` with its id will be let in, once.
    Said,
    /// The agent has it; sending it again runs nothing.
    Begun,
    /// Its turn is over.
    Over,
}

/// Request of `ride_say`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Say {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// The `idempotencyKey` of the `chat.send` to come; drawn at random.
    pub id: String,
    /// The prompt.
    pub text: String,
}

/// Answer of `ride_say`: the prompt is on the gateway's disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saying {
    /// Where it is; what has begun or is over must not be sent.
    pub state: SayState,
}

/// What happened to the thread beside its ride.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct News {
    /// Position; grows.
    pub seq: u64,
    /// In words.
    pub text: Foreign,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// What a relay item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RelayKind {
    /// Typed by the driver.
    Prompt,
    /// Claude's final answer of a turn.
    Answer,
    /// A turn that ended without an answer (interrupted, failed); the text says how.
    Notice,
}

/// One prompt or answer of a terminal turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RelayItem {
    /// Unique within the Claude session; a repeated id is acknowledged and not sent again.
    pub id: String,
    /// What it is.
    pub kind: RelayKind,
    /// The whole text.
    pub text: String,
}

/// Request of `ride_relay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Relay {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// In order; at most 32.
    pub items: Vec<RelayItem>,
}

/// Answer of `ride_relay`: the items are on the gateway's disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relayed {
    /// Ids taken over, repeated ones included.
    pub accepted: Vec<String>,
    /// Items the channel has not acknowledged.
    pub outbox: u32,
}

/// Request of `ride_inbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbox {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// Only messages after this one; 0 for all.
    #[serde(default)]
    pub after: u64,
}

/// Answer of `ride_inbox`. Nothing is changed by reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inboxed {
    /// Oldest first, with their whole texts; at most 20 and at least one, 128 KiB in all.
    pub messages: Vec<Waiting>,
    /// Whether there are more after the last of them.
    pub more: bool,
}

/// Request of `ride_take`. A repeated one changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Take {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// `uuid` of the prompt's line, which is in the transcript.
    pub prompt: Uuid,
    /// Which messages are with it; at most 20.
    pub seqs: Vec<u64>,
}

/// Answer of `ride_take`: none of them waits any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// How many messages wait now.
    pub waiting: u32,
}

/// Request of `ride_release`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// Hand the thread back although its chain could not be shown to be whole.
    #[serde(default)]
    pub accept_broken_chain: bool,
    /// How long to wait for the hand-over, milliseconds; at most 600,000.
    #[serde(default = "default_release_wait_ms")]
    pub wait_ms: u64,
    /// Where the driver's own copy of the conversation ends: the gateway's must end there, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyEnd>,
}

/// Where a copy of a transcript ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyEnd {
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256, hex, of the last 64 KiB before `size`.
    pub tail_sha256: String,
    /// The active leaf.
    pub leaf: Option<Uuid>,
}

/// Request of `ride_copy`: from here on the driver writes to a copy of its own, and what
/// runs on its machine cannot touch the gateway's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Copy {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// How long the driver's transcript is; 0 where it has none.
    #[serde(default)]
    pub size: u64,
}

/// Answer of `ride_copy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    /// Length of the gateway's transcript in bytes.
    pub size: u64,
    /// How much of it was compared: the shorter of the two lengths.
    pub compared: u64,
    /// SHA-256, hex, of that much.
    pub sha256: String,
    /// The active leaf of the gateway's.
    pub leaf: Option<Uuid>,
    /// The last prompt in it, if its last 16 MiB have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_prompt: Option<Foreign>,
    /// The files of subagents beside it.
    pub files: Vec<CopyFile>,
    /// The repository its project folder is in, where that is one of git's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
}

/// A file of a conversation beside its transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyFile {
    /// `subagents/agent-….jsonl` or `subagents/agent-….meta.json`.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

/// What git says of a project folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Address of its `origin`.
    pub remote: String,
    /// Its branch.
    pub branch: String,
    /// The folder within it; empty for its root.
    pub inside: String,
}

/// Request of `ride_pull`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pull {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// A file of `ride_copy`; the transcript when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From which byte on.
    pub from: u64,
}

/// Answer of `ride_pull`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pulled {
    /// Up to 1 MiB from there on: base64 of a Zstandard frame.
    pub data: String,
    /// Length of the file in bytes.
    pub size: u64,
}

/// Request of `ride_push`: one frame of a range that extends a file. Nothing is in the file
/// before the whole range is there and was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Push {
    /// Session key of the thread.
    pub key: String,
    /// The driver's fence.
    pub fence: Fence,
    /// A file of a subagent; the transcript when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where the range begins: the length of the gateway's file.
    pub from: u64,
    /// SHA-256, hex, of the last 64 KiB before it.
    pub before_sha256: String,
    /// Length of the range in bytes.
    pub total: u64,
    /// Where in the range this frame begins.
    pub at: u64,
    /// Up to 1 MiB: base64 of a Zstandard frame.
    pub data: String,
}

/// Answer of `ride_push`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    /// How much of the range is there.
    pub at: u64,
    /// Whether the file ends with it, on disk.
    pub done: bool,
}

fn default_release_wait_ms() -> u64 {
    60_000
}

/// Request of `ride_take_back`: a person gives the thread back to the agent, whoever
/// rides it. The driver's ride ends in the usual order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TakeBack {
    /// Session key of the thread.
    pub key: String,
    /// Who, as the thread and the driver are told.
    pub by: String,
    /// Although its chain could not be shown to be whole.
    #[serde(default)]
    pub accept_broken_chain: bool,
    /// How long to wait for the hand-over, milliseconds; at most 600,000.
    #[serde(default = "default_release_wait_ms")]
    pub wait_ms: u64,
}

/// Request of `ride_adopt`: a Claude session of the gateway's machine becomes the thread's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adopt {
    /// Session key of the thread.
    pub key: String,
    /// The Claude session.
    pub cli_session_id: Uuid,
    /// Who adopts.
    pub driver: Driver,
    /// Shows that the client is the gateway's own user: the name of a file it has made in the
    /// folder `condition.proofDir` of `ride_config`. 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// How long to wait for a running turn, milliseconds; at most 600,000.
    #[serde(default = "default_claim_wait_ms")]
    pub wait_ms: u64,
}

/// What a proof of being the gateway's own user says that it is for.
pub fn proof_of_adoption(key: &str, session: Uuid) -> String {
    format!("adopt {session} {key}")
}

/// Answer of `ride_adopt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// The Claude session that is the thread's now.
    pub cli_session_id: Uuid,
    /// The one before; adopted again, it is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Uuid>,
    /// The project folder the agent goes on in.
    pub cwd: String,
    /// Branches that grew beside its conversation since it was last known here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Side>,
}

/// Answer of `ride_release` and `ride_take_back`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Whether the agent has the thread again; `false` while `waiting_for` holds it up.
    pub open: bool,
    /// What the hand-over is waiting for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Foreign>,
    /// Whether a release with `acceptBrokenChain` goes on in spite of it.
    #[serde(default)]
    pub acceptable: bool,
    /// Messages that waited and are now being handled in order.
    pub waiting: u32,
    /// Relay items the channel refused for good during this ride.
    #[serde(default)]
    pub undelivered: u32,
}

/// Request of `ride_check`: a fence, or a thread, or a Claude session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// Session key of the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A fence to check on that thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// A Claude session id, instead of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli_session_id: Option<Uuid>,
    /// With a Claude session: the process that has it, to learn whether the gateway started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// Answer of `ride_check`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Whether the thread is in a driver's hands or changing hands.
    pub ridden: bool,
    /// Whether the given fence may act; absent when none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Session key of the thread that a given Claude session is ridden by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// That thread's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Foreign>,
    /// Whether the given process is the gateway's own Claude Code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

/// Request of `ride_open`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Open {
    /// The Claude session.
    pub cli_session_id: Uuid,
    /// The Claude Code that has it.
    pub process: Process,
    /// The name of its machine.
    pub host: String,
    /// What that Claude Code does with it.
    pub state: Opening,
}

/// What a Claude Code does with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Opening {
    /// It has it open: told at its start and at each prompt.
    Open,
    /// It ends.
    Ends,
    /// It goes on with another session.
    Left,
}

/// Answer of `ride_open`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// Session key of the thread whose conversation it is; absent where it is none's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// That thread's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Foreign>,
    /// The thread's messages are held for as long as that Claude Code lives.
    #[serde(default)]
    pub held: bool,
    /// The agent answered while the session was opened: that Claude Code does not know the answer,
    /// and would write beside it. It has to be opened again.
    #[serde(default)]
    pub stale: bool,
    /// What the gateway still waits for before nothing of it writes there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Foreign>,
}

/// Request of `ride_status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Status {
    /// One thread; all that are not open when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With the latest lines of the audit log: of that thread, or of all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
}

/// Answer of `ride_status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statuses {
    /// One per thread.
    pub threads: Vec<ThreadStatus>,
    /// The audit log's latest lines, oldest first, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<AuditLine>,
}

/// One thread's state, for people and `ride doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadStatus {
    /// Session key.
    pub key: String,
    /// `open`, `claiming`, `ridden` or `leaving`; `unreadable` where its state file is of a
    /// version that is not known, and `waiting_for` says so.
    pub phase: Foreign,
    /// Epoch of the last grant.
    pub epoch: u64,
    /// The fence in force, shortened: for reading, not for use.
    pub fence: Option<String>,
    /// Who holds it.
    pub holder: Option<Holder>,
    /// The driver's process.
    pub process: Option<Process>,
    /// The driver's Claude Code.
    pub claude: Option<Process>,
    /// The Claude session.
    pub cli_session_id: Option<Uuid>,
    /// How it is driven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether its driver writes to a copy of the conversation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// Messages that wait.
    pub inbox: u32,
    /// Relay items not acknowledged.
    pub outbox: u32,
    /// Relay items refused for good by the channel.
    pub undelivered: u32,
    /// The Claude session it was bound to before another was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Uuid>,
    /// What the thread is waiting for while it changes hands.
    pub waiting_for: Option<Foreign>,
    /// The latest journal entries, oldest first.
    pub journal: Vec<JournalLine>,
    /// Terminals that have its Claude session open, outside any ride.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Terminal>,
}

/// A Claude Code that has a thread's Claude session open, outside any ride.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    /// The name of its machine.
    pub host: Foreign,
    /// The Claude Code.
    pub process: Process,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
}

/// One line of a thread's journal. Never contains message text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalLine {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLine {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Session key of the thread.
    pub key: String,
    /// What was done.
    pub what: AuditWhat,
    /// By whom, as the client says.
    pub by: String,
    /// By whom, as the host has found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Who had the thread, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// That grant, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<String>,
    /// What the thread waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// What the audit log tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuditWhat {
    /// A driver took a ridden thread over.
    TakeOver,
    /// A person gave a thread back to the agent.
    TakeBack,
    /// A person accepted a chain that could not be shown, or a process that cannot be looked at.
    AcceptBroken,
    /// A thread was to be bound to another Claude session.
    Adopt,
    /// A person declared processes gone that cannot be seen; `waitsFor` has their names.
    DeclareGone,
    /// Something a newer gateway tells of.
    #[serde(other)]
    Unknown,
}

/// Why a request was refused, in the error's `details`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Machine-readable reason.
    pub reason: Reason,
    /// Who holds the thread, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// What the person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Foreign>,
}

/// The reasons a method refuses, in `details.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// A parameter is missing, unknown or of the wrong type; the message names it.
    BadRequest,
    /// No such thread.
    UnknownThread,
    /// The thread cannot be ridden; the message says why.
    NotRideable,
    /// The person may not ride the thread; the message names the rule.
    NotAllowed,
    /// The plugin's configuration is not in force; the message names the key.
    Config,
    /// Another driver has the thread or its Claude session.
    Held,
    /// The fence is not the thread's any more.
    Stale,
    /// A turn is running and did not end in time.
    TurnRunning,
    /// Another live process has the Claude session.
    SessionInUse,
    /// The transcript is missing, not a regular file, or its chain is damaged.
    Transcript,
    /// The driver's copy and the gateway's transcript are not the beginning of one another.
    Diverged,
    /// A text or list is over its limit; the message names it.
    TooLarge,
    /// The outbox is full because the channel does not take messages.
    OutboxFull,
    /// The thread's state could not be read or written.
    Store,
    /// The host refused or failed an operation.
    Host,
    /// A reason of a newer gateway.
    #[serde(other)]
    Unknown,
}

/// An error a method answers with; `code` is one of the host's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodError {
    /// `INVALID_REQUEST` or `UNAVAILABLE`.
    pub code: Foreign,
    /// For people.
    pub message: Foreign,
    /// For programs.
    pub details: Refusal,
}

/// Reads a request, naming the method and the field when it does not fit.
pub fn parse<T: for<'de> Deserialize<'de>>(method: &str, params: &str) -> Result<T, MethodError> {
    let refused = |what: String| MethodError {
        code: "INVALID_REQUEST".into(),
        message: format!("could not read parameters of {method}: {what}").into(),
        details: Refusal { reason: Reason::BadRequest, holder: None, hint: None },
    };
    // A list of the fields' values would be taken too.
    if !params.trim_start().starts_with('{') {
        return Err(refused("they are no object".into()));
    }
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(params)).map_err(|e| {
        let path = e.path().to_string();
        let what = e.inner().to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        refused(if path == "." { what.to_owned() } else { format!("{path}: {what}") })
    })
}

/// Tells whether parameters fit a method.
pub fn fits(method: &str, params: &str) -> Result<(), MethodError> {
    match method {
        method::RIDEABLE => parse::<List>(method, params).map(drop),
        method::CLAIM => parse::<Claim>(method, params).map(drop),
        method::RENEW => parse::<Renew>(method, params).map(drop),
        method::RELAY => parse::<Relay>(method, params).map(drop),
        method::SAY => parse::<Say>(method, params).map(drop),
        method::INBOX => parse::<Inbox>(method, params).map(drop),
        method::TAKE => parse::<Take>(method, params).map(drop),
        method::RELEASE => parse::<Release>(method, params).map(drop),
        method::TAKE_BACK => parse::<TakeBack>(method, params).map(drop),
        method::ADOPT => parse::<Adopt>(method, params).map(drop),
        method::COPY => parse::<Copy>(method, params).map(drop),
        method::PULL => parse::<Pull>(method, params).map(drop),
        method::PUSH => parse::<Push>(method, params).map(drop),
        method::CHECK => parse::<Check>(method, params).map(drop),
        method::OPEN => parse::<Open>(method, params).map(drop),
        method::STATUS => parse::<Status>(method, params).map(drop),
        _ => parse::<Nothing>(method, params).map(drop),
    }
}

/// Any JSON value a host keeps that we carry without reading.
pub type Opaque = Value;
