//! Threads in files: lock, load, step, commit, unlock.
//!
//! Layout under `lockDir`: `index.json` with `index.lock` (see [`Index`]), and per
//! gateway a folder with `store.lock`, `performer.lock`, `threads/<hash>.json` (one value
//! each) and `damaged/` (what could not be a thread's last value). A gateway's lock is
//! held over one change of one thread; the index's within it, for as long as the index
//! changes, or for a whole claim, so that one Claude session is not claimed twice.
//!
//! A thread's file is the truth. One that is not what was last written there is set
//! aside, and the thread begun anew under another incarnation. If it was ridden, not
//! before its lease must have ended: no driver of the lost lease acts beside a new one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ride_core::event::{Event, Reply};
use ride_core::id::ThreadKey;
use ride_core::recreate::begun_anew;
use ride_core::rules::Rules;
use ride_core::thread::Thread;
use ride_core::time::Now;
use ride_core::wire::AuditLine;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit;
use crate::clock;
use crate::error::StoreError;
use crate::file::{Folder, Locked, Opened, Watched, file_name, thread_file};
use crate::index::{Behind, Index, Lost, Owner};
use crate::slots::{Stored, Unsealed};
use crate::store::{Around, Folded, Gate, View, fold};

const LOCK: &str = "store.lock";
const PERFORMER: &str = "performer.lock";
const INDEX: &str = "index.json";
const INDEX_LOCK: &str = "index.lock";
const THREADS: &str = "threads";
const DAMAGED: &str = "damaged";
const SERVES: &str = "serves.lock";
const ACKNOWLEDGED: &str = "acknowledged.json";
/// How often an index that is gone again is made again before somebody is told.
const REBUILDS: usize = 3;

#[derive(Debug)]
pub(crate) struct Files {
    root: Folder,
    /// Name of the gateway's folder.
    name: String,
    gateway: Folder,
    threads: Folder,
    /// The index as it was last read.
    seen: Mutex<Option<(Watched, Arc<Index>)>>,
    /// The index names what cannot be read of this gateway's files.
    prepared: AtomicBool,
}

/// Whether a Claude session may be in a driver's hands under `lock_dir`, as its index
/// alone says, whatever the gateway. Nothing is made or changed; what cannot be told is yes.
pub fn may_be_ridden(lock_dir: &Path, claude: Uuid) -> bool {
    if !lock_dir.is_dir() {
        return false;
    }
    match Folder::open(lock_dir).and_then(|root| root.watch::<Index>(INDEX)) {
        Ok(Some((_, index))) if index.boot == clock::boot() => index.claude.contains_key(&claude),
        // Not looked at since this machine was started, or damaged: the gateway knows.
        Ok(_) | Err(_) => true,
    }
}

/// Whether a thread's gate may hold, as the files under `lock_dir` say: its own, and the index
/// or, where that says nothing, every thread's. Nothing is locked, made or changed, and at most
/// [`LOOK_DESCRIPTORS`] files are open at a time. `claude` is the Claude session that the thread
/// is bound to.
///
/// # Errors
/// When the files are there and cannot be read.
pub fn may_be_closed(lock_dir: &Path, gateway: &str, session: &str, claude: Option<Uuid>) -> Result<bool, StoreError> {
    let Some(root) = Folder::as_is(lock_dir)? else { return Ok(false) };
    let name = file_name(gateway);
    let view = view(&root, &name)?;
    let held = view.gate(session) == Gate::Closed || claude.is_some_and(|claude| view.ridden(claude));
    Ok(held || own_file_closes(&root, &name, session)?)
}

/// What the files under `lock_dir` say, without a lock and without a change; `None` where there
/// is no such folder.
///
/// # Errors
/// When the files are there and cannot be read.
pub fn look(lock_dir: &Path, gateway: &str) -> Result<Option<View>, StoreError> {
    Folder::as_is(lock_dir)?.map(|root| view(&root, &file_name(gateway))).transpose()
}

/// Files that [`may_be_closed`] has open at a time: three folders, and a list of one or a file.
pub const LOOK_DESCRIPTORS: usize = 4;

/// The index, or where it says nothing one made from the threads' files.
fn view(root: &Folder, name: &str) -> Result<View, StoreError> {
    let index = match of_this_boot(root)? {
        Some((_, index)) => index,
        None => {
            let mut index = Index::default();
            for gateway in root.names()? {
                if let Some(folder) = folder_of(root, &gateway)? {
                    note_threads(&mut index, &gateway, &folder, |index, _, file, error| {
                        index.refuse(&gateway, file, &error.to_string(), None);
                        Ok(())
                    })?;
                }
            }
            index
        }
    };
    Ok(View::new(name, Arc::new(index)))
}

/// A file that cannot be read closes its thread before the index names it.
fn own_file_closes(root: &Folder, name: &str, session: &str) -> Result<bool, StoreError> {
    let Some(gateway) = folder_of(root, name)? else { return Ok(false) };
    let Some(threads) = gateway.existing(THREADS)? else { return Ok(false) };
    match threads.read::<Thread>(&thread_file(session)) {
        Ok(thread) => Ok(thread.is_some_and(|thread| thread.closed())),
        Err(error) if matches!(error, StoreError::Damaged { .. }) || error.is_of_one_file() => Ok(true),
        Err(error) => Err(error),
    }
}

/// The index in its file; `None` where it says nothing.
fn of_this_boot(root: &Folder) -> Result<Option<(Watched, Index)>, StoreError> {
    match root.watch::<Index>(INDEX) {
        Ok(found) => Ok(found.filter(|(_, index)| index.boot == clock::boot())),
        // One of another version too: the threads' files decide, and those are left alone.
        Err(StoreError::Damaged { .. } | StoreError::Format { .. } | StoreError::Shape { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A gateway's folder; `None` where nothing, or no folder, has that name.
fn folder_of(root: &Folder, name: &str) -> Result<Option<Folder>, StoreError> {
    match root.existing(name) {
        Err(StoreError::NotAFolder { .. }) => Ok(None),
        found => found,
    }
}

/// Notes every thread of a gateway, and what cannot be read. `damaged` is told of a file that
/// is not what was written there.
fn note_threads(
    index: &mut Index,
    name: &str,
    gateway: &Folder,
    damaged: impl Fn(&mut Index, &Folder, &str, &StoreError) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let Some(threads) = gateway.existing(THREADS)? else { return Ok(()) };
    for file in thread_files(&threads)? {
        match threads.read::<Thread>(&file) {
            Ok(Some(thread)) => {
                let me = Owner { gateway: name.to_owned(), session: thread.key.session.clone() };
                index.note(&me, &thread, thread.epoch, &Behind::Unknown);
            }
            Ok(None) => {}
            Err(error @ StoreError::Damaged { .. }) => damaged(index, &threads, &file, &error)?,
            Err(error) if error.is_of_one_file() => {
                index.refuse(name, &file, &error.to_string(), threads.glimpse(&file).as_ref());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn thread_files(threads: &Folder) -> Result<Vec<String>, StoreError> {
    Ok(threads.names()?.into_iter().filter(|file| file.ends_with(".json")).collect())
}

/// What a gateway has acknowledged, in its own folder.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Acknowledged {
    /// The gateway, for people.
    gateway: String,
    /// Of which index.
    of: Uuid,
    /// Held Claude sessions, and since which change each was held.
    sessions: BTreeMap<Uuid, u64>,
}

impl Stored for Acknowledged {
    fn read(_format: u32, value: &[u8]) -> Result<Self, Unsealed> {
        serde_json::from_slice(value).map_err(|e| Unsealed::Shape(e.to_string()))
    }
}

impl Acknowledged {
    fn has(&self, index: &Index, claude: Uuid, since: u64) -> bool {
        self.of == index.of && self.sessions.get(&claude) == Some(&since)
    }
}

/// A Claude session that another gateway's thread holds, and the number to acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Which.
    pub claude: Uuid,
    /// Since which change of the index it is held.
    pub since: u64,
}

/// What cannot be read acknowledges nothing.
fn unreadable(error: StoreError) -> Result<Option<Acknowledged>, StoreError> {
    match error {
        StoreError::Damaged { .. } | StoreError::Format { .. } | StoreError::Shape { .. } => Ok(None),
        error => Err(error),
    }
}

/// A thread as it is before an event.
struct Loaded {
    thread: Thread,
    /// Epoch of its file; 0 where there is none.
    epoch: u64,
    /// Its file.
    file: Option<Opened>,
    /// It is to be written, whatever the event changes.
    anew: bool,
}

impl Files {
    pub(crate) fn open(lock_dir: &Path, gateway: &str) -> Result<Self, StoreError> {
        let root = Folder::open(lock_dir)?;
        root.check_locks()?;
        let name = file_name(gateway);
        let own = root.child(&name)?;
        let threads = own.child(THREADS)?;
        Ok(Files { root, threads, gateway: own, name, seen: Mutex::default(), prepared: AtomicBool::new(false) })
    }

    /// Makes the index where it is missing, and has it name what cannot be read. Waits for
    /// whoever changes a thread.
    pub(crate) fn prepare(&self) -> Result<(), StoreError> {
        self.index()?;
        self.look_for_refused()?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// The index as it is now, where it was prepared: nobody is waited for.
    pub(crate) fn view_now(&self) -> Result<Option<View>, StoreError> {
        if !self.prepared.load(Ordering::Acquire) {
            return Ok(None);
        }
        Ok(self.kept_index()?.map(|index| View::new(&self.name, index)))
    }

    /// What the files say, without waiting for anybody and without a change.
    pub(crate) fn look(&self) -> Result<View, StoreError> {
        view(&self.root, &self.name)
    }

    /// Has the index name the files of this gateway that cannot be read, and no others.
    fn look_for_refused(&self) -> Result<(), StoreError> {
        let mut refused = Vec::new();
        for file in thread_files(&self.threads)? {
            match self.threads.read::<Thread>(&file) {
                Err(error) if error.is_of_one_file() => refused.push((file, error.to_string())),
                // One that is damaged is set aside when its thread is next changed.
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let index = self.index()?;
        let noted =
            index.part(&self.name).map(|part| part.refused.iter().map(|(file, r)| (file.clone(), r.why.clone())));
        if refused.iter().cloned().eq(noted.into_iter().flatten()) {
            return Ok(());
        }
        self.amend(None, |index| {
            index.gateways.entry(self.name.clone()).or_default().refused.clear();
            for (file, why) in &refused {
                index.refuse(&self.name, file, why, self.threads.glimpse(file).as_ref());
            }
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The index as it is now: one system call while it stays the same.
    pub(crate) fn index(&self) -> Result<Arc<Index>, StoreError> {
        for _ in 0..REBUILDS {
            if let Some(index) = self.kept_index()? {
                return Ok(index);
            }
            self.rebuild()?;
        }
        Err(self.no_index())
    }

    pub(crate) fn apply(
        &self,
        key: &ThreadKey,
        events: Vec<Event>,
        now: Now,
        rules: &Rules,
    ) -> Result<(Thread, Vec<Reply>), StoreError> {
        let claims = events.iter().any(|e| matches!(e, Event::Claim(_)));
        for _ in 0..REBUILDS {
            let own = self.lock()?;
            let whole = claims.then(|| self.root.lock(INDEX_LOCK)).transpose()?;
            let Some(index) = self.kept_index()? else {
                // It is made again under every gateway's lock.
                drop((whole, own));
                self.rebuild()?;
                continue;
            };
            return self.change(key, events, &index, whole.as_ref(), now, rules);
        }
        Err(self.no_index())
    }

    fn change(
        &self,
        key: &ThreadKey,
        events: Vec<Event>,
        index: &Index,
        whole: Option<&Locked>,
        now: Now,
        rules: &Rules,
    ) -> Result<(Thread, Vec<Reply>), StoreError> {
        let me = Owner { gateway: self.name.clone(), session: key.session.clone() };
        let old =
            self.load(key, &me, index, whole, now, rules).inspect_err(|error| self.note_refused(&me, error, whole))?;
        let around = Around { index, me: &me, load: &|owner| self.read(owner) };
        let Folded { thread: new, replies, behind, audit: lines } =
            fold(old.thread.clone(), events, &around, now, rules)?;
        // Before the change: what is in force has its line.
        audit::append(&self.gateway, &lines)?;
        if old.anew || new != old.thread {
            self.commit(&me, &new, &old, whole, &behind)?;
        } else if matches!(behind, Behind::Nobody)
            || index.part(&self.name).is_some_and(|part| part.refusal(&me.session).is_some())
        {
            // The index held it back for an owner that does not ride any more, or for a file
            // that can be read again.
            self.amend(whole, |index| index.note(&me, &new, old.epoch, &behind)).ok();
        }
        Ok((new, replies))
    }

    /// Notes that a thread's file cannot be read: from then on its gate holds.
    fn note_refused(&self, me: &Owner, error: &StoreError, whole: Option<&Locked>) {
        if error.is_refusal() {
            let file = thread_file(&me.session);
            let glimpse = self.threads.glimpse(&file);
            // Whoever asked is told of the error itself.
            self.amend(whole, |index| index.refuse(&self.name, &file, &error.to_string(), glimpse.as_ref())).ok();
        }
    }

    /// The latest lines of the audit log, of one thread or of all.
    pub(crate) fn audit(&self, session: Option<&str>) -> Result<Vec<AuditLine>, StoreError> {
        audit::latest(&self.gateway, |line| session.is_none_or(|session| line.key == session))
    }

    /// Held while no thread of this gateway may change.
    pub(crate) fn lock(&self) -> Result<Locked, StoreError> {
        self.gateway.lock(LOCK)
    }

    /// A thread as it was last committed, of whatever gateway.
    pub(crate) fn read(&self, of: &Owner) -> Result<Option<Thread>, StoreError> {
        let file = thread_file(&of.session);
        if of.gateway == self.name {
            return self.threads.read(&file);
        }
        let Some(gateway) = self.root.existing(&of.gateway)? else { return Ok(None) };
        gateway.existing(THREADS)?.map_or(Ok(None), |threads| threads.read(&file))
    }

    /// This gateway's threads as they were last committed; one that cannot be read hides no
    /// other.
    pub(crate) fn all(&self) -> Result<Vec<Thread>, StoreError> {
        let files = thread_files(&self.threads)?.into_iter();
        Ok(files.filter_map(|file| self.threads.read::<Thread>(&file).ok().flatten()).collect())
    }

    /// Becomes the performer of the gateway's effects, unless another copy is.
    pub(crate) fn perform(&self) -> Result<Option<Locked>, StoreError> {
        self.gateway.try_lock(PERFORMER)
    }

    /// Held by each copy of the plugin while its process serves this gateway. Shared: it tells
    /// others that the gateway lives. `None` while another gateway looks whether it does.
    pub(crate) fn serve(&self) -> Result<Option<Locked>, StoreError> {
        self.gateway.try_lock_shared(SERVES)
    }

    /// Claude sessions that other gateways' threads hold and that this gateway has not
    /// acknowledged: each with the number to acknowledge.
    pub(crate) fn owed(&self) -> Result<Vec<Owed>, StoreError> {
        let index = self.index()?;
        if index.claude.values().all(|owner| owner.gateway == self.name) {
            return Ok(Vec::new());
        }
        let said = self.gateway.read::<Acknowledged>(ACKNOWLEDGED).or_else(unreadable)?.unwrap_or_default();
        let others = index
            .held
            .iter()
            .filter(|(claude, _)| index.claude.get(claude).is_some_and(|owner| owner.gateway != self.name));
        Ok(others
            .filter(|(claude, since)| !said.has(&index, **claude, **since))
            .map(|(claude, since)| Owed { claude: *claude, since: *since })
            .collect())
    }

    /// Says of a Claude session that no turn that this gateway let in is on it, that none is let
    /// in, and that no process of it has it.
    pub(crate) fn acknowledge(&self, gateway: &str, owed: Owed) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        // One that is to be made anew needs this lock; it is asked again then.
        let Some(index) = self.kept_index()? else { return Ok(()) };
        let old =
            self.gateway.read::<Acknowledged>(ACKNOWLEDGED).or_else(unreadable)?.filter(|said| said.of == index.of);
        let mut said = Acknowledged { gateway: gateway.into(), of: index.of, ..old.unwrap_or_default() };
        said.sessions.retain(|claude, since| index.held.get(claude) == Some(since));
        if index.held.get(&owed.claude) == Some(&owed.since) {
            said.sessions.insert(owed.claude, owed.since);
        }
        self.gateway.change_watched(ACKNOWLEDGED, &said, owed.since)
    }

    /// The gateways of this folder that live and have not acknowledged that a Claude session is held.
    pub(crate) fn unacknowledged(&self, claude: Uuid) -> Result<Vec<String>, StoreError> {
        let index = self.index()?;
        let since = index.held.get(&claude).copied();
        let mut waits = Vec::new();
        for name in self.root.names()?.into_iter().filter(|name| *name != self.name) {
            let Some(folder) = folder_of(&self.root, &name)? else { continue };
            // Whoever gets this lock alone has shown that nobody serves the gateway.
            if folder.try_lock(SERVES)?.is_some() {
                continue;
            }
            let said = folder.read::<Acknowledged>(ACKNOWLEDGED).or_else(unreadable)?.unwrap_or_default();
            if since.is_none_or(|since| !said.has(&index, claude, since)) {
                waits.push(if said.gateway.is_empty() { name } else { said.gateway });
            }
        }
        Ok(waits)
    }

    /// Loads a thread to change it; what cannot be its last value is set aside.
    fn load(
        &self,
        key: &ThreadKey,
        me: &Owner,
        index: &Index,
        whole: Option<&Locked>,
        now: Now,
        rules: &Rules,
    ) -> Result<Loaded, StoreError> {
        let part = index.part(&self.name);
        let known = part.and_then(|p| p.closed.get(&key.session)).copied();
        let file = thread_file(&key.session);
        let aside = || self.gateway.child(DAMAGED).and_then(|damaged| self.threads.set_aside(&file, &damaged));
        let mut what = match self.threads.open_value::<Thread>(&file) {
            Ok(Some((thread, opened))) => {
                let older = known.map_or_else(|| thread.closed(), |epoch| thread.epoch < epoch);
                if !older {
                    return Ok(Loaded { epoch: thread.epoch, thread, file: Some(opened), anew: false });
                }
                aside()?;
                "an older state file was put in the place of the last one".to_owned()
            }
            Ok(None) if self.gateway.existing(DAMAGED)?.is_some_and(|damaged| damaged.has(&file)) => {
                format!("its state file was set aside as {DAMAGED}/{file}")
            }
            Ok(None) if known.is_some_and(|epoch| epoch > 0) => "its state file is gone".to_owned(),
            Ok(None) => {
                return Ok(Loaded {
                    thread: Thread::new(key.clone(), Uuid::new_v4()),
                    epoch: 0,
                    file: None,
                    anew: false,
                });
            }
            Err(StoreError::Damaged { source, .. }) => {
                aside()?;
                format!("its state file was damaged ({source}) and is set aside as {DAMAGED}/{file}")
            }
            Err(error) => return Err(error),
        };
        if index.claude.values().any(|owner| owner == me) {
            let mut left_ms = rules.lease_ms;
            if let Some(lost) = part.and_then(|p| p.lost.get(&key.session)) {
                what.clone_from(&lost.what);
                left_ms = now.since_ms(lost.seen).map_or(0, |gone| left_ms.saturating_sub(gone));
            } else {
                let lost = Lost { what: what.clone(), seen: now.stamp() };
                self.amend(whole, |index| {
                    index.gateways.entry(me.gateway.clone()).or_default().lost.insert(me.session.clone(), lost);
                })?;
            }
            if left_ms > 0 {
                return Err(StoreError::Lost { what, left_ms });
            }
        }
        Ok(Loaded { thread: begun_anew(key.clone(), Uuid::new_v4(), now, &what), epoch: 0, file: None, anew: true })
    }

    fn commit(
        &self,
        me: &Owner,
        new: &Thread,
        old: &Loaded,
        whole: Option<&Locked>,
        behind: &Behind,
    ) -> Result<(), StoreError> {
        self.amend(whole, |index| {
            let mut after = index.clone();
            after.note(me, new, old.epoch, behind);
            index.widen(&after);
        })?;
        self.threads.change(&thread_file(&me.session), old.file.as_ref(), new)?;
        // Committed: an index that still names too much is put right by the next change.
        self.amend(whole, |index| index.note(me, new, old.epoch, behind)).ok();
        Ok(())
    }

    /// Changes the index, under its lock; `held` is that lock where it is held already.
    fn amend(&self, held: Option<&Locked>, change: impl FnOnce(&mut Index)) -> Result<(), StoreError> {
        let _lock = if held.is_some() { None } else { Some(self.root.lock(INDEX_LOCK)?) };
        let old = self.kept_index()?.ok_or_else(|| self.no_index())?;
        let mut new = Index::clone(&old);
        change(&mut new);
        if new == *old {
            return Ok(());
        }
        new.nth += 1;
        self.root.change_watched(INDEX, &new, new.nth)
    }

    /// The index in its file; `None` where it says nothing.
    fn kept_index(&self) -> Result<Option<Arc<Index>>, StoreError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((watched, index)) = &*seen
            && self.root.is_current(INDEX, watched)?
        {
            return Ok(Some(index.clone()));
        }
        *seen = of_this_boot(&self.root)?.map(|(watched, index)| (watched, Arc::new(index)));
        Ok(seen.as_ref().map(|(_, index)| index.clone()))
    }

    /// Makes the index again from every thread's file, while nobody changes one.
    fn rebuild(&self) -> Result<(), StoreError> {
        let mut gateways = Vec::new();
        for name in self.root.names()? {
            if let Some(folder) = folder_of(&self.root, &name)? {
                gateways.push((name, folder));
            }
        }
        // In the order of their names, so that two of these do not wait for each other.
        let _owns = gateways.iter().map(|(_, folder)| folder.lock(LOCK)).collect::<Result<Vec<_>, _>>()?;
        let _lock = self.root.lock(INDEX_LOCK)?;
        if self.kept_index()?.is_some() {
            return Ok(());
        }
        let mut index = Index { boot: clock::boot(), nth: 1, of: Uuid::new_v4(), ..Index::default() };
        for (name, folder) in &gateways {
            // Nothing tells which thread a damaged one was; it is said when that one is next changed.
            note_threads(&mut index, name, folder, |_, threads, file, _| {
                threads.set_aside(file, &folder.child(DAMAGED)?)
            })?;
        }
        self.root.change_watched(INDEX, &index, index.nth)
    }

    fn no_index(&self) -> StoreError {
        StoreError::NoIndex { path: self.root.path().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_another_boot_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path(), "/state").unwrap();
        let ridden = Owner { gateway: files.name.clone(), session: "s".into() };
        let index = |boot| Index { boot, claude: [(Uuid::nil(), ridden.clone())].into(), ..Index::default() };
        files.root.change_watched(INDEX, &index(clock::boot()), 7).unwrap();
        assert_eq!(files.index().unwrap().claude.len(), 1);
        files.root.change_watched(INDEX, &index(1), 8).unwrap();
        let made = files.index().unwrap();
        assert_ne!(made.of, Uuid::nil(), "what was acknowledged of the one before is void");
        assert_eq!(*made, Index { boot: clock::boot(), nth: 1, of: made.of, ..Index::default() });
    }
}
