//! The commands: from the command line to an exit code. One file each; what they
//! share is here.

mod config;
mod ls;
mod release;
mod ride;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use ride_core::wire::{List, Rideable, Row, method};
use serde::Serialize;

use crate::args::{Cli, Command, GatewayArgs};
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, Connection, Events, connect};
use crate::gateway::locate::{Options, Target, locate};
use crate::matching;

/// Runs the command line of this process.
pub fn main(env: Env) -> ExitCode {
    let cli = Cli::parse();
    let failed = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
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
    match failed {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(e.kind.code())
        }
    }
}

async fn run(cli: &Cli, env: &Env) -> Result<(), Error> {
    let context = Context { env, gateway: &cli.gateway };
    match &cli.command {
        Some(Command::Ls { json }) => ls::run(&context, *json).await,
        Some(Command::Status { words, json }) => status::run(&context, words, *json).await,
        Some(Command::Release { words, accept_broken_chain, json }) => {
            release::run(&context, words, *accept_broken_chain, *json).await
        }
        Some(Command::Config { json }) => config::run(&context, *json).await,
        None if cli.ride.words.is_empty() => {
            Err(Error::new(Kind::Usage, "which thread? give words of its title, channel or key")
                .hint("`ride ls` lists them, `ride -` takes the one ridden last"))
        }
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
        let env = self.env;
        let named = self.gateway.state_dir.as_deref().or_else(|| env.get("RIDE_STATE_DIR").map(std::path::Path::new));
        if let Some(dir) = named {
            return Ok(env.cwd.join(dir));
        }
        let base = env.get("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        base.or_else(|| env.home().map(|home| home.join(".local/state")))
            .map(|base| base.join("ride"))
            .ok_or_else(|| Error::new(Kind::Config, "could not tell where to keep files: no home folder").hint("set HOME, or use --state-dir"))
    }

    fn target(&self) -> Result<Target, Error> {
        let options = Options {
            url: self.gateway.url.clone(),
            token_file: self.gateway.token_file.clone(),
            profile: self.gateway.profile.clone(),
        };
        Ok(locate(self.env, &options)?)
    }

    fn access(&self, wanted: Access) -> Access {
        if self.gateway.admin { Access::Admin } else { wanted }
    }

    async fn connect(&self, target: &Target, wanted: Access) -> Result<(Connection, Events), Error> {
        Ok(connect(target, self.access(wanted), &self.state_dir()?).await?)
    }

    /// The thread that the words name; `-` is the one ridden last.
    fn find<'r>(&self, rows: &'r [Row], words: &[String]) -> Result<&'r Row, Error> {
        let words = match words {
            [dash] if dash == "-" => vec![self.last()?],
            words => words.to_vec(),
        };
        Ok(matching::find(rows, &words)?)
    }

    fn last(&self) -> Result<String, Error> {
        match std::fs::read_to_string(self.state_dir()?.join("last")) {
            Ok(key) => Ok(key.trim().to_owned()),
            Err(_) => Err(Error::new(Kind::Match, "no thread was ridden from here yet").hint("`ride ls` lists them")),
        }
    }
}

/// All rows, page by page.
async fn rows(connection: &Connection) -> Result<Vec<Row>, Error> {
    let mut all = Vec::new();
    let mut list = List::default();
    loop {
        let Rideable { rows, next, .. } = connection.call(method::RIDEABLE, &list).await?;
        all.extend(rows);
        match next {
            Some(next) => list.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Data, to standard output. A reader that went away is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(Kind::Other, format!("could not write JSON: {e}")))?;
    text.push('\n');
    print(&text);
    Ok(())
}
