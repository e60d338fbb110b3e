//! What we say of one transcript, and whether the real Claude Code agrees.

use std::path::Path;

use ride_core::transcript::Rules;
use ride_core::wire::ChainMark;
use ride_store::claude::{Look, Summary, chain_mark, continues_at, is_quiet, show_chain, summary, why_not_resumed};
use ride_testkit::resume::{PROMPT, Resumed};
use serde_json::Value;
use uuid::Uuid;

use super::exception::ALL;

/// Longest beginning of a prompt that is looked for in what was sent: hosts cut long ones.
const LABEL_CHARS: usize = 40;

/// Something that differs: of which version, what, and how.
pub(super) struct Difference {
    version: String,
    what: &'static str,
    how: String,
}

/// What came out for one file.
pub(super) enum Verdict {
    /// Everything is as Claude Code does it.
    Same,
    /// Something is not.
    Differs(Vec<Difference>),
    /// A documented exception covers what differs.
    Except(&'static str),
    /// It has no line of a Claude session.
    NoTranscript,
}

impl Verdict {
    pub(super) const DIFFERS: &str = "differs";
    pub(super) const EXCEPTION: &str = "exception";

    /// `refused` says that no adoption was allowed. Only then an exception counts.
    pub(super) fn of(bytes: &[u8], differences: Vec<Difference>, refused: bool) -> Verdict {
        if differences.is_empty() {
            return Verdict::Same;
        }
        let covers = |covered: &[&str]| differences.iter().all(|difference| covered.contains(&difference.what));
        match ALL.iter().find(|exception| refused && covers(exception.covers) && (exception.holds)(bytes)) {
            Some(exception) => Verdict::Except(exception.name),
            None => Verdict::Differs(differences),
        }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Differs(_) => Self::DIFFERS,
            Verdict::Except(_) => Self::EXCEPTION,
            Verdict::NoTranscript => "skipped",
        }
    }

    pub(super) fn details(&self) -> String {
        match self {
            Verdict::Same => String::new(),
            Verdict::Differs(all) => {
                all.iter().map(|one| format!("; {} {}: {}", one.version, one.what, one.how)).collect()
            }
            Verdict::Except(name) => format!(": {name}"),
            Verdict::NoTranscript => ": no line names a Claude session".to_owned(),
        }
    }
}

/// The lines that can be read.
pub(super) fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// What we say before Claude Code resumes.
pub(super) struct Said {
    version: String,
    place: Result<Option<Uuid>, String>,
    mark: Result<ChainMark, String>,
    quiet: bool,
    refused: Result<Option<String>, String>,
    label: Result<Summary, String>,
}

impl Said {
    pub(super) fn of(path: &Path, version: &str) -> Said {
        let text = |e: ride_store::claude::ClaudeError| e.to_string();
        let rules = Rules::of(version).ok_or_else(|| format!("no rules for Claude Code {version}"));
        Said {
            version: version.to_owned(),
            place: rules.and_then(|rules| continues_at(path, rules).map_err(text)),
            mark: chain_mark(path).map_err(text),
            quiet: is_quiet(path).unwrap_or(false),
            refused: why_not_resumed(path).map_err(text),
            label: summary(path).map_err(text),
        }
    }

    /// Whether an adoption is refused.
    pub(super) fn is_refused(&self) -> bool {
        !matches!(self.refused, Ok(None))
    }

    /// What of it is not so.
    pub(super) fn compare(self, before: &[Value], path: &Path, done: &Resumed) -> Vec<Difference> {
        let mut all = Vec::new();
        let mut differs = |what, how: String| all.push(Difference { version: self.version.clone(), what, how });
        let Ok(first) = done.first() else {
            // Claude Code found no conversation.
            if let Ok(Some(place)) = self.place {
                differs("mark", format!("Claude Code does not resume it, we say {place}"));
            }
            if matches!(self.refused, Ok(None)) {
                differs("adopted", "Claude Code does not resume it, we adopt it".to_owned());
            }
            return all;
        };
        let below = first["parentUuid"].as_str().and_then(|id| Uuid::try_parse(id).ok());
        match &self.place {
            Ok(place) if *place == below => {}
            Ok(place) => differs("mark", format!("it goes on below {}, we say {}", name(below), name(*place))),
            Err(why) => differs("mark", format!("it goes on below {}, we say: {why}", name(below))),
        }
        let shown = self.mark.as_ref().map_err(String::clone).and_then(show);
        match (&shown, done.damaged) {
            (Ok(()), false) => {}
            (Ok(()), true) => differs("damage", "its line and the last one became one".to_owned()),
            (Err(why), _) => differs("chain", why.clone()),
        }
        match how_resumed(first, before) {
            How::TookUp if self.quiet => {
                differs("end", "it takes a turn up again, we say that none is under way".to_owned())
            }
            How::WentOn if !self.quiet => {
                differs("end", "it sees nothing unfinished, we say that a turn is under way".to_owned())
            }
            _ => {}
        }
        match (&self.refused, shown.is_ok() && !done.damaged && self.quiet) {
            (Ok(None), true) | (Ok(Some(_)) | Err(_), false) => {}
            (Ok(None), false) => differs("adopted", "we adopt it, and it could not be handed back".to_owned()),
            (Ok(Some(why)) | Err(why), true) => differs("refused", format!("Claude Code resumes it, we refuse: {why}")),
        }
        if let Err(how) =
            self.label.as_ref().map_err(String::clone).and_then(|label| check_label(label, before, path, done))
        {
            differs("label", how);
        }
        all
    }
}

enum How {
    /// With the prompt: nothing was unfinished.
    WentOn,
    /// It answered the last user line by itself: an unanswered prompt, or an interruption.
    Answered,
    /// It gave a tool call a result, or told the model to continue.
    TookUp,
}

fn how_resumed(first: &Value, before: &[Value]) -> How {
    let content = first["message"]["content"].to_string();
    match first["type"].as_str() {
        Some("user") if content.contains("\"tool_result\"") => How::TookUp,
        Some("user") if content.contains("Continue from where you left off") => match ends_with_result(before) {
            true => How::TookUp,
            false => How::Answered,
        },
        Some("assistant") => How::Answered,
        _ => How::WentOn,
    }
}

/// 2.1.197 also tells the model to continue behind an error of the model's service, a local command, and an
/// interruption that it joined with the line before: there nothing is under way.
fn ends_with_result(before: &[Value]) -> bool {
    let said =
        |line: &&Value| matches!(line["type"].as_str(), Some("user" | "assistant")) && line["isSidechain"] != true;
    let Some(last) = before.iter().rev().find(said) else { return false };
    let blocks = last["message"]["content"].as_array();
    blocks.is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
}

fn show(mark: &ChainMark) -> Result<(), String> {
    match show_chain(mark) {
        Ok(Look::Shown { .. }) => Ok(()),
        Ok(Look::Broken(broken)) => Err(broken.to_string()),
        Ok(other) => Err(format!("{other:?}")),
        Err(e) => Err(e.to_string()),
    }
}

/// A label must be there, come from the conversation, and follow it.
fn check_label(label: &Summary, before: &[Value], path: &Path, done: &Resumed) -> Result<(), String> {
    let prompt = label.last_prompt.as_deref().filter(|prompt| !prompt.trim().is_empty());
    if label.title.is_none() && prompt.is_none() {
        return Err("it has none".to_owned());
    }
    let compacted = done.sent.iter().any(|turn| turn.saw("being continued from a previous conversation"));
    let begin: String = squeezed(prompt.unwrap_or_default()).chars().take(LABEL_CHARS).collect();
    let sent = || done.sent.iter().any(|turn| turn.texts().any(|(_, text)| squeezed(text).contains(&begin)));
    // What the host itself notes as the last prompt need not be in what it reads of the conversation.
    if !begin.is_empty() && !compacted && !done.sent.is_empty() && !noted(before, &begin) && !sent() {
        return Err(format!("the prompt {begin:?} is not in the conversation"));
    }
    let after = summary(path).map_err(|e| e.to_string())?;
    if after.last_prompt.as_deref() != Some(PROMPT) {
        return Err(format!("after the prompt {PROMPT:?} it says {:?}", after.last_prompt));
    }
    if label.title.is_some() && after.title != label.title {
        return Err(format!("the title {:?} became {:?}", label.title, after.title));
    }
    Ok(())
}

fn noted(lines: &[Value], begin: &str) -> bool {
    lines.iter().any(|line| line["lastPrompt"].as_str().is_some_and(|prompt| squeezed(prompt).contains(begin)))
}

/// Without white space, which hosts change.
fn squeezed(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace() && *letter != '…').collect()
}

fn name(id: Option<Uuid>) -> String {
    id.map_or("nothing".to_owned(), |id| id.to_string())
}
