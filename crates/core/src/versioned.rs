//! Reads small files that this program keeps for itself, whatever version of it wrote them.
//!
//! Such a file is one JSON object: a `format` number, the program that wrote it (`writtenBy`), and
//! the fields of its type. The format number is the contract, as it is for the state of a thread
//! ([`crate::thread::stored`]): a value of a known older format is migrated; a whole value of another
//! format, or with a field or variant that its format does not have, is [`Unread::Unknown`] and must
//! be left as it is; what is no whole JSON object is [`Unread::Damaged`].
//!
//! Whoever adds, removes or renames something in such a type raises its format, adds a step to its
//! `migrate`, and adds a golden file to `fixtures/kept`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::thread::stored::lost;

const FORMAT: &str = "format";
const WRITTEN_BY: &str = "writtenBy";
/// A name and a version are shorter; the rest is not shown.
const NAME_CHARS: usize = 64;

/// A type that is kept in a file of its own.
pub trait Versioned: Serialize + DeserializeOwned {
    /// The format this version writes.
    const FORMAT: u32;

    /// The format of a value that has no number: only types that once had none have one.
    const WITHOUT_NUMBER: Option<u32> = None;

    /// Turns a value of a known older format into one of [`Versioned::FORMAT`].
    fn migrate(_value: &mut Map<String, Value>, _from: u32) {}
}

/// Why a file's content is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is not what any version wrote: cut short, or overwritten.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is whole, and of another version.
    #[error("{} wrote it, and this version (ride {}) does not know it: {why}", by.as_deref().unwrap_or("another version"), env!("CARGO_PKG_VERSION"))]
    Unknown {
        /// The program that wrote it, where the file says so; cut, and free of control characters.
        by: Option<String>,
        /// What is not known.
        why: String,
    },
}

/// The bytes of a value.
///
/// # Errors
/// When the type has something that JSON cannot have.
pub fn write<T: Versioned>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct File<'a, T> {
        format: u32,
        written_by: &'static str,
        #[serde(flatten)]
        value: &'a T,
    }
    let written_by = concat!("ride ", env!("CARGO_PKG_VERSION"));
    serde_json::to_vec(&File { format: T::FORMAT, written_by, value })
}

/// Reads the bytes of a file.
///
/// # Errors
/// When it is damaged, or of a version that is not known.
pub fn read<T: Versioned>(bytes: &[u8]) -> Result<T, Unread> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| Unread::Damaged(e.to_string()))?;
    let Value::Object(mut value) = value else { return Err(Unread::Damaged("it is no JSON object".into())) };
    let format = value.remove(FORMAT);
    let by = value.remove(WRITTEN_BY).as_ref().and_then(Value::as_str).map(program);
    known(value, format).map_err(|why| Unread::Unknown { by, why })
}

/// A program's name and version as it may be shown: whoever wrote the file chose it.
fn program(by: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || " .+-".contains(*c);
    by.chars().take(NAME_CHARS).filter(plain).collect()
}

fn known<T: Versioned>(mut value: Map<String, Value>, format: Option<Value>) -> Result<T, String> {
    let format = match format {
        Some(format) => format.as_u64().ok_or("its format is no number")?,
        None => T::WITHOUT_NUMBER.ok_or("it has no format")?.into(),
    };
    let from = u32::try_from(format).ok().filter(|from| (1..=T::FORMAT).contains(from));
    let from = from.ok_or_else(|| format!("it has format {format}, and formats 1 to {} are read", T::FORMAT))?;
    if from < T::FORMAT {
        T::migrate(&mut value, from);
    }
    strict(Value::Object(value))
}

/// Reads a value, of which nothing may be lost when it is written again.
///
/// # Errors
/// When it has another shape than the type; in words.
pub fn strict<T: Serialize + DeserializeOwned>(value: Value) -> Result<T, String> {
    let read: T = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    let again = serde_json::to_value(&read).map_err(|e| e.to_string())?;
    match lost(&value, &again, "") {
        Some(field) => Err(format!("unknown field {field}")),
        None => Ok(read),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two {
        name: String,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Old,
        New,
    }

    impl Versioned for Two {
        const FORMAT: u32 = 2;
        fn migrate(value: &mut Map<String, Value>, from: u32) {
            assert_eq!(from, 1);
            value.insert("kind".into(), "Old".into());
        }
    }

    fn read(text: &str) -> Result<Two, Unread> {
        super::read(text.as_bytes())
    }

    fn two(kind: Kind) -> Two {
        Two { name: "a".into(), kind }
    }

    #[test]
    fn a_value_comes_back_and_an_older_one_is_migrated() {
        let bytes = write(&two(Kind::New)).unwrap();
        assert!(bytes.starts_with(br#"{"format":2,"writtenBy":"ride "#), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(super::read::<Two>(&bytes), Ok(two(Kind::New)));
        assert_eq!(read(r#"{"format":1,"name":"a"}"#), Ok(two(Kind::Old)));
    }

    #[test]
    fn what_is_whole_and_not_known_is_told_apart_from_what_is_damaged() {
        let unknown = |text: &str, by: Option<&str>, why: &str| {
            let expected = Unread::Unknown { by: by.map(str::to_owned), why: why.into() };
            assert_eq!(read(text), Err(expected), "{text}");
        };
        let later = "it has format 3, and formats 1 to 2 are read";
        unknown(r#"{"format":3,"writtenBy":"ride 9.0\u001b[2J","other":1}"#, Some("ride 9.02J"), later);
        unknown(r#"{"format":0}"#, None, "it has format 0, and formats 1 to 2 are read");
        unknown(r#"{"format":"x"}"#, None, "its format is no number");
        unknown(r#"{"name":"a","kind":"Old"}"#, None, "it has no format");
        unknown(r#"{"format":2,"name":"a","kind":"New","more":1}"#, None, "unknown field more");
        unknown(r#"{"format":2,"name":"a","kind":"Newer"}"#, None, "unknown variant `Newer`, expected `Old` or `New`");
        let whole = String::from_utf8(write(&two(Kind::New)).unwrap()).unwrap();
        for torn in ["", "\0\0\0\0", "[1]", &whole[..whole.len() - 1]] {
            assert!(matches!(read(torn), Err(Unread::Damaged(_))), "{torn:?}");
        }
    }
}
