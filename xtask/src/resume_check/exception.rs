//! Where we say something else than Claude Code does, on purpose. Each is a predicate over the lines of a file.

/// One documented exception.
pub(super) struct Exception {
    /// Its name, as it is printed.
    pub name: &'static str,
    /// What it lets differ.
    pub covers: &'static [&'static str],
    /// Whether it holds for the lines of a file.
    pub holds: fn(&[u8]) -> bool,
}

/// All of them.
pub(super) const ALL: &[Exception] = &[
    // Fixture `resumed/f1`. 2.1.330 ends such a line before it writes; 2.1.197 does not, and both lines are lost.
    Exception {
        name: "the last line has no line feed",
        covers: &["refused", "chain", "damage"],
        holds: has_no_last_line_feed,
    },
];

fn has_no_last_line_feed(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|last| *last != b'\n')
}
