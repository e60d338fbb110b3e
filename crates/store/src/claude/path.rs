//! Where Claude Code keeps things: `<config>/projects/<slug>/<id>.jsonl` and
//! `<config>/sessions/<pid>.json`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::ClaudeError;
use super::transcript::open_regular;

/// Most project folders that are searched; people have hundreds.
const MAX_PROJECTS: usize = 50_000;

/// Longest slug before it is cut and hashed, in UTF-16 units.
const MAX_SLUG: usize = 200;

/// A configuration folder of Claude Code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaudeDir(PathBuf);

/// A transcript that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of which Claude session.
    pub session: Uuid,
    /// Its file.
    pub path: PathBuf,
    /// Last change, milliseconds since 1970.
    pub changed_ms: u64,
}

impl ClaudeDir {
    /// The folder in force: the value of `CLAUDE_CONFIG_DIR` when it is set and
    /// not empty, else `.claude` in the home folder.
    pub fn new(claude_config_dir: Option<&OsStr>, home: &Path) -> Self {
        ClaudeDir(match claude_config_dir {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => home.join(".claude"),
        })
    }

    /// This folder, whatever the environment says.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        ClaudeDir(dir.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The live registry.
    pub fn sessions(&self) -> PathBuf {
        self.0.join("sessions")
    }

    /// The transcripts of one project folder, links resolved where it exists.
    pub fn project(&self, cwd: &Path) -> PathBuf {
        let real = fs::canonicalize(cwd).unwrap_or_else(|_| cwd.to_owned());
        self.0.join("projects").join(project_slug(&real.to_string_lossy()))
    }

    /// The Claude sessions that have a transcript file, by its name. What cannot be
    /// read has none: this is for a listing, a claim looks at the file itself.
    pub fn sessions_with_transcript(&self) -> HashSet<Uuid> {
        self.files().map(|(session, _)| session).collect()
    }

    /// Every transcript there is, with when it last changed. What cannot be read is left out.
    pub fn transcripts(&self) -> Vec<Found> {
        let one = |(session, file): (Uuid, fs::DirEntry)| {
            let since = file.metadata().ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(Found { session, path: file.path(), changed_ms: u64::try_from(since.as_millis()).ok()? })
        };
        self.files().filter_map(one).collect()
    }

    /// Regular files that are named as transcripts are.
    fn files(&self) -> impl Iterator<Item = (Uuid, fs::DirEntry)> {
        let folders = fs::read_dir(self.0.join("projects")).into_iter().flatten().flatten().take(MAX_PROJECTS);
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        let regular = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()));
        regular.filter_map(|file| Some((file.file_name().to_str()?.strip_suffix(".jsonl")?.parse().ok()?, file)))
    }

    /// Finds the transcript of a Claude session: in the project of `cwd` first,
    /// then anywhere (a session resumed elsewhere stays in its first project).
    ///
    /// # Errors
    /// When it is no regular file, when two projects have it, when a folder
    /// cannot be read.
    pub fn find(&self, id: Uuid, cwd: Option<&Path>) -> Result<Option<PathBuf>, ClaudeError> {
        let name = format!("{}.jsonl", id.as_hyphenated());
        if let Some(cwd) = cwd {
            let path = self.project(cwd).join(&name);
            if exists(&path)? {
                return Ok(Some(path));
            }
        }
        let projects = self.0.join("projects");
        let entries = match fs::read_dir(&projects) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ClaudeError::io("read folder", &projects, e)),
        };
        let mut found: Option<PathBuf> = None;
        for (n, entry) in entries.enumerate() {
            if n >= MAX_PROJECTS {
                return Err(ClaudeError::TooMany { what: "projects", path: projects, max: MAX_PROJECTS });
            }
            let entry = entry.map_err(|e| ClaudeError::io("read folder", &projects, e))?;
            let path = entry.path().join(&name);
            if exists(&path)? {
                match found {
                    Some(first) => return Err(ClaudeError::Ambiguous(first, path)),
                    None => found = Some(path),
                }
            }
        }
        Ok(found)
    }
}

/// Most folders that are looked at for the one that a slug names.
const MAX_SEARCHED: usize = 20_000;

/// The folder that a slug names, where the lines of its transcripts do not: it was renamed together with the slug's own
/// folder. `None` where there is none, where there are several, and for a slug that was cut.
pub fn folder_of_slug(root: &Path, slug: &str) -> Option<PathBuf> {
    let mut searched = 0;
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), slug.strip_prefix('-')?.to_owned())];
    while let Some((folder, rest)) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            searched += 1;
            if searched > MAX_SEARCHED {
                return None;
            }
            let Ok(true) = entry.file_type().map(|kind| kind.is_dir()) else { continue };
            let name = project_slug(&entry.file_name().to_string_lossy());
            match rest.strip_prefix(name.as_str()) {
                Some("") => found.push(entry.path()),
                Some(more) => open.extend(more.strip_prefix('-').map(|more| (entry.path(), more.to_owned()))),
                None => {}
            }
        }
    }
    (found.len() == 1).then(|| found.remove(0))
}

fn exists(path: &Path) -> Result<bool, ClaudeError> {
    match open_regular(path) {
        Ok(_) => Ok(true),
        Err(ClaudeError::Io { cause, .. })
            if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// The folder name Claude Code gives a project: each UTF-16 unit that is no
/// ASCII letter or digit becomes `-`; past 200 units, the first 200, `-` and a
/// base-36 hash of the whole. `real` is the project's path with links resolved.
pub fn project_slug(real: &str) -> String {
    let keep = |unit: u16| match u8::try_from(unit) {
        Ok(b) if b.is_ascii_alphanumeric() => char::from(b),
        _ => '-',
    };
    let slug: String = real.encode_utf16().map(keep).collect();
    if slug.len() <= MAX_SLUG {
        return slug;
    }
    let hash = real.encode_utf16().fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    format!("{}-{}", &slug[..MAX_SLUG], base36(hash.unsigned_abs()))
}

fn base36(mut n: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(n % 36, 36).expect("a remainder of 36 is a digit"));
        n /= 36;
        if n == 0 {
            return digits.iter().rev().collect();
        }
    }
}
