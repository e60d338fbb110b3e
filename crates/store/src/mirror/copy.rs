//! One Claude session into the mirror: what was finished since, appended.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ride_core::mirror::{
    self, About, BESIDE, Begins, Beside, FORMAT, Plan, SESSIONS, Stamp, is_plain, plan, surplus, transcript_name,
    transcript_number,
};
use ride_core::transcript::Finished;
use rustix::io::Errno;
use uuid::Uuid;

use super::{LOCK, MirrorDir, MirrorError, about, put_about};
use crate::byte_copy::{begins, copy, feed, same};
use crate::claude::{ClaudeError, open_regular, tail_sha256};
use crate::error::StoreError;
use crate::file::Folder;

/// Largest transcript. A turn adds about 140 kB, so this is some tens of thousands of turns.
const MAX_TRANSCRIPT: u64 = 4 << 30;

/// A Claude session to mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which.
    pub session: Uuid,
    /// Its transcript.
    pub transcript: PathBuf,
    /// The session key of its thread.
    pub thread: String,
    /// That thread's title.
    pub title: String,
    /// Its project folder.
    pub cwd: String,
    /// The Claude configuration folder.
    pub config_dir: String,
}

/// What came of mirroring one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// So many bytes of its transcript were added.
    Added(u64),
    /// No turn was finished since, or its transcript is gone.
    Nothing,
    /// Somebody else changes the mirror; later.
    Busy,
}

/// How a transcript stands in its folder; `None` where there is none.
///
/// # Errors
/// When it cannot be looked at.
pub fn stamp_of(path: &Path) -> io::Result<Option<Stamp>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(stamp(path, &meta))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn stamp(path: &Path, meta: &Metadata) -> Stamp {
    let modified_ns =
        u64::try_from(meta.mtime()).unwrap_or(0) * 1_000_000_000 + u64::try_from(meta.mtime_nsec()).unwrap_or(0);
    Stamp { path: path.to_string_lossy().into_owned(), dev: meta.dev(), ino: meta.ino(), size: meta.len(), modified_ns }
}

impl MirrorDir {
    /// Mirrors what was finished of a Claude session since the last time.
    ///
    /// # Errors
    /// When something cannot be read or written; what counted before counts still.
    pub fn mirror(&self, source: &Source, now_ms: u64) -> Result<Mirrored, MirrorError> {
        let Some(_lock) = self.folder.try_lock(LOCK)? else { return Ok(Mirrored::Busy) };
        let path = source.transcript.as_path();
        let file = match open_regular(path) {
            Err(ClaudeError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(Mirrored::Nothing);
            }
            file => file?,
        };
        let reads = |source| StoreError::Io { doing: "read transcript", path: path.to_owned(), source };
        let now = stamp(path, &file.metadata().map_err(reads)?);
        if now.size > MAX_TRANSCRIPT {
            return Err(MirrorError::TooLarge { path: path.to_owned(), limit: MAX_TRANSCRIPT });
        }
        let name = source.session.to_string();
        let own = self.folder.inner(&name, false)?;
        // One that cannot be read says nothing that counts; another version's is left alone.
        let before = match own.as_ref().map(|own| about(own, source.session)) {
            None | Some(Err(MirrorError::About { .. } | MirrorError::TooLarge { .. })) => None,
            Some(read) => read?,
        };
        let copied = match (&own, &before) {
            (Some(own), Some(before)) if before.there() => regular(own, &before.transcript, true)?,
            _ => None,
        };
        let (has, goes_on) = compared(before.as_ref(), copied.as_ref(), &file, &now).map_err(reads)?;
        let plan = plan(before.as_ref(), has, goes_on);
        let from = match plan {
            Plan::Append { from } | Plan::Back { from } => from,
            Plan::Anew => 0,
        };
        let mut finished = Finished::from(from);
        feed(&file, from, now.size, |bytes| {
            finished.feed(bytes);
            Ok(())
        })
        .map_err(reads)?;
        let end = finished.end();
        if end == from || matches!(plan, Plan::Back { .. }) && !finished.turned() {
            return Ok(Mirrored::Nothing);
        }
        let own = match own {
            Some(own) => own,
            None if self.sessions()?.len() >= SESSIONS => {
                return Err(MirrorError::Full { path: self.path().to_owned(), limit: SESSIONS });
            }
            None => made(&self.folder, &name)?,
        };
        let (beside, left_out) = beside(&path.with_extension(""), &own, before.as_ref())?;
        let names = own.names()?;
        let transcript = match (plan, copied, &before) {
            (Plan::Append { from }, Some(copied), Some(before)) => {
                append(&file, &copied, from, end).map_err(|source| wrote(&own, &before.transcript, source))?;
                before.transcript.clone()
            }
            _ => {
                let last = names.iter().filter_map(|name| transcript_number(name)).max().unwrap_or(0);
                let name = transcript_name(last.saturating_add(1));
                anew(&own, &name, &file, end)?;
                name
            }
        };
        let after =
            own.regular(&transcript, false)?.ok_or_else(|| wrote(&own, &transcript, io::ErrorKind::NotFound.into()))?;
        let tail = tail_sha256(&after, end).map_err(reads)?;
        if tail_sha256(&file, end).map_err(reads)? != tail {
            return Err(MirrorError::Changed(path.to_owned()));
        }
        put_about(
            &own,
            &About {
                format: FORMAT,
                session: source.session,
                thread: source.thread.clone(),
                title: source.title.clone(),
                cwd: source.cwd.clone(),
                config_dir: source.config_dir.clone(),
                size: end,
                tail_sha256: tail,
                leaf: finished.leaf().or(before.and_then(|before| before.leaf).filter(|_| from > 0)),
                turn_ms: now.modified_ns / 1_000_000,
                mirrored_ms: now_ms,
                source: now,
                beside,
                left_out,
                pruned_ms: None,
                transcript: transcript.clone(),
            },
        )?;
        for name in surplus(&names, &transcript) {
            own.remove(&name)?;
        }
        Ok(Mirrored::Added(if matches!(plan, Plan::Append { .. }) { end - from } else { end }))
    }
}

/// Whether the copy, and the source, each begin with what counts.
fn compared(about: Option<&About>, copied: Option<&File>, file: &File, now: &Stamp) -> io::Result<(Begins, Begins)> {
    let Some(about) = about else { return Ok((Begins::Otherwise, Begins::Otherwise)) };
    let mut goes_on = begins(file, about.size, &about.tail_sha256)?;
    let Some(copied) = copied else { return Ok((Begins::Otherwise, goes_on)) };
    let has = begins(copied, about.size, &about.tail_sha256)?;
    if has == Begins::So && goes_on == Begins::So && mirror::replaced(about, now) && !same(copied, file, about.size)? {
        goes_on = Begins::Otherwise;
    }
    Ok((has, goes_on))
}

/// Appends a stretch behind what counts, whatever a crash left there.
fn append(file: &File, copied: &File, from: u64, end: u64) -> io::Result<()> {
    let done = copied.set_len(from).and_then(|()| copy(file, copied, from, end)).and_then(|()| copied.sync_all());
    if done.is_err() {
        // On a full disk it would stay in the way.
        copied.set_len(from).ok();
    }
    done
}

/// Copies the whole of what is finished into a file that was not there.
fn anew(own: &Folder, name: &str, file: &File, end: u64) -> Result<(), MirrorError> {
    let new = own.create(name)?;
    let done = copy(file, &new, 0, end).and_then(|()| new.sync_all());
    if let Err(source) = done {
        own.remove(name).ok();
        return Err(wrote(own, name, source));
    }
    Ok(own.sync()?)
}

/// Brings the files beside a transcript up to date: those that changed since they were
/// copied, each whole, in place of the one before. What is gone there stays here. Beside
/// them, how many there was no room for.
fn beside(dir: &Path, own: &Folder, before: Option<&About>) -> Result<(Vec<Beside>, u64), MirrorError> {
    let known = before.map_or(&[][..], |about| &about.beside);
    let mut all: Vec<Beside> = Vec::new();
    let mut left_out = 0;
    if let Some(from) = Folder::as_is(dir)? {
        for folder in from.names()?.into_iter().filter(|name| is_plain(name)) {
            let source = match from.inner(&folder, false) {
                Err(StoreError::NotAFolder { .. }) | Ok(None) => continue,
                source => source?.expect("it is one"),
            };
            let mut into = None;
            for name in source.names()?.into_iter().filter(|name| is_plain(name)) {
                let Some(file) = regular(&source, &name, false)? else { continue };
                if all.len() >= BESIDE {
                    left_out += 1;
                    continue;
                }
                let into = match &into {
                    Some(into) => into,
                    None => into.insert(made(own, &folder)?),
                };
                let path = format!("{folder}/{name}");
                let old = known.iter().find(|one| one.path == path);
                all.push(one_beside(&file, &source, into, &name, path, old)?);
            }
            if let Some(into) = into {
                into.sync()?;
            }
        }
    }
    let gone = known.iter().filter(|old| !all.iter().any(|one| one.path == old.path));
    let gone: Vec<Beside> = gone.take(BESIDE.saturating_sub(all.len())).cloned().collect();
    all.extend(gone);
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((all, left_out))
}

fn one_beside(
    file: &File,
    source: &Folder,
    into: &Folder,
    name: &str,
    path: String,
    old: Option<&Beside>,
) -> Result<Beside, MirrorError> {
    let reads = |cause| StoreError::Io { doing: "read", path: source.path().join(name), source: cause };
    let meta = file.metadata().map_err(reads)?;
    if meta.len() > MAX_TRANSCRIPT {
        return Err(MirrorError::TooLarge { path: source.path().join(name), limit: MAX_TRANSCRIPT });
    }
    if let Some(old) = old
        && let Some(copied) = regular(into, name, false)?
    {
        let copied = copied.metadata().map_err(|cause| wrote(into, name, cause))?;
        if (copied.len(), copied.mtime(), copied.mtime_nsec()) == (meta.len(), meta.mtime(), meta.mtime_nsec())
            && old.size == meta.len()
        {
            return Ok(old.clone());
        }
    }
    // A transcript counts by whole lines; anything else as it is.
    let lines = name.ends_with(".jsonl");
    let (mut at, mut size) = (0, 0);
    feed(file, 0, meta.len(), |bytes| {
        let end = if lines { bytes.iter().rposition(|b| *b == b'\n').map(|n| n + 1) } else { Some(bytes.len()) };
        size = end.map_or(size, |end| at + end as u64);
        at += bytes.len() as u64;
        Ok(())
    })
    .map_err(reads)?;
    let temporary = format!("{name}.new");
    let new = into.create(&temporary)?;
    let time = meta.modified().map_err(reads)?;
    let done = copy(file, &new, 0, size).and_then(|()| new.set_modified(time)).and_then(|()| new.sync_all());
    let hashed = done.and_then(|()| tail_sha256(&new, size));
    match hashed {
        Ok(tail_sha256) => {
            into.rename(&temporary, name)?;
            Ok(Beside { path, size, tail_sha256 })
        }
        Err(cause) => {
            into.remove(&temporary).ok();
            Err(wrote(into, name, cause))
        }
    }
}

/// A regular file; a link, a folder or a device is none.
pub(super) fn regular(folder: &Folder, name: &str, write: bool) -> Result<Option<File>, StoreError> {
    match folder.regular(name, write) {
        Err(StoreError::Io { source, .. })
            if source.kind() == io::ErrorKind::InvalidInput
                || source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
        {
            Ok(None)
        }
        file => file,
    }
}

/// A folder in another one, which is made where it is not there.
pub(super) fn made(folder: &Folder, name: &str) -> Result<Folder, StoreError> {
    folder.inner(name, true).map(|made| made.expect("it was made"))
}

pub(super) fn wrote(folder: &Folder, name: &str, source: io::Error) -> MirrorError {
    StoreError::Io { doing: "write", path: folder.path().join(name), source }.into()
}
