//! Commands in the chat while a thread is ridden: which pass, which are refused.
//!
//! The table per host stands in `docs/protocol.md`. Commands that only read
//! pass; commands that would change the conversation under the driver are
//! refused and never queued; any other text with a slash is a message.

/// What a message is to the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A message.
    None,
    /// Shows something and changes nothing.
    ReadOnly,
    /// Would change the conversation; its name.
    Changes(&'a str),
}

const READ_ONLY: [&str; 6] = ["status", "help", "commands", "whoami", "id", "usage"];
const CHANGES: [&str; 16] = [
    "new", "reset", "compact", "model", "models", "think", "verbose", "reasoning", "elevated", "exec", "queue",
    "activation", "send", "fast", "restart", "config",
];

/// Reads the first word of a message. `/status@my_bot` is `/status`.
pub fn of(text: &str) -> Command<'_> {
    let Some(word) = text.strip_prefix('/').and_then(|rest| rest.split_whitespace().next()) else { return Command::None };
    let name = word.split(['@', ':']).next().unwrap_or(word);
    if READ_ONLY.contains(&name) {
        Command::ReadOnly
    } else if CHANGES.contains(&name) {
        Command::Changes(name)
    } else {
        Command::None
    }
}
