//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use ride_core::config::RemoteControlSpawn;

use crate::error::exit_codes;

/// What people do most.
const EXAMPLES: &str = "\
Examples:
  ride                          choose a thread and ride it
  ride plans                    ride the thread that has \"plans\" in its title
  ride -                        ride the thread that you rode last
  ride plans --say \"good day\"   chat with an agent that has no Claude session: one question, one answer
  ride ls --rideable            list the threads that you can ride now
  ride doctor plans             explain why a thread cannot be ridden
  ride release plans            hand a thread back after a ride that did not";

/// What is left out of the short help.
const MORE: &str =
    "`ride --help` also explains how ride finds the gateway, and lists environment variables and exit codes.";

/// The environment variables, for the long help and the man page.
const ENVIRONMENT: &str = "\
Environment:
  OPENCLAW_GATEWAY_URL       the gateway's address, like --url
  OPENCLAW_GATEWAY_TOKEN     the gateway's token; it is no option, because other users can see options
  OPENCLAW_GATEWAY_PASSWORD  the gateway's password, if it has one instead of a token
  OPENCLAW_GATEWAY_PORT      the port of a gateway on this machine
  OPENCLAW_PROFILE           like --profile
  OPENCLAW_HOME, OPENCLAW_STATE_DIR, OPENCLAW_CONFIG_PATH
                             where OpenClaw's configuration is; openclaw reads the same variables
  RIDE_PIN                   like --pin
  RIDE_NAME                  your name, as others see it; default: USER
  RIDE_STATE_DIR             like --state-dir
  CLAUDE_CONFIG_DIR          where Claude Code keeps its sessions; default: ~/.claude";

/// Ride a chat thread of your OpenClaw gateway: drive its agent from this terminal.
#[derive(Debug, Parser)]
#[command(
    name = "ride",
    version,
    after_help = format!("{EXAMPLES}\n\n{MORE}"),
    after_long_help = format!("{EXAMPLES}\n\n{}\n\n{ENVIRONMENT}", exit_codes()),
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
    /// List the threads, and say which of them you can ride
    Ls {
        /// List only threads with these words in their title, channel, agent or key
        #[arg(add = titles())]
        words: Vec<String>,
        /// List only threads that you can ride now
        #[arg(long, short)]
        rideable: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the journal of a thread: who rode it, when and what happened; not the texts
    Log {
        /// Words of the thread's title, channel or key; `-` for the thread that you rode last
        #[arg(required_unless_present = "audit", add = titles())]
        words: Vec<String>,
        /// Show the audit log instead: who took a thread over or back, accepted a broken chain, or adopted a session; without words, of all threads
        #[arg(long)]
        audit: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show who rides what now, or everything about one thread
    Status {
        /// Words of the thread's title, channel or key
        #[arg(add = titles())]
        words: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a Claude session of this machine the conversation of a thread
    Adopt {
        /// The id of the Claude session, or its first characters; without it you choose one, or without a terminal get a list
        #[arg(long, value_name = "ID", conflicts_with = "undo")]
        session: Option<String>,
        /// Words of the thread's title, channel or key; `-` for the thread that you rode last;
        /// without words you choose one
        #[arg(long, value_name = "WORDS", num_args = 1.., add = titles())]
        to: Vec<String>,
        /// Undo it: give the thread back the Claude session that it had before
        #[arg(long, requires = "to")]
        undo: bool,
        /// How many seconds to wait for a turn that runs
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=600))]
        wait: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hand a thread back that a ride on this machine still holds
    Release {
        /// Words of the thread's title, channel or key; `-` for the thread that you rode last
        #[arg(required = true, add = titles())]
        words: Vec<String>,
        /// Hand it back although the check of its transcript found a gap
        #[arg(long)]
        accept_broken_chain: bool,
        /// Take it from whoever rides it and give it back to the agent; the driver gets a message, and the driver's Claude Code is ended
        #[arg(long)]
        take_back: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Repair a conversation that has two branches: keep one, and set the other aside
    Repair {
        /// Words of the thread's title, channel or key; `-` for the thread that you rode last
        #[arg(required = true, add = titles())]
        words: Vec<String>,
        /// The last message of the branch to keep, or the first characters of its id; the refused ride names both
        #[arg(long, value_name = "LEAF")]
        keep: String,
        /// The folder on this machine that has the gateway's project; ride remembers it
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the setup and say how to fix it; with words, explain the state of one thread
    Doctor {
        /// Words of the thread's title, channel or key; `-` for the thread that you rode last
        words: Vec<String>,
        /// The Claude Code program
        #[arg(long, value_name = "PROGRAM", default_value = "claude")]
        claude: OsString,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the mirror of finished turns, restore a Claude session from it, or prune it
    Sync {
        /// What to do with the mirror
        #[command(subcommand)]
        what: Sync,
    },
    /// Show the settings of ride and of the gateway, and where each comes from
    Config {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a systemd unit that keeps Claude Code's Remote Control running
    Deploy(DeployArgs),
    /// Print the completions for a shell; `ride help completions` says how to load them
    #[command(after_help = crate::command::completions::HOW)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = "To read it now:  ride man | man -l -")]
    Man {
        /// The command, for example `sync restore`; without one, the page of `ride` itself
        command: Vec<String>,
    },
}

/// What is done with a mirror (`syncMirrorDir`).
#[derive(Debug, Subcommand)]
pub enum Sync {
    /// List the mirrored Claude sessions, and say whether each is complete
    Status {
        /// The folder of the mirror; default: the gateway's, if it is on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Read every line, and check each transcript for gaps
        #[arg(long)]
        verify: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a Claude session where `claude --resume` finds it; it overwrites nothing
    Restore {
        /// The first characters of its id, or words of its thread's title, key or folder
        #[arg(required = true)]
        words: Vec<String>,
        /// The folder of the mirror; default: the gateway's, if it is on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The project folder to resume it in; default: the one it was in
        #[arg(long, value_name = "PROJECT_DIR")]
        into: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove mirrored sessions that had no turn for some days
    Prune {
        /// Days since the last turn
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        older_than: u64,
        /// The folder of the mirror; default: the gateway's, if it is on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Only say what it would remove
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

/// The command that a word is nearly the name of.
pub fn command_like(word: &str) -> Option<String> {
    let cli = <Cli as clap::CommandFactory>::command();
    let names = cli.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let near = names.map(|name| (strsim::damerau_levenshtein(word, name), name));
    // One letter too many, too few, wrong or exchanged; two in a long name.
    let (_, name) = near.filter(|(distance, name)| *distance <= 1.max(name.len() / 4)).min()?;
    Some(name.to_owned())
}

/// Completes words of the titles of threads.
fn titles() -> ArgValueCompleter {
    ArgValueCompleter::new(crate::command::completions::words)
}

/// What a ride can be told.
#[derive(Debug, Args)]
pub struct RideArgs {
    /// Words of the thread's title, channel or key; `-` for the thread that you rode last; without words you choose one
    #[arg(add = titles())]
    pub words: Vec<String>,
    /// How many seconds to wait for a turn that runs
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub wait: u64,
    /// Take the thread over from whoever rides it; the driver gets a message, and the driver's Claude Code is ended
    #[arg(long)]
    pub steal: bool,
    /// Declare that a process which the gateway cannot see has ended; NAME is what the refusal calls it; the audit log keeps who did
    #[arg(long, value_name = "NAME")]
    pub gone: Vec<String>,
    /// Do not ask for confirmation, also where conversations share the thread or somebody rides it
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Send this to the agent of a thread that has no Claude session, print the answer and
    /// leave; `-` reads the text from standard input
    #[arg(long, value_name = "TEXT")]
    pub say: Option<String>,
    /// Print the answer as JSON
    #[arg(long, requires = "say")]
    pub json: bool,
    /// The folder on this machine that has the project, if the gateway is on another machine; ride remembers it
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// The Claude Code program
    #[arg(long, value_name = "PROGRAM", default_value = "claude")]
    pub claude: OsString,
    /// Arguments for Claude Code
    #[arg(last = true, value_name = "CLAUDE ARGS")]
    pub extra: Vec<OsString>,
}

/// What a Remote Control unit can be told.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The project folder [default: this one]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How it makes sessions [default: what the gateway's configuration says; that must allow Remote Control]
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["same-dir", "worktree", "session"]).try_map(spawn_of))]
    pub spawn: Option<RemoteControlSpawn>,
    /// Its name on claude.ai [default: Claude Code's own, from the machine's]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Most sessions at once [default: Claude Code's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub capacity: Option<u32>,
    /// The Claude Code program
    #[arg(long, value_name = "PROGRAM", default_value = "claude")]
    pub claude: OsString,
    /// Print the unit and write nothing
    #[arg(long)]
    pub print: bool,
    /// Also replace or remove a unit that somebody else wrote or changed
    #[arg(long, conflicts_with = "print")]
    pub force: bool,
    /// Remove the unit that this command wrote
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
#[command(next_help_heading = "Gateway (default: the one that `openclaw` uses)")]
pub struct GatewayArgs {
    /// The address: wss://…, or ws:// on this machine
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the token; or set OPENCLAW_GATEWAY_TOKEN
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The SHA-256 fingerprint of the one certificate to accept; or set RIDE_PIN
    #[arg(long, global = true, hide_short_help = true, value_name = "FINGERPRINT")]
    pub pin: Option<String>,
    /// The OpenClaw profile, like `openclaw --profile`
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Where ride keeps its files [default: $XDG_STATE_HOME/ride, or ~/.local/state/ride]
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Ask the gateway for operator.admin too; OpenClaw 2026.6.1 needs it
    #[arg(long, global = true, hide_short_help = true)]
    pub admin: bool,
}

#[cfg(test)]
mod tests {
    use super::command_like;

    #[test]
    fn a_command_with_a_mistake_is_named() {
        let check = |word: &str, meant: Option<&str>| assert_eq!(command_like(word).as_deref(), meant, "{word}");
        check("lst", Some("ls"));
        check("stauts", Some("status"));
        check("relase", Some("release"));
        check("compltions", Some("completions"));
        check("plans", None);
        check("deploys", Some("deploy"));
        // What only Claude Code runs is not named.
        check("hook", None);
    }
}
