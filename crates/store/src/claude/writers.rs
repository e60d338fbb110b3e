//! Every live process that may append to a transcript: the proof, before a
//! grant, that nobody does.

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
/// arguments only.
///
/// # Errors
/// When the registry or the process table cannot be read.
pub fn live_writers(
    dir: &ClaudeDir,
    session: Uuid,
    transcript: Option<&Path>,
    except: &[Process],
) -> Result<Writers, ClaudeError> {
    let all = process::all()?;
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
    for seen in all.iter().filter(|seen| seen.pid != own) {
        // A registered process is on the session the registry says, whatever it began with.
        if registry.of(seen).is_none() && names(&process::command(seen.pid), session) {
            add(&mut writers, seen, By::Arguments, except);
        }
        #[cfg(target_os = "linux")]
        if transcript
            .as_deref()
            .is_some_and(|path| process::open_for_writing(seen.pid, path))
        {
            add(&mut writers, seen, By::OpenFile, except);
        }
    }
    Ok(writers)
}

fn add(writers: &mut Writers, seen: &Seen, by: By, except: &[Process]) {
    let process = seen.process();
    if !except.contains(&process) && !writers.here.iter().any(|w| w.process == process) {
        writers.here.push(Writer {
            command: process::command(seen.pid),
            process,
            by,
        });
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
    let pair = command
        .windows(2)
        .any(|pair| flag(&pair[0]) && pair[1].eq_ignore_ascii_case(&id));
    let joined = command.iter().any(|arg| {
        arg.split_once('=')
            .is_some_and(|(name, value)| flag(name) && value.eq_ignore_ascii_case(&id))
    });
    pair || joined
}
