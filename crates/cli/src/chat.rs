//! A chat ride: the thread's own agent answers, and only this driver speaks to it.
//!
//! The thin loop around [`state`]: what happens (the gateway's answers, the host's
//! events, the person, signals, time) goes in, and what comes out is performed, in
//! order. Nothing about lease or prompts is decided here. The thread is shown prompts
//! and answers by the gateway, so that both reach it when this process does not.

pub mod screen;
pub mod state;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use ride_core::text::plain_lines;
use ride_core::wire::{Grant, Waiting, method};
use ride_store::clock;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, Kind};
use crate::gateway::client::{Access, CallError, Connection, Events};
use crate::gateway::keep::{Line, keep};
use crate::gateway::locate::Target;
use crate::render::clean;
use crate::ride::state::Outcome;
use crate::ride::{CHANGED, RELEASE_MORE, RENEW_WITHIN, trouble};
use screen::{Screen, Typed};
use state::{Chat, Effect, Event, NotSent, Show};
use wire::{Abort, Ask, CHAT, History, Send, Subscribe, Taken, told};

/// The host takes a prompt within milliseconds; one with a cold store within seconds.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// Rows of the host's history: the last turns at the start, and a missed answer.
const HISTORY_ROWS: u32 = 40;

/// Everything a chat ride needs.
pub struct Plan {
    /// The gateway, to come back to.
    pub target: Target,
    /// What to ask it for.
    pub access: Access,
    /// The connection the claim was made on.
    pub connection: (Connection, Events),
    /// Where the device identity is.
    pub state_dir: PathBuf,
    /// What was granted.
    pub grant: Grant,
    /// The secret it was claimed with.
    pub secret: String,
}

/// Who speaks.
pub enum Face {
    /// A person at a terminal.
    Person(Box<Screen>),
    /// One prompt, given on the command line.
    Words(String),
}

/// What a chat ride leaves to be said.
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What the agent said, in the order it said it.
    pub answers: Vec<String>,
    /// What went wrong with a prompt.
    pub failed: Option<String>,
    /// What waits for the agent, as last told, and how many in all.
    pub waiting: (Vec<Waiting>, u32),
}

/// The last turns of the thread, for the person to see where they are.
pub async fn history(connection: &Connection, key: &str) -> Result<History, CallError> {
    connection.call("chat.history", &Ask { session_key: key.to_owned(), limit: HISTORY_ROWS }).await
}

/// Rides until the person leaves, the words are answered, or the thread is lost.
pub async fn drive(plan: Plan, face: Face) -> Result<Report, Error> {
    let io = |e: std::io::Error| Error::new(Kind::Other, format!("could not wait for signals: {e}"));
    let mut terminated = signal(SignalKind::terminate()).map_err(io)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(io)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(io)?;
    let chat = Chat::new(&plan.grant, &plan.secret, now_ms());
    let (answer_in, mut answers) = mpsc::channel(16);
    let mut lines = keep(plan.target, plan.access, plan.state_dir, plan.connection);
    let mut drive = Drive {
        chat,
        key: plan.grant.key,
        connection: None,
        generation: 0,
        answer_in,
        face,
        answers: Vec::new(),
        failed: None,
        outcome: None,
    };
    if let Face::Words(text) = &drive.face {
        let text = text.clone();
        drive.take(Event::Typed { id: uuid::Uuid::new_v4().to_string(), text });
    }
    loop {
        if let Some(outcome) = drive.outcome.take() {
            let (waiting, total) = drive.chat.waiting();
            let waiting = (waiting.to_vec(), total);
            if let Face::Person(screen) = drive.face {
                screen.close();
            }
            return Ok(Report { outcome, answers: drive.answers, failed: drive.failed, waiting });
        }
        drive.draw();
        let wake = Duration::from_millis(drive.chat.wake_ms(now_ms()).saturating_sub(now_ms()));
        tokio::select! {
            Some(line) = lines.recv() => drive.line(line),
            Some((generation, event)) = answers.recv() => {
                if generation == drive.generation {
                    drive.take(event);
                }
            }
            typed = drive.face.typed() => drive.typed(typed),
            _ = interrupted.recv() => drive.stop("interrupted"),
            _ = terminated.recv() => drive.stop("SIGTERM"),
            _ = hung_up.recv() => drive.stop("the terminal was closed"),
            () = sleep_until(Instant::now() + wake) => drive.take(Event::Tick),
        }
    }
}

impl Face {
    /// What the person does next; for given words nothing ever.
    async fn typed(&mut self) -> Typed {
        match self {
            Face::Person(screen) => screen.typed().await,
            Face::Words(_) => std::future::pending().await,
        }
    }
}

struct Drive {
    chat: Chat,
    key: String,
    connection: Option<Connection>,
    /// Grows with each connection; answers of an earlier one are dropped.
    generation: u64,
    answer_in: mpsc::Sender<(u64, Event)>,
    face: Face,
    answers: Vec<String>,
    failed: Option<String>,
    outcome: Option<Outcome>,
}

impl Drive {
    fn line(&mut self, line: Line) {
        match line {
            Line::Up(connection) => {
                self.generation += 1;
                self.connection = Some(connection);
                // A turn begun on the connection before is told to us only so.
                self.call(
                    "sessions.messages.subscribe",
                    Subscribe { key: self.key.clone() },
                    SEND_WITHIN,
                    |_, _: Result<IgnoredAny, _>| Event::Tick,
                );
                self.take(Event::Up);
            }
            Line::Event(event) => match event.name.as_str() {
                CHANGED => {
                    if let Some(key) = event.key {
                        self.take(Event::Changed(key));
                    }
                }
                CHAT => {
                    if let Some(told) = told(&event.payload) {
                        self.take(Event::Told(told));
                    }
                }
                _ => {}
            },
            Line::Down(why) => {
                self.generation += 1;
                self.connection = None;
                self.take(Event::Down(format!("the connection was lost: {why}")));
            }
            Line::Failed(why) => self.take(Event::Down(why)),
        }
    }

    fn typed(&mut self, typed: Typed) {
        match typed {
            Typed::Prompt(text) => self.take(Event::Typed { id: uuid::Uuid::new_v4().to_string(), text }),
            Typed::Interrupt => self.take(Event::Interrupt),
            Typed::Leave => self.take(Event::Leave),
            Typed::Nothing => {}
            Typed::Gone => self.take(Event::Stop("the terminal was closed")),
        }
    }

    /// Ends the ride. Given words are one turn: its end is seen to first.
    fn stop(&mut self, why: &'static str) {
        if matches!(self.face, Face::Words(_)) {
            self.failed.get_or_insert_with(|| why.to_owned());
            self.take(Event::Interrupt);
        }
        self.take(Event::Stop(why));
    }

    fn draw(&mut self) {
        if let Face::Person(screen) = &mut self.face {
            screen.draw(&self.chat.status(now_ms()), self.chat.answer(), self.chat.queued());
        }
    }

    fn take(&mut self, event: Event) {
        for effect in self.chat.step(event, now_ms()) {
            self.perform(effect);
        }
        if matches!(self.face, Face::Words(_))
            && self.chat.idle()
            && (self.failed.is_some() || !self.answers.is_empty())
        {
            // Once is enough: the second time it would not wait for anything.
            for effect in self.chat.leave_when_idle(now_ms()) {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Renew(request) => {
                self.call(method::RENEW, request, RENEW_WITHIN, |sent_ms, answer| Event::Renewed {
                    sent_ms,
                    answer: answer.map_err(trouble),
                });
            }
            Effect::Say(request) => {
                self.call(method::SAY, request, RENEW_WITHIN, |_, answer| Event::Said(answer.map_err(trouble)));
            }
            Effect::Send { id, text } => {
                let request =
                    Send { session_key: self.key.clone(), message: text, idempotency_key: id, deliver: false };
                self.call("chat.send", request, SEND_WITHIN, |_, answer| Event::Sent(taken(answer)));
            }
            Effect::Abort(id) => {
                let request = Abort { session_key: self.key.clone(), run_id: id };
                self.call("chat.abort", request, SEND_WITHIN, |_, _: Result<IgnoredAny, _>| Event::Tick);
            }
            Effect::LookUp(id) => self.look_up(id),
            Effect::Release(request) => {
                let limit = Duration::from_millis(request.wait_ms) + RELEASE_MORE;
                self.call(method::RELEASE, request, limit, |_, answer| Event::Released(answer.map_err(trouble)));
            }
            Effect::Show(show) => self.show(show),
            Effect::Done(outcome) => self.outcome = Some(outcome),
        }
    }

    fn show(&mut self, show: Show) {
        match &mut self.face {
            Face::Person(screen) => screen.show(&show),
            Face::Words(_) => match show {
                Show::Answer { text, .. } => self.answers.push(text),
                Show::NoAnswer { why, .. } => self.failed = Some(why),
                Show::Prompt(_) => {}
                Show::Waiting(waiting) => eprintln!("{}", clean(&screen::waits(&waiting))),
                Show::Note(text) => eprintln!("{}", plain_lines(&text)),
            },
        }
    }

    fn look_up(&mut self, id: String) {
        let Some(connection) = self.connection.clone() else { return };
        let (answers, generation, key) = (self.answer_in.clone(), self.generation, self.key.clone());
        tokio::spawn(async move {
            // What cannot be read now stands in the thread all the same.
            let found = history(&connection, &key).await.ok().and_then(|history| history.answer(&id));
            let _ = answers.send((generation, Event::Found(found))).await;
        });
    }

    /// Sends a request; its answer comes back as an event of this connection.
    fn call<Q, A>(
        &mut self,
        method: &'static str,
        request: Q,
        limit: Duration,
        event: fn(u64, Result<A, CallError>) -> Event,
    ) where
        Q: Serialize + std::marker::Send + Sync + 'static,
        A: DeserializeOwned + std::marker::Send + 'static,
    {
        let Some(connection) = self.connection.clone() else { return };
        let (answers, generation, sent_ms) = (self.answer_in.clone(), self.generation, now_ms());
        tokio::spawn(async move {
            let answer = connection.call_within(method, &request, limit).await;
            if let Err(CallError::Late { .. }) = &answer {
                connection.hang_up();
            }
            let _ = answers.send((generation, event(sent_ms, answer))).await;
        });
    }
}

/// Whether the host has the prompt.
fn taken(answer: Result<Taken, CallError>) -> Result<(), NotSent> {
    match answer {
        Ok(Taken { status: Some(_) }) => Ok(()),
        Ok(Taken { status: None }) => Err(NotSent::Refused("the host took it for a word to stop".into())),
        Err(e @ (CallError::Lost { .. } | CallError::Late { .. } | CallError::Answer { .. })) => {
            Err(NotSent::Unsure(e.to_string()))
        }
        Err(e) => Err(NotSent::Refused(e.to_string())),
    }
}

/// Milliseconds on the clock that counts sleep, as the gateway's leases do.
fn now_ms() -> u64 {
    clock::now().mono_ms
}
