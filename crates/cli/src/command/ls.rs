//! `ride ls [words]`: the threads, most recent first. In a terminal cut to its width;
//! into a pipe whole, so that what reads it does not depend on anybody's window.

use ride_core::wire::Rideable;

use super::{Context, print, print_json, rows, say};
use crate::error::Error;
use crate::gateway::client::Access;
use crate::{matching, render};

pub async fn run(context: &Context<'_>, words: &[String], rideable: bool, json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    let mut rows = rows(&connection).await?;
    let all = rows.len();
    rows.retain(|row| matching::fits(row, words) && (row.rideable || !rideable));
    if json {
        return print_json(&Rideable { total: rows.len() as u32, rows, next: None });
    }
    if rows.is_empty() {
        say(format_args!(
            "{}",
            match all {
                0 => format!("the gateway at {} has no threads yet", target.url),
                _ => format!(
                    "none of the {} fits",
                    render::count(u32::try_from(all).unwrap_or(u32::MAX), "thread", "threads")
                ),
            }
        ));
    }
    print(&render::rows(&rows, context.env.now_ms, context.env.terminal));
    Ok(())
}
