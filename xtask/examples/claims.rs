//! Claims and releases a thread, durably, for `cargo xtask bench`: by this store, or by
//! SQLite under `BEGIN IMMEDIATE` with full sync.
//!
//! `claims <store|rollback|wal> <folder>`; each line on stdin is one claim and release,
//! answered by how many nanoseconds it took. `rollback` and `wal` are SQLite's journals.

#![expect(clippy::unwrap_used, reason = "a measuring program: what fails ends it")]

use std::env;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use ride_core::event::{ClaimAsked, Event, Reply};
use ride_core::id::Process;
use ride_core::rules::Rules;
use ride_core::thread::ClaudeSession;
use ride_core::wire::Driver;
use ride_store::{Store, clock};
use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

const KEY: &str = "agent:main:telegram:group:-100:topic:42";

fn main() {
    let args: Vec<String> = env::args().collect();
    let folder = Path::new(&args[2]);
    let mut once: Box<dyn FnMut()> = match args[1].as_str() {
        "store" => store(folder),
        "rollback" => sqlite(folder, "DELETE"),
        "wal" => sqlite(folder, "WAL"),
        other => panic!("no such way to claim: {other}"),
    };
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        line.unwrap();
        let begin = Instant::now();
        once();
        writeln!(out, "{}", begin.elapsed().as_nanos()).unwrap();
        out.flush().unwrap();
    }
}

fn asked() -> ClaimAsked {
    ClaimAsked {
        identity: None,
        driver: Driver {
            name: "ada".into(),
            host: "laptop".into(),
            process: Process { machine: "m".into(), namespace: None, pid: 1, start: 2 },
        },
        secret_sha256: "5".repeat(64),
        grant: Uuid::new_v4(),
        title: "Plans › topic 42".into(),
        claude: Some(ClaudeSession {
            id: Uuid::from_u128(7),
            config_dir: "/home/ada/.claude".into(),
            cwd: "/home/ada/plans".into(),
        }),
        route: None,
        twins: Vec::new(),
        wait_ms: 1_000,
        session_held: None,
        steal: false,
        adopts: None,
    }
}

fn store(folder: &Path) -> Box<dyn FnMut()> {
    let store = Store::files(folder, "/state").unwrap();
    let rules = Rules::default();
    Box::new(move || {
        let (_, reply) = store.apply(KEY, Event::Claim(Box::new(asked())), clock::now(), &rules).unwrap();
        let Reply::Claiming { fence } = reply else { panic!("{reply:?}") };
        let (thread, _) =
            store.apply(KEY, Event::Release { fence, accept_broken: false }, clock::now(), &rules).unwrap();
        assert!(thread.lease().is_none());
    })
}

/// A lease as a row: who has it, since when, and as much beside it as a thread of ours.
fn sqlite(folder: &Path, journal: &str) -> Box<dyn FnMut()> {
    let mut db = Connection::open(folder.join("threads.db")).unwrap();
    db.pragma_update(None, "journal_mode", journal).unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch("CREATE TABLE thread (key TEXT PRIMARY KEY, epoch INTEGER, driver TEXT, state TEXT)").unwrap();
    db.execute("INSERT INTO thread VALUES (?1, 0, NULL, '{}')", params![KEY]).unwrap();
    let state = |grant: &str| format!("{{\"grant\":\"{grant}\",\"state\":\"{}\"}}", "s".repeat(5_700));
    Box::new(move || {
        let grant = Uuid::new_v4().to_string();
        let claim = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let (epoch, driver): (u64, Option<String>) = claim
            .query_row("SELECT epoch, driver FROM thread WHERE key = ?1", params![KEY], |r| Ok((r.get(0)?, r.get(1)?)))
            .unwrap();
        assert_eq!(driver, None);
        let taken = "UPDATE thread SET epoch = ?2, driver = ?3, state = ?4 WHERE key = ?1";
        claim.execute(taken, params![KEY, epoch + 1, grant, state(&grant)]).unwrap();
        claim.commit().unwrap();

        let release = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let freed = "UPDATE thread SET driver = NULL, state = ?3 WHERE key = ?1 AND driver = ?2";
        assert_eq!(release.execute(freed, params![KEY, grant, state("")]).unwrap(), 1);
        release.commit().unwrap();
    })
}
