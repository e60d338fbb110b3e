//! The layouts of formats 1 and 2. They are read, and never written.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Found, HEADER_BYTES, Unsealed, part};

/// Format 1: the value alone. Nothing tells whether its bytes are those that were written,
/// but that they are JSON to the end.
pub(super) fn plain(file: &[u8]) -> Result<Found<'_>, Unsealed> {
    serde_json::from_slice::<serde::de::IgnoredAny>(file)?;
    Ok(Found { format: 1, value: file, place: None })
}

/// The first layout of format 2: one JSON object with the hash of its value.
#[derive(Deserialize)]
struct Whole<'a> {
    sha256: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The second layout of format 2: a header that says where the value stands.
#[derive(Deserialize)]
struct Header {
    sha256: String,
    at: u64,
    length: u64,
    room: u64,
}

/// Format 2, in either layout.
pub(super) fn one_header(file: &[u8]) -> Result<Found<'_>, Unsealed> {
    let found = |value| Found { format: 2, value, place: None };
    let sector = file.get(..HEADER_BYTES).unwrap_or(file);
    let Ok(Header { sha256, at, length, room }) = serde_json::from_slice(sector) else {
        let Whole { sha256, value } = serde_json::from_slice(file)?;
        let value = value.get().as_bytes();
        return if hex(Sha256::digest(value).as_slice()) == sha256 { Ok(found(value)) } else { Err(Unsealed::Broken) };
    };
    let value = part(file, at, length).ok_or(Unsealed::Broken)?;
    let digest = Sha256::new().chain_update(format!("{at} {length} {room}\n")).chain_update(value).finalize();
    if hex(digest.as_slice()) == sha256 { Ok(found(value)) } else { Err(Unsealed::Broken) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
