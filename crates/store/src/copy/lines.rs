//! What is taken for lines of a transcript. They are looked at, never acted on.

use std::borrow::Cow;
use std::io::{BufRead, Read as _};

use ride_core::transcript::MAX_LINE_BYTES;
use serde::Deserialize;
use uuid::Uuid;

/// Lines of one range that a crash may have torn: Claude Code ends such a line and goes on.
const MAX_TORN: usize = 16;

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

/// Looks at every line of a range of a file.
pub(super) fn check(mut range: impl BufRead, file: Option<&str>, session: Uuid) -> Result<(), BadLine> {
    if file.is_some_and(|name| name.ends_with(".meta.json")) {
        // One object, however it is laid out.
        let object = serde_json::from_reader::<_, serde_json::Map<String, serde_json::Value>>(range);
        return object.map(drop).map_err(|_| BadLine { line: 1, what: "is no JSON object" });
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
