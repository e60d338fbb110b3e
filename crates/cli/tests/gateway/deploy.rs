//! `ride deploy`: a unit goes into its place whole, checked by the real systemd, and nobody
//! else's is touched.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ride::deploy::{UNIT, Whose, whose};
use serde_json::{Value, json};

use super::command::{DEADLINE, Machine, RIDE};
use super::standin::ok;

/// Whether this machine has what checks units; said, where it has not.
fn systemd() -> bool {
    let there =
        ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join("systemd-analyze").exists());
    if !there {
        eprintln!("this machine has no systemd-analyze: units are not checked by the real one here");
    }
    there
}

async fn machine(advice: Value) -> Machine {
    let machine = Machine::listing(|| json!([]), move |request: &Value| ok(request, advice.clone())).await;
    fs::create_dir(machine.home.path().join("work")).unwrap();
    machine
}

fn units(machine: &Machine) -> PathBuf {
    machine.home.path().join(".config/systemd/user")
}

/// What `deploy` with these options does: exit code, standard output, standard error.
async fn deploy(machine: &Machine, args: &[&str]) -> (i32, String, String) {
    machine.output(&[&["deploy", "--claude", "./claude"], args].concat()).await
}

#[tokio::test]
async fn the_gateway_says_whether_and_how() {
    let off = machine(json!({"enableRemoteControl": false, "remoteControlSpawn": "same-dir"})).await;
    let (code, out, said) = deploy(&off, &["--dir", "work"]).await;
    let expected = "error: the gateway's configuration has Remote Control off (enableRemoteControl)\n\
        hint: on its machine: openclaw config set plugins.entries.claude-code-sync.config.enableRemoteControl true\n      \
        or say it here, whatever it has: --spawn same-dir\n";
    assert_eq!((code, out.as_str(), said.as_str()), (1, "", expected));
    assert!(!units(&off).exists());
    // Said here, the gateway is not asked.
    let (code, out, said) = deploy(&off, &["--dir", "work", "--spawn", "session", "--print"]).await;
    assert_eq!((code, said.as_str(), whose(&out)), (0, "", Whose::Ours));
    assert!(out.contains(" remote-control --spawn session\n") && out.contains("\nRestart=always\n"), "{out}");
    assert!(!units(&off).exists());
    assert_eq!(off.asked("ride_config").len(), 1);

    let on = machine(json!({"enableRemoteControl": true, "remoteControlSpawn": "worktree"})).await;
    let (code, out, said) = deploy(&on, &["--dir", "work", "--capacity", "4", "--name", "box"]).await;
    let at = units(&on).join(UNIT);
    assert_eq!((code, out.trim_end()), (0, at.to_str().unwrap()), "{said}");
    let unit = fs::read_to_string(&at).unwrap();
    assert!(unit.contains(" remote-control --spawn worktree --name \"box\" --capacity 4\n"), "{unit}");
    assert!(said.contains("the project folder is in none\n"), "{said}");
    fs::create_dir(on.home.path().join(".git")).unwrap();
    let (_, out, _) = deploy(&on, &["--dir", "work", "--print"]).await;
    let home = on.home.path().canonicalize().unwrap();
    assert!(
        out.contains(&format!("\nReadWritePaths=%h %t \"{}\"\n", home.display())),
        "the repository is writable as a whole: {out}"
    );

    for (args, expected) in [
        (&["--spawn", "session", "--capacity", "2"][..], "--capacity goes with the modes same-dir and worktree"),
        (&["--dir", "none", "--spawn", "session"], "could not enter the project folder"),
        (&["--dir", "claude", "--spawn", "session"], "could not enter the project folder"),
        (&["--spawn", "tab"], "invalid value 'tab' for '--spawn <MODE>'"),
        (&["--undo", "--dir", "work"], "cannot be used with"),
    ] {
        let (code, _, said) = deploy(&on, args).await;
        assert!(code == 2 && said.contains(expected), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn only_what_it_wrote_is_replaced_or_removed() {
    let machine = machine(json!({"enableRemoteControl": true, "remoteControlSpawn": "same-dir"})).await;
    let (folder, at) = (units(&machine), units(&machine).join(UNIT));
    let (code, _, said) = deploy(&machine, &["--undo"]).await;
    assert_eq!((code, said), (0, format!("nothing to undo: there is no {}\n", at.display())));

    let put = async |args: &[&str]| deploy(&machine, &[&["--dir", "work"], args].concat()).await;
    let (code, _, said) = put(&[]).await;
    assert!(code == 0 && said.contains(&format!("systemctl --user enable --now {UNIT}")), "{said}");
    let (code, _, said) = put(&["--name", "other"]).await;
    assert!(code == 0 && said.contains(&format!("systemctl --user restart {UNIT}")), "{said}");
    let ours = fs::read_to_string(&at).unwrap();

    let elsewhere = machine.home.path().join("elsewhere");
    fs::write(&elsewhere, &ours).unwrap();
    for (why, lay) in [
        (
            "was changed since `ride deploy` wrote it",
            Box::new(|| fs::write(&at, ours.replace("RestartSec=60", "RestartSec=1")))
                as Box<dyn Fn() -> std::io::Result<()>>,
        ),
        ("was not written by `ride deploy`", Box::new(|| fs::write(&at, "[Service]\nExecStart=/bin/true\n"))),
        ("was not written by `ride deploy`", Box::new(|| fs::remove_file(&at).and_then(|()| symlink(&elsewhere, &at)))),
    ] {
        lay().unwrap();
        let there = fs::read_to_string(&at).unwrap();
        let refused = |done: &str| {
            format!("error: {} {why}, and is not {done}\nhint: --force: it is {done} all the same\n", at.display())
        };
        assert_eq!(put(&[]).await, (1, String::new(), refused("replaced")));
        assert_eq!(deploy(&machine, &["--undo"]).await, (1, String::new(), refused("removed")));
        assert_eq!(fs::read_to_string(&at).unwrap(), there);
    }
    assert_eq!(put(&["--force"]).await.0, 0);
    assert_eq!(
        (whose(&fs::read_to_string(&at).unwrap()), fs::read_to_string(&elsewhere).unwrap()),
        (Whose::Ours, ours),
        "the link went, not what it led to"
    );

    let wants = folder.join("default.target.wants");
    fs::create_dir(&wants).unwrap();
    symlink(&at, wants.join(UNIT)).unwrap();
    let (code, _, said) = deploy(&machine, &["--undo"]).await;
    assert!(
        code == 1 && said.contains(&format!("hint: systemctl --user disable --now {UNIT}\n")) && at.exists(),
        "{said}"
    );
    fs::remove_dir_all(&wants).unwrap();
    let (code, _, said) = deploy(&machine, &["--undo"]).await;
    assert!(code == 0 && said.contains("systemctl --user daemon-reload"), "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing stays behind");
}

#[tokio::test]
async fn systemd_reads_it_before_it_counts() {
    let machine = machine(json!({})).await;
    let home = machine.home.path();
    // Of a folder and a program with everything that has a meaning for systemd.
    let odd = home.join("100% $HOME %h; é \"x\"");
    let tools = home.join("my $tools 50%");
    fs::create_dir(&odd).unwrap();
    fs::create_dir(&tools).unwrap();
    fs::copy(home.join("claude"), tools.join("claude")).unwrap();
    let run = async |path: &str, args: &[&str]| {
        let output = tokio::process::Command::new(RIDE)
            .args(["deploy", "--spawn", "same-dir"])
            .args(args)
            .env_clear()
            .envs([("HOME", home.to_str().unwrap()), ("PATH", path)])
            .current_dir(&odd)
            .output();
        let output = tokio::time::timeout(DEADLINE, output).await.unwrap().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let claude = tools.join("claude");
    let claude = ["--claude", claude.to_str().unwrap()];
    let at = units(&machine).join(UNIT);

    let (code, said) = run("/usr/local/bin:/usr/bin:/bin", &claude).await;
    let verdict = if systemd() {
        "systemd-analyze has nothing against it\n"
    } else {
        "not checked: there is no systemd-analyze on PATH\n"
    };
    assert!(code == 0 && said.starts_with(verdict), "{said}");
    assert!(at.exists());
    let (code, said) = run("/nowhere", &claude).await;
    assert!(code == 0 && said.starts_with("not checked: there is no systemd-analyze on PATH\n"), "{said}");

    // What systemd does not take is not written.
    let before = fs::read(&at).unwrap();
    let refuses = tools.join("systemd-analyze");
    fs::write(&refuses, "#!/bin/sh\necho \"$1 $2: no\" >&2\nexit 1\n").unwrap();
    fs::set_permissions(&refuses, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said) = run(tools.to_str().unwrap(), &[&claude[..], &["--name", "new"]].concat()).await;
    let expected = "error: systemd-analyze does not take the unit, so it was not written: --user verify: no\nhint: `ride deploy --print` prints it\n";
    assert_eq!((code, said.as_str()), (1, expected));
    assert_eq!(fs::read(&at).unwrap(), before);
    assert_eq!(fs::read_dir(units(&machine)).unwrap().count(), 1, "nothing stays behind");

    if systemd() {
        // The check is one: a program that is not there is found.
        let gone = fs::read_to_string(&at).unwrap().replace("tools 50%%/claude", "tools 50%%/gone");
        fs::write(&at, gone).unwrap();
        let verify = tokio::process::Command::new("systemd-analyze")
            .args(["--user", "verify"])
            .arg(&at)
            .env("XDG_RUNTIME_DIR", home)
            .output();
        let verify = tokio::time::timeout(DEADLINE, verify).await.unwrap().unwrap();
        assert!(
            !verify.status.success() && String::from_utf8_lossy(&verify.stderr).contains("my $tools 50%/gone"),
            "{verify:?}"
        );
    }
}
