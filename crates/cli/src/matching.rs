//! Words to one thread: every word must occur somewhere in the row. An exact key
//! wins, then the one thread with exactly that title. Nothing is guessed: several
//! fitting threads are an error that lists them.

use std::fmt;

use ride_core::text::Foreign;
use ride_core::wire::Row;

use crate::render::{clean, cut};

/// How many threads an error lists.
const MAX_LISTED: usize = 12;
/// Of the words themselves, in columns: a pasted page is no search.
const MAX_WORDS: usize = 80;

/// Words that fit no thread, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatch {
    words: String,
    /// Those that fit; empty when none does.
    fitting: Vec<String>,
    /// All there are, when none fits.
    known: Vec<String>,
}

/// Whether every word occurs somewhere in the row.
pub fn fits(row: &Row, words: &[String]) -> bool {
    let text = haystack(row);
    words.iter().flat_map(|word| word.split_whitespace()).all(|word| text.contains(&word.to_lowercase()))
}

/// Finds the one row that fits.
pub fn find<'a>(rows: &'a [Row], words: &[String]) -> Result<&'a Row, NoMatch> {
    let joined = words.join(" ");
    if let Some(row) = rows.iter().find(|row| row.key == joined) {
        return Ok(row);
    }
    let wanted = joined.to_lowercase();
    let fitting: Vec<&Row> = rows.iter().filter(|row| fits(row, words)).collect();
    let titled: Vec<&Row> = fitting.iter().copied().filter(|row| row.title.raw().to_lowercase() == wanted).collect();
    match (fitting.as_slice(), titled.as_slice()) {
        ([row], _) | (_, [row]) => Ok(row),
        ([], _) => Err(NoMatch { words: joined, fitting: Vec::new(), known: list(rows.iter()) }),
        (several, _) => Err(NoMatch { words: joined, fitting: list(several.iter().copied()), known: Vec::new() }),
    }
}

fn haystack(row: &Row) -> String {
    let [name, channel] = [&row.display_name, &row.channel].map(|part| part.as_ref().map(Foreign::raw));
    let mut text = format!("{}\n{}", row.title.raw(), row.key);
    for part in [name, row.conversation_id.as_deref(), channel].into_iter().flatten() {
        text.push('\n');
        text.push_str(part);
    }
    text.to_lowercase()
}

fn list<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    rows.map(|row| format!("{}  ({})", clean(&row.title), clean(&row.key))).collect()
}

impl NoMatch {
    /// Whether several threads fit.
    pub fn is_ambiguous(&self) -> bool {
        !self.fitting.is_empty()
    }

    /// The threads to choose from.
    pub fn hint(&self) -> Option<String> {
        let (head, rows) = match (self.fitting.is_empty(), self.known.is_empty()) {
            (false, _) => ("add a word, or give the key in parentheses:", &self.fitting),
            (true, false) => ("there are:", &self.known),
            (true, true) => return Some("the gateway has no threads yet".into()),
        };
        let mut lines = vec![head.to_owned()];
        lines.extend(rows.iter().take(MAX_LISTED).map(|row| format!("  {row}")));
        if rows.len() > MAX_LISTED {
            lines.push(format!("  and {} more", rows.len() - MAX_LISTED));
        }
        Some(lines.join("\n"))
    }
}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = cut(&self.words, MAX_WORDS);
        match self.fitting.len() {
            0 => write!(f, "no thread fits {words:?}"),
            n => write!(f, "{n} threads fit {words:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, title: &str, channel: &str) -> Row {
        let json = serde_json::json!({
            "channel": channel, "displayName": null, "title": title, "conversationId": "-100:42",
            "cliSessionId": null, "echoTarget": null, "relayReady": true, "lastActivity": null,
            "key": key, "agentId": "main", "rideable": true,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn words_to_one_thread() {
        let rows = [
            row("agent:main:telegram:group:-100:topic:42", "Deploys", "telegram"),
            row("agent:main:telegram:group:-100:topic:43", "Deploys of the shop", "telegram"),
            row("agent:main:discord:1", "Größe und Gewicht", "discord"),
        ];
        let check = |words: &[&str], expected: Result<usize, &str>| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let found = find(&rows, &words).map(|found| rows.iter().position(|row| row == found).unwrap());
            let found = found.map_err(|e| format!("{e}\n{}", e.hint().unwrap()));
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(&["agent:main:telegram:group:-100:topic:43"], Ok(1));
        check(&["shop", "TELEGRAM"], Ok(1));
        check(&["deploys"], Ok(0));
        check(
            &["GRÖSSE"],
            Err("no thread fits \"GRÖSSE\"\n\
            there are:\n  Deploys  (agent:main:telegram:group:-100:topic:42)\n  \
            Deploys of the shop  (agent:main:telegram:group:-100:topic:43)\n  \
            Größe und Gewicht  (agent:main:discord:1)"),
        );
        check(&["größe", "und"], Ok(2));
        check(
            &["tele"],
            Err("2 threads fit \"tele\"\n\
            add a word, or give the key in parentheses:\n  \
            Deploys  (agent:main:telegram:group:-100:topic:42)\n  \
            Deploys of the shop  (agent:main:telegram:group:-100:topic:43)"),
        );
    }

    #[test]
    fn nothing_to_choose_from() {
        let none = find(&[], &["x".to_owned()]).unwrap_err();
        assert_eq!(
            (none.to_string(), none.hint()),
            ("no thread fits \"x\"".into(), Some("the gateway has no threads yet".into()))
        );
    }
}
