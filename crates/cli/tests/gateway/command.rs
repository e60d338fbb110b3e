//! The command itself: what it asks the gateway, says and leaves on disk when a ride
//! begins badly or its hand-back is stuck. A shell script stands where Claude Code would.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ride::outbox::{Outbox, Owner, Queued};
use ride::ride::record::Record;
use ride_core::id::{Fence, Process};
use ride_core::wire::{RelayItem, RelayKind};
use ride_store::claude::process;
use ride_testkit::{Program, Terminal};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::standin::{Script, Standin, fail, ok};

pub(super) const RIDE: &str = env!("CARGO_BIN_EXE_ride");
pub(super) const KEY: &str = "agent:main:telegram:group:-100:topic:42";
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// As the gateway says it.
const CHAIN: &str = "a prompt that this ride did not send stands beside its chain";

pub(super) fn fence(epoch: u64) -> Fence {
    Fence { incarnation: Uuid::from_u128(1), epoch, grant: Uuid::from_u128(2) }
}

/// One machine with a gateway on it, which answers by method. `sessions_rideable` and
/// the release flag's effect are the same in all tests.
pub(super) struct Machine {
    pub(super) home: tempfile::TempDir,
    standin: Standin,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Machine {
    pub(super) async fn start(answer: impl Fn(&Value) -> Option<Value> + Send + Sync + Clone + 'static) -> Machine {
        Machine::listing(|| json!([row()]), answer).await
    }

    /// One whose gateway lists what `rows` gives at the time; `null` is no answer.
    pub(super) async fn listing(
        rows: impl Fn() -> Value + Send + Sync + Clone + 'static,
        answer: impl Fn(&Value) -> Option<Value> + Send + Sync + Clone + 'static,
    ) -> Machine {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = || {
            let (asked, answer, rows) = (asked.clone(), answer.clone(), rows.clone());
            let answer = move |request: &Value| {
                asked.lock().unwrap().push(json!({"method": request["method"], "params": request["params"]}));
                if request["method"] == "sessions_rideable" {
                    let rows = rows();
                    return if rows.is_null() { None } else { ok(request, json!({"rows": rows})) };
                }
                answer(request)
            };
            Script::Serve { scopes: &["operator.read", "operator.write"], answer: Box::new(answer) }
        };
        Machine::with(Standin::start((0..12).map(|_| script()).collect()).await, asked)
    }

    /// One with this gateway, which keeps what it is asked.
    pub(super) fn with(standin: Standin, asked: Arc<Mutex<Vec<Value>>>) -> Machine {
        let home = tempfile::tempdir().unwrap();
        let claude = "#!/bin/sh\ncase \"$1\" in\n--version) echo '2.1.330 (Claude Code)' ;;\n*) : > \"$HOME/started\"; echo 'Resume this session with:'; echo 'claude --resume 7'; [ ! -e \"$HOME/fail\" ] || exit 3; [ ! -e \"$HOME/stay\" ] || exec sleep 60 ;;\nesac\n";
        fs::write(home.path().join("claude"), claude).unwrap();
        fs::set_permissions(home.path().join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
        Machine { home, standin, asked }
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(super) fn origin(&self) -> String {
        format!("ws://{}", self.standin.address)
    }

    fn args(&self, args: &[&str]) -> Vec<String> {
        let state = self.state_dir();
        let mut all =
            vec!["--url".to_owned(), self.origin(), "--state-dir".to_owned(), state.to_str().unwrap().to_owned()];
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        all
    }

    /// Runs the command without a terminal: exit code and standard error.
    pub(super) async fn run(&self, args: &[&str]) -> (i32, String) {
        let (code, _, said) = self.output(args).await;
        (code, said)
    }

    /// The same, with standard output before standard error.
    pub(super) async fn output(&self, args: &[&str]) -> (i32, String, String) {
        let output = tokio::process::Command::new(RIDE)
            .args(self.args(args))
            .env_clear()
            .env("HOME", self.home.path())
            .env("OPENCLAW_GATEWAY_TOKEN", "t-1")
            .current_dir(self.home.path())
            .output();
        let output = tokio::time::timeout(DEADLINE, output).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Rides in a terminal until the command ends: exit code and the screen.
    async fn ride(&self) -> (u32, String) {
        let mut terminal = self.terminal(&["deploys"], 40, 400);
        let code = terminal.wait_exit(DEADLINE).await.unwrap();
        // The last lines may still be on their way through the terminal.
        let screen = match code {
            0 => terminal.wait_for_text(DEADLINE, "handed back").await,
            _ => terminal.wait_for_text(DEADLINE, "error:").await,
        };
        (code, screen.unwrap())
    }

    /// Starts it in a terminal of some size.
    pub(super) fn terminal(&self, args: &[&str], rows: u16, columns: u16) -> Terminal {
        let claude = self.home.path().join("claude");
        let args = self.args(&[&["--claude", claude.to_str().unwrap()], args].concat());
        self.program(RIDE, args).size(rows, columns).start().unwrap()
    }

    /// An interactive shell whose command `ride` is this machine's.
    pub(super) fn shell(&self) -> Terminal {
        let claude = self.home.path().join("claude");
        let args = self.args(&["--claude", claude.to_str().unwrap()]);
        let args: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        let rc = format!("PS1='> '\nride() {{ '{RIDE}' {} \"$@\"; }}\n", args.join(" "));
        fs::write(self.home.path().join("rc"), rc).unwrap();
        let args = ["--noprofile", "--rcfile", "rc", "-i"].map(str::to_owned);
        self.program("/bin/bash", args.to_vec()).size(24, 120).start().unwrap()
    }

    pub(super) fn program(&self, path: &str, args: Vec<String>) -> Program {
        Program::new(path, self.home.path())
            .args(args)
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", self.home.path())
            .env("OPENCLAW_GATEWAY_TOKEN", "t-1")
    }

    pub(super) fn started(&self) -> bool {
        self.home.path().join("started").exists()
    }

    pub(super) fn record(&self) -> Option<Record> {
        Record::load(&self.state_dir(), &self.origin(), KEY).unwrap()
    }

    /// What a ride of this machine left behind.
    pub(super) fn left(&self, process: Process) {
        let mut record = Record::new(&self.origin(), KEY, "0011");
        (record.fence, record.process) = (Some(fence(3)), process);
        record.save(&self.state_dir()).unwrap();
    }

    /// Waits until the list was asked for.
    pub(super) async fn listed(&self) {
        let look =
            || self.asked.lock().unwrap().iter().any(|asked| asked["method"] == "sessions_rideable").then_some(());
        ride_testkit::poll_until("the list to be asked for", DEADLINE, look).await.unwrap();
    }

    pub(super) fn asked(&self, method: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked["method"] == method).map(|asked| asked["params"].clone()).collect()
    }
}

pub(super) fn row() -> Value {
    json!({
        "channel": "telegram", "displayName": "Deploys", "title": "Deploys", "conversationId": "-100:topic:42",
        "cliSessionId": Uuid::from_u128(7), "echoTarget": null, "relayReady": true, "lastActivity": 1,
        "key": KEY, "agentId": "main", "rideable": true,
    })
}

pub(super) fn dead() -> Process {
    Process { start: 0, ..process::identity(1) }
}

pub(super) fn open() -> Value {
    json!({"open": true, "waiting": 0})
}

fn stuck(waiting_for: &str) -> Value {
    json!({"open": false, "waitingFor": waiting_for, "acceptable": waiting_for == CHAIN, "waiting": 0})
}

/// The thread opens only when its broken chain is accepted.
pub(super) fn until_accepted(request: &Value) -> Option<Value> {
    let accepted = request["params"]["acceptBrokenChain"] == true;
    ok(request, if accepted { open() } else { stuck(CHAIN) })
}

/// A grant of this machine's transcript as it is now.
pub(super) fn grant(home: &std::path::Path) -> Value {
    grant_of(home, &home.join("t.jsonl"), Uuid::from_u128(7), home)
}

/// A grant of this transcript as it is now.
pub(super) fn grant_of(home: &std::path::Path, path: &std::path::Path, session: Uuid, cwd: &std::path::Path) -> Value {
    let bytes = fs::read(path).unwrap();
    let found = fs::metadata(path).unwrap();
    let tail = Sha256::digest(&bytes[bytes.len().saturating_sub(64 * 1024)..])
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>();
    let mark = json!({"path": path, "dev": found.dev(), "ino": found.ino(), "size": found.len(), "tailSha256": tail, "leaf": null});
    json!({
        "key": KEY, "fence": fence(4), "title": "Deploys", "route": null, "leaseMs": 60_000, "renewEveryMs": 5_000,
        "silenceMs": 1_800_000, "relay": true, "waiting": [],
        "claude": {"sessionId": session, "configDir": home.join(".claude"), "cwd": cwd, "transcript": mark},
    })
}

/// A gateway that grants, renews and takes everything back.
pub(super) fn granting(request: &Value, home: &std::path::Path) -> Option<Value> {
    match request["method"].as_str().unwrap() {
        "ride_claim" => ok(request, grant(home)),
        "ride_renew" => ok(
            request,
            json!({"expiresInMs": 60_000, "silentInMs": 1_800_000, "waiting": [], "waitingTotal": 0, "outbox": 0}),
        ),
        "ride_relay" => {
            let ids: Vec<&Value> =
                request["params"]["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
            ok(request, json!({"accepted": ids, "outbox": 0}))
        }
        _ => ok(request, open()),
    }
}

/// The machine's home is made after its gateway; the gateway's answers learn of it here.
#[derive(Clone, Default)]
pub(super) struct Home(Arc<Mutex<PathBuf>>);

impl Home {
    pub(super) fn is(&self, machine: &Machine) {
        *self.0.lock().unwrap() = machine.home.path().to_owned();
        fs::write(machine.home.path().join("t.jsonl"), "{}\n").unwrap();
    }

    pub(super) fn get(&self) -> PathBuf {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_stuck_hand_back_keeps_the_fence_until_its_chain_is_accepted() {
    let machine = Machine::start(until_accepted).await;
    machine.left(dead());
    let (code, said) = machine.run(&["release", "deploys"]).await;
    assert_eq!(
        (code, said),
        (
            12,
            format!(
                "error: Deploys is handed over, but the agent does not have it yet: {CHAIN}\n\
                 hint: to hand it back as it is: ride release {KEY} --accept-broken-chain\n"
            )
        )
    );
    assert_eq!(machine.record().unwrap().fence, Some(fence(3)));

    let (code, said) = machine.run(&["release", KEY, "--accept-broken-chain"]).await;
    assert_eq!((code, said.as_str()), (0, "Deploys is handed back\n"));
    assert_eq!(machine.record(), None);
    let asked = machine.asked("ride_release");
    assert!(asked.iter().all(|release| release["fence"] == json!(fence(3))), "{asked:?}");
}

#[tokio::test]
async fn what_no_flag_can_mend_is_said_without_one() {
    let machine = Machine::start(|request| ok(request, stuck("messages on their way to the channel"))).await;
    machine.left(dead());
    assert_eq!(
        machine.run(&["release", "deploys"]).await,
        (
            12,
            "error: Deploys is handed over, but the agent does not have it yet: messages on their way to the channel\n"
                .into()
        )
    );
    assert_eq!(machine.record().unwrap().fence, Some(fence(3)));
}

#[tokio::test]
async fn a_fence_is_forgotten_only_when_nobody_holds_the_thread() {
    let stale = |holder: Value| {
        let details = json!({"reason": "STALE", "holder": holder});
        json!({"code": "INVALID_REQUEST", "message": "the ride is over", "details": details})
    };
    let bob = stale(json!({"name": "Bob", "host": "box", "sinceMs": 1, "expiresInMs": 2, "phase": "ridden"}));
    for (error, kept) in [(bob, true), (stale(Value::Null), false)] {
        let machine = Machine::start(move |request: &Value| fail(request, error.clone())).await;
        machine.left(dead());
        assert_eq!(machine.run(&["release", "deploys"]).await.0, 9);
        assert_eq!(machine.record().is_some(), kept);
    }
}

#[tokio::test]
async fn a_live_ride_is_ended_first_and_the_flag_is_passed_on() {
    let machine = Machine::start(until_accepted).await;
    let mut ride = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let pid = ride.id().unwrap();
    machine.left(process::identity(pid));
    let (released, ended) = tokio::join!(machine.run(&["release", "deploys", "--accept-broken-chain"]), ride.wait());
    assert_eq!(released, (0, format!("ending the ride of Deploys (process {pid}) …\nDeploys is handed back\n")));
    assert!(!ended.unwrap().success());
    assert_eq!(machine.record(), None);
}

#[tokio::test]
async fn a_refused_claim_leaves_the_fence_of_the_ride_before() {
    let held = json!({"code": "UNAVAILABLE", "message": "Deploys changes hands", "details": {"reason": "HELD"}});
    let machine = Machine::start(move |request: &Value| fail(request, held.clone())).await;
    machine.left(dead());
    let (code, screen) = machine.ride().await;
    assert_eq!((code, machine.started()), (4, false), "{screen}");
    assert_eq!(machine.record().unwrap().fence, Some(fence(3)));
    assert_eq!(machine.asked("ride_claim")[0]["secret"], "0011");
}

#[tokio::test]
async fn a_thread_that_could_not_be_ridden_and_is_stuck_keeps_its_fence() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_release") => until_accepted(request),
        _ => {
            let mut granted = grant(&home.get());
            granted["claude"]["cwd"] = json!("/nowhere");
            ok(request, granted)
        }
    })
    .await;
    learn.is(&machine);
    let (code, screen) = machine.ride().await;
    assert_eq!(code, 10, "{screen}");
    assert!(
        screen.contains(&format!("hint: to hand it back as it is: ride release {KEY} --accept-broken-chain")),
        "{screen}"
    );
    assert_eq!(machine.record().unwrap().fence, Some(fence(4)));
}

#[tokio::test]
async fn claude_code_does_not_start_on_a_lease_that_was_lost() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_renew" | "ride_release") => {
            let holder = json!({"name": "Bob", "host": "box", "sinceMs": 1, "expiresInMs": 2, "phase": "ridden"});
            let details = json!({"reason": "STALE", "holder": holder});
            fail(
                request,
                json!({"code": "INVALID_REQUEST", "message": "the thread is held by Bob now", "details": details}),
            )
        }
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    let (code, screen) = machine.ride().await;
    assert_eq!((code, machine.started()), (9, false), "{screen}");
    assert!(screen.contains("error: your ride of Deploys is over: the thread is held by Bob now"), "{screen}");
    let renewals = machine.asked("ride_renew");
    assert_eq!((renewals.len(), renewals[0].get("claude")), (1, None));
}

#[tokio::test]
async fn claude_code_does_not_start_on_a_lease_about_to_end() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_renew") => ok(
            request,
            json!({"expiresInMs": 4_000, "silentInMs": 1_800_000, "waiting": [], "waitingTotal": 0, "outbox": 0}),
        ),
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    let (code, screen) = machine.ride().await;
    assert_eq!((code, machine.started()), (9, false), "{screen}");
    assert_eq!(machine.asked("ride_release").len(), 1);
    assert_eq!(machine.record(), None);
}

#[tokio::test]
async fn a_ride_whose_hand_back_is_stuck_keeps_its_fence() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_release") => until_accepted(request),
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    let (code, screen) = machine.ride().await;
    assert_eq!((code, machine.started()), (12, true), "{screen}");
    assert!(
        screen.contains(&format!("hint: to hand it back as it is: ride release {KEY} --accept-broken-chain")),
        "{screen}"
    );
    assert_eq!(machine.record().unwrap().fence, Some(fence(4)));
}

#[tokio::test]
async fn a_lost_ride_keeps_its_fence_and_tells_how_to_open_the_thread() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_renew") if request["params"].get("claude").is_some() => {
            let holder = json!({"name": "Ada", "host": "box", "sinceMs": 1, "expiresInMs": 0, "phase": "leaving", "waitingFor": CHAIN, "acceptable": true});
            let details = json!({"reason": "STALE", "holder": holder});
            fail(request, json!({"code": "INVALID_REQUEST", "message": "the ride is over", "details": details}))
        }
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    fs::write(machine.home.path().join("stay"), "").unwrap();
    let (code, screen) = machine.ride().await;
    assert_eq!((code, machine.started()), (9, true), "{screen}");
    assert!(
        screen
            .contains(&format!(": {CHAIN}\nhint: to hand it back as it is: ride release {KEY} --accept-broken-chain")),
        "{screen}"
    );
    assert_eq!(machine.record().unwrap().fence, Some(fence(4)));
}

#[tokio::test]
async fn a_crashed_ride_is_taken_up_again_by_the_mark_of_its_new_grant() {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| granting(request, &home.get())).await;
    learn.is(&machine);
    machine.left(dead());
    // What the ride appended before it crashed; only the new grant's mark knows of it.
    fs::write(machine.home.path().join("t.jsonl"), "{}\n{\"more\": 1}\n").unwrap();

    // Its outbox waits beside one of another thread that nobody can read.
    let root = machine.state_dir().join("outbox");
    let owner =
        |thread: &str| Owner { gateway: machine.origin(), thread: thread.into(), claude_session: Uuid::from_u128(7) };
    let item =
        |id: &str| Queued { item: RelayItem { id: id.into(), kind: RelayKind::Prompt, text: "hi".into() }, at_ms: 5 };
    Outbox::create(&root, owner("agent:main:other")).unwrap().push(item("x")).unwrap();
    let damaged = ride::outbox::leftovers(&root).unwrap().remove(0);
    fs::write(damaged.join("00000000000000000001.item"), "{").unwrap();
    Outbox::create(&root, owner(KEY)).unwrap().push(item("late")).unwrap();

    let (code, screen) = machine.ride().await;
    assert_eq!((code, machine.started()), (0, true), "{screen}");
    let warnings: Vec<&str> = screen.lines().filter(|line| line.starts_with("warning:")).collect();
    let expected = format!("warning: skipped what an earlier ride left in {}: ", damaged.display());
    assert!(warnings.len() == 1 && warnings[0].starts_with(&expected), "{screen}");
    assert_eq!(ride::outbox::leftovers(&root).unwrap(), [damaged]);
    assert_eq!(machine.asked("ride_relay")[0]["items"][0]["id"], "late");
    assert_eq!(machine.asked("ride_release")[0]["fence"], json!(fence(4)));
    assert_eq!(machine.record(), None);
}
