//! `cargo xtask probe`: what a stock OpenClaw lets a third-party plugin do, measured again.
//!
//! Every answer the design stands on is one line: host, question, cell, what was
//! observed. Invariant: a line is read from outside our own hopes (the host's hooks, the
//! chat, the transcript, the process table, the model's requests), and what could not be
//! found out is printed as that and makes the exit code 1. No ids in the lines, so that
//! two hosts, or two days, can be compared with `diff`. Deliberately absent: a verdict.
//! `docs/hosts.md` says what was answered before; a person compares.
//!
//! In reading order: [`lab`] (one host with the probe plugin), [`log`] (what the plugin
//! noted), [`turns`] (a turn, a held message, a hand-over), [`transcript`] (Claude's file),
//! then one file per question, a to h.

mod answer;
mod cells;
mod chat;
mod commands;
mod handover;
mod history;
mod hooks;
mod lab;
mod log;
mod parking;
mod running;
mod transcript;
mod turns;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ride_testkit::gateway::versions;

use cells::Cells;
use lab::Lab;

/// What to measure.
#[derive(Args)]
pub(crate) struct Probe {
    /// A pinned OpenClaw version, or `all`; the newest when none is named.
    #[arg(long = "host", value_name = "VERSION")]
    hosts: Vec<String>,
    /// Measure only these.
    #[arg(long = "question", value_enum, value_delimiter = ',')]
    questions: Vec<Question>,
}

/// The questions of `docs/hosts.md`, by its letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Question {
    /// Handing a held message to the agent, as its own sender.
    A,
    /// Parking the binding, and what reaches the session meanwhile.
    B,
    /// Order and ids of the two hooks.
    C,
    /// Work admission, and the signs of a running turn.
    D,
    /// The answer of a `chat.send` turn, with its ids.
    E,
    /// Held group messages in the host's own history.
    F,
    /// Commands while the gate holds, and resets.
    G,
    /// A turn by `chat.send` on the host's own runner.
    H,
}

impl Question {
    fn letter(self) -> char {
        match self {
            Question::A => 'a',
            Question::B => 'b',
            Question::C => 'c',
            Question::D => 'd',
            Question::E => 'e',
            Question::F => 'f',
            Question::G => 'g',
            Question::H => 'h',
        }
    }

    async fn measure(self, lab: &Lab, cells: &mut Cells) -> Result<()> {
        match self {
            Question::A => handover::measure(lab, cells).await,
            Question::B => parking::measure(lab, cells).await,
            Question::C => hooks::measure(lab, cells).await,
            Question::D => running::measure(lab, cells).await,
            Question::E => answer::measure(lab, cells).await,
            Question::F => history::measure(lab, cells).await,
            Question::G => commands::measure(lab, cells).await,
            Question::H => chat::measure(lab, cells).await,
        }
    }
}

impl Probe {
    /// Whether every question could be answered to its end.
    pub(crate) fn run(&self) -> Result<bool> {
        let hosts = self.hosts()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let mut whole = true;
        // One at a time: times of two gateways on one machine say nothing.
        for host in &hosts {
            whole &= runtime.block_on(self.probe(host)).unwrap_or_else(|cause| {
                // The others can still be measured.
                eprintln!("error: OpenClaw {host}: {cause:#}");
                false
            });
        }
        Ok(whole)
    }

    async fn probe(&self, host: &str) -> Result<bool> {
        eprintln!("starting OpenClaw {host}");
        let mut lab = Lab::start(host).await?;
        let mut whole = true;
        for question in Question::value_variants() {
            if !self.questions.is_empty() && !self.questions.contains(question) {
                continue;
            }
            let mut cells = Cells::new(host, question.letter());
            if let Err(cause) = question.measure(&lab, &mut cells).await {
                cells.cut_off(&cause);
                whole = false;
            }
        }
        lab.stop().await;
        Ok(whole)
    }

    fn hosts(&self) -> Result<Vec<String>> {
        let pinned = versions();
        if self.hosts.is_empty() {
            return Ok(vec![pinned[0].clone()]);
        }
        if self.hosts.iter().any(|host| host == "all") {
            return Ok(pinned.to_vec());
        }
        match self.hosts.iter().find(|host| !pinned.contains(host)) {
            Some(unknown) => {
                bail!("OpenClaw {unknown} is not pinned; crates/testkit/peers.json has {}", pinned.join(", "))
            }
            None => Ok(self.hosts.clone()),
        }
    }
}
