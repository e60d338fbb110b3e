//! What a person at the terminal, or a machine under them, can do wrong: each ends in a
//! clear error, and in a thread that answers as before.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stage::{Stage, TURN, claude_of, line_with, said};
use super::transcript::chain;
use super::{Facts, Product};
use crate::client::{Answered, Client};
use crate::error::{Doing as _, Result};
use crate::process::Process;
use crate::pty::{Key, Terminal};
use crate::telegram::{Fault, Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
/// How soon a thread is free again whose `ride` and Claude Code are gone; measured 0.6 to 1.5 s, on a busy machine more.
const FREED: Duration = Duration::from_secs(20);
// The signals of a closed terminal, Ctrl-C and `kill -9`.
const HUP: i32 = 1;
const INT: i32 = 2;
const KILL: i32 = 9;

struct TerminalFails<'s> {
    stage: &'s Stage<'s>,
    plans: Place,
    key: String,
    session: String,
}

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = &Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let key = format!("agent:main:telegram:group:{FORUM}:topic:42");
    let (session, transcript) = stage.begun(&plans, &key).await?;
    let t = TerminalFails { stage, plans, key, session };

    t.nothing_to_ride_with(facts, &transcript).await?;
    t.interrupted_while_it_connects(facts).await?;
    t.interrupted(facts).await?;
    t.interrupted_while_it_leaves(facts).await?;
    t.too_large(facts).await?;
    t.bad_requests(facts).await?;
    t.killed(facts).await?;
    t.transcript_changed(facts, &transcript).await?;

    let chain = poll_until("the last turn in the transcript", TURN, || {
        chain(&transcript).filter(|c| c.texts.iter().any(|x| x.contains("last word")))
    })
    .await;
    let seen = chain.map_or_else(|e| e.to_string(), |c| format!("{} lines on it, {} beside it", c.ids.len(), c.beside));
    facts.tell(!seen.contains("waited"), "and after all of it the thread has one chain", seen);
    Ok(())
}

impl TerminalFails<'_> {
    /// What is missing is found out, said, and the thread stays the agent's.
    async fn nothing_to_ride_with(&self, facts: &mut Facts, transcript: &Path) -> Result<()> {
        let (code, told) = self.fails(&["--claude", "/nowhere/claude", "forum", "topic:42"]).await?;
        facts.tell(code == 11 && told.contains("/nowhere/claude"), "without Claude Code nothing is claimed", told);
        let workspace = self.stage.gateway.workspace();
        let aside = workspace.with_extension("aside");
        let moved = |from: &Path, to: &Path| fs::rename(from, to).is_ok();
        let away = moved(&workspace, &aside);
        let (code, told) = self.fails(&["forum", "topic:42"]).await?;
        let back = moved(&aside, &workspace);
        facts.tell(
            away && back && code == 10 && told.contains("folder is gone"),
            "a project folder that is gone is named, and the thread handed back",
            told,
        );
        self.is_free(facts, "the gone folder").await?;
        let hidden = transcript.with_extension("hidden");
        let away = moved(transcript, &hidden);
        let (code, told) = self.fails(&["forum", "topic:42"]).await?;
        let back = moved(&hidden, transcript);
        facts.tell(
            away && back && [5, 10].contains(&code) && told.contains("transcript"),
            "a transcript that is gone is named",
            told,
        );
        self.is_free(facts, "the gone transcript").await
    }

    /// Ctrl-C and a closed terminal while the claim waits for the running turn.
    async fn interrupted(&self, facts: &mut Facts) -> Result<()> {
        for (signal, how) in [(INT, "Ctrl-C"), (HUP, "a closed terminal")] {
            let gate = format!("gate{signal}");
            self.says(&format!("::gate {gate}"));
            self.stage.anthropic.wait_for_prompt(TURN, &format!("::gate {gate}")).await?;
            let mut ride = self.stage.ride(&["forum", "topic:42"])?;
            poll_until("the claim to wait", TURN, || ride.screen().contains("claiming").then_some(())).await?;
            self.phase(facts, "claiming").await?;
            match signal {
                INT => ride.press(Key::Ctrl('c'))?,
                _ => self.signal(&ride, signal)?,
            }
            let ended = ride.wait_exit(TURN).await?;
            let freed = self.freed().await;
            self.stage.anthropic.open_gate(&gate);
            self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: ::gate {gate}")).await?;
            facts.tell(
                ended != 0 && freed.is_some(),
                &format!("{how} while a claim waits withdraws it, and the running turn ends as ever"),
                format!("exit {ended}, free after {freed:?} {}", self.standing().await?),
            );
        }
        Ok(())
    }

    /// The same before anything is claimed: a gateway that takes connections and says nothing.
    async fn interrupted_while_it_connects(&self, facts: &mut Facts) -> Result<()> {
        let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.doing(|| "listen".into())?;
        let url = format!("ws://{}", silent.local_addr().doing(|| "listen".into())?);
        for (signal, how) in [(INT, "Ctrl-C"), (HUP, "a closed terminal")] {
            let mut ride = self.stage.ride(&["--url", &url, "forum", "topic:42"])?;
            let connection = tokio::time::timeout(TURN, silent.accept()).await;
            let begun = Instant::now();
            match signal {
                INT => ride.press(Key::Ctrl('c'))?,
                _ => self.signal(&ride, signal)?,
            }
            let ended = ride.wait_exit(TURN).await?;
            // Well before the limit of connecting itself, 10 s.
            let at_once = begun.elapsed() < Duration::from_secs(5);
            let free = self.status().await?.is_null();
            facts.tell(
                connection.is_ok() && ended != 0 && at_once && free,
                &format!("{how} while it connects ends it, and nothing is claimed"),
                format!("exit {ended} after {:?}", begun.elapsed()),
            );
        }
        Ok(())
    }

    /// And while what was said last is still on its way into the thread.
    async fn interrupted_while_it_leaves(&self, facts: &mut Facts) -> Result<()> {
        for (signal, how) in [(INT, "Ctrl-C"), (HUP, "a closed terminal")] {
            let word = format!("leaving-{signal}");
            let mut ride = self.ride().await?;
            self.stage.telegram.fault("sendMessage", 1_000, Fault::refuse(502, "Bad Gateway"));
            ride.submit(&word).await?;
            ride.wait_for(TURN, |screen| screen.contains(&format!("]: {word}"))).await?;
            ride.submit("/exit").await?;
            self.phase(facts, "leaving").await?;
            match signal {
                INT => ride.press(Key::Ctrl('c'))?,
                _ => self.signal(&ride, signal)?,
            }
            let ended = ride.wait_exit(TURN).await?;
            self.stage.telegram.no_more_faults();
            let told = self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {word}")).await.is_ok();
            let freed = self.freed().await;
            let times =
                self.stage.telegram.chat(&self.plans).by_bot().iter().filter(|text| text.contains(&word)).count();
            facts.tell(
                told && freed.is_some() && times == 2,
                &format!("{how} while it hands back: the thread comes back by itself, prompt and answer in it once"),
                format!("exit {ended}, free after {freed:?} {}, {times} messages", self.standing().await?),
            );
        }
        Ok(())
    }

    /// A prompt that would not fit into the thread's outbox is not sent to the model either.
    // Rule RELAY-6.
    async fn too_large(&self, facts: &mut Facts) -> Result<()> {
        let mut ride = self.ride().await?;
        let text = format!("PAPAYA {}", "x".repeat(256 * 1024));
        ride.send(format!("\x1b[200~{text}\x1b[201~").as_bytes())?;
        ride.wait_for_text(TURN, "Pasted text").await?;
        ride.press(Key::Enter)?;
        let refused = ride.wait_for(TURN, |screen| screen.contains("262144")).await;
        let asked = self.stage.anthropic.turns().iter().filter(|r| r.saw("PAPAYA")).count();
        facts.tell(
            refused.is_ok() && asked == 0,
            "a prompt that is too large is refused, with the limit",
            line_with(&ride.screen(), "262144"),
        );
        // What it gave back is thrown away, and the ride goes on.
        ride.press(Key::Ctrl('c'))?;
        ride.submit("a small one").await?;
        let told = self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: a small one").await;
        facts.tell(told.is_ok(), "and the ride goes on", if told.is_ok() { String::new() } else { ride.screen() });
        self.stage.leave(&mut ride).await.map(drop)
    }

    /// What a program may send: stale, too large, unknown.
    // Rule RELAY-2.
    async fn bad_requests(&self, facts: &mut Facts) -> Result<()> {
        let mut ride = self.ride().await?;
        let mut client = Client::connect(&self.stage.gateway).await?;
        let stale = json!({ "incarnation": "00000000-0000-4000-8000-000000000000", "epoch": 1, "grant": "00000000-0000-4000-8000-000000000001" });
        let item = json!({ "id": "x", "kind": "prompt", "text": "from a driver that is none" });
        let relay = client.call("ride_relay", json!({ "key": self.key, "fence": stale, "items": [item] })).await?;
        let release = client.call("ride_release", json!({ "key": self.key, "fence": stale })).await?;
        let is_stale = |a: &Answered| {
            a.as_ref().is_err_and(|e| e["details"]["reason"] == "STALE" && e["details"]["holder"]["name"] == "ada")
        };
        facts.tell(
            is_stale(&relay) && is_stale(&release),
            "a stale fence is refused with who holds the thread",
            refusal(&relay),
        );
        let item = json!({ "id": "x", "kind": "prompt", "text": "x".repeat(256 * 1024 + 1) });
        let large = client.call("ride_relay", json!({ "key": self.key, "fence": stale, "items": [item] })).await?;
        let unknown = client.call("ride_status", json!({ "kee": self.key })).await?;
        let wrong = client.call("ride_claim", json!({ "key": 7 })).await?;
        let named = refusal(&unknown).contains("`kee`")
            && refusal(&wrong).contains("key")
            && wrong.as_ref().is_err_and(|e| e["details"]["reason"] == "BAD_REQUEST");
        facts.tell(
            large.is_err() && named,
            "an unknown field is refused by its name, a wrong type as well",
            format!("{} | {}", refusal(&unknown), refusal(&wrong)),
        );
        let spoken = self.stage.telegram.chat(&self.plans).count("a driver that is none");
        facts.tell(spoken == 0, "and nothing of it reaches the thread", format!("{spoken} messages"));
        self.stage.leave(&mut ride).await.map(drop)
    }

    /// `ride` is killed, or its terminal closed, while it rides.
    // Rules LEASE-9, LEASE-13.
    async fn killed(&self, facts: &mut Facts) -> Result<()> {
        for (signal, mid_turn, how) in [
            (HUP, false, "a closed terminal"),
            (KILL, false, "kill -9"),
            (KILL, true, "kill -9 in the middle of a turn"),
            (HUP, true, "a terminal closed in the middle of a turn"),
        ] {
            let mut ride = self.ride().await?;
            let word = format!("word-{signal}-{mid_turn}");
            let prompt = if mid_turn { format!("::gate {word}") } else { format!("typed {word}") };
            ride.submit(&prompt).await?;
            if mid_turn {
                self.stage.anthropic.wait_for_prompt(TURN, &word).await?;
            } else {
                self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {prompt}")).await?;
            }
            let claude = claude_of(&ride, &self.session);
            self.signal(&ride, signal)?;
            let freed = self.freed().await;
            let standing = if freed.is_none() { self.standing().await? } else { String::new() };
            let gone = claude.as_ref().is_some_and(|p| !p.is_alive());
            self.stage.anthropic.open_gate(&word);
            self.says(&format!("after {word}"));
            let answered =
                self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: after {word}")).await.is_ok();
            let after = self.stage.anthropic.wait_for_prompt(TURN, &format!("after {word}")).await?;
            let on = after.session() == Some(&self.session);
            let prompts = self
                .stage
                .telegram
                .chat(&self.plans)
                .by_bot()
                .iter()
                .filter(|t| t.starts_with('🖥') && t.contains(&prompt))
                .count();
            facts.tell(
                freed.is_some() && gone && answered && on && after.saw(&prompt) && prompts == 1,
                &format!("{how}: Claude Code goes too, the thread comes back whole, the prompt stands in it once"),
                format!("free after {freed:?} {standing}, Claude Code gone {gone}, same session {on}, prompt {prompts} times"),
            );
        }
        Ok(())
    }

    /// The file under the ride is another one at its end.
    // Rule HAND-3.
    async fn transcript_changed(&self, facts: &mut Facts, transcript: &Path) -> Result<()> {
        let mut ride = self.ride().await?;
        ride.submit("before the change").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: before the change").await?;
        let whole = fs::read(transcript).unwrap_or_default();
        let copy = transcript.with_extension("copy");
        let replaced = fs::write(&copy, &whole[..whole.len() / 2]).and_then(|()| fs::rename(&copy, transcript)).is_ok();
        let code = self.stage.leave(&mut ride).await?;
        let told = line_with(&ride.history(), "error:");
        facts.tell(
            replaced && code == 12 && ride.history().contains("--accept-broken-chain"),
            "a transcript replaced under the ride is said, and nothing is touched",
            format!("exit {code}: {told}"),
        );
        self.says("held meanwhile");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "Your message is kept").await?;
        // Somebody mends it; the hand-back goes on by itself.
        let mended =
            fs::OpenOptions::new().append(true).open(transcript).is_ok() && fs::write(transcript, &whole).is_ok();
        let out = self.stage.run(&["release", "--accept-broken-chain", "forum", "topic:42"]).await?;
        facts.tell(
            mended && out.status.success(),
            "the person may accept it, and the thread comes back",
            said(&out).lines().last().unwrap_or_default(),
        );
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: held meanwhile").await?;
        self.says("last word");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: last word").await?;
        Ok(())
    }

    fn says(&self, text: &str) {
        self.stage.telegram.says(&Person::tess(), &self.plans, text);
    }

    async fn ride(&self) -> Result<Terminal> {
        self.stage.drive(&["forum", "topic:42"]).await
    }

    fn signal(&self, ride: &Terminal, signal: i32) -> Result<()> {
        ride.pid().and_then(Process::find).map_or(Ok(()), |process| process.signal(signal))
    }

    /// Runs a ride that must fail; its exit code and what it said.
    async fn fails(&self, words: &[&str]) -> Result<(u32, String)> {
        let mut ride = self.stage.ride(words)?;
        let code = ride.wait_exit(TURN).await?;
        // What it printed last may still be on its way through the terminal.
        let _ = ride.wait_for(Duration::from_secs(5), |screen| screen.contains("error:")).await;
        let told = ride.history();
        let told: Vec<&str> =
            told.lines().skip_while(|l| !l.contains("error:")).map(str::trim).filter(|l| !l.is_empty()).collect();
        Ok((code, told.join(" ")))
    }

    /// The thread's own word on itself.
    async fn status(&self) -> Result<Value> {
        let status = self.stage.json(&["status", "--json"]).await?;
        let of =
            status["threads"].as_array().and_then(|all| all.iter().find(|t| t["key"] == self.key.as_str()).cloned());
        Ok(of.unwrap_or_default())
    }

    /// What the gateway says of the thread, where it is not free: for the record of a fact that is not so.
    async fn standing(&self) -> Result<String> {
        let status = self.status().await?;
        let last = status["journal"]
            .as_array()
            .map_or_else(Vec::new, |lines| lines.iter().rev().take(6).map(|l| l["what"].to_string()).collect());
        Ok(if status.is_null() {
            String::new()
        } else {
            format!("{}: {} {last:?}", status["phase"], status["waitingFor"])
        })
    }

    async fn phase(&self, facts: &mut Facts, wanted: &str) -> Result<()> {
        let end = Instant::now() + TURN;
        loop {
            let status = self.status().await?;
            if status["phase"] == wanted {
                return Ok(());
            }
            if Instant::now() > end {
                facts.tell(false, &format!("the thread is {wanted}"), status);
                return Ok(());
            }
        }
    }

    /// How long it takes until nobody has the thread.
    async fn freed(&self) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < FREED {
            if self.status().await.ok()?.is_null() {
                return Some(begun.elapsed());
            }
        }
        None
    }

    async fn is_free(&self, facts: &mut Facts, after: &str) -> Result<()> {
        let free = self.freed().await.is_some();
        let text = format!("still here after {after}");
        self.says(&text);
        self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {text}")).await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, &text).await?;
        let whole = turn.session() == Some(&self.session) && turn.saw("MANGO");
        facts.tell(
            free && whole,
            "and the thread answers as before",
            format!("{after}: same Claude session {}", turn.session() == Some(&self.session)),
        );
        Ok(())
    }
}

fn refusal(answered: &Answered) -> String {
    match answered {
        Ok(payload) => format!("taken: {payload}"),
        Err(error) => error["message"].as_str().unwrap_or_default().chars().take(160).collect(),
    }
}
