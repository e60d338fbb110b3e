//! The local link, as a raw HTTP client sees it, and the driver's outbox.

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
