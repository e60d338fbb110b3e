//! What the exports do: read JSON, apply an event to the store, write JSON.

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ride_core::command::{self, Command};
use ride_core::config::{Config, LockBackend};
use ride_core::entry_index::Binding;
use ride_core::event::{Act, Event, Inbound, Outcome, Reply, Seen};
use ride_core::host::{EntryFields, HostEntry};
use ride_core::limits;
use ride_core::listing::agent_of;
use ride_core::rules::Rules;
use ride_core::thread::Phase;
use ride_core::view;
use ride_store::claude::{Writer, program};
use ride_store::copy::Slices;
use ride_store::{Gate, Kept, KeptThread, Owed, Performer, Proofs, Serves, Store, StoreError, View, clock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::index::Index;
use crate::lock_dir::{self, Waits};
use crate::locks::Locks;
use crate::mirror::Mirror;
use crate::request::sha256;
use crate::{effects, mirror, request, reserve, writer};

/// Everything one copy of the plugin needs.
pub(crate) struct Sync {
    pub(crate) store: Store,
    /// Threads ridden once; none is remembered with `lockBackend: "none"`.
    kept: Option<Kept>,
    /// Where clients show that they are the gateway's own user; nowhere with `lockBackend: "none"`.
    pub(crate) proofs: Option<Proofs>,
    /// The configuration in force; in the memory's one copy it can change.
    config: RwLock<InForce>,
    /// What of the configuration waits until nothing is ridden.
    pub(crate) waits: Option<Waits>,
    pub(crate) claude_dir: PathBuf,
    pub(crate) index: Index,
    pub(crate) mirror: Mirror,
    /// Hashes of long transcripts in the making.
    pub(crate) slices: Slices,
    home: PathBuf,
    /// The gateway's process: the parent of its Claude children.
    pub(crate) gateway_pid: u32,
    me: Uuid,
    performer: Mutex<Option<Performer>>,
    /// Tells other gateways that this one lives.
    serves: Mutex<Option<Serves>>,
    /// Locks beside drivers' own, by name, until the drivers have seen them.
    pub(crate) locks: Locks,
}

/// What is worked by. A configuration that cannot be used is not held against what is
/// ridden already: that goes on by what can be read of it, and nothing new is claimed.
#[derive(Clone)]
struct InForce {
    config: Arc<Config>,
    /// Why nothing new is claimed.
    refused: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    state_dir: String,
    #[serde(default)]
    config: serde_json::Value,
    pid: u32,
}

#[derive(Deserialize)]
struct Keyed<T> {
    key: String,
    #[serde(flatten)]
    rest: T,
}

#[derive(Deserialize)]
struct Done {
    op: u64,
    outcome: Outcome,
}

#[derive(Deserialize)]
struct Fenced {
    fence: ride_core::id::Fence,
}

#[derive(Deserialize)]
struct By {
    /// Who asks; `None` where the host does not say.
    sender: Option<Sender>,
}

/// Somebody in a chat.
#[derive(Deserialize)]
struct Sender {
    channel: String,
    id: String,
    /// What the channel called this person last, where that is known.
    name: Option<String>,
}

impl By {
    /// As people are told: by name where there is one, and always by what cannot be chosen.
    fn told(self) -> String {
        let Some(Sender { channel, id, name }) = self.sender else { return "somebody in the chat".into() };
        let plain =
            |name: String| name.chars().filter(|c| !c.is_control()).take(limits::NAME_CHARS).collect::<String>();
        match name.map(plain).filter(|name| !name.trim().is_empty()) {
            Some(name) => format!("{} ({channel} user {id})", name.trim()),
            None => format!("{channel} user {id}"),
        }
    }
}

#[derive(Deserialize)]
struct Bound {
    /// The Claude session the thread is bound to, as the host's entry says.
    claude: Option<Uuid>,
}

#[derive(Deserialize)]
struct Taking {
    /// Whether new work is wanted, or only what ended is told.
    take: bool,
    /// Operations under way.
    flying: Vec<u64>,
    /// What came of those that ended.
    done: Vec<Done>,
    /// Parameters of `ride_relay` requests that wait to be answered.
    relays: Vec<serde_json::Value>,
}

/// What there is to do, and the answers to the relays.
#[derive(Serialize)]
pub(crate) struct Taken {
    #[serde(flatten)]
    work: Reply,
    answers: Vec<request::Answer>,
}

/// What a copy of the plugin was started with, read.
struct Start {
    config: Config,
    /// Why nothing new is claimed.
    refused: Option<String>,
    home: PathBuf,
    state_dir: PathBuf,
    gateway: String,
    pid: u32,
}

impl Start {
    fn read(options: &str) -> Result<Self, String> {
        let options: Options = read(options)?;
        let config = if options.config.is_null() { json!({}) } else { options.config };
        let (config, refused) = Config::salvage(&config.to_string());
        let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
        let state_dir = std::fs::canonicalize(&options.state_dir).unwrap_or_else(|_| options.state_dir.clone().into());
        let gateway = state_dir.to_string_lossy().into_owned();
        Ok(Start { config, refused, home, state_dir, gateway, pid: options.pid })
    }
}

/// Why a copy of the plugin could not be opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// The configuration says something that cannot be used.
    Config(String),
    /// The disk, or the process's limits: the same may work a moment later.
    Store(String),
}

/// Whether a thread's gate may hold, as the files say, where no copy is open: nothing is locked or
/// written. Where the process has no descriptor left, those are used that were kept for this.
pub(crate) fn may_be_closed(options: &str, session: &str, claude: Option<&str>) -> Result<bool, String> {
    let start = Start::read(options)?;
    let claude = claude.and_then(|id| id.parse().ok());
    let config = start.refused.is_none().then_some(&start.config);
    reserve::with(|| lock_dir::may_be_closed(config, &start.home, &start.state_dir, &start.gateway, session, claude))
}

impl Sync {
    pub(crate) fn open(options: &str) -> Result<Self, NotOpened> {
        reserve::fill();
        let Start { mut config, refused, home, state_dir, gateway, pid } =
            Start::read(options).map_err(NotOpened::Config)?;
        if let Some(error) = &refused {
            let remembered = lock_dir::remembered(&state_dir).map_err(NotOpened::Store)?;
            let dir = remembered.ok_or_else(|| NotOpened::Config(error.clone()))?;
            (config.lock_backend, config.lock_dir) = (LockBackend::File, dir);
        }
        let store_error = |e: StoreError| NotOpened::Store(e.to_string());
        let (store, waits) = lock_dir::open(&config, &home, &state_dir, &gateway).map_err(NotOpened::Store)?;
        let refused = refused.map(|error| still_refused(&store, error)).transpose()?;
        let in_force = lock_dir::in_force(&config, &home, waits.as_ref());
        let claude_dir = env::var_os("CLAUDE_CONFIG_DIR")
            .filter(|d| !d.is_empty())
            .map_or_else(|| home.join(".claude"), PathBuf::from);
        Ok(Sync {
            kept: in_force.as_deref().map(|dir| Kept::open(dir, &gateway)).transpose().map_err(store_error)?,
            proofs: in_force.as_deref().map(Proofs::open).transpose().map_err(store_error)?,
            store,
            config: RwLock::new(InForce { config: Arc::new(config), refused }),
            waits,
            claude_dir,
            index: Index::default(),
            mirror: Mirror::default(),
            slices: Slices::default(),
            home,
            gateway_pid: pid,
            me: Uuid::new_v4(),
            performer: Mutex::new(None),
            serves: Mutex::new(None),
            locks: Locks::default(),
        })
    }

    /// Makes the gate able to answer at once: tells other gateways that this one lives, and makes
    /// the index where it is missing. Waits for whoever changes a thread.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        // Before the gate looks at the index for the first time.
        if !self.serve()? {
            return Err("another gateway looks whether this one lives; in a moment it can be prepared".into());
        }
        self.store.prepare().map_err(|e| e.to_string())
    }

    /// Whether it tells other gateways that this one lives.
    fn serve(&self) -> Result<bool, String> {
        let mut serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
        if serves.is_none() {
            *serves = self.store.serve().map_err(|e| e.to_string())?;
        }
        Ok(serves.is_some())
    }

    /// What the index says now; `None` where it has to be prepared first.
    fn view(&self) -> Result<Option<View>, String> {
        if self.serves.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(None);
        }
        self.store.view_now().map_err(|e| e.to_string())
    }

    /// Whether the gate can answer at once.
    pub(crate) fn prepared(&self) -> Result<bool, String> {
        Ok(self.view()?.is_some())
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.in_force().config
    }

    /// Why nothing new can be claimed: the configuration's first error.
    pub(crate) fn refused(&self) -> Option<String> {
        self.in_force().refused
    }

    fn in_force(&self) -> InForce {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What of the configuration is not in force, in words; empty when all is.
    pub(crate) fn waiting(&self) -> String {
        let refused =
            self.refused().map(|error| format!("{error}; what is ridden goes on, and nothing new is claimed"));
        refused.or_else(|| self.waits.as_ref().map(ToString::to_string)).unwrap_or_default()
    }

    /// Where finished turns are mirrored, if anywhere.
    pub(crate) fn mirror_dir(&self) -> Option<PathBuf> {
        self.config().sync_mirror_dir.as_deref().map(|dir| lock_dir::folder(dir, &self.home))
    }

    pub(crate) fn rules(&self) -> Rules {
        self.config().rules()
    }

    /// Takes over what can change without moving the state.
    pub(crate) fn configure(&self, config: &str) -> Result<(), String> {
        let (config, refused) = Config::salvage(config);
        let refused =
            refused.map(|error| still_refused(&self.store, error)).transpose().map_err(NotOpened::into_text)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = InForce { config: Arc::new(config), refused };
        Ok(())
    }

    pub(crate) fn gate(&self, session: &str) -> Result<u32, String> {
        let Some(view) = self.view()? else { return Ok(4) };
        Ok(match view.gate(session) {
            Gate::Open => 0,
            Gate::Closed => 1,
            Gate::AskClaude => match self.index.binding(session) {
                Binding::Unknown => 2,
                Binding::To(None) => 3,
                Binding::To(Some(claude)) if view.ridden(claude) => 2,
                Binding::To(Some(_)) => 3,
            },
        })
    }

    pub(crate) fn learn(&self, key: &str, entry: &str) -> Result<(), String> {
        let entry: Option<EntryFields> = read(entry)?;
        self.index
            .put(key, entry.map(|entry| HostEntry { key: key.into(), agent_id: agent_of(key).into(), entry }.into()));
        Ok(())
    }

    pub(crate) fn ridden(&self, claude: &str) -> Result<bool, String> {
        let Ok(id) = claude.parse() else { return Ok(false) };
        self.view()?.map(|view| view.ridden(id)).ok_or_else(|| UNPREPARED.into())
    }

    /// Whether any Claude session is ridden, as far as that can be told at once.
    pub(crate) fn riding(&self) -> Result<bool, String> {
        Ok(self.view()?.is_some_and(|view| view.any_ridden()))
    }

    pub(crate) fn in_flight(&self, session: &str, op: i64) -> Result<bool, String> {
        let thread = self.store.read(session).map_err(|e| e.to_string())?;
        let op = u64::try_from(op).map_err(|_| "an operation has no negative number")?;
        Ok(thread.is_some_and(|thread| view::in_flight(&thread, op, self.me)))
    }

    pub(crate) fn route(&self, entry: &str) -> Result<String, String> {
        write(&read::<EntryFields>(entry)?.route())
    }

    pub(crate) fn perform(&self) -> Result<bool, String> {
        let mut performer = self.performer.lock().unwrap_or_else(PoisonError::into_inner);
        if performer.is_none() {
            *performer = self.store.perform().map_err(|e| e.to_string())?;
        }
        self.serve()?;
        Ok(performer.is_some())
    }

    pub(crate) fn resign(&self) {
        *self.performer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Its process does not serve the gateway any more.
    pub(crate) fn leave(&self) {
        *self.serves.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn owed(&self) -> Result<String, String> {
        if !self.prepared()? {
            return write(&json!([]));
        }
        write(&self.store.owed().map_err(|e| e.to_string())?)
    }

    /// Acknowledges that another gateway's thread holds a Claude session, once the idle
    /// child of this gateway has let go of it. The shell has seen that no turn runs.
    fn let_go(&self, owed: Owed) -> Result<Outcome, String> {
        let outcome = effects::let_go(self, owed.claude);
        if outcome == Outcome::Ok {
            self.store.acknowledge(owed).map_err(|e| e.to_string())?;
        }
        Ok(outcome)
    }

    /// The threads with something left to do, as far as that can be told at once.
    pub(crate) fn busy(&self) -> Result<Vec<String>, String> {
        Ok(self.view()?.map(|view| view.busy()).unwrap_or_default())
    }

    pub(crate) fn call(&self, what: &str, payload: &str) -> Result<String, String> {
        match what {
            "request" => write(&request::answer(self, read(payload)?)),
            "late" => write(&request::late(self, &read(payload)?)),
            "pending" => write(&request::pending(self, read(payload)?)),
            "message" => {
                let mut m: Keyed<Inbound> = read(payload)?;
                if m.rest.unnamed.is_some() {
                    // By content without it: an id stands in journals and logs.
                    m.rest.id = format!("{}|{}|{}", m.rest.id, m.rest.sender, sha256(&m.rest.text));
                }
                let turn = command::of(&m.rest.text) != Command::ReadOnly;
                if self.store.refusal(&m.key).map_err(|e| e.to_string())?.is_some() {
                    let reply = Reply::Decline { text: view::UNREADABLE_SAID.into() };
                    return write(&json!({ "reply": reply, "phase": view::UNREADABLE, "turn": turn }));
                }
                let (thread, reply) = self.apply(&m.key, Event::Message(Box::new(m.rest)))?;
                write(&json!({ "reply": reply, "phase": thread.phase_name(), "turn": turn }))
            }
            "drop" => {
                let d: Keyed<Fenced> = read(payload)?;
                self.apply(&d.key, Event::Dropped { fence: d.rest.fence })?;
                write(&Reply::Ok)
            }
            "restarted" => {
                for key in self.store.busy().map_err(|e| e.to_string())? {
                    let Ok(Some(thread)) = self.store.read(&key) else { continue };
                    let waits = thread.heir().map(|heir| heir.fence);
                    for fence in thread.lease().map(|lease| lease.fence).into_iter().chain(waits) {
                        self.apply(&key, Event::Dropped { fence })?;
                    }
                }
                write(&Reply::Ok)
            }
            "seen" => {
                let s: Keyed<Seen> = read(payload)?;
                let (thread, _) = self.apply(&s.key, Event::Seen(s.rest))?;
                write(&json!({ "phase": thread.phase_name() }))
            }
            "chat" => {
                let c: Keyed<Bound> = read(payload)?;
                write(&self.in_chat(&c.key, c.rest.claude)?)
            }
            "unride" => {
                let u: Keyed<By> = read(payload)?;
                let (_, reply) = self.apply(&u.key, Event::TakeBack { by: u.rest.told(), accept_broken: false })?;
                write(&view::unridden(&reply))
            }
            "kept" => write(&self.kept.as_ref().map_or_else(|| Ok(Vec::new()), Kept::all).map_err(|e| e.to_string())?),
            "keep" => {
                let thread: KeptThread = read(payload)?;
                self.kept.as_ref().map_or(Ok(()), |kept| kept.keep(thread)).map_err(|e| e.to_string())?;
                write(&Reply::Ok)
            }
            "forget" => {
                let session: String = read(payload)?;
                self.kept.as_ref().map_or(Ok(()), |kept| kept.forget(&session)).map_err(|e| e.to_string())?;
                write(&Reply::Ok)
            }
            "take" => {
                let t: Keyed<Taking> = read(payload)?;
                write(&self.take(&t.key, t.rest)?)
            }
            "prepare" => {
                self.prepare()?;
                write(&Reply::Ok)
            }
            "letGo" => write(&self.let_go(read(payload)?)?),
            "unacknowledged" => write(&self.store.unacknowledged(read(payload)?).map_err(|e| e.to_string())?),
            "list" => write(&self.index.list(&read(payload)?)?),
            "listed" => write(&self.index.listed(read(payload)?)),
            "mirrorable" => write(&mirror::keys(self)?),
            "mirror" => write(&mirror::threads(self, read(payload)?)?),
            "mirrorAll" => write(&mirror::all(self)),
            "writer" => write(&self.look_for_writer(&read::<String>(payload)?)?),
            "act" => write(&effects::perform(self, &read::<Act>(payload)?)),
            other => Err(format!("no such call: {other}")),
        }
    }

    /// Acknowledges, takes over relays and takes work, in one commit.
    fn take(&self, key: &str, taking: Taking) -> Result<Taken, String> {
        let performer = self.me;
        let relays: Vec<_> = taking.relays.iter().map(request::read_relay).collect();
        let asked =
            relays.iter().flatten().map(|relay| Event::Relay { fence: relay.fence, items: relay.items.clone() });
        let done = taking.done.into_iter().map(|d| Event::Done { op: d.op, performer, outcome: d.outcome });
        let take = taking.take.then_some(Event::Take { performer, behind: false, flying: taking.flying });
        let events = asked.chain(done).chain(take).collect();
        let (thread, replies) =
            self.store.apply_all(key, events, clock::now(), &self.rules()).map_err(|e| e.to_string())?;
        let mut replies = replies.into_iter();
        let answers = relays
            .into_iter()
            .map(|relay| match relay {
                Ok(_) => request::relayed(replies.next().unwrap_or(Reply::Ok), &thread),
                Err(error) => request::Answer::Error(error),
            })
            .collect();
        let nothing = Reply::Work { effects: Vec::new(), wake_in_ms: None };
        Ok(Taken { work: replies.next_back().filter(|_| taking.take).unwrap_or(nothing), answers })
    }

    /// Looks whether another process writes to a ridden Claude session; true where the ride ended by it.
    fn look_for_writer(&self, key: &str) -> Result<bool, String> {
        let Some(thread) = self.store.read(key).map_err(|e| e.to_string())? else { return Ok(false) };
        let Phase::Ridden { lease } = &thread.phase else { return Ok(false) };
        let found = writer::beside(lease, self.gateway_pid).map_err(|e| e.to_string())?;
        let Some(Writer { process, command, .. }) = found else { return Ok(false) };
        let program = program(&command).to_owned();
        let seen = Seen::Writer { fence: lease.fence, pid: process.pid, program };
        let (thread, _) = self.apply(key, Event::Seen(seen))?;
        Ok(!matches!(thread.phase, Phase::Ridden { .. }))
    }

    /// What `/ride` answers in a thread's chat.
    fn in_chat(&self, key: &str, claude: Option<Uuid>) -> Result<String, String> {
        let thread = self.store.read(key).map_err(|e| e.to_string())?;
        let other = claude.map(|id| self.store.riding(id)).transpose().map_err(|e| e.to_string())?.flatten();
        let now = clock::now();
        let behind = other.filter(|t| t.key.session != key).and_then(|t| view::keeper(&t, now, &self.rules()));
        Ok(view::in_chat(thread.as_ref(), behind.as_ref(), now, &self.rules()))
    }

    pub(crate) fn apply(&self, key: &str, event: Event) -> Result<(ride_core::thread::Thread, Reply), String> {
        self.store.apply(key, event, clock::now(), &self.rules()).map_err(|e| e.to_string())
    }
}

/// An error that only keeps new claims out, while something is ridden or waits.
fn still_refused(store: &Store, error: String) -> Result<String, NotOpened> {
    let view = store.look().map_err(|e| NotOpened::Store(e.to_string()))?;
    if view.unfinished() > 0 { Ok(error) } else { Err(NotOpened::Config(error)) }
}

impl NotOpened {
    pub(crate) fn into_text(self) -> String {
        match self {
            NotOpened::Config(text) | NotOpened::Store(text) => text,
        }
    }
}

/// What is answered at once where the index has to be made first.
const UNPREPARED: &str = "the index of all threads is being made; it is asked again in a moment";

fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|e| format!("could not read what the shell handed over: {e}"))
}

fn write<T: Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string(value).map_err(|e| format!("could not write an answer: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who took a thread back is told by the name that the chat showed, and by an id that nobody chooses.
    #[test]
    fn whoever_takes_a_thread_back_is_named() {
        let told = |sender: serde_json::Value| {
            serde_json::from_value::<By>(json!({ "sender": sender })).expect("the shell's own form").told()
        };
        assert_eq!(told(json!({ "channel": "telegram", "id": "7", "name": "Omar" })), "Omar (telegram user 7)");
        for name in [json!(null), json!(""), json!(" \u{1b}\n ")] {
            assert_eq!(told(json!({ "channel": "telegram", "id": "7", "name": name })), "telegram user 7");
        }
        let long = told(json!({ "channel": "telegram", "id": "7", "name": format!("O\u{1b}{}", "m".repeat(500)) }));
        assert_eq!(long, format!("O{} (telegram user 7)", "m".repeat(limits::NAME_CHARS - 1)));
        assert_eq!(told(json!(null)), "somebody in the chat");
    }
}
