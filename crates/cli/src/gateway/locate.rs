//! Finds the gateway, and the secret for it, as the `openclaw` command of
//! 2026.9.6 would: options, then environment, then `openclaw.json`.
//!
//! Matched there (`connection-details`, `paths`, `credentials`,
//! docs/help/environment.md, docs/gateway/remote.md). Two deliberate differences:
//! an address given by hand may use the environment's secret, because a token
//! never stands on our command line; and plain `ws` goes to loopback only, where
//! OpenClaw also allows private networks. Not done: `store` secret references and
//! `exec` ones of an OpenClaw plugin, which need OpenClaw itself; they are named in
//! the error.

mod config;
mod exec;
mod secret;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::Env;
use crate::error::FINGERPRINT;
pub use secret::Secret;

/// OpenClaw's port where nothing names another.
const DEFAULT_PORT: u16 = 18789;
/// OpenClaw's port of `--profile dev`.
const DEV_PORT: u16 = 19001;
/// What a port must be.
const NO_PORT: &str = "not a port (1 to 65535)";
/// What a pin must be.
const NO_PIN: &str = "not a SHA-256 fingerprint (64 hex digits, colons allowed)";
/// More than any token; guards against a wrong `--token-file`.
const MAX_TOKEN_FILE_BYTES: u64 = 16 * 1024;

/// What the command line says about the gateway.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--url`.
    pub url: Option<String>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--profile`, as `openclaw --profile`.
    pub profile: Option<String>,
    /// `--pin`.
    pub pin: Option<String>,
}

/// A gateway, and what to show it.
#[derive(Clone, Debug)]
pub struct Target {
    /// `ws://…` or `wss://…`.
    pub url: String,
    /// Where the address came from, for people.
    pub source: &'static str,
    /// The shared token.
    pub token: Option<Secret>,
    /// The shared password.
    pub password: Option<Secret>,
    /// The one certificate to accept.
    pub pin: Option<Pin>,
}

/// A gateway, and how it was found.
#[derive(Debug)]
pub struct Located {
    /// The gateway.
    pub target: Target,
    /// Where the configuration was looked for.
    pub config_path: PathBuf,
    /// The gateway's own configuration, where it is one of this machine; else `null`.
    pub own: Value,
    /// What the person should know, though it stands in nobody's way.
    pub notes: Vec<String>,
}

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why the gateway cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// No home folder to look in.
    #[error("could not tell where OpenClaw keeps its configuration: no home folder")]
    NoHome,
    /// The profile's name is not one.
    #[error("could not use profile {0:?}: letters, digits, `-` and `_` only")]
    Profile(String),
    /// A file cannot be read.
    #[error("could not read {what}: {}: {cause}", path.display())]
    Read {
        /// Which file, in words.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A value given by hand is of the wrong kind.
    #[error("could not use {key}: {cause}")]
    Given {
        /// The option or variable.
        key: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A value in the configuration is of the wrong kind.
    #[error("could not use {key} of {}: {cause}", path.display())]
    Value {
        /// Dotted name.
        key: String,
        /// The configuration file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A secret is kept where only OpenClaw can read it.
    #[error("could not resolve {key}: it is a secret reference of kind {kind:?}")]
    Reference {
        /// Dotted name.
        key: String,
        /// `exec`, `store`, or something newer.
        kind: String,
    },
    /// A secret reference leads nowhere.
    #[error("could not resolve {key}: {cause}")]
    Dangling {
        /// Dotted name.
        key: String,
        /// What is missing.
        cause: String,
    },
}

impl LocateError {
    /// What the person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            LocateError::NoHome => Some("set HOME, or OPENCLAW_CONFIG_PATH".into()),
            LocateError::Reference { .. } | LocateError::Dangling { .. } => {
                Some("give the token by OPENCLAW_GATEWAY_TOKEN or --token-file".into())
            }
            LocateError::Read { what: config::WHAT, .. } => {
                Some("`openclaw config validate` tells more; --url goes without the file".into())
            }
            LocateError::Read { .. } => Some("it holds the gateway's token and nothing else".into()),
            LocateError::Given { key: "--url" | "OPENCLAW_GATEWAY_URL", .. } => {
                Some("for example wss://gateway.example:18789".into())
            }
            LocateError::Given { key: "--pin" | "RIDE_PIN", .. } => {
                Some(format!("on the gateway's machine: {FINGERPRINT}"))
            }
            _ => None,
        }
    }
}

impl Target {
    /// Whether the address is this machine (or an SSH tunnel's end on it).
    pub fn is_loopback(&self) -> bool {
        host_of(&self.url).is_some_and(is_loopback_host)
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.url.starts_with("wss://")
    }

    /// Scheme, host, port and path: what a device's token is kept under.
    pub fn origin(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or(&self.url).trim_end_matches('/')
    }
}

/// The host in a URL, brackets of an IPv6 address removed.
pub fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(host, _)| host),
        None => Some(authority.split_once(':').map_or(authority, |(host, _)| host)),
    }
}

fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Finds the gateway.
pub fn locate(env: &Env, options: &Options) -> Result<Located, LocateError> {
    let mut notes = Vec::new();
    let explicit = match &options.token_file {
        Some(path) => Some(read_token(&env.cwd.join(path), &mut notes)?),
        None => None,
    };
    let (mut env, state_dir, config_path) = places(env, options)?;
    let given = env.clone();
    env.fill(config::dotenv(&state_dir.join(".env")));
    let env_secrets = Secrets {
        token: env.get("OPENCLAW_GATEWAY_TOKEN").map(|token| Secret::new(token).from("OPENCLAW_GATEWAY_TOKEN")),
        password: env
            .get("OPENCLAW_GATEWAY_PASSWORD")
            .map(|password| Secret::new(password).from("OPENCLAW_GATEWAY_PASSWORD")),
    };

    let given_pin = given_pin(&env, options)?;

    let by_hand = options.url.as_deref().map(|url| (url, "--url"));
    let by_env = || env.get("OPENCLAW_GATEWAY_URL").map(|url| (url, "OPENCLAW_GATEWAY_URL"));
    if let Some((url, source)) = by_hand.or_else(by_env) {
        let url = normal_url(url).map_err(|cause| LocateError::Given { key: source, cause })?;
        // A configured secret is never sent to an address from elsewhere; its pin may
        // be used, it gives nothing away.
        let config = config::load(&config_path, &env).unwrap_or(Value::Null);
        let pin = match given_pin {
            Some(pin) => Some(pin),
            None => remote_pin(&config, &config_path, &url)?,
        };
        let secrets = explicit.map_or(env_secrets, Secrets::token);
        let target = Target { url, source, token: secrets.token, password: secrets.password, pin };
        return Ok(Located { target, config_path, own: Value::Null, notes });
    }

    let config = config::load(&config_path, &env)?;
    let remote_mode = text(&config, "gateway.mode") == Some("remote");
    let remote_url = text(&config, "gateway.remote.url").filter(|_| remote_mode).map(str::to_owned);
    let (url, source, pin) = match &remote_url {
        Some(url) => {
            let url = normal_url(url).map_err(|cause| LocateError::Value {
                key: "gateway.remote.url".into(),
                path: config_path.clone(),
                cause,
            })?;
            let pin = remote_pin(&config, &config_path, &url)?;
            (url, "gateway.remote.url", pin)
        }
        None => {
            let tls = at(&config, "gateway.tls.enabled").and_then(Value::as_bool) == Some(true);
            let scheme = if tls { "wss" } else { "ws" };
            let port = port(&env, &config, options).map_err(|cause| LocateError::Value {
                key: "gateway.port".into(),
                path: config_path.clone(),
                cause,
            })?;
            let url = format!("{scheme}://{}:{port}", Ipv4Addr::LOCALHOST);
            let pin = if tls { own_pin(&env, &config, &state_dir) } else { None };
            (url, "local gateway", pin)
        }
    };
    let secrets = match explicit {
        Some(token) => Secrets::token(token),
        None => configured_secrets(&env, &config, &config_path, remote_mode, env_secrets)?,
    };
    let used = [&secrets.token, &secrets.password];
    notes.extend(
        ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"].iter().filter_map(|name| ignored(&given, name, used)),
    );
    let target = Target { url, source, token: secrets.token, password: secrets.password, pin: given_pin.or(pin) };
    let own = if remote_url.is_some() { Value::Null } else { config };
    Ok(Located { target, config_path, own, notes })
}

/// That a secret was given by hand and is not used, as with `openclaw`.
fn ignored(given: &Env, name: &str, used: [&Option<Secret>; 2]) -> Option<String> {
    let value = given.get(name)?;
    let mut used = used.into_iter().flatten();
    if used.clone().any(|secret| secret.reveal() == value) {
        return None;
    }
    let from = used.next().map_or("nothing", Secret::source);
    Some(format!(
        "{name} is not used: {from} comes first; --url with the gateway's address, or --token-file, decides otherwise"
    ))
}

#[derive(Default)]
struct Secrets {
    token: Option<Secret>,
    password: Option<Secret>,
}

impl Secrets {
    fn token(token: Secret) -> Secrets {
        Secrets { token: Some(token), password: None }
    }
}

/// Which secret wins, in OpenClaw's order. A reference is resolved only when it is
/// the one that wins, so that an unused one cannot stand in the way.
fn configured_secrets(
    env: &Env,
    config: &Value,
    config_path: &Path,
    remote_mode: bool,
    from_env: Secrets,
) -> Result<Secrets, LocateError> {
    let read = |key: &str| {
        Ok::<_, LocateError>(secret::resolve(env, config, config_path, key)?.map(|secret| secret.from(key)))
    };
    let Secrets { token: env_token, password: env_password } = from_env;
    let first = |keys: [&str; 2], env_value: Option<Secret>, env_at: usize| -> Result<Option<Secret>, LocateError> {
        let mut env_value = env_value;
        for (i, key) in keys.iter().enumerate() {
            if i == env_at && env_value.is_some() {
                return Ok(env_value.take());
            }
            if let Some(found) = read(key)? {
                return Ok(Some(found));
            }
        }
        Ok(env_value)
    };
    let mode = text(config, "gateway.auth.mode");
    let (token, password);
    if remote_mode {
        token = first(["gateway.remote.token", "gateway.auth.token"], env_token, 1)?;
        password = first(["gateway.remote.password", "gateway.auth.password"], env_password, 0)?;
    } else {
        let wants_token = !matches!(mode, Some("password" | "none" | "trusted-proxy"));
        token =
            if wants_token { first(["gateway.auth.token", "gateway.remote.token"], env_token, 1)? } else { env_token };
        let wants_password = match mode {
            Some("password" | "trusted-proxy") => true,
            Some("token" | "none") => false,
            _ => token.is_none(),
        };
        password = if wants_password {
            first(["gateway.auth.password", "gateway.remote.password"], env_password, 1)?
        } else {
            env_password
        };
    }
    Ok(Secrets { token, password })
}

/// OpenClaw's state folder on this machine, whether or not it is there.
pub fn state_dir(env: &Env, options: &Options) -> Result<PathBuf, LocateError> {
    places(env, options).map(|(_, state_dir, _)| state_dir)
}

/// The environment with a profile applied, OpenClaw's state folder, and its config file.
fn places(env: &Env, options: &Options) -> Result<(Env, PathBuf, PathBuf), LocateError> {
    let home = openclaw_home(env).ok_or(LocateError::NoHome)?;
    let user_path = |path: &str| match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => env.cwd.join(path),
    };
    let mut env_with_profile = env.clone();
    let mut profile_dir = None;
    if let Some(profile) = &options.profile {
        let valid = !profile.is_empty()
            && profile.len() <= 64
            && profile.starts_with(|c: char| c.is_ascii_alphanumeric())
            && profile.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !valid {
            return Err(LocateError::Profile(profile.clone()));
        }
        env_with_profile.fill([("OPENCLAW_PROFILE".to_owned(), profile.clone())]);
        profile_dir = Some(if profile.eq_ignore_ascii_case("default") {
            home.join(".openclaw")
        } else {
            home.join(format!(".openclaw-{profile}"))
        });
    }
    let state_dir = match env.get("OPENCLAW_STATE_DIR") {
        Some(path) => user_path(path),
        None => profile_dir.unwrap_or_else(|| {
            let (current, old) = (home.join(".openclaw"), home.join(".clawdbot"));
            if !current.exists() && old.exists() { old } else { current }
        }),
    };
    let config_path = match env.get("OPENCLAW_CONFIG_PATH") {
        Some(path) => user_path(path),
        None => {
            let (current, old) = (state_dir.join("openclaw.json"), state_dir.join("clawdbot.json"));
            if !current.exists() && old.exists() { old } else { current }
        }
    };
    Ok((env_with_profile, state_dir, config_path))
}

fn openclaw_home(env: &Env) -> Option<PathBuf> {
    let own = env.get("OPENCLAW_HOME").filter(|v| *v != "undefined" && *v != "null");
    match own {
        None => env.home(),
        Some(path) => match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                Some(env.home()?.join(rest.trim_start_matches('/')))
            }
            _ => Some(env.cwd.join(path)),
        },
    }
}

fn port(env: &Env, config: &Value, options: &Options) -> Result<u16, String> {
    // OpenClaw also takes `host:port` there, as Compose files have it.
    let from_env = env.get("OPENCLAW_GATEWAY_PORT").and_then(|raw| {
        let port = match raw.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => port,
            _ => raw,
        };
        port.parse().ok().filter(|port: &u16| *port > 0)
    });
    let dev = || (options.profile.as_deref() == Some("dev")).then_some(DEV_PORT);
    if let Some(port) = from_env.or_else(dev) {
        return Ok(port);
    }
    if let Some(given) = at(config, "gateway.port").filter(|given| !given.is_null()) {
        let port = given.as_f64().filter(|port| *port >= 1.0 && *port <= f64::from(u16::MAX) && port.fract() == 0.0);
        return port.map(|port| port as u16).ok_or_else(|| format!("{given} is {NO_PORT}"));
    }
    Ok(match env.get("OPENCLAW_PROFILE") {
        Some(profile) if !profile.eq_ignore_ascii_case("default") => profile_port(profile),
        _ => DEFAULT_PORT,
    })
}

/// The port 2026.9 derives from a profile's name (FNV-1a); older hosts use the default.
fn profile_port(profile: &str) -> u16 {
    let hash = profile.bytes().fold(2_166_136_261_u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(16_777_619));
    u16::try_from(20_000 + hash % 40_000).expect("20,000 + 39,999 is a port")
}

/// Checks scheme and host. Plain `ws` to another machine is refused when connecting,
/// where the message can name the address.
fn normal_url(url: &str) -> Result<String, String> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("{url:?} is not a ws:// or wss:// address"))?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        other => return Err(format!("{other}:// is not ws:// or wss://")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user or password in it would be seen by everybody; the token goes by OPENCLAW_GATEWAY_TOKEN or --token-file".to_owned());
    }
    let behind_host = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    if let Some((_, port)) = behind_host.split_once(':')
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(format!("{port:?} is {NO_PORT}"));
    }
    let url = format!("{scheme}://{rest}");
    match host_of(&url) {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(format!("{url:?} names no host")),
    }
}

/// `--pin`, else `RIDE_PIN`.
fn given_pin(env: &Env, options: &Options) -> Result<Option<Pin>, LocateError> {
    let by_env = || env.get("RIDE_PIN").map(|pin| (pin, "RIDE_PIN"));
    let Some((text, key)) = options.pin.as_deref().map(|pin| (pin, "--pin")).or_else(by_env) else { return Ok(None) };
    parse_pin(text).map(Some).ok_or_else(|| LocateError::Given { key, cause: format!("{text:?} is {NO_PIN}") })
}

/// `gateway.remote.tlsFingerprint`, where the address is the configured one.
fn remote_pin(config: &Value, config_path: &Path, url: &str) -> Result<Option<Pin>, LocateError> {
    let same = text(config, "gateway.remote.url").and_then(|u| normal_url(u).ok()).as_deref() == Some(url);
    let Some(pin) = text(config, "gateway.remote.tlsFingerprint").filter(|_| same) else {
        return Ok(None);
    };
    parse_pin(pin).map(Some).ok_or_else(|| LocateError::Value {
        key: "gateway.remote.tlsFingerprint".into(),
        path: config_path.to_owned(),
        cause: NO_PIN.into(),
    })
}

fn parse_pin(pin: &str) -> Option<Pin> {
    let pin = pin.trim();
    let head = pin.get(..7).filter(|head| head.eq_ignore_ascii_case("sha256:") || head.eq_ignore_ascii_case("sha-256"));
    let pin = pin[head.map_or(0, str::len)..].trim_start_matches([':', ' ']);
    let digits: Vec<u8> = pin.bytes().filter(|b| *b != b':').collect();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Pin(bytes))
}

/// The fingerprint of the certificate a gateway on this machine serves. Without one to
/// be read, the machine's authorities decide, as with `openclaw`.
fn own_pin(env: &Env, config: &Value, state_dir: &Path) -> Option<Pin> {
    let path = match text(config, "gateway.tls.certPath") {
        Some(path) => match (path.strip_prefix("~/"), openclaw_home(env)) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => env.cwd.join(path),
        },
        None => state_dir.join("gateway/tls/gateway-cert.pem"),
    };
    crate::gateway::tls::pin_of_file(&path).ok()
}

fn read_token(path: &Path, notes: &mut Vec<String>) -> Result<Secret, LocateError> {
    let fail = |cause: String| LocateError::Read { what: "the token file", path: path.to_owned(), cause };
    let found = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    if found.len() > MAX_TOKEN_FILE_BYTES {
        return Err(fail(format!("{} bytes are more than a token", found.len())));
    }
    let mode = found.permissions().mode() & 0o777;
    if found.is_file() && mode & 0o077 != 0 {
        let path = path.display();
        notes.push(format!("the token file {path} is open to other users (mode {mode:o}); chmod 600 {path} closes it"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    match text.trim() {
        "" => Err(fail("it is empty".into())),
        token if token.lines().count() > 1 => Err(fail("it has several lines; a token is one".into())),
        token => Ok(Secret::new(token).from("--token-file")),
    }
}

/// The value under a dotted name.
fn at<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(config, |value, part| value.get(part))
}

/// The text under a dotted name, trimmed; `None` when absent, blank or not text.
fn text<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    at(config, key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}
