//! What the host says of a chat turn, as OpenClaw 2026.6.1 to 2026.9.6 writes it:
//! `chat` events, and rows of `chat.history`. Lenient; nothing is decided here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The host's event about a turn.
pub const CHAT: &str = "chat";

/// Parameters of `chat.send`; the answer goes to no channel by the host's own hand.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Send {
    /// The thread.
    pub session_key: String,
    /// The prompt.
    pub message: String,
    /// What the host calls the turn.
    pub idempotency_key: String,
    /// Always false.
    pub deliver: bool,
}

/// Answer of `chat.send`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// `started`, `in_flight`, or how a turn of that name ended; absent where the host
    /// took the text for a word to stop.
    pub status: Option<String>,
}

/// Parameters of `chat.abort`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// The thread.
    pub session_key: String,
    /// The turn.
    pub run_id: String,
}

/// Parameters of `sessions.messages.subscribe`: after a reconnect its events are ours too.
#[derive(Debug, Serialize)]
pub struct Subscribe {
    /// The thread.
    pub key: String,
}

/// Parameters of `chat.history`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// The thread.
    pub session_key: String,
    /// Newest rows.
    pub limit: u32,
}

/// How far a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// More of its answer.
    Delta,
    /// It ended.
    Final,
    /// It was interrupted.
    Aborted,
    /// It failed.
    Error,
}

/// What a `chat` event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which turn.
    pub run: String,
    /// How far.
    pub state: State,
    /// All of its answer so far; empty where the event has none.
    pub text: String,
    /// Why it failed.
    pub error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    run_id: String,
    state: String,
    #[serde(default)]
    message: Value,
    error_message: Option<String>,
}

/// Reads a `chat` event; `None` for what tells nothing of an answer.
pub fn told(payload: &str) -> Option<Told> {
    let payload: Payload = serde_json::from_str(payload).ok()?;
    let state = match payload.state.as_str() {
        "delta" => State::Delta,
        "final" => State::Final,
        "aborted" => State::Aborted,
        "error" => State::Error,
        _ => return None,
    };
    Some(Told { run: payload.run_id, state, text: text(&payload.message), error: payload.error_message })
}

/// Answer of `chat.history`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct History {
    messages: Vec<Value>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether the agent wrote it.
    pub agent: bool,
    /// What.
    pub text: String,
}

impl History {
    /// The conversation, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for message in &self.messages {
            let agent = match message["role"].as_str() {
                Some("assistant") => true,
                Some("user") => false,
                _ => continue,
            };
            let line = Line { agent, text: text(message) };
            // A delivered answer has a second row on some hosts.
            if !line.text.is_empty() && lines.last() != Some(&line) {
                lines.push(line);
            }
        }
        lines
    }

    /// The agent's last words in the turn of that name.
    pub fn answer(&self, run: &str) -> Option<String> {
        let asked = format!("{run}:user");
        let key =
            |m: &Value| m["idempotencyKey"].as_str().or(m["__openclaw"]["idempotencyKey"].as_str()) == Some(&asked);
        let at = self.messages.iter().position(key)?;
        let turn = self.messages[at + 1..].iter().take_while(|m| m["role"] != "user");
        turn.filter(|m| m["role"] == "assistant" && m["stopReason"] != "toolUse")
            .map(text)
            .filter(|text| !text.is_empty())
            .last()
    }
}

fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(blocks) => {
            let texts: Vec<&str> =
                blocks.iter().filter(|b| b["type"] == "text").filter_map(|b| b["text"].as_str()).collect();
            texts.join("\n").trim().to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_of_a_turn() {
        let check = |event: Value, expected: Option<(State, &str)>| {
            let told = told(&event.to_string());
            assert_eq!(told.as_ref().map(|t| (t.state, t.text.as_str())), expected, "{event}");
        };
        // Recorded on 2026.9.6.
        let message = json!({ "role": "assistant", "content": [{ "type": "text", "text": "tool-done: hi" }] });
        check(
            json!({ "runId": "r", "seq": 20, "state": "delta", "deltaText": " hi", "message": message }),
            Some((State::Delta, "tool-done: hi")),
        );
        check(
            json!({ "runId": "r", "state": "final", "stopReason": "stop", "message": message }),
            Some((State::Final, "tool-done: hi")),
        );
        check(json!({ "runId": "r", "state": "final" }), Some((State::Final, "")));
        check(json!({ "runId": "r", "state": "aborted", "stopReason": "rpc" }), Some((State::Aborted, "")));
        check(json!({ "runId": "r", "state": "status", "phase": "starting_model" }), None);
        check(json!({ "other": 1 }), None);
    }

    #[test]
    fn a_turn_in_the_history() {
        let history: History = serde_json::from_value(json!({ "messages": [
            { "role": "user", "content": "before", "idempotencyKey": "p0:user" },
            { "role": "assistant", "content": [{ "type": "text", "text": "one" }] },
            { "role": "assistant", "content": [{ "type": "text", "text": "one" }] },
            { "role": "user", "content": "now", "__openclaw": { "idempotencyKey": "p1:user" } },
            { "role": "assistant", "content": [{ "type": "text", "text": "using a tool" }], "stopReason": "toolUse" },
            { "role": "toolResult", "content": [{ "type": "text", "text": "hi" }] },
            { "role": "assistant", "content": [{ "type": "text", "text": "done" }], "stopReason": "stop" },
        ] }))
        .unwrap();
        assert_eq!(history.answer("p0").as_deref(), Some("one"));
        assert_eq!(history.answer("p1").as_deref(), Some("done"));
        assert_eq!(history.answer("p2"), None);
        let lines: Vec<String> = history.lines().into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["before", "one", "now", "using a tool", "done"]);
    }
}
