//! The local link, as a raw HTTP client sees it, and the driver's outbox.

#![expect(clippy::unwrap_used, reason = "a failure here is the test's")]

#[path = "link/claude.rs"]
mod claude;
#[path = "link/http.rs"]
mod http;
#[path = "link/outbox.rs"]
mod outbox;
#[path = "link/process.rs"]
mod process;
#[path = "link/protocol.rs"]
mod protocol;
