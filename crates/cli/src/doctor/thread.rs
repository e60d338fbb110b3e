//! One thread explained: who has it, since when, what it waits for, and the one
//! command that resolves it.

use std::fmt::Write as _;

use ride_core::id::Process;
use ride_core::limits::LEASE_MS;
use ride_core::text::Foreign;
use ride_core::wire::{Row, ThreadStatus};
use serde::Serialize;

use crate::render::{self, clean, count, duration};

/// What is known of a thread.
pub struct Known<'a> {
    /// As it is listed.
    pub row: &'a Row,
    /// Its state, where it has one.
    pub status: Option<&'a ThreadStatus>,
    /// The ride of this machine that holds it.
    pub ours: Option<Ours>,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: u64,
}

/// A ride of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Its process.
    pub pid: u32,
    /// Whether that still runs.
    pub alive: bool,
}

/// The explanation.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The session key.
    pub key: String,
    /// Whether nothing holds it up.
    pub well: bool,
    /// Line by line.
    pub says: Vec<String>,
    /// What resolves it; `None` where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Explains a thread.
pub fn explain(known: &Known<'_>) -> Explained {
    let Known { row, status, ours, now_ms } = known;
    let key = clean(&row.key);
    let mut says = vec![format!("{} ({key})", clean(&row.title))];
    let Some(holder) = &row.driver else {
        let (well, line, mend) = free(row, &key);
        says.extend(row.open.iter().map(|terminal| render::open(terminal, *now_ms)));
        says.push(line);
        if let Some(status) = status {
            says.push(render::depths(status));
        }
        return Explained { key, well, says, mend };
    };
    says.push(format!("{} for {}", render::held(holder), duration(now_ms.saturating_sub(holder.since_ms))));
    says.extend(holder.waiting_for.as_ref().map(|what| format!("waits: {what}")));
    if holder.phase == "ridden" {
        let ago = duration(LEASE_MS.saturating_sub(holder.expires_in_ms));
        says.push(format!("renewed {ago} ago; its lease ends in {} without another", duration(holder.expires_in_ms)));
    }
    if let Some(status) = status {
        let mut line = format!("epoch {}", status.epoch);
        if let Some(fence) = &status.fence {
            let _ = write!(line, ", fence {}", clean(fence));
        }
        for (name, process) in [("ride", &status.process), ("Claude Code", &status.claude)] {
            if let Some(process) = process {
                let _ = write!(line, ", {name} is process {}", process.pid);
            }
        }
        says.push(line);
        says.extend(
            status.copy.then(|| "its driver writes to a copy on another machine, and pushes each turn".to_owned()),
        );
        says.push(render::depths(status));
        says.extend(
            status
                .journal
                .last()
                .map(|last| format!("last: {} ({} ago)", clean(&last.what), render::age(*now_ms, last.at_ms))),
        );
    }
    let host = clean(&holder.host);
    // Another driver waits for the thread: the ride of the one before has not ended yet.
    let phase = status.map_or(holder.phase.raw(), |status| status.phase.raw());
    let (well, mend) = match (phase, holder.waiting_for.is_some(), ours) {
        ("leaving", _, Some(_)) if holder.acceptable => {
            (false, Some(format!("ride release {key} --accept-broken-chain")))
        }
        ("leaving", _, None) if holder.acceptable => {
            (false, Some(format!("ride release {key} --take-back --accept-broken-chain")))
        }
        ("leaving", true, _) => {
            let waits = holder.waiting_for.as_ref().map_or("", Foreign::raw);
            let named =
                |p: &&Process| waits.split(|c: char| !c.is_ascii_digit()).any(|number| number == p.pid.to_string());
            let process = status.and_then(|s| [&s.claude, &s.process].into_iter().flatten().find(named));
            (false, process.map(|p| format!("kill -9 {}    on its machine, if it does not end by itself", p.pid)))
        }
        ("leaving", false, _) => (true, None),
        (_, _, Some(ours)) if ours.alive => {
            (true, Some(format!("ride release {key}    ends the ride of process {}", ours.pid)))
        }
        (_, _, Some(_)) => (false, Some(format!("ride release {key}"))),
        ("claiming", true, None) => {
            (true, Some("/stop    in the thread ends the agent's turn; else it is waited for".to_owned()))
        }
        _ => (true, Some(format!("ride {key} --steal    takes it over; /exit in Claude Code on {host} hands it back"))),
    };
    Explained { key, well, says, mend }
}

/// A thread nobody holds.
fn free(row: &Row, key: &str) -> (bool, String, Option<String>) {
    let begin = Some(format!("ride {key}"));
    if let Some(terminal) = row.open.first() {
        let line = "its messages wait until it is closed there".to_owned();
        return (true, line, Some(format!("/exit    in Claude Code on {}", clean(&terminal.host))));
    }
    match (row.rideable, row.waiting) {
        (_, n @ 1..) => (
            true,
            format!("the agent has it and is answering {}", count(n, "message that waited", "messages that waited")),
            None,
        ),
        (true, 0) => (true, "nobody rides it, the agent answers".to_owned(), begin),
        (false, 0) => {
            let why = row.why_not.as_ref().map_or_else(|| "the gateway does not say why".to_owned(), clean);
            (false, format!("it cannot be ridden: {why}"), None)
        }
    }
}

/// The page for people.
pub fn page(explained: &Explained) -> String {
    let mut out = String::new();
    for (i, line) in explained.says.iter().enumerate() {
        let _ = writeln!(out, "{}{line}", if i == 0 { "" } else { "  " });
    }
    if let Some(mend) = &explained.mend {
        let _ = writeln!(out, "→ {mend}");
    }
    out
}
