//! The audit log of a gateway: `audit.jsonl` beside its threads, one JSON line each, only
//! ever appended to. Full, it becomes `audit.1.jsonl`, in the place of the one before.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};

use ride_core::limits;
use ride_core::wire::AuditLine;

use crate::error::StoreError;
use crate::file::Folder;

const FILE: &str = "audit.jsonl";
const FULL: &str = "audit.1.jsonl";

/// Appends lines, durably. Under the gateway's lock.
pub(crate) fn append(folder: &Folder, lines: &[AuditLine]) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line).unwrap_or_default());
        text.push('\n');
    }
    let io = |source| StoreError::Io { doing: "write", path: folder.path().join(FILE), source };
    let (mut file, made) = room(folder, text.len() as u64)?;
    // What a crash left of a line stays a line of its own.
    if file.seek(SeekFrom::End(0)).map_err(io)? > 0 && !ends_whole(&mut file).map_err(io)? {
        text.insert(0, '\n');
    }
    file.seek(SeekFrom::End(0)).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    if made { folder.sync() } else { Ok(()) }
}

/// The file with room for so many bytes, and whether it is a new one.
fn room(folder: &Folder, more: u64) -> Result<(File, bool), StoreError> {
    let io = |source| StoreError::Io { doing: "look at", path: folder.path().join(FILE), source };
    match folder.regular(FILE, true)? {
        Some(file) if file.metadata().map_err(io)?.len() + more <= limits::AUDIT_BYTES => return Ok((file, false)),
        Some(_) => folder.rename(FILE, FULL)?,
        None => {}
    }
    Ok((folder.create(FILE)?, true))
}

fn ends_whole(file: &mut File) -> std::io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The latest lines that are wanted, oldest first. What is no line is left out.
pub(crate) fn latest(folder: &Folder, wanted: impl Fn(&AuditLine) -> bool) -> Result<Vec<AuditLine>, StoreError> {
    let mut lines = std::collections::VecDeque::new();
    for name in [FULL, FILE] {
        let Some(file) = folder.regular(name, false)? else { continue };
        let read = BufReader::new(file.take(2 * limits::AUDIT_BYTES)).split(b'\n');
        for line in read.map_while(Result::ok).filter_map(|text| serde_json::from_slice(&text).ok()).filter(&wanted) {
            if lines.len() == limits::AUDIT_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
    Ok(lines.into())
}
