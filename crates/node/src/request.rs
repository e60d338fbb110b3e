//! The gateway methods: parameters in, an answer, a refusal, or "wait" out.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ride_core::event::{ClaimAsked, Event, Reply};
use ride_core::host::{Channel, Entry, HostEntry};
use ride_core::id::{Fence, Process};
use ride_core::limits;
use ride_core::listing::{self, Around};
use ride_core::person::{Person, labelled};
use ride_core::text::Foreign;
use ride_core::thread::{Adopts, ClaudeSession, Mark, Phase, Thread, Why};
use ride_core::view;
use ride_core::wire::{self, Holder, MethodError, Reason, Refusal, method};
use ride_store::claude::lock::is_name;
use ride_store::claude::process::{Alive, alive, is_under};
use ride_store::claude::{ClaudeDir, Liveness, Registry, find_cwd, folder_of_slug, summary};
use ride_store::clock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config_answer;
use crate::sync::Sync;

mod copy;
mod open;
#[cfg(test)]
mod tests;

/// A request with what the shell knows of the host.
#[derive(Deserialize)]
pub(crate) struct Asked {
    method: String,
    params: Value,
    #[serde(default)]
    host: Host,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Host {
    /// The claimed thread's entry, as the host has it now.
    entry: Option<HostEntry>,
    /// Session keys bound to the same Claude session as the claimed thread.
    twins: Vec<String>,
    /// Configured channels.
    channels: Vec<Channel>,
    /// Who asks.
    person: Person,
    /// The folder of the thread's agent.
    workspace: Option<String>,
    /// The turns of the threads that are bound to a Claude session, where that was opened.
    turns: open::Turns,
    /// What the shell knows of the plugin itself.
    plugin: config_answer::Seen,
}

/// What the shell does with it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// Responds.
    Ok(Value),
    /// Responds with an error.
    Error(MethodError),
    /// Asks `pending` until it is something else.
    Wait(Waiting),
}

/// What a claim or a release waits for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    method: String,
    key: String,
    fence: Fence,
    wait_ms: u64,
    /// Of a copy: how much of the transcript the driver has.
    #[serde(default)]
    size: u64,
    /// To be asked at once: a part of it was done.
    #[serde(default)]
    again: bool,
    /// Of a session that is open in a terminal: the thread's title, and the Claude Code.
    #[serde(default)]
    opens: Option<(Option<Foreign>, Process)>,
}

type Outcome<T> = Result<T, MethodError>;

/// Answers a method.
pub(crate) fn answer(sync: &Sync, asked: Asked) -> Answer {
    let params = asked.params.to_string();
    let name = asked.method.as_str();
    // What it says of who may is not known: only what was begun goes on, and whoever may all.
    let begins = matches!(name, method::RIDEABLE | method::CLAIM | method::ADOPT)
        || name == method::TAKE_BACK && !asked.host.person.unlimited();
    if let Some(why) = sync.refused().filter(|_| begins) {
        let hint = Some("correct plugins.entries.claude-code-sync.config on the gateway".into());
        let details = Refusal { reason: Reason::Config, holder: None, hint };
        return Answer::Error(MethodError { code: "UNAVAILABLE".into(), message: why.into(), details });
    }
    let result = match name {
        method::RIDEABLE => rideable(sync, &params, &asked.host),
        method::CLAIM => return claim(sync, &params, asked.host).unwrap_or_else(Answer::Error),
        method::RENEW => renew(sync, &params),
        method::RELAY => return relay(sync, &asked.params),
        method::SAY => say(sync, &params),
        method::INBOX => inbox(sync, &params),
        method::TAKE => take(sync, &params),
        method::RELEASE => return release(sync, &params).unwrap_or_else(Answer::Error),
        method::TAKE_BACK => return take_back(sync, &params, asked.host).unwrap_or_else(Answer::Error),
        method::ADOPT => return adopt(sync, &params, asked.host).unwrap_or_else(Answer::Error),
        method::COPY => return copy::begin(sync, &params).unwrap_or_else(Answer::Error),
        method::PULL => copy::pull(sync, &params),
        method::PUSH => copy::push(sync, &params),
        method::CHECK => check(sync, &params, &asked.host.person),
        method::OPEN => return open::open(sync, &params, asked.host).unwrap_or_else(Answer::Error),
        method::STATUS => status(sync, &params, &asked.host.person),
        method::CONFIG => wire::parse::<wire::Nothing>(name, &params).and_then(|_| config(sync, &asked.host.plugin)),
        _ => Err(error(Reason::BadRequest, format!("no such method: {name}"))),
    };
    result.map_or_else(Answer::Error, Answer::Ok)
}

/// Looks again at what a claim or a release waits for.
pub(crate) fn pending(sync: &Sync, waiting: Waiting) -> Answer {
    if waiting.method == method::COPY {
        return copy::compared(sync, waiting).unwrap_or_else(Answer::Error);
    }
    if waiting.method == method::OPEN {
        return open::settled(sync, waiting).unwrap_or_else(Answer::Error);
    }
    let look = || -> Outcome<Option<Value>> {
        let thread = sync.store.read(&waiting.key).map_err(|e| store_error(e.to_string()))?;
        let thread = thread.ok_or_else(|| store_error(format!("the state of {} is gone", waiting.key)))?;
        match waiting.method.as_str() {
            method::CLAIM => granted(sync, &thread, waiting.fence),
            method::ADOPT => adopted(&thread, waiting.fence),
            _ => Ok(released(&thread, waiting.fence)),
        }
    };
    match look() {
        Ok(Some(value)) => Answer::Ok(value),
        Ok(None) => Answer::Wait(waiting),
        Err(error) => Answer::Error(error),
    }
}

/// The answer when the time to wait is over: the hand-over itself goes on.
pub(crate) fn late(sync: &Sync, waiting: &Waiting) -> Answer {
    let thread = match sync.store.read(&waiting.key) {
        Ok(Some(thread)) => thread,
        Ok(None) => return Answer::Error(store_error(format!("the state of {} is gone", waiting.key))),
        Err(e) => return Answer::Error(store_error(e.to_string())),
    };
    if waiting.method == method::COPY {
        let what = "the transcript takes too long to be compared".into();
        return Answer::Error(MethodError { code: "UNAVAILABLE".into(), ..error(Reason::Transcript, what) });
    }
    if waiting.method == method::OPEN {
        return open::late(&thread, waiting).map_or_else(Answer::Error, Answer::Ok);
    }
    let what = view::waiting_for(&thread).unwrap_or_else(|| "the hand-over takes longer than asked for".into());
    if [method::CLAIM, method::ADOPT].contains(&waiting.method.as_str()) {
        return Answer::Error(MethodError { code: "UNAVAILABLE".into(), ..error(Reason::TurnRunning, what) });
    }
    Answer::Ok(json!(wire::Released {
        open: false,
        waiting_for: Some(what.into()),
        acceptable: view::acceptable(&thread),
        waiting: thread.inbox.len() as u32,
        undelivered: thread.undelivered(),
    }))
}

fn rideable(sync: &Sync, params: &str, host: &Host) -> Outcome<Value> {
    let asked: wire::List = wire::parse(method::RIDEABLE, params)?;
    let limit = asked.limit.unwrap_or(limits::ROWS);
    if !(1..=limits::ROWS).contains(&limit) {
        return Err(error(Reason::BadRequest, format!("limit is {limit}; 1 to {} rows are allowed", limits::ROWS)));
    }
    let busy = sync.store.busy().map_err(|e| store_error(e.to_string()))?;
    let (listing, from) = match &asked.after {
        None => {
            let dir = ClaudeDir::at(&sync.claude_dir);
            let seen = (dir.sessions_with_transcript(), in_use(&dir, sync.gateway_pid));
            (sync.index.begin_listing(order(sync, &host.person, &busy), seen, limit as usize), 0)
        }
        Some(cursor) => sync.index.resume(cursor).ok_or_else(|| MethodError {
            details: Refusal {
                reason: Reason::BadRequest,
                holder: None,
                hint: Some("list again without after".into()),
            },
            ..error(Reason::BadRequest, "after is of a listing that is over".into())
        })?,
    };
    let end = listing.keys.len().min(from + limit as usize);
    let config = sync.config();
    let around = Around {
        channels: &host.channels,
        transcripts: &listing.transcripts,
        in_use: &listing.in_use,
        person: &host.person,
        allow: &config.ride_allow,
        now: clock::now(),
        rules: &config.rules(),
    };
    let rows =
        listing.keys[from..end].iter().filter_map(|key| listed(sync, key, busy.contains(key), &around)).collect();
    let next = (end < listing.keys.len()).then(|| format!("{}.{end}", listing.id));
    value(&wire::Rideable { rows, next, total: listing.keys.len() as u32 })
}

/// The Claude sessions that a running process has open which the gateway did not start.
/// What cannot be read names none: a claim looks again, at every process.
fn in_use(dir: &ClaudeDir, gateway: u32) -> HashMap<Uuid, u32> {
    let registry = Registry::read(dir).unwrap_or_default();
    let live = registry.entries.into_iter().filter(|entry| matches!(entry.liveness, Liveness::Live(_)));
    let theirs = live.filter(|entry| !is_under(entry.pid, gateway).unwrap_or(true));
    theirs.map(|entry| (entry.session, entry.pid)).collect()
}

/// The threads a person is shown, most recent first; those that are ridden or have
/// something waiting also where the host has no entry of them any more.
fn order(sync: &Sync, person: &Person, busy: &[String]) -> Vec<String> {
    let known = sync.index.read();
    let threads = known.threads();
    let shown: HashSet<&str> = threads.iter().map(|e| e.key.as_str()).collect();
    let unlisted =
        busy.iter().filter(|key| !shown.contains(key.as_str()) && known.get(key).is_none_or(|e| person.sees(e)));
    let listed = threads.iter().filter(|e| person.sees(e)).map(|e| e.key.clone());
    unlisted.cloned().chain(listed).collect()
}

/// One row; `None` where the entry went meanwhile, or is not for this person.
fn listed(sync: &Sync, key: &str, busy: bool, around: &Around<'_>) -> Option<wire::Row> {
    let refused = sync.store.refusal(key).ok().flatten();
    let thread = if busy && refused.is_none() { sync.store.read(key) } else { Ok(None) };
    let known = thread.as_ref().ok().and_then(Option::as_ref);
    let entry = sync.index.read().get(key).cloned().or_else(|| known.map(listing::remembered))?;
    if !around.person.sees(&entry) {
        return None;
    }
    let mut row = listing::row(&entry, known, around);
    if let Some(why) = refused.or_else(|| thread.err().map(|e| e.to_string())) {
        row.rideable = false;
        row.why_not = Some(why.into());
    }
    Some(row)
}

fn claim(sync: &Sync, params: &str, mut host: Host) -> Outcome<Answer> {
    let asked: wire::Claim = wire::parse(method::CLAIM, params)?;
    named("driver.name", &asked.driver.name, limits::NAME_CHARS)?;
    named("driver.host", &asked.driver.host, limits::NAME_CHARS)?;
    if asked.secret.len() != 32 || !asked.secret.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(error(Reason::BadRequest, "secret is not 16 bytes in hex".into()));
    }
    let thread = sync.store.read(&asked.key).map_err(|e| store_error(e.to_string()))?;
    let held = thread.as_ref().and_then(Thread::lease);
    let (entry, row) = may(sync, &asked.key, &mut host, "ride")?;
    // A held thread's binding is parked: the refusal must name the holder, not its absence.
    let claude = match (held, entry.claude) {
        (Some(lease), _) => lease.claude.clone(),
        (None, Some(id)) => Some(locate(sync, id, entry.cwd.as_deref())?),
        (None, None) if row.relay_ready => None,
        (None, None) => {
            return Err(error(
                Reason::NotRideable,
                format!("{} cannot be ridden: {}", row.title, row.why_not.unwrap_or_default()),
            ));
        }
    };
    if !asked.gone.is_empty() {
        declare(sync, &asked, host.person.identity())?;
    }
    let event = ClaimAsked {
        identity: host.person.identity(),
        driver: asked.driver,
        secret_sha256: secret_sha256(&asked.secret),
        grant: Uuid::new_v4(),
        title: row.title.into_raw(),
        claude,
        route: row.echo_target.filter(|_| row.relay_ready),
        twins: host.twins,
        wait_ms: asked.wait_ms,
        session_held: None,
        steal: asked.steal,
        adopts: None,
    };
    let (_, reply) = sync.apply(&asked.key, Event::Claim(Box::new(event))).map_err(store_error)?;
    match reply {
        Reply::Claiming { fence } => Ok(Answer::Wait(Waiting {
            method: method::CLAIM.into(),
            key: asked.key,
            fence,
            wait_ms: asked.wait_ms.min(limits::WAIT_MS) + 30_000,
            size: 0,
            again: false,
            opens: None,
        })),
        other => Err(refused(other)),
    }
}

/// Takes down who declares which processes gone.
fn declare(sync: &Sync, asked: &wire::Claim, identity: Option<String>) -> Outcome<()> {
    if asked.gone.len() > limits::GONE_NAMES {
        return Err(error(
            Reason::BadRequest,
            format!("gone has {} names; at most {}", asked.gone.len(), limits::GONE_NAMES),
        ));
    }
    asked.gone.iter().try_for_each(|name| named("gone", name, limits::GONE_NAME_CHARS))?;
    let event = Event::Declared { by: asked.driver.to_string(), identity, gone: asked.gone.clone() };
    sync.apply(&asked.key, event).map_err(store_error)?;
    Ok(())
}

/// The thread that a person asks for, if it is one for this person to drive.
fn may(sync: &Sync, key: &str, host: &mut Host, what: &str) -> Outcome<(Entry, wire::Row)> {
    let entry = host.entry.take().map(Entry::from).filter(|e| host.person.sees(e));
    let entry = entry.ok_or_else(|| error(Reason::UnknownThread, format!("no thread has the key {key}")))?;
    let config = sync.config();
    let around = Around {
        channels: &host.channels,
        // Looked for where it matters which file it is.
        transcripts: &HashSet::new(),
        in_use: &HashMap::new(),
        person: &host.person,
        allow: &config.ride_allow,
        now: clock::now(),
        rules: &config.rules(),
    };
    let row = listing::row(&entry, None, &around);
    let refused = |rule| error(Reason::NotAllowed, format!("you may not {what} {}: {rule}", row.title));
    host.person.may_ride(&entry, &config.ride_allow).map_err(refused)?;
    Ok((entry, row))
}

/// The Claude session behind an entry, with the project folder it belongs to.
pub(crate) fn locate(sync: &Sync, id: Uuid, cwd: Option<&str>) -> Outcome<ClaudeSession> {
    let transcript = |message: String| error(Reason::Transcript, message);
    let dir = ClaudeDir::at(&sync.claude_dir);
    let found = dir.find(id, cwd.map(Path::new)).map_err(|e| transcript(e.to_string()))?;
    let path = found.ok_or_else(|| no_transcript(sync, id))?;
    let last = summary(&path).map_err(|e| transcript(e.to_string()))?.cwd;
    let belongs = |cwd: &str| Some(dir.project(Path::new(cwd)).as_path()) == path.parent();
    let cwd = match [cwd, last.as_deref()].into_iter().flatten().find(|cwd| belongs(cwd)) {
        Some(cwd) => Some(cwd.to_owned()),
        // Whoever resumed it last was in another folder, of another machine perhaps.
        None => find_cwd(&path, belongs).map_err(|e| transcript(e.to_string()))?.or_else(|| renamed(&path)),
    };
    let cwd = cwd.ok_or_else(|| transcript(format!("the project folder of {} could not be told", path.display())))?;
    Ok(ClaudeSession { id, config_dir: sync.claude_dir.to_string_lossy().into_owned(), cwd })
}

/// The project folder that was renamed together with the folder of its transcripts: only its slug names it.
fn renamed(transcript: &Path) -> Option<String> {
    let slug = transcript.parent()?.file_name()?.to_str()?;
    folder_of_slug(Path::new("/"), slug)?.to_str().map(str::to_owned)
}

fn no_transcript(sync: &Sync, id: Uuid) -> MethodError {
    let mut refused = error(
        Reason::Transcript,
        format!("the transcript of Claude session {id} is not under {}", sync.claude_dir.display()),
    );
    refused.details.hint = Some("the thread's next message in the chat begins a new Claude session".into());
    refused
}

/// The grant once the thread is ridden; an error once the claim has failed.
fn granted(sync: &Sync, thread: &Thread, fence: Fence) -> Outcome<Option<Value>> {
    match &thread.phase {
        Phase::Claiming { lease, .. } if lease.fence == fence => Ok(None),
        Phase::Leaving { lease, why: Why::Failed { .. }, .. } if lease.fence == fence => Ok(None),
        Phase::Leaving { heir: Some(heir), .. } if heir.fence == fence => Ok(None),
        Phase::Ridden { lease } if lease.fence == fence => {
            let grant = wire::Grant {
                key: thread.key.session.clone(),
                fence,
                title: lease.title.clone().into(),
                route: lease.route.clone(),
                claude: lease.claude.as_ref().map(|claude| target(claude, lease.mark.as_ref())).transpose()?,
                turn: view::turn(lease),
                lease_ms: sync.rules().lease_ms,
                renew_every_ms: limits::RENEW_EVERY_MS,
                silence_ms: sync.rules().silence_ms,
                relay: sync.rules().relay && lease.route.is_some(),
                waiting: view::waiting(thread),
                beside: view::sides(&lease.beside),
                locks: true,
            };
            value(&grant).map(Some)
        }
        _ => Err(match &thread.last {
            Some(last) if last.fence == fence => match &last.why {
                Why::Failed { reason, text } => error(reason.into(), text.clone()),
                _ => error(Reason::Stale, "the ride ended before it began".into()),
            },
            _ => error(Reason::Stale, "the claim was overtaken".into()),
        }),
    }
}

fn target(claude: &ClaudeSession, file: Option<&Mark>) -> Outcome<wire::ClaudeTarget> {
    let transcript =
        file.cloned().map(Into::into).ok_or_else(|| store_error("a ridden thread has no transcript mark".into()))?;
    Ok(wire::ClaudeTarget {
        session_id: claude.id,
        config_dir: claude.config_dir.clone(),
        cwd: claude.cwd.clone(),
        transcript,
    })
}

fn say(sync: &Sync, params: &str) -> Outcome<Value> {
    let s: wire::Say = wire::parse(method::SAY, params)?;
    let (_, reply) = sync.apply(&s.key, Event::Say { fence: s.fence, id: s.id, text: s.text }).map_err(store_error)?;
    match reply {
        Reply::Said { state } => value(&wire::Saying { state }),
        other => Err(refused(other)),
    }
}

fn renew(sync: &Sync, params: &str) -> Outcome<Value> {
    let r: wire::Renew = wire::parse(method::RENEW, params)?;
    let event =
        Event::Renew { fence: r.fence, secret_sha256: secret_sha256(&r.secret), claude: r.claude, active: r.active };
    let (thread, reply) = sync.apply(&r.key, event).map_err(store_error)?;
    let lock = r.lock.as_ref().filter(|_| reply == Reply::Ok);
    let met = lock.map(|lock| meet(sync, (&r.key, r.fence), lock, &thread)).transpose()?.flatten();
    match (reply, view::renewed(&thread, clock::now(), &sync.rules())) {
        (Reply::Ok, Some(renewed)) => value(&wire::Renewed { lock: met, ..renewed }),
        (reply, _) => Err(refused(reply)),
    }
}

/// Meets a driver in its lock file; what the driver is to repeat.
fn meet(sync: &Sync, (key, fence): (&str, Fence), lock: &wire::Lock, thread: &Thread) -> Outcome<Option<String>> {
    if ![Some(&lock.name), Some(&lock.nonce), lock.seen.as_ref()].into_iter().flatten().all(|text| is_name(text)) {
        return Err(error(Reason::BadRequest, "name, nonce and seen of lock are 32 hex digits".into()));
    }
    let Some(claude) = thread.lease().and_then(|lease| lease.claude.as_ref()) else { return Ok(None) };
    let (nonce, mutual) = sync.locks.meet(&ClaudeDir::at(&claude.config_dir), lock);
    sync.apply(key, Event::Locked { fence, name: lock.name.clone(), mutual }).map_err(store_error)?;
    Ok(nonce)
}

fn relay(sync: &Sync, params: &Value) -> Answer {
    let taken = read_relay(params)
        .and_then(|r| sync.apply(&r.key, Event::Relay { fence: r.fence, items: r.items }).map_err(store_error));
    match taken {
        Ok((thread, reply)) => relayed(reply, &thread),
        Err(error) => Answer::Error(error),
    }
}

/// Reads the parameters of `ride_relay`.
pub(crate) fn read_relay(params: &Value) -> Outcome<wire::Relay> {
    wire::parse(method::RELAY, &params.to_string())
}

/// The answer to `ride_relay`.
pub(crate) fn relayed(reply: Reply, thread: &Thread) -> Answer {
    let answer = match reply {
        Reply::Relayed { accepted } => value(&wire::Relayed { accepted, outbox: thread.outbox.len() as u32 }),
        other => Err(refused(other)),
    };
    answer.map_or_else(Answer::Error, Answer::Ok)
}

fn inbox(sync: &Sync, params: &str) -> Outcome<Value> {
    let r: wire::Inbox = wire::parse(method::INBOX, params)?;
    let thread = sync.store.read(&r.key).map_err(|e| store_error(e.to_string()))?;
    let thread = thread.ok_or_else(|| error(Reason::UnknownThread, format!("nobody rides {}", r.key)))?;
    match view::inbox(&thread, r.fence, r.after) {
        Some(inboxed) => value(&inboxed),
        None => Err(refused(view::stale(&thread, r.fence, clock::now(), &sync.rules()))),
    }
}

fn take(sync: &Sync, params: &str) -> Outcome<Value> {
    let r: wire::Take = wire::parse(method::TAKE, params)?;
    let event = Event::TakeAlong { fence: r.fence, prompt: r.prompt, seqs: r.seqs };
    match sync.apply(&r.key, event).map_err(store_error)? {
        (_, Reply::Taken { waiting }) => value(&wire::Taken { waiting }),
        (_, other) => Err(refused(other)),
    }
}

fn release(sync: &Sync, params: &str) -> Outcome<Answer> {
    let r: wire::Release = wire::parse(method::RELEASE, params)?;
    if let Some(end) = r.copy {
        let (_, reply) = sync.apply(&r.key, Event::Copied { fence: r.fence, end: Some(end) }).map_err(store_error)?;
        if reply != Reply::Ok {
            return Err(refused(reply));
        }
    }
    let event = Event::Release { fence: r.fence, accept_broken: r.accept_broken_chain };
    let (_, reply) = sync.apply(&r.key, event).map_err(store_error)?;
    match reply {
        Reply::Ok => Ok(Answer::Wait(Waiting {
            method: method::RELEASE.into(),
            key: r.key,
            fence: r.fence,
            wait_ms: r.wait_ms.min(limits::WAIT_MS),
            size: 0,
            again: false,
            opens: None,
        })),
        other => Err(refused(other)),
    }
}

/// Binds a thread to another Claude session of this machine.
fn adopt(sync: &Sync, params: &str, mut host: Host) -> Outcome<Answer> {
    let asked: wire::Adopt = wire::parse(method::ADOPT, params)?;
    named("driver.name", &asked.driver.name, limits::NAME_CHARS)?;
    named("driver.host", &asked.driver.host, limits::NAME_CHARS)?;
    let (entry, row) = may(sync, &asked.key, &mut host, "adopt into")?;
    let id = asked.cli_session_id;
    // The shell looked for it by these very letters.
    if !params.contains(&format!("\"{id}\"")) {
        return Err(error(
            Reason::BadRequest,
            "cliSessionId is not written as a UUID is: lower case, with hyphens".into(),
        ));
    }
    if entry.claude == Some(id) {
        return Err(error(Reason::BadRequest, format!("{} is bound to Claude session {id} already", row.title)));
    }
    if let Some(other) = host.twins.first() {
        return Err(error(Reason::SessionInUse, format!("Claude session {id} is bound to another thread, {other}")));
    }
    let claude = locate(sync, id, None)?;
    if !Path::new(&claude.cwd).is_dir() {
        return Err(error(
            Reason::Transcript,
            format!("the project folder of Claude session {id} is not on the gateway's machine: {}", claude.cwd),
        ));
    }
    may_read(sync, &asked, &entry, &host, &claude)?;
    // Its folder is looked for again when it is adopted back.
    let config_dir = || sync.claude_dir.to_string_lossy().into_owned();
    let from = entry.claude.map(|id| ClaudeSession {
        id,
        config_dir: config_dir(),
        cwd: entry.cwd.clone().unwrap_or_default(),
    });
    let event = ClaimAsked {
        identity: host.person.identity(),
        driver: asked.driver,
        // Nobody comes back to it.
        secret_sha256: secret_sha256(&Uuid::new_v4().to_string()),
        grant: Uuid::new_v4(),
        title: row.title.into_raw(),
        claude: Some(claude),
        route: row.echo_target.filter(|_| row.relay_ready),
        twins: Vec::new(),
        wait_ms: asked.wait_ms,
        session_held: None,
        steal: false,
        adopts: Some(Adopts { from }),
    };
    let (_, reply) = sync.apply(&asked.key, Event::Claim(Box::new(event))).map_err(store_error)?;
    match reply {
        Reply::Claiming { fence } => {
            let wait_ms = asked.wait_ms.min(limits::WAIT_MS) + 30_000;
            Ok(Answer::Wait(Waiting {
                method: method::ADOPT.into(),
                key: asked.key,
                fence,
                wait_ms,
                size: 0,
                again: false,
                opens: None,
            }))
        }
        other => Err(refused(other)),
    }
}

/// Whether this person may read the Claude session that is to be adopted: whoever rides the
/// thread then can. What the thread had before is not asked about again.
fn may_read(sync: &Sync, asked: &wire::Adopt, entry: &Entry, host: &Host, claude: &ClaudeSession) -> Outcome<()> {
    let thread = sync.store.read(&asked.key).map_err(|e| store_error(e.to_string()))?;
    if thread.is_some_and(|thread| thread.former.is_some_and(|former| former.id == claude.id)) {
        return Ok(());
    }
    let real = |path: &str| std::fs::canonicalize(path).map(|path| path.to_string_lossy().into_owned());
    let project =
        real(&claude.cwd).map_err(|e| error(Reason::Transcript, format!("could not look at {}: {e}", claude.cwd)))?;
    let workspace = host.workspace.as_deref().and_then(|path| real(path).ok());
    let mut person = host.person.clone();
    if let (Some(proofs), Some(proof)) = (&sync.proofs, &asked.proof) {
        let what = wire::proof_of_adoption(&asked.key, asked.cli_session_id);
        person.own_user = proofs.take(proof, &what).map_err(|e| store_error(e.to_string()))?;
    }
    person.may_adopt(entry, &sync.config().ride_allow, &project, workspace.as_deref()).map_err(|rule| {
        let mut refused = error(Reason::NotAllowed, format!("you may not adopt Claude session {}: {rule}", claude.id));
        refused.details.hint =
            Some("adopt it on the gateway's machine as its user, or with operator.admin (ride --admin)".into());
        refused
    })
}

/// The answer once the thread is bound; an error once that has failed.
fn adopted(thread: &Thread, fence: Fence) -> Outcome<Option<Value>> {
    if thread.lease().is_some_and(|lease| lease.fence == fence) {
        return Ok(None);
    }
    match thread.last.as_ref().filter(|last| last.fence == fence).map(|last| &last.why) {
        Some(Why::Adopted { to, beside }) => {
            let former = thread.former.as_ref().map(|former| former.id);
            let beside = view::sides(beside);
            value(&wire::Adopted { cli_session_id: to.id, former, cwd: to.cwd.clone(), beside }).map(Some)
        }
        Some(Why::Failed { reason, text }) => Err(error(reason.into(), text.clone())),
        _ => Err(error(Reason::Stale, "the adoption was overtaken".into())),
    }
}

/// Whoever may ride a thread may give it back to the agent.
fn take_back(sync: &Sync, params: &str, host: Host) -> Outcome<Answer> {
    let asked: wire::TakeBack = wire::parse(method::TAKE_BACK, params)?;
    named("by", &asked.by, 2 * limits::NAME_CHARS + 1)?;
    let entry: Option<Entry> = host.entry.map(Entry::from).filter(|e| host.person.sees(e));
    match &entry {
        Some(entry) => host
            .person
            .may_ride(entry, &sync.config().ride_allow)
            .map_err(|rule| error(Reason::NotAllowed, format!("you may not take {} back: {rule}", asked.key)))?,
        None if host.person.unlimited() => {}
        None => return Err(error(Reason::UnknownThread, format!("no thread has the key {}", asked.key))),
    }
    let by = labelled(&asked.by, host.person.identity().as_deref());
    let event = Event::TakeBack { by, accept_broken: asked.accept_broken_chain };
    let (thread, reply) = sync.apply(&asked.key, event).map_err(store_error)?;
    match (reply, thread.lease()) {
        (Reply::Ok, Some(lease)) => {
            let wait_ms = asked.wait_ms.min(limits::WAIT_MS);
            Ok(Answer::Wait(Waiting {
                method: method::TAKE_BACK.into(),
                fence: lease.fence,
                key: asked.key,
                wait_ms,
                size: 0,
                again: false,
                opens: None,
            }))
        }
        (other, _) => Err(refused(other)),
    }
}

fn named(field: &str, text: &str, most: usize) -> Outcome<()> {
    let length = text.chars().count();
    if length == 0 || length > most || text.chars().any(char::is_control) {
        let message = format!("{field} has {length} characters; 1 to {most} without control characters are allowed");
        return Err(error(Reason::BadRequest, message));
    }
    Ok(())
}

/// The answer once the thread is the agent's again.
fn released(thread: &Thread, fence: Fence) -> Option<Value> {
    let open = thread.lease().is_none_or(|l| l.fence != fence);
    open.then(|| {
        let released = wire::Released {
            open: true,
            waiting_for: None,
            acceptable: false,
            // With another driver, they wait on.
            waiting: if thread.lease().is_none() { thread.inbox.len() as u32 } else { 0 },
            undelivered: thread.undelivered(),
        };
        json!(released)
    })
}

fn check(sync: &Sync, params: &str, person: &Person) -> Outcome<Value> {
    let c: wire::Check = wire::parse(method::CHECK, params)?;
    let found = match (&c.key, c.cli_session_id) {
        (Some(key), None) => sync.store.read(key),
        (None, Some(id)) => sync.store.riding(id),
        _ => return Err(error(Reason::BadRequest, "give either key or cliSessionId".into())),
    };
    let thread = found.map_err(|e| store_error(e.to_string()))?.filter(|t| shown(sync, &t.key.session, person));
    let holder: Option<Holder> = thread.as_ref().and_then(|t| view::holder(t, clock::now(), &sync.rules()));
    let valid = c.fence.map(
        |fence| matches!(thread.as_ref().map(|t| &t.phase), Some(Phase::Ridden { lease }) if lease.fence == fence),
    );
    let asked = thread.filter(|_| c.cli_session_id.is_some() && holder.is_some());
    let title = asked.as_ref().and_then(Thread::lease).map(|lease| lease.title.clone().into());
    let key = asked.map(|thread| thread.key.session);
    let own = c.process.is_some_and(|process| {
        matches!(alive(&process), Ok(Alive::Yes)) && is_under(process.pid, sync.gateway_pid).unwrap_or(false)
    });
    value(&wire::Checked { ridden: holder.is_some(), valid, holder, key, title, own })
}

fn status(sync: &Sync, params: &str, person: &Person) -> Outcome<Value> {
    let s: wire::Status = wire::parse(method::STATUS, params)?;
    let refusals = sync.store.refusals().map_err(|e| store_error(e.to_string()))?;
    let audit = match (&s.key, s.audit) {
        (_, false) => Vec::new(),
        (None, true) if !person.unlimited() => Vec::new(),
        (Some(key), true) if !shown(sync, key, person) => Vec::new(),
        (key, true) => sync.store.audit(key.as_deref()).map_err(|e| store_error(e.to_string()))?,
    };
    let mut threads = Vec::new();
    let keys = match s.key {
        Some(key) => match sync.store.refusal(&key).map_err(|e| store_error(e.to_string()))? {
            Some(why) if shown(sync, &key, person) => {
                return value(&wire::Statuses { threads: vec![view::unreadable(&key, &why)], audit });
            }
            _ => vec![key],
        },
        None => {
            let shown = refusals.iter().filter(|(key, _)| shown(sync, key, person));
            threads.extend(shown.map(|(key, why)| view::unreadable(key, why)));
            sync.store.busy().map_err(|e| store_error(e.to_string()))?
        }
    };
    for key in keys.into_iter().filter(|key| shown(sync, key, person)) {
        if let Some(thread) = sync.store.read(&key).map_err(|e| store_error(e.to_string()))? {
            threads.push(view::status(&thread, clock::now(), &sync.rules()));
        }
    }
    value(&wire::Statuses { threads, audit })
}

/// Whether the host shows a person this thread.
fn shown(sync: &Sync, key: &str, person: &Person) -> bool {
    sync.index.read().get(key).map_or_else(|| person.unlimited(), |entry| person.sees(entry))
}

/// The configuration in force, and what of the one that was written waits.
fn config(sync: &Sync, seen: &config_answer::Seen) -> Outcome<Value> {
    let mut answer = value(&config_answer::report(sync, seen))?;
    if let (Some(waits), Some(fields)) = (&sync.waits, answer.as_object_mut()) {
        fields.insert("lockDir".into(), json!(waits.in_force));
        fields.insert("lockBackend".into(), json!("file"));
        fields.insert("waits".into(), value(waits)?);
    }
    if let (Some(why), Some(fields)) = (sync.refused(), answer.as_object_mut()) {
        fields.insert("refused".into(), json!(why));
    }
    Ok(answer)
}

fn secret_sha256(secret: &str) -> String {
    sha256(secret)
}

/// SHA-256 of a text, in hex.
pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn value<T: Serialize>(answer: &T) -> Outcome<Value> {
    serde_json::to_value(answer).map_err(|e| store_error(format!("could not write an answer: {e}")))
}

fn refused(reply: Reply) -> MethodError {
    match reply {
        Reply::Refused { message, refusal } => {
            MethodError { details: refusal.clone(), ..error(refusal.reason, message) }
        }
        other => store_error(format!("unexpected answer {other:?}")),
    }
}

fn error(reason: Reason, message: String) -> MethodError {
    let code = if reason == Reason::TurnRunning { "UNAVAILABLE" } else { "INVALID_REQUEST" };
    MethodError { code: code.into(), message: message.into(), details: Refusal { reason, holder: None, hint: None } }
}

fn store_error(message: String) -> MethodError {
    MethodError {
        code: "UNAVAILABLE".into(),
        message: message.into(),
        details: Refusal { reason: Reason::Store, holder: None, hint: None },
    }
}
