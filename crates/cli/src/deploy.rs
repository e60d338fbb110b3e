//! The systemd unit of a Claude Code Remote Control server: its text, and who wrote the text of a unit.
//!
//! Invariants: what a unit cannot say is refused, not bent; a unit that was changed after
//! it was written is no longer ours to replace or remove.
//!
//! Absent on purpose: files and systemd, which are `command/deploy.rs`. And any other unit:
//! nothing else of this project runs outside the gateway and a terminal.

use std::path::Path;

use ride_core::config::RemoteControlSpawn;
use sha2::{Digest as _, Sha256};

use crate::gateway::device::hex;

/// The unit's name.
pub const UNIT: &str = "claude-remote-control.service";
const TEMPLATE: &str = include_str!("../../../deploy/claude-remote-control.service");
/// How the first line of a unit of ours begins; the sum of the others follows.
const MARK: &str = "# Written by `ride deploy`; `ride deploy --undo` removes it. Sum of what follows: ";
/// Hex digits of the sum: it finds a change, it keeps nobody out.
const SUM: usize = 16;

/// What is to be served, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Claude Code's program, an absolute path.
    pub claude: &'a Path,
    /// The project folder, an absolute path.
    pub dir: &'a Path,
    /// The folder that has to be writable for it: the whole repository, where there is one.
    pub repository: &'a Path,
    /// How sessions are made.
    pub spawn: RemoteControlSpawn,
    /// The name shown on claude.ai; Claude Code makes one from the machine's otherwise.
    pub name: Option<&'a str>,
    /// Most sessions at once; Claude Code's own limit otherwise.
    pub capacity: Option<u32>,
    /// The Claude configuration folder, where it is not the default.
    pub config_dir: Option<&'a Path>,
    /// Where programs are looked for.
    pub path: &'a str,
}

/// What a unit cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not write {what} into a unit: {value:?} has {has}")]
pub struct Unsayable {
    what: &'static str,
    value: String,
    has: &'static str,
}

/// Whose a unit's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours, as it was written.
    Ours,
    /// Ours once, and changed since.
    Changed,
    /// Somebody else's.
    Theirs,
}

/// Writes the unit.
///
/// # Errors
/// A path or name that a unit cannot say.
pub fn unit(server: &Server<'_>) -> Result<String, Unsayable> {
    let single = server.spawn == RemoteControlSpawn::Session;
    let mut command =
        vec![program(server.claude)?, "remote-control".to_owned(), "--spawn".to_owned(), mode(server.spawn).to_owned()];
    if let Some(name) = server.name {
        command.extend(["--name".to_owned(), quoted("the name", name)?]);
    }
    if let Some(capacity) = server.capacity {
        command.extend(["--capacity".to_owned(), capacity.to_string()]);
    }
    let dir = bare("the project folder", text("the project folder", server.dir)?)?;
    let mut writable = quoted("the project folder", text("the project folder", server.repository)?)?;
    let mut config_dir = String::new();
    if let Some(folder) = server.config_dir {
        let folder = text("CLAUDE_CONFIG_DIR", folder)?;
        config_dir = format!("Environment={}\n", quoted("CLAUDE_CONFIG_DIR", &format!("CLAUDE_CONFIG_DIR={folder}"))?);
        writable = format!("{writable} {}", quoted("CLAUDE_CONFIG_DIR", &format!("-{folder}"))?);
    }
    let values = [
        ("@description@", dir.clone()),
        ("@dir@", dir),
        ("@command@", command.join(" ")),
        ("@restart@", if single { "always" } else { "on-failure" }.to_owned()),
        ("@path@", quoted("PATH", &format!("PATH={}", server.path))?),
        ("@config_dir@", config_dir),
        ("@writable@", writable),
    ];
    let body = filled(&values);
    Ok(format!("{MARK}{}\n{body}", sum(&body)))
}

/// Tells whose a unit's text is.
pub fn whose(unit: &str) -> Whose {
    let Some((first, body)) = unit.split_once('\n') else { return Whose::Theirs };
    match first.strip_prefix(MARK) {
        None => Whose::Theirs,
        Some(told) if told == sum(body) => Whose::Ours,
        Some(_) => Whose::Changed,
    }
}

/// A mode as Claude Code's `--spawn` takes it (2.1.197, 2.1.330), and as the gateway tells it.
pub fn mode(spawn: RemoteControlSpawn) -> &'static str {
    match spawn {
        RemoteControlSpawn::SameDir => "same-dir",
        RemoteControlSpawn::Worktree => "worktree",
        RemoteControlSpawn::Session => "session",
    }
}

/// The mode of a word.
pub fn spawn(word: &str) -> Option<RemoteControlSpawn> {
    use RemoteControlSpawn::{SameDir, Session, Worktree};
    [SameDir, Worktree, Session].into_iter().find(|spawn| mode(*spawn) == word)
}

fn sum(body: &str) -> String {
    hex(&Sha256::digest(body))[..SUM].to_owned()
}

/// The template with its places filled, once each and in one go: a value may look like a place.
fn filled(values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(TEMPLATE.len());
    let mut rest = TEMPLATE;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // A set of system calls has a name that begins so, too.
        let (length, value) = values
            .iter()
            .find(|(place, _)| rest.starts_with(place))
            .map_or((1, "@"), |(place, value)| (place.len(), value));
        out.push_str(value);
        rest = &rest[length..];
    }
    out + rest
}

fn text<'p>(what: &'static str, path: &'p Path) -> Result<&'p str, Unsayable> {
    path.to_str().ok_or_else(|| Unsayable { what, value: path.display().to_string(), has: "bytes that are not UTF-8" })
}

/// What no unit can say anywhere: systemd reads lines.
fn lines(what: &'static str, value: &str) -> Result<(), Unsayable> {
    match value.chars().any(char::is_control) {
        true => Err(Unsayable { what, value: value.to_owned(), has: "a control character" }),
        false => Ok(()),
    }
}

/// A value that is the rest of its line, taken as it is but for specifiers.
fn bare(what: &'static str, value: &str) -> Result<String, Unsayable> {
    lines(what, value)?;
    match value.ends_with(|c: char| c.is_whitespace() || c == '\\') {
        true => Err(Unsayable { what, value: value.to_owned(), has: "a space or backslash at its end" }),
        false => Ok(value.replace('%', "%%")),
    }
}

/// A value that is one word of its line.
fn quoted(what: &'static str, value: &str) -> Result<String, Unsayable> {
    lines(what, value)?;
    Ok(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")))
}

/// The program of a command; systemd takes none with these, however quoted.
fn program(claude: &Path) -> Result<String, Unsayable> {
    let what = "Claude Code's program";
    let value = text(what, claude)?;
    match value.contains(['"', '\'', '\\']) {
        true => Err(Unsayable { what, value: value.to_owned(), has: "a quote or a backslash" }),
        false => quoted(what, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server<'static> {
        Server {
            claude: Path::new("/opt/claude"),
            dir: Path::new("/srv/work"),
            repository: Path::new("/srv/work"),
            spawn: RemoteControlSpawn::SameDir,
            name: None,
            capacity: None,
            config_dir: None,
            path: "/usr/bin:/bin",
        }
    }

    /// The lines of a unit that differ from those of the plainest one.
    fn changed(server: &Server<'_>) -> String {
        let plain = unit(&self::server()).unwrap();
        let unit = unit(server).unwrap_or_else(|e| panic!("{e}"));
        let known: Vec<&str> = plain.lines().collect();
        unit.lines().skip(1).filter(|line| !known.contains(line)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_unit_says_what_was_asked_for() {
        let plain = unit(&server()).unwrap();
        for line in [
            "Description=Claude Code Remote Control in /srv/work",
            "WorkingDirectory=/srv/work",
            "ExecStart=:\"/opt/claude\" remote-control --spawn same-dir",
            "Restart=on-failure",
            "Environment=\"PATH=/usr/bin:/bin\"",
            "ReadWritePaths=%h %t \"/srv/work\"",
            "SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap",
        ] {
            assert!(plain.lines().any(|there| there == line), "{line}\n{plain}");
        }
        let check = |server: Server<'_>, expected: &str| assert_eq!(changed(&server), expected);
        check(server(), "");
        check(
            Server { spawn: RemoteControlSpawn::Session, ..server() },
            "ExecStart=:\"/opt/claude\" remote-control --spawn session\nRestart=always",
        );
        check(
            Server {
                spawn: RemoteControlSpawn::Worktree,
                name: Some("the \"box\" 100%"),
                capacity: Some(4),
                ..server()
            },
            r#"ExecStart=:"/opt/claude" remote-control --spawn worktree --name "the \"box\" 100%%" --capacity 4"#,
        );
        check(
            Server { config_dir: Some(Path::new("/srv/my claude")), ..server() },
            "Environment=\"CLAUDE_CONFIG_DIR=/srv/my claude\"\nReadWritePaths=%h %t \"/srv/work\" \"-/srv/my claude\"",
        );
        check(
            Server {
                dir: Path::new("/srv/a b/100% $x \"@dir@\" \\ é"),
                repository: Path::new("/srv/a b\\ \"50%\""),
                ..server()
            },
            "Description=Claude Code Remote Control in /srv/a b/100%% $x \"@dir@\" \\ é\n\
             WorkingDirectory=/srv/a b/100%% $x \"@dir@\" \\ é\n\
             ReadWritePaths=%h %t \"/srv/a b\\\\ \\\"50%%\\\"\"",
        );
        check(
            Server { claude: Path::new("/opt/my $tools/50%/claude"), ..server() },
            "ExecStart=:\"/opt/my $tools/50%%/claude\" remote-control --spawn same-dir",
        );
    }

    #[test]
    fn what_a_unit_cannot_say_is_refused() {
        let check = |server: Server<'_>, expected: &str| assert_eq!(unit(&server).unwrap_err().to_string(), expected);
        check(
            Server { dir: Path::new("/srv/a\nExecStart=/bin/sh"), ..server() },
            r#"could not write the project folder into a unit: "/srv/a\nExecStart=/bin/sh" has a control character"#,
        );
        check(
            Server { dir: Path::new("/srv/a "), ..server() },
            r#"could not write the project folder into a unit: "/srv/a " has a space or backslash at its end"#,
        );
        check(
            Server { dir: Path::new("/srv/a\\"), ..server() },
            r#"could not write the project folder into a unit: "/srv/a\\" has a space or backslash at its end"#,
        );
        check(
            Server { claude: Path::new("/opt/o'claude"), ..server() },
            r#"could not write Claude Code's program into a unit: "/opt/o'claude" has a quote or a backslash"#,
        );
        check(
            Server { name: Some("a\u{1b}[31m"), ..server() },
            r#"could not write the name into a unit: "a\u{1b}[31m" has a control character"#,
        );
        check(
            Server { path: "/bin\r", ..server() },
            r#"could not write PATH into a unit: "PATH=/bin\r" has a control character"#,
        );
    }

    #[test]
    fn a_unit_is_ours_until_somebody_changes_it() {
        let unit = unit(&server()).unwrap();
        assert_eq!(whose(&unit), Whose::Ours);
        assert_eq!(whose(&unit.replace("RestartSec=60", "RestartSec=61")), Whose::Changed);
        assert_eq!(whose(&format!("{unit}\n")), Whose::Changed);
        assert_eq!(whose(unit.split_once('\n').unwrap().1), Whose::Theirs);
        assert_eq!(whose(""), Whose::Theirs);
    }

    #[test]
    fn the_modes_are_those_the_gateway_tells() {
        for (word, value) in [
            ("same-dir", RemoteControlSpawn::SameDir),
            ("worktree", RemoteControlSpawn::Worktree),
            ("session", RemoteControlSpawn::Session),
        ] {
            assert_eq!(spawn(word), Some(value));
            assert_eq!(serde_json::to_value(value).unwrap(), word);
        }
        assert_eq!(spawn("tab"), None);
    }
}
