//! The disk side of claude-code-sync: where thread values are kept, and how the
//! files and processes of Claude Code are read.
//!
//! This crate reads no environment; folders come in as arguments.

#![forbid(unsafe_code)]

mod audit;
mod byte_copy;
pub mod claude;
pub mod clock;
pub mod copy;
mod error;
mod file;
mod files;
mod former_rides;
mod index;
pub mod mirror;
mod proof;
pub mod slots;
mod store;

pub use error::StoreError;
pub use files::{LOOK_DESCRIPTORS, Owed, look, may_be_closed, may_be_ridden};
pub use former_rides::{Kept, KeptThread};
pub use proof::{Proof, Proofs};
pub use store::{Gate, Performer, Serves, Store, View};
