//! Where the thread states are, when the configuration says another place than before.
//!
//! Invariant: nothing that is ridden, or waits, is left behind. While the place that was
//! in force has such a thread, it stays in force; the new one is taken up at the first
//! load after that. Where it was is remembered beside the gateway's own state, which
//! the configuration of this plugin does not move.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ride_core::config::{Config, LockBackend};
use ride_core::versioned::{self, Unread, Versioned};
use ride_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The file that remembers the place, in the gateway's state folder.
const PLACE: &str = "claude-code-sync.json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    lock_dir: PathBuf,
}

/// Format 1 had nothing but the folder: no number, and not the program's version.
impl Versioned for Place {
    const FORMAT: u32 = 2;
    const WITHOUT_NUMBER: Option<u32> = Some(1);
}

/// What of the configuration waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waits {
    /// The folder in force.
    #[serde(skip)]
    pub(crate) in_force: PathBuf,
    lock_backend: LockBackend,
    /// The folder that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_dir: Option<PathBuf>,
    /// Threads it waits for.
    threads: usize,
    why: String,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted =
            self.lock_dir.as_ref().map_or_else(|| "the gateway's memory".into(), |dir| dir.display().to_string());
        write!(f, "thread states stay in {}, and are not yet kept in {wanted}: {}", self.in_force.display(), self.why)
    }
}

/// Opens the store of that configuration, or the one before while something is ridden there.
pub(crate) fn open(
    config: &Config,
    home: &Path,
    state_dir: &Path,
    gateway: &str,
) -> Result<(Store, Option<Waits>), String> {
    let wanted = wanted(config, home);
    let before = read(&state_dir.join(PLACE))?;
    if let Some(dir) = before.clone().filter(|dir| Some(dir) != wanted.as_ref() && dir.exists()) {
        let threads = ride_store::look(&dir, gateway).map_err(|e| in_folder(&dir, &e))?.map_or(0, |v| v.unfinished());
        if threads > 0 {
            let old = files(&dir, gateway)?;
            let why = format!(
                "{threads} of them ridden or with messages waiting; it changes at the next load of the plugin after that"
            );
            let waits = Waits { in_force: dir, lock_backend: config.lock_backend, lock_dir: wanted, threads, why };
            return Ok((old, Some(waits)));
        }
    }
    let store = match &wanted {
        Some(dir) => files(dir, gateway)?,
        None => Store::memory(gateway),
    };
    if before != wanted {
        let file = state_dir.join(PLACE);
        write(&file, wanted).map_err(|e| format!("could not write {}: {e}", file.display()))?;
    }
    Ok((store, None))
}

/// Whether a thread's gate may hold, as the files say: those of the place that was in force last,
/// and of the one that the configuration names, where it can be read.
pub(crate) fn may_be_closed(
    config: Option<&Config>,
    home: &Path,
    state_dir: &Path,
    gateway: &str,
    session: &str,
    claude: Option<Uuid>,
) -> Result<bool, String> {
    let mut dirs: Vec<PathBuf> = read(&state_dir.join(PLACE))?.into_iter().collect();
    dirs.extend(config.and_then(|config| wanted(config, home)).filter(|dir| dirs.first() != Some(dir)));
    for dir in dirs {
        let closed = ride_store::may_be_closed(&dir, gateway, session, claude).map_err(|e| in_folder(&dir, &e))?;
        if closed {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folder that was in force last, if it is there.
pub(crate) fn remembered(state_dir: &Path) -> Result<Option<String>, String> {
    Ok(read(&state_dir.join(PLACE))?.filter(|dir| dir.exists()).map(|dir| dir.to_string_lossy().into_owned()))
}

/// The folder in force; `None` where states are kept in memory.
pub(crate) fn in_force(config: &Config, home: &Path, waits: Option<&Waits>) -> Option<PathBuf> {
    waits.map_or_else(|| wanted(config, home), |waits| Some(waits.in_force.clone()))
}

/// The folder the configuration names.
fn wanted(config: &Config, home: &Path) -> Option<PathBuf> {
    match config.lock_backend {
        LockBackend::File => Some(folder(&config.lock_dir, home)),
        LockBackend::None => None,
    }
}

/// A folder as the configuration writes it.
pub(crate) fn folder(text: &str, home: &Path) -> PathBuf {
    text.strip_prefix("~/").map_or_else(|| PathBuf::from(text), |rest| home.join(rest))
}

fn files(dir: &Path, gateway: &str) -> Result<Store, String> {
    Store::unprepared(dir, gateway).map_err(|e| in_folder(dir, &e))
}

fn in_folder(dir: &Path, error: &StoreError) -> String {
    format!("lockDir is {}: {error}", dir.display())
}

fn read(file: &Path) -> Result<Option<PathBuf>, String> {
    let could_not = |e: &dyn fmt::Display| format!("could not read {}: {e}", file.display());
    match fs::read(file) {
        Ok(text) => versioned::read::<Place>(&text).map(|place| Some(place.lock_dir)).map_err(|e| {
            let what = match e {
                Unread::Damaged(_) => "it names the folder of the thread states; write it anew: {\"lockDir\":\"/…\"}",
                Unread::Unknown { .. } => {
                    "it is left as it is; install that version of the plugin again, or a later one"
                }
            };
            could_not(&format_args!("{e}; {what}"))
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(could_not(&e)),
    }
}

/// Writes it whole, or not at all.
fn write(file: &Path, place: Option<PathBuf>) -> io::Result<()> {
    let Some(lock_dir) = place else {
        return match fs::remove_file(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    };
    // Several copies of the plugin may do this at once.
    let fresh = file.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
    let mut out = fs::File::create(&fresh)?;
    out.write_all(&versioned::write(&Place { lock_dir })?)?;
    out.sync_all()?;
    fs::rename(&fresh, file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use ride_core::event::{ClaimAsked, Event};
    use ride_core::id::Process;
    use ride_core::thread::ClaudeSession;
    use ride_core::wire::Driver;
    use ride_store::clock;

    fn config(backend: LockBackend, dir: &Path) -> Config {
        Config { lock_backend: backend, lock_dir: dir.to_string_lossy().into_owned(), ..Config::default() }
    }

    fn claim(store: &Store) {
        let asked = ClaimAsked {
            identity: None,
            driver: Driver {
                name: "ada".into(),
                host: "h".into(),
                process: Process { machine: "m".into(), namespace: None, pid: 1, start: 1 },
            },
            secret_sha256: String::new(),
            grant: Uuid::new_v4(),
            title: "t".into(),
            claude: Some(ClaudeSession { id: Uuid::new_v4(), config_dir: "/c".into(), cwd: "/w".into() }),
            route: None,
            twins: Vec::new(),
            wait_ms: 1,
            session_held: None,
            steal: false,
            adopts: None,
        };
        store
            .apply("agent:main:main", Event::Claim(Box::new(asked)), clock::now(), &Config::default().rules())
            .unwrap();
    }

    // Rule GATE-5.
    #[test]
    fn what_is_ridden_is_not_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (state, one, two) = (folder.path(), folder.path().join("one"), folder.path().join("two"));
        let open = |backend, dir: &Path| open(&config(backend, dir), Path::new("/home/nobody"), state, "g").unwrap();
        let (store, waits) = open(LockBackend::File, &one);
        assert!(waits.is_none());
        // Idle, it moves at once, to files or to memory and back.
        assert!(open(LockBackend::File, &two).1.is_none());
        assert!(open(LockBackend::None, &two).1.is_none());
        assert!(open(LockBackend::File, &one).1.is_none());
        claim(&store);
        for (backend, wanted) in
            [(LockBackend::File, two.display().to_string()), (LockBackend::None, "the gateway's memory".into())]
        {
            let (kept, waits) = open(backend, &two);
            assert_eq!(kept.busy().unwrap(), ["agent:main:main"]);
            let said = waits.unwrap().to_string();
            assert!(
                said.starts_with(&format!(
                    "thread states stay in {}, and are not yet kept in {wanted}: 1 of them",
                    one.display()
                )),
                "{said}"
            );
        }
        // As it was, nothing waits; and once the old folder is gone there is nothing to wait for.
        assert!(open(LockBackend::File, &one).1.is_none());
        fs::remove_dir_all(&one).unwrap();
        assert!(open(LockBackend::File, &two).1.is_none());
    }

    // Rule GATE-5.
    #[test]
    fn what_is_ridden_outlives_a_configuration_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let (state, locks) = (folder.path(), folder.path().join("locks"));
        let open = |config: serde_json::Value| {
            let options = serde_json::json!({ "stateDir": state, "config": config, "pid": 1 });
            let sync = crate::sync::Sync::open(&options.to_string()).map_err(crate::sync::NotOpened::into_text)?;
            sync.prepare()?;
            Ok::<_, String>(sync)
        };
        let wrong = || serde_json::json!({ "lockDir": "here", "rideTtlMinutes": 7 });
        let refusal = "lockDir is \"here\"; allowed is an absolute path, or one that begins with ~/";
        assert_eq!(open(wrong()).err().as_deref(), Some(refusal));
        let good = open(serde_json::json!({ "lockDir": locks })).unwrap();
        // Nothing is ridden there.
        assert_eq!(open(wrong()).err().as_deref(), Some(refusal));
        claim(&good.store);
        let kept = open(wrong()).unwrap();
        assert_eq!((kept.gate("agent:main:main"), kept.config().ride_ttl_minutes), (Ok(1), 7));
        assert_eq!(kept.waiting(), format!("{refusal}; what is ridden goes on, and nothing new is claimed"));
        let asked = |method: &str| {
            let params = serde_json::json!({ "method": method, "params": {}, "host": {} });
            kept.call("request", &params.to_string()).unwrap()
        };
        for method in ["sessions_rideable", "ride_claim"] {
            let told = asked(method);
            assert!(told.contains(r#""reason":"CONFIG""#) && told.contains("lockDir is "), "{method}: {told}");
        }
        assert!(asked("ride_status").contains(r#""phase":"claiming""#), "{}", asked("ride_status"));
        assert!(open(serde_json::json!({ "lockDir": locks })).unwrap().waiting().is_empty());
    }

    #[test]
    fn a_folder_that_does_not_work_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let said = open(&config(LockBackend::File, &file.join("below")), Path::new("/home/nobody"), folder.path(), "g")
            .unwrap_err();
        assert!(
            said.starts_with(&format!("lockDir is {}: could not open the state folder", file.join("below").display())),
            "{said}"
        );
    }

    // Rule STORE-7.
    #[test]
    fn every_place_that_was_ever_written_is_read_and_an_unknown_one_is_left_alone() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/kept/place");
        let mut files: Vec<_> = fs::read_dir(kept).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(files.iter().all(|file| read(file).unwrap().unwrap() == Path::new("/srv/locks")));

        let folder = tempfile::tempdir().unwrap();
        let (state, file) = (folder.path(), folder.path().join(PLACE));
        let open =
            |dir: &str| open(&config(LockBackend::File, &state.join(dir)), Path::new("/home/nobody"), state, "g");
        open("one").unwrap();
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.starts_with(r#"{"format":2,"writtenBy":"ride "#), "{written}");
        for (text, why) in [
            (r#"{"format":3,"writtenBy":"ride 9.0.0"}"#, "ride 9.0.0 wrote it"),
            (r#"{"format":2,"lockDir":"/l","more":1}"#, "unknown field more"),
            (r#"{"lockDir":"/l","more":1}"#, "unknown field more"),
        ] {
            fs::write(&file, text).unwrap();
            let said = open("two").unwrap_err();
            assert!(said.starts_with(&format!("could not read {}: ", file.display())) && said.contains(why), "{said}");
            assert!(said.ends_with("it is left as it is; install that version of the plugin again, or a later one"));
            // A thread is not let through because the place of its state cannot be read.
            may_be_closed(None, Path::new("/home/nobody"), state, "g", "agent:main:main", None).unwrap_err();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    // Rules STORE-3, GATE-4.
    #[test]
    fn a_thread_of_a_newer_version_is_told_about_wherever_one_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (state, locks) = (folder.path(), folder.path().join("locks"));
        let open = || {
            let options = serde_json::json!({ "stateDir": state, "config": { "lockDir": locks }, "pid": 1 });
            let sync = crate::sync::Sync::open(&options.to_string()).ok().unwrap();
            sync.prepare().unwrap();
            sync
        };
        let asked = |sync: &crate::sync::Sync, method: &str, params: serde_json::Value| {
            let params = serde_json::json!({ "method": method, "params": params, "host": {} });
            sync.call("request", &params.to_string()).unwrap()
        };
        claim(&open().store);
        let gateways = fs::read_dir(&locks).unwrap().map(|e| e.unwrap().path());
        let threads = gateways.map(|gateway| gateway.join("threads")).find(|path| path.is_dir()).unwrap();
        let file = fs::read_dir(&threads).unwrap().next().unwrap().unwrap().path();
        let later = String::from_utf8(fs::read(&file).unwrap()).unwrap().replacen("\"format\":4", "\"format\":9", 1);
        fs::write(&file, &later).unwrap();
        let sync = open();
        assert_eq!(sync.gate("agent:main:main"), Ok(1), "closed");

        let message = serde_json::json!({
            "key": "agent:main:main", "id": "1", "sender": "7", "name": "Ada", "text": "hello", "host": {},
        });
        let told: serde_json::Value =
            serde_json::from_str(&sync.call("message", &message.to_string()).unwrap()).unwrap();
        let said = serde_json::to_string(&told["reply"]).unwrap();
        assert!(said.contains("your message was not handled") && said.contains("`ride doctor`"), "{told}");
        assert_eq!(told["phase"], "unreadable");

        let why = format!("state file {} has format 9, this version reads 1 to 4", file.display());
        for (method, params) in [
            ("ride_status", serde_json::json!({})),
            ("ride_status", serde_json::json!({ "key": "agent:main:main" })),
            ("ride_config", serde_json::json!({})),
            (
                "ride_claim",
                serde_json::json!({
                    "key": "agent:main:main", "secret": "0".repeat(32), "waitMs": 1, "steal": false,
                    "driver": { "name": "ada", "host": "h", "process": { "machine": "m", "pid": 1, "start": 1 } },
                }),
            ),
        ] {
            let told = asked(&sync, method, params);
            assert!(told.contains(&why), "{method}: {told}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), later, "left as it is");
    }
}
