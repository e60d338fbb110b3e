//! A thread passes from one driver to another, and from a driver back to the agent,
//! because somebody else wants so: who had it is told, its Claude Code ends, and only
//! then another writes.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::stage::{Stage, TURN, claude_of, line_with, said};
use super::transcript::chain;
use super::{Facts, Product};
use crate::claude;
use crate::error::Result;
use crate::process::signal;
use crate::pty::Terminal;
use crate::telegram::{Person, Place};
use crate::wait::{poll_until, settled};

const FORUM: i64 = -1_002_222_222_222;
/// Longer than a lease.
const PAST_THE_LEASE: Duration = Duration::from_secs(70);

struct Steal<'s> {
    stage: &'s Stage<'s>,
    plans: Place,
    session: String,
    transcript: PathBuf,
}

// Rules LEASE-15, LEASE-16, LEASE-13.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = &Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let (session, transcript) = stage.begun(&plans, &format!("agent:main:telegram:group:{FORUM}:topic:42")).await?;
    let s = Steal { stage, plans, session, transcript };
    let mut bob = s.taken_over(facts).await?;
    s.taken_back_in_the_chat(facts, &mut bob).await?;
    s.stopped(facts).await?;
    s.taken_back_by_command(facts).await?;
    s.journal(facts).await
}

impl Steal<'_> {
    /// Bob takes over what Ada rides.
    async fn taken_over(&self, facts: &mut Facts) -> Result<Terminal> {
        let mut ada = self.stage.drive(&["forum", "topic:42"]).await?;
        ada.submit("from ada").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: from ada").await?;
        let adas = claude_of(&ada, &self.session);
        self.says("what about the PAPAYA?");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "Your message is kept").await?;

        let mut refused = self.bob(&["forum", "topic:42"])?;
        let code = refused.wait_exit(TURN).await?;
        let told = refused.history();
        let named = told.contains("ridden by ada") && told.contains("--steal");
        facts.tell(
            code == 4 && named,
            "without --steal it is refused with who rides, and how to take it over",
            format!("exit {code}: {}", line_with(&told, "hint:")),
        );

        let mut asked = self.bob(&["--steal", "forum", "topic:42"])?;
        asked.wait_for_text(TURN, "Take it over?").await?;
        let question = line_with(&asked.screen(), "Take it over?");
        asked.submit("n").await?;
        let code = asked.wait_exit(TURN).await?;
        ada.submit("still ada's").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: still ada's").await?;
        facts.tell(code == 130 && question.contains("ada"), "it is asked about by name, and no means no", question);

        ada.type_text("half a thought").await?;
        let mut bob = self.bob(&["--steal", "forum", "topic:42"])?;
        bob.wait_for_text(TURN, "Take it over?").await?;
        bob.submit("y").await?;
        let code = ada.wait_exit(TURN).await?;
        ada.wait_for(TURN, |screen| screen.contains("to come back:")).await?;
        let told = ada.history();
        if !self.stage.by_hooks() {
            let kept = told
                .rfind("you had typed this and not sent it:")
                .is_some_and(|at| told[at..].contains("half a thought"));
            facts.tell(kept, "what was typed and not sent is shown again", line_with(&told, "half a thought"));
        }
        let (theirs, ours) = (told.rfind("claude --resume"), told.rfind("to come back: ride"));
        facts.tell(
            ours.is_some() && theirs < ours,
            "the last thing on the screen is how to come back",
            line_with(&told, "to come back:"),
        );
        facts.tell(
            code == 9 && told.contains("bob"),
            "who had it is told by whom, and its Claude Code ends",
            format!("exit {code}: {}", line_with(&told, "error:")),
        );
        bob.wait_for(TURN, claude::shows_prompt).await?;
        let gone = adas.is_some_and(|p| !p.is_alive());
        let bobs = claude_of(&bob, &self.session);
        facts.tell(
            gone && bobs.is_some() && bobs != adas,
            "it is gone before the next one's starts",
            format!("{adas:?}, then {bobs:?}"),
        );
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "takes this thread over from ada").await?;

        bob.submit("from bob").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: from bob").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "from bob").await?;
        let once = self.turns();
        let expected = ["from ada", "still ada's", "from bob"]
            .map(|t| (format!("🖥 {}: {t}", if t == "from bob" { "bob" } else { "ada" }), 1))
            .to_vec();
        facts.tell(
            turn.session() == Some(&self.session) && turn.saw("from ada") && once == expected,
            "it goes on in the same Claude session, each prompt in the thread once under its driver's name",
            format!("{once:?}"),
        );
        let waits = self.stage.json(&["status", "--json"]).await?["threads"][0]["inbox"].clone();
        facts.tell(waits == 1, "what waited waits on", format!("{waits} waiting"));
        Ok(bob)
    }

    /// `/unride` gives it back to the agent.
    async fn taken_back_in_the_chat(&self, facts: &mut Facts, bob: &mut Terminal) -> Result<()> {
        self.says("/unride");
        let code = bob.wait_exit(TURN).await?;
        let told = bob.history();
        facts.tell(
            code == 9 && told.contains("took the thread back"),
            "/unride in the chat ends the ride, and the driver is told",
            format!("exit {code}: {}", line_with(&told, "error:")),
        );
        let held = self.stage.anthropic.wait_for_prompt(TURN, "what about the PAPAYA?").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: what about the PAPAYA?").await?;
        facts.tell(
            held.session() == Some(&self.session) && held.saw("from bob"),
            "the agent goes on from there, and answers what waited",
            held.session().unwrap_or("none"),
        );
        self.says("/unride");
        let nobody = self.stage.telegram.wait_for_bot(&self.plans, TURN, "Nobody rides this thread").await;
        facts.tell(nobody.is_ok(), "where nobody rides it says so", "");
        Ok(())
    }

    /// A driver that is stopped cannot end its Claude Code: nobody gets the thread until it can.
    async fn stopped(&self, facts: &mut Facts) -> Result<()> {
        let mut ada = self.stage.drive(&["forum", "topic:42"]).await?;
        ada.submit("before the stop").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: before the stop").await?;
        let (ride, claude) = (ada.pid().unwrap_or_default(), claude_of(&ada, &self.session).map_or(0, |p| p.pid));
        signal(ride, Signal::STOP);
        ada.submit("typed under a stopped ride").await?;
        let refused = ada.wait_for(TURN, |screen| screen.contains("not sent") || screen.contains("not answer")).await;
        let sent = self.stage.anthropic.turns().iter().any(|r| r.prompt().contains("typed under a stopped ride"));
        facts.tell(
            refused.is_ok() && !sent,
            "under a `ride` that is stopped no prompt is sent, and it says why",
            line_with(&ada.screen(), "not "),
        );
        let mut bob = self.bob(&["--steal", "--yes", "forum", "topic:42"])?;
        let names = bob.wait_for_text(TURN, "over from ada").await;
        let look = async || Ok(self.stage.json(&["status", "--json"]).await?["threads"][0]["waitingFor"].to_string());
        let waits = settled(TURN, look, |waits| waits.contains("has not ended")).await?;
        facts.tell(
            names.is_ok() && waits.contains(&claude.to_string()),
            "while the one before is stopped, nobody has the thread, and its Claude Code is named",
            format!("process {claude}: {waits}"),
        );
        let doctor = said(&self.stage.run(&["doctor", "forum", "topic:42"]).await?);
        facts.tell(
            doctor.contains(&format!("kill -9 {claude}")),
            "`ride doctor` prints the one command that would end it",
            line_with(&doctor, "→"),
        );
        signal(ride, Signal::CONT);
        let code = ada.wait_exit(TURN).await?;
        bob.wait_for(TURN, claude::shows_prompt).await?;
        facts.tell(code == 9, "it goes on, lets go, and the thread passes", format!("exit {code}"));

        // The whole group this time, past its lease: what it wakes up to is not its thread.
        let claude = claude_of(&bob, &self.session).map_or(0, |p| p.pid);
        let bobs = bob.pid().unwrap_or_default();
        signal(bobs, Signal::STOP);
        signal(claude, Signal::STOP);
        tokio::time::sleep(PAST_THE_LEASE).await;
        let closed = self.stage.json(&["status", "--json"]).await?["threads"][0]["waitingFor"].clone();
        bob.send(b"typed while it was stopped\r")?;
        signal(claude, Signal::CONT);
        signal(bobs, Signal::CONT);
        let code = bob.wait_exit(TURN).await?;
        let sent = self.stage.anthropic.turns().iter().any(|r| r.prompt().contains("typed while it was stopped"));
        facts.tell(
            code == 9 && !sent && closed.as_str().is_some_and(|what| what.contains("has not ended")),
            "ride and Claude Code stopped past the lease: the thread stays closed, and a late prompt is not sent",
            format!("exit {code}, {closed}"),
        );
        // And comes back by itself.
        let look =
            async || Ok(self.stage.json(&["status", "--json"]).await?["threads"].as_array().is_some_and(Vec::is_empty));
        let free = settled(TURN, look, |free| *free).await?;
        facts.tell(free, "and comes back once both have ended", "");
        Ok(())
    }

    /// `ride release --take-back`, by somebody who does not ride.
    async fn taken_back_by_command(&self, facts: &mut Facts) -> Result<()> {
        let mut ada = self.stage.drive(&["forum", "topic:42"]).await?;
        let output = self.stage.run(&["--state-dir", "bob", "release", "--take-back", "forum", "topic:42"]).await?;
        let code = ada.wait_exit(TURN).await?;
        facts.tell(
            output.status.success() && code == 9,
            "`ride release --take-back` does the same from a terminal",
            said(&output).replace('\n', " "),
        );
        self.says("last word");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: last word").await?;
        let chain = poll_until("the last turn in the transcript", TURN, || {
            chain(&self.transcript).filter(|c| c.texts.iter().any(|t| t.contains("last word")))
        })
        .await;
        let whole = chain.as_ref().is_ok_and(|c| {
            c.beside == 0
                && ["from ada", "from bob", "PAPAYA", "before the stop"]
                    .iter()
                    .all(|t| c.texts.iter().any(|x| x.contains(t)))
        });
        facts.tell(
            whole,
            "one chain leads through all of it",
            chain.map_or_else(|e| e.to_string(), |c| format!("{} lines on it, {} beside it", c.ids.len(), c.beside)),
        );
        Ok(())
    }

    /// `ride log` tells what happened, and none of what was said.
    async fn journal(&self, facts: &mut Facts) -> Result<()> {
        let log = said(&self.stage.run(&["log", "forum", "topic:42"]).await?);
        let told = ["by bob@", "taking it over from ada@", "takes the thread back", "held message", "handed message"];
        let missing: Vec<&str> = told.into_iter().filter(|what| !log.contains(what)).collect();
        let quiet = !["still ada's", "before the stop", "PAPAYA"].iter().any(|text| log.contains(text));
        facts.tell(
            missing.is_empty() && quiet,
            "`ride log` tells who claimed, took over and took back, and what was held and handed over",
            format!("{} lines, missing {missing:?}", log.lines().count()),
        );
        Ok(())
    }

    /// The prompts of drivers in the thread, with how often each stands there.
    fn turns(&self) -> Vec<(String, usize)> {
        let mut seen: Vec<(String, usize)> = Vec::new();
        for text in self.stage.telegram.chat(&self.plans).by_bot() {
            if !text.starts_with("🖥") {
                continue;
            }
            match seen.iter_mut().find(|(known, _)| known == text) {
                Some((_, times)) => *times += 1,
                None => seen.push((text.to_owned(), 1)),
            }
        }
        seen
    }

    fn says(&self, text: &str) {
        self.stage.telegram.says(&Person::tess(), &self.plans, text);
    }

    fn bob(&self, args: &[&str]) -> Result<Terminal> {
        self.stage.ride_as("bob", args)
    }
}
