//! What is missing or wrong, and the one command that mends it: from what was found
//! out to findings. Pure, so that every case stands in a table; looking is
//! [`crate::command`]'s, and one thread's own story is in [`thread`].
//!
//! A finding never guesses: what could not be found out is said to be unknown, with
//! the finding it waits for.

pub mod thread;

use std::path::PathBuf;

use ride_core::plugin_report::{Condition, Mirror};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::env::Terminal;
use crate::error::{Error, Kind};
use crate::render::{self, clean, count};

/// OpenClaw versions every story was played on, newest first.
pub const PLAYED: [&str; 5] = ["2026.9.6", "2026.8.2", "2026.7.1", "2026.6.35", "2026.6.1"];
/// The oldest that lets the plugin load (docs/hosts.md).
const OLDEST: (u32, u32, u32) = (2026, 5, 31);
/// Clocks further apart than this make ages in listings wrong; leases do not depend on it.
const CLOCK_MS: u64 = 5_000;
/// The plugin's id on the gateway.
const PLUGIN: &str = "claude-code-sync";

/// Everything that was looked at. What a failure hid is `None`.
pub struct Found {
    /// This command and its surroundings.
    pub here: Here,
    /// The gateway's address and where it came from.
    pub located: Result<Place, Error>,
    /// The connection.
    pub gateway: Option<Result<Gateway, Error>>,
    /// The answer of `ride_config`.
    pub plugin: Option<Result<Plugin, Error>>,
    /// Whether the threads' states can be read, and how many are in somebody's hands.
    pub threads: Option<Result<u32, Error>>,
    /// Claude Code: its path and version.
    pub claude: Result<(PathBuf, String), Error>,
    /// Where `ride` keeps its files.
    pub own_files: Result<PathBuf, Error>,
    /// Rides of this machine that ended without handing their thread back.
    pub left_behind: Vec<LeftBehind>,
    /// Records of rides that another version wrote and this one does not know.
    pub unread: Vec<Error>,
}

/// A ride of this machine whose process is gone.
pub struct LeftBehind {
    /// Session key of its thread.
    pub key: String,
    /// Whether the gateway still keeps the thread for it; `None` where it could not be asked.
    pub held: Option<bool>,
}

/// This command and its surroundings.
pub struct Here {
    /// Its version.
    pub version: &'static str,
    /// This machine and boot.
    pub machine: String,
    /// The namespaces that it counts process ids in.
    pub namespace: Option<String>,
    /// The user it runs as.
    pub uid: u32,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: u64,
    /// The terminal.
    pub terminal: Terminal,
    /// Whether the terminal is one that Claude Code can draw on.
    pub draws: bool,
}

/// The gateway's address and where it came from.
pub struct Place {
    /// The address.
    pub url: String,
    /// Where it came from.
    pub source: &'static str,
    /// Where the configuration was looked for, and whether it was there.
    pub config: (PathBuf, bool),
    /// The gateway's own configuration, where it is of this machine.
    pub own: Value,
    /// What is shown to it: `token`, `password`, or nothing.
    pub secret: Option<&'static str>,
    /// Whether one certificate is pinned.
    pub pinned: bool,
    /// What stands in nobody's way.
    pub notes: Vec<String>,
}

/// A connection that stands.
pub struct Gateway {
    /// OpenClaw's version.
    pub version: String,
    /// How long connecting took.
    pub took_ms: u128,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Why it may not do more, where it was asked for more.
    pub narrow: Option<Error>,
}

/// The answer of `ride_config`, as far as it is judged here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// The plugin's version; plugins before 0.1.0 told none.
    #[serde(default)]
    pub version: Option<String>,
    /// Where thread states are kept.
    #[serde(default)]
    pub lock_dir: String,
    /// `file`, or `none`.
    #[serde(default)]
    pub lock_backend: String,
    /// Why nothing new can be claimed: the configuration's first error.
    #[serde(default)]
    pub refused: Option<String>,
    /// What it tells of itself.
    #[serde(default)]
    pub condition: Option<Condition>,
}

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; a ride works.
    Note,
    /// A ride does not work, or not as it should.
    Wrong,
    /// Could not be found out.
    Unknown,
}

/// One line of the doctor's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub says: String,
    /// The command that mends it, or words where no command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

fn finding(what: &'static str, state: State, says: impl Into<String>) -> Finding {
    Finding { what, state, says: says.into(), mend: None }
}

impl Finding {
    fn mend(self, mend: impl Into<String>) -> Finding {
        Finding { mend: Some(mend.into()), ..self }
    }

    fn failed(what: &'static str, error: &Error) -> Finding {
        Finding { what, state: State::Wrong, says: error.message.clone(), mend: error.hint.clone() }
    }
}

/// Judges everything, in the order a person would mend it.
pub fn findings(found: &Found) -> Vec<Finding> {
    let mut out = vec![address(found)];
    if let Ok(place) = &found.located {
        out.extend(place.notes.iter().map(|note| finding("token file", State::Note, note.clone())));
    }
    let version = gateway(found, &mut out);
    plugin(found, version, &mut out);
    machine(found, &mut out);
    out
}

fn address(found: &Found) -> Finding {
    match &found.located {
        Ok(place) => {
            let (path, there) = &place.config;
            let file = if *there { format!("{}", path.display()) } else { format!("no {}", path.display()) };
            let secret = place.secret.map_or_else(|| "no token".to_owned(), |what| format!("a {what}"));
            let pin = if place.pinned { ", one pinned certificate" } else { "" };
            finding("address", State::Ok, format!("{} from {} ({file}), {secret}{pin}", place.url, place.source))
        }
        Err(e) => Finding::failed("address", e),
    }
}

/// Judges the connection; gives the gateway's version.
fn gateway<'f>(found: &'f Found, out: &mut Vec<Finding>) -> Option<&'f str> {
    let gateway = match &found.gateway {
        None => {
            let why = if found.located.is_ok() {
                "ride's own files cannot be used, below"
            } else {
                "its address is not known"
            };
            out.push(finding("gateway", State::Unknown, format!("not asked: {why}")));
            return None;
        }
        Some(Err(e)) => {
            out.push(Finding::failed("gateway", e));
            return None;
        }
        Some(Ok(gateway)) => gateway,
    };
    out.push(finding("gateway", State::Ok, format!("answers within {} ms, protocol 4", gateway.took_ms)));
    out.push(host(&clean(&gateway.version)));
    out.push(match &gateway.narrow {
        Some(e) => Finding::failed("scope", e),
        None => finding("scope", State::Ok, gateway.scopes.join(", ")),
    });
    Some(&gateway.version)
}

fn host(version: &str) -> Finding {
    let says = format!("OpenClaw {version}");
    if PLAYED.contains(&version) {
        return finding("host", State::Ok, says);
    }
    match numbers(version) {
        Some(found) if found < OLDEST => {
            finding("host", State::Wrong, format!("{says} is older than the plugin needs")).mend("openclaw update")
        }
        Some((2026, 6, 11)) => {
            finding("host", State::Wrong, format!("{says} stalls the second message of a direct chat by itself"))
                .mend("openclaw update")
        }
        _ => finding("host", State::Note, format!("{says} is not one this ride was tried on ({})", PLAYED.join(", "))),
    }
}

/// `2026.9.6`, suffixes dropped.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.splitn(3, '.');
    let mut next = || {
        let part = parts.next()?;
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    };
    Some((next()?, next()?, next()?))
}

/// The line that installs this ride's plugin on a host.
pub fn install_line(version: Option<&str>) -> String {
    line(version, &format!("plugins install {PLUGIN}-{}.tgz --force", env!("CARGO_PKG_VERSION")), true)
}

/// An `openclaw` command that changes a plugin, as a host wants it: from 2026.8 on it
/// is to be told that the plugin may do what it asks for, and from 2026.9 on a running
/// gateway applies it by itself.
fn line(version: Option<&str>, command: &str, capabilities: bool) -> String {
    let at_least = |wanted| version.and_then(numbers).is_none_or(|version| version >= wanted);
    let accept = if capabilities && at_least((2026, 8, 0)) { " --accept-capabilities" } else { "" };
    let restart = if at_least((2026, 9, 0)) { "" } else { " && openclaw gateway restart" };
    format!("openclaw {command}{accept}{restart}")
}

fn plugin(found: &Found, version: Option<&str>, out: &mut Vec<Finding>) {
    let own = found.located.as_ref().map_or(&Value::Null, |place| &place.own);
    let plugin = match &found.plugin {
        None => return out.push(finding("plugin", State::Unknown, "unknown: gateway unreachable")),
        Some(Err(e)) if e.kind == Kind::Plugin => return out.push(absent(own, version)),
        Some(Err(e)) if e.kind == Kind::Denied => return out.push(Finding::failed("scope", e)),
        Some(Err(e)) => return out.push(Finding::failed("plugin", e)),
        Some(Ok(plugin)) => plugin,
    };
    out.push(match plugin.version.as_deref() {
        Some(theirs) if theirs == found.here.version => {
            finding("plugin", State::Ok, format!("{PLUGIN} {theirs}, as this ride"))
        }
        Some(theirs) => {
            finding("plugin", State::Wrong, format!("{PLUGIN} is {}, this ride {}", clean(theirs), found.here.version))
                .mend(install_line(version))
        }
        None => finding("plugin", State::Wrong, format!("{PLUGIN} is older than this ride, {}", found.here.version))
            .mend(install_line(version)),
    });
    if let Some(why) = &plugin.refused {
        out.push(
            finding("config", State::Wrong, clean(why))
                .mend(format!("correct plugins.entries.{PLUGIN}.config on the gateway")),
        );
    }
    let Some(condition) = &plugin.condition else { return };
    out.push(if condition.conversation_hooks {
        finding("hooks", State::Ok, "heartbeats and cron runs are kept out of a ride")
    } else {
        finding(
            "hooks",
            State::Wrong,
            "the plugin may not see conversations: a heartbeat or cron run is not kept out of a ride",
        )
        .mend(line(
            version,
            &format!("config set plugins.entries.{PLUGIN}.hooks.allowConversationAccess true"),
            false,
        ))
    });
    out.push(if condition.performing {
        finding("service", State::Ok, "carries out what the threads need")
    } else {
        finding(
            "service",
            State::Wrong,
            "the plugin's service does not run, or another gateway works on the same states",
        )
        .mend("openclaw gateway restart")
    });
    out.push(store(found, plugin, condition));
    out.push(claude_dir(found, condition));
    out.push(processes(found, condition));
    out.extend(condition.mirror.as_ref().map(mirror));
    let apart = found.here.now_ms.abs_diff(condition.now_ms);
    out.push(if apart <= CLOCK_MS {
        finding("clock", State::Ok, "agrees with the gateway's")
    } else {
        let says = format!(
            "is {} from the gateway's: ages are shown wrong, leases do not depend on it",
            render::duration(apart)
        );
        finding("clock", State::Note, says).mend("timedatectl set-ntp true")
    });
}

/// The plugin is not there: not installed, or switched off, as far as that can be seen.
fn absent(own: &Value, version: Option<&str>) -> Finding {
    let plugins = &own["plugins"];
    let off = |says: &str| finding("plugin", State::Wrong, says);
    if plugins["enabled"] == false {
        return off("plugins.enabled is false: the gateway loads no plugin").mend(line(
            version,
            "config set plugins.enabled true",
            false,
        ));
    }
    // On 2026.9 a plugin that was removed and installed again stays switched off.
    if plugins["entries"][PLUGIN]["enabled"] == false {
        return off("the plugin is switched off (plugins.entries.claude-code-sync.enabled is false)").mend(line(
            version,
            &format!("plugins enable {PLUGIN}"),
            true,
        ));
    }
    let names = |key: &str| plugins[key].as_array().map(|list| list.iter().any(|name| name == PLUGIN));
    if names("deny") == Some(true) {
        return off("plugins.deny names the plugin")
            .mend("take claude-code-sync out of plugins.deny, then: openclaw gateway restart");
    }
    if plugins["entries"].get(PLUGIN).is_some() && names("allow") == Some(false) {
        return off("plugins.allow does not name the plugin")
            .mend("add claude-code-sync to plugins.allow, then: openclaw gateway restart");
    }
    off("the gateway runs without the claude-code-sync plugin, or with an older one").mend(install_line(version))
}

fn store(found: &Found, plugin: &Plugin, condition: &Condition) -> Finding {
    let place = match plugin.lock_backend.as_str() {
        "none" => "the gateway's memory, lost when it restarts".to_owned(),
        _ => clean(&plugin.lock_dir),
    };
    let trouble = condition.trouble.clone().map(|trouble| Error::new(Kind::Other, clean(&trouble)));
    match (&trouble, &found.threads) {
        (Some(e), _) | (None, Some(Err(e))) => {
            let mend = match condition.unread {
                0 => format!("look at {place} on the gateway's machine; a file that is moved away is begun anew"),
                n => format!(
                    "{} closed for this; install the version of the plugin that wrote it. Or, on the gateway's machine, move the file away: \
                     its thread begins anew, and what waited in it is lost",
                    count(n, "thread stays", "threads stay")
                ),
            };
            Finding::failed("states", e).mend(mend)
        }
        (None, Some(Ok(n))) => {
            let state = if plugin.lock_backend == "none" { State::Note } else { State::Ok };
            finding(
                "states",
                state,
                format!("{place}; {}", count(*n, "thread in somebody's hands", "threads in somebody's hands")),
            )
        }
        (None, None) => finding("states", State::Unknown, place),
    }
}

/// A ride opens the transcripts that the gateway's agent writes.
fn claude_dir(found: &Found, condition: &Condition) -> Finding {
    let dir = clean(&condition.claude_dir);
    if !condition.claude_dir_found {
        return finding(
            "sessions",
            State::Note,
            format!("the gateway finds no {dir}: no thread has a Claude session yet"),
        );
    }
    if found.here.machine != condition.machine {
        return finding(
            "sessions",
            State::Wrong,
            format!("the gateway's Claude sessions are in {dir} on another machine; a ride needs them here"),
        )
        .mend("run ride on the gateway's machine: ssh -t <gateway> ride <words>");
    }
    if found.here.uid != condition.uid {
        return finding(
            "sessions",
            State::Wrong,
            format!("{dir} belongs to the gateway's user (uid {}), and you are uid {}", condition.uid, found.here.uid),
        )
        .mend(format!("run ride as that user: sudo -u '#{}' -i ride <words>", condition.uid));
    }
    finding("sessions", State::Ok, format!("{dir}, on this machine"))
}

/// A process that the gateway cannot see is never taken for gone.
fn processes(found: &Found, condition: &Condition) -> Finding {
    const BESIDE: &str = "run ride where the gateway runs: docker exec -it <container> ride <words>, or give both containers one pid namespace (--pid)";
    let Some(gateways) = &condition.namespace else {
        return finding(
            "processes",
            State::Wrong,
            "the gateway's /proc is not its own, or is not there: it can prove nothing about any process",
        )
        .mend("mount /proc of the gateway's own pid namespace");
    };
    if found.here.machine == condition.machine && found.here.namespace.as_ref() != Some(gateways) {
        return finding("processes", State::Note, "the gateway cannot see processes of this pid namespace: only a lock in the Claude folder tells it that they are gone")
            .mend(BESIDE);
    }
    if condition.sees_whole_machine {
        return finding("processes", State::Ok, "the gateway sees every process of its machine");
    }
    let says = "the gateway runs in a pid namespace of its own (a container): what runs outside of it on the same Claude folder cannot be seen, and is never taken for gone";
    finding("processes", State::Note, says)
}

/// Where finished turns are mirrored.
fn mirror(mirror: &Mirror) -> Finding {
    let dir = clean(&mirror.dir);
    match &mirror.trouble {
        Some(why) => finding("mirror", State::Wrong, format!("{} not mirrored to {dir}: {}", count(mirror.failing, "thread is", "threads are"), clean(why)))
            .mend("make room, or the folder writable, on the gateway's machine; it is tried again within a minute, and no ride depends on it"),
        None => finding("mirror", State::Ok, format!("{dir}; {}", count(mirror.threads, "thread", "threads"))),
    }
}

fn machine(found: &Found, out: &mut Vec<Finding>) {
    out.push(match &found.claude {
        Ok((path, version)) => finding("claude", State::Ok, format!("Claude Code {version}, {}", path.display())),
        Err(e) => Finding::failed("claude", e),
    });
    out.push(if !found.here.terminal.interactive {
        finding("terminal", State::Note, "no terminal here; riding needs one")
    } else if !found.here.draws {
        finding("terminal", State::Note, "TERM names one that Claude Code cannot draw on")
            .mend("export TERM=xterm-256color")
    } else {
        finding(
            "terminal",
            State::Ok,
            found.here.terminal.width.map_or_else(|| "there".to_owned(), |width| format!("{width} columns")),
        )
    });
    out.push(match &found.own_files {
        Ok(path) => finding("own files", State::Ok, path.display().to_string()),
        Err(e) => Finding::failed("own files", e),
    });
    out.extend(found.left_behind.iter().filter_map(left_behind));
    out.extend(found.unread.iter().map(|e| Finding::failed("left behind", e)));
}

/// A ride that is over left nothing behind, whoever ended it.
fn left_behind(left: &LeftBehind) -> Option<Finding> {
    let key = clean(&left.key);
    match left.held {
        Some(false) => None,
        Some(true) => {
            let says = format!("a ride of {key} ended without handing it back");
            Some(finding("left behind", State::Wrong, says).mend(format!("ride release {key}")))
        }
        None => {
            let says = format!(
                "a ride of {key} ended here; whether the thread is handed back is unknown: gateway unreachable"
            );
            Some(finding("left behind", State::Unknown, says))
        }
    }
}

/// The page for people.
pub fn page(findings: &[Finding], terminal: Terminal) -> String {
    let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let (mark, loud) = match finding.state {
            State::Ok => ("ok", false),
            State::Note => ("note", false),
            State::Wrong => ("wrong", true),
            State::Unknown => ("?", false),
        };
        let mut lines = finding.says.lines();
        let head = format!("{mark:<5}  {:<width$}  {}", finding.what, lines.next().unwrap_or_default());
        out.push_str(&if loud && terminal.colour { format!("\x1b[1m{head}\x1b[0m") } else { head });
        out.push('\n');
        let mends = finding.mend.iter().flat_map(|mend| mend.lines().enumerate());
        let mends = mends.map(|(i, line)| format!("{} {line}", if i == 0 { "→" } else { " " }));
        for line in lines.map(|line| line.trim().to_owned()).chain(mends) {
            out.push_str(&format!("{:<5}  {:<width$}  {line}\n", "", ""));
        }
    }
    out
}

#[cfg(test)]
mod tests;
