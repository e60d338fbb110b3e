//! Reads `openclaw.json` (JSON5, with `$include` and `${VAR}`) and OpenClaw's `.env`,
//! leniently: only what is needed to find the gateway is looked at.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::LocateError;
use crate::env::Env;

/// What it is called in an error.
pub const WHAT: &str = "the configuration";
/// As deep as `serde_json` goes: the JSON5 reader recurses without a limit of its own.
const MAX_DEPTH: usize = 128;
/// OpenClaw's own limit on an included file.
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;
/// OpenClaw's own limit on nesting.
const MAX_INCLUDES: usize = 10;

/// Reads the configuration; a missing file is an empty one.
pub fn load(path: &Path, env: &Env) -> Result<Value, LocateError> {
    if !path.exists() {
        return Ok(Value::Object(Map::new()));
    }
    let root = path.parent().unwrap_or(Path::new("/"));
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let mut config = include(path, &root, 0)?;
    withhold(&config, env);
    substitute(&mut config, env);
    Ok(config)
}

fn read(path: &Path) -> Result<Value, LocateError> {
    let fail = |cause: String| LocateError::Read { what: WHAT, path: path.to_owned(), cause };
    let length = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if length > MAX_FILE_BYTES {
        return Err(fail(format!("{length} bytes are over OpenClaw's limit of {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    if depth(text.as_bytes()) > MAX_DEPTH {
        return Err(fail(format!("it nests deeper than {MAX_DEPTH}")));
    }
    // Most are plain JSON, which is read many times faster.
    serde_json::from_str(&text).or_else(|_| json5::from_str(&text)).map_err(|e| fail(e.to_string()))
}

/// Brackets in texts and comments count too: no configuration has that many open.
fn depth(text: &[u8]) -> usize {
    let step = |depth: &mut usize, byte: &u8| {
        match byte {
            b'[' | b'{' => *depth += 1,
            b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    };
    text.iter().scan(0, step).max().unwrap_or(0)
}

fn include(path: &Path, root: &Path, depth: usize) -> Result<Value, LocateError> {
    let value = read(path)?;
    resolve(value, path, root, depth)
}

/// Replaces `{"$include": …}` objects; keys beside it win over what is included.
fn resolve(value: Value, from: &Path, root: &Path, depth: usize) -> Result<Value, LocateError> {
    let Value::Object(mut object) = value else { return Ok(value) };
    let fail = |cause: String| LocateError::Read { what: WHAT, path: from.to_owned(), cause };
    let included = object.remove("$include");
    let mut own = Map::new();
    for (key, value) in object {
        own.insert(key, resolve(value, from, root, depth)?);
    }
    let Some(included) = included else { return Ok(Value::Object(own)) };
    if depth >= MAX_INCLUDES {
        return Err(fail(format!("$include nests deeper than {MAX_INCLUDES}")));
    }
    let names: Vec<String> = match included {
        Value::String(name) => vec![name],
        Value::Array(names) => names.into_iter().filter_map(|n| n.as_str().map(str::to_owned)).collect(),
        _ => return Err(fail("$include is neither a path nor a list of paths".into())),
    };
    let mut merged = Value::Object(Map::new());
    for name in names {
        let path: PathBuf = from.parent().unwrap_or(root).join(&name);
        let real = std::fs::canonicalize(&path).map_err(|e| fail(format!("$include {name:?}: {e}")))?;
        if !real.starts_with(root) {
            return Err(fail(format!("$include {name:?} leaves {}", root.display())));
        }
        merge(&mut merged, include(&real, root, depth + 1)?);
    }
    merge(&mut merged, Value::Object(own));
    Ok(merged)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Notes the variables that carry the gateway's secrets, before they are replaced: what is
/// configured for a gateway, in any form of a reference, used today or not.
fn withhold(config: &Value, env: &Env) {
    for key in ["gateway.auth.token", "gateway.auth.password", "gateway.remote.token", "gateway.remote.password"] {
        super::at(config, key).into_iter().for_each(|value| each_variable(value, &|name| env.withhold(name)));
    }
}

fn each_variable(value: &Value, found: &impl Fn(&str)) {
    match value {
        Value::String(text) => {
            text.strip_prefix('$').into_iter().for_each(found);
            let names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            names.for_each(|(name, _)| found(name));
        }
        Value::Object(object) if object.get("source").and_then(Value::as_str) == Some("env") => {
            object.get("id").and_then(Value::as_str).into_iter().for_each(found);
        }
        _ => {}
    }
}

/// Replaces `${VAR}` in texts where the variable is set. An unset one stays, and is
/// noticed where it would be used.
fn substitute(value: &mut Value, env: &Env) {
    match value {
        Value::String(text) if text.contains("${") => *text = expand(text, env),
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, env)),
        Value::Object(object) => object.values_mut().for_each(|item| substitute(item, env)),
        _ => {}
    }
}

fn expand(text: &str, env: &Env) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        out.push_str(before);
        // `$${VAR}` is how a config writes the literal `${VAR}`.
        let name = after[2..].split_once('}').map(|(name, _)| name);
        match name {
            Some(name) if before.ends_with('$') => {
                out.push_str(&after[1..name.len() + 3]);
                rest = &after[name.len() + 3..];
            }
            Some(name) => {
                match env.get(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&after[..name.len() + 3]),
                }
                rest = &after[name.len() + 3..];
            }
            None => {
                out.push_str(after);
                return out;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The `NAME=value` lines of a `.env` file; a missing or unreadable one is empty,
/// as OpenClaw treats it.
pub fn dotenv(path: &Path) -> Vec<(String, String)> {
    let small = std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MAX_FILE_BYTES / 2);
    let Some(text) = small.then(|| std::fs::read_to_string(path).ok()).flatten() else {
        return Vec::new();
    };
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            let quoted = ['"', '\'', '`']
                .iter()
                .find_map(|quote| value.strip_prefix(*quote)?.rsplit_once(*quote).map(|(inside, _)| inside));
            let value = quoted.unwrap_or_else(|| value.split_once('#').map_or(value, |(head, _)| head).trim());
            plain.then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}
