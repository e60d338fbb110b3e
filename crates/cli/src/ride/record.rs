//! What this machine remembers of a ride it holds, so that a crashed one can be
//! taken up again or released: the claim's secret, and the fence. One file per
//! thread, 0600, replaced as a whole, removed when the agent has the thread again: a
//! hand-back that is stuck needs the fence to be asked for once more.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ride_core::id::{Fence, Process};
use ride_core::wire::Released;
use ride_store::claude::process::{self, Alive};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gateway::device::hex;

const FORMAT: u32 = 1;

/// A ride of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    format: u32,
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

/// A record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} the record of this ride: {}: {cause}", path.display())]
pub struct RecordError {
    doing: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl Record {
    /// A record of this very process, before its claim.
    pub fn new(gateway: &str, key: &str, secret: &str) -> Record {
        let pid = std::process::id();
        Record {
            format: FORMAT,
            gateway: gateway.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            fence: None,
            process: process::identity(pid),
        }
    }

    /// The record of a thread, if this machine has one. One that cannot be
    /// understood (another version wrote it) is as good as none.
    pub fn load(state_dir: &Path, gateway: &str, key: &str) -> Result<Option<Record>, RecordError> {
        let path = path_of(state_dir, gateway, key);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().filter(|record: &Record| record.format == FORMAT)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(RecordError { doing: "read", path, cause }),
        }
    }

    /// All records of a gateway that can be read.
    pub fn all(state_dir: &Path, gateway: &str) -> Vec<Record> {
        let entries = std::fs::read_dir(state_dir.join("rides")).into_iter().flatten().flatten();
        let records = entries.filter_map(|entry| serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok());
        records.filter(|record: &Record| record.format == FORMAT && record.gateway == gateway).collect()
    }

    /// Writes it.
    pub fn save(&self, state_dir: &Path) -> Result<(), RecordError> {
        let path = path_of(state_dir, &self.gateway, &self.key);
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            let folder = path.parent().expect("the path was joined to a folder");
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            std::fs::rename(&fresh, &path)
        };
        write().map_err(|cause| RecordError { doing: "write", path: path.clone(), cause })
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

fn path_of(state_dir: &Path, gateway: &str, key: &str) -> PathBuf {
    let digest = Sha256::digest(format!("{gateway}\n{key}"));
    state_dir.join("rides").join(format!("{}.json", &hex(&digest)[..32]))
}
