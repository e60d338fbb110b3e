//! The decisions of claude-code-sync.
//!
//! Everything here is a pure function of its arguments: no clock, environment,
//! file, network, thread or random (held by `clippy.toml`). Reading order:
//! [`thread`] (the value), [`event`] (what happens), [`step`] (what follows).

#![forbid(unsafe_code)]

pub mod audit;
pub mod command;
pub mod config;
pub mod entry_index;
pub mod event;
pub mod host;
pub mod id;
pub mod limits;
pub mod listing;
pub mod mirror;
pub mod person;
pub mod plain;
pub mod plugin_report;
pub mod recreate;
pub mod rules;
pub mod split;
pub mod step;
pub mod text;
pub mod thread;
pub mod time;
pub mod transcript;
pub mod versioned;
pub mod view;
pub mod wire;
