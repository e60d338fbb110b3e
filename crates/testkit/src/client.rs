//! Another client of the gateway, as the Control UI or a script would be: protocol 4,
//! written here once more so that a story does not see the gateway through our own eyes.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::error::{Error, Result};
use crate::gateway::Gateway;

/// A connection; what it was told is kept.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    /// Events so far, oldest first.
    events: Vec<Value>,
}

/// What a method answered: its payload, or the error.
pub type Answered = std::result::Result<Value, Value>;

impl Client {
    /// Connects as a trusted program of the gateway's own machine.
    pub async fn connect(gateway: &Gateway) -> Result<Self> {
        Self::open(gateway, &json!({ "token": gateway.token() }), "").await
    }

    /// Connects as the owner of a gateway that leaves telling people apart to a proxy.
    pub async fn connect_owner(gateway: &Gateway, password: &str) -> Result<Self> {
        Self::open(gateway, &json!({ "password": password }), "").await
    }

    /// Connects as a person, as such a proxy would: it alone tells who.
    pub async fn connect_person(gateway: &Gateway, person: &str) -> Result<Self> {
        Self::open(gateway, &json!({}), person).await
    }

    async fn open(gateway: &Gateway, auth: &Value, person: &str) -> Result<Self> {
        let could_not = |cause: tungstenite::Error| failed("connect", cause.to_string());
        let mut request = gateway.url().into_client_request().map_err(could_not)?;
        let mut scopes = vec!["operator.read", "operator.write"];
        if person.is_empty() {
            scopes.extend(["operator.admin", "operator.approvals", "operator.pairing"]);
        } else {
            let header =
                |value: &str| HeaderValue::from_str(value).map_err(|cause| failed("connect", cause.to_string()));
            request.headers_mut().insert("x-forwarded-user", header(person)?);
            // An address of no machine (RFC 5737).
            request.headers_mut().insert("x-forwarded-for", header("203.0.113.7")?);
        }
        let (socket, _) = connect_async(request).await.map_err(could_not)?;
        let mut client = Client { socket, next: 0, events: Vec::new() };
        let params = json!({
            "minProtocol": 4, "maxProtocol": 4,
            "client": { "id": "gateway-client", "version": "1.0.0", "platform": "linux", "mode": "backend" },
            "role": "operator", "caps": [], "scopes": scopes, "auth": auth,
        });
        client.call("connect", params).await?.map_err(|refused| failed("connect", refused.to_string()))?;
        Ok(client)
    }

    /// Calls a method and gives its last answer: `agent` first says that it began.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Answered> {
        self.next += 1;
        let id = format!("{}", self.next);
        let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
        self.socket.send(Message::text(frame.to_string())).await.map_err(|cause| failed(method, cause.to_string()))?;
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let frame = self.read(end, method).await?;
            if frame["type"] != "res" || frame["id"] != id.as_str() {
                continue;
            }
            if frame["ok"] != true {
                return Ok(Err(frame["error"].clone()));
            }
            if frame["payload"]["status"] != "accepted" {
                return Ok(Ok(frame["payload"].clone()));
            }
        }
    }

    /// Waits for an event, also one that came already.
    pub async fn event(&mut self, deadline: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = self.events.iter().find(|event| wanted(event)) {
                return Ok(found.clone());
            }
            self.read(end, what).await?;
        }
    }

    /// The answer to a `chat.send` as its sender is told it.
    pub async fn says(&mut self, session: &str, run: &str, text: &str) -> Result<String> {
        let params = json!({ "sessionKey": session, "message": text, "idempotencyKey": run, "deliver": false });
        if let Err(refused) = self.call("chat.send", params).await? {
            return Ok(refused["message"].as_str().unwrap_or_default().to_owned());
        }
        let ended = |event: &Value| {
            event["event"] == "chat"
                && event["payload"]["runId"] == run
                && ["final", "error", "aborted"].iter().any(|s| event["payload"]["state"] == *s)
        };
        let event = self.event(Duration::from_secs(90), "the end of a chat.send", ended).await?;
        Ok(texts(&event["payload"]))
    }

    async fn read(&mut self, end: Instant, what: &str) -> Result<Value> {
        loop {
            let message = match tokio::time::timeout_at(end, self.socket.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(cause))) => return Err(failed(what, cause.to_string())),
                Ok(None) => return Err(failed(what, "the connection ended".into())),
                Err(_) => return Err(failed(what, format!("no answer; events: {}", self.names()))),
            };
            let Ok(text) = message.to_text() else { continue };
            let Ok(frame) = serde_json::from_str::<Value>(text) else { continue };
            if frame["type"] == "event" {
                self.events.push(frame.clone());
            }
            return Ok(frame);
        }
    }

    fn names(&self) -> String {
        self.events.iter().rev().take(20).map(|e| e["event"].as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
    }
}

/// Every text in a value, in order.
pub fn texts(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let own = fields.get("text").and_then(Value::as_str).map(str::to_owned);
            let rest = fields.iter().filter(|(name, _)| *name != "text").map(|(_, value)| texts(value));
            own.into_iter().chain(rest).filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(texts).filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn failed(what: &str, said: String) -> Error {
    Error::Peer { what: format!("{what} of another client"), said }
}
