//! Every test, in the order that finds a mistake soonest. CI is exactly this.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use ride_testkit::peers::{Peer, pinned};
use serde_json::json;

use crate::build::{self, cargo, run};
use crate::demo::Demo;
use crate::resume_check::ResumeCheck;
use crate::versions;

/// The crates whose tests start neither a host nor a Claude Code.
const QUICK: [&str; 5] = ["ride-core", "ride-store", "ride-node", "ride-model", "ride-sim"];

/// The formatter and linter of the JavaScript: one program for both, without a tree of plugins.
const BIOME: &str = "@biomejs/biome@2.6.8";
/// Versions of the type checker and Node's types.
const TYPESCRIPT: &str = "typescript@7.0.2";
const NODE_TYPES: &str = "@types/node@24.19.2";

/// Runs every test, or with `quick` only what needs no download and no real peer.
pub(crate) fn test(quick: bool) -> Result<bool> {
    let root = build::root();
    let mut steps = Steps::default();
    steps.begin("versions");
    versions::check(&root)?;
    steps.begin("form of the Rust code");
    rust_form(true)?;
    if !quick {
        steps.begin("form and lints of the JavaScript");
        javascript_form(true)?;
    }
    steps.begin("lints");
    let clippy = ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(Command::new(cargo()).current_dir(&root).args(clippy))?;
    if quick {
        steps.begin("tests of the crates that start no real peer");
        let packages = QUICK.iter().flat_map(|name| ["--package", name]);
        run(Command::new(cargo()).current_dir(&root).args(["test", "--quiet", "--locked"]).args(packages))?;
        steps.end();
        return Ok(true);
    }
    steps.begin("real peers");
    fetch()?;
    steps.begin("types of the gateway plugin");
    types()?;
    // What is false in one of these does not hide what is false in the next.
    let mut wrong = Vec::new();
    steps.begin("tests");
    let tests = ["test", "--quiet", "--locked", "--workspace", "--no-fail-fast"];
    if let Err(error) = run(Command::new(cargo()).current_dir(&root).args(tests)) {
        wrong.push(format!("tests: {error:#}"));
    }
    steps.begin("transcripts as the real Claude Codes resume them");
    if !ResumeCheck::of(root.join("fixtures/claude-code")).run()? {
        wrong.push("transcripts: see the lines of that step".to_owned());
    }
    steps.begin("stories on the real hosts");
    if !Demo::of_tests().run()? {
        wrong.push("stories: see the lines with FALSE above".to_owned());
    }
    steps.end();
    wrong.iter().for_each(|what| eprintln!("FAILED {what}"));
    Ok(wrong.is_empty())
}

/// The steps of a run, with the time that each took.
#[derive(Default)]
struct Steps {
    current: Option<(&'static str, Instant)>,
}

impl Steps {
    fn begin(&mut self, name: &'static str) {
        self.end();
        eprintln!("== {name}");
        self.current = Some((name, Instant::now()));
    }

    fn end(&mut self) {
        if let Some((name, begun)) = self.current.take() {
            eprintln!("== {name} took {} s", begun.elapsed().as_secs());
        }
    }
}

/// Brings all code into its one form, or with `check` only says where it differs.
pub(crate) fn form(check: bool) -> Result<()> {
    rust_form(check)?;
    javascript_form(check)
}

fn rust_form(check: bool) -> Result<()> {
    let check = check.then_some("--check");
    run(Command::new(cargo()).current_dir(build::root()).args(["fmt", "--all"]).args(check))
}

/// The form, the order of imports and the lints, as `biome.jsonc` has them.
fn javascript_form(check: bool) -> Result<()> {
    let tools = npm_tools("biome", &[BIOME])?;
    let what: &[&str] = if check { &["ci", "--error-on-warnings"] } else { &["check", "--write"] };
    run(Command::new(tools.join("node_modules/.bin/biome")).current_dir(build::root()).args(what))
}

/// Installs tools from npm once, without their install scripts, and gives their folder.
fn npm_tools(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let tools = build::root().join("target/peers").join(name);
    let wanted = packages.join(" ");
    let installed = tools.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|which| which == wanted) {
        return Ok(tools);
    }
    fs::create_dir_all(&tools)?;
    let install = ["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", "."];
    run(Command::new("npm").current_dir(&tools).args(install).args(packages))?;
    fs::write(&installed, wanted).with_context(|| format!("could not write {}", installed.display()))?;
    Ok(tools)
}

/// Fetches what the tests run: the newest host, and every pinned Claude Code.
fn fetch() -> Result<()> {
    let claude_codes = pinned().claude_code.iter().map(|version| Peer::claude_code(version));
    let peers = [Peer::node(), Peer::newest_openclaw()].into_iter().chain(claude_codes);
    let runtime = tokio::runtime::Runtime::new()?;
    for peer in peers {
        runtime.block_on(peer.fetched())?;
    }
    Ok(())
}

/// Checks `plugins/openclaw` against the types the newest host publishes.
pub(crate) fn types() -> Result<()> {
    let root = build::root();
    let tools = npm_tools("typescript", &[TYPESCRIPT, NODE_TYPES])?;
    let host = tokio::runtime::Runtime::new()?.block_on(Peer::newest_openclaw().fetched())?;
    let sdk = host.parent().context("the host's entry lies in its package")?.join("dist/plugin-sdk");
    let plugin = root.join("plugins/openclaw");
    let config = json!({
        "extends": plugin.join("tsconfig.json"),
        "compilerOptions": {
            "typeRoots": [tools.join("node_modules/@types")],
            "paths": { "openclaw/plugin-sdk/*": [sdk.join("*.d.ts")] },
        },
        "include": [plugin.join("index.js"), plugin.join("lib/*.js")],
    });
    let path = tools.join("tsconfig.json");
    fs::write(&path, config.to_string()).with_context(|| format!("could not write {}", path.display()))?;
    run(Command::new(tools.join("node_modules/.bin/tsc")).arg("-p").arg(&path))
}
