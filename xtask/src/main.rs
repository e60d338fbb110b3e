//! Build, demo, test and measure. Everything a developer or CI runs is one of these.

mod bench;
mod build;
mod chaos;
mod check;
mod demo;
mod fuzz;
mod matrix;
mod model;
mod notices;
mod pack;
mod platform;
mod play;
mod probe;
mod resume_check;
mod sim;
mod versions;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, demo, test and measure claude-code-sync")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make everything that is given out, into `target/pack`.
    Pack(pack::Pack),
    /// Check that every file that names the version names the same.
    Versions {
        /// A release's tag, which has to be `v` and the version.
        #[arg(long)]
        tag: Option<String>,
    },
    /// Play the product on real hosts: in your terminal, or headless as facts.
    Demo(demo::Demo),
    /// Run every test, the real hosts included.
    Test {
        /// Play every story on every pinned host with every Claude Code instead, into `docs/hosts.md`.
        #[arg(long)]
        matrix: bool,
        /// Run only what needs no download and no real peer: form, lints, unit tests, model and simulation.
        #[arg(long, conflicts_with = "matrix")]
        quick: bool,
        #[command(flatten)]
        cells: matrix::Matrix,
    },
    /// Measure what is promised, side by side, into `docs/measurements.md`.
    Bench(bench::Bench),
    /// Look at every state a small world of drivers, gateway and channel can reach.
    Model(model::Model),
    Sim(sim::Sim),
    /// Break the store with real processes: contention, and kills at any moment.
    Chaos(chaos::Chaos),
    /// Feed every parser of foreign input with nearly that.
    Fuzz(fuzz::Fuzz),
    /// Measure what stock OpenClaw hosts let a plugin do, one line per answer.
    Probe(probe::Probe),
    /// Compare what we say of transcripts with what the real Claude Code does when it resumes them.
    ResumeCheck(resume_check::ResumeCheck),
    /// Bring all code into its one form.
    Fmt {
        /// Change nothing; fail where the form differs.
        #[arg(long)]
        check: bool,
    },
    /// Check the plugin's JavaScript against the host's published types.
    Types,
    /// What a story starts in a network of its own.
    #[command(hide = true)]
    Inside {
        folder: PathBuf,
        ports: Vec<u16>,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.what {
        What::Pack(pack) => pack.run(),
        What::Versions { tag: None } => versions::check(&build::root()),
        What::Versions { tag: Some(tag) } => versions::check_tag(&build::root(), &tag),
        What::Demo(demo) => return exit(demo.run()),
        What::Test { matrix: true, cells, .. } => return exit(cells.run()),
        What::Test { quick, .. } => return exit(check::test(quick)),
        What::Bench(bench) => bench.run(),
        What::Model(model) => return exit(Ok(model.run())),
        What::Sim(sim) => return exit(Ok(sim.run())),
        What::Chaos(chaos) => return exit(chaos.run()),
        What::Fuzz(fuzz) => return exit(fuzz.run()),
        What::Probe(probe) => return exit(probe.run()),
        What::ResumeCheck(check) => return exit(check.run()),
        What::Fmt { check } => check::form(check),
        What::Types => check::types(),
        What::Inside { folder, ports, command } => return inside(&folder, &ports, &command),
    };
    exit(result.map(|()| true))
}

/// What the command ended with.
fn inside(folder: &Path, ports: &[u16], command: &[String]) -> ExitCode {
    match ride_testkit::relay::run_inside(folder, ports, command) {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) => exit(Err(anyhow::Error::new(error).context("could not run it in a network of its own"))),
    }
}

/// 0 when all is well, 1 when something is false, 2 when it could not be found out.
fn exit(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
