//! `ride repair <words> --keep <leaf>`: a conversation that went on in two places goes on
//! with one of them.
//!
//! Two copies: the file of this machine is set aside, the gateway's brought in its place, and
//! where the branch of here is kept, its lines are put behind the gateway's. Both machines then
//! have both branches, and the kept one is active. One file with a branch beside the active
//! conversation: a line behind it says which leaf Claude Code goes on with; nothing else changes.
//! What shows that there is nothing to repair is looked at before the thread is claimed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ride_core::wire::{CopyEnd, Release, Row, method};
use ride_store::claude::{ClaudeDir, chain_mark, process, read_transcript};
use ride_store::clock;
use ride_store::copy::Files;
use serde_json::json;
use uuid::Uuid;

use super::keep::Kept;
use super::{Context, print_json, release, remote_gateway, ride, rows, say};
use crate::args::RideArgs;
use crate::copy::push::{PushError, push};
use crate::copy::{self, Standing, leaf_name, standing, told};
use crate::doctor::Plugin;
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, Connection};
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
    /// One beside the active conversation of the gateway's, with its leaf.
    Beside(Uuid),
}

/// What was done, before the thread is handed back.
struct Done {
    kept: Keep,
    /// What the file that was here is called now.
    aside: Option<PathBuf>,
    /// Where the copy of this machine ends, if the repair was done on one.
    end: Option<CopyEnd>,
}

pub async fn run(
    context: &Context<'_>,
    words: &[String],
    keep: &str,
    project: Option<&Path>,
    json: bool,
) -> Result<(), Error> {
    let mut interrupts = Interrupts::take()?;
    let target = context.target()?;
    let state_dir = context.state_dir()?;
    let (connection, _events) =
        interrupts.or("connecting to the gateway", context.connect(&target, Access::Write)).await?;
    let listed = rows(&connection).await?;
    let row = context.find(&target, &listed, words)?;
    let earlier = Record::load(&state_dir, target.origin(), &row.key)?;
    ride::check_row(row, earlier.as_ref(), false)?;
    before(context, &connection, row, keep).await?;
    let args = RideArgs::quiet(words, project);
    let (record, grant) =
        ride::claim(context, &args, row, &target, &connection, earlier, &state_dir, &mut interrupts).await?;
    let title = clean(&grant.title);
    let lease = Kept::new(&grant, &record, &connection);
    let repair = lease.during(false, async {
        if grant.claude.is_none() {
            return Err(nothing(&title, "it has no Claude session"));
        }
        let beside = grant.beside.iter().map(|side| side.leaf).find(|leaf| begins(*leaf, keep));
        if ride::check_grant(&grant).is_ok() {
            let leaf = beside.ok_or_else(|| nothing(&title, &format!("no branch of it ends at {}", clean(keep))))?;
            let path = PathBuf::from(&crate::ride::target(&grant).transcript.path);
            go_on_with(&path, leaf).map_err(|e| broke("extend", &path, &e))?;
            return Ok(Done { kept: Keep::Beside(leaf), aside: None, end: None });
        }
        let thread = remote_gateway::thread(&grant, &connection);
        let first = told(&thread, 0).await?;
        let folder = crate::ride::target(&grant).cwd.clone();
        let project =
            remote_gateway::project(context, project, &target, &folder, first.repository.as_ref(), &mut interrupts)
                .await?;
        let files = copy::here(&super::adopt::claude_dir(context)?, thread.session, &project)?;
        let (stands, there) = standing(&thread, &files).await?;
        let kept = match (beside, &stands) {
            (Some(leaf), Standing::Behind) => Keep::Beside(leaf),
            _ => chosen(keep, &stands, there.leaf)?,
        };
        let aside = match kept {
            Keep::Beside(_) => None,
            _ => Some(set_aside(&files).map_err(|e| broke("set aside", files.transcript(), &e))?),
        };
        let brought = remote_gateway::fetch(&thread, &lease, files, &there, &title, &mut interrupts).await;
        let copy = match (brought, &aside) {
            (Ok(copy), _) => copy,
            (Err(e), Some(aside)) => {
                // As it was: nothing is in its place yet, or the beginning of what the gateway has.
                let said = format!("{}; what was here stands in {}", e.message, aside.display());
                return Err(Error { message: said, ..e });
            }
            (Err(e), None) => return Err(e),
        };
        let path = copy.files.transcript();
        let size = match (kept, &aside) {
            (Keep::Here(leaf), Some(aside)) => graft(aside, path, leaf).map_err(|e| broke("extend", path, &e))?,
            (Keep::Beside(leaf), _) => go_on_with(path, leaf).map_err(|e| broke("extend", path, &e))?,
            _ => copy.size,
        };
        if size > copy.size {
            push(&thread, &copy.files, None, copy.size, size, || {}).await.map_err(pushed)?;
        }
        let mark = chain_mark(path).map_err(|e| Error::new(Kind::Transcript, e.to_string()))?;
        Ok(Done { kept, aside, end: Some(CopyEnd { size, tail_sha256: mark.tail_sha256, leaf: mark.leaf }) })
    });
    let done = match repair.await {
        Ok(done) => done,
        Err(e) => return ride::give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
    };
    let accept = done.kept != Keep::There;
    let wait_ms = if accept { LOOK_MS } else { HANDOVER_MS };
    let request = Release {
        key: grant.key.clone(),
        fence: grant.fence,
        accept_broken_chain: false,
        wait_ms,
        copy: done.end.clone(),
    };
    let mut released = release::ask(&connection, &request, &record, &state_dir).await?;
    if accept && !released.open && released.acceptable {
        // The kept leaf does not descend from the gateway's: that is what the person decided.
        let request = Release { accept_broken_chain: true, wait_ms: HANDOVER_MS, ..request };
        released = release::ask(&connection, &request, &record, &state_dir).await?;
    }
    if json {
        let leaf = match done.kept {
            Keep::Beside(leaf) => Some(leaf),
            _ => done.end.as_ref().and_then(|end| end.leaf),
        };
        print_json(&json!({ "leaf": leaf, "aside": done.aside, "open": released.open }))?;
    } else {
        let which = match done.kept {
            Keep::There => "what the gateway has",
            Keep::Here(_) => "what was said on this machine",
            Keep::Beside(_) => "the branch that you chose; the other one stays in the transcript beside it",
        };
        let aside = done
            .aside
            .as_ref()
            .map_or_else(String::new, |aside| format!("; the file that was here is kept as {}", aside.display()));
        say(format_args!("{title} goes on with {which}{aside}"));
    }
    release::outcome(&title, &grant.key, &released)
}

/// Refuses what can be seen to need no repair, before anybody is disturbed.
async fn before(context: &Context<'_>, connection: &Connection, row: &Row, keep: &str) -> Result<(), Error> {
    let title = clean(&row.title);
    let Some(session) = row.cli_session_id.as_deref().and_then(|id| id.parse::<Uuid>().ok()) else {
        return Err(nothing(&title, "it has no Claude session"));
    };
    let plugin: Plugin = connection.call(method::CONFIG, &json!({})).await?;
    let Some(condition) = plugin.condition else { return Ok(()) };
    // What cannot be read here the claim finds out.
    let beside = condition.machine == clock::machine();
    if beside && condition.namespace != process::namespace() {
        // A container of this machine: whether it has the same files is not known before the claim.
        return Ok(());
    }
    if beside {
        let Ok(Some(path)) = ClaudeDir::at(&condition.claude_dir).find(session, None) else { return Ok(()) };
        let Ok(transcript) = read_transcript(&path) else { return Ok(()) };
        if !transcript.sides(None, 0).iter().any(|side| begins(side.leaf, keep)) {
            return Err(nothing(&title, &format!("no branch of it ends at {}", clean(keep))));
        }
    } else if let Ok(None) = super::adopt::claude_dir(context)?.find(session, None) {
        return Err(nothing(&title, "it has no copy on this machine"));
    }
    Ok(())
}

fn nothing(title: &str, why: &str) -> Error {
    Error::new(Kind::NotRideable, format!("there is nothing to repair in {title}: {why}"))
}

/// Whether a person's letters are the beginning of a leaf.
fn begins(leaf: Uuid, keep: &str) -> bool {
    let keep = keep.trim().to_lowercase();
    !keep.is_empty() && leaf.to_string().starts_with(&keep)
}

/// Which of the two branches a leaf, or the beginning of one, names.
fn chosen(keep: &str, stands: &Standing, there: Option<Uuid>) -> Result<Keep, Error> {
    let here = match stands {
        Standing::Behind => {
            return Err(Error::new(Kind::NotRideable, "the copy of this machine has nothing that the gateway's lacks")
                .hint("it can be ridden as it is"));
        }
        Standing::Ahead { .. } => None,
        Standing::Apart { here, .. } => here.leaf,
    };
    let names = |leaf: Option<Uuid>| leaf.is_some_and(|leaf| begins(leaf, keep));
    match (names(there), names(here)) {
        (true, false) => Ok(Keep::There),
        (false, true) => Ok(Keep::Here(here.expect("it was named"))),
        _ => {
            let message = format!("{} names neither leaf, or both", clean(keep.trim()));
            Err(Error::new(Kind::Match, message).hint(format!(
                "on this machine: {}\nat the gateway:  {}",
                leaf_name(here),
                leaf_name(there)
            )))
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
    drop(file);
    go_on_with(onto, leaf)
}

/// Makes a leaf the active one, by the line in which Claude Code says which one it goes on
/// with; the new length.
fn go_on_with(path: &Path, leaf: Uuid) -> io::Result<u64> {
    let mut file = OpenOptions::new().append(true).read(true).open(path)?;
    if !ends_a_line(&file)? {
        file.write_all(b"\n")?;
    }
    if !is_active(path, leaf) {
        let session = path.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(file, "{}", json!({ "type": "last-prompt", "leafUuid": leaf, "sessionId": session }))?;
    }
    file.sync_all()?;
    if !is_active(path, leaf) {
        return Err(io::Error::other(format!("Claude Code would not go on with {leaf}")));
    }
    Ok(file.metadata()?.len())
}

/// Whether Claude Code goes on with a leaf, or below it.
fn is_active(path: &Path, leaf: Uuid) -> bool {
    let active = read_transcript(path).ok().and_then(|transcript| transcript.leaf().ok().flatten());
    active == Some(leaf) || chain_mark(path).is_ok_and(|mark| mark.leaf == Some(leaf))
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
        for (here, there) in
            [(hint(3), hint(4)), (String::new(), hint(4)), (hint(3), String::new()), (String::new(), String::new())]
        {
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
    fn a_branch_in_one_file_is_gone_on_with_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        let hint = format!("{}\n", json!({ "type": "last-prompt", "leafUuid": Uuid::from_u128(4) }));
        // The last line may lack its line feed.
        for end in ["\n", ""] {
            let text =
                user(1, None) + &user(2, Some(1)) + &user(3, Some(2)) + &user(4, Some(2)) + hint.trim_end() + end;
            fs::write(&path, &text).unwrap();
            let size = go_on_with(&path, Uuid::from_u128(3)).unwrap();
            let now = fs::read_to_string(&path).unwrap();
            assert!(now.starts_with(&text) && now.lines().count() == text.lines().count() + 1, "{now}");
            assert_eq!((size, chain_mark(&path).unwrap().leaf), (now.len() as u64, Some(Uuid::from_u128(3))));
            // Repeated, it changes nothing.
            assert_eq!(go_on_with(&path, Uuid::from_u128(3)).unwrap(), size);
        }
        assert!(go_on_with(&path, Uuid::from_u128(77)).is_err(), "a leaf that is not there");
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
