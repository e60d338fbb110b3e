//! `ride log <words>`: what happened to a thread, as its journal has it. `--audit`: who took
//! threads from whom, as the gateway's audit log has it.

use jiff::tz::TimeZone;
use ride_core::wire::{Status, Statuses, method};

use super::{Context, print, print_json, rows, say};
use crate::error::Error;
use crate::gateway::client::{Access, Connection};
use crate::render::{self, clean};

pub async fn run(context: &Context<'_>, words: &[String], audit: bool, json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    if words.is_empty() {
        return audited(&connection, None, json).await;
    }
    let rows = rows(&connection).await?;
    let row = context.find(&target, &rows, words)?;
    if audit {
        return audited(&connection, Some(row.key.clone()), json).await;
    }
    let statuses: Statuses =
        connection.call(method::STATUS, &Status { key: Some(row.key.clone()), audit: false }).await?;
    let journal = statuses.threads.into_iter().next().map(|thread| thread.journal).unwrap_or_default();
    if json {
        return print_json(&journal);
    }
    if journal.is_empty() {
        say(format_args!("{} was never ridden", clean(&row.title)));
    }
    print(&render::log(&journal, &TimeZone::system()));
    Ok(())
}

/// The audit log, of one thread or of all.
async fn audited(connection: &Connection, key: Option<String>, json: bool) -> Result<(), Error> {
    let statuses: Statuses = connection.call(method::STATUS, &Status { key, audit: true }).await?;
    if json {
        return print_json(&statuses.audit);
    }
    if statuses.audit.is_empty() {
        say("the audit log has nothing of this");
    }
    print(&render::audit(&statuses.audit, &TimeZone::system()));
    Ok(())
}
