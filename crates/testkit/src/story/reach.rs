//! A gateway that speaks TLS with a certificate of its own, reached by a machine it
//! does not know; and a ride that outlives the gateway's restart.
//!
//! The other machine is this one, by the address it has on its network: to the
//! gateway such a client is remote, and has to be approved.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use serde_json::{Value, json};

use super::stage::{Stage, TURN, fingerprint, line_with, said};
use super::{Facts, Product};
use crate::claude;
use crate::error::{Error, Result};
use crate::gateway::Family;
use crate::pty::Program;
use crate::telegram::{Person, Place, Telegram};

const FORUM: i64 = -1_002_222_222_222;

// Rule LEASE-9.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let mut stage = Stage::build(product, json!({}), |builder| builder.tls()).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    stage.telegram.says(&Person::tess(), &plans, "the code word is MANGO");
    stage.telegram.wait_for_bot(&plans, TURN, "code word is MANGO").await?;

    let home = tempfile::tempdir().map_err(|e| broke("a home elsewhere", &e.to_string()))?;
    let elsewhere = Elsewhere { url: stage.gateway.url_from_elsewhere()?, home: home.path() };
    let pin = fingerprint(&stage.gateway.certificate()).await?;
    certificate(facts, &stage, &elsewhere, &pin).await?;
    pairing(facts, &stage, &elsewhere, &pin).await?;
    ride(facts, &mut stage, &elsewhere, &pin, &plans).await?;
    narrowed(facts, &stage, &elsewhere, &pin).await
}

/// A machine that has neither the gateway's configuration nor its token.
struct Elsewhere<'a> {
    url: String,
    home: &'a Path,
}

impl Elsewhere<'_> {
    /// Runs `ride` there.
    async fn run(&self, stage: &Stage<'_>, vars: &[(&str, &str)], args: &[&str]) -> Result<Output> {
        let ran = tokio::process::Command::new(&stage.product.ride)
            .args(args)
            .args(["--url", &self.url])
            .env_clear()
            .env("HOME", self.home)
            .env("PATH", path_of(stage))
            .envs(vars.iter().copied())
            .kill_on_drop(true)
            .output();
        let ran = tokio::time::timeout(TURN, ran).await.map_err(|_| broke("ride elsewhere", "no end"))?;
        ran.map_err(|e| broke("ride elsewhere", &e.to_string()))
    }
}

fn path_of(stage: &Stage<'_>) -> String {
    stage
        .gateway
        .environment()
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, path)| path.clone())
        .unwrap_or_default()
}

fn broke(what: &str, cause: &str) -> Error {
    Error::Peer { what: what.into(), said: cause.into() }
}

async fn certificate(facts: &mut Facts, stage: &Stage<'_>, elsewhere: &Elsewhere<'_>, pin: &str) -> Result<()> {
    let token = [("OPENCLAW_GATEWAY_TOKEN", stage.gateway.token())];
    let unknown = elsewhere.run(stage, &token, &["ls"]).await?;
    let text = said(&unknown);
    facts.tell(
        unknown.status.code() == Some(7) && text.contains(&format!("--pin sha256:{pin}")),
        "a certificate nobody vouches for is refused, and named by its fingerprint",
        first(&text),
    );
    let other = format!("{}{}", &pin[..62], if pin.ends_with("00") { "11" } else { "00" });
    let wrong = elsewhere.run(stage, &token, &["ls", "--pin", &other]).await?;
    let text = said(&wrong);
    facts.tell(
        wrong.status.code() == Some(7)
            && text.contains(&format!("expected sha256:{other}"))
            && text.contains(&format!("seen     sha256:{pin}")),
        "another certificate than the pinned one is refused, with both fingerprints",
        text.lines().skip(1).take(2).map(str::trim).collect::<Vec<_>>().join(", "),
    );
    let plain = Elsewhere { url: elsewhere.url.replace("wss://", "ws://"), home: elsewhere.home };
    let plain = plain.run(stage, &token, &["ls"]).await?;
    facts.tell(
        plain.status.code() == Some(7) && said(&plain).contains("would show token and chat to the network"),
        "plain ws to another machine is refused before anything is sent",
        first(&said(&plain)),
    );
    let own = stage.run(&["ls", "--json"]).await?;
    facts.tell(own.status.success(), "on the gateway's machine its certificate is known", exit(&own));
    Ok(())
}

async fn pairing(facts: &mut Facts, stage: &Stage<'_>, elsewhere: &Elsewhere<'_>, pin: &str) -> Result<()> {
    let token = [("OPENCLAW_GATEWAY_TOKEN", stage.gateway.token()), ("RIDE_PIN", pin)];
    let wrong =
        elsewhere.run(stage, &[("OPENCLAW_GATEWAY_TOKEN", "not-the-token"), ("RIDE_PIN", pin)], &["ls"]).await?;
    facts.tell(
        wrong.status.code() == Some(7) && said(&wrong).contains("does not accept this token"),
        "a wrong token is refused as one",
        first(&said(&wrong)),
    );
    let unpaired = elsewhere.run(stage, &token, &["ls"]).await?;
    let text = said(&unpaired);
    let line = approval(&text);
    facts.tell(
        unpaired.status.code() == Some(7) && line.is_some(),
        "an unknown machine is told the line that approves it",
        line.clone().unwrap_or_else(|| first(&text)),
    );
    approve(stage, &line).await?;
    let listed = elsewhere.run(stage, &token, &["ls", "--json"]).await?;
    facts.tell(lets_in(stage, &listed), "approved, the same command works", exit(&listed));
    // From now on its own token does.
    let alone = elsewhere.run(stage, &[("RIDE_PIN", pin)], &["ls", "--json"]).await?;
    facts.tell(lets_in(stage, &alone), "and needs the gateway's token no more", exit(&alone));
    let narrow = elsewhere.run(stage, &[("RIDE_PIN", pin)], &["ls", "--admin"]).await?;
    let text = said(&narrow);
    // Newer hosts say that the token is too narrow, older ones that the approval is.
    let named = text.contains("does not allow this machine") || text.contains("asks for more than was approved");
    facts.tell(
        narrow.status.code() == Some(7) && named,
        "a token that allows less than is asked for is told as that",
        one_line(&narrow),
    );
    let upgrade = elsewhere.run(stage, &token, &["ls", "--admin"]).await?;
    let text = said(&upgrade);
    let line = approval(&text);
    facts.tell(
        upgrade.status.code() == Some(7) && text.contains("asks for more than was approved") && line.is_some(),
        "asking for more than was approved is told as that",
        first(&text),
    );
    approve(stage, &line).await?;
    let wider = elsewhere.run(stage, &token, &["ls", "--admin"]).await?;
    facts.tell(wider.status.success(), "and works once it is approved", exit(&wider));
    Ok(())
}

/// Whether a command got past the gateway's door. A host up to 2026.6.1 then wants operator.admin
/// for a plugin's methods, after a channel turn: that must be named, with what helps.
fn lets_in(stage: &Stage<'_>, output: &Output) -> bool {
    let demand = "the gateway wants operator.admin for sessions_rideable";
    let named = said(output).contains(demand) && said(output).contains("`ride --admin …`");
    output.status.success() != (stage.scope().is_some() && named)
}

/// The command in a hint that approves a machine.
fn approval(text: &str) -> Option<String> {
    text.split_once("openclaw devices approve ")
        .map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default().to_owned())
}

async fn approve(stage: &Stage<'_>, request: &Option<String>) -> Result<()> {
    match request {
        Some(request) => stage.gateway.cli(&["devices", "approve", request]).await.map(|_| ()),
        None => Ok(()),
    }
}

/// Rides as that machine, through a restart of the gateway and, where there is one, a
/// reload of the plugin.
async fn ride(
    facts: &mut Facts,
    stage: &mut Stage<'_>,
    elsewhere: &Elsewhere<'_>,
    pin: &str,
    plans: &Place,
) -> Result<()> {
    let state_dir = elsewhere.home.join(".local/state/ride").display().to_string();
    let mut args = vec!["forum", "topic:42", "--url", &elsewhere.url, "--state-dir", &state_dir, "--pin", pin];
    args.extend(stage.scope());
    let mut program = Program::new(&stage.product.ride, stage.gateway.workspace()).args(args);
    for (name, value) in stage.gateway.environment() {
        program = program.env(name, value);
    }
    let mut ride = program.env("USER", "ada").env("TERM", "xterm-256color").start()?;
    ride.wait_for(TURN, claude::shows_prompt).await?;
    ride.submit("first from elsewhere").await?;
    stage.telegram.wait_for_bot(plans, TURN, "]: first from elsewhere").await?;
    let fence = held(stage).await?;
    facts.tell(
        fence["holder"]["name"] == "ada",
        "the approved machine rides over TLS",
        format!("fence {}", fence["fence"]),
    );

    stage.gateway.stop().await;
    let silent = Instant::now();
    let down = elsewhere.run(stage, &[("RIDE_PIN", pin)], &["doctor"]).await?;
    facts.tell(
        down.status.code() == Some(1) && said(&down).contains("wrong  gateway"),
        "ride doctor works with the gateway down and says so",
        line_with(&said(&down), "gateway"),
    );
    ride.submit("typed while it is down").await?;
    let told = ride.wait_for(TURN, |screen| screen.contains("connection lost, trying again")).await;
    facts.tell(told.is_ok(), "the driver sees that the gateway is away", line_with(&ride.screen(), "⇄"));
    stage.gateway.start().await?;
    let started_ms = silent.elapsed().as_millis();
    stage.telegram.wait_for_bot(plans, TURN, "]: typed while it is down").await?;
    let relayed_ms = silent.elapsed().as_millis();
    let once = once_each(&stage.telegram, plans, "typed while it is down");
    facts.tell(
        once,
        "what was typed meanwhile is in the thread once when it is back",
        stage.telegram.chat(plans).lines().join(" | "),
    );
    let after = held(stage).await?;
    facts.tell(
        after["fence"] == fence["fence"] && !fence["fence"].is_null(),
        "the ride is the same one, by its fence",
        format!(
            "{}; relayed {relayed_ms} ms after the stop, {} ms after the gateway was back",
            after["fence"],
            relayed_ms.saturating_sub(started_ms)
        ),
    );

    if stage.gateway.family() == Family::Late2026 && stage.gateway.version().starts_with("2026.9") {
        let began = Instant::now();
        stage.gateway.reload("claude-code-sync").await?;
        let reload_ms = began.elapsed().as_millis();
        ride.submit("after the reload").await?;
        stage.telegram.wait_for_bot(plans, TURN, "]: after the reload").await?;
        let later = held(stage).await?;
        facts.tell(
            later["fence"] == fence["fence"] && once_each(&stage.telegram, plans, "after the reload"),
            "a reload of the plugin leaves the ride as it is",
            format!("{}; the command took {reload_ms} ms", later["fence"]),
        );
    }
    let code = stage.leave(&mut ride).await?;
    facts.tell(code == 0, "the thread is handed back in good order", format!("exit {code}"));
    Ok(())
}

/// The state of the one thread that is held.
async fn held(stage: &Stage<'_>) -> Result<Value> {
    let status = stage.json(&["status", "--json"]).await?;
    Ok(status["threads"][0].clone())
}

/// Whether prompt and answer are in the thread, each once.
fn once_each(telegram: &Telegram, place: &Place, text: &str) -> bool {
    let chat = telegram.chat(place);
    let by_bot = chat.by_bot();
    let prompts = by_bot.iter().filter(|t| t.starts_with("🖥") && t.ends_with(text)).count();
    let answers = by_bot.iter().filter(|t| t.contains(&format!("]: {text}"))).count();
    (prompts, answers) == (1, 1)
}

/// A machine whose rights were taken back, in part and then wholly.
async fn narrowed(facts: &mut Facts, stage: &Stage<'_>, elsewhere: &Elsewhere<'_>, pin: &str) -> Result<()> {
    let listed = stage.gateway.cli(&["devices", "list", "--json"]).await?;
    let json = listed.find('{').map_or("", |at| &listed[at..]);
    let devices: Value =
        serde_json::from_str(json).map_err(|e| broke("openclaw devices list", &format!("{e}: {listed}")))?;
    let device = devices["paired"][0]["deviceId"].as_str().unwrap_or_default().to_owned();
    let rotate = ["devices", "rotate", "--device", &device, "--role", "operator", "--scope", "operator.read"];
    match stage.gateway.cli(&rotate).await {
        // 2026.6.1 and 2026.8.2: its command line is a device of its own there, without the right.
        Err(e) if stage.gateway.before(&[2026, 9]) && e.to_string().contains("device token rotation denied") => {
            facts.tell(
                true,
                "this host refuses its own command line to take a token back",
                "device token rotation denied",
            );
            return Ok(());
        }
        other => other.map(|_| ())?,
    }
    let old = elsewhere.run(stage, &[("RIDE_PIN", pin)], &["ls"]).await?;
    facts.tell(
        old.status.code() == Some(7) && said(&old).contains("takes this machine's own token no more"),
        "a token that was rotated away is not taken, and the person is told what to give",
        one_line(&old),
    );
    stage.gateway.cli(&["devices", "remove", &device]).await?;
    let gone =
        elsewhere.run(stage, &[("OPENCLAW_GATEWAY_TOKEN", stage.gateway.token()), ("RIDE_PIN", pin)], &["ls"]).await?;
    facts.tell(
        gone.status.code() == Some(7) && approval(&said(&gone)).is_some(),
        "a machine that was removed is told how to be approved again",
        one_line(&gone),
    );
    Ok(())
}

fn one_line(output: &Output) -> String {
    said(output).trim_end().replace('\n', " / ")
}

/// How a command ended, with what it complained about.
fn exit(output: &Output) -> String {
    format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default())
}

fn first(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
