//! Stories: the product played on the real hosts, told as facts.
//!
//! A fact is read from outside: the chat as a reader sees it, transcript files,
//! the process table, the model API's requests. Never from our own word, unless
//! our word is the fact (what a command printed).

mod chat_ride;
mod first_ride;
mod stage;
mod transcript;

use std::fmt::Display;
use std::path::PathBuf;

use crate::error::Result;
use crate::peers::pinned;

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
}

impl Story {
    /// All, in the order they are played.
    pub const ALL: [Story; 2] = [Story::FirstRide, Story::ChatRide];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Story::FirstRide => "first-ride",
            Story::ChatRide => "chat-ride",
        }
    }

    /// What it is about.
    pub fn about(self) -> &'static str {
        match self {
            Story::FirstRide => "a forum topic is ridden with Claude Code, written to meanwhile, and handed back",
            Story::ChatRide => "threads without a Claude session are driven by chat, written to meanwhile, and handed back",
        }
    }

    /// Plays it; an error means that it could not be played to its end.
    pub async fn play(self, product: &Product, facts: &mut Facts) -> Result<()> {
        match self {
            Story::FirstRide => first_ride::play(product, facts).await,
            Story::ChatRide => chat_ride::play(product, facts).await,
        }
    }
}

/// What was observed, printed as it is found.
#[derive(Debug, Default)]
pub struct Facts {
    /// How many were looked at.
    pub told: usize,
    /// How many were not so.
    pub wrong: usize,
}

impl Facts {
    /// Tells a fact with what was observed.
    pub fn tell(&mut self, holds: bool, fact: &str, observed: impl Display) {
        self.told += 1;
        self.wrong += usize::from(!holds);
        println!("{} {fact}: {observed}", if holds { "true " } else { "FALSE" });
    }
}
