//! Runs a JavaScript file with the pinned Node, alone, and reads the JSON that it prints.

use std::path::Path;

use serde_json::Value;

use crate::error::{Doing as _, Error, Result};
use crate::peers::Peer;

/// The last line of JSON that the script prints: what it loads may log beside it. It has no environment but
/// `home`, with a state folder of the gateway in it.
pub async fn printed(script: &Path, argument: &Path, home: &Path) -> Result<Value> {
    let node = Peer::node().fetched().await?;
    let ran = tokio::process::Command::new(node)
        .args([script, argument])
        .env_clear()
        .env("HOME", home)
        .env("OPENCLAW_STATE_DIR", home.join("state"))
        .output()
        .await
        .doing(|| format!("start Node with {}", script.display()))?;
    let told = String::from_utf8_lossy(&ran.stdout);
    let answer = told.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    answer.ok_or_else(|| Error::Peer {
        what: script.display().to_string(),
        said: format!("{told}{}", String::from_utf8_lossy(&ran.stderr)),
    })
}
