//! A ride on a copy: the conversation's files are brought to this machine, Claude Code
//! continues them here, and what it adds is pushed back, turn by turn.
//!
//! Invariants: a file is only extended, here as there; where one is not the beginning of
//! the other nothing is changed on either side; what was not pushed stays here. Absent on
//! purpose: deciding whether the ride goes on. What stands where is told.
//!
//! The pieces: [`folders`] (which folder of this machine a project is), [`push`] (what goes
//! back), this file (what is brought).

pub mod folders;
pub mod push;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use ride_core::id::Fence;
use ride_core::limits::FRAME_BYTES;
use ride_core::wire::{self, ChainMark, Copied, Pulled, RelayItem, method};
use ride_store::claude::{ClaudeDir, Look, chain_mark, last_prompt, live_writers, show_chain, tail_sha256};
use ride_store::copy::{Committed, CopyError, Files, Hash, Range, Staged, unpack};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use crate::error::{Error, Kind};
use crate::gateway::client::{CallError, Connection};
use crate::render::clean;

/// Frames asked for before the first of them is here: the gateway packs one while another
/// travels.
const AHEAD: usize = 4;
/// So much of a long copy is brought onto the disk at a time, while more of it travels.
const SYNC_BYTES: u64 = 32 * FRAME_BYTES as u64;
/// What a frame may take; over the slowest line a person would ride on it takes some seconds.
pub(crate) const FRAME_WITHIN: Duration = Duration::from_secs(60);
/// What comparing may take: both sides read the whole transcript.
const COMPARED_WITHIN: Duration = Duration::from_secs(120);
/// Of a subagent's file that is extended, so much of its end is compared.
const OVERLAP: u64 = 64 * 1024;

/// Whose conversation, and where the gateway is.
#[derive(Clone, Debug)]
pub struct Thread {
    /// The connection the thread was claimed on.
    pub connection: Connection,
    /// Session key of the thread.
    pub key: String,
    /// What it was granted by.
    pub fence: Fence,
    /// Its Claude session.
    pub session: Uuid,
}

/// The files of this machine, as they stand beside the gateway's.
#[derive(Debug)]
pub struct Copy {
    /// They.
    pub files: Files,
    /// Length of the transcript here.
    pub size: u64,
    /// How much of it the gateway has.
    pub pushed: u64,
    /// What was said in the rest, for the thread.
    pub said: Vec<RelayItem>,
    /// How much of each subagent's file it has.
    pub beside: BTreeMap<String, u64>,
}

/// How the two transcripts stand to each other before anything is brought.
#[derive(Debug)]
pub enum Standing {
    /// They are the same, or the gateway has more: that is brought.
    Behind,
    /// This machine has more, which never reached the gateway.
    Ahead {
        /// How many bytes.
        bytes: u64,
        /// The last prompt.
        last_prompt: Option<String>,
    },
    /// Each has something that the other has not.
    Apart {
        /// Here.
        here: Branch,
        /// At the gateway.
        there: Branch,
    },
}

/// The end of a transcript.
#[derive(Debug, PartialEq, Eq)]
pub struct Branch {
    /// The active leaf.
    pub leaf: Option<Uuid>,
    /// The last prompt.
    pub last_prompt: Option<String>,
}

impl std::fmt::Display for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let leaf = leaf_name(self.leaf);
        let said = self.last_prompt.as_deref().map_or_else(
            || "not near its end".to_owned(),
            |text| format!("\u{201c}{}\u{201d}", crate::render::cut(&clean(text), 60)),
        );
        write!(f, "leaf {leaf}, last prompt {said}")
    }
}

/// A leaf as a person names it to `ride repair`.
pub fn leaf_name(leaf: Option<Uuid>) -> String {
    leaf.map_or_else(|| "none".to_owned(), |leaf| leaf.to_string())
}

/// Says that this ride is on a copy, and what the gateway has, compared with a length.
///
/// # Errors
/// When the gateway refuses, or knows of no copies.
pub async fn told(thread: &Thread, size: u64) -> Result<Copied, CallError> {
    let asked = wire::Copy { key: thread.key.clone(), fence: thread.fence, size };
    thread.connection.call_within(method::COPY, &asked, COMPARED_WITHIN).await
}

/// The files of a Claude session on this machine: where they are, or where they will be.
///
/// # Errors
/// When a Claude Code of this machine has the session open, or it cannot be told.
pub fn here(dir: &ClaudeDir, session: Uuid, project: &Path) -> Result<Files, Error> {
    let failed = |e: ride_store::claude::ClaudeError| Error::new(Kind::Transcript, e.to_string());
    let found = dir.find(session, Some(project)).map_err(failed)?;
    let writers = live_writers(dir, session, found.as_deref(), &[]).map_err(failed)?;
    if let Some(writer) = writers.here.first() {
        let what = format!("process {} of this machine has the Claude session open", writer.process.pid);
        return Err(Error::new(Kind::Held, what).hint("leave that Claude Code first"));
    }
    if let Some(unclear) = writers.unclear.first() {
        return Err(Error::new(Kind::Held, clean(&unclear.to_string())).hint("leave that Claude Code first"));
    }
    let path = found.unwrap_or_else(|| dir.project(project).join(format!("{}.jsonl", session.as_hyphenated())));
    Ok(Files::of(&path, session))
}

/// How the files of this machine stand to the gateway's.
///
/// # Errors
/// When they cannot be read, or the gateway cannot be asked.
pub async fn standing(thread: &Thread, files: &Files) -> Result<(Standing, Copied), Error> {
    let opened = files.open(None).map_err(unreadable)?;
    let size =
        opened.as_ref().map_or(Ok(0), |file| file.metadata().map(|found| found.len()).map_err(|e| io(files, e)))?;
    let there = told(thread, size).await?;
    let Some(file) = opened else { return Ok((Standing::Behind, there)) };
    let compared = there.compared;
    if hashed(files, spawn_blocking(move || Hash::of(&file, compared))).await?.hex() != there.sha256 {
        let path = files.transcript().to_owned();
        let here = spawn_blocking(move || {
            let leaf = chain_mark(&path).ok().and_then(|mark| mark.leaf);
            Branch { leaf, last_prompt: last_prompt(&path).ok().flatten() }
        });
        let there_ends = Branch { leaf: there.leaf, last_prompt: there.last_prompt.as_ref().map(ToString::to_string) };
        return Ok((Standing::Apart { here: here.await.map_err(|e| broke(&e))?, there: there_ends }, there));
    }
    if size > there.size {
        let last_prompt = last_prompt(files.transcript()).ok().flatten();
        return Ok((Standing::Ahead { bytes: size - there.size, last_prompt }, there));
    }
    Ok((Standing::Behind, there))
}

/// Brings what the gateway has more, and shows that it is the same then. `progress` is told
/// how much of how much is here.
///
/// # Errors
/// When the connection or a disk fails: what is here by then is gone on with the next time.
pub async fn bring(
    thread: &Thread,
    files: Files,
    there: &Copied,
    mut progress: impl FnMut(u64, u64),
) -> Result<Copy, Error> {
    let mut size = length(&files, None)?;
    if size < there.size {
        let (of, to) = (thread.clone(), there.size);
        // The gateway reads its file while it travels: nothing extends that by now.
        let now = tokio::spawn(async move { told(&of, to).await });
        let before = files.open(None).map_err(unreadable)?;
        let before = spawn_blocking(move || before.map_or_else(|| Ok(Hash::default()), |file| Hash::of(&file, size)));
        let (committed, here) = pull(thread, &files, None, size, to, before, &mut progress).await?;
        size = to;
        spawn_blocking(move || committed.sync()).await.map_err(|e| broke(&e))?.map_err(unreadable)?;
        if here.hex() != now.await.map_err(|e| broke(&e))??.sha256 || length(&files, None)? != size {
            let what = format!("what was brought to {} is not what the gateway has", files.transcript().display());
            return Err(Error::new(Kind::Transcript, what));
        }
    }
    let mut beside = BTreeMap::new();
    for file in &there.files {
        let at = length(&files, Some(&file.name))?;
        // One of here that is another one, or has more, stays as it is.
        if at < file.size && continues(thread, &files, &file.name, at).await? {
            let none = spawn_blocking(|| Ok(Hash::default()));
            pull(thread, &files, Some(&file.name), at, file.size, none, &mut |_, _| {})
                .await?
                .0
                .sync()
                .map_err(unreadable)?;
        }
        beside.insert(file.name.clone(), file.size);
    }
    let said = if size > there.size { said_here(&files, there).await? } else { Vec::new() };
    Ok(Copy { files, size, pushed: there.size, said, beside })
}

/// The turns of here after the gateway's end, shown to continue its chain.
async fn said_here(files: &Files, there: &Copied) -> Result<Vec<RelayItem>, Error> {
    let path = files.transcript().to_owned();
    let file = files.open(None).map_err(unreadable)?.ok_or_else(|| gone(files))?;
    let found = file.metadata().map_err(|e| io(files, e))?;
    let mark = ChainMark {
        path: path.to_string_lossy().into_owned(),
        dev: found.dev(),
        ino: found.ino(),
        size: there.size,
        tail_sha256: tail_sha256(&file, there.size).map_err(|e| io(files, e))?,
        leaf: there.leaf,
    };
    let why = match spawn_blocking(move || show_chain(&mark)).await.map_err(|e| broke(&e))? {
        Ok(Look::Shown { turns, .. }) => return Ok(turns.into_items()),
        Ok(Look::Broken(broken)) => broken.to_string(),
        Ok(_) => "it was changed just now".to_owned(),
        Err(e) => e.to_string(),
    };
    Err(Error::new(Kind::Transcript, format!("{} does not go on where the gateway's ends: {why}", path.display())))
}

/// Whether a file of the gateway goes on where the one of here ends.
async fn continues(thread: &Thread, files: &Files, name: &str, at: u64) -> Result<bool, Error> {
    if at == 0 {
        return Ok(true);
    }
    if name.ends_with(".json") {
        return Ok(false);
    }
    let from = at.saturating_sub(OVERLAP);
    let theirs = frame(&thread.connection, asked(thread, Some(name), from)).await?;
    let (ours, _) = files.read(Some(name), from).map_err(unreadable)?;
    Ok(theirs.starts_with(&ours))
}

fn asked(thread: &Thread, file: Option<&str>, from: u64) -> wire::Pull {
    wire::Pull { key: thread.key.clone(), fence: thread.fence, file: file.map(str::to_owned), from }
}

async fn frame(connection: &Connection, asked: wire::Pull) -> Result<Vec<u8>, Error> {
    let pulled: Pulled = connection.call_within(method::PULL, &asked, FRAME_WITHIN).await?;
    let unpacked = spawn_blocking(move || unpack(&pulled.data)).await.map_err(|e| broke(&e))?;
    unpacked.map_err(|e| Error::new(Kind::Other, e.to_string()))
}

/// A hash that is being made.
type Hashing = JoinHandle<std::io::Result<Hash>>;

/// Extends a file of here by a range of the gateway's; it is not on disk yet. The hash of
/// what stands before goes on with what arrives, while more of it travels.
async fn pull(
    thread: &Thread,
    files: &Files,
    file: Option<&str>,
    from: u64,
    to: u64,
    mut hashing: Hashing,
    progress: &mut impl FnMut(u64, u64),
) -> Result<(Committed, Hash), Error> {
    let before = match files.open(file).map_err(unreadable)? {
        Some(opened) => tail_sha256(&opened, from),
        None => tail_sha256(&File::open("/dev/null").map_err(|e| io(files, e))?, 0),
    };
    let before = before.map_err(|e| io(files, e))?;
    let range = Range { file, from, before_sha256: &before, total: to - from, tag: "", looked_at: false };
    let mut at = 0;
    if from == 0
        && file.is_none()
        && let Some((there, hash)) = resumed(thread, files, to).await?
    {
        (at, hashing) = (there, spawn_blocking(|| Ok(hash)));
    }
    let mut next = from + at;
    let mut flights: VecDeque<JoinHandle<Result<Vec<u8>, Error>>> = VecDeque::new();
    let mut syncing = spawn_blocking(|| Ok(()));
    loop {
        while flights.len() < AHEAD && next < to {
            let (connection, asked) = (thread.connection.clone(), asked(thread, file, next));
            flights.push_back(tokio::spawn(async move { frame(&connection, asked).await }));
            next += FRAME_BYTES as u64;
        }
        let arrived =
            flights.pop_front().ok_or_else(|| Error::new(Kind::Other, "the gateway's file is shorter than it said"))?;
        let mut bytes = arrived.await.map_err(|e| broke(&e))??;
        // The file may have grown since it was listed; no more than that is brought.
        bytes.truncate((to - from - at) as usize);
        let (staged, length) = (files.stage(&range, at, &bytes).map_err(unreadable)?, bytes.len() as u64);
        let mut hash = hashed(files, hashing).await?;
        hashing = spawn_blocking(move || {
            hash.add(&bytes);
            Ok(hash)
        });
        match staged {
            Staged::Part(there) if there == at + length && length > 0 => {
                if at / SYNC_BYTES < there / SYNC_BYTES
                    && let Some((_, part)) = files.staged(file, range.tag)
                {
                    synced(files, syncing).await?;
                    syncing = spawn_blocking(move || part.sync_data());
                }
                at = there;
            }
            Staged::Part(_) => return Err(Error::new(Kind::Other, "the gateway's file is shorter than it said")),
            Staged::Whole(whole) => {
                progress(to, to);
                // A disk tells of a failure once, and to whoever asks first.
                synced(files, syncing).await?;
                return Ok((whole.commit().map_err(unreadable)?, hashed(files, hashing).await?));
            }
        }
        progress(from + at, to);
    }
}

/// How much of a first copy is here from one that was cut off, if it is the beginning of it.
async fn resumed(thread: &Thread, files: &Files, to: u64) -> Result<Option<(u64, Hash)>, Error> {
    let Some((size, part)) = files.staged(None, "").filter(|(size, _)| (1..to).contains(size)) else { return Ok(None) };
    let hashing = spawn_blocking(move || Hash::of(&part, size));
    let there = told(thread, size).await?;
    let hash = hashed(files, hashing).await?;
    Ok((there.compared == size && hash.hex() == there.sha256).then_some((size, hash)))
}

async fn synced(files: &Files, syncing: JoinHandle<std::io::Result<()>>) -> Result<(), Error> {
    let failed = |e| Error::new(Kind::Other, format!("could not write {}: {e}", files.transcript().display()));
    syncing.await.map_err(|e| broke(&e))?.map_err(failed)
}

async fn hashed(files: &Files, hashing: Hashing) -> Result<Hash, Error> {
    hashing.await.map_err(|e| broke(&e))?.map_err(|e| io(files, e))
}

/// The length of a file of here; 0 where it is not there.
pub(crate) fn length(files: &Files, file: Option<&str>) -> Result<u64, Error> {
    let opened = files.open(file).map_err(unreadable)?;
    opened.map_or(Ok(0), |file| file.metadata().map(|found| found.len()).map_err(|e| io(files, e)))
}

fn unreadable(e: CopyError) -> Error {
    Error::new(Kind::Transcript, e.to_string())
}

fn io(files: &Files, e: std::io::Error) -> Error {
    Error::new(Kind::Transcript, format!("could not read {}: {e}", files.transcript().display()))
}

fn gone(files: &Files) -> Error {
    Error::new(Kind::Transcript, format!("{} is gone", files.transcript().display()))
}

fn broke(e: &tokio::task::JoinError) -> Error {
    Error::new(Kind::Other, format!("could not go on: {e}"))
}
