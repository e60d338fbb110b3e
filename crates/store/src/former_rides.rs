//! Threads that were ridden once and must stay whole: which Claude session each had
//! when it came back. Read once when the gateway starts; a thread nobody ever rode
//! costs nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StoreError;
use crate::file::{Folder, file_name};
use crate::slots::{Stored, Unsealed};

const FILE: &str = "kept.json";
const LOCK: &str = "kept.lock";
/// Threads remembered; the one that came back longest ago gives way. A thread is about
/// 120 bytes, and the file is rewritten for each hand-back.
pub const KEPT: usize = 4_096;

/// A thread that was ridden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeptThread {
    /// Its session key.
    pub session: String,
    /// The Claude session that was ridden.
    pub claude: Uuid,
    /// What tells whether the host's conversation was reset since.
    pub reset_mark: String,
}

/// The list had this shape since there is one, in format 2.
impl Stored for Vec<KeptThread> {
    fn read(_format: u32, value: &[u8]) -> Result<Self, Unsealed> {
        serde_json::from_slice(value).map_err(|e| Unsealed::Shape(e.to_string()))
    }
}

/// All of one gateway.
#[derive(Debug)]
pub struct Kept {
    folder: Folder,
}

impl Kept {
    /// Opens the list under `lock_dir` for the gateway of that name.
    pub fn open(lock_dir: &Path, gateway: &str) -> Result<Self, StoreError> {
        Ok(Kept { folder: Folder::open(lock_dir)?.child(&file_name(gateway))? })
    }

    /// The list, the latest last.
    pub fn all(&self) -> Result<Vec<KeptThread>, StoreError> {
        Ok(self.folder.read(FILE)?.unwrap_or_default())
    }

    /// Adds a thread, or takes what is new of it.
    pub fn keep(&self, thread: KeptThread) -> Result<(), StoreError> {
        let session = thread.session.clone();
        self.change(&session, Some(thread))
    }

    /// Forgets a thread: it was reset, or went on to another Claude session.
    pub fn forget(&self, session: &str) -> Result<(), StoreError> {
        self.change(session, None)
    }

    fn change(&self, session: &str, now: Option<KeptThread>) -> Result<(), StoreError> {
        let _locked = self.folder.lock(LOCK)?;
        let (before, opened) = self
            .folder
            .open_value::<Vec<KeptThread>>(FILE)?
            .map_or((Vec::new(), None), |(all, opened)| (all, Some(opened)));
        let after = with(&before, session, now);
        if after == before { Ok(()) } else { self.folder.change(FILE, opened.as_ref(), &after) }
    }
}

/// The list once a thread is added, changed or, where `now` is `None`, forgotten.
fn with(before: &[KeptThread], session: &str, now: Option<KeptThread>) -> Vec<KeptThread> {
    let mut after: Vec<KeptThread> = before.iter().filter(|t| t.session != session).cloned().collect();
    after.extend(now);
    let over = after.len().saturating_sub(KEPT);
    after.drain(..over);
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let thread = |n: usize| KeptThread { session: format!("s{n}"), claude: Uuid::nil(), reset_mark: String::new() };
        let full: Vec<KeptThread> = (0..KEPT).map(thread).collect();
        assert_eq!(with(&full, "s0", Some(thread(0))), [&full[1..], &[thread(0)]].concat());
        assert_eq!(with(&full, "new", Some(thread(KEPT))), [&full[1..], &[thread(KEPT)]].concat());
        assert_eq!(with(&full, "s1", None), [&full[..1], &full[2..]].concat());
    }
}
