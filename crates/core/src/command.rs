//! Commands in the chat while a thread is ridden: which pass, which are refused.
//!
//! The table per host stands in `docs/protocol.md`. Commands that only show
//! something pass, and only as the host itself takes them for a command: with other
//! words behind them every host from 2026.6.1 to 2026.9.6 gives those to the agent.
//! Every other command is refused and never queued: handed over later it would run
//! unauthorised, or change the conversation the driver knows.

/// What a message is to the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A message.
    None,
    /// Shows something and changes nothing, or takes the thread back from its driver.
    ReadOnly,
    /// Any other command; its name.
    Other(&'a str),
}

/// With what must follow: a bare `/usage` switches the usage footer on or off.
const READ_ONLY: [(&str, &str); 11] = [
    ("status", ""),
    ("help", ""),
    ("commands", ""),
    ("whoami", ""),
    ("id", ""),
    ("usage", "cost"),
    ("tools", ""),
    ("tasks", ""),
    ("context", ""),
    // Our own, where a channel has no native commands.
    ("ride", ""),
    ("unride", ""),
];

/// Reads the first word of a message. `/status@my_bot` is `/status`; a path is no command.
pub fn of(text: &str) -> Command<'_> {
    let Some(word) = text.strip_prefix('/').and_then(|rest| rest.split_whitespace().next()) else {
        return Command::None;
    };
    let name = word.split(['@', ':']).next().unwrap_or(word);
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let bot = word[name.len()..].strip_prefix('@').is_some_and(|bot| !bot.contains(':'));
    let rest = text[1 + word.len()..].trim();
    if text.starts_with("/ ") || !named {
        Command::None
    } else if (bot || name == word) && READ_ONLY.iter().any(|(n, more)| n.eq_ignore_ascii_case(name) && rest == *more) {
        Command::ReadOnly
    } else {
        Command::Other(name)
    }
}
