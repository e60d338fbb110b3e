//! What a thread is once its file was lost: begun anew, so that no fence of before is
//! valid again, with what happened in its journal.

use uuid::Uuid;

use crate::id::ThreadKey;
use crate::thread::Thread;
use crate::time::Now;

/// A thread begun anew; `what` tells how the file before it was lost.
pub fn begun_anew(key: ThreadKey, incarnation: Uuid, now: Now, what: &str) -> Thread {
    let mut thread = Thread::new(key, incarnation);
    thread.note(now, format!("begun anew: {what}; every older fence is void"));
    thread
}
