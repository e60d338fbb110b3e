//! A gateway that does what a test says. One script per connection, in order.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use ride::gateway::locate::{Secret, Target};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What to say to a request, one frame or several; `None` says nothing.
pub type Answer = Box<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

/// What one connection does after the challenge.
pub enum Script {
    /// Answer `connect` with this error.
    Reject(Value),
    /// Hang up on `connect`.
    HangUp,
    /// Let it in with these scopes, then answer each request by the function.
    Serve { scopes: &'static [&'static str], answer: Answer },
    /// As `Serve` with all scopes, and gone once it has answered so many requests.
    ServeSome { requests: usize, answer: Answer },
    /// Let it in, then close with this code after the first request.
    Cut(u16),
    /// Let it in, then send a text of this many bytes after the first request.
    Flood(usize),
    /// Begin with this frame instead of the challenge.
    Begin(Value),
}

/// The stand-in, and what clients sent as `connect`.
pub struct Standin {
    pub address: SocketAddr,
    pub connects: mpsc::UnboundedReceiver<Value>,
}

impl Standin {
    pub async fn start(scripts: Vec<Script>) -> Standin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connects) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                tokio::spawn(async move { serve(stream, script, seen).await });
            }
        });
        Standin { address, connects }
    }

    pub fn target(&self, token: Option<&str>) -> Target {
        Target {
            url: format!("ws://{}", self.address),
            source: "test",
            token: token.map(Secret::new),
            password: None,
            pin: None,
        }
    }
}

/// An answer with a payload.
pub fn ok(request: &Value, payload: Value) -> Option<Value> {
    Some(json!({"type": "res", "id": request["id"], "ok": true, "payload": payload, "newer": 1}))
}

/// An answer with an error.
pub fn fail(request: &Value, error: Value) -> Option<Value> {
    Some(json!({"type": "res", "id": request["id"], "ok": false, "error": error}))
}

async fn serve(stream: TcpStream, script: Script, seen: mpsc::UnboundedSender<Value>) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let first = match &script {
        Script::Begin(frame) => frame.clone(),
        _ => {
            json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n-1", "ts": 1_795_333_474_557_u64}})
        }
    };
    send(&mut socket, &first).await;
    let Some(connect) = receive(&mut socket).await else { return };
    let _ = seen.send(connect["params"].clone());
    let scopes = match &script {
        Script::Reject(error) => {
            send(&mut socket, &fail(&connect, error.clone()).unwrap()).await;
            return;
        }
        Script::HangUp => return,
        Script::Serve { scopes, .. } => *scopes,
        _ => &["operator.read", "operator.write"],
    };
    let hello = json!({
        "type": "hello-ok", "server": {"version": "2026.9.6"}, "auth": {"role": "operator", "scopes": scopes, "deviceToken": "device-token-1"},
        "features": {"methods": ["ride_check"]}, "policy": {"maxPayload": 4096},
    });
    // Something else may come first.
    send(&mut socket, &json!({"type": "event", "event": "health", "payload": {}})).await;
    send(&mut socket, &ok(&connect, hello).unwrap()).await;
    let mut answered = 0;
    while let Some(request) = receive(&mut socket).await {
        answered += 1;
        match &script {
            Script::ServeSome { requests, answer } => {
                if let Some(frame) = answer(&request) {
                    send(&mut socket, &frame).await;
                }
                if answered == *requests {
                    return;
                }
            }
            Script::Serve { answer, .. } => {
                send(&mut socket, &json!({"type": "event", "event": "plugin.claude-code-sync.changed", "payload": {"key": "k", "newer": 1}})).await;
                match answer(&request) {
                    Some(Value::Array(frames)) => {
                        for frame in frames {
                            send(&mut socket, &frame).await;
                        }
                    }
                    Some(frame) => send(&mut socket, &frame).await,
                    None => {}
                }
            }
            Script::Cut(code) => {
                let frame = CloseFrame { code: (*code).into(), reason: "service restart".into() };
                let _ = socket.close(Some(frame)).await;
                return;
            }
            Script::Flood(bytes) => {
                let _ = socket.send(Message::text("x".repeat(*bytes))).await;
            }
            Script::Reject(_) | Script::Begin(_) | Script::HangUp => return,
        }
    }
}

async fn send(socket: &mut WebSocketStream<TcpStream>, frame: &Value) {
    let _ = socket.send(Message::text(frame.to_string())).await;
}

async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Option<Value> {
    loop {
        match socket.next().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}
