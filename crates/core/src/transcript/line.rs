//! One transcript line as Claude Code writes it. Lenient: unknown fields are
//! skipped and a field of an unexpected type reads as absent; only a line that
//! is no JSON object is an error.

use serde::Deserialize;
use serde::de::{Deserializer as _, Error, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

/// What the first pass looks at. `message`, most of the bytes, is skipped unread.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Line<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Field<'a>,
    #[serde(borrow)]
    pub subtype: Field<'a>,
    #[serde(borrow)]
    pub uuid: Field<'a>,
    #[serde(borrow)]
    pub parent_uuid: Field<'a>,
    #[serde(borrow)]
    pub logical_parent_uuid: Field<'a>,
    #[serde(borrow)]
    pub leaf_uuid: Field<'a>,
    #[serde(borrow)]
    pub explicit: Field<'a>,
    #[serde(borrow)]
    pub last_prompt: Field<'a>,
    #[serde(borrow)]
    pub custom_title: Field<'a>,
    #[serde(borrow)]
    pub ai_title: Field<'a>,
    #[serde(borrow)]
    pub summary: Field<'a>,
    #[serde(borrow)]
    pub cwd: Field<'a>,
    #[serde(borrow)]
    pub is_sidechain: Field<'a>,
    #[serde(borrow)]
    pub compact_metadata: Field<'a>,
}

impl Line<'_> {
    /// Reads a line; `None` when it is no JSON object.
    pub fn parse(bytes: &[u8]) -> Option<Line<'_>> {
        // serde would take an array for a struct, field by field.
        let object = bytes.trim_ascii_start().starts_with(b"{");
        object.then(|| serde_json::from_slice(bytes).ok()).flatten()
    }
}

/// A field not yet interpreted, so that no odd value can fail the line.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Field<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl<'a> Field<'a> {
    /// The value as it stands in the file; `null` is absent.
    pub fn raw(&self) -> Option<&'a str> {
        self.0.map(RawValue::get).filter(|raw| *raw != "null")
    }

    /// A string with nothing escaped, as ids and type names are.
    pub fn plain(&self) -> Option<&'a str> {
        self.raw()?.strip_prefix('"')?.strip_suffix('"')
    }

    pub fn uuid(&self) -> Option<Uuid> {
        self.plain().and_then(|s| Uuid::try_parse(s).ok())
    }

    pub fn is_true(&self) -> bool {
        self.raw() == Some("true")
    }

    /// Absent, `null`, `false`, `0` or empty.
    pub fn is_falsy(&self) -> bool {
        matches!(self.raw(), None | Some("\"\"" | "false" | "0"))
    }

    /// Any string. The host cuts texts at UTF-16 units, so half a character
    /// may stand at the end; it reads as U+FFFD.
    pub fn text(&self) -> Option<String> {
        let raw = self.raw().filter(|raw| raw.starts_with('"'))?;
        let mut json = serde_json::Deserializer::from_str(raw);
        json.deserialize_bytes(Lossy).ok()
    }
}

struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}
