//! The gateway is killed in turns of its agent, and one of the threads is claimed at once
//! after the restart. Every host has its own way with a turn it died in; what it does to the
//! thread that nobody claims, it does to the claimed one, before the ride or after it, and
//! never beside it.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::stage::{Stage, TURN, line_with, plain};
use super::transcript::chain;
use super::{Facts, Product};
use crate::anthropic::Recorded;
use crate::claude;
use crate::error::Result;
use crate::pty::Terminal;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
/// A host has run a turn again by then, or does not: the slowest begins 5 s after its start,
/// and tries three times, 5, 10 and 20 s apart.
const RECOVERED: Duration = Duration::from_secs(60);

struct Crash<'p> {
    stage: Stage<'p>,
    plans: Place,
    other: Place,
    session: String,
    transcript: PathBuf,
}

// Rules LEASE-2, HAND-1.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let other = Place::topic(FORUM, "Forum", 4, "Other");
    let (session, transcript) = stage.begun(&plans, &format!("agent:main:telegram:group:{FORUM}:topic:42")).await?;
    stage.telegram.says(&Person::tess(), &other, "hello from the OTHER topic");
    stage.telegram.wait_for_bot(&other, TURN, "]: hello from the OTHER topic").await?;
    stage.rideable(&[&format!("agent:main:telegram:group:{FORUM}:topic:4")]).await?;
    let mut c = Crash { stage, plans, other, session, transcript };
    c.killed(facts).await?;
    c.after(facts).await
}

impl Crash<'_> {
    async fn killed(&mut self, facts: &mut Facts) -> Result<()> {
        self.stage.telegram.says(&Person::tess(), &self.plans, "::gate plans");
        self.stage.anthropic.wait_for_prompt(TURN, "::gate plans").await?;
        // Hosts up to 2026.6.1 run one turn at a time: there is nothing to compare with.
        let both = !self.stage.gateway.before(&[2026, 6, 2]);
        if both {
            self.stage.telegram.says(&Person::tess(), &self.other, "::gate other");
            self.stage.anthropic.wait_for_prompt(TURN, "::gate other").await?;
        }
        self.stage.gateway.crash()?;
        self.stage.anthropic.open_gate("plans");
        self.stage.anthropic.open_gate("other");
        poll_until("the gateway's Claude to be gone", TURN, || {
            self.stage.gateway.claude_processes().is_empty().then_some(())
        })
        .await?;
        self.stage.gateway.start().await?;
        let started = Instant::now();

        let mut ride = self.drive(facts).await?;
        let waited = started.elapsed();
        let claimed = SystemTime::now();
        ride.submit("from the terminal").await?;
        ride.wait_for(TURN, |screen| screen.contains("]: from the terminal")).await?;
        // As long as the host may still begin something: until it has answered where nobody rides.
        let answered = || self.again(&self.other).iter().any(|text| !is_notice(text)).then_some(());
        let _ = poll_until("the other thread's turn", RECOVERED.saturating_sub(started.elapsed()), answered).await;
        ride.submit("still riding").await?;
        let goes_on = self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: still riding").await;
        facts.tell(
            goes_on.is_ok(),
            "claimed at once after a crash in its agent's turn, the thread is ridden",
            format!("{:.1} s after the start", waited.as_secs_f32()),
        );
        let of_ride =
            |turn: &Recorded| ["from the terminal", "still riding"].iter().any(|text| turn.prompt().contains(text));
        let turns: Vec<Recorded> = self.stage.anthropic.turns().into_iter().filter(|turn| turn.at > claimed).collect();
        let beside: Vec<String> = turns
            .iter()
            .filter(|t| t.session() == Some(&self.session) && !of_ride(t))
            .map(ToString::to_string)
            .collect();
        facts.tell(
            beside.is_empty(),
            "nobody else writes into its Claude session while it is ridden",
            format!("{beside:?}"),
        );
        let shown = self.stage.telegram.chat(&self.plans).by_bot().len();
        let once = ["from the terminal", "still riding"].map(|text| self.stage.telegram.chat(&self.plans).count(text));
        facts.tell(once == [2, 2], "each prompt and answer stands in the thread once", format!("{once:?} of {shown}"));
        let code = self.stage.leave(&mut ride).await?;
        facts.tell(
            code == 0,
            "and it is handed back",
            format!("exit {code}: {}", line_with(&ride.history(), "error:")),
        );

        let (plans, other) = (self.again(&self.plans), self.again(&self.other));
        let short =
            |texts: &[String]| texts.iter().map(|text| text.chars().take(60).collect()).collect::<Vec<String>>();
        let compared = if both {
            plans == other
        } else {
            self.stage.anthropic.turns().iter().filter(|t| t.prompt().contains("::gate plans")).count() == 1
        };
        facts.tell(
            compared,
            "its interrupted turn goes on as that of a thread nobody claimed",
            format!("{:?} | {:?}", short(&plans), short(&other)),
        );
        Ok(())
    }

    /// Rides once the host has dealt with the turn. 2026.7 and before go on in a Claude session
    /// of their own: the claim tells so, and the next one rides that.
    async fn drive(&mut self, facts: &mut Facts) -> Result<Terminal> {
        let mut ride = self.stage.ride(&["forum", "topic:42"])?;
        let seen = ride.wait_for(TURN, |screen| claude::shows_prompt(screen) || screen.contains("error:")).await?;
        if claude::shows_prompt(&seen) {
            if self.stage.gateway.before(&[2026, 8]) {
                // Where that turn was over before the claim, its session is ridden at once.
                self.find_session().await?;
            }
            return Ok(ride);
        }
        let code = ride.wait_exit(TURN).await?;
        let told = line_with(&ride.history(), "error:");
        facts.tell(
            told.contains("lost its Claude session while the claim waited"),
            "a Claude session that the host left meanwhile is not ridden",
            format!("exit {code}: {told}"),
        );
        let key = format!("agent:main:telegram:group:{FORUM}:topic:42");
        self.stage.rideable(&[&key]).await?;
        let ride = self.stage.drive(&["forum", "topic:42"]).await?;
        self.find_session().await?;
        Ok(ride)
    }

    /// Which Claude session the thread has now.
    async fn find_session(&mut self) -> Result<()> {
        let key = format!("agent:main:telegram:group:{FORUM}:topic:42");
        let row = self.stage.json(&["ls", "--json"]).await?["rows"]
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["key"] == key.as_str()).cloned())
            .unwrap_or_default();
        self.session = plain(&row["cliSessionId"]);
        let config = self.stage.gateway.claude_dir();
        self.transcript = poll_until("the transcript", TURN, || claude::transcript(&config, &self.session)).await?;
        Ok(())
    }

    /// What the bot wrote into a topic since the crash, of the ride left out.
    fn again(&self, place: &Place) -> Vec<String> {
        let chat = self.stage.telegram.chat(place);
        let of_ride = |text: &str| ["from the terminal", "still riding", "⇄"].iter().any(|ride| text.contains(ride));
        let told = |text: &str| {
            text.split_once("]: ").map_or(text, |(_, said)| said).replace("plans", "…").replace("other", "…")
        };
        chat.by_bot().iter().skip(1).filter(|text| !of_ride(text)).map(|text| told(text)).collect()
    }

    /// The thread's next turn, after the ride.
    async fn after(&self, facts: &mut Facts) -> Result<()> {
        self.stage.telegram.says(&Person::tess(), &self.plans, "after the ride");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: after the ride").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "after the ride").await?;
        let chain = chain(&self.transcript);
        let beside = chain.as_ref().map_or(usize::MAX, |chain| chain.beside);
        facts.tell(
            turn.session() == Some(&self.session) && turn.saw("still riding") && beside == 0,
            "the agent goes on from the ride's end, in one chain",
            format!("session {}, {beside} beside it", turn.session().unwrap_or("none")),
        );
        Ok(())
    }
}

/// Whether the host only says that it is about to go on.
fn is_notice(text: &str) -> bool {
    text.contains("continuing your interrupted request")
}
