//! `ride` as a tool: what it prints for people and programs, its exit codes, its
//! completions in a real shell, and its own pages.

use std::fs;

use serde_json::{Value, json};

use super::command::{DEADLINE, KEY, Machine, RIDE, dead, row};
use super::standin::{fail, ok};

fn config(request: &Value) -> Option<Value> {
    ok(request, json!({"rideTtlMinutes": 30, "lockDir": "/locks", "syncMirrorDir": null}))
}

fn three() -> Value {
    let mut other = row();
    (other["title"], other["key"]) =
        (json!("Holiday plans\u{1b}[31m with a title that is longer than any window"), json!(format!("{KEY}0")));
    (other["rideable"], other["whyNot"]) = (json!(false), json!("no Claude session behind it"));
    let mut third = row();
    (third["title"], third["key"]) = (json!("Größe"), json!("agent:main:discord:9"));
    json!([row(), other, third])
}

#[tokio::test]
async fn ls_lists_what_fits_the_same_in_every_pipe() {
    let machine = Machine::listing(three, |request: &Value| ok(request, json!({}))).await;
    let titles = |listed: &str| -> Vec<String> {
        listed.lines().skip(1).map(|line| line.split("  ").next().unwrap().to_owned()).collect()
    };
    let (code, listed, said) = machine.output(&["ls"]).await;
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(titles(&listed), ["Deploys", "Holiday plans[31m with a title that is longer than any window", "Größe"]);
    assert!(!listed.contains('\u{1b}') && listed.lines().next().unwrap().starts_with("THREAD"));
    // A window's width in the environment changes nothing.
    let narrow = tokio::process::Command::new(RIDE)
        .args(["--url", &machine.origin(), "--state-dir", "state", "ls"])
        .env_clear()
        .envs([("HOME", machine.home.path().to_str().unwrap()), ("OPENCLAW_GATEWAY_TOKEN", "t-1"), ("COLUMNS", "30")])
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(narrow.stdout).unwrap(), listed);

    assert_eq!(titles(&machine.output(&["ls", "GRÖSSE"]).await.1), [""; 0]);
    assert_eq!(titles(&machine.output(&["ls", "größe"]).await.1), ["Größe"]);
    assert_eq!(titles(&machine.output(&["ls", "--rideable"]).await.1), ["Deploys", "Größe"]);
    assert_eq!(machine.output(&["ls", "no", "such"]).await, (0, String::new(), "none of the 3 threads fits\n".into()));
    let (code, listed, said) = machine.output(&["ls", "--json", "größe"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (code, said.as_str(), listed["rows"][0]["key"].as_str(), listed["rows"].as_array().unwrap().len()),
        (0, "", Some("agent:main:discord:9"), 1)
    );
}

#[tokio::test]
async fn the_thread_ridden_last_is_that_one_or_none() {
    let machine = Machine::listing(three, |request: &Value| ok(request, json!({"threads": []}))).await;
    fs::create_dir_all(machine.state_dir()).unwrap();
    let status = async || machine.output(&["status", "-"]).await;
    let error = |text: &str| (3, String::new(), format!("error: {text}\nhint: `ride ls` lists those there are\n"));
    assert_eq!(status().await, error("no thread was ridden from here yet"));
    let last =
        |gateway: &str, key: &str| fs::write(machine.state_dir().join("last"), format!("{gateway}\n{key}\n")).unwrap();
    last(&machine.origin(), KEY);
    assert_eq!(status().await.0, 0);
    assert_eq!(machine.asked("ride_status")[0]["key"], KEY);
    // Its key is the beginning of another's: that one is not meant.
    let gone = &KEY[..KEY.len() - 1];
    last(&machine.origin(), gone);
    assert_eq!(status().await, error(&format!("the thread ridden last is gone: {gone}")));
    last("wss://elsewhere", KEY);
    assert_eq!(status().await, error("the thread ridden last is on another gateway, wss://elsewhere"));
}

#[tokio::test]
async fn errors_are_json_where_json_was_asked_for() {
    let held = json!({"code": "UNAVAILABLE", "message": "the store is gone", "details": {"reason": "STORE", "hint": "look at its disk"}});
    let machine = Machine::listing(three, move |request: &Value| fail(request, held.clone())).await;
    let check = async |args: &[&str], expected: Value| {
        let (code, out, said) = machine.output(args).await;
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        assert_eq!((out.as_str(), &said), ("", &json!({"error": expected})), "{args:?}");
        assert_eq!(Some(i64::from(code)), expected["exitCode"].as_i64());
    };
    check(
        &["status", "--json"],
        json!({"kind": "other", "message": "the store is gone", "hint": "look at its disk", "exitCode": 1}),
    )
    .await;
    check(&["release", "--json", "holiday"], json!({"kind": "not-rideable", "message": "nobody rides Holiday plans[31m with a title that is longer than any window", "hint": null, "exitCode": 5})).await;
    check(&["ls", "--json", "--nonsense"], json!({"kind": "usage", "message": "unexpected argument '--nonsense' found", "hint": "`ride --help` tells what there is", "exitCode": 2})).await;
    check(
        &["status", "--json", "deploys", "nothing"],
        json!({"kind": "match", "message": "no thread fits \"deploys nothing\"", "exitCode": 3,
            "hint": format!("there are:\n  Deploys  ({KEY})\n  Holiday plans[31m with a title that is longer than any window  ({KEY}0)\n  Größe  (agent:main:discord:9)")}),
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_said_is_done_all_the_same() {
    let machine = Machine::listing(three, |request: &Value| ok(request, json!({"open": true, "waiting": 0}))).await;
    machine.left(dead());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["--url", &machine.origin(), "--state-dir", machine.state_dir().to_str().unwrap(), "release", "deploys"]
        .map(str::to_owned);
    let mut release = tokio::process::Command::new(RIDE);
    release.args(args).env_clear().env("HOME", machine.home.path()).env("OPENCLAW_GATEWAY_TOKEN", "t-1").stderr(writer);
    assert_eq!(release.status().await.unwrap().code(), Some(0));
    assert_eq!(machine.record(), None);
}

#[tokio::test]
async fn a_thread_in_other_hands_says_whose_since_and_until_when() {
    let holder = json!({"name": "Ada", "host": "box", "sinceMs": 1_000, "expiresInMs": 40_000, "phase": "ridden"});
    let taken = move || {
        let mut row = row();
        (row["rideable"], row["driver"]) = (json!(false), holder.clone());
        json!([row])
    };
    let machine = Machine::listing(taken, |request: &Value| ok(request, json!({}))).await;
    let mut terminal = machine.terminal(&["deploys"], 40, 200);
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 4);
    let screen = terminal.wait_for_text(DEADLINE, "--steal").await.unwrap();
    let lines: Vec<&str> = screen.lines().collect();
    assert!(screen.contains("error: Deploys is ridden by Ada at box\nhint: since "), "{screen}");
    assert!(lines[1].ends_with('d'), "{screen}");
}

#[tokio::test]
async fn config_tells_where_everything_comes_from() {
    let machine = Machine::listing(three, config).await;
    let state = machine.state_dir();
    let (code, out, said) = machine.output(&["config"]).await;
    let expected = format!(
        "\
ride.version       {}
ride.configFile    {}
ride.url           {}
ride.urlFrom       --url
ride.pin           (unset)
ride.secretFrom    token of OPENCLAW_GATEWAY_TOKEN
ride.profile       (unset)
ride.stateDir      {}
ride.stateDirFrom  --state-dir
ride.deviceId      (unset)

gateway.lockDir         /locks
gateway.rideTtlMinutes  30
gateway.syncMirrorDir   (unset)
",
        env!("CARGO_PKG_VERSION"),
        machine.home.path().join(".openclaw/openclaw.json").display(),
        machine.origin(),
        state.display()
    );
    assert_eq!((code, sorted(&out), said.as_str()), (0, sorted(&expected), ""));
    let (_, out, _) = machine.output(&["config", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["gateway"]["lockDir"], &told["ride"]["secretFrom"]),
        (&json!("/locks"), &json!("token of OPENCLAW_GATEWAY_TOKEN"))
    );
    assert!(!out.contains("t-1"), "{out}");

    // No gateway: its own half is told all the same.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().canonicalize().unwrap().join("s").display().to_string();
    let config = |more: &[&str]| {
        let args = [&["--url", &url, "--state-dir", "s", "config"], more].concat();
        let output = std::process::Command::new(RIDE)
            .args(args)
            .env_clear()
            .env("HOME", "/nowhere")
            .current_dir(&folder)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, said) = config(&[]);
    assert!(
        code == 6 && out.contains(&state) && said.starts_with("error: could not reach the gateway"),
        "{code} {out} {said}"
    );
    let (code, out, said) = config(&["--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &told["gateway"], &told["ride"]["stateDir"], &error["error"]["kind"]),
        (6, &Value::Null, &json!(state), &json!("unreachable"))
    );
}

/// Names in any order: maps travel unordered.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn bash_completes_commands_options_and_titles() {
    let machine = Machine::listing(three, |request: &Value| ok(request, json!({}))).await;
    let mut shell = machine.shell();
    let bin = std::path::Path::new(RIDE).parent().unwrap();
    shell.wait_for_text(DEADLINE, "> ").await.unwrap();
    // As the person's own `ride`: by its name on PATH, its gateway from the environment.
    let load = format!(
        "unset -f ride; PATH={}:$PATH; export OPENCLAW_GATEWAY_URL={} RIDE_STATE_DIR={}; source <(ride completions bash); echo loaded $?\r",
        bin.display(),
        machine.origin(),
        machine.state_dir().display()
    );
    shell.send(load.as_bytes()).unwrap();
    shell.wait_for_text(DEADLINE, "loaded 0").await.unwrap();
    for (typed, completed) in [
        ("ride comp\t", "ride completions"),
        ("ride ls --rid\t", "ride ls --rideable"),
        ("ride hol\t", "ride holiday"),
        ("ride status hol\t", "ride status holiday"),
        ("ride release hol\t", "ride release holiday"),
        ("ride release holiday pl\t", "ride release holiday plans"),
        ("ride completions fi\t", "ride completions fish"),
    ] {
        shell.send(typed.as_bytes()).unwrap();
        shell.wait_for_text(DEADLINE, completed).await.unwrap_or_else(|e| panic!("{typed:?}: {e}"));
        shell.send(b"\x15clear\r").unwrap();
        shell.wait_for(DEADLINE, |screen| screen.trim() == ">").await.unwrap();
    }
}

#[test]
fn every_shell_and_every_page_is_made_from_the_same_definitions() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(RIDE).args(args).env_clear().output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, said) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("RIDE_COMPLETE") && said.is_empty(), "{shell}: {script}{said}");
    }
    assert_eq!(run(&["completions", "tcsh"]).0, 2);

    let (_, help, _) = run(&["--help"]);
    let (code, page, _) = run(&["man"]);
    assert_eq!(code, 0);
    // What a reader sees: without roff's own marks.
    let plain = |page: &str| page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    let codes = help.split_once("Exit codes:").unwrap().1.split("\n\n").next().unwrap();
    assert_eq!(codes.lines().filter(|line| !line.is_empty()).count(), 15);
    for line in codes.lines().filter(|line| !line.is_empty()) {
        assert!(plain(&page).contains(line.trim()), "{line}");
    }
    let commands = help.split_once("Commands:\n").unwrap().1.lines().take_while(|line| line.starts_with("  "));
    for name in commands.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help") {
        assert!(plain(&page).contains(&format!("ride-{name}(1)")), "{name}");
        let (code, own, _) = run(&["man", name]);
        assert!(code == 0 && plain(&own).contains(&format!("ride-{name}")), "{name}: {own}");
    }
    let (code, _, said) = run(&["man", "nonsense"]);
    assert_eq!(
        (code, said.as_str()),
        (2, "error: ride has no command \"nonsense\"\nhint: `ride --help` tells what there is\n")
    );
    let (code, page, _) = run(&["man", "sync", "restore"]);
    assert!(code == 0 && plain(&page).contains("ride-sync-restore") && page.contains("into"), "{page}");
    assert_eq!(run(&["man", "sync-restore"]).1, page);

    // A page that did not get out is an error.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(RIDE).arg("man").env_clear().stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.starts_with("error: could not write to standard output: No space left"),
        "{said}"
    );
}
