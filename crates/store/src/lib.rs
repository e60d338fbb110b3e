//! The disk side of claude-code-sync: where thread values are kept, and how the
//! files and processes of Claude Code are read.
//!
//! This crate reads no environment; folders come in as arguments.

pub mod claude;
pub mod clock;
mod error;
mod file;
mod kept;
mod store;

pub use error::StoreError;
pub use kept::{KEPT, Kept, KeptThread};
pub use store::{Gate, Performer, Store};
