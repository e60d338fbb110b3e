//! `ride adopt`: a Claude session that began in a terminal of the gateway's machine
//! becomes a thread's conversation, and back.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use ride_core::wire::{Adopt, Adopted, Driver, Nothing, Row, Status, Statuses, method, proof_of_adoption};
use ride_store::Proof;
use ride_store::claude::{ClaudeDir, Found, missing_history, process, summary};
use serde::Serialize;
use uuid::Uuid;

use super::{Context, Missed, name, print, print_json, ride, rows, say};
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, Connection};
use crate::gateway::locate::Target;
use crate::interrupt::Interrupts;
use crate::picker::view::Look;
use crate::picker::{self, Pair, sessions};
use crate::render::{self, clean};

/// What an adoption may take beyond the wait for the running turn.
const MORE: Duration = Duration::from_secs(30);
/// Sessions that are listed.
const LISTED: usize = 20;

/// A Claude session of this machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Local {
    /// Its id.
    pub session: Uuid,
    /// The name a person or Claude Code gave it.
    pub title: Option<String>,
    /// Its project folder.
    pub cwd: Option<String>,
    /// The last prompt.
    pub last_prompt: Option<String>,
    /// Last change, milliseconds since 1970.
    pub changed_ms: u64,
    /// A Claude Code has it open.
    pub live: bool,
}

/// Binds a thread to a Claude session: one that is named by its id or the beginning of
/// it, or chosen; and so is the thread.
pub async fn run(
    context: &Context<'_>,
    session: Option<&str>,
    words: &[String],
    wait_s: u64,
    json: bool,
) -> Result<(), Error> {
    let dir = claude_dir(context)?;
    if words.is_empty() && !context.env.can_draw() {
        return Err(Error::new(Kind::Usage, "which thread? this terminal cannot show them to choose from")
            .hint("--to WORDS names one by its title, channel or key; `ride ls` lists them"));
    }
    let mut interrupts = Interrupts::take()?;
    let id = match session {
        Some(session) => named(&dir.transcripts(), session)?,
        None => {
            let chosen = picker::pick_session(&dir, look(context), &mut interrupts).await?;
            chosen.ok_or_else(|| Error::new(Kind::Left, ""))?
        }
    };
    let target = context.target()?;
    let pair = interrupts.or("connecting to the gateway", context.connect(&target, Access::Write)).await?;
    let (row, (connection, _events)) = thread(context, &target, words, pair, &mut interrupts).await?;
    interrupts.or("adopting; the gateway goes on by itself", ask(context, &connection, &row, id, wait_s, json)).await
}

/// The thread that was named, or chosen where none or several were.
async fn thread(
    context: &Context<'_>,
    target: &Target,
    words: &[String],
    pair: Pair,
    interrupts: &mut Interrupts,
) -> Result<(Row, Pair), Error> {
    let listed = async { picker::list(&pair.0).await.map_err(Error::from) };
    let threads = interrupts.or("reading the threads", listed).await?;
    if !words.is_empty() {
        match context.find(target, threads.rows(), words) {
            Ok(row) => return Ok((row.clone(), pair)),
            Err(Missed::Several(_)) if context.env.can_draw() => {}
            Err(missed) => return Err(missed.into()),
        }
    }
    // Whatever else stands in the way, the gateway tells.
    let free = |row: &Row| match &row.driver {
        Some(holder) => Err(Error::new(Kind::Held, format!("{} is {}", clean(&row.title), render::holder(holder)))),
        None => Ok(()),
    };
    let connect = async || context.connect(target, Access::Write).await;
    let chosen =
        picker::pick(threads, &words.join(" "), "choose", pair, connect, free, look(context), interrupts).await?;
    chosen.ok_or_else(|| Error::new(Kind::Left, ""))
}

fn look(context: &Context<'_>) -> Look {
    Look { colour: context.env.terminal.colour }
}

/// Binds a thread to what it was bound to before it adopted another Claude session.
pub async fn undo(context: &Context<'_>, words: &[String], wait_s: u64, json: bool) -> Result<(), Error> {
    let target = context.target()?;
    let (connection, _events) = context.connect(&target, Access::Write).await?;
    let rows = rows(&connection).await?;
    let row = context.find(&target, &rows, words)?;
    let statuses: Statuses =
        connection.call(method::STATUS, &Status { key: Some(row.key.clone()), audit: false }).await?;
    let former = statuses.threads.first().and_then(|thread| thread.former);
    let none = || {
        Error::new(
            Kind::NotRideable,
            format!("{} adopted no Claude session in the place of another", clean(&row.title)),
        )
    };
    ask(context, &connection, row, former.ok_or_else(none)?, wait_s, json).await
}

async fn ask(
    context: &Context<'_>,
    connection: &Connection,
    row: &Row,
    id: Uuid,
    wait_s: u64,
    json: bool,
) -> Result<(), Error> {
    let adopted = request(context, connection, &row.key, id, wait_s).await?;
    if json {
        return print_json(&adopted);
    }
    say(told(&clean(&row.title), &row.key, &adopted));
    if let Some(note) = history_note(context, id) {
        say(note);
    }
    Ok(())
}

/// What of the session's history Claude Code does not see. It is said, and stands in nobody's way.
fn history_note(context: &Context<'_>, id: Uuid) -> Option<String> {
    let found = claude_dir(context).ok()?.find(id, None).ok().flatten()?;
    missing_history(&found).ok().flatten().map(|note| format!("note: {}", clean(&note)))
}

/// Binds the thread with this key; what came of it in words.
pub(super) async fn by_key(context: &Context<'_>, key: &str, id: Uuid, wait_s: u64) -> Result<String, Error> {
    let target = context.locate()?.target;
    let (connection, _events) = context.connect(&target, Access::Write).await?;
    let rows = rows(&connection).await?;
    let row = rows.iter().find(|row| row.key == key);
    let row = row.ok_or_else(|| Error::new(Kind::Match, format!("the thread {} is gone", clean(key))))?;
    let adopted = request(context, &connection, key, id, wait_s).await?;
    Ok(told(&clean(&row.title), key, &adopted))
}

async fn request(
    context: &Context<'_>,
    connection: &Connection,
    key: &str,
    id: Uuid,
    wait_s: u64,
) -> Result<Adopted, Error> {
    let pid = std::process::id();
    let process = process::identity(pid);
    let driver = Driver { name: name(&context.env.person()), host: name(&context.env.host), process };
    let proof = proof(connection, key, id).await;
    let named = proof.as_ref().map(|proof| proof.name().to_owned());
    let request = Adopt { key: key.to_owned(), cli_session_id: id, driver, proof: named, wait_ms: wait_s * 1_000 };
    let limit = Duration::from_millis(request.wait_ms) + MORE;
    Ok(connection.call_within(method::ADOPT, &request, limit).await?)
}

/// Shows the gateway that this is its own user, where it is. An older gateway asks for nothing.
async fn proof(connection: &Connection, key: &str, id: Uuid) -> Option<Proof> {
    let config: serde_json::Value = connection.call(method::CONFIG, &Nothing {}).await.ok()?;
    let folder = config["condition"]["proofDir"].as_str()?;
    Proof::make(Path::new(folder), &proof_of_adoption(key, id))
}

fn told(title: &str, key: &str, adopted: &Adopted) -> String {
    let former = match adopted.former {
        Some(former) => {
            format!("before it was Claude session {former}; `ride adopt --undo --to {}` brings that back", clean(key))
        }
        None => "before it had none".to_owned(),
    };
    let lines = adopted.beside.iter().map(|side| format!("\n{}", ride::beside(side, title)));
    let beside: String = lines
        .chain(
            adopted
                .beside
                .first()
                .map(|side| format!("\nto go on with them instead: ride repair {} --keep {}", clean(key), side.leaf)),
        )
        .collect();
    format!(
        "{title} goes on in Claude session {}, in {}\n{former}{beside}",
        adopted.cli_session_id,
        clean(&adopted.cwd)
    )
}

/// Lists the Claude sessions of this machine, the last used first.
pub fn list(context: &Context<'_>, json: bool) -> Result<(), Error> {
    let locals = locals(&claude_dir(context)?);
    if json {
        return print_json(&locals);
    }
    if locals.is_empty() {
        say("there is no Claude session on this machine");
    }
    let now_ms = context.env.now_ms;
    for local in &locals {
        let title = local
            .title
            .as_deref()
            .or(local.last_prompt.as_deref())
            .map_or_else(|| "without a prompt".to_owned(), clean);
        let live = if local.live { ", open in a Claude Code" } else { "" };
        let cwd = local.cwd.as_deref().map_or_else(|| "-".to_owned(), clean);
        print(&format!("{}  {:>4}  {cwd}{live}\n    {title}\n", local.session, render::age(now_ms, local.changed_ms)));
    }
    say("ride adopt --session ID --to WORDS    makes one a thread's conversation");
    Ok(())
}

/// Where Claude Code keeps the sessions of this machine.
pub(super) fn claude_dir(context: &Context<'_>) -> Result<ClaudeDir, Error> {
    let env = context.env;
    let home = env.home().ok_or_else(|| {
        Error::new(Kind::Config, "could not tell where Claude Code keeps its sessions: no home folder").hint("set HOME")
    })?;
    Ok(ClaudeDir::new(env.get("CLAUDE_CONFIG_DIR").map(OsStr::new), Path::new(&home)))
}

/// The last used ones; only as many files are read as are shown.
fn locals(dir: &ClaudeDir) -> Vec<Local> {
    let one = |local: sessions::Local| {
        let seen = summary(&local.found.path).ok().filter(|seen| !seen.side)?;
        let (title, last_prompt, cwd) = (seen.title, seen.last_prompt, seen.cwd);
        Some(Local {
            session: local.found.session,
            title,
            cwd,
            last_prompt,
            changed_ms: local.found.changed_ms,
            live: local.live.is_some(),
        })
    };
    sessions::list(dir).into_iter().filter_map(one).take(LISTED).collect()
}

/// The one session that an id, or the beginning of one, names.
fn named(all: &[Found], id: &str) -> Result<Uuid, Error> {
    let id = id.trim().to_lowercase();
    let fits: Vec<Uuid> =
        all.iter().map(|one| one.session).filter(|session| session.to_string().starts_with(&id)).collect();
    let paths =
        || all.iter().filter(|one| fits.contains(&one.session)).map(|one| clean(&one.path.display().to_string()));
    match fits.as_slice() {
        [one] => Ok(*one),
        [one, others @ ..] if others.iter().all(|other| other == one) => {
            let both: Vec<String> = paths().collect();
            Err(Error::new(Kind::Match, format!("Claude session {one} has more than one file: {}", both.join(", ")))
                .hint("move all but one of them out of Claude Code's project folders, then adopt it again"))
        }
        [] => Err(Error::new(
            Kind::Match,
            format!("no Claude session of this machine has an id that begins with {}", clean(&id)),
        )
        .hint("`ride adopt` lists them")),
        several => Err(Error::new(
            Kind::Match,
            format!("{} Claude sessions have an id that begins with {}", several.len(), clean(&id)),
        )
        .hint("give more of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hangs beside the adopted conversation is said, with what goes on with it instead.
    #[test]
    fn lines_beside_the_adopted_conversation_are_a_note() {
        let (id, leaf) = (Uuid::from_u128(7), Uuid::from_u128(9));
        let side =
            ride_core::wire::Side { leaf, prompts: 2, last_prompt: "what about\u{1b}[2J lunch?".to_owned().into() };
        let adopted = |beside| Adopted { cli_session_id: id, former: None, cwd: "/srv/app".into(), beside };
        let plain = format!("Plans goes on in Claude session {id}, in /srv/app\nbefore it had none");
        assert_eq!(told("Plans", "agent:main:main", &adopted(Vec::new())), plain);
        let said = told("Plans", "agent:main:main", &adopted(vec![side]));
        let (first, note) = said.split_at(plain.len());
        assert_eq!(first, plain);
        assert!(note.contains("2 prompts were typed into the conversation of Plans"), "{note}");
        assert!(note.contains("“what about[2J lunch?”"), "{note}");
        assert!(
            note.ends_with(&format!("to go on with them instead: ride repair agent:main:main --keep {leaf}")),
            "{note}"
        );
    }

    /// A transcript of one prompt and its answer; of a subagent, as Claude Code's warm-ups are.
    fn transcript(folder: &Path, id: u128, prompt: &str, side: bool) {
        let line = |kind: &str, n: u128, parent: Option<u128>, message: serde_json::Value| {
            serde_json::json!({
                "type": kind, "uuid": Uuid::from_u128(n), "parentUuid": parent.map(Uuid::from_u128), "isSidechain": side,
                "cwd": "/srv/app", "sessionId": Uuid::from_u128(id), "message": message, "userType": "external",
            })
            .to_string()
        };
        let asked = line("user", 1, None, serde_json::json!({"role": "user", "content": prompt}));
        let content = serde_json::json!([{"type": "text", "text": "ok"}]);
        let answer = serde_json::json!({"role": "assistant", "content": content, "stop_reason": "end_turn"});
        let text = format!("{asked}\n{}\n", line("assistant", 2, Some(1), answer));
        std::fs::write(folder.join(format!("{}.jsonl", Uuid::from_u128(id))), text).unwrap();
    }

    #[test]
    fn subagents_own_sessions_are_not_listed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("projects/-srv-app");
        std::fs::create_dir_all(&folder).unwrap();
        transcript(&folder, 1, "Warmup", true);
        transcript(&folder, 2, "Warmup", false);
        let listed = locals(&ClaudeDir::at(home.path()));
        // A person may well have typed that word.
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((listed[0].session, listed[0].last_prompt.as_deref()), (Uuid::from_u128(2), Some("Warmup")));
    }

    #[test]
    fn a_session_is_named_by_its_id_or_the_beginning_of_it() {
        let found = |id: u128, path: &str| Found { session: Uuid::from_u128(id), path: path.into(), changed_ms: 0 };
        let all = [found(1, "/p/a/1.jsonl"), found(2, "/p/a/2.jsonl"), found(2, "/p/b/2.jsonl")];
        let why = |id: &str| named(&all, id).unwrap_err();
        assert_eq!(named(&all, "00000000-0000-0000-0000-000000000001").unwrap(), Uuid::from_u128(1));
        assert_eq!(why("0000").hint.as_deref(), Some("give more of it"));
        assert_eq!(why("5").hint.as_deref(), Some("`ride adopt` lists them"));
        let twice = why(&Uuid::from_u128(2).to_string());
        assert!(twice.message.contains("/p/a/2.jsonl, /p/b/2.jsonl"), "{}", twice.message);
        assert!(twice.hint.is_some_and(|hint| hint.contains("move all but one")));
    }
}
