//! Transcript files: read by chunks, never followed through a link, never
//! written. A read ends at the size the file had when it was opened.

use std::fs::File;
use std::io::{BufRead as _, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use ride_core::event::Grown;
use ride_core::limits::{SIDE_PROMPTS, WAITING_CHARS};
use ride_core::transcript::{
    Broken, Chain, MAX_LINE_BYTES, Origin, Prompt, Reader, Rules, Shown, Span, Tail, Transcript, Turns, Wanted, Why,
    asked, turns, turns_within,
};
use ride_core::wire::ChainMark;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ClaudeError;

/// Bytes read at a time: larger gains nothing, and the gateway's memory is shared.
const CHUNK_BYTES: usize = 256 << 10;

/// How much before the end the mark's hash covers.
const TAIL_BYTES: u64 = 64 << 10;

/// How often a transcript that grows while it is read is read again.
const MAX_READS: usize = 3;

/// What is seen of a transcript since a mark.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// One chain.
    Shown {
        /// The evidence.
        shown: Box<Shown>,
        /// The turns on the chain since the mark.
        turns: Turns,
        /// The mark of now.
        now: ChainMark,
    },
    /// The chain could not be shown.
    Broken(Broken),
    /// The file is gone.
    Missing,
    /// Another file is at its path.
    Replaced,
    /// What stood before the mark is no longer what it was.
    Rewritten,
}

/// What a picker shows of a Claude session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The name a person gave, else the one the host made up.
    pub title: Option<String>,
    /// The last prompt.
    pub last_prompt: Option<String>,
    /// The folder it was last used in.
    pub cwd: Option<String>,
    /// It is a subagent's alone: Claude Code does not resume it.
    pub side: bool,
    /// Bytes.
    pub size: u64,
    /// Last change, milliseconds since 1970.
    pub changed_ms: i64,
}

/// Records a transcript as it is now. Its leaf is the one below which the host
/// will continue, whatever its version ([`Transcript::anchor`]).
///
/// # Errors
/// When it cannot be read, is being written, or has no leaf the host would resume.
pub fn chain_mark(path: &Path) -> Result<ChainMark, ClaudeError> {
    let (file, transcript) = read_still(path)?;
    mark(path, &file, &transcript)
}

/// Where a Claude Code of a measured version continues a transcript; `None` where there is no conversation.
///
/// # Errors
/// When it cannot be read, is being written, or has no leaf the host would resume.
pub fn continues_at(path: &Path, rules: &Rules) -> Result<Option<uuid::Uuid>, ClaudeError> {
    let (file, transcript) = read_still(path)?;
    let no_leaf = |broken| ClaudeError::NoLeaf { path: path.to_owned(), broken };
    transcript.continues(rules, |span| line(path, &file, span))?.map_err(no_leaf)
}

/// Looks at a transcript again: whether everything since the mark is one chain
/// that continues it, and which turns that are.
///
/// # Errors
/// When it cannot be read or is being written.
pub fn show_chain(then: &ChainMark) -> Result<Look, ClaudeError> {
    show_chain_within(then, &Wanted::default())
}

/// The same, with the texts of turns that are wanted alone.
///
/// # Errors
/// When it cannot be read or is being written.
pub fn show_chain_within(then: &ChainMark, wanted: &Wanted) -> Result<Look, ClaudeError> {
    let path = Path::new(&then.path);
    let (file, transcript) = match read_still(path) {
        Ok(read) => read,
        Err(ClaudeError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Look::Missing);
        }
        Err(ClaudeError::NotRegular(_)) => return Ok(Look::Replaced),
        Err(e) => return Err(e),
    };
    let meta = stat(path, &file)?;
    if (meta.dev(), meta.ino()) != (then.dev, then.ino) {
        return Ok(Look::Replaced);
    }
    if transcript.size >= then.size && hash_tail(path, &file, then.size)? != then.tail_sha256 {
        return Ok(Look::Rewritten);
    }
    match transcript.show(then.leaf, then.size) {
        Chain::Broken(broken) => Ok(Look::Broken(broken)),
        Chain::Shown(shown) => {
            let turns = turns_within(&shown.path, &shown.beside, wanted.clone(), |span| line(path, &file, span))?;
            let now = mark(path, &file, &transcript)?;
            Ok(Look::Shown { shown: Box::new(shown), turns, now })
        }
    }
}

/// What grew beside the active conversation behind the first `size` bytes, and what `known`
/// ends where that is not in it; only branches in which a person asked something.
///
/// # Errors
/// When it cannot be read or is being written.
pub fn sides(path: &Path, known: Option<Uuid>, size: u64) -> Result<Vec<Grown>, ClaudeError> {
    let (file, transcript) = read_still(path)?;
    let mut grown = Vec::new();
    for side in transcript.sides(known, size) {
        let turns = turns(&side.asked, &[], |span| line(path, &file, span))?;
        let prompts = turns.turns.into_iter().flat_map(|turn| turn.prompts);
        let asked: Vec<Prompt> = prompts.filter(|prompt| prompt.from == Origin::Person).collect();
        let Some(last) = asked.last() else { continue };
        let last_prompt = words(&last.text).unwrap_or_default().chars().take(WAITING_CHARS).collect();
        let prompts = asked.iter().take(SIDE_PROMPTS).map(|prompt| prompt.uuid.to_string()).collect();
        grown.push(Grown { leaf: side.leaf, prompts, last_prompt });
    }
    Ok(grown)
}

/// What a person wrote: the gateway puts what it knows of the chat before the words.
fn words(prompt: &str) -> Option<String> {
    prompt.rsplit("\n\n").map(str::trim).find(|words| !words.is_empty()).map(str::to_owned)
}

/// Reads a whole transcript into its chain.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn read_transcript(path: &Path) -> Result<Transcript, ClaudeError> {
    let file = open_regular(path)?;
    read(path, &file)
}

/// Reads the turns of a shown chain.
///
/// # Errors
/// When a line cannot be read again.
pub fn read_turns(path: &Path, file: &File, shown: &Shown) -> Result<Turns, ClaudeError> {
    turns(&shown.path, &shown.beside, |span| line(path, file, span))
}

fn line(path: &Path, file: &File, span: Span) -> Result<Vec<u8>, ClaudeError> {
    let mut line = vec![0; span.len as usize];
    file.read_exact_at(&mut line, span.byte).map_err(|e| ClaudeError::io("read transcript", path, e))?;
    Ok(line)
}

/// How long a transcript is left alone before words without a reason to stop count as the end of a turn: a tool
/// call of the same message has a line of its own, which may come later.
const STILL: std::time::Duration = std::time::Duration::from_secs(10);

/// The same of one whose writer lives. Where the endpoint gives no reason to stop, the file must also have stood still.
pub(super) fn is_idle(path: &Path) -> Result<bool, ClaudeError> {
    let file = open_regular(path)?;
    let changed = stat(path, &file)?.modified().map_err(|e| ClaudeError::io("look at transcript", path, e))?;
    Ok(is_quiet(path)? && (ends_with_reason(path, &file)? || changed.elapsed().is_ok_and(|age| age >= STILL)))
}

/// Whether the last words of the model say why it stopped, or somebody else spoke after them.
fn ends_with_reason(path: &Path, file: &File) -> Result<bool, ClaudeError> {
    let (_, bytes) = end_of(path, file, SUMMARY_BYTES)?;
    let last = bytes.rsplit(|byte| *byte == b'\n').find_map(ride_core::transcript::gives_reason);
    Ok(last.unwrap_or(true))
}

/// Whether no turn is under way, as far as the transcript tells.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn is_quiet(path: &Path) -> Result<bool, ClaudeError> {
    let file = open_regular(path)?;
    let transcript = read(path, &file)?;
    match transcript.leaf() {
        Ok(Some(leaf)) => transcript.is_quiet(leaf, |span| line(path, &file, span)),
        Ok(None) | Err(_) => Ok(false),
    }
}

/// Why the host could not go on with a transcript, or would go on with less than all of it;
/// `None` where it can.
///
/// # Errors
/// When it cannot be read or is being written.
pub fn why_not_resumed(path: &Path) -> Result<Option<String>, ClaudeError> {
    let (file, transcript) = read_still(path)?;
    let leaf = match transcript.leaf() {
        Ok(Some(leaf)) => leaf,
        Ok(None) => return Ok(Some("it has no turn yet".into())),
        Err(broken) => return Ok(Some(format!("its chain is damaged: {broken}"))),
    };
    if let Some(why) = unended(&transcript) {
        return Ok(Some(why.to_owned()));
    }
    let quiet = transcript.is_quiet(leaf, |span| line(path, &file, span))?;
    if quiet {
        return Ok(None);
    }
    Ok(Some(match transcript.path(None, leaf) {
        // Such a turn never ends: what is wrong is the file.
        Err(broken) if matches!(broken.why, Why::Cycle | Why::Moved) => format!("its chain is damaged: {broken}"),
        _ => "a turn is under way, or its last tool call has no answer".into(),
    }))
}

/// What of a conversation Claude Code does not see when it resumes it, in words: it goes on without.
///
/// # Errors
/// When it cannot be read or is being written.
pub fn missing_history(path: &Path) -> Result<Option<String>, ClaudeError> {
    let (_, transcript) = read_still(path)?;
    let Ok(Some(leaf)) = transcript.leaf() else { return Ok(None) };
    let broken = transcript.path(None, leaf).err();
    Ok(broken.map(|broken| format!("a part of its history is missing, Claude Code goes on without it: {broken}")))
}

/// Why nobody can go on with a transcript as it ends; `None` where one can. 2.1.197 writes its own line behind a
/// last one without a line feed, which makes one line that nobody can read.
///
/// # Errors
/// When it cannot be read or is being written.
pub fn why_not_ended(path: &Path) -> Result<Option<&'static str>, ClaudeError> {
    let file = open_regular(path)?;
    let size = stat(path, &file)?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1).map_err(|e| ClaudeError::io("read transcript", path, e))?;
    }
    if last == [b'\n'] {
        return Ok(None);
    }
    let (_, transcript) = read_still(path)?;
    Ok(unended(&transcript))
}

fn unended(transcript: &Transcript) -> Option<&'static str> {
    let whole = matches!(transcript.tail, Tail::Unterminated(_));
    whole.then_some("its last line has no line feed, and Claude Code 2.1.197 would destroy it: end the line with one")
}

/// Reads what a picker shows, from the end of the file alone where that has it.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn summary(path: &Path) -> Result<Summary, ClaudeError> {
    let file = open_regular(path)?;
    let mut summary = tail(path, &file, SUMMARY_BYTES)?;
    if summary.size > SUMMARY_BYTES
        && (summary.title.is_none() || summary.last_prompt.is_none() || summary.cwd.is_none())
    {
        let whole = read(path, &file)?;
        summary.title = summary.title.or_else(|| whole.title().map(str::to_owned));
        summary.side = whole.is_side();
        summary.last_prompt = match summary.last_prompt.or(whole.last_prompt) {
            None => last_prompt(path)?,
            words => words,
        };
        summary.cwd = summary.cwd.or(whole.cwd);
    }
    Ok(summary)
}

/// The last prompt of a person, the last paragraph of it: where a session was cut off, no line has
/// said yet that it is the last. One further from the end than [`FAR_BYTES`] is not looked for.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn last_prompt(path: &Path) -> Result<Option<String>, ClaudeError> {
    let file = open_regular(path)?;
    for most in [SUMMARY_BYTES, FAR_BYTES] {
        let (meta, bytes) = end_of(path, &file, most)?;
        let words = asked_last(&bytes).or_else(|| read_lines(&bytes, meta.len() > most).last_prompt);
        if words.is_some() || meta.len() <= most {
            return Ok(words);
        }
    }
    Ok(None)
}

/// The last paragraph of what a person asked last in some lines.
fn asked_last(lines: &[u8]) -> Option<String> {
    let last = lines.rsplit(|byte| *byte == b'\n').find_map(asked)?;
    words(&last)
}

/// The first folder a Claude session was ever used in of which something holds: where it was
/// resumed since, on a copy of another machine too, is in its lines as well.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn find_cwd(path: &Path, holds: impl Fn(&str) -> bool) -> Result<Option<String>, ClaudeError> {
    let mut lines = std::io::BufReader::with_capacity(CHUNK_BYTES, open_regular(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line);
        if read.map_err(|e| ClaudeError::io("read transcript", path, e))? == 0 {
            return Ok(None);
        }
        let mut reader = Reader::new();
        reader.feed(&line);
        if let Some(cwd) = reader.finish().cwd.filter(|cwd| holds(cwd)) {
            return Ok(Some(cwd));
        }
    }
}

/// The same of very many files: never more than the end of one. A title that was given
/// further back is missed; then the last prompt has to do.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn glance(path: &Path) -> Result<Summary, ClaudeError> {
    let file = open_regular(path)?;
    let near = tail(path, &file, GLANCE_BYTES)?;
    match near.size > GLANCE_BYTES && (near.last_prompt.is_none() || near.cwd.is_none()) {
        true => tail(path, &file, SUMMARY_BYTES),
        false => Ok(near),
    }
}

/// The last `most` bytes of a transcript.
fn end_of(path: &Path, file: &File, most: u64) -> Result<(std::fs::Metadata, Vec<u8>), ClaudeError> {
    let meta = stat(path, file)?;
    let from = meta.len().saturating_sub(most);
    let mut bytes = vec![0; (meta.len() - from) as usize];
    file.read_exact_at(&mut bytes, from).map_err(|e| ClaudeError::io("read transcript", path, e))?;
    Ok((meta, bytes))
}

/// What the last `most` bytes of a transcript tell.
fn tail(path: &Path, file: &File, most: u64) -> Result<Summary, ClaudeError> {
    let (meta, bytes) = end_of(path, file, most)?;
    let end = read_lines(&bytes, meta.len() > most);
    Ok(Summary {
        title: end.title().map(str::to_owned),
        side: end.is_side(),
        // One that was never left has no line that says so (2.1.197).
        last_prompt: end.last_prompt.or_else(|| asked_last(&bytes)),
        cwd: end.cwd,
        size: meta.len(),
        changed_ms: meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000,
    })
}

/// Reads lines, of which the first may be cut.
fn read_lines(bytes: &[u8], cut: bool) -> Transcript {
    let start = match cut {
        false => 0,
        true => bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1),
    };
    let mut reader = Reader::new();
    reader.feed(&bytes[start..]);
    reader.finish()
}

/// How much of the end [`last_prompt`] reads at most: the tool results of a long turn.
const FAR_BYTES: u64 = 16 << 20;

/// How much of the end [`summary`] reads first: a turn's lines fit, with its
/// request bodies.
const SUMMARY_BYTES: u64 = 512 << 10;

/// How much of it [`glance`] reads first. Claude Code writes the last prompt again when it
/// ends, and a title too.
const GLANCE_BYTES: u64 = 64 << 10;

/// Opens a transcript for reading; a link or a device in its place is refused.
pub(crate) fn open_regular(path: &Path) -> Result<File, ClaudeError> {
    // NONBLOCK: a fifo in its place must not hang the gateway.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::LOOP) => return Err(ClaudeError::NotRegular(path.to_owned())),
        Err(e) => return Err(ClaudeError::io("open transcript", path, e)),
    };
    let file = File::from(fd);
    if !stat(path, &file)?.is_file() {
        return Err(ClaudeError::NotRegular(path.to_owned()));
    }
    Ok(file)
}

fn read(path: &Path, mut file: &File) -> Result<Transcript, ClaudeError> {
    let io = |e| ClaudeError::io("read transcript", path, e);
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(0)).map_err(io)?;
    let size = stat(path, file)?.len();
    let mut limited = file.take(size);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut reader = Reader::new();
    loop {
        match limited.read(&mut chunk) {
            Ok(0) => return Ok(reader.finish()),
            Ok(n) => reader.feed(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io(e)),
        }
    }
}

/// Reads a transcript that nobody writes meanwhile.
fn read_still(path: &Path) -> Result<(File, Transcript), ClaudeError> {
    for _ in 0..MAX_READS {
        let file = open_regular(path)?;
        let transcript = read(path, &file)?;
        if stat(path, &file)?.len() == transcript.size {
            return Ok((file, transcript));
        }
    }
    Err(ClaudeError::Moving(path.to_owned()))
}

fn mark(path: &Path, file: &File, transcript: &Transcript) -> Result<ChainMark, ClaudeError> {
    let meta = stat(path, file)?;
    let no_leaf = |broken| ClaudeError::NoLeaf { path: path.to_owned(), broken };
    let leaf = transcript.anchor(|span| line(path, file, span))?.map_err(no_leaf)?;
    Ok(ChainMark {
        path: path.to_str().ok_or_else(|| ClaudeError::NotText(path.to_owned()))?.to_owned(),
        dev: meta.dev(),
        ino: meta.ino(),
        size: transcript.size,
        tail_sha256: hash_tail(path, file, transcript.size)?,
        leaf,
    })
}

fn hash_tail(path: &Path, file: &File, size: u64) -> Result<String, ClaudeError> {
    tail_sha256(file, size).map_err(|e| ClaudeError::io("read transcript", path, e))
}

/// SHA-256, hex, of the last 64 KiB before `size`, all of it when shorter: what a mark
/// carries, and what a driver compares its file with.
///
/// # Errors
/// When that much cannot be read.
pub fn tail_sha256(file: &File, size: u64) -> std::io::Result<String> {
    let from = size.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; (size - from) as usize];
    file.read_exact_at(&mut tail, from)?;
    Ok(Sha256::digest(&tail).iter().map(|b| format!("{b:02x}")).collect())
}

fn stat(path: &Path, file: &File) -> Result<std::fs::Metadata, ClaudeError> {
    file.metadata().map_err(|e| ClaudeError::io("look at transcript", path, e))
}
