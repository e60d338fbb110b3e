//! Threads without a Claude session are driven by chat: a topic on the host's own
//! runner, and one whose Claude session is yet to be made.

use serde_json::{Value, json};

use super::stage::{Stage, TURN, line_with, on_disk, said};
use super::{Facts, Product};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::gateway::Family;
use crate::gateway::config::plain_chats;
use crate::pty::Key;
use crate::telegram::{Person, Place, Telegram};
use crate::wait::{poll_until, settled};

const PLAIN: i64 = -1_003_333_333_333;
const FRESH: i64 = -1_004_444_444_444;
/// An id that stands nowhere else.
const OMAR: i64 = 7_707;

// Rules GATE-2, RELAY-1.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let mut stage = Stage::build_with(product, json!({}), |builder, anthropic| {
        builder.allow(&[1001, OMAR]).config(&plain_chats(Family::of(&product.openclaw), anthropic, &[PLAIN]))
    })
    .await?;
    let (telegram, anthropic) = (&stage.telegram, &stage.anthropic);
    let topic = Place::topic(PLAIN, "Plain", 42, "Plans");
    let (tess, omar) = (Person::tess(), Person::new(OMAR, "Omar", "omar"));
    telegram.says(&tess, &topic, "the code word is MANGO");
    telegram.wait_for_bot(&topic, TURN, "code word is MANGO").await?;
    let first = anthropic.wait_for_prompt(TURN, "the code word is MANGO").await?;
    facts.tell(
        first.session().is_none(),
        "the topic is answered without Claude Code",
        first.session().unwrap_or("by the host's own runner"),
    );

    let row = row(&stage, PLAIN).await?;
    facts.tell(
        row["rideable"] == true && row["mode"] == "chat" && row["cliSessionId"].is_null(),
        "it is listed as rideable by chat",
        format!("{}: rideable {}, mode {}", row["title"], row["rideable"], row["mode"]),
    );

    // Two prompts, streamed.
    let mut ride = stage.ride(&["plain", "topic:42"])?;
    let opened = ride.wait_for(TURN, |screen| screen.contains("⇄ riding")).await?;
    facts.tell(
        opened.contains("code word is MANGO"),
        "the terminal shows the thread's last turns",
        line_with(&opened, "MANGO"),
    );
    let turns = ["first by chat", "second by chat ::slow 2"];
    for (n, text) in turns.iter().enumerate() {
        ride.submit(text).await?;
        let shown = ride.wait_for_text(TURN, &format!("]: {text}")).await?;
        if n == 0 {
            facts.tell(true, "the answer is shown in the terminal", line_with(&shown, "]: first by chat"));
        }
        telegram.wait_for_bot(&topic, TURN, &format!("]: {text}")).await?;
    }
    once_in_order(facts, telegram, &topic, &turns);
    let saw = anthropic.wait_for_prompt(TURN, turns[1]).await?;
    facts.tell(
        saw.saw("MANGO") && saw.saw(turns[0]),
        "the agent has the whole conversation",
        format!("{} texts", saw.texts().count()),
    );

    // Others meanwhile: a person in the topic, and another client of the gateway.
    telegram.says(&omar, &topic, "what about the PAPAYA?");
    telegram.wait_for_bot(&topic, TURN, "Your message is kept").await?;
    let shown = ride.wait_for_text(TURN, "Omar: what about the PAPAYA? (waits)").await;
    facts.tell(shown.is_ok(), "the driver sees who wrote meanwhile", line_with(&ride.screen(), "PAPAYA"));
    let kept = on_disk(&stage.gateway.state_dir().join("claude-code-locks"), "what about the PAPAYA?");
    facts.tell(kept.is_some(), "the message waits on disk", kept.unwrap_or_else(|| "in no state file".into()));
    // The same kind of client as `ride` is: only the id tells them apart.
    let mut other = Client::connect(&stage.gateway).await?;
    let told = other.says(row["key"].as_str().unwrap_or_default(), "story-other-client", "from another client").await?;
    ride.submit("third by chat").await?;
    telegram.wait_for_bot(&topic, TURN, "]: third by chat").await?;
    let ran = anthropic.turns().iter().any(|turn| turn.prompt().contains("from another client"));
    facts.tell(!ran && told.contains("ada"), "what another client sends is refused with who rides, and not run", told);

    // An interrupted turn.
    ride.submit("::slow 60 never ending ending ending ending ending ending").await?;
    anthropic.wait_for_prompt(TURN, "never ending").await?;
    ride.wait_for(TURN, |screen| screen.contains("answering")).await?;
    ride.press(Key::Escape)?;
    let told = telegram.wait_for_bot(&topic, TURN, "interrupted at the terminal").await;
    facts.tell(told.is_ok(), "Esc ends the turn, and the thread is told", last(telegram, &topic));

    // The driver leaves.
    let code = stage.leave(&mut ride).await?;
    facts.tell(code == 0, "ride ends well", format!("exit {code}"));
    telegram.wait_for_bot(&topic, TURN, "]: what about the PAPAYA?").await?;
    let answers = telegram.chat(&topic).by_bot().iter().filter(|t| t.contains("]: what about the PAPAYA?")).count();
    facts.tell(answers == 1, "the waiting message is answered once, after the ride", format!("{answers} answers"));

    // A driver that is killed in the middle of a turn.
    let mut ride = stage.ride(&["plain", "topic:42"])?;
    ride.wait_for(TURN, |screen| screen.contains("⇄ riding")).await?;
    ride.submit("::gate killed the LYCHEE turn").await?;
    anthropic.wait_for_prompt(TURN, "the LYCHEE turn").await?;
    telegram.wait_for_bot(&topic, TURN, "🖥").await?;
    ride.kill();
    anthropic.open_gate("killed");
    let answered = telegram.wait_for_bot(&topic, TURN, "]: ::gate killed the LYCHEE turn").await;
    facts.tell(answered.is_ok(), "a killed driver's turn is still answered in the thread", last(telegram, &topic));
    telegram.says(&tess, &topic, "is it free, the KIWI?");
    telegram.wait_for_bot(&topic, TURN, "]: is it free, the KIWI?").await?;
    let order = positions(telegram, &topic, &["]: ::gate killed", "]: is it free, the KIWI?"]);
    facts.tell(
        order.is_sorted() && order.iter().all(Option::is_some),
        "and the thread frees itself",
        format!("{order:?}"),
    );

    // One prompt from a script.
    let output = stage.run(&["plain", "topic:42", "--say", "a word from a script"]).await?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Hosts before 2026.9 send 20 messages a minute into a group: the answer may still be on its way.
    let slow = output.status.code() == Some(12) && said(&output).contains("messages on their way to the channel");
    facts.tell(
        (output.status.success() || slow) && printed.ends_with("]: a word from a script"),
        "ride --say prints the answer and hands back",
        if output.status.success() { printed } else { said(&output).replace('\n', " ") },
    );
    telegram.wait_for_bot(&topic, TURN, "]: a word from a script").await?;

    fresh(&stage, facts, &tess).await?;
    crash(&mut stage, facts, &topic).await
}

/// The gateway dies in the middle of a turn of the ride, and comes back.
async fn crash(stage: &mut Stage<'_>, facts: &mut Facts, topic: &Place) -> Result<()> {
    let mut ride = stage.ride(&["plain", "topic:42"])?;
    ride.wait_for(TURN, |screen| screen.contains("⇄ riding")).await?;
    ride.submit("::gate crash the DURIAN turn").await?;
    stage.anthropic.wait_for_prompt(TURN, "the DURIAN turn").await?;
    stage.telegram.wait_for_bot(topic, TURN, "the DURIAN turn").await?;
    stage.gateway.crash()?;
    ride.wait_for_text(TURN, "connection lost").await?;
    stage.anthropic.open_gate("crash");
    stage.gateway.start().await?;
    // What the host makes of the turn is its own affair: it may take it up again.
    let ends =
        |text: &&str| text.contains("]: ::gate crash") || text.contains("the gateway was restarted during the turn");
    let told = || {
        let chat = stage.telegram.chat(topic);
        let ended: Vec<String> = chat.by_bot().into_iter().filter(ends).map(str::to_owned).collect();
        (!ended.is_empty()).then_some(ended)
    };
    let ended = poll_until("the end of the turn in the thread", TURN, told).await?;
    facts.tell(
        ended.len() == 1,
        "after a crash of the gateway the thread is told how the turn ended",
        ended.join(" | "),
    );
    // The terminal hears of the end on its own: until then it takes no prompt.
    let ends = |screen: &str| {
        screen.contains("]: ::gate crash")
            || screen.contains("the turn ended")
            || screen.contains("was restarted during")
    };
    ride.wait_for(TURN, ends).await?;
    ride.submit("and on it goes").await?;
    let answered = stage.telegram.wait_for_bot(topic, TURN, "]: and on it goes").await;
    facts.tell(answered.is_ok(), "the same ride goes on", last(&stage.telegram, topic));
    let prompts = stage
        .telegram
        .chat(topic)
        .by_bot()
        .iter()
        .filter(|text| text.contains("🖥") && text.contains("the DURIAN turn"))
        .count();
    facts.tell(prompts <= 2, "its prompt stands there once, or once more marked", format!("{prompts} times"));
    let code = stage.leave(&mut ride).await?;
    facts.tell(code == 0, "and is handed back", format!("exit {code}"));
    Ok(())
}

/// A thread on Claude Code that was reset and has no Claude session: its next turn makes one.
async fn fresh(stage: &Stage<'_>, facts: &mut Facts, tess: &Person) -> Result<()> {
    let (telegram, anthropic) = (&stage.telegram, &stage.anthropic);
    let topic = Place::topic(FRESH, "Fresh", 7, "New");
    telegram.says(tess, &topic, "hello, before the reset");
    telegram.wait_for_bot(&topic, TURN, "]: hello, before the reset").await?;
    let key = poll_row(stage, FRESH).await?["key"].clone();
    let reset = Client::connect(&stage.gateway).await?.call("sessions.reset", json!({ "key": key })).await?;
    reset.map_err(|refused| Error::Peer { what: "reset a thread".into(), said: refused.to_string() })?;
    let row = row_in(stage, FRESH, "chat").await?;
    facts.tell(
        row["mode"] == "chat",
        "a thread on Claude Code without a Claude session is rideable by chat",
        format!("{}: mode {}", row["title"], row["mode"]),
    );
    let output = stage.run(&["fresh", "topic:7", "--say", "hello from the terminal", "--json"]).await?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let asked = anthropic.wait_for_prompt(TURN, "hello from the terminal").await?;
    facts.tell(
        answer["answer"].as_str().is_some_and(|a| a.ends_with("]: hello from the terminal"))
            && asked.session().is_some(),
        "its next turn by chat makes one",
        format!("{answer}, Claude session {}", asked.session().unwrap_or("none")),
    );
    telegram.wait_for_bot(&topic, TURN, "]: hello from the terminal").await?;
    let session = asked.session().map(str::to_owned);
    let row = row_in(stage, FRESH, "claude").await?;
    facts.tell(
        row["mode"] == "claude" && row["cliSessionId"].as_str() == session.as_deref(),
        "the next ride is one with Claude Code",
        format!("mode {}, Claude session {}", row["mode"], row["cliSessionId"]),
    );
    Ok(())
}

async fn row(stage: &Stage<'_>, chat: i64) -> Result<Value> {
    let rows = stage.json(&["ls", "--json"]).await?;
    let none = Vec::new();
    let rows = rows["rows"].as_array().or_else(|| rows.as_array()).unwrap_or(&none);
    Ok(rows
        .iter()
        .find(|row| row["key"].as_str().is_some_and(|key| key.contains(&chat.to_string())))
        .cloned()
        .unwrap_or_default())
}

/// The row in that mode, or as it is at last: hosts before 2026.8 tell no changes, there it comes a moment later.
async fn row_in(stage: &Stage<'_>, chat: i64, mode: &str) -> Result<Value> {
    settled(TURN / 9, async || poll_row(stage, chat).await, |row| row["mode"] == mode).await
}

/// The row of a thread, once the host knows it.
async fn poll_row(stage: &Stage<'_>, chat: i64) -> Result<Value> {
    let row = settled(TURN, async || row(stage, chat).await, |row| !row.is_null()).await?;
    if row.is_null() {
        return Err(Error::Peer { what: format!("list the thread of {chat}"), said: "it is not there".into() });
    }
    Ok(row)
}

fn once_in_order(facts: &mut Facts, telegram: &Telegram, place: &Place, turns: &[&str]) {
    let chat = telegram.chat(place);
    let mine: Vec<&str> = chat.by_bot().into_iter().filter(|t| turns.iter().any(|turn| t.contains(turn))).collect();
    let order: Vec<(usize, bool)> =
        mine.iter().filter_map(|m| Some((turns.iter().position(|t| m.contains(t))?, m.starts_with('🖥')))).collect();
    facts.tell(
        order == [(0, true), (0, false), (1, true), (1, false)],
        "the thread sees each prompt and each answer once, in order",
        mine.join(" | "),
    );
}

fn positions(telegram: &Telegram, place: &Place, wanted: &[&str]) -> Vec<Option<usize>> {
    let lines = telegram.chat(place).lines();
    wanted.iter().map(|text| lines.iter().position(|line| line.contains(text))).collect()
}

fn last(telegram: &Telegram, place: &Place) -> String {
    telegram.chat(place).by_bot().last().map_or_else(|| "nothing".into(), |text| (*text).to_owned())
}
