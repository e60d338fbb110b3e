//! After a ride many turns come: of the channel, and of surfaces that alternate with it
//! (the Control UI, the `agent` method). The channel's turns stay in the Claude session
//! that was ridden; on 2026.6, where a host begins a new one for each change of surface,
//! all turns do. Later hosts are left as they are: what a ride leaves behind is compared
//! with a thread that was never ridden.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{Stage, TURN};
use super::transcript::{Chain, chain};
use super::{Facts, Product};
use crate::anthropic::Recorded;
use crate::claude;
use crate::client::Client;
use crate::error::Result;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

/// A plain group: there 2026.6 drops the session from one message to the next, too.
const GROUP: i64 = -1_003_333_333_333;
const ROUNDS: usize = 3;
const BY: [&str; 3] = ["channel", "control", "agent"];
/// A binding that stands kept this long is the last turn's.
const STANDS: Duration = Duration::from_secs(2);
/// Transcripts that nothing is added to for this long are those of turns that have ended.
const RESTS: Duration = Duration::from_secs(1);

/// Never ridden.
const BESIDE: i64 = -1_003_333_333_334;

struct AfterRide<'s> {
    stage: Stage<'s>,
    client: Client,
    ridden: bool,
}

struct Thread {
    place: Place,
    key: String,
    session: String,
    transcript: PathBuf,
}

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001], json!({})).await?;
    let client = Client::connect(&stage.gateway).await?;
    let mut whole = AfterRide { stage, client, ridden: false };
    let kitchen = whole.begins(GROUP, "Kitchen").await?;
    // Two ways of delivering: hosts since 2026.7 may have a live child for each.
    whole.control(&kitchen, "before the ride").await?;
    let before = whole.session_of("before the ride").await?;
    whole.channel(&kitchen, "once more").await?;
    let session = whole.session_of("once more").await?;
    let kitchen = whole.thread(kitchen.place, kitchen.key, session).await?;

    whole.stage.rideable(&[&kitchen.key]).await?;
    let mut ride = whole.stage.drive(&["kitchen"]).await?;
    ride.submit("from the terminal").await?;
    whole.stage.telegram.wait_for_bot(&kitchen.place, TURN, "]: from the terminal").await?;
    whole.stage.leave(&mut ride).await?;
    whole.ridden = true;

    for round in 1..=ROUNDS {
        whole.channel(&kitchen, &format!("plain turn {round}")).await?;
    }
    let (on, of) = whole.share("plain turn", &kitchen);
    facts.tell(
        on == ROUNDS && of == ROUNDS,
        "the channel's turns stay in the Claude session that was ridden",
        format!("{on} of {of}"),
    );
    let plain = whole.stage.anthropic.wait_for_prompt(TURN, "plain turn 3").await?;
    facts.tell(plain.saw("from the terminal"), "and see the ride", "");
    if before == kitchen.session {
        whole.control(&kitchen, "after the ride").await?;
        let after = whole.stage.anthropic.wait_for_prompt(TURN, "after the ride").await?;
        let told = after.session().unwrap_or("none");
        facts.tell(
            told != kitchen.session || after.saw("from the terminal"),
            "so does the Control UI, where the host has both in one session",
            format!("session {told}"),
        );
    }

    let refused = whole.alternate(&kitchen, "").await?;
    whole.channel(&kitchen, "and now the KIWI").await?;
    let last = whole.stage.anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    let shares = BY.map(|by| whole.share(&format!("{by} turn"), &kitchen));
    let seen = BY.iter().zip(shares).map(|(by, (on, of))| format!("{by} {on} of {of}")).collect::<Vec<_>>().join(", ");
    let branches = whole.beside(&kitchen, &last).await?;
    if whole.begins_anew() {
        let same = last.session() == Some(&kitchen.session) && shares == [(ROUNDS, ROUNDS); 3];
        // What the host itself says of each turn's Claude session, for the record of a fact that is not so.
        let log = whole.stage.gateway.log();
        let said: Vec<&str> = log
            .lines()
            .filter(|l| {
                !same && (l.contains("reuse=") || l.contains("session reset") || l.contains("went on in Claude"))
            })
            .collect();
        facts.tell(same, "so do the turns of every surface, as they alternate", format!("{seen} {}", said.join(" / ")));
        let saw = ["from the terminal", "control turn 1", "agent turn 3"].iter().all(|text| last.saw(text));
        facts.tell(saw, "the last turn sees all of them and the ride", "");
        facts.tell(branches == 0, "and the transcript is one chain", format!("{branches} lines beside it"));
        return Ok(());
    }
    // The same turns, but for the ride.
    let unridden = whole.turns(BESIDE, "Pantry").await?;
    let same = shares == unridden.shares && branches <= unridden.beside;
    let told = format!("{seen}, {branches} lines beside the chain; never ridden: {unridden}{refused}");
    facts.tell(same, "as surfaces alternate, it is as in a thread that was never ridden", told);
    Ok(())
}

/// What came of turns of alternating surfaces.
struct Came {
    /// Per surface, how many ran in the thread's Claude session, and how many there were.
    shares: [(usize, usize); 3],
    /// Lines of its transcript beside the chain.
    beside: usize,
}

impl std::fmt::Display for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} lines beside the chain", self.shares, self.beside)
    }
}

impl AfterRide<'_> {
    /// A thread with all turns of this story, without the ride.
    async fn turns(&mut self, group: i64, title: &str) -> Result<Came> {
        let whose = format!("{} ", title.to_lowercase());
        let thread = self.begins(group, title).await?;
        self.control(&thread, &format!("{whose}before")).await?;
        let words = format!("{whose}once more");
        self.channel(&thread, &words).await?;
        let session = self.session_of(&words).await?;
        let thread = self.thread(thread.place, thread.key, session).await?;
        for round in 1..=ROUNDS {
            self.channel(&thread, &format!("{whose}plain turn {round}")).await?;
        }
        self.control(&thread, &format!("{whose}after")).await?;
        self.alternate(&thread, &whose).await?;
        let words = format!("and now the {title}");
        self.channel(&thread, &words).await?;
        let last = self.stage.anthropic.wait_for_prompt(TURN, &words).await?;
        let beside = self.beside(&thread, &last).await?;
        Ok(Came { shares: BY.map(|by| self.share(&format!("{whose}{by} turn"), &thread)), beside })
    }

    async fn begins(&self, group: i64, title: &str) -> Result<Thread> {
        let (place, key) = (Place::group(group, title), format!("agent:main:telegram:group:{group}"));
        let words = format!("the code word of {title} is MANGO");
        self.stage.telegram.says(&Person::tess(), &place, &words);
        self.stage.telegram.wait_for_bot(&place, TURN, &format!("]: {words}")).await?;
        let session = self.session_of(&words).await?;
        self.thread(place, key, session).await
    }

    async fn thread(&self, place: Place, key: String, session: String) -> Result<Thread> {
        let dir = self.stage.gateway.claude_dir();
        let transcript = poll_until("the transcript", TURN, || claude::transcript(&dir, &session)).await?;
        Ok(Thread { place, key, session, transcript })
    }

    /// The Claude session that a turn ran in.
    async fn session_of(&self, words: &str) -> Result<String> {
        Ok(self.stage.anthropic.wait_for_prompt(TURN, words).await?.session().unwrap_or_default().to_owned())
    }

    async fn channel(&self, thread: &Thread, words: &str) -> Result<()> {
        self.stage.telegram.says(&Person::tess(), &thread.place, &format!("{words} ::say answer to {words}"));
        self.stage.telegram.wait_for_bot(&thread.place, TURN, &format!("answer to {words}")).await?;
        self.reused().await;
        Ok(())
    }

    async fn control(&mut self, thread: &Thread, words: &str) -> Result<()> {
        self.client.says(&thread.key, words, &format!("{words} ::say answer to {words}")).await?;
        self.stage.anthropic.wait_for_prompt(TURN, words).await?;
        self.reused().await;
        Ok(())
    }

    /// Turns by turns; gives why the host did not run those of `agent`, where it does not.
    async fn alternate(&mut self, thread: &Thread, whose: &str) -> Result<String> {
        let mut refused = String::new();
        for round in 1..=ROUNDS {
            let [channel, control, agent] = BY.map(|by| format!("{whose}{by} turn {round}"));
            self.channel(thread, &channel).await?;
            self.control(thread, &control).await?;
            let params =
                json!({ "message": agent, "sessionKey": thread.key, "idempotencyKey": agent, "deliver": false });
            match self.client.call("agent", params).await? {
                Ok(_) => _ = self.stage.anthropic.wait_for_prompt(TURN, &agent).await?,
                Err(error) => refused = format!("; the host refuses `agent`: {}", error["message"]),
            }
            self.reused().await;
        }
        Ok(refused)
    }

    /// Of the turns that begin so, how many ran in the thread's Claude session, and how many there were.
    fn share(&self, words: &str, thread: &Thread) -> (usize, usize) {
        let turns: Vec<_> =
            self.stage.anthropic.turns().into_iter().filter(|r| r.prompt().starts_with(words)).collect();
        (turns.iter().filter(|r| r.session() == Some(&thread.session)).count(), turns.len())
    }

    /// Lines of the thread's transcript beside its chain, once the last turn is in it.
    async fn beside(&self, thread: &Thread, last: &Recorded) -> Result<usize> {
        let elsewhere = last.session() != Some(&thread.session);
        let settled = |c: &Chain| elsewhere || c.texts.iter().any(|text| text.contains("and now the"));
        Ok(poll_until("the last turn in the transcript", TURN, || chain(&thread.transcript).filter(settled))
            .await?
            .beside)
    }

    /// Whether the host begins a new Claude session with each change of surface, but for the plugin.
    fn begins_anew(&self) -> bool {
        self.stage.gateway.before(&[2026, 7])
    }

    /// Until the turn before is over for the host, too: it answers in the chat before it ends the run, and which
    /// Claude Code the next turn finds alive would be a matter of moments.
    async fn rests(&self) {
        let dir = self.stage.gateway.claude_dir();
        let sizes = || -> u64 {
            claude::transcripts(&dir).iter().filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum()
        };
        let mut last = (sizes(), Instant::now());
        let rested = || {
            let now = sizes();
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() >= RESTS).then_some(())
        };
        // One that never rests shows in the facts.
        let _ = poll_until("the turn to be over", TURN / 3, rested).await;
    }

    /// Until the last turn is over. 2026.6 and before: and its own binding stands kept. An `agent` request
    /// passes no gate there, so one right behind a turn comes before the plugin could see to it.
    async fn reused(&self) {
        self.rests().await;
        if !self.ridden || !self.begins_anew() {
            return;
        }
        let store = self.stage.gateway.state_dir().join("agents/main/sessions/sessions.json");
        let mut since: Option<Instant> = None;
        let kept = || {
            let stands =
                fs::read_to_string(&store).is_ok_and(|text| text.replace(' ', "").contains("\"forceReuse\":true"));
            since = stands.then(|| since.unwrap_or_else(Instant::now));
            since.filter(|at| at.elapsed() >= STANDS).map(drop)
        };
        // Without it the facts tell.
        let _ = poll_until("the binding to be kept", TURN / 3, kept).await;
    }
}
