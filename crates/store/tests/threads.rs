//! Thread values on a real disk: what survives, what is refused, what two copies see.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ride_core::event::{ClaimAsked, Event, Inbound, Reply};
use ride_core::id::{Process, Route};
use ride_core::step::Rules;
use ride_core::thread::ClaudeSession;
use ride_core::wire::{Driver, Reason};
use ride_store::{Gate, KEPT, Kept, KeptThread, Store, StoreError, clock};
use serde_json::json;
use uuid::Uuid;

const TOPIC: &str = "agent:main:telegram:group:-100:topic:42";
const OTHER: &str = "agent:main:telegram:group:-100:topic:43";

fn claim(store: &Store, session: &str, name: &str, claude: Uuid) -> Reply {
    let asked = ClaimAsked {
        driver: Driver {
            name: name.into(),
            host: "laptop".into(),
            process: Process { machine: "m".into(), pid: 1, start: 2 },
        },
        secret_sha256: name.into(),
        grant: Uuid::new_v4(),
        title: "t".into(),
        claude: ClaudeSession { id: claude, config_dir: "/c".into(), cwd: "/w".into() },
        route: None,
        twins: Vec::new(),
        wait_ms: 1_000,
        session_held: None,
    };
    store.apply(session, Event::Claim(Box::new(asked)), clock::now(), &Rules::default()).unwrap().1
}

fn says(store: &Store, session: &str, id: &str, claude: Option<Uuid>) -> Reply {
    let route = Route { channel: "telegram".into(), to: "telegram:-100".into(), account_id: None, thread_id: None };
    let message = Inbound {
        id: id.into(),
        sender: "1".into(),
        name: "Ada".into(),
        text: "hello".into(),
        route: Some(route),
        host: json!({}),
        claude,
        behind: None,
    };
    store.apply(session, Event::Message(Box::new(message)), clock::now(), &Rules::default()).unwrap().1
}

fn thread_file(dir: &Path) -> PathBuf {
    let gateway = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).find(|p| p.join("threads").is_dir()).unwrap();
    fs::read_dir(gateway.join("threads")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_second_copy_sees_what_the_first_committed_and_restarts_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::files(dir.path(), "/state").unwrap();
    let second = Store::files(dir.path(), "/state").unwrap();
    let claude = Uuid::new_v4();
    assert_eq!((first.gate(TOPIC).unwrap(), second.gate(TOPIC).unwrap()), (Gate::Open, Gate::Open));

    assert!(matches!(claim(&first, TOPIC, "ada", claude), Reply::Claiming { .. }));
    assert_eq!(second.gate(TOPIC).unwrap(), Gate::Closed);
    assert_eq!(second.gate(OTHER).unwrap(), Gate::AskClaude, "it might be bound to the ridden session");
    assert!(second.ridden(claude).unwrap());
    assert_eq!(says(&second, TOPIC, "m1", None), Reply::Hold);

    let restarted = Store::files(dir.path(), "/state").unwrap();
    assert_eq!(restarted.read(TOPIC).unwrap().unwrap().inbox.len(), 1);
    assert_eq!(restarted.busy().unwrap(), [TOPIC]);
}

#[test]
fn one_claude_session_has_one_driver_whatever_the_thread_or_gateway() {
    for other_gateway in ["/state", "/elsewhere"] {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::files(dir.path(), "/state").unwrap();
        let second = Store::files(dir.path(), other_gateway).unwrap();
        let claude = Uuid::new_v4();
        claim(&first, TOPIC, "ada", claude);
        let Reply::Refused { message, refusal } = claim(&second, OTHER, "bob", claude) else { panic!("two drivers") };
        assert_eq!(message, "its Claude session is ridden through another thread by ada@laptop");
        assert_eq!(refusal.reason, Reason::Held);
        assert!(matches!(claim(&second, OTHER, "bob", Uuid::new_v4()), Reply::Claiming { .. }));
    }
}

#[test]
fn a_thread_bound_to_a_ridden_session_later_is_held_and_let_go_with_it() {
    for store in [Store::memory("/state"), Store::files(&tempfile::tempdir().unwrap().keep(), "/state").unwrap()] {
        let claude = Uuid::new_v4();
        claim(&store, TOPIC, "ada", claude);
        assert_eq!(says(&store, OTHER, "m1", Some(claude)), Reply::Hold);
        assert_eq!(store.gate(OTHER).unwrap(), Gate::Closed);
        let performer = Uuid::new_v4();
        let take = |session: &str| {
            let event = Event::Take { performer, behind: false, flying: Vec::new() };
            match store.apply(session, event, clock::now(), &Rules::default()).unwrap().1 {
                Reply::Work { effects, .. } => effects.iter().map(|e| format!("{:?}", e.act)).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert!(take(OTHER).iter().all(|act| act.starts_with("Send")), "nothing is handed over beside the ride");
        let fence = store.read(TOPIC).unwrap().unwrap().lease().unwrap().fence;
        store.apply(TOPIC, Event::Release { fence, accept_broken: false }, clock::now(), &Rules::default()).unwrap();
        assert!(take(OTHER).iter().any(|act| act.starts_with("Hand")));
    }
}

#[test]
fn exactly_one_of_many_contenders_wins_each_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let rules = Rules::default();
    for epoch in 1..=10 {
        let won: Vec<_> = std::thread::scope(|scope| {
            let race = |n: usize| {
                let store = Store::files(dir.path(), "/state").unwrap();
                move || match claim(&store, TOPIC, &format!("d{n}"), Uuid::from_u128(7)) {
                    Reply::Claiming { fence } => Some(fence),
                    _ => None,
                }
            };
            let racers: Vec<_> = (0..8).map(|n| scope.spawn(race(n))).collect();
            racers.into_iter().filter_map(|r| r.join().unwrap()).collect()
        });
        let [fence] = won[..] else { panic!("{} winners", won.len()) };
        assert_eq!(fence.epoch, epoch);
        let store = Store::files(dir.path(), "/state").unwrap();
        store.apply(TOPIC, Event::Release { fence, accept_broken: false }, clock::now(), &rules).unwrap();
    }
}

#[test]
fn only_one_copy_performs() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::files(dir.path(), "/state").unwrap();
    let second = Store::files(dir.path(), "/state").unwrap();
    let performing = first.perform().unwrap();
    assert!(performing.is_some());
    assert!(second.perform().unwrap().is_none());
    drop(performing);
    assert!(second.perform().unwrap().is_some());
}

#[test]
fn files_are_private_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    let file = thread_file(dir.path());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);

    let moved = dir.path().join("moved");
    fs::rename(&file, &moved).unwrap();
    symlink(&moved, &file).unwrap();
    assert!(matches!(store.read(TOPIC), Err(StoreError::Io { .. })));
}

#[test]
fn what_cannot_be_read_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    claim(&store, TOPIC, "ada", Uuid::new_v4());
    let file = thread_file(dir.path());
    let good = fs::read_to_string(&file).unwrap();

    fs::write(&file, good.replace("\"format\":1", "\"format\":2")).unwrap();
    let error = store.read(TOPIC).unwrap_err().to_string();
    assert!(error.ends_with("has format 2, this version reads 1"), "{error}");

    fs::write(&file, &good[..good.len() / 2]).unwrap();
    let event = Event::Take { performer: Uuid::new_v4(), behind: false, flying: Vec::new() };
    let error = store.apply(TOPIC, event, clock::now(), &Rules::default()).unwrap_err().to_string();
    assert!(error.starts_with("could not understand state file") && error.contains(file.to_str().unwrap()), "{error}");
    assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed, "the gate still holds");
    assert_eq!(fs::read_to_string(&file).unwrap(), good[..good.len() / 2]);
}

#[test]
fn threads_once_ridden_are_remembered_and_the_oldest_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::open(&dir.path().join("locks"), "/state").unwrap();
    assert_eq!(kept.all().unwrap(), []);
    let thread = |session: &str, n: u128| KeptThread { session: session.into(), claude: Uuid::from_u128(n), reset_mark: "a ".into() };
    kept.keep(thread(TOPIC, 1)).unwrap();
    kept.keep(thread(OTHER, 2)).unwrap();
    kept.keep(thread(TOPIC, 3)).unwrap();
    let other_copy = Kept::open(&dir.path().join("locks"), "/state").unwrap();
    assert_eq!(other_copy.all().unwrap(), [thread(OTHER, 2), thread(TOPIC, 3)]);
    other_copy.forget(OTHER).unwrap();
    assert_eq!(kept.all().unwrap(), [thread(TOPIC, 3)]);
    let elsewhere = Kept::open(&dir.path().join("locks"), "/another").unwrap();
    assert_eq!(elsewhere.all().unwrap(), []);

    let file = fs::read_dir(dir.path().join("locks")).unwrap().flatten().map(|e| e.path().join("kept.json")).find(|f| f.exists()).unwrap();
    let full: Vec<KeptThread> = (0..KEPT).map(|n| thread(&format!("s{n}"), n as u128)).collect();
    fs::write(&file, serde_json::to_vec(&full).unwrap()).unwrap();
    kept.keep(thread(TOPIC, 4)).unwrap();
    let all = kept.all().unwrap();
    assert_eq!((all.len(), &all[0], all.last()), (KEPT, &full[1], Some(&thread(TOPIC, 4))));
}
