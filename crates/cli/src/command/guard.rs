//! `ride guard <event>`: what the Claude Code plugin runs where it is installed for good.
//!
//! In a Claude Code that no `ride` started it keeps a prompt out of a Claude session that
//! is ridden elsewhere (two would write one transcript). Where a thread is bound to the
//! session and nobody rides it, the person is told so at the start, and the gateway that it
//! is open: it holds the thread's messages. It also takes the adopt command (see [`wish`]).
//! Not in `--help`: only the plugin runs it.
//!
//! Invariants: whatever cannot be told lets the prompt through, silently: an ordinary
//! Claude Code must not break over this. The network is asked only where a session is resumed,
//! or where a gateway of this machine names it; that is one small file and the index beside it.
//! A ride's own Claude Code is left to the ride, the gateway's own is never blocked.

mod wish;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ride_core::id::Process;
use ride_core::limits;
use ride_core::text::plain_lines;
use ride_core::wire::{Bound, Check, Checked, Open, Opening, method};
use ride_store::claude::process::look;
use ride_store::{clock, may_be_ridden};
use serde::Deserialize;
use uuid::Uuid;

use super::Context;
use crate::args::GatewayArgs;
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::gateway::locate::{Options, state_dir};
use crate::launch::PLUGIN_NAME;
use crate::link::hooks::{Answer, Fired};
use crate::link::{MAX_BODY_BYTES, SOCKET_VAR, TOKEN_VAR};
use crate::render::{self, clean};

pub use wish::Wish;

const PROMPT: &str = "UserPromptSubmit";
const START: &str = "SessionStart";
const END: &str = "SessionEnd";
/// The plugin's waiting half, started by it alone.
const AFTER: &str = "after";
/// How long the gateway may take over a prompt; then it goes through.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take at the end: all hooks of an exit share 1.5 s.
const END_WITHIN: Duration = Duration::from_secs(1);
/// How long a wish may be looked at: Claude Code ends its hook after 15 s.
const WISH_WITHIN: Duration = Duration::from_secs(12);
/// The gateway's note of where its thread states are, in its state folder.
const PLACE: &str = "claude-code-sync.json";
/// Larger notes are none.
const MAX_PLACE_BYTES: u64 = 16 * 1024;

/// Runs it; `args` are the words behind `guard`.
pub fn main(env: Env, args: &[String]) -> ExitCode {
    // Nothing that breaks here may keep a prompt out or frighten a person.
    std::panic::set_hook(Box::new(|_| std::process::exit(0)));
    if let [AFTER, session, id] = args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        wish::after(&env, session, id);
        return ExitCode::SUCCESS;
    }
    if io::stdin().is_terminal() {
        eprintln!(
            "error: `ride guard` is Claude Code's to run\nhint: to ride a thread of that name, give another word of its title, its channel or its key"
        );
        return ExitCode::from(Kind::Usage.code());
    }
    let mut said = Vec::new();
    let read = io::stdin().take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut said);
    let fired: Option<Fired> =
        read.ok().filter(|n| *n <= MAX_BODY_BYTES).and_then(|_| serde_json::from_slice(&said).ok());
    let event = args.first().map_or("", String::as_str);
    let answer = fired.and_then(|fired| answer(&env, event, &fired));
    if let Some(text) = answer.and_then(|answer| serde_json::to_string(&answer).ok()) {
        // Claude Code went away: nobody is there to be kept out.
        let _ = writeln!(io::stdout(), "{text}");
    }
    ExitCode::SUCCESS
}

/// What Claude Code is told; nothing lets it go on.
fn answer(env: &Env, event: &str, fired: &Fired) -> Option<Answer> {
    let by_ride = env.get(SOCKET_VAR).is_some() && env.get(TOKEN_VAR).is_some();
    if let Some(words) = adopts(&fired.prompt).filter(|_| event == PROMPT) {
        // Whoever writes in a channel must not reach for the threads of this machine's person.
        let at_terminal = env.get("CLAUDE_CODE_ENTRYPOINT") == Some("cli");
        let told = match (by_ride, at_terminal) {
            (true, _) => {
                Err(Error::new(Kind::Usage, "this Claude Code is a ride's: its conversation is a thread's already"))
            }
            (false, false) => {
                Err(Error::new(Kind::Usage, "a conversation is adopted from a Claude Code in a terminal only"))
            }
            (false, true) => bounded(WISH_WITHIN, wish::note(env, fired.session_id, words)).unwrap_or_else(|| {
                Err(Error::new(
                    Kind::Unreachable,
                    format!("the gateway did not answer within {} s", WISH_WITHIN.as_secs()),
                ))
            }),
        };
        let reason = told.unwrap_or_else(|e| format!("not adopted: {}", in_words(&e)));
        return Some(Answer { decision: Some("block"), reason: Some(reason), ..Answer::default() });
    }
    if by_ride {
        return None;
    }
    let lock_dir = lock_dir(env)?;
    // Only one that is resumed may be a thread's. Later it is in the index of what is held.
    let resumed = event == START && fired.source.as_deref() == Some("resume");
    if !resumed && !may_be_ridden(&lock_dir, fired.session_id) {
        return None;
    }
    let within = if event == END { END_WITHIN } else { ASK_WITHIN };
    said(event, fired, bounded(within, ask(env, event, fired))?.ok()?)
}

/// What is said about what the gateway knows.
fn said(event: &str, fired: &Fired, told: Told) -> Option<Answer> {
    let shown = |text: String| Some(Answer { system_message: Some(text), ..Answer::default() });
    match told {
        Told::Checked(checked) => {
            let said = ridden(&checked, fired.session_id, clock::now().wall_ms)?;
            match event {
                PROMPT => Some(Answer::block(format!("not sent: {said}"), fired.prompt.len())),
                START => shown(format!("{said}\nwhat you type here will not be sent")),
                _ => None,
            }
        }
        Told::Bound(bound) => match event {
            PROMPT => Some(Answer::block(stale(&bound, fired.session_id)?, fired.prompt.len())),
            START => shown(stale(&bound, fired.session_id).or_else(|| opened(&bound))?),
            _ => None,
        },
    }
}

/// That the conversation is a thread's, and how to ride that.
fn opened(bound: &Bound) -> Option<String> {
    let (title, key) = (bound.title.as_ref().map(clean)?, clean(bound.key.as_ref()?));
    bound.held.then(|| {
        format!(
            "this conversation is that of {title}: the agent of the channel answers in it, too. \
             While it is open here, messages of the thread wait, and the thread does not see what you write.\n\
             to ride the thread, so that it does: leave with /exit, then: ride {key}"
        )
    })
}

/// That the agent answered while the conversation was opened here.
fn stale(bound: &Bound, session: Uuid) -> Option<String> {
    let title = bound.title.as_ref().map_or_else(|| "a thread".to_owned(), clean);
    bound.stale.then(|| {
        format!(
            "not sent: this conversation is that of {title}, and its agent was answering while it was opened here. \
             Claude Code does not see that answer, and would go on beside it.\n\
             leave with /exit; once the agent has answered, open it again: claude --resume {session}"
        )
    })
}

/// The words behind the adopt command, if it is that command.
fn adopts(prompt: &str) -> Option<&str> {
    let rest = prompt.strip_prefix('/')?.strip_prefix(PLUGIN_NAME)?.strip_prefix(":adopt")?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// Who rides it, from where and since when, and what to do; nothing where nobody does,
/// or the gateway's own Claude Code asks.
fn ridden(checked: &Checked, session: Uuid, now_ms: u64) -> Option<String> {
    let holder = checked.holder.as_ref().filter(|_| checked.ridden && !checked.own)?;
    let title = checked.title.as_ref().map_or_else(|| "a thread".to_owned(), clean);
    let since = render::duration(now_ms.saturating_sub(holder.since_ms));
    let key = checked.key.as_deref().map(clean);
    let take = key.map_or_else(String::new, |key| format!("; to ride it yourself: ride {key} --steal"));
    Some(format!(
        "this conversation is that of {title}, {} for {since}. Two writers would tear it apart.\n\
         leave with /exit{take}; to go on in a copy: claude --resume {session} --fork-session",
        render::held(holder)
    ))
}

fn in_words(e: &Error) -> String {
    let hint = e.hint.as_deref().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
    plain_lines(&format!("{}{hint}", e.message))
}

/// Where the gateway of this machine keeps its thread states in files; `None` where no
/// gateway with the plugin ran as this person, or it keeps them in its memory.
fn lock_dir(env: &Env) -> Option<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Place {
        lock_dir: PathBuf,
    }
    let file = state_dir(env, &Options::default()).ok()?.join(PLACE);
    let small = std::fs::metadata(&file).is_ok_and(|found| found.is_file() && found.len() <= MAX_PLACE_BYTES);
    let place = small.then(|| std::fs::read(&file).ok()).flatten()?;
    serde_json::from_slice::<Place>(&place).ok().map(|place| place.lock_dir)
}

/// What the gateway knows of a Claude session.
#[derive(Debug)]
enum Told {
    /// Somebody rides it, or it is the gateway's own Claude Code that asks.
    Checked(Box<Checked>),
    /// Which thread's conversation it is, now that the gateway knows that it is open here.
    Bound(Box<Bound>),
}

/// Asks the gateway, and tells it what this Claude Code does with the session.
async fn ask(env: &Env, event: &str, fired: &Fired) -> Result<Told, Error> {
    let gateway = GatewayArgs::default();
    let context = Context { env, gateway: &gateway };
    // Its notes are for whoever asked for something.
    let target = context.locate()?.target;
    if !target.is_loopback() {
        return Err(Error::new(Kind::Unreachable, "the gateway is not of this machine"));
    }
    let connected = context.connect(&target, Access::Write).await;
    let (connection, _events) = match connected {
        // Who may only look still learns who rides.
        Err(e) if e.kind == Kind::Denied => context.connect(&target, Access::Read).await?,
        connected => connected?,
    };
    let claude = claude();
    let state = match (event, fired.reason.as_deref()) {
        (END, Some("clear" | "resume")) => Opening::Left,
        (END, _) => Opening::Ends,
        _ => Opening::Open,
    };
    let check = Check { cli_session_id: Some(fired.session_id), process: claude.clone(), ..Check::default() };
    let checked: Option<Checked> =
        if event == END { None } else { Some(connection.call(method::CHECK, &check).await?) };
    let process = match (checked, claude) {
        (Some(checked), _) if checked.ridden || checked.own => return Ok(Told::Checked(Box::new(checked))),
        (_, Some(claude)) => claude,
        (_, None) => return Err(Error::new(Kind::Other, "could not tell which Claude Code this is")),
    };
    let host = env.host.chars().filter(|c| !c.is_control()).take(limits::NAME_CHARS).collect();
    let open = Open { cli_session_id: fired.session_id, process, host, state };
    Ok(Told::Bound(Box::new(connection.call(method::OPEN, &open).await?)))
}

/// The Claude Code that runs this hook: our parent, since the shell it is run by gives way to us.
fn claude() -> Option<Process> {
    let parent = rustix::process::getppid()?.as_raw_nonzero().get().unsigned_abs();
    look(parent).ok().flatten().map(|seen| seen.process())
}

/// Does something within a time; `None` where it takes longer, or cannot be begun.
fn bounded<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let done = runtime.block_on(async { tokio::time::timeout(limit, work).await }).ok();
    // A name lookup may still be stuck in a thread; nobody waits for it.
    runtime.shutdown_background();
    done
}

/// Where the wishes of this machine are, below `ride`'s own files.
fn wishes(state_dir: &Path) -> PathBuf {
    state_dir.join("wishes")
}

#[cfg(test)]
mod tests;
