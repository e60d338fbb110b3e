//! `ride` as a tool: without a thread named one is chosen from all, `-` is the last one
//! also after the gateway was restarted, and a shell completes and pipes.

use std::time::Duration;

use serde_json::json;

use super::stage::{Stage, TURN, line_with};
use super::{Facts, Product};
use crate::claude;
use crate::error::Result;
use crate::pty::{Key, Program, Terminal};
use crate::telegram::{Person, Place};

const FORUM: i64 = -1_002_222_222_222;
/// The picker asks for the list every 10 s where the host tells of no change.
const NOTICED: Duration = Duration::from_secs(60);

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let mut stage = Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let other = Place::topic(FORUM, "Forum", 43, "Other");
    let fresh = Place::topic(FORUM, "Forum", 44, "Fresh");
    let tess = Person::tess();
    for (place, text) in [(&plans, "the code word is MANGO"), (&other, "hello from the OTHER topic")] {
        stage.telegram.says(&tess, place, text);
        stage.telegram.wait_for_bot(place, TURN, &format!("]: {text}")).await?;
    }

    // All threads, the last turns of the selected one, and one that begins meanwhile.
    let mut picker = stage.ride(&[])?;
    picker.wait_for(TURN, |screen| screen.contains("▸") && screen.contains("OTHER topic")).await?;
    let before = selected(&picker);
    facts.tell(
        picker.screen().contains("]: hello from the OTHER topic"),
        "the last turns of the selected thread are shown",
        line_with(&picker.screen(), "]: hello"),
    );
    stage.telegram.says(&tess, &fresh, "a FRESH topic");
    stage.telegram.wait_for_bot(&fresh, TURN, "]: a FRESH topic").await?;
    let grown = picker.wait_for(NOTICED, |screen| listed(screen) == 3).await;
    facts.tell(
        grown.is_ok(),
        "a thread that begins meanwhile is listed",
        format!("{} threads", listed(&picker.screen())),
    );
    facts.tell(
        selected(&picker).1 == before.1,
        "and the selection stays on its thread",
        format!("line {} before, {} after: {}", before.0, selected(&picker).0, before.1),
    );

    // Search, and ride what is found.
    picker.type_text("topic:42").await?;
    let found = picker.wait_for(TURN, |screen| screen.contains("1 of 3") && screen.contains("MANGO")).await;
    facts.tell(found.is_ok(), "words find one thread and show its last turns", line_with(&picker.screen(), "MANGO"));
    picker.press(Key::Enter)?;
    picker.wait_for(TURN, claude::shows_prompt).await?;
    picker.submit("typed after choosing").await?;
    stage.telegram.wait_for_bot(&plans, TURN, "]: typed after choosing").await?;
    let code = stage.leave(&mut picker).await?;
    let chat = stage.telegram.chat(&plans).by_bot().len();
    facts.tell(
        code == 0,
        "it is ridden with Claude Code and handed back",
        format!("exit {code}, {chat} messages of the bot in its topic"),
    );

    // The last one, after a restart of the gateway.
    stage.gateway.restart().await?;
    stage.telegram.wait_until_polled(TURN).await?;
    let mut last = stage.drive(&["-"]).await?;
    last.submit("typed as the last one").await?;
    stage.telegram.wait_for_bot(&plans, TURN, "]: typed as the last one").await?;
    let code = stage.leave(&mut last).await?;
    let asked = stage.anthropic.wait_for_prompt(TURN, "typed as the last one").await?;
    facts.tell(
        code == 0 && asked.saw("MANGO"),
        "`ride -` takes the thread ridden last, also after a restart",
        format!("exit {code}, the model saw its first turn: {}", asked.saw("MANGO")),
    );

    // What was typed at the terminal is in the preview; leaving claims nothing.
    let mut picker = stage.ride(&["topic:4"])?;
    let shown = picker.wait_for(TURN, |screen| screen.contains("of 3") && screen.contains("▸")).await;
    facts.tell(
        shown.is_ok(),
        "words that fit several threads open the picker with them",
        line_with(&picker.screen(), " of 3"),
    );
    picker.type_text("2").await?;
    let shown = picker
        .wait_for(TURN, |screen| screen.contains("terminal") && screen.contains("]: typed as the last one"))
        .await;
    facts.tell(
        shown.is_ok(),
        "turns typed at a terminal are among the last turns",
        line_with(&picker.screen(), "typed as the last one"),
    );
    picker.press(Key::Escape)?;
    let code = picker.wait_exit(TURN).await?;
    let ridden = stage.json(&["status", "--json"]).await?;
    let none = ridden["threads"].as_array().is_some_and(Vec::is_empty);
    facts.tell(
        code == 130 && none && !picker.look(|screen| screen.alternate_screen()),
        "Escape leaves and nothing is claimed",
        format!("exit {code}, ridden: {}", ridden["threads"]),
    );

    // In a shell.
    let ride = ["ride"].into_iter().chain(stage.scope()).collect::<Vec<_>>().join(" ");
    let mut shell = shell(&stage)?;
    shell.send(b"source <(ride completions bash); echo loaded $?\r")?;
    shell.wait_for_text(TURN, "loaded 0").await?;
    shell.send(format!("{ride} release --acc\t").as_bytes())?;
    let completed = shell.wait_for_text(TURN, &format!("{ride} release --accept-broken-chain")).await;
    facts.tell(completed.is_ok(), "bash completes options", line_with(&shell.screen(), " release"));
    shell.send(format!("\x15{ride} status for\t").as_bytes())?;
    let completed = shell.wait_for_text(TURN, &format!("{ride} status forum")).await;
    facts.tell(completed.is_ok(), "and words of a thread's title", line_with(&shell.screen(), " status"));
    let line = "\x15RIDE ls --json | grep -c '\"rideable\": true'; RIDE ls | wc -l; RIDE ls --json | head -c 1; echo; RIDE ls nosuch; echo code=$?\r";
    shell.send(line.replace("RIDE", &ride).as_bytes())?;
    let piped = shell.wait_for_text(TURN, "code=0").await?;
    facts.tell(piped.contains("\n3\n4\n{\n"), "what it prints is taken by a pipe", line_with(&piped, "none of the"));
    Ok(())
}

/// How many threads the picker says there are.
fn listed(screen: &str) -> usize {
    let first = screen.lines().next().unwrap_or_default();
    first.split_whitespace().next_back().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The selected line's number, and what it says but for its age.
fn selected(picker: &Terminal) -> (usize, String) {
    let screen = picker.screen();
    let found = screen.lines().enumerate().find(|(_, line)| line.contains('▸'));
    let (at, line) = found.unwrap_or((0, ""));
    let line = line.split('│').next().unwrap_or_default();
    (at, line.split_whitespace().skip(2).collect::<Vec<_>>().join(" "))
}

/// A shell on the gateway's machine that finds `ride` by its name.
fn shell(stage: &Stage<'_>) -> Result<Terminal> {
    let mut program = Program::new("/bin/bash", stage.gateway.workspace()).args(["--norc", "--noprofile", "-i"]);
    let mut path = "/usr/bin:/bin".to_owned();
    for (name, value) in stage.gateway.environment() {
        if name == "PATH" {
            path.clone_from(value);
        }
        program = program.env(name, value);
    }
    let bin = stage.product.ride.parent().map(|bin| bin.display().to_string()).unwrap_or_default();
    program.env("PATH", format!("{bin}:{path}")).env("TERM", "xterm-256color").env("PS1", "> ").start()
}
