//! One test binary for the pure crate.
#![allow(clippy::unwrap_used, missing_docs)]

mod core {
    mod adopt;
    mod branches;
    mod chain;
    mod chat;
    mod config;
    mod copy;
    mod entry_index;
    mod flood;
    mod gate;
    mod gone;
    mod host;
    mod host_events;
    mod identity;
    mod include;
    mod methods;
    mod person;
    mod ride;
    mod small_chat;
    mod split;
    mod steal;
    mod terminal;
    mod walk;
    mod walk_chat;
    mod world;
    mod writer;
}
