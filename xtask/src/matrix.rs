//! `cargo xtask test --matrix`: every story on every OpenClaw with every Claude Code.
//!
//! Invariant: a cell says what came of its last run and nothing else, and the table in
//! `docs/hosts.md` is written after each one, so that a run that is cut off keeps what
//! it has seen. A cell that fails or does not end stops no other. Deliberately absent:
//! running cells side by side. Two gateways on a small machine only wait for each other.

mod table;

use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use ride_testkit::peers::{Peer, pinned};
use ride_testkit::story::{Facts, Product, Story};

use crate::build;
use table::{Came, Cell, Table};

/// A story takes about a minute, and five on a machine with others on it; what takes longer has hung.
const CELL: Duration = Duration::from_secs(600);

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
}

impl Matrix {
    /// Whether everything that was played is so.
    pub(crate) fn run(&self) -> Result<bool> {
        let (hosts, claudes, stories) = self.chosen()?;
        let page = build::root().join("docs/hosts.md");
        // Before anything is played: a page without a place for the table is found out now.
        let before = Table::read(&page)?;
        let packed = build::pack()?;
        let (mut whole, mut played) = (true, 0);
        for host in &hosts {
            for claude in &claudes {
                let mut product = Product::new(packed.plugin.clone(), packed.ride.clone());
                (product.openclaw, product.claude_code) = (host.clone(), claude.clone());
                for story in &stories {
                    let skip = self.missing && before.is_whole(host, claude, *story);
                    if skip || story.why_not(host, claude).is_some() {
                        continue;
                    }
                    let begun = Instant::now();
                    let came = play(*story, &product)?;
                    whole &= came.is_whole();
                    played += 1;
                    println!("{host:<20} {claude:<9} {:<14} {came} ({} s)", story.name(), begun.elapsed().as_secs());
                    let cell = Cell { host: host.clone(), claude: claude.clone(), story: *story };
                    // Read again: another run may have written its own cells meanwhile.
                    let mut table = Table::read(&page)?;
                    table.set(cell, came);
                    table.write(&page)?;
                }
            }
        }
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

/// Plays one cell within its time; its facts are in a file of their own.
fn play(story: Story, product: &Product) -> Result<Came> {
    let path = facts_path(story, product)?;
    let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
    let mut told = file.try_clone().context("could not share the facts' file")?;
    let mut facts = Facts::into_file(file);
    let runtime = tokio::runtime::Runtime::new()?;
    let playing = AssertUnwindSafe(|| {
        runtime.block_on(async {
            fetch(product).await?;
            match tokio::time::timeout(CELL, story.play(product, &mut facts)).await {
                Ok(played) => played.map_err(anyhow::Error::from),
                Err(_) => bail!("no end within {} s", CELL.as_secs()),
            }
        })
    });
    let stopped = match catch_unwind(playing) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        // The panic itself was printed where it happened.
        Err(_) => Some("the story panicked".into()),
    };
    // What a cell that hung still runs must not keep the next one from its turn.
    runtime.shutdown_timeout(Duration::from_secs(30));
    if let Some(why) = &stopped {
        let _ = writeln!(told, "stopped: {why}");
    }
    Ok(Came {
        told: facts.told,
        wrong: facts.wrong.into_iter().map(|w| w.fact).collect(),
        stopped: stopped.map(|why| table::first_line(&why)),
    })
}

async fn fetch(product: &Product) -> Result<()> {
    Peer::openclaw(&product.openclaw).fetched().await?;
    Peer::claude_code(&product.claude_code).fetched().await?;
    Ok(())
}

fn facts_path(story: Story, product: &Product) -> Result<PathBuf> {
    let folder: &Path = &build::root().join("target/matrix");
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    Ok(folder.join(format!("{}_{}_{}.txt", product.openclaw, product.claude_code, story.name())))
}
