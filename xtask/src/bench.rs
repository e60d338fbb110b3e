//! `cargo xtask bench`: the figures we promise, measured in one run, side by side.
//!
//! Invariant: `docs/measurements.md` is written whole by one whole run and by
//! nothing else, so no figure in it can be older than its neighbour or better than
//! what was seen. A missed target is printed like a met one. Deliberately absent:
//! a pass mark. Machines differ; the exit code says only whether it could be measured.
//!
//! In reading order: [`sample`] (what a figure is), [`report`] (the page), [`stage`]
//! (the real hosts), then one file per subject.

mod copy;
mod entries;
mod former_rides;
mod gate;
mod hooks;
mod listing;
mod load;
mod picker;
mod relay;
mod report;
mod rides;
mod sample;
mod sessions;
mod size;
mod stage;
mod store;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::build;
use report::Report;
use stage::Stage;

/// What to measure.
#[derive(Args)]
pub(crate) struct Bench {
    /// Measure only these and print them; the page is left as it is.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Subject>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// `ride ls` against `openclaw sessions --json`.
    Ls,
    /// `sessions_rideable` over 10,000 entries.
    Entries,
    /// The gateway's memory and start time with the plugin against without.
    Load,
    /// The gate on a thread nobody rides.
    Gate,
    /// The gate on a thread that needs its binding kept.
    Kept,
    /// A relayed send against the host's own; claim and release.
    Relay,
    /// Whole rides from a terminal, and what frees a thread.
    Rides,
    /// The picker over 10,000 threads.
    Picker,
    /// The picker over 5,000 Claude sessions.
    Sessions,
    /// A prompt where Claude Code has no mods.
    Hooks,
    /// A claim and release by the store alone, against other locks.
    Store,
    /// A conversation of 200 MB, brought from another machine.
    Copy,
    /// The chain of one that long.
    Chain,
    /// What is shipped.
    Size,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        if cfg!(debug_assertions) {
            // What is measured in this process is to be compiled like what is shipped.
            let again = ["run", "--quiet", "--locked", "--profile", "measured", "--package", "xtask", "--"];
            return build::run(
                Command::new(build::cargo()).args(again).args(std::env::args_os().skip(1)).current_dir(build::root()),
            );
        }
        let wants = |subject| self.only.is_empty() || self.only.contains(&subject);
        let mut report = Report::begin();
        // These need nothing that is packed.
        if let [alone @ (Subject::Store | Subject::Sessions)] = self.only[..] {
            report.quiet_look();
            report.add(if alone == Subject::Store { store::measure()? } else { sessions::measure()? });
            report.end();
            print!("{}", report.terminal());
            return Ok(());
        }
        let packed = build::pack()?;
        let staged = [Subject::Ls, Subject::Gate, Subject::Relay, Subject::Rides, Subject::Copy];
        if wants(Subject::Picker) {
            report.add(picker::measure()?);
        }
        if wants(Subject::Sessions) {
            report.add(sessions::measure()?);
        }
        if wants(Subject::Hooks) {
            report.add(tokio::runtime::Runtime::new()?.block_on(hooks::measure(&packed))?);
        }
        if wants(Subject::Entries) {
            report.add(tokio::runtime::Runtime::new()?.block_on(entries::measure(&packed))?);
        }
        if wants(Subject::Load) {
            report.add(tokio::runtime::Runtime::new()?.block_on(load::measure(&packed))?);
        }
        if staged.into_iter().any(wants) {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let mut stage = Stage::set(&packed).await?;
                report.quiet_look();
                if wants(Subject::Ls) {
                    report.add(listing::measure(&stage, &packed).await?);
                }
                // The gate is looked at before any ride, during one, and after it.
                let mut gate = gate::Measuring::begin(&stage, &packed)?;
                if wants(Subject::Gate) {
                    gate.before(&stage).await?;
                }
                report.quiet_look();
                if wants(Subject::Gate) || wants(Subject::Relay) {
                    let mut relay = relay::Riding::begin(&stage).await?;
                    if wants(Subject::Gate) {
                        gate.during(&stage).await?;
                        gate.crowded(&stage).await?;
                    }
                    if wants(Subject::Relay) {
                        relay.sends(&stage).await?;
                        report.quiet_look();
                        relay.hand_overs(&stage).await?;
                    }
                    let relay = relay.end(&stage).await?;
                    if wants(Subject::Gate) {
                        report.add(gate.after()?);
                    }
                    if wants(Subject::Relay) {
                        report.add(relay);
                    }
                }
                if wants(Subject::Copy) {
                    report.quiet_look();
                    report.add(copy::measure(&stage).await?);
                }
                if wants(Subject::Rides) {
                    report.quiet_look();
                    report.add(rides::measure(&mut stage, &packed).await?);
                }
                anyhow::Ok(())
            })?;
        }
        if wants(Subject::Store) {
            report.quiet_look();
            report.add(store::measure()?);
        }
        if wants(Subject::Kept) {
            report.add(tokio::runtime::Runtime::new()?.block_on(former_rides::measure(&packed))?);
        }
        if wants(Subject::Chain) {
            report.add(copy::check()?);
        }
        if wants(Subject::Size) {
            report.add(size::measure(&packed)?);
        }
        report.end();
        print!("{}", report.terminal());
        if self.only.is_empty() {
            let page = build::root().join("docs/measurements.md");
            fs::write(&page, report.page()).with_context(|| format!("could not write {}", page.display()))?;
            eprintln!("wrote {}", page.display());
        }
        Ok(())
    }
}
