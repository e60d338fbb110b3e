//! The mirror of finished turns: what stands in `about.json`, and what is done when a
//! transcript is looked at again.
//!
//! Invariant: the first `size` bytes of the file that `about.json` names are whole lines
//! of the transcript, to the end of a finished turn. Replacing `about.json` is the one
//! step that makes anything count; what stands beside or behind it does not. Deliberately
//! absent: files and time.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Of `about.json`; another one is refused and left alone.
pub const FORMAT: u32 = 1;

/// Transcripts of a session that were replaced by others and are still kept: the source
/// was rewritten after each, which a host does not do by itself.
pub const FORMER: usize = 3;

/// Claude sessions in one folder; each has one folder of its own in it.
pub const SESSIONS: usize = 4_096;

/// Files beside one transcript; a turn with many subagents has some dozens.
pub const BESIDE: usize = 4_096;

/// One mirrored Claude session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// Which Claude session.
    pub session: Uuid,
    /// The session key of the thread that had it last.
    pub thread: String,
    /// That thread's title.
    pub title: String,
    /// Its project folder.
    pub cwd: String,
    /// The Claude configuration folder it was in.
    pub config_dir: String,
    /// The file, beside this one.
    pub transcript: String,
    /// How much of it counts, bytes.
    pub size: u64,
    /// Of the last 64 KiB before `size`.
    pub tail_sha256: String,
    /// `uuid` of the line the last finished turn ended with.
    pub leaf: Option<Uuid>,
    /// When the transcript was last written to, milliseconds since 1970.
    pub turn_ms: u64,
    /// When it was mirrored.
    pub mirrored_ms: u64,
    /// What it was mirrored from.
    pub source: Stamp,
    /// Files Claude Code keeps for it beside the transcript, such as its subagents'.
    #[serde(default)]
    pub beside: Vec<Beside>,
    /// How many of those there was no room for ([`BESIDE`]).
    #[serde(default)]
    pub left_out: u64,
    /// It was taken out of the mirror then: nothing of it is here, and `size` says what was.
    /// It comes back with the next turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_ms: Option<u64>,
}

/// A transcript file as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// Where.
    pub path: String,
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change, nanoseconds since 1970.
    pub modified_ns: u64,
}

/// A file beside a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// Folder and name, `subagents/agent-….jsonl`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of the last 64 KiB.
    pub tail_sha256: String,
}

/// Whether a file begins with what `about.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// It does.
    So,
    /// It is shorter, has something else there, or is missing.
    Otherwise,
}

/// What is done with a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It goes on: the copy is cut to what counts, and what is new is appended.
    Append {
        /// What counts so far.
        from: u64,
    },
    /// It is copied from its beginning into a file of its own; what was there stays.
    Anew,
    /// It was pruned, and goes on: anew, once a turn is finished behind what was here.
    Back {
        /// What was here.
        from: u64,
    },
}

impl About {
    /// Whether there is something of it.
    pub fn there(&self) -> bool {
        self.pruned_ms.is_none()
    }
}

/// What to do with a transcript, where `copy` and `source` each begin with what `about`
/// says, or not.
pub fn plan(about: Option<&About>, copy: Begins, source: Begins) -> Plan {
    match about {
        Some(about) if !about.there() && source == Begins::So => Plan::Back { from: about.size },
        Some(about) if about.there() && copy == Begins::So && source == Begins::So => Plan::Append { from: about.size },
        // A copy somebody changed is kept like one whose source was rewritten: it may be the last there is.
        _ => Plan::Anew,
    }
}

/// Whether the whole beginning has to be compared, not only its tail: another file is
/// where the transcript was.
pub fn replaced(about: &About, now: &Stamp) -> bool {
    (about.source.dev, about.source.ino) != (now.dev, now.ino)
}

/// The name of the `n`th transcript of a session, from 1.
pub fn transcript_name(n: u32) -> String {
    if n <= 1 { "transcript.jsonl".to_owned() } else { format!("transcript.{n}.jsonl") }
}

/// Which transcript of a session has that name; `None` where it is no transcript's.
pub fn transcript_number(name: &str) -> Option<u32> {
    let n = match name.strip_prefix("transcript.")?.strip_suffix("jsonl")? {
        "" => 1,
        n => n.strip_suffix('.')?.parse().ok()?,
    };
    (transcript_name(n) == name).then_some(n)
}

/// The transcripts that go when `counts` is the one that counts: all former ones but the
/// last [`FORMER`].
pub fn surplus(names: &[String], counts: &str) -> Vec<String> {
    let mut former: Vec<u32> =
        names.iter().filter(|name| *name != counts).filter_map(|name| transcript_number(name)).collect();
    former.sort_unstable();
    let over = former.len().saturating_sub(FORMER);
    former[..over].iter().map(|n| transcript_name(*n)).collect()
}

/// Whether a name is one that is mirrored from beside a transcript: no path, not hidden.
pub fn is_plain(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(size: u64, pruned_ms: Option<u64>) -> About {
        About {
            format: FORMAT,
            session: Uuid::nil(),
            thread: "agent:main:main".into(),
            title: "t".into(),
            cwd: "/w".into(),
            config_dir: "/c".into(),
            transcript: transcript_name(1),
            size,
            tail_sha256: String::new(),
            leaf: None,
            turn_ms: 0,
            mirrored_ms: 0,
            source: Stamp { ino: 7, size, ..Stamp::default() },
            beside: Vec::new(),
            left_out: 0,
            pruned_ms,
        }
    }

    #[test]
    fn only_what_goes_on_is_appended_to() {
        use Begins::{Otherwise, So};
        let grown = Stamp { ino: 7, size: 12, ..Stamp::default() };
        let check = |about: Option<&About>, copy, source, expected| assert_eq!(plan(about, copy, source), expected);
        check(None, Otherwise, Otherwise, Plan::Anew);
        let there = about(9, None);
        check(Some(&there), So, So, Plan::Append { from: 9 });
        check(Some(&there), So, Otherwise, Plan::Anew);
        check(Some(&there), Otherwise, So, Plan::Anew);
        let pruned = about(9, Some(1));
        check(Some(&pruned), Otherwise, So, Plan::Back { from: 9 });
        check(Some(&pruned), Otherwise, Otherwise, Plan::Anew);
        // Nothing of it counts, whatever a crash left.
        check(Some(&pruned), So, So, Plan::Back { from: 9 });
        assert!(!replaced(&there, &grown) && replaced(&there, &Stamp { ino: 8, ..grown }));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for n in [1, 2, 3, 10, u32::MAX] {
            assert_eq!(transcript_number(&transcript_name(n)), Some(n));
        }
        for other in [
            "about.json",
            "transcript.1.jsonl",
            "transcript.0.jsonl",
            "transcript.02.jsonl",
            "transcript.x.jsonl",
            "transcript..jsonl",
            "transcriptjsonl",
            "transcript.+2.jsonl",
        ] {
            assert_eq!(transcript_number(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_former_ones_stay() {
        let names = |all: &[u32]| all.iter().map(|n| transcript_name(*n)).collect::<Vec<_>>();
        let all = names(&[1, 10, 2, 3, 4, 5]);
        assert_eq!(surplus(&all, "transcript.10.jsonl"), names(&[1, 2]));
        assert_eq!(surplus(&all, "transcript.jsonl"), names(&[2, 3]));
        assert_eq!(surplus(&names(&[1, 2, 3, 4]), "transcript.4.jsonl"), names(&[]));
    }

    #[test]
    fn odd_names_are_left_alone() {
        for good in ["subagents", "agent-ae13960a091297680.jsonl", "agent-a.meta.json"] {
            assert!(is_plain(good), "{good}");
        }
        for odd in ["", ".", "..", ".hidden", "a/b", "a b", "ü", &"x".repeat(129)] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
