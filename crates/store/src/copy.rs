//! One Claude session's files on two machines: what is read of them, and how the shorter
//! ones are extended by what the longer have more.
//!
//! Invariants: a file is only ever extended, by a range whose place is shown by the hash of
//! what stands before it; a range is in the file whole or not at all, after its lines were
//! looked at; names are derived, never taken; no link is followed. Absent on purpose:
//! merging. Two files that are not the beginning of one another are left as they are.
//!
//! The pieces: `frame` (what travels), `lines` (what is taken for a transcript), `project`
//! (which repository a project folder is in), this file (the files).

mod frame;
mod lines;
mod project;
mod slices;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ride_core::limits::{COPIED_BYTES, COPY_FILES, FRAME_BYTES, META_BYTES, RANGE_BYTES, STAGED_FILES};
use ride_core::wire::CopyFile;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::byte_copy::feed;
use crate::claude::tail_sha256;

pub use frame::{NotAFrame, pack, unpack};
pub use lines::BadLine;
pub use project::{repository, same_repository};
pub use slices::{Sliced, Slices};

/// The folder of the files of subagents, within one named by the Claude session.
const SUBAGENTS: &str = "subagents";
/// Longest name of a subagent, as Claude Code draws them: 17 hexadecimal digits.
const AGENT_CHARS: usize = 64;
/// What a range is called while it is not whole.
const INCOMING: &str = ".incoming";

/// Why a file was not read or extended.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The system's words.
    #[error("could not {doing} {}: {cause}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A name that no file of a conversation has.
    #[error("{0:?} is no file of a conversation")]
    Name(String),
    /// A link, a folder or a device in its place.
    #[error("it is no regular file, or behind a link: {}", .0.display())]
    NotRegular(PathBuf),
    /// The transcript is not there.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// What stands there is not what the range continues.
    #[error("{} {what}", path.display())]
    Diverged {
        /// Which file.
        path: PathBuf,
        /// In which way.
        what: String,
    },
    /// A range or a frame of it is over its limit, or does not fit its announcement.
    #[error("{0}")]
    Range(String),
    /// A line is not one of a transcript.
    #[error("line {} of the range {}", .0.line, .0.what)]
    Line(BadLine),
}

/// The files of one Claude session: the transcript and those of its subagents.
#[derive(Clone, Debug)]
pub struct Files {
    transcript: PathBuf,
    session: Uuid,
}

/// One range that extends a file.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    /// Which; the transcript when absent.
    pub file: Option<&'a str>,
    /// Where it begins.
    pub from: u64,
    /// SHA-256, hex, of the last 64 KiB before that.
    pub before_sha256: &'a str,
    /// Its length in bytes.
    pub total: u64,
    /// Tells this range from those of others that were cut off.
    pub tag: &'a str,
    /// Whether its lines are looked at: those of a driver are, those of a driver's own
    /// gateway are what Claude Code wrote there.
    pub looked_at: bool,
}

impl Range<'_> {
    /// How large its file may become, by the kind of file.
    fn bound(&self) -> (&'static str, u64) {
        match self.file {
            Some(name) if lines::is_meta(name) && self.looked_at => ("the file about a subagent", META_BYTES),
            Some(_) => ("a subagent's transcript", COPIED_BYTES),
            None => ("the transcript", COPIED_BYTES),
        }
    }
}

/// How much of a range is there.
#[derive(Debug)]
pub enum Staged {
    /// So many bytes: the next frame begins there.
    Part(u64),
    /// All of it, looked at.
    Whole(Whole),
}

/// A range that can be put into its file.
#[derive(Debug)]
pub struct Whole {
    at: Place,
    from: u64,
    before_sha256: String,
    total: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Memory(Vec<u8>),
    /// Beside its file, under this name.
    Beside(File, OsString),
}

/// A file by its folder: nothing on the way to it can be a link.
#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Files {
    /// The files around a transcript.
    pub fn of(transcript: &Path, session: Uuid) -> Files {
        Files { transcript: transcript.to_owned(), session }
    }

    /// The transcript.
    pub fn transcript(&self) -> &Path {
        &self.transcript
    }

    /// The files of subagents, by name; none where there is no folder of them.
    ///
    /// # Errors
    /// When the folder cannot be read, or there are too many.
    pub fn beside(&self) -> Result<Vec<CopyFile>, CopyError> {
        let Some((folder, path)) = self.subagents(false)? else { return Ok(Vec::new()) };
        let io = |cause| CopyError::Io { doing: "read folder", path: path.clone(), cause };
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder).map_err(|e| io(e.into()))? {
            let entry = entry.map_err(|e| io(e.into()))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let name = format!("{SUBAGENTS}/{name}");
            if agent_file(&name).is_none() {
                continue;
            }
            // What is no regular file is none of a conversation's.
            let Ok(Some(file)) = self.open(Some(&name)) else { continue };
            let size = file.metadata().map_err(io)?.len();
            files.push(CopyFile { name, size });
            if files.len() > COPY_FILES {
                return Err(CopyError::Range(format!(
                    "there are more than {COPY_FILES} files of subagents in {}",
                    path.display()
                )));
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// Opens one for reading; `None` where it is not there.
    ///
    /// # Errors
    /// When the name is none, or it is no regular file.
    pub fn open(&self, file: Option<&str>) -> Result<Option<File>, CopyError> {
        match self.place(file, false)? {
            None => Ok(None),
            Some(place) => place.open(OFlags::RDONLY),
        }
    }

    /// Reads up to one frame from a place on, and the file's whole length.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn read(&self, file: Option<&str>, from: u64) -> Result<(Vec<u8>, u64), CopyError> {
        let path = || file.map_or_else(|| self.transcript.clone(), PathBuf::from);
        let opened = self.open(file)?.ok_or_else(|| CopyError::Missing(path()))?;
        let io = |cause| CopyError::Io { doing: "read", path: path(), cause };
        let size = opened.metadata().map_err(io)?.len();
        let length = size.saturating_sub(from).min(FRAME_BYTES as u64);
        let mut frame = vec![0; length as usize];
        opened.read_exact_at(&mut frame, from).map_err(io)?;
        Ok((frame, size))
    }

    /// Takes a frame of a range, whose lines are looked at once it is whole. A frame that does
    /// not begin where the last one ended changes nothing; the first one begins the range anew.
    ///
    /// # Errors
    /// When a bound is passed, when a line is not one of a transcript, when the disk fails.
    pub fn stage(&self, range: &Range<'_>, at: u64, frame: &[u8]) -> Result<Staged, CopyError> {
        let end = at.checked_add(frame.len() as u64).filter(|end| *end <= range.total);
        if frame.len() > FRAME_BYTES || range.total == 0 || end.is_none() {
            let what = "a frame has up to 1 MiB, and lies within its range";
            return Err(CopyError::Range(format!("{} bytes at {at} of {}: {what}", frame.len(), range.total)));
        }
        let (kind, most) = range.bound();
        if range.from.saturating_add(range.total) > most {
            return Err(CopyError::Range(format!("{kind} would have more than {most} bytes")));
        }
        let place = self.place(range.file, true)?.expect("the folder is made");
        let whole = |data| Whole {
            at: place.again(),
            from: range.from,
            before_sha256: range.before_sha256.to_owned(),
            total: range.total,
            data,
        };
        if at == 0 && frame.len() as u64 == range.total {
            if range.looked_at {
                lines::check(frame, range.file, self.session).map_err(CopyError::Line)?;
            }
            return Ok(Staged::Whole(whole(Data::Memory(frame.to_vec()))));
        }
        self.may_stage(&place, range, at + frame.len() as u64)?;
        let name = place.incoming(range.tag, range.from);
        let part = Place { folder: place.folder(), name: name.clone(), path: place.path.with_file_name(&name) };
        let mut file =
            part.open(OFlags::RDWR | OFlags::CREATE)?.ok_or_else(|| CopyError::Missing(part.path.clone()))?;
        let io = |cause| CopyError::Io { doing: "write", path: part.path.clone(), cause };
        let there = match at {
            0 => {
                // One that was cut off is not waited for any more.
                let others = place.incoming_of(range.tag);
                place.forget_incoming(|found| found.starts_with(&others) && found != name.as_os_str());
                file.set_len(0).map_err(io)?;
                0
            }
            _ => file.metadata().map_err(io)?.len().min(range.total),
        };
        if there != at {
            return Ok(Staged::Part(there));
        }
        file.write_all_at(frame, at).map_err(io)?;
        if end != Some(range.total) {
            return Ok(Staged::Part(at + frame.len() as u64));
        }
        if range.looked_at {
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            let checked = lines::check(
                io::BufReader::with_capacity(FRAME_BYTES, (&file).take(range.total)),
                range.file,
                self.session,
            );
            checked.map_err(|bad| {
                part.remove();
                CopyError::Line(bad)
            })?;
        }
        Ok(Staged::Whole(whole(Data::Beside(file, name))))
    }

    /// Refuses a frame when there would be too many ranges of this grant that are not whole, or too large ones.
    fn may_stage(&self, place: &Place, range: &Range<'_>, end: u64) -> Result<(), CopyError> {
        let own = place.incoming(range.tag, range.from);
        let (mut files, mut bytes) = (1, end);
        for folder in self.folders() {
            for (name, size) in folder.incoming_sizes(range.tag) {
                if OsString::from(&name) != own {
                    files += 1;
                    bytes += size;
                }
            }
        }
        if range.looked_at && (files > STAGED_FILES || bytes > RANGE_BYTES) {
            let what = format!(
                "{files} ranges with {bytes} bytes are not whole; {STAGED_FILES} ranges with {RANGE_BYTES} bytes may be"
            );
            return Err(CopyError::Range(what));
        }
        Ok(())
    }

    /// A place in each folder that files of this session lie in.
    fn folders(&self) -> impl Iterator<Item = Place> {
        [None, Some("subagents/agent-x.jsonl")].into_iter().filter_map(|file| self.place(file, false).ok().flatten())
    }

    /// How much of a range that begins at the file's start is there already.
    pub fn staged(&self, file: Option<&str>, tag: &str) -> Option<(u64, File)> {
        let place = self.place(file, false).ok()??;
        let part = Place { name: place.incoming(tag, 0), ..place };
        let opened = part.open(OFlags::RDONLY).ok()??;
        Some((opened.metadata().ok()?.len(), opened))
    }

    /// Removes what is left of ranges that were cut off.
    pub fn forget_staged(&self) {
        for place in self.folders() {
            let own = format!(".{}", self.session.as_hyphenated());
            place.forget_incoming(|name| name.starts_with(&own) || name.starts_with(".agent-"));
        }
    }

    fn place(&self, file: Option<&str>, create: bool) -> Result<Option<Place>, CopyError> {
        let Some(name) = file else {
            let folder = self.transcript.parent().unwrap_or(Path::new("/"));
            if create {
                make_private(folder)?;
            }
            let Some(opened) = open_folder(rustix::fs::CWD, folder, folder)? else { return Ok(None) };
            let name = format!("{}.jsonl", self.session.as_hyphenated()).into();
            return Ok(Some(Place { folder: opened, name, path: self.transcript.clone() }));
        };
        let own = agent_file(name).ok_or_else(|| CopyError::Name(name.chars().take(AGENT_CHARS).collect()))?;
        Ok(self.subagents(create)?.map(|(folder, path)| Place { folder, name: own.into(), path: path.join(own) }))
    }

    /// The folder of the files of subagents.
    fn subagents(&self, create: bool) -> Result<Option<(OwnedFd, PathBuf)>, CopyError> {
        let folder = self.transcript.parent().unwrap_or(Path::new("/"));
        let Some(mut opened) = open_folder(rustix::fs::CWD, folder, folder)? else { return Ok(None) };
        let mut path = folder.to_owned();
        for name in [self.session.as_hyphenated().to_string().as_str(), SUBAGENTS] {
            path.push(name);
            if create {
                match rustix::fs::mkdirat(&opened, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(CopyError::Io { doing: "make folder", path, cause: e.into() }),
                }
            }
            let Some(next) = open_folder(&opened, Path::new(name), &path)? else { return Ok(None) };
            opened = next;
        }
        Ok(Some((opened, path)))
    }
}

impl Whole {
    /// Waits until what will be a new file is on disk: [`Whole::commit`] then only names it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle(&self) -> Result<(), CopyError> {
        match &self.data {
            Data::Beside(part, _) if self.from == 0 => {
                part.sync_all().map_err(|cause| CopyError::Io { doing: "write", path: self.at.path.clone(), cause })
            }
            _ => Ok(()),
        }
    }

    /// Puts the range into its file, if the file ends where the range begins; what of it was
    /// there already stays. The caller sees to it that nobody else writes meanwhile.
    ///
    /// # Errors
    /// When the file is not what the range continues, or the disk fails: it is then as before.
    pub fn commit(self) -> Result<Committed, CopyError> {
        let Whole { at, from, before_sha256, total, data } = self;
        let io = |cause| CopyError::Io { doing: "extend", path: at.path.clone(), cause };
        if from == 0
            && let Data::Beside(part, name) = &data
            && at.open(OFlags::RDONLY)?.is_none()
        {
            // All of a new file: it only gets its name. Made so that nothing is replaced.
            part.sync_all().map_err(io)?;
            rustix::fs::linkat(&at.folder, name, &at.folder, &at.name, AtFlags::empty()).map_err(|e| io(e.into()))?;
            at.remove_beside(name);
            return Ok(Committed { file: part.try_clone().map_err(io)?, folder: Some(at.folder), path: at.path });
        }
        let create = if from == 0 { OFlags::CREATE } else { OFlags::empty() };
        let file = at.open(OFlags::RDWR | create)?.ok_or_else(|| CopyError::Missing(at.path.clone()))?;
        let size = file.metadata().map_err(io)?.len();
        let diverged = |what: String| CopyError::Diverged { path: at.path.clone(), what };
        if size < from {
            return Err(diverged(format!("has {size} bytes; what is to extend it begins at {from}")));
        }
        if tail_sha256(&file, from).map_err(io)? != before_sha256 {
            return Err(diverged(format!("is another one before byte {from}")));
        }
        if size > from + total || !same(&file, from, &data, size - from).map_err(io)? {
            return Err(diverged(format!("has other lines after byte {from}")));
        }
        if let Err(cause) = write(&file, size, &data, size - from, total) {
            // As before: what we wrote of it is no range.
            let _ = file.set_len(size);
            return Err(io(cause));
        }
        if let Data::Beside(_, name) = &data {
            at.remove_beside(name);
        }
        Ok(Committed { file, folder: (from == 0).then_some(at.folder), path: at.path })
    }
}

/// A file that was extended, and may not be on disk yet.
#[derive(Debug)]
pub struct Committed {
    file: File,
    folder: Option<OwnedFd>,
    path: PathBuf,
}

impl Committed {
    /// Waits until it is on disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), CopyError> {
        let io = |cause| CopyError::Io { doing: "write to disk", path: self.path.clone(), cause };
        self.file.sync_all().map_err(io)?;
        match &self.folder {
            Some(folder) => rustix::fs::fsync(folder).map_err(|e| io(e.into())),
            None => Ok(()),
        }
    }
}

impl Place {
    fn folder(&self) -> OwnedFd {
        self.folder.try_clone().expect("a descriptor that is open can be had again")
    }

    fn again(&self) -> Place {
        Place { folder: self.folder(), name: self.name.clone(), path: self.path.clone() }
    }

    /// The name of a range of it that is not whole.
    fn incoming(&self, tag: &str, from: u64) -> OsString {
        format!("{}{from}{INCOMING}", self.incoming_of(tag)).into()
    }

    /// What the names of its ranges with a tag begin with.
    fn incoming_of(&self, tag: &str) -> String {
        format!(".{}.{tag}", self.name.to_string_lossy())
    }

    /// Ranges with a tag that are not whole, of all files in its folder, with their sizes.
    fn incoming_sizes(&self, tag: &str) -> Vec<(String, u64)> {
        let Ok(dir) = rustix::fs::Dir::read_from(&self.folder) else { return Vec::new() };
        let names = dir.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let own = names.filter(|name| name.ends_with(INCOMING) && name.contains(&format!(".{tag}")));
        own.filter_map(|name| {
            let stat = rustix::fs::statat(&self.folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((name, u64::try_from(stat.st_size).unwrap_or(0)))
        })
        .collect()
    }

    /// Removes what is left of ranges whose name is one of these.
    fn forget_incoming(&self, goes: impl Fn(&str) -> bool) {
        let Ok(dir) = rustix::fs::Dir::read_from(&self.folder) else { return };
        for entry in dir.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.ends_with(INCOMING) && goes(name) {
                self.remove_beside(&name.into());
            }
        }
    }

    /// `None` where it is not there.
    fn open(&self, how: OFlags) -> Result<Option<File>, CopyError> {
        let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.folder, &self.name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(CopyError::NotRegular(self.path.clone())),
            Err(e) => return Err(CopyError::Io { doing: "open", path: self.path.clone(), cause: e.into() }),
        };
        let file = File::from(fd);
        let regular = file
            .metadata()
            .map_err(|cause| CopyError::Io { doing: "look at", path: self.path.clone(), cause })?
            .is_file();
        if regular { Ok(Some(file)) } else { Err(CopyError::NotRegular(self.path.clone())) }
    }

    fn remove(&self) {
        self.remove_beside(&self.name);
    }

    fn remove_beside(&self, name: &OsString) {
        let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
    }
}

/// SHA-256 of what a file begins with, and of what is put behind that.
#[derive(Clone, Debug, Default)]
pub struct Hash(Sha256);

impl Hash {
    /// Of a file's first bytes.
    ///
    /// # Errors
    /// When it cannot be read or is shorter.
    pub fn of(file: &File, size: u64) -> io::Result<Hash> {
        let mut hash = Hash::default();
        hash.read(file, 0, size)?;
        Ok(hash)
    }

    /// Goes on with a stretch of a file.
    ///
    /// # Errors
    /// When it cannot be read or is shorter.
    pub fn read(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        feed(file, from, to, |bytes| {
            self.add(bytes);
            Ok(())
        })
    }

    /// Goes on with these.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.clone().finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// The name of a subagent's file within its folder, where it is one.
fn agent_file(name: &str) -> Option<&str> {
    let own = name.strip_prefix(SUBAGENTS)?.strip_prefix('/')?;
    let agent = own.strip_prefix("agent-")?;
    let agent = agent.strip_suffix(".jsonl").or_else(|| agent.strip_suffix(".meta.json"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=AGENT_CHARS).contains(&agent.len()).then_some(own).filter(|_| agent.chars().all(plain))
}

/// Opens a folder; the last part of its name must not be a link. `None` where it is not there.
fn open_folder(at: impl AsFd, name: &Path, path: &Path) -> Result<Option<OwnedFd>, CopyError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => Err(CopyError::NotRegular(path.to_owned())),
        Err(e) => Err(CopyError::Io { doing: "open folder", path: path.to_owned(), cause: e.into() }),
    }
}

/// Makes a folder for its user alone, with those above it.
fn make_private(folder: &Path) -> Result<(), CopyError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|cause| CopyError::Io { doing: "make folder", path: folder.to_owned(), cause })
}

/// Whether a file has the first `length` bytes of the data from a place on.
fn same(file: &File, from: u64, data: &Data, length: u64) -> io::Result<bool> {
    let (mut at, mut ours, mut same) = (0, Vec::new(), true);
    feed(file, from, from + length, |theirs| {
        if same {
            ours.resize(theirs.len(), 0);
            data.read(&mut ours, at)?;
            at += theirs.len() as u64;
            same = ours == theirs;
        }
        Ok(())
    })?;
    Ok(same)
}

/// Writes the data from `skip` on to the end of a file.
fn write(file: &File, end: u64, data: &Data, skip: u64, total: u64) -> io::Result<()> {
    match data {
        Data::Memory(bytes) => file.write_all_at(&bytes[skip as usize..], end),
        Data::Beside(part, _) => {
            let mut at = end;
            feed(part, skip, total, |bytes| {
                file.write_all_at(bytes, at)?;
                at += bytes.len() as u64;
                Ok(())
            })
        }
    }
}

impl Data {
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Data::Memory(bytes) => {
                into.copy_from_slice(&bytes[at as usize..at as usize + into.len()]);
                Ok(())
            }
            Data::Beside(file, _) => file.read_exact_at(into, at),
        }
    }
}

#[cfg(test)]
mod tests;
