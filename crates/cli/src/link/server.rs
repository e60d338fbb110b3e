//! HTTP/1.1 over the Unix socket: who may call, what each path does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ride_core::text::{plain, plain_lines};
use ride_store::claude::process;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::hooks;
use super::pairing::{Pairing, origin};
use super::tail::Asked;
use super::wire::{self, Code};
use super::{
    Ask, Ending, Hello, LinkEvent, MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_SAID, MOD_WITHIN, Origin, POLL_FOR,
    START_WITHIN, Source, Status, Token, Turn, VERDICT_WITHIN, Verdict,
};

/// A client that sends half a request is dropped after this long.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Characters a hook may show at once: Claude Code cuts its answer at 10,000 (vendor
/// documentation).
const NEWS_CHARS: usize = 8_000;
/// Pause after the system had no descriptor for a new connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Shared {
    token: Token,
    /// Who may greet: the plugin that was laid out.
    expect: Source,
    events: mpsc::Sender<LinkEvent>,
    status: watch::Receiver<Status>,
    peer: Mutex<Peer>,
    /// A hook says that the transcript has grown, or is about to.
    pub(super) look: Notify,
    /// The mod has greeted.
    greeted: Notify,
    /// How many lines were said; the lines are with the peer.
    said: watch::Sender<u64>,
}

/// The Claude Code at the other end.
#[derive(Default)]
pub(super) struct Peer {
    /// Bound by the first greeting, for the life of the link.
    pub(super) pid: Option<u32>,
    /// Elected by it.
    pub(super) source: Option<Source>,
    session: Option<Uuid>,
    pairing: Pairing,
    pub(super) asked: Asked,
    pub(super) turn_runs: bool,
    /// The line the person was shown last, where there is no line above the prompt.
    shown: String,
    /// Lines for the conversation that were not shown yet, by number.
    said: VecDeque<(u64, String)>,
    /// There was no room for a line.
    overflowed: bool,
}

impl Shared {
    pub(super) fn new(
        token: Token,
        expect: Source,
        status: watch::Receiver<Status>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Shared {
        let said = watch::Sender::new(0);
        Shared {
            token,
            expect,
            events,
            status,
            peer: Mutex::default(),
            look: Notify::new(),
            greeted: Notify::new(),
            said,
        }
    }

    pub(super) fn say(&self, line: String) {
        let (line, number) = (plain(&line), *self.said.borrow() + 1);
        let mut peer = self.peer();
        if peer.said.len() == MAX_SAID {
            peer.overflowed = true;
            return;
        }
        peer.said.push_back((number, line));
        drop(peer);
        self.said.send_replace(number);
    }

    pub(super) fn unshown(&self) -> Option<Vec<String>> {
        let peer = self.peer();
        (!peer.overflowed).then(|| peer.said.iter().map(|(_, line)| line.clone()).collect())
    }

    pub(super) fn peer(&self) -> MutexGuard<'_, Peer> {
        // Nothing in here panics half way through a change.
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until the task is aborted; its connections end with it.
pub(super) async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    connection(stream, shared).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn connection(stream: UnixStream, shared: Arc<Shared>) {
    let Some(pid) = peer_pid(&stream) else { return };
    let answer = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(request, pid, &shared).await) }
    });
    // A broken connection is the caller's loss: it takes silence for a no.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_WITHIN)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// The pid at the other end, if it is one of our user.
fn peer_pid(stream: &UnixStream) -> Option<u32> {
    let credentials = stream.peer_cred().ok()?;
    if credentials.uid() != rustix::process::getuid().as_raw() {
        return None;
    }
    u32::try_from(credentials.pid()?).ok()
}

pub(super) struct Refused(StatusCode, Code, String);

pub(super) type Answer = Result<Vec<u8>, Refused>;

async fn respond(request: Request<Incoming>, pid: u32, shared: &Shared) -> Response<Full<Bytes>> {
    let (status, body) = match route(request, pid, shared).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Refused(status, code, error)) => (status, json(&wire::Failure { error, code })),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

async fn route(request: Request<Incoming>, pid: u32, shared: &Shared) -> Answer {
    let said = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !said.strip_prefix("Bearer ").is_some_and(|token| shared.token.admits(token)) {
        return Err(Refused(StatusCode::UNAUTHORIZED, Code::Token, "not the token of this ride".to_owned()));
    }
    let hook = request.uri().path().strip_prefix("/hook/").map(str::to_owned);
    // A hook is a child of the Claude Code it speaks for, and waits for this answer.
    let pid = match &hook {
        Some(_) => caller_of(pid)?,
        None => pid,
    };
    let bound = shared.peer().pid;
    if bound.is_some_and(|bound| bound != pid) {
        return Err(Refused(StatusCode::CONFLICT, Code::Stranger, "another process has this link".to_owned()));
    }
    if let Some(event) = hook {
        let body = read(request).await?;
        let answer = fired(&event, parse(&event, &body)?, pid, shared).await?;
        return Ok(json(&answer));
    }
    let path = request.uri().path().to_owned();
    if bound.is_none() && path != "/hello" {
        return Err(Refused(StatusCode::CONFLICT, Code::NotGreeted, "say hello first".to_owned()));
    }
    if request.method() != Method::POST {
        return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest, "only POST".to_owned()));
    }
    let body = read(request).await?;
    if path == "/hello" {
        return hello(&parse(&path, &body)?, pid, shared).await;
    }
    let wire::Common { session } = parse(&path, &body)?;
    // Not from reports: one that comes late must not turn the clock back.
    match path.as_str() {
        "/session" => note_session(session, parse::<wire::Session>(&path, &body)?.source, shared).await,
        "/prompt" | "/turn/start" => note_session(session, None, shared).await,
        _ => {}
    }
    match path.as_str() {
        "/prompt" => {
            let said: wire::Submitted = parse(&path, &body)?;
            let what = Ask::Prompt { text: said.text.clone(), origin: origin(&said.origin.kind) };
            let verdict = ask(what, session, shared).await;
            if !matches!(verdict, Verdict::Refuse(_)) {
                shared.peer().pairing.submit(&said);
            }
            Ok(as_json(verdict))
        }
        "/turn/start" => {
            let shell = shared.peer().pairing.begin_turn();
            let verdict = ask(Ask::Turn, session, shared).await;
            if let Some(prompt) = shell.filter(|_| verdict == Verdict::Allow) {
                // Not kept, it is taken from the transcript when the ride ends.
                let _ = keep(|kept| LinkEvent::Prompt { prompt, kept }, shared).await;
            }
            Ok(as_json(verdict))
        }
        "/compact" => {
            let wire::Compaction { trigger } = parse(&path, &body)?;
            Ok(as_json(ask(Ask::Compaction { trigger }, session, shared).await))
        }
        "/row" => {
            let row = parse(&path, &body)?;
            let prompt = shared.peer().pairing.row(row);
            match prompt {
                Some(prompt) => keep(|kept| LinkEvent::Prompt { prompt, kept }, shared).await,
                None => Ok(nothing()),
            }
        }
        "/turn/end" => {
            let turn = turn(parse(&path, &body)?, shared);
            keep(|kept| LinkEvent::Turn { turn, kept }, shared).await
        }
        "/session" => Ok(nothing()),
        "/status" => Ok(poll(parse(&path, &body)?, shared).await),
        "/draft" => {
            let wire::Draft { text } = parse(&path, &body)?;
            tell(LinkEvent::Draft(text), shared).await;
            Ok(nothing())
        }
        "/bye" => {
            let wire::Bye { reason } = parse(&path, &body)?;
            tell(LinkEvent::Bye { reason }, shared).await;
            Ok(nothing())
        }
        _ => Err(Refused(StatusCode::NOT_FOUND, Code::NotFound, format!("no such path: {path}"))),
    }
}

async fn hello(said: &wire::Hello, pid: u32, shared: &Shared) -> Answer {
    if said.protocol != wire::PROTOCOL {
        let error = format!("the plugin speaks protocol {}, this ride {}", said.protocol, wire::PROTOCOL);
        return Err(Refused(StatusCode::BAD_REQUEST, Code::BadRequest, error));
    }
    elect(Source::Mod, pid, shared)?;
    shared.greeted.notify_waiters();
    note_session(said.session, None, shared).await;
    let hello = Hello {
        pid,
        source: Source::Mod,
        version: Some(said.version.clone()),
        claude_session: said.session,
        cwd: said.cwd.clone(),
        interactive: said.interactive,
    };
    tell(LinkEvent::Hello(hello), shared).await;
    Ok(nothing())
}

/// Binds the link to the first process that greets, and to the way it does.
fn elect(source: Source, pid: u32, shared: &Shared) -> Result<(), Refused> {
    let mut peer = shared.peer();
    // Checked again: two greetings may have come this far at once.
    let same = *peer.pid.get_or_insert(pid) == pid && *peer.source.get_or_insert(source) == source;
    same.then_some(())
        .ok_or_else(|| Refused(StatusCode::CONFLICT, Code::Stranger, "another process has this link".to_owned()))
}

/// A command hook of Claude Code ran. Where the mod is elected it has nothing to do.
async fn fired(event: &str, said: hooks::Fired, pid: u32, shared: &Shared) -> Result<hooks::Answer, Refused> {
    let session = said.session_id;
    match event {
        "SessionStart" => {
            if shared.expect == Source::Mod {
                mod_or_not(shared).await;
                return Ok(hooks::Answer::default());
            }
            let first = shared.peer().source.is_none();
            elect(Source::Hooks, pid, shared)?;
            note_session(session, said.source, shared).await;
            if first {
                let hello = Hello {
                    pid,
                    source: Source::Hooks,
                    version: None,
                    claude_session: session,
                    cwd: said.cwd,
                    interactive: true,
                };
                tell(LinkEvent::Hello(hello), shared).await;
            }
            Ok(news(shared))
        }
        "UserPromptSubmit" => {
            match shared.peer().source {
                Some(Source::Mod) => return Ok(hooks::Answer::default()),
                Some(Source::Hooks) => {}
                None => {
                    return Ok(hooks::Answer::block(
                        "not sent: Claude Code has not greeted ride yet".to_owned(),
                        said.prompt.len(),
                    ));
                }
            }
            note_session(session, None, shared).await;
            let by_machine = hooks::by_machine(&said.prompt);
            let bytes = said.prompt.len();
            let origin = if by_machine { Origin::Machine("unknown".to_owned()) } else { Origin::Person };
            let context = match ask(Ask::Prompt { text: said.prompt, origin }, session, shared).await {
                Verdict::Allow => None,
                Verdict::Along(context) => Some(context),
                Verdict::Refuse(why) => return Ok(hooks::Answer::block(unsent(&why, shared), bytes)),
            };
            let mut peer = shared.peer();
            let runs = peer.turn_runs;
            peer.asked.admit(said.prompt_id, runs);
            drop(peer);
            Ok(hooks::Answer { hook_specific_output: context.map(hooks::Beside::prompt), ..news(shared) })
        }
        "Stop" if shared.peer().source == Some(Source::Hooks) => {
            shared.look.notify_one();
            Ok(news(shared))
        }
        _ => Ok(hooks::Answer::default()),
    }
}

/// Waits for the mod, and says when it does not come: an organisation may forbid mods.
/// No prompt begins before this is answered; where there is no mod it is not, until
/// this Claude Code has been ended.
async fn mod_or_not(shared: &Shared) {
    let greeted = shared.greeted.notified();
    if shared.peer().source.is_none() && tokio::time::timeout(MOD_WITHIN, greeted).await.is_err() {
        tell(LinkEvent::NoMod, shared).await;
        tokio::time::sleep(START_WITHIN).await;
    }
}

/// Why a prompt was not sent, and what the person was not shown yet: the reason of a refusal
/// is what Claude Code certainly shows.
fn unsent(why: &str, shared: &Shared) -> String {
    let news = news(shared).system_message.map_or_else(String::new, |news| format!("\n{news}"));
    format!("not sent: {}{news}", plain_lines(why))
}

/// What the person has not been shown yet, as much as one answer may hold.
fn news(shared: &Shared) -> hooks::Answer {
    let now = plain(&shared.status.borrow().line);
    let mut peer = shared.peer();
    let mut lines = Vec::new();
    let mut left = NEWS_CHARS;
    while let Some((_, line)) = peer.said.front() {
        let takes = line.chars().count() + 1;
        if takes > left {
            break;
        }
        left -= takes;
        lines.extend(peer.said.pop_front().map(|(_, line)| line));
    }
    if !now.is_empty() && peer.shown != now {
        peer.shown.clone_from(&now);
        lines.push(now);
    }
    let system_message = (!lines.is_empty()).then(|| lines.join("\n"));
    hooks::Answer { system_message, ..hooks::Answer::default() }
}

/// Who started the process at the other end.
/// The Claude Code whose hook a process is. A tool that puts another program in its place
/// (`exec`) is a child of Claude Code, too; but only a hook is spoken to over its standard streams.
fn caller_of(hook: u32) -> Result<u32, Refused> {
    let stranger = |what: &str| Refused(StatusCode::CONFLICT, Code::Stranger, what.to_owned());
    let unseen = || stranger("the hook's process could not be looked at");
    if !process::speaks_to_its_parent(hook).map_err(|_| unseen())? {
        return Err(stranger("this is no hook of Claude Code: it is not spoken to over its standard streams"));
    }
    Ok(process::look(hook).ok().flatten().ok_or_else(unseen)?.ppid)
}

/// Raises the change of session before what already belongs to the new one.
async fn note_session(session: Uuid, source: Option<String>, shared: &Shared) {
    let before = shared.peer().session.replace(session);
    if let Some(from) = before.filter(|from| *from != session) {
        tell(LinkEvent::SessionChanged { from, to: session, source }, shared).await;
    }
}

fn turn(end: wire::TurnEnd, shared: &Shared) -> Turn {
    let ids = shared.peer().pairing.end_turn();
    Turn {
        turn_id: end.turn_id,
        ending: match end.reason.as_str() {
            "answer" => Ending::Answered,
            "aborted" => Ending::Aborted,
            "refusal" => Ending::Refused,
            "error" => Ending::Failed,
            other => Ending::Unknown(other.to_owned()),
        },
        answer_id: ids.answer.filter(|_| !end.answer.is_empty()),
        answer: end.answer,
        prompt_id: ids.prompt,
        claude_session: end.session,
    }
}

async fn ask(what: Ask, claude_session: Uuid, shared: &Shared) -> Verdict {
    let (reply, verdict) = oneshot::channel();
    let by = Instant::now() + VERDICT_WITHIN;
    let event = LinkEvent::Ask { what, claude_session, reply };
    let answered = timeout_at(by, async {
        shared.events.send(event).await.ok()?;
        verdict.await.ok()
    });
    match answered.await {
        Ok(Some(verdict)) => verdict,
        Ok(None) => Verdict::Refuse("this ride is ending".to_owned()),
        Err(_) => Verdict::Refuse("ride could not prove its lease in time".to_owned()),
    }
}

/// Hands an event over and waits until it would survive a crash.
pub(super) async fn keep(event: impl FnOnce(oneshot::Sender<()>) -> LinkEvent, shared: &Shared) -> Answer {
    let (kept, done) = oneshot::channel();
    let handed = async {
        shared.events.send(event(kept)).await.ok()?;
        done.await.ok()
    };
    match timeout_at(Instant::now() + VERDICT_WITHIN, handed).await {
        Ok(Some(())) => Ok(nothing()),
        Ok(None) | Err(_) => {
            Err(Refused(StatusCode::SERVICE_UNAVAILABLE, Code::NotKept, "ride did not keep it".to_owned()))
        }
    }
}

pub(super) async fn tell(event: LinkEvent, shared: &Shared) {
    // The other end is gone only when the ride is ending.
    let _ = shared.events.send(event).await;
}

async fn poll(seen: wire::Seen, shared: &Shared) -> Vec<u8> {
    // What it has shown it need not be told again, also after it was reloaded.
    shared.peer().said.retain(|(number, _)| *number > seen.said);
    let mut status = shared.status.clone();
    let differs = status.wait_for(|now| plain(&now.line) != seen.line || now.warn != seen.warn);
    let mut said = shared.said.subscribe();
    let speaks = said.wait_for(|_| !shared.peer().said.is_empty());
    // Late or closed: the same line again, and the mod asks anew.
    let _ = tokio::time::timeout(POLL_FOR, async {
        tokio::select! {
            // The guards are let go of here: their borrows must not outlive the wait.
            changed = differs => drop(changed),
            spoke = speaks => drop(spoke),
        }
    })
    .await;
    let now = shared.status.borrow().clone();
    let now = Status { line: plain(&now.line), ..now };
    let peer = shared.peer();
    let said: Vec<String> = peer.said.iter().map(|(_, line)| line.clone()).collect();
    let number = peer.said.back().map_or(seen.said, |(number, _)| *number);
    json(&wire::StatusLine { line: now.line, warn: now.warn, ending: now.ending, lines: said, said: number })
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Refused> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    match tokio::time::timeout(READ_WITHIN, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Err(Refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::TooLarge,
            format!("larger than {} KiB", MAX_BODY_BYTES / 1024),
        )),
        Ok(Err(cause)) => Err(Refused(StatusCode::BAD_REQUEST, Code::BadRequest, cause.to_string())),
        Err(_) => {
            Err(Refused(StatusCode::REQUEST_TIMEOUT, Code::BadRequest, "the request stopped half way".to_owned()))
        }
    }
}

fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|cause| Refused(StatusCode::BAD_REQUEST, Code::BadRequest, format!("{path}: {cause}")))
}

fn as_json(verdict: Verdict) -> Vec<u8> {
    json(&match verdict {
        Verdict::Allow => wire::Verdict { allow: true, reason: None, context: None },
        Verdict::Along(context) => wire::Verdict { allow: true, reason: None, context: Some(context) },
        Verdict::Refuse(reason) => wire::Verdict { allow: false, reason: Some(plain_lines(&reason)), context: None },
    })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types have only string keys")
}

fn nothing() -> Vec<u8> {
    b"{}".to_vec()
}
