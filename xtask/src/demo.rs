//! `cargo xtask demo`: the product on the real hosts, for a person or as facts.

mod alarm;
mod chat;
mod hosts;
mod keys;
mod live;
mod screen;
mod state;
mod view;

use std::fs;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use ride_testkit::peers::pinned;
use ride_testkit::story::{Product, Story};

use crate::build;
use crate::play::{AT_ONCE, Cell, Played, at_once, play};

/// What to play.
#[derive(Args)]
pub(crate) struct Demo {
    /// Play the stories and print their facts, without a person.
    #[arg(long)]
    headless: bool,
    /// Name the stories.
    #[arg(long)]
    list: bool,
    /// Play only this one, headless.
    #[arg(long, value_name = "NAME")]
    story: Option<String>,
    /// The OpenClaw version.
    #[arg(long, value_name = "VERSION")]
    host: Option<String>,
    /// The Claude Code version.
    #[arg(long, value_name = "VERSION")]
    claude: Option<String>,
    /// How many stories are played side by side.
    #[arg(long, value_name = "N", default_value_t = AT_ONCE, value_parser = at_once())]
    at_once: usize,
}

impl Demo {
    /// The stories of the tests: all of them.
    pub(crate) fn of_tests() -> Self {
        Demo { headless: true, list: false, story: None, host: None, claude: None, at_once: AT_ONCE }
    }

    /// Whether every fact held.
    pub(crate) fn run(&self) -> Result<bool> {
        if self.list {
            for story in Story::ALL {
                println!("{:<12} {}", story.name(), story.about());
            }
            return Ok(true);
        }
        if !self.headless && self.story.is_none() {
            return live::play(|| self.product()).map(|()| true);
        }
        let packed = build::pack()?;
        let cells = self.cells()?;
        let (mut told, mut wrong) = (0, 0);
        // Told again at the end, where they are found.
        let mut again = String::new();
        play(&packed, cells, self.at_once, |Played { cell, came, facts, took }| {
            let story = cell.story;
            println!("# {}: {}", story.name(), story.about());
            let lines = fs::read_to_string(&facts).with_context(|| format!("could not read {}", facts.display()))?;
            print!("{lines}");
            println!("# {} took {} s", story.name(), took.as_secs());
            for line in lines.lines().filter(|line| line.starts_with("FALSE")) {
                again += &format!("{line} (story {})\n", story.name());
            }
            told += came.told;
            wrong += came.wrong.len() + usize::from(came.stopped.is_some());
            Ok(())
        })?;
        print!("{again}");
        println!("{told} facts, {wrong} false");
        Ok(wrong == 0)
    }

    /// The stories to play, where they have something to show.
    fn cells(&self) -> Result<Vec<Cell>> {
        let stories: Vec<Story> = match &self.story {
            None => Story::ALL.to_vec(),
            Some(name) => {
                let story = Story::ALL.into_iter().find(|s| s.name() == name);
                vec![story.ok_or_else(|| anyhow!("no story is named {name}; `--list` names them"))?]
            }
        };
        let host = self.host.clone().unwrap_or_else(|| pinned().openclaw[0].clone());
        let claude = self.claude.clone().unwrap_or_else(|| pinned().claude_code[0].clone());
        let mut cells = Vec::new();
        for story in stories {
            match story.why_not(&host, &claude) {
                Some(why) => println!("# {} is not for this host: {why}", story.name()),
                None => cells.push(Cell { host: host.clone(), claude: claude.clone(), story }),
            }
        }
        Ok(cells)
    }

    /// Builds what a person plays.
    fn product(&self) -> Result<Product> {
        let packed = build::pack()?;
        let mut product = Product::new(packed.plugin, packed.ride);
        product.openclaw = self.host.clone().unwrap_or(product.openclaw);
        product.claude_code = self.claude.clone().unwrap_or(product.claude_code);
        Ok(product)
    }
}
