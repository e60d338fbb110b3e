//! Which folder of this machine a gateway's project folder is: a file that the person may
//! edit, or the same repository and branch of git.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ride_core::wire::Repository;
use ride_store::copy::same_repository;

/// The file's name, in `ride`'s own folder.
const FILE: &str = "projects.json";

/// What is known: by gateway, then by the gateway's folder, the folder of here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    path: PathBuf,
    known: BTreeMap<String, BTreeMap<String, PathBuf>>,
}

/// Why it cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    /// The file is not what it should be.
    #[error("could not read {}: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        cause: String,
    },
    /// The file cannot be read or written.
    #[error("could not {doing} {}: {cause}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        cause: io::Error,
    },
}

/// What git says of the folder a person stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByGit {
    /// The same repository and branch: this folder of it.
    Here(PathBuf),
    /// The same repository, on another branch.
    OtherBranch(String),
    /// Another repository, or none.
    Nothing,
}

impl Folders {
    /// Reads the file; one that is not there knows nothing.
    ///
    /// # Errors
    /// When it cannot be read or is malformed.
    pub fn load(state_dir: &Path) -> Result<Folders, FoldersError> {
        let path = state_dir.join(FILE);
        let known = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| FoldersError::Malformed {
                path: path.clone(),
                cause: format!("{e}; it has for each gateway its folders with those of this machine: {{\"wss://…\": {{\"/srv/app\": \"/home/you/app\"}}}}"),
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(cause) => return Err(FoldersError::Io { doing: "read", path, cause }),
        };
        Ok(Folders { path, known })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of here, where it is known.
    pub fn get(&self, gateway: &str, folder: &str) -> Option<&Path> {
        self.known.get(gateway)?.get(folder).map(PathBuf::as_path)
    }

    /// Remembers one.
    ///
    /// # Errors
    /// When the file cannot be written; the one before stays.
    pub fn remember(&mut self, gateway: &str, folder: &str, here: &Path) -> Result<(), FoldersError> {
        if self.get(gateway, folder) == Some(here) {
            return Ok(());
        }
        self.known.entry(gateway.to_owned()).or_default().insert(folder.to_owned(), here.to_owned());
        let fresh = self.path.with_extension("json.fresh");
        let write = || {
            fs::create_dir_all(self.path.parent().unwrap_or(Path::new("/")))?;
            let mut file = fs::File::create(&fresh)?;
            file.write_all(serde_json::to_string_pretty(&self.known)?.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        };
        write().map_err(|cause| FoldersError::Io { doing: "write", path: self.path.clone(), cause })
    }
}

/// Whether the folder a person stands in, with what git says of it, is in the repository of
/// the gateway's project: then that project's folder within it.
pub fn by_git(cwd: &Path, here: Option<&Repository>, there: Option<&Repository>) -> ByGit {
    let Some((here, there)) = here.zip(there).filter(|(here, there)| same_repository(&here.remote, &there.remote))
    else {
        return ByGit::Nothing;
    };
    if here.branch != there.branch {
        return ByGit::OtherBranch(here.branch.clone());
    }
    let deep = Path::new(&here.inside).components().count();
    let root = cwd.ancestors().nth(deep).unwrap_or(cwd);
    let plain = Path::new(&there.inside).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain { ByGit::Here(root.join(&there.inside)) } else { ByGit::Nothing }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_once_is_remembered_and_may_be_edited() {
        let dir = tempfile::tempdir().unwrap();
        let mut folders = Folders::load(dir.path()).unwrap();
        assert_eq!(folders.get("wss://a", "/srv/app"), None);
        folders.remember("wss://a", "/srv/app", Path::new("/home/ada/app")).unwrap();
        folders.remember("wss://b", "/srv/app", Path::new("/home/ada/other")).unwrap();
        let again = Folders::load(dir.path()).unwrap();
        assert_eq!(again, folders);
        assert_eq!(again.get("wss://a", "/srv/app"), Some(Path::new("/home/ada/app")));
        assert_eq!(again.get("wss://a", "/srv/application"), None);

        fs::write(again.path(), "{\n \"wss://a\": {\"/srv/app\": 1}\n}").unwrap();
        let wrong = Folders::load(dir.path()).unwrap_err().to_string();
        assert!(wrong.contains("projects.json: invalid type: integer `1`, expected path string at line 2"), "{wrong}");
        assert_eq!(fs::read(again.path()).unwrap().len(), 31, "it is left as it is");
    }

    #[test]
    fn a_clone_of_the_same_branch_is_the_project() {
        let repository = |remote: &str, branch: &str, inside: &str| Repository {
            remote: remote.into(),
            branch: branch.into(),
            inside: inside.into(),
        };
        let there = repository("git@example.org:t/app.git", "main", "web");
        let of = |cwd: &str, here: Option<Repository>| by_git(Path::new(cwd), here.as_ref(), Some(&there));
        let here = |inside| Some(repository("https://example.org/t/app", "main", inside));
        assert_eq!(of("/home/ada/app", here("")), ByGit::Here("/home/ada/app/web".into()));
        assert_eq!(of("/home/ada/app/a/b", here("a/b")), ByGit::Here("/home/ada/app/web".into()));
        assert_eq!(
            of("/home/ada/app", Some(repository("https://example.org/t/app", "next", ""))),
            ByGit::OtherBranch("next".into())
        );
        assert_eq!(of("/home/ada/lib", Some(repository("https://example.org/t/lib", "main", ""))), ByGit::Nothing);
        assert_eq!(of("/home/ada", None), ByGit::Nothing);
        // What a gateway says is not walked out of.
        let out = repository("git@example.org:t/app.git", "main", "../../etc");
        assert_eq!(by_git(Path::new("/home/ada/app"), here("").as_ref(), Some(&out)), ByGit::Nothing);
    }
}
