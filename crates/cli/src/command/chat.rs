//! Riding a thread without a Claude session: a chat at the terminal, or with `--say` one
//! prompt whose answer is printed.

use std::io::Read as _;

use ride_core::wire::Grant;
use serde_json::json;

use super::{Context, print, print_json, ride::tell};
use crate::args::RideArgs;
use crate::chat::screen::{Screen, cleaned};
use crate::chat::{self, Face, Plan};
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, Connection, Events};
use crate::gateway::locate::Target;
use crate::interrupt::Interrupts;
use crate::render::clean;
use crate::ride;
use crate::ride::record::Record;

/// Messages of the thread that are shown at the start.
const TOLD: usize = 6;

/// The prompt given on the command line, where there is one and it can be said.
pub async fn words(
    args: &RideArgs,
    by_chat: bool,
    title: &str,
    interrupts: &mut Interrupts,
) -> Result<Option<String>, Error> {
    if !by_chat {
        unsayable(args, title)?;
    }
    let text = match args.say.as_deref() {
        None => return Ok(None),
        Some("-") => {
            // In a thread of its own: a person may still be typing when they leave.
            let read = tokio::task::spawn_blocking(typed);
            let failed =
                |e: String| Error::new(Kind::Usage, format!("could not read the prompt from standard input: {e}"));
            let read = async {
                read.await.map_err(|e| e.to_string()).and_then(|read| read.map_err(|e| e.to_string())).map_err(failed)
            };
            interrupts.or("reading the prompt", read).await?
        }
        Some(text) => text.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(Error::new(Kind::Usage, "the prompt is empty"));
    }
    Ok(Some(text))
}

/// What stands on standard input, up to one byte more than a prompt may have.
fn typed() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(ride_core::limits::RELAY_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// A thread with a Claude session is driven by Claude Code.
pub fn unsayable(args: &RideArgs, title: &str) -> Result<(), Error> {
    if args.say.is_none() {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("{title} has a Claude session: it is driven with Claude Code, not by --say"))
        .hint("leave --say out"))
}

/// Rides a granted thread. An error beside a connection means that it is still to be
/// released.
pub async fn ride(
    context: &Context<'_>,
    args: &RideArgs,
    words: Option<String>,
    target: Target,
    connection: (Connection, Events),
    grant: Grant,
    record: &Record,
) -> Result<Result<(), Error>, (Error, Connection)> {
    let title = clean(&grant.title);
    let keep_for_release = connection.0.clone();
    let state_dir = match context.state_dir() {
        Ok(dir) => dir,
        Err(e) => return Err((e, keep_for_release)),
    };
    let face = match words {
        Some(words) => Face::Words(words),
        None => {
            // What was said before is for orientation: without it one can ride as well.
            let lines =
                chat::history(&connection.0, &grant.key).await.map(|history| history.lines()).unwrap_or_default();
            match Screen::open(grant.title.raw(), &lines[lines.len().saturating_sub(TOLD)..]) {
                Ok(screen) => Face::Person(Box::new(screen)),
                Err(e) => {
                    return Err((
                        Error::new(Kind::Other, format!("could not use the terminal: {e}")),
                        keep_for_release,
                    ));
                }
            }
        }
    };
    let plan = Plan {
        target,
        access: context.access(Access::Write),
        connection,
        state_dir: state_dir.clone(),
        grant,
        secret: record.secret.clone(),
    };
    let report = match chat::drive(plan, face).await {
        Ok(report) => report,
        Err(e) => return Err((e, keep_for_release)),
    };
    drop(keep_for_release);
    if args.json {
        let (waiting, total) = &report.waiting;
        let told = json!({ "answer": report.answers.last(), "failed": report.failed, "waiting": waiting, "waitingTotal": total });
        if let Err(e) = print_json(&told) {
            return Ok(Err(e));
        }
    } else if args.say.is_some() {
        for answer in &report.answers {
            let answer = if context.env.terminal.interactive { cleaned(answer) } else { answer.clone() };
            print(&format!("{answer}\n"));
        }
    }
    let failed = report.failed.map(|why| Error::new(Kind::Other, format!("no answer: {why}")));
    let ended = ride::Report {
        outcome: report.outcome,
        claude: None,
        notes: Vec::new(),
        waiting: report.waiting,
        unsent: 0,
        unpushed: 0,
        draft: None,
    };
    let told = tell(context, &title, ended, record, &state_dir);
    Ok(told.and_then(|()| failed.map_or(Ok(()), Err)))
}
