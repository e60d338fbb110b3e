//! What is taken for lines of a transcript. They are looked at, never acted on.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, Read};

use ride_core::limits::{META_BYTES, META_DEPTH};
use ride_core::transcript::MAX_LINE_BYTES;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

/// Lines of one range that a crash may have torn: Claude Code ends such a line and goes on.
const MAX_TORN: usize = 16;

/// Whether a file is what Claude Code keeps beside a subagent's transcript: one JSON object.
pub(super) fn is_meta(file: &str) -> bool {
    file.ends_with(".meta.json")
}

/// A line that is none of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Which of the range, from 1.
    pub line: u64,
    /// What is wrong, in words that follow "line n of the range".
    pub what: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    session_id: Option<Cow<'a, str>>,
}

/// Looks at one JSON object, however it is laid out. Nothing of it is kept: a tree of it takes a hundred times its size.
fn check_object(range: impl Read) -> Result<(), BadLine> {
    let mut json = serde_json::Deserializer::from_reader(range.take(META_BYTES + 1));
    let read = Values { left: META_DEPTH, object: true }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|_| BadLine { line: 1, what: "is no JSON object, or is nested too deeply" })
}

/// Any JSON value, read and forgotten.
struct Values {
    /// How many levels more may follow.
    left: usize,
    /// Only an object is taken.
    object: bool,
}

impl Values {
    fn inner<E: de::Error>(&self) -> Result<Values, E> {
        let left = self.left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Values { left, object: false })
    }

    fn plain<E: de::Error>(self) -> Result<(), E> {
        if self.object { Err(E::custom("no object")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Values {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(self.inner()?)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.object {
            return Err(de::Error::custom("no object"));
        }
        while seq.next_element_seed(self.inner()?)?.is_some() {}
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.plain()
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.plain()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.plain()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.plain()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.plain()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.plain()
    }
}

/// Looks at every line of a range of a file.
pub(super) fn check(mut range: impl BufRead, file: Option<&str>, session: Uuid) -> Result<(), BadLine> {
    if file.is_some_and(is_meta) {
        return check_object(range);
    }
    let (mut line, mut nth, mut torn) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        nth += 1;
        let bad = |what| BadLine { line: nth, what };
        let read = range.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|_| bad("cannot be read"))? == 0 {
            return Ok(());
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(bad("is over 64 MiB"));
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Line<'_>>(text) {
            Ok(line) => {
                let turn = matches!(line.kind.as_ref(), "user" | "assistant" | "attachment" | "system");
                let own = line.session_id.is_none_or(|id| id.parse() == Ok(session));
                if turn && !own {
                    return Err(bad("is of another Claude session"));
                }
            }
            Err(_) if text.starts_with(b"{") || text.contains(&0) => {
                torn += 1;
                if torn > MAX_TORN {
                    return Err(bad("is torn, as too many before it"));
                }
            }
            Err(_) => return Err(bad("is no line of a transcript")),
        }
    }
}
