//! `ride ls`: the threads, most recent first.

use ride_core::wire::Rideable;

use super::{Context, print, print_json, rows};
use crate::error::Error;
use crate::gateway::client::Access;
use crate::render;

pub async fn run(context: &Context<'_>, json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    let rows = rows(&connection).await?;
    if json {
        return print_json(&Rideable { total: rows.len() as u32, rows, next: None });
    }
    if rows.is_empty() {
        eprintln!("the gateway at {} has no threads yet", target.url);
    }
    print(&render::rows(&rows, context.env.now_ms, context.env.terminal));
    Ok(())
}
