//! The gateway's side of drivers' locks: each driver is met in its lock file once, and the
//! gateway's own lock there is kept until the driver says that it has seen it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ride_core::wire;
use ride_store::claude::ClaudeDir;
use ride_store::claude::lock::GatewayLock;

/// Most that are kept at a time, one descriptor each; the oldest is let go, and its driver's
/// free lock then proves nothing. A driver answers within two renewals.
const MOST: usize = 32;

/// Locks that wait to be seen by their drivers, oldest first.
#[derive(Default)]
pub(crate) struct Locks(Mutex<VecDeque<(String, GatewayLock)>>);

impl Locks {
    /// Meets a driver in its lock file. Gives what it is to repeat, and whether each side has
    /// now seen the other.
    pub(crate) fn meet(&self, dir: &ClaudeDir, lock: &wire::Lock) -> (Option<String>, bool) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|(name, _)| *name == lock.name) {
            let nonce = held[at].1.nonce().to_owned();
            if lock.seen.as_ref() == Some(&nonce) {
                held.remove(at);
                return (None, true);
            }
            return (Some(nonce), false);
        }
        // What cannot be locked or read there proves nothing: the driver is then as without one.
        let Some(met) = GatewayLock::meet(dir, &lock.name, &lock.nonce).ok().flatten() else { return (None, false) };
        let nonce = met.nonce().to_owned();
        if held.len() == MOST {
            held.pop_front();
        }
        held.push_back((lock.name.clone(), met));
        (Some(nonce), false)
    }
}
