//! Commands in the chat while a thread is ridden: which pass, which are refused.
//!
//! The table per host stands in `docs/protocol.md`. Commands that only show
//! something pass. Every other one is refused and never queued: handed over
//! later it would run unauthorised, or change the conversation the driver knows.

/// What a message is to the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A message.
    None,
    /// Shows something and changes nothing.
    ReadOnly,
    /// Any other command; its name.
    Other(&'a str),
}

const READ_ONLY: [&str; 6] = ["status", "help", "commands", "whoami", "id", "usage"];

/// Reads the first word of a message. `/status@my_bot` is `/status`; a path is no command.
pub fn of(text: &str) -> Command<'_> {
    let Some(word) = text.strip_prefix('/').and_then(|rest| rest.split_whitespace().next()) else {
        return Command::None;
    };
    let name = word.split(['@', ':']).next().unwrap_or(word);
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if text.starts_with("/ ") || !named {
        Command::None
    } else if READ_ONLY.contains(&name) {
        Command::ReadOnly
    } else {
        Command::Other(name)
    }
}
