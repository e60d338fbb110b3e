//! What answers in a gateway's place, badly or not at all; and `ride doctor` there.

use std::path::Path;
use std::process::Stdio;

use ride::error::Error;
use ride::gateway::client::{Access, connect};
use ride::gateway::locate::{Pin, Secret, Target};
use ride::ride::record::Record;
use ride_core::id::{Fence, Process};
use ride_store::claude::process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::standin::{Script, Standin};

/// Answers each connection's first bytes with these, then hangs up; `None` says nothing
/// and does not hang up.
async fn answering(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = [0; 1024];
            let _ = stream.read(&mut seen).await;
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => open.push(stream),
            }
        }
    });
    address
}

async fn refused(url: &str, pin: Option<Pin>) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    let target = Target { url: url.to_owned(), source: "test", token: Some(Secret::new("t")), password: None, pin };
    let e = Error::from(connect(&target, Access::Write, dir.path()).await.unwrap_err());
    (e.kind.code(), e.to_string())
}

async fn check(answer: Option<&'static str>, scheme: &str, code: u8, expected: &str) {
    let address = answering(answer).await;
    let (got, text) = refused(&format!("{scheme}://{address}"), None).await;
    assert_eq!((got, text.replace(&address, "HOST").as_str()), (code, expected));
}

#[tokio::test]
async fn proxies_and_web_servers() {
    let forbidden = Some("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    check(
        forbidden,
        "ws",
        6,
        "error: could not connect to ws://HOST: no OpenClaw gateway answers there: HTTP 403 Forbidden\n\
         hint: a proxy refuses, or the gateway does not trust the proxy before it: gateway.trustedProxies names those it does",
    )
    .await;
    check(
        Some("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"),
        "ws",
        6,
        "error: could not connect to ws://HOST: no OpenClaw gateway answers there: HTTP 502 Bad Gateway\n\
         hint: a proxy answers there, and does not reach the gateway behind it",
    )
    .await;
    check(
        Some("SSH-2.0-OpenSSH_9.6\r\n"),
        "ws",
        6,
        "error: could not connect to ws://HOST: no OpenClaw gateway answers there: WebSocket protocol error: httparse error: invalid HTTP version\n\
         hint: something else answers there; check the port, or use wss:// for a gateway with gateway.tls",
    )
    .await;
}

#[tokio::test]
async fn tls_where_there_is_none() {
    let address = answering(Some("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let (code, text) = refused(&format!("wss://{address}"), None).await;
    assert_eq!(code, 6, "{text}");
    assert!(
        text.ends_with("hint: does it speak TLS on that port? a gateway without gateway.tls has ws:// only"),
        "{text}"
    );
}

#[tokio::test]
async fn one_that_goes_away_in_the_handshake() {
    check(
        Some(""),
        "ws",
        6,
        "error: could not connect to ws://HOST: no OpenClaw gateway answers there: it hung up without an answer\n\
         hint: something else answers there; check the port, or use wss:// for a gateway with gateway.tls",
    )
    .await;
    let standin = Standin::start(vec![Script::HangUp]).await;
    let (code, text) = refused(&standin.target(None).url, None).await;
    assert_eq!(code, 6, "{text}");
    assert!(text.starts_with("error: could not connect to the gateway at ws://127.0.0.1:"), "{text}");
}

#[tokio::test]
async fn one_that_does_not_answer() {
    let begun = std::time::Instant::now();
    check(None, "ws", 6, "error: could not connect to the gateway at ws://HOST: no answer within 10000 ms").await;
    assert!(begun.elapsed().as_secs() >= 10);
}

#[tokio::test]
async fn a_name_nobody_knows() {
    // Set aside so that it never exists (RFC 2606).
    let (code, text) = refused("wss://gateway.invalid", None).await;
    assert_eq!(code, 6, "{text}");
    assert!(
        text.starts_with(
            "error: could not reach the gateway at wss://gateway.invalid (test): failed to lookup address information"
        ),
        "{text}"
    );
    assert!(text.ends_with("hint: check the address, and that the gateway's machine can be reached"), "{text}");
}

/// `ride doctor` with nothing but a home folder.
async fn doctor(home: &Path, args: &[&str]) -> (i32, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ride"))
        .arg("doctor")
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("PATH", home)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text.replace(home.to_str().unwrap(), "~"))
}

#[tokio::test]
async fn the_doctor_works_where_nothing_else_does() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".openclaw")).unwrap();
    std::fs::write(home.path().join(".openclaw/openclaw.json"), "{\n  gateway: {\n    port: 1 auth\n").unwrap();
    let (code, text) = doctor(home.path(), &[]).await;
    assert_eq!(
        (code, text.as_str()),
        (
            1,
            "\
wrong  address    could not read the configuration: ~/.openclaw/openclaw.json: expected comma at line 3 column 13
                  → `openclaw config validate` tells more; --url goes without the file
?      gateway    not asked: its address is not known
?      plugin     unknown: gateway unreachable
wrong  claude     could not find `claude` on PATH
                  → install Claude Code, or say where it is with --claude
note   terminal   no terminal here; riding needs one
ok     own files  ~/.local/state/ride
error: 2 things are wrong
"
        )
    );
    // A port that nothing listens on; and the words of a thread change nothing. What
    // this machine left behind is told all the same.
    let mut left = Record::new("ws://127.0.0.1:1", "agent:main:x", "secret");
    left.fence = Some(Fence { incarnation: Uuid::from_u128(1), epoch: 4, grant: Uuid::from_u128(2) });
    left.process = Process { start: 0, ..process::identity(1) };
    left.save(&home.path().join(".local/state/ride")).unwrap();
    let (code, text) = doctor(home.path(), &["plans", "--url", "ws://127.0.0.1:1"]).await;
    assert_eq!(code, 1, "{text}");
    let line = "wrong  gateway      could not reach the gateway at ws://127.0.0.1:1 (--url): Connection refused (os error 111)\n";
    assert!(text.contains(line), "{text}");
    let left = "?      left behind  a ride of agent:main:x ended here; whether the thread is handed back is unknown: gateway unreachable\n";
    assert!(text.contains(left), "{text}");
    // One that another version began is named with its file, and stays.
    let file = home.path().join(".local/state/ride/rides/0123.json");
    std::fs::write(&file, r#"{"format":9,"writtenBy":"ride 9.0.0"}"#).unwrap();
    let (_, text) = doctor(home.path(), &["--url", "ws://127.0.0.1:1"]).await;
    let line = format!(
        "wrong  left behind  could not read the record of a ride, ~/.local/state/ride/rides/0123.json: ride 9.0.0 wrote it, and this version (ride {}) does not know it: ",
        env!("CARGO_PKG_VERSION")
    );
    assert!(text.contains(&line) && text.contains("end that ride with the version that began it"), "{text}");
}
