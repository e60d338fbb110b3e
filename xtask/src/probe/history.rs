//! (f) Whether held group messages come back in the host's own group history.

use anyhow::{Context, Result};
use ride_testkit::anthropic::Recorded;
use serde_json::json;

use super::cells::{Cells, listed, those};
use super::handover::renamed;
use super::lab::{Lab, MENTION_ONLY, Thread, owner, stranger};
use super::turns::{EVERYWHERE, MENTION, last_message};

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let group = lab.group(1);
    lab.turn(&group, &owner(), "the group begins").await?;
    lab.hold(&group, &owner(), "held ONE").await?;
    lab.hold(&group, &stranger(), "held TWO").await?;
    let next = lab.turn(&group, &owner(), "next NEXT").await?;
    cells.cell("held, nothing sent since: next saw", saw(&next.request, &["ONE", "TWO"]));

    lab.hold(&group, &owner(), "held THREE").await?;
    relay(lab, &group, "relayed RELAY").await?;
    lab.hold(&group, &owner(), "held FOUR").await?;
    let next = lab.turn(&group, &owner(), "next AFTER").await?;
    cells.cell("held THREE, relay, held FOUR: saw", saw(&next.request, &["THREE", "RELAY", "FOUR"]));

    lab.hold(&group, &owner(), "held FIVE").await?;
    let held = lab.hold(&group, &stranger(), "held SIX").await?;
    let handed = lab.hand_over(&held, EVERYWHERE, &renamed(&held)).await?;
    lab.calm().await?;
    let inside = lab.asked(&handed.since).context("the model was not asked")?;
    cells.cell("held FIVE, handed over SIX: it saw", saw(&inside, &["FIVE", "SIX"]));
    let next = lab.turn(&group, &owner(), "next LAST").await?;
    cells.cell("… next live saw", saw(&next.request, &["FIVE", "SIX"]));
    mentions(lab, cells).await
}

/// The same where the bot must be mentioned.
async fn mentions(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let group = lab.group(MENTION_ONLY);
    let since = lab.mark().await?;
    lab.telegram.says(&owner(), &group.place, "unmentioned SEVEN");
    lab.calm().await?;
    let noted = lab.since(&since).await?;
    let hooks: Vec<&str> = noted.iter().filter(|e| e.kind == "hook").map(|e| e.hook.as_str()).collect();
    cells.cell("requireMention, unmentioned: hooks", listed(&hooks));
    let next = lab.turn(&group, &owner(), &format!("{MENTION}mentioned EIGHT")).await?;
    cells.cell("… next mention saw", saw(&next.request, &["SEVEN"]));
    lab.hold(&group, &owner(), &format!("{MENTION}held NINE")).await?;
    let next = lab.turn(&group, &owner(), &format!("{MENTION}mentioned TEN")).await?;
    cells.cell("requireMention, held: next saw", saw(&next.request, &["NINE"]));
    Ok(())
}

/// Sends as the relay does: by the channel's own adapter.
async fn relay(lab: &Lab, group: &Thread, text: &str) -> Result<()> {
    let to = format!("telegram:{}", group.place.chat);
    lab.step("relay", json!({ "channel": "telegram", "to": to, "text": text })).await?;
    lab.calm().await
}

/// Which of these words the last message carried around itself.
fn saw(request: &Recorded, words: &[&'static str]) -> String {
    let (said, _) = last_message(request);
    those(words.iter().map(|word| (*word, said.contains(word))))
}
