//! An OpenClaw from before the supported ones loads the plugin: its own conversations
//! go on as ever, and the methods that only read answer. Riding there is not promised.

use serde_json::json;

use super::stage::{Stage, TURN, plain, said};
use super::{Facts, Product};
use crate::error::Result;
use crate::telegram::{Person, Place};

const FORUM: i64 = -1_002_222_222_222;

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001], json!({})).await?;
    let (telegram, tess) = (&stage.telegram, Person::tess());
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    telegram.says(&tess, &plans, "the code word is MANGO");
    telegram.wait_for_bot(&plans, TURN, "]: the code word is MANGO").await?;
    telegram.says(&tess, &plans, "and once more");
    telegram.wait_for_bot(&plans, TURN, "]: and once more").await?;
    facts.tell(
        telegram.chat(&plans).by_bot().len() == 2,
        "a topic is answered as ever",
        telegram.chat(&plans).by_bot().join(" | "),
    );

    let rows = stage.json(&["ls", "--json"]).await?;
    let row = rows["rows"]
        .as_array()
        .and_then(|rows| rows.iter().find(|r| r["conversationId"] == format!("{FORUM}:topic:42")));
    let row = row.cloned().unwrap_or_default();
    facts.tell(
        row["channel"] == "telegram" && row["cliSessionId"].is_string() && row["relayReady"] == true,
        "sessions_rideable lists it with its Claude session and route",
        format!(
            "{} — {} {}, Claude session {}",
            row["title"],
            row["channel"],
            row["conversationId"],
            plain(&row["cliSessionId"])
        ),
    );
    let status = stage.json(&["status", "--json"]).await?;
    facts.tell(status["threads"] == json!([]), "ride_status says that nothing is ridden", &status);
    let config = stage.json(&["config", "--json"]).await?;
    facts.tell(
        config["gateway"]["rideTtlMinutes"] == 30,
        "ride_config answers with the configuration in force",
        &config,
    );
    let ls = stage.run(&["status", "no such thread"]).await?;
    facts.tell(
        ls.status.code() == Some(3),
        "and an unknown thread is refused by name",
        said(&ls).lines().next().unwrap_or_default(),
    );
    Ok(())
}
