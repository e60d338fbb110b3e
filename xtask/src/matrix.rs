//! `cargo xtask test --matrix`: every story on every OpenClaw with every Claude Code.
//!
//! Invariant: a cell says what came of its last run and nothing else, and the table in
//! `docs/hosts.md` is written after each one, so that a run that is cut off keeps what
//! it has seen.

mod table;

use anyhow::{Result, bail};
use clap::Args;
use ride_testkit::peers::pinned;
use ride_testkit::story::Story;

use crate::build;
use crate::play::{AT_ONCE, Cell, Played, at_once, play};
use table::Table;

/// Which cells to play; all where nothing is named.
#[derive(Args)]
pub(crate) struct Matrix {
    /// An OpenClaw version.
    #[arg(long = "host", value_name = "VERSION", requires = "matrix")]
    hosts: Vec<String>,
    /// A Claude Code version.
    #[arg(long = "claude", value_name = "VERSION", requires = "matrix")]
    claudes: Vec<String>,
    /// A story.
    #[arg(long = "story", value_name = "NAME", requires = "matrix")]
    stories: Vec<String>,
    /// Only cells that the table does not show as whole.
    #[arg(long, requires = "matrix")]
    missing: bool,
    /// How many stories are played side by side.
    #[arg(long, value_name = "N", default_value_t = AT_ONCE, value_parser = at_once(), requires = "matrix")]
    at_once: usize,
}

impl Matrix {
    /// Whether everything that was played is so.
    pub(crate) fn run(&self) -> Result<bool> {
        let (hosts, claudes, stories) = self.chosen()?;
        let page = build::root().join("docs/hosts.md");
        // Before anything is played: a page without a place for the table is found out now.
        let before = Table::read(&page)?;
        let mut cells = Vec::new();
        for host in &hosts {
            for claude in &claudes {
                for story in &stories {
                    let skip = self.missing && before.is_whole(host, claude, *story);
                    if !skip && story.why_not(host, claude).is_none() {
                        cells.push(Cell { host: host.clone(), claude: claude.clone(), story: *story });
                    }
                }
            }
        }
        let packed = build::pack()?;
        let (mut whole, mut played) = (true, 0);
        play(&packed, cells, self.at_once, |Played { cell, mut came, took, .. }| {
            whole &= came.is_whole();
            played += 1;
            came.stopped = came.stopped.map(|why| table::first_line(&why));
            let Cell { host, claude, story } = &cell;
            println!("{host:<20} {claude:<9} {:<14} {came} ({} s)", story.name(), took.as_secs());
            // Read again: another run may have written its own cells meanwhile.
            let mut table = Table::read(&page)?;
            table.set(cell, came);
            table.write(&page)
        })?;
        println!("{played} cells played, the table is in {}", page.display());
        Ok(whole)
    }

    fn chosen(&self) -> Result<(Vec<String>, Vec<String>, Vec<Story>)> {
        let all: Vec<String> = table::hosts().map(str::to_owned).collect();
        let hosts = named("OpenClaw", &self.hosts, &all)?;
        let claudes = named("Claude Code", &self.claudes, &pinned().claude_code)?;
        let names: Vec<String> = Story::ALL.iter().map(|story| story.name().to_owned()).collect();
        let stories = named("story", &self.stories, &names)?;
        let stories = Story::ALL.into_iter().filter(|story| stories.iter().any(|name| name == story.name()));
        Ok((hosts, claudes, stories.collect()))
    }
}

/// What was named, or all; what is not there is an error.
fn named(what: &str, named: &[String], all: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("there is no {what} {unknown}; there are {}", all.join(", "));
    }
    Ok(if named.is_empty() { all.to_vec() } else { all.iter().filter(|name| named.contains(name)).cloned().collect() })
}
