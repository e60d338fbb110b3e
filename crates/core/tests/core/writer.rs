//! A process that is not the driver's writes to the ridden Claude session.

use ride_core::event::{Act, Event, Outcome, Reply, Seen};
use ride_core::id::Fence;
use ride_core::thread::Why;

use super::world::{World, fine, id, name};

fn writer(fence: Fence) -> Event {
    Event::Seen(Seen::Writer { fence, pid: 4711, program: "claude\u{1b}\n".into() })
}

fn renew(w: &mut World, fence: Fence) -> Reply {
    w.does(Event::Renew { fence, secret_sha256: "secret of ada".into(), claude: None, active: true })
}

// Rules LEASE-24, GATE-1, LEASE-8.
#[test]
fn a_second_writer_ends_the_ride_and_the_thread_opens_only_when_it_is_gone() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    assert_eq!(w.does(writer(fence)), Reply::Ok);
    assert_eq!(w.t.phase_name(), "leaving");

    let Reply::Refused { message, .. } = renew(&mut w, fence) else { panic!("renewed") };
    assert_eq!(
        message,
        "another process writes to its Claude session: process 4711 (claude). \
         The thread stays closed until that process has ended. End it, then ride the thread again"
    );
    assert_eq!(w.says(1, "hello?"), Reply::Hold, "no turn runs beside it");

    let mut sent = Vec::new();
    // Longer than a lease: time alone does not open it.
    for _ in 0..20 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Prove { .. } => {
                    Outcome::NotYet { what: "process 4711 (claude) has the Claude session open".into() }
                }
                Act::Send { item, .. } => {
                    sent.push(item.text.clone());
                    fine(&e.act)
                }
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
        w.wait(10_000);
        assert!(w.t.closed() && w.t.phase_name() == "leaving", "it still writes");
    }
    assert!(
        sent.iter().any(|text| text.contains("another process writes to this conversation, process 4711 (claude)"))
    );

    let done: Vec<&str> = w.settle().iter().map(name).filter(|n| *n != "send").collect();
    assert_eq!(done, ["prove", "show", "restore", "hand"]);
    let last = w.t.last.as_ref().expect("it ended");
    assert_eq!((last.fence, &last.why), (fence, &Why::Writer { process: "process 4711 (claude)".into() }));
}

// Rule LEASE-24.
#[test]
fn what_was_seen_during_another_grant_or_without_a_claude_session_ends_nothing() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(writer(Fence { grant: id(999), ..fence }));
    assert_eq!((w.t.phase_name(), renew(&mut w, fence)), ("ridden", Reply::Ok));
    let mut open = World::new();
    open.does(writer(fence));
    assert_eq!(open.t.phase_name(), "open");
}

// Rules LEASE-24, HAND-3.
#[test]
fn lines_of_the_other_process_that_stand_beside_keep_the_thread_closed_until_a_person_accepts() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(writer(fence));
    for _ in 0..4 {
        for e in w.take() {
            let beside = Outcome::Shown { turns: Vec::new(), beside: vec!["a prompt of the other process".into()] };
            w.done(e.op, if matches!(e.act, Act::Show { .. }) { beside } else { fine(&e.act) });
        }
        w.wait(60_000);
    }
    assert_eq!(w.t.phase_name(), "leaving");
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: true });
    w.settle();
    assert_eq!(w.t.phase_name(), "open");
}
