//! Settings under which Claude Code runs no plugin of ours, and says nothing about it.
//!
//! Measured on 2.1.197 and 2.1.330: with `disableAllHooks`, wherever it stands, and with
//! `allowManagedHooksOnly` of an organisation, neither mod nor hooks run; the first
//! prompt would go out unseen. So it is looked for before Claude Code is started.
//! Settings that come from elsewhere (a server, `--settings`) are not seen here: then the
//! transcript tells (`crate::link`), one prompt later.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where an organisation's settings are.
const MANAGED: [&str; 2] = ["/etc/claude-code", "/Library/Application Support/ClaudeCode"];
/// Largest file that is read; real ones are a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// A setting that keeps ride's plugin out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has {key}: Claude Code would not run ride's plugin, and prompts not be checked", path.display())]
pub struct Unguarded {
    /// The file.
    pub path: PathBuf,
    /// The setting.
    pub key: &'static str,
}

/// Looks for such a setting: the person's, the project's, the organisation's.
///
/// # Errors
/// The first of them.
pub fn check(config_dir: &Path, cwd: &Path) -> Result<(), Unguarded> {
    let project = cwd.join(".claude");
    for path in [config_dir.join("settings.json"), project.join("settings.json"), project.join("settings.local.json")] {
        look(path, &["disableAllHooks"])?;
    }
    for managed in MANAGED.map(Path::new) {
        let dropped = std::fs::read_dir(managed.join("managed-settings.d"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let json = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
        for path in std::iter::once(managed.join("managed-settings.json")).chain(dropped.filter(json)) {
            look(path, &["disableAllHooks", "allowManagedHooksOnly"])?;
        }
    }
    Ok(())
}

fn look(path: PathBuf, keys: &[&'static str]) -> Result<(), Unguarded> {
    // What cannot be read or understood says nothing: Claude Code judges it by itself.
    let small = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
    let settings: Option<Value> =
        small.then(|| std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())).flatten();
    match keys.iter().find(|key| settings.as_ref().is_some_and(|settings| settings[**key] == true)) {
        Some(key) => Err(Unguarded { path, key }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_plugin_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (config, cwd) = (dir.path().join("config"), dir.path().join("work"));
        std::fs::create_dir_all(cwd.join(".claude")).unwrap();
        std::fs::create_dir_all(&config).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        assert_eq!(check(&config, &cwd), Ok(()));
        write(&config.join("settings.json"), r#"{"disableAllHooks":false,"hooks":{}}"#);
        write(&cwd.join(".claude/settings.json"), "not json");
        assert_eq!(check(&config, &cwd), Ok(()));
        let local = cwd.join(".claude/settings.local.json");
        write(&local, r#"{"disableAllHooks":true}"#);
        let found = check(&config, &cwd).unwrap_err();
        assert_eq!((found.path, found.key), (local, "disableAllHooks"));
    }
}
