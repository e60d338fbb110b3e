//! A stage under way: asked once, waited for, or in doubt.

use crate::event::Outcome;
use crate::limits;
use crate::thread::{At, Deadline};
use crate::time::Now;

impl<S> At<S> {
    pub(super) fn new(stage: S) -> Self {
        At { stage, flight: None, again: None, blocked: None, acceptable: false, tries: 0, late: false }
    }

    /// Nobody waits for its operation any more; one that patches entries may still write.
    pub(super) fn abandon(&mut self, patches: bool) {
        self.flight = None;
        self.late |= patches;
    }

    /// The empty patch behind an earlier operation was performed, or not.
    pub(super) fn passed(&mut self, outcome: Outcome, now: Now) {
        self.flight = None;
        match outcome {
            Outcome::Ok => (self.late, self.again) = (false, None),
            other => {
                self.wait(format!("an earlier change of the host's entry is not known to have ended: {other:?}"), now)
            }
        }
    }

    /// Whether nobody can tell what became of a patch: then it may still be written.
    pub(super) fn in_doubt(&mut self, outcome: &Outcome, now: Now) -> bool {
        let Outcome::Unknown { what } = outcome else { return false };
        self.wait(what.clone(), now);
        self.late = true;
        true
    }

    pub(super) fn wait(&mut self, what: String, now: Now) {
        self.flight = None;
        self.tries = if self.blocked.as_ref() == Some(&what) { self.tries + 1 } else { 0 };
        // A dozen quick looks, then slower and slower.
        let pause = limits::RETRY_MS << self.tries.saturating_sub(12).min(5);
        self.again = Some(Deadline::after(now, pause.min(limits::RETRY_LONGEST_MS)));
        self.blocked = Some(what);
        self.acceptable = false;
    }
}
