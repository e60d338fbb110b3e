//! The last turns of a thread, from the host's own `chat.history`.
//!
//! Read leniently: 2026.5.31 to 2026.9.6 answer the same shape (docs/hosts.md, L), and
//! what does not fit is left out. That method and not `sessions.preview`, which lacks
//! the turns typed at a terminal. Two kinds of rows are not turns and are dropped: the
//! host's copy of what it delivered, and a prompt as the older hosts word it for Claude,
//! which stands beside the one the person wrote.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::render::clean;

/// The host's method. Needs `operator.read`.
pub const HISTORY: &str = "chat.history";
/// More than a pane shows; tool results count too and are dropped here.
const MAX_ROWS: u32 = 40;
/// Of each text. Four lines of a wide pane tell what a turn was about.
const MAX_CHARS: usize = 600;
/// How the host ends a text it cut.
const CUT: &str = "\n...(truncated)...";

/// Request of `chat.history`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask<'a> {
    session_key: &'a str,
    limit: u32,
    max_chars: usize,
}

impl<'a> Ask<'a> {
    /// For the last turns of a thread.
    pub fn of(key: &'a str) -> Ask<'a> {
        Ask { session_key: key, limit: MAX_ROWS, max_chars: MAX_CHARS }
    }
}

/// Answer of `chat.history`; its rows are looked at one by one.
#[derive(Debug, Deserialize)]
pub struct History {
    #[serde(default)]
    messages: Vec<Value>,
}

/// What was said last, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// The turns' texts.
    pub said: Vec<Said>,
}

/// One text of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub by: Speaker,
    /// When, milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// Its lines, without control characters.
    pub lines: Vec<String>,
}

/// Who said something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The agent.
    Agent,
    /// Somebody in the channel, by name where the host tells it.
    Person(Option<String>),
    /// A driver at a terminal.
    Terminal,
}

impl From<History> for Preview {
    fn from(history: History) -> Preview {
        let mut rows: Vec<(Option<u64>, Said)> =
            history.messages.iter().filter_map(|row| Some((row["__openclaw"]["seq"].as_u64(), said(row)?))).collect();
        // The host orders by time, and a channel's times are whole seconds: a prompt would
        // stand before the answer it follows. Its own rows have a number, and keep it.
        let mut own: Vec<(u64, Said)> = rows.iter().filter_map(|(seq, said)| Some(((*seq)?, said.clone()))).collect();
        own.sort_by_key(|(seq, _)| *seq);
        for ((_, place), (_, said)) in rows.iter_mut().filter(|(seq, _)| seq.is_some()).zip(own) {
            *place = said;
        }
        Preview { said: rows.into_iter().map(|(_, said)| said).collect() }
    }
}

fn said(row: &Value) -> Option<Said> {
    let about = &row["__openclaw"];
    let imported = about.get("importedFrom").is_some();
    let by = match row["role"].as_str()? {
        "assistant" if row.get("openclawDeliveryMirror").is_some() => return None,
        "assistant" => Speaker::Agent,
        "user" if imported && row.get("senderLabel").is_some() => return None,
        // A row of the host's own is marked as imported too (2026.9), but has its place there.
        "user" if imported && about.get("seq").is_none() => Speaker::Terminal,
        "user" => Speaker::Person(about["senderName"].as_str().map(clean).filter(|name| !name.is_empty())),
        _ => return None,
    };
    let text = text(&row["content"])?;
    let lines: Vec<String> = text.lines().map(clean).collect();
    Some(Said { by, at_ms: row["timestamp"].as_u64(), lines })
}

/// The words of a row; `None` for one that is only tools or thoughts.
fn text(content: &Value) -> Option<String> {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> =
                parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => return None,
    };
    let text = match text.strip_suffix(CUT) {
        Some(begin) => format!("{begin}…"),
        None => text,
    };
    let text = text.trim();
    // A host that does not cut must not cost more than one that does.
    let text = match text.grapheme_indices(true).nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(history: &str) -> Vec<(Speaker, String)> {
        let history: History = serde_json::from_str(history).unwrap();
        Preview::from(history).said.into_iter().map(|said| (said.by, said.lines.join("\n"))).collect()
    }

    #[test]
    fn every_host_tells_the_same_turns() {
        let tess = || Speaker::Person(Some("Tess".into()));
        let check = |history: &str, tess: Speaker, answers: [&str; 3]| {
            let texts = ["hello", "the second from the chat 日本 😀", "typed at the terminal"];
            let expected: Vec<_> = [tess.clone(), tess, Speaker::Terminal]
                .into_iter()
                .zip(texts)
                .zip(answers)
                .flat_map(|((by, text), answer)| [(by, text.to_owned()), (Speaker::Agent, format!("{answer}: {text}"))])
                .collect();
            assert_eq!(read(history), expected);
        };
        check(
            include_str!("../../../../fixtures/openclaw/2026.9.6/chat-history.json"),
            tess(),
            ["echo[1]", "echo[2]", "echo[3]"],
        );
        check(
            include_str!("../../../../fixtures/openclaw/2026.8.2/chat-history.json"),
            tess(),
            ["echo[1]", "echo[2]", "echo[3]"],
        );
        check(
            include_str!("../../../../fixtures/openclaw/2026.7.1/chat-history.json"),
            tess(),
            ["echo[1]", "echo[2]", "echo[3]"],
        );
        // There the second turn began a new Claude session, and nobody has a name.
        let nobody = Speaker::Person(None);
        check(
            include_str!("../../../../fixtures/openclaw/2026.6.35/chat-history.json"),
            nobody.clone(),
            ["echo[1]", "echo[1]", "echo[2]"],
        );
        check(
            include_str!("../../../../fixtures/openclaw/2026.6.1/chat-history.json"),
            nobody,
            ["echo[1]", "echo[1]", "echo[2]"],
        );
    }

    #[test]
    fn what_is_no_turn_is_left_out() {
        let history = json!({"kind": "newer", "messages": [
            {"role": "system", "content": "no"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "name": "Bash"}]},
            {"role": "toolResult", "content": "no"},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " look\r\n\u{1b}[31mhere\u{7}\t! "}]},
            {"role": "assistant", "content": "half\n...(truncated)..."},
            {"role": "assistant", "content": "x".repeat(10_000)},
            {"content": "nobody"}, 7, null,
        ]});
        let person = Speaker::Person(None);
        let long = "x".repeat(MAX_CHARS) + "…";
        let expected =
            [(person, "look\n[31mhere !".to_owned()), (Speaker::Agent, "half…".into()), (Speaker::Agent, long)];
        assert_eq!(read(&history.to_string()), expected);
        assert_eq!(read("{}"), []);
    }
}
