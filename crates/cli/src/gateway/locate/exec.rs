//! Secrets that a program gives out: `secrets.providers.<name>` with `source: "exec"`,
//! as OpenClaw 2026.6 to 2026.9 run it (docs/gateway/secrets, provider protocol 1).
//!
//! Only a program that nobody else can have put there is run: an absolute path, no
//! link, ours, not writable by others. No shell, no inherited environment but what
//! the provider names, no error text of the program's, which may carry the secret.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Secret;
use crate::env::Env;

/// OpenClaw's default for `timeoutMs`.
const TIMEOUT_MS: u64 = 5_000;
/// OpenClaw's default for `maxOutputBytes`.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;

/// Asks the provider for one id.
pub fn ask(env: &Env, settings: &Value, provider: &str, id: &str) -> Result<Secret, String> {
    let field = |name: &str| settings.get(name);
    let command = field("command").and_then(Value::as_str).ok_or("the secret provider names no command")?;
    let path = Path::new(command);
    trusted(path)?;
    let texts = |name: &str| -> Vec<String> {
        let list = field(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut program = env.command(path);
    program.args(texts("args")).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    for name in texts("passEnv") {
        if let Some(value) = env.get(&name) {
            program.env(name, value);
        }
    }
    for (name, value) in field("env").and_then(Value::as_object).into_iter().flatten() {
        program.env(name, value.as_str().unwrap_or_default());
    }
    let child = program.spawn().map_err(|e| format!("{command}: {e}"))?;
    let limit = Duration::from_millis(field("timeoutMs").and_then(Value::as_u64).unwrap_or(TIMEOUT_MS));
    let max = field("maxOutputBytes").and_then(Value::as_u64).unwrap_or(MAX_OUTPUT_BYTES);
    let request = json!({ "protocolVersion": 1, "provider": provider, "ids": [id] }).to_string();
    let said = converse(child, request, limit, max).map_err(|cause| format!("{command}: {cause}"))?;
    let json_only = field("jsonOnly").and_then(Value::as_bool).unwrap_or(true);
    read(&said, id, json_only).map_err(|cause| format!("{command}: {cause}"))
}

fn trusted(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let found = std::fs::symlink_metadata(path).map_err(|e| format!("{shown}: {e}"))?;
    let mode = found.permissions().mode();
    if !found.is_file() {
        return Err(format!("{shown} is not a regular file (OpenClaw runs no link either)"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("{shown} can be written by others (mode {:o})", mode & 0o777));
    }
    if found.uid() != rustix::process::getuid().as_raw() {
        return Err(format!("{shown} belongs to another user"));
    }
    Ok(())
}

/// Tells the program the request and gives what it printed, within time and size.
fn converse(mut child: Child, request: String, limit: Duration, max: u64) -> Result<String, String> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (done, said) = mpsc::channel();
    // A program that reads nothing, or prints without end, must not hold us up.
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(request.as_bytes());
        }
        let mut text = String::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(max + 1).read_to_string(&mut text));
        let _ = done.send(read.map(|_| text));
    });
    let said = said.recv_timeout(limit);
    if said.is_err() {
        let _ = child.kill();
    }
    let too_long = matches!(&said, Ok(Ok(text)) if text.len() as u64 > max);
    if too_long {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    match said {
        Err(_) => Err(format!("it gave no answer within {} ms", limit.as_millis())),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok(_)) if too_long => Err(format!("it printed more than {max} bytes")),
        Ok(Ok(_)) if !status.success() => Err(format!("it ended with {status}")),
        Ok(Ok(text)) => Ok(text),
    }
}

fn read(said: &str, id: &str, json_only: bool) -> Result<Secret, String> {
    let Ok(answer) = serde_json::from_str::<Value>(said.trim()) else {
        return match said.trim_end_matches(['\r', '\n']) {
            plain if !json_only && !plain.trim().is_empty() => Ok(Secret::new(plain)),
            _ => Err("it printed no JSON".into()),
        };
    };
    let values = answer.get("values").and_then(|values| values.get(id)).and_then(Value::as_str);
    match values {
        Some(value) if !value.is_empty() => Ok(Secret::new(value)),
        _ if !json_only && answer.get("values").is_none() => Ok(Secret::new(said.trim())),
        _ => match answer.get("errors").and_then(|e| e.get(id)?.get("code")?.as_str()) {
            Some(code @ ("NOT_FOUND" | "AMBIGUOUS_DUPLICATE_KEY")) => Err(format!("it knows {id} not: {code}")),
            _ => Err(format!("it gave no value for {id}")),
        },
    }
}
