//! What the model says: chosen by directives in the last thing the user wrote.
//!
//! | directive | answer |
//! | --- | --- |
//! | none | `echo[N]: <what the user wrote>`, N counting the user's turns |
//! | `::say TEXT` | TEXT, to the end of the line |
//! | `::len N` | N words |
//! | `::sleep S` | waits S seconds first |
//! | `::slow S` | spreads the streamed text over S seconds |
//! | `::gate NAME` | waits until the test opens that gate |
//! | `::tool NAME {json}` | uses the tool, then answers `tool-done: <result>` |
//! | `::err CODE` | that HTTP error |
//!
//! `::` because `@`, `!`, `#` and `/` mean something to Claude Code's prompt.

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{Kind, Recorded};

/// The longest a prompt can hold its own answer.
pub const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// What OpenClaw's own runner puts around context.
const RUNNER_CONTEXT: (&str, &str) = ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>");

/// How it begins the message with context that 2026.6 to 2026.8 append.
const OLDER_CONTEXT: &str = "OpenClaw runtime context for the ";

/// The longest echo, so that a huge prompt does not come back whole.
const MAX_ECHO: usize = 2000;

/// A scripted answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Tool name and input.
    pub(super) tool: Option<(String, Value)>,
    pub(super) error: Option<u16>,
    pub(super) sleep: Duration,
    pub(super) spread: Duration,
    pub(super) gate: Option<String>,
}

pub(super) fn answer(request: &Recorded) -> Answer {
    let text = |text: &str| Answer { text: text.into(), ..Answer::default() };
    match request.kind {
        Kind::Title => {
            return text(&json!({ "title": "Stand-in title", "branch": "stand-in" }).to_string());
        }
        Kind::Compact => {
            return text("<analysis>none</analysis><summary>STAND-IN SUMMARY</summary>");
        }
        Kind::Quota => return text("q"),
        _ => {}
    }
    if let Some(result) = tool_result(&request.body) {
        return text(&format!("tool-done: {}", shortened(&result)));
    }
    let words = last_words(&request.body);
    let mut answer = Answer {
        sleep: seconds(&words, "::sleep "),
        spread: seconds(&words, "::slow "),
        gate: argument(&words, "::gate ").and_then(|rest| rest.split_whitespace().next()).map(str::to_owned),
        error: number(&words, "::err ").map(|code| code as u16),
        tool: argument(&words, "::tool ").and_then(tool),
        ..Answer::default()
    };
    answer.text = if answer.tool.is_some() {
        "using a tool".into()
    } else if let Some(said) = argument(&words, "::say ") {
        said.lines().next().unwrap_or_default().into()
    } else if let Some(count) = number(&words, "::len ") {
        (0..count as usize).map(|index| format!("w{index}")).collect::<Vec<_>>().join(" ")
    } else {
        format!("echo[{}]: {}", user_turns(&request.body), shortened(&words))
    };
    answer
}

/// What follows a directive, to the end of the text.
fn argument<'a>(words: &'a str, directive: &str) -> Option<&'a str> {
    words.find(directive).map(|at| &words[at + directive.len()..])
}

fn number(words: &str, directive: &str) -> Option<f64> {
    let written = argument(words, directive)?.split_whitespace().next()?;
    written.parse().ok().filter(|number: &f64| *number >= 0.0)
}

fn seconds(words: &str, directive: &str) -> Duration {
    let seconds = number(words, directive).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_HOLD).min(LONGEST_HOLD)
}

/// Tool name and input; text after the JSON object is ignored.
fn tool(rest: &str) -> Option<(String, Value)> {
    let (name, input) = rest.trim_start().split_once(' ')?;
    let input = serde_json::Deserializer::from_str(input).into_iter::<Value>().next()?.ok()?;
    Some((name.into(), input))
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_ECHO).collect()
}

fn users(body: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().filter(|message| message["role"] == "user").map(|message| &message["content"])
}

fn user_turns(body: &Value) -> usize {
    users(body).filter(|content| words_in(content).is_some()).count()
}

/// What the user wrote last, without what hosts put around it.
pub(super) fn last_words(body: &Value) -> String {
    last_message(body).and_then(words_in).unwrap_or_default()
}

/// The last user message, but for the one that OpenClaw's own runner appends with context alone.
fn last_message(body: &Value) -> Option<&Value> {
    let is_context = |content: &&Value| {
        let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut texts = blocks.iter().map(|block| block["text"].as_str().unwrap_or_default());
        !blocks.is_empty() && texts.all(|text| text.starts_with(RUNNER_CONTEXT.0) || text.starts_with(OLDER_CONTEXT))
    };
    users(body).rev().find(|content| !is_context(content))
}

/// The last text block that is more than context.
fn words_in(content: &Value) -> Option<String> {
    if let Value::String(text) = content {
        return Some(without_context(text)).filter(|words| !words.is_empty());
    }
    let blocks = content.as_array()?.iter().rev();
    let texts = blocks.filter_map(|block| block["text"].as_str());
    texts.map(without_context).find(|words| !words.is_empty())
}

/// Removes Claude Code's reminders and the gateway's blocks before the user's text.
fn without_context(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<system-reminder>") {
        kept.push_str(before);
        rest = after.split_once("</system-reminder>").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    let mut words = kept.trim();
    // 2026.6 starts a fresh Claude session for some turns and retells the old one before the message.
    if let Some((_, message)) = words.rsplit_once("<next_user_message>") {
        words = message.trim_end_matches("</next_user_message>").trim();
    }
    loop {
        let context = words
            .strip_prefix(RUNNER_CONTEXT.0)
            .map(|rest| rest.split_once(RUNNER_CONTEXT.1).map_or("", |(_, after)| after));
        // The time stands before the context, after it, or in both places (2026.6.1).
        let after = context
            .or_else(|| after_time(words))
            .or_else(|| after_notice(words))
            .or_else(|| after_gateway_block(words));
        let Some(after) = after else { break };
        words = after.trim_start();
    }
    words.into()
}

/// What follows the time that OpenClaw puts before a message: `[Thu 2026-11-26 20:20 UTC] `.
fn after_time(text: &str) -> Option<&str> {
    let (time, after) = text.strip_prefix('[')?.split_once("] ")?;
    (time.ends_with(" UTC") && time.len() < 32).then_some(after)
}

/// What follows OpenClaw's word that a session goes on with a changed prompt, or that a message had waited.
fn after_notice(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix("[Queued user message that arrived while the previous turn was still active]")
    {
        return Some(rest);
    }
    text.strip_prefix("OpenClaw resumed this CLI session after ")
        .map(|rest| rest.split_once("\n\n").map_or("", |(_, after)| after))
}

/// What follows a leading block in which OpenClaw tells who wrote where, and what was said before:
/// a label (`… ⟦openclaw:ctx⟧` from 2026.8, `… (untrusted …):` before), then JSON in a fence or
/// `#id …` lines up to a blank one.
fn after_gateway_block(text: &str) -> Option<&str> {
    let (label, rest) = text.split_once('\n')?;
    let older = label.contains("(untrusted") && label.ends_with(':');
    if !older && !label.ends_with("⟦openclaw:ctx⟧") {
        return None;
    }
    if let Some(fenced) = rest.strip_prefix("```json\n") {
        return fenced.split_once("\n```").map(|(_, after)| after);
    }
    let mut rest = rest;
    while rest.starts_with('#') {
        rest = rest.split_once("\n\n").map_or("", |(_, after)| after);
    }
    Some(rest)
}

/// The tool results of the last user message, if it is one.
fn tool_result(body: &Value) -> Option<String> {
    let blocks = last_message(body)?.as_array()?;
    let results = blocks.iter().filter(|block| block["type"] == "tool_result").map(|block| match &block["content"] {
        Value::String(text) => text.clone(),
        content => {
            let texts = content.as_array().into_iter().flatten().filter_map(|inner| inner["text"].as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
    });
    Some(results.collect::<Vec<_>>().join(" | ")).filter(|_| blocks.iter().any(|block| block["type"] == "tool_result"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Value {
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "<system-reminder>\nmemory\n</system-reminder>" }, { "type": "text", "text": text }] }] })
    }

    #[test]
    fn finds_what_the_user_wrote() {
        let check = |text: &str, expected: &str| assert_eq!(last_words(&body(text)), expected, "{text}");
        check("hello", "hello");
        check("two\nlines <system-reminder>x</system-reminder>", "two\nlines");
        check(
            "Conversation info: ⟦openclaw:ctx⟧\n```json\n{\"a\":1}\n```\n\nContext: ⟦openclaw:ctx⟧\n```json\n[]\n```\n\nhi\nyou",
            "hi\nyou",
        );
        let before = "Conversation context (untrusted, chronological, selected for current message):\n\
            #12 2026-11-23 OpenClaw: echo[1]: ::say first\n\n";
        check(&format!("{before}second\n\nwords"), "second\n\nwords");
        check(
            &format!(
                "Continue.\n<conversation_history>\nUser: a\n</conversation_history>\n\n\
                <next_user_message>\nSender (untrusted metadata):\n```json\n{{}}\n```\n\n{before}hi\n</next_user_message>"
            ),
            "hi",
        );
        check("[Thu 2026-11-26 20:20 UTC] Conversation info: ⟦openclaw:ctx⟧\n```json\n{}\n```\n\nhi", "hi");
        check("[draft] hi", "[draft] hi");
        let resumed = "OpenClaw resumed this CLI session after prompt content changed. Follow the turn; changed=prompt-tools.\n\n";
        check(&format!("{resumed}Conversation info: ⟦openclaw:ctx⟧\n```json\n{{}}\n```\n\n{before}hi"), "hi");
        check(&format!("{resumed}hi"), "hi");
        check("[Queued user message that arrived while the previous turn was still active]\nhi", "hi");
        let sender = "Sender (untrusted metadata):\n```json\n{}\n```\n\n";
        check(&format!("[Thu 2026-11-26 20:20 UTC] {sender}[Thu 2026-11-26 20:20 UTC] hi"), "hi");
        check("Sender (untrusted metadata):\n```json\n{}\n```\n\nhi", "hi");
        check("my code:\nsee\n```json\n{}\n```", "my code:\nsee\n```json\n{}\n```");
    }

    #[test]
    fn context_that_the_runner_appends_is_not_the_last_message() {
        let context = format!("{}\nwho wrote\n{}", RUNNER_CONTEXT.0, RUNNER_CONTEXT.1);
        let message = |content: Value| json!({ "role": "user", "content": content });
        let text = |text: &str| json!([{ "type": "text", "text": text }]);
        let asked = json!({ "messages": [message(text("hi")), message(text(&context))] });
        assert_eq!(last_words(&asked), "hi");
        let result = json!([{ "type": "tool_result", "content": "done" }]);
        let used = json!({ "messages": [message(text("hi")), message(text(&context)), message(result), message(text(&context))] });
        assert_eq!(tool_result(&used).as_deref(), Some("done"));
    }

    #[test]
    fn directives_choose_the_answer() {
        let request = |text: &str| Recorded {
            at: std::time::SystemTime::UNIX_EPOCH,
            method: "POST".into(),
            path: "/v1/messages".into(),
            headers: Default::default(),
            body: body(text),
            kind: Kind::Turn,
        };
        let check = |text: &str, expected: &str| assert_eq!(answer(&request(text)).text, expected, "{text}");
        check("hello", "echo[1]: hello");
        check("::say yes, master\nmore", "yes, master");
        check("::len 3", "w0 w1 w2");
        assert_eq!(answer(&request("::err 529")).error, Some(529));
        assert_eq!(answer(&request("::sleep 1.5 then")).sleep, Duration::from_millis(1500));
        let used = answer(&request("please ::tool Bash {\"command\":\"ls -l\"} now")).tool;
        assert_eq!(used, Some(("Bash".into(), json!({ "command": "ls -l" }))));
    }
}
