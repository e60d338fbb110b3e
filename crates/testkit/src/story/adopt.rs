//! A Claude session that began in a terminal becomes a thread's conversation: the thread's
//! next message resumes it, in its own project folder, and it can be undone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{Stage, TURN, line_with, said};
use super::transcript::{chain, lines};
use super::{Facts, Product};
use crate::claude;
use crate::error::{Doing as _, Result};
use crate::pty::Key;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;

struct Adopt<'s> {
    stage: &'s Stage<'s>,
    plans: Place,
    other: Place,
}

// Rule LEASE-17.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = &Stage::open(product, &[1001], json!({})).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let other = Place::topic(FORUM, "Forum", 43, "Other");
    let (before, transcript) = stage.begun(&plans, &format!("agent:main:telegram:group:{FORUM}:topic:42")).await?;
    stage.telegram.says(&Person::tess(), &other, "hello other topic");
    stage.telegram.wait_for_bot(&other, TURN, "]: hello other topic").await?;
    let a = Adopt { stage, plans, other };

    // A conversation in a folder that is not the agent's.
    let folder = stage.gateway.home().join("project");
    fs::create_dir_all(&folder).doing(|| "make a project folder".into())?;
    claude::seed_config(&stage.gateway.claude_dir(), &[&folder])?;
    let mut terminal = stage.in_terminal("claude", &folder, &[])?;
    terminal.wait_for(TURN, claude::shows_prompt).await?;
    // Not at once: 2.1.197 now and then writes an answer at once before its prompt, and until
    // that Claude Code is left nobody could go on with both.
    terminal.submit("the secret is PLUM ::sleep 1").await?;
    let asked = stage.anthropic.wait_for_prompt(TURN, "the secret is PLUM").await?;
    let born = asked.session().unwrap_or_default().to_owned();
    terminal.wait_for(TURN, |screen| screen.contains("]: the secret is PLUM")).await?;

    let file = poll_until("its transcript", TURN, || claude::transcript(&stage.gateway.claude_dir(), &born)).await?;
    poll_until("the turn in its transcript", TURN, || {
        chain(&file).filter(|c| c.texts.iter().any(|t| t.contains("]: the secret is PLUM")))
    })
    .await?;
    let (code, told) = a.adopts(&born, &a.plans).await?;
    facts.tell(
        code == 4 && told.contains("has the Claude session open"),
        "one that a Claude Code has open is not adopted, and its process is named",
        told,
    );
    a.chosen(facts).await?;
    stage.rests().await?;
    terminal.submit("/exit").await?;
    terminal.wait_exit(TURN).await?;

    let listed = stage.json(&["adopt", "--json"]).await?;
    let row =
        listed.as_array().and_then(|all| all.iter().find(|one| one["session"] == born)).cloned().unwrap_or_default();
    let right = row["cwd"].as_str().is_some_and(|cwd| cwd.ends_with("project"))
        && row["lastPrompt"] == "the secret is PLUM ::sleep 1"
        && row["live"] == false;
    facts.tell(right, "`ride adopt` lists it with its project and its last prompt", &row);

    let output = stage.run(&["adopt", "--session", &born[..8], "--to", "forum", "topic:42"]).await?;
    let told = said(&output).replace('\n', " ");
    facts.tell(
        output.status.success() && told.contains(&before),
        "it is adopted by the beginning of its id, and what was there before is named",
        told,
    );
    a.says("what about the PAPAYA?");
    stage.telegram.wait_for_bot(&a.plans, TURN, "]: what about the PAPAYA?").await?;
    let turn = stage.anthropic.wait_for_prompt(TURN, "what about the PAPAYA?").await?;
    facts.tell(
        turn.session() == Some(&born) && turn.saw("PLUM"),
        "the thread's next message resumes it",
        format!("session {}, saw its first turn: {}", turn.session().unwrap_or("none"), turn.saw("PLUM")),
    );
    for n in 1..=3 {
        a.says(&format!("and turn {n}"));
        stage.telegram.wait_for_bot(&a.plans, TURN, &format!("]: and turn {n}")).await?;
    }
    let last = stage.anthropic.wait_for_prompt(TURN, "and turn 3").await?;
    let grown = poll_until("the last turn in its file", TURN, || {
        chain(&file).filter(|c| c.texts.iter().any(|t| t.contains("and turn 3")))
    })
    .await;
    let one = grown.as_ref().is_ok_and(|c| c.beside == 0 && c.texts.iter().any(|t| t.contains("PLUM")));
    facts.tell(
        last.session() == Some(&born) && one,
        "and stays on it, in its own file, one chain",
        grown.map_or_else(|e| e.to_string(), |c| format!("{} lines on it, {} beside it", c.ids.len(), c.beside)),
    );

    let (code, told) = a.adopts(&born, &a.other).await?;
    facts.tell(code == 4 && told.contains("bound to another thread"), "it is not adopted by a second thread", told);
    a.ridden(facts, &file).await?;
    a.unfit(facts, &file, &folder).await?;

    let output = stage.run(&["adopt", "--undo", "--to", "forum", "topic:42"]).await?;
    a.says("and now the KIWI");
    stage.telegram.wait_for_bot(&a.plans, TURN, "]: and now the KIWI").await?;
    let turn = stage.anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    let back = output.status.success() && turn.session() == Some(&before) && !turn.saw("PLUM");
    facts.tell(
        back,
        "--undo brings back what the thread had",
        format!("{} / session {}", said(&output).replace('\n', " "), turn.session().unwrap_or("none")),
    );
    let whole = poll_until("the last turn in the transcript", TURN, || {
        chain(&transcript).filter(|c| c.texts.iter().any(|t| t.contains("KIWI")))
    })
    .await;
    facts.tell(
        whole.as_ref().is_ok_and(|c| c.beside == 0),
        "with one chain",
        whole.map_or_else(|e| e.to_string(), |c| format!("{} beside it", c.beside)),
    );
    Ok(())
}

impl Adopt<'_> {
    fn says(&self, text: &str) {
        self.stage.telegram.says(&Person::tess(), &self.plans, text);
    }

    /// The picker over the Claude sessions of this machine, one of them open.
    async fn chosen(&self, facts: &mut Facts) -> Result<()> {
        let mut picker = self.stage.ride(&["adopt"])?;
        picker.wait_for(TURN, |screen| screen.contains("open in process")).await?;
        // Not always the last one used: the agent's Claude Code may write after it.
        picker.type_text("plum").await?;
        let shown = picker
            .wait_for(TURN, |screen| {
                screen.contains(" 1 of ") && screen.contains("open in process") && screen.contains("the secret is PLUM")
            })
            .await;
        facts.tell(
            shown.is_ok(),
            "`ride adopt` finds it by its words, with its last prompt, and as open",
            line_with(&picker.screen(), "PLUM"),
        );
        picker.press(Key::Enter)?;
        let told = picker.wait_for(TURN, |screen| screen.contains("it is open in a Claude Code")).await;
        facts.tell(
            told.is_ok(),
            "it is not chosen while it is open, and the reason is told",
            line_with(&picker.screen(), "it is open in"),
        );
        picker.press(Key::Escape)?;
        let code = picker.wait_exit(TURN).await?;
        facts.tell(code == 130, "Escape leaves", format!("exit {code}"));
        Ok(())
    }

    async fn adopts(&self, session: &str, place: &Place) -> Result<(i32, String)> {
        let (code, told) = self.adopt(session, place).await?;
        Ok((code, line_with(&told, "error:")))
    }

    /// The same, with all that is said.
    async fn adopt(&self, session: &str, place: &Place) -> Result<(i32, String)> {
        let topic = format!("topic:{}", place.topic.unwrap_or_default());
        let output = self.stage.run(&["adopt", "--session", session, "--to", "forum", &topic]).await?;
        Ok((output.status.code().unwrap_or(-1), said(&output)))
    }

    /// A thread that is ridden adopts nothing.
    async fn ridden(&self, facts: &mut Facts, file: &Path) -> Result<()> {
        let mut ride = self.stage.drive(&["forum", "topic:43"]).await?;
        // A free one, so that the ride is all that is in the way.
        let (id, path) = copy(file, &|_| {})?;
        let (code, told) = self.adopts(&id, &self.other).await?;
        fs::remove_file(path).doing(|| "remove a transcript".into())?;
        facts.tell(code == 4 && told.contains("ridden by ada"), "a ridden thread adopts nothing", told);
        let (code, told) = self.adopts(&Uuid::nil().to_string(), &self.other).await?;
        facts.tell(code == 3, "an id that nobody has is no session", told);
        self.stage.leave(&mut ride).await.map(drop)
    }

    /// Transcripts that the host does not go on with as they are.
    async fn unfit(&self, facts: &mut Facts, file: &Path, folder: &Path) -> Result<()> {
        let talk = |line: &Value| line["type"] == "user" || line["type"] == "assistant";
        // Claude Code goes on with it, without what was before.
        let damaged = copy(file, &|all| {
            let second = all.iter().enumerate().filter(|(_, line)| talk(line)).map(|(at, _)| at).nth(1).unwrap_or(0);
            all[second]["parentUuid"] = Uuid::new_v4().to_string().into();
        })?;
        let (code, told) = self.adopt(&damaged.0, &self.other).await?;
        let note = line_with(&told, "a part of its history is missing");
        facts.tell(
            code == 0 && note.contains("note:"),
            "one whose history is missing in part is adopted, and it is said",
            told,
        );
        let waits = copy(file, &|all| {
            let last = all.iter().rposition(|line| line["type"] == "assistant").unwrap_or(0);
            all[last]["message"]["content"] = json!([{ "type": "tool_use", "id": "t1", "name": "Bash", "input": {} }]);
            all[last]["message"]["stop_reason"] = "tool_use".into();
        })?;
        let (code, told) = self.adopts(&waits.0, &self.other).await?;
        facts.tell(code == 10 && told.contains("tool call"), "one that waits for a tool is refused", told);
        for (_, path) in [damaged, waits] {
            fs::remove_file(path).doing(|| "remove a transcript".into())?;
        }
        let whole = copy(file, &|_| {})?;
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).doing(|| "move the project folder".into())?;
        let adopted = self.adopts(&whole.0, &self.other).await;
        fs::rename(&aside, folder).doing(|| "move the project folder back".into())?;
        let (code, told) = adopted?;
        facts.tell(code == 10 && told.contains("folder"), "so is one whose project folder is gone", told);
        fs::remove_file(whole.1).doing(|| "remove a transcript".into())
    }
}

/// A transcript under an id of its own, in the same project.
fn copy(file: &Path, change: &dyn Fn(&mut Vec<Value>)) -> Result<(String, PathBuf)> {
    let id = Uuid::new_v4().to_string();
    let mut all = lines(file);
    change(&mut all);
    let path = file.with_file_name(format!("{id}.jsonl"));
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).doing(|| "write a transcript".into())?;
    Ok((id, path))
}
