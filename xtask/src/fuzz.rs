//! `cargo xtask fuzz`: every reader of what another program wrote, given nearly that.
//!
//! A worker process reads input after input; its parent sees it panic, crash, run out of
//! the memory an input may take, or hang, makes the input small and prints the command
//! that repeats it. The input lies in a file before it is read, so nothing is lost with
//! the worker. Absent on purpose: coverage feedback, which stable Rust does not give; the
//! inputs are made of what peers really write instead.

mod mutate;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use cap::Cap;
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::build;
use mutate::Random;
use targets::Target;

/// Counts what is allocated, and refuses more than an input may take.
#[global_allocator]
static MEMORY: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

/// What any input may take, and what each of its bytes may: a parsed value is some
/// dozens of times its text.
const MEMORY_BYTES: usize = 64 << 20;
const MEMORY_PER_BYTE: usize = 256;
/// The same for a reader that keeps nothing of what it reads.
const KEEPS_NOTHING: [(&str, usize, usize); 1] = [("meta", 64 << 10, 4)];
/// Processor time of one input, unoptimised: the largest ones take a tenth.
const CPU: Duration = Duration::from_secs(4);
/// An input that is read as long is hung, on however busy a machine.
const HUNG: Duration = Duration::from_secs(90);
/// Violations after which the rest would be the same.
const ENOUGH: usize = 20;
/// How long an input is made smaller.
const SHRINKING: Duration = Duration::from_secs(30);

/// Feed every parser of foreign input.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed gives the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this reader.
    #[arg(long)]
    only: Option<String>,
    /// Read one input again, from a file.
    #[arg(long, num_args = 2, value_names = ["READER", "FILE"])]
    replay: Vec<String>,
    /// The worker: where an input lies while it is read.
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
    /// The worker's first input.
    #[arg(long, hide = true, default_value_t = 0)]
    from: u64,
}

static PANIC: Mutex<Option<String>> = Mutex::new(None);

impl Fuzz {
    pub(crate) fn run(self) -> Result<bool> {
        if let [reader, file] = &self.replay[..] {
            quiet_panics();
            let input = fs::read(file).with_context(|| format!("could not read {file}"))?;
            let targets = targets::all()?;
            let target =
                targets.iter().find(|t| t.name == reader).with_context(|| format!("no such reader: {reader}"))?;
            let read = one(target, &input);
            println!("{reader}: {}", read.as_ref().err().map_or("read", |what| what));
            return Ok(read.is_ok());
        }
        match &self.worker {
            Some(file) => self.work(file),
            None => self.watch(),
        }
    }

    fn work(&self, file: &Path) -> Result<bool> {
        quiet_panics();
        let targets = targets::all()?;
        let chosen: Vec<&Target> =
            targets.iter().filter(|t| self.only.as_deref().is_none_or(|only| only == t.name)).collect();
        if chosen.is_empty() {
            bail!("no such reader; there are {}", targets.iter().map(|t| t.name).collect::<Vec<_>>().join(", "));
        }
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut nth = self.from;
        while Instant::now() < end {
            let mut random = Random::new(self.seed, nth);
            let target = chosen[(nth % chosen.len() as u64) as usize];
            let input = mutate::mutated(&target.samples, &mut random);
            fs::write(file, [format!("{} {nth}\n", target.name).as_bytes(), &input].concat())?;
            if let Err(what) = one(target, &input) {
                println!("{what}");
                return Ok(false);
            }
            nth += 1;
        }
        fs::write(file, format!("- {nth}\n"))?;
        Ok(true)
    }

    /// Starts workers until the time is over, and tells what stopped each.
    fn watch(&self) -> Result<bool> {
        let dir = scratch()?;
        let file = dir.path().join("input");
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let (mut from, mut violations) = (0, 0);
        let mut known: Vec<String> = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now()).as_secs();
            if violations > 0 && left == 0 || violations >= ENOUGH {
                break;
            }
            fs::write(&file, format!("- {from}\n"))?;
            let mut worker = Command::new(std::env::current_exe()?);
            worker
                .args([
                    "fuzz",
                    "--seconds",
                    &left.to_string(),
                    "--seed",
                    &self.seed.to_string(),
                    "--from",
                    &from.to_string(),
                    "--worker",
                ])
                .arg(&file);
            if let Some(only) = &self.only {
                worker.args(["--only", only]);
            }
            let ended = ended(worker, &file, HUNG)?;
            let current = fs::read(&file)?;
            let head = current.iter().position(|b| *b == b'\n').context("a worker names its input first")?;
            let said = String::from_utf8_lossy(&current[..head]).into_owned();
            let (reader, nth) = said.split_once(' ').context("a worker names its reader and input")?;
            let nth: u64 = nth.parse()?;
            let Some(what) = ended else {
                from = nth;
                break;
            };
            if reader == "-" {
                bail!("the worker did not begin: {what}");
            }
            violations += 1;
            from = nth + 1;
            let mut input = current[head + 1..].to_vec();
            if !known.contains(&reader.to_owned()) {
                known.push(reader.to_owned());
                input = self.small(reader, input, dir.path())?;
            }
            let hash: String = Sha256::digest(&input)[..4].iter().map(|b| format!("{b:02x}")).collect();
            let kept = build::root().join(format!("target/fuzz/{reader}-{hash}"));
            fs::create_dir_all(kept.parent().context("the file lies in a folder")?)?;
            fs::write(&kept, &input)?;
            println!("VIOLATION {reader}, seed {}, input {nth}: {what}", self.seed);
            println!("  {} bytes: {}", input.len(), input[..input.len().min(200)].escape_ascii());
            println!("  cargo xtask fuzz --replay {reader} {}", kept.display());
        }
        println!("inputs: {from}, violations: {violations}");
        Ok(violations == 0)
    }

    /// The input without what it breaks something without.
    fn small(&self, reader: &str, mut input: Vec<u8>, dir: &Path) -> Result<Vec<u8>> {
        let file = dir.join("smaller");
        let breaks = |input: &[u8]| -> Result<bool> {
            fs::write(&file, input)?;
            let mut replay = Command::new(std::env::current_exe()?);
            replay.args(["fuzz", "--replay", reader]).arg(&file).stderr(Stdio::null());
            Ok(ended(replay, &file, Duration::from_secs(20))?.is_some())
        };
        let mut piece = input.len().div_ceil(2);
        let end = Instant::now() + SHRINKING;
        while piece > 0 && Instant::now() < end {
            let mut at = 0;
            while at < input.len() && Instant::now() < end {
                let mut less = input.clone();
                less.drain(at..(at + piece).min(input.len()));
                if breaks(&less)? {
                    input = less;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
        Ok(input)
    }
}

/// Runs a process to its end; what was wrong, if anything was. `alive` is a file that
/// changes while it gets on.
fn ended(mut command: Command, alive: &Path, patience: Duration) -> Result<Option<String>> {
    let begun = SystemTime::now();
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start a process")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let last = fs::metadata(alive)?.modified()?.max(begun);
        if last.elapsed().is_ok_and(|still| still > patience) {
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("no end within {} s", patience.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = std::io::read_to_string(child.stdout.context("a piped child has an output")?)?;
    Ok(match status.code() {
        Some(0) => None,
        Some(1) => Some(said.lines().last().unwrap_or("it says nothing").to_owned()),
        _ => Some(format!("it crashed: {status}")),
    })
}

/// A folder in memory where the machine has one: a disk takes longer than a reader.
fn scratch() -> Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).context("could not make a folder")
}

/// Reads one input within its time and memory.
fn one(target: &Target, input: &[u8]) -> std::result::Result<(), String> {
    let cpu = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let begun = cpu();
    let own = KEEPS_NOTHING.iter().find(|(name, ..)| *name == target.name);
    let (bytes, per_byte) = own.map_or((MEMORY_BYTES, MEMORY_PER_BYTE), |(_, bytes, per_byte)| (*bytes, *per_byte));
    let limit = MEMORY.allocated() + bytes + per_byte * input.len();
    MEMORY.set_limit(limit).map_err(|_| "the limit is under what is in use".to_owned())?;
    let read = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    MEMORY.set_limit(usize::MAX).map_err(|_| "no limit is over every use".to_owned())?;
    let took = cpu().saturating_sub(begun);
    let panicked = PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match (panicked, read) {
        (Some(panic), _) => Err(format!("panic: {panic}")),
        (None, Err(_)) => Err("panic".into()),
        (None, Ok(read)) if took <= CPU => read,
        (None, Ok(_)) => Err(format!("{} bytes took {:.1} s of processor time", input.len(), took.as_secs_f64())),
    }
}

/// Panics are told by the parent, those of other threads too.
fn quiet_panics() {
    set_hook(Box::new(|info| {
        *PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(info.to_string().replace('\n', ": "));
    }));
}
