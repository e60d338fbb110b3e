//! The commands: from the command line to an exit code. One file each; what they
//! share is here.

mod adopt;
mod again;
mod chat;
pub mod completions;
mod config;
mod deploy;
mod doctor;
pub mod guard;
mod keep;
mod log;
mod ls;
mod man;
mod release;
mod remote_gateway;
mod repair;
mod ride;
mod status;
mod sync;

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Parser as _;
use ride_core::limits::NAME_CHARS;
use ride_core::text::escaped;
use ride_core::wire::{List, Rideable, Row, method};
use serde::Serialize;

use crate::args::{Cli, Command, GatewayArgs};
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, CallError, ConnectError, Connection, Events, connect};
use crate::gateway::locate::{Located, Options, Target, locate};
use crate::gateway::owner::{self, Owner};
use crate::matching::{self, NoMatch};
use crate::render::clean;

/// Runs the command line of this process.
pub fn main(env: Env) -> ExitCode {
    if completions::answered() {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() && asks_json(std::env::args_os()) => return failed(&usage(&e), true),
        Err(e) => e.exit(),
    };
    let done = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(async {
                let done = run(&cli, &env).await;
                // The connection was dropped: let its task say goodbye, so that the
                // gateway's log does not call it an abnormal end.
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                done
            });
            // A name lookup may still be stuck in a thread; nobody waits for it.
            runtime.shutdown_background();
            done
        }
        Err(e) => Err(Error::new(Kind::Other, format!("could not start: {e}"))),
    };
    let written = |()| match UNWRITTEN.get() {
        None => Ok(()),
        Some(why) => Err(Error::new(Kind::Other, format!("could not write to standard output: {why}"))),
    };
    match done.and_then(written) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e, cli.command.as_ref().is_some_and(Command::json)),
    }
}

/// Says what went wrong, to standard error. A person who left is not told so.
fn failed(e: &Error, as_json: bool) -> ExitCode {
    if as_json {
        say(escaped(&e.json().to_string()));
    } else if !e.message.is_empty() {
        say(e);
    }
    ExitCode::from(e.kind.code())
}

/// Whether a command line that could not be read asks for JSON.
fn asks_json(args: impl IntoIterator<Item = OsString>) -> bool {
    args.into_iter().take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// What clap says, as an error of ours.
fn usage(e: &clap::Error) -> Error {
    let text = e.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    let hint = match line.contains("--say") {
        // All that `--json` alone can mean.
        true => "a command's --json comes after it: `ride ls --json`",
        false => "`ride --help` tells what there is",
    };
    Error::new(Kind::Usage, line.strip_prefix("error: ").unwrap_or(&line)).hint(hint)
}

async fn run(cli: &Cli, env: &Env) -> Result<(), Error> {
    let context = Context { env, gateway: &cli.gateway };
    match &cli.command {
        Some(Command::Ls { words, rideable, json }) => ls::run(&context, words, *rideable, *json).await,
        Some(Command::Status { words, json }) => status::run(&context, words, *json).await,
        Some(Command::Adopt { undo: true, to, wait, json, .. }) => adopt::undo(&context, to, *wait, *json).await,
        Some(Command::Adopt { session: None, json, .. }) if *json || !env.can_draw() => adopt::list(&context, *json),
        Some(Command::Adopt { session, to, wait, json, .. }) => {
            adopt::run(&context, session.as_deref(), to, *wait, *json).await
        }
        Some(Command::Log { words, audit, json }) => log::run(&context, words, *audit, *json).await,
        Some(Command::Release { words, accept_broken_chain, take_back: true, json }) => {
            release::take_back(&context, words, *accept_broken_chain, *json).await
        }
        Some(Command::Release { words, accept_broken_chain, take_back: false, json }) => {
            release::run(&context, words, *accept_broken_chain, *json).await
        }
        Some(Command::Repair { words, keep, project, json }) => {
            repair::run(&context, words, keep, project.as_deref(), *json).await
        }
        Some(Command::Doctor { words, claude, json }) => doctor::run(&context, words, claude, *json).await,
        Some(Command::Sync { what }) => sync::run(&context, what).await,
        Some(Command::Config { json }) => config::run(&context, *json).await,
        Some(Command::Deploy(args)) if args.undo => deploy::undo(&context, args.force),
        Some(Command::Deploy(args)) => deploy::run(&context, args).await,
        Some(Command::Completions { shell }) => completions::run(*shell),
        Some(Command::Man { command }) => man::run(command),
        None => ride::run(&context, &cli.ride).await,
    }
}

/// What every command is given.
struct Context<'a> {
    env: &'a Env,
    gateway: &'a GatewayArgs,
}

impl Context<'_> {
    /// Where `ride` keeps its own files.
    fn state_dir(&self) -> Result<PathBuf, Error> {
        self.state_dir_from().map(|(dir, _)| dir)
    }

    /// The same, with what says so.
    fn state_dir_from(&self) -> Result<(PathBuf, &'static str), Error> {
        let env = self.env;
        let named = self.gateway.state_dir.as_deref().map(|dir| (dir, "--state-dir"));
        let named = named.or_else(|| env.get("RIDE_STATE_DIR").map(|dir| (Path::new(dir), "RIDE_STATE_DIR")));
        if let Some((dir, from)) = named {
            return Ok((env.cwd.join(dir), from));
        }
        let base = env.get("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        base.map(|base| (base, "XDG_STATE_HOME"))
            .or_else(|| env.home().map(|home| (home.join(".local/state"), "default")))
            .map(|(base, from)| (base.join("ride"), from))
            .ok_or_else(|| {
                Error::new(Kind::Config, "could not tell where to keep files: no home folder")
                    .hint("set HOME, or use --state-dir")
            })
    }

    fn locate(&self) -> Result<Located, Error> {
        let options = Options {
            url: self.gateway.url.clone(),
            token_file: self.gateway.token_file.clone(),
            profile: self.gateway.profile.clone(),
            pin: self.gateway.pin.clone(),
        };
        Ok(locate(self.env, &options)?)
    }

    fn target(&self) -> Result<Target, Error> {
        self.located().map(|located| located.target)
    }

    /// The gateway, its warnings said.
    fn located(&self) -> Result<Located, Error> {
        let located = self.locate()?;
        located.notes.iter().for_each(|note| say(format_args!("warning: {note}")));
        Ok(located)
    }

    fn access(&self, wanted: Access) -> Access {
        if self.gateway.admin { Access::Admin } else { wanted }
    }

    /// Connects; where another user's program has the port, a person at a terminal is asked.
    async fn connect(&self, target: &Target, wanted: Access) -> Result<(Connection, Events), Error> {
        let state_dir = self.state_dir()?;
        match connect(target, self.access(wanted), &state_dir).await {
            Err(ConnectError::Stranger { owner, .. })
                if self.env.terminal.interactive && allowed(target, owner).await? =>
            {
                let kept = owner::allow(owner, target.origin(), &state_dir);
                kept.map_err(|e| {
                    Error::new(Kind::Other, format!("could not remember that below {}: {e}", state_dir.display()))
                })?;
                self.reconnect(target, wanted).await
            }
            other => Ok(other?),
        }
    }

    /// Connects, and asks nobody.
    async fn reconnect(&self, target: &Target, wanted: Access) -> Result<(Connection, Events), Error> {
        Ok(connect(target, self.access(wanted), &self.state_dir()?).await?)
    }

    /// The thread that the words name; `-` is the one ridden last.
    fn find<'r>(&self, target: &Target, rows: &'r [Row], words: &[String]) -> Result<&'r Row, Missed> {
        match words {
            [dash] if dash == "-" => self.last(target, rows).map_err(Missed::Other),
            words => matching::find(rows, words)
                .map_err(|e| if e.is_ambiguous() { Missed::Several(e) } else { Missed::Other(e.into()) }),
        }
    }

    /// The thread ridden last: that one or none, whatever else has a key like it.
    fn last<'r>(&self, target: &Target, rows: &'r [Row]) -> Result<&'r Row, Error> {
        let none = |message: String| Error::new(Kind::Match, message).hint("`ride ls` lists those there are");
        let last =
            Last::load(&self.state_dir()?).ok_or_else(|| none("no thread was ridden from here yet".to_owned()))?;
        if last.gateway != target.origin() {
            return Err(none(format!("the thread ridden last is on another gateway, {}", clean(&last.gateway))));
        }
        rows.iter()
            .find(|row| row.key == last.key)
            .ok_or_else(|| none(format!("the thread ridden last is gone: {}", clean(&last.key))))
    }
}

/// Whether a person trusts another user's program with what is secret.
async fn allowed(target: &Target, owner: Owner) -> Result<bool, Error> {
    let question = format!(
        "the program at {} is of {owner}, and not yours. Is it the gateway, and may it have the token? [y/N] ",
        clean(&target.url)
    );
    let _ = std::io::stderr().write_all(question.as_bytes());
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = read.await.map_err(std::io::Error::other).and_then(|read| read);
    let answer = answer.map_err(|e| Error::new(Kind::Other, format!("could not read the answer: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Words that name no one thread.
enum Missed {
    /// Several fit: one can be chosen where there is a terminal.
    Several(NoMatch),
    /// Anything else.
    Other(Error),
}

impl From<Missed> for Error {
    fn from(missed: Missed) -> Error {
        match missed {
            Missed::Several(e) => e.into(),
            Missed::Other(e) => e,
        }
    }
}

/// Which thread was ridden last, kept beside the records of rides.
#[derive(Debug, PartialEq, Eq)]
struct Last {
    gateway: String,
    key: String,
}

impl Last {
    fn load(state_dir: &Path) -> Option<Last> {
        let text = std::fs::read_to_string(state_dir.join("last")).ok()?;
        let (gateway, key) = text.trim_end().split_once('\n')?;
        Some(Last { gateway: gateway.to_owned(), key: key.to_owned() })
    }

    /// Only a convenience: a ride does not fail over it.
    fn save(&self, state_dir: &Path) {
        let _ = std::fs::write(state_dir.join("last"), format!("{}\n{}\n", self.gateway, self.key));
    }
}

/// What a listing may take: the gateway gives the process that reads its sessions 60 s, and
/// a gateway that has just been started on a busy machine needs more than a plain answer.
const LISTED: Duration = Duration::from_secs(75);

/// All rows, page by page.
pub(crate) async fn rows(connection: &Connection) -> Result<Vec<Row>, CallError> {
    let mut all = Vec::new();
    let mut list = List::default();
    loop {
        let Rideable { rows, next, .. } = connection.call_within(method::RIDEABLE, &list, LISTED).await?;
        all.extend(rows);
        match next {
            Some(next) => list.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// A name as the gateway takes it.
fn name(text: &str) -> String {
    clean(text).chars().take(NAME_CHARS).collect()
}

/// Why data did not get out.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Our own colours, which may be printed.
const COLOURS: [&str; 3] = ["\x1b[1m", "\x1b[2m", "\x1b[0m"];

/// Lines of which nothing reaches the terminal that cannot be seen, but for our own colours:
/// the last guard, whoever wrote the text.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        out.push_str(&plain_lines_ended(&rest[..at]));
        rest = match COLOURS.iter().find(|colour| rest[at..].starts_with(**colour)) {
            Some(colour) => {
                out.push_str(colour);
                &rest[at + colour.len()..]
            }
            None => &rest[at + 1..],
        };
    }
    out + &plain_lines_ended(rest)
}

/// Cleaned line by line, the last line's end kept.
fn plain_lines_ended(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// Data, to standard output. A reader that went away is no error; anything else is told at
/// the end, when all there is to do was done.
fn print(text: &str) {
    print_exact(&printable(text));
}

/// The same for what is ours alone, and read by a program.
fn print_exact(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => drop(UNWRITTEN.set(e.to_string())),
        _ => {}
    }
}

/// A word for the person, to standard error; its last line is ended, nothing is made of
/// nothing. Not `eprintln!`: that panics where the terminal was closed, and what comes
/// after still has to be done.
fn say(text: impl std::fmt::Display) {
    let text = plain_lines_ended(&text.to_string());
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = std::io::stderr().write_all((text + end).as_bytes());
}

fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(Kind::Other, format!("could not write JSON: {e}")))?;
    text.push('\n');
    print(&escaped(&text));
    Ok(())
}
