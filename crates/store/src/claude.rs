//! Claude Code on this machine: its transcripts, its live registry, its
//! processes. Reads what the host writes and writes nothing; the one effect is
//! a SIGTERM to one idle child (`end_idle_child`).
//!
//! Layouts as of Claude Code 2.1.197 to 2.1.330. Folders come in as arguments.
//! Processes are read from `/proc`, so that part is Linux only for now:
//! elsewhere it answers [`ClaudeError::Unsupported`].

mod child;
mod error;
pub mod lock;
mod path;
pub mod process;
mod registry;
mod transcript;
mod writers;

pub use child::{EndChild, end_idle_child};
pub use error::ClaudeError;
pub use path::{ClaudeDir, Found, folder_of_slug, project_slug};
pub use registry::{Elsewhere, Entry, Liveness, Registry, Status};
pub(crate) use transcript::open_regular;
pub use transcript::{
    Look, Summary, chain_mark, continues_at, find_cwd, glance, is_quiet, last_prompt, missing_history, read_transcript,
    read_turns, show_chain, show_chain_within, sides, summary, tail_sha256, why_not_ended, why_not_resumed,
};
pub use writers::{By, Doubt, Unclear, Writer, Writers, live_writers, program, runs_claude_code};

#[cfg(test)]
mod tests;
