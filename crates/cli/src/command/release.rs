//! `ride release <words>`: hands back a thread that a ride of this machine holds,
//! be that ride alive in another terminal, dead, or ended with a hand-back that is
//! stuck. Somebody else's is not ours to release.

use std::path::Path;
use std::time::Duration;

use ride_core::id::Fence;
use ride_core::wire::{Holder, Reason, Release, Released, Status, Statuses, TakeBack, method};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{Context, name, print_json, rows, say};
use crate::error::{Error, Kind};
use crate::gateway::client::{ANSWER, Access, CallError, Connection};
use crate::render::{self, clean, count};
use crate::ride::record::Record;

/// How long the gateway may take over the hand-over.
const HANDOVER: Duration = Duration::from_secs(60);
/// How long a live ride may take to end its Claude Code and hand back.
const RIDE_ENDS: Duration = Duration::from_secs(90);

pub async fn run(context: &Context<'_>, words: &[String], accept: bool, json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let state_dir = context.state_dir()?;
    let (connection, _events) = context.connect(&target, Access::Write).await?;
    let rows = rows(&connection).await?;
    let row = context.find(&target, &rows, words)?;
    let title = clean(&row.title);
    let load = || Record::load(&state_dir, target.origin(), &row.key);
    let Some(mut record) = load()? else {
        let Some(holder) = &row.driver else {
            return Err(Error::new(Kind::NotRideable, format!("nobody rides {title}")));
        };
        return Err(Error::new(Kind::Held, format!("{title} is {}, not from here", render::held(holder)))
            .hint(format!("leave Claude Code there, or: ride release {} --take-back", clean(&row.key))));
    };
    let mut ended_here = false;
    if record.is_alive() {
        end(&record, &title, json).await?;
        ended_here = true;
        // What it leaves behind is a hand-back that is stuck.
        match load()? {
            Some(left) if left.fence.is_some() => record = left,
            _ => return over(&title, &row.key, standing(&connection, &row.key, None).await?.holder(), json),
        }
    }
    let Some(fence) = record.fence else {
        record.remove(&state_dir);
        return Err(Error::new(
            Kind::NotRideable,
            format!("the claim of {title} never came through; nothing to hand back"),
        ));
    };
    let wait_ms = u64::try_from(HANDOVER.as_millis()).expect("a minute fits");
    // What cannot be asked is not known to be over: the hand-back itself tells then.
    let standing = standing(&connection, &row.key, Some(fence)).await.unwrap_or(Standing::Ours { copy: false });
    if let Standing::Over { holder } = standing {
        record.remove(&state_dir);
        if !ended_here && holder.is_none() && !json {
            say(format_args!("there was nothing to hand back: the ride of {title} from here was over already"));
        }
        return over(&title, &row.key, holder, json);
    }
    let on_copy = matches!(standing, Standing::Ours { copy: true });
    let request = Release { key: row.key.clone(), fence, accept_broken_chain: accept, wait_ms, copy: None };
    let released = ask(&connection, &request, &record, &state_dir).await?;
    if json {
        print_json(&released)?;
        return outcome(&title, &row.key, &released);
    }
    tell(&title, &row.key, &released)?;
    if on_copy {
        say(format_args!(
            "what was said here and never reached the gateway stays on this machine; the next ride of it offers that"
        ));
    }
    Ok(())
}

/// How a ride that this machine remembers stands with the gateway.
enum Standing {
    /// Its fence is in force, or it waits to follow another driver.
    Ours { copy: bool },
    /// It is over; who has the thread now.
    Over { holder: Option<Holder> },
}

impl Standing {
    fn holder(self) -> Option<Holder> {
        match self {
            Standing::Ours { .. } => None,
            Standing::Over { holder } => holder,
        }
    }
}

/// Asks how a ride stands: whoever hands back must know what there is to hand back. With no
/// fence there is none.
async fn standing(connection: &Connection, key: &str, fence: Option<Fence>) -> Result<Standing, Error> {
    let statuses: Statuses =
        connection.call(method::STATUS, &Status { key: Some(key.to_owned()), audit: false }).await?;
    let Some(thread) = statuses.threads.into_iter().find(|thread| thread.key == key) else {
        return Ok(Standing::Over { holder: None });
    };
    // A status tells the fence of the driver before while another one waits for the thread.
    let waits = thread.holder.as_ref().is_some_and(|holder| holder.phase == "claiming");
    Ok(match fence {
        Some(fence) if waits || thread.fence.as_deref() == Some(fence.to_string().as_str()) => {
            Standing::Ours { copy: thread.copy }
        }
        _ => Standing::Over { holder: thread.holder },
    })
}

/// Says who has a thread whose ride from here is over.
fn over(title: &str, key: &str, holder: Option<Holder>, json: bool) -> Result<(), Error> {
    match holder {
        Some(holder) => Err(Error::new(
            Kind::Held,
            format!("the ride of {title} from here is over; it is {}", render::holder(&holder)),
        )
        .hint(format!("to give it to the agent all the same: ride release {} --take-back", clean(key)))),
        None if json => {
            print_json(&Released { open: true, waiting_for: None, acceptable: false, waiting: 0, undelivered: 0 })
        }
        None => {
            say(format_args!("the agent has {title}"));
            Ok(())
        }
    }
}

/// Gives a thread back to the agent, whoever rides it.
pub async fn take_back(context: &Context<'_>, words: &[String], accept: bool, json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Write).await?;
    let rows = rows(&connection).await?;
    let row = context.find(&target, &rows, words)?;
    let title = clean(&row.title);
    if let Some(holder) = row.driver.as_ref().filter(|_| !json) {
        say(format_args!("taking {title} back, {} …", render::held(holder)));
    }
    let by = format!("{}@{}", name(&context.env.person()), name(&context.env.host));
    let wait_ms = u64::try_from(HANDOVER.as_millis()).expect("a minute fits");
    let request = TakeBack { key: row.key.clone(), by, accept_broken_chain: accept, wait_ms };
    let released = connection.call_within::<_, Released>(method::TAKE_BACK, &request, HANDOVER + ANSWER).await?;
    if json {
        print_json(&released)?;
        return outcome(&title, &row.key, &released).map_err(again);
    }
    tell(&title, &row.key, &released).map_err(again)
}

/// The line that accepts, for whoever has no ride to release.
fn again(e: Error) -> Error {
    let hint = e.hint.map(|hint| hint.replace(" --accept-broken-chain", " --take-back --accept-broken-chain"));
    Error { hint, ..e }
}

/// Asks for the hand-over, and forgets the ride when the agent has the thread.
pub async fn ask(
    connection: &Connection,
    request: &Release,
    record: &Record,
    state_dir: &Path,
) -> Result<Released, CallError> {
    let limit = Duration::from_millis(request.wait_ms) + ANSWER;
    let answer = connection.call_within::<_, Released>(method::RELEASE, request, limit).await;
    match &answer {
        Ok(released) => record.settle(state_dir, released),
        Err(e) if is_stale(e) && e.refusal().is_some_and(|refusal| refusal.details.holder.is_none()) => {
            record.remove(state_dir);
        }
        Err(_) => {}
    }
    answer
}

/// Whether the fence is not in force any more.
pub fn is_stale(e: &CallError) -> bool {
    e.refusal().is_some_and(|refusal| refusal.details.reason == Reason::Stale)
}

/// Says what the hand-over came to.
pub fn tell(title: &str, key: &str, released: &Released) -> Result<(), Error> {
    if released.undelivered > 0 {
        let what = count(released.undelivered, "item was", "items were");
        say(format_args!("{what} refused by the channel for good; the thread does not have them"));
    }
    outcome(title, key, released)?;
    let answered = match released.waiting {
        0 => String::new(),
        n => format!("; {} answered now", count(n, "message that waited is", "messages that waited are")),
    };
    say(format_args!("{title} is handed back{answered}"));
    Ok(())
}

/// An error where the agent does not have the thread yet.
pub(super) fn outcome(title: &str, key: &str, released: &Released) -> Result<(), Error> {
    if !released.open {
        let what = released.waiting_for.as_ref().map_or_else(|| "the gateway does not say why".to_owned(), clean);
        let e =
            Error::new(Kind::Waiting, format!("{title} is handed over, but the agent does not have it yet: {what}"));
        return Err(Error { hint: accept_hint(key, released.acceptable), ..e });
    }
    Ok(())
}

/// The line that hands a thread back as it is, only where that is what helps.
pub fn accept_hint(key: &str, acceptable: bool) -> Option<String> {
    acceptable.then(|| format!("to hand it back as it is: ride release {} --accept-broken-chain", clean(key)))
}

/// Lets a live ride of this machine end itself, in its own order.
async fn end(record: &Record, title: &str, quiet: bool) -> Result<(), Error> {
    let pid = i32::try_from(record.process.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::new(Kind::Other, "the ride's record names no process"))?;
    kill_process(pid, Signal::TERM).map_err(|e| {
        Error::new(Kind::Other, format!("could not end the ride of {title} (process {}): {e}", record.process.pid))
    })?;
    if !quiet {
        say(format_args!("ending the ride of {title} (process {}) …", record.process.pid));
    }
    let until = Instant::now() + RIDE_ENDS;
    while record.is_alive() {
        if Instant::now() >= until {
            return Err(Error::new(
                Kind::Waiting,
                format!("the ride of {title} (process {}) does not end", record.process.pid),
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
