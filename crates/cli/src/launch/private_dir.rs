//! A folder for one ride that only its user can enter.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{LaunchError, prepare};
use crate::link::{MAX_SOCKET_PATH, socket_in};

/// A folder that is there on every system, and has a short name.
const SHORT: &str = "/tmp";

/// Exists while the value lives; removed with all it holds when dropped.
#[derive(Debug)]
pub struct PrivateDir(PathBuf);

impl PrivateDir {
    /// Makes one below `base` (`$XDG_RUNTIME_DIR`, else the folder for temporary files), or below `/tmp` where
    /// the path of a socket in it would be too long, or no folder can be made there.
    pub fn create(base: &Path) -> Result<PrivateDir, LaunchError> {
        let name = format!("ride-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let fits = base.is_absolute() && socket_in(&base.join(&name)).as_os_str().len() <= MAX_SOCKET_PATH;
        let made = if fits { Self::make(base.join(&name)) } else { Self::make(Path::new(SHORT).join(&name)) };
        match made {
            Err(_) if fits => Self::make(Path::new(SHORT).join(&name)),
            made => made,
        }
    }

    /// The name is random, so nobody can be there first.
    fn make(path: PathBuf) -> Result<PrivateDir, LaunchError> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn private(base: &Path) -> PrivateDir {
        let dir = PrivateDir::create(base).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
        UnixListener::bind(socket_in(dir.path())).unwrap();
        dir
    }

    #[test]
    fn a_socket_fits_whatever_the_folder_for_temporary_files_is() {
        let home = tempfile::tempdir().unwrap();
        let odd = home.path().join("tmp é");
        fs::create_dir(&odd).unwrap();
        assert_eq!(private(&odd).path().parent(), Some(odd.as_path()));
        let long = home.path().join("a folder with a long name ".repeat(4));
        fs::create_dir(&long).unwrap();
        for other in [long, home.path().join("not there"), "relative".into()] {
            let dir = private(&other);
            assert_eq!(dir.path().parent(), Some(Path::new(SHORT)), "{}", other.display());
            let path = dir.path().to_owned();
            drop(dir);
            assert!(!path.exists());
        }
    }
}
