//! The real peers: which versions, where they are, and how they get there.
//!
//! Versions are data (`peers.json`); each is a plain `npm install` into
//! `target/peers/<name>-<version>/` without install scripts, as a careful
//! person would install it. A missing peer is an error, never a skip.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use crate::error::{Doing, Error, Result};

/// The pinned versions, newest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// Node, which runs OpenClaw.
    pub node: String,
    /// OpenClaw, where everything must work.
    pub openclaw: Vec<String>,
    /// OpenClaw, where the plugin must load and answer and nothing else is promised.
    pub openclaw_loads: Vec<String>,
    /// Claude Code.
    pub claude_code: Vec<String>,
}

/// Gives the pinned versions.
pub fn pinned() -> &'static Pinned {
    static PINNED: LazyLock<Pinned> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../peers.json")).expect("peers.json is checked by this crate's own test")
    });
    &PINNED
}

/// Whether a version is older than another one, of which the leading numbers are given.
pub fn before(version: &str, than: &[u64]) -> bool {
    let own = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    own.chain(std::iter::repeat(0)).zip(than).find(|(own, than)| own != *than).is_some_and(|(own, than)| own < *than)
}

/// One real peer of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    name: &'static str,
    version: String,
    package: String,
    entry: String,
}

impl Peer {
    /// Names the pinned Node.
    pub fn node() -> Self {
        let package = format!("node-{}", platform());
        let version = pinned().node.clone();
        Self { name: "node", version, entry: format!("{package}/bin/node"), package }
    }

    /// Names an OpenClaw version.
    pub fn openclaw(version: &str) -> Self {
        let (package, entry) = ("openclaw".into(), "openclaw/openclaw.mjs".into());
        Self { name: "openclaw", version: version.into(), package, entry }
    }

    /// Names a Claude Code version.
    pub fn claude_code(version: &str) -> Self {
        // The platform package is a dependency of this one and holds the program itself.
        let package = "@anthropic-ai/claude-code".into();
        let entry = format!("@anthropic-ai/claude-code-{}/claude", platform());
        Self { name: "claude-code", version: version.into(), package, entry }
    }

    /// Names the newest pinned OpenClaw.
    pub fn newest_openclaw() -> Self {
        Self::openclaw(&pinned().openclaw[0])
    }

    /// Names the newest pinned Claude Code.
    pub fn newest_claude_code() -> Self {
        Self::claude_code(&pinned().claude_code[0])
    }

    /// Names every pinned peer, what tests need first coming first.
    pub fn all() -> Vec<Self> {
        let openclaw = pinned().openclaw.iter().chain(&pinned().openclaw_loads).map(|version| Self::openclaw(version));
        let claude_code = pinned().claude_code.iter().map(|version| Self::claude_code(version));
        std::iter::once(Self::node()).chain(claude_code).chain(openclaw).collect()
    }

    /// Gives the version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Gives the installation's folder, whether or not it is there.
    pub fn folder(&self) -> PathBuf {
        folder().join(format!("{}-{}", self.name, self.version))
    }

    /// Gives the program file, which must be installed.
    pub fn entry(&self) -> Result<PathBuf> {
        let entry = self.entry_in(&self.folder());
        match entry.is_file() {
            true => Ok(entry),
            false => Err(Error::Missing { name: format!("{} {}", self.name, self.version), entry }),
        }
    }

    /// Gives the program file, fetching the peer first if it is not installed.
    pub async fn fetched(&self) -> Result<PathBuf> {
        if let Ok(entry) = self.entry() {
            return Ok(entry);
        }
        let peer = self.clone();
        match tokio::task::spawn_blocking(move || peer.fetch()).await {
            Ok(fetched) => fetched,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    fn entry_in(&self, folder: &Path) -> PathBuf {
        folder.join("node_modules").join(&self.entry)
    }

    /// Installs into a folder beside the final one and renames it: a half-filled folder is never seen as installed.
    fn fetch(&self) -> Result<PathBuf> {
        let (folder, peers) = (self.folder(), folder());
        fs::create_dir_all(&peers).doing(|| format!("create {}", peers.display()))?;
        let lock_path = folder.with_added_extension("lock");
        let lock = File::create(&lock_path).doing(|| format!("create {}", lock_path.display()))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(Into::into)
            .doing(|| format!("lock {}", lock_path.display()))?;
        if let Ok(entry) = self.entry() {
            return Ok(entry);
        }
        let filling = tempfile::Builder::new().prefix(".filling-").tempdir_in(&peers);
        let filling = filling.doing(|| format!("create a folder in {}", peers.display()))?;
        let installed = std::process::Command::new("npm")
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"])
            .arg(filling.path())
            .arg(format!("{}@{}", self.package, self.version))
            .stdin(Stdio::null())
            .output()
            .doing(|| "run npm".into())?;
        let made = self.entry_in(filling.path());
        if !installed.status.success() || !made.is_file() {
            let said = String::from_utf8_lossy(&installed.stderr).into_owned();
            return Err(Error::Peer { what: format!("npm install {}@{}", self.package, self.version), said });
        }
        if folder.exists() {
            // Left behind by an installer that was cut off: it has no entry file, or we would not be here.
            fs::remove_dir_all(&folder).doing(|| format!("remove the unfinished {}", folder.display()))?;
        }
        let filled = filling.keep();
        fs::rename(&filled, &folder).doing(|| format!("move {} into place", folder.display()))?;
        self.entry()
    }
}

/// The platform as npm packages name it.
/// This machine as Node names it: system and processor.
pub fn platform() -> String {
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{system}-{machine}")
}

/// Where all peers are.
pub(crate) fn folder() -> PathBuf {
    target_dir().join("peers")
}

/// The workspace's target folder, where peers survive `git clean` of sources.
pub(crate) fn target_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.canonicalize().unwrap_or(workspace).join("target")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let before = |version, than: &[u64]| super::before(version, than);
        assert!(before("2026.6.1", &[2026, 6, 2]) && before("2026.5.31-beta.4", &[2026, 6, 2]));
        assert!(before("2026.9.6", &[2026, 10]) && before("2.1.99", &[2, 1, 287]));
        assert!(!before("2026.8.0", &[2026, 8]) && !before("2026.8", &[2026, 8]) && !before("2.1.330", &[2, 1, 287]));
    }

    #[test]
    fn pinned_peers_have_distinct_folders() {
        let mut folders: Vec<_> = Peer::all().iter().map(Peer::folder).collect();
        folders.sort();
        folders.dedup();
        assert_eq!(
            folders.len(),
            1 + pinned().openclaw.len() + pinned().openclaw_loads.len() + pinned().claude_code.len()
        );
    }
}
