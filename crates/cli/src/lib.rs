//! The command `ride`: it lets a person drive, from the terminal, the Claude session
//! behind a thread of an OpenClaw gateway.
//!
//! In reading order: [`args`] and [`command`] (what is asked), [`gateway`] (the way
//! there), [`matching`], [`render`] and [`picker`] (threads for people), [`ride`] (one ride),
//! [`doctor`] (what is missing).
//! Only [`env`](mod@env) reads the process's surroundings, only [`error`] knows exit codes.

pub mod args;
pub mod command;
pub mod doctor;
pub mod env;
pub mod error;
pub mod gateway;
pub mod interrupt;
pub mod launch;
pub mod link;
pub mod matching;
pub mod outbox;
pub mod picker;
pub mod render;
pub mod ride;
pub mod transcript;
