//! What the mod sends and reads, exactly as `register.js` writes it.
//!
//! Lenient: unknown fields and kinds are fine, since Claude Code's events grow.
//! Every request is `POST` with `Authorization: Bearer <token>`.
//!
//! | path          | request        | answer |
//! | ------------- | -------------- | ------ |
//! | `/hello`      | [`Hello`]      | `{}` |
//! | `/prompt`     | [`Submitted`]  | [`Verdict`] |
//! | `/turn/start` | [`Common`]     | [`Verdict`] |
//! | `/compact`    | [`Compaction`] | [`Verdict`] |
//! | `/row`        | [`Row`]        | `{}` once it would survive a crash |
//! | `/turn/end`   | [`TurnEnd`]    | `{}` once it would survive a crash |
//! | `/session`    | [`Session`]    | `{}` |
//! | `/status`     | [`Seen`]       | [`StatusLine`], held until there is something new |
//! | `/draft`      | [`Draft`]      | `{}` |
//! | `/bye`        | [`Bye`]        | `{}` |
//!
//! Failures carry a 4xx or 5xx status and [`Failure`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of this protocol. Plugin and binary are one build; a difference
/// means that Claude Code loaded some other copy of the plugin.
pub const PROTOCOL: u32 = 1;

#[derive(Debug, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub session: Uuid,
    pub cwd: PathBuf,
    pub version: String,
    #[serde(default, rename = "isInteractive")]
    pub interactive: bool,
}

/// What every request after the greeting holds.
#[derive(Debug, Deserialize)]
pub struct Common {
    pub session: Uuid,
}

/// `prompt.submit`'s `PromptOrigin`: a kind, and fields of that kind.
#[derive(Clone, Debug, Deserialize)]
pub struct Origin {
    pub kind: String,
}

#[derive(Debug, Deserialize)]
pub struct Submitted {
    pub text: String,
    pub origin: Origin,
    /// Name of the slash command it runs.
    #[serde(default)]
    pub command: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Compaction {
    #[serde(default)]
    pub trigger: String,
}

/// A row that `session.append` is about to store, in the main conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub session: Uuid,
    pub uuid: Uuid,
    pub door: Door,
    pub origin: Origin,
    #[serde(default, rename = "isMeta")]
    pub is_meta: bool,
    #[serde(default, rename = "hasText")]
    pub has_text: bool,
    /// Absent for the model's rows: the answer's text comes with the turn's end.
    #[serde(default)]
    pub text: String,
}

/// By which way a row came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// A prompt that begins a turn, or one of several that begin it together.
    Prompt,
    /// A slash command's or `!command`'s record, wrapped in tags.
    Command,
    /// A prompt that joins the running turn, wrapped in a reminder.
    Delivery,
    /// A block of the model's answer.
    Response,
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub struct TurnEnd {
    pub session: Uuid,
    #[serde(rename = "turnId")]
    pub turn_id: String,
    pub reason: String,
    #[serde(default)]
    pub answer: String,
}

#[derive(Debug, Deserialize)]
pub struct Session {
    #[serde(default)]
    pub source: Option<String>,
}

/// What stands in the prompt box, typed and not sent.
#[derive(Debug, Deserialize)]
pub struct Draft {
    #[serde(default)]
    pub text: String,
}

#[derive(Debug, Deserialize)]
pub struct Bye {
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Serialize)]
pub struct Verdict {
    pub allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Told to the model beside the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// What the mod shows.
#[derive(Debug, Deserialize)]
pub struct Seen {
    #[serde(default)]
    pub line: String,
    #[serde(default)]
    pub warn: bool,
    /// Number of the last line it put into the conversation.
    #[serde(default)]
    pub said: u64,
}

/// What it should show.
#[derive(Debug, Serialize)]
pub struct StatusLine {
    pub line: String,
    pub warn: bool,
    /// This Claude Code is about to be ended: what is typed and not sent is asked for.
    pub ending: bool,
    /// For the conversation, each once.
    pub lines: Vec<String>,
    /// Number of the last of them.
    pub said: u64,
}

#[derive(Debug, Serialize)]
pub struct Failure {
    pub error: String,
    pub code: Code,
}

/// What went wrong, for the mod to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No or another token.
    Token,
    /// Another process holds this link. The mod then does nothing.
    Stranger,
    /// Something before the greeting.
    NotGreeted,
    /// Not understood, or another protocol version.
    BadRequest,
    /// Over the limit.
    TooLarge,
    /// No such path.
    NotFound,
    /// `ride` did not keep it in time.
    NotKept,
}
