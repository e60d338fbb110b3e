//! The Claude Code plugin of a ride, embedded so that it cannot drift from the binary.
//!
//! The same folder can be installed for good, with hooks and a command of its own
//! (`hooks/hooks.json`, `commands/adopt.md`): none of that is here. Measured on 2.1.197 and
//! 2.1.330: of two plugins of one name the one given by `--plugin-dir` is loaded alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{LaunchError, prepare};
use crate::link::Source;

/// The plugin's name, as Claude Code shows it.
pub const PLUGIN_NAME: &str = "openclaw-session-sync";

const MANIFEST: &str = include_str!("../../../../plugins/claude-code/.claude-plugin/plugin.json");
const INBOX: &str = include_str!("../../../../plugins/claude-code/commands/inbox.md");
const WITH_MOD: [(&str, &str); 4] = [
    (".claude-plugin/plugin.json", MANIFEST),
    ("hooks/hooks.json", include_str!("../../../../plugins/claude-code/hooks/with-mods.json")),
    ("hooks/register.js", include_str!("../../../../plugins/claude-code/hooks/register.js")),
    ("commands/inbox.md", INBOX),
];
const WITHOUT: [(&str, &str); 3] = [
    (".claude-plugin/plugin.json", MANIFEST),
    ("hooks/hooks.json", include_str!("../../../../plugins/claude-code/hooks/without-mods.json")),
    ("commands/inbox.md", INBOX),
];

/// The plugin as it lies on disk.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its folder.
    pub root: PathBuf,
    /// What its hooks run.
    pub program: PathBuf,
}

/// Writes the plugin below `dir`, for a Claude Code that is to speak as `source`. Its
/// hooks run a copy of `ride`: Claude Code takes a missing one for a yes, so it must not
/// go with an update.
///
/// The folder stays unchanged during a ride: Claude Code watches it, reloads
/// the mod on a change, and lays its own type declarations beside it.
///
/// There is one layout for each way, since a hook of a newer Claude Code would cost a
/// process per prompt even where the mod is asked, and an older one refuses the whole
/// file for a word it does not know. `SessionStart` is in both: when it runs and no mod
/// greets, mods are forbidden.
pub fn unpack(dir: &Path, source: Source, ride: &Path) -> Result<Plugin, LaunchError> {
    let root = dir.join(PLUGIN_NAME);
    let files: &[(&str, &str)] = match source {
        Source::Mod => &WITH_MOD,
        Source::Hooks => &WITHOUT,
    };
    for (name, text) in files {
        let path = root.join(name);
        let parent = path.parent().expect("every name has a folder");
        prepare(parent, fs::create_dir_all(parent))?;
        prepare(&path, fs::write(&path, text))?;
    }
    let program = root.join("hooks/ride");
    lay(ride, &program)?;
    Ok(Plugin { root, program })
}

/// A link where that is possible, and a copy where not; shown to run.
fn lay(ride: &Path, to: &Path) -> Result<(), LaunchError> {
    if fs::hard_link(ride, to).is_err() {
        prepare(to, fs::copy(ride, to))?;
    }
    #[expect(clippy::disallowed_methods, reason = "it is given no environment at all")]
    let ran = Command::new(to).arg("hook").env_clear().stdin(Stdio::null()).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(LaunchError::NotRunnable { path: to.to_owned(), cause: output.status.to_string() }),
        Err(cause) => Err(LaunchError::NotRunnable { path: to.to_owned(), cause: cause.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_carries_the_name() {
        let manifest: serde_json::Value = serde_json::from_str(MANIFEST).unwrap();
        assert_eq!(manifest["name"], PLUGIN_NAME);
    }

    #[test]
    fn installed_for_good_it_relays_nothing_and_asks_a_ride_on_the_path() {
        let hooks: serde_json::Value =
            serde_json::from_str(include_str!("../../../../plugins/claude-code/hooks/hooks.json")).unwrap();
        assert!(hooks.get("modules").is_none(), "{hooks}");
        for event in ["SessionStart", "UserPromptSubmit", "SessionEnd"] {
            let command = format!("command -v ride >/dev/null 2>&1 || exit 0; exec ride guard {event}");
            assert_eq!(hooks["hooks"][event][0]["hooks"][0]["command"], command);
        }
        assert_eq!(hooks["hooks"].as_object().unwrap().len(), 3);
    }

    #[test]
    fn with_the_mod_no_process_runs_at_a_prompt() {
        let events = |text: &str| {
            let file: serde_json::Value = serde_json::from_str(text).unwrap();
            file["hooks"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(events(WITH_MOD[1].1), ["SessionStart"]);
        assert_eq!(events(WITHOUT[1].1), ["SessionStart", "Stop", "UserPromptSubmit"]);
    }
}
