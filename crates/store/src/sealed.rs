//! How a value stands in its file: with its format, and sealed by a hash.
//!
//! `{"format":2,"sha256":"…","value":{…}}`. The hash covers the value's bytes as they
//! stand there, so a file that was cut short or changed in any byte is known not to be
//! what was written; nothing is guessed from the rest. The format is looked at first:
//! what another version wrote is not damaged.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use ride_core::thread::FORMAT;

/// Why a file's content is not a value of ours.
#[derive(Debug, thiserror::Error)]
pub enum Unsealed {
    /// Written by another version.
    #[error("format {0}")]
    Format(u32),
    /// Not JSON, or not of our shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Changed since it was written.
    #[error("its content is not what was written")]
    Broken,
}

#[derive(Serialize)]
struct Sealed<'a> {
    format: u32,
    sha256: String,
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Deserialize)]
struct Body<'a> {
    sha256: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The bytes of a file with this value.
pub(crate) fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let value = serde_json::value::to_raw_value(value)?;
    serde_json::to_vec(&Sealed { format: FORMAT, sha256: hash(&value), value: &value })
}

/// The value in the bytes of a file.
///
/// # Errors
/// When it is of another format, or not exactly what was written.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unsealed> {
    let head: Head = serde_json::from_slice(bytes)?;
    if head.format != FORMAT {
        return Err(Unsealed::Format(head.format));
    }
    let body: Body<'_> = serde_json::from_slice(bytes)?;
    if hash(body.value) != body.sha256 {
        return Err(Unsealed::Broken);
    }
    Ok(serde_json::from_str(body.value.get())?)
}

fn hash(value: &RawValue) -> String {
    Sha256::digest(value.get()).iter().map(|b| format!("{b:02x}")).collect()
}
