//! What of the configuration decides about a thread.

use crate::limits;

/// What a person configures and the decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// A lease ends this long after the last renewal.
    pub lease_ms: u64,
    /// Silence after which a ride ends (`rideTtlMinutes`).
    pub silence_ms: u64,
    /// Whether prompts and answers are sent to the channel (`relayToChannel`).
    pub relay: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { lease_ms: limits::LEASE_MS, silence_ms: 30 * 60_000, relay: true }
    }
}
