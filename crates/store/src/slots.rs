//! How a value stands in its file: in one of two places, each named by a header of its own.
//!
//! ```text
//! byte 0      {"format":4,"last":7,"room":4096}       the last value that counts
//! byte 512    {"nth":7,"length":1873,"sha256":"…"}    what stands in the first place
//! byte 1024   {"nth":6,"length":1840,"sha256":"…"}    and in the second
//! byte 4096   {…}         the first place
//! + room      {…}         the second
//! ```
//!
//! Between them are blanks, so that a person can read it. A new value and its header are
//! written where the one before the last stands, and synced: that is the change, one sync.
//! Then the first line is written over, and not synced: it is there to tell a value that
//! was damaged from one that was never written whole. So a crash leaves the old value or
//! the new one, as renaming does, without what a folder's sync costs; a file is made, and
//! made larger, by renaming. A value that does not fit its header exactly is none, and one
//! that is older than what counts is never taken for the last. Only where the machine's
//! power fails right after a change, and that very value is damaged, the one before it is
//! taken. Another version's format is looked at first: what it wrote is not damaged. Every
//! version's file begins with its format, so that this can be told of files whose layout is
//! not known; those of older versions are in [`older`].

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use ride_core::thread::stored::{self, Unknown};
use ride_core::thread::{FORMAT, Thread};

mod older;

/// What disks write whole or not at all. A header is far shorter.
pub(crate) const HEADER_BYTES: usize = 512;
/// Where the first value may stand: the headers have a block to themselves.
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
    /// Exactly what was written, by a version whose values have another shape.
    #[error("{0}")]
    Shape(String),
    /// Cut short, or changed since it was written.
    #[error("its content is not what was written")]
    Broken,
}

/// What can stand in such a file.
pub trait Stored: Sized {
    /// Reads the bytes of a value that a file of a known format holds.
    ///
    /// # Errors
    /// When another version wrote it.
    fn read(format: u32, value: &[u8]) -> Result<Self, Unsealed>;
}

impl Stored for Thread {
    fn read(_format: u32, value: &[u8]) -> Result<Self, Unsealed> {
        stored::read(value).map_err(|unknown| match unknown {
            Unknown::Format(found) => Unsealed::Format(found),
            Unknown::Shape(what) => Unsealed::Shape(what),
        })
    }
}

/// Any value, not looked at.
pub(crate) struct Anything;

impl Stored for Anything {
    fn read(_format: u32, _value: &[u8]) -> Result<Self, Unsealed> {
        Ok(Anything)
    }
}

/// The file's first line.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Counts {
    format: u32,
    /// The last value that counts.
    last: u64,
    /// Bytes for one value.
    room: u64,
}

/// What stands in one of the places.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Of all values of this file.
    nth: u64,
    length: u64,
    sha256: String,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    nth: u64,
    length: u64,
    room: u64,
    second: bool,
}

/// A value of a file whose bytes are those that were written.
struct Found<'a> {
    format: u32,
    value: &'a [u8],
    /// Where the next value can stand beside it.
    place: Option<Place>,
}

impl Place {
    /// Where its bytes begin.
    pub(crate) fn at(self) -> u64 {
        if self.second { FIRST + self.room } else { FIRST }
    }

    /// Where its header stands.
    pub(crate) fn header_at(self) -> u64 {
        HEADER_BYTES as u64 * if self.second { 2 } else { 1 }
    }

    /// The other place, for the next value, if it has room there.
    pub(crate) fn beside(self, value: &[u8]) -> Option<Place> {
        let length = value.len() as u64;
        (length <= self.room).then_some(Place { nth: self.nth + 1, length, second: !self.second, ..self })
    }

    /// Says that this value stands here.
    pub(crate) fn header(self, value: &[u8]) -> [u8; HEADER_BYTES] {
        sector(&Header { nth: self.nth, length: self.length, sha256: self.hash(value) })
    }

    /// Says that this value counts.
    pub(crate) fn counts(self) -> [u8; HEADER_BYTES] {
        sector(&Counts { format: FORMAT, last: self.nth, room: self.room })
    }

    /// Of the value and of where it stands.
    fn hash(self, value: &[u8]) -> String {
        let Place { nth, length, room, second } = self;
        let digest =
            Sha256::new().chain_update(format!("{nth} {length} {room} {second}\n")).chain_update(value).finalize();
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Says that nothing stands there.
pub(crate) const NOTHING: [u8; HEADER_BYTES] = [b' '; HEADER_BYTES];

fn sector(header: &impl Serialize) -> [u8; HEADER_BYTES] {
    let text = serde_json::to_vec(header).expect("numbers and a text become JSON");
    let mut sector = NOTHING;
    sector[..text.len()].copy_from_slice(&text);
    sector[HEADER_BYTES - 1] = b'\n';
    sector
}

/// A whole new file with this value, and room for another and for growth.
pub(crate) fn whole(value: &[u8]) -> Vec<u8> {
    let length = value.len() as u64;
    let room = (length + length / 2).next_power_of_two().max(FIRST);
    let place = Place { nth: 1, length, room, second: false };
    let mut file = vec![b' '; (FIRST + 2 * room) as usize];
    file[..HEADER_BYTES].copy_from_slice(&place.counts());
    file[place.header_at() as usize..][..HEADER_BYTES].copy_from_slice(&place.header(value));
    file[FIRST as usize..][..value.len()].copy_from_slice(value);
    file
}

/// The value in the bytes of a file.
///
/// # Errors
/// When it is of another format, or not exactly what was written.
pub fn unseal<T: Stored>(file: &[u8]) -> Result<T, Unsealed> {
    placed(file).map(|(value, _)| value)
}

/// The value, and where it stands, if the next one can stand beside it: a file of an older
/// format is written anew, whole.
pub(crate) fn placed<T: Stored>(file: &[u8]) -> Result<(T, Option<Place>), Unsealed> {
    let Found { format, value, place } = find(file)?;
    Ok((T::read(format, value)?, place.filter(|_| format == FORMAT)))
}

/// What can be told of a value that this version does not read: for being careful, never for
/// acting on it. `None` where its layout is not known either.
pub(crate) fn glimpse(file: &[u8]) -> Option<serde_json::Value> {
    // A later version may have kept the layout.
    let found = find(file).or_else(|_| two_places(file)).ok()?;
    serde_json::from_slice(found.value).ok()
}

/// The format, as every version's file begins with it.
fn format_of(file: &[u8]) -> Option<u32> {
    let rest = file.strip_prefix(br#"{"format":"#)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

fn find(file: &[u8]) -> Result<Found<'_>, Unsealed> {
    match format_of(file).ok_or(Unsealed::Broken)? {
        1 => older::plain(file),
        2 => older::one_header(file),
        3..=FORMAT => two_places(file),
        other => Err(Unsealed::Format(other)),
    }
}

/// The `length` bytes at `at`.
fn part(file: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    file.get(usize::try_from(at).ok()?..usize::try_from(at.checked_add(length)?).ok()?)
}

fn two_places(file: &[u8]) -> Result<Found<'_>, Unsealed> {
    let line = |at: usize| file.get(at..at + HEADER_BYTES).unwrap_or(file.get(at..).unwrap_or_default());
    let Counts { format, last, room } = serde_json::from_slice(line(0))?;
    let standing = |second: bool| {
        let mut place = Place { nth: 0, length: 0, room, second };
        let header: Header = serde_json::from_slice(line(usize::try_from(place.header_at()).ok()?)).ok()?;
        (place.nth, place.length) = (header.nth, header.length);
        let value = part(file, FIRST.checked_add(if second { room } else { 0 })?, header.length)?;
        // What is not whole was damaged, or never written to its end: then it is the next one.
        (header.nth >= last && place.hash(value) == header.sha256).then_some((place, value))
    };
    let (place, value) =
        [false, true].into_iter().filter_map(standing).max_by_key(|(place, _)| place.nth).ok_or(Unsealed::Broken)?;
    Ok(Found { format, value, place: Some(place) })
}

#[cfg(test)]
impl Stored for String {
    fn read(_format: u32, value: &[u8]) -> Result<Self, Unsealed> {
        Ok(serde_json::from_slice(value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed<T: Stored>(file: &[u8]) -> Result<(T, Place), Unsealed> {
        super::placed(file).map(|(value, place)| (value, place.unwrap()))
    }

    fn value(n: usize) -> Vec<u8> {
        serde_json::to_vec(&"x".repeat(n)).unwrap()
    }

    fn put(file: &mut [u8], at: u64, bytes: &[u8]) {
        file[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    #[test]
    fn a_value_goes_beside_the_last_one_while_it_has_room() {
        let mut file = whole(&value(10));
        assert_eq!(file.len(), 3 * 4096);
        for (n, at) in [(20, 8192), (4094, 4096), (30, 8192)] {
            let (before, place) = placed::<String>(&file).unwrap();
            let next = place.beside(&value(n)).unwrap();
            assert_eq!(next.at(), at);
            put(&mut file, next.at(), &value(n));
            assert_eq!(unseal::<String>(&file).unwrap(), before, "without its header it is nothing");
            put(&mut file, next.header_at(), &next.header(&value(n)));
            assert_eq!(unseal::<String>(&file).unwrap(), "x".repeat(n), "with it, it is the last");
            put(&mut file, 0, &next.counts());
            assert_eq!(unseal::<String>(&file).unwrap(), "x".repeat(n));
        }
        let (_, place) = placed::<String>(&file).unwrap();
        assert!(place.beside(&value(4095)).is_none());
        assert_eq!(whole(&value(4095)).len(), 4096 + 2 * 8192);
    }

    // Rule STORE-1.
    #[test]
    fn a_change_that_was_cut_short_is_the_value_before_and_one_that_counted_is_damaged() {
        let mut file = whole(&value(10));
        let (_, place) = placed::<String>(&file).unwrap();
        let next = place.beside(&value(3_000)).unwrap();
        // In whatever order, and however much of it, a disk has written it.
        for part in 0..3_002 {
            let mut cut = file.clone();
            put(&mut cut, next.at(), &value(3_000)[..part]);
            assert_eq!(unseal::<String>(&cut).unwrap(), "x".repeat(10), "{part} bytes, and no header");
            put(&mut cut, next.header_at(), &next.header(&value(3_000)));
            assert_eq!(unseal::<String>(&cut).unwrap(), "x".repeat(10), "{part} bytes, and the header");
        }
        put(&mut file, next.at(), &value(3_000));
        put(&mut file, next.header_at(), &next.header(&value(3_000)));
        put(&mut file, 0, &next.counts());
        put(&mut file, next.at() + 5, b"y");
        assert!(matches!(unseal::<String>(&file), Err(Unsealed::Broken)), "the value before is not taken for it");
        put(&mut file, next.header_at(), &NOTHING);
        assert!(matches!(unseal::<String>(&file), Err(Unsealed::Broken)), "nor without its header");
    }
}
