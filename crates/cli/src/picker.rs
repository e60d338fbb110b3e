//! The pickers: all threads, or all Claude sessions of this machine, on the terminal, one
//! to be chosen. The thin loops around [`state`] and [`sessions`]: they wait for keys,
//! answers, events and signals, and perform what comes out. Nothing they wait for stands
//! in the way of a keystroke: what is asked is asked in tasks beside, and 10,000 threads
//! or 5,000 files are read on another thread.
//!
//! In reading order: [`search`] (threads and words), [`preview`], [`keys`], [`query`],
//! [`selection`] (what the pickers have in common), [`state`], [`sessions`], [`view`],
//! [`screen`], [`screen_events`].

pub mod keys;
pub mod preview;
pub mod query;
pub mod screen;
pub mod screen_events;
pub mod search;
pub mod selection;
pub mod sessions;
pub mod state;
pub mod view;

use std::pin::Pin;
use std::time::Duration;

use ride_core::wire::{Row, method};
use ride_store::claude::{ClaudeDir, glance};
use ride_store::clock;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::error::Error;
use crate::gateway::client::{CallError, Connection, Events};
use crate::interrupt::Interrupts;
use crate::ride::CHANGED;
use preview::{Ask, HISTORY, History, Preview};
use screen_events::{Felt, Seat};
use search::Threads;
use sessions::SessionPicker;
use state::{Effect, Event, Picker};
use uuid::Uuid;
use view::Look;

/// The host reads a transcript for a preview: 50 to 125 ms were seen, on a busy machine.
const PREVIEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts to connect again.
const CONNECT_EVERY: Duration = Duration::from_secs(1);
/// Ages on the screen are as old as this at most.
const TICK_WITHIN: Duration = Duration::from_secs(5);

/// A connection and what is told on it.
pub type Pair = (Connection, Events);

/// An attempt to connect again, where one is made.
type Connecting<'a> = Option<Pin<Box<dyn Future<Output = Result<Pair, Error>> + 'a>>>;

/// Lets the person choose one of the threads; Enter does `verb`. Gives its row and the
/// connection as it then is; `None` where the person left.
#[expect(clippy::too_many_arguments, reason = "one choice, from what is known and what is asked on the way")]
pub async fn pick(
    threads: Threads,
    words: &str,
    verb: &'static str,
    pair: Pair,
    connect: impl AsyncFn() -> Result<Pair, Error>,
    check: impl Fn(&Row) -> Result<(), Error>,
    look: Look,
    interrupts: &mut Interrupts,
) -> Result<Option<(Row, Pair)>, Error> {
    let (answer_in, mut answers) = mpsc::channel(4);
    let mut pair = Some(pair);
    let mut connecting: Connecting<'_> = None;
    let mut picker = Picker::new(threads, words, verb, now_ms());
    let mut seat = Seat::take()?;
    let mut happened = vec![room(&seat, &picker)?];
    loop {
        for event in std::mem::take(&mut happened) {
            let help = picker.choice().help();
            for effect in picker.step(event, now_ms()) {
                match effect {
                    Effect::Leave => return Ok(None),
                    Effect::Suspend => seat.suspend()?,
                    Effect::List => ask(&pair, &answer_in, |connection| async move {
                        Event::Listed(list(&connection).await.map_err(|e| e.to_string()))
                    }),
                    Effect::Preview(key) => ask(&pair, &answer_in, |connection| async move {
                        let preview = last_turns(connection, &key).await;
                        Event::Previewed(key, preview)
                    }),
                    Effect::Take(key) => {
                        let Some(row) = picker.threads().rows().iter().find(|row| row.key == key) else { continue };
                        match (check(row), pair.take()) {
                            (Ok(()), Some(pair)) => return Ok(Some((row.clone(), pair))),
                            (checked, kept) => {
                                pair = kept;
                                happened.extend(checked.err().map(|e| Event::Refused(e.message)));
                            }
                        }
                    }
                }
            }
            if picker.choice().help() != help {
                happened.push(room(&seat, &picker)?);
            }
        }
        if !happened.is_empty() {
            continue;
        }
        seat.draw(|frame| view::draw(frame, &mut picker, look))?;
        let due = Duration::from_millis(picker.wake_ms().saturating_sub(now_ms())).min(TICK_WITHIN);
        tokio::select! {
            biased;
            felt = seat.next() => for felt in felt? {
                happened.push(match felt {
                    Felt::Key(key) => Event::Key(key),
                    Felt::Room => room(&seat, &picker)?,
                });
            },
            what = interrupts.next() => {
                drop(seat);
                return Err(what.while_doing("choosing a thread"));
            }
            Some(event) = answers.recv() => happened.push(event),
            event = next(&mut pair) => match event {
                Ok(event) if event.name == CHANGED => happened.push(Event::Changed(event.key)),
                Ok(_) => {}
                Err(why) => {
                    pair = None;
                    connecting = Some(Box::pin(connect()));
                    happened.push(Event::Down(why));
                }
            },
            connected = again(&mut connecting) => match connected {
                Ok(fresh) => {
                    (pair, connecting) = (Some(fresh), None);
                    happened.push(Event::Up);
                }
                Err(e) => {
                    let connect = &connect;
                    connecting = Some(Box::pin(async move {
                        sleep(CONNECT_EVERY).await;
                        connect().await
                    }));
                    happened.push(Event::Down(e.message));
                }
            },
            () = sleep(due) => happened.push(Event::Tick),
        }
    }
}

/// Lets the person choose one of the Claude sessions of this machine; `None` where the
/// person left.
pub async fn pick_session(dir: &ClaudeDir, look: Look, interrupts: &mut Interrupts) -> Result<Option<Uuid>, Error> {
    let (answer_in, mut answers) = mpsc::channel(4);
    let mut picker = SessionPicker::new(now_ms());
    let mut seat = Seat::take()?;
    let panes = seat.panes(false)?;
    let mut happened = vec![sessions::Event::Room { rows: panes.rows() }];
    loop {
        for event in std::mem::take(&mut happened) {
            let help = picker.choice().help();
            for effect in picker.step(event, now_ms()) {
                match effect {
                    sessions::Effect::Leave => return Ok(None),
                    sessions::Effect::Choose(session) => return Ok(Some(session)),
                    sessions::Effect::Suspend => seat.suspend()?,
                    sessions::Effect::List => {
                        let dir = dir.clone();
                        beside(&answer_in, move || sessions::Event::Listed(sessions::list(&dir)));
                    }
                    sessions::Effect::Read(files) => {
                        let read = move |path: std::path::PathBuf| {
                            let summary = glance(&path).ok();
                            (path, summary)
                        };
                        beside(&answer_in, move || sessions::Event::Read(files.into_iter().map(read).collect()));
                    }
                }
            }
            if picker.choice().help() != help {
                happened.push(sessions::Event::Room { rows: seat.panes(!help)?.rows() });
            }
        }
        if !happened.is_empty() {
            continue;
        }
        seat.draw(|frame| view::draw(frame, &mut picker, look))?;
        tokio::select! {
            biased;
            felt = seat.next() => for felt in felt? {
                happened.push(match felt {
                    Felt::Key(key) => sessions::Event::Key(key),
                    Felt::Room => sessions::Event::Room { rows: seat.panes(picker.choice().help())?.rows() },
                });
            },
            what = interrupts.next() => {
                drop(seat);
                return Err(what.while_doing("choosing a Claude session"));
            }
            Some(event) = answers.recv() => happened.push(event),
            () = sleep(TICK_WITHIN) => happened.push(sessions::Event::Tick),
        }
    }
}

/// Reads something on another thread; what came of it is an event.
fn beside<E: Send + 'static>(answers: &mpsc::Sender<E>, work: impl FnOnce() -> E + Send + 'static) {
    let answers = answers.clone();
    tokio::task::spawn_blocking(move || {
        // The person has chosen meanwhile.
        let _ = answers.blocking_send(work());
    });
}

/// Asks the gateway something beside the loop; the answer comes as an event.
fn ask<F: Future<Output = Event> + Send + 'static>(
    pair: &Option<Pair>,
    answers: &mpsc::Sender<Event>,
    question: impl FnOnce(Connection) -> F,
) {
    let Some((connection, _)) = pair else { return };
    let (answers, question) = (answers.clone(), question(connection.clone()));
    tokio::spawn(async move {
        // The person has chosen meanwhile.
        let _ = answers.send(question.await).await;
    });
}

/// The threads, page by page, prepared on another thread.
pub async fn list(connection: &Connection) -> Result<Threads, CallError> {
    let rows = crate::command::rows(connection).await?;
    let prepared = tokio::task::spawn_blocking(move || Threads::new(rows));
    prepared.await.map_err(|e| CallError::Lost { method: method::RIDEABLE, cause: e.to_string() })
}

async fn last_turns(connection: Connection, key: &str) -> Result<Preview, String> {
    let history: Result<History, CallError> = connection.call_within(HISTORY, &Ask::of(key), PREVIEW_WITHIN).await;
    history.map(Preview::from).map_err(|e| e.to_string())
}

async fn next(pair: &mut Option<Pair>) -> Result<crate::gateway::client::Event, String> {
    match pair {
        Some((_, events)) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn again(connecting: &mut Connecting<'_>) -> Result<Pair, Error> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

fn room(seat: &Seat, picker: &Picker) -> Result<Event, Error> {
    let panes = seat.panes(picker.choice().help())?;
    Ok(Event::Room { threads: panes.rows(), preview: panes.has_preview() })
}

fn now_ms() -> u64 {
    clock::now().wall_ms
}
