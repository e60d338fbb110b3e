//! `kill -9` of the gateway, of `ride` and of Claude Code at each step of a ride, on the real
//! peers. After each one the thread comes back by itself, the agent goes on in the same
//! Claude session, and of what was typed and written nothing is lost, or doubled unmarked.
//!
//! A step of a claim or of a hand-back takes milliseconds: the thread's state file is watched
//! for it, and what the kill hit is told. Not among the stories of a test run: it takes a
//! quarter of an hour (`cargo xtask chaos --whole`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::stage::{Stage, TURN, claude_of};
use super::transcript::{chain, lines};
use super::{Facts, Product};
use crate::claude;
use crate::error::Result;
use crate::process::signal;
use crate::pty::Terminal;
use crate::telegram::{Fault, Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
/// Steps: of a claim and of a hand-back by their stage in the state file, of a ride between.
const CLAIM: [&str; 7] = ["settle", "endChild", "copy", "park", "acknowledge", "prove", "mark"];
const RIDE: [&str; 3] = ["start", "turn", "relay"];
const RELEASE: [&str; 4] = ["prove", "show", "drain", "restore"];
/// From its third crash within minutes on, 2026.9 starts without its channels.
const CRASHES: usize = 2;
/// Kills of a driver that one gateway sees.
const PER_GATEWAY: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Gateway,
    Ride,
    Claude,
}

struct Kills<'s> {
    stage: Stage<'s>,
    plans: Place,
    session: String,
    transcript: PathBuf,
    state: PathBuf,
    typed: Vec<String>,
    written: Vec<String>,
}

/// Kills each at each step, `rounds` times; only steps whose name has `only`, such as
/// `ride/leaving/drain`.
pub async fn play(product: &Product, facts: &mut Facts, rounds: usize, only: &str) -> Result<()> {
    for round in 0..rounds {
        for victim in [Victim::Gateway, Victim::Ride, Victim::Claude] {
            let mut steps: Vec<(&str, &str)> = Vec::new();
            if victim != Victim::Claude {
                steps.extend(CLAIM.map(|step| ("claiming", step)));
            }
            steps.extend(RIDE.map(|step| ("ridden", step)));
            if victim != Victim::Claude {
                steps.extend(RELEASE.map(|step| ("leaving", step)));
            }
            steps.retain(|(phase, step)| name(victim, phase, step).contains(only));
            let per = if victim == Victim::Gateway { CRASHES } else { PER_GATEWAY };
            for some in steps.chunks(per) {
                let mut k = open(product).await?;
                for (phase, step) in some {
                    let word = format!("{}-{round}", name(victim, phase, step).replace('/', "-").to_lowercase());
                    let came = k.kill(victim, phase, step, &word).await;
                    let fact = format!("killed at {}, the thread comes back and goes on", name(victim, phase, step));
                    facts.tell(
                        came.is_ok(),
                        &fact,
                        came.unwrap_or_else(|e| format!("{} / {}", e.to_string().replace('\n', " "), k.standing())),
                    );
                }
                k.account(facts).await;
            }
        }
    }
    Ok(())
}

fn name(victim: Victim, phase: &str, step: &str) -> String {
    format!("{}/{phase}/{step}", format!("{victim:?}").to_lowercase())
}

async fn open(product: &Product) -> Result<Kills<'_>> {
    let stage = Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let (session, transcript) = stage.begun(&plans, &format!("agent:main:telegram:group:{FORUM}:topic:42")).await?;
    let state = stage.gateway.state_dir().join("claude-code-locks");
    Ok(Kills { stage, plans, session, transcript, state, typed: Vec::new(), written: Vec::new() })
}

impl Kills<'_> {
    /// One ride with a kill in it; where it hit.
    async fn kill(&mut self, victim: Victim, phase: &str, step: &str, word: &str) -> Result<String> {
        // A warm child for the claim to end.
        self.agent(&format!("before {word}")).await?;
        let gate = format!("gate-{word}");
        if step == "settle" {
            self.stage.telegram.says(&Person::tess(), &self.plans, &format!("::gate {gate}"));
            self.stage.anthropic.wait_for_prompt(TURN, &format!("::gate {gate}")).await?;
        }
        let mut ride = self.stage.ride(&["forum", "topic:42"])?;
        let hit = match phase {
            "claiming" => self.strike(victim, &ride, Some((phase, step))).await?,
            "ridden" => self.in_the_ride(victim, step, word, &mut ride).await?,
            _ => self.in_the_release(victim, step, word, &mut ride).await?,
        };
        self.stage.anthropic.open_gate(&gate);
        self.stage.anthropic.open_gate(word);
        if victim == Victim::Gateway {
            self.stage.gateway.crash()?;
            self.stage.gateway.start().await?;
        }
        self.stage.telegram.no_more_faults();
        self.ended(&mut ride).await?;
        let begun = Instant::now();
        self.free().await?;
        let freed = begun.elapsed().as_millis();
        self.agent(&format!("after {word}")).await?;
        Ok(format!("hit at {hit}, free {freed} ms later"))
    }

    async fn in_the_ride(&mut self, victim: Victim, step: &str, word: &str, ride: &mut Terminal) -> Result<String> {
        if step == "start" {
            poll_until("the ride's Claude Code", TURN, || self.claude(ride)).await?;
            return self.strike(victim, ride, None).await;
        }
        ride.wait_for(TURN, claude::shows_prompt).await?;
        if step == "turn" {
            ride.submit(&format!("::gate {word}")).await?;
            self.typed.push(format!("::gate {word}"));
            self.stage.anthropic.wait_for_prompt(TURN, &format!("::gate {word}")).await?;
        } else {
            self.stage.telegram.fault("sendMessage", 1_000, Fault::refuse(502, "Bad Gateway"));
            ride.submit(word).await?;
            self.typed.push(word.to_owned());
            ride.wait_for(TURN, |screen| screen.contains(&format!("]: {word}"))).await?;
        }
        self.strike(victim, ride, None).await
    }

    async fn in_the_release(&mut self, victim: Victim, step: &str, word: &str, ride: &mut Terminal) -> Result<String> {
        ride.wait_for(TURN, claude::shows_prompt).await?;
        ride.submit(word).await?;
        self.typed.push(word.to_owned());
        self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {word}")).await?;
        let held = format!("held {word}");
        let kept = self.stage.telegram.chat(&self.plans).count("Your message is kept");
        self.stage.telegram.says(&Person::tess(), &self.plans, &held);
        self.written.push(held);
        self.stage.telegram.wait_for(&self.plans, TURN, |chat| chat.count("Your message is kept") > kept).await?;
        if step == "drain" {
            self.stage.telegram.fault("sendMessage", 1_000, Fault::refuse(502, "Bad Gateway"));
            ride.submit(&format!("late {word}")).await?;
            self.typed.push(format!("late {word}"));
            ride.wait_for(TURN, |screen| screen.contains(&format!("]: late {word}"))).await?;
        }
        self.stage.rests().await?;
        ride.submit("/exit").await?;
        self.strike(victim, ride, Some(("leaving", step))).await
    }

    /// Kills it, as soon as the thread is in that stage; the stage it was in then.
    async fn strike(&self, victim: Victim, ride: &Terminal, wanted: Option<(&str, &str)>) -> Result<String> {
        let pid = match victim {
            Victim::Gateway => self.stage.gateway.pid(),
            Victim::Ride => ride.pid(),
            Victim::Claude => self.claude(ride),
        };
        let (state, wanted) = (self.state.clone(), wanted.map(|(phase, stage)| (phase.to_owned(), stage.to_owned())));
        let looking = tokio::task::spawn_blocking(move || {
            let end = Instant::now() + TURN;
            let mut seen = stage_of(&state);
            while let Some(wanted) = &wanted
                && seen.as_ref() != Some(wanted)
                && Instant::now() < end
            {
                // A stage that was passed between two looks is not waited for again.
                if passed(seen.as_ref(), wanted) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(200));
                seen = stage_of(&state).or(seen);
            }
            if let Some(pid) = pid {
                signal(pid, Signal::KILL);
            }
            seen.map_or_else(|| "open".to_owned(), |(phase, stage)| format!("{phase}/{stage}"))
        });
        Ok(looking.await.unwrap_or_else(|e| e.to_string()))
    }

    fn claude(&self, ride: &Terminal) -> Option<u32> {
        claude_of(ride, &self.session).map(|process| process.pid)
    }

    /// A `ride` that lives goes on, and is left; others have ended.
    async fn ended(&self, ride: &mut Terminal) -> Result<()> {
        let end = Instant::now() + TURN;
        loop {
            if ride.wait_exit(Duration::from_millis(500)).await.is_ok() {
                return Ok(());
            }
            if claude::shows_prompt(&ride.screen()) && self.claude(ride).is_some() || Instant::now() >= end {
                break;
            }
        }
        // Its hand-back may end in any way: what counts is the thread.
        self.stage.leave(ride).await.map(drop)
    }

    async fn free(&self) -> Result<()> {
        let state = self.state.clone();
        poll_until("the thread to be open", TURN, move || stage_of(&state).is_none().then_some(())).await
    }

    /// A message is answered on the thread's own Claude session.
    async fn agent(&self, text: &str) -> Result<()> {
        self.stage.telegram.says(&Person::tess(), &self.plans, text);
        self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {text}")).await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, text).await?;
        match turn.session() == Some(&self.session) {
            true => Ok(()),
            false => Err(crate::error::Error::Peer {
                what: format!("the turn of {text}"),
                said: format!("it ran in {}", turn.session().unwrap_or("none")),
            }),
        }
    }

    fn standing(&self) -> String {
        format!("{:?}", stage_of(&self.state))
    }

    /// What was typed and stands in the transcript is in the thread, once or marked; what was
    /// written was answered once, or marked; the transcript is one chain.
    async fn account(&self, facts: &mut Facts) {
        let chat = self.stage.telegram.chat(&self.plans);
        let on_disk: String = lines(&self.transcript).iter().map(ToString::to_string).collect();
        let stands = |text: &str| {
            let all: Vec<&str> = chat.by_bot().into_iter().filter(|t| t.ends_with(text)).collect();
            let marked = all.iter().filter(|t| t.starts_with("(may be a repeat)")).count();
            (all.len() - marked, marked)
        };
        let mut wrong = Vec::new();
        for text in &self.typed {
            if on_disk.contains(&format!("\"{text}\"")) {
                let prompt = stands(&format!("🖥 ada: {text}"));
                if !matches!(prompt, (1, 0 | 1) | (0, 1)) {
                    wrong.push(format!("prompt {text}: {prompt:?}"));
                }
            }
            let answer = stands(&format!("]: {text}"));
            if on_disk.contains(&format!("]: {text}\"")) && !matches!(answer, (1, 0 | 1) | (0, 1)) {
                wrong.push(format!("answer to {text}: {answer:?}"));
            }
        }
        for text in &self.written {
            let answered = stands(&format!("]: {text}"));
            let told = chat.count("Please send it again");
            if !matches!(answered, (1, _) | (2, _)) && told == 0 {
                wrong.push(format!("message {text}: {answered:?}, {told} told"));
            }
        }
        facts.tell(
            wrong.is_empty(),
            "of what was typed and written nothing is lost, or doubled unmarked",
            format!("{} typed, {} written {wrong:?}", self.typed.len(), self.written.len()),
        );
        let chain = poll_until("the chain", TURN, || chain(&self.transcript)).await;
        facts.tell(
            chain.as_ref().is_ok_and(|c| c.beside == 0),
            "and the transcript is one chain",
            chain.map_or_else(|e| e.to_string(), |c| format!("{} lines on it, {} beside it", c.ids.len(), c.beside)),
        );
    }
}

/// The phase and stage of the one thread, unless it is open. Of the two values in its file
/// the one of the higher number, as docs/protocol.md has it.
fn stage_of(folder: &Path) -> Option<(String, String)> {
    let gateway = fs::read_dir(folder).ok()?.flatten().map(|e| e.path().join("threads")).find(|p| p.is_dir())?;
    let file =
        fs::read_dir(gateway).ok()?.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "json"))?;
    let bytes = fs::read(file).ok()?;
    let json = |from: usize, length: usize| serde_json::from_slice::<Value>(bytes.get(from..from + length)?).ok();
    let room = usize::try_from(json(0, 512)?["room"].as_u64()?).ok()?;
    let value = |header: usize, at: usize| {
        let header = json(header, 512)?;
        Some((header["nth"].as_u64()?, json(at, usize::try_from(header["length"].as_u64()?).ok()?)?))
    };
    let (_, last) = [value(512, 4096), value(1024, 4096 + room)].into_iter().flatten().max_by_key(|(nth, _)| *nth)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let phase = &last["phase"];
    (phase["is"] != "open").then(|| (text(&phase["is"]), text(&phase["at"]["stage"])))
}

/// Whether a thread is past a stage.
fn passed(seen: Option<&(String, String)>, wanted: &(String, String)) -> bool {
    let Some((phase, stage)) = seen else { return false };
    let order: &[&str] = if wanted.0 == "claiming" { &CLAIM } else { &RELEASE };
    let at = |stage: &str| order.iter().position(|s| *s == stage);
    match (phase == &wanted.0, wanted.0.as_str()) {
        (true, _) => at(stage) > at(&wanted.1),
        (false, "claiming") => phase == "ridden",
        _ => false,
    }
}
