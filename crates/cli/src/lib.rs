//! The command `ride`: it lets a person drive, from the terminal, the Claude session
//! behind a thread of an OpenClaw gateway.
//!
//! In reading order: [`args`] and [`command`] (what is asked), [`gateway`] (the way
//! there), [`matching`], [`render`] and [`picker`] (threads for people), [`ride`] (one ride),
//! [`copy`] (one on another machine than the gateway's), [`chat`] (one without Claude Code),
//! [`doctor`] (what is missing), [`deploy`] (a unit for Claude Code's Remote Control).
//! [`hook`] is a program of its own: what an older Claude Code runs at each prompt.
//! Only [`env`](mod@env) reads the process's surroundings, only [`error`] knows exit codes.

pub mod args;
pub mod chat;
pub mod command;
pub mod copy;
pub mod deploy;
pub mod doctor;
pub mod env;
pub mod error;
pub mod gateway;
pub mod hook;
pub mod interrupt;
pub mod launch;
pub mod link;
pub mod matching;
pub mod outbox;
pub mod picker;
pub mod render;
pub mod ride;
pub mod transcript;
