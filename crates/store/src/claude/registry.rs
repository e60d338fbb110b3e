//! The live registry: `sessions/<pid>.json`, one file per running Claude Code.
//!
//! The host removes a file on a clean exit and leaves it after SIGKILL, for
//! good; so an entry says something only while its pid has its start time
//! (`procStart`, field 22 of `/proc/<pid>/stat`). A pid counts in its own namespace
//! (`pidDomain`, which 2.1.197 does not write). An entry of another namespace or machine is
//! never dead: it is live where its process is seen from here, and otherwise cannot be judged.

use std::cell::OnceCell;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::process::{self, Seen};
use super::{ClaudeDir, ClaudeError};

/// Most entries that are read.
const MAX_ENTRIES: usize = 10_000;

/// Largest entry that is read; real ones are under a kilobyte.
const MAX_ENTRY_BYTES: u64 = 64 << 10;

/// The registry as it was when it was read.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Entries, ordered by pid.
    pub entries: Vec<Entry>,
    /// Files that hold no entry: being written, or of a newer host.
    pub odd: Vec<PathBuf>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Process id.
    pub pid: u32,
    /// The Claude session it is on now: it follows `/clear`, `/resume` and `/branch`.
    pub session: Uuid,
    /// What it is doing.
    pub status: Status,
    /// What it waits for, in the host's words.
    pub waiting_for: Option<String>,
    /// `interactive`, for `-p` too, or `bg`.
    pub kind: Option<String>,
    /// `cli` or `sdk-cli`.
    pub entrypoint: Option<String>,
    /// Its folder.
    pub cwd: Option<PathBuf>,
    /// Its name, given or made up.
    pub name: Option<String>,
    /// The host's version.
    pub version: Option<String>,
    /// Last change of the status, milliseconds since 1970.
    pub status_at_ms: Option<u64>,
    /// Whether it runs.
    pub liveness: Liveness,
}

/// What a Claude Code is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing.
    Idle,
    /// A turn runs.
    Busy,
    /// A dialog is open.
    Waiting,
    /// Nothing, but a shell or monitor runs in the background.
    Shell,
    /// Something this version does not know.
    Other(String),
    /// The host does not tell: 2.1.197 under `-p`.
    Untold,
}

/// Whether an entry's process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It does.
    Live(Seen),
    /// It does not; the file was left behind.
    Dead,
    /// It belongs, or may belong, to another pid namespace or machine, and is not seen from here.
    Elsewhere(Elsewhere),
}

/// Where the process of an entry that cannot be judged may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The host's name of the place; `None` where it wrote none.
    pub domain: Option<String>,
    /// Its start time, as the entry says.
    pub start: Option<u64>,
}

impl Elsewhere {
    /// The lasting name of its process, by which a person declares it gone: `1@4026532179.92593`,
    /// of process id, pid namespace and start time.
    pub fn name(&self, pid: u32) -> String {
        let namespace = self.domain.as_deref().and_then(|domain| domain.rsplit_once(":pid:["));
        let namespace = namespace.map_or("unknown", |(_, inode)| inode.trim_end_matches(']'));
        format!("{pid}@{namespace}.{}", self.start.unwrap_or(0))
    }
}

/// In words.
impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.domain.as_deref().unwrap_or("a pid namespace that is not known"))
    }
}

/// The file as the host writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    pid: u32,
    session_id: Uuid,
    #[serde(default)]
    proc_start: Value,
    #[serde(default)]
    pid_domain: Value,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    waiting_for: Value,
    #[serde(default)]
    kind: Value,
    #[serde(default)]
    entrypoint: Value,
    #[serde(default)]
    cwd: Value,
    #[serde(default)]
    name: Value,
    #[serde(default)]
    version: Value,
    #[serde(default)]
    status_updated_at: Value,
}

impl Registry {
    /// Reads the registry; one that is not there is empty.
    ///
    /// # Errors
    /// When it or the process table cannot be read.
    pub fn read(dir: &ClaudeDir) -> Result<Registry, ClaudeError> {
        let sessions = dir.sessions();
        let mut registry = Registry::default();
        let files = match fs::read_dir(&sessions) {
            Ok(files) => files,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(registry),
            Err(e) => return Err(ClaudeError::io("read live registry", &sessions, e)),
        };
        let here = Here::default();
        for (n, file) in files.enumerate() {
            if n >= MAX_ENTRIES {
                return Err(ClaudeError::TooMany { what: "entries", path: sessions, max: MAX_ENTRIES });
            }
            let path = file.map_err(|e| ClaudeError::io("read live registry", &sessions, e))?.path();
            if path.extension().is_none_or(|ext| ext != "json") {
                continue;
            }
            match read_entry(&path, &here) {
                Ok(Some(entry)) => registry.entries.push(entry),
                Ok(None) => registry.odd.push(path),
                // Its process ended meanwhile.
                Err(ClaudeError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        registry.entries.sort_by_key(|entry| entry.pid);
        Ok(registry)
    }

    /// Reads the entry of one process alone; `None` where it has none.
    ///
    /// # Errors
    /// When it or the process table cannot be read.
    pub fn entry(dir: &ClaudeDir, pid: u32) -> Result<Option<Entry>, ClaudeError> {
        let path = dir.sessions().join(format!("{pid}.json"));
        match read_entry(&path, &Here::default()) {
            Err(ClaudeError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            entry => entry,
        }
    }

    /// The running processes on a Claude session.
    pub fn live(&self, session: Uuid) -> impl Iterator<Item = (&Entry, &Seen)> {
        self.entries.iter().filter(move |entry| entry.session == session).filter_map(|entry| match &entry.liveness {
            Liveness::Live(seen) => Some((entry, seen)),
            _ => None,
        })
    }

    /// The entry of a running process.
    pub fn of(&self, process: &Seen) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|e| matches!(&e.liveness, Liveness::Live(s) if (s.pid, s.start) == (process.pid, process.start)))
    }
}

fn read_entry(path: &std::path::Path, here: &Here) -> Result<Option<Entry>, ClaudeError> {
    let file = super::transcript::open_regular(path)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_ENTRY_BYTES), &mut bytes)
        .map_err(|e| ClaudeError::io("read live registry", path, e))?;
    let Ok(wire) = serde_json::from_slice::<Wire>(&bytes) else {
        return Ok(None);
    };
    Ok(Some(Entry {
        pid: wire.pid,
        session: wire.session_id,
        status: Status::from(wire.status.as_str().unwrap_or("")),
        waiting_for: text(wire.waiting_for),
        kind: text(wire.kind),
        entrypoint: text(wire.entrypoint),
        cwd: text(wire.cwd).map(PathBuf::from),
        name: text(wire.name),
        version: text(wire.version),
        status_at_ms: wire.status_updated_at.as_u64(),
        liveness: here.liveness(wire.pid, &wire.proc_start, wire.pid_domain.as_str())?,
    }))
}

/// What entries are judged by: this process's view of the process table.
struct Here {
    domain: Option<String>,
    whole_machine: bool,
    /// Read once, and only where an entry may be of a namespace below this one.
    nested: OnceCell<Vec<(u32, Seen)>>,
}

impl Default for Here {
    fn default() -> Self {
        Here { domain: own_domain(), whole_machine: process::sees_whole_machine(), nested: OnceCell::new() }
    }
}

impl Here {
    fn liveness(&self, pid: u32, start: &Value, of: Option<&str>) -> Result<Liveness, ClaudeError> {
        // Written as a string; a number would mean the same.
        let start = start.as_str().and_then(|s| s.parse().ok()).or_else(|| start.as_u64());
        let own = match (of, self.domain.as_deref()) {
            (Some(of), Some(own)) => same_domain(of, own),
            // An entry that names no place may be of this one.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        // Without a start time a reused pid cannot be told: count it as live.
        let same = |seen: &Seen| start.is_none_or(|start| start == seen.start);
        if own && let Some(seen) = process::look(pid)?.filter(same) {
            return Ok(Liveness::Live(seen));
        }
        if own && of.is_some() {
            return Ok(Liveness::Dead);
        }
        if let Some((_, seen)) = self.nested()?.iter().find(|(inner, seen)| *inner == pid && same(seen)) {
            return Ok(Liveness::Live(seen.clone()));
        }
        // An entry without a place, where every process of the machine is seen: nobody is it.
        if of.is_none() && self.whole_machine {
            return Ok(Liveness::Dead);
        }
        Ok(Liveness::Elsewhere(Elsewhere { domain: of.map(str::to_owned), start }))
    }

    fn nested(&self) -> Result<&[(u32, Seen)], ClaudeError> {
        if let Some(nested) = self.nested.get() {
            return Ok(nested);
        }
        let nested = process::nested()?;
        Ok(self.nested.get_or_init(|| nested))
    }
}

/// `linux:<machine id>:pid:[<namespace inode>]`; namespace inodes repeat across
/// machines, and the machine id is shared by containers, so both count.
fn same_domain(of: &str, own: &str) -> bool {
    let namespace = |domain: &str| domain.rsplit(":pid:").next().map(str::to_owned);
    let machine = |domain: &str| domain.split(":pid:").next().map(str::to_owned);
    let unknown = |machine: &Option<String>| machine.as_deref().is_none_or(|m| m.ends_with(':'));
    let (a, b) = (machine(of), machine(own));
    namespace(of) == namespace(own) && (a == b || unknown(&a) || unknown(&b))
}

/// This process's domain, written as the host writes it.
fn own_domain() -> Option<String> {
    let namespace = process::namespace()?;
    let pid = namespace.split(' ').next().unwrap_or_default();
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Some(format!("linux:{}:{pid}", machine.trim()))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

impl From<&str> for Status {
    fn from(status: &str) -> Self {
        match status {
            "idle" => Status::Idle,
            "busy" => Status::Busy,
            "waiting" => Status::Waiting,
            "shell" => Status::Shell,
            "" => Status::Untold,
            other => Status::Other(other.to_owned()),
        }
    }
}
