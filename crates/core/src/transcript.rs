//! Claude Code transcripts: lines to chain.
//!
//! Decides which leaf the host would resume, whether one leaf descends from
//! another, and which turns lie between. Keeps one small node per chain line
//! and no text; texts are read again, by span, for the few lines that matter.
//! The pieces: `reader` (bytes to nodes), `line` (one line as the host writes
//! it), `chain` (ancestry and the proof of one chain), `resume` (where each version of
//! the host continues), `turn` (prompts and answers), `follow` (the same while they are written). Absent on purpose:
//! files, and any repair of a damaged tree.
//!
//! # The active leaf
//!
//! Measured with `claude -p --resume` on hand-made trees, 2.1.197 and 2.1.330,
//! about a hundred cases each (nine of them also in the TUI), no difference:
//!
//! 1. Nodes are the lines of type `user`, `assistant`, `attachment`, `system`.
//!    `progress` lines only pass a parent on; other types are no nodes.
//! 2. The *hint* is the `leafUuid` of the last `last-prompt` line that has one
//!    (absent and `null` leave the earlier one standing; a value that names no
//!    node leaves no hint; it may name a line further down). A
//!    `compact_boundary` line clears the hint.
//! 3. The *last* is the last node in file order (not by time; a repeated id
//!    counts where it is repeated, with its later content) that is no
//!    sidechain and has a `user` or `assistant` among itself and its
//!    `parentUuid` ancestors. It need not be childless.
//! 4. No hint: the last. The last is the hint or descends from it by
//!    `parentUuid`: the last. Otherwise: the hint itself, even where it has
//!    later children. A hint marked `"explicit":true` (a rewind) counts only
//!    what stands below its line as the last; a later `last-prompt` line with
//!    the same leaf keeps that mark, one with another leaf ends it.
//! 5. A hint that is a sidechain: the host finds no conversation to resume.
//! 6. In a file over 5 MiB everything before the last `compact_boundary` line
//!    is not loaded: a hint written later that names such a node is none.
//! 7. Torn, NUL-filled and otherwise unparsable lines are skipped, CRLF is
//!    fine, and the host ends a torn line before it appends. A parent that
//!    names no node is bridged to the line before it when the conversation is
//!    built, but not for rule 4.
//!
//! # Where the host continues
//!
//! Not always below the leaf: see `resume`, which has the rules of each measured version.
//!
//! Where this module differs from the host, on purpose: what is appended is never
//! shown across an unknown parent, and there a line of an unknown type that carries
//! a `uuid` passes its parent on, so that a line type of a newer host does not
//! break every chain.

mod chain;
mod finished;
mod follow;
mod line;
mod reader;
mod resume;
mod side;
mod turn;

pub use chain::{Broken, Chain, Shown, Why};
pub use finished::Finished;
pub use follow::{Ended, Entry, Follow, News};
pub use reader::{Malformed, Reader, Tail, Transcript, Wrong};
pub use resume::{MEASURED, Rules};
pub use side::{SIDES, Side};
pub use turn::{Answer, End, Origin, Prompt, Turn, Turns, Wanted, asked, gives_reason, turns, turns_within};

/// Longest line that is read: twice the largest request the model API takes.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Most nodes of one transcript; each takes about 200 bytes of memory.
pub const MAX_NODES: usize = 4_000_000;

/// Above this file size the host does not load what precedes the last compaction.
pub const PRUNED_ABOVE_BYTES: u64 = 5 << 20;

/// Where a line stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Line number, from 1.
    pub line: u32,
    /// Offset of its first byte.
    pub byte: u64,
    /// Length in bytes without the line feed.
    pub len: u32,
}

#[cfg(test)]
mod tests;
