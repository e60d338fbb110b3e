//! (a) Handing a held message to the agent, later and from no request, as its own sender.

use anyhow::{Context, Result};
use serde_json::Value;

use super::cells::{Cells, those, yes};
use super::lab::{Lab, SOON, Thread, owner, stranger};
use super::log::first;
use super::turns::{EVERYWHERE, Handed, Held, last_message};

/// One pixel; the model need not see more.
pub(super) const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0, 0, 1, 8,
    6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0xfc, 0xcf, 0xc0,
    0x50, 0x0f, 0, 4, 0x85, 1, 0x80, 0x84, 0xa9, 0x8c, 0x21, 0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60,
    0x82,
];

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(1);
    lab.turn(&thread, &owner(), "the thread begins").await?;
    whole(lab, cells, &thread).await?;
    let held = lab.hold(&thread, &owner(), "held for the owner").await?;
    let handed = lab.hand_over(&held, EVERYWHERE, &renamed(&held)).await?;
    lab.calm().await?;
    cells.cell(
        "row of the owner: senderIsOwner",
        row(lab, &handed, &thread).await?["__openclaw"]["senderIsOwner"].to_string(),
    );
    same_id(lab, cells, &thread).await?;
    photo(lab, cells, &thread).await?;
    for (name, via) in [("inbound.dispatch", "durable"), ("inbound.run", "run"), ("dispatcher alone", "buffered")] {
        let held = lab.hold(&thread, &stranger(), &format!("held for {via}")).await?;
        let handed = lab.hand_over(&held, via, &renamed(&held)).await?;
        lab.calm().await?;
        cells.cell(name, outcome(lab, &handed, &thread, &format!("held for {via}")));
    }
    Ok(())
}

/// The stranger's message, looked at from every side.
async fn whole(lab: &Lab, cells: &mut Cells, thread: &Thread) -> Result<()> {
    let text = "held for the stranger";
    let held = lab.hold(thread, &stranger(), text).await?;
    lab.calm().await?;
    let kept_out = lab.asked(&held.since).is_none();
    let handed = lab.hand_over(&held, EVERYWHERE, &renamed(&held)).await?;
    lab.calm().await?;
    cells.cell("no model call while held", yes(kept_out));
    cells.cell("buildContext + dispatchReply", outcome(lab, &handed, thread, text));

    let request = lab.asked(&handed.since).context("the model was not asked")?;
    let (said, _) = last_message(&request);
    let who = stranger();
    let quoted = |text: &str| said.contains(&format!("\"{text}\""));
    let saw = [
        ("sender id", quoted(&who.id.to_string())),
        ("name", quoted(&who.first_name)),
        ("username", quoted(who.username.as_deref().unwrap_or_default())),
        ("topic", quoted("42") || said.contains("topic:42")),
        ("time", said.contains("\"timestamp\"")),
        ("our message id", quoted(&handed.id)),
    ];
    cells.cell("model saw", those(saw));

    let sent = lab.sent(&handed.since);
    let astray = sent.iter().filter(|sent| !sent.is_in(thread)).count();
    let receipt = !handed.done.rest["settled"][0]["result"]["messageIds"][0].is_null();
    cells.cell("reply", format!("right topic {}, astray {astray}, receipt {}", sent.len() - astray, yes(receipt)));
    let row = row(lab, &handed, thread).await?;
    cells.cell("row of a stranger: senderIsOwner", row["__openclaw"]["senderIsOwner"].to_string());
    let named = row["__openclaw"]["transport"]["messageId"] == handed.id.as_str();
    cells.cell("row carries our message id", yes(named));

    let noted = lab.since(&handed.since).await?;
    let inside = |hook: &str| {
        first(&noted, |e| e.is_hook(hook, &thread.key) && e.handover["handover"] == handed.id.as_str()).is_some()
    };
    cells.cell(
        "AsyncLocalStorage visible in",
        those(["message_received", "before_dispatch", "agent_end"].map(|hook| (hook, inside(hook)))),
    );
    let end = first(&noted, |e| e.is_hook("agent_end", &thread.key)).context("no agent_end")?;
    let after = if handed.done.t >= end.t { "after agent_end" } else { "before agent_end" };
    cells.cell("the promise resolves", format!("{after} ({:+} ms)", handed.done.t - end.t));
    Ok(())
}

/// The host remembers the live message's id.
async fn same_id(lab: &Lab, cells: &mut Cells, thread: &Thread) -> Result<()> {
    let held = lab.hold(thread, &stranger(), "held and given its own id").await?;
    let handed = lab.hand_over(&held, EVERYWHERE, &held.id.to_string()).await?;
    lab.calm().await?;
    let noted = lab.since(&handed.since).await?;
    let hooks = noted.iter().filter(|e| e.kind == "hook").count();
    let swallowed = hooks == 0 && lab.asked(&handed.since).is_none();
    let dispatched = &handed.done.rest["result"]["dispatched"];
    let error = handed.error().unwrap_or("none");
    cells.cell(
        "the held message's own id",
        format!("swallowed {}, hooks {hooks}, dispatched {dispatched}, error {error}", yes(swallowed)),
    );
    Ok(())
}

async fn photo(lab: &Lab, cells: &mut Cells, thread: &Thread) -> Result<()> {
    let send = || lab.telegram.sends_photo(&stranger(), &thread.place, PNG, Some("held photo"));
    let held = lab.hold_next(thread, send).await?;
    let handed = lab.hand_over(&held, EVERYWHERE, &renamed(&held)).await?;
    lab.calm().await?;
    let request = lab.asked(&handed.since).context("the model was not asked")?;
    cells.cell("photo", pictured(&last_message(&request)));
    Ok(())
}

/// How a picture reached the model.
pub(super) fn pictured((said, images): &(String, usize)) -> &'static str {
    match (images, said.contains("media attached") || said.contains("/media/")) {
        (0, true) => "file path in the prompt, no image block",
        (0, false) => "nothing of it reached the model",
        (_, true) => "image block, and a path in the prompt",
        (_, false) => "image block",
    }
}

/// The host knows the held message's id, so every hand-over has another.
pub(super) fn renamed(held: &Held) -> String {
    format!("{}-ride", held.id)
}

fn outcome(lab: &Lab, handed: &Handed, thread: &Thread, text: &str) -> String {
    match handed.error() {
        Some(error) => format!("fails: {error}"),
        None if lab.telegram.chat(&thread.place).bot_wrote(text) => "works".into(),
        None => format!("no error and no reply: {}", handed.result()),
    }
}

/// The user row of a hand-over.
async fn row(lab: &Lab, handed: &Handed, thread: &Thread) -> Result<Value> {
    let row = lab.wait(&handed.since, SOON, "the user row", |e| e.is_row("user", &thread.key)).await?;
    Ok(row.event["message"].clone())
}
