//! What is done to a thread, in any question: a turn, a held message, a hand-over.

use anyhow::{Context, Result};
use ride_testkit::anthropic::{Kind, Recorded};
use ride_testkit::{Person, poll_until};
use serde_json::{Value, json};

use super::lab::{Lab, Mark, SOON, TURN, Thread};
use super::log::Entry;

/// The hand-over that works on every host: `buildContext`, then `dispatchReply`.
pub(super) const EVERYWHERE: &str = "assembled";

/// Begins a message that mentions the bot.
pub(super) const MENTION: &str = "@ride_stand_in_bot ";

/// A finished turn.
pub(super) struct Turn {
    pub(super) since: Mark,
    /// What the model was asked.
    pub(super) request: Recorded,
}

/// A message that the gate kept.
pub(super) struct Held {
    pub(super) since: Mark,
    pub(super) id: i64,
}

/// A hand-over whose promise settled.
pub(super) struct Handed {
    pub(super) since: Mark,
    /// The id it was given.
    pub(super) id: String,
    /// The plugin's note of the outcome.
    pub(super) done: Entry,
}

impl Handed {
    /// The first error, if there was one.
    pub(super) fn error(&self) -> Option<&str> {
        self.done.rest["errors"][0].as_str()?.lines().next()
    }

    /// The host's own account of the dispatch.
    pub(super) fn result(&self) -> &Value {
        &self.done.rest["result"]["dispatchResult"]
    }
}

impl Lab {
    /// Has someone write and waits until the turn is over. `text` must be new to the thread.
    pub(super) async fn turn(&self, thread: &Thread, who: &Person, text: &str) -> Result<Turn> {
        self.gate(thread, false).await?;
        let since = self.mark().await?;
        self.telegram.says(who, &thread.place, text);
        // Some hosts take the mention out of what the model gets.
        let text = text.trim_start_matches(MENTION);
        let request = self.anthropic.wait_for_prompt(TURN, text).await?;
        self.telegram.wait_for_bot(&thread.place, TURN, text).await?;
        self.wait(&since, SOON, "the turn's agent_end", |e| e.is_hook("agent_end", &thread.key)).await?;
        // The binding is stored after the end.
        self.calm().await?;
        Ok(Turn { since, request })
    }

    /// Has someone write while the gate is closed and waits until it was kept.
    pub(super) async fn hold(&self, thread: &Thread, who: &Person, text: &str) -> Result<Held> {
        self.hold_next(thread, || self.telegram.says(who, &thread.place, text)).await
    }

    /// Closes the gate, lets `write` write, and waits until it was kept.
    pub(super) async fn hold_next(&self, thread: &Thread, write: impl FnOnce() -> i64) -> Result<Held> {
        self.gate(thread, true).await?;
        let since = self.mark().await?;
        let id = write();
        let is_ours = |e: &Entry| e.kind == "held" && e.rest["sessionKey"] == thread.key.as_str();
        self.wait(&since, SOON, "a message to be held", is_ours).await?;
        Ok(Held { since, id })
    }

    /// Begins to hand a held message over; `as_id` is the message id it is given.
    pub(super) async fn begin_hand_over(&self, held: &Held, via: &str, as_id: &str) -> Result<Mark> {
        let since = self.mark().await?;
        self.step("handover", json!({ "messageId": held.id, "via": via, "newMessageId": as_id })).await?;
        Ok(since)
    }

    /// Hands a held message over and waits until the promise settles.
    pub(super) async fn hand_over(&self, held: &Held, via: &str, as_id: &str) -> Result<Handed> {
        let since = self.begin_hand_over(held, via, as_id).await?;
        let done = self.wait(&since, TURN, "the hand-over's promise", |e| e.kind == "handover").await?;
        Ok(Handed { since, id: as_id.into(), done })
    }

    /// The last turn asked of the model since.
    pub(super) fn asked(&self, since: &Mark) -> Option<Recorded> {
        let requests = self.anthropic.requests();
        requests.into_iter().skip(since.requests).rfind(|request| request.kind == Kind::Turn)
    }

    /// What the bot sent or changed since: chat, topic, text.
    pub(super) fn sent(&self, since: &Mark) -> Vec<Sent> {
        let calls = self.telegram.calls().into_iter().skip(since.calls);
        calls.filter_map(|call| Sent::of(&call.method, &call.params)).collect()
    }

    /// The Claude session a thread is bound to.
    pub(super) async fn bound(&self, thread: &Thread) -> Result<Option<String>> {
        Ok(self.entry(thread).await?["cliSessionIds"]["claude-cli"].as_str().map(str::to_owned))
    }

    /// Waits for the thread's Claude session.
    pub(super) async fn must_be_bound(&self, thread: &Thread) -> Result<String> {
        self.bound(thread).await?.context("the thread has no Claude session")
    }

    /// Whether a process is gone within a moment, and after how many milliseconds.
    pub(super) async fn gone(&self, process: &ride_testkit::Process) -> Result<u128> {
        let asked = std::time::Instant::now();
        poll_until("a process to end", SOON, || (!process.is_alive()).then_some(())).await?;
        Ok(asked.elapsed().as_millis())
    }
}

/// A message as the Bot API was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) chat: i64,
    pub(super) topic: Option<i64>,
    pub(super) text: String,
}

impl Sent {
    fn of(method: &str, params: &Value) -> Option<Self> {
        let said = ["text", "rich_message", "caption"].iter().find_map(|name| params.get(name))?;
        let method = method.to_lowercase();
        if !method.starts_with("send") && method != "editmessagetext" {
            return None;
        }
        let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        Some(Sent { chat: number(&params["chat_id"])?, topic: number(&params["message_thread_id"]), text })
    }

    /// Whether it went to this thread.
    pub(super) fn is_in(&self, thread: &Thread) -> bool {
        self.chat == thread.place.chat && self.topic == thread.place.topic
    }
}

/// A number, or a number written as text, as form fields are.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The texts and pictures of the last thing the user said to the model, the host's context included.
pub(super) fn last_message(request: &Recorded) -> (String, usize) {
    let messages = request.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(last) = messages.iter().rfind(|message| message["role"] == "user") else {
        return (String::new(), 0);
    };
    if let Some(text) = last["content"].as_str() {
        return (text.into(), 0);
    }
    let blocks = last["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    (texts.join("\n"), blocks.iter().filter(|block| block["type"] == "image").count())
}
