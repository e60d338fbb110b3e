//! Finished turns are mirrored, of the agent and of a ride, across a crash of the gateway;
//! a Claude session is brought back from the mirror elsewhere, and goes on there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use super::stage::{Stage, TURN, line_with, said};
use super::{Facts, Product};
use crate::claude::{self, ClaudeCode};
use crate::error::{Doing as _, Error, Result};
use crate::peers::Peer;
use crate::telegram::{Person, Place};
use crate::wait::{poll_until, settled};

const FORUM: i64 = -1_002_222_222_222;

struct Mirror<'p> {
    stage: Stage<'p>,
    plans: Place,
    session: String,
    /// The agent's own transcript.
    transcript: PathBuf,
    dir: PathBuf,
}

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001], json!({ "syncMirrorDir": "~/claude-mirror" })).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let (session, transcript) = stage.begun(&plans, &format!("agent:main:telegram:group:{FORUM}:topic:42")).await?;
    let dir = stage.gateway.home().join("claude-mirror");
    let mut m = Mirror { stage, plans, session, transcript, dir };
    m.ridden(facts).await?;
    m.agent(facts).await?;
    m.crashed(facts).await?;
    m.restored(facts).await?;
    m.pruned(facts).await
}

impl Mirror<'_> {
    fn says(&self, text: &str) {
        self.stage.telegram.says(&Person::tess(), &self.plans, text);
    }

    /// Has the agent answer, and waits until its transcript has the answer.
    async fn asks(&self, text: &str) -> Result<()> {
        self.says(text);
        self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {text}")).await.map(drop)
    }

    /// What of the session counts; `None` where nothing does.
    fn counts(&self) -> Option<(Value, String)> {
        let folder = self.dir.join(&self.session);
        let about: Value = serde_json::from_slice(&fs::read(folder.join("about.json")).ok()?).ok()?;
        let text = fs::read(folder.join(about["transcript"].as_str()?)).ok()?;
        let size = usize::try_from(about["size"].as_u64()?).ok()?;
        Some((about, String::from_utf8_lossy(text.get(..size)?).into_owned()))
    }

    /// Waits until an answer is mirrored; whether what counts is a beginning of the transcript.
    async fn mirrored(&self, facts: &mut Facts, answer: &str, fact: &str) -> Result<()> {
        let found =
            poll_until("the turn in the mirror", TURN, || self.counts().filter(|(_, text)| text.contains(answer)))
                .await;
        let source = fs::read_to_string(&self.transcript).unwrap_or_default();
        let (holds, seen) = match &found {
            Ok((about, text)) => (
                source.starts_with(text.as_str()) && text.ends_with('\n'),
                format!("{} of {} bytes in {}, of {:?}", text.len(), source.len(), about["transcript"], about["title"]),
            ),
            Err(e) => (false, format!("{e}; {}", line_with(&self.stage.gateway.log(), "not mirrored"))),
        };
        facts.tell(holds, fact, seen);
        Ok(())
    }

    async fn ridden(&self, facts: &mut Facts) -> Result<()> {
        facts.tell(
            self.counts().is_none(),
            "a thread nobody claimed yet is not mirrored",
            format!(
                "{} is {}",
                self.session,
                if self.dir.exists() { "not in the mirror" } else { "nowhere: there is no mirror" }
            ),
        );
        let mut ride = self.stage.drive(&["forum", "topic:42"]).await?;
        ride.submit("first from the terminal").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: first from the terminal").await?;
        self.mirrored(facts, "]: first from the terminal", "a turn of a ride is mirrored while it goes on").await?;
        let (code, told) = self.outcome(&self.stage.run(&["sync", "restore", &self.session[..8]]).await?);
        facts.tell(code == 4 && told.contains("has Claude session"), "a session that is ridden is not restored", told);
        ride.submit(r#"::tool Agent {"description":"look around","prompt":"words of the subagent","subagent_type":"general-purpose"}"#).await?;
        let subagents = self.dir.join(&self.session).join("subagents");
        let said = poll_until("the subagent's file in the mirror", TURN, || {
            let mut files = fs::read_dir(&subagents).into_iter().flatten().flatten().map(|entry| entry.path());
            files.find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("words of the subagent")))
        });
        let said = said.await.map_err(|e| format!("{e}; its tools: {}", line_with(&ride.screen(), "ool")));
        let seen = said
            .as_ref()
            .map_or_else(Clone::clone, |path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        facts.tell(said.is_ok(), "what a subagent did is mirrored beside it", seen);
        let code = self.stage.leave(&mut ride).await?;
        facts.tell(code == 0, "the ride is handed back as ever", format!("exit {code}"));
        Ok(())
    }

    async fn agent(&self, facts: &mut Facts) -> Result<()> {
        self.asks("what about the PAPAYA?").await?;
        self.mirrored(facts, "]: what about the PAPAYA?", "a turn of the agent is mirrored once the thread was ridden")
            .await?;
        let status = self.stage.json(&["sync", "status", "--verify", "--json"]).await?;
        let row = &status["sessions"][0];
        let right = row["session"] == self.session
            && row["whole"] == true
            && row["title"].as_str().is_some_and(|t| t.contains("Forum"))
            && row["lines"].as_u64() > Some(4);
        facts.tell(right, "`ride sync status` finds the gateway's mirror, and it is whole, line by line", row);
        let condition = self.stage.json(&["config", "--json"]).await?["gateway"]["condition"]["mirror"].take();
        facts.tell(
            condition["threads"] == 1 && condition["trouble"].is_null() && condition["mirroredMs"].as_u64() > Some(0),
            "`ride_config` tells how the mirror is",
            condition,
        );
        let private = [&self.dir, &self.dir.join(&self.session), &self.dir.join(&self.session).join("about.json")]
            .map(|path| mode(path));
        facts.tell(
            private == [0o700, 0o700, 0o600],
            "and nobody else can read it",
            private.map(|mode| format!("{mode:o}")).join(" "),
        );
        Ok(())
    }

    /// The gateway is killed in a turn.
    async fn crashed(&mut self, facts: &mut Facts) -> Result<()> {
        // A turn of a ride: what a host makes of a crash in a turn of its own is not what is
        // looked at, and 2026.9 may run that turn again while the thread is claimed.
        let mut ride = self.stage.drive(&["forum", "topic:42"]).await?;
        ride.submit("::gate crash").await?;
        self.stage.anthropic.wait_for_prompt(TURN, "::gate crash").await?;
        self.stage.gateway.crash()?;
        let dir = self.dir.to_string_lossy().into_owned();
        let output = self.stage.run(&["sync", "status", "--verify", "--dir", &dir]).await?;
        let text = said(&output).replace('\n', " ");
        facts.tell(
            output.status.success() && text.contains("whole"),
            "killed in a turn, the gateway leaves a whole mirror, which needs no gateway to be read",
            text,
        );
        self.stage.anthropic.open_gate("crash");
        self.stage.gateway.start().await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: ::gate crash").await?;
        ride.submit("after the crash").await?;
        ride.wait_for(TURN, |screen| screen.contains("]: after the crash")).await?;
        self.mirrored(facts, "]: after the crash", "after its restart it goes on where it stopped").await?;
        let (about, _) =
            self.counts().ok_or_else(|| Error::Peer { what: "the mirror".into(), said: "nothing counts".into() })?;
        facts.tell(about["transcript"] == "transcript.jsonl", "in the same file", &about["transcript"]);
        self.stage.leave(&mut ride).await.map(drop)
    }

    async fn restored(&mut self, facts: &mut Facts) -> Result<()> {
        self.stage.gateway.stop().await;
        poll_until("the gateway's Claude to be gone", TURN, || {
            self.stage.gateway.claude_processes().is_empty().then_some(())
        })
        .await?;
        let here = self.at(self.stage.gateway.home(), &self.stage.gateway.claude_dir(), &["forum", "topic:42"]).await?;
        let told = said(&here).replace('\n', " ");
        facts.tell(
            here.status.success() && told.contains("is here already"),
            "where it is already, nothing is changed",
            told,
        );

        let home = self.stage.gateway.home().join("second-home");
        let config = home.join(".claude");
        let folder = self.stage.gateway.workspace();
        let (code, told) =
            self.outcome(&self.at(&home, &config, &["forum", "topic:42", "--into", "/no/such/folder"]).await?);
        facts.tell(
            code == 10 && told.contains("/no/such/folder is not on this machine"),
            "a project folder that is not there is named",
            told,
        );
        let output = self.at(&home, &config, &["forum", "topic:42"]).await?;
        facts.tell(
            output.status.success(),
            "it is restored into a second home by words of its thread",
            said(&output).replace('\n', " "),
        );
        // Not the gateway's `claude`, which is told where the gateway has its sessions.
        let peer = Peer::claude_code(&self.stage.product.claude_code);
        let elsewhere = ClaudeCode::version(peer, &self.stage.anthropic, &home, &folder).await?;
        let mut terminal = elsewhere.args(["--resume", self.session.as_str()]).start().await?;
        terminal.submit("do you remember?").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "do you remember?").await?;
        let words = ["the code word is MANGO", "first from the terminal", "what about the PAPAYA?", "after the crash"];
        let saw = words.iter().filter(|word| turn.saw(word)).count();
        facts.tell(
            turn.session() == Some(&self.session) && saw == words.len(),
            "`claude --resume` there goes on with every turn",
            format!("session {}, {saw} of {} turns", turn.session().unwrap_or("none"), words.len()),
        );
        terminal.wait_for(TURN, |screen| screen.contains("]: do you remember?")).await?;
        let (code, told) = self.outcome(&self.at(&home, &config, &["forum", "topic:42"]).await?);
        facts.tell(code == 4, "while it is open there, it is not restored", told);
        self.stage.rests().await?;
        terminal.submit("/exit").await?;
        terminal.wait_exit(TURN).await?;

        let there = claude::transcript(&config, &self.session)
            .ok_or_else(|| Error::Peer { what: "the restored transcript".into(), said: "not there".into() })?;
        let output = self.at(&home, &config, &["forum", "topic:42"]).await?;
        let told = said(&output).replace('\n', " ");
        facts.tell(
            output.status.success() && told.contains("goes on further"),
            "what went on there is left as it is",
            told,
        );
        let changed =
            fs::read_to_string(&there).doing(|| "read the restored transcript".into())?.replacen("MANGO", "LEMON", 1);
        fs::write(&there, &changed).doing(|| "change it".into())?;
        let (code, told) = self.outcome(&self.at(&home, &config, &["forum", "topic:42"]).await?);
        let untouched = fs::read_to_string(&there).is_ok_and(|text| text == changed);
        facts.tell(code == 10 && untouched, "one that is another is not overwritten", told);
        Ok(())
    }

    async fn pruned(&mut self, facts: &mut Facts) -> Result<()> {
        let dir = self.dir.to_string_lossy().into_owned();
        let prune = ["sync", "prune", "--older-than", "30", "--json", "--dir", &dir];
        self.stage.gateway.start().await?;
        // What was finished before it was stopped is mirrored by its first look.
        let looked = settled(
            TURN,
            async || self.stage.json(&["config", "--json"]).await,
            |told| told["gateway"]["condition"]["mirror"]["threads"] == 1,
        );
        looked.await?;
        self.stage.rests().await?;
        let none = self.stage.json(&prune).await?;
        // As if its last turn were long ago.
        let path = self.dir.join(&self.session).join("about.json");
        let (mut about, _) =
            self.counts().ok_or_else(|| Error::Peer { what: "the mirror".into(), said: "nothing counts".into() })?;
        about["turnMs"] = json!(1);
        fs::write(&path, about.to_string()).doing(|| "write about.json".into())?;
        let gone = self.stage.json(&prune).await?;
        let left = fs::read_dir(self.dir.join(&self.session)).doing(|| "list the mirror".into())?.count();
        let right = none["pruned"].as_array().is_some_and(Vec::is_empty)
            && gone["pruned"][0]["session"] == self.session
            && left == 1;
        facts.tell(right, "what had no turn for long is pruned, and nothing else", format!("{gone}, {left} file left"));
        let mut ride = self.stage.drive(&["forum", "topic:42"]).await?;
        facts.tell(self.counts().is_none(), "it does not come back by itself", "nothing of it counts");
        ride.submit("and back again").await?;
        ride.wait_for(TURN, |screen| screen.contains("]: and back again")).await?;
        self.mirrored(facts, "]: and back again", "but with its next turn, whole").await?;
        let whole = self.stage.json(&["sync", "status", "--verify", "--json"]).await?;
        facts.tell(whole["sessions"][0]["whole"] == true, "as its chain shows", &whole["sessions"][0]);
        self.stage.leave(&mut ride).await.map(drop)
    }

    /// `ride sync restore` as somebody with another home.
    async fn at(&self, home: &Path, config: &Path, args: &[&str]) -> Result<Output> {
        let ran = tokio::process::Command::new(&self.stage.product.ride)
            .args(["sync", "restore", "--dir"])
            .arg(&self.dir)
            .args(args)
            .env_clear()
            .envs(self.stage.gateway.environment().iter().map(|(name, value)| (name, value)))
            .env("HOME", home)
            .env("CLAUDE_CONFIG_DIR", config)
            .kill_on_drop(true)
            .output();
        let failed = |cause: String| Error::Peer { what: format!("ride sync restore {}", args.join(" ")), said: cause };
        match tokio::time::timeout(TURN, ran).await {
            Ok(output) => output.map_err(|e| failed(e.to_string())),
            Err(_) => Err(failed(format!("no end within {} s", TURN.as_secs()))),
        }
    }

    fn outcome(&self, output: &Output) -> (i32, String) {
        (output.status.code().unwrap_or(-1), line_with(&said(output), "error:"))
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777)
}
