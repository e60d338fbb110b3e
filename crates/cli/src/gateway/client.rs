//! One connection to a gateway: handshake, typed calls, events. It never reconnects
//! by itself; [`super::keep`] does, for those who need it.
//!
//! A method's own refusal is a value with a reason (`CallError::Refused`), apart from
//! what the host refuses and from what broke on the way. A call that was cut off has
//! an unknown outcome: it is for the caller to repeat it, by an id or a fence.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use ride_core::text::{Foreign, plain};
use ride_core::wire::{MethodError, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::device::{Device, DeviceError};
use super::frame::{
    About, Auth, Challenge, ClientInfo, Connect, Hello, HostError, Incoming, MAX_FRAME_BYTES, PROTOCOL, Request,
};
use super::locate::{Pin, Target};
use super::owner::{self, Ends, Owner};
use super::{locate, tls};

/// TCP, TLS, WebSocket and `connect` together. The host itself gives up after 10 s.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The pause before a gateway that is starting is asked again.
const STARTING: Duration = Duration::from_millis(500);
/// How soon a plugin that is being reloaded is asked again.
const RELOADING: Duration = Duration::from_millis(300);
/// What a call gets beyond the time its method may take.
pub const ANSWER: Duration = Duration::from_secs(15);
/// Requests not yet written. We make a few at a time.
const MAX_QUEUED: usize = 64;
/// Events nobody took yet; those beyond are dropped. They only say "look again".
const MAX_EVENTS: usize = 64;

/// Client id and mode: on loopback with the shared secret, this pair keeps the scopes
/// it asks for without a device on every host (2026.6.1 to 2026.9.6). The same pair
/// with a device, since the host pins them at pairing.
const CLIENT: ClientInfo<'static> = ClientInfo {
    id: "gateway-client",
    version: env!("CARGO_PKG_VERSION"),
    platform: std::env::consts::OS,
    mode: "backend",
};
const ROLE: &str = "operator";

/// What to ask the gateway to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Look and drive.
    Write,
    /// As `Write`, with `operator.admin`: what OpenClaw 2026.6.1 wants from plugin
    /// methods after a channel turn. Only when the person asked for it.
    Admin,
}

impl Access {
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Access::Read => &["operator.read"],
            Access::Write => &["operator.read", "operator.write"],
            Access::Admin => &["operator.read", "operator.write", "operator.admin"],
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answers.
    #[error("could not reach the gateway at {url} ({origin}): {cause}")]
    Unreachable {
        /// Its address.
        url: String,
        /// Where the address came from.
        origin: &'static str,
        /// What the system said.
        cause: String,
        /// Whether it should run on this machine.
        local: bool,
    },
    /// It took too long.
    #[error("could not connect to the gateway at {url}: no answer within {after_ms} ms")]
    Silent {
        /// Its address.
        url: String,
        /// How long was waited.
        after_ms: u128,
    },
    /// It closed the connection during the handshake.
    #[error("could not connect to the gateway at {url}: {cause}")]
    Lost {
        /// Its address.
        url: String,
        /// The close reason.
        cause: String,
    },
    /// Something else answers there.
    #[error("could not connect to {url}: no OpenClaw gateway answers there: {cause}")]
    NotGateway {
        /// Its address.
        url: String,
        /// What it said instead.
        cause: String,
        /// The HTTP status, where it was one.
        status: Option<u16>,
    },
    /// TLS failed.
    #[error("could not connect to the gateway at {url}: {cause}")]
    Tls {
        /// Its address.
        url: String,
        /// What the TLS library said.
        cause: String,
        /// The certificate it showed, where that was what did not please.
        seen: Option<Pin>,
    },
    /// The certificate is not the pinned one.
    #[error("the gateway at {url} shows another certificate than the pinned one")]
    Pinned {
        /// Its address.
        url: String,
        /// The pin.
        expected: Pin,
        /// What it showed.
        seen: Pin,
    },
    /// Plain `ws` to another machine.
    #[error("refused to connect to {url}: ws:// would show token and chat to the network")]
    Plain {
        /// Its address.
        url: String,
    },
    /// Another user's program has the port.
    #[error("refused to send anything secret to {url}: the program there is of {owner}, and not yours")]
    Stranger {
        /// Its address.
        url: String,
        /// Whose it is.
        owner: Owner,
    },
    /// The shared secret is not the gateway's.
    #[error("the gateway at {url} does not accept this {what}")]
    WrongSecret {
        /// Its address.
        url: String,
        /// `token` or `password`.
        what: &'static str,
    },
    /// The gateway wants a secret and none was found.
    #[error("the gateway at {url} asks for a token, and none is configured")]
    NoSecret {
        /// Its address.
        url: String,
    },
    /// The token this device was given is not valid any more.
    #[error("the gateway at {url} takes this machine's own token no more")]
    TakenBack {
        /// Its address.
        url: String,
    },
    /// The device waits for approval.
    #[error("the gateway at {url} has to approve this machine (device {device_id}): {why}")]
    Unpaired {
        /// Its address.
        url: String,
        /// How the gateway lists this device.
        device_id: Foreign,
        /// The pairing request to approve.
        request_id: Option<Foreign>,
        /// What has to be approved: the device, or more rights for it.
        why: Foreign,
    },
    /// The device is known but may do less than asked.
    #[error("the gateway at {url} does not allow this machine {wanted}; it allows {granted}")]
    NarrowToken {
        /// Its address.
        url: String,
        /// What it allows.
        granted: Foreign,
        /// What was asked.
        wanted: String,
    },
    /// It is not ready yet.
    #[error("the gateway at {url} is still starting: {message}")]
    Starting {
        /// Its address.
        url: String,
        /// What it said.
        message: Foreign,
    },
    /// No common protocol version.
    #[error("the gateway at {url} does not speak protocol {PROTOCOL}: {message}")]
    Protocol {
        /// Its address.
        url: String,
        /// What it said.
        message: Foreign,
    },
    /// Our own device identity cannot be used.
    #[error(transparent)]
    Device {
        /// Why not.
        #[from]
        cause: DeviceError,
    },
    /// Any other refusal.
    #[error("the gateway at {url} refused the connection: {message} ({code})")]
    Rejected {
        /// Its address.
        url: String,
        /// The most precise code it gave.
        code: Foreign,
        /// What it said.
        message: Foreign,
    },
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The method itself said no, with a reason.
    #[error("{}", .0.message)]
    Refused(Box<MethodError>),
    /// The gateway has no such method: the plugin is not there.
    #[error("the gateway does not know {method}")]
    UnknownMethod {
        /// Method name.
        method: &'static str,
    },
    /// The connection lacks a scope.
    #[error("the gateway wants {scope} for {method}")]
    MissingScope {
        /// Method name.
        method: &'static str,
        /// The scope.
        scope: Foreign,
    },
    /// The host failed or refused, without a reason we know.
    #[error("the gateway could not do {method}: {message} ({code})")]
    Host {
        /// Method name.
        method: &'static str,
        /// The host's code.
        code: Foreign,
        /// What it said.
        message: Foreign,
    },
    /// The answer does not fit.
    #[error("could not read the gateway's answer to {method}: {cause}")]
    Answer {
        /// Method name.
        method: &'static str,
        /// What does not fit.
        cause: serde_json::Error,
    },
    /// The request is over the gateway's limit; it was not sent.
    #[error("could not send {method}: {bytes} bytes are over the gateway's limit of {limit}")]
    TooLong {
        /// Method name.
        method: &'static str,
        /// The request's size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The connection ended first. The outcome is unknown.
    #[error("the connection was lost during {method}: {cause}")]
    Lost {
        /// Method name.
        method: &'static str,
        /// Why it ended.
        cause: String,
    },
    /// No answer in time. The outcome is unknown.
    #[error("the gateway did not answer {method} within {after_ms} ms")]
    Late {
        /// Method name.
        method: &'static str,
        /// How long was waited.
        after_ms: u128,
    },
}

impl CallError {
    /// The method's own refusal, where that is what it is.
    pub fn refusal(&self) -> Option<&MethodError> {
        match self {
            CallError::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the host is just replacing the plugin, as 2026.9 does when a setting of it changes.
    fn is_reload(&self) -> bool {
        matches!(self, CallError::Host { message, .. } if message.raw().starts_with("PluginInstanceUnavailableError"))
    }
}

/// Something the gateway told everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Such as `plugin.claude-code-sync.changed`.
    pub name: String,
    /// The session key of the thread it is about, where it names one.
    pub key: Option<String>,
    /// All of it, as JSON; empty where there is none.
    pub payload: String,
}

/// The events of one connection; the stream's end says why the connection ended.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    end: oneshot::Receiver<String>,
}

impl Events {
    /// The next event, or why there are no more.
    pub async fn next(&mut self) -> Result<Event, String> {
        match self.queue.recv().await {
            Some(event) => Ok(event),
            None => Err((&mut self.end).await.unwrap_or_else(|_| "it was closed".to_owned())),
        }
    }
}

/// A connection; clones share it. It closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hello: Hello,
    outgoing: mpsc::Sender<Outgoing>,
    next_id: AtomicU64,
    hang_up: Arc<Notify>,
}

#[derive(Debug)]
struct Outgoing {
    id: String,
    text: String,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Box<RawValue>, Failure>;

#[derive(Debug)]
enum Failure {
    Host(HostError),
    Lost(String),
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
type Socket = WebSocketStream<Box<dyn Wire>>;

/// Connects: without a device where the host allows that (loopback and the shared
/// secret), with the device identity kept in `state_dir` otherwise, and where it
/// turns out that the host wants one. A gateway that is starting is waited for.
pub async fn connect(target: &Target, access: Access, state_dir: &Path) -> Result<(Connection, Events), ConnectError> {
    let deadline = Instant::now() + HANDSHAKE;
    loop {
        match admitted(target, access, state_dir, deadline).await {
            Err(ConnectError::Starting { .. }) if Instant::now() + STARTING < deadline => sleep(STARTING).await,
            other => return other,
        }
    }
}

async fn admitted(
    target: &Target,
    access: Access,
    state_dir: &Path,
    deadline: Instant,
) -> Result<(Connection, Events), ConnectError> {
    let has_secret = target.token.is_some() || target.password.is_some();
    if target.is_loopback() && has_secret {
        match handshake(target, access, Identity { state_dir, device: None }, deadline).await {
            Ok(pair) if pair.0.has(access) => return Ok(pair),
            // A proxy in front: the host takes the secret and clears the scopes.
            Ok(_) => {}
            Err(ConnectError::Unpaired { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    let mut device = Device::existing(state_dir)?;
    // Approved once, for driving: a second approval for the first ride helps nobody.
    let asked = if access == Access::Read { Access::Write } else { access };
    let first = handshake(target, asked, Identity { state_dir, device: Some(&mut device) }, deadline).await;
    let (connection, events) = match first {
        // This one was approved for looking only.
        Err(ConnectError::NarrowToken { .. }) if asked != access => {
            handshake(target, access, Identity { state_dir, device: Some(&mut device) }, deadline).await?
        }
        // A token this device once got is not valid any more: ask anew without it.
        Err(ConnectError::WrongSecret { .. }) if !has_secret && token_of(device.as_ref(), target).is_some() => {
            if let Some(device) = &mut device {
                device.set_token(target.origin(), None)?;
            }
            match handshake(target, asked, Identity { state_dir, device: Some(&mut device) }, deadline).await {
                Err(ConnectError::NoSecret { url }) => return Err(ConnectError::TakenBack { url }),
                other => other?,
            }
        }
        other => other?,
    };
    if let (Some(token), Some(device)) = (&connection.shared.hello.auth.device_token, &mut device) {
        device.set_token(target.origin(), Some(token))?;
    }
    if !connection.has(access) {
        return Err(ConnectError::NarrowToken {
            url: target.url.clone(),
            granted: match connection.shared.hello.auth.scopes.as_slice() {
                [] => "nothing".into(),
                scopes => scopes.join(", ").into(),
            },
            wanted: access.scopes().join(", "),
        });
    }
    Ok((connection, events))
}

/// As whom we connect.
struct Identity<'a> {
    state_dir: &'a Path,
    /// The device's place, where it is to be used. It is made once a gateway has spoken.
    device: Option<&'a mut Option<Device>>,
}

impl<'a> Identity<'a> {
    fn device(self) -> Result<Option<&'a Device>, DeviceError> {
        let Some(place) = self.device else { return Ok(None) };
        if place.is_none() {
            *place = Some(Device::open(self.state_dir)?);
        }
        Ok(place.as_ref())
    }
}

fn token_of<'d>(device: Option<&'d Device>, target: &Target) -> Option<&'d str> {
    device.and_then(|device| device.token(target.origin()))
}

/// Whether the other end may be told secrets. It has spoken: somebody has taken the connection.
fn may_know(target: &Target, ends: Option<Ends>, state_dir: &Path) -> Result<(), ConnectError> {
    let me = rustix::process::geteuid().as_raw();
    match ends.filter(|_| target.is_loopback()).and_then(|ends| ends.owner()) {
        Some(owner) if !owner::may_know(owner, me, target.origin(), state_dir) => {
            Err(ConnectError::Stranger { url: target.url.clone(), owner })
        }
        _ => Ok(()),
    }
}

async fn handshake(
    target: &Target,
    access: Access,
    identity: Identity<'_>,
    deadline: Instant,
) -> Result<(Connection, Events), ConnectError> {
    let url = || target.url.clone();
    let limited = timeout_at(deadline, async {
        let (mut socket, ends) = open(target).await?;
        let challenge = challenge(target, &mut socket).await?;
        may_know(target, ends, identity.state_dir)?;
        let device = identity.device()?;
        let stored = token_of(device, target);
        let token = target.token.as_ref().map(locate::Secret::reveal).or(stored);
        let password = target.password.as_ref().map(locate::Secret::reveal);
        let auth = (token.is_some() || password.is_some()).then_some(Auth { token, password });
        let had_secret = auth.is_some();
        let params = Connect {
            min_protocol: PROTOCOL,
            max_protocol: PROTOCOL,
            client: CLIENT,
            role: ROLE,
            scopes: access.scopes(),
            caps: [],
            auth,
            device: device.map(|device| device.prove(&challenge, &CLIENT, ROLE, access.scopes(), token)),
        };
        let request = Request { r#type: "req", id: "connect", method: "connect", params };
        let text = serde_json::to_string(&request).map_err(|e| ConnectError::NotGateway {
            url: url(),
            cause: e.to_string(),
            status: None,
        })?;
        socket.send(Message::text(text)).await.map_err(|e| lost(target, &e))?;
        loop {
            let frame = next_frame(target, &mut socket).await?;
            if frame.kind != "res" || frame.id.as_deref() != Some("connect") {
                continue;
            }
            if !frame.ok {
                let device_id = device.map(Device::id).unwrap_or_default();
                return Err(rejected(target, access, frame.error.unwrap_or_default(), device_id, had_secret));
            }
            let payload = frame.payload.as_deref().map_or("{}", RawValue::get);
            let hello: Hello = serde_json::from_str(payload).map_err(|e| ConnectError::NotGateway {
                url: url(),
                cause: e.to_string(),
                status: None,
            })?;
            return Ok((socket, hello));
        }
    });
    let (socket, hello) =
        limited.await.map_err(|_| ConnectError::Silent { url: url(), after_ms: HANDSHAKE.as_millis() })??;
    Ok(start(socket, hello))
}

async fn open(target: &Target) -> Result<(Socket, Option<Ends>), ConnectError> {
    let url = || target.url.clone();
    if !target.is_tls() && !target.is_loopback() {
        return Err(ConnectError::Plain { url: url() });
    }
    let request = target.url.as_str().into_client_request().map_err(|e| ConnectError::NotGateway {
        url: url(),
        cause: e.to_string(),
        status: None,
    })?;
    let host = locate::host_of(&target.url).unwrap_or_default();
    let port = request.uri().port_u16().unwrap_or(if target.is_tls() { 443 } else { 80 });
    let tcp = TcpStream::connect((host, port)).await.map_err(|e| ConnectError::Unreachable {
        url: url(),
        origin: target.source,
        cause: e.to_string(),
        local: target.is_loopback(),
    })?;
    let ends = tcp.local_addr().and_then(|here| Ok(Ends { here, there: tcp.peer_addr()? })).ok();
    // Prompts are small and wait for nobody.
    let _ = tcp.set_nodelay(true);
    let wire: Box<dyn Wire> = if target.is_tls() {
        let fail = |cause: String| ConnectError::Tls { url: url(), cause, seen: None };
        let (connector, seen) = tls::connector(target.pin).map_err(fail)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|e| fail(e.to_string()))?;
        let shaken = connector.connect(name, tcp).await.map_err(|e| match (target.pin, seen.get()) {
            (Some(expected), Some(seen)) if seen != expected => ConnectError::Pinned { url: url(), expected, seen },
            (None, Some(seen)) => {
                let cause = format!("this machine's authorities do not vouch for its certificate ({e})");
                ConnectError::Tls { url: url(), cause, seen: Some(seen) }
            }
            _ => ConnectError::Tls { url: url(), cause: e.to_string(), seen: None },
        })?;
        Box::new(shaken)
    } else {
        Box::new(tcp)
    };
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_FRAME_BYTES)).max_frame_size(Some(MAX_FRAME_BYTES));
    match client_async_with_config(request, wire, Some(config)).await {
        Ok((socket, _)) => Ok((socket, ends)),
        Err(WsError::Http(answer)) => Err(ConnectError::NotGateway {
            url: url(),
            cause: format!("HTTP {}", answer.status()),
            status: Some(answer.status().as_u16()),
        }),
        Err(WsError::Protocol(ProtocolError::HandshakeIncomplete)) => {
            Err(ConnectError::NotGateway { url: url(), cause: "it hung up without an answer".into(), status: None })
        }
        Err(e @ (WsError::Protocol(_) | WsError::HttpFormat(_))) => {
            Err(ConnectError::NotGateway { url: url(), cause: e.to_string(), status: None })
        }
        Err(e) => Err(lost(target, &e)),
    }
}

fn lost(target: &Target, cause: &WsError) -> ConnectError {
    ConnectError::Lost { url: target.url.clone(), cause: cause.to_string() }
}

async fn next_frame(target: &Target, socket: &mut Socket) -> Result<Incoming, ConnectError> {
    loop {
        let ended = |cause: String| ConnectError::Lost { url: target.url.clone(), cause };
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text).map_err(|e| ConnectError::NotGateway {
                    url: target.url.clone(),
                    cause: e.to_string(),
                    status: None,
                });
            }
            Some(Ok(Message::Close(frame))) => {
                return Err(ended(match frame {
                    Some(frame) => {
                        format!("it closed the connection: {} {}", u16::from(frame.code), plain(frame.reason.as_str()))
                    }
                    None => "it closed the connection".to_owned(),
                }));
            }
            Some(Ok(_)) => {}
            Some(Err(e)) => return Err(ended(e.to_string())),
            None => return Err(ended("it closed the connection".to_owned())),
        }
    }
}

async fn challenge(target: &Target, socket: &mut Socket) -> Result<Challenge, ConnectError> {
    let not = |cause: String| ConnectError::NotGateway { url: target.url.clone(), cause, status: None };
    let frame = next_frame(target, socket).await?;
    match (frame.event.as_deref(), frame.payload) {
        (Some("connect.challenge"), Some(payload)) => {
            serde_json::from_str(payload.get()).map_err(|e| not(e.to_string()))
        }
        _ => Err(not("it did not begin with connect.challenge".to_owned())),
    }
}

/// Reads the host's refusal of `connect` (codes of 2026.6.1 to 2026.9.6).
fn rejected(target: &Target, access: Access, error: HostError, device_id: String, had_secret: bool) -> ConnectError {
    let url = target.url.clone();
    let code = error.detail("code").unwrap_or(error.code.raw()).to_owned();
    match code.as_str() {
        "AUTH_TOKEN_MISMATCH" | "AUTH_DEVICE_TOKEN_MISMATCH" => ConnectError::WrongSecret { url, what: "token" },
        "AUTH_PASSWORD_MISMATCH" => ConnectError::WrongSecret { url, what: "password" },
        "AUTH_TOKEN_MISSING" | "AUTH_PASSWORD_MISSING" => ConnectError::NoSecret { url },
        "AUTH_REQUIRED" | "AUTH_UNAUTHORIZED" if !had_secret => ConnectError::NoSecret { url },
        "AUTH_REQUIRED" | "AUTH_UNAUTHORIZED" => ConnectError::WrongSecret { url, what: "token" },
        "PAIRING_REQUIRED" | "DEVICE_IDENTITY_REQUIRED" | "NOT_PAIRED" => ConnectError::Unpaired {
            url,
            device_id: device_id.into(),
            request_id: error.detail("requestId").map(Foreign::from),
            why: match error.detail("reason") {
                Some("scope-upgrade") => "it asks for more than was approved".into(),
                Some("metadata-upgrade") => "its details changed and need approval".into(),
                _ => error.message,
            },
        },
        "AUTH_SCOPE_MISMATCH" => {
            ConnectError::NarrowToken { url, granted: "less than that".into(), wanted: access.scopes().join(", ") }
        }
        "PROTOCOL_MISMATCH" => ConnectError::Protocol { url, message: error.message },
        "UNAVAILABLE" => ConnectError::Starting { url, message: error.message },
        _ => ConnectError::Rejected { url, code: code.into(), message: error.message },
    }
}

/// Starts the task that owns the socket.
fn start(socket: Socket, hello: Hello) -> (Connection, Events) {
    let (outgoing, requests) = mpsc::channel(MAX_QUEUED);
    let (events_in, queue) = mpsc::channel(MAX_EVENTS);
    let (end_in, end) = oneshot::channel();
    let hang_up = Arc::new(Notify::new());
    tokio::spawn(carry(socket, requests, events_in, end_in, hang_up.clone()));
    let shared = Shared { hello, outgoing, next_id: AtomicU64::new(1), hang_up };
    (Connection { shared: Arc::new(shared) }, Events { queue, end })
}

/// Moves frames both ways until the connection ends, then fails what was waiting.
async fn carry(
    mut socket: Socket,
    mut requests: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    end: oneshot::Sender<String>,
    hang_up: Arc<Notify>,
) {
    let mut waiting: HashMap<String, oneshot::Sender<Answer>> = HashMap::new();
    let why = loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(Outgoing { id, text, answer }) => {
                    waiting.retain(|_, answer| !answer.is_closed());
                    waiting.insert(id, answer);
                    if let Err(e) = socket.send(Message::Text(Utf8Bytes::from(text))).await {
                        break e.to_string();
                    }
                }
                None => break "it was closed".to_owned(),
            },
            () = hang_up.notified() => break "it did not answer".to_owned(),
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match serde_json::from_str::<Incoming>(&text) {
                    Ok(frame) => deliver(frame, &mut waiting, &events),
                    Err(e) => break format!("the gateway sent what is not a frame: {e}"),
                },
                Some(Ok(Message::Close(Some(frame)))) => {
                    break format!("the gateway closed it: {} {}", u16::from(frame.code), plain(frame.reason.as_str()));
                }
                Some(Ok(Message::Close(None))) | None => break "the gateway closed it".to_owned(),
                Some(Ok(_)) => {}
                Some(Err(WsError::Capacity(e))) => break format!("the gateway sent too much at once: {e}"),
                Some(Err(e)) => break e.to_string(),
            },
        }
    };
    for (_, answer) in waiting.drain() {
        let _ = answer.send(Err(Failure::Lost(why.clone())));
    }
    // Requests that were queued when it ended get the same answer.
    requests.close();
    while let Some(request) = requests.recv().await {
        let _ = request.answer.send(Err(Failure::Lost(why.clone())));
    }
    let _ = end.send(why);
    drop(events);
    let _ = tokio::time::timeout(Duration::from_millis(100), socket.close(None)).await;
}

fn deliver(frame: Incoming, waiting: &mut HashMap<String, oneshot::Sender<Answer>>, events: &mpsc::Sender<Event>) {
    match (frame.kind.as_str(), frame.id, frame.event) {
        ("res", Some(id), _) => {
            let Some(answer) = waiting.remove(&id) else { return };
            let nothing = || RawValue::from_string("null".to_owned()).expect("null is JSON");
            let _ = answer.send(if frame.ok {
                Ok(frame.payload.unwrap_or_else(nothing))
            } else {
                Err(Failure::Host(frame.error.unwrap_or_default()))
            });
        }
        ("event", _, Some(name)) => {
            let payload = frame.payload.map_or_else(String::new, |payload| payload.get().to_owned());
            let about = serde_json::from_str::<About>(&payload).ok();
            let _ = events.try_send(Event { name, key: about.map(|about| about.key), payload });
        }
        _ => {}
    }
}

impl Connection {
    /// What the gateway said of itself.
    pub fn hello(&self) -> &Hello {
        &self.shared.hello
    }

    fn has(&self, access: Access) -> bool {
        let scopes = &self.shared.hello.auth.scopes;
        // Older hosts do not list them; then a call will tell.
        scopes.is_empty() && self.shared.hello.server.version.is_empty()
            || access.scopes().iter().all(|wanted| scopes.iter().any(|have| have == wanted))
    }

    /// Ends the connection for all who share it.
    pub fn hang_up(&self) {
        self.shared.hang_up.notify_one();
    }

    /// Calls a method that answers within [`ANSWER`].
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<A, CallError> {
        self.call_within(method, request, ANSWER).await
    }

    /// Calls a method that may take longer. While the host reloads the plugin it is asked
    /// again, as long as there is time: none of our code has seen the request by then.
    pub async fn call_within<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: &'static str,
        request: &Q,
        limit: Duration,
    ) -> Result<A, CallError> {
        let end = Instant::now() + limit;
        loop {
            let asked = timeout_at(end, self.ask(method, request)).await;
            match asked.map_err(|_| CallError::Late { method, after_ms: limit.as_millis() })? {
                Err(e) if e.is_reload() && Instant::now() + RELOADING < end => sleep(RELOADING).await,
                answered => return answered,
            }
        }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, method: &'static str, request: &Q) -> Result<A, CallError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let frame = Request { r#type: "req", id: &id, method, params: request };
        let text = serde_json::to_string(&frame).map_err(|cause| CallError::Answer { method, cause })?;
        let max = self.shared.hello.policy.max_payload.unwrap_or(MAX_FRAME_BYTES);
        if text.len() > max {
            return Err(CallError::TooLong { method, bytes: text.len(), limit: max });
        }
        let lost = |cause: String| CallError::Lost { method, cause };
        let (answer_in, answer) = oneshot::channel();
        let sent = self.shared.outgoing.send(Outgoing { id, text, answer: answer_in }).await;
        sent.map_err(|_| lost("it was closed".to_owned()))?;
        match answer.await.map_err(|_| lost("it was closed".to_owned()))? {
            Ok(payload) => serde_json::from_str(payload.get()).map_err(|cause| CallError::Answer { method, cause }),
            Err(Failure::Host(error)) => Err(refusal(method, error, &self.shared.hello.features.methods)),
            Err(Failure::Lost(cause)) => Err(lost(cause)),
        }
    }
}

/// Tells a method's own refusal from the host's. A host that does not know a method
/// checks scopes first, and wants `operator.admin` for it (2026.9.6): then the list in
/// its greeting tells.
fn refusal(method: &'static str, error: HostError, known: &[String]) -> CallError {
    if let Ok(details) = serde_json::from_value::<Refusal>(error.details.clone()) {
        return CallError::Refused(Box::new(MethodError { code: error.code, message: error.message, details }));
    }
    if error.message.raw().starts_with("unknown method") {
        return CallError::UnknownMethod { method };
    }
    // 2026.9 says it in the details, 2026.6 in the message alone.
    let in_message = error.message.raw().strip_prefix("missing scope: ").map(str::to_owned);
    match error.detail("missingScope").map(str::to_owned).or(in_message) {
        Some(_) if !known.is_empty() && known.iter().all(|name| name != method) => CallError::UnknownMethod { method },
        Some(scope) => CallError::MissingScope { method, scope: scope.into() },
        None => CallError::Host { method, code: error.code, message: error.message },
    }
}
