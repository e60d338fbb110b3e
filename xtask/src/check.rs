//! Every test, in the order that finds a mistake soonest. CI is exactly this.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use ride_testkit::peers::{Peer, pinned};
use serde_json::json;

use crate::build::{self, cargo, run};
use crate::demo::Demo;
use crate::resume_check::ResumeCheck;
use crate::versions;

/// Versions of the type checker and Node's types.
const TYPESCRIPT: &str = "typescript@7.0.2";
const NODE_TYPES: &str = "@types/node@24.19.2";

pub(crate) fn test() -> Result<bool> {
    let root = build::root();
    let step = |name: &str| eprintln!("== {name}");
    step("versions");
    versions::check(&root)?;
    step("lints");
    let clippy = ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(Command::new(cargo()).current_dir(&root).args(clippy))?;
    step("real peers");
    fetch()?;
    step("types of the gateway plugin");
    types()?;
    step("tests");
    run(Command::new(cargo()).current_dir(&root).args(["test", "--quiet", "--locked", "--workspace"]))?;
    step("transcripts as the real Claude Codes resume them");
    if !ResumeCheck::of(root.join("fixtures/claude-code")).run()? {
        return Ok(false);
    }
    step("stories on the real hosts");
    Demo::of_tests().run()
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
    let tools = root.join("target/peers/typescript");
    let host = tokio::runtime::Runtime::new()?.block_on(Peer::newest_openclaw().fetched())?;
    let sdk = host.parent().context("the host's entry lies in its package")?.join("dist/plugin-sdk");
    if !tools.join("node_modules/.bin/tsc").exists() {
        fs::create_dir_all(&tools)?;
        let install =
            ["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", "."];
        run(Command::new("npm").current_dir(&tools).args(install).args([TYPESCRIPT, NODE_TYPES]))?;
    }
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
