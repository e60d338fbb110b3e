//! A copy of a transcript that the real Claude Code resumes, offline: what a resume really does.
//!
//! The copy has a private home and the loopback model. Where the appended lines hang is the answer; nothing
//! here judges it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::anthropic::{Anthropic, Recorded};
use crate::claude::{environment, seed_config};
use crate::error::{Doing, Error, Result};
use crate::peers::Peer;
use crate::process::Child;

/// What is said to a resumed session.
pub const PROMPT: &str = "go on";

/// How long one resume may take. One takes a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Longest part of what Claude Code printed that is kept.
const MAX_SAID: usize = 4_096;

/// A copy, ready to be resumed.
#[derive(Debug)]
pub struct Copy {
    home: TempDir,
    /// The copied transcript.
    pub path: PathBuf,
    session: String,
}

/// What a resume did.
#[derive(Debug)]
pub struct Resumed {
    /// Whether Claude Code ended without an error.
    pub success: bool,
    /// What it printed.
    pub said: String,
    /// The lines that it appended and that are JSON, in order.
    pub appended: Vec<Value>,
    /// A line of ours and its own ended up in one line, or what stood there was changed.
    pub damaged: bool,
    /// The turns that it sent to the model.
    pub sent: Vec<Recorded>,
}

impl Copy {
    /// Copies a transcript into a project of a new private home.
    pub fn make(transcript: &[u8], session: &str) -> Result<Self> {
        let home = TempDir::new().doing(|| "make a home".into())?;
        let (project, config) = (home.path().join("project"), home.path().join(".claude"));
        fs::create_dir_all(&project).doing(|| format!("create {}", project.display()))?;
        seed_config(&config, &[&project])?;
        let real = project.canonicalize().doing(|| format!("find {}", project.display()))?;
        let folder = config.join("projects").join(slug(&real));
        fs::create_dir_all(&folder).doing(|| format!("create {}", folder.display()))?;
        let path = folder.join(format!("{session}.jsonl"));
        fs::write(&path, transcript).doing(|| format!("write {}", path.display()))?;
        Ok(Self { home, path, session: session.to_owned() })
    }

    /// Lets a Claude Code resume it, once.
    pub async fn resume(&self, peer: &Peer) -> Result<Resumed> {
        let before = self.read()?;
        let anthropic = Anthropic::start().await?;
        let (home, output) = (self.home.path(), self.home.path().join("output"));
        let written = File::create(&output).doing(|| format!("create {}", output.display()))?;
        let errors = written.try_clone().doing(|| format!("open {}", output.display()))?;
        let mut command = Command::new(peer.fetched().await?);
        command.args(["-p", "--resume", &self.session, PROMPT]).current_dir(home.join("project"));
        command.env_clear().env("HOME", home).env("SHELL", "/bin/sh").env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.envs(environment(&anthropic, &home.join(".claude")));
        command.stdin(Stdio::null()).stdout(written).stderr(errors);
        let mut child = Child::spawn(&format!("Claude Code {}", peer.version()), command)?;
        let status = child.wait(DEADLINE).await?;
        let after = self.read()?;
        let new = after.strip_prefix(before.as_slice()).unwrap_or_default();
        let glued =
            before.last().is_some_and(|last| *last != b'\n') && new.first().is_some_and(|first| *first != b'\n');
        let said = fs::read(&output).doing(|| format!("read {}", output.display()))?;
        Ok(Resumed {
            success: status.success(),
            said: String::from_utf8_lossy(&said[..said.len().min(MAX_SAID)]).into_owned(),
            appended: new.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect(),
            damaged: glued || !after.starts_with(&before),
            sent: anthropic.turns(),
        })
    }

    fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).doing(|| format!("read {}", self.path.display()))
    }
}

/// The id of the Claude session whose transcript a file is: the one that its lines name.
pub fn session_of(transcript: &[u8]) -> Option<String> {
    let lines = transcript.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let values = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut ids = values.filter_map(|line| line["sessionId"].as_str().map(str::to_owned));
    ids.find(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// The folder name of a project, as Claude Code gives it to a short path.
fn slug(path: &Path) -> String {
    let keep = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    path.to_string_lossy().chars().map(keep).collect()
}

impl Resumed {
    /// The first line that it put into the conversation.
    ///
    /// # Errors
    /// When there is none.
    pub fn first(&self) -> Result<&Value> {
        let is_line = |line: &&Value| line["uuid"].is_string() && line["isSidechain"] != true;
        self.appended
            .iter()
            .find(is_line)
            .ok_or_else(|| Error::Peer { what: "resume a session".into(), said: self.said.clone() })
    }
}
