//! `ride log <words>`: what happened to a thread, as its journal has it.

use jiff::tz::TimeZone;
use ride_core::wire::{Status, Statuses, method};

use super::{Context, print, print_json, rows, say};
use crate::error::Error;
use crate::gateway::client::Access;
use crate::render::{self, clean};

pub async fn run(context: &Context<'_>, words: &[String], json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    let rows = rows(&connection).await?;
    let row = context.find(&target, &rows, words)?;
    let statuses: Statuses = connection.call(method::STATUS, &Status { key: Some(row.key.clone()) }).await?;
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
