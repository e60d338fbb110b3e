//! Plays stories, some side by side, each with facts of its own.
//!
//! Invariant: a story that fails, panics or does not end stops no other, and its facts so far
//! are kept in its file below `target/stories`.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::builder::RangedU64ValueParser;
use ride_testkit::peers::Peer;
use ride_testkit::story::{Facts, Product, Story};

use crate::build;

/// A story takes one to three minutes, and seven beside another one; what takes longer has hung.
const LONGEST: Duration = Duration::from_secs(900);

/// How many stories are played side by side where nothing else is said: a story waits half of its
/// time, and small machines have two cores.
pub(crate) const AT_ONCE: usize = 2;

/// How many may be: none would play nothing and find nothing wrong.
pub(crate) fn at_once() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=8)
}

/// A story on a host with a Claude Code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) host: String,
    pub(crate) claude: String,
    pub(crate) story: Story,
}

/// What came of playing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) told: usize,
    pub(crate) wrong: Vec<String>,
    /// Why it was not played to its end.
    pub(crate) stopped: Option<String>,
}

impl Came {
    pub(crate) fn is_whole(&self) -> bool {
        self.wrong.is_empty() && self.stopped.is_none()
    }
}

/// A cell that was played.
pub(crate) struct Played {
    pub(crate) cell: Cell,
    pub(crate) came: Came,
    /// The file with the line of each fact.
    pub(crate) facts: PathBuf,
    pub(crate) took: Duration,
}

/// Plays cells in their order, `at_once` of them side by side; `each` sees one as soon as it is over.
pub(crate) fn play(
    packed: &build::Packed,
    cells: Vec<Cell>,
    at_once: usize,
    mut each: impl FnMut(Played) -> Result<()>,
) -> Result<()> {
    let waiting = Mutex::new(VecDeque::from(cells));
    let next = || waiting.lock().ok().and_then(|mut cells| cells.pop_front());
    thread::scope(|scope| {
        let (over, plays) = mpsc::channel();
        for _ in 0..at_once {
            let over = over.clone();
            scope.spawn(move || {
                while let Some(cell) = next() {
                    // Nobody listens any more once an answer could not be kept.
                    if over.send(one(packed, cell)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(over);
        plays.into_iter().try_for_each(|played| each(played?))
    })
}

/// Plays one cell within its time.
fn one(packed: &build::Packed, cell: Cell) -> Result<Played> {
    let begun = Instant::now();
    let mut product = Product::new(packed.plugin.clone(), packed.ride.clone());
    (product.openclaw, product.claude_code) = (cell.host.clone(), cell.claude.clone());
    let path = facts_path(&cell)?;
    let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
    let mut told = file.try_clone().context("could not share the facts' file")?;
    let mut facts = Facts::into_file(file);
    let runtime = tokio::runtime::Runtime::new()?;
    let playing = AssertUnwindSafe(|| {
        runtime.block_on(async {
            fetch(&product).await?;
            match tokio::time::timeout(LONGEST, cell.story.play(&product, &mut facts)).await {
                Ok(played) => played.map_err(anyhow::Error::from),
                Err(_) => bail!("no end within {} s", LONGEST.as_secs()),
            }
        })
    });
    let stopped = match catch_unwind(playing) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        // The panic itself was printed where it happened.
        Err(_) => Some("the story panicked".into()),
    };
    // What a story that hung still runs must not keep the next one from its turn.
    runtime.shutdown_timeout(Duration::from_secs(30));
    if let Some(why) = &stopped {
        let _ = writeln!(told, "FALSE the story is played to its end: {why}");
    }
    let wrong = facts.wrong.into_iter().map(|w| w.fact).collect();
    let came = Came { told: facts.told, wrong, stopped };
    Ok(Played { cell, came, facts: path, took: begun.elapsed() })
}

async fn fetch(product: &Product) -> Result<()> {
    Peer::openclaw(&product.openclaw).fetched().await?;
    Peer::claude_code(&product.claude_code).fetched().await?;
    Ok(())
}

fn facts_path(cell: &Cell) -> Result<PathBuf> {
    let folder = build::root().join("target/stories");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    Ok(folder.join(format!("{}_{}_{}.txt", cell.host, cell.claude, cell.story.name())))
}
