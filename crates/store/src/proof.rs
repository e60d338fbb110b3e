//! Shows that a client is the user that the gateway runs as: it makes a file in a folder
//! that only this user can write into, and names it to the gateway.
//!
//! The name is drawn at random and counts once. The file says what it is for, so that
//! whoever learns the name cannot use it for anything else. Root can do the same, as root
//! can read every Claude session.

use std::io::{Read, Write};
use std::path::Path;

use uuid::Uuid;

use crate::error::StoreError;
use crate::file::Folder;

const FOLDER: &str = "proofs";
/// Bytes of what a proof is for: a session key and an id.
const MOST: u64 = 4_096;
/// Proofs that clients left behind, before the folder is emptied. Each lives for one request.
const LEFT: usize = 64;

/// The gateway's side.
#[derive(Debug)]
pub struct Proofs {
    folder: Folder,
}

impl Proofs {
    /// Opens the folder under `lock_dir`, private to its user.
    ///
    /// # Errors
    /// When it is not ours alone.
    pub fn open(lock_dir: &Path) -> Result<Self, StoreError> {
        let folder = Folder::open(lock_dir)?.child(FOLDER)?;
        let names = folder.names()?;
        if names.len() > LEFT {
            names.iter().try_for_each(|name| folder.remove(name))?;
        }
        Ok(Proofs { folder })
    }

    /// Where clients make their files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a client has proven that it is this user, for this purpose. Counts once.
    ///
    /// # Errors
    /// When the file cannot be read or removed.
    pub fn take(&self, name: &str, what: &str) -> Result<bool, StoreError> {
        if name.len() != 32 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(false);
        }
        let Some(file) = self.folder.regular(name, false)? else { return Ok(false) };
        let mut text = String::new();
        let read = file.take(MOST).read_to_string(&mut text);
        self.folder.remove(name)?;
        Ok(read.is_ok() && text == what)
    }
}

/// The client's side: its file, for as long as this lives.
#[derive(Debug)]
pub struct Proof {
    folder: Folder,
    name: String,
}

impl Proof {
    /// Makes a proof in the folder that the gateway names; `None` where this user has no such
    /// folder, as on another machine.
    pub fn make(folder: &Path, what: &str) -> Option<Self> {
        let folder = Folder::as_is(folder).ok().flatten()?;
        let name = Uuid::new_v4().simple().to_string();
        let mut file = folder.create(&name).ok()?;
        let proof = Proof { folder, name };
        file.write_all(what.as_bytes()).ok()?;
        Some(proof)
    }

    /// What the gateway is told.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        // The gateway has taken it, or never will.
        let _ = self.folder.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rule GATE-7.
    #[test]
    fn a_proof_counts_once_and_for_what_it_was_made_for() {
        let dir = tempfile::tempdir().unwrap();
        let proofs = Proofs::open(dir.path()).unwrap();
        let make = |what: &str| Proof::make(proofs.path(), what).unwrap();
        let proof = make("adopt a b");
        assert!(proofs.take(proof.name(), "adopt a b").unwrap());
        assert!(!proofs.take(proof.name(), "adopt a b").unwrap(), "a second time");
        let proof = make("adopt a b");
        assert!(!proofs.take(proof.name(), "adopt a c").unwrap(), "for something else");
        let name = { make("x").name().to_owned() };
        assert!(!proofs.take(&name, "x").unwrap(), "its client is gone");
        for name in ["", "../proofs", "0123456789abcdef0123456789abcde/", &"g".repeat(32), &"a".repeat(32)] {
            assert!(!proofs.take(name, "").unwrap(), "{name}");
        }
        // A link does not count, wherever it leads.
        std::fs::write(dir.path().join("x"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("x"), proofs.path().join("b".repeat(32))).unwrap();
        assert!(!matches!(proofs.take(&"b".repeat(32), "x"), Ok(true)));
    }

    #[test]
    fn a_client_makes_nothing_where_the_gateway_has_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Proof::make(&dir.path().join("proofs"), "x").is_none());
        assert!(!dir.path().join("proofs").exists());
    }
}
