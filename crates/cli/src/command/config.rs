//! `ride config`: what this ride goes by and where each of it comes from, then the
//! plugin's configuration in force, as the gateway tells it. The first half is printed
//! even where the gateway cannot be reached: then it is what one looks for.

use std::fmt::Write as _;

use ride_core::wire::{Opaque, method};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, print, print_json};
use crate::error::Error;
use crate::gateway::client::Access;
use crate::gateway::device::Device;
use crate::gateway::locate::{Located, Target};
use crate::render::clean;

/// What this ride goes by.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    version: &'static str,
    /// Where OpenClaw's configuration was looked for.
    config_file: Option<String>,
    url: Option<String>,
    url_from: Option<&'static str>,
    pin: Option<String>,
    /// Where the token or password comes from; never what it is.
    secret_from: Option<String>,
    profile: Option<String>,
    state_dir: String,
    state_dir_from: &'static str,
    /// How the gateway lists this machine, once it has asked to be paired anywhere.
    device_id: Option<String>,
}

pub async fn run(context: &Context<'_>, as_json: bool) -> Result<(), Error> {
    let located = context.located();
    let own = own(context, located.as_ref().ok())?;
    let told = match located {
        Ok(located) => gateway(context, &located.target).await,
        Err(e) => Err(e),
    };
    if as_json {
        print_json(&json!({"ride": own, "gateway": told.as_ref().ok()}))?;
        return told.map(|_| ());
    }
    print(&lines("ride", &own)?);
    let told = told?;
    print("\n");
    print(&lines("gateway", &told)?);
    Ok(())
}

async fn gateway(context: &Context<'_>, target: &Target) -> Result<Opaque, Error> {
    let (connection, _events) = context.connect(target, Access::Read).await?;
    Ok(connection.call(method::CONFIG, &json!({})).await?)
}

fn own(context: &Context<'_>, located: Option<&Located>) -> Result<Own, Error> {
    let (state_dir, state_dir_from) = context.state_dir_from()?;
    // One that cannot be read is what asking the gateway ends with.
    let device = Device::existing(&state_dir).ok().flatten();
    let secret = |kind: &str, source: &str| Some(format!("{kind} of {source}"));
    let paired = |target: &Target| {
        device
            .as_ref()
            .and_then(|device| device.token(target.origin()))
            .and_then(|_| secret("token", "this device's pairing"))
    };
    let target = located.map(|located| &located.target);
    let secret_from = target.and_then(|target| match (&target.token, &target.password) {
        (Some(token), _) => secret("token", token.source()),
        (None, Some(password)) => secret("password", password.source()),
        (None, None) => paired(target),
    });
    Ok(Own {
        version: env!("CARGO_PKG_VERSION"),
        config_file: located.map(|located| located.config_path.display().to_string()),
        url: target.map(|target| target.url.clone()),
        url_from: target.map(|target| target.source),
        pin: target.and_then(|target| target.pin).map(|pin| pin.to_string()),
        secret_from,
        profile: context.gateway.profile.clone().or_else(|| context.env.get("OPENCLAW_PROFILE").map(str::to_owned)),
        state_dir: state_dir.display().to_string(),
        state_dir_from,
        device_id: device.map(|device| device.id()),
    })
}

/// A value as lines of dotted names, aligned.
fn lines(prefix: &str, value: &impl Serialize) -> Result<String, Error> {
    let value = serde_json::to_value(value)
        .map_err(|e| Error::new(crate::error::Kind::Other, format!("could not show the configuration: {e}")))?;
    let mut lines = Vec::new();
    flatten(prefix, &value, &mut lines);
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    Ok(lines.iter().fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key:width$}  {value}");
        out
    }))
}

fn flatten(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                flatten(&format!("{prefix}.{}", clean(key)), value, lines);
            }
        }
        Value::String(text) => lines.push((prefix.to_owned(), clean(text))),
        Value::Null => lines.push((prefix.to_owned(), "(unset)".to_owned())),
        other => lines.push((prefix.to_owned(), other.to_string())),
    }
}
