//! Which Claude Code is run, and whether it is new enough.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::LaunchError;
use crate::env::Env;
use crate::link::Source;

/// The oldest release that was tried.
pub const MIN_VERSION: Version = Version(2, 1, 197);
/// First release that loads mods by itself (vendor documentation).
pub const MODS_FROM: Version = Version(2, 1, 287);

/// `claude --version` starts a 380 MB program from a cold disk.
const VERSION_WITHIN: Duration = Duration::from_secs(20);

/// A Claude Code that can be ridden with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaudeBinary {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// Major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// Reads `2.1.330 (Claude Code)`. A suffix of the patch number is dropped.
    pub fn parse(said: &str) -> Option<Version> {
        let (numbers, rest) = said.trim().split_once(' ')?;
        if !rest.starts_with("(Claude Code)") {
            return None;
        }
        let mut parts = numbers.splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let patch = parts.next()?;
        let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
        Some(Version(major, minor, patch[..digits].parse().ok()?))
    }
}

impl ClaudeBinary {
    /// By which way this Claude Code is expected to speak.
    pub fn source(&self) -> Source {
        if self.version < MODS_FROM { Source::Hooks } else { Source::Mod }
    }

    /// Finds `claude` (a name to be looked up in `path_var`, or a path taken
    /// from the working folder) and checks its version.
    pub async fn find(claude: &OsStr, path_var: &OsStr, env: &Env) -> Result<ClaudeBinary, LaunchError> {
        let path = locate(claude, path_var, &env.cwd)
            .ok_or_else(|| LaunchError::NotFound { name: claude.display().to_string() })?;
        let version = ask_version(env, &path).await?;
        if version < MIN_VERSION {
            return Err(LaunchError::TooOld { claude: path, found: version });
        }
        Ok(ClaudeBinary { path, version })
    }
}

/// Finds a program by its name in `path_var`, or by a path taken from `cwd`.
pub fn locate(program: &OsStr, path_var: &OsStr, cwd: &Path) -> Option<PathBuf> {
    let runnable =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if Path::new(program).components().count() > 1 {
        return Some(cwd.join(program)).filter(runnable);
    }
    std::env::split_paths(path_var).map(|dir| cwd.join(dir).join(program)).find(runnable)
}

async fn ask_version(env: &Env, path: &Path) -> Result<Version, LaunchError> {
    let failed = |cause: String| LaunchError::NoVersion { claude: path.to_owned(), cause };
    let mut command = env.command(path);
    command.arg("--version").stdin(Stdio::null());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(VERSION_WITHIN, output)
        .await
        .map_err(|_| failed(format!("no answer within {} s", VERSION_WITHIN.as_secs())))?
        .map_err(|cause| failed(cause.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    Version::parse(&said).ok_or_else(|| failed(format!("it says `{}`", said.lines().next().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let check = |said: &str, expected: Option<Version>| assert_eq!(Version::parse(said), expected, "{said:?}");
        check("2.1.330 (Claude Code)\n", Some(Version(2, 1, 330)));
        check("2.1.330-rc.1 (Claude Code)", Some(Version(2, 1, 330)));
        check("2.1.330", None);
        check("v20.1.0 (Claude Code)", None);
        check("git version 2.43.0", None);
        check("", None);
        assert!(MIN_VERSION < MODS_FROM && MODS_FROM < Version(2, 1, 330) && MODS_FROM < Version(3, 0, 0));
    }
}
