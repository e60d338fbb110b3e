//! One test binary for the pure crate.
#![allow(clippy::unwrap_used, missing_docs)]

mod core {
    mod adopt;
    mod along;
    mod beside;
    mod chain;
    mod chat;
    mod config;
    mod copy;
    mod flood;
    mod gate;
    mod gone;
    mod host;
    mod identity;
    mod known;
    mod methods;
    mod person;
    mod ride;
    mod seen;
    mod small_chat;
    mod split;
    mod steal;
    mod terminal;
    mod walk;
    mod walk_chat;
    mod world;
    mod writer;
}
