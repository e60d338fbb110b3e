//! What the copy has more goes to the gateway: one range, which is there whole or not at all.

use std::collections::BTreeMap;

use ride_core::wire::{Push, Pushed, method};
use ride_store::claude::tail_sha256;
use ride_store::copy::{CopyError, Files, pack};

use super::{FRAME_WITHIN, Thread};
use crate::gateway::client::CallError;

/// Largest part that is looked through for the last whole line.
const LOOK_BYTES: u64 = 64 * 1024;

/// Why a range did not get there.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The gateway.
    #[error(transparent)]
    Call(#[from] CallError),
    /// This machine's file.
    #[error(transparent)]
    Here(#[from] CopyError),
    /// It is not what it was.
    #[error("the copy on this machine is shorter than what was said in it")]
    Shorter,
}

/// Pushes a range of a file. `moved` is told each time that a part of it is there.
///
/// # Errors
/// When the gateway refuses it or cannot be reached, when the file cannot be read.
pub async fn push(
    thread: &Thread,
    files: &Files,
    file: Option<&str>,
    from: u64,
    to: u64,
    mut moved: impl FnMut(),
) -> Result<(), PushError> {
    let opened = files.open(file)?.ok_or(PushError::Shorter)?;
    let before_sha256 = tail_sha256(&opened, from).map_err(|_| PushError::Shorter)?;
    let total = to - from;
    let mut at = 0;
    loop {
        let (mut frame, _) = files.read(file, from + at)?;
        frame.truncate((total - at) as usize);
        if frame.is_empty() {
            return Err(PushError::Shorter);
        }
        let request = Push {
            key: thread.key.clone(),
            fence: thread.fence,
            file: file.map(str::to_owned),
            from,
            before_sha256: before_sha256.clone(),
            total,
            at,
            data: pack(&frame),
        };
        let pushed: Pushed = thread.connection.call_within(method::PUSH, &request, FRAME_WITHIN).await?;
        if pushed.done {
            return Ok(());
        }
        moved();
        // Where a gateway that was restarted has less of it, it says so.
        at = pushed.at.min(total - 1);
    }
}

/// Pushes what the files of subagents have more, whole lines of them; what the gateway has is
/// noted. Whatever cannot be pushed is told, and stays.
pub async fn push_beside(
    thread: &Thread,
    files: &Files,
    has: &mut BTreeMap<String, u64>,
    mut moved: impl FnMut(),
) -> Result<Vec<String>, CallError> {
    let mut notes = Vec::new();
    let found = match files.beside() {
        Ok(found) => found,
        Err(e) => return Ok(vec![e.to_string()]),
    };
    for file in found {
        let from = has.get(&file.name).copied().unwrap_or(0);
        let to = if file.name.ends_with(".jsonl") {
            whole_lines(files, Some(&file.name), from, file.size)
        } else {
            file.size
        };
        // What is described once is not described anew.
        if to <= from || from > 0 && file.name.ends_with(".json") {
            continue;
        }
        match push(thread, files, Some(&file.name), from, to, &mut moved).await {
            Ok(()) => {
                has.insert(file.name, to);
            }
            Err(PushError::Call(e)) if e.refusal().is_none() => return Err(e),
            Err(e) => {
                // It is not tried again in this ride.
                has.insert(file.name.clone(), u64::MAX);
                notes.push(format!("what a subagent wrote stays on this machine: {}: {e}", file.name));
            }
        }
    }
    Ok(notes)
}

/// Up to where a file has whole lines, not before `from`.
pub fn whole_lines(files: &Files, file: Option<&str>, from: u64, size: u64) -> u64 {
    let mut end = size;
    while end > from {
        let begin = end.saturating_sub(LOOK_BYTES).max(from);
        let Ok((mut bytes, _)) = files.read(file, begin) else { return from };
        bytes.truncate((end - begin) as usize);
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return begin + at as u64 + 1;
        }
        end = begin;
    }
    from
}
