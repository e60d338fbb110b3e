//! `ride deploy`: a systemd unit of this user that keeps a Claude Code Remote Control server
//! running in a project folder, as the gateway's configuration advises; and its removal.
//!
//! Invariants: a unit is in its place whole, and only after systemd took it; what was not
//! written by this command, or was changed since, is neither replaced nor removed unasked.
//!
//! Absent on purpose: `systemctl`. What runs is started and stopped by the person, by the
//! lines that are printed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ride_core::config::RemoteControlSpawn;
use ride_core::wire::method;
use serde::Deserialize;
use serde_json::json;

use super::{Context, print, print_exact, say};
use crate::args::DeployArgs;
use crate::deploy::{self, Server, UNIT, Unsayable, Whose};
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::launch::{ClaudeBinary, locate};
use crate::render::clean;

/// The line that makes the gateway advise it.
const ENABLE: &str = "openclaw config set plugins.entries.claude-code-sync.config.enableRemoteControl true";
/// What checks units.
const ANALYZE: &str = "systemd-analyze";
/// It reads a few folders; this is for a busy disk.
const CHECKED_WITHIN: Duration = Duration::from_secs(30);

/// What of the gateway's configuration this goes by.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Advice {
    enable_remote_control: bool,
    remote_control_spawn: RemoteControlSpawn,
}

/// Writes the unit, or prints it.
pub async fn run(context: &Context<'_>, args: &DeployArgs) -> Result<(), Error> {
    if cfg!(not(target_os = "linux")) && !args.print {
        return Err(Error::new(Kind::Other, "there is no systemd on this system")
            .hint("`ride deploy --print` prints the unit, for a machine that has it"));
    }
    let dir = context.env.cwd.join(args.dir.as_deref().unwrap_or(Path::new(".")));
    let entered = dir.canonicalize().and_then(|dir| std::fs::read_dir(&dir).map(|_| dir));
    let dir = entered.map_err(|e| {
        Error::new(Kind::Usage, format!("could not enter the project folder {}: {e}", clean(&dir.to_string_lossy())))
    })?;
    let spawn = match args.spawn {
        Some(spawn) => spawn,
        None => advised(context).await?,
    };
    if spawn == RemoteControlSpawn::Session && args.capacity.is_some() {
        return Err(Error::new(
            Kind::Usage,
            "--capacity goes with the modes same-dir and worktree: mode session has one",
        ));
    }
    let path = context.env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let claude = ClaudeBinary::find(&args.claude, OsStr::new(path), context.env).await?;
    let repository = dir.ancestors().find(|folder| folder.join(".git").exists());
    let config_dir = context.env.get("CLAUDE_CONFIG_DIR").map(|dir| context.env.cwd.join(dir));
    let unit = deploy::unit(&Server {
        claude: &claude.path,
        dir: &dir,
        repository: repository.unwrap_or(&dir),
        spawn,
        name: args.name.as_deref(),
        capacity: args.capacity,
        config_dir: config_dir.as_deref(),
        path,
    })?;
    if args.print {
        print_exact(&unit);
        return Ok(());
    }
    let at = place(context)?;
    let before = there(&at)?;
    yields(&at, before.as_deref(), args.force, "replaced")?;
    let checked = put(context, &at, &unit).await?;
    print(&format!("{}\n", at.display()));
    say(match checked {
        Some(remarks) if remarks.is_empty() => format!("{ANALYZE} has nothing against it"),
        Some(remarks) => format!("{ANALYZE} takes it, and says:\n{}", clean_lines(&remarks)),
        None => format!("not checked: there is no {ANALYZE} on PATH"),
    });
    if spawn == RemoteControlSpawn::Worktree && repository.is_none() {
        say(
            "warning: mode worktree needs a git repository, or WorktreeCreate hooks, and the project folder is in none",
        );
    }
    say(next(&dir, before.as_deref().is_some_and(|before| before != unit)));
    Ok(())
}

/// Removes what `run` wrote.
pub fn undo(context: &Context<'_>, force: bool) -> Result<(), Error> {
    let at = place(context)?;
    let Some(before) = there(&at)? else {
        say(format_args!("nothing to undo: there is no {}", at.display()));
        return Ok(());
    };
    yields(&at, Some(&before), force, "removed")?;
    // Without its unit it could not be disabled any more.
    if at.with_file_name("default.target.wants").join(UNIT).symlink_metadata().is_ok() {
        return Err(Error::new(Kind::Other, format!("{UNIT} still starts with every login"))
            .hint(format!("systemctl --user disable --now {UNIT}\nthen run this command again")));
    }
    std::fs::remove_file(&at).map_err(|e| failed("remove", &at, &e))?;
    say(format_args!(
        "removed {}\nnow, where it still runs:\n  systemctl --user stop {UNIT}\nand\n  systemctl --user daemon-reload\n\
         if nothing else of yours has to outlast your logins:\n  loginctl disable-linger",
        at.display()
    ));
    Ok(())
}

/// The mode the gateway advises.
async fn advised(context: &Context<'_>) -> Result<RemoteControlSpawn, Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Read).await?;
    let advice: Advice = connection.call(method::CONFIG, &json!({})).await?;
    match advice.enable_remote_control {
        true => Ok(advice.remote_control_spawn),
        false => {
            Err(Error::new(Kind::Other, "the gateway's configuration has Remote Control off (enableRemoteControl)")
                .hint(format!("on its machine: {ENABLE}\nor say it here, whatever it has: --spawn same-dir")))
        }
    }
}

/// Where a unit of this user goes.
fn place(context: &Context<'_>) -> Result<PathBuf, Error> {
    let base = context.env.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = base.or_else(|| context.env.home().map(|home| home.join(".config")));
    base.map(|base| base.join("systemd/user").join(UNIT)).ok_or_else(|| {
        Error::new(Kind::Config, "could not tell where units are kept: no home folder").hint("set HOME, or use --print")
    })
}

/// What is there already. Of a link or a folder nothing is known, so it is nobody's we know.
fn there(at: &Path) -> Result<Option<String>, Error> {
    match at.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("look at", at, &e)),
        Ok(found) if found.is_file() => std::fs::read(at)
            .map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
            .map_err(|e| failed("read", at, &e)),
        Ok(_) => Ok(Some(String::new())),
    }
}

/// Whether what is there may go.
fn yields(at: &Path, before: Option<&str>, force: bool, done: &str) -> Result<(), Error> {
    let whose = match before.map(deploy::whose) {
        None | Some(Whose::Ours) => return Ok(()),
        Some(_) if force => return Ok(()),
        Some(Whose::Changed) => "was changed since `ride deploy` wrote it",
        Some(Whose::Theirs) => "was not written by `ride deploy`",
    };
    Err(Error::new(Kind::Other, format!("{} {whose}, and is not {done}", at.display()))
        .hint(format!("--force: it is {done} all the same")))
}

/// Has systemd read the unit, and puts it in its place. Gives what systemd remarks; `None`
/// where there is nothing to ask.
async fn put(context: &Context<'_>, at: &Path, unit: &str) -> Result<Option<String>, Error> {
    let folder = at.parent().expect("the place was joined to a folder");
    // A name that systemd does not look at, on the same file system.
    let stage = Stage(folder.join(format!(".ride-deploy.{}", std::process::id())));
    std::fs::create_dir_all(&stage.0).map_err(|e| failed("make", &stage.0, &e))?;
    let draft = stage.0.join(UNIT);
    std::fs::write(&draft, unit).map_err(|e| failed("write", &draft, &e))?;
    let remarks = check(context, &draft, &stage.0).await?;
    if at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Err(Error::new(Kind::Other, format!("could not write {}: it is a folder", at.display())));
    }
    std::fs::rename(&draft, at).map_err(|e| failed("write", at, &e))?;
    Ok(remarks)
}

async fn check(context: &Context<'_>, draft: &Path, runtime: &Path) -> Result<Option<String>, Error> {
    let path = context.env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let Some(analyze) = locate(OsStr::new(ANALYZE), OsStr::new(path), &context.env.cwd) else { return Ok(None) };
    let mut command = tokio::process::Command::from(context.env.command(&analyze));
    command.args(["--user", "verify"]).arg(draft).stdin(Stdio::null()).kill_on_drop(true);
    // It asks for one (systemd 252), and there is none under sudo or cron.
    command.env("XDG_RUNTIME_DIR", context.env.get("XDG_RUNTIME_DIR").map_or(runtime, Path::new));
    let broke = |why: String| Error::new(Kind::Other, format!("could not run {}: {why}", analyze.display()));
    let output = tokio::time::timeout(CHECKED_WITHIN, command.output()).await;
    let output = output
        .map_err(|_| broke(format!("no answer within {} s", CHECKED_WITHIN.as_secs())))?
        .map_err(|e| broke(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(Some(said)),
        false => Err(Error::new(
            Kind::Other,
            format!("{ANALYZE} does not take the unit, so it was not written: {}", clean_lines(&said)),
        )
        .hint("`ride deploy --print` prints it")),
    }
}

/// The folder a unit is checked in, removed with whatever is left there.
struct Stage(PathBuf);

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the person does now.
fn next(dir: &Path, replaced: bool) -> String {
    let dir = shell(&dir.to_string_lossy());
    let start = if replaced { "restart" } else { "enable --now" };
    format!(
        "\n\
         first, once, as this user: Remote Control takes a claude.ai login and no API key, and a folder you trust\n  \
         cd {dir} && claude          # trust the folder, then /login, then /exit\n\
         then\n  \
         systemctl --user daemon-reload && systemctl --user {start} {UNIT}\n  \
         journalctl --user -u {UNIT} -f\n\
         to have it run while you are not logged in\n  \
         loginctl enable-linger\n\
         to undo\n  \
         systemctl --user disable --now {UNIT} && ride deploy --undo"
    )
}

/// A word as a shell reads it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn failed(doing: &str, at: &Path, e: &io::Error) -> Error {
    Error::new(Kind::Other, format!("could not {doing} {}: {e}", at.display()))
}

impl From<Unsayable> for Error {
    fn from(e: Unsayable) -> Error {
        Error::new(Kind::Usage, e.to_string()).hint("give it a plainer name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_word_of_the_shell() {
        let check = |word: &str, expected: &str| assert_eq!(shell(word), expected);
        check("/srv/work", "/srv/work");
        check("/srv/a b", "'/srv/a b'");
        check("/srv/o'x $y", r"'/srv/o'\''x $y'");
        check("/srv/$(x)", "'/srv/$(x)'");
    }
}
