//! The mirror of finished turns, inside the addon: which threads are followed, what their
//! transcripts are, and what went wrong. Runs on Node's pool, when the shell says so.
//!
//! Followed are threads somebody once claimed, for a ride or an adoption; a thread's Claude
//! session is the lease's while it is ridden, else the one its entry is bound to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ride_core::host::{Entry, HostEntry};
use ride_core::listing::{self, Around};
use ride_core::mirror::{SESSIONS, Stamp};
use ride_core::person::{Allow, Person};
use ride_core::plugin_report;
use ride_core::thread::{ClaudeSession, Thread};
use ride_store::claude::ClaudeDir;
use ride_store::clock;
use ride_store::mirror::{MirrorDir, Mirrored, Source, stamp_of};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::request::locate;
use crate::sync::Sync;

/// What is followed.
#[derive(Debug, Default)]
pub(crate) struct Mirror(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    threads: BTreeMap<String, Followed>,
    mirrored_ms: Option<u64>,
}

#[derive(Debug)]
struct Followed {
    source: Source,
    /// The transcript as it was when all of it that is finished was mirrored.
    seen: Option<Stamp>,
    trouble: Option<String>,
}

/// One thread of the shell's.
#[derive(Deserialize)]
pub(crate) struct Asked {
    key: String,
    /// As the host has it now.
    entry: Option<HostEntry>,
}

/// What came of a look.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Looked {
    /// The threads that are followed, of those asked for.
    followed: Vec<String>,
    /// Why the first that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl Mirror {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is; `None` where none is wanted.
    pub(crate) fn condition(&self, dir: Option<PathBuf>) -> Option<plugin_report::Mirror> {
        let state = self.state();
        let failing = state.threads.values().filter(|thread| thread.trouble.is_some()).count();
        Some(plugin_report::Mirror {
            dir: dir?.to_string_lossy().into_owned(),
            threads: state.threads.len() as u32,
            mirrored_ms: state.mirrored_ms,
            failing: failing as u32,
            trouble: state.threads.values().find_map(|thread| thread.trouble.clone()),
        })
    }
}

/// Every thread that may be followed, at most as many as a mirror holds.
pub(crate) fn keys(sync: &Sync) -> Result<Vec<String>, String> {
    if sync.mirror_dir().is_none() {
        return Ok(Vec::new());
    }
    let mut keys = sync.store.claimed().map_err(|e| e.to_string())?;
    keys.truncate(SESSIONS);
    Ok(keys)
}

/// Looks at threads of which something may have finished.
pub(crate) fn threads(sync: &Sync, asked: Vec<Asked>) -> Result<Looked, String> {
    let Some(dir) = sync.mirror_dir() else { return Ok(Looked::default()) };
    let mut looked = Looked::default();
    for Asked { key, entry } in asked {
        let Some(thread) = sync.store.read(&key).map_err(|e| e.to_string())?.filter(|t| t.epoch > 0) else { continue };
        looked.followed.push(key.clone());
        let Some(source) = source(sync, &thread, entry.map(Entry::from)) else { continue };
        let mut state = sync.mirror.state();
        let room = state.threads.len() < SESSIONS;
        match state.threads.get_mut(&key) {
            Some(followed) => (followed.source, followed.seen) = (source, None),
            None if room => drop(state.threads.insert(key.clone(), Followed { source, seen: None, trouble: None })),
            None => continue,
        }
        drop(state);
        one(sync, &dir, &key, &mut looked);
    }
    Ok(looked)
}

/// Looks at every transcript that is not as it was: what no turn's end told of.
pub(crate) fn all(sync: &Sync) -> Looked {
    let mut looked = Looked::default();
    let Some(dir) = sync.mirror_dir() else { return looked };
    let keys: Vec<String> = sync.mirror.state().threads.keys().cloned().collect();
    for key in keys {
        one(sync, &dir, &key, &mut looked);
    }
    looked
}

/// Mirrors one thread's Claude session, if its transcript is not as it was.
fn one(sync: &Sync, dir: &Path, key: &str, looked: &mut Looked) {
    let known = sync.mirror.state().threads.get(key).map(|followed| (followed.source.clone(), followed.seen.clone()));
    let Some((source, seen)) = known else { return };
    // Before it is read: what is written meanwhile shows next time.
    let now = stamp_of(&source.transcript).ok().flatten();
    if now.is_some() && now == seen {
        return;
    }
    let now_ms = clock::now().wall_ms;
    let mirrored = MirrorDir::open(dir).and_then(|mirror| mirror.mirror(&source, now_ms)).map_err(|e| e.to_string());
    let mut state = sync.mirror.state();
    if matches!(mirrored, Ok(Mirrored::Added(_))) {
        state.mirrored_ms = Some(now_ms);
    }
    if let Some(followed) = state.threads.get_mut(key) {
        // What somebody else held up, or what failed, is looked at again.
        followed.seen = now.filter(|_| matches!(mirrored, Ok(Mirrored::Added(_) | Mirrored::Nothing)));
        followed.trouble = mirrored.err();
        if looked.trouble.is_none() {
            looked.trouble = followed.trouble.as_ref().map(|why| format!("{key}: {why}"));
        }
    }
}

/// What of a thread is mirrored; `None` where it has no transcript on this machine.
fn source(sync: &Sync, thread: &Thread, entry: Option<Entry>) -> Option<Source> {
    let key = thread.key.session.clone();
    let lease = thread.lease();
    let title =
        lease.map(|lease| lease.title.clone()).or_else(|| entry.as_ref().map(title)).unwrap_or_else(|| key.clone());
    let claude = match lease.and_then(|lease| lease.claude.clone()) {
        Some(claude) => claude,
        None => bound(sync, entry?)?,
    };
    let dir = ClaudeDir::at(&claude.config_dir);
    let transcript = dir.find(claude.id, Some(Path::new(&claude.cwd))).ok().flatten()?;
    Some(Source { session: claude.id, transcript, thread: key, title, cwd: claude.cwd, config_dir: claude.config_dir })
}

/// The Claude session an entry is bound to.
fn bound(sync: &Sync, entry: Entry) -> Option<ClaudeSession> {
    let id: Uuid = entry.claude?;
    locate(sync, id, entry.cwd.as_deref()).ok()
}

fn title(entry: &Entry) -> String {
    let (transcripts, in_use, person, allow) =
        (Default::default(), Default::default(), Person::default(), Allow::default());
    let around = Around {
        channels: &[],
        transcripts: &transcripts,
        in_use: &in_use,
        person: &person,
        allow: &allow,
        now: clock::now(),
        rules: &ride_core::rules::Rules::default(),
    };
    listing::row(entry, None, &around).title.into_raw()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use ride_core::event::{ClaimAsked, Event};
    use ride_core::id::Process;
    use ride_core::wire::Driver;
    use serde_json::{Value, json};

    const TURN: &str = concat!(
        r#"{"type":"user","uuid":"00000000-0000-4000-8000-000000000001","promptSource":"typed","cwd":"/w","message":{"role":"user","content":"hello"}}"#,
        "\n",
        r#"{"type":"assistant","uuid":"00000000-0000-4000-8000-000000000002","message":{"role":"assistant","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}]}}"#,
        "\n",
    );

    /// A gateway whose thread `agent:main:main` has a Claude session, claimed or not.
    fn world(folder: &Path, mirror: Option<&Path>, claimed: bool) -> (Sync, Uuid) {
        let (id, config_dir) = (Uuid::from_u128(0x1111_4444_8888_4888_8888_1111_2222_3333), folder.join("claude"));
        let project = ClaudeDir::at(&config_dir).project(Path::new("/w"));
        std::fs::create_dir_all(&project).unwrap();
        std::fs::write(project.join(format!("{id}.jsonl")), TURN).unwrap();
        let mut config = json!({ "lockDir": folder.join("locks") });
        if let Some(dir) = mirror {
            config["syncMirrorDir"] = json!(dir);
        }
        let sync = Sync::open(&json!({ "stateDir": folder, "config": config, "pid": 1 }).to_string()).unwrap();
        let asked = ClaimAsked {
            identity: None,
            driver: Driver {
                name: "ada".into(),
                host: "h".into(),
                process: Process { machine: "m".into(), namespace: None, pid: 1, start: 1 },
            },
            secret_sha256: String::new(),
            grant: Uuid::new_v4(),
            title: "Plans".into(),
            claude: Some(ClaudeSession { id, config_dir: config_dir.to_str().unwrap().into(), cwd: "/w".into() }),
            route: None,
            twins: Vec::new(),
            wait_ms: 1,
            session_held: None,
            steal: false,
            adopts: None,
        };
        if claimed {
            sync.apply("agent:main:main", Event::Claim(Box::new(asked))).unwrap();
        }
        (sync, id)
    }

    fn call(sync: &Sync, what: &str, payload: &Value) -> Value {
        serde_json::from_str(&sync.call(what, &payload.to_string()).unwrap()).unwrap()
    }

    fn asked() -> Value {
        json!([{ "key": "agent:main:main", "entry": null }, { "key": "agent:main:other", "entry": null }])
    }

    #[test]
    fn a_thread_that_was_claimed_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("mirror");
        let (sync, id) = world(folder.path(), Some(&dir), true);
        assert_eq!(call(&sync, "mirrorable", &Value::Null), json!(["agent:main:main"]));
        assert_eq!(call(&sync, "mirror", &asked()), json!({ "followed": ["agent:main:main"] }));
        let copied = dir.join(id.to_string()).join("transcript.jsonl");
        assert_eq!(std::fs::read_to_string(&copied).unwrap(), TURN);
        // The slow look finds what no turn's end told of.
        let source = ClaudeDir::at(folder.path().join("claude")).project(Path::new("/w")).join(format!("{id}.jsonl"));
        std::fs::write(&source, TURN.repeat(2)).unwrap();
        assert_eq!(call(&sync, "mirrorAll", &Value::Null), json!({ "followed": [] }));
        assert_eq!(std::fs::read_to_string(&copied).unwrap(), TURN.repeat(2));
        let told = sync.mirror.condition(sync.mirror_dir()).unwrap();
        assert_eq!((told.threads, told.failing, told.trouble, told.mirrored_ms.is_some()), (1, 0, None, true));
    }

    #[test]
    fn what_fails_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("mirror");
        std::fs::write(&dir, "").unwrap();
        let (sync, id) = world(folder.path(), Some(&dir), true);
        let looked = call(&sync, "mirror", &asked());
        let why = looked["trouble"].as_str().unwrap();
        assert!(why.starts_with("agent:main:main: ") && why.contains("is a link or no folder"), "{why}");
        assert_eq!(sync.mirror.condition(sync.mirror_dir()).unwrap().failing, 1);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(call(&sync, "mirrorAll", &Value::Null), json!({ "followed": [] }));
        assert!(dir.join(id.to_string()).join("about.json").is_file());
        assert_eq!(sync.mirror.condition(sync.mirror_dir()).unwrap().failing, 0);
    }

    #[test]
    fn without_the_key_or_a_claim_nothing_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("mirror");
        let (sync, _) = world(folder.path(), None, true);
        assert_eq!(call(&sync, "mirrorable", &Value::Null), json!([]));
        assert_eq!(call(&sync, "mirror", &asked()), json!({ "followed": [] }));
        assert_eq!(sync.mirror.condition(sync.mirror_dir()), None);
        let other = tempfile::tempdir().unwrap();
        let (sync, _) = world(other.path(), Some(&dir), false);
        assert_eq!(call(&sync, "mirror", &asked()), json!({ "followed": [] }));
        assert!(!dir.exists());
    }
}
