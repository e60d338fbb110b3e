//! The local link between `ride` and the Claude Code it started.
//!
//! `ride` listens on a Unix socket in a folder only its user can enter; the mod
//! in Claude Code (`plugins/claude-code/hooks/register.js`) calls it over HTTP, and so
//! do the hooks of one without mods ([`crate::hook`]), whose transcript is read beside.
//! Here the calls become [`LinkEvent`]s with a reply to give, so that the rest
//! of `ride` decides and this module only carries.
//!
//! Invariants: nothing is answered without the token; after the first greeting
//! only that one process is heard, and only in the way it greeted ([`Source`]); a
//! question that is not answered in time is answered with no. Ids of prompts and
//! answers are the `uuid` of their line in the transcript, so a crash is reconciled by
//! id and never by text.
//!
//! Absent on purpose: leases, the outbox, the gateway. In reading order:
//! `wire` (as the mod writes it), `pairing` (rows to prompts and answers), `hooks` (as
//! hooks write it), `tail` (the transcript), `server` (HTTP).

pub(crate) mod hooks;
mod pairing;
mod server;
mod tail;
mod wire;

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use tail::Tailed;

/// Variable that tells mod and hooks where the socket is. Without it both are inert.
pub const SOCKET_VAR: &str = "OPENCLAW_RIDE_SOCKET";
/// Variable that carries the token. One process may use it, see [`Token`].
pub const TOKEN_VAR: &str = "OPENCLAW_RIDE_TOKEN";

/// How long the rest of `ride` may take over a question. The mod itself gives
/// up after 5 s, and a Claude Code hook after 10 s of its own time.
pub const VERDICT_WITHIN: Duration = Duration::from_secs(4);
/// How long a hook waits for an answer before it blocks the prompt itself: longer than
/// the verdict may take, shorter than what `hooks.json` gives it.
pub const HOOK_WITHIN: Duration = Duration::from_secs(6);
/// The same for the hook that a Claude session begins with: ride may wait for the mod, and
/// then end this Claude Code.
pub const START_WITHIN: Duration = Duration::from_secs(12);
/// How long after a Claude session began the mod may still greet. Both come up
/// together; the rest is for a busy machine.
pub const MOD_WITHIN: Duration = Duration::from_secs(5);
/// How long a poll for the status line is held open.
pub const POLL_FOR: Duration = Duration::from_secs(25);
/// Largest request body. A prompt is what a person pasted; 1 MiB is 250,000
/// words, far more than the relay takes (`ride_core::limits::RELAY_BYTES`).
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Connections served at once. The mod has one poll, one report and one
/// question open; the rest is room for ones it gave up on.
pub const MAX_CONNECTIONS: usize = 32;
/// Events the rest of `ride` has not taken yet.
pub const MAX_EVENTS: usize = 64;
/// Lines for the conversation that nothing has shown yet: an inbox holds 200 messages, each
/// shown in at most 6 lines. What comes beyond is not shown, and then nothing goes along.
pub const MAX_SAID: usize = 1_300;
/// Longest socket path: `sun_path` of macOS (104) less its NUL.
pub const MAX_SOCKET_PATH: usize = 103;

/// The secret a ride hands to its Claude Code through the environment.
///
/// The first process that greets with it is bound to it. What Claude Code
/// starts inherits the variable, and is refused: another pid.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Draws 32 random bytes.
    pub fn draw() -> io::Result<Token> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|cause| io::Error::other(cause.to_string()))?;
        Ok(Token(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The token as the environment carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `said` is this token. Takes as long for a near miss as for any other.
    fn admits(&self, said: &str) -> bool {
        let differing = self.0.bytes().zip(said.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b));
        self.0.len() == said.len() && differing == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What happened in Claude Code. Dropping a reply is a no, or "not kept".
#[derive(Debug)]
pub enum LinkEvent {
    /// Mod or hooks are there; the mod may repeat this after it was reloaded. Until
    /// the first one no prompt is let through.
    Hello(Hello),
    /// Claude Code came up and does not run the mod it was given.
    NoMod,
    /// Something wants to begin. Nothing is stored or sent before the reply.
    Ask {
        /// What wants to begin.
        what: Ask,
        /// The Claude session it would belong to.
        claude_session: Uuid,
        /// Let it begin, or say why not.
        reply: oneshot::Sender<Verdict>,
    },
    /// A prompt is about to enter the conversation; it cannot be refused any
    /// more. It is stored, and the turn begins, after `kept`.
    Prompt {
        /// The prompt.
        prompt: Prompt,
        /// Send when it would survive a crash.
        kept: oneshot::Sender<()>,
    },
    /// A turn of the main conversation ended. Its last transcript lines may not
    /// be on disk yet: Claude Code 2.1.330 writes them up to 0.1 s later.
    Turn {
        /// The turn.
        turn: Turn,
        /// Send when its answer would survive a crash.
        kept: oneshot::Sender<()>,
    },
    /// Something is in the transcript that was not asked for.
    Slipped(Slip),
    /// A turn runs, as the transcript tells.
    Runs,
    /// The model has begun to answer these prompts: they are on disk, with what went
    /// along with them.
    Heard(Vec<Uuid>),
    /// Claude Code went on under another session id, in the same process.
    SessionChanged {
        /// The id so far.
        from: Uuid,
        /// The id from now on.
        to: Uuid,
        /// `clear`, `resume`, `fork`, …; unknown where a later event told first.
        source: Option<String>,
    },
    /// What stands in the prompt box, typed and not sent.
    Draft(String),
    /// Claude Code ends of its own accord. Its process may live a moment longer.
    Bye {
        /// `prompt_input_exit`, `logout`, `other`.
        reason: String,
    },
}

/// By which way Claude Code tells what happens in it: one per link, the first to greet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Functions within Claude Code, from 2.1.287 on.
    Mod,
    /// Processes it starts at a prompt, and its transcript.
    Hooks,
}

/// What came into the conversation without a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// A prompt that should have been asked for: the guard did not work.
    Prompt,
    /// What Claude Code asks no hook for: a prompt that joined the running turn (as
    /// 2.1.197 has it), `!command`, a compaction.
    Unasked,
}

/// The first words of mod or hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// How it speaks.
    pub source: Source,
    /// The process that holds the Claude session; not the child where the
    /// child is a wrapper script.
    pub pid: u32,
    /// Claude Code's version; hooks do not tell.
    pub version: Option<String>,
    /// The Claude session that is open.
    pub claude_session: Uuid,
    /// Its working folder.
    pub cwd: PathBuf,
    /// Whether a person sits at the prompt (`false`: `claude -p`).
    pub interactive: bool,
}

/// What wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A prompt was submitted. It may still be edited or withdrawn while it
    /// waits for the running turn; it is one when [`LinkEvent::Prompt`] says so.
    Prompt {
        /// As typed, pasted text expanded, a slash command with its arguments.
        text: String,
        /// Who wrote it.
        origin: Origin,
    },
    /// A turn begins: of a prompt, of prompts that waited, or of `!command`.
    Turn,
    /// The conversation is about to be compacted (`manual`, `auto`, …).
    Compaction {
        /// What caused it.
        trigger: String,
    },
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it begin.
    Allow,
    /// Let a prompt begin, with this told to the model beside it.
    Along(String),
    /// Stop it. The text is shown to the person; a typed prompt returns to the
    /// input box.
    Refuse(String),
}

/// Who caused a prompt, by Claude Code's own typed origin, never by its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The person: Enter at this terminal, or their own Remote Control client.
    Person,
    /// Something else, by Claude Code's word for it: `task-notification`,
    /// `peer`, `plugin`, `scheduled-trigger`, `sdk`, …
    Machine(String),
}

/// A prompt as it enters the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// `uuid` of its line in the transcript.
    pub id: Uuid,
    /// As typed.
    pub text: String,
    /// Who wrote it.
    pub origin: Origin,
    /// The Claude session.
    pub claude_session: Uuid,
}

/// A turn that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Claude Code's id of the turn. Not in the transcript.
    pub turn_id: String,
    /// How it ended.
    pub ending: Ending,
    /// The final visible text, without what was said between tool calls; empty
    /// where there is none. After an interruption: what was there by then.
    pub answer: String,
    /// `uuid` of the transcript line that holds the answer's text.
    pub answer_id: Option<Uuid>,
    /// The person's last prompt in this turn, for turns without an answer.
    pub prompt_id: Option<Uuid>,
    /// The Claude session.
    pub claude_session: Uuid,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The model answered.
    Answered,
    /// The person interrupted it, or `ride` did.
    Aborted,
    /// The model refused.
    Refused,
    /// The model API failed for good.
    Failed,
    /// A reason this version of `ride` does not know.
    Unknown(String),
}

/// The line above the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What to show, one line; empty shows nothing.
    pub line: String,
    /// Whether the person should notice.
    pub warn: bool,
    /// Whether Claude Code is about to be ended: what is typed and not sent is asked for.
    pub ending: bool,
}

/// Why the link could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The folder's path leaves no room for a socket.
    #[error("could not open the local link: {path} is longer than {MAX_SOCKET_PATH} bytes")]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("could not open the local link {path}: {cause}")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
}

/// A listening link. Dropping it closes the socket, and mod and hooks refuse prompts.
pub struct Link {
    socket: PathBuf,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<server::Shared>,
}

/// The socket of a ride in its private folder.
pub(crate) fn socket_in(dir: &Path) -> PathBuf {
    dir.join("s")
}

impl Link {
    /// Listens on `<dir>/s` and serves until dropped. `dir` is private to this
    /// ride and exists (see `launch::PrivateDir`). Prompts and answers are taken from
    /// `tailed` where hooks greet. Needs a running tokio.
    pub fn open(
        dir: &Path,
        token: Token,
        expect: Source,
        status: watch::Receiver<Status>,
        tailed: Option<Tailed>,
    ) -> Result<(Link, mpsc::Receiver<LinkEvent>), LinkError> {
        let socket = socket_in(dir);
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(LinkError::PathTooLong { path: socket });
        }
        let failed = |cause| LinkError::Io { path: socket.clone(), cause };
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let (events, taken) = mpsc::channel(MAX_EVENTS);
        let shared = Arc::new(server::Shared::new(token, expect, status, events));
        let mut tasks = vec![tokio::spawn(server::serve(listener, Arc::clone(&shared)))];
        tasks.extend(tailed.map(|tailed| tokio::spawn(tail::follow(tailed, Arc::clone(&shared)))));
        Ok((Link { socket, tasks, shared }, taken))
    }

    /// Shows a line in the conversation, to the person alone: now where there is a mod,
    /// else when the next hook runs.
    pub fn say(&self, line: String) {
        self.shared.say(line);
    }

    /// What was said and not shown; `None` once there was no room for a line.
    pub fn unshown(&self) -> Option<Vec<String>> {
        self.shared.unshown()
    }

    /// Where mod and hooks find it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // Its folder goes with the ride; a leftover socket answers nobody.
        let _ = std::fs::remove_file(&self.socket);
    }
}
