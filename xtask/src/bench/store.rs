//! Claim and release, durable, by the store alone, against what else could keep a lease
//! on the same disk: a lock file of a Node package, and SQLite.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use ride_testkit::peers::Peer;
use tempfile::TempDir;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use crate::build::{self, cargo, run};

/// The package most Node programs lock files with.
const LOCKFILE: &str = "proper-lockfile@4.1.2";
const UNMEASURED: usize = 20;
const ROUNDS: usize = 200;

/// One way to keep a lease, in a process of its own.
struct Way {
    child: Child,
    answers: BufReader<ChildStdout>,
    samples: Samples,
    _folder: TempDir,
}

impl Way {
    fn begin(command: &mut Command, target: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(target).context("could not make a folder to claim in")?;
        let mut child = command
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not run {command:?}"))?;
        let answers = BufReader::new(child.stdout.take().context("a piped child has an output")?);
        Ok(Way { child, answers, samples: Samples::default(), _folder: folder })
    }

    /// One claim and release, in nanoseconds.
    fn once(&mut self) -> Result<f64> {
        self.child.stdin.as_mut().context("a piped child has an input")?.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("a way to claim ended: {line:?}"))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn measure() -> Result<Section> {
    let root = build::root();
    let target = root.join("target");
    run(Command::new(cargo()).current_dir(&root).args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "-p",
        "xtask",
        "--example",
        "claims",
    ]))?;
    let ours = target.join("release/examples/claims");
    let node = tokio::runtime::Runtime::new()?.block_on(Peer::node().fetched())?;
    let lockfile = lockfile(&target)?;
    let rust = |how: &str| Way::begin(Command::new(&ours).arg(how), &target);
    let mut ways = [
        rust("store")?,
        Way::begin(Command::new(node).arg(root.join("xtask/src/bench/steps/lockfile.js")).arg(&lockfile), &target)?,
        rust("rollback")?,
        rust("wal")?,
    ];
    for round in 0..UNMEASURED + ROUNDS {
        for way in &mut ways {
            let took = way.once()?;
            if round >= UNMEASURED {
                way.samples.push(took);
            }
        }
    }
    let [store, lockfile, rollback, wal] = &ways;
    let shown = |way: &Way| way.samples.shown(Unit::MicrosOfNanos);
    let against = |name: &str, way: &Way| {
        let ratio = store.samples.median() / way.samples.median();
        Row::plain("claim and release by the store", shown(store))
            .against(format!("{name} {}", shown(way)), ratio)
            .target("≤ 1×", ratio <= 1.0)
    };
    Ok(Section {
        title: "A lease on disk",
        how: "One claim and one release of one thread, each durable before it counts, by turns, each way in a process of its own\n\
              on the same disk, which is the sources'. The store decides and writes as in the gateway. The others read who has\n\
              the thread, and write as much as the store does: `proper-lockfile` around a file that is replaced and synced with\n\
              its folder like ours; SQLite by `BEGIN IMMEDIATE` with `synchronous=FULL`, by its journal of default and by its\n\
              write-ahead log."
            .into(),
        rows: vec![
            against("`proper-lockfile`", lockfile),
            against("SQLite, rollback journal", rollback),
            against("SQLite, write-ahead log", wal),
        ],
    })
}

/// The package's folder, installed beside the peers.
fn lockfile(target: &Path) -> Result<PathBuf> {
    let tools = target.join("peers/proper-lockfile");
    let package = tools.join("node_modules/proper-lockfile");
    if !package.exists() {
        fs::create_dir_all(&tools)?;
        let install =
            ["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", "."];
        run(Command::new("npm").current_dir(&tools).args(install).arg(LOCKFILE))?;
    }
    if !package.exists() {
        bail!("npm installed, but not {}", package.display());
    }
    Ok(package)
}
