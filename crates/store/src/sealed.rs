//! How a value stands in its file: behind a header that names it by its hash.
//!
//! ```text
//! byte 0      {"format":2,"sha256":"…","at":4096,"length":1873,"room":4096}
//! byte 4096   {…}         the value, or the one before it
//! + room      {…}         the other of the two
//! ```
//!
//! Between them are blanks, so that a person can read it. A new value is written beside
//! the last one and synced; then the header, one sector, is written over and synced.
//! So a crash leaves the old value or the new one, as renaming does, without what a
//! folder's sync costs; a file is made, and made larger, by renaming. What the header
//! does not name exactly is not a value: nothing is guessed from the rest, and the
//! value before is never taken for the last. Another version's format is looked at
//! first: what it wrote is not damaged.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use ride_core::thread::FORMAT;

/// What disks write whole or not at all. The header is far shorter.
pub(crate) const HEADER_BYTES: usize = 512;
/// Where the first value may stand: the header has a block to itself.
const FIRST: u64 = 4096;

/// Why a file's content is not a value of ours.
#[derive(Debug, thiserror::Error)]
pub enum Unsealed {
    /// Written by another version.
    #[error("format {0}")]
    Format(u32),
    /// Not JSON, or not of our shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Cut short, or changed since it was written.
    #[error("its content is not what was written")]
    Broken,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    sha256: String,
    #[serde(flatten)]
    place: Place,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub at: u64,
    length: u64,
    /// Bytes for one value.
    room: u64,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Place {
    /// The other place, for a value that is as long, if it has room there.
    pub(crate) fn beside(self, value: &[u8]) -> Option<Place> {
        let at = if self.at == FIRST { FIRST + self.room } else { FIRST };
        let length = value.len() as u64;
        (length <= self.room).then_some(Place { at, length, ..self })
    }

    /// The header that names the value at this place.
    pub(crate) fn header(self, value: &[u8]) -> [u8; HEADER_BYTES] {
        let header = Header { format: FORMAT, sha256: self.hash(value), place: self };
        let text = serde_json::to_vec(&header).expect("numbers and a text become JSON");
        let mut sector = [b' '; HEADER_BYTES];
        sector[..text.len()].copy_from_slice(&text);
        sector[HEADER_BYTES - 1] = b'\n';
        sector
    }

    /// Of the value and of what the header says about it.
    fn hash(self, value: &[u8]) -> String {
        let Place { at, length, room } = self;
        let digest = Sha256::new().chain_update(format!("{at} {length} {room}\n")).chain_update(value).finalize();
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// A whole new file with this value, and room for another and for growth.
pub(crate) fn whole(value: &[u8]) -> Vec<u8> {
    let length = value.len() as u64;
    let room = (length + length / 2).next_power_of_two().max(FIRST);
    let place = Place { at: FIRST, length, room };
    let mut file = vec![b' '; (FIRST + 2 * room) as usize];
    file[..HEADER_BYTES].copy_from_slice(&place.header(value));
    file[FIRST as usize..][..value.len()].copy_from_slice(value);
    file
}

/// The value in the bytes of a file.
///
/// # Errors
/// When it is of another format, or not exactly what was written.
pub fn unseal<T: DeserializeOwned>(file: &[u8]) -> Result<T, Unsealed> {
    placed(file).map(|(value, _)| value)
}

/// The value, and where it stands.
pub(crate) fn placed<T: DeserializeOwned>(file: &[u8]) -> Result<(T, Place), Unsealed> {
    let sector = file.get(..HEADER_BYTES).unwrap_or(file);
    let head: Head = serde_json::from_slice(sector)?;
    if head.format != FORMAT {
        return Err(Unsealed::Format(head.format));
    }
    let Header { sha256, place, .. } = serde_json::from_slice(sector)?;
    let range = place.at.checked_add(place.length).and_then(|end| Some(usize::try_from(place.at).ok()?..usize::try_from(end).ok()?));
    let value = range.and_then(|range| file.get(range)).ok_or(Unsealed::Broken)?;
    if place.hash(value) != sha256 {
        return Err(Unsealed::Broken);
    }
    Ok((serde_json::from_slice(value)?, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_beside_the_last_one_while_it_has_room() {
        let value = |n: usize| serde_json::to_vec(&"x".repeat(n)).unwrap();
        let mut file = whole(&value(10));
        assert_eq!(file.len(), 3 * 4096);
        for (n, at) in [(20, 8192), (4094, 4096), (30, 8192)] {
            let (_, place) = placed::<String>(&file).unwrap();
            let next = place.beside(&value(n)).unwrap();
            assert_eq!(next.at, at);
            file[at as usize..][..n + 2].copy_from_slice(&value(n));
            assert_eq!(unseal::<String>(&file).unwrap().len(), placed::<String>(&file).unwrap().0.len());
            file[..HEADER_BYTES].copy_from_slice(&next.header(&value(n)));
            assert_eq!(unseal::<String>(&file).unwrap(), "x".repeat(n));
        }
        let (_, place) = placed::<String>(&file).unwrap();
        assert!(place.beside(&value(4095)).is_none());
        assert_eq!(whole(&value(4095)).len(), 4096 + 2 * 8192);
    }
}
