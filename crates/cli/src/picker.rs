//! The picker: all threads on the terminal, one to be chosen. The thin loop around
//! [`state`]: it waits for keys, answers, events and signals, and performs what comes
//! out. Nothing it waits for stands in the way of a keystroke: what it asks is asked in
//! tasks beside it, and the answer of 10,000 threads is read on another thread.
//!
//! In reading order: [`search`] (threads and words), [`preview`], [`keys`], [`query`],
//! [`state`], [`view`], [`screen`].

pub mod keys;
pub mod preview;
pub mod query;
pub mod screen;
pub mod search;
pub mod state;
pub mod view;

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::time::Duration;

use ride_core::wire::{Row, method};
use ride_store::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::error::{Error, Kind};
use crate::gateway::client::{CallError, Connection, Events};
use crate::interrupt::Interrupts;
use crate::ride::CHANGED;
use keys::Keys;
use preview::{Ask, HISTORY, History, Preview};
use screen::Screen;
use search::Threads;
use state::{Effect, Event, Picker};
use view::{Look, Panes};

/// How long an Escape may be the beginning of a sequence. A sequence cut in two by a
/// slow line arrives within one packet of the other half.
const ESCAPE_WITHIN: Duration = Duration::from_millis(50);
/// The host reads a transcript for a preview: 50 to 125 ms were seen, on a busy machine.
const PREVIEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts to connect again.
const CONNECT_EVERY: Duration = Duration::from_secs(1);
/// Ages on the screen are as old as this at most.
const TICK_WITHIN: Duration = Duration::from_secs(5);
/// One read of the terminal.
const READ_BYTES: usize = 1024;

/// A connection and what is told on it.
pub type Pair = (Connection, Events);

/// An attempt to connect again, where one is made.
type Connecting<'a> = Option<Pin<Box<dyn Future<Output = Result<Pair, Error>> + 'a>>>;

/// Lets the person choose one of the threads. Gives its key and the connection as it
/// then is; `None` where the person left.
pub async fn pick(
    threads: Threads,
    words: &str,
    pair: Pair,
    connect: impl AsyncFn() -> Result<Pair, Error>,
    check: impl Fn(&Row) -> Result<(), Error>,
    look: Look,
    interrupts: &mut Interrupts,
) -> Result<Option<(Row, Pair)>, Error> {
    let failed = |e: io::Error| Error::new(Kind::Other, format!("could not use the terminal: {e}"));
    // SAFETY: nothing in this program closes or replaces standard input.
    let input = unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) }.map_err(|e| failed(e.into()))?;
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let mut continued = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())).map_err(failed)?;
    let (answer_in, mut answers) = mpsc::channel(4);
    let mut keys = Keys::default();
    let mut pair = Some(pair);
    let mut connecting: Connecting<'_> = None;
    let mut picker = Picker::new(threads, words, now_ms());
    let mut screen = Screen::take().map_err(failed)?;
    let mut happened = vec![room(&screen, &picker).map_err(failed)?];
    loop {
        for event in std::mem::take(&mut happened) {
            let help = picker.help();
            for effect in picker.step(event, now_ms()) {
                match effect {
                    Effect::Leave => return Ok(None),
                    Effect::Suspend => screen.suspend().map_err(failed)?,
                    Effect::List => ask(&pair, &answer_in, |connection| async move { Event::Listed(list(&connection).await.map_err(|e| e.to_string())) }),
                    Effect::Preview(key) => ask(&pair, &answer_in, |connection| async move {
                        let preview = last_turns(connection, &key).await;
                        Event::Previewed(key, preview)
                    }),
                    Effect::Ride(key) => {
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
            if picker.help() != help {
                happened.push(room(&screen, &picker).map_err(failed)?);
            }
        }
        if !happened.is_empty() {
            continue;
        }
        screen.draw(|frame| view::draw(frame, &mut picker, look)).map_err(failed)?;
        let due = Duration::from_millis(picker.wake_ms().saturating_sub(now_ms())).min(TICK_WITHIN);
        tokio::select! {
            biased;
            ready = input.readable() => {
                let mut ready = ready.map_err(failed)?;
                let mut bytes = [0; READ_BYTES];
                match read(&mut bytes).map_err(failed)? {
                    Some(0) => return Err(closed()),
                    Some(n) => happened.extend(keys.feed(&bytes[..n]).into_iter().map(Event::Key)),
                    None => ready.clear_ready(),
                }
            }
            () = sleep(ESCAPE_WITHIN), if keys.undecided() => happened.extend(keys.decide().map(Event::Key)),
            what = interrupts.next() => {
                drop(screen);
                return Err(what.while_doing("choosing a thread"));
            }
            _ = resized.recv() => {
                screen.redraw().map_err(failed)?;
                happened.push(room(&screen, &picker).map_err(failed)?);
            }
            _ = continued.recv() => {
                screen.renew().map_err(failed)?;
                happened.push(room(&screen, &picker).map_err(failed)?);
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

fn room(screen: &Screen, picker: &Picker) -> io::Result<Event> {
    let panes = Panes::of(screen.area()?, picker.help());
    Ok(Event::Room { threads: panes.threads(), preview: panes.has_preview() })
}

/// What the terminal has to read; `None` where there is nothing after all.
fn read(bytes: &mut [u8]) -> io::Result<Option<usize>> {
    let stdin = io::stdin();
    let mut waiting = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut waiting, Some(&at_once))? == 0 {
        return Ok(None);
    }
    match rustix::io::read(stdin.as_fd(), bytes) {
        Ok(n) => Ok(Some(n)),
        // How Linux reports the end of a terminal.
        Err(rustix::io::Errno::IO) => Ok(Some(0)),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn closed() -> Error {
    Error::new(Kind::Left, "the terminal was closed while choosing a thread")
}

fn now_ms() -> u64 {
    clock::now().wall_ms
}
