//! A ride whose Claude Code writes to a copy on another machine.

use ride_core::event::{Act, Event, Outcome, Reply};
use ride_core::id::{Fence, Process};
use ride_core::view;
use ride_core::wire::{CopyEnd, Reason};

use super::world::{World, fine, id};

fn refused(reply: &Reply) -> (Reason, &str) {
    match reply {
        Reply::Refused { message, refusal } => (refusal.reason, message),
        other => panic!("not refused: {other:?}"),
    }
}

fn elsewhere(pid: u32) -> Process {
    Process { machine: "another".into(), namespace: None, pid, start: 5 }
}

fn renew(w: &mut World, fence: Fence, claude: Option<Process>) -> Reply {
    w.does(Event::Renew { fence, secret_sha256: "secret of ada".into(), claude, active: false })
}

fn end(size: u64) -> CopyEnd {
    CopyEnd { size, tail_sha256: "ab".into(), leaf: Some(id(9)) }
}

/// A thread ridden on a copy, with Claude Code running on the other machine.
fn on_copy() -> (World, Fence) {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    assert_eq!(w.does(Event::Copied { fence, end: None }), Reply::Ok);
    assert_eq!(renew(&mut w, fence, Some(elsewhere(30))), Reply::Ok);
    (w, fence)
}

/// The proofs and looks that are asked for until the thread is the agent's, or another's.
fn leaves(w: &mut World) -> Vec<Act> {
    let mut acts = Vec::new();
    for _ in 0..200 {
        if w.t.phase_name() == "open" {
            break;
        }
        for e in w.take() {
            w.done(e.op, fine(&e.act));
            acts.push(e.act);
        }
        w.wait(500);
    }
    acts
}

// Rule COPY-1.
#[test]
fn no_process_of_a_drivers_machine_holds_a_thread_it_rides_on_a_copy() {
    // However the ride ends.
    for how in ["expired", "taken back", "released"] {
        let (mut w, fence) = on_copy();
        match how {
            "expired" => w.wait(w.rules.lease_ms + 1),
            "taken back" => assert_eq!(w.does(Event::TakeBack { by: "tess".into(), accept_broken: false }), Reply::Ok),
            _ => assert_eq!(w.does(Event::Release { fence, accept_broken: false }), Reply::Ok),
        }
        let acts = leaves(&mut w);
        assert_eq!(w.t.phase_name(), "open", "{how}");
        let proofs: Vec<_> = acts.iter().filter(|act| matches!(act, Act::Prove { .. })).collect();
        assert!(!proofs.is_empty(), "what runs at the gateway is looked for: {how}");
        assert!(
            proofs.iter().all(|act| matches!(act, Act::Prove { process: None, ride: None, .. })),
            "{how}: {proofs:?}"
        );
        // And what it pushes then is not taken.
        assert!(view::on_copy(&w.t, fence, w.now, &w.rules).is_none(), "{how}");
    }
}

// Rule COPY-1.
#[test]
fn only_the_fence_in_force_extends_the_transcript() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    let may = |w: &World, fence| view::on_copy(&w.t, fence, w.now, &w.rules).is_some();
    assert!(!may(&w, fence), "not before it says so");
    w.does(Event::Copied { fence, end: None });
    assert!(may(&w, fence));
    let other = Fence { epoch: fence.epoch + 1, ..fence };
    assert!(!may(&w, other));
    assert_eq!(refused(&w.does(Event::Copied { fence: other, end: None })).0, Reason::Stale);
    // The lease ends on the clock, before anybody has looked.
    w.wait(w.rules.lease_ms);
    assert!(!may(&w, fence));
    assert_eq!(refused(&w.does(Event::Copied { fence, end: None })).0, Reason::Stale);
}

#[test]
fn a_copy_is_said_before_claude_code_runs_and_only_where_there_is_one() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    assert_eq!(
        refused(&w.does(Event::Copied { fence, end: Some(end(5)) })),
        (Reason::BadRequest, "the ride is not on a copy")
    );
    renew(&mut w, fence, Some(elsewhere(30)));
    assert_eq!(
        refused(&w.does(Event::Copied { fence, end: None })),
        (Reason::BadRequest, "the ride's Claude Code writes to the transcript itself")
    );
    let (mut w, fence) = on_copy();
    assert_eq!(w.does(Event::Copied { fence, end: None }), Reply::Ok, "asked again after a lost answer");

    let mut w = World { chat: true, ..World::new() };
    w.claim("ada", 500);
    w.settle();
    let fence = w.fence();
    assert_eq!(
        refused(&w.does(Event::Copied { fence, end: None })),
        (Reason::BadRequest, "the thread has no Claude session to be copied")
    );
}

// Rule COPY-5.
#[test]
fn a_release_proves_that_both_ends_are_the_same() {
    let (mut w, fence) = on_copy();
    assert_eq!(w.does(Event::Copied { fence, end: Some(end(5)) }), Reply::Ok);
    assert_eq!(w.does(Event::Release { fence, accept_broken: false }), Reply::Ok);
    // The same, asked again after a lost answer.
    assert_eq!(w.does(Event::Copied { fence, end: Some(end(5)) }), Reply::Ok);
    assert_eq!(w.does(Event::Release { fence, accept_broken: false }), Reply::Ok);
    let mut shows = 0;
    for _ in 0..20 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Show { copy, .. } => {
                    assert_eq!(*copy, Some(end(5)));
                    shows += 1;
                    // It ends elsewhere, until a person has seen to it.
                    if shows < 3 { Outcome::Broken { what: "it ends elsewhere".into() } } else { fine(&e.act) }
                }
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
        if shows == 1 {
            assert_eq!((w.t.phase_name(), view::acceptable(&w.t)), ("leaving", true));
        }
        w.wait(1_000);
    }
    assert_eq!((shows, w.t.phase_name()), (3, "open"));
    assert_eq!(w.does(Event::Copied { fence, end: Some(end(5)) }), Reply::Ok, "asked again when it is over");
}

#[test]
fn whoever_follows_is_not_on_a_copy_unless_it_says_so() {
    let (mut w, _) = on_copy();
    let Reply::Claiming { fence: bob } = w.steal("bob", 601, 11) else { panic!("refused") };
    w.settle();
    assert_eq!((w.t.phase_name(), w.fence()), ("ridden", bob));
    assert!(view::on_copy(&w.t, bob, w.now, &w.rules).is_none());
    // So its Claude Code is seen gone as ever.
    w.does(Event::Renew {
        fence: bob,
        secret_sha256: "secret of bob".into(),
        claude: Some(elsewhere(40)),
        active: false,
    });
    w.does(Event::Release { fence: bob, accept_broken: false });
    let acts = leaves(&mut w);
    assert!(acts.iter().any(|act| matches!(act, Act::Prove { process: Some(_), .. })), "{acts:?}");
}
