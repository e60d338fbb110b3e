//! Starts the person's own Claude Code next to `ride`, and sees it end.
//!
//! Invariants: Claude Code owns the terminal; nothing of the person's settings
//! is touched (the plugin is given by `--plugin-dir`); Claude Code does not
//! outlive `ride`. On Linux the kernel sees to the last one. macOS has no
//! parent death signal: there an orphan stays until its person quits it, its
//! prompts refused since the socket is gone, and its thread stays closed.
//!
//! Absent on purpose: what to do when it ends. The pieces: `claude` (which
//! binary, which version), `options` (what it may be told), `settings` (what keeps our
//! plugin out), `plugin` (the embedded plugin), `private_dir`
//! (where it and the socket live), `process` (start, stop, end).

mod claude;
mod options;
mod plugin;
mod private_dir;
mod process;
mod settings;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ride_store::claude::lock::DriverLock;
use uuid::Uuid;

use crate::env::Env;
use crate::link::{SOCKET_VAR, TOKEN_VAR, Token};

pub use claude::{ClaudeBinary, MIN_VERSION, MODS_FROM, Version, locate};
pub use options::{Unfit, check as check_options};
pub use plugin::{PLUGIN_NAME, Plugin, unpack};
pub use private_dir::PrivateDir;
pub use process::{Claude, Ended, TerminalSignals, start_of};
pub use settings::{Unguarded, check as check_settings};

/// Everything a Claude Code is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What Claude Code inherits, and what it does not.
    pub env: Env,
    /// The binary, see [`ClaudeBinary::find`].
    pub claude: PathBuf,
    /// The Claude session to resume.
    pub claude_session: Uuid,
    /// The project folder it belongs to.
    pub cwd: PathBuf,
    /// The Claude configuration folder, where it is not the person's default.
    pub config_dir: Option<PathBuf>,
    /// The unpacked plugin, see [`unpack`].
    pub plugin: PathBuf,
    /// The link's socket.
    pub socket: PathBuf,
    /// The link's token.
    pub token: Token,
    /// What the person wrote after `--`.
    pub extra: Vec<OsString>,
    /// The lock that it inherits, for as long as it runs.
    pub lock: Option<Arc<DriverLock>>,
}

impl Launch {
    /// The command line. Standard streams and the rest of the environment are ours, but
    /// for the gateway's secrets.
    pub fn command(&self) -> Command {
        let mut command = self.env.command(&self.claude);
        command.arg("--resume").arg(self.claude_session.to_string());
        command.arg("--plugin-dir").arg(&self.plugin).args(&self.extra);
        command.current_dir(&self.cwd).env(SOCKET_VAR, &self.socket).env(TOKEN_VAR, self.token.expose());
        if let Some(dir) = &self.config_dir {
            command.env("CLAUDE_CONFIG_DIR", dir);
        }
        command
    }

    /// Starts it. Call from a thread that lives as long as `ride`: the parent
    /// death signal is sent when that thread ends.
    pub fn start(&self) -> Result<Claude, LaunchError> {
        Claude::spawn(self.command(), self.lock.clone()).map_err(|cause| LaunchError::Start {
            claude: self.claude.clone(),
            cwd: self.cwd.clone(),
            cause,
        })
    }
}

/// Why Claude Code could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such program.
    #[error("could not find `{name}` on PATH")]
    NotFound {
        /// What was looked for.
        name: String,
    },
    /// A copy of ride itself cannot be run from where it was laid.
    #[error("could not run {path}: {cause}")]
    NotRunnable {
        /// The copy.
        path: PathBuf,
        /// What happened.
        cause: String,
    },
    /// The program does not answer like Claude Code.
    #[error("could not learn the version of {claude}: {cause}")]
    NoVersion {
        /// The program.
        claude: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// Older than what was tried.
    #[error("{claude} is Claude Code {found}, and riding needs {MIN_VERSION} or newer")]
    TooOld {
        /// The program.
        claude: PathBuf,
        /// Its version.
        found: Version,
    },
    /// A file of ours could not be written.
    #[error("could not prepare {path}: {cause}")]
    Prepare {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// A folder that should be ours alone is not.
    #[error("{path} is not a folder that only this user can enter")]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// The system would not start it.
    #[error("could not start {claude} in {cwd}: {cause}")]
    Start {
        /// The program.
        claude: PathBuf,
        /// The folder it was to run in.
        cwd: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
}

impl LaunchError {
    /// What the person can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            LaunchError::NotFound { .. } => Some("install Claude Code, or say where it is with --claude"),
            LaunchError::TooOld { .. } => Some("update it: claude update"),
            LaunchError::NotRunnable { .. } => {
                Some("programs may not run from there: set XDG_RUNTIME_DIR to a folder of yours where they may")
            }
            LaunchError::NoVersion { .. } => Some("is it Claude Code? `claude --version` should say so"),
            LaunchError::Prepare { .. } | LaunchError::NotPrivate { .. } | LaunchError::Start { .. } => None,
        }
    }
}

fn prepare<T>(path: &Path, result: io::Result<T>) -> Result<T, LaunchError> {
    result.map_err(|cause| LaunchError::Prepare { path: path.to_owned(), cause })
}
