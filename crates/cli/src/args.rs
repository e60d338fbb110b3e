//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use ride_core::config::RemoteControlSpawn;

use crate::error::exit_codes;

/// What is read from the environment, for the long help and the man page.
const ENVIRONMENT: &str = "\
Environment:
  OPENCLAW_GATEWAY_URL       the gateway's address, as --url
  OPENCLAW_GATEWAY_TOKEN     its token; never an option, where everybody could see it
  OPENCLAW_GATEWAY_PASSWORD  its password, where it goes by one
  OPENCLAW_GATEWAY_PORT      the port of a gateway of this machine
  OPENCLAW_PROFILE           as --profile
  OPENCLAW_HOME, OPENCLAW_STATE_DIR, OPENCLAW_CONFIG_PATH
                             where OpenClaw's configuration is, as openclaw has it
  RIDE_PIN                   as --pin
  RIDE_NAME                  your name, as others see it; else USER
  RIDE_STATE_DIR             as --state-dir; else XDG_STATE_HOME/ride, else ~/.local/state/ride
  CLAUDE_CONFIG_DIR          where Claude Code keeps its sessions; else ~/.claude";

/// Drive, from this terminal, the Claude session behind a thread of your OpenClaw gateway.
#[derive(Debug, Parser)]
#[command(
    name = "ride",
    version,
    after_help = exit_codes(),
    after_long_help = format!("{}\n\n{ENVIRONMENT}", exit_codes()),
    override_usage = "ride [OPTIONS] [WORDS]... [-- <CLAUDE ARGS>...]\n       ride [OPTIONS] -\n       ride [OPTIONS] <COMMAND>"
)]
pub struct Cli {
    /// What to do; without one, ride a thread
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The ride
    #[command(flatten)]
    pub ride: RideArgs,
    /// The gateway
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// The commands beside riding.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the threads and say which can be ridden
    Ls {
        /// Only those with these words in title, channel, agent or key
        #[arg(add = titles())]
        words: Vec<String>,
        /// Only those that can be ridden now
        #[arg(long, short)]
        rideable: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what happened to a thread: its journal, without what was said
    Log {
        /// Words of its title, channel or key; `-` for the thread ridden last
        #[arg(required_unless_present = "audit", add = titles())]
        words: Vec<String>,
        /// Show instead who took threads over or back, accepted a broken chain or adopted, of all threads without words
        #[arg(long)]
        audit: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the threads that are ridden or changing hands, or one thread
    Status {
        /// Words of its title, channel or key
        #[arg(add = titles())]
        words: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a terminal's Claude session a thread's conversation
    Adopt {
        /// Its id, or the beginning of it; without one it is chosen from all, and where there is no terminal they are listed
        #[arg(long, value_name = "ID", conflicts_with = "undo")]
        session: Option<String>,
        /// Words of the thread's title, channel or key; `-` for the thread ridden last; without
        /// any, it is chosen from all
        #[arg(long, value_name = "WORDS", num_args = 1.., add = titles())]
        to: Vec<String>,
        /// Bring back the Claude session that the thread had before
        #[arg(long, requires = "to")]
        undo: bool,
        /// How long to wait for a running turn, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=600))]
        wait: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hand back a thread that a ride of this machine holds
    Release {
        /// Words of its title, channel or key; `-` for the thread ridden last
        #[arg(required = true, add = titles())]
        words: Vec<String>,
        /// Hand it back although its chain could not be shown to be whole
        #[arg(long)]
        accept_broken_chain: bool,
        /// Give it back to the agent whoever rides it: the driver is told, and its Claude Code is ended there
        #[arg(long)]
        take_back: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep one of two branches of a conversation that went apart; the other is set aside
    Repair {
        /// Words of its title, channel or key; `-` for the thread ridden last
        #[arg(required = true, add = titles())]
        words: Vec<String>,
        /// The leaf to go on with, or the beginning of it: the refused ride names both
        #[arg(long, value_name = "LEAF")]
        keep: String,
        /// The folder of this machine that the gateway's project is in; remembered
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what is missing or wrong, and what mends it; with words, explain that thread
    Doctor {
        /// Words of its title, channel or key; `-` for the thread ridden last
        words: Vec<String>,
        /// Claude Code's program
        #[arg(long, value_name = "PROGRAM", default_value = "claude")]
        claude: OsString,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at the mirror of finished turns, bring a Claude session back from it, prune it
    Sync {
        /// What of it
        #[command(subcommand)]
        what: Sync,
    },
    /// Show this ride's own settings, where each comes from, and the gateway's
    Config {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a systemd unit that keeps Claude Code's Remote Control running
    Deploy(DeployArgs),
    /// Print the completions of a shell; `ride help completions` says how to load them
    #[command(after_help = crate::command::completions::HOW)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = "To read it now:  ride man | man -l -")]
    Man {
        /// Of this command, `sync restore` for example; of `ride` itself without one
        command: Vec<String>,
    },
}

/// What is done with a mirror (`syncMirrorDir`).
#[derive(Debug, Subcommand)]
pub enum Sync {
    /// List what is in the mirror, and whether it is whole
    Status {
        /// The mirror's folder; the gateway's own, where it is on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Read every line and show the chain of each
        #[arg(long)]
        verify: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a Claude session where `claude --resume` finds it; nothing is overwritten
    Restore {
        /// The beginning of its id, or words of its thread's title, key or folder
        #[arg(required = true)]
        words: Vec<String>,
        /// The mirror's folder; the gateway's own, where it is on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The project folder to resume it in; the one it was in unless told
        #[arg(long, value_name = "PROJECT_DIR")]
        into: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take out what had no turn for so long
    Prune {
        /// Days since the last turn
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        older_than: u64,
        /// The mirror's folder; the gateway's own, where it is on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Cli {
    /// The words that name threads, wherever they stand.
    pub fn words(&self) -> &[String] {
        match &self.command {
            Some(
                Command::Ls { words, .. }
                | Command::Status { words, .. }
                | Command::Log { words, .. }
                | Command::Adopt { to: words, .. }
                | Command::Release { words, .. }
                | Command::Repair { words, .. }
                | Command::Doctor { words, .. },
            ) => words,
            Some(_) => &[],
            None => &self.ride.words,
        }
    }
}

impl Command {
    /// Whether JSON was asked for: then an error is JSON too.
    pub fn json(&self) -> bool {
        match self {
            Command::Ls { json, .. }
            | Command::Status { json, .. }
            | Command::Log { json, .. }
            | Command::Adopt { json, .. }
            | Command::Release { json, .. }
            | Command::Repair { json, .. }
            | Command::Doctor { json, .. }
            | Command::Config { json }
            | Command::Sync {
                what: Sync::Status { json, .. } | Sync::Restore { json, .. } | Sync::Prune { json, .. },
            } => *json,
            Command::Deploy(_) | Command::Completions { .. } | Command::Man { .. } => false,
        }
    }
}

/// Completes words of the titles of threads.
fn titles() -> ArgValueCompleter {
    ArgValueCompleter::new(crate::command::completions::words)
}

/// What a ride can be told.
#[derive(Debug, Args)]
pub struct RideArgs {
    /// Words of the thread's title, channel or key; `-` for the thread ridden last; without any, one is chosen from all
    #[arg(add = titles())]
    pub words: Vec<String>,
    /// How long to wait for a running turn, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub wait: u64,
    /// Take the thread over from whoever rides it: the driver is told, and its Claude Code ended there
    #[arg(long)]
    pub steal: bool,
    /// Declare a process gone that the gateway cannot see, by the name that a refusal gave; who did is kept
    #[arg(long, value_name = "NAME")]
    pub gone: Vec<String>,
    /// Do not ask, even where other conversations share the thread, or another rides it
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Say this to the agent of a thread without a Claude session, print its answer and
    /// leave; `-` reads it from standard input
    #[arg(long, value_name = "TEXT")]
    pub say: Option<String>,
    /// With --say: print JSON
    #[arg(long, requires = "say")]
    pub json: bool,
    /// Where the gateway is another machine: the folder of this one that its project is in; remembered
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Claude Code's program
    #[arg(long, value_name = "PROGRAM", default_value = "claude")]
    pub claude: OsString,
    /// Given to Claude Code
    #[arg(last = true, value_name = "CLAUDE ARGS")]
    pub extra: Vec<OsString>,
}

/// What a Remote Control unit can be told.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The project folder [default: this one]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How it makes sessions; without it as the gateway's configuration says, which must allow Remote Control
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["same-dir", "worktree", "session"]).try_map(spawn_of))]
    pub spawn: Option<RemoteControlSpawn>,
    /// Its name on claude.ai [default: Claude Code's own, from the machine's]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Most sessions at once [default: Claude Code's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub capacity: Option<u32>,
    /// Claude Code's program
    #[arg(long, value_name = "PROGRAM", default_value = "claude")]
    pub claude: OsString,
    /// Print the unit, and write nothing
    #[arg(long)]
    pub print: bool,
    /// Replace or remove also a unit that was written or changed by somebody else
    #[arg(long, conflicts_with = "print")]
    pub force: bool,
    /// Remove the unit that was written
    #[arg(long, conflicts_with_all = ["dir", "spawn", "name", "capacity", "print"])]
    pub undo: bool,
}

fn spawn_of(word: String) -> Result<RemoteControlSpawn, &'static str> {
    crate::deploy::spawn(&word).ok_or("no such mode")
}

impl RideArgs {
    /// A claim that nobody is asked about.
    pub fn quiet(words: &[String], project: Option<&std::path::Path>) -> RideArgs {
        RideArgs {
            words: words.to_vec(),
            wait: 120,
            steal: false,
            gone: Vec::new(),
            yes: true,
            say: None,
            json: false,
            project: project.map(std::path::Path::to_owned),
            claude: "claude".into(),
            extra: Vec::new(),
        }
    }
}

/// Which gateway, and as whom.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Gateway (found as `openclaw` finds it unless told)")]
pub struct GatewayArgs {
    /// Its address: wss://…, or ws:// on this machine
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// A file with its token; or set OPENCLAW_GATEWAY_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The one certificate to accept, by its SHA-256 fingerprint; or set RIDE_PIN
    #[arg(long, global = true, value_name = "FINGERPRINT")]
    pub pin: Option<String>,
    /// OpenClaw's profile, as `openclaw --profile`
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Where ride keeps its device identity and outbox [default: ~/.local/state/ride]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Ask the gateway for operator.admin too (OpenClaw 2026.6.1 wants it)
    #[arg(long, global = true)]
    pub admin: bool,
}
