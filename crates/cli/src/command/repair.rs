//! `ride repair <words> --keep <leaf>`: a conversation that went on in two places goes on
//! with one of them. It is done on a copy: the file of this machine is set aside, the
//! gateway's brought in its place, and where the branch of here is kept, its lines are put
//! behind the gateway's. Both machines then have both branches, and the kept one is active.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ride_core::wire::{CopyEnd, Release};
use ride_store::claude::chain_mark;
use ride_store::copy::Files;
use serde_json::json;
use uuid::Uuid;

use super::keep::Kept;
use super::{Context, elsewhere, print_json, release, ride, rows, say};
use crate::args::RideArgs;
use crate::copy::push::{PushError, push};
use crate::copy::{self, Standing, leaf_name, standing, told};
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::interrupt::Interrupts;
use crate::render::clean;
use crate::ride::record::Record;

/// How long the hand-back may take.
const HANDOVER_MS: u64 = 60_000;
/// How long the gateway may take to see that the kept branch does not continue its own.
const LOOK_MS: u64 = 5_000;
/// Bytes compared at a time.
const CHUNK: usize = 1 << 20;
/// Files set aside of one conversation.
const ASIDE: usize = 1_000;

/// Which branch is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// The gateway's.
    There,
    /// This machine's, with its leaf.
    Here(Uuid),
}

pub async fn run(context: &Context<'_>, words: &[String], keep: &str, project: Option<&Path>, json: bool) -> Result<(), Error> {
    let mut interrupts = Interrupts::take()?;
    let target = context.target()?;
    let state_dir = context.state_dir()?;
    let (connection, _events) = interrupts.or("connecting to the gateway", context.connect(&target, Access::Write)).await?;
    let listed = rows(&connection).await?;
    let row = context.find(&target, &listed, words)?;
    let earlier = Record::load(&state_dir, target.origin(), &row.key)?;
    ride::check_row(row, earlier.as_ref(), false)?;
    let args = RideArgs::quiet(words, project);
    let (record, grant) = ride::claim(context, &args, row, &target, &connection, earlier, &state_dir, &mut interrupts).await?;
    let title = clean(&grant.title);
    let lease = Kept::new(&grant, &record, &connection);
    let repair = lease.during(false, async {
        if grant.claude.is_none() || ride::check_grant(&grant).is_ok() {
            let why = if grant.claude.is_none() { "it has no Claude session" } else { "its file is the gateway's own" };
            return Err(Error::new(Kind::NotRideable, format!("{title} has no copy on this machine: {why}")));
        }
        let thread = elsewhere::thread(&grant, &connection);
        let first = told(&thread, 0).await?;
        let folder = crate::ride::target(&grant).cwd.clone();
        let project = elsewhere::project(context, project, &target, &folder, first.repository.as_ref(), &mut interrupts).await?;
        let files = copy::here(&super::adopt::claude_dir(context)?, thread.session, &project)?;
        let (stands, there) = standing(&thread, &files).await?;
        let kept = chosen(keep, &stands, there.leaf)?;
        let aside = set_aside(&files).map_err(|e| broke("set aside", files.transcript(), &e))?;
        let brought = elsewhere::fetch(&thread, &lease, files, &there, &title, &mut interrupts).await;
        let copy = match brought {
            Ok(copy) => copy,
            Err(e) => {
                // As it was: nothing is in its place yet, or the beginning of what the gateway has.
                let said = format!("{}; what was here stands in {}", e.message, aside.display());
                return Err(Error { message: said, ..e });
            }
        };
        let mut end = copy.size;
        if let Keep::Here(leaf) = kept {
            end = graft(&aside, copy.files.transcript(), leaf).map_err(|e| broke("extend", copy.files.transcript(), &e))?;
            push(&thread, &copy.files, None, copy.size, end, || {}).await.map_err(pushed)?;
        }
        let mark = chain_mark(copy.files.transcript()).map_err(|e| Error::new(Kind::Transcript, e.to_string()))?;
        Ok((kept, aside, CopyEnd { size: end, tail_sha256: mark.tail_sha256, leaf: mark.leaf }))
    });
    let (kept, aside, end) = match repair.await {
        Ok(done) => done,
        Err(e) => return ride::give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
    };
    let accept = matches!(kept, Keep::Here(_));
    let wait_ms = if accept { LOOK_MS } else { HANDOVER_MS };
    let request = Release { key: grant.key.clone(), fence: grant.fence, accept_broken_chain: false, wait_ms, copy: Some(end.clone()) };
    let mut released = release::ask(&connection, &request, &record, &state_dir).await?;
    if accept && !released.open && released.acceptable {
        // The leaf of here does not descend from the gateway's: that is what the person decided.
        let request = Release { accept_broken_chain: true, wait_ms: HANDOVER_MS, ..request };
        released = release::ask(&connection, &request, &record, &state_dir).await?;
    }
    if json {
        print_json(&json!({ "leaf": end.leaf, "aside": aside, "open": released.open }))?;
    } else {
        let which = if accept { "what was said on this machine" } else { "what the gateway has" };
        say(format_args!("{title} goes on with {which}; the file that was here is kept as {}", aside.display()));
    }
    release::outcome(&title, &grant.key, &released)
}

/// Which of the two branches a leaf, or the beginning of one, names.
fn chosen(keep: &str, stands: &Standing, there: Option<Uuid>) -> Result<Keep, Error> {
    let here = match stands {
        Standing::Behind => return Err(Error::new(Kind::NotRideable, "the copy of this machine has nothing that the gateway's lacks").hint("it can be ridden as it is")),
        Standing::Ahead { .. } => None,
        Standing::Apart { here, .. } => here.leaf,
    };
    let keep = keep.trim().to_lowercase();
    let names = |leaf: Option<Uuid>| leaf.is_some_and(|leaf| !keep.is_empty() && leaf.to_string().starts_with(&keep));
    match (names(there), names(here)) {
        (true, false) => Ok(Keep::There),
        (false, true) => Ok(Keep::Here(here.expect("it was named"))),
        _ => {
            let message = format!("{} names neither leaf, or both", clean(&keep));
            Err(Error::new(Kind::Match, message).hint(format!("on this machine: {}\nat the gateway:  {}", leaf_name(here), leaf_name(there))))
        }
    }
}

/// Gives the transcript of here another name; Claude Code does not list it then.
fn set_aside(files: &Files) -> io::Result<PathBuf> {
    let path = files.transcript();
    for nth in 1..=ASIDE {
        let aside = path.with_extension(format!("jsonl.aside-{nth}"));
        match fs::hard_link(path, &aside) {
            Ok(()) => {
                fs::remove_file(path)?;
                return Ok(aside);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other(format!("there are {ASIDE} of it already")))
}

/// Puts the lines that only `from` has behind those of `onto`, and makes `leaf` the active
/// one; the new length.
fn graft(from: &Path, onto: &Path, leaf: Uuid) -> io::Result<u64> {
    let (mut from, there) = (File::open(from)?, File::open(onto)?);
    let common = common_lines(&from, &there)?;
    let mut file = OpenOptions::new().append(true).read(true).open(onto)?;
    if !ends_a_line(&there)? {
        file.write_all(b"\n")?;
    }
    from.seek(SeekFrom::Start(common))?;
    io::copy(&mut from, &mut file)?;
    if !ends_a_line(&file)? {
        file.write_all(b"\n")?;
    }
    if chain_mark(onto).ok().and_then(|mark| mark.leaf) != Some(leaf) {
        // As Claude Code says which leaf it goes on with.
        let session = onto.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(file, "{}", json!({ "type": "last-prompt", "leafUuid": leaf, "sessionId": session }))?;
    }
    file.sync_all()?;
    match chain_mark(onto).ok().and_then(|mark| mark.leaf) {
        Some(active) if active == leaf => Ok(file.metadata()?.len()),
        active => Err(io::Error::other(format!("the active leaf would be {active:?} instead of {leaf}"))),
    }
}

/// Length of the whole lines that two files begin with alike.
fn common_lines(one: &File, other: &File) -> io::Result<u64> {
    let (mut one, mut other) = (io::BufReader::with_capacity(CHUNK, one), io::BufReader::with_capacity(CHUNK, other));
    let (mut same, mut lines) = (0_u64, 0);
    for (a, b) in one.by_ref().bytes().zip(other.by_ref().bytes()) {
        let (a, b) = (a?, b?);
        if a != b {
            break;
        }
        same += 1;
        if a == b'\n' {
            lines = same;
        }
    }
    Ok(lines)
}

fn ends_a_line(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn broke(doing: &str, path: &Path, e: &io::Error) -> Error {
    Error::new(Kind::Transcript, format!("could not {doing} {}: {e}", path.display()))
}

fn pushed(e: PushError) -> Error {
    match e {
        PushError::Call(e) => e.into(),
        here => Error::new(Kind::Transcript, here.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::copy::Branch;

    fn user(n: u128, parent: Option<u128>) -> String {
        let id = |n: u128| Uuid::from_u128(n).to_string();
        let line = json!({ "type": "user", "uuid": id(n), "parentUuid": parent.map(id), "sessionId": id(99), "message": { "role": "user", "content": format!("said {n}") } });
        format!("{line}\n")
    }

    #[test]
    fn the_branch_of_here_goes_behind_the_gateways_and_is_active() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let both = user(1, None) + &user(2, Some(1));
        let hint = |leaf: u128| format!("{}\n", json!({ "type": "last-prompt", "leafUuid": Uuid::from_u128(leaf) }));
        // Each branch ends with and without the line that names its leaf.
        for (here, there) in [(hint(3), hint(4)), (String::new(), hint(4)), (hint(3), String::new()), (String::new(), String::new())] {
            fs::write(path("here"), format!("{both}{}{here}", user(3, Some(2)))).unwrap();
            let theirs = format!("{both}{}{there}", user(4, Some(2)));
            fs::write(path("there"), &theirs).unwrap();
            let size = graft(&path("here"), &path("there"), Uuid::from_u128(3)).unwrap();
            let text = fs::read_to_string(path("there")).unwrap();
            assert_eq!(size, text.len() as u64);
            assert!(text.starts_with(&theirs) && text.contains("said 3"), "{text}");
            assert_eq!(text.matches("said 2").count(), 1, "what both have stands there once: {text}");
            assert_eq!(chain_mark(&path("there")).unwrap().leaf, Some(Uuid::from_u128(3)));
        }
    }

    #[test]
    fn a_leaf_names_a_branch_or_is_refused() {
        let branch = |leaf: u128| Branch { leaf: Some(Uuid::from_u128(leaf)), last_prompt: None };
        let apart = Standing::Apart { here: branch(0xa << 124), there: branch(0xb << 124) };
        let there = Some(Uuid::from_u128(0xb << 124));
        let of = |keep: &str, stands: &Standing| chosen(keep, stands, there).map_err(|e| e.message);
        assert_eq!(of("B0000", &apart), Ok(Keep::There));
        assert_eq!(of("a", &apart), Ok(Keep::Here(Uuid::from_u128(0xa << 124))));
        assert_eq!(of("c", &apart), Err("c names neither leaf, or both".into()));
        assert_eq!(of("", &apart), Err(" names neither leaf, or both".into()));
        let ahead = Standing::Ahead { bytes: 1, last_prompt: None };
        assert_eq!(of("b", &ahead), Ok(Keep::There));
        assert!(of("a", &ahead).is_err() && of("b", &Standing::Behind).is_err());
    }
}
