//! The decisions of claude-code-sync.
//!
//! Everything here is a pure function of its arguments: no clock, environment,
//! file, network, thread or random (held by `clippy.toml`). Reading order:
//! `thread` (the value), `event` (what happens), `step` (what follows).

pub mod id;
pub mod time;
pub mod transcript;
pub mod wire;
