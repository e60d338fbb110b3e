//! Everything taken from the process's surroundings: variables, working folder,
//! terminal, machine. The only file that reads them, so that the rest of the
//! library is told and a test can tell it something else.
//!
//! Also where every other program begins ([`Env::command`]): without the variables that
//! carry a secret to `ride`. `crates/cli/clippy.toml` forbids every other way.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Variables that carry a secret to `ride`, whatever the configuration says.
pub const SECRETS: [&str; 3] = ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD", "RIDE_PIN"];

/// The surroundings of one run.
#[derive(Clone, Debug, Default)]
pub struct Env {
    vars: BTreeMap<String, String>,
    /// Variables that the configuration names for a secret of the gateway. Clones share them.
    secrets: Arc<Mutex<BTreeSet<String>>>,
    /// The working folder; relative paths are taken from here.
    pub cwd: PathBuf,
    /// The program that runs.
    pub program: PathBuf,
    /// What standard output is.
    pub terminal: Terminal,
    /// The machine's name, for people.
    pub host: String,
    /// Wall clock at the start, milliseconds since 1970, for ages in listings.
    pub now_ms: u64,
}

/// What is known about standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Columns to stay within; `None` where lines may be of any length.
    pub width: Option<usize>,
    /// Whether colours may be written.
    pub colour: bool,
    /// Whether both standard input and output are a terminal.
    pub interactive: bool,
}

impl Env {
    /// Reads the process's surroundings. Variables that are not UTF-8 are left out.
    pub fn from_process() -> Env {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let stdout_tty = std::io::stdout().is_terminal();
        let colour = stdout_tty
            && vars.get("NO_COLOR").is_none_or(String::is_empty)
            && vars.get("TERM").is_none_or(|term| term != "dumb");
        let width = match vars.get("COLUMNS").and_then(|c| c.parse().ok()) {
            _ if !stdout_tty => None,
            Some(columns) => Some(columns),
            None => rustix::termios::tcgetwinsize(std::io::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns > 0),
        };
        Env {
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            // Of one that was replaced on disk Linux gives the name no more, but the file.
            program: std::env::current_exe()
                .ok()
                .filter(|path| path.exists())
                .unwrap_or_else(|| "/proc/self/exe".into()),
            terminal: Terminal { width, colour, interactive: stdout_tty && std::io::stdin().is_terminal() },
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            now_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            vars,
            secrets: Arc::default(),
        }
    }

    /// Notes that a variable carries a secret of the gateway: nothing that `ride` starts gets it.
    pub fn withhold(&self, name: &str) {
        // Any other name cannot be a variable's.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return;
        }
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// A program to start. It gets this process's environment without the secrets of the
    /// gateway, because it and all that it starts could read them.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the one place where this is done")]
        let mut command = Command::new(program);
        for name in SECRETS {
            command.env_remove(name);
        }
        let named = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        for name in named.iter() {
            command.env_remove(name);
        }
        command
    }

    /// Surroundings of exactly these variables.
    pub fn of(vars: &[(&str, &str)], cwd: &Path) -> Env {
        Env {
            vars: vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            cwd: cwd.to_owned(),
            ..Env::default()
        }
    }

    /// A variable's value, trimmed; `None` when it is unset or blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Adds what `other` has and this one lacks, as OpenClaw does with its `.env`.
    pub fn fill(&mut self, other: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in other {
            self.vars.entry(name).or_insert(value);
        }
    }

    /// Whether the terminal can be drawn on: it is one, and knows more than lines.
    pub fn can_draw(&self) -> bool {
        self.terminal.interactive && self.get("TERM").is_some_and(|term| term != "dumb")
    }

    /// The person's home folder.
    pub fn home(&self) -> Option<PathBuf> {
        let named = |name| self.get(name).filter(|v| *v != "undefined" && *v != "null");
        named("HOME").or_else(|| named("USERPROFILE")).map(|home| self.cwd.join(home))
    }

    /// The person's name: `RIDE_NAME`, else the login name.
    pub fn person(&self) -> String {
        ["RIDE_NAME", "USER", "LOGNAME"]
            .iter()
            .find_map(|name| self.get(name))
            .map_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()), str::to_owned)
    }
}
