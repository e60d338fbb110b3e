//! What this machine remembers of a ride it holds, so that a crashed one can be
//! taken up again or released: the claim's secret, and the fence. One file per
//! thread, 0600, replaced as a whole, removed when the agent has the thread again: a
//! hand-back that is stuck needs the fence to be asked for once more.
//!
//! A record of another version that is not known is refused and left as it is. A damaged one is set
//! aside when its place is needed.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ride_core::id::{Fence, Process};
use ride_core::versioned::{self, Unread, Versioned};
use ride_core::wire::Released;
use ride_store::claude::process::{self, Alive};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gateway::device::hex;

/// Larger files are no records: one has an address, a key and two names.
const MAX_BYTES: u64 = 64 * 1024;

/// A ride of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The gateway's address.
    pub gateway: String,
    /// Session key of the thread.
    pub key: String,
    /// The secret of the claim.
    pub secret: String,
    /// The last grant's fence, once there is one.
    pub fence: Option<Fence>,
    /// The `ride` process.
    pub process: Process,
}

/// Format 1 is the same without the program's version.
impl Versioned for Record {
    const FORMAT: u32 = 2;
}

/// A record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("could not {doing} the record of this ride: {}: {cause}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The record.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// Another version wrote it.
    #[error("could not read the record of a ride, {}: {cause}", path.display())]
    OtherVersion {
        /// The record.
        path: PathBuf,
        /// Who wrote it, and what is not known.
        cause: Unread,
    },
}

impl RecordError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        let RecordError::OtherVersion { path, .. } = self else { return None };
        Some(format!(
            "the file is left as it is; end that ride with the version that began it, or, when no ride of it runs any \
             more, move the file away: mv {0} {0}.aside",
            path.display()
        ))
    }
}

impl Record {
    /// A record of this very process, before its claim.
    pub fn new(gateway: &str, key: &str, secret: &str) -> Record {
        let pid = std::process::id();
        Record {
            gateway: gateway.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            fence: None,
            process: process::identity(pid),
        }
    }

    /// The record of a thread, if this machine has one. A damaged one is as good as none.
    pub fn load(state_dir: &Path, gateway: &str, key: &str) -> Result<Option<Record>, RecordError> {
        match read(&path_of(state_dir, gateway, key))? {
            Found::Record(record) => Ok(Some(record)),
            Found::Damaged | Found::Nothing => Ok(None),
        }
    }

    /// All records of a gateway, and why some of this machine cannot be read, whichever gateway
    /// they are of.
    pub fn all(state_dir: &Path, gateway: &str) -> (Vec<Record>, Vec<RecordError>) {
        let entries = std::fs::read_dir(state_dir.join("rides")).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
        let (mut records, mut unread) = (Vec::new(), Vec::new());
        for file in files {
            match read(&file) {
                Ok(Found::Record(record)) if record.gateway == gateway => records.push(record),
                Ok(_) => {}
                Err(e) => unread.push(e),
            }
        }
        (records, unread)
    }

    /// Writes it. What is in its place and not known stays, and this fails.
    pub fn save(&self, state_dir: &Path) -> Result<(), RecordError> {
        let path = path_of(state_dir, &self.gateway, &self.key);
        if matches!(read(&path)?, Found::Damaged) {
            set_aside(&path).map_err(|cause| RecordError::Io { doing: "set aside", path: path.clone(), cause })?;
        }
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            let folder = path.parent().expect("the path was joined to a folder");
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&versioned::write(self)?)?;
            std::fs::rename(&fresh, &path)
        };
        write().map_err(|cause| RecordError::Io { doing: "write", path: path.clone(), cause })
    }

    /// Removes it.
    pub fn remove(&self, state_dir: &Path) {
        // One that stays is found to be of a dead process and a stale fence.
        let _ = std::fs::remove_file(path_of(state_dir, &self.gateway, &self.key));
    }

    /// Removes it if the agent has the thread again.
    pub fn settle(&self, state_dir: &Path, released: &Released) {
        if released.open {
            self.remove(state_dir);
        }
    }

    /// Whether its `ride` runs where this process can see and signal it.
    pub fn is_alive(&self) -> bool {
        matches!(process::alive(&self.process), Ok(Alive::Yes))
    }
}

/// What is in a record's place.
enum Found {
    Record(Record),
    Damaged,
    Nothing,
}

fn read(path: &Path) -> Result<Found, RecordError> {
    let io = |cause| RecordError::Io { doing: "read", path: path.to_owned(), cause };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(io(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    match versioned::read(&bytes) {
        Ok(record) => Ok(Found::Record(record)),
        Err(Unread::Damaged(_)) => Ok(Found::Damaged),
        Err(cause) => Err(RecordError::OtherVersion { path: path.to_owned(), cause }),
    }
}

/// Keeps the bytes of a damaged record under a name that nobody reads; one is enough.
fn set_aside(path: &Path) -> io::Result<()> {
    std::fs::rename(path, path.with_extension("damaged"))
}

fn path_of(state_dir: &Path, gateway: &str, key: &str) -> PathBuf {
    let digest = Sha256::digest(format!("{gateway}\n{key}"));
    state_dir.join("rides").join(format!("{}.json", &hex(&digest)[..32]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    const GATEWAY: &str = "ws://127.0.0.1:18789";
    const KEY: &str = "agent:main:main";

    fn place(state_dir: &Path, bytes: &[u8]) -> PathBuf {
        let path = path_of(state_dir, GATEWAY, KEY);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn every_record_that_was_ever_written_is_read_and_written_anew() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/kept/record");
        let mut files: Vec<_> = fs::read_dir(kept).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        let fence = Fence { incarnation: Uuid::from_u128(2), epoch: 3, grant: Uuid::from_u128(4) };
        for file in files {
            let dir = tempfile::tempdir().unwrap();
            place(dir.path(), &fs::read(&file).unwrap());
            let record = Record::load(dir.path(), GATEWAY, KEY).unwrap().unwrap();
            assert_eq!((record.secret.as_str(), record.fence), ("00112233445566778899aabbccddeeff", Some(fence)));
            assert_eq!(record.process.namespace.is_some(), !file.ends_with("1a.json"), "{}", file.display());
            record.save(dir.path()).unwrap();
            assert_eq!(Record::all(dir.path(), GATEWAY).0, [record]);
        }
    }

    // Rule STORE-7.
    #[test]
    fn a_record_of_another_version_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let own = String::from_utf8(versioned::write(&Record::new(GATEWAY, KEY, "s")).unwrap()).unwrap();
        for (text, why) in [
            (r#"{"format":3,"writtenBy":"ride 9.0.0"}"#.to_owned(), "ride 9.0.0 wrote it"),
            (own.replacen('{', r#"{"more":1,"#, 1), "unknown field more"),
            (own.replacen("\"pid\"", "\"moon\":1,\"pid\"", 1), "unknown field process.moon"),
        ] {
            let path = place(dir.path(), text.as_bytes());
            let new = Record::new(GATEWAY, KEY, "t");
            let (records, mut errors) = Record::all(dir.path(), "ws://of-another:1");
            assert_eq!((records.len(), errors.len()), (0, 1));
            errors.push(Record::load(dir.path(), GATEWAY, KEY).unwrap_err());
            errors.push(new.save(dir.path()).unwrap_err());
            for error in errors {
                let said = error.to_string();
                assert!(said.contains(&path.display().to_string()) && said.contains(why), "{said}");
                let hint = error.hint().unwrap();
                assert!(hint.contains("with the version that began it") && hint.contains("mv "), "{hint}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    // Rule STORE-7.
    #[test]
    fn a_damaged_record_is_as_good_as_none_and_its_bytes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = place(dir.path(), b"{\"format\":2,");
        assert_eq!(Record::load(dir.path(), GATEWAY, KEY).unwrap(), None);
        let (records, errors) = Record::all(dir.path(), GATEWAY);
        assert_eq!((records.len(), errors.len()), (0, 0));
        let new = Record::new(GATEWAY, KEY, "t");
        new.save(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path(), GATEWAY, KEY).unwrap(), Some(new));
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), b"{\"format\":2,");
    }
}
