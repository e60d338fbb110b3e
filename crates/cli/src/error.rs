//! What a command fails with: a kind, a message, a hint. The one place where a
//! failure becomes an exit code.

use std::fmt::{self, Write as _};

use ride_core::text::plain_lines;
use ride_core::wire::{Holder, MethodError, Reason};
use ride_store::mirror::MirrorError;
use serde_json::{Value, json};

use crate::gateway::client::{CallError, ConnectError};
use crate::gateway::locate::LocateError;
use crate::launch::{LaunchError, Unfit, Unguarded};
use crate::link::LinkError;
use crate::matching::NoMatch;
use crate::outbox::OutboxError;
use crate::render::{self, clean};
use crate::ride::record::RecordError;
use crate::transcript::NotHere;

/// A failed command, for people.
#[derive(Debug)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// What was being done, and why it failed. Lower case, no final period.
    pub message: String,
    /// What the person can do.
    pub hint: Option<String>,
}

/// The kinds of failure. Documented in `ride --help` and `docs/operations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something broke that has no code of its own.
    Other,
    /// The command line does not say what to do (clap's own code).
    Usage,
    /// No thread, or several, fit the words.
    Match,
    /// The thread or its Claude session is in other hands.
    Held,
    /// The thread cannot be ridden.
    NotRideable,
    /// The gateway cannot be reached, or the connection was lost.
    Unreachable,
    /// The gateway does not let us: token, pairing or scope.
    Denied,
    /// The gateway lacks the plugin, or speaks another protocol.
    Plugin,
    /// The lease was lost during the ride.
    LeaseLost,
    /// The transcript is not the file that the gateway means, or is not here.
    Transcript,
    /// Claude Code is missing, could not start, or ended with an error.
    Claude,
    /// The ride is over, but the agent does not have the thread yet.
    Waiting,
    /// The configuration cannot be read.
    Config,
    /// The person left before Claude Code ran: Escape, Ctrl-C, a no, a closed terminal.
    Left,
}

/// Shows the fingerprint of a gateway's self-made certificate.
pub const FINGERPRINT: &str = "openssl x509 -noout -fingerprint -sha256 -in ~/.openclaw/gateway/tls/gateway-cert.pem";

/// Every kind: its exit code, its name in JSON, what it means. The one list that
/// `--help`, the man page and `docs/operations.md` are held to.
const KINDS: [(Kind, u8, &str, &str); 14] = [
    (Kind::Other, 1, "other", "something else broke"),
    (Kind::Usage, 2, "usage", "wrong use of the command line"),
    (Kind::Match, 3, "match", "no thread fits the words, or several do"),
    (Kind::Held, 4, "held", "the thread, or its Claude session, is in other hands"),
    (Kind::NotRideable, 5, "not-rideable", "the thread cannot be ridden"),
    (Kind::Unreachable, 6, "unreachable", "the gateway cannot be reached"),
    (
        Kind::Denied,
        7,
        "denied",
        "the gateway refused access, or its address is not safe: token, pairing, scope, certificate",
    ),
    (Kind::Plugin, 8, "plugin", "the gateway lacks the plugin, or speaks another protocol"),
    (Kind::LeaseLost, 9, "lease-lost", "the lease ended during the ride: taken over, taken back or expired"),
    (Kind::Transcript, 10, "transcript", "the transcript is missing here, or is not the one of the gateway"),
    (Kind::Claude, 11, "claude", "Claude Code is missing, could not start, or ended with an error"),
    (Kind::Waiting, 12, "waiting", "the ride is over, but the agent does not have the thread yet"),
    (Kind::Config, 13, "config", "the configuration, or a file that ride keeps, cannot be read"),
    (Kind::Left, 130, "left", "left, or interrupted, before Claude Code ran"),
];

/// Every exit code with its meaning, for `--help` and the man page.
pub fn exit_codes() -> String {
    KINDS.iter().fold("Exit codes:\n    0  done".to_owned(), |mut out, (_, code, _, about)| {
        let _ = write!(out, "\n  {code:>3}  {about}");
        out
    })
}

impl Kind {
    fn entry(self) -> &'static (Kind, u8, &'static str, &'static str) {
        KINDS.iter().find(|(kind, ..)| *kind == self).expect("every kind is in the list, as a test holds")
    }

    /// The process's exit code.
    pub fn code(self) -> u8 {
        self.entry().1
    }

    /// Its name where an error is printed as JSON.
    pub fn name(self) -> &'static str {
        self.entry().2
    }
}

impl Error {
    /// A failure without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), hint: None }
    }

    /// The thread is not this ride's any more. Who has it stands in `why`; the hand-back may wait
    /// for something that a person can accept.
    pub fn lost(title: &str, why: &str, holder: Option<&Holder>) -> Error {
        let waits = holder.filter(|holder| holder.acceptable).and_then(|holder| holder.waiting_for.as_ref());
        let waits = waits.map_or_else(String::new, |what| format!("; handing it back waits: {}", clean(what)));
        Error::new(Kind::LeaseLost, format!("your ride of {title} is over: {}{waits}", clean(why)))
    }

    /// The error as a program reads it.
    pub fn json(&self) -> Value {
        let (_, code, name, _) = self.kind.entry();
        json!({"error": {"kind": name, "message": self.message, "hint": self.hint, "exitCode": code}})
    }

    /// Adds what the person can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", plain_lines(&self.message))?;
        if let Some(hint) = &self.hint {
            for (i, line) in hint.lines().enumerate() {
                write!(f, "\n{} {}", if i == 0 { "hint:" } else { "     " }, clean(line))?;
            }
        }
        Ok(())
    }
}

impl From<LocateError> for Error {
    fn from(e: LocateError) -> Error {
        let kind = match &e {
            LocateError::Profile(_) => Kind::Usage,
            LocateError::Given { key, .. } if key.starts_with("--") => Kind::Usage,
            _ => Kind::Config,
        };
        Error { kind, hint: e.hint(), message: e.to_string() }
    }
}

impl From<MirrorError> for Error {
    fn from(e: MirrorError) -> Error {
        let (kind, hint) = match &e {
            MirrorError::Open { .. } => (Kind::Held, Some("leave Claude Code there first")),
            MirrorError::NoProject(_) => {
                (Kind::Transcript, Some("name the folder to resume it in: --into PROJECT_DIR"))
            }
            MirrorError::Elsewhere { .. } => {
                (Kind::Transcript, Some("resume it there; or move that transcript away first"))
            }
            MirrorError::Diverged(_) => {
                (Kind::Transcript, Some("nothing was overwritten; move it away to restore the mirrored one"))
            }
            MirrorError::NotWhole { .. } => {
                (Kind::Transcript, Some("where its own transcript is still there, its next turn mirrors it anew"))
            }
            MirrorError::Changed(_) => (Kind::Transcript, Some("try again")),
            MirrorError::Claude(_) => (Kind::Transcript, None),
            MirrorError::Full { .. } => (Kind::Other, Some("ride sync prune --older-than DAYS")),
            _ => (Kind::Other, None),
        };
        Error { kind, message: clean(&e.to_string()), hint: hint.map(str::to_owned) }
    }
}

impl From<NoMatch> for Error {
    fn from(e: NoMatch) -> Error {
        Error { kind: Kind::Match, hint: e.hint(), message: e.to_string() }
    }
}

impl From<ConnectError> for Error {
    fn from(e: ConnectError) -> Error {
        let message = e.to_string();
        let (kind, hint) = match e {
            ConnectError::Unreachable { local, .. } => (
                Kind::Unreachable,
                Some(if local {
                    "is the gateway running? `openclaw gateway status` tells".to_owned()
                } else {
                    "check the address, and that the gateway's machine can be reached".to_owned()
                }),
            ),
            ConnectError::Silent { .. } | ConnectError::Lost { .. } => (Kind::Unreachable, None),
            ConnectError::Starting { .. } => (Kind::Unreachable, Some("try again in a moment".to_owned())),
            ConnectError::NotGateway { status: Some(403), .. } => (
                Kind::Unreachable,
                Some(
                    "a proxy refuses, or the gateway does not trust the proxy before it: gateway.trustedProxies names those it does"
                        .to_owned(),
                ),
            ),
            ConnectError::NotGateway { status: Some(502..=504), .. } => {
                (Kind::Unreachable, Some("a proxy answers there, and does not reach the gateway behind it".to_owned()))
            }
            ConnectError::NotGateway { url, .. } => (
                Kind::Unreachable,
                Some(if url.starts_with("ws://") {
                    "something else answers there; check the port, or use wss:// for a gateway with gateway.tls".to_owned()
                } else {
                    "something else answers there; check the port".to_owned()
                }),
            ),
            ConnectError::Tls { seen: Some(seen), .. } => (
                Kind::Denied,
                Some(format!(
                    "if this is the gateway's own certificate, pin it: --pin {seen}\n\
                     first compare, on its machine: {FINGERPRINT}"
                )),
            ),
            ConnectError::Tls { seen: None, .. } => {
                (Kind::Unreachable, Some("does it speak TLS on that port? a gateway without gateway.tls has ws:// only".to_owned()))
            }
            ConnectError::Pinned { expected, seen, .. } => (
                Kind::Denied,
                Some(format!("expected {expected}\nseen     {seen}\nwas the certificate renewed? compare on the gateway's machine before you pin it anew:\n{FINGERPRINT}")),
            ),
            ConnectError::Plain { .. } => (
                Kind::Denied,
                Some("use wss://, or an SSH tunnel: ssh -N -L 18789:127.0.0.1:18789 you@gateway".to_owned()),
            ),
            ConnectError::Stranger { .. } => (
                Kind::Denied,
                Some("is it the gateway? run a `ride` command at a terminal: it asks once, and remembers the answer".to_owned()),
            ),
            ConnectError::WrongSecret { .. } => (
                Kind::Denied,
                Some("the token is the gateway's gateway.auth.token; give it by OPENCLAW_GATEWAY_TOKEN or --token-file".to_owned()),
            ),
            ConnectError::NoSecret { .. } => (
                Kind::Denied,
                Some("set OPENCLAW_GATEWAY_TOKEN or use --token-file".to_owned()),
            ),
            ConnectError::TakenBack { .. } => (
                Kind::Denied,
                Some("it was rotated or revoked there; give the gateway's own token once, by OPENCLAW_GATEWAY_TOKEN or --token-file".to_owned()),
            ),
            ConnectError::Unpaired { request_id, .. } => (
                Kind::Denied,
                Some(match request_id {
                    Some(id) => format!("on the gateway's machine: openclaw devices approve {id}\nthen run this command again"),
                    None => "on the gateway's machine: `openclaw devices list`, then `openclaw devices approve <request>`".to_owned(),
                }),
            ),
            ConnectError::NarrowToken { .. } => (
                Kind::Denied,
                Some("give the gateway's own token once, by OPENCLAW_GATEWAY_TOKEN: that asks for the approval".to_owned()),
            ),
            ConnectError::Protocol { .. } => (
                Kind::Plugin,
                Some("this ride speaks protocol 4: OpenClaw 2026.5.31 and newer".to_owned()),
            ),
            ConnectError::Device { .. } => (Kind::Config, Some("`ride doctor` tells how to mend it; --state-dir keeps such files elsewhere".to_owned())),
            ConnectError::Rejected { .. } => (Kind::Denied, None),
        };
        Error { kind, message, hint }
    }
}

impl From<CallError> for Error {
    fn from(e: CallError) -> Error {
        let message = e.to_string();
        match e {
            CallError::Refused(refusal) => refused(&refusal),
            CallError::UnknownMethod { .. } => Error::new(Kind::Plugin, message).hint(
                "the gateway runs without the claude-code-sync plugin, or an older one\n\
                 on its machine: openclaw plugins install <claude-code-sync.tgz>, then restart the gateway",
            ),
            CallError::MissingScope { scope, .. } if scope == "operator.admin" => Error::new(Kind::Denied, message)
                .hint("OpenClaw 2026.6.1 asks for it after a channel turn; `ride --admin …` asks for that scope"),
            CallError::MissingScope { .. } => Error::new(Kind::Denied, message).hint(
                "the gateway gave this connection fewer scopes than asked for; `openclaw devices list` shows them",
            ),
            CallError::Host { .. } | CallError::Answer { .. } | CallError::TooLong { .. } => {
                Error::new(Kind::Other, message)
            }
            CallError::Lost { .. } | CallError::Late { .. } => Error::new(Kind::Unreachable, message),
        }
    }
}

impl From<LaunchError> for Error {
    fn from(e: LaunchError) -> Error {
        Error { kind: Kind::Claude, message: e.to_string(), hint: e.hint().map(str::to_owned) }
    }
}

impl From<Unguarded> for Error {
    fn from(e: Unguarded) -> Error {
        Error::new(Kind::Claude, e.to_string())
            .hint("a ride needs hooks or mods: take the setting out, or ride from where it does not hold")
    }
}

impl From<Unfit> for Error {
    fn from(e: Unfit) -> Error {
        Error::new(Kind::Usage, e.to_string()).hint("other options of Claude Code may follow after --")
    }
}

impl From<LinkError> for Error {
    fn from(e: LinkError) -> Error {
        Error::new(Kind::Other, e.to_string())
    }
}

impl From<OutboxError> for Error {
    fn from(e: OutboxError) -> Error {
        Error::new(Kind::Other, e.to_string())
    }
}

impl From<RecordError> for Error {
    fn from(e: RecordError) -> Error {
        let hint = e.hint();
        Error { hint, ..Error::new(Kind::Other, e.to_string()) }
    }
}

impl From<NotHere> for Error {
    fn from(e: NotHere) -> Error {
        Error { kind: Kind::Transcript, message: e.to_string(), hint: e.hint().map(str::to_owned) }
    }
}

/// A method's own refusal as a failed command.
fn refused(refusal: &MethodError) -> Error {
    let kind = match refusal.details.reason {
        Reason::Held | Reason::SessionInUse | Reason::TurnRunning => Kind::Held,
        Reason::UnknownThread => Kind::Match,
        Reason::NotRideable | Reason::NotAllowed => Kind::NotRideable,
        Reason::Stale => Kind::LeaseLost,
        Reason::Transcript | Reason::Diverged => Kind::Transcript,
        Reason::BadRequest
        | Reason::TooLarge
        | Reason::OutboxFull
        | Reason::Store
        | Reason::Host
        | Reason::Config
        | Reason::Unknown => Kind::Other,
    };
    let mut message = refusal.message.to_string();
    if let Some(holder) = &refusal.details.holder {
        let _ = write!(message, " ({})", render::holder(holder));
    }
    Error { kind, message, hint: refusal.details.hint.as_ref().map(ToString::to_string) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adding a kind here makes the compiler ask for it; the list must have it too.
    const fn next(kind: Kind) -> Option<Kind> {
        Some(match kind {
            Kind::Other => Kind::Usage,
            Kind::Usage => Kind::Match,
            Kind::Match => Kind::Held,
            Kind::Held => Kind::NotRideable,
            Kind::NotRideable => Kind::Unreachable,
            Kind::Unreachable => Kind::Denied,
            Kind::Denied => Kind::Plugin,
            Kind::Plugin => Kind::LeaseLost,
            Kind::LeaseLost => Kind::Transcript,
            Kind::Transcript => Kind::Claude,
            Kind::Claude => Kind::Waiting,
            Kind::Waiting => Kind::Config,
            Kind::Config => Kind::Left,
            Kind::Left => return None,
        })
    }

    #[test]
    fn every_kind_has_a_code_and_a_name_of_its_own() {
        let mut kinds = vec![Kind::Other];
        while let Some(kind) = next(kinds[kinds.len() - 1]) {
            kinds.push(kind);
        }
        let listed: Vec<Kind> = KINDS.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(listed, kinds);
        assert!(KINDS.windows(2).all(|pair| pair[0].1 < pair[1].1));
        let mut names: Vec<&str> = KINDS.iter().map(|(_, _, name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn the_same_codes_are_documented_everywhere() {
        let page = include_str!("../../../docs/operations.md");
        let rows: Vec<&str> = page
            .lines()
            .skip_while(|line| *line != "## Exit codes")
            .filter(|line| line.starts_with("| "))
            .skip(2)
            .collect();
        let expected: Vec<String> = std::iter::once("| 0 | | done |".to_owned())
            .chain(KINDS.iter().map(|(_, code, name, about)| format!("| {code} | `{name}` | {about} |")))
            .collect();
        assert_eq!(rows[..expected.len().min(rows.len())], expected);
    }
}
