//! The testkit against the real peers: every pinned gateway, and Claude Code in a terminal.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use ride_testkit::{Anthropic, ClaudeCode, Gateway, Person, Place, Plugin, Telegram, claude, gateway, poll_until};
use serde_json::json;

const TURN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn claude_code_takes_a_turn_in_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let work = home.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let anthropic = Anthropic::start().await.unwrap();
    let claude = ClaudeCode::newest(&anthropic, home.path(), &work).await.unwrap();
    let mut terminal = claude.start().await.unwrap();

    terminal.submit("hello from the pty").await.unwrap();
    let request = anthropic.wait_for_prompt(TURN, "hello from the pty").await.unwrap();
    terminal.wait_for_text(TURN, "echo[1]: hello from the pty").await.unwrap();
    assert_eq!(request.prompt(), "hello from the pty");
    let session = request.session().unwrap().to_owned();
    let config = home.path().join(".claude");
    poll_until("the transcript", TURN, || claude::transcript(&config, &session)).await.unwrap();

    terminal.submit("::gate later").await.unwrap();
    let held = anthropic.wait_for_prompt(TURN, "::gate later").await.unwrap();
    assert!(held.saw("echo[1]: hello from the pty"));
    assert!(!terminal.screen().contains("echo[2]"));
    anthropic.open_gate("later");
    terminal.wait_for_text(TURN, "echo[2]: ::gate later").await.unwrap();
    assert_eq!(anthropic.turns_of(&session).len(), 2);
    assert!(terminal.history().contains("❯ hello from the pty"));

    terminal.submit("/exit").await.unwrap();
    assert_eq!(terminal.wait_exit(TURN).await.unwrap(), 0);
}

#[tokio::test]
async fn the_newest_gateway_answers_in_the_right_topic() {
    answers_in_the_right_topic(&gateway::versions()[0]).await;
}

#[tokio::test]
#[ignore = "the matrix: ten minutes; run with --ignored"]
async fn every_other_gateway_answers_in_the_right_topic() {
    for version in &gateway::versions()[1..] {
        answers_in_the_right_topic(version).await;
    }
}

async fn answers_in_the_right_topic(version: &str) {
    let (telegram, anthropic) = (Telegram::start().await.unwrap(), Anthropic::start().await.unwrap());
    let sources = tempfile::tempdir().unwrap();
    let plugin = speaking_plugin(sources.path());
    let begun = Instant::now();
    let mut gateway = Gateway::builder(&telegram, &anthropic).version(version).plugin(plugin).start().await.unwrap();
    let ready = begun.elapsed();
    gateway.wait_for_log(TURN, "smoke plugin says rabbit").await.unwrap();
    telegram.wait_until_polled(TURN).await.unwrap();

    let forum = |topic, name| Place::topic(-1_002_222_222_222, "Forum", topic, name);
    let (plans, other) = (forum(7, "Plans"), forum(9, "Other"));
    telegram.says(&Person::tess(), &plans, "hello from the topic");
    telegram.says(&Person::new(4711, "Eve", "eve"), &plans, "let me in");
    telegram.says(&Person::omar(), &other, "::say elsewhere");
    telegram.wait_for_bot(&plans, TURN, "hello from the topic").await.unwrap();
    telegram.wait_for_bot(&other, TURN, "elsewhere").await.unwrap();
    assert_eq!(telegram.chat(&plans).by_bot(), ["echo[1]: hello from the topic"]);
    assert_eq!(telegram.chat(&other).by_bot(), ["elsewhere"]);
    assert_eq!(anthropic.turns().len(), 2, "nobody answers Eve");

    let turn = anthropic.wait_for_prompt(TURN, "hello from the topic").await.unwrap();
    let session = turn.session().unwrap();
    let config = gateway.claude_dir();
    poll_until("the transcript", TURN, || claude::transcript(&config, session)).await.unwrap();
    assert_eq!(gateway.transcripts().len(), 2);

    let children = gateway.claude_processes();
    let begun = Instant::now();
    gateway.stop().await;
    poll_until("the gateway's children to end", TURN, || children.iter().all(|child| !child.is_alive()).then_some(()))
        .await
        .unwrap();
    println!("{version}: installed and ready in {ready:?}, {} warm, stopped in {:?}", children.len(), begun.elapsed());
}

/// A plugin of one line, to see that installs and configurations arrive.
fn speaking_plugin(sources: &Path) -> Plugin {
    let source = sources.join("smoke");
    std::fs::create_dir(&source).unwrap();
    let package = json!({
        "name": "smoke", "version": "1.0.0", "type": "module",
        "openclaw": { "extensions": ["./index.js"], "compat": { "pluginApi": ">=2026.6.1" } } });
    let manifest = json!({
        "id": "smoke", "name": "Smoke", "version": "1.0.0", "activation": { "onStartup": true },
        "configSchema": { "type": "object", "properties": { "word": { "type": "string" } } } });
    let code = "export default { id: 'smoke', register(api) { \
        console.log('smoke plugin says ' + api.pluginConfig?.word) } };\n";
    std::fs::write(source.join("package.json"), package.to_string()).unwrap();
    std::fs::write(source.join("openclaw.plugin.json"), manifest.to_string()).unwrap();
    std::fs::write(source.join("index.js"), code).unwrap();
    Plugin { id: "smoke".into(), source, config: json!({ "word": "rabbit" }) }
}

#[tokio::test]
async fn a_gateway_starts_again_after_a_crash() {
    let (telegram, anthropic) = (Telegram::start().await.unwrap(), Anthropic::start().await.unwrap());
    let mut gateway = Gateway::builder(&telegram, &anthropic).start().await.unwrap();
    let omar = Person::omar();
    let place = Place::direct(&omar);
    telegram.says(&omar, &place, "before");
    telegram.wait_for_bot(&place, TURN, "before").await.unwrap();
    let children = gateway.claude_processes();
    assert_eq!(children.len(), 1, "2026.9.6 keeps its child warm");

    gateway.crash().unwrap();
    assert_eq!(gateway.pid(), None);
    // Their input ends with the gateway.
    poll_until("the orphans to end", TURN, || children.iter().all(|child| !child.is_alive()).then_some(()))
        .await
        .unwrap();
    telegram.says(&omar, &place, "while it is down");
    gateway.start().await.unwrap();
    telegram.wait_for_bot(&place, TURN, "while it is down").await.unwrap();
    let turn = anthropic.wait_for_prompt(TURN, "while it is down").await.unwrap();
    assert!(turn.saw("echo[1]: before"), "the same Claude session goes on");
}
