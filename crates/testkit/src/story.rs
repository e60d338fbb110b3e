//! Stories: the product played on the real hosts, told as facts.
//!
//! A fact is read from outside: the chat as a reader sees it, transcript files,
//! the process table, the model API's requests. Never from our own word, unless
//! our word is the fact (what a command printed).

mod addon_fails;
mod adopt;
mod after_ride;
mod chat_ride;
mod claude_turns;
mod commands;
mod config;
mod crash;
mod elsewhere;
mod first_ride;
mod gateway_fails;
mod guard;
mod install;
pub mod kills;
mod loads;
mod mirror;
mod other_clients;
mod people;
mod previews;
mod reach;
mod stage;
mod steal;
mod terminal_fails;
mod threads;
mod tool;
mod transcript;

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use crate::error::Result;
use crate::peers::{before, pinned};

/// What is played with: the built product.
#[derive(Clone, Debug)]
pub struct Product {
    /// The gateway plugin's tarball.
    pub plugin: PathBuf,
    /// The `ride` command.
    pub ride: PathBuf,
    /// The OpenClaw version it is played on.
    pub openclaw: String,
    /// The Claude Code version.
    pub claude_code: String,
}

impl Product {
    /// The product on the newest pinned hosts.
    pub fn new(plugin: PathBuf, ride: PathBuf) -> Self {
        let pinned = pinned();
        Product { plugin, ride, openclaw: pinned.openclaw[0].clone(), claude_code: pinned.claude_code[0].clone() }
    }
}

/// A story that can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A topic is ridden from the terminal and handed back.
    FirstRide,
    /// Threads without a Claude session are driven by chat.
    ChatRide,
    /// The plugin is installed in every way a host has.
    Install,
    /// An unridden thread's answers stream as they do without the plugin.
    Previews,
    /// A gateway with TLS is ridden as a machine that is not its own.
    Reach,
    /// Threads of every kind are listed, with why some cannot be ridden.
    Threads,
    /// People behind a proxy ride what they may.
    People,
    /// The configuration is changed while a thread is ridden.
    Config,
    /// Commands are written in ridden threads.
    Commands,
    /// Others start turns of a ridden thread, reset it, delete it.
    OtherClients,
    /// A thread once ridden goes on from many surfaces.
    AfterRide,
    /// Things go wrong at the terminal.
    TerminalFails,
    /// The gateway is killed and its plugin switched off.
    GatewayFails,
    /// The gateway is killed in turns of its agent.
    Crash,
    /// A thread is taken over, and taken back.
    Steal,
    /// The addon throws.
    AddonFails,
    /// A Claude session of a terminal becomes a thread's.
    Adopt,
    /// A thread is ridden from a machine that is not the gateway's.
    Elsewhere,
    /// The Claude Code plugin is installed for good.
    Guard,
    /// An OpenClaw from before the supported ones loads the plugin.
    Loads,
    /// `ride` as a tool to live in.
    Tool,
    /// What happens in Claude Code during a ride.
    ClaudeTurns,
    /// Finished turns are mirrored, and a Claude session is brought back.
    Mirror,
}

impl Story {
    /// All, in the order they are played.
    pub const ALL: [Story; 23] = [
        Story::FirstRide,
        Story::ChatRide,
        Story::Install,
        Story::Previews,
        Story::Reach,
        Story::Threads,
        Story::People,
        Story::Config,
        Story::Commands,
        Story::OtherClients,
        Story::AfterRide,
        Story::TerminalFails,
        Story::GatewayFails,
        Story::Crash,
        Story::Steal,
        Story::AddonFails,
        Story::Adopt,
        Story::Elsewhere,
        Story::Guard,
        Story::Loads,
        Story::Tool,
        Story::ClaudeTurns,
        Story::Mirror,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Story::FirstRide => "first-ride",
            Story::ChatRide => "chat-ride",
            Story::Install => "install",
            Story::Previews => "previews",
            Story::Reach => "reach",
            Story::Threads => "threads",
            Story::People => "people",
            Story::Config => "config",
            Story::Commands => "commands",
            Story::OtherClients => "other-clients",
            Story::AfterRide => "after-ride",
            Story::TerminalFails => "terminal-fails",
            Story::GatewayFails => "gateway-fails",
            Story::Crash => "crash",
            Story::Steal => "steal",
            Story::AddonFails => "addon-fails",
            Story::Adopt => "adopt",
            Story::Elsewhere => "elsewhere",
            Story::Guard => "guard",
            Story::Loads => "loads",
            Story::Tool => "tool",
            Story::ClaudeTurns => "claude-turns",
            Story::Mirror => "mirror",
        }
    }

    /// What it is about.
    pub fn about(self) -> &'static str {
        match self {
            Story::FirstRide => "a forum topic is ridden with Claude Code, written to meanwhile, and handed back",
            Story::ChatRide => {
                "threads without a Claude session are driven by chat, written to meanwhile, and handed back"
            }
            Story::Install => "ride doctor tells each missing thing, and its own lines mend it; every way to install",
            Story::Previews => "a long answer streams into an unridden thread as it does without the plugin",
            Story::Reach => {
                "a gateway is reached over TLS by a machine it has to approve, and goes down and comes back in a ride"
            }
            Story::People => {
                "people behind a proxy ride what the host and rideAllow let them, and are not shown the rest"
            }
            Story::Threads => {
                "threads of every kind and agent are listed under names people know, with why some cannot be ridden"
            }
            Story::Config => "the configuration is changed while a thread is ridden, and has wrong values",
            Story::Commands => "commands in ridden threads: what passes, what is refused, who may, and who is told",
            Story::OtherClients => "other clients start turns of a ridden thread, and reset and delete it",
            Story::AfterRide => "after a ride, turns of the channel and of alternating surfaces go on as they should",
            Story::TerminalFails => {
                "what is missing, changed, killed or interrupted ends in a clear error and a whole thread"
            }
            Story::GatewayFails => {
                "the gateway is killed in a claim, a ride and a release, and its plugin reloaded and switched off"
            }
            Story::Crash => {
                "the gateway is killed in turns of its agent, and a thread is claimed before the host has dealt with them"
            }
            Story::Steal => {
                "a thread is taken over by another driver and taken back for the agent, also from a driver that is stopped"
            }
            Story::AddonFails => {
                "every export of the addon throws under a ride, and the gateway and every message are well"
            }
            Story::Adopt => {
                "a Claude session that began in a terminal becomes a thread's conversation, and it is undone"
            }
            Story::Elsewhere => {
                "a thread is ridden on a copy of its conversation from another machine, over a line that is cut"
            }
            Story::Guard => {
                "the Claude Code plugin is installed for good: a ridden session is kept from other prompts, and one is adopted from inside"
            }
            Story::Loads => "the plugin loads and answers on an OpenClaw where nothing more is promised",
            Story::Tool => {
                "a thread is chosen from all and ridden, ridden again as the last one, and named from a shell"
            }
            Story::ClaudeTurns => {
                "turns are interrupted, fail and go elsewhere, a message goes along with a prompt, Claude Code is killed"
            }
            Story::Mirror => {
                "finished turns are mirrored across a crash, and a Claude session is brought back from the mirror elsewhere"
            }
        }
    }

    /// Why it has nothing to show on a host with a Claude Code; `None` where it is to be played.
    pub fn why_not(self, openclaw: &str, claude_code: &str) -> Option<&'static str> {
        let only_loads = pinned().openclaw_loads.iter().any(|version| version == openclaw);
        match self {
            Story::Loads if only_loads => None,
            Story::Loads => Some("every other story begins with it"),
            _ if only_loads => Some("on this OpenClaw the plugin loads and answers; riding is not promised"),
            Story::Guard if before(openclaw, &[2026, 6, 2]) => {
                Some("after a channel turn this OpenClaw wants operator.admin, which a hook does not ask for")
            }
            Story::People if before(openclaw, &[2026, 8]) => Some("this OpenClaw knows devices, not people"),
            Story::Install | Story::Previews | Story::Reach | Story::Threads | Story::People | Story::AddonFails
                if claude_code != pinned().claude_code[0] =>
            {
                Some("nothing in it depends on Claude Code; played with the newest")
            }
            _ => None,
        }
    }

    /// Plays it; an error means that it could not be played to its end.
    pub async fn play(self, product: &Product, facts: &mut Facts) -> Result<()> {
        match self {
            Story::FirstRide => first_ride::play(product, facts).await,
            Story::ChatRide => chat_ride::play(product, facts).await,
            Story::Install => install::play(product, facts).await,
            Story::Previews => previews::play(product, facts).await,
            Story::Reach => reach::play(product, facts).await,
            Story::Threads => threads::play(product, facts).await,
            Story::People => people::play(product, facts).await,
            Story::Config => config::play(product, facts).await,
            Story::Commands => commands::play(product, facts).await,
            Story::OtherClients => other_clients::play(product, facts).await,
            Story::AfterRide => after_ride::play(product, facts).await,
            Story::TerminalFails => terminal_fails::play(product, facts).await,
            Story::GatewayFails => gateway_fails::play(product, facts).await,
            Story::Crash => crash::play(product, facts).await,
            Story::Steal => steal::play(product, facts).await,
            Story::AddonFails => addon_fails::play(product, facts).await,
            Story::Adopt => adopt::play(product, facts).await,
            Story::Elsewhere => elsewhere::play(product, facts).await,
            Story::Guard => guard::play(product, facts).await,
            Story::Loads => loads::play(product, facts).await,
            Story::Tool => tool::play(product, facts).await,
            Story::ClaudeTurns => claude_turns::play(product, facts).await,
            Story::Mirror => mirror::play(product, facts).await,
        }
    }
}

/// A fact that was not so.
#[derive(Debug)]
pub struct Wrong {
    /// What should hold.
    pub fact: String,
    /// What was seen instead.
    pub observed: String,
}

/// What was observed, told as it is found: printed, or written to a file.
#[derive(Debug, Default)]
pub struct Facts {
    /// How many were looked at.
    pub told: usize,
    /// Which were not so.
    pub wrong: Vec<Wrong>,
    file: Option<File>,
}

impl Facts {
    /// Facts told to a file.
    pub fn into_file(file: File) -> Self {
        Facts { file: Some(file), ..Facts::default() }
    }

    /// Tells a fact with what was observed.
    pub fn tell(&mut self, holds: bool, fact: &str, observed: impl Display) {
        self.told += 1;
        let observed = observed.to_string();
        let line = format!("{} {fact}: {observed}", if holds { "true " } else { "FALSE" });
        if !holds {
            self.wrong.push(Wrong { fact: fact.to_owned(), observed });
        }
        match &mut self.file {
            // A fact counts whether or not its line could be kept.
            Some(file) => drop(writeln!(file, "{line}")),
            None => println!("{line}"),
        }
    }
}
