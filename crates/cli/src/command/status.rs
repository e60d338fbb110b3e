//! `ride status [words]`: who rides what, and what it waits for; and which adoptions wait
//! for a Claude Code of this machine to be left.

use ride_core::wire::{Status, Statuses, method};

use super::guard::Wish;
use super::{Context, print, print_json, rows, say};
use crate::error::Error;
use crate::gateway::client::Access;
use crate::render::{self, clean};

pub async fn run(context: &Context<'_>, words: &[String], json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    let row = match words {
        [] => None,
        words => Some(context.find(&target, &rows(&connection).await?, words)?.clone()),
    };
    let key = row.as_ref().map(|row| row.key.clone());
    let statuses: Statuses = connection.call(method::STATUS, &Status { key, audit: false }).await?;
    if json {
        return print_json(&statuses);
    }
    match row {
        None if statuses.threads.is_empty() => say("no thread is ridden"),
        Some(row) if statuses.threads.iter().all(|thread| thread.holder.is_none()) => {
            say(format_args!("nobody rides {}", clean(&row.title)));
        }
        _ => {}
    }
    print(&render::statuses(&statuses.threads, context.env.now_ms, context.env.terminal));
    if words.is_empty() {
        let (wishes, unread) = Wish::all(&context.state_dir()?, context.env.now_ms);
        print(&wishes.iter().map(Wish::told).collect::<String>());
        unread.iter().for_each(say);
    }
    Ok(())
}
