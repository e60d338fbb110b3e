//! One test binary for the pure crate.
#![allow(clippy::unwrap_used, missing_docs)]

mod core {
    mod gate;
    mod host;
    mod ride;
    mod seen;
    mod split;
    mod walk;
    mod world;
}
