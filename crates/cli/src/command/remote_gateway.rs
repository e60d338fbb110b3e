//! A ride where the gateway is another machine: which folder of this one its project is in,
//! and the conversation's files brought there.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ride_core::wire::{ClaudeTarget, Copied, Grant, Repository};
use ride_store::claude::chain_mark;
use ride_store::copy::{Files, repository};

use super::keep::Kept;
use super::{Context, adopt, ride, say};
use crate::args::RideArgs;
use crate::copy::folders::{ByGit, Folders, FoldersError, by_git};
use crate::copy::{self, Copy, Standing, Thread, bring, leaf_name, standing, told};
use crate::error::{Error, Kind};
use crate::gateway::client::{CallError, Connection};
use crate::gateway::locate::Target;
use crate::interrupt::Interrupts;
use crate::render::clean;

/// Below this nobody waits for it.
const SHOWN_FROM: u64 = 4 << 20;
/// How often the progress is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(200);
/// Wrong answers to a question.
const ANSWERS: usize = 3;

/// Brings the conversation of a granted thread to this machine; the grant then names it.
/// `why` is why it is not the gateway's own file that is ridden.
pub(super) async fn begin(
    context: &Context<'_>,
    args: &RideArgs,
    target: &Target,
    grant: &mut Grant,
    (connection, kept): (&Connection, &Kept),
    why: Error,
    interrupts: &mut Interrupts,
) -> Result<Copy, Error> {
    let thread = thread(grant, connection);
    let (files, project, there) =
        kept.during(false, place(context, args, target, grant, &thread, why, interrupts)).await?;
    let copy = fetch(&thread, kept, files, &there, &clean(&grant.title), interrupts).await?;
    grant.claude = Some(claude(&thread, &copy.files, &project, adopt::claude_dir(context)?.path())?);
    Ok(copy)
}

/// Finds where the copy of here is and how it stands to the gateway's; asks where a person has to say.
async fn place(
    context: &Context<'_>,
    args: &RideArgs,
    target: &Target,
    grant: &Grant,
    thread: &Thread,
    why: Error,
    interrupts: &mut Interrupts,
) -> Result<(Files, PathBuf, Copied), Error> {
    let title = clean(&grant.title);
    let first =
        match interrupts.or("asking for the conversation", async { Ok::<_, Error>(told(thread, 0).await) }).await? {
            // A gateway of before: it has to be its own machine.
            Err(CallError::UnknownMethod { .. }) => return Err(why),
            first => first?,
        };
    let gateway_folder = crate::ride::target(grant).cwd.clone();
    let project =
        project(context, args.project.as_deref(), target, &gateway_folder, first.repository.as_ref(), interrupts)
            .await?;
    let files = copy::here(&adopt::claude_dir(context)?, thread.session, &project)?;
    refuse_shared(&files, grant)?;
    let (stands, there) = interrupts.or("comparing the two copies", standing(thread, &files)).await?;
    match stands {
        Standing::Behind => {}
        Standing::Ahead { bytes, last_prompt } => {
            let last = last_prompt
                .map_or_else(String::new, |text| format!(", last “{}”", crate::render::cut(&clean(&text), 60)));
            let question = format!(
                "this machine has {} of {title} that never reached the gateway{last}. Go on with it?",
                size(bytes)
            );
            if !args.yes && !ride::confirm(&question, interrupts).await? {
                return Err(Error::new(Kind::Left, format!("{title} is not ridden; both copies are as they were"))
                    .hint(format!(
                        "to go on with the gateway's: ride repair {} --keep {}",
                        clean(&grant.key),
                        leaf_name(there.leaf)
                    )));
            }
        }
        Standing::Apart { here, there } => {
            let message = format!(
                "{title} went on in two places, and neither is changed\n  on this machine: {here}\n  at the gateway:  {there}"
            );
            return Err(Error::new(Kind::Transcript, message).hint(format!(
                "to go on with one of them, the other kept aside: ride repair {} --keep <its leaf>",
                clean(&grant.key)
            )));
        }
    }
    Ok((files, project, there))
}

/// What a granted thread is asked for by.
pub(super) fn thread(grant: &Grant, connection: &Connection) -> Thread {
    let session = crate::ride::target(grant).session_id;
    Thread { connection: connection.clone(), key: grant.key.clone(), fence: grant.fence, session }
}

/// Brings what is missing, with its progress where a person may wonder.
pub(super) async fn fetch(
    thread: &Thread,
    kept: &Kept,
    files: Files,
    there: &Copied,
    title: &str,
    interrupts: &mut Interrupts,
) -> Result<Copy, Error> {
    let mut progress = Progress { drawn: None, shows: there.size >= SHOWN_FROM && std::io::stderr().is_terminal() };
    let brought = interrupts
        .or(
            "bringing the conversation",
            kept.during(true, bring(thread, files, there, |at, of| progress.at(title, at, of))),
        )
        .await;
    progress.end();
    brought
}

/// The Claude session as it stands on this machine.
fn claude(thread: &Thread, files: &Files, project: &Path, config_dir: &Path) -> Result<ClaudeTarget, Error> {
    let transcript = chain_mark(files.transcript()).map_err(|e| Error::new(Kind::Transcript, e.to_string()))?;
    Ok(ClaudeTarget {
        session_id: thread.session,
        config_dir: config_dir.to_string_lossy().into_owned(),
        cwd: project.to_string_lossy().into_owned(),
        transcript,
    })
}

/// A file that is the gateway's own, seen over the network: two machines would write to it.
fn refuse_shared(files: &Files, grant: &Grant) -> Result<(), Error> {
    let mark = &crate::ride::target(grant).transcript;
    let same = |file: std::fs::File| {
        let found = file.metadata().ok()?;
        let tail = ride_store::claude::tail_sha256(&file, mark.size).ok()?;
        Some((found.ino(), found.len(), tail.as_str()) == (mark.ino, mark.size, mark.tail_sha256.as_str()))
    };
    if files.open(None).ok().flatten().and_then(same) == Some(true) {
        let what = format!(
            "{} is the gateway's own file, over a file system that both machines have",
            files.transcript().display()
        );
        return Err(Error::new(Kind::Transcript, what)
            .hint("run ride where the gateway runs, or set CLAUDE_CONFIG_DIR to a folder of this machine"));
    }
    Ok(())
}

/// The folder of this machine that the gateway's project is in: as was said, as is known, by
/// git, or asked for once.
pub(super) async fn project(
    context: &Context<'_>,
    named: Option<&Path>,
    target: &Target,
    there: &str,
    repository_there: Option<&Repository>,
    interrupts: &mut Interrupts,
) -> Result<PathBuf, Error> {
    let env = context.env;
    let mut folders = Folders::load(&context.state_dir()?)?;
    let gateway = target.origin();
    let (shown, known_in) = (clean(there), folders.path().display().to_string());
    if let Some(named) = named {
        let folder = a_folder(&env.cwd.join(named))?;
        folders.remember(gateway, there, &folder)?;
        return Ok(folder);
    }
    if let Some(known) = folders.get(gateway, there) {
        return a_folder(known).map_err(|e| {
            e.hint(format!("{known_in} says that it is {shown} of the gateway; --project DIR names another"))
        });
    }
    let git = by_git(&env.cwd, repository(&env.cwd).as_ref(), repository_there);
    if let ByGit::Here(folder) = &git
        && let Ok(folder) = a_folder(folder)
    {
        say(format_args!("{shown} of the gateway is {} here, by its repository and branch", folder.display()));
        folders.remember(gateway, there, &folder)?;
        return Ok(folder);
    }
    if !env.terminal.interactive {
        return Err(Error::new(Kind::Usage, format!("which folder of this machine is {shown} of the gateway?"))
            .hint("--project DIR says it once"));
    }
    if let ByGit::OtherBranch(branch) = &git {
        let theirs = repository_there.map_or("another", |there| there.branch.as_str());
        say(format_args!(
            "this folder is of the same repository, on branch {}; the gateway's is on {}",
            clean(branch),
            clean(theirs)
        ));
    }
    for _ in 0..ANSWERS {
        let question = format!("Which folder of this machine is {shown} of the gateway? [{}] ", env.cwd.display());
        let answer = ride::ask(&question, interrupts).await?;
        let named = if answer.is_empty() { env.cwd.clone() } else { expand(&answer, env.home().as_deref(), &env.cwd) };
        match a_folder(&named) {
            Ok(folder) => {
                folders.remember(gateway, there, &folder)?;
                say(format_args!("remembered in {known_in}"));
                return Ok(folder);
            }
            Err(e) => say(e),
        }
    }
    Err(Error::new(Kind::Left, "no folder was named").hint("--project DIR says it once"))
}

/// A folder by its real name: Claude Code keeps its sessions under that.
fn a_folder(path: &Path) -> Result<PathBuf, Error> {
    let real = std::fs::canonicalize(path).ok().filter(|real| real.is_dir());
    real.ok_or_else(|| Error::new(Kind::Usage, format!("there is no folder {}", path.display())))
}

fn expand(answer: &str, home: Option<&Path>, cwd: &Path) -> PathBuf {
    match (answer.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => cwd.join(answer),
    }
}

/// A line that is drawn over itself.
struct Progress {
    shows: bool,
    drawn: Option<Instant>,
}

impl Progress {
    fn at(&mut self, title: &str, at: u64, of: u64) {
        let due = self.drawn.is_none_or(|last| last.elapsed() >= DRAWN_EVERY) || at == of;
        if self.shows && due {
            self.drawn = Some(Instant::now());
            let line = format!("\rbringing {title}: {} of {} ", size(at), size(of));
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn end(&mut self) {
        if self.drawn.take().is_some() {
            say("\n");
        }
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

impl From<FoldersError> for Error {
    fn from(e: FoldersError) -> Error {
        Error::new(Kind::Config, e.to_string())
    }
}
