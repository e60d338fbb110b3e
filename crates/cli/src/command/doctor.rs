//! `ride doctor [words]`: looks at everything a ride needs, one thing after the other,
//! and has it judged. What cannot be looked at hides nothing else: it works with the
//! gateway down, and with a configuration that cannot be read.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Instant;

use ride_core::id::Fence;
use ride_core::wire::{Row, Status, Statuses, ThreadStatus, method};
use ride_store::claude::process;
use ride_store::clock;
use serde_json::json;

use super::{Context, print, print_json, rows};
use crate::doctor::thread::{self, Known, Ours};
use crate::doctor::{self, Finding, Found, Gateway, Here, LeftBehind, Place, Plugin, State};
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, ConnectError, Connection, connect};
use crate::gateway::device::Device;
use crate::gateway::locate::{Located, Target};
use crate::launch::ClaudeBinary;
use crate::render::count;
use crate::ride::record::Record;

pub async fn run(context: &Context<'_>, words: &[String], claude: &OsStr, as_json: bool) -> Result<(), Error> {
    let (found, connection) = look(context, claude).await;
    let findings = doctor::findings(&found);
    if words.is_empty() {
        if as_json {
            print_json(&json!({ "version": found.here.version, "findings": findings }))?;
        } else {
            print(&doctor::page(&findings, context.env.terminal));
        }
        return verdict(&findings);
    }
    let Some((target, connection)) = connection else {
        // Whatever keeps the thread from being looked at comes first.
        print(&doctor::page(&findings, context.env.terminal));
        return verdict(&findings);
    };
    let explained = explain(context, &target, &connection, words).await?;
    if as_json {
        print_json(&explained)?;
    } else {
        print(&thread::page(&explained));
    }
    if explained.well { Ok(()) } else { Err(Error::new(Kind::Waiting, "the thread needs you")) }
}

/// What the exit code says.
fn verdict(findings: &[Finding]) -> Result<(), Error> {
    let wrong = findings.iter().filter(|f| f.state == State::Wrong).count();
    match u32::try_from(wrong).unwrap_or(u32::MAX) {
        0 => Ok(()),
        n => Err(Error::new(Kind::Other, format!("{} wrong", count(n, "thing is", "things are")))),
    }
}

async fn look(context: &Context<'_>, claude: &OsStr) -> (Found, Option<(Target, Connection)>) {
    let env = context.env;
    let own_files = own_files(context);
    let located = context.locate();
    let mut found = Found {
        here: Here {
            version: env!("CARGO_PKG_VERSION"),
            machine: clock::machine(),
            namespace: process::namespace(),
            uid: clock::user(),
            now_ms: env.now_ms,
            terminal: env.terminal,
            draws: env.get("TERM").is_some_and(|term| term != "dumb"),
        },
        located: Err(Error::new(Kind::Config, "")),
        gateway: None,
        plugin: None,
        threads: None,
        claude: claude_code(context, claude).await,
        own_files,
        left_behind: Vec::new(),
        unread: Vec::new(),
    };
    let target = match located {
        Err(e) => {
            found.located = Err(e);
            return (found, None);
        }
        Ok(located) => {
            let target = located.target.clone();
            found.located = Ok(place(located));
            target
        }
    };
    let Ok(state_dir) = &found.own_files else { return (found, None) };
    let dead = |record: &Record| record.fence.is_some() && !record.is_alive();
    let (records, unread) = Record::all(state_dir, target.origin());
    found.unread = unread.into_iter().map(Error::from).collect();
    let dead: Vec<Record> = records.into_iter().filter(dead).collect();
    found.left_behind = dead.iter().map(|record| LeftBehind { key: record.key.clone(), held: None }).collect();
    let begun = Instant::now();
    let connected = open(context, &target, state_dir).await;
    let took_ms = begun.elapsed().as_millis();
    let connection = match connected {
        Ok((connection, narrow)) => {
            let hello = connection.hello();
            let (version, scopes) = (hello.server.version.clone(), hello.auth.scopes.clone());
            found.gateway = Some(Ok(Gateway { version, took_ms, scopes, narrow }));
            connection
        }
        Err(e) => {
            found.gateway = Some(Err(e));
            return (found, None);
        }
    };
    found.plugin = Some(connection.call::<_, Plugin>(method::CONFIG, &json!({})).await.map_err(Error::from));
    if let Some(Ok(_)) = &found.plugin {
        // By the gateway's clock of this moment, not of our start.
        found.here.now_ms = clock::now().wall_ms;
        let statuses = connection.call::<_, Statuses>(method::STATUS, &Status::default()).await;
        if let Ok(statuses) = &statuses {
            let held = |record: &Record| record.fence.map(|fence| in_force(statuses, &record.key, fence));
            found.left_behind =
                dead.iter().map(|record| LeftBehind { key: record.key.clone(), held: held(record) }).collect();
        }
        found.threads = Some(statuses.map(|s| u32::try_from(s.threads.len()).unwrap_or(u32::MAX)).map_err(Error::from));
    }
    (found, Some((target, connection)))
}

/// Asks to drive, and where that is not allowed, to look.
async fn open(
    context: &Context<'_>,
    target: &Target,
    state_dir: &std::path::Path,
) -> Result<(Connection, Option<Error>), Error> {
    match connect(target, context.access(Access::Write), state_dir).await {
        Ok((connection, _)) => Ok((connection, None)),
        Err(narrow @ ConnectError::NarrowToken { .. }) => match connect(target, Access::Read, state_dir).await {
            Ok((connection, _)) => Ok((connection, Some(narrow.into()))),
            Err(_) => Err(narrow.into()),
        },
        Err(e) => Err(e.into()),
    }
}

fn place(located: Located) -> Place {
    let Located { target, config_path, own, notes } = located;
    let there = config_path.exists();
    let secret = target.token.as_ref().map(|_| "token").or(target.password.as_ref().map(|_| "password"));
    Place {
        url: target.url,
        source: target.source,
        config: (config_path, there),
        own,
        secret,
        pinned: target.pin.is_some(),
        notes,
    }
}

async fn claude_code(context: &Context<'_>, claude: &OsStr) -> Result<(PathBuf, String), Error> {
    let path = context.env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let found = ClaudeBinary::find(claude, OsStr::new(path), context.env).await?;
    Ok((found.path, found.version.to_string()))
}

/// The folder of `ride`'s own files, with the device identity in it readable.
fn own_files(context: &Context<'_>) -> Result<PathBuf, Error> {
    let dir = context.state_dir()?;
    let failed = |e: std::io::Error| {
        Error::new(Kind::Other, format!("could not write to {}: {e}", dir.display()))
            .hint("give another folder by --state-dir or RIDE_STATE_DIR")
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
    let probe = dir.join(format!("probe.{}", std::process::id()));
    std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe)).map_err(failed)?;
    if dir.join("device.json").exists() {
        Device::open(&dir).map_err(|e| {
            Error::new(Kind::Config, e.to_string())
                .hint(format!("rm {}    this machine is then approved anew", dir.join("device.json").display()))
        })?;
    }
    Ok(dir)
}

/// Whether the gateway keeps a thread for whoever has this fence.
fn in_force(statuses: &Statuses, key: &str, fence: Fence) -> bool {
    let fence = fence.to_string();
    statuses.threads.iter().any(|thread| thread.key == key && thread.fence.as_deref() == Some(fence.as_str()))
}

async fn explain(
    context: &Context<'_>,
    target: &Target,
    connection: &Connection,
    words: &[String],
) -> Result<thread::Explained, Error> {
    let rows = rows(connection).await?;
    let row: &Row = context.find(target, &rows, words)?;
    let asked = Status { key: Some(row.key.clone()), audit: false };
    let statuses: Statuses = connection.call(method::STATUS, &asked).await?;
    let status: Option<&ThreadStatus> = statuses.threads.iter().find(|status| status.key == row.key);
    let record = Record::load(&context.state_dir()?, target.origin(), &row.key)?;
    let holds = |r: &Record| r.is_alive() || r.fence.is_some_and(|fence| in_force(&statuses, &r.key, fence));
    let ours = record.filter(holds).map(|r| Ours { pid: r.process.pid, alive: r.is_alive() });
    Ok(thread::explain(&Known { row, status, ours, now_ms: clock::now().wall_ms }))
}
