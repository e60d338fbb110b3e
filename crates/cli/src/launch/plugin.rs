//! The Claude Code plugin, embedded so that it cannot drift from the binary.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LaunchError, prepare};

/// The plugin's name, as Claude Code shows it.
pub const PLUGIN_NAME: &str = "openclaw-session-sync";

const FILES: [(&str, &str); 3] = [
    (
        ".claude-plugin/plugin.json",
        include_str!("../../../../plugins/claude-code/.claude-plugin/plugin.json"),
    ),
    (
        "hooks/hooks.json",
        include_str!("../../../../plugins/claude-code/hooks/hooks.json"),
    ),
    (
        "hooks/register.js",
        include_str!("../../../../plugins/claude-code/hooks/register.js"),
    ),
];

/// Writes the plugin below `dir` and answers its folder.
///
/// The folder stays unchanged during a ride: Claude Code watches it, reloads
/// the mod on a change, and lays its own type declarations beside it.
pub fn unpack(dir: &Path) -> Result<PathBuf, LaunchError> {
    let root = dir.join(PLUGIN_NAME);
    for (name, text) in FILES {
        let path = root.join(name);
        let parent = path.parent().expect("every name has a folder");
        prepare(parent, fs::create_dir_all(parent))?;
        prepare(&path, fs::write(&path, text))?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_carries_the_name() {
        let manifest: serde_json::Value = serde_json::from_str(FILES[0].1).unwrap();
        assert_eq!(manifest["name"], PLUGIN_NAME);
    }
}
