//! Real peers for tests and the demo: an OpenClaw gateway, Claude Code in a
//! terminal, and loopback stand-ins for the two services those talk to.
//!
//! Everything runs on loopback with private homes, every wait has a deadline,
//! and nothing outlives the process that started it. A missing peer is an
//! error, never a skip.

pub mod anthropic;
pub mod claude;
mod client;
mod error;
pub mod gateway;
mod http;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod pty;
pub mod relay;
pub mod resume;
pub mod script;
pub mod story;
pub mod telegram;
mod wait;

pub use anthropic::Anthropic;
pub use claude::ClaudeCode;
pub use error::{Error, Result};
pub use gateway::{Gateway, Plugin};
pub use process::Process;
pub use pty::{Key, Program, Terminal};
pub use telegram::{Person, Place, Telegram};
pub use wait::poll_until;
