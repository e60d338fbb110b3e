//! The Claude Code plugin installed for good, in every Claude Code of the gateway's machine:
//! the gateway's own child, a ride's, and plain ones. What a plain one may do with the
//! conversation of a thread, and how its own becomes one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::stage::{Stage, TURN, claude_of, line_with, plain, said};
use super::transcript::chain;
use super::{Facts, Product};
use crate::claude;
use crate::client::Client;
use crate::error::{Doing as _, Error, Result};
use crate::process::Process;
use crate::pty::Terminal;
use crate::telegram::{Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
const PLUGIN: &str = "openclaw-session-sync";

struct Guard<'s> {
    stage: &'s Stage<'s>,
    plans: Place,
    other: Place,
    /// Of the first thread.
    session: String,
    transcript: PathBuf,
}

// Rules LEASE-18, LEASE-19, OPEN-1, OPEN-2, OPEN-3, OPEN-5, OPEN-7.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = &Stage::open(product, &[1001], json!({})).await?;
    install(stage).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let (session, transcript) = stage.begun(&plans, &key(42)).await?;
    let other = Place::topic(FORUM, "Forum", 43, "Other");
    stage.telegram.says(&Person::tess(), &other, "hello other topic");
    stage.telegram.wait_for_bot(&other, TURN, "]: hello other topic").await?;
    stage.rideable(&[&key(42), &key(43)]).await?;
    // None was seen after a turn on 2026.7.1 and 2026.6.35, one for each thread on the others.
    let children = stage.gateway.claude_processes().len();
    facts.tell(true, "the gateway's own Claude Codes, which load it, answer their threads, and these can be ridden while they are warm", format!("{children} children"));
    let g = Guard { stage, plans, other, session, transcript };
    g.in_use(facts).await?;
    g.ridden(facts).await?;
    g.adopted(facts).await
}

fn key(topic: i64) -> String {
    format!("agent:main:telegram:group:{FORUM}:topic:{topic}")
}

/// Installs the plugin's folder as a person does, and `ride` where its hooks find it.
async fn install(stage: &Stage<'_>) -> Result<()> {
    let home = stage.gateway.home();
    let market = home.join("market");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    copy(&repository.join(".claude-plugin"), &market.join(".claude-plugin"))?;
    copy(&repository.join("plugins/claude-code"), &market.join("plugins/claude-code"))?;
    let ride = home.join("bin/ride");
    symlink(&stage.product.ride, &ride).doing(|| format!("link {}", ride.display()))?;
    for args in [vec!["marketplace", "add", "./market"], vec!["install", "openclaw-session-sync@claude-code-sync"]] {
        let ran = tokio::process::Command::new(home.join("bin/claude"))
            .arg("plugin")
            .args(&args)
            .current_dir(home)
            .env_clear()
            .envs(stage.gateway.environment().iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output();
        let what = || format!("claude plugin {}", args.join(" "));
        let broke = |cause: String| Error::Peer { what: what(), said: cause };
        let output = tokio::time::timeout(TURN, ran).await.map_err(|_| broke("no end".into()))?.doing(what)?;
        if !output.status.success() {
            return Err(broke(said(&output)));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).doing(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).doing(|| format!("read {}", from.display()))?.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).doing(|| format!("copy {}", from.display()))?;
        }
    }
    Ok(())
}

impl Guard<'_> {
    fn says(&self, place: &Place, text: &str) {
        self.stage.telegram.says(&Person::tess(), place, text);
    }

    /// A plain Claude Code in the agent's folder.
    async fn plain(&self, args: &[&str]) -> Result<Terminal> {
        let terminal = self.stage.in_terminal("claude", &self.stage.gateway.workspace(), args)?;
        terminal.wait_for(TURN, claude::shows_prompt).await?;
        Ok(terminal)
    }

    async fn leave(&self, terminal: &mut Terminal) -> Result<()> {
        self.stage.leave(terminal).await.map(drop)
    }

    async fn row(&self, topic: i64) -> Result<serde_json::Value> {
        let listed = self.stage.json(&["ls", "--json"]).await?;
        let rows = listed["rows"].as_array().cloned().unwrap_or_default();
        Ok(rows.into_iter().find(|row| row["key"] == key(topic)).unwrap_or_default())
    }

    /// A plain Claude Code has the thread's conversation open.
    async fn in_use(&self, facts: &mut Facts) -> Result<()> {
        let mut terminal = self.plain(&["--resume", &self.session]).await?;
        let noticed = terminal.wait_for(TURN, |screen| screen.contains("this conversation is that of")).await;
        facts.tell(
            noticed.is_ok() && terminal.screen().contains("then: ride"),
            "a plain Claude Code that resumes a thread nobody rides is told at once which one it is, and how to ride it",
            line_with(&terminal.screen(), "this conversation is that of"),
        );
        self.held(facts, &mut terminal).await?;
        let open = process_of(&terminal, &self.session)?;
        let row = self.row(42).await?;
        let named = row["rideable"] == false
            && row["inUse"] == open.pid
            && row["whyNot"].as_str().is_some_and(|why| why.contains(&open.pid.to_string()));
        facts.tell(
            named,
            "a session that a plain Claude Code has open shows as not rideable, with its process",
            plain(&row["whyNot"]),
        );
        let mut ride = self.stage.ride(&["forum", "topic:42"])?;
        let code = ride.wait_exit(TURN).await?;
        facts.tell(
            code == 4 && ride.screen().contains("open in a Claude Code"),
            "and is not ridden",
            format!("exit {code}: {}", line_with(&ride.screen(), "error:")),
        );
        self.leave(&mut terminal).await?;
        self.handed_over(facts).await?;
        self.stage.rideable(&[&key(42)]).await?;
        facts.tell(true, "once that is left it can be ridden", "rideable");
        self.beside_a_turn(facts).await
    }

    /// The conversation is opened while the agent answers in it: Claude Code does not see that answer.
    async fn beside_a_turn(&self, facts: &mut Facts) -> Result<()> {
        self.says(&self.plans, "take your time ::sleep 12");
        self.stage.anthropic.wait_for_prompt(TURN, "take your time").await?;
        let mut terminal = self.plain(&["--resume", &self.session]).await?;
        let stopped = |screen: &str, times| screen.matches("not sent: this conversation is that of").count() == times;
        let told = terminal.wait_for(TURN, |screen| stopped(screen, 1)).await;
        terminal.submit("typed beside the agent's turn").await?;
        let again = terminal.wait_for(TURN, |screen| stopped(screen, 2)).await;
        facts.tell(
            told.is_ok() && again.is_ok(),
            "one that is opened while the agent answers is told so, and its prompt is stopped",
            line_with(&terminal.screen(), "not sent:"),
        );
        let answered = self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: take your time").await;
        self.leave(&mut terminal).await?;
        self.stage.rideable(&[&key(42)]).await?;
        let asked = self.stage.anthropic.turns().iter().filter(|turn| turn.prompt().contains("typed beside")).count();
        // A line of the system about the stopped prompt may stand beside: what counts is what is resumed.
        self.says(&self.plans, "what took so long?");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: what took so long?").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "what took so long?").await?;
        let saw = turn.saw("take your time") && turn.saw("typed in a terminal, no ride");
        facts.tell(
            answered.is_ok() && asked == 0 && turn.session() == Some(&self.session) && saw,
            "the agent's answer is finished, and the agent goes on from it",
            format!("asked {asked} times what was stopped, saw its answer: {saw}"),
        );
        self.stage.rests().await?;
        self.stage.rideable(&[&key(42)]).await?;
        Ok(())
    }

    /// The thread's messages while its conversation is open in a terminal.
    async fn held(&self, facts: &mut Facts, terminal: &mut Terminal) -> Result<()> {
        terminal.submit("typed in a terminal, no ride").await?;
        terminal.wait_for(TURN, |screen| screen.contains("]: typed in a terminal, no ride")).await?;
        self.says(&self.plans, "written while it is open");
        let told = self.stage.telegram.wait_for_bot(&self.plans, TURN, "open in a terminal on").await;
        facts.tell(
            told.is_ok(),
            "a message of the thread waits meanwhile, and its sender is told what ends that",
            told.map_or_else(|e| e.to_string(), |shown| shown.text),
        );
        // Not at once: the channel makes one message of two that come together.
        self.says(&self.plans, "and one more");
        let mut status = String::new();
        for _ in 0..20 {
            status = said(&self.stage.run(&["status"]).await?);
            if status.contains("2 messages wait for the agent") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        facts.tell(
            status.contains("not a ride") && status.contains("2 messages wait for the agent"),
            "`ride status` shows that it is open, and is no ride",
            line_with(&status, "not a ride"),
        );
        let asked =
            self.stage.anthropic.turns().iter().filter(|turn| turn.prompt().contains("while it is open")).count();
        facts.tell(asked == 0, "the agent is asked nothing", format!("{asked} turns"));
        Ok(())
    }

    /// It was left: what waited is answered, from what was typed there on.
    async fn handed_over(&self, facts: &mut Facts) -> Result<()> {
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: and one more").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "written while it is open").await?;
        facts.tell(
            turn.session() == Some(&self.session) && turn.saw("typed in a terminal, no ride"),
            "left, what waited is handed to the agent, which goes on from what was typed there",
            format!("saw it: {}", turn.saw("typed in a terminal, no ride")),
        );
        let lines = self.stage.telegram.chat(&self.plans).lines();
        let at = |text: &str| lines.iter().position(|line| line.contains(text));
        let order = [at("]: written while it is open"), at("]: and one more")];
        let tellings = lines.iter().filter(|line| line.contains("open in a terminal on")).count();
        facts.tell(
            order[0].is_some() && order[0] < order[1] && tellings == 1,
            "in order, and the sender was told once",
            format!("answers at {order:?}, told {tellings} times"),
        );
        let whole = poll_until("the last turn in the transcript", TURN, || {
            chain(&self.transcript).filter(|c| c.texts.iter().any(|t| t.contains("and one more")))
        })
        .await;
        let typed = |texts: &[String]| texts.iter().any(|t| t.contains("typed in a terminal, no ride"));
        facts.tell(
            whole.as_ref().is_ok_and(|c| typed(&c.texts) && c.beside == 0),
            "in one chain with it, and nothing beside",
            whole.map_or_else(|e| e.to_string(), |c| format!("{} beside it", c.beside)),
        );
        Ok(())
    }

    /// The thread is ridden, and its conversation opened by others.
    async fn ridden(&self, facts: &mut Facts) -> Result<()> {
        let mut ride = self.stage.drive(&["forum", "topic:42"]).await?;
        ride.submit("typed in the ride").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: typed in the ride").await?;

        let mut other =
            self.stage.in_terminal("claude", &self.stage.gateway.workspace(), &["--resume", &self.session])?;
        let early = other.wait_for(TURN, |screen| screen.contains("ridden by ada at")).await;
        facts.tell(
            early.is_ok(),
            "a plain Claude Code that resumes it is told at once who rides it",
            line_with(&other.screen(), "ridden by"),
        );
        other.wait_for(TURN, claude::shows_prompt).await?;
        other.submit("typed beside the ride").await?;
        let stopped = other.wait_for(TURN, |screen| screen.contains("not sent:") && screen.contains("--steal")).await;
        facts.tell(
            stopped.is_ok(),
            "its prompt is stopped, with who rides it and what to do",
            line_with(&other.screen(), "not sent:"),
        );
        let printed = self.print(&["-p", "--resume", &self.session, "printed beside the ride"]).await?;
        facts.tell(
            printed.contains("ridden by ada at"),
            "so is one of `claude -p --resume`",
            line_with(&printed, "ridden by"),
        );
        let fresh = self.print(&["-p", "a plain question"]).await?;
        facts.tell(
            fresh.contains("]: a plain question"),
            "another conversation goes on as ever",
            line_with(&fresh, "a plain question"),
        );
        self.own_child(facts, &process_of(&other, &self.session)?).await?;
        self.leave(&mut other).await?;

        ride.submit("typed after the others").await?;
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: typed after the others").await?;
        let code = self.stage.leave(&mut ride).await?;
        facts.tell(
            code == 0,
            "the ride goes on and is handed back",
            format!("exit {code}: {}", line_with(&ride.screen(), "handed back")),
        );
        let asked: Vec<String> = self.stage.anthropic.turns().iter().map(|turn| turn.prompt()).collect();
        let beside = asked.iter().filter(|text| text.contains("beside the ride")).count();
        facts.tell(
            beside == 0,
            "the model was asked nothing beside the ride",
            format!("{beside} of {} turns", asked.len()),
        );
        let lines = self.stage.telegram.chat(&self.plans).lines();
        let shown = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        let counts = ["]: typed in the ride", "]: typed after the others"].map(shown);
        let prompts = ["typed in the ride", "typed after the others"]
            .map(|text| asked.iter().filter(|asked| asked.contains(text)).count());
        facts.tell(
            counts == [1, 1] && prompts == [1, 1],
            "with the plugin given to the ride too, each turn is asked once and relayed once",
            format!("answers {counts:?}, asked {prompts:?}"),
        );
        self.says(&self.plans, "what did the ride say?");
        self.stage.telegram.wait_for_bot(&self.plans, TURN, "]: what did the ride say?").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "what did the ride say?").await?;
        facts.tell(
            turn.session() == Some(&self.session) && turn.saw("typed after the others"),
            "the agent goes on from the ride's end",
            format!("saw it: {}", turn.saw("typed after the others")),
        );

        let whole = poll_until("the last turn in the transcript", TURN, || {
            chain(&self.transcript).filter(|c| c.texts.iter().any(|t| t.contains("what did the ride say?")))
        })
        .await;
        facts.tell(
            whole.as_ref().is_ok_and(|c| c.texts.iter().any(|t| t.contains("typed after the others"))),
            "in one chain with the ride's turns",
            whole.map_or_else(|e| e.to_string(), |c| format!("{} beside it", c.beside)),
        );

        // Without `ride` on the PATH a plain one is as without the plugin.
        let link = self.stage.gateway.home().join("bin/ride");
        fs::remove_file(&link).doing(|| "take ride off the PATH".into())?;
        let alone = self.print(&["-p", "a question without ride"]).await;
        symlink(&self.stage.product.ride, &link).doing(|| "put ride back".into())?;
        let alone = alone?;
        facts.tell(
            alone.contains("]: a question without ride") && !alone.contains("hook"),
            "without `ride` on the PATH a plain one is as without the plugin",
            line_with(&alone, "without ride"),
        );
        Ok(())
    }

    /// What lets the gateway's own Claude Code through, whatever is ridden.
    async fn own_child(&self, facts: &mut Facts, plain: &Process) -> Result<()> {
        // What the gateway takes for this machine's name, a ride has written down.
        let rides = self.stage.gateway.home().join(".local/state/ride/rides");
        let record = fs::read_dir(&rides).into_iter().flatten().flatten().find_map(|file| fs::read(file.path()).ok());
        let record: serde_json::Value =
            record.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let mut client = Client::connect(&self.stage.gateway).await?;
        let mut own = Vec::new();
        let child = self.stage.gateway.claude_processes().into_iter().next();
        let expected: &[(bool, bool)] = if child.is_some() { &[(true, true), (true, false)] } else { &[(true, false)] };
        for process in child.iter().chain([plain]) {
            let asked = json!({ "cliSessionId": self.session, "process": { "machine": record["process"]["machine"], "pid": process.pid, "start": process.start_ticks } });
            let answer = client
                .call("ride_check", asked)
                .await?
                .map_err(|refused| Error::Peer { what: "ride_check".into(), said: refused.to_string() })?;
            own.push((answer["ridden"] == true, answer["own"] == true));
        }
        facts.tell(
            own == expected,
            "asked about a ridden session, the gateway knows its own child from a plain one",
            format!("(ridden, own): {own:?}"),
        );
        Ok(())
    }

    /// A conversation of a plain Claude Code becomes a thread's, by its own command.
    async fn adopted(&self, facts: &mut Facts) -> Result<()> {
        let other = &self.other;
        // As people do: in a shell, which has the terminal when Claude Code is left.
        let mut shell = self.stage.in_terminal("sh", &self.stage.gateway.workspace(), &[])?;
        shell.send(b"claude\r")?;
        shell.wait_for(TURN, claude::shows_prompt).await?;
        // Not at once: 2.1.197 now and then writes an answer at once before its prompt, and until
        // that Claude Code is left nobody could go on with both.
        shell.submit("the secret is QUINCE ::sleep 1").await?;
        let asked = self.stage.anthropic.wait_for_prompt(TURN, "the secret is QUINCE").await?;
        let born = asked.session().unwrap_or_default().to_owned();
        shell.wait_for(TURN, |screen| screen.contains("]: the secret is QUINCE")).await?;
        // 2.1.197 shows an answer before it writes it down.
        let file =
            poll_until("its transcript", TURN, || claude::transcript(&self.stage.gateway.claude_dir(), &born)).await?;
        poll_until("the turn in its transcript", TURN, || {
            chain(&file).filter(|c| c.texts.iter().any(|t| t.contains("]: the secret is QUINCE")))
        })
        .await?;
        self.stage.rests().await?;
        let command = |words: &str| format!("/{PLUGIN}:adopt {words}");
        shell.submit(&command("no such thread")).await?;
        let refused = shell.wait_for(TURN, |screen| screen.contains("not adopted: no thread fits")).await;
        facts.tell(
            refused.is_ok(),
            "the adopt command of a plain Claude Code tells what stands in the way",
            line_with(&shell.screen(), "not adopted"),
        );
        self.stage.rests().await?;
        shell.submit(&command("forum topic:43")).await?;
        let noted = shell.wait_for(TURN, |screen| screen.contains("noted: once you leave Claude Code")).await;
        facts.tell(noted.is_ok(), "and notes what can be done once that is left", line_with(&shell.screen(), "noted:"));
        let status = said(&self.stage.run(&["status"]).await?);
        facts.tell(
            status.contains(&born) && status.contains("is left"),
            "`ride status` tells what waits",
            line_with(&status, "is left"),
        );
        let row = self.row(43).await?;
        facts.tell(
            row["cliSessionId"] != born.as_str(),
            "nothing is adopted while it is open",
            plain(&row["cliSessionId"]),
        );
        self.stage.rests().await?;
        shell.submit("/exit").await?;
        let told = shell.wait_for(TURN, |screen| screen.contains("goes on in Claude session")).await;
        facts.tell(told.is_ok(), "left, it is adopted, and the terminal tells so", line_with(&shell.screen(), "ride:"));
        self.says(other, "what about the PAPAYA?");
        self.stage.telegram.wait_for_bot(other, TURN, "]: what about the PAPAYA?").await?;
        let turn = self.stage.anthropic.wait_for_prompt(TURN, "what about the PAPAYA?").await?;
        facts.tell(
            turn.session() == Some(&born) && turn.saw("QUINCE"),
            "the thread's next message resumes it",
            format!("saw its first turn: {}", turn.saw("QUINCE")),
        );
        let file =
            poll_until("its transcript", TURN, || claude::transcript(&self.stage.gateway.claude_dir(), &born)).await?;
        let whole = poll_until("the last turn in it", TURN, || {
            chain(&file).filter(|c| c.texts.iter().any(|t| t.contains("PAPAYA")))
        })
        .await;
        facts.tell(
            whole.as_ref().is_ok_and(|c| c.beside == 0 && c.texts.iter().any(|t| t.contains("QUINCE"))),
            "in one chain",
            whole.map_or_else(|e| e.to_string(), |c| format!("{} beside it", c.beside)),
        );
        let status = said(&self.stage.run(&["status"]).await?);
        facts.tell(!status.contains(&born), "and nothing waits any more", status.trim().replace('\n', " "));
        let asked = self.stage.anthropic.turns().iter().filter(|turn| turn.prompt().contains(":adopt")).count();
        facts.tell(asked == 0, "the command itself asked the model nothing", format!("{asked} turns"));
        shell.send(b"exit\r")?;
        shell.wait_exit(TURN).await.map(drop)
    }

    /// What `claude` prints, to its end.
    async fn print(&self, args: &[&str]) -> Result<String> {
        let home = self.stage.gateway.home();
        let ran = tokio::process::Command::new(home.join("bin/claude"))
            .args(args)
            .current_dir(self.stage.gateway.workspace())
            .stdin(std::process::Stdio::null())
            .env_clear()
            .envs(self.stage.gateway.environment().iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output();
        let what = || format!("claude {}", args.join(" "));
        let output =
            tokio::time::timeout(TURN, ran).await.map_err(|_| Error::Peer { what: what(), said: "no end".into() })?;
        Ok(said(&output.doing(what)?))
    }
}

/// The Claude Code of a terminal; the shim gives way to it.
fn process_of(terminal: &Terminal, session: &str) -> Result<Process> {
    let gone = || Error::Peer { what: "claude".into(), said: "it is not there".into() };
    let pid = terminal.pid().ok_or_else(gone)?;
    claude_of(terminal, session).or_else(|| Process::find(pid)).ok_or_else(gone)
}
