//! From findings to messages: one missing thing at a time.

use serde_json::json;

use super::thread::{Known, Ours, explain};
use super::*;
use crate::gateway::client::{CallError, ConnectError};

const NOW: u64 = 1_800_000_000_000;
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn condition() -> Value {
    json!({"conversationHooks": true, "performing": true, "machine": "m", "uid": 7, "claudeDir": "/home/a/.claude",
           "claudeDirFound": true, "nowMs": NOW, "namespace": "pid:[1]", "seesWholeMachine": true})
}

fn plugin(condition: &Value, version: &str) -> Plugin {
    serde_json::from_value(
        json!({"version": version, "lockDir": "~/locks", "lockBackend": "file", "newer": 1, "condition": condition}),
    )
    .unwrap()
}

/// Where all is well.
fn well() -> Found {
    Found {
        here: Here {
            version: VERSION,
            machine: "m".into(),
            namespace: Some("pid:[1]".into()),
            uid: 7,
            now_ms: NOW,
            terminal: Terminal { width: Some(80), colour: false, interactive: true },
            draws: true,
        },
        located: Ok(Place {
            url: "ws://127.0.0.1:18789".into(),
            source: "local gateway",
            config: ("/home/a/.openclaw/openclaw.json".into(), true),
            own: json!({}),
            secret: Some("token"),
            pinned: false,
            notes: Vec::new(),
        }),
        gateway: Some(Ok(Gateway {
            version: "2026.9.6".into(),
            took_ms: 6,
            scopes: vec!["operator.read".into(), "operator.write".into()],
            narrow: None,
        })),
        plugin: Some(Ok(plugin(&condition(), VERSION))),
        threads: Some(Ok(2)),
        claude: Ok(("/usr/bin/claude".into(), "2.1.330".into())),
        own_files: Ok("/home/a/.local/state/ride".into()),
        left_behind: Vec::new(),
        unread: Vec::new(),
    }
}

/// What is not as it should be, one line each: `state what: says → mend`.
fn amiss(found: &Found) -> Vec<String> {
    let told = findings(found).into_iter().filter(|f| f.state != State::Ok);
    told.map(|f| {
        format!("{:?} {}: {}{}", f.state, f.what, f.says, f.mend.map_or_else(String::new, |mend| format!(" → {mend}")))
    })
    .collect()
}

fn check(change: impl FnOnce(&mut Found), expected: &[&str]) {
    let mut found = well();
    change(&mut found);
    assert_eq!(amiss(&found), expected);
}

fn gateway_is(found: &mut Found, change: impl FnOnce(&mut Gateway)) {
    change(found.gateway.as_mut().unwrap().as_mut().unwrap_or_else(|_| unreachable!()));
}

fn own_is(found: &mut Found, own: Value) {
    found.located.as_mut().unwrap_or_else(|_| unreachable!()).own = own;
    let unknown = CallError::UnknownMethod { method: "ride_config" };
    (found.plugin, found.threads) = (Some(Err(unknown.into())), None);
}

#[test]
fn all_is_well() {
    let terminal = Terminal { width: Some(80), colour: false, interactive: true };
    assert_eq!(
        page(&findings(&well()), terminal),
        format!(
            "\
ok     address    ws://127.0.0.1:18789 from local gateway (/home/a/.openclaw/openclaw.json), a token
ok     gateway    answers within 6 ms, protocol 4
ok     host       OpenClaw 2026.9.6
ok     scope      operator.read, operator.write
ok     plugin     claude-code-sync {VERSION}, as this ride
ok     hooks      heartbeats and cron runs are kept out of a ride
ok     service    carries out what the threads need
ok     states     ~/locks; 2 threads in somebody's hands
ok     sessions   /home/a/.claude, on this machine
ok     processes  the gateway sees every process of its machine
ok     clock      agrees with the gateway's
ok     claude     Claude Code 2.1.330, /usr/bin/claude
ok     terminal   80 columns
ok     own files  /home/a/.local/state/ride
"
        )
    );
}

#[test]
fn the_gateway() {
    let url = || "ws://127.0.0.1:18789".to_owned();
    let down = |e: ConnectError| {
        move |found: &mut Found| (found.gateway, found.plugin, found.threads) = (Some(Err(e.into())), None, None)
    };
    check(
        down(ConnectError::Unreachable { url: url(), origin: "local gateway", cause: "refused".into(), local: true }),
        &[
            "Wrong gateway: could not reach the gateway at ws://127.0.0.1:18789 (local gateway): refused → is the gateway running? `openclaw gateway status` tells",
            "Unknown plugin: unknown: gateway unreachable",
        ],
    );
    check(
        down(ConnectError::Unpaired {
            url: url(),
            device_id: "d".into(),
            request_id: Some("r-1".into()),
            why: "new".into(),
        }),
        &[
            "Wrong gateway: the gateway at ws://127.0.0.1:18789 has to approve this machine (device d): new → on the gateway's machine: openclaw devices approve r-1\nthen run this command again",
            "Unknown plugin: unknown: gateway unreachable",
        ],
    );
    check(
        |found| {
            found.located = Err(Error::new(Kind::Config, "could not read the configuration: /x: line 3"));
            (found.gateway, found.plugin, found.threads) = (None, None, None);
        },
        &[
            "Wrong address: could not read the configuration: /x: line 3",
            "Unknown gateway: not asked: its address is not known",
            "Unknown plugin: unknown: gateway unreachable",
        ],
    );
    let narrow =
        ConnectError::NarrowToken { url: url(), granted: "operator.read".into(), wanted: "operator.write".into() };
    check(
        |found| gateway_is(found, |g| g.narrow = Some(narrow.into())),
        &[
            "Wrong scope: the gateway at ws://127.0.0.1:18789 does not allow this machine operator.write; it allows operator.read → give the gateway's own token once, by OPENCLAW_GATEWAY_TOKEN: that asks for the approval",
        ],
    );
}

#[test]
fn the_host() {
    let host = |version: &'static str, expected: &[&str]| {
        check(|found| gateway_is(found, |g| g.version = version.into()), expected)
    };
    host("2026.6.1", &[]);
    host("2026.5.30", &["Wrong host: OpenClaw 2026.5.30 is older than the plugin needs → openclaw update"]);
    host(
        "2026.6.11",
        &["Wrong host: OpenClaw 2026.6.11 stalls the second message of a direct chat by itself → openclaw update"],
    );
    let untried = "is not one this ride was tried on (2026.9.6, 2026.8.2, 2026.7.1, 2026.6.35, 2026.6.1)";
    host("2026.5.31-beta.4", &[&format!("Note host: OpenClaw 2026.5.31-beta.4 {untried}")]);
    host("2027.1.0", &[&format!("Note host: OpenClaw 2027.1.0 {untried}")]);
    host("", &[&format!("Note host: OpenClaw  {untried}")]);
    let pinned = ride_testkit::gateway::versions();
    assert!(PLAYED.iter().all(|played| pinned.iter().any(|version| version == played)), "{pinned:?}");
}

#[test]
fn the_plugin() {
    let install = format!("openclaw plugins install claude-code-sync-{VERSION}.tgz --force --accept-capabilities");
    let older = format!("{} && openclaw gateway restart", install.replace(" --accept-capabilities", ""));
    assert_eq!(install_line(Some("2026.9.6")), install);
    assert_eq!(install_line(Some("2026.8.2")), format!("{install} && openclaw gateway restart"));
    assert_eq!((install_line(Some("2026.7.1")), install_line(Some("2026.6.35"))), (older.clone(), older));
    assert_eq!(install_line(None), install);
    check(
        |found| own_is(found, json!({})),
        &[&format!(
            "Wrong plugin: the gateway runs without the claude-code-sync plugin, or with an older one → {install}"
        )],
    );
    let entry = json!({"plugins": {"allow": ["telegram"], "entries": {"claude-code-sync": {"enabled": false}}}});
    check(
        |found| own_is(found, entry),
        &[
            "Wrong plugin: the plugin is switched off (plugins.entries.claude-code-sync.enabled is false) → openclaw plugins enable claude-code-sync --accept-capabilities",
        ],
    );
    let allow = json!({"plugins": {"allow": ["telegram"], "entries": {"claude-code-sync": {"enabled": true}}}});
    check(
        |found| own_is(found, allow),
        &[
            "Wrong plugin: plugins.allow does not name the plugin → add claude-code-sync to plugins.allow, then: openclaw gateway restart",
        ],
    );
    check(
        |found| found.plugin = Some(Ok(plugin(&condition(), "0.0.9"))),
        &[&format!("Wrong plugin: claude-code-sync is 0.0.9, this ride {VERSION} → {install}")],
    );
    let admin = CallError::MissingScope { method: "ride_config", scope: "operator.admin".into() };
    check(
        |found| (found.plugin, found.threads) = (Some(Err(admin.into())), None),
        &[
            "Wrong scope: the gateway wants operator.admin for ride_config → OpenClaw 2026.6.1 asks for it after a channel turn; `ride --admin …` asks for that scope",
        ],
    );
    // The addon of this platform is not in the package.
    check(
        |found| {
            let e = Error::new(
                Kind::Other,
                "this claude-code-sync is not built for linux-arm64-gnu, only for linux-x64-gnu",
            );
            (found.plugin, found.threads) = (Some(Err(e)), None);
        },
        &["Wrong plugin: this claude-code-sync is not built for linux-arm64-gnu, only for linux-x64-gnu"],
    );
}

#[test]
fn the_plugins_condition() {
    let condition_is = |key: &str, value: Value, expected: &[&str]| {
        let mut changed = condition();
        changed[key] = value;
        check(|found| found.plugin = Some(Ok(plugin(&changed, VERSION))), expected);
    };
    condition_is(
        "conversationHooks",
        json!(false),
        &[
            "Wrong hooks: the plugin may not see conversations: a heartbeat or cron run is not kept out of a ride → openclaw config set plugins.entries.claude-code-sync.hooks.allowConversationAccess true",
        ],
    );
    condition_is(
        "performing",
        json!(false),
        &[
            "Wrong service: the plugin's service does not run, or another gateway works on the same states → openclaw gateway restart",
        ],
    );
    condition_is(
        "machine",
        json!("other"),
        &[
            "Wrong sessions: the gateway's Claude sessions are in /home/a/.claude on another machine; a ride needs them here → run ride on the gateway's machine: ssh -t <gateway> ride <words>",
        ],
    );
    condition_is(
        "uid",
        json!(8),
        &[
            "Wrong sessions: /home/a/.claude belongs to the gateway's user (uid 8), and you are uid 7 → run ride as that user: sudo -u '#8' -i ride <words>",
        ],
    );
    condition_is(
        "claudeDirFound",
        json!(false),
        &["Note sessions: the gateway finds no /home/a/.claude: no thread has a Claude session yet"],
    );
    condition_is(
        "nowMs",
        json!(NOW - 600_000),
        &[
            "Note clock: is 10m from the gateway's: ages are shown wrong, leases do not depend on it → timedatectl set-ntp true",
        ],
    );
    condition_is(
        "trouble",
        json!("could not read closed.json"),
        &[
            "Wrong states: could not read closed.json → look at ~/locks on the gateway's machine; a file that is moved away is begun anew",
        ],
    );
    check(
        |found| {
            let mut refusing = plugin(&condition(), VERSION);
            refusing.refused = Some("rideTtlMinutes is 0; allowed are whole numbers from 1 to 1440".into());
            found.plugin = Some(Ok(refusing));
        },
        &[
            "Wrong config: rideTtlMinutes is 0; allowed are whole numbers from 1 to 1440 → correct plugins.entries.claude-code-sync.config on the gateway",
        ],
    );
    check(
        |found| found.threads = Some(Err(Error::new(Kind::Other, "format 9 is not known"))),
        &[
            "Wrong states: format 9 is not known → look at ~/locks on the gateway's machine; a file that is moved away is begun anew",
        ],
    );
}

// Rule STORE-3.
#[test]
fn a_thread_state_of_a_newer_version_is_named() {
    check(
        |found| {
            let mut told = condition();
            told["unread"] = json!(1);
            told["trouble"] = json!("state file /l/t/x has format 9, this version reads 1 to 4");
            found.plugin = Some(Ok(plugin(&told, VERSION)));
        },
        &[
            "Wrong states: state file /l/t/x has format 9, this version reads 1 to 4 → 1 thread stays closed for this; install the version of the plugin that wrote it. Or, on the gateway's machine, move the file away: its thread begins anew, and what waited in it is lost",
        ],
    );
}

// Rule LEASE-20.
#[test]
fn what_the_gateway_cannot_see_is_said() {
    let beside = "Note processes: the gateway cannot see processes of this pid namespace: only a lock in the Claude folder tells it that they are \
        gone → run ride where the gateway runs: docker exec -it <container> ride <words>, or give both containers one pid namespace (--pid)";
    check(|found| found.here.namespace = Some("pid:[2]".into()), &[beside]);
    check(|found| found.here.namespace = None, &[beside]);
    let condition_is = |field: &str, value: Value, expected: &[&str]| {
        let mut condition = condition();
        condition[field] = value;
        check(|found| found.plugin = Some(Ok(plugin(&condition, VERSION))), expected);
    };
    condition_is(
        "seesWholeMachine",
        json!(false),
        &[
            "Note processes: the gateway runs in a pid namespace of its own (a container): what runs outside of it on the same Claude folder cannot be seen, and is never taken for gone",
        ],
    );
    condition_is(
        "namespace",
        json!(null),
        &[
            "Wrong processes: the gateway's /proc is not its own, or is not there: it can prove nothing about any process → mount /proc of the gateway's own pid namespace",
        ],
    );
}

fn left(held: Option<bool>) -> LeftBehind {
    LeftBehind { key: "agent:main:x".into(), held }
}

#[test]
fn a_ride_left_something_behind_only_where_the_gateway_says_so() {
    check(|found| found.left_behind = vec![left(Some(false))], &[]);
    let unknown = "Unknown left behind: a ride of agent:main:x ended here; whether the thread is handed back is unknown: gateway unreachable";
    check(|found| found.left_behind = vec![left(None)], &[unknown]);
}

#[test]
fn this_machine() {
    check(
        |found| found.claude = Err(Error::new(Kind::Claude, "no claude").hint("install it")),
        &["Wrong claude: no claude → install it"],
    );
    check(|found| found.here.terminal.interactive = false, &["Note terminal: no terminal here; riding needs one"]);
    check(
        |found| found.here.draws = false,
        &["Note terminal: TERM names one that Claude Code cannot draw on → export TERM=xterm-256color"],
    );
    check(
        |found| found.left_behind = vec![left(Some(true)), left(Some(false))],
        &["Wrong left behind: a ride of agent:main:x ended without handing it back → ride release agent:main:x"],
    );
}

#[test]
fn a_thread_is_explained() {
    let run = |driver: Value, ours: Option<Ours>, status: Value, more: Value| {
        let mut row = json!({"channel": "telegram", "displayName": null, "title": "Plans", "conversationId": null, "cliSessionId": null,
                             "echoTarget": null, "relayReady": true, "lastActivity": null, "key": "k:1", "agentId": "main", "rideable": true});
        if !driver.is_null() {
            row["driver"] = driver;
        }
        row.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let row = serde_json::from_value(row).unwrap();
        let status = serde_json::from_value(status).ok();
        let explained = explain(&Known { row: &row, status: status.as_ref(), ours, now_ms: NOW });
        (explained.well, thread::page(&explained))
    };
    let holder = |phase: &str, waiting_for: Value, acceptable: bool| {
        json!({"name": "Ada", "host": "box", "sinceMs": NOW - 600_000, "expiresInMs": 57_000, "phase": phase,
               "waitingFor": waiting_for, "acceptable": acceptable})
    };
    let status = json!({"key": "k:1", "phase": "ridden", "epoch": 7, "fence": "ab.7.cd", "holder": null,
        "process": {"machine": "m", "pid": 11, "start": 1}, "claude": {"machine": "m", "pid": 12, "start": 2},
        "cliSessionId": null, "inbox": 1, "outbox": 2, "undelivered": 0, "waitingFor": null,
        "journal": [{"atMs": NOW - 600_000, "what": "granted to Ada"}]});
    let ours = |alive| Some(Ours { pid: 11, alive });
    let told = "epoch 7, fence ab.7.cd, ride is process 11, Claude Code is process 12\n  \
                1 message waits for the agent, 2 items wait for the channel\n  last: granted to Ada (10m ago)\n";
    let nothing = || json!(null);

    assert_eq!(
        run(nothing(), None, nothing(), nothing()),
        (true, "Plans (k:1)\n  nobody rides it, the agent answers\n→ ride k:1\n".into())
    );
    assert_eq!(
        run(nothing(), None, nothing(), json!({"rideable": false, "whyNot": "no Claude session"})),
        (false, "Plans (k:1)\n  it cannot be ridden: no Claude session\n".into())
    );
    let open = json!([{"host": "box", "process": {"machine": "m", "pid": 7, "start": 1}, "sinceMs": NOW - 300_000}]);
    assert_eq!(
        run(nothing(), None, nothing(), json!({"rideable": false, "whyNot": "open", "waiting": 2, "open": open})),
        (
            true,
            "Plans (k:1)\n  open in a terminal on box for 5m (process 7), not a ride\n  \
             its messages wait until it is closed there\n→ /exit    in Claude Code on box\n"
                .into()
        )
    );
    let ridden = || holder("ridden", nothing(), false);
    let head =
        "Plans (k:1)\n  ridden by Ada at box for 10m\n  renewed 3s ago; its lease ends in 57s without another\n  ";
    assert_eq!(
        run(ridden(), None, status.clone(), nothing()),
        (true, format!("{head}{told}→ ride k:1 --steal    takes it over; /exit in Claude Code on box hands it back\n"))
    );
    assert_eq!(
        run(ridden(), ours(true), status.clone(), nothing()),
        (true, format!("{head}{told}→ ride release k:1    ends the ride of process 11\n"))
    );
    assert_eq!(
        run(ridden(), ours(false), status.clone(), nothing()),
        (false, format!("{head}{told}→ ride release k:1\n"))
    );
    let stuck = holder("leaving", json!("the chain cannot be shown"), true);
    assert_eq!(
        run(stuck, None, nothing(), nothing()),
        (false, "Plans (k:1)\n  being handed back by Ada at box for 10m\n  waits: the chain cannot be shown\n→ ride release k:1 --take-back --accept-broken-chain\n".into())
    );
    // Also where another driver waits for it: then the holder is that one, and is claiming.
    for (phase, verb) in [("leaving", "handed back"), ("claiming", "claimed")] {
        let lives = holder(phase, json!("process 12"), false);
        let mut status = status.clone();
        status["phase"] = json!("leaving");
        assert_eq!(
            run(lives, None, status, nothing()),
            (
                false,
                format!(
                    "Plans (k:1)\n  being {verb} by Ada at box for 10m\n  waits: process 12\n  {told}→ kill -9 12    on its machine, if it does not end by itself\n"
                )
            )
        );
    }
}

#[test]
fn a_mirror_is_told_of_where_there_is_one() {
    let with = |found: &mut Found, mirror: Value| {
        let mut condition = condition();
        condition["mirror"] = mirror;
        found.plugin = Some(Ok(plugin(&condition, VERSION)));
    };
    check(|found| with(found, json!({"dir": "/m", "threads": 2, "mirroredMs": NOW})), &[]);
    check(
        |found| {
            with(
                found,
                json!({"dir": "/m", "threads": 2, "failing": 1, "trouble": "could not write /m/x: No space left on device"}),
            )
        },
        &[
            "Wrong mirror: 1 thread is not mirrored to /m: could not write /m/x: No space left on device → make room, or the folder writable, on the gateway's machine; it is tried again within a minute, and no ride depends on it",
        ],
    );
}
