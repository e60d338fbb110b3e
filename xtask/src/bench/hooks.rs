//! What a prompt costs where Claude Code has no mods: one process, from spawn to exit,
//! against the least a process can cost and against the same hook written for Node. And
//! that it costs none where there is a mod.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ride::launch::{PrivateDir, unpack};
use ride::link::{Link, LinkEvent, SOCKET_VAR, Source, Status, TOKEN_VAR, Token, Verdict};
use ride_testkit::peers::Peer;
use ride_testkit::{Anthropic, ClaudeCode};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use crate::build::{self, Packed};

const ROUNDS: usize = 300;
/// Node takes fifty times as long.
const NODE_ROUNDS: usize = 40;
/// Prompts typed into the real Claude Code.
const PROMPTS: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn measure(packed: &Packed) -> Result<Section> {
    let dir = PrivateDir::create(&std::env::temp_dir())?;
    let token = Token::draw()?;
    let (_status, shown) = watch::channel(Status::default());
    let (link, events) = Link::open(dir.path(), token.clone(), Source::Hooks, shown, None)?;
    let answering = tokio::spawn(yes(events));
    let plugin = unpack(dir.path(), Source::Hooks, &packed.ride)?;
    let node = Peer::node().fetched().await?;
    let script = build::root().join("xtask/src/bench/steps/hook.js");
    let linked = |mut command: Command| {
        command.env_clear().env(SOCKET_VAR, link.socket()).env(TOKEN_VAR, token.expose());
        command
    };
    let ours = |event: &str| {
        let mut command = Command::new(&plugin.program);
        command.args(["hook", event]);
        linked(command)
    };
    let theirs = || {
        let mut command = Command::new(&node);
        command.arg(&script).arg("UserPromptSubmit");
        linked(command)
    };
    let input = json!({
        "session_id": Uuid::nil(), "transcript_path": "/home/ada/.claude/projects/-work/0.jsonl", "cwd": "/work",
        "prompt_id": Uuid::nil(), "permission_mode": "default", "hook_event_name": "UserPromptSubmit",
        "prompt": "what do the tests say about the second case, and why?",
    })
    .to_string();
    // The calls block: the link answers on another thread.
    let (least, asked, silent, other) = tokio::task::block_in_place(|| -> Result<_> {
        run(ours("SessionStart"), &input, None)?;
        let (mut least, mut asked, mut silent, mut other) =
            (Samples::default(), Samples::default(), Samples::default(), Samples::default());
        for round in 0..ROUNDS {
            least.push(run(Command::new("/bin/true"), &input, None)?);
            asked.push(run(ours("UserPromptSubmit"), &input, Some("{}"))?);
            let mut alone = Command::new(&plugin.program);
            alone.args(["hook", "UserPromptSubmit"]).env_clear();
            silent.push(run(alone, &input, Some(""))?);
            if round < NODE_ROUNDS {
                other.push(run(theirs(), &input, Some("{}"))?);
            }
        }
        Ok((least, asked, silent, other))
    })?;
    answering.abort();
    let (by_true, by_node) = (asked.median() / least.median(), asked.median() / other.median());
    let counted = through_the_mod(packed).await?;
    Ok(Section {
        title: "A prompt without mods",
        how: format!(
            "From spawn to exit, with the input of a real prompt on standard input and the answer read, by turns. `ride hook` asks a\n\
             waiting ride over its socket, which says yes at once; the hook for Node does the same. The last row is the newest\n\
             Claude Code itself with {PROMPTS} prompts typed and a plugin that counts."
        ),
        rows: vec![
            Row::plain("`ride hook`, asked and answered", asked.shown(Unit::Ms))
                .against(format!("`/bin/true` {}", least.shown(Unit::Ms)), by_true)
                .target("≤ 3×", by_true <= 3.0),
            Row::plain("the same", asked.shown(Unit::Ms))
                .against(format!("the hook for Node {}", other.shown(Unit::Ms)), by_node),
            Row::plain("`ride hook` where no ride started Claude Code", silent.shown(Unit::Ms))
                .against(format!("`/bin/true` {}", least.shown(Unit::Ms)), silent.median() / least.median()),
            Row::plain("processes per prompt through the mod", format!("{counted} in {PROMPTS} prompts"))
                .target("none", counted == 0),
        ],
    })
}

/// Answers every question with yes.
async fn yes(mut events: mpsc::Receiver<LinkEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            LinkEvent::Ask { reply, .. } => drop(reply.send(Verdict::Allow)),
            LinkEvent::Prompt { kept, .. } | LinkEvent::Turn { kept, .. } => drop(kept.send(())),
            _ => {}
        }
    }
}

/// Milliseconds of a whole process; `said` is what it must have printed.
fn run(mut command: Command, input: &str, said: Option<&str>) -> Result<f64> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn().context("could not start a hook")?;
    // One that does not read has ended already.
    let _ = child.stdin.take().context("standard input is a pipe")?.write_all(input.as_bytes());
    let output = child.wait_with_output().context("could not wait for a hook")?;
    let took = begin.elapsed();
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.is_some_and(|said| said != printed) {
        bail!("{command:?} ended with {} and said {printed:?}", output.status);
    }
    Ok(took.as_secs_f64() * 1000.0)
}

/// How often the newest Claude Code ran a hook of ours at a prompt.
async fn through_the_mod(packed: &Packed) -> Result<usize> {
    let home = tempfile::tempdir().context("could not make a folder")?;
    let work = home.path().join("work");
    fs::create_dir_all(&work)?;
    let (counting, log) = (home.path().join("ride"), home.path().join("log"));
    fs::write(
        &counting,
        format!("#!/bin/sh\necho \"$@\" >> {}\nexec {} \"$@\"\n", log.display(), packed.ride.display()),
    )?;
    fs::set_permissions(&counting, fs::Permissions::from_mode(0o755))?;
    let dir = PrivateDir::create(&std::env::temp_dir())?;
    let token = Token::draw()?;
    let (_status, shown) = watch::channel(Status::default());
    let (link, events) = Link::open(dir.path(), token.clone(), Source::Mod, shown, None)?;
    let answering = tokio::spawn(yes(events));
    let plugin = unpack(dir.path(), Source::Mod, &counting)?;
    let anthropic = Anthropic::start().await?;
    let root = plugin.root.to_str().context("a folder's name is text")?;
    let claude = ClaudeCode::newest(&anthropic, home.path(), &work).await?.args(["--plugin-dir", root]);
    let mut terminal = claude.env(SOCKET_VAR, link.socket()).env(TOKEN_VAR, token.expose()).start().await?;
    for n in 0..PROMPTS {
        terminal.submit(&format!("prompt number {n}")).await?;
        terminal.wait_for_text(WITHIN, &format!("]: prompt number {n}")).await?;
    }
    answering.abort();
    let runs = read(&log)?;
    if !runs.contains("hook SessionStart") {
        bail!("the counting plugin was not run: {runs:?}");
    }
    // Once it is laid out, and once Claude Code begins.
    Ok(runs.lines().filter(|line| !["hook", "hook SessionStart"].contains(line)).count())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
