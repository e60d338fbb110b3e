//! Reads the value of a state file, whatever version wrote it.
//!
//! The format number is the contract. A value of [`FORMAT`] has exactly the fields of
//! [`Thread`]: a field or a variant that is not known is an error, never dropped, because
//! the next change would write the value back without it. A value of an older format is
//! turned into one of [`FORMAT`] first. Whoever adds, removes or renames something that is
//! stored raises [`FORMAT`] and adds a step here, and a golden file to `fixtures/state`.
//!
//! Formats 1 to 3 had several shapes under one number, so their steps look for what is there.

use serde_json::{Map, Value};

use super::{FORMAT, Thread};

/// The oldest format that is read.
pub const OLDEST: u32 = 1;

/// Why an intact value is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// It is of a format that this version does not know.
    #[error("format {0}")]
    Format(u32),
    /// It has a shape that its format does not have.
    #[error("{0}")]
    Shape(String),
}

/// Whether values of a format are read.
pub fn is_known(format: u32) -> bool {
    (OLDEST..=FORMAT).contains(&format)
}

/// Reads the bytes of a value.
///
/// # Errors
/// When the value is of another format, or has a shape that is not known. The bytes are taken
/// to be what was written: whether they are is for the caller to know.
pub fn read(bytes: &[u8]) -> Result<Thread, Unknown> {
    // Almost every value is what this version wrote: then it is parsed once.
    if let Ok(thread) = serde_json::from_slice::<Thread>(bytes)
        && thread.format == FORMAT
        && serde_json::to_vec(&thread).is_ok_and(|again| again == bytes)
    {
        return Ok(thread);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(shape)?;
    let format = value.get("format").and_then(Value::as_u64).ok_or_else(|| shape("it has no format"))?;
    let format = u32::try_from(format).map_err(shape)?;
    if !is_known(format) {
        return Err(Unknown::Format(format));
    }
    let value = migrated(value)?;
    let thread: Thread = serde_json::from_value(value.clone()).map_err(shape)?;
    match lost(&value, &serde_json::to_value(&thread).map_err(shape)?, "") {
        Some(field) => Err(shape(format!("unknown field {field}"))),
        None => Ok(thread),
    }
}

fn shape(what: impl ToString) -> Unknown {
    Unknown::Shape(what.to_string())
}

/// The first field that would not be written again.
pub(crate) fn lost(read: &Value, written: &Value, path: &str) -> Option<String> {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => read.iter().find_map(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match written.get(name) {
                Some(again) => lost(value, again, &path),
                None => Some(path),
            }
        }),
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => read
            .iter()
            .zip(written)
            .enumerate()
            .find_map(|(n, (value, again))| lost(value, again, &format!("{path}[{n}]"))),
        _ => (read != written).then(|| path.to_owned()),
    }
}

/// A value of any known format as one of [`FORMAT`].
fn migrated(mut value: Value) -> Result<Value, Unknown> {
    let thread = value.as_object_mut().ok_or_else(|| shape("it is no object"))?;
    if thread.get("format").and_then(Value::as_u64).is_some_and(|format| format < u64::from(FORMAT)) {
        thread.insert("format".into(), FORMAT.into());
        if let Some(phase) = object(thread, "phase") {
            migrate_phase(phase);
        }
        for list in ["inbox", "outbox", "undelivered"] {
            for message in thread.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                default(message.as_object_mut(), "doubt", Value::Null);
            }
        }
    }
    Ok(value)
}

fn migrate_phase(phase: &mut Map<String, Value>) {
    // The first shape of format 1 had the names as they are in the source.
    rename(phase, "give_up", "giveUp");
    rename(phase, "accept_broken", "acceptBroken");
    if let Some(at) = object(phase, "at") {
        default(Some(at), "acceptable", false.into());
        default(Some(at), "tries", 0.into());
    }
    if let Some(lease) = object(phase, "lease") {
        // A claim could once ask for the running turn to be ended. Nothing did.
        lease.remove("abort");
        // Where the same driver came back there was a second, later mark. The chain is shown
        // from the first one: turns between the two may not be relayed yet.
        lease.remove("file");
    }
}

fn object<'a>(of: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    of.get_mut(name)?.as_object_mut()
}

fn default(of: Option<&mut Map<String, Value>>, name: &str, value: Value) {
    if let Some(of) = of {
        of.entry(name).or_insert(value);
    }
}

fn rename(of: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = of.remove(from) {
        of.insert(to.into(), value);
    }
}
