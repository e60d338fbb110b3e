//! Open files that are kept for the one look that must not fail: whether a thread's gate may
//! hold. A process at its limit has none left for it otherwise.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use ride_store::LOOK_DESCRIPTORS;

/// Kept by all copies of the plugin in this process together.
static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Opens what is missing, as far as the process may.
pub(crate) fn fill() {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    while kept.len() < LOOK_DESCRIPTORS {
        match File::open("/dev/null") {
            Ok(file) => kept.push(file),
            Err(_) => return,
        }
    }
}

/// Looks, and where that fails once more while the kept files are closed: one look at a time.
pub(crate) fn with<R, E>(look: impl Fn() -> Result<R, E>) -> Result<R, E> {
    if let Ok(seen) = look() {
        return Ok(seen);
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.clear();
    let seen = look();
    drop(kept);
    fill();
    seen
}
