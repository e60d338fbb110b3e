//! `cargo xtask resume-check <folder>`: what we say of transcripts, compared with what the real Claude Code does.
//!
//! Every pinned Claude Code resumes a copy of each file, offline. Compared are: the mark (the line below which
//! it continued), the chain (what it appended is shown as one), the end of the last turn, the label, and whether
//! the session can be adopted. A documented exception is a predicate over the lines of a file, and what it
//! covers must be refused by an adoption. It has a fixture of its own.

mod exception;
mod judge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ride_testkit::peers::{Peer, pinned};
use ride_testkit::resume::{Copy, session_of};

use judge::Verdict;

/// Deepest folder that is looked into.
const MAX_DEPTH: usize = 16;

/// What to check.
#[derive(Args)]
pub(crate) struct ResumeCheck {
    /// A folder with transcripts (`*.jsonl`) anywhere below it.
    folder: PathBuf,
}

impl ResumeCheck {
    /// Of a folder.
    pub(crate) fn of(folder: PathBuf) -> ResumeCheck {
        ResumeCheck { folder }
    }

    /// Whether everything is as the real Claude Code does it.
    pub(crate) fn run(&self) -> Result<bool> {
        let mut files = Vec::new();
        collect(&self.folder, MAX_DEPTH, &mut files)?;
        files.sort();
        anyhow::ensure!(!files.is_empty(), "there is no *.jsonl file below {}", self.folder.display());
        tokio::runtime::Runtime::new()?.block_on(check(&self.folder, &files))
    }
}

/// Checks files and prints a line for each, then the sum.
async fn check(root: &Path, files: &[PathBuf]) -> Result<bool> {
    let mut sum: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let verdict = check_file(file).await.with_context(|| format!("could not check {name}"))?;
        println!("{:9} {name}{}", verdict.word(), verdict.details());
        *sum.entry(verdict.word()).or_default() += 1;
    }
    let counted: Vec<String> = sum.iter().map(|(word, count)| format!("{count} {word}")).collect();
    println!("{} files: {}", files.len(), counted.join(", "));
    let exceptions = sum.get(Verdict::EXCEPTION).copied().unwrap_or_default();
    // Rounded up, so that a small folder may have the one exception that it is there to show.
    let most = files.len().div_ceil(100);
    if exceptions > most {
        println!("too many exceptions: {exceptions}, at most {most} of {} files may need one", files.len());
    }
    Ok(!sum.contains_key(Verdict::DIFFERS) && exceptions <= most)
}

async fn check_file(file: &Path) -> Result<Verdict> {
    let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    let Some(session) = session_of(&bytes) else { return Ok(Verdict::NoTranscript) };
    let peers: Vec<Peer> = pinned().claude_code.iter().map(|version| Peer::claude_code(version)).collect();
    // Two at a time, which is as many as there are.
    let (mut differences, mut refused) = (Vec::new(), true);
    for pair in peers.chunks(2) {
        let looks = pair.iter().map(|peer| look(&bytes, &session, peer));
        for look in two(looks).await {
            let (differs, refuses) = look?;
            differences.extend(differs);
            refused &= refuses;
        }
    }
    Ok(Verdict::of(&bytes, differences, refused))
}

/// What differs between us and one Claude Code, and whether we refuse to adopt.
type Look = Result<(Vec<judge::Difference>, bool)>;

async fn look(bytes: &[u8], session: &str, peer: &Peer) -> Look {
    let copy = Copy::make(bytes, session)?;
    let said = judge::Said::of(&copy.path, peer.version());
    let done = copy.resume(peer).await?;
    let refused = said.is_refused();
    Ok((said.compare(&judge::lines(bytes), &copy.path, &done), refused))
}

/// Runs one or two looks at the same time.
async fn two<F: Future<Output = Look>>(looks: impl Iterator<Item = F>) -> Vec<Look> {
    let mut looks = looks.fuse();
    match (looks.next(), looks.next()) {
        (Some(one), Some(other)) => {
            let (one, other) = tokio::join!(one, other);
            vec![one, other]
        }
        (Some(one), None) => vec![one.await],
        _ => Vec::new(),
    }
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, files)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|end| end == "jsonl") {
            files.push(entry.path());
        }
    }
    Ok(())
}
