//! A folder for one ride that only its user can enter.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{LaunchError, prepare};

/// Exists while the value lives; removed with all it holds when dropped.
#[derive(Debug)]
pub struct PrivateDir(PathBuf);

impl PrivateDir {
    /// Makes one below `base`: `$XDG_RUNTIME_DIR`, else the folder for
    /// temporary files. The name is random, so nobody can be there first.
    pub fn create(base: &Path) -> Result<PrivateDir, LaunchError> {
        let name = Uuid::new_v4().simple().to_string();
        let path = base.join(format!("ride-{}", &name[..12]));
        prepare(&path, DirBuilder::new().mode(0o700).create(&path))?;
        let found = prepare(&path, fs::symlink_metadata(&path))?;
        let ours = found.is_dir() && found.uid() == rustix::process::getuid().as_raw();
        if !ours || found.mode() & 0o777 != 0o700 {
            return Err(LaunchError::NotPrivate { path });
        }
        Ok(PrivateDir(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // What cannot be removed lies in a folder that the system clears.
        let _ = fs::remove_dir_all(&self.0);
    }
}
