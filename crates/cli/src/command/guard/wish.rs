//! Adopting from inside Claude Code: its conversation becomes a thread's once it has been
//! left. What can be looked at is looked at when it is wished for; the adoption itself waits
//! for the end of that Claude Code, in a process of its own, since two writers are one too
//! many. What came of it is written to the terminal that Claude Code was left in, where that
//! is still there, and kept for `ride status` otherwise.
//!
//! Invariants: one wish per Claude session, the last one counts; nobody waits longer than
//! [`WAIT_WITHIN`]; the gateway decides anew when it is asked.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ride_core::id::Process;
use ride_core::versioned::{self, Unread, Versioned};
use ride_core::wire::Row;
use ride_store::claude::process::{Alive, alive, look, wait_gone};
use ride_store::claude::why_not_resumed;
use ride_store::clock;
use rustix::fs::OFlags;
use rustix::process::{Pid, getsid, setsid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AFTER, bounded, claude, in_words, wishes};
use crate::args::GatewayArgs;
use crate::command::{Context, adopt, rows};
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::render::{self, clean};

/// How long a Claude Code may go on: a day's work and the night after it.
const WAIT_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the adoption may take, attempts at a gateway that restarts included.
const ADOPT_WITHIN: Duration = Duration::from_secs(300);
/// Attempts at a gateway that cannot be reached, and what is between them.
const ATTEMPTS: usize = 6;
const ATTEMPT_EVERY: Duration = Duration::from_secs(10);
/// How long the thread's running turn is waited for.
const TURN_S: u64 = 120;
/// Claude Code writes a turn's last lines after it shows them; 0.1 s was seen, on 2.1.330.
const WRITTEN_LOOKS: usize = 10;
const WRITTEN_EVERY: Duration = Duration::from_millis(200);
/// How long what came of a wish is kept.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Larger files are no wishes.
const MAX_BYTES: u64 = 64 * 1024;

/// That a Claude session become a thread's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Of all wishes.
    id: Uuid,
    /// The Claude session.
    pub session: Uuid,
    /// Session key of the thread.
    pub key: String,
    /// Its title.
    pub title: String,
    /// The Claude Code that has to end first.
    pub claude: Process,
    /// When it was wished for, milliseconds since 1970.
    pub at_ms: u64,
    terminal: Option<Terminal>,
    /// Why it did not come true.
    pub failed: Option<String>,
}

/// Format 1 is the same without the program's version.
impl Versioned for Wish {
    const FORMAT: u32 = 2;
}

/// A terminal, and the shell it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Terminal {
    path: PathBuf,
    shell: Process,
}

/// Notes a wish, once everything that can be looked at now allows it; what the person is told.
pub(super) async fn note(env: &Env, session: Uuid, words: &str) -> Result<String, Error> {
    let gateway = GatewayArgs::default();
    let context = Context { env, gateway: &gateway };
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err(
            Error::new(Kind::Usage, "which thread?").hint("put words of its title, channel or key behind the command")
        );
    }
    let claude = claude().ok_or_else(|| Error::new(Kind::Other, "could not tell which Claude Code this is"))?;
    let found = adopt::claude_dir(&context)?.find(session, None).ok().flatten();
    let path = found.ok_or_else(|| Error::new(Kind::Transcript, "nothing was said in this conversation yet"))?;
    if let Some(why) = why_not(&path).await {
        return Err(Error::new(Kind::Transcript, format!("this conversation cannot be gone on with: {why}")));
    }
    let target = context.locate()?.target;
    let (connection, _events) = context.connect(&target, Access::Write).await?;
    let rows = rows(&connection).await?;
    let row = context.find(&target, &rows, &words)?;
    fits(&rows, row, session)?;
    let state_dir = context.state_dir()?;
    let terminal = terminal_of(&claude);
    let wish = Wish {
        id: Uuid::new_v4(),
        session,
        key: row.key.clone(),
        title: clean(&row.title),
        at_ms: clock::now().wall_ms,
        failed: None,
        claude,
        terminal,
    };
    wish.save(&state_dir)
        .map_err(|e| Error::new(Kind::Other, format!("could not note the wish below {}: {e}", state_dir.display())))?;
    if let Err(e) = start(env, &wish) {
        wish.remove(&state_dir);
        return Err(Error::new(Kind::Other, format!("could not start what waits for this Claude Code to end: {e}")));
    }
    let shown = if wish.terminal.is_some() {
        "what came of it is then shown in this terminal"
    } else {
        "`ride status` then tells what came of it"
    };
    Ok(format!(
        "noted: once you leave Claude Code, {} goes on in this conversation.\nleave with /exit; {shown}",
        wish.title
    ))
}

/// Why the conversation could not be gone on with; what is being written is waited for.
async fn why_not(path: &Path) -> Option<String> {
    for _ in 0..WRITTEN_LOOKS {
        match why_not_resumed(path) {
            Ok(Some(_)) => tokio::time::sleep(WRITTEN_EVERY).await,
            // What cannot be read now the gateway reads when it is asked.
            Ok(None) | Err(_) => return None,
        }
    }
    why_not_resumed(path).ok().flatten()
}

/// What stands in the way, as far as the listing tells.
fn fits(rows: &[Row], row: &Row, session: Uuid) -> Result<(), Error> {
    let title = clean(&row.title);
    let id = session.to_string();
    if let Some(holder) = &row.driver {
        return Err(Error::new(Kind::Held, format!("{title} is {}", render::holder(holder))));
    }
    match rows.iter().find(|other| other.cli_session_id.as_deref() == Some(&id)) {
        Some(other) if other.key == row.key => {
            Err(Error::new(Kind::Held, format!("this is the conversation of {title} already")))
        }
        Some(other) => Err(Error::new(
            Kind::Held,
            format!("this conversation is bound to another thread, {}", clean(&other.title)),
        )),
        None => Ok(()),
    }
}

/// Starts what waits; it outlives the hook and Claude Code.
fn start(env: &Env, wish: &Wish) -> io::Result<()> {
    // It is this program, and asks the gateway: it needs what this one was given.
    #[expect(clippy::disallowed_methods, reason = "it needs the gateway's token")]
    let mut command = Command::new(&env.program);
    command.arg("guard").arg(AFTER).arg(wish.session.to_string()).arg(wish.id.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // SAFETY: between fork and exec one system call is made, which neither allocates nor locks.
    unsafe { command.pre_exec(|| setsid().map(drop).map_err(io::Error::from)) };
    command.spawn().map(drop)
}

/// Waits for the end of Claude Code, and does what was wished for.
pub(super) fn after(env: &Env, session: &str, id: &str) {
    let gateway = GatewayArgs::default();
    let context = Context { env, gateway: &gateway };
    let (Ok(session), Ok(id), Ok(state_dir)) = (session.parse::<Uuid>(), id.parse::<Uuid>(), context.state_dir())
    else {
        return;
    };
    let current = || Wish::load(&state_dir, session).filter(|wish| wish.id == id);
    let Some(wish) = current() else { return };
    let gone = wait_gone(&wish.claude, WAIT_WITHIN);
    // Another wish took its place meanwhile.
    let Some(mut wish) = current() else { return };
    let adopted = match gone {
        Ok(true) => bounded(ADOPT_WITHIN, adopt(&context, &wish))
            .unwrap_or_else(|| Err(Error::new(Kind::Unreachable, "the gateway did not answer in time"))),
        Ok(false) => Err(Error::new(
            Kind::Held,
            format!("Claude Code was not left within {}", render::duration(WAIT_WITHIN.as_millis() as u64)),
        )),
        Err(e) => Err(Error::new(Kind::Other, e.to_string())),
    };
    match adopted {
        Ok(told) => {
            wish.remove(&state_dir);
            tell(&wish, &told);
        }
        Err(e) => {
            let why = in_words(&e);
            tell(&wish, &format!("{} did not take on Claude session {session}: {why}", wish.title));
            wish.failed = Some(why);
            // What cannot be kept was told.
            let _ = wish.save(&state_dir);
        }
    }
}

async fn adopt(context: &Context<'_>, wish: &Wish) -> Result<String, Error> {
    let mut attempt = 1;
    loop {
        match adopt::by_key(context, &wish.key, wish.session, TURN_S).await {
            Err(e) if e.kind == Kind::Unreachable && attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(ATTEMPT_EVERY).await;
            }
            done => return done,
        }
    }
}

/// Writes to the terminal, if it is still that shell's. Held open meanwhile it would keep
/// a connection alive that the person has left.
fn tell(wish: &Wish, text: &str) {
    let Some(terminal) = wish.terminal.as_ref().filter(|terminal| terminal.is_there()) else { return };
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    let Ok(mut file) = OpenOptions::new().write(true).custom_flags(flags).open(&terminal.path) else { return };
    if file.is_terminal() {
        let lines: String = text.lines().map(|line| format!("ride: {}\r\n", clean(line))).collect();
        // Its reader went away.
        let _ = file.write_all(format!("\r\n{lines}").as_bytes());
    }
}

impl Terminal {
    fn is_there(&self) -> bool {
        matches!(alive(&self.shell), Ok(Alive::Yes)) && terminal_path(self.shell.pid).as_ref() == Some(&self.path)
    }
}

/// The terminal a Claude Code was started in by a shell.
fn terminal_of(claude: &Process) -> Option<Terminal> {
    let pid = Pid::from_raw(claude.pid.try_into().ok()?)?;
    let shell = getsid(Some(pid)).ok().filter(|leader| *leader != pid)?;
    let shell = look(shell.as_raw_nonzero().get().unsigned_abs()).ok().flatten()?.process();
    let path = terminal_path(shell.pid).filter(|path| Some(path) == terminal_path(claude.pid).as_ref())?;
    Some(Terminal { path, shell })
}

fn terminal_path(pid: u32) -> Option<PathBuf> {
    let links = (0..3).filter_map(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok());
    links.into_iter().find(|path| path.starts_with("/dev/pts") || path.to_string_lossy().starts_with("/dev/tty"))
}

impl Wish {
    /// Those of this machine, the oldest first, and which files another version wrote; what is too
    /// old is removed.
    pub fn all(state_dir: &Path, now_ms: u64) -> (Vec<Wish>, Vec<String>) {
        let files = fs::read_dir(wishes(state_dir)).into_iter().flatten().flatten().map(|file| file.path());
        let (mut all, mut unread) = (Vec::new(), Vec::new());
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "json")) {
            match read(&file) {
                Ok(wish) => all.extend(wish),
                Err(why) => unread.push(why),
            }
        }
        all.retain(|wish: &Wish| {
            let kept = now_ms < wish.at_ms + KEPT_MS;
            if !kept {
                wish.remove(state_dir);
            }
            kept
        });
        all.sort_by_key(|wish| wish.at_ms);
        (all, unread)
    }

    /// What it waits for, or why it did not come true.
    pub fn told(&self) -> String {
        let what = format!("{} goes on in Claude session {}", self.title, self.session);
        match &self.failed {
            Some(why) => format!("not done: {what}: {why}\n"),
            None => format!("once Claude Code (process {}) is left, {what}\n", self.claude.pid),
        }
    }

    fn load(state_dir: &Path, session: Uuid) -> Option<Wish> {
        read(&path_of(state_dir, session)).ok().flatten()
    }

    fn save(&self, state_dir: &Path) -> io::Result<()> {
        let path = path_of(state_dir, self.session);
        read(&path).map_err(io::Error::other)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(wishes(state_dir))?;
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&versioned::write(self)?)?;
        fs::rename(&fresh, &path)
    }

    fn remove(&self, state_dir: &Path) {
        // One that stays is told as one that waits for a process that is gone.
        let _ = fs::remove_file(path_of(state_dir, self.session));
    }
}

fn path_of(state_dir: &Path, session: Uuid) -> PathBuf {
    wishes(state_dir).join(format!("{session}.json"))
}

/// The wish in a file; `None` where there is none, or a damaged one. The error says which file
/// another version wrote, and what to do.
fn read(path: &Path) -> Result<Option<Wish>, String> {
    let small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
    let Some(bytes) = small.then(|| fs::read(path).ok()).flatten() else { return Ok(None) };
    match versioned::read(&bytes) {
        Ok(wish) => Ok(Some(wish)),
        Err(Unread::Damaged(_)) => Ok(None),
        Err(e) => Err(format!(
            "could not read a noted adoption, {}: {e}. It is left as it is; use that version for it, or remove the file",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SESSION: Uuid = Uuid::from_u128(1);

    fn wish(id: u128, at_ms: u64) -> Wish {
        let claude = Process { machine: clock::machine(), namespace: None, pid: 1, start: 1 };
        let (session, key, title) = (Uuid::from_u128(id), "k".to_owned(), "Plans".to_owned());
        Wish { id: Uuid::new_v4(), session, key, title, claude, at_ms, terminal: None, failed: None }
    }

    #[test]
    fn what_stands_in_the_way_of_an_adoption_is_told() {
        let row = |title: &str, more: Value| {
            let mut row = json!({
                "channel": "telegram", "displayName": null, "title": title, "conversationId": null, "cliSessionId": null,
                "echoTarget": null, "relayReady": true, "lastActivity": 1, "key": title, "agentId": "main", "rideable": true,
            });
            for (name, value) in more.as_object().unwrap() {
                row[name] = value.clone();
            }
            serde_json::from_value::<Row>(row).unwrap()
        };
        let check = |rows: &[Row], expected: Option<&str>| {
            assert_eq!(fits(rows, &rows[0], SESSION).err().map(|e| e.message).as_deref(), expected);
        };
        check(&[row("Plans", json!({})), row("Other", json!({"cliSessionId": Uuid::from_u128(2)}))], None);
        check(&[row("Plans", json!({"cliSessionId": Uuid::from_u128(2)}))], None);
        check(&[row("Plans", json!({"cliSessionId": SESSION}))], Some("this is the conversation of Plans already"));
        check(
            &[row("Plans", json!({})), row("Other", json!({"cliSessionId": SESSION}))],
            Some("this conversation is bound to another thread, Other"),
        );
        let holder = json!({"name": "ada", "host": "box", "sinceMs": 1, "expiresInMs": 1, "phase": "ridden"});
        check(&[row("Plans", json!({"driver": holder}))], Some("Plans is ridden by ada at box"));
    }

    #[test]
    fn the_last_wish_counts_and_old_ones_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let now = 2 * KEPT_MS;
        let (first, second) = (wish(1, now), Wish { failed: Some("no".into()), ..wish(1, now + 1) });
        first.save(dir.path()).unwrap();
        second.save(dir.path()).unwrap();
        wish(2, now - KEPT_MS).save(dir.path()).unwrap();
        fs::write(wishes(dir.path()).join("odd.json"), "{").unwrap();
        assert_eq!(Wish::all(dir.path(), now), (vec![second.clone()], Vec::new()));
        assert_eq!(Wish::load(dir.path(), Uuid::from_u128(2)), None);
        assert_eq!(
            second.told(),
            "not done: Plans goes on in Claude session 00000000-0000-0000-0000-000000000001: no\n"
        );
        assert_eq!(
            first.told(),
            "once Claude Code (process 1) is left, Plans goes on in Claude session 00000000-0000-0000-0000-000000000001\n"
        );
        second.remove(dir.path());
        assert_eq!(Wish::all(dir.path(), now), (Vec::new(), Vec::new()));
    }

    // Rule STORE-7.
    #[test]
    fn a_wish_of_another_version_is_named_and_neither_replaced_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        wish(2, 1).save(dir.path()).unwrap();
        let file = path_of(dir.path(), Uuid::from_u128(1));
        let later = r#"{"format":3,"writtenBy":"ride 9.0.0","session":"?"}"#;
        fs::write(&file, later).unwrap();
        let (found, unread) = Wish::all(dir.path(), KEPT_MS);
        assert_eq!((found.len(), unread.len()), (1, 1));
        for why in [unread[0].clone(), wish(1, 1).save(dir.path()).unwrap_err().to_string()] {
            let named = format!("could not read a noted adoption, {}: ride 9.0.0 wrote it", file.display());
            assert!(why.starts_with(&named) && why.contains("format 3, and formats 1 to 2 are read"), "{why}");
            assert!(why.ends_with("use that version for it, or remove the file"), "{why}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), later);
    }

    #[test]
    fn every_wish_that_was_ever_written_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/kept/wish");
        let mut read: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        read.sort();
        assert_eq!(read.len(), 3, "{read:?}");
        for file in read {
            let wish = super::read(&file).unwrap().unwrap();
            assert_eq!((wish.session, wish.key.as_str(), wish.at_ms), (SESSION, "agent:main:main", 5), "{file:?}");
            assert_eq!((wish.claude.pid, wish.claude.start), (7, 8), "{file:?}");
            assert_eq!(wish.claude.namespace.is_some(), !file.ends_with("1a.json"), "{file:?}");
            assert_eq!(wish.terminal.unwrap().path, Path::new("/dev/pts/1"), "{file:?}");
            assert_eq!(wish.failed.as_deref(), Some("why"), "{file:?}");
        }
    }

    #[test]
    fn a_terminal_is_the_persons_while_its_shell_has_it() {
        let own = look(std::process::id()).unwrap().unwrap().process();
        let none = Terminal { path: "/dev/pts/none".into(), shell: own.clone() };
        assert!(!none.is_there());
        let gone = Terminal { path: "/dev/pts/0".into(), shell: Process { start: own.start + 1, ..own } };
        assert!(!gone.is_there());
    }
}
