//! `cargo xtask chaos`: real processes on one store. Many contend for one Claude session,
//! through two gateways; writers are killed at any moment.
//!
//! What must hold is seen from outside: each process says what it was answered, and the
//! parent compares. Two at once are found by a file that only one can make. With `--whole`
//! it is the real peers that are killed, at each step of a ride.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use ride_core::event::{ClaimAsked, Event, Reply};
use ride_core::id::{Fence, Process};
use ride_core::rules::Rules;
use ride_core::thread::ClaudeSession;
use ride_core::wire::Driver;
use ride_store::{Gate, Store, clock};
use ride_testkit::peers::Peer;
use ride_testkit::story::{Facts, Product, kills};
use uuid::Uuid;

use crate::build;

const KEY: &str = "agent:main:telegram:group:-100:topic:42";
const GATEWAYS: [&str; 2] = ["/state", "/elsewhere"];
/// Through which both gateways' threads are bound.
const CLAUDE: Uuid = Uuid::from_u128(7);
/// A refused driver asks again within.
const AGAIN_MS: u64 = 4;
/// Violations shown; the rest is counted.
const SHOWN: usize = 20;

/// Break the store with real processes.
#[derive(Args)]
pub(crate) struct Chaos {
    /// Writers killed.
    #[arg(long, default_value_t = 2_000)]
    rounds: usize,
    /// Grants contended for.
    #[arg(long, default_value_t = 10_000)]
    grants: u64,
    /// Processes that contend.
    #[arg(long, default_value_t = 64)]
    processes: usize,
    /// Instead: kill the gateway, `ride` and Claude Code at each step of a ride, on the real
    /// peers, so many times.
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "1")]
    whole: Option<usize>,
    /// Of these kills only those whose name has this, such as ride/leaving/drain.
    #[arg(long, value_name = "NAME", requires = "whole", default_value = "")]
    only: String,
    /// Of the moments of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One of the processes, by its number.
    #[arg(long, hide = true)]
    contend: Option<usize>,
    /// The process that is killed.
    #[arg(long, hide = true)]
    write: bool,
    /// The store of such a process.
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
}

impl Chaos {
    pub(crate) fn run(self) -> Result<bool> {
        if let Some(dir) = &self.dir {
            match self.contend {
                Some(n) => contend(dir, n)?,
                None if self.write => write(dir)?,
                None => bail!("--dir is for the processes this command starts"),
            }
            return Ok(true);
        }
        if let Some(rounds) = self.whole {
            return whole(rounds, &self.only);
        }
        let mut violations = Violations::default();
        let grants = self.contention(&mut violations)?;
        let kills = self.kills(&mut violations)?;
        println!("grants: {grants}, kills: {kills}, violations: {}", violations.0);
        Ok(violations.0 == 0)
    }

    /// Exactly one winner for each epoch, and never two at once.
    fn contention(&self, violations: &mut Violations) -> Result<u64> {
        let dir = tempfile::tempdir()?;
        let mut children = Vec::new();
        for n in 0..self.processes {
            children.push(ours(dir.path(), &["--contend", &n.to_string()])?);
        }
        let (send, answers) = std::sync::mpsc::channel();
        for (n, child) in children.iter_mut().enumerate() {
            let lines = BufReader::new(child.stdout.take().context("a piped child has an output")?).lines();
            let send = send.clone();
            std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send((n, line))).ok());
        }
        drop(send);
        let mut won: BTreeMap<(String, u64), usize> = BTreeMap::new();
        while (won.len() as u64) < self.grants {
            let (n, line) = answers.recv().context("every process has ended")?;
            note(&mut won, n, &line, violations);
        }
        for (n, child) in children.iter_mut().enumerate() {
            if let Some(status) = child.try_wait()? {
                violations.add(format!("process {n} ended by itself: {status}"));
            }
            child.kill()?;
            child.wait()?;
        }
        answers.iter().for_each(|(n, line)| note(&mut won, n, &line, violations));
        for gateway in GATEWAYS {
            let epochs: Vec<u64> = won.keys().filter(|(g, _)| g == gateway).map(|(_, epoch)| *epoch).collect();
            let last = Store::files(dir.path(), gateway)?.read(KEY)?.map_or(0, |t| t.epoch);
            // Whoever was killed between its grant and saying so leaves a gap.
            let silent = (1..=last).filter(|epoch| !epochs.contains(epoch)).count();
            if silent > self.processes || epochs.last().is_some_and(|e| *e > last) {
                violations.add(format!("{gateway}: {silent} of {last} epochs have no winner"));
            }
            eprintln!("{gateway}: {} grants to {} processes", epochs.len(), self.processes);
        }
        Ok(won.len() as u64)
    }

    /// The value before or the value after, whatever the moment; and nothing held by the dead.
    fn kills(&self, violations: &mut Violations) -> Result<usize> {
        let dir = tempfile::tempdir()?;
        let mut random = self.seed;
        let mut incarnation = None;
        for round in 0..self.rounds {
            let mut child = ours(dir.path(), &["--write"])?;
            let mut lines = BufReader::new(child.stdout.take().context("a piped child has an output")?).lines();
            let Some(Ok(first)) = lines.next() else {
                violations.add(format!("round {round}: the writer could not begin: {}", child.wait()?));
                break;
            };
            let mut said = vec![first];
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Not to wait for something: the moment is the experiment.
            std::thread::sleep(Duration::from_micros((random >> 33) % 6_000));
            child.kill()?;
            child.wait()?;
            said.extend(lines.map_while(Result::ok));
            let last = said.last().context("it said something")?;
            let (what, epoch) = last.split_once(' ').context("a writer says what and which")?;
            let acknowledged: u64 = epoch.parse()?;

            let store = Store::files(dir.path(), GATEWAYS[0])?;
            let thread = store.read(KEY).map_err(|e| violations.add(format!("round {round}: {e}"))).ok().flatten();
            let Some(thread) = thread else {
                violations.add(format!("round {round}: the thread is gone after {last:?}"));
                continue;
            };
            let here = (thread.lease().is_some(), thread.epoch);
            let allowed = match what {
                "claimed" => [(true, acknowledged), (false, acknowledged)],
                _ => [(false, acknowledged), (true, acknowledged + 1)],
            };
            if !allowed.contains(&here) {
                violations.add(format!("round {round}: {here:?} after {last:?}"));
            }
            if *incarnation.get_or_insert(thread.incarnation) != thread.incarnation {
                violations.add(format!("round {round}: another incarnation after {last:?}"));
                incarnation = Some(thread.incarnation);
            }
            if thread.closed() && store.gate(KEY)? != Gate::Closed
                || thread.lease().is_some() && !store.ridden(CLAUDE)?
            {
                violations.add(format!("round {round}: the index names too little after {last:?}"));
            }
            if store.perform()?.is_none() {
                violations.add(format!("round {round}: the dead still performs"));
            }
            if let Some(lease) = thread.lease() {
                release(&store, lease.fence)?;
            }
        }
        Ok(self.rounds)
    }
}

/// With the whole product, on the newest pinned peers.
fn whole(rounds: usize, only: &str) -> Result<bool> {
    let packed = build::pack()?;
    let product = Product::new(packed.plugin, packed.ride);
    let mut facts = Facts::default();
    tokio::runtime::Runtime::new()?.block_on(async {
        Peer::openclaw(&product.openclaw).fetched().await?;
        Peer::claude_code(&product.claude_code).fetched().await?;
        kills::play(&product, &mut facts, rounds, only).await
    })?;
    println!("facts: {}, violations: {}", facts.told, facts.wrong.len());
    Ok(facts.wrong.is_empty())
}

#[derive(Default)]
struct Violations(usize);

impl Violations {
    fn add(&mut self, what: String) {
        self.0 += 1;
        if self.0 <= SHOWN {
            println!("VIOLATION {what}");
        }
    }
}

fn note(won: &mut BTreeMap<(String, u64), usize>, n: usize, line: &str, violations: &mut Violations) {
    let told = line
        .strip_prefix("won ")
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(gateway, epoch)| Some((gateway.to_owned(), epoch.parse().ok()?)));
    let Some(grant) = told else { return violations.add(format!("process {n}: {line}")) };
    if let Some(other) = won.insert(grant.clone(), n) {
        violations.add(format!("epoch {} of {} was won by {other} and by {n}", grant.1, grant.0));
    }
}

fn ours(dir: &Path, args: &[&str]) -> Result<Child> {
    let exe = std::env::current_exe()?;
    Command::new(exe)
        .arg("chaos")
        .arg("--dir")
        .arg(dir)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start a process")
}

fn claim(store: &Store, name: &str) -> Result<Option<Fence>> {
    let asked = ClaimAsked {
        identity: None,
        driver: Driver {
            name: name.into(),
            host: "h".into(),
            process: Process { machine: "m".into(), namespace: None, pid: 1, start: 2 },
        },
        secret_sha256: name.into(),
        grant: Uuid::new_v4(),
        title: "t".into(),
        claude: Some(ClaudeSession { id: CLAUDE, config_dir: "/c".into(), cwd: "/w".into() }),
        route: None,
        twins: Vec::new(),
        wait_ms: 1_000,
        session_held: None,
        steal: false,
        adopts: None,
    };
    match store.apply(KEY, Event::Claim(Box::new(asked)), clock::now(), &Rules::default())?.1 {
        Reply::Claiming { fence } => Ok(Some(fence)),
        Reply::Refused { .. } => Ok(None),
        other => bail!("a claim was answered by {other:?}"),
    }
}

fn release(store: &Store, fence: Fence) -> Result<()> {
    let (thread, reply) =
        store.apply(KEY, Event::Release { fence, accept_broken: false }, clock::now(), &Rules::default())?;
    if thread.lease().is_some() {
        bail!("a release was answered by {reply:?}");
    }
    Ok(())
}

/// Claims and releases until it is killed; every fourth process through another gateway.
fn contend(dir: &Path, n: usize) -> Result<()> {
    let gateway = GATEWAYS[usize::from(n % 4 == 3)];
    let store = Store::files(dir, gateway)?;
    let held = dir.join("held");
    let mut out = std::io::stdout().lock();
    let mut random = n as u64 + 1;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let Some(fence) = claim(&store, &format!("d{n}"))? else {
            std::thread::sleep(Duration::from_micros((random >> 33) % (AGAIN_MS * 1_000)));
            continue;
        };
        if OpenOptions::new().write(true).create_new(true).open(&held).is_err() {
            writeln!(out, "holds {fence} beside another")?;
        }
        writeln!(out, "won {gateway} {}", fence.epoch)?;
        out.flush()?;
        fs::remove_file(&held).ok();
        release(&store, fence)?;
    }
}

/// Claims and releases, and says each when it was answered, until it is killed.
fn write(dir: &Path) -> Result<()> {
    let store = Store::files(dir, GATEWAYS[0])?;
    let _performer = store.perform()?.context("another one performs")?;
    let mut out = std::io::stdout().lock();
    loop {
        let fence = claim(&store, "writer")?.context("nobody else claims")?;
        writeln!(out, "claimed {}", fence.epoch)?;
        out.flush()?;
        release(&store, fence)?;
        writeln!(out, "released {}", fence.epoch)?;
        out.flush()?;
    }
}
