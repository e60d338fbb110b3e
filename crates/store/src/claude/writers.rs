//! Every live process that may append to a transcript: the proof, before a
//! grant, that nobody does.
//!
//! Absence from Claude Code's registry is not absence: a 2.1.197 in a container deletes the
//! entries of Claude Codes outside, which live on. So a running Claude Code that the registry
//! does not know, and that works in the session's project folder, is unclear.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ride_core::id::Process;
use uuid::Uuid;

use super::process::{self, Seen};
use super::registry::{Elsewhere, Liveness, Registry};
use super::{ClaudeDir, ClaudeError, Status};

/// Who may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// Processes of this machine.
    pub here: Vec<Writer>,
    /// Registry entries for the session that belong, or may belong, to another machine or pid
    /// namespace, by process id: whether they run cannot be seen from here.
    pub elsewhere: Vec<(u32, Elsewhere)>,
    /// Running Claude Codes of which nobody can tell whether they have the session.
    pub unclear: Vec<Unclear>,
}

/// A running Claude Code that may have the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    /// It.
    pub process: Process,
    /// What it was started as; empty where that may not be seen.
    pub command: Vec<String>,
    /// Why nobody can tell.
    pub why: Doubt,
}

/// Why nobody can tell whether a process has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The live registry does not know it, and it works in the session's project folder.
    Unregistered,
    /// This user may not see where it works.
    Hidden,
}

/// In words, with its process id and program.
impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Doubt::Unregistered => {
                "Claude Code's registry does not know it, and it works in the session's project folder"
            }
            Doubt::Hidden => "this user may not see where it works",
        };
        write!(f, "process {} ({}) may have the Claude session open: {why}", self.process.pid, program(&self.command))
    }
}

/// The name of the program that a command line starts.
pub fn program(command: &[String]) -> &str {
    command.first().map_or("unknown", |first| base(first))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// One process that may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// It.
    pub process: Process,
    /// How it is known.
    pub by: By,
    /// What it was started as.
    pub command: Vec<String>,
}

/// How a writer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The live registry has it on the session.
    Registry(Status),
    /// Its arguments name the session and the registry does not know it.
    Arguments,
    /// It has the transcript open for writing.
    OpenFile,
}

/// Lists every live process that may append to a Claude session's transcript,
/// without those in `except`. Processes of other users are seen by their
/// arguments only. What is unclear is looked for where there is a transcript.
///
/// # Errors
/// When the registry or the process table cannot be read.
pub fn live_writers(
    dir: &ClaudeDir,
    session: Uuid,
    transcript: Option<&Path>,
    except: &[Process],
) -> Result<Writers, ClaudeError> {
    let table = process::table()?;
    // The registry after the table: whoever registers in between is in both.
    let registry = Registry::read(dir)?;
    let mut writers = Writers::default();
    for entry in registry.entries.iter().filter(|entry| entry.session == session) {
        match &entry.liveness {
            Liveness::Live(seen) => add(&mut writers, seen, By::Registry(entry.status.clone()), except),
            Liveness::Elsewhere(place) => writers.elsewhere.push((entry.pid, place.clone())),
            Liveness::Dead => {}
        }
    }
    let own = std::process::id();
    let transcript = transcript.and_then(|path| path.canonicalize().ok());
    for seen in table.seen.iter().filter(|seen| seen.pid != own) {
        // A registered process is on the session the registry says, whatever it began with.
        if registry.of(seen).is_none() {
            let command = process::command(seen.pid);
            if names(&command, session) {
                add(&mut writers, seen, By::Arguments, except);
            } else if let Some(why) = transcript.as_deref().and_then(|path| doubt(seen.pid, &command, path)) {
                writers.unclear.push(Unclear { process: seen.process(), command, why });
            }
        }
        #[cfg(target_os = "linux")]
        if transcript.as_deref().is_some_and(|path| process::open_for_writing(seen.pid, path)) {
            add(&mut writers, seen, By::OpenFile, except);
        }
    }
    // Nothing is seen of these but whom they belong to.
    let owner = transcript.as_deref().and_then(|path| path.metadata().ok()).map(|found| found.uid());
    for pid in table.hidden.into_iter().filter(|pid| owner.is_some() && process::owner(*pid) == owner) {
        writers.unclear.push(Unclear { process: process::identity(pid), command: Vec::new(), why: Doubt::Hidden });
    }
    writers
        .unclear
        .retain(|one| !except.contains(&one.process) && !writers.here.iter().any(|w| w.process == one.process));
    Ok(writers)
}

/// Why a process that the registry does not know may have the session of a transcript.
fn doubt(pid: u32, command: &[String], transcript: &Path) -> Option<Doubt> {
    if !is_claude_code(pid, command) || has_a_session_of_its_own(command) {
        return None;
    }
    match process::folder(pid) {
        Ok(folder) => {
            let slug = super::project_slug(&folder?.to_string_lossy());
            let here = transcript.parent()?.file_name()? == slug.as_str();
            here.then_some(Doubt::Unregistered)
        }
        Err(_) => may_write(pid, transcript).then_some(Doubt::Hidden),
    }
}

/// What Claude Code's own program is run as for other things: it holds these tools.
const TOOLS_INSIDE: [&str; 5] = ["rg", "ugrep", "bfs", "grep", "find"];

/// Whether a process is Claude Code, by its arguments or its executable.
fn is_claude_code(pid: u32, command: &[String]) -> bool {
    let is = |path: &str| {
        base(path) == "claude" || path.contains("/claude/versions/") || path.contains("@anthropic-ai/claude-code")
    };
    let Some(first) = command.first() else { return false };
    // The package of before 2.1 is a script.
    let script = ["node", "bun", "deno"].contains(&base(first));
    is(first)
        || script && command.get(1).is_some_and(|second| is(second))
        || !TOOLS_INSIDE.contains(&base(first))
            && process::executable(pid).is_some_and(|path| is(&path.to_string_lossy()))
}

/// Whether a process is Claude Code, as far as this user may see.
pub fn runs_claude_code(pid: u32) -> bool {
    is_claude_code(pid, &process::command(pid))
}

/// What Claude Code does besides a conversation, as its first argument.
const NO_CONVERSATION: [&str; 14] = [
    "--version",
    "-v",
    "--help",
    "-h",
    "mcp",
    "plugin",
    "plugins",
    "update",
    "doctor",
    "auth",
    "install",
    "setup-token",
    "daemon",
    "--bg-spare",
];

/// Whether a Claude Code is surely on no session, or on one that its arguments settle: one
/// without a terminal (`-p`) stays on the session it was started with, or begins a new one.
fn has_a_session_of_its_own(command: &[String]) -> bool {
    if command.get(1).is_some_and(|first| NO_CONVERSATION.contains(&first.as_str())) {
        return true;
    }
    let has = |names: &[&str]| command.iter().any(|arg| names.contains(&arg.as_str()));
    let resumes = |at: usize| match command[at].split_once('=') {
        Some(("--resume" | "-r", value)) => value.parse::<Uuid>().is_err(),
        _ if command[at] == "--resume" || command[at] == "-r" => {
            command.get(at + 1).is_none_or(|value| value.parse::<Uuid>().is_err())
        }
        _ => false,
    };
    has(&["-p", "--print"]) && !has(&["-c", "--continue"]) && !(1..command.len()).any(resumes)
}

/// Whether a process has the rights to write to a file.
fn may_write(pid: u32, file: &Path) -> bool {
    let Ok(found) = file.metadata() else { return true };
    // Group and others.
    let open = found.mode() & 0o022 != 0;
    process::owner(pid).is_some_and(|owner| open || owner == 0 || owner == found.uid())
}

fn add(writers: &mut Writers, seen: &Seen, by: By, except: &[Process]) {
    let process = seen.process();
    if !except.contains(&process) && !writers.here.iter().any(|w| w.process == process) {
        writers.here.push(Writer { command: process::command(seen.pid), process, by });
    }
}

/// Whether arguments make Claude Code continue or begin that session. A fork
/// reads it and writes another.
pub(super) fn names(command: &[String], session: Uuid) -> bool {
    let id = session.as_hyphenated().to_string();
    if command.iter().any(|arg| arg == "--fork-session") {
        return false;
    }
    let flag = |arg: &str| matches!(arg, "--resume" | "-r" | "--session-id");
    let pair = command.windows(2).any(|pair| flag(&pair[0]) && pair[1].eq_ignore_ascii_case(&id));
    let joined = command
        .iter()
        .any(|arg| arg.split_once('=').is_some_and(|(name, value)| flag(name) && value.eq_ignore_ascii_case(&id)));
    pair || joined
}
