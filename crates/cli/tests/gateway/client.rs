//! Connecting and calling.

use std::time::Duration;

use ride::error::Error;
use ride::gateway::client::{Access, CallError, Connection, Event, Events, connect};
use ride::gateway::keep::{Line, keep};
use ride_core::wire::{Check, Checked, Reason, method};
use serde_json::{Value, json};

use super::standin::{Script, Standin, fail, ok};

const WRITE: &[&str] = &["operator.read", "operator.write"];
const TOKEN: Option<&str> = Some("t-1");

fn serve(answer: fn(&Value) -> Option<Value>) -> Script {
    Script::Serve { scopes: WRITE, answer: Box::new(answer) }
}

async fn up(script: Script) -> (Connection, Events, Standin) {
    let standin = Standin::start(vec![script]).await;
    let dir = tempfile::tempdir().unwrap();
    let (connection, events) = connect(&standin.target(TOKEN), Access::Write, dir.path()).await.unwrap();
    (connection, events, standin)
}

async fn check(connection: &Connection) -> Result<Checked, CallError> {
    connection.call(method::CHECK, &Check { key: Some("k".into()), ..Check::default() }).await
}

/// What a person sees, with the stand-in's port taken out.
fn said(e: impl Into<Error>, standin: &Standin) -> (u8, String) {
    let e: Error = e.into();
    let code = e.kind.code();
    (code, e.to_string().replace(&standin.address.to_string(), "HOST"))
}

async fn refused_to_connect(token: Option<&str>, error: Value) -> (u8, String) {
    let standin = Standin::start(vec![Script::Reject(error)]).await;
    let dir = tempfile::tempdir().unwrap();
    let e = connect(&standin.target(token), Access::Write, dir.path()).await.unwrap_err();
    said(e, &standin)
}

#[tokio::test]
async fn with_the_shared_token_on_loopback_no_device_is_needed() {
    let (connection, mut events, mut standin) =
        up(serve(|request| ok(request, json!({"ridden": request["params"]["key"] == "k", "more": 1})))).await;
    let sent = standin.connects.recv().await.unwrap();
    assert_eq!(
        sent,
        json!({
            "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": WRITE, "caps": [],
            "client": {"id": "gateway-client", "version": env!("CARGO_PKG_VERSION"), "platform": "linux", "mode": "backend"},
            "auth": {"token": "t-1"},
        })
    );
    assert_eq!(connection.hello().server.version, "2026.9.6");
    let checked = check(&connection).await.unwrap();
    assert_eq!(checked, Checked { ridden: true, valid: None, holder: None, key: None, title: None, own: false });
    let changed = Event {
        name: "plugin.claude-code-sync.changed".into(),
        key: Some("k".into()),
        payload: r#"{"key":"k","newer":1}"#.into(),
    };
    assert_eq!(events.next().await, Ok(changed));
}

#[tokio::test]
async fn a_device_is_made_once_a_gateway_has_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let made = || dir.path().join("device.json").exists();
    // Nobody listens there, and then somebody who says nothing of a gateway.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut target = Standin::start(vec![Script::Begin(json!({"type": "event", "event": "hello"}))]).await;
    let silent = ride::gateway::locate::Target { url: format!("ws://{closed}"), ..target.target(None) };
    connect(&silent, Access::Read, dir.path()).await.unwrap_err();
    assert!(!made(), "by a port that nobody has");
    connect(&target.target(None), Access::Read, dir.path()).await.unwrap_err();
    assert!(!made(), "by something else");
    target = Standin::start(vec![serve(|_| None)]).await;
    connect(&target.target(None), Access::Read, dir.path()).await.unwrap();
    assert!(made());
}

#[tokio::test]
async fn where_scopes_are_cleared_the_device_takes_over_and_keeps_its_token() {
    let cleared = Script::Serve { scopes: &[], answer: Box::new(|_| None) };
    let mut standin = Standin::start(vec![cleared, serve(|_| None), serve(|_| None)]).await;
    let dir = tempfile::tempdir().unwrap();
    connect(&standin.target(TOKEN), Access::Write, dir.path()).await.unwrap();
    let without = standin.connects.recv().await.unwrap();
    let with = standin.connects.recv().await.unwrap();
    assert_eq!(without.get("device"), None);
    assert_eq!(with["device"]["id"].as_str().unwrap().len(), 64);
    assert_eq!(with["device"]["signedAt"], 1_795_333_474_557_u64);
    assert_eq!(with["auth"]["token"], "t-1");

    // Without a shared token the device's own is used from then on.
    connect(&standin.target(None), Access::Write, dir.path()).await.unwrap();
    let later = standin.connects.recv().await.unwrap();
    assert_eq!((&later["auth"]["token"], &later["device"]["id"]), (&json!("device-token-1"), &with["device"]["id"]));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(dir.path().join("device.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn what_the_host_refuses_is_said_with_what_to_do() {
    let wrong = json!({"code": "INVALID_REQUEST", "message": "unauthorized: token mismatch", "details": {"code": "AUTH_TOKEN_MISMATCH"}});
    assert_eq!(
        refused_to_connect(TOKEN, wrong).await,
        (
            7,
            "error: the gateway at ws://HOST does not accept this token\n\
             hint: the token is the gateway's gateway.auth.token; give it by OPENCLAW_GATEWAY_TOKEN or --token-file"
                .into()
        )
    );
    let missing =
        json!({"code": "INVALID_REQUEST", "message": "unauthorized", "details": {"code": "AUTH_TOKEN_MISSING"}});
    assert_eq!(
        refused_to_connect(None, missing).await,
        (
            7,
            "error: the gateway at ws://HOST asks for a token, and none is configured\n\
             hint: set OPENCLAW_GATEWAY_TOKEN or use --token-file"
                .into()
        )
    );
    let unpaired = json!({"code": "NOT_PAIRED", "message": "device pairing required",
                          "details": {"code": "PAIRING_REQUIRED", "requestId": "req-9", "reason": "not-paired"}});
    let (code, text) = refused_to_connect(None, unpaired).await;
    let (head, tail) = text.split_once("(device ").unwrap();
    assert_eq!(
        (code, head, &tail[64..]),
        (
            7,
            "error: the gateway at ws://HOST has to approve this machine ",
            "): device pairing required\nhint: on the gateway's machine: openclaw devices approve req-9\n      then run this command again"
        )
    );
    let scopes = json!({"code": "INVALID_REQUEST", "message": "no", "details": {"code": "AUTH_SCOPE_MISMATCH"}});
    assert_eq!(refused_to_connect(TOKEN, scopes).await.0, 7);
    // A token of this device that was taken back, and nothing else to show.
    let missing =
        json!({"code": "INVALID_REQUEST", "message": "unauthorized", "details": {"code": "AUTH_TOKEN_MISSING"}});
    let back = json!({"code": "INVALID_REQUEST", "message": "no", "details": {"code": "AUTH_DEVICE_TOKEN_MISMATCH"}});
    let standin = Standin::start(vec![serve(|_| None), Script::Reject(back), Script::Reject(missing)]).await;
    let dir = tempfile::tempdir().unwrap();
    let target = standin.target(None);
    connect(&target, Access::Write, dir.path()).await.unwrap();
    let e = connect(&target, Access::Write, dir.path()).await.unwrap_err();
    assert_eq!(
        said(e, &standin),
        (7, "error: the gateway at ws://HOST takes this machine's own token no more\n\
             hint: it was rotated or revoked there; give the gateway's own token once, by OPENCLAW_GATEWAY_TOKEN or --token-file".into())
    );
    let old =
        json!({"code": "INVALID_REQUEST", "message": "protocol mismatch", "details": {"code": "PROTOCOL_MISMATCH"}});
    assert_eq!(
        refused_to_connect(TOKEN, old).await,
        (
            8,
            "error: the gateway at ws://HOST does not speak protocol 4: protocol mismatch\n\
             hint: this ride speaks protocol 4: OpenClaw 2026.5.31 and newer"
                .into()
        )
    );
}

#[tokio::test]
async fn what_is_not_a_gateway_is_not_taken_for_one() {
    let standin = Standin::start(vec![Script::Begin(json!({"type": "event", "event": "welcome"}))]).await;
    let dir = tempfile::tempdir().unwrap();
    let e = connect(&standin.target(TOKEN), Access::Read, dir.path()).await.unwrap_err();
    assert_eq!(
        said(e, &standin),
        (6, "error: could not connect to ws://HOST: no OpenClaw gateway answers there: it did not begin with connect.challenge\n\
             hint: something else answers there; check the port, or use wss:// for a gateway with gateway.tls".into())
    );
    let mut target = standin.target(TOKEN);
    // The stand-in accepts no second connection; port 1 accepts none at all.
    target.url = "ws://127.0.0.1:1".into();
    let e = connect(&target, Access::Read, dir.path()).await.unwrap_err();
    assert_eq!(
        said(e, &standin),
        (
            6,
            "error: could not reach the gateway at ws://127.0.0.1:1 (test): Connection refused (os error 111)\n\
             hint: is the gateway running? `openclaw gateway status` tells"
                .into()
        )
    );
    target.url = "ws://10.1.2.3:18789".into();
    let e = connect(&target, Access::Read, dir.path()).await.unwrap_err();
    assert_eq!(
        said(e, &standin).1.lines().next(),
        Some("error: refused to connect to ws://10.1.2.3:18789: ws:// would show token and chat to the network")
    );
}

#[tokio::test]
async fn refusals_of_a_method_and_of_the_host_are_told_apart() {
    let (connection, _events, standin) = up(serve(|request| {
        fail(
            request,
            json!({
                "code": "INVALID_REQUEST", "message": "Deploys is ridden",
                "details": {"reason": "HELD", "hint": "wait", "holder":
                    {"name": "Ada", "host": "box", "sinceMs": 1, "expiresInMs": 2, "phase": "ridden"}},
            }),
        )
    }))
    .await;
    let e = check(&connection).await.unwrap_err();
    assert_eq!(e.refusal().map(|refusal| refusal.details.reason), Some(Reason::Held));
    assert_eq!(said(e, &standin), (4, "error: Deploys is ridden (ridden by Ada at box)\nhint: wait".into()));

    let (connection, _events, standin) =
        up(serve(|request| fail(request, json!({"code": "INVALID_REQUEST", "message": "unknown method: ride_check"}))))
            .await;
    let (code, text) = said(check(&connection).await.unwrap_err(), &standin);
    assert_eq!((code, text.lines().next()), (8, Some("error: the gateway does not know ride_check")));

    // As 2026.6.1 says it after a channel turn, and as 2026.9 does.
    let older: fn(&Value) -> Option<Value> =
        |request| fail(request, json!({"code": "INVALID_REQUEST", "message": "missing scope: operator.admin"}));
    let newer: fn(&Value) -> Option<Value> = |request| {
        let details = json!({"code": "MISSING_SCOPE", "missingScope": "operator.admin"});
        fail(request, json!({"code": "FORBIDDEN", "message": "no", "details": details}))
    };
    for answer in [older, newer] {
        let (connection, _events, standin) = up(serve(answer)).await;
        assert_eq!(
            said(check(&connection).await.unwrap_err(), &standin),
            (
                7,
                "error: the gateway wants operator.admin for ride_check\n\
                 hint: OpenClaw 2026.6.1 asks for it after a channel turn; `ride --admin …` asks for that scope"
                    .into()
            )
        );
    }

    // The host checks scopes before it looks whether the method exists (2026.9.6).
    let (connection, _events, standin) = up(serve(older)).await;
    let e = connection.call::<_, Value>(method::CONFIG, &json!({})).await.unwrap_err();
    assert_eq!(said(e, &standin).1.lines().next(), Some("error: the gateway does not know ride_config"));

    let (connection, _events, standin) = up(serve(|request| {
        fail(
            request,
            json!({"code": "UNAVAILABLE", "message": "Error: boom", "details": {"reason": "SOMETHING_NEWER"}}),
        )
    }))
    .await;
    assert_eq!(said(check(&connection).await.unwrap_err(), &standin), (1, "error: Error: boom".into()));
}

#[tokio::test]
async fn a_plugin_that_is_being_reloaded_is_asked_again() {
    let reloading = |request: &Value| {
        let message =
            "PluginInstanceUnavailableError: Plugin claude-code-sync was reloaded or disabled; use its current tools.";
        fail(request, json!({"code": "UNAVAILABLE", "message": message}))
    };
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let answer = move |request: &Value| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 | 1 => reloading(request),
        _ => ok(request, json!({"ridden": true})),
    };
    let (connection, _events, _standin) = up(Script::Serve { scopes: WRITE, answer: Box::new(answer) }).await;
    assert!(check(&connection).await.unwrap().ridden);

    // One that stays away is an error in time.
    let (connection, _events, _standin) = up(Script::Serve { scopes: WRITE, answer: Box::new(reloading) }).await;
    let checked =
        connection.call_within::<_, Checked>(method::CHECK, &Check::default(), Duration::from_millis(400)).await;
    assert!(matches!(checked, Err(CallError::Host { ref code, .. }) if code == "UNAVAILABLE"), "{checked:?}");
}

#[tokio::test]
async fn a_cut_connection_fails_what_waits_and_says_why() {
    let (connection, mut events, standin) = up(Script::Cut(1012)).await;
    let (a, b) = tokio::join!(check(&connection), check(&connection));
    let expected =
        (6, "error: the connection was lost during ride_check: the gateway closed it: 1012 service restart".to_owned());
    assert_eq!(said(a.unwrap_err(), &standin), expected);
    assert!(matches!(b.unwrap_err(), CallError::Lost { .. }));
    // Afterwards it is still an error and not a wait.
    assert!(matches!(check(&connection).await.unwrap_err(), CallError::Lost { .. }));
    assert_eq!(events.next().await, Err("the gateway closed it: 1012 service restart".to_owned()));
}

#[tokio::test]
async fn an_answer_over_the_limit_ends_the_connection() {
    let (connection, _events, standin) = up(Script::Flood(27_000_000)).await;
    let (code, text) = said(check(&connection).await.unwrap_err(), &standin);
    assert_eq!(code, 6);
    assert!(
        text.starts_with("error: the connection was lost during ride_check: the gateway sent too much at once"),
        "{text}"
    );
}

#[tokio::test]
async fn a_request_over_the_gateways_limit_is_not_sent() {
    let (connection, _events, standin) = up(serve(|request| ok(request, json!({"ridden": false})))).await;
    let long = Check { key: Some("x".repeat(5_000)), ..Check::default() };
    let e = connection.call::<_, Checked>(method::CHECK, &long).await.unwrap_err();
    assert_eq!(
        said(e, &standin),
        (1, "error: could not send ride_check: 5065 bytes are over the gateway's limit of 4096".into())
    );
    assert!(!check(&connection).await.unwrap().ridden);
}

#[tokio::test]
async fn no_answer_is_an_error_in_time() {
    let (connection, _events, standin) = up(serve(|_| None)).await;
    let limit = Duration::from_millis(50);
    let e = connection.call_within::<_, Checked>(method::CHECK, &Check::default(), limit).await.unwrap_err();
    assert_eq!(said(e, &standin), (6, "error: the gateway did not answer ride_check within 50 ms".into()));
}

#[tokio::test]
async fn a_kept_connection_comes_back_after_cuts_and_refusals() {
    let starting = json!({"code": "UNAVAILABLE", "message": "gateway starting"});
    let busy = json!({"code": "INVALID_REQUEST", "message": "not now"});
    let back = serve(|request| ok(request, json!({"ridden": true})));
    // One that is starting is waited for within the attempt, and not told as a failure.
    let scripts = vec![Script::Cut(1012), Script::Reject(starting), Script::Reject(busy), back];
    let standin = Standin::start(scripts).await;
    let dir = tempfile::tempdir().unwrap();
    let first = connect(&standin.target(TOKEN), Access::Write, dir.path()).await.unwrap();
    let mut lines = keep(standin.target(TOKEN), Access::Write, dir.path().to_owned(), first);
    let mut seen = Vec::new();
    while let Some(line) = lines.recv().await {
        match line {
            Line::Up(connection) => {
                seen.push("up".to_owned());
                let answer = check(&connection).await.map_or_else(|e| e.to_string(), |checked| format!("{checked:?}"));
                seen.push(answer);
                if seen.len() > 4 {
                    break;
                }
            }
            Line::Event(_) => {}
            Line::Down(why) => seen.push(format!("down: {why}")),
            Line::Failed(why) => seen.push(why.replace(&standin.address.to_string(), "HOST")),
        }
    }
    assert_eq!(
        seen,
        [
            "up",
            "the connection was lost during ride_check: the gateway closed it: 1012 service restart",
            "down: the gateway closed it: 1012 service restart",
            "the gateway at ws://HOST refused the connection: not now (INVALID_REQUEST)",
            "up",
            "Checked { ridden: true, valid: None, holder: None, key: None, title: None, own: false }",
        ]
    );
}
