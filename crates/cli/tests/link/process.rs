//! Starting, watching and ending the child, with a shell script for Claude Code.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ride::env::Env;
use ride::launch::{ClaudeBinary, Ended, Launch, LaunchError, PrivateDir, Version, start_of, unpack};
use ride::link::{Source, Token};
use tokio::time::timeout;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(10);

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn launch(claude: PathBuf, dir: &Path) -> Launch {
    Launch {
        env: Env::of(&[], dir),
        claude,
        claude_session: Uuid::from_u128(9),
        cwd: dir.to_owned(),
        config_dir: Some(dir.join("config")),
        plugin: unpack(dir, Source::Mod, super::RIDE.as_ref()).unwrap().root,
        socket: dir.join("s"),
        token: Token::draw().unwrap(),
        extra: vec!["--model".into(), "opus".into()],
        lock: None,
    }
}

#[tokio::test]
async fn claude_gets_its_command_line_and_environment() {
    let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
    let tell = r#"echo "$PWD|$*|$OPENCLAW_RIDE_SOCKET|$OPENCLAW_RIDE_TOKEN|$CLAUDE_CONFIG_DIR" > told; exit 7"#;
    let launch = launch(script(dir.path(), "claude", tell), dir.path());
    let mut claude = launch.start().unwrap();
    assert_eq!(timeout(DEADLINE, claude.ended()).await.unwrap(), Ended::Exited(7));
    let at = dir.path().display();
    let expected = format!(
        "{at}|--resume {} --plugin-dir {at}/openclaw-session-sync --model opus|{at}/s|{}|{at}/config\n",
        Uuid::from_u128(9),
        launch.token.expose()
    );
    assert_eq!(fs::read_to_string(dir.path().join("told")).unwrap(), expected);
    for file in [".claude-plugin/plugin.json", "hooks/hooks.json", "hooks/register.js"] {
        assert!(launch.plugin.join(file).is_file(), "{file}");
    }
}

#[tokio::test]
async fn it_is_ended_and_a_late_signal_meets_nobody() {
    let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
    let mut claude = launch(script(dir.path(), "claude", "exec sleep 60"), dir.path()).start().unwrap();
    assert_eq!(start_of(claude.pid()), claude.start());
    assert!(claude.start().is_some());
    claude.terminate();
    assert_eq!(timeout(DEADLINE, claude.ended()).await.unwrap(), Ended::Signaled(15));
    assert_eq!(start_of(claude.pid()), None, "reaped");
    claude.kill();
}

#[tokio::test]
async fn a_claude_that_stands_still_can_be_ended() {
    let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
    let mut claude = launch(script(dir.path(), "claude", "kill -STOP $$; exec sleep 60"), dir.path()).start().unwrap();
    claude.terminate();
    assert!(matches!(timeout(DEADLINE, claude.ended()).await.unwrap(), Ended::Signaled(15)));
}

#[tokio::test]
async fn the_binary_is_checked() {
    let dir = PrivateDir::create(&std::env::temp_dir()).unwrap();
    let at = dir.path();
    let env = Env::of(&[], at);
    let find = |name: &'static str| ClaudeBinary::find(OsStr::new(name), at.as_os_str(), &env);
    script(at, "new", "echo '2.1.330 (Claude Code)'");
    script(at, "old", "echo '2.1.96 (Claude Code)'");
    script(at, "modless", "echo '2.1.197 (Claude Code)'");
    script(at, "other", "echo 'hello'; exit 1");
    assert_eq!(find("new").await.unwrap(), ClaudeBinary { path: at.join("new"), version: Version(2, 1, 330) });
    assert_eq!(find("./new").await.unwrap().path, at.join("new"));
    let sources = [find("new").await.unwrap().source(), find("modless").await.unwrap().source()];
    assert_eq!(sources, [Source::Mod, Source::Hooks]);
    let old = find("old").await.unwrap_err();
    let said = format!("{} is Claude Code 2.1.96, and riding needs 2.1.197 or newer", at.join("old").display());
    assert_eq!((old.to_string(), old.hint()), (said, Some("update it: claude update")));
    assert!(matches!(find("other").await, Err(LaunchError::NoVersion { cause, .. }) if cause == "it says `hello`"));
    assert!(matches!(find("absent").await, Err(LaunchError::NotFound { name }) if name == "absent"));
    fs::write(at.join("plain"), "").unwrap();
    assert!(matches!(find("plain").await, Err(LaunchError::NotFound { .. })));
}
