//! The napi addon: a handful of exports around [`sync::Sync`].
//!
//! Values cross as JSON text. Work that touches the disk or processes runs on
//! Node's own worker pool; the gate's look does not, it is one system call.
//! No panic reaches Node: each becomes an error, and the shell turns errors of
//! the gate into the safe answer.

mod config_answer;
mod effects;
mod index;
mod lock_dir;
mod locks;
mod mirror;
mod request;
mod reserve;
mod sync;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Error, Result, Status, Task};
use napi_derive::napi;

use crate::sync::NotOpened;

/// The plugin's threads. One per loaded copy of the plugin.
#[napi(js_name = "Sync")]
pub struct JsSync(Arc<sync::Sync>);

/// One look at the files on its way through the worker pool.
pub struct Look {
    options: String,
    session: String,
    claude: Option<String>,
}

impl Task for Look {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> Result<bool> {
        guarded(|| sync::may_be_closed(&self.options, &self.session, self.claude.as_deref()))
    }

    fn resolve(&mut self, _env: Env, output: bool) -> Result<bool> {
        Ok(output)
    }
}

/// One call on its way through the worker pool.
pub struct Job {
    sync: Arc<sync::Sync>,
    what: String,
    payload: String,
}

#[napi]
impl JsSync {
    /// Opens the store. `options`: `{ stateDir, config, pid }`; an error names the config key
    /// or the path. Its code is `InvalidArg` where the configuration cannot be used; any
    /// other may be gone a moment later. Nobody is waited for: until `call("prepare")` was
    /// answered, the gate cannot tell.
    #[napi(constructor)]
    pub fn new(options: String) -> Result<Self> {
        let opened = guarded(|| Ok(sync::Sync::open(&options)))?;
        opened.map(|sync| JsSync(Arc::new(sync))).map_err(|error| match error {
            NotOpened::Config(text) => Error::new(Status::InvalidArg, text),
            NotOpened::Store(text) => Error::from_reason(text),
        })
    }

    /// Looks whether a thread's gate may hold, in the files of `options` alone: nothing is locked
    /// or written, and some open files are kept in reserve for it. `claude`: the Claude
    /// session that the thread is bound to.
    #[napi(ts_return_type = "Promise<boolean>")]
    pub fn may_be_closed(options: String, session: String, claude: Option<String>) -> AsyncTask<Look> {
        AsyncTask::new(Look { options, session, claude })
    }

    /// Whether the gate can answer at once; else `call("prepare")` makes it able to.
    #[napi]
    pub fn prepared(&self) -> Result<bool> {
        guarded(|| self.0.prepared())
    }

    /// Looks whether a thread's gate holds: 0 open, 1 closed, 2 closed if the host has
    /// it bound to a Claude session that is ridden, 3 open by what the index knows of that,
    /// 4 not known before `call("prepare")`.
    #[napi]
    pub fn gate(&self, session: String) -> Result<u32> {
        guarded(|| self.0.gate(&session))
    }

    /// Looks whether a Claude session is ridden.
    #[napi]
    pub fn ridden(&self, claude: String) -> Result<bool> {
        guarded(|| self.0.ridden(&claude))
    }

    /// What of the configuration is not in force yet, in words; empty when all is.
    #[napi]
    pub fn waits(&self) -> String {
        self.0.waiting()
    }

    /// Takes over a changed configuration, but for where the state is.
    #[napi]
    pub fn configure(&self, config: String) -> Result<()> {
        guarded(|| self.0.configure(&config))
    }

    /// Looks whether an operation that this copy performs is still the one that its thread
    /// waits for. Asked inside the host's critical section, before it writes an entry.
    #[napi]
    pub fn in_flight(&self, session: String, op: i64) -> Result<bool> {
        guarded(|| self.0.in_flight(&session, op))
    }

    /// Looks whether any Claude session is ridden.
    #[napi]
    pub fn riding(&self) -> Result<bool> {
        guarded(|| self.0.riding())
    }

    /// Takes over one entry as the host has it now, as JSON; `null` where it has none.
    #[napi]
    pub fn learn(&self, key: String, entry: String) -> Result<()> {
        guarded(|| self.0.learn(&key, &entry))
    }

    /// Notes that an entry changed.
    #[napi]
    pub fn changed(&self, key: String) {
        self.0.index.changed(&key);
    }

    /// What is known of the host's entries: whether all were read, how many changed
    /// since, how many there are.
    #[napi]
    pub fn known(&self) -> Vec<u32> {
        self.0.index.counts()
    }

    /// Entries that changed since they were read, at most so many.
    #[napi]
    pub fn stale(&self, limit: u32) -> Vec<String> {
        self.0.index.stale(limit as usize)
    }

    /// Threads that may be bound to a Claude session; the host's entries decide.
    #[napi]
    pub fn bound(&self, claude: String) -> Vec<String> {
        self.0.index.bound(&claude)
    }

    /// Counts a list of all entries that is about to be made.
    #[napi]
    pub fn begin_list(&self) -> u32 {
        self.0.index.begin()
    }

    /// The stored route of an entry, as JSON; `null` where there is none.
    #[napi]
    pub fn route(&self, entry: String) -> Result<String> {
        guarded(|| self.0.route(&entry))
    }

    /// Becomes the performer of effects unless another copy is.
    #[napi]
    pub fn perform(&self) -> Result<bool> {
        guarded(|| self.0.perform())
    }

    /// Stops being the performer.
    #[napi]
    pub fn resign(&self) {
        self.0.resign();
    }

    /// Stops telling other gateways that this one lives.
    #[napi]
    pub fn leave(&self) {
        self.0.leave();
    }

    /// Claude sessions that other gateways' threads hold and this one has not acknowledged, as JSON.
    #[napi]
    pub fn owed(&self) -> Result<String> {
        guarded(|| self.0.owed())
    }

    /// Threads with something left to do.
    #[napi]
    pub fn busy(&self) -> Result<Vec<String>> {
        guarded(|| self.0.busy())
    }

    /// Runs one of `request`, `pending`, `late`, `message`, `drop`, `take`, `act`, `list`,
    /// `listed`, `mirrorable`, `mirror`, `mirrorAll` off the event loop; JSON in, JSON out.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn call(&self, what: String, payload: String) -> AsyncTask<Job> {
        AsyncTask::new(Job { sync: self.0.clone(), what, payload })
    }
}

impl Task for Job {
    type Output = String;
    type JsValue = String;

    fn compute(&mut self) -> Result<String> {
        guarded(|| self.sync.call(&self.what, &self.payload))
    }

    fn resolve(&mut self, _env: Env, output: String) -> Result<String> {
        Ok(output)
    }
}

fn guarded<T>(run: impl FnOnce() -> std::result::Result<T, String>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(Error::from_reason),
        Err(_) => Err(Error::from_reason("claude-code-sync: internal error, see the gateway's error output")),
    }
}
