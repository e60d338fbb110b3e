//! What a thread's value keeps of things that also travel in requests and answers.
//!
//! These are stored types: their shape belongs to the format of the state file. The types
//! in [`wire`] belong to the protocol. Either can change without the
//! other, so nothing of `wire` is stored.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::Process;
use crate::wire;

/// Who drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Driver {
    /// A name people know.
    pub name: String,
    /// The machine's name.
    pub host: String,
    /// The `ride` process.
    pub process: Process,
}

/// In words: `ada@laptop`.
impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.host)
    }
}

impl From<wire::Driver> for Driver {
    fn from(wire::Driver { name, host, process }: wire::Driver) -> Self {
        Driver { name, host, process }
    }
}

/// A transcript at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Absolute path on the gateway's machine.
    pub path: String,
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, hex, of the last 64 KiB before `size`.
    pub tail_sha256: String,
    /// The active leaf.
    pub leaf: Option<Uuid>,
}

impl From<wire::ChainMark> for Mark {
    fn from(wire::ChainMark { path, dev, ino, size, tail_sha256, leaf }: wire::ChainMark) -> Self {
        Mark { path, dev, ino, size, tail_sha256, leaf }
    }
}

impl From<Mark> for wire::ChainMark {
    fn from(Mark { path, dev, ino, size, tail_sha256, leaf }: Mark) -> Self {
        wire::ChainMark { path, dev, ino, size, tail_sha256, leaf }
    }
}

/// Where a driver's copy of the transcript ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyEnd {
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256, hex, of its last 64 KiB.
    pub tail_sha256: String,
    /// Its active leaf.
    pub leaf: Option<Uuid>,
}

impl From<wire::CopyEnd> for CopyEnd {
    fn from(wire::CopyEnd { size, tail_sha256, leaf }: wire::CopyEnd) -> Self {
        CopyEnd { size, tail_sha256, leaf }
    }
}

impl From<CopyEnd> for wire::CopyEnd {
    fn from(CopyEnd { size, tail_sha256, leaf }: CopyEnd) -> Self {
        wire::CopyEnd { size, tail_sha256, leaf }
    }
}

/// What an outgoing message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Typed by the driver.
    Prompt,
    /// The final answer of a turn.
    Answer,
    /// Something that is said to the thread.
    Notice,
}

impl Kind {
    /// Whether it is a turn of the ride.
    pub fn is_turn(self) -> bool {
        matches!(self, Kind::Prompt | Kind::Answer)
    }
}

impl From<wire::RelayKind> for Kind {
    fn from(kind: wire::RelayKind) -> Self {
        match kind {
            wire::RelayKind::Prompt => Kind::Prompt,
            wire::RelayKind::Answer => Kind::Answer,
            wire::RelayKind::Notice => Kind::Notice,
        }
    }
}

/// One line of the journal. Never contains message text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalLine {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

impl From<JournalLine> for wire::JournalLine {
    fn from(JournalLine { at_ms, what }: JournalLine) -> Self {
        wire::JournalLine { at_ms, what }
    }
}

/// Why a claim failed, for programs: the name of a [`wire::Reason`]. It is kept as text, so
/// that a new reason is no new shape of the state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReasonName(String);

impl From<wire::Reason> for ReasonName {
    fn from(reason: wire::Reason) -> Self {
        let name = serde_json::to_value(reason).ok();
        ReasonName(name.as_ref().and_then(serde_json::Value::as_str).unwrap_or("UNKNOWN").to_owned())
    }
}

impl From<&ReasonName> for wire::Reason {
    fn from(ReasonName(name): &ReasonName) -> Self {
        serde_json::from_value(serde_json::Value::String(name.clone())).unwrap_or(wire::Reason::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_back_as_it_was_and_an_unknown_one_as_unknown() {
        for reason in [wire::Reason::NotRideable, wire::Reason::Store, wire::Reason::Unknown] {
            assert_eq!(wire::Reason::from(&ReasonName::from(reason)), reason);
        }
        assert_eq!(ReasonName::from(wire::Reason::TurnRunning), ReasonName("TURN_RUNNING".into()));
        assert_eq!(wire::Reason::from(&ReasonName("OF_A_LATER_VERSION".into())), wire::Reason::Unknown);
    }
}
