//! The Anthropic Messages API on loopback, answering by script.
//!
//! The last thing the user wrote chooses the answer (see [`script`]); every
//! request is kept, so that tests can ask what a Claude session really sent.
//! Absent on purpose: authentication, limits, thinking, batches.

mod request;
pub mod script;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

pub use request::{Kind, Recorded};

use crate::error::Result;
use crate::http::{self, Body, NoAnswer, Served, answer, answer_json, read_body};
use crate::wait::Changes;

/// The key that clients are given; any key is accepted.
pub const API_KEY: &str = "sk-ant-stand-in-for-loopback-use-only-000000";

/// A running Anthropic stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Anthropic {
    shared: Arc<Shared>,
    served: Served,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Recorded>,
    open_gates: BTreeSet<String>,
}

impl Shared {
    /// Locks the state. Nothing panics while holding it, so a poisoned lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Anthropic {
    /// Starts on a free loopback port.
    pub async fn start() -> Result<Self> {
        Self::start_on(0).await
    }

    /// Starts on a chosen loopback port.
    pub async fn start_on(port: u16) -> Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changes: Changes::new() });
        let serving = shared.clone();
        let served = http::serve(port, move |request| serve(serving.clone(), request)).await?;
        Ok(Self { shared, served })
    }

    /// Gives the value for `ANTHROPIC_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.served.address)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.served.address.port()
    }

    /// Gives every request so far, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    /// Gives the conversation turns so far: requests that are no side job, probe or count.
    pub fn turns(&self) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.kind == Kind::Turn).collect()
    }

    /// Gives the conversation turns of one Claude session.
    pub fn turns_of(&self, session: &str) -> Vec<Recorded> {
        self.turns().into_iter().filter(|request| request.session() == Some(session)).collect()
    }

    /// Lets every turn that holds, or will hold, at `::gate NAME` go on.
    pub fn open_gate(&self, name: &str) {
        self.shared.state().open_gates.insert(name.into());
        self.shared.changes.announce();
    }

    /// Waits for a request, also one that is not answered yet.
    pub async fn wait_for(&self, deadline: Duration, wanted: impl Fn(&Recorded) -> bool) -> Result<Recorded> {
        let look = || self.shared.state().requests.iter().find(|request| wanted(request)).cloned();
        let last = || self.requests().iter().rev().take(20).map(|request| format!("{request}\n")).collect();
        self.shared.changes.until("a request to the model", deadline, look, last).await
    }

    /// Waits for the turn whose user line contains `text`.
    pub async fn wait_for_prompt(&self, deadline: Duration, text: &str) -> Result<Recorded> {
        self.wait_for(deadline, |request| request.kind == Kind::Turn && request.prompt().contains(text)).await
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
    let (head, body) = request.into_parts();
    let raw = read_body(body).await.ok_or(NoAnswer)?;
    let body: Value = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let path = head.uri.path();
    let kind = request::kind(&head.method, path, &body);
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let recorded = Recorded {
        at: SystemTime::now(),
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers.iter().filter_map(header).collect::<BTreeMap<_, _>>(),
        body,
        kind,
    };
    shared.state().requests.push(recorded.clone());
    shared.changes.announce();

    // The usual rough measure, enough for a client's context meter.
    let tokens = (raw.len() / 4).max(1);
    Ok(match kind {
        Kind::Probe => answer(200, "application/json", ""),
        Kind::CountTokens => answer_json(200, &json!({ "input_tokens": tokens })),
        Kind::Models => answer_json(200, &models()),
        Kind::Other if head.method == Method::GET && matches!(path, "/" | "/health") => answer_json(200, &json!({})),
        Kind::Other => answer_json(404, &error_body(404, &format!("the stand-in has no {path}"))),
        _ => message(&shared, &recorded, tokens).await,
    })
}

/// Answers a Messages request, streamed or whole.
async fn message(shared: &Shared, request: &Recorded, tokens: usize) -> Response<Body> {
    let answer = script::answer(request);
    if let Some(gate) = &answer.gate {
        let look = || shared.state().open_gates.contains(gate).then_some(());
        // A gate nobody opens ends with an ordinary answer: the client's own timeouts are shorter.
        let _ = shared.changes.until("a gate to open", script::LONGEST_HOLD, look, String::new).await;
    }
    tokio::time::sleep(answer.sleep).await;
    if let Some(code) = answer.error {
        return answer_json(code, &error_body(code, "asked for by the prompt"));
    }
    let model = request.body["model"].as_str().unwrap_or("stand-in");
    if request.body["stream"] == true {
        stream::events(model, answer, tokens)
    } else {
        answer_json(200, &stream::whole(model, &answer, tokens))
    }
}

fn error_body(code: u16, message: &str) -> Value {
    let kind = match code {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

fn models() -> Value {
    let model =
        |id: &str| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z" });
    json!({ "data": [model("claude-sonnet-5"), model("claude-sonnet-4-6")], "has_more": false })
}
