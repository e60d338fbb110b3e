//! Commands in the chat while a thread is ridden: in a topic, a group and a direct chat,
//! by people the host authorises and by others. The table of `docs/protocol.md`, shown.

use std::time::Duration;

use serde_json::json;

use super::stage::{Stage, TURN, line_with, said};
use super::{Facts, Product};
use crate::claude;
use crate::error::Result;
use crate::pty::Terminal;
use crate::telegram::{BOT_USERNAME, Person, Place};

const FORUM: i64 = -1_002_222_222_222;
const GROUP: i64 = -1_003_333_333_333;
/// Admitted to the group like anybody, authorised by nothing.
const STRANGER: i64 = 4_711;

/// How long an answer without a turn may take, behind what the channel throttles.
const SOON: Duration = Duration::from_secs(40);

/// Show something and change nothing; the last is as a group's members must write it.
const READ_ONLY: [&str; 10] =
    ["/status", "/help", "/commands", "/whoami", "/id", "/tools", "/tasks", "/context", "/usage cost", "/status@"];
/// Would reset or change the conversation, run a turn, or act on the machine.
const REFUSED: [&str; 11] = [
    "/new",
    "/reset",
    "/compact",
    "/model opus",
    "/models",
    "/think high",
    "/usage tokens",
    "/btw what is this",
    "/status tell me a story",
    "/export-session",
    "/restart",
];

// Rule GATE-2.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    // Everybody may write in the groups; commands are for those on the list.
    let everybody = json!({ "channels": { "telegram": { "groupPolicy": "open" } }, "commands": { "ownerAllowFrom": ["telegram:1001"] } });
    let stage = Stage::build(product, json!({}), |builder| builder.allow(&[1001]).config(&everybody)).await?;
    let (telegram, anthropic, tess) = (&stage.telegram, &stage.anthropic, Person::tess());
    let topic = Place::topic(FORUM, "Forum", 42, "Plans");
    let (group, direct) = (Place::group(GROUP, "Kitchen"), Place::direct(&tess));
    let places = [&topic, &group, &direct];
    for place in places {
        telegram.says(&tess, place, "the code word is MANGO");
    }
    for place in places {
        telegram.wait_for_bot(place, TURN, "]: the code word is MANGO").await?;
    }
    let menu = telegram
        .calls_of("setMyCommands")
        .iter()
        .any(|call| call.params["commands"].to_string().contains("rides this thread"));
    facts.tell(menu, "/ride stands in the bot's menu", if menu { "set" } else { "not among the commands set" });
    let before = answer(&stage, &tess, &topic, "/ride").await?;
    facts.tell(before.contains("Nobody rides this thread"), "/ride says that nobody rides", &before);

    let keys = [format!("agent:main:telegram:group:{FORUM}:topic:42"), format!("agent:main:telegram:group:{GROUP}")];
    stage.rideable(&[&keys[0], &keys[1], "agent:main:main"]).await?;
    let mut rides = Vec::new();
    for words in [&["forum", "topic:42"][..], &["kitchen"][..], &["--yes", "agent:main:main"][..]] {
        let ride = stage.ride(words)?;
        ride.wait_for(TURN, claude::shows_prompt).await?;
        rides.push(ride);
    }
    let [ride, ..] = &mut rides[..] else { return Ok(()) };
    let calls = anthropic.turns().len();

    // What shows something passes, and is answered by the host. In a chat of its own: the
    // channel sends at most 20 messages a minute to a group. One after the other: some
    // hosts lose commands of a person who writes several at once.
    let (mut shown, mut not) = (Vec::new(), Vec::new());
    for command in READ_ONLY {
        match answer(&stage, &tess, &group, &named(command)).await {
            Ok(text) if !text.contains('⇄') => shown.push(first(&text)),
            Ok(text) => not.push(format!("{command}: {}", first(&text))),
            Err(_) => not.push(format!("{command}: nothing")),
        }
    }
    facts.tell(
        not.is_empty(),
        "what shows something is answered by the host while ridden",
        format!("{} of {}: {}{}", shown.len(), READ_ONLY.len(), shown.join(" | "), not.join(" | ")),
    );
    for (place, what) in [(&topic, "a topic"), (&direct, "a direct chat")] {
        let text = answer(&stage, &tess, place, "/status").await.unwrap_or_default();
        facts.tell(!text.is_empty() && !text.contains('⇄'), &format!("so too in {what}"), first(&text));
    }

    // Everything else is refused by name, and not queued.
    let mut let_by = Vec::new();
    for command in REFUSED {
        let refusal = format!("{} is not possible now", command.split(' ').next().unwrap_or(command));
        let text = answer(&stage, &tess, &direct, command).await.unwrap_or_else(|_| "nothing".into());
        if !text.contains(&refusal) {
            let_by.push(format!("{command}: {}", first(&text)));
        }
    }
    let unsaid = if let_by.is_empty() { String::new() } else { undelivered(&stage).await? };
    facts.tell(
        let_by.is_empty(),
        "what changes something is refused by name",
        format!("{} of {} {}{unsaid}", REFUSED.len() - let_by.len(), REFUSED.len(), let_by.join(" | ")),
    );
    for (place, command, what) in [(&topic, "/new", "a topic"), (&group, "/new@", "a group, by the bot's name")] {
        let text = answer(&stage, &tess, place, &named(command)).await.unwrap_or_default();
        facts.tell(text.contains("/new is not possible now"), &format!("so too in {what}"), first(&text));
    }
    facts.tell(
        anthropic.turns().len() == calls,
        "no command reaches the model",
        format!("{} calls", anthropic.turns().len() - calls),
    );

    // `/ride` answers while ridden.
    for (place, what) in [(&topic, "a topic"), (&group, "a group"), (&direct, "a direct chat")] {
        let text = answer(&stage, &tess, place, "/ride").await.unwrap_or_default();
        let says = text.contains("ada@") && text.contains("has been riding this thread from a terminal");
        facts.tell(says, &format!("/ride tells in {what} who rides and for how long"), first(&text));
    }

    stops(&stage, facts, &tess, &topic, ride).await?;
    strangers(&stage, facts, &group, calls).await?;

    // Nothing of all this is left behind.
    for ride in &mut rides {
        stage.leave(ride).await?;
    }
    let quiet = [&topic, &direct]
        .iter()
        .all(|place| !telegram.chat(place).bot_wrote("was reset") && !telegram.chat(place).bot_wrote("beside"));
    facts.tell(
        quiet,
        "the thread comes back as it was: no reset, no turn beside the ride",
        if quiet { "nothing announced" } else { "something announced" },
    );
    telegram.says(&tess, &topic, "and now the KIWI");
    telegram.wait_for_bot(&topic, TURN, "]: and now the KIWI").await?;
    let after = anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    let whole = after.saw("MANGO") && after.saw("still here");
    facts.tell(
        whole,
        "the next turn goes on where the ride ended",
        format!("saw the turn before the ride {}, the terminal's {}", after.saw("MANGO"), after.saw("still here")),
    );
    Ok(())
}

/// `/stop` and a plain `stop` by somebody who may.
async fn stops(stage: &Stage<'_>, facts: &mut Facts, tess: &Person, topic: &Place, ride: &mut Terminal) -> Result<()> {
    let telegram = &stage.telegram;
    for command in ["/stop", "stop"] {
        let before = telegram.chat(topic).by_bot().len();
        telegram.says(tess, topic, command);
        let told = telegram
            .wait_for(topic, SOON, |chat| chat.by_bot().len() > before && chat.bot_wrote("nothing to stop here"))
            .await;
        let said: Vec<String> = telegram.chat(topic).by_bot()[before..].iter().map(|t| first(t)).collect();
        facts.tell(
            told.is_ok(),
            &format!("{command:?} is the host's own, and the thread is told that a terminal rides"),
            said.join(" | "),
        );
    }
    let once = telegram.chat(topic).count("nothing to stop here");
    facts.tell(once == 1, "it is told once", format!("{once} times"));
    let shown = stage.tells(ride, "Tess asked in the chat to stop").await;
    facts.tell(shown.is_ok(), "the driver sees in the terminal who asked to stop", line_with(&ride.screen(), "asked"));
    ride.submit("still here").await?;
    telegram.wait_for_bot(topic, TURN, "]: still here").await?;
    facts.tell(true, "and rides on", "a turn of the terminal was answered");
    Ok(())
}

/// Somebody whose messages are taken and whose commands are not.
async fn strangers(stage: &Stage<'_>, facts: &mut Facts, group: &Place, calls: usize) -> Result<()> {
    let (telegram, stranger) = (&stage.telegram, Person::new(STRANGER, "Eve", "eve"));
    let before = telegram.chat(group).by_bot().len();
    for command in ["/new", "/status", "/ride", "/stop"] {
        telegram.says(&stranger, group, command);
        telegram.wait_until_read(SOON).await?;
    }
    telegram.says(&stranger, group, "stop");
    telegram.wait_for_bot(group, TURN, "Your message is kept").await?;
    let chat = telegram.chat(group);
    let said = &chat.by_bot()[before..];
    let shown = said.iter().any(|t| t.contains("is not possible now") || t.contains("riding this thread"));
    let kept = stage.json(&["status", "--json"]).await?;
    let kept = kept["threads"].as_array().and_then(|all| {
        all.iter().find(|t| t["key"].as_str().is_some_and(|k| k.contains(&GROUP.to_string()))).cloned()
    });
    let kept = kept.unwrap_or_default();
    facts.tell(
        kept["inbox"] == 1,
        "a plain \"stop\" of somebody without authority is a message like any other",
        format!("{} kept", kept["inbox"]),
    );
    facts.tell(
        !shown,
        "commands of somebody without authority are the host's to refuse",
        said.iter().map(|t| first(t)).collect::<Vec<_>>().join(" | "),
    );
    let turns: Vec<String> = stage.anthropic.turns()[calls..]
        .iter()
        .map(|r| r.prompt())
        .filter(|p| !["still here", "anything new?"].iter().any(|ours| p.contains(ours)))
        .collect();
    facts.tell(turns.is_empty(), "and reach no model", format!("calls meanwhile: {turns:?}"));
    let status = stage.run(&["status"]).await?;
    facts.tell(
        said_of(&status, "ridden").contains("3"),
        "all three threads are ridden as before",
        said_of(&status, "ridden"),
    );
    Ok(())
}

/// What the gateway could not tell the chats, for the record of a fact that is not so.
async fn undelivered(stage: &Stage<'_>) -> Result<String> {
    let status = stage.json(&["status", "--json"]).await?;
    let lines =
        status["threads"].as_array().into_iter().flatten().flat_map(|t| t["journal"].as_array().into_iter().flatten());
    Ok(lines
        .filter_map(|l| l["what"].as_str())
        .filter(|what| what.contains("not delivered"))
        .collect::<Vec<_>>()
        .join(" | "))
}

/// Writes a command and gives what the bot says to it.
async fn answer(stage: &Stage<'_>, who: &Person, place: &Place, command: &str) -> Result<String> {
    let before = stage.telegram.chat(place).by_bot().len();
    stage.telegram.says(who, place, command);
    let chat = stage.telegram.wait_for(place, SOON, |chat| chat.by_bot().len() > before).await?;
    Ok(chat.by_bot()[before..].join("\n"))
}

/// `/x@` is addressed to the bot.
fn named(command: &str) -> String {
    if command.ends_with('@') { format!("{command}{BOT_USERNAME}") } else { command.to_owned() }
}

fn first(text: &str) -> String {
    text.lines().next().unwrap_or("nothing").chars().take(90).collect()
}

/// How often a word stands in what a command printed.
fn said_of(output: &std::process::Output, word: &str) -> String {
    format!("{} {word}", said(output).lines().filter(|line| line.contains(word)).count())
}
