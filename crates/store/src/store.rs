//! Threads by session key: one event at a time, committed before it is answered.
//!
//! Two backends behind the same calls: files (`lockBackend: "file"`), or this
//! process's memory (`"none"`), which a restart loses.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ride_core::audit;
use ride_core::event::{Event, Reply};
use ride_core::id::ThreadKey;
use ride_core::rules::Rules;
use ride_core::step::step;
use ride_core::thread::Thread;
use ride_core::time::Now;
use ride_core::view;
use ride_core::wire::AuditLine;
use uuid::Uuid;

use crate::error::StoreError;
use crate::file::Locked;
use crate::files::{Files, Owed};
use crate::index::{Behind, Index, Owner};

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

#[derive(Debug, Default)]
struct Memory {
    threads: HashMap<String, Thread>,
    index: Arc<Index>,
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

/// What the index of all threads said at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The folder of the gateway whose threads are asked about.
    gateway: String,
    index: Arc<Index>,
}

impl View {
    pub(crate) fn new(gateway: &str, index: Arc<Index>) -> Self {
        View { gateway: gateway.into(), index }
    }

    /// Whether a thread's gate holds.
    pub fn gate(&self, session: &str) -> Gate {
        if self.index.part(&self.gateway).is_some_and(|part| part.holds(session)) {
            Gate::Closed
        } else if self.index.claude.is_empty() {
            Gate::Open
        } else {
            Gate::AskClaude
        }
    }

    /// Whether a Claude session is in a driver's hands or changing hands, through whatever
    /// gateway under this `lockDir`.
    pub fn ridden(&self, claude: Uuid) -> bool {
        self.index.claude.contains_key(&claude)
    }

    /// Whether any Claude session is.
    pub fn any_ridden(&self) -> bool {
        !self.index.claude.is_empty()
    }

    /// The threads with something left to do.
    pub fn busy(&self) -> Vec<String> {
        self.index.part(&self.gateway).map_or_else(Vec::new, |part| part.busy.iter().cloned().collect())
    }

    /// How many threads a gateway must not leave behind: those with something left to do, and
    /// those whose file is not read.
    pub fn unfinished(&self) -> usize {
        self.index.part(&self.gateway).map_or(0, |part| part.busy.len() + part.refused.len())
    }
}

/// Held by the one copy of the plugin that performs effects.
#[derive(Debug)]
pub struct Performer {
    _lock: Option<Locked>,
}

/// Kept while a process serves its gateway.
#[derive(Debug)]
pub struct Serves {
    _lock: Option<Locked>,
}

impl Store {
    /// Opens the files under `lock_dir` for the gateway of that name, and prepares them.
    ///
    /// # Errors
    /// When the folder is not ours alone, or its file system cannot lock.
    pub fn files(lock_dir: &Path, gateway: &str) -> Result<Self, StoreError> {
        let store = Self::unprepared(lock_dir, gateway)?;
        store.prepare()?;
        Ok(store)
    }

    /// The same without waiting for whoever changes a thread: [`Store::view_now`] says nothing
    /// until [`Store::prepare`] was called.
    pub fn unprepared(lock_dir: &Path, gateway: &str) -> Result<Self, StoreError> {
        Ok(Store { gateway: gateway.into(), backend: Backend::Files(Files::open(lock_dir, gateway)?) })
    }

    /// Makes the index where it is missing, and has it name what cannot be read. It waits for
    /// whoever changes a thread.
    pub fn prepare(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Files(files) => files.prepare(),
            Backend::Memory(_) => Ok(()),
        }
    }

    /// What the index says now, waiting for nobody: one system call while it stays the same.
    /// `None` where it has to be made first.
    pub fn view_now(&self) -> Result<Option<View>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.view_now(),
            Backend::Memory(_) => self.view().map(Some),
        }
    }

    /// What the files say, without waiting for anybody and without a change.
    pub fn look(&self) -> Result<View, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.look(),
            Backend::Memory(_) => self.view(),
        }
    }

    /// Keeps the same values in this process only.
    pub fn memory(gateway: &str) -> Self {
        Store { gateway: gateway.into(), backend: Backend::Memory(Mutex::default()) }
    }

    /// Tells whether a thread's gate holds.
    pub fn gate(&self, session: &str) -> Result<Gate, StoreError> {
        Ok(self.view()?.gate(session))
    }

    /// Tells whether a Claude session is ridden, as [`View::ridden`].
    pub fn ridden(&self, claude: Uuid) -> Result<bool, StoreError> {
        Ok(self.view()?.ridden(claude))
    }

    /// The threads with something left to do.
    pub fn busy(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.view()?.busy())
    }

    /// Why a thread's file is not read, where that is so: it stays closed, and as it is.
    pub fn refusal(&self, session: &str) -> Result<Option<String>, StoreError> {
        let View { gateway, index } = self.view()?;
        Ok(index.part(&gateway).and_then(|part| Some(part.refusal(session)?.why.clone())))
    }

    /// All threads whose file is not read: what tells which one it is (its session key, or
    /// else its file), and why.
    pub fn refusals(&self) -> Result<Vec<(String, String)>, StoreError> {
        let View { gateway, index } = self.view()?;
        let refused = index.part(&gateway).into_iter().flat_map(|part| &part.refused);
        Ok(refused
            .map(|(file, refused)| (refused.session.clone().unwrap_or_else(|| file.clone()), refused.why.clone()))
            .collect())
    }

    /// The threads somebody once claimed, for a ride or an adoption; those whose file
    /// cannot be read are left out. Reads every thread's file.
    pub fn claimed(&self) -> Result<Vec<String>, StoreError> {
        let claimed = |thread: &Thread| thread.epoch > 0;
        match &self.backend {
            Backend::Files(files) => Ok(files.all()?.into_iter().filter(claimed).map(|t| t.key.session).collect()),
            Backend::Memory(memory) => {
                let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(memory.threads.values().filter(|t| claimed(t)).map(|t| t.key.session.clone()).collect())
            }
        }
    }

    /// Applies one event and commits what follows from it before answering.
    pub fn apply(&self, session: &str, event: Event, now: Now, rules: &Rules) -> Result<(Thread, Reply), StoreError> {
        let (thread, mut replies) = self.apply_all(session, vec![event], now, rules)?;
        Ok((thread, replies.pop().expect("one event has one reply")))
    }

    /// Applies several events, in order, in one commit.
    pub fn apply_all(
        &self,
        session: &str,
        events: Vec<Event>,
        now: Now,
        rules: &Rules,
    ) -> Result<(Thread, Vec<Reply>), StoreError> {
        let key = ThreadKey { gateway: self.gateway.clone(), session: session.into() };
        match &self.backend {
            Backend::Files(files) => files.apply(&key, events, now, rules),
            Backend::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let me = owner(String::new(), session);
                let old = memory.threads.get(session).cloned().unwrap_or_else(|| Thread::new(key, Uuid::new_v4()));
                let epoch = old.epoch;
                let m = &*memory;
                let around = Around { index: &m.index, me: &me, load: &|of| Ok(m.threads.get(&of.session).cloned()) };
                let Folded { thread: new, replies, behind, .. } = fold(old, events, &around, now, rules)?;
                Arc::make_mut(&mut memory.index).note(&me, &new, epoch, &behind);
                memory.threads.insert(session.to_owned(), new.clone());
                Ok((new, replies))
            }
        }
    }

    /// Reads a thread as it was last committed.
    pub fn read(&self, session: &str) -> Result<Option<Thread>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.read(&owner(files.name().into(), session)),
            Backend::Memory(memory) => {
                Ok(memory.lock().unwrap_or_else(PoisonError::into_inner).threads.get(session).cloned())
            }
        }
    }

    /// Does something while nobody can change a thread: what its value allows holds until it
    /// is done. For what takes milliseconds: every change of this gateway's threads waits.
    pub fn while_it_stays<R>(&self, session: &str, act: impl FnOnce(Option<&Thread>) -> R) -> Result<R, StoreError> {
        match &self.backend {
            Backend::Files(files) => {
                let _lock = files.lock()?;
                Ok(act(files.read(&owner(files.name().into(), session))?.as_ref()))
            }
            Backend::Memory(memory) => {
                Ok(act(memory.lock().unwrap_or_else(PoisonError::into_inner).threads.get(session)))
            }
        }
    }

    /// Finds the thread that has a Claude session now, of whatever gateway under this `lockDir`.
    pub fn riding(&self, claude: Uuid) -> Result<Option<Thread>, StoreError> {
        let Some(owner) = self.view()?.index.claude.get(&claude).cloned() else { return Ok(None) };
        let thread = match &self.backend {
            Backend::Files(files) => files.read(&owner)?,
            Backend::Memory(_) => self.read(&owner.session)?,
        };
        Ok(thread.filter(|t| rides(t, claude)))
    }

    /// The latest lines of the audit log, oldest first, of one thread or of all. With the
    /// memory's backend there is none.
    pub fn audit(&self, session: Option<&str>) -> Result<Vec<AuditLine>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.audit(session),
            Backend::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Becomes the performer of this gateway's effects, unless another copy is.
    pub fn perform(&self) -> Result<Option<Performer>, StoreError> {
        match &self.backend {
            Backend::Files(files) => Ok(files.perform()?.map(|lock| Performer { _lock: Some(lock) })),
            Backend::Memory(_) => Ok(Some(Performer { _lock: None })),
        }
    }

    /// Tells other gateways of this `lockDir` that this one lives, for as long as it is kept.
    /// `None` while one of them looks whether it does: it is asked again then.
    pub fn serve(&self) -> Result<Option<Serves>, StoreError> {
        match &self.backend {
            Backend::Files(files) => Ok(files.serve()?.map(|lock| Serves { _lock: Some(lock) })),
            Backend::Memory(_) => Ok(Some(Serves { _lock: None })),
        }
    }

    /// Claude sessions that other gateways' threads hold and this one has not acknowledged.
    pub fn owed(&self) -> Result<Vec<Owed>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.owed(),
            Backend::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Acknowledges one of them: no turn that this gateway let in is on it, and none of its processes.
    pub fn acknowledge(&self, owed: Owed) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Files(files) => files.acknowledge(&self.gateway, owed),
            Backend::Memory(_) => Ok(()),
        }
    }

    /// The gateways of this `lockDir` that live and have not acknowledged that a Claude session is held.
    pub fn unacknowledged(&self, claude: Uuid) -> Result<Vec<String>, StoreError> {
        match &self.backend {
            Backend::Files(files) => files.unacknowledged(claude),
            Backend::Memory(_) => Ok(Vec::new()),
        }
    }

    fn view(&self) -> Result<View, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => {
                Ok(View::new("", memory.lock().unwrap_or_else(PoisonError::into_inner).index.clone()))
            }
            Backend::Files(files) => Ok(View::new(files.name(), files.index()?)),
        }
    }
}

fn owner(gateway: String, session: &str) -> Owner {
    Owner { gateway, session: session.into() }
}

fn rides(t: &Thread, claude: Uuid) -> bool {
    t.claude() == Some(claude)
}

/// What an event may depend on beside its own thread.
pub(crate) struct Around<'a> {
    pub index: &'a Index,
    pub me: &'a Owner,
    pub load: &'a dyn Fn(&Owner) -> Result<Option<Thread>, StoreError>,
}

/// What came of some events.
pub(crate) struct Folded {
    pub thread: Thread,
    pub replies: Vec<Reply>,
    /// What was found of its standing behind another one's ride.
    pub behind: Behind,
    /// What of it is for the audit log.
    pub audit: Vec<AuditLine>,
}

/// Applies events one after the other.
pub(crate) fn fold(
    mut thread: Thread,
    events: Vec<Event>,
    around: &Around<'_>,
    now: Now,
    rules: &Rules,
) -> Result<Folded, StoreError> {
    let mut replies = Vec::with_capacity(events.len());
    let mut behind = Behind::Unknown;
    let mut lines = Vec::new();
    for event in events {
        let (event, found) = around.enrich(event, now, rules)?;
        let decides = matches!(event, Event::Claim(_) | Event::TakeBack { .. } | Event::Release { .. });
        let before = decides.then(|| (thread.clone(), event.clone()));
        let (next, reply) = step(thread, event, now, rules);
        thread = next;
        lines.extend(before.and_then(|(old, event)| audit::line(&old, &thread, &event, now)));
        if !matches!(found, Behind::Unknown) {
            behind = found;
        }
        replies.push(reply);
    }
    Ok(Folded { thread, replies, behind, audit: lines })
}

impl Around<'_> {
    /// Adds what only the store knows: who holds the Claude session through another thread.
    /// The index names whom to ask; that thread's own value answers.
    fn enrich(&self, event: Event, now: Now, rules: &Rules) -> Result<(Event, Behind), StoreError> {
        let other = |owner: &&Owner| **owner != *self.me;
        let held = self.index.part(&self.me.gateway).and_then(|p| p.behind.get(&self.me.session));
        Ok(match event {
            Event::Claim(mut asked) => {
                let claude = asked.claude.as_ref().map(|claude| claude.id);
                let owner = claude.and_then(|id| self.index.claude.get(&id)).filter(other);
                let rider = owner.map(|owner| (self.load)(owner)).transpose()?.flatten();
                let rider = rider.filter(|t| claude.is_some_and(|id| rides(t, id)));
                asked.session_held = rider.and_then(|t| view::keeper(&t, now, rules));
                (Event::Claim(asked), Behind::Unknown)
            }
            Event::Message(mut m) => {
                let late = m.claude.and_then(|id| self.index.claude.get(&id)).filter(other);
                let (rider, behind) = self.ask(held.or(late))?;
                m.behind = rider.and_then(|t| view::keeper(&t, now, rules));
                (Event::Message(m), behind)
            }
            Event::Take { performer, flying, .. } => {
                let (rider, behind) = self.ask(held)?;
                (Event::Take { performer, flying, behind: rider.is_some() }, behind)
            }
            other => (other, Behind::Unknown),
        })
    }

    fn ask(&self, owner: Option<&Owner>) -> Result<(Option<Thread>, Behind), StoreError> {
        let Some(owner) = owner else { return Ok((None, Behind::Unknown)) };
        let rider = (self.load)(owner)?.filter(Thread::holds);
        let behind = if rider.is_some() { Behind::Of(owner.clone()) } else { Behind::Nobody };
        Ok((rider, behind))
    }
}
