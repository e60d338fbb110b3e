//! What the audit log has: who took a thread from whom, or accepted what could not be shown.
//!
//! A line is made of the event and the value before it, and is written before the change.
//! So a change that is in force has its line. Absent on purpose: what was said.

use crate::event::Event;
use crate::person::labelled;
use crate::thread::{Phase, Thread};
use crate::time::Now;
use crate::wire::{AuditLine, AuditWhat};

/// The line that an event makes, if it changes who has the thread by somebody's decision.
pub fn line(old: &Thread, new: &Thread, event: &Event, now: Now) -> Option<AuditLine> {
    // Asked again, it changes nothing.
    if old == new {
        return None;
    }
    let mut waits_for = crate::view::waiting_for(old);
    let (what, by, identity) = match event {
        Event::Declared { by, identity, gone } => {
            waits_for = Some(gone.join(", "));
            (AuditWhat::DeclareGone, by.clone(), identity.clone())
        }
        Event::Claim(asked) if asked.adopts.is_some() && new.epoch > old.epoch => {
            (AuditWhat::Adopt, asked.driver.to_string(), asked.identity.clone())
        }
        Event::Claim(asked) if asked.steal && old.lease().is_some() && new.epoch > old.epoch => {
            (AuditWhat::TakeOver, asked.driver.to_string(), asked.identity.clone())
        }
        Event::TakeBack { by, accept_broken, .. } => {
            let accepts = *accept_broken && accepted(new) && !accepted(old);
            (if accepts { AuditWhat::AcceptBroken } else { AuditWhat::TakeBack }, by.clone(), None)
        }
        Event::Release { accept_broken: true, .. } if accepted(new) && !accepted(old) => {
            let lease = old.lease()?;
            (AuditWhat::AcceptBroken, lease.driver.to_string(), lease.identity.clone())
        }
        _ => return None,
    };
    let from = old.lease().map(|lease| labelled(&lease.driver.to_string(), lease.identity.as_deref()));
    let fence = old.lease().map(|lease| lease.fence.to_string());
    Some(AuditLine { at_ms: now.wall_ms, key: old.key.session.clone(), what, by, identity, from, fence, waits_for })
}

/// Whether somebody accepted what the thread waits for.
fn accepted(t: &Thread) -> bool {
    matches!(t.phase, Phase::Leaving { accept_broken: true, .. })
}
