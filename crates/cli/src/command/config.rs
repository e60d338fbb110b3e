//! `ride config`: the plugin's configuration in force, as the gateway tells it.

use std::fmt::Write as _;

use ride_core::wire::{Opaque, method};
use serde_json::{Value, json};

use super::{Context, print, print_json};
use crate::error::Error;
use crate::gateway::client::Access;
use crate::render::clean;

pub async fn run(context: &Context<'_>, as_json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    let config: Opaque = connection.call(method::CONFIG, &json!({})).await?;
    if as_json {
        return print_json(&config);
    }
    let mut lines = vec![("gateway".to_owned(), format!("{} ({})", target.url, target.source))];
    flatten("", &config, &mut lines);
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let text = lines.iter().fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key:width$}  {value}");
        out
    });
    print(&text);
    Ok(())
}

fn flatten(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() { clean(key) } else { format!("{prefix}.{}", clean(key)) };
                flatten(&key, value, lines);
            }
        }
        Value::String(text) => lines.push((prefix.to_owned(), clean(text))),
        Value::Null => lines.push((prefix.to_owned(), "(unset)".to_owned())),
        other => lines.push((prefix.to_owned(), other.to_string())),
    }
}
