//! After a ride many turns come from surfaces that alternate: the channel, the Control
//! UI, the `agent` method. The thread keeps its Claude session, and its chain stays one.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{Stage, TURN};
use super::transcript::chain;
use super::{Facts, Product};
use crate::claude;
use crate::client::Client;
use crate::error::Result;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

/// A plain group: there 2026.6 drops the session from one message to the next, too.
const GROUP: i64 = -1_003_333_333_333;
const ROUNDS: usize = 3;
/// A binding that stands kept this long is the last turn's.
const STANDS: Duration = Duration::from_secs(2);

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001], json!({})).await?;
    let (telegram, anthropic, tess) = (&stage.telegram, &stage.anthropic, Person::tess());
    let group = Place::group(GROUP, "Kitchen");
    let key = format!("agent:main:telegram:group:{GROUP}");
    telegram.says(&tess, &group, "the code word is MANGO");
    telegram.wait_for_bot(&group, TURN, "]: the code word is MANGO").await?;
    let session = anthropic.wait_for_prompt(TURN, "the code word is MANGO").await?.session().unwrap_or_default().to_owned();
    let transcript = poll_until("the transcript", TURN, || claude::transcript(&stage.gateway.claude_dir(), &session)).await?;

    stage.rideable(&[&key]).await?;
    let mut ride = stage.drive(&["kitchen"]).await?;
    ride.submit("from the terminal").await?;
    telegram.wait_for_bot(&group, TURN, "]: from the terminal").await?;
    ride.submit("/exit").await?;
    ride.wait_exit(TURN).await?;

    let mut client = Client::connect(&stage.gateway).await?;
    for round in 1..=ROUNDS {
        let [channel, ui, agent] = ["channel", "control", "agent"].map(|by| format!("{by} turn {round}"));
        telegram.says(&tess, &group, &channel);
        // Some hosts put a note of their own before the message.
        telegram.wait_for_bot(&group, TURN, &channel).await?;
        client.says(&key, &format!("run-{round}"), &ui).await?;
        reused(&stage).await;
        let params = json!({ "message": agent, "sessionKey": key, "idempotencyKey": format!("agent-{round}"), "deliver": false });
        let _ = client.call("agent", params).await?;
    }
    stage.telegram.says(&tess, &group, "and now the KIWI");
    telegram.wait_for_bot(&group, TURN, "and now the KIWI").await?;

    let after = anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    // What the host itself says of each turn's Claude session, for the record of a fact that is not so.
    let same = after.session() == Some(&session);
    let log = stage.gateway.log();
    let said: Vec<&str> = log.lines().filter(|l| l.contains("reuse=") || l.contains("session reset") || l.contains("went on in Claude")).collect();
    let said = if same { String::new() } else { format!("; the host: {}", said.join(" / ")) };
    facts.tell(same, "the thread has the Claude session it was ridden in", format!("{}, before {session}{said}", after.session().unwrap_or("none")));
    for by in ["channel", "control", "agent"] {
        let turns: Vec<_> = anthropic.turns().into_iter().filter(|r| r.prompt().contains(&format!("{by} turn"))).collect();
        let on = turns.iter().filter(|r| r.session() == Some(&session)).count();
        let how = match by {
            "channel" => "every message of the channel is answered in it",
            "control" => "every turn of the Control UI too",
            _ => "and every `agent` request",
        };
        facts.tell(on >= ROUNDS && on == turns.len(), how, format!("{on} of {}", turns.len()));
    }
    let saw = after.saw("from the terminal") && after.saw("MANGO") && after.saw("control turn 1") && after.saw("agent turn 3");
    facts.tell(saw, "the last turn sees all of them and the ride", format!("ride {}, Control UI {}, agent {}", after.saw("from the terminal"), after.saw("control turn 1"), after.saw("agent turn 3")));
    let chain = poll_until("the last turn in the transcript", TURN, || chain(&transcript).filter(|c| c.texts.iter().any(|t| t.contains("KIWI")))).await?;
    facts.tell(chain.beside == 0, "its chain is one", format!("{} lines on it, {} beside it", chain.ids.len(), chain.beside));
    Ok(())
}

/// 2026.6 and before: until the last turn's own binding stands kept. An `agent` request
/// passes no gate there, so one right behind a turn comes before the plugin could see to it.
async fn reused(stage: &Stage<'_>) {
    if stage.gateway.version() >= "2026.7" {
        return;
    }
    let store = stage.gateway.state_dir().join("agents/main/sessions/sessions.json");
    let mut since: Option<Instant> = None;
    let kept = || {
        let stands = fs::read_to_string(&store).is_ok_and(|text| text.replace(' ', "").contains("\"forceReuse\":true"));
        since = stands.then(|| since.unwrap_or_else(Instant::now));
        since.filter(|at| at.elapsed() >= STANDS).map(drop)
    };
    // Without it the next fact tells.
    let _ = poll_until("the binding to be kept", TURN / 3, kept).await;
}
