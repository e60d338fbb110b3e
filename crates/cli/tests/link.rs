//! The local link, as a raw HTTP client sees it, and the driver's outbox.

#![expect(clippy::unwrap_used, reason = "a failure here is the test's")]
#![allow(clippy::disallowed_methods, reason = "tests start programs as they like")]

#[path = "link/claude.rs"]
mod claude;
#[path = "link/hook.rs"]
mod hook;
#[path = "link/hooked.rs"]
mod hooked;
#[path = "link/http.rs"]
mod http;
#[path = "link/lock.rs"]
mod lock;
#[path = "link/outbox.rs"]
mod outbox;
#[path = "link/process.rs"]
mod process;
#[path = "link/protocol.rs"]
mod protocol;

/// The program that hooks run.
const RIDE: &str = env!("CARGO_BIN_EXE_ride");
