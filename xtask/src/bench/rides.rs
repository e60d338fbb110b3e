//! Whole rides from a terminal: `ride` with the real Claude Code on the real gateway, what
//! it takes to begin, and how soon a thread is free again when something dies.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ride::gateway::client::Connection;
use ride_core::id::Process;
use ride_core::wire::{Claim, Driver, Grant, Status, Statuses, method};
use ride_testkit::{Person, Place, Program, Terminal, claude};
use serde_json::Value;
use uuid::Uuid;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use super::stage::{Stage, Thread, connected};
use crate::build::Packed;

/// Starts of each kind.
const STARTS: usize = 5;
/// Rides that are killed.
const KILLS: usize = 5;
/// Seeds of the simulation.
const SEEDS: u64 = 1_000;
const TURN: Duration = Duration::from_secs(120);
/// A free thread is looked for so often.
const LOOK: Duration = Duration::from_millis(10);

pub(super) async fn measure(stage: &mut Stage, packed: &Packed) -> Result<Section> {
    eprintln!("riding from a terminal");
    let [mut idle, mut warm, mut plain, mut freed] = std::array::from_fn(|_| Samples::default());
    let thread = &stage.threads[0];
    let session = session(&stage.connection, thread).await?;
    // The first of each fills caches.
    for n in 0..=STARTS {
        agent(stage, &thread.place, &format!("turn {n}")).await?;
        let samples =
            [rides(stage, packed, thread).await?, rides(stage, packed, thread).await?, resumes(stage, &session).await?];
        if n > 0 {
            for (all, one) in [&mut warm, &mut idle, &mut plain].into_iter().zip(samples) {
                all.push(one);
            }
        }
    }
    for _ in 0..KILLS {
        freed.push(killed(stage, packed, thread).await?);
    }
    let cut = cut(stage, &stage.threads[1]).await?;
    let (silent, start, lost) = restarted(stage, packed).await?;
    let beyond = |samples: &Samples| samples.median() - plain.median();
    let sums = simulated();
    let mut rows = vec![
        Row::plain("`ride` on an idle thread, until Claude Code takes a prompt", idle.shown(Unit::Ms))
            .against(format!("`claude --resume` alone {}", plain.shown(Unit::Ms)), idle.median() / plain.median()),
        Row::plain("of it, beyond Claude Code's own start", Unit::Ms.of(beyond(&idle)).to_string())
            .target("≤ 300 ms", beyond(&idle) <= 300.0),
        Row::plain("the same, with a warm Claude child to end", warm.shown(Unit::Ms)),
        Row::plain("of it, beyond Claude Code's own start", Unit::Ms.of(beyond(&warm)).to_string())
            .target("≤ 2 s", beyond(&warm) <= 2_000.0),
        Row::plain("`kill -9` of `ride`, until the agent has the thread", freed.shown(Unit::Ms))
            .target("≤ 1 s", freed.median() <= 1_000.0),
        Row::plain(
            "a driver elsewhere whose connection is cut, until the agent has the thread",
            format!("{:.1} s", cut / 1_000.0),
        )
        .target("60 s (the lease)", (55_000.0..65_000.0).contains(&cut)),
        Row::plain("gateway killed and started under a ride: relay silent", format!("{:.1} s", silent / 1_000.0))
            .against(format!("the gateway's own start {:.1} s", start / 1_000.0), silent / start),
        Row::plain("of the prompts and answers typed meanwhile, lost or shown twice unmarked", lost.to_string())
            .target("0", lost == 0),
    ];
    rows.extend(sums);
    Ok(Section {
        title: "A ride, from the terminal",
        how: format!(
            "`ride` in a terminal of its own on the real gateway with the real Claude Code, and `claude --resume --fork-session` of the same\n\
             session by turns, from spawn until the input box is drawn. Before each pair the agent answers in the thread, so the first\n\
             ride of it finds a warm Claude child. Killed: from the signal until `ride_status` does not name the thread. Simulated: {SEEDS}\n\
             whole rides in virtual time through the product's own decisions (`cargo xtask sim`)."
        ),
        rows,
    })
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

async fn agent(stage: &Stage, place: &Place, text: &str) -> Result<()> {
    stage.telegram.says(&Person::tess(), place, text);
    stage.telegram.wait_for_bot(place, TURN, &format!("]: {text}")).await?;
    Ok(())
}

async fn session(connection: &Connection, thread: &Thread) -> Result<String> {
    let listed: Value = connection.call(method::RIDEABLE, &serde_json::json!({})).await?;
    let row = listed["rows"].as_array().into_iter().flatten().find(|row| row["key"] == thread.key);
    row.and_then(|row| row["cliSessionId"].as_str()).map(str::to_owned).context("the thread has no Claude session")
}

fn terminal(stage: &Stage, program: PathBuf, args: &[&str]) -> Result<Terminal> {
    let mut program = Program::new(program, stage.gateway.workspace()).args(args.iter().copied());
    for (name, value) in stage.gateway.environment() {
        program = program.env(name, value);
    }
    Ok(program.env("USER", "bench").env("TERM", "xterm-256color").start()?)
}

async fn begun(stage: &Stage, packed: &Packed, thread: &Thread) -> Result<Terminal> {
    let ride = terminal(stage, packed.ride.clone(), &[&thread.key])?;
    ride.wait_for(TURN, claude::shows_prompt).await?;
    Ok(ride)
}

/// A ride from its start until Claude Code takes a prompt; handed back again.
async fn rides(stage: &Stage, packed: &Packed, thread: &Thread) -> Result<f64> {
    let at = Instant::now();
    let mut ride = begun(stage, packed, thread).await?;
    let took = ms(at);
    ride.submit("/exit").await?;
    let code = ride.wait_exit(TURN).await?;
    ensure!(code == 0, "ride ended with {code}:\n{}", ride.history());
    Ok(took)
}

/// Claude Code alone, on a copy of the session.
async fn resumes(stage: &Stage, session: &str) -> Result<f64> {
    let path = stage
        .gateway
        .environment()
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, path)| path.clone())
        .unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("claude")).find(|file| file.is_file());
    let at = Instant::now();
    let mut alone = terminal(stage, found.context("no claude on the path")?, &["--resume", session, "--fork-session"])?;
    alone.wait_for(TURN, claude::shows_prompt).await?;
    let took = ms(at);
    alone.submit("/exit").await?;
    alone.wait_exit(TURN).await?;
    Ok(took)
}

async fn open(connection: &Connection, thread: &Thread) -> Result<bool> {
    let statuses: Statuses =
        connection.call(method::STATUS, &Status { key: Some(thread.key.clone()), audit: false }).await?;
    Ok(statuses.threads.iter().all(|status| status.phase == "open"))
}

async fn until_open(connection: &Connection, thread: &Thread, at: Instant) -> Result<f64> {
    while !open(connection, thread).await? {
        ensure!(at.elapsed() < TURN, "the thread was not free within {} s", TURN.as_secs());
        tokio::time::sleep(LOOK).await;
    }
    Ok(ms(at))
}

async fn killed(stage: &Stage, packed: &Packed, thread: &Thread) -> Result<f64> {
    let mut ride = begun(stage, packed, thread).await?;
    let at = Instant::now();
    ride.kill();
    until_open(&stage.connection, thread, at).await
}

/// A driver of another machine, of which nothing can be seen from here.
async fn cut(stage: &Stage, thread: &Thread) -> Result<f64> {
    let state = tempfile::tempdir()?;
    let (connection, events) = connected(&stage.gateway, state.path()).await?;
    let process = Process { machine: "elsewhere".into(), namespace: None, pid: 1, start: 1 };
    let driver = Driver { name: "bench".into(), host: "elsewhere".into(), process };
    let claim = Claim {
        key: thread.key.clone(),
        driver,
        secret: Uuid::new_v4().simple().to_string(),
        wait_ms: 60_000,
        steal: false,
        gone: Vec::new(),
    };
    let _: Grant = connection.call_within(method::CLAIM, &claim, TURN).await?;
    let at = Instant::now();
    connection.hang_up();
    drop((connection, events));
    until_open(&stage.connection, thread, at).await
}

/// From the kill until what was typed right after it stands in the thread; the start of the
/// gateway alone; and what of it is not there once.
async fn restarted(stage: &mut Stage, packed: &Packed) -> Result<(f64, f64, usize)> {
    let place = stage.threads[2].place.clone();
    let mut ride = begun(stage, packed, &stage.threads[2]).await?;
    ride.submit("before the kill").await?;
    stage.telegram.wait_for_bot(&place, TURN, "]: before the kill").await?;
    let at = Instant::now();
    stage.gateway.crash()?;
    ride.submit("while it is down").await?;
    let starts = Instant::now();
    stage.gateway.start().await?;
    let start = ms(starts);
    stage.telegram.wait_for_bot(&place, TURN, "while it is down").await?;
    let silent = ms(at);
    stage.telegram.wait_for_bot(&place, TURN, "]: while it is down").await?;
    ride.submit("/exit").await?;
    let code = ride.wait_exit(TURN).await?;
    ensure!(code == 0, "ride ended with {code}:\n{}", ride.history());
    let chat = stage.telegram.chat(&place);
    let wrong = ["before the kill", "while it is down"].into_iter().flat_map(|text| {
        [format!("🖥 bench: {text}"), format!("]: {text}")].map(|text| {
            let (again, once): (Vec<_>, Vec<_>) =
                chat.by_bot().into_iter().filter(|t| t.ends_with(&text)).partition(|t| t.contains("(may be a repeat)"));
            usize::from(once.len() + again.len() == 0 || once.len() > 1)
        })
    });
    Ok((silent, start, wrong.sum()))
}

fn simulated() -> Vec<Row> {
    let mut sum = ride_sim::Run::default();
    let mut broken = 0_usize;
    for seed in 0..SEEDS {
        let run = ride_sim::play(seed);
        sum.add(&run);
        broken += usize::from(run.broken.is_some());
    }
    vec![
        Row::plain(
            "simulated: faults, rides, prompts and answers, messages of the channel",
            format!("{}, {}, {}, {}", sum.faults, sum.grants, sum.turns, sum.messages),
        ),
        Row::plain("of them shown again and marked, after an outcome nobody knew", sum.marked.to_string()),
        Row::plain("lost, shown twice and unmarked, out of order, two writers: runs with any", broken.to_string())
            .target("0", broken == 0),
    ]
}
