//! The moment an event is decided at, handed in by the caller.

use serde::{Deserialize, Serialize};

/// Now, by two clocks: leases are measured on one that cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Which boot `mono_ms` counts from; stamps of another boot cannot be compared.
    pub boot: u64,
    /// Milliseconds since that boot, sleep included.
    pub mono_ms: u64,
    /// Wall clock in milliseconds since 1970, for people only.
    pub wall_ms: u64,
}

/// A moment that was recorded on the clock that cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// The boot it was taken in.
    pub boot: u64,
    /// Milliseconds since that boot.
    pub mono_ms: u64,
}

impl Now {
    /// Records this moment.
    pub fn stamp(&self) -> Stamp {
        Stamp { boot: self.boot, mono_ms: self.mono_ms }
    }

    /// Tells how long ago `then` was; `None` when the machine was restarted since.
    pub fn since_ms(&self, then: Stamp) -> Option<u64> {
        (self.boot == then.boot).then(|| self.mono_ms.saturating_sub(then.mono_ms))
    }
}
