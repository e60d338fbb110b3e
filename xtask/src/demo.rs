//! `cargo xtask demo`: the product on the real hosts, for a person or as facts.

mod alarm;
mod chat;
mod hosts;
mod keys;
mod live;
mod screen;
mod state;
mod view;

use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::Args;
use ride_testkit::story::{Facts, Product, Story};

use crate::build;

/// What to play.
#[derive(Args, Default)]
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
}

impl Demo {
    /// The stories of the tests: all of them.
    pub(crate) fn of_tests() -> Self {
        Demo { headless: true, ..Demo::default() }
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
        let product = self.product()?;
        let stories: Vec<Story> = match &self.story {
            None => Story::ALL.to_vec(),
            Some(name) => {
                let story = Story::ALL.into_iter().find(|s| s.name() == name);
                vec![story.ok_or_else(|| anyhow!("no story is named {name}; `--list` names them"))?]
            }
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let mut facts = Facts::default();
        // Told again at the end, where they are found.
        let mut again = String::new();
        for story in stories {
            if let Some(why) = story.why_not(&product.openclaw, &product.claude_code) {
                println!("# {} is not for this host: {why}", story.name());
                continue;
            }
            println!("# {}: {}", story.name(), story.about());
            let (begun, before) = (Instant::now(), facts.wrong.len());
            if let Err(error) = runtime.block_on(story.play(&product, &mut facts)) {
                facts.tell(false, "the story is played to its end", format!("{error:#}"));
            }
            println!("# {} took {} s", story.name(), begun.elapsed().as_secs());
            for wrong in &facts.wrong[before..] {
                again += &format!("FALSE in {}: {}: {}\n", story.name(), wrong.fact, wrong.observed);
            }
        }
        print!("{again}");
        println!("{} facts, {} false", facts.told, facts.wrong.len());
        Ok(facts.wrong.is_empty())
    }

    /// Builds what is played.
    fn product(&self) -> Result<Product> {
        let packed = build::pack()?;
        let mut product = Product::new(packed.plugin, packed.ride);
        product.openclaw = self.host.clone().unwrap_or(product.openclaw);
        product.claude_code = self.claude.clone().unwrap_or(product.claude_code);
        Ok(product)
    }
}
