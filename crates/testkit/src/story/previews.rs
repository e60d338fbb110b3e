//! A long answer streams into an unridden thread: what the channel is sent is the same
//! with the plugin and without it. A plugin that registers the wrong hook switches such
//! previews off for every conversation (docs/hosts.md); that is shown too, by one that
//! does, so that the comparison is known to tell (2026.8 and later).
//!
//! The thread is answered by the host's own runner: from 2026.8 on the host holds back
//! what Claude Code writes until a message is whole, so there is no preview to compare.

use std::fmt;
use std::path::Path;

use serde_json::json;

use super::stage::TURN;
use super::{Facts, Product};
use crate::anthropic::Anthropic;
use crate::error::Result;
use crate::gateway::config::plain_chats;
use crate::gateway::{Family, Gateway, Plugin};
use crate::telegram::{Call, Person, Place, Telegram};

const FORUM: i64 = -1_002_222_222_222;
/// 120 words in 8 s: the host shows a preview from 30 characters on.
const PROMPT: &str = "::slow 8 ::len 120";
/// Its last word.
const LAST: &str = "w119";

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
    // The default until 2026.7; 2026.8 shows a status line instead of the text.
    let streaming = json!({ "channels": { "telegram": { "streaming": { "mode": "partial" } } } });
    let builder = Gateway::builder(&telegram, &anthropic).version(&product.openclaw).claude_code(&product.claude_code);
    let builder = builder.config(&streaming).config(&plain_chats(Family::of(&product.openclaw), &anthropic, &[FORUM]));
    let mut gateway = builder.start().await?;
    let without = stream(&telegram, 42).await?;
    facts.tell(
        without.early && without.edits >= 1,
        "without any plugin the answer is shown before it is whole",
        &without,
    );

    let ours = Plugin { id: "claude-code-sync".into(), source: product.plugin.clone(), config: json!({}) };
    gateway.install(&ours).await?;
    gateway.restart().await?;
    let with = stream(&telegram, 43).await?;
    facts.tell(
        with.shape() == without.shape() && with.edits.abs_diff(without.edits) <= 2,
        "with claude-code-sync it is shown in the same way",
        format!("{with}; without: {without}"),
    );

    if gateway.before(&[2026, 8]) {
        // There it would not, so there is nothing to compare with.
        return Ok(());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probe-plugin");
    let probe = Plugin { id: "ride-probe".into(), source, config: json!({ "observe": ["message_sending"] }) };
    gateway.install(&probe).await?;
    gateway.restart().await?;
    let other = stream(&telegram, 44).await?;
    facts.tell(other.edits == 0, "a plugin that listens to what is sent would have ended that", &other);
    Ok(())
}

/// What the channel was sent for one answer.
#[derive(Debug, PartialEq, Eq)]
struct Stream {
    /// Messages sent.
    sent: usize,
    /// Edits of them.
    edits: usize,
    /// Whether the first text is less than the whole answer.
    early: bool,
    /// Whether every text but the last is a beginning of the next.
    grows: bool,
    /// Whether the last text is the whole answer.
    whole: bool,
}

impl Stream {
    /// What does not depend on the moment a packet arrived.
    fn shape(&self) -> (usize, bool, bool, bool) {
        (self.sent, self.early, self.grows, self.whole)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grows = if self.grows { "each a continuation of the one before" } else { "not each a continuation" };
        let early = if self.early { "the first less than the answer" } else { "the first the answer" };
        write!(
            f,
            "{} sent, {} edits, {early}, {grows}, {}",
            self.sent,
            self.edits,
            if self.whole { "the last whole" } else { "the last not whole" }
        )
    }
}

/// Has one long answer streamed into a topic of its own.
async fn stream(telegram: &Telegram, topic: i64) -> Result<Stream> {
    telegram.wait_until_polled(TURN).await?;
    let place = Place::topic(FORUM, "Forum", topic, "Plans");
    // The first turn makes the session; its time is not what is looked at.
    telegram.says(&Person::tess(), &place, "hello");
    telegram.wait_for_bot(&place, TURN, "hello").await?;
    let before = telegram.calls().len();
    telegram.says(&Person::tess(), &place, PROMPT);
    telegram.wait_for_bot(&place, TURN, LAST).await?;
    Ok(read(&telegram.calls()[before..]))
}

fn read(calls: &[Call]) -> Stream {
    let named = |call: &&Call, name: &str| call.method.eq_ignore_ascii_case(name);
    let sent = calls.iter().filter(|call| named(call, "sendMessage")).count();
    let edits = calls.iter().filter(|call| named(call, "editMessageText")).count();
    let said = calls.iter().filter(|call| named(call, "sendMessage") || named(call, "editMessageText"));
    let texts: Vec<String> = said
        .map(|call| call.params["text"].as_str().unwrap_or_default().trim_end_matches(['…', ' ']).to_owned())
        .collect();
    Stream {
        sent,
        edits,
        early: texts.first().is_some_and(|text| !text.ends_with(LAST)),
        grows: texts.windows(2).all(|pair| pair[1].starts_with(&pair[0])),
        whole: texts.last().is_some_and(|text| text.ends_with(LAST) && text.starts_with("w0 w1 ")),
    }
}
