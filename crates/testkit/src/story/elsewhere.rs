//! A thread whose gateway is another machine. Both are this one: the other has namespaces of
//! its own, so that no process of the gateway's is seen and its home is not there; another
//! name; a home, a project folder and a Claude Code configuration of its own; a network that
//! reaches nothing but the model and a line that can be cut. The gateway sees it come in by the
//! address that this machine has on its network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::stage::{Stage, TURN, fingerprint, line_with, said};
use super::transcript::{chain, leaf, lines};
use super::{Facts, Product};
use crate::claude;
use crate::error::{Doing, Error, Result};
use crate::gateway::config::write_shim;
use crate::peers::Peer;
use crate::process::signal;
use crate::proxy::Proxy;
use crate::pty::{Program, Terminal};
use crate::relay::Ways;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
/// A prompt whose turn starts a subagent.
const SUBAGENT: &str =
    r#"::tool Agent {"description":"look around","prompt":"words of the subagent","subagent_type":"general-purpose"}"#;
const KEY: &str = "agent:main:telegram:group:-1002222222222:topic:42";

struct Elsewhere<'s> {
    stage: Stage<'s>,
    plans: Place,
    session: String,
    /// The gateway's transcript.
    there: PathBuf,
    line: Proxy,
    /// What its network reaches.
    ways: Ways,
    /// The gateway's certificate.
    pin: String,
    home: TempDir,
}

// Rules COPY-1, COPY-2, COPY-4, COPY-5, HAND-3.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::build(product, json!({}), |builder| builder.tls().allow(&[1001])).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let (session, there) = stage.begun(&plans, KEY).await?;
    let home = tempfile::Builder::new().prefix("ride-laptop-").tempdir().doing(|| "make a home elsewhere".into())?;
    let line = Proxy::to(stage.gateway.address_from_elsewhere()?).await?;
    let pin = fingerprint(&stage.gateway.certificate()).await?;
    let ways = Ways::to(&[line.port(), stage.anthropic.port()])?;
    let mut e = Elsewhere { stage, plans, session, there, line, ways, pin, home };
    e.furnish().await?;
    e.pair().await?;
    e.first(facts).await?;
    e.cut_in_a_pull(facts).await?;
    e.cut_in_a_turn(facts).await?;
    e.vanishes(facts).await?;
    e.apart(facts).await?;
    e.bad_input(facts).await
}

impl Elsewhere<'_> {
    /// The other machine: project folders, and a Claude Code that was set up.
    async fn furnish(&self) -> Result<()> {
        let (bin, project) = (self.home.path().join("bin"), self.project());
        for folder in [&bin, &project] {
            fs::create_dir_all(folder).doing(|| format!("create {}", folder.display()))?;
        }
        claude::seed_config(&self.config(), &[&project])?;
        let program = Peer::claude_code(&self.stage.product.claude_code).fetched().await?;
        write_shim(&bin.join("claude"), &program, &self.stage.anthropic, &self.config())
    }

    fn project(&self) -> PathBuf {
        self.home.path().join("code/app")
    }

    fn config(&self) -> PathBuf {
        self.home.path().join(".claude")
    }

    /// Its transcript of the conversation.
    fn here(&self) -> Option<PathBuf> {
        claude::transcript(&self.config(), &self.session)
    }

    fn url(&self) -> String {
        format!("wss://127.0.0.1:{}", self.line.port())
    }

    fn environment(&self) -> Vec<(String, String)> {
        let bin = self.home.path().join("bin");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
        let set = [
            ("HOME", self.home.path().display().to_string()),
            ("PATH", path),
            ("CLAUDE_CONFIG_DIR", self.config().display().to_string()),
            ("OPENCLAW_GATEWAY_TOKEN", self.stage.gateway.token().to_owned()),
            ("USER", "eva".into()),
            ("TERM", "xterm-256color".into()),
            ("LANG", "C.UTF-8".into()),
        ];
        set.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// `ride` as a command of that machine.
    fn args(&self, args: &[&str]) -> Vec<String> {
        let mut all: Vec<String> =
            ["--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"].map(str::to_owned).into();
        if !rustix::process::getuid().is_root() {
            all.extend(["--user", "--map-root-user"].map(str::to_owned));
        }
        let script = r#"mount -t tmpfs none "$1" && hostname laptop && shift && exec "$@""#;
        let there = self.stage.gateway.home().display().to_string();
        all.extend(["sh", "-c", script, "sh", &there].map(str::to_owned));
        all.extend(self.ways.args());
        all.push("--".into());
        all.push(self.stage.product.ride.display().to_string());
        all.extend(self.stage.scope().into_iter().map(str::to_owned));
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        all.extend(["--url".into(), self.url(), "--pin".into(), self.pin.clone()]);
        all
    }

    /// Runs `ride` there, without a terminal.
    async fn run(&self, args: &[&str]) -> Result<Output> {
        let ran = tokio::process::Command::new("unshare")
            .args(self.args(args))
            .current_dir(self.home.path())
            .env_clear()
            .envs(self.environment())
            .kill_on_drop(true)
            .output();
        let failed = |cause: String| Error::Peer { what: format!("ride {} elsewhere", args.join(" ")), said: cause };
        tokio::time::timeout(TURN, ran).await.map_err(|_| failed("no end".into()))?.map_err(|e| failed(e.to_string()))
    }

    /// Starts `ride` there, in a terminal.
    fn ride(&self, args: &[&str]) -> Result<Terminal> {
        let mut program = Program::new("/usr/bin/unshare", self.home.path()).args(self.args(args));
        for (name, value) in self.environment() {
            program = program.env(name, value);
        }
        program.start()
    }

    /// Rides until Claude Code takes a prompt.
    async fn drive(&self) -> Result<Terminal> {
        let ride = self.ride(&["forum", "topic:42"])?;
        ride.wait_for(TURN, claude::shows_prompt).await?;
        Ok(ride)
    }

    async fn pair(&self) -> Result<()> {
        let unknown = said(&self.run(&["ls"]).await?);
        let request =
            unknown.split_once("openclaw devices approve ").and_then(|(_, rest)| rest.split_whitespace().next());
        let request = request.ok_or_else(|| Error::Peer { what: "ride ls elsewhere".into(), said: unknown.clone() })?;
        self.stage.gateway.cli(&["devices", "approve", request]).await.map(|_| ())
    }

    fn says(&self, text: &str) {
        self.stage.telegram.says(&Person::tess(), &self.plans, text);
    }

    /// A turn typed there is in the thread and in the gateway's transcript; how long that took.
    async fn turn(&self, ride: &mut Terminal, text: &str) -> Result<Duration> {
        ride.submit(text).await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {text}")).await?;
        let told = std::time::Instant::now();
        poll_until("the turn in the gateway's transcript", TURN, || {
            has(&self.there, &format!("]: {text}")).then_some(())
        })
        .await?;
        Ok(told.elapsed())
    }

    /// The agent answers in the chat, on the thread's Claude session; whether it knew of something.
    async fn agent(&self, text: &str, knew: &str) -> Result<(bool, String)> {
        self.says(text);
        let turn = self.stage.anthropic.wait_for_prompt(TURN, text).await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, &format!("]: {text}")).await?;
        let session = turn.session().unwrap_or("none").to_owned();
        Ok((session == self.session && turn.saw(knew), session))
    }

    /// How much of the gateway's transcript is that of the other machine, byte by byte.
    fn same_bytes(&self) -> (bool, String) {
        let there = fs::read(&self.there).unwrap_or_default();
        let here = self.here().map(|path| fs::read(path).unwrap_or_default()).unwrap_or_default();
        // The longer may be written to just now.
        let synced = here.len().min(there.len());
        (
            synced > 0 && there[..synced] == here[..synced],
            format!("{} bytes here, {} at the gateway", here.len(), there.len()),
        )
    }

    /// Has the agent have the thread at once, where a driver that vanished would keep it for its lease.
    async fn take_back(&self) -> Result<()> {
        let taken = self.stage.run(&["release", KEY, "--take-back"]).await?;
        if !taken.status.success() {
            return Err(Error::Peer { what: "ride release --take-back".into(), said: said(&taken) });
        }
        self.free().await
    }

    /// Waits until the agent has the thread.
    async fn free(&self) -> Result<()> {
        let end = std::time::Instant::now() + TURN + TURN;
        loop {
            let status = self.stage.json(&["status", "--json"]).await?;
            if status["threads"].as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if std::time::Instant::now() >= end {
                return Err(Error::Peer { what: "the agent to have the thread".into(), said: status.to_string() });
            }
        }
    }

    async fn first(&mut self, facts: &mut Facts) -> Result<()> {
        let mut ride = self.ride(&["forum", "topic:42"])?;
        let asked = ride.wait_for(TURN, |screen| screen.contains("Which folder of this machine is")).await?;
        facts.tell(
            asked.contains("workspace"),
            "a project folder that is not known here is asked for",
            line_with(&asked, "Which folder"),
        );
        ride.submit("code/nowhere").await?;
        ride.wait_for(TURN, |screen| screen.contains("there is no folder")).await?;
        ride.submit("~/code/app").await?;
        ride.wait_for(TURN, claude::shows_prompt).await?;
        self.says("written during the ride");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "Your message is kept").await?;
        let late = self.turn(&mut ride, "from the laptop").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "from the laptop").await?;
        facts.tell(
            turn.session() == Some(&self.session) && turn.saw("MANGO"),
            "the conversation is brought, and the same Claude session goes on here",
            format!("session {}, saw its first turn: {}", turn.session().unwrap_or("none"), turn.saw("MANGO")),
        );
        let cwd =
            lines(&self.there).iter().rev().find_map(|l| l["cwd"].as_str().map(str::to_owned)).unwrap_or_default();
        let folder = self.project().canonicalize().unwrap_or_default();
        facts.tell(Path::new(&cwd) == folder, "Claude Code runs in the project folder of here", &cwd);
        facts.tell(
            has(&self.there, "]: from the laptop"),
            "each finished turn is pushed back",
            format!("{} ms after its answer was in the thread", late.as_millis()),
        );
        let status = self.stage.json(&["status", "--json"]).await?;
        let row = &status["threads"][0];
        facts.tell(
            row["copy"] == true && row["holder"]["host"] == "laptop",
            "`ride status` on the gateway's machine tells that it is ridden on a copy",
            &row["holder"],
        );
        ride.submit(SUBAGENT).await?;
        let file = poll_until("the subagent's file at the gateway", TURN, || subagent(&self.there)).await;
        let seen = file.as_ref().map_or_else(ToString::to_string, |path| {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        });
        facts.tell(file.is_ok(), "what a subagent did is pushed with it", seen);
        let code = self.stage.leave(&mut ride).await?;
        let held = self.stage.anthropic.wait_for_prompt(TURN, "written during the ride").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: written during the ride").await?;
        facts.tell(
            code == 0 && held.session() == Some(&self.session) && held.saw("from the laptop"),
            "it is handed back, and the agent goes on from there",
            format!(
                "exit {code}, session {}, saw the ride: {}",
                held.session().unwrap_or("none"),
                held.saw("from the laptop")
            ),
        );
        let (same, seen) = self.same_bytes();
        facts.tell(same, "both transcripts are the same bytes as far as they were synced", seen);
        let mut again = self.ride(&["forum", "topic:42"])?;
        again.wait_for(TURN, claude::shows_prompt).await?;
        let asked = again.history().contains("Which folder");
        self.turn(&mut again, "once more from the laptop").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "once more from the laptop").await?;
        facts.tell(
            !asked && turn.saw("written during the ride"),
            "the next ride asks nothing and has what the agent said since",
            format!("asked: {asked}"),
        );
        let code = self.stage.leave(&mut again).await?;
        let chain = chain(&self.there);
        let beside = chain.as_ref().map_or(usize::MAX, |chain| chain.beside);
        facts.tell(
            code == 0 && beside == 0,
            "one chain leads through both machines",
            format!("exit {code}, {} lines on it, {beside} beside it", chain.map_or(0, |c| c.ids.len())),
        );
        Ok(())
    }

    /// The line is cut while a first copy is brought; the next ride goes on with what is there.
    async fn cut_in_a_pull(&mut self, facts: &mut Facts) -> Result<()> {
        // Something that takes more than a frame: lines of no conversation, behind it.
        let mut padding = String::new();
        for n in 0..16_000 {
            let text: String = (0..24).map(|i| format!("{:x}", (n * 7_919 + i * 104_729) ^ (n << 13))).collect();
            padding.push_str(&format!(
                "{}\n",
                json!({ "type": "file-history-snapshot", "snapshot": { "n": n, "text": text.repeat(3) } })
            ));
        }
        let mut whole = fs::read_to_string(&self.there).doing(|| "read the transcript".into())?;
        whole.push_str(&padding);
        fs::write(&self.there, &whole).doing(|| "write the transcript".into())?;
        if let Some(here) = self.here() {
            fs::remove_file(&here).doing(|| "remove the copy".into())?;
            fs::remove_dir_all(here.with_extension("")).doing(|| "remove what lies beside the copy".into())?;
        }
        // Eight frames of 217 kB as they travel, four asked for at once and answered in any
        // order: after five the first is here, and all of them are not.
        self.line.cut_after_receiving(1_150_000);
        let mut ride = self.ride(&["forum", "topic:42"])?;
        let code = ride.wait_exit(TURN).await?;
        let part = self.part();
        facts.tell(
            code != 0 && part.is_some_and(|size| size > 0) && self.here().is_none(),
            "a line cut while the conversation is brought: an error, and what is here stays",
            format!(
                "exit {code}, {} of {} bytes: {}",
                part.unwrap_or(0),
                whole.len(),
                line_with(&ride.history(), "error:")
            ),
        );
        self.line.mend();
        self.take_back().await?;
        let mut ride = self.drive().await?;
        let (same, seen) = self.same_bytes();
        let beside = self.here().and_then(|here| subagent(&here));
        facts.tell(
            same && self.part().is_none() && beside.is_some(),
            "the next ride has all of it, what the subagent did as well",
            seen,
        );
        self.turn(&mut ride, "after the cut").await?;
        let code = self.stage.leave(&mut ride).await?;
        facts.tell(code == 0, "and is handed back", format!("exit {code}"));
        Ok(())
    }

    /// What is here of a first copy that is not whole.
    fn part(&self) -> Option<u64> {
        let folders = fs::read_dir(self.config().join("projects")).ok()?.flatten();
        let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
        files
            .filter(|file| file.file_name().to_string_lossy().ends_with(".incoming"))
            .find_map(|file| Some(file.metadata().ok()?.len()))
    }

    /// The line is cut under a turn, and in the middle of a push.
    async fn cut_in_a_turn(&mut self, facts: &mut Facts) -> Result<()> {
        let mut ride = self.drive().await?;
        ride.submit("::gate cut ::say said over a cut line").await?;
        self.stage.anthropic.wait_for_prompt(TURN, "::gate cut").await?;
        self.line.cut();
        self.stage.anthropic.open_gate("cut");
        let answered = ride
            .wait_for(TURN, |screen| screen.contains("said over a cut line") && screen.contains("connection lost"))
            .await;
        let pushed = has(&self.there, "said over a cut line");
        self.line.mend();
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "said over a cut line").await?;
        poll_until("the turn in the gateway's transcript", TURN, || {
            has(&self.there, "\"said over a cut line").then_some(())
        })
        .await?;
        facts.tell(
            answered.is_ok() && !pushed,
            "a turn under which the line is cut is pushed when it is mended",
            line_with(&ride.screen(), "⇄"),
        );
        // So much of the push gets through that its answer does not.
        self.line.cut_after_sending(900);
        ride.submit("::gate half ::say half of it was sent").await?;
        self.stage.anthropic.wait_for_prompt(TURN, "::gate half").await?;
        self.stage.anthropic.open_gate("half");
        poll_until("the line to be cut", TURN, || self.line.is_cut().then_some(())).await?;
        self.line.mend();
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "half of it was sent").await?;
        // And in the release: with the last lines, or in its answer.
        self.line.cut_after_sending(1_000);
        self.stage.rests().await?;
        ride.submit("/exit").await?;
        poll_until("the line to be cut", TURN, || self.line.is_cut().then_some(())).await?;
        self.line.mend();
        let code = ride.wait_exit(TURN).await?;
        let (same, seen) = self.same_bytes();
        let count = lines(&self.there)
            .iter()
            .filter(|l| l["type"] == "assistant" && l["message"].to_string().contains("half of it was sent"))
            .count();
        facts.tell(
            code == 0 && same && count == 1,
            "a line cut in a push and in a release: both end at the same leaf, each line once",
            format!("exit {code}, {seen}, {count} times"),
        );
        let (knew, session) = self.agent("did you hear that?", "half of it was sent").await?;
        facts.tell(knew, "and the agent goes on from there", session);
        Ok(())
    }

    /// The driver vanishes with a turn that was not pushed; it is offered when it returns.
    async fn vanishes(&mut self, facts: &mut Facts) -> Result<()> {
        self.only_here("only-on-the-laptop").await?;
        self.free().await?;
        facts.tell(
            !has(&self.there, "only-on-the-laptop"),
            "a driver that vanishes leaves what it had pushed, whole",
            format!("leaf {}", leaf(&self.there).unwrap_or_default()),
        );
        let mut ride = self.ride(&["forum", "topic:42"])?;
        let asked = ride.wait_for(TURN, |screen| screen.contains("never reached the gateway")).await?;
        facts.tell(
            asked.contains("only-on-the-laptop"),
            "what it had not is offered when it returns",
            line_with(&asked, "never reached"),
        );
        ride.submit("y").await?;
        ride.wait_for(TURN, claude::shows_prompt).await?;
        poll_until("it in the gateway's transcript", TURN, || has(&self.there, "only-on-the-laptop").then_some(()))
            .await?;
        let code = self.stage.leave(&mut ride).await?;
        let (knew, session) = self.agent("and that?", "only-on-the-laptop").await?;
        let (same, seen) = self.same_bytes();
        facts.tell(
            code == 0 && knew && same,
            "taken along, it is the agent's too",
            format!("exit {code}, session {session}, {seen}"),
        );
        Ok(())
    }

    /// A turn that is on the laptop alone: the line is cut, then `ride` killed.
    async fn only_here(&self, text: &str) -> Result<()> {
        let mut ride = self.drive().await?;
        ride.submit(&format!("::gate {0} ::say {0}", text.replace(' ', "-"))).await?;
        let gate = text.replace(' ', "-");
        self.stage.anthropic.wait_for_prompt(TURN, &gate).await?;
        self.line.cut();
        self.stage.anthropic.open_gate(&gate);
        let here = self.here().ok_or_else(|| Error::Peer { what: "the copy".into(), said: "it is gone".into() })?;
        poll_until("the answer on the laptop", TURN, || {
            lines(&here)
                .iter()
                .any(|l| l["type"] == "assistant" && l["message"].to_string().contains(&gate))
                .then_some(())
        })
        .await?;
        let pid = ride.pid().unwrap_or_default();
        signal(pid, Signal::KILL);
        ride.wait_exit(TURN).await?;
        self.line.mend();
        Ok(())
    }

    /// Both sides went on: nothing is changed, and a person says which branch is kept.
    async fn apart(&mut self, facts: &mut Facts) -> Result<()> {
        for (keep, turn, agent) in [
            ("there", "lost on the laptop", "the agent went on"),
            ("here", "kept on the laptop", "the agent went astray"),
        ] {
            self.only_here(turn).await?;
            self.take_back().await?;
            self.agent(agent, "MANGO").await?;
            let here = self.here().ok_or_else(|| Error::Peer { what: "the copy".into(), said: "it is gone".into() })?;
            let before = (fs::read(&here).unwrap_or_default(), fs::read(&self.there).unwrap_or_default());
            let mut ride = self.ride(&["forum", "topic:42"])?;
            let code = ride.wait_exit(TURN).await?;
            let text = ride.history();
            self.free().await?;
            // The gateway's own Claude Code, ended by the claim, says there which leaf was its last.
            let untouched = fs::read(&here).is_ok_and(|now| now == before.0)
                && fs::read(&self.there).is_ok_and(|now| now.starts_with(&before.1));
            let named = |side: &str| {
                let line = line_with(&text, side);
                let leaf = line
                    .split_once("leaf ")
                    .map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default())
                    .to_owned();
                (leaf, line)
            };
            let ((leaf_here, line_here), (leaf_there, line_there)) =
                (named("on this machine:"), named("at the gateway:"));
            let of = |path: &Path, leaf: &str| lines(path).iter().any(|l| l["uuid"] == *leaf);
            let leaves = of(&here, &leaf_here)
                && !of(&self.there, &leaf_here)
                && of(&self.there, &leaf_there)
                && !of(&here, &leaf_there);
            let shown = leaves && line_here.contains(&turn.replace(' ', "-")) && line_there.contains(agent);
            facts.tell(
                code == 10 && untouched && shown,
                "copies that went apart are refused with both leaves and their last prompts, and stay as they are",
                format!("exit {code}, {line_here} / {line_there}"),
            );
            let kept = if keep == "there" { &leaf_there } else { &leaf_here };
            let repaired = self.run(&["repair", KEY, "--keep", kept]).await?;
            self.free().await?;
            let aside =
                fs::read_dir(here.parent().unwrap_or(Path::new("/"))).into_iter().flatten().flatten().any(|f| {
                    f.file_name().to_string_lossy().contains(".aside-")
                        && fs::read(f.path()).is_ok_and(|bytes| bytes == before.0)
                });
            let (same, seen) = self.same_bytes();
            facts.tell(
                repaired.status.success()
                    && aside
                    && same
                    && fs::read(&self.there).is_ok_and(|bytes| bytes.starts_with(&before.1)),
                &format!("`ride repair --keep` goes on with the branch of {keep}, and keeps the other aside"),
                format!("{}, {seen}", said(&repaired).trim().replace('\n', " / ")),
            );
            let mut ride = self.drive().await?;
            let prompt = format!("after the repair, {keep}");
            self.turn(&mut ride, &prompt).await?;
            let knew = self.stage.anthropic.wait_for_prompt(TURN, &prompt).await?;
            // What the model said: 2026.6.1 tells the agent what stood in the chat, of either branch.
            let said = |text: &str| knew.texts().any(|(role, said)| role == "assistant" && said.contains(text));
            let saw = (said(&turn.replace(' ', "-")), said(agent));
            let right = saw == (keep == "here", keep == "there");
            let code = self.stage.leave(&mut ride).await?;
            let (agent_too, session) = self.agent(&format!("and the agent, {keep}?"), &prompt).await?;
            facts.tell(code == 0 && right && agent_too, "and both machines go on with that one", format!("exit {code}, session {session}, the model saw (here, there): {saw:?}, and what came after it: {agent_too}"));
        }
        Ok(())
    }

    async fn bad_input(&mut self, facts: &mut Facts) -> Result<()> {
        let project = self.project();
        let moved = project.with_extension("moved");
        fs::rename(&project, &moved).doing(|| "move the project".into())?;
        let mut ride = self.ride(&["forum", "topic:42"])?;
        let code = ride.wait_exit(TURN).await?;
        facts.tell(
            code == 2 && ride.history().contains("projects.json"),
            "a project folder that is gone is named, with what says so",
            line_with(&ride.history(), "error:"),
        );
        self.free().await?;
        fs::rename(&moved, &project).doing(|| "move the project back".into())?;
        let known = self.home.path().join(".local/state/ride/projects.json");
        fs::write(&known, "{ \"wss://x\": 5 }").doing(|| "write the map".into())?;
        let mut ride = self.ride(&["forum", "topic:42"])?;
        let code = ride.wait_exit(TURN).await?;
        facts.tell(
            code == 13 && ride.history().contains("line 1"),
            "a map that cannot be read is named, with the line",
            line_with(&ride.history(), "error:"),
        );
        self.free().await?;
        let listed: Value = self.stage.json(&["ls", "--json"]).await?;
        let rideable = listed["rows"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["key"] == KEY && row["rideable"] == true));
        facts.tell(rideable, "each time the thread comes back", rideable);
        Ok(())
    }
}

/// The file of the subagent beside a transcript.
fn subagent(transcript: &Path) -> Option<PathBuf> {
    let mut files =
        fs::read_dir(transcript.with_extension("").join("subagents")).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| has(path, "words of the subagent"))
}

fn has(transcript: &Path, text: &str) -> bool {
    fs::read_to_string(transcript).is_ok_and(|content| content.contains(text))
}
