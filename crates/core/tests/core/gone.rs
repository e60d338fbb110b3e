//! What a driver's lock and a person's word change in the proof that a driver is gone.

use ride_core::audit;
use ride_core::event::{Act, Event, HeldLock, Outcome, Reply};
use ride_core::id::Fence;
use ride_core::limits;
use ride_core::wire::AuditWhat;

use super::world::{World, fine};

fn locked(w: &mut World, fence: Fence, name: &str, mutual: bool) -> Reply {
    w.does(Event::Locked { fence, name: name.into(), mutual })
}

/// What the next proof of a thread is to go by.
fn proof(w: &mut World) -> (Option<HeldLock>, Vec<String>) {
    for _ in 0..20 {
        for effect in w.take() {
            if let Act::Prove { lock, gone, .. } = &effect.act {
                return (lock.clone(), gone.clone());
            }
            w.done(effect.op, fine(&effect.act));
        }
    }
    panic!("no proof is asked for");
}

fn noted(w: &World, what: &str) -> bool {
    w.t.journal.iter().any(|line| line.what == what)
}

// Rule LEASE-22.
#[test]
fn the_proof_goes_by_the_drivers_own_lock_and_by_what_both_sides_saw_of_it() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    let stale = Fence { epoch: 99, ..fence };
    assert!(matches!(locked(&mut w, stale, "a", true), Reply::Refused { .. }));
    assert_eq!(locked(&mut w, fence, "a", true), Reply::Ok);
    // Another file is another lock: nothing was seen of it.
    locked(&mut w, fence, "b", false);
    let mut unmet = w.clone();
    locked(&mut w, fence, "b", true);
    // What both have seen stays true when the gateway looks again.
    locked(&mut w, fence, "b", false);
    for (w, mutual) in [(&mut w, true), (&mut unmet, false)] {
        w.does(Event::Release { fence, accept_broken: false });
        let (lock, _) = proof(w);
        let ride = w.t.lease().unwrap().driver.process.clone();
        assert_eq!(lock, Some(HeldLock { config_dir: "/c".into(), name: "b".into(), mutual, ride }));
    }
    // The next driver begins without one.
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    locked(&mut w, fence, "a", true);
    w.steal("bob", 601, 11);
    w.settle();
    assert_eq!((w.t.phase_name(), &w.t.lease().unwrap().lock), ("ridden", &None));
}

// Rule LEASE-23.
#[test]
fn who_declares_which_process_gone_is_kept_and_the_proof_is_told() {
    let mut w = World::new();
    let name = "1@4026532179.92593";
    let before = w.t.clone();
    let declared = Event::Declared {
        by: "ada@laptop".into(),
        identity: Some("user ada".into()),
        gone: vec![name.into(), name.into()],
    };
    assert_eq!(w.does(declared.clone()), Reply::Ok);
    assert!(noted(&w, "ada@laptop (user ada) declares process 1@4026532179.92593 gone"), "{:?}", w.t.journal);
    let line = audit::line(&before, &w.t, &declared, w.now).unwrap();
    assert_eq!(
        (line.what, line.by.as_str(), line.identity.as_deref()),
        (AuditWhat::DeclareGone, "ada@laptop", Some("user ada"))
    );
    assert_eq!(line.waits_for, Some(format!("{name}, {name}")));
    w.claim("ada", 500);
    assert_eq!(proof(&mut w).1, [name]);
    // The oldest is forgotten at the bound.
    let more: Vec<String> = (0..limits::GONE_NAMES).map(|n| format!("{n}@1.1")).collect();
    w.does(Event::Declared { by: "bob".into(), identity: None, gone: more.clone() });
    assert_eq!(Vec::from(w.t.gone.clone()), more);
}

// Rule LEASE-23.
#[test]
fn who_accepts_that_a_process_cannot_be_seen_and_which_is_kept() {
    let unseen = "whether the ride's Claude Code (process 9) has ended cannot be seen from here: it runs in another pid namespace, such as a container";
    let broken = |w: &mut World| {
        for effect in w.take() {
            let cannot = Outcome::Broken { what: unseen.into() };
            w.done(effect.op, if matches!(effect.act, Act::Prove { .. }) { cannot } else { fine(&effect.act) });
        }
    };
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    broken(&mut w);
    let mut taken = w.clone();
    w.does(Event::Release { fence, accept_broken: true });
    assert!(noted(&w, &format!("release {fence} by ada@laptop accepts: {unseen}")), "{:?}", w.t.journal);
    w.settle();
    assert_eq!(w.t.phase_name(), "open");
    taken.does(Event::TakeBack { by: "Tess".into(), accept_broken: true });
    assert!(noted(&taken, &format!("Tess accepts: {unseen}")), "{:?}", taken.t.journal);
    taken.settle();
    assert_eq!(taken.t.phase_name(), "open");
}
