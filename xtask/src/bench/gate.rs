//! The gate on a thread nobody rides: time from JavaScript, system calls from outside.
//!
//! Time is wall time of short rounds, so that load shows in the range and not in the
//! median. System calls are counted by strace over a run and a run twice as long:
//! what grows is the gate's, what does not is Node's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ride_core::event::{ClaimAsked, Event};
use ride_core::id::Process;
use ride_core::rules::Rules;
use ride_core::thread::ClaudeSession;
use ride_core::wire::Driver;
use ride_store::{Store, clock};
use ride_testkit::peers::Peer;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::report::{Row, Section};
use super::sample::{Samples, Unit, digits};
use super::stage::Stage;
use crate::build::{self, Packed};

/// Calls of the shorter counted run.
const COUNTED: u64 = 20_000;
/// Threads the messages belong to, in the runs of their own.
const KEYS: usize = 64;
/// Threads that are ridden while others are written in.
const CROWD: usize = 1_000;
/// The compiler's and the collector's threads differ this much between two runs.
const NOISE: f64 = 0.02;
const NEVER: &str = "never ridden";
const ONCE: &str = "ridden before";

pub(super) struct Measuring {
    plugin: PathBuf,
    state_dir: PathBuf,
    /// Where the gateway keeps its threads.
    lock_dir: PathBuf,
    /// A store nobody ever rode in.
    fresh: TempDir,
    before: Timed,
    during: Timed,
    crowded: Timed,
}

/// Samples by handler.
type Timed = BTreeMap<String, Samples>;

impl Measuring {
    pub(super) fn begin(stage: &Stage, packed: &Packed) -> Result<Self> {
        let plugin = packed.addon.parent().and_then(Path::parent).context("the addon lies in its package")?;
        Ok(Measuring {
            plugin: plugin.into(),
            state_dir: stage.gateway.state_dir(),
            lock_dir: stage.gateway.state_dir().join("claude-code-locks"),
            fresh: tempfile::tempdir_in(build::root().join("target")).context("could not make a folder")?,
            before: Timed::new(),
            during: Timed::new(),
            crowded: Timed::new(),
        })
    }

    /// In the gateway, before anything was ridden.
    pub(super) async fn before(&mut self, stage: &Stage) -> Result<()> {
        self.before = self.in_gateway(stage, json!({}), Value::Null).await?;
        Ok(())
    }

    /// In the gateway, while other threads are ridden.
    pub(super) async fn during(&mut self, stage: &Stage) -> Result<()> {
        self.during = self.in_gateway(stage, json!({}), Value::Null).await?;
        Ok(())
    }

    /// In the gateway, with as many ridden threads as there will ever be, in a store of its own.
    pub(super) async fn crowded(&mut self, stage: &Stage) -> Result<()> {
        eprintln!("claiming {CROWD} threads in a store");
        let (state, locks) = (self.fresh.path().join("crowd-state"), self.fresh.path().join("crowd"));
        fs::create_dir_all(&state)?;
        let store = Store::files(&locks, &fs::canonicalize(&state)?.to_string_lossy())?;
        for i in 0..CROWD {
            store.apply(
                &format!("agent:main:telegram:group:-100{i}"),
                Event::Claim(Box::new(somebody())),
                clock::now(),
                &Rules::default(),
            )?;
        }
        self.crowded = self.in_gateway(stage, json!({}), json!({ "stateDir": state, "lockDir": locks })).await?;
        Ok(())
    }

    async fn in_gateway(&self, stage: &Stage, rounds: Value, store: Value) -> Result<Timed> {
        eprintln!("measuring the gate in the gateway");
        let params = json!({ "step": "gate", "plugin": self.plugin, "keys": [stage.quiet().key], "rounds": rounds, "store": store });
        timed(&stage.connection.call::<_, Value>("probe_step", &params).await?)
    }

    /// In a Node of its own, after the rides.
    pub(super) fn after(self) -> Result<Section> {
        eprintln!("measuring the gate alone");
        let stores = [(NEVER, self.fresh.path()), (ONCE, self.lock_dir.as_path())];
        let output = self.alone(&stores, None)?.output().context("could not run node")?;
        if !output.status.success() {
            bail!("the gate's loop failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let alone = timed(&serde_json::from_slice(&output.stdout).context("could not read the gate's times")?)?;
        let of = |timed: &Timed, name: &str| timed.get(name).cloned().with_context(|| format!("no times of {name}"));
        let noop = of(&alone, "noop")?;

        let row = |what: &str, samples: &Samples, noop: &Samples| {
            Row::plain(what, samples.shown(Unit::MicrosOfNanos)).against(
                format!("a handler that does nothing {}", noop.shown(Unit::MicrosOfNanos)),
                samples.median() / noop.median(),
            )
        };
        let fast = |row: Row, samples: &Samples| row.target("≤ 2 µs", samples.median() <= 2_000.0);
        let mut rows = Vec::new();
        for (name, what) in [(NEVER, "nothing was ever ridden"), (ONCE, "rides have been, none now")] {
            let samples = of(&alone, name)?;
            rows.push(fast(row(what, &samples, &noop), &samples));
            rows.push(self.counted(what, stores.iter().filter(|(n, _)| *n == name).copied().collect())?);
        }
        let (in_gateway, nothing) = (of(&self.before, "gate")?, of(&self.before, "noop")?);
        rows.push(fast(row("inside the gateway, nothing was ever ridden", &in_gateway, &nothing), &in_gateway));
        let (in_gateway, nothing) = (of(&self.during, "gate")?, of(&self.during, "noop")?);
        rows.push(row("inside the gateway, other threads are ridden", &in_gateway, &nothing));
        let (crowded, nothing) = (of(&self.crowded, "gate")?, of(&self.crowded, "noop")?);
        rows.push(
            row("inside the gateway, 1,000 others are ridden", &crowded, &nothing)
                .target("≤ 5 µs", crowded.median() <= 5_000.0),
        );
        let (present, absent, least) = self.kernel()?;
        rows.push(Row::plain(
            "for comparison, from Rust: the cheapest system call (`getppid`)",
            least.shown(Unit::MicrosOfNanos),
        ));
        rows.push(Row::plain("`fstat` of an open file", present.shown(Unit::MicrosOfNanos)));
        rows.push(Row::plain("`fstatat` of that file by name", absent.shown(Unit::MicrosOfNanos)));
        Ok(Section {
            title: "The gate on a thread nobody rides",
            how: "The packed plugin's own `before_dispatch` handler, called from JavaScript in the pinned Node with the event and context\n\
                  of a forum message: rounds of 250 calls after 20,000 unmeasured, by turns with a handler that does nothing, time per\n\
                  call. System calls: strace over a whole Node process, the difference of a run and one twice as long, per call; up to 0.02 is other threads' work."
                .into(),
            rows,
        })
    }

    fn alone(&self, stores: &[(&str, &Path)], calls: Option<u64>) -> Result<Command> {
        let mut command = Command::new(Peer::node().entry()?);
        self.arguments(&mut command, stores, calls);
        Ok(command)
    }

    fn arguments(&self, command: &mut Command, stores: &[(&str, &Path)], calls: Option<u64>) {
        let stores: BTreeMap<_, _> = stores.iter().copied().collect();
        let keys: Vec<String> =
            (0..KEYS).map(|i| format!("agent:main:telegram:group:-1002222222222:topic:{}", 1000 + i)).collect();
        let mut what = json!({ "plugin": self.plugin, "stateDir": self.state_dir, "stores": stores, "keys": keys });
        if let Some(calls) = calls {
            what["calls"] = calls.into();
        }
        command.arg(build::root().join("xtask/src/bench/steps/alone.js")).arg(what.to_string());
    }

    /// System calls per call of the gate.
    fn counted(&self, what: &str, stores: Vec<(&str, &Path)>) -> Result<Row> {
        let what = format!("{what}: system calls per call");
        if Command::new("strace").arg("-V").output().is_err() {
            return Ok(Row::plain(what, "not counted: there is no strace on this machine"));
        }
        let short = self.traced(&stores, COUNTED)?;
        let long = self.traced(&stores, 2 * COUNTED)?;
        let grown = |name: &str| {
            (long.get(name).copied().unwrap_or(0) as f64 - short.get(name).copied().unwrap_or(0) as f64)
                / COUNTED as f64
        };
        let named: Vec<String> = long
            .keys()
            .map(|n| (n, grown(n)))
            .filter(|(_, g)| *g > NOISE)
            .map(|(n, g)| format!("`{n}` {}", digits(g)))
            .collect();
        let all: f64 = long.keys().map(|name| grown(name)).sum();
        Ok(Row::plain(what, format!("{} ({})", digits(all), named.join(", "))).target("≤ 1", all <= 1.0 + NOISE))
    }

    fn traced(&self, stores: &[(&str, &Path)], calls: u64) -> Result<BTreeMap<String, u64>> {
        let table = self.fresh.path().join("strace.txt");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(&table).arg(Peer::node().entry()?);
        self.arguments(&mut command, stores, Some(calls));
        build::run(&mut command)?;
        let text = fs::read_to_string(&table).context("could not read strace's table")?;
        let rows = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
        // `% time, seconds, usecs/call, calls, [errors,] syscall`, then a line of totals.
        let counts: BTreeMap<String, u64> = rows
            .filter(|c| c.len() >= 5 && c.last() != Some(&"total"))
            .filter_map(|c| Some((c.last()?.to_string(), c[3].parse().ok()?)))
            .collect();
        if counts.is_empty() {
            bail!("strace counted nothing: {text}");
        }
        Ok(counts)
    }

    /// What the kernel takes on this machine: an open file, the same by name, and nothing at all.
    fn kernel(&self) -> Result<(Samples, Samples, Samples)> {
        let path = self.fresh.path().join("present");
        fs::write(&path, "{}")?;
        let dir = rustix::fs::open(self.fresh.path(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        let file = fs::File::open(&path)?;
        let mut took = [Samples::default(), Samples::default(), Samples::default()];
        let each = |run: &dyn Fn() -> rustix::io::Result<()>| -> Result<f64> {
            let begin = Instant::now();
            for _ in 0..250 {
                run()?;
            }
            Ok(begin.elapsed().as_nanos() as f64 / 250.0)
        };
        for _ in 0..200 {
            took[0].push(each(&|| rustix::fs::fstat(&file).map(drop))?);
            took[1].push(each(&|| rustix::fs::statat(&dir, c"present", AtFlags::SYMLINK_NOFOLLOW).map(drop))?);
            took[2].push(each(&|| {
                let _ = rustix::process::getppid();
                Ok(())
            })?);
        }
        let [open, named, least] = took;
        Ok((open, named, least))
    }
}

/// A claim as a driver makes it, each on a Claude session of its own.
fn somebody() -> ClaimAsked {
    ClaimAsked {
        identity: None,
        driver: Driver {
            name: "ada".into(),
            host: "laptop".into(),
            process: Process { machine: "m".into(), namespace: None, pid: 1, start: 1 },
        },
        secret_sha256: String::new(),
        grant: Uuid::new_v4(),
        title: "a thread".into(),
        claude: Some(ClaudeSession { id: Uuid::new_v4(), config_dir: "/c".into(), cwd: "/w".into() }),
        route: None,
        twins: Vec::new(),
        wait_ms: 1,
        session_held: None,
        steal: false,
        adopts: None,
    }
}

fn timed(value: &Value) -> Result<Timed> {
    let of = |(name, took): (&String, &Value)| {
        let took = took.as_str().context("a handler's times are text")?;
        let took: Vec<f64> =
            took.split(' ').map(str::parse).collect::<Result<_, _>>().context("could not read a handler's times")?;
        Ok((name.clone(), Samples::from(took)))
    };
    value.as_object().context("the gate's times are an object")?.iter().map(of).collect()
}
