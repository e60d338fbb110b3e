//! A thread is bound to another Claude session: the agent's child is ended first, and
//! either all of it happens or nothing.

use ride_core::event::{Act, Event, Outcome, Reply};
use ride_core::thread::{LeaveStage, Phase, Why};
use ride_core::wire::Reason;

use super::world::{World, fine, id, name};

fn names(acts: &[Act]) -> Vec<&'static str> {
    acts.iter().map(name).collect()
}

// Rule LEASE-17.
#[test]
fn the_binding_is_exchanged_once_nothing_writes_to_either_session() {
    let mut w = World::new();
    let Reply::Claiming { fence } = w.adopt("ada", 60, Some(50)) else { panic!("refused") };
    w.says(1, "hello?");
    assert_eq!(w.t.inbox.len(), 1, "the gate is closed meanwhile");
    assert_eq!(w.t.claude(), Some(id(60)), "and the session nobody else's");
    let effects = w.settle();
    assert_eq!(
        names(&effects).into_iter().filter(|n| *n != "send").collect::<Vec<_>>(),
        ["settle", "end child", "acknowledge", "prove", "mark", "adopt", "hand"]
    );
    for act in &effects {
        match act {
            Act::EndChild { claude } => assert_eq!(claude.id, id(50), "the child of the one before"),
            Act::Prove { claude, .. } | Act::Mark { claude, whole: true, .. } | Act::Adopt { claude, .. } => {
                assert_eq!(claude.id, id(60))
            }
            _ => {}
        }
    }
    let last = w.t.last.as_ref().unwrap();
    assert!(last.fence == fence && matches!(&last.why, Why::Adopted { to, .. } if to.id == id(60)), "{last:?}");
    assert_eq!(w.t.former.as_ref().map(|former| former.id), Some(id(50)));
    assert!(!w.t.closed());
    // And back.
    w.adopt("ada", 50, Some(60));
    w.settle();
    assert_eq!(w.t.former.as_ref().map(|former| former.id), Some(id(60)));
}

// Rule LEASE-17.
#[test]
fn an_adoption_that_fails_changes_nothing() {
    type End = fn(&Act) -> Option<Outcome>;
    let ways: [(&str, End); 3] = [
        ("somebody has it open", |act| {
            matches!(act, Act::Prove { .. })
                .then(|| Outcome::NotYet { what: "process 7 (claude) has the Claude session open".into() })
        }),
        ("the gateway has it for another thread", |act| {
            matches!(act, Act::Prove { .. }).then_some(Outcome::ChildAgain)
        }),
        ("its chain is damaged", |act| {
            matches!(act, Act::Mark { .. })
                .then(|| Outcome::Failed { what: "damaged".into(), reason: Reason::Transcript })
        }),
    ];
    for (how, end) in ways {
        let mut w = World::new();
        w.adopt("ada", 60, Some(50));
        for _ in 0..10 {
            for e in w.take() {
                w.done(e.op, end(&e.act).unwrap_or_else(|| fine(&e.act)));
            }
        }
        assert!(matches!(w.t.phase, Phase::Open), "{how}");
        assert!(matches!(&w.t.last.as_ref().unwrap().why, Why::Failed { .. }), "{how}");
        assert_eq!(w.t.former, None, "{how}");
    }
    // Ridden, it is refused.
    let mut w = World::ridden_by("ada");
    assert!(matches!(w.adopt("bob", 60, Some(50)), Reply::Refused { .. }));
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    assert!(matches!(&w.t.phase, Phase::Leaving { at, .. } if at.stage == LeaveStage::Prove));
    assert!(matches!(w.adopt("bob", 60, Some(50)), Reply::Refused { .. }));
}

// Rule LEASE-17.
#[test]
fn a_crash_before_the_binding_is_known_to_be_exchanged_exchanges_it_again() {
    let mut w = World::new();
    w.adopt("ada", 60, None);
    let mut acts = Vec::new();
    for _ in 0..5 {
        for e in w.take() {
            acts.push(name(&e.act));
            if !matches!(e.act, Act::Adopt { .. }) {
                w.done(e.op, fine(&e.act));
            }
        }
    }
    assert_eq!(acts, ["settle", "acknowledge", "prove", "mark", "adopt"], "no child to end where nothing was bound");
    w.crash();
    // The gateway that starts again tells every thread that its driver was on a lost connection.
    let fence = w.fence();
    w.does(Event::Dropped { fence });
    w.does(Event::TakeBack { by: "Tess".into(), accept_broken: false });
    // And the thread is told that somebody wanted it back.
    assert_eq!(names(&w.settle()), ["barrier", "send", "adopt"]);
    assert!(matches!(&w.t.last.as_ref().unwrap().why, Why::Adopted { .. }));
}
