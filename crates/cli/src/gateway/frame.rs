//! The frames of gateway protocol 4, as OpenClaw writes them (2026.5.31 to
//! 2026.9.6). Lenient: unknown fields and frame types are fine, missing optional
//! fields too. Nothing is decided here.

use ride_core::text::Foreign;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The one protocol version spoken here.
pub const PROTOCOL: u32 = 4;

/// The host's own limit on a frame (`policy.maxPayload`), both ways.
pub const MAX_FRAME_BYTES: usize = 26_214_400;

/// A request to the gateway.
#[derive(Debug, Serialize)]
pub struct Request<'a, P> {
    /// Always `req`.
    pub r#type: &'static str,
    /// Chosen by us, repeated in the answer.
    pub id: &'a str,
    /// Method name.
    pub method: &'a str,
    /// Its parameters.
    pub params: P,
}

/// Anything the gateway sends. Payloads are left unread until asked for.
#[derive(Debug, Deserialize)]
pub struct Incoming {
    /// `res`, `event`, or something newer.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a response: the request's id.
    pub id: Option<String>,
    /// Of a response: whether it succeeded.
    #[serde(default)]
    pub ok: bool,
    /// Of a response: why not.
    pub error: Option<HostError>,
    /// Of an event: its name.
    pub event: Option<String>,
    /// Of a response or event.
    pub payload: Option<Box<RawValue>>,
}

/// An error as the host shapes it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct HostError {
    /// Such as `INVALID_REQUEST`.
    #[serde(default)]
    pub code: Foreign,
    /// For people.
    #[serde(default)]
    pub message: Foreign,
    /// Whatever the host or a plugin adds.
    #[serde(default)]
    pub details: Value,
}

impl HostError {
    /// `details.<name>` where it is a string.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name).and_then(Value::as_str)
    }
}

/// Payload of the event `connect.challenge`.
#[derive(Debug, Deserialize)]
pub struct Challenge {
    /// To be signed by a device.
    pub nonce: String,
    /// The gateway's clock, to be used as `signedAt`.
    #[serde(default)]
    pub ts: u64,
}

/// Payload of an event about one thread.
#[derive(Debug, Deserialize)]
pub struct About {
    /// The host's session key; its own events call it `sessionKey`.
    #[serde(alias = "sessionKey")]
    pub key: String,
}

/// Parameters of `connect`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect<'a> {
    /// Lowest protocol we speak.
    pub min_protocol: u32,
    /// Highest protocol we speak.
    pub max_protocol: u32,
    /// Who connects.
    pub client: ClientInfo<'a>,
    /// Always `operator`.
    pub role: &'a str,
    /// What we ask to be allowed.
    pub scopes: &'a [&'a str],
    /// Optional protocol features; none.
    pub caps: [&'a str; 0],
    /// The shared secret or the device's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth<'a>>,
    /// The device identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceProof>,
}

/// Who connects; id and mode come from the host's closed lists.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClientInfo<'a> {
    /// `gateway-client` or `cli`.
    pub id: &'a str,
    /// Our version.
    pub version: &'a str,
    /// `linux`, `macos`.
    pub platform: &'a str,
    /// `backend` or `cli`.
    pub mode: &'a str,
}

/// The secret of a connection.
#[derive(Debug, Serialize)]
pub struct Auth<'a> {
    /// Shared token, or a device's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// Shared password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
}

/// The device identity and its signature over the challenge.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceProof {
    /// SHA-256 of the public key, hex.
    pub id: String,
    /// Base64url without padding.
    pub public_key: String,
    /// Base64url without padding.
    pub signature: String,
    /// The challenge's `ts`.
    pub signed_at: u64,
    /// The challenge's nonce.
    pub nonce: String,
}

/// Answer of `connect`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Hello {
    /// The gateway.
    #[serde(default)]
    pub server: Server,
    /// What it has.
    #[serde(default)]
    pub features: Features,
    /// What we may do.
    #[serde(default)]
    pub auth: Granted,
    /// Its limits.
    #[serde(default)]
    pub policy: Policy,
}

/// The gateway as it names itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Server {
    /// OpenClaw's version.
    #[serde(default)]
    pub version: String,
}

/// What the gateway has.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Features {
    /// Method names, a plugin's included.
    #[serde(default)]
    pub methods: Vec<String>,
}

/// What this connection may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// Scopes in force.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A token for this device, to be kept.
    pub device_token: Option<String>,
}

/// The gateway's limits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Largest frame it takes, bytes.
    pub max_payload: Option<usize>,
}
