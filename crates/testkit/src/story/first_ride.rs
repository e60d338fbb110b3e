//! A forum topic with a Claude session behind it is ridden from the terminal,
//! written to meanwhile, and handed back.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stage::{Stage, TURN, claude_of, line_with, on_disk, plain};
use super::transcript::{chain, leaf, lines};
use super::{Facts, Product};
use crate::claude;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::process::{Process, descendants};
use crate::telegram::{Person, Place, Telegram};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
/// An id that stands nowhere else.
const OMAR: i64 = 7_707;

// Rules GATE-1, RELAY-1, INBOX-1, HAND-1, HAND-3.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001, OMAR], json!({})).await?;
    let (telegram, anthropic, gateway) = (&stage.telegram, &stage.anthropic, &stage.gateway);
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let other = Place::topic(FORUM, "Forum", 43, "Other");
    let (tess, omar) = (Person::tess(), Person::new(OMAR, "Omar", "omar"));

    // Two living threads, each with a warm Claude child.
    telegram.says(&tess, &plans, "the code word is MANGO");
    telegram.wait_for_bot(&plans, TURN, "code word is MANGO").await?;
    telegram.says(&tess, &other, "hello other topic");
    telegram.wait_for_bot(&other, TURN, "hello other topic").await?;
    let before = anthropic.wait_for_prompt(TURN, "the code word is MANGO").await?;
    let session = before.session().unwrap_or_default().to_owned();
    let config = gateway.claude_dir();
    let transcript = poll_until("the transcript", TURN, || claude::transcript(&config, &session)).await?;
    let leaf = poll_until("the turn in the transcript", TURN, || leaf(&transcript)).await?;

    let rows = stage.json(&["ls", "--json"]).await?;
    listed(facts, &rows, &session);

    // The ride.
    let watch = Watch::begin(gateway, &session);
    let mut ride = stage.drive(&["forum", "topic:42"]).await?;
    let ride_claude = claude_of(&ride, &session);
    watch.tell(facts);
    let turns = ["first from the terminal", "second from the terminal", "third from the terminal"];
    for text in turns {
        ride.submit(text).await?;
        telegram.wait_for_bot(&plans, TURN, &format!("]: {text}")).await?;
    }
    told_once_in_order(facts, telegram, &plans, &turns);

    // Somebody writes in the topic meanwhile, and in another one.
    telegram.says(&omar, &plans, "what about the PAPAYA?");
    telegram.wait_for_bot(&plans, TURN, "Your message is kept").await?;
    let shown = stage.tells(&mut ride, "1 waiting").await;
    if let Ok(asked) = &shown {
        let answered = || (telegram.chat(&plans).count("]: anything new?") == *asked).then_some(());
        poll_until("the answers to that", TURN, answered).await?;
    }
    let calls = anthropic.turns().len();
    let notice = telegram.chat(&plans).by_bot().iter().filter(|t| t.contains("Your message is kept")).count();
    facts.tell(
        notice == 1,
        "the sender is told once that the thread is ridden and the message kept",
        format!("{notice} notice"),
    );
    facts.tell(
        shown.is_ok(),
        "the driver sees in the terminal that something waits",
        line_with(&ride.screen(), "waiting"),
    );
    let kept = on_disk(&gateway.state_dir().join("claude-code-locks"), "what about the PAPAYA?");
    facts.tell(kept.is_some(), "the message waits on disk", kept.unwrap_or_else(|| "in no state file".into()));
    telegram.says(&tess, &other, "are you there, other?");
    telegram.wait_for_bot(&other, TURN, "are you there, other?").await?;
    let asked: Vec<String> = anthropic.turns()[calls..].iter().map(|r| r.prompt()).collect();
    let ran = anthropic.turns().iter().any(|r| r.prompt().contains("PAPAYA"));
    facts.tell(!ran, "no model call is made for the held message", format!("calls meanwhile: {asked:?}"));
    facts.tell(
        asked.len() == 1 && telegram.chat(&other).count("are you there, other?") == 2,
        "an unridden thread is answered as ever",
        telegram.chat(&other).lines().join(" | "),
    );

    // A second driver.
    let mut second = stage.ride(&["forum", "topic:42"])?;
    let code = second.wait_exit(TURN).await?;
    // What it printed last may still be on its way through the terminal.
    let _ = second.wait_for(Duration::from_secs(5), |screen| screen.contains("hint:")).await;
    let said = second.history();
    let refused = code != 0 && (said.contains("ridden from here already") || said.contains("ridden by"));
    facts.tell(
        refused,
        "a second ride is refused with who holds the thread",
        format!("exit {code}: {}", line_with(&said, "error:")),
    );

    // The driver leaves.
    let chain_at = lines(&transcript).len();
    let code = stage.leave(&mut ride).await?;
    facts.tell(code == 0, "ride ends well when Claude Code is left", format!("exit {code}"));
    let gone = ride_claude.as_ref().is_some_and(|p| !p.is_alive());
    facts.tell(
        gone,
        "the ride's Claude Code is gone",
        ride_claude.map_or_else(|| "never seen".into(), |p| format!("process {}", p.pid)),
    );
    let held = anthropic.wait_for_prompt(TURN, "what about the PAPAYA?").await?;
    telegram.wait_for_bot(&plans, TURN, "]: what about the PAPAYA?").await?;
    facts.tell(
        held.session() == Some(&session),
        "the waiting message is answered on the same Claude session",
        held.session().unwrap_or("none"),
    );
    let told: Vec<&str> = held.texts().filter(|(role, _)| *role == "user").map(|(_, text)| text).collect();
    let last = told.iter().rposition(|text| text.contains("PAPAYA")).map(|at| told[..=at].concat()).unwrap_or_default();
    let sender = last.rfind(&OMAR.to_string()).map(|at| around(&last, at));
    facts.tell(
        sender.as_ref().is_some_and(|s| s.contains("Omar")),
        "and under its own sender",
        sender.unwrap_or_else(|| "the model was told of no sender".into()),
    );
    telegram.says(&tess, &plans, "and now the KIWI");
    telegram.wait_for_bot(&plans, TURN, "]: and now the KIWI").await?;
    let after = anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    facts.tell(
        after.session() == Some(&session),
        "the topic's next turn resumes the same Claude session",
        after.session().unwrap_or("none"),
    );
    let saw = turns.iter().filter(|t| after.saw(t)).count();
    facts.tell(
        saw == 3 && after.saw("MANGO"),
        "the model sees what was done at the terminal",
        format!("{saw} of 3 terminal turns and the turn before the ride: {}", after.saw("MANGO")),
    );

    let chain = poll_until("the last turn in the transcript", TURN, || {
        chain(&transcript).filter(|c| c.texts.iter().any(|t| t.contains("KIWI")))
    })
    .await?;
    let whole = chain.ids.contains(&leaf)
        && turns.iter().all(|t| chain.texts.iter().any(|x| x.contains(t)))
        && chain.beside == 0;
    facts.tell(
        whole,
        "one chain leads from before the claim to after the release",
        format!("{} lines on it, {} beside it, {chain_at} in the file at release", chain.ids.len(), chain.beside),
    );
    let waited = telegram.chat(&plans).lines();
    let papaya = waited.iter().position(|l| l.contains("]: what about the PAPAYA?"));
    let kiwi = waited.iter().position(|l| l.contains("]: and now the KIWI"));
    facts.tell(
        papaya < kiwi && papaya.is_some(),
        "what waited is answered first",
        format!("at {papaya:?}, then {kiwi:?}"),
    );

    let elsewhere: Vec<String> = telegram
        .calls_of("sendMessage")
        .iter()
        .map(|call| (call.params["chat_id"].clone(), call.params["message_thread_id"].clone()))
        .map(|(chat, topic)| format!("{}/{}", plain(&chat), plain(&topic)))
        .filter(|place| ![format!("{FORUM}/42"), format!("{FORUM}/43")].contains(place))
        .collect();
    facts.tell(
        elsewhere.is_empty(),
        "nothing is sent to any other chat",
        format!("{} messages elsewhere", elsewhere.len()),
    );
    Ok(())
}

/// The row of the topic, with the seed's fields.
fn listed(facts: &mut Facts, rows: &Value, session: &str) {
    let none = Vec::new();
    let rows = rows["rows"].as_array().or_else(|| rows.as_array()).unwrap_or(&none);
    let row = rows.iter().find(|r| r["cliSessionId"] == session).cloned().unwrap_or_default();
    let fields = [
        "channel",
        "displayName",
        "title",
        "conversationId",
        "cliSessionId",
        "echoTarget",
        "relayReady",
        "lastActivity",
    ];
    let missing: Vec<_> = fields.iter().filter(|f| row[**f].is_null()).collect();
    let right = row["channel"] == "telegram"
        && row["conversationId"] == format!("{FORUM}:topic:42")
        && row["relayReady"] == true;
    facts.tell(
        missing.is_empty() && right && row["rideable"] == true,
        "the topic is listed with all its fields",
        format!("{} — {} {}, missing {missing:?}", row["title"], row["channel"], row["conversationId"]),
    );
}

fn told_once_in_order(facts: &mut Facts, telegram: &Telegram, place: &Place, turns: &[&str]) {
    let chat = telegram.chat(place);
    let mine: Vec<&str> = chat.by_bot().into_iter().filter(|t| turns.iter().any(|turn| t.contains(turn))).collect();
    let prompts =
        turns.iter().filter(|t| mine.iter().filter(|m| m.starts_with("🖥") && m.ends_with(*t)).count() == 1).count();
    let answers = turns.iter().filter(|t| mine.iter().filter(|m| m.contains(&format!("]: {t}"))).count() == 1).count();
    facts.tell(prompts == 3, "each prompt is in the topic once", format!("{prompts} of 3"));
    facts.tell(answers == 3, "each answer is in the topic once", format!("{answers} of 3"));
    let order: Vec<usize> = mine.iter().filter_map(|m| turns.iter().position(|t| m.contains(t))).collect();
    facts.tell(order == [0, 0, 1, 1, 2, 2], "in order over three turns", mine.join(" | "));
}

/// Watches the process table around the hand-over.
struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// The host ends its Claude after each turn.
    may_be_cold: bool,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    warm: Option<Process>,
    gone: Option<Instant>,
    other: Option<Instant>,
    together: bool,
}

impl Watch {
    /// Looks every few milliseconds for the gateway's child on the session and for any other process that opens it.
    fn begin(gateway: &Gateway, session: &str) -> Watch {
        let on = |p: &Process, id: &str| p.command_line().iter().any(|a| a.contains(id));
        // 2026.6.1 names no id in a first turn's arguments: Claude Code's own registry tells.
        let registry = gateway.claude_dir().join("sessions");
        let registered = |p: &Process| {
            fs::read_to_string(registry.join(format!("{}.json", p.pid))).is_ok_and(|entry| entry.contains(session))
        };
        let warm = gateway.claude_processes().into_iter().find(|p| on(p, session) || registered(p));
        let seen = Arc::new(Mutex::new(Seen { warm, ..Seen::default() }));
        let (shared, id, me) = (seen.clone(), session.to_owned(), std::process::id());
        let task = tokio::task::spawn_blocking(move || {
            let end = Instant::now() + TURN;
            while Instant::now() < end {
                let warm_lives = warm.as_ref().is_some_and(Process::is_alive);
                let other = descendants(me).into_iter().any(|p| {
                    Some(&p) != warm.as_ref()
                        && on(&p, &id)
                        && p.command_line().first().is_some_and(|c| c.ends_with("/claude"))
                });
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if !warm_lives && seen.gone.is_none() {
                    seen.gone = Some(Instant::now());
                }
                if other && seen.other.is_none() {
                    seen.other = Some(Instant::now());
                }
                seen.together |= other && warm_lives;
                if seen.gone.is_some() && seen.other.is_some() {
                    return;
                }
                drop(seen);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let may_be_cold = gateway.before(&[2026, 8]) && !gateway.before(&[2026, 6, 2]);
        Watch { seen, may_be_cold, task }
    }

    fn tell(self, facts: &mut Facts) {
        self.task.abort();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let order = matches!((seen.gone, seen.other), (Some(gone), Some(other)) if gone <= other);
        let between = seen.gone.zip(seen.other).map(|(gone, other)| other.saturating_duration_since(gone).as_millis());
        // Hosts between 2026.6.1 and 2026.8 end their Claude after each turn.
        let observed = match &seen.warm {
            Some(warm) => format!("process {} gone {between:?} ms before", warm.pid),
            None => "this host keeps none between turns".into(),
        };
        let fact = "the gateway's warm Claude is gone before the ride's Claude Code starts";
        facts.tell((seen.warm.is_some() || self.may_be_cold) && order && !seen.together, fact, observed);
    }
}

/// What stands around a place in a text, on one line.
fn around(text: &str, at: usize) -> String {
    let start = (0..=at.saturating_sub(20)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let near: String = text[start..].chars().take(90).collect();
    near.split_whitespace().collect::<Vec<_>>().join(" ")
}
