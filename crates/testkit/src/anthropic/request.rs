//! A recorded request, and what kind of request it is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use hyper::Method;
use serde_json::Value;

use super::script;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A turn of the conversation, or a step of one after a tool ran.
    Turn,
    /// Claude Code names its session.
    Title,
    /// Claude Code compacts its conversation.
    Compact,
    /// Claude Code checks its quota with a one-token request.
    Quota,
    /// Some other request without tools: a side question, a summary.
    Side,
    /// `count_tokens`.
    CountTokens,
    /// The list of models.
    Models,
    /// A connectivity probe (`HEAD`).
    Probe,
    /// Anything the stand-in does not know.
    Other,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it arrived.
    pub at: SystemTime,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The JSON body, or null.
    pub body: Value,
    /// What it is for.
    pub kind: Kind,
}

impl Recorded {
    /// Gives the Claude session that sent it.
    pub fn session(&self) -> Option<&str> {
        self.headers.get("x-claude-code-session-id").map(String::as_str)
    }

    /// Gives what the user wrote last, without the context that hosts put around it.
    pub fn prompt(&self) -> String {
        script::last_words(&self.body)
    }

    /// Tells whether `text` stands anywhere in the conversation sent (system prompt excluded).
    pub fn saw(&self, text: &str) -> bool {
        self.texts().any(|(_, said)| said.contains(text))
    }

    /// Gives role and text of everything in the conversation, tool results included.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        messages.flat_map(|message| {
            let role = message["role"].as_str().unwrap_or_default();
            let mut texts = Vec::new();
            collect_texts(&message["content"], &mut texts);
            texts.into_iter().map(move |text| (role, text))
        })
    }
}

fn collect_texts<'a>(content: &'a Value, texts: &mut Vec<&'a str>) {
    match content {
        Value::String(text) => texts.push(text),
        Value::Array(blocks) => blocks.iter().for_each(|block| collect_texts(block, texts)),
        Value::Object(block) => {
            texts.extend(block.get("text").and_then(Value::as_str));
            if let Some(inner) = block.get("content") {
                collect_texts(inner, texts);
            }
        }
        _ => {}
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session().unwrap_or("-");
        write!(f, "{} {} {:?} claude session {session}", self.method, self.path, self.kind)?;
        if self.kind == Kind::Turn { write!(f, ": {:?}", self.prompt()) } else { Ok(()) }
    }
}

/// Tells what a request is for, by what Claude Code 2.1.197 to 2.1.330 sends.
pub(super) fn kind(method: &Method, path: &str, body: &Value) -> Kind {
    match (method, path) {
        (&Method::HEAD, _) => return Kind::Probe,
        (&Method::POST, "/v1/messages") => {}
        (&Method::POST, "/v1/messages/count_tokens") => return Kind::CountTokens,
        (&Method::GET, path) if path.starts_with("/v1/models") => return Kind::Models,
        _ => return Kind::Other,
    }
    let mut system = Vec::new();
    collect_texts(&body["system"], &mut system);
    let system = system.join("\n").to_lowercase();
    let no_tools = body["tools"].as_array().is_none_or(Vec::is_empty);
    let wants_title = |format: &Value| !format["format"]["schema"]["properties"]["title"].is_null();
    let asks_title = system.contains("title") && system.contains("json") && no_tools;
    if wants_title(&body["output_config"]) || body["output_format"].to_string().contains("\"title\"") || asks_title {
        return Kind::Title;
    }
    if script::last_words(body).to_lowercase().contains("create a detailed summary of the conversation") {
        return Kind::Compact;
    }
    match () {
        () if body["max_tokens"] == 1 => Kind::Quota,
        () if no_tools => Kind::Side,
        () => Kind::Turn,
    }
}
