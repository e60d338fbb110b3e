//! Thread values on a real disk: what survives, what is refused, what two copies see.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "threads/audit.rs"]
mod audit;
#[path = "threads/damage.rs"]
mod damage;
#[path = "threads/disk.rs"]
mod disk;
#[path = "threads/owner.rs"]
mod owner;
#[path = "threads/versions.rs"]
mod versions;

use std::fs;
use std::path::{Path, PathBuf};

use ride_core::event::{Act, ClaimAsked, Effect, Event, Inbound, OpenedBy, Outcome, Reply};
use ride_core::id::{Process, Route};
use ride_core::rules::Rules;
use ride_core::thread::{ClaudeSession, Parked};
use ride_core::wire::{ChainMark, Driver, Reason};
use ride_store::{Gate, Kept, KeptThread, Store, clock, may_be_ridden};
use serde_json::json;
use uuid::Uuid;

const TOPIC: &str = "agent:main:telegram:group:-100:topic:42";
const OTHER: &str = "agent:main:telegram:group:-100:topic:43";

fn claim(store: &Store, session: &str, name: &str, claude: Uuid) -> Reply {
    let asked = ClaimAsked {
        identity: None,
        driver: Driver {
            name: name.into(),
            host: "laptop".into(),
            process: Process { machine: "m".into(), namespace: None, pid: 1, start: 2 },
        },
        secret_sha256: name.into(),
        grant: Uuid::new_v4(),
        title: "t".into(),
        claude: Some(ClaudeSession { id: claude, config_dir: "/c".into(), cwd: "/w".into() }),
        route: None,
        twins: Vec::new(),
        wait_ms: 1_000,
        session_held: None,
        steal: false,
        adopts: None,
    };
    store.apply(session, Event::Claim(Box::new(asked)), clock::now(), &Rules::default()).unwrap().1
}

fn says(store: &Store, session: &str, id: &str, claude: Option<Uuid>) -> Reply {
    let route = Route { channel: "telegram".into(), to: "telegram:-100".into(), account_id: None, thread_id: None };
    let message = Inbound {
        id: id.into(),
        unnamed: None,
        sender: "1".into(),
        name: "Ada".into(),
        text: "hello".into(),
        client: None,
        route: Some(route),
        host: json!({}),
        claude,
        behind: None,
    };
    store.apply(session, Event::Message(Box::new(message)), clock::now(), &Rules::default()).unwrap().1
}

fn thread_file(dir: &Path) -> PathBuf {
    fs::read_dir(gateway_folder(dir).join("threads")).unwrap().next().unwrap().unwrap().path()
}

fn gateway_folder(dir: &Path) -> PathBuf {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).find(|p| p.join("threads").is_dir()).unwrap()
}

// Rules LEASE-2, STORE-1.
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

// Rule LEASE-1.
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

const PERFORMER: Uuid = Uuid::from_u128(9);

/// What there is to do for a thread.
fn take(store: &Store, session: &str) -> Vec<Effect> {
    let event = Event::Take { performer: PERFORMER, behind: false, flying: Vec::new() };
    match store.apply(session, event, clock::now(), &Rules::default()).unwrap().1 {
        Reply::Work { effects, .. } => effects,
        other => panic!("{other:?}"),
    }
}

/// Does what there is to do until a claim is granted or a release is complete.
fn perform(store: &Store, session: &str) {
    loop {
        let effects = take(store, session);
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            let outcome = match effect.act {
                Act::Copy { .. } => Outcome::Copied { bindings: vec![binding(session)] },
                Act::Mark { .. } => Outcome::Marked { mark: mark(), beside: Vec::new() },
                Act::Show { .. } => Outcome::Shown { turns: Vec::new(), beside: Vec::new() },
                _ => Outcome::Ok,
            };
            let done = Event::Done { op: effect.op, performer: PERFORMER, outcome };
            store.apply(session, done, clock::now(), &Rules::default()).unwrap();
        }
    }
}

fn binding(session: &str) -> Parked {
    Parked { session: session.into(), binding: json!({}), reset_mark: String::new() }
}

fn mark() -> ChainMark {
    ChainMark { path: "/c/t.jsonl".into(), dev: 1, ino: 2, size: 3, tail_sha256: "0".into(), leaf: None }
}

fn release(store: &Store, session: &str) {
    let fence = store.read(session).unwrap().unwrap().lease().unwrap().fence;
    store.apply(session, Event::Release { fence, accept_broken: false }, clock::now(), &Rules::default()).unwrap();
}

/// The rider's store and the twin's, and the twin's session key.
fn twins() -> Vec<(Store, Store, &'static str)> {
    let files = |dir: &Path, gateway: &str| Store::files(dir, gateway).unwrap();
    let (one, two) = (tempfile::tempdir().unwrap().keep(), tempfile::tempdir().unwrap().keep());
    vec![
        (files(&one, "/state"), files(&one, "/state"), OTHER),
        // Two gateways under one home; their threads may even have the same key.
        (files(&two, "/state"), files(&two, "/elsewhere"), TOPIC),
    ]
}

// Rule GATE-4.
#[test]
fn a_thread_bound_to_a_ridden_session_later_is_held_and_let_go_with_it() {
    for (rider, twin, other) in twins() {
        let claude = Uuid::new_v4();
        claim(&rider, TOPIC, "ada", claude);
        assert!(twin.ridden(claude).unwrap());
        assert_eq!(twin.riding(claude).unwrap().unwrap().key.session, TOPIC);
        assert_eq!(says(&twin, other, "m1", Some(claude)), Reply::Hold);
        assert_eq!(twin.gate(other).unwrap(), Gate::Closed);
        assert!(
            take(&twin, other).iter().all(|e| matches!(e.act, Act::Send { .. })),
            "nothing is handed over beside the ride"
        );
        release(&rider, TOPIC);
        assert!(take(&twin, other).iter().any(|e| matches!(e.act, Act::Hand { .. })));
        assert!(!twin.ridden(claude).unwrap());
    }
}

#[test]
fn in_memory_the_same_holds_within_the_process() {
    let store = Store::memory("/state");
    let claude = Uuid::new_v4();
    claim(&store, TOPIC, "ada", claude);
    assert!(matches!(claim(&store, OTHER, "bob", claude), Reply::Refused { .. }));
    assert_eq!(says(&store, OTHER, "m1", Some(claude)), Reply::Hold);
    assert_eq!(store.gate(OTHER).unwrap(), Gate::Closed);
    release(&store, TOPIC);
    assert!(take(&store, OTHER).iter().any(|e| matches!(e.act, Act::Hand { .. })));
    // What a restart loses is all of it.
    assert_eq!(Store::memory("/state").read(OTHER).unwrap(), None);
}

// Rule LEASE-1.
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

// Rules HAND-5, STORE-5.
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
fn threads_once_ridden_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::open(&dir.path().join("locks"), "/state").unwrap();
    assert_eq!(kept.all().unwrap(), []);
    let thread = |session: &str, n: u128| KeptThread {
        session: session.into(),
        claude: Uuid::from_u128(n),
        reset_mark: "a ".into(),
    };
    kept.keep(thread(TOPIC, 1)).unwrap();
    kept.keep(thread(OTHER, 2)).unwrap();
    kept.keep(thread(TOPIC, 3)).unwrap();
    let other_copy = Kept::open(&dir.path().join("locks"), "/state").unwrap();
    assert_eq!(other_copy.all().unwrap(), [thread(OTHER, 2), thread(TOPIC, 3)]);
    other_copy.forget(OTHER).unwrap();
    assert_eq!(kept.all().unwrap(), [thread(TOPIC, 3)]);
    let elsewhere = Kept::open(&dir.path().join("locks"), "/another").unwrap();
    assert_eq!(elsewhere.all().unwrap(), []);
}

#[test]
fn who_asks_from_outside_learns_only_that_a_session_may_be_ridden() {
    let dir = tempfile::tempdir().unwrap();
    let locks = dir.path().join("locks");
    let (claude, other) = (Uuid::new_v4(), Uuid::new_v4());
    assert!(!may_be_ridden(&locks, claude));
    assert!(!locks.exists(), "looking makes nothing");
    fs::create_dir(&locks).unwrap();
    assert!(may_be_ridden(&locks, claude), "without an index it cannot be told");
    let store = Store::files(&locks, "/state").unwrap();
    assert!(!may_be_ridden(&locks, claude));
    claim(&store, TOPIC, "ada", claude);
    assert!(may_be_ridden(&locks, claude) && !may_be_ridden(&locks, other));
    release(&store, TOPIC);
    assert!(!may_be_ridden(&locks, claude));
    fs::write(locks.join("index.json"), "damaged").unwrap();
    assert!(may_be_ridden(&locks, claude));
}

// Rule LEASE-3.
#[test]
fn a_claim_waits_until_every_live_gateway_has_acknowledged_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Store::files(dir.path(), "/state").unwrap(), Store::files(dir.path(), "/elsewhere").unwrap());
    let claude = Uuid::new_v4();
    let waits = |store: &Store| store.unacknowledged(claude).unwrap();
    claim(&one, TOPIC, "ada", claude);
    // Nobody serves the other one; and a gateway owes itself nothing.
    assert_eq!((waits(&one), one.owed().unwrap().len()), (Vec::new(), 0));
    let serves = two.serve().unwrap().unwrap();
    let copy = two.serve().unwrap().unwrap();
    assert_eq!(waits(&one).len(), 1);
    let owed = two.owed().unwrap();
    assert_eq!(owed.iter().map(|owed| owed.claude).collect::<Vec<_>>(), [claude]);
    two.acknowledge(owed[0]).unwrap();
    assert_eq!((waits(&one), two.owed().unwrap().len()), (Vec::new(), 0));
    // Another claim changes nothing of that.
    claim(&one, OTHER, "bob", Uuid::new_v4());
    assert_eq!((waits(&one), two.owed().unwrap().len()), (Vec::new(), 1));
    // What was acknowledged of a ride that is over says nothing about the next one, and is named.
    perform(&one, TOPIC);
    release(&one, TOPIC);
    perform(&one, TOPIC);
    claim(&one, TOPIC, "ada", claude);
    two.acknowledge(owed[0]).unwrap();
    assert_eq!(waits(&one), ["/elsewhere"]);
    // Nor does it about an index that was made anew.
    two.acknowledge(*two.owed().unwrap().iter().find(|owed| owed.claude == claude).unwrap()).unwrap();
    assert_eq!(waits(&one), Vec::<String>::new());
    fs::remove_file(dir.path().join("index.json")).unwrap();
    assert_eq!(waits(&one), ["/elsewhere"]);
    // It lives as long as one of its copies serves it.
    drop(serves);
    assert_eq!(waits(&one), ["/elsewhere"]);
    drop(copy);
    assert_eq!(waits(&one), Vec::<String>::new());
}

fn opens(store: &Store, session: &str, claude: Uuid, twins: &[&str]) {
    let by = OpenedBy {
        claude: ClaudeSession { id: claude, config_dir: "/c".into(), cwd: "/w".into() },
        twins: twins.iter().map(|twin| (*twin).to_owned()).collect(),
        process: terminal(),
        host: "box".into(),
        answered: false,
    };
    store.apply(session, Event::Opened(Box::new(by)), clock::now(), &Rules::default()).unwrap();
}

fn terminal() -> Process {
    Process { machine: "m".into(), namespace: None, pid: 5, start: 6 }
}

fn leaves(store: &Store, session: &str) {
    let event = Event::Closed { process: terminal(), left: true };
    store.apply(session, event, clock::now(), &Rules::default()).unwrap();
}

// Rules OPEN-1, OPEN-5, GATE-4.
#[test]
fn a_session_that_is_open_in_a_terminal_is_held_for_every_thread_and_gateway() {
    for (keeper, twin, other) in twins() {
        let claude = Uuid::new_v4();
        opens(&keeper, TOPIC, claude, &[]);
        assert_eq!((keeper.gate(TOPIC).unwrap(), keeper.busy().unwrap()), (Gate::Closed, vec![TOPIC.to_owned()]));
        assert!(twin.ridden(claude).unwrap());
        assert_eq!(says(&twin, other, "m1", Some(claude)), Reply::Hold);
        let Reply::Refused { message, .. } = claim(&twin, other, "bob", claude) else { panic!("it is open elsewhere") };
        assert_eq!(message, "its Claude session is open in a terminal on box, through another thread");
        assert!(!take(&twin, other).iter().any(|e| matches!(e.act, Act::Hand { .. })));
        leaves(&keeper, TOPIC);
        perform(&keeper, TOPIC);
        assert_eq!(keeper.gate(TOPIC).unwrap(), Gate::Open);
        assert!(take(&twin, other).iter().any(|e| matches!(e.act, Act::Hand { .. })));
        assert!(!twin.ridden(claude).unwrap());
    }
}

// Rules OPEN-1, LEASE-1.
#[test]
fn a_terminal_that_is_told_of_through_a_twin_does_not_displace_a_ride() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    let claude = Uuid::new_v4();
    claim(&store, TOPIC, "ada", claude);
    opens(&store, OTHER, claude, &[]);
    assert_eq!(store.riding(claude).unwrap().unwrap().key.session, TOPIC);
    assert!(matches!(claim(&store, OTHER, "bob", claude), Reply::Refused { .. }));
}

// Rules OPEN-1, STORE-2.
#[test]
fn an_index_that_was_made_again_holds_what_is_open_in_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let claude = Uuid::new_v4();
    opens(&Store::files(dir.path(), "/state").unwrap(), TOPIC, claude, &[OTHER]);
    fs::remove_file(dir.path().join("index.json")).unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    assert_eq!((store.gate(TOPIC).unwrap(), store.gate(OTHER).unwrap()), (Gate::Closed, Gate::Closed));
    assert!(store.ridden(claude).unwrap() && may_be_ridden(dir.path(), claude));
}
