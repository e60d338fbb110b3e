//! `ride release <words>`: hands back a thread that a ride of this machine holds,
//! be that ride alive in another terminal or dead. Somebody else's is not ours to
//! release; the chat can take it back.

use std::time::Duration;

use ride_core::wire::{Release, Released, method};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{Context, print_json, rows};
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::render::{self, clean};
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
    let row = context.find(&rows, words)?;
    let title = clean(&row.title);
    let record = Record::load(&state_dir, target.origin(), &row.key)?;
    let Some(record) = record else {
        let Some(holder) = &row.driver else {
            return Err(Error::new(Kind::NotRideable, format!("nobody rides {title}")));
        };
        return Err(Error::new(Kind::Held, format!("{title} is {}, not from here", render::holder(holder)))
            .hint("leave Claude Code there, or write /unride in the chat"));
    };
    if record.is_alive() {
        return end(&record, &title).await;
    }
    let Some(fence) = record.fence else {
        record.remove(&state_dir);
        return Err(Error::new(Kind::NotRideable, format!("the claim of {title} never came through; nothing to hand back")));
    };
    let wait_ms = u64::try_from(HANDOVER.as_millis()).expect("a minute fits");
    let request = Release { key: row.key.clone(), fence, accept_broken_chain: accept, wait_ms };
    let limit = HANDOVER + Duration::from_secs(15);
    let released: Released = connection.call_within(method::RELEASE, &request, limit).await?;
    record.remove(&state_dir);
    if json {
        print_json(&released)?;
    }
    super::ride::tell_released(&title, &released)
}

/// Lets a live ride of this machine end itself, in its own order.
async fn end(record: &Record, title: &str) -> Result<(), Error> {
    let pid = i32::try_from(record.process.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::new(Kind::Other, "the ride's record names no process"))?;
    kill_process(pid, Signal::TERM)
        .map_err(|e| Error::new(Kind::Other, format!("could not end the ride of {title} (process {}): {e}", record.process.pid)))?;
    eprintln!("ending the ride of {title} (process {}) …", record.process.pid);
    let until = Instant::now() + RIDE_ENDS;
    while record.is_alive() {
        if Instant::now() >= until {
            return Err(Error::new(Kind::Waiting, format!("the ride of {title} (process {}) does not end", record.process.pid)));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
