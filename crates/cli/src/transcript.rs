//! Whether the transcript that the gateway means is a file of this machine that we
//! may write. The gateway names device, inode, size and the hash of its tail; only
//! when all of them are here is Claude Code opened on it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use ride_core::wire::ChainMark;
use ride_store::claude::tail_sha256;

/// Why the transcript is not the gateway's.
#[derive(Debug, thiserror::Error)]
pub enum NotHere {
    /// No such file.
    #[error("the transcript is not on this machine: {} does not exist here", .0.display())]
    Missing(PathBuf),
    /// It belongs to somebody else.
    #[error("the transcript is here, but you may not write it: {}", .0.display())]
    OtherUser(PathBuf),
    /// The path leads to another file.
    #[error("{} is another file than the gateway's: it runs on another machine or in a container", .0.display())]
    OtherFile(PathBuf),
    /// The file changed between claim and now.
    #[error("the transcript changed after it was claimed: {}: {what}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The file cannot be read.
    #[error("could not read the transcript: {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
}

impl NotHere {
    /// Whether the file may be that of another machine, user or container: a copy will do.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, NotHere::Missing(_) | NotHere::OtherUser(_) | NotHere::OtherFile(_))
    }

    /// What the person can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            NotHere::Missing(_) | NotHere::OtherFile(_) => Some("run ride where the gateway runs, as its user"),
            NotHere::OtherUser(_) => Some("run ride as the user the gateway runs as"),
            NotHere::Changed { .. } => Some("something else writes to it; `ride status` shows the processes"),
            NotHere::Unreadable { .. } => None,
        }
    }
}

/// Checks that the gateway's transcript is this machine's, and unchanged.
pub fn check(mark: &ChainMark) -> Result<(), NotHere> {
    let path = || PathBuf::from(&mark.path);
    let unreadable = |cause| NotHere::Unreadable { path: path(), cause };
    // Opened for writing, not written: that is the question.
    let file = OpenOptions::new().read(true).write(true).open(&mark.path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NotHere::Missing(path()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => NotHere::OtherUser(path()),
        _ => unreadable(e),
    })?;
    let found = file.metadata().map_err(unreadable)?;
    if (found.dev(), found.ino()) != (mark.dev, mark.ino) {
        return Err(NotHere::OtherFile(path()));
    }
    let changed = |what: String| NotHere::Changed { path: path(), what };
    if found.len() != mark.size {
        return Err(changed(format!("it has {} bytes instead of {}", found.len(), mark.size)));
    }
    if tail_sha256(&file, mark.size).map_err(unreadable)? != mark.tail_sha256 {
        return Err(changed("its last lines are not those of the claim".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn mark(path: &std::path::Path) -> ChainMark {
        let file = File::open(path).unwrap();
        let found = file.metadata().unwrap();
        ChainMark {
            path: path.to_str().unwrap().to_owned(),
            dev: found.dev(),
            ino: found.ino(),
            size: found.len(),
            tail_sha256: tail_sha256(&file, found.len()).unwrap(),
            leaf: None,
        }
    }

    #[test]
    fn only_the_very_file_unchanged_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        std::fs::write(&path, "x".repeat(100_000)).unwrap();
        let claimed = mark(&path);
        // `sha256sum` of 65,536 times `x`.
        let expected = "1f8745f0d2d1387ec1af2211a3cf417b2e9e885e853472649c1d979d0e9370e3";
        assert_eq!((claimed.tail_sha256.as_str(), check(&claimed).is_ok()), (expected, true));

        let said = |mark: &ChainMark| check(mark).unwrap_err().to_string().replace(&mark.path, "PATH");
        let gone = ChainMark { path: dir.path().join("no").to_str().unwrap().to_owned(), ..claimed.clone() };
        assert_eq!(said(&gone), "the transcript is not on this machine: PATH does not exist here");
        let other = ChainMark { ino: claimed.ino + 1, ..claimed.clone() };
        assert_eq!(
            said(&other),
            "PATH is another file than the gateway's: it runs on another machine or in a container"
        );
        std::fs::write(&path, "y".repeat(100_000)).unwrap();
        assert_eq!(
            said(&claimed),
            "the transcript changed after it was claimed: PATH: its last lines are not those of the claim"
        );
        std::fs::write(&path, "x").unwrap();
        assert_eq!(
            said(&claimed),
            "the transcript changed after it was claimed: PATH: it has 1 bytes instead of 100000"
        );
    }
}
