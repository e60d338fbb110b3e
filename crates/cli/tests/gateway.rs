//! The connection against a small gateway that speaks protocol 4 over a real
//! WebSocket: what it refuses, cuts or floods becomes the right error, with the
//! right exit code and hint.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(clippy::disallowed_methods, reason = "tests start programs as they like")]

mod gateway {
    mod bad;
    mod branches;
    mod chat;
    mod client;
    mod command;
    mod copy;
    mod deploy;
    mod ending;
    mod foreign;
    mod leave;
    mod locate;
    mod picker;
    mod secrets;
    mod standin;
    mod sync;
    mod tls;
    mod tool;
}
