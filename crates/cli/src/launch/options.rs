//! Which of Claude Code's own options a ride can live with.
//!
//! Refused, before anything is claimed, is what opens another conversation than the
//! thread's, what has no person at a prompt, and what keeps ride's plugin out. Everything
//! else is passed on unread: Claude Code knows its options better. Option names are those
//! of 2.1.197 and 2.1.330.

use std::ffi::OsString;

/// Why an option cannot be passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claude {option} is not possible in a ride: {why}")]
pub struct Unfit {
    /// As the person wrote it, without its value.
    pub option: String,
    /// What it would do.
    pub why: &'static str,
}

const OTHER: &str = "the ride opens the thread's own conversation, and no other goes to the thread";
const NOBODY: &str = "a ride is driven from the prompt";
const ELSEWHERE: &str = "the conversation belongs to its own folder, on this machine";
const UNGUARDED: &str = "ride's plugin would not be loaded, and prompts not be checked";
const NO_SESSION: &str = "no conversation would be opened";

const OPTIONS: [(&str, Option<char>, &str); 22] = [
    ("--continue", Some('c'), OTHER),
    ("--resume", Some('r'), OTHER),
    ("--session-id", None, OTHER),
    ("--fork-session", None, OTHER),
    ("--from-pr", None, OTHER),
    ("--teleport", None, OTHER),
    ("--print", Some('p'), NOBODY),
    ("--input-format", None, NOBODY),
    ("--output-format", None, NOBODY),
    ("--no-session-persistence", None, "what is said would not be kept"),
    ("--bg", None, "Claude Code would go on without this terminal"),
    ("--background", None, "Claude Code would go on without this terminal"),
    ("--tmux", None, "Claude Code would go on without this terminal"),
    ("--desktop", None, "Claude Code would go on without this terminal"),
    ("--cloud", None, ELSEWHERE),
    ("--environment", None, ELSEWHERE),
    ("--worktree", Some('w'), ELSEWHERE),
    ("--bare", None, UNGUARDED),
    ("--safe-mode", None, UNGUARDED),
    ("--init-only", None, NO_SESSION),
    ("--help", Some('h'), NO_SESSION),
    ("--version", Some('v'), NO_SESSION),
];

/// Looks for an option that would break the ride.
///
/// # Errors
/// The first of them.
pub fn check(extra: &[OsString]) -> Result<(), Unfit> {
    let words = extra.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    for word in words {
        let name = word.split('=').next().unwrap_or_default();
        // Of several letters in one word only the first can be an option: the others are
        // its value, or it is refused itself.
        let letter = word.strip_prefix('-').filter(|rest| !rest.starts_with('-')).and_then(|rest| rest.chars().next());
        let fits = |option: &&(&str, Option<char>, &str)| option.0 == name || letter.is_some() && option.1 == letter;
        if let Some((_, _, why)) = OPTIONS.iter().find(fits) {
            let option = letter.map_or_else(|| name.to_owned(), |letter| format!("-{letter}"));
            return Err(Unfit { option, why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_ride_is_named() {
        let check = |words: &str, expected: Option<(&str, &str)>| {
            let extra: Vec<OsString> = words.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect();
            let found = check(&extra).err();
            let found = found.as_ref().map(|unfit| (unfit.option.as_str(), unfit.why));
            assert_eq!(found, expected, "{words:?}");
        };
        check("", None);
        check("--model opus --add-dir ../lib --permission-mode plan", None);
        check("-d hooks -n ride --verbose", None);
        check("explain --resume=1", Some(("--resume", OTHER)));
        check("-- --resume 1", None);
        check("--fork-session", Some(("--fork-session", OTHER)));
        check("--session-id 1", Some(("--session-id", OTHER)));
        check("--model opus -c", Some(("-c", OTHER)));
        check("-r1", Some(("-r", OTHER)));
        check("-p", Some(("-p", NOBODY)));
        check("-pc", Some(("-p", NOBODY)));
        check("--no-session-persistence", Some(("--no-session-persistence", "what is said would not be kept")));
        check("--bg", Some(("--bg", "Claude Code would go on without this terminal")));
        check("--bare", Some(("--bare", UNGUARDED)));
        check("--resumed", None);
        check("-", None);
    }
}
