//! What a thread keeps of Claude Codes that have its Claude session open and are neither the
//! gateway's nor a ride's: people who resumed it in a terminal.

use serde::{Deserialize, Serialize};

use super::{At, ClaudeSession};
use crate::id::Process;
use crate::time::Stamp;

/// A Claude session that is open in a terminal. While one of the Claude Codes lives, the gate
/// holds the thread's messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    /// The Claude session.
    pub claude: ClaudeSession,
    /// Other threads bound to it; their gates hold too.
    pub twins: Vec<String>,
    /// The Claude Codes that have it open, the first one first; at most
    /// [`limits::TERMINALS`](crate::limits::TERMINALS). Empty once the last one is gone, until the
    /// agent may go on.
    pub terminals: Vec<Terminal>,
    /// Since when, wall clock.
    pub since_ms: u64,
    /// Sender ids that were told that it is open.
    pub told: Vec<String>,
    /// What is being done about it.
    pub at: At<OpenedStage>,
}

/// One Claude Code that has the Claude session open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    /// Its process.
    pub process: Process,
    /// The name of its machine.
    pub host: String,
    /// Since when, wall clock.
    pub since_ms: u64,
    /// When it was last heard of: at its start and at each prompt.
    pub heard: Stamp,
    /// It said that it ends.
    pub ends: bool,
    /// The agent answered while it was opened: it does not know that answer, and would write
    /// beside it.
    pub stale: bool,
}

/// What is done while a Claude session is open in a terminal, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OpenedStage {
    /// The agent's running turn ends.
    Settle,
    /// The gateway's idle Claude child is ended: it does not know what the terminal writes, and
    /// its last line would hide it.
    EndChild,
    /// It is looked whether the Claude Codes still live.
    Watch,
    /// They are gone. Turns that passed no gate end.
    SettleAgain,
    /// The child of such a turn is ended. Then the agent goes on.
    EndChildAgain,
}
