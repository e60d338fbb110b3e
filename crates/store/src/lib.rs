//! The disk side of claude-code-sync: where thread values are kept, and how the
//! files and processes of Claude Code are read.
//!
//! This crate reads no environment; folders come in as arguments.

#![forbid(unsafe_code)]

mod audit;
mod bytes;
pub mod claude;
pub mod clock;
pub mod copy;
mod error;
mod file;
mod files;
mod index;
mod kept;
pub mod mirror;
mod proof;
pub mod sealed;
mod store;

pub use error::StoreError;
pub use files::{LOOK_DESCRIPTORS, Owed, look, may_be_closed, may_be_ridden};
pub use kept::{Kept, KeptThread};
pub use proof::{Proof, Proofs};
pub use store::{Gate, Performer, Serves, Store, View};
