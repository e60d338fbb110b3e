//! The driver's outbox: relay items the gateway has not taken over yet.
//!
//! One folder per ride, one file per item, so that every change is one rename
//! or one unlink and a crash leaves the old state or the new one. An item is on
//! disk before its prompt begins, and before its answer is acknowledged to
//! Claude Code; a later `ride` finds what a dead one left ([`leftovers`]).
//!
//! Invariants: items leave in the order they came; an id is held once; a live
//! ride's folder is locked, by a kernel lock that dies with its process.
//! A folder of another version that is not known is refused and left as it is.
//! Absent on purpose: sending, and deciding whom a leftover still belongs to.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ride_core::limits::RELAY_BYTES;
use ride_core::versioned::{self, Unread, Versioned};
use ride_core::wire::{RelayItem, RelayKind};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Items held before prompts are refused. A turn is two items; the gateway
/// takes 32 at a time, and being out of reach for 128 turns means it is gone.
pub const MAX_ITEMS: usize = 256;
/// Ids remembered after they left, to recognise one that is reported again.
const MAX_LEFT: usize = 1024;
/// Largest item file: the text at six bytes a character (`\u0000`), and its frame.
const MAX_FILE_BYTES: u64 = RELAY_BYTES as u64 * 6 + 4096;

/// Whose items a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The gateway's address, as the ride connected to it.
    pub gateway: String,
    /// Session key of the thread.
    pub thread: String,
    /// The Claude session the items are from.
    pub claude_session: Uuid,
}

/// One relay item and when it was queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What the gateway is given.
    pub item: RelayItem,
    /// When it was queued, milliseconds since 1970.
    pub at_ms: u64,
}

/// What became of a new item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It survives a crash from now on.
    Kept,
    /// An item with this id is held, or was and has left.
    Known,
    /// [`MAX_ITEMS`] are held.
    Full,
    /// Its text is larger than the gateway takes.
    TooLarge,
}

/// What a folder turned out to be.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "matched where it is made")]
pub enum Reopened {
    /// Ours now, with what it holds.
    Ours(Outbox),
    /// Its ride is alive.
    Busy,
}

/// Why the disk could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The system refused.
    #[error("could not {doing} {path}: {cause}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// Another version wrote the folder, or an item in it.
    #[error("could not read {path}: {cause}; the folder is left as it is, and a ride with that version sends it")]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Who wrote it, and what is not known.
        cause: Unread,
    },
    /// A file is not what any version writes.
    #[error("could not read {path}: {cause}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        cause: String,
    },
}

/// An open outbox.
#[derive(Debug)]
pub struct Outbox {
    dir: PathBuf,
    /// Held for its lock.
    _lock: File,
    owner: Owner,
    next: u64,
    held: VecDeque<(u64, Queued)>,
    left: VecDeque<String>,
    ids: HashSet<String>,
}

/// The folder's own file. Its format is that of the items too. Format 1 is the same without the
/// program's version.
impl Versioned for Owner {
    const FORMAT: u32 = 2;
}

/// A [`Queued`] as it is kept: apart from what is sent, so that either can change alone.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    item: StoredItem,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredItem {
    id: String,
    kind: StoredKind,
    text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredKind {
    Prompt,
    Answer,
    Notice,
}

impl From<&Queued> for Stored {
    fn from(Queued { item: RelayItem { id, kind, text }, at_ms }: &Queued) -> Stored {
        let kind = match kind {
            RelayKind::Prompt => StoredKind::Prompt,
            RelayKind::Answer => StoredKind::Answer,
            RelayKind::Notice => StoredKind::Notice,
        };
        Stored { item: StoredItem { id: id.clone(), kind, text: text.clone() }, at_ms: *at_ms }
    }
}

impl From<Stored> for Queued {
    fn from(Stored { item: StoredItem { id, kind, text }, at_ms }: Stored) -> Queued {
        let kind = match kind {
            StoredKind::Prompt => RelayKind::Prompt,
            StoredKind::Answer => RelayKind::Answer,
            StoredKind::Notice => RelayKind::Notice,
        };
        Queued { item: RelayItem { id, kind, text }, at_ms }
    }
}

impl Outbox {
    /// Begins an empty outbox below `root` (such as `~/.local/state/ride/outbox`).
    pub fn create(root: &Path, owner: Owner) -> Result<Outbox, OutboxError> {
        at("create", root, fs::DirBuilder::new().recursive(true).mode(0o700).create(root))?;
        // Under a name that is not looked at until it is locked and complete.
        let name = Uuid::new_v4().simple().to_string();
        let draft = root.join(format!("{name}.new"));
        at("create", &draft, fs::DirBuilder::new().mode(0o700).create(&draft))?;
        let lock = lock_file(&draft)?;
        at("lock", &draft, flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from))?;
        write_durably(&draft, "ride.json", &json(versioned::write(&owner)))?;
        let dir = root.join(name);
        at("rename", &draft, fs::rename(&draft, &dir))?;
        sync_dir(root)?;
        Ok(Outbox::over(dir, lock, owner))
    }

    /// Takes over a folder that [`leftovers`] named.
    pub fn reopen(dir: &Path) -> Result<Reopened, OutboxError> {
        let lock = lock_file(dir)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Reopened::Busy),
            Err(cause) => return at("lock", dir, Err(cause.into())),
        }
        let owner = read_owner(&dir.join("ride.json"))?;
        let mut outbox = Outbox::over(dir.to_owned(), lock, owner);
        let mut found = Vec::new();
        for entry in at("list", dir, fs::read_dir(dir))? {
            let path = at("list", dir, entry)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".tmp") {
                // Never renamed, so never promised.
                at("remove", &path, fs::remove_file(&path))?;
            } else if let Some(seq) = name.strip_suffix(".item").and_then(|seq| seq.parse().ok()) {
                found.push((seq, path));
            }
        }
        found.sort();
        for (seq, path) in found {
            let queued = read_item(&path)?;
            outbox.next = seq + 1;
            outbox.ids.insert(queued.item.id.clone());
            outbox.held.push_back((seq, queued));
        }
        Ok(Reopened::Ours(outbox))
    }

    fn over(dir: PathBuf, lock: File, owner: Owner) -> Outbox {
        Outbox { dir, _lock: lock, owner, next: 1, held: VecDeque::new(), left: VecDeque::new(), ids: HashSet::new() }
    }

    /// Whose items these are.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Queues an item. When this answers [`Pushed::Kept`], it survives a crash.
    pub fn push(&mut self, queued: Queued) -> Result<Pushed, OutboxError> {
        if self.ids.contains(&queued.item.id) {
            return Ok(Pushed::Known);
        }
        if queued.item.text.len() > RELAY_BYTES {
            return Ok(Pushed::TooLarge);
        }
        if self.held.len() >= MAX_ITEMS {
            return Ok(Pushed::Full);
        }
        write_durably(&self.dir, &name_of(self.next), &json(serde_json::to_vec(&Stored::from(&queued))))?;
        self.ids.insert(queued.item.id.clone());
        self.held.push_back((self.next, queued));
        self.next += 1;
        Ok(Pushed::Kept)
    }

    /// Removes an item that the gateway has on its disk. An id that is not held
    /// is no error: acknowledgements repeat.
    pub fn acknowledge(&mut self, id: &str) -> Result<(), OutboxError> {
        let Some(at_index) = self.held.iter().position(|(_, queued)| queued.item.id == id) else {
            return Ok(());
        };
        let path = self.dir.join(name_of(self.held[at_index].0));
        // Not synced: an item that comes back after a crash is sent again under
        // its id, and the gateway knows it.
        at("remove", &path, fs::remove_file(&path))?;
        self.held.remove(at_index);
        self.left.push_back(id.to_owned());
        if self.left.len() > MAX_LEFT
            && let Some(oldest) = self.left.pop_front()
        {
            self.ids.remove(&oldest);
        }
        Ok(())
    }

    /// What is held, oldest first.
    pub fn held(&self) -> impl ExactSizeIterator<Item = &Queued> {
        self.held.iter().map(|(_, queued)| queued)
    }

    /// Ends the outbox. One that still holds items stays on disk.
    pub fn close(self) -> Result<(), OutboxError> {
        if self.held.is_empty() {
            at("remove", &self.dir, fs::remove_dir_all(&self.dir))?;
        }
        Ok(())
    }
}

/// Lists the outboxes below `root`, in no particular order. Some may be those of
/// live rides; [`Outbox::reopen`] tells.
pub fn leftovers(root: &Path) -> Result<Vec<PathBuf>, OutboxError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return at("list", root, Err(cause)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = at("list", root, entry)?.path();
        if path.extension().is_none() && path.join("ride.json").is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Sorts as text as it does as a number.
fn name_of(seq: u64) -> String {
    format!("{seq:020}.item")
}

fn lock_file(dir: &Path) -> Result<File, OutboxError> {
    let path = dir.join("lock");
    at("open", &path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path))
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write_durably(dir: &Path, name: &str, text: &[u8]) -> Result<(), OutboxError> {
    let draft = dir.join(format!("{name}.tmp"));
    let mut file =
        at("create", &draft, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft))?;
    at("write", &draft, file.write_all(text))?;
    at("write", &draft, file.sync_all())?;
    let path = dir.join(name);
    at("rename", &draft, fs::rename(&draft, &path))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), OutboxError> {
    at("sync", dir, File::open(dir).and_then(|dir| dir.sync_all()))
}

fn json(made: Result<Vec<u8>, serde_json::Error>) -> Vec<u8> {
    made.expect("these types have only string keys")
}

fn read_owner(path: &Path) -> Result<Owner, OutboxError> {
    versioned::read(&read_small(path)?).map_err(|cause| unread(path, cause))
}

/// An item of a folder whose format is known: what it has beyond that was added by another version.
fn read_item(path: &Path) -> Result<Queued, OutboxError> {
    let value = serde_json::from_slice(&read_small(path)?).map_err(|e| unread(path, Unread::Damaged(e.to_string())))?;
    let stored: Stored = versioned::strict(value).map_err(|why| unread(path, Unread::Unknown { by: None, why }))?;
    Ok(stored.into())
}

fn unread(path: &Path, cause: Unread) -> OutboxError {
    let path = path.to_owned();
    match cause {
        Unread::Damaged(cause) => OutboxError::Malformed { path, cause },
        Unread::Unknown { .. } => OutboxError::OtherVersion { path, cause },
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, OutboxError> {
    if at("read", path, fs::metadata(path))?.len() > MAX_FILE_BYTES {
        let cause = format!("larger than {MAX_FILE_BYTES} bytes");
        return Err(OutboxError::Malformed { path: path.to_owned(), cause });
    }
    at("read", path, fs::read(path))
}

fn at<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T, OutboxError> {
    result.map_err(|cause| OutboxError::Io { doing, path: path.to_owned(), cause })
}
