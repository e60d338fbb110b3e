//! When something is asked again.

use crate::limits;
use crate::thread::Deadline;
use crate::time::Now;

/// The pause before a send that failed so often is tried again.
pub(super) fn backoff_ms(attempts: u32) -> u64 {
    let (first, longest) = limits::SEND_BACKOFF_MS;
    (first << attempts.saturating_sub(1).min(16)).min(longest)
}

/// The earliest moment something falls due.
#[derive(Default)]
pub(super) struct Wake(pub(super) Option<u64>);

impl Wake {
    pub(super) fn at_most(&mut self, ms: u64) {
        self.0 = Some(self.0.map_or(ms, |w| w.min(ms)));
    }

    /// Whether it is too early, remembering when it is not.
    pub(super) fn not_before(&mut self, again: Option<Deadline>, now: Now) -> bool {
        let left = again.map_or(0, |d| d.left_ms(now));
        if left > 0 {
            self.at_most(left);
        }
        left > 0
    }
}
