//! Where the gateway is found, and with which secret: a folder and variables in, a
//! target out. Expected values are what `openclaw` 2026.9.6 does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ride::env::Env;
use ride::gateway::locate::{Located, Options, locate};

/// One case: files below HOME, variables, options; `url | source | token | password | pin`.
struct Case<'a> {
    files: &'a [(&'a str, &'a str)],
    vars: &'a [(&'a str, &'a str)],
    options: Options,
}

fn found(case: &Case<'_>) -> String {
    let home = tempfile::tempdir().unwrap();
    for (name, text) in case.files {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut vars = vec![("HOME", home.path().to_str().unwrap())];
    vars.extend(case.vars);
    let env = Env::of(&vars, home.path());
    let show = |path: &Path| path.to_str().unwrap().to_owned();
    let text = match locate(&env, &case.options) {
        Ok(Located { target, .. }) => {
            let secret = |s: &Option<ride::gateway::locate::Secret>| {
                s.as_ref().map_or("-".to_owned(), |s| s.reveal().to_owned())
            };
            let pin = target.pin.map_or(String::new(), |pin| format!(" pin {}…", &format!("{pin:?}")[..8]));
            format!("{} ({}) {} {}{pin}", target.url, target.source, secret(&target.token), secret(&target.password))
        }
        Err(e) => e.to_string(),
    };
    text.replace(&show(home.path()), "~")
}

fn check(files: &[(&str, &str)], vars: &[(&str, &str)], expected: &str) {
    assert_eq!(found(&Case { files, vars, options: Options::default() }), expected, "files {files:?}, vars {vars:?}");
}

const CONFIG: &str = ".openclaw/openclaw.json";

#[test]
fn address() {
    check(&[], &[], "ws://127.0.0.1:18789 (local gateway) - -");
    check(&[(CONFIG, r#"{"gateway": {"port": 19999}}"#)], &[], "ws://127.0.0.1:19999 (local gateway) - -");
    check(
        &[(CONFIG, "// mine\n{gateway: {port: 0x4E20, auth: {token: 't',},},}")],
        &[],
        "ws://127.0.0.1:20000 (local gateway) t -",
    );
    check(
        &[(CONFIG, r#"{"gateway": {"port": 19999}}"#)],
        &[("OPENCLAW_GATEWAY_PORT", "0.0.0.0:20001")],
        "ws://127.0.0.1:20001 (local gateway) - -",
    );
    check(&[], &[("OPENCLAW_GATEWAY_PORT", "70000")], "ws://127.0.0.1:18789 (local gateway) - -");
    // FNV-1a of "work", as 2026.9 has it.
    check(&[], &[("OPENCLAW_PROFILE", "work")], "ws://127.0.0.1:41984 (local gateway) - -");
    check(
        &[(CONFIG, r#"{"gateway": {"mode": "remote", "remote": {"url": "wss://gw.example/x", "token": "r"}}}"#)],
        &[],
        "wss://gw.example/x (gateway.remote.url) r -",
    );
    check(
        &[],
        &[("OPENCLAW_GATEWAY_URL", "ftp://gw")],
        "could not use OPENCLAW_GATEWAY_URL: ftp:// is not ws:// or wss://",
    );
    for (url, why) in [
        ("ws://127.0.0.1:99999", "\"99999\" is not a port (1 to 65535)"),
        ("wss://gw.example:0/x", "\"0\" is not a port (1 to 65535)"),
        ("ws://[::1]:x", "\"x\" is not a port (1 to 65535)"),
        (
            "wss://ada:pw@gw.example",
            "a user or password in it would be seen by everybody; the token goes by OPENCLAW_GATEWAY_TOKEN or --token-file",
        ),
    ] {
        check(&[], &[("OPENCLAW_GATEWAY_URL", url)], &format!("could not use OPENCLAW_GATEWAY_URL: {why}"));
    }
    check(&[], &[("OPENCLAW_GATEWAY_URL", "ws://[::1]:20004")], "ws://[::1]:20004 (OPENCLAW_GATEWAY_URL) - -");
    for port in ["\"x\"", "0", "70000", "1.5"] {
        let config = format!(r#"{{"gateway": {{"port": {port}}}}}"#);
        check(
            &[(CONFIG, &config)],
            &[],
            &format!("could not use gateway.port of ~/.openclaw/openclaw.json: {port} is not a port (1 to 65535)"),
        );
    }
    // A remote address counts only in remote mode.
    check(
        &[(CONFIG, r#"{"gateway": {"remote": {"url": "wss://gw.example", "token": "r"}}}"#)],
        &[],
        "ws://127.0.0.1:18789 (local gateway) r -",
    );
    check(
        &[(CONFIG, r#"{"gateway": {"mode": "remote", "remote": {"url": "gw.example"}}}"#)],
        &[],
        "could not use gateway.remote.url of ~/.openclaw/openclaw.json: \"gw.example\" is not a ws:// or wss:// address",
    );
}

#[test]
fn files() {
    let config = r#"{"gateway": {"port": 20002}}"#;
    check(&[("x/openclaw.json", config)], &[("OPENCLAW_STATE_DIR", "~/x")], "ws://127.0.0.1:20002 (local gateway) - -");
    check(&[("y.json", config)], &[("OPENCLAW_CONFIG_PATH", "y.json")], "ws://127.0.0.1:20002 (local gateway) - -");
    check(
        &[("h/.openclaw/openclaw.json", config)],
        &[("OPENCLAW_HOME", "~/h")],
        "ws://127.0.0.1:20002 (local gateway) - -",
    );
    check(&[(".clawdbot/clawdbot.json", config)], &[], "ws://127.0.0.1:20002 (local gateway) - -");
    check(
        &[(CONFIG, "{gateway: ")],
        &[],
        "could not read the configuration: ~/.openclaw/openclaw.json: EOF parsing value at line 1 column 1",
    );
    check(
        &[
            (CONFIG, r#"{"gateway": {"$include": "g/a.json5", "port": 20003}}"#),
            (".openclaw/g/a.json5", "{port: 1, auth: {token: 'inc'}}"),
        ],
        &[],
        "ws://127.0.0.1:20003 (local gateway) inc -",
    );
    check(
        &[(CONFIG, r#"{"$include": "../secret.json"}"#), ("secret.json", "{}")],
        &[],
        "could not read the configuration: ~/.openclaw/openclaw.json: $include \"../secret.json\" leaves ~/.openclaw",
    );
    // Where the mistake is, by line; with and without comments.
    let broken = "// mine\n{\n  gateway: {\n    port: 1 auth: {},\n  },\n}\n";
    check(
        &[(CONFIG, broken)],
        &[],
        "could not read the configuration: ~/.openclaw/openclaw.json: expected comma at line 4 column 13",
    );
    let profile = Options { profile: Some("work".into()), ..Options::default() };
    let case = Case { files: &[(".openclaw-work/openclaw.json", config)], vars: &[], options: profile };
    assert_eq!(found(&case), "ws://127.0.0.1:20002 (local gateway) - -");
    let dev = Options { profile: Some("dev".into()), ..Options::default() };
    assert_eq!(found(&Case { files: &[], vars: &[], options: dev }), "ws://127.0.0.1:19001 (local gateway) - -");
    let bad = Options { profile: Some("../x".into()), ..Options::default() };
    assert_eq!(
        found(&Case { files: &[], vars: &[], options: bad }),
        "could not use profile \"../x\": letters, digits, `-` and `_` only"
    );
}

#[test]
fn secrets() {
    let local = |auth: &str| format!(r#"{{"gateway": {{"auth": {auth}}}}}"#);
    let env = [("OPENCLAW_GATEWAY_TOKEN", "env-token"), ("OPENCLAW_GATEWAY_PASSWORD", "env-password")];
    let run = |auth: &str, vars: &[(&str, &str)], expected: &str| {
        check(&[(CONFIG, &local(auth))], vars, &format!("ws://127.0.0.1:18789 (local gateway) {expected}"));
    };
    run(r#"{"token": "cfg"}"#, &env, "cfg env-password");
    run(r#"{}"#, &env, "env-token env-password");
    run(r#"{"mode": "password", "password": "pw"}"#, &[], "- pw");
    run(r#"{"token": "${MY_TOKEN}"}"#, &[("MY_TOKEN", "v")], "v -");
    run(r#"{"token": "$MY_TOKEN"}"#, &[("MY_TOKEN", "v")], "v -");
    run(r#"{"token": {"source": "env", "provider": "default", "id": "MY_TOKEN"}}"#, &[("MY_TOKEN", "v")], "v -");
    check(
        &[(CONFIG, &local(r#"{"token": "${MY_TOKEN}"}"#))],
        &[],
        "could not resolve gateway.auth.token: the variable MY_TOKEN is not set",
    );
    check(
        &[(CONFIG, &local(r#"{"token": {"source": "store", "provider": "default", "id": "GW"}}"#))],
        &[],
        "could not resolve gateway.auth.token: it is a secret reference of kind \"store\"",
    );
    // OpenClaw's own .env, where the environment does not say.
    check(
        &[(".openclaw/.env", "# mine\nexport OPENCLAW_GATEWAY_TOKEN=\"from dotenv\" # x\n")],
        &[],
        "ws://127.0.0.1:18789 (local gateway) from dotenv -",
    );
    let secrets = r#"{"gateway": {"auth": {"token": {"source": "file", "provider": "main", "id": "/gw/token"}}},
                      "secrets": {"providers": {"main": {"source": "file", "path": "~/s.json", "mode": "json"}}}}"#;
    check(
        &[(CONFIG, secrets), ("s.json", r#"{"gw": {"token": "filed"}}"#)],
        &[],
        "ws://127.0.0.1:18789 (local gateway) filed -",
    );
    let remote = r#"{"gateway": {"mode": "remote", "remote": {"url": "wss://gw", "password": "rp"}, "auth": {"token": "local"}}}"#;
    check(&[(CONFIG, remote)], &[], "wss://gw (gateway.remote.url) local rp");
    check(&[(CONFIG, remote)], &env, "wss://gw (gateway.remote.url) env-token env-password");
}

#[test]
fn an_address_from_elsewhere_gets_no_configured_secret() {
    let fingerprint = "ab".repeat(32);
    let config = format!(
        r#"{{"gateway": {{"mode": "remote", "auth": {{"token": "cfg"}}, "remote": {{"url": "wss://gw", "token": "r", "tlsFingerprint": "sha256:{fingerprint}"}}}}}}"#
    );
    let files = [(CONFIG, config.as_str())];
    check(&files, &[], "wss://gw (gateway.remote.url) r - pin abababab…");
    check(&files, &[("OPENCLAW_GATEWAY_URL", "wss://gw")], "wss://gw (OPENCLAW_GATEWAY_URL) - - pin abababab…");
    let vars = [("OPENCLAW_GATEWAY_URL", "wss://other"), ("OPENCLAW_GATEWAY_TOKEN", "env-token")];
    check(&files, &vars, "wss://other (OPENCLAW_GATEWAY_URL) env-token -");
    let options = Options { url: Some("ws://[::1]:5".into()), token_file: Some("tok".into()), ..Options::default() };
    let with_file = [files[0], ("tok", "from-file\n")];
    assert_eq!(found(&Case { files: &with_file, vars: &vars, options }), "ws://[::1]:5 (--url) from-file -");
}

#[test]
fn a_pin_by_hand_wins() {
    let (hand, other) = ("ab".repeat(32), "cd".repeat(32));
    let config =
        format!(r#"{{"gateway": {{"mode": "remote", "remote": {{"url": "wss://gw", "tlsFingerprint": "{other}"}}}}}}"#);
    let run = |pin: Option<&str>, vars: &[(&str, &str)]| {
        let options = Options { pin: pin.map(str::to_owned), ..Options::default() };
        found(&Case { files: &[(CONFIG, &config)], vars, options })
    };
    assert_eq!(run(None, &[]), "wss://gw (gateway.remote.url) - - pin cdcdcdcd…");
    assert_eq!(run(Some(&hand), &[("RIDE_PIN", "nonsense")]), "wss://gw (gateway.remote.url) - - pin abababab…");
    let vars = [("RIDE_PIN", hand.as_str()), ("OPENCLAW_GATEWAY_URL", "wss://other")];
    assert_eq!(run(None, &vars), "wss://other (OPENCLAW_GATEWAY_URL) - - pin abababab…");
    assert_eq!(
        run(Some("AB:CD"), &[]),
        "could not use --pin: \"AB:CD\" is not a SHA-256 fingerprint (64 hex digits, colons allowed)"
    );
}

#[test]
fn a_token_file_is_one_line_and_better_private() {
    let run = |text: &str, mode: u32| {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tok");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let env = Env::of(&[("HOME", home.path().to_str().unwrap())], home.path());
        let options = Options { token_file: Some("tok".into()), ..Options::default() };
        let text = match locate(&env, &options) {
            Ok(found) => format!("{} {:?}", found.target.token.unwrap().reveal(), found.notes),
            Err(e) => e.to_string(),
        };
        text.replace(home.path().to_str().unwrap(), "~")
    };
    assert_eq!(run("t-1\n", 0o600), "t-1 []");
    assert_eq!(
        run("t-1\n", 0o644),
        "t-1 [\"the token file ~/tok is open to other users (mode 644); chmod 600 ~/tok closes it\"]"
    );
    assert_eq!(run("\n", 0o600), "could not read the token file: ~/tok: it is empty");
    assert_eq!(run("a\nb\n", 0o600), "could not read the token file: ~/tok: it has several lines; a token is one");
    assert_eq!(
        run(&"x".repeat(20_000), 0o600),
        "could not read the token file: ~/tok: 20000 bytes are more than a token"
    );
}

#[test]
fn a_secret_given_by_hand_is_used_or_said_to_be_ignored() {
    let run = |config: &str, vars: &[(&str, &str)]| {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".openclaw")).unwrap();
        std::fs::write(home.path().join(CONFIG), config).unwrap();
        let mut all = vec![("HOME", home.path().to_str().unwrap())];
        all.extend(vars);
        let found = locate(&Env::of(&all, home.path()), &Options::default()).unwrap();
        (found.target.token.map(|token| token.reveal().to_owned()), found.notes)
    };
    let config = r#"{"gateway": {"auth": {"token": "right"}}}"#;
    let (token, notes) = run(config, &[("OPENCLAW_GATEWAY_TOKEN", "wrong")]);
    let note = "OPENCLAW_GATEWAY_TOKEN is not used: gateway.auth.token comes first; --url with the gateway's address, or --token-file, decides otherwise";
    assert_eq!((token.as_deref(), notes), (Some("right"), vec![note.to_owned()]));
    assert_eq!(run(config, &[("OPENCLAW_GATEWAY_TOKEN", "right")]), (Some("right".into()), vec![]));
    assert_eq!(run("{}", &[("OPENCLAW_GATEWAY_TOKEN", "mine")]), (Some("mine".into()), vec![]));
    assert_eq!(run(config, &[]), (Some("right".into()), vec![]));
    let (_, notes) = run(config, &[("OPENCLAW_GATEWAY_PASSWORD", "other")]);
    assert!(notes.is_empty() || notes[0].starts_with("OPENCLAW_GATEWAY_PASSWORD is not used"), "{notes:?}");
}

/// `exec` references, as OpenClaw's provider protocol 1 has them.
#[test]
fn a_program_gives_the_secret() {
    let run = |script: &str, mode: u32, settings: &str| {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("vault");
        // Not by this process: a fork of another test would keep the file open, and it could not be run.
        let write = ["-c", "printf %s \"$1\" > \"$0\"", program.to_str().unwrap(), script];
        assert!(std::process::Command::new("sh").args(write).status().unwrap().success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::create_dir(home.path().join(".openclaw")).unwrap();
        let config = format!(
            r#"{{"gateway": {{"auth": {{"token": {{"source": "exec", "provider": "v", "id": "gw/token"}}}}}},
                "secrets": {{"providers": {{"v": {{"source": "exec", "command": "{}"{settings}}}}}}}}}"#,
            program.display()
        );
        std::fs::write(home.path().join(CONFIG), config).unwrap();
        let vars = [("HOME", home.path().to_str().unwrap()), ("WHERE", "vault"), ("OTHER", "x")];
        let text = match locate(&Env::of(&vars, home.path()), &Options::default()) {
            Ok(found) => found.target.token.unwrap().reveal().to_owned(),
            Err(e) => e.to_string(),
        };
        text.replace(home.path().to_str().unwrap(), "~")
    };
    // What it is asked comes back as the secret's value, with the environment it was given.
    let echo = "#!/bin/sh\nread -r asked\n[ \"$asked\" = '{\"ids\":[\"gw/token\"],\"protocolVersion\":1,\"provider\":\"v\"}' ] || exit 3\n\
                echo \"{\\\"protocolVersion\\\":1,\\\"values\\\":{\\\"gw/token\\\":\\\"from-$WHERE-$OTHER-$1\\\"}}\"\n";
    assert_eq!(run(echo, 0o700, r#", "args": ["a"], "passEnv": ["WHERE"]"#), "from-vault--a");
    let plain = "#!/bin/sh\necho plain\n";
    assert_eq!(run(plain, 0o700, r#", "jsonOnly": false"#), "plain");
    let check = |script: &str, mode: u32, settings: &str, cause: &str| {
        assert_eq!(run(script, mode, settings), format!("could not resolve gateway.auth.token: ~/vault{cause}"));
    };
    check(plain, 0o700, "", ": it printed no JSON");
    check(
        "#!/bin/sh\necho '{\"values\":{}, \"errors\":{\"gw/token\":{\"code\":\"NOT_FOUND\"}}}'\n",
        0o700,
        "",
        ": it knows gw/token not: NOT_FOUND",
    );
    check("#!/bin/sh\nexit 4\n", 0o700, "", ": it ended with exit status: 4");
    check("#!/bin/sh\nexec sleep 60\n", 0o700, r#", "timeoutMs": 200"#, ": it gave no answer within 200 ms");
    check("#!/bin/sh\nexec yes\n", 0o700, r#", "maxOutputBytes": 1000"#, ": it printed more than 1000 bytes");
    check(plain, 0o722, "", " can be written by others (mode 722)");
}
