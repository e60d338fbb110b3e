//! Threads by session key: one event at a time, committed before it is answered.
//!
//! Two backends behind the same calls: files (`lockBackend: "file"`), or this
//! process's memory (`"none"`), which a restart loses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ride_core::event::{Event, Reply};
use ride_core::id::ThreadKey;
use ride_core::step::{Rules, step};
use ride_core::thread::{FORMAT, Thread};
use ride_core::time::Now;
use ride_core::view;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StoreError;
use crate::file::{Folder, Locked, Watched, file_name};

const LOCK: &str = "store.lock";
const CLOSED: &str = "closed.json";
const PERFORMER: &str = "performer.lock";

/// All threads of one gateway.
#[derive(Debug)]
pub struct Store {
    gateway: String,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Files(Files),
    Memory(Mutex<Memory>),
}

#[derive(Debug)]
struct Files {
    root: Folder,
    claude: Folder,
    gateway: Folder,
    threads: Folder,
    /// The index as it was last read.
    seen: Mutex<(Watched, Index)>,
}

#[derive(Debug, Default)]
struct Memory {
    threads: HashMap<String, Thread>,
    index: Index,
}

/// Which threads are not simply open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    /// Threads whose gate holds.
    closed: BTreeSet<String>,
    /// Threads with something left to do.
    busy: BTreeSet<String>,
    /// Threads held because another one rides their Claude session: twin to owner.
    behind: BTreeMap<String, String>,
    /// Claude sessions in a driver's hands or changing hands, and the thread they belong to.
    claude: BTreeMap<Uuid, String>,
}

/// What the gate knows of a thread without looking at its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nobody rides it, nor any Claude session it could be bound to.
    Open,
    /// It holds.
    Closed,
    /// Somewhere a Claude session is ridden: the thread holds if it is bound to that one.
    AskClaude,
}

/// Which thread last claimed a Claude session; true only while that thread's own value says so.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pointer {
    folder: String,
    thread: String,
}

/// Held by the one copy of the plugin that performs effects.
#[derive(Debug)]
pub struct Performer {
    _lock: Option<Locked>,
}

impl Store {
    /// Opens the files under `lock_dir` for the gateway of that name.
    pub fn files(lock_dir: &Path, gateway: &str) -> Result<Self, StoreError> {
        let root = Folder::open(lock_dir)?;
        root.check_locks()?;
        let own: PathBuf = lock_dir.join(file_name(gateway));
        let files = Files {
            root,
            claude: Folder::open(&lock_dir.join("claude"))?,
            gateway: Folder::open(&own)?,
            threads: Folder::open(&own.join("threads"))?,
            seen: Mutex::default(),
        };
        Ok(Store { gateway: gateway.into(), backend: Backend::Files(files) })
    }

    /// Keeps the same values in this process only.
    pub fn memory(gateway: &str) -> Self {
        Store { gateway: gateway.into(), backend: Backend::Memory(Mutex::default()) }
    }

    /// Tells whether a thread's gate holds. While nobody rides anything this is
    /// one system call and one look into a set.
    pub fn gate(&self, session: &str) -> Result<Gate, StoreError> {
        self.look(|index| {
            if index.closed.contains(session) || index.behind.contains_key(session) {
                Gate::Closed
            } else if index.claude.is_empty() {
                Gate::Open
            } else {
                Gate::AskClaude
            }
        })
    }

    /// Tells whether a Claude session is in a driver's hands or changing hands.
    pub fn ridden(&self, claude: Uuid) -> Result<bool, StoreError> {
        self.look(|index| index.claude.contains_key(&claude))
    }

    /// Tells whether any Claude session is in a driver's hands or changing hands.
    pub fn any_ridden(&self) -> Result<bool, StoreError> {
        self.look(|index| !index.claude.is_empty())
    }

    /// The threads with something left to do.
    pub fn busy(&self) -> Result<Vec<String>, StoreError> {
        self.look(|index| index.busy.iter().cloned().collect())
    }

    /// Applies one event and commits what follows from it before answering.
    pub fn apply(&self, session: &str, event: Event, now: Now, rules: &Rules) -> Result<(Thread, Reply), StoreError> {
        let (thread, mut replies) = self.apply_all(session, vec![event], now, rules)?;
        Ok((thread, replies.pop().expect("one event has one reply")))
    }

    /// Applies several events, in order, in one commit.
    pub fn apply_all(&self, session: &str, events: Vec<Event>, now: Now, rules: &Rules) -> Result<(Thread, Vec<Reply>), StoreError> {
        let key = self.key(session);
        match &self.backend {
            Backend::Files(files) => {
                let _locked = files.root.lock(LOCK)?;
                let before = files.load(&key)?;
                let index = files.index()?;
                let old = before.clone().unwrap_or_else(|| Thread::new(key.clone(), Uuid::new_v4()));
                let around = Around {
                    index: &index,
                    load: &|s| files.load(&self.key(s)),
                    claimed: &|id| files.claimed(id),
                };
                let (new, replies, twin) = fold(old.clone(), events, &around, now, rules)?;
                if new != old {
                    files.commit(&new, before.as_ref(), &index, twin)?;
                }
                Ok((new, replies))
            }
            Backend::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let m = &*memory;
                let old = m.threads.get(session).cloned().unwrap_or_else(|| Thread::new(key, Uuid::new_v4()));
                let around = Around {
                    index: &m.index,
                    load: &|s| Ok(m.threads.get(s).cloned()),
                    claimed: &|id| Ok(m.threads.values().find(|t| rides(t, id)).cloned()),
                };
                let (new, replies, twin) = fold(old, events, &around, now, rules)?;
                memory.index = memory.index.with(&new, twin);
                memory.threads.insert(session.to_owned(), new.clone());
                Ok((new, replies))
            }
        }
    }

    /// Reads a thread as it was last committed.
    pub fn read(&self, session: &str) -> Result<Option<Thread>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.load(&self.key(session)),
            Backend::Memory(memory) => Ok(memory.lock().unwrap_or_else(PoisonError::into_inner).threads.get(session).cloned()),
        }
    }

    /// Finds the thread that has a Claude session now, of whatever gateway under this `lockDir`.
    pub fn riding(&self, claude: Uuid) -> Result<Option<Thread>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.claimed(claude),
            Backend::Memory(memory) => {
                let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(memory.threads.values().find(|t| rides(t, claude)).cloned())
            }
        }
    }

    /// Becomes the performer of this gateway's effects, unless another copy is.
    pub fn perform(&self) -> Result<Option<Performer>, StoreError> {
        match &self.backend {
            Backend::Files(files) => Ok(files.gateway.try_lock(PERFORMER)?.map(|lock| Performer { _lock: Some(lock) })),
            Backend::Memory(_) => Ok(Some(Performer { _lock: None })),
        }
    }

    fn key(&self, session: &str) -> ThreadKey {
        ThreadKey { gateway: self.gateway.clone(), session: session.into() }
    }

    fn look<R>(&self, read: impl FnOnce(&Index) -> R) -> Result<R, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(read(&memory.lock().unwrap_or_else(PoisonError::into_inner).index)),
            Backend::Files(files) => {
                let mut seen = files.seen.lock().unwrap_or_else(PoisonError::into_inner);
                if !files.gateway.is_current(CLOSED, &seen.0)? {
                    let (watched, index) = files.gateway.watch(CLOSED)?;
                    *seen = (watched, index.unwrap_or_default());
                }
                Ok(read(&seen.1))
            }
        }
    }
}

impl Files {
    fn load(&self, key: &ThreadKey) -> Result<Option<Thread>, StoreError> {
        read_thread(&self.threads, &format!("{}.json", file_name(&key.session)))
    }

    fn index(&self) -> Result<Index, StoreError> {
        Ok(self.gateway.read(CLOSED)?.unwrap_or_default())
    }

    /// The thread that has a Claude session, if the pointer still tells the truth.
    fn claimed(&self, id: Uuid) -> Result<Option<Thread>, StoreError> {
        let Some(pointer) = self.claude.read::<Pointer>(&format!("{id}.json"))? else { return Ok(None) };
        let threads = Folder::open(&self.root.path().join(&pointer.folder).join("threads"))?;
        Ok(read_thread(&threads, &pointer.thread)?.filter(|t| rides(t, id)))
    }

    fn commit(&self, new: &Thread, old: Option<&Thread>, index: &Index, twin: Option<String>) -> Result<(), StoreError> {
        let name = format!("{}.json", file_name(&new.key.session));
        let after = index.with(new, twin);
        let during = index.union(&after);
        self.publish(index, &during)?;
        if let Some(claude) = new.claude().filter(|claude| old.and_then(Thread::claude) != Some(*claude)) {
            let pointer = Pointer { folder: file_name(&new.key.gateway), thread: name.clone() };
            self.claude.write(&format!("{}.json", claude), &pointer)?;
        }
        self.threads.write(&name, new)?;
        self.publish(&during, &after)
    }

    fn publish(&self, old: &Index, new: &Index) -> Result<(), StoreError> {
        if old == new {
            return Ok(());
        }
        self.gateway.write_watched(CLOSED, new)
    }
}

fn read_thread(folder: &Folder, name: &str) -> Result<Option<Thread>, StoreError> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let Some(value) = folder.read::<serde_json::Value>(name)? else { return Ok(None) };
    let damaged = |source| StoreError::Damaged { path: folder.path().join(name), source };
    let head: Head = Head::deserialize(&value).map_err(damaged)?;
    if head.format != FORMAT {
        return Err(StoreError::Format { path: folder.path().join(name), found: head.format, known: FORMAT });
    }
    serde_json::from_value(value).map(Some).map_err(damaged)
}

fn rides(t: &Thread, claude: Uuid) -> bool {
    t.claude() == Some(claude)
}

/// What an event may depend on beside its own thread.
struct Around<'a> {
    index: &'a Index,
    load: &'a dyn Fn(&str) -> Result<Option<Thread>, StoreError>,
    claimed: &'a dyn Fn(Uuid) -> Result<Option<Thread>, StoreError>,
}

/// Applies events one after the other. Beside the thread, the owner of its Claude
/// session when it was not known to be a twin yet.
fn fold(
    mut thread: Thread,
    events: Vec<Event>,
    around: &Around<'_>,
    now: Now,
    rules: &Rules,
) -> Result<(Thread, Vec<Reply>, Option<String>), StoreError> {
    let mut replies = Vec::with_capacity(events.len());
    let mut twin = None;
    for event in events {
        let (event, owner) = around.enrich(event, &thread.key, now, rules)?;
        let (next, reply) = step(thread, event, now, rules);
        thread = next;
        twin = owner.or(twin);
        replies.push(reply);
    }
    Ok((thread, replies, twin))
}

impl Around<'_> {
    /// Adds what only the store knows: who holds the Claude session through another thread.
    fn enrich(&self, event: Event, key: &ThreadKey, now: Now, rules: &Rules) -> Result<(Event, Option<String>), StoreError> {
        let holder = |t: Option<Thread>| t.and_then(|t| view::holder(&t, now, rules));
        let behind = self.index.behind.get(&key.session);
        Ok(match event {
            Event::Claim(mut asked) => {
                if let Some(claude) = &asked.claude {
                    asked.session_held = holder((self.claimed)(claude.id)?.filter(|t| t.key != *key));
                }
                (Event::Claim(asked), None)
            }
            Event::Message(mut m) => {
                let late = m.claude.and_then(|id| self.index.claude.get(&id)).filter(|owner| **owner != key.session);
                let Some(owner) = behind.or(late) else { return Ok((Event::Message(m), None)) };
                m.behind = holder((self.load)(owner)?);
                (Event::Message(m), Some(owner.clone()))
            }
            Event::Take { performer, flying, .. } => (Event::Take { performer, flying, behind: behind.is_some() }, None),
            other => (other, None),
        })
    }
}

impl Index {
    /// The index once `new` is committed; `owner` rides the Claude session of `new`.
    fn with(&self, new: &Thread, owner: Option<String>) -> Index {
        let mut next = self.clone();
        let key = &new.key.session;
        set(&mut next.closed, key, new.closed());
        set(&mut next.busy, key, new.closed() || !new.outbox.is_empty());
        next.behind.extend(owner.map(|owner| (key.clone(), owner)));
        match new.lease() {
            Some(lease) => {
                next.claude.extend(new.claude().map(|claude| (claude, key.clone())));
                next.behind.extend(lease.twins.iter().map(|twin| (twin.clone(), key.clone())));
            }
            None => {
                next.claude.retain(|_, owner| owner != key);
                next.behind.retain(|_, owner| owner != key);
            }
        }
        next
    }

    fn union(&self, other: &Index) -> Index {
        let mut all = self.clone();
        all.closed.extend(other.closed.iter().cloned());
        all.busy.extend(other.busy.iter().cloned());
        all.behind.extend(other.behind.iter().map(|(k, v)| (k.clone(), v.clone())));
        all.claude.extend(other.claude.iter().map(|(k, v)| (*k, v.clone())));
        all
    }
}

fn set(names: &mut BTreeSet<String>, name: &str, on: bool) {
    if on {
        names.insert(name.to_owned());
    } else {
        names.remove(name);
    }
}
