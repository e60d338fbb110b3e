//! What grew beside a thread's conversation since it was last known: told at the claim, once.

use ride_core::event::{Act, Event, Grown, Outcome};
use ride_core::id::Process;
use ride_core::thread::{Rest, Side, Why};
use ride_core::wire::{ChainMark, RelayKind};

use super::world::{World, fine, id, item, mark};

/// Performs everything until nothing is left to do; the transcript is marked like this.
fn settle(w: &mut World, size: u64, beside: &[Grown]) -> Option<Rest> {
    let mut since = None;
    for _ in 0..50 {
        for e in w.take() {
            let outcome = match &e.act {
                Act::Mark { since: asked, .. } => {
                    since.clone_from(asked);
                    Outcome::Marked { mark: ChainMark { size, ..mark() }, beside: beside.to_vec() }
                }
                act => fine(act),
            };
            w.done(e.op, outcome);
        }
    }
    since
}

/// The driver's Claude Code runs.
fn writes(w: &mut World, name: &str) {
    let claude = Some(Process { machine: "m".into(), namespace: None, pid: 11, start: 21 });
    let renew = Event::Renew { fence: w.fence(), secret_sha256: format!("secret of {name}"), claude, active: true };
    w.does(renew);
}

fn release(w: &mut World, accept_broken: bool) {
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken });
}

fn rest(size: u64) -> Rest {
    Rest { claude: id(50), size, leaf: Some(id(7)) }
}

fn grown(prompts: &[&str]) -> Grown {
    let prompts: Vec<String> = prompts.iter().map(|&id| id.to_owned()).collect();
    Grown { leaf: id(9), last_prompt: "typed there".into(), prompts }
}

// Rule HAND-6.
#[test]
fn what_grew_beside_the_conversation_is_told_until_somebody_rides_on() {
    let mut w = World::new();
    w.claim("ada", 500);
    assert_eq!(settle(&mut w, 100, &[]), None, "of a thread that nobody rode nothing is known");
    writes(&mut w, "ada");
    release(&mut w, false);
    settle(&mut w, 0, &[]);
    assert_eq!((w.t.phase_name(), w.t.rest.clone()), ("open", Some(rest(100))));

    // Given back without Claude Code: the next claim tells it again.
    for grant in [501, 502] {
        w.claim("ada", grant);
        assert_eq!(settle(&mut w, 200, &[grown(&["p1", "p2"])]), Some(rest(100)));
        let expected = Side { leaf: id(9), prompts: 2, last_prompt: "typed there".into() };
        assert_eq!(w.t.lease().unwrap().beside, [expected]);
        if grant == 501 {
            release(&mut w, false);
            settle(&mut w, 0, &[]);
            assert_eq!(w.t.rest, Some(rest(100)));
        }
    }
    // Ridden on without them: that was decided.
    writes(&mut w, "ada");
    release(&mut w, false);
    settle(&mut w, 0, &[]);
    assert_eq!(w.t.rest, Some(rest(200)));
}

#[test]
fn a_driver_that_goes_back_behind_its_own_prompts_leaves_no_branch() {
    let mut w = World::ridden_by("ada");
    let fence = w.fence();
    w.does(Event::Relay { fence, items: vec![item("p1", RelayKind::Prompt)] });
    writes(&mut w, "ada");
    release(&mut w, false);
    settle(&mut w, 0, &[]);
    w.claim("ada", 501);
    settle(&mut w, 200, &[grown(&["p1"]), grown(&["p1", "p2"])]);
    let told: Vec<u32> = w.t.lease().unwrap().beside.iter().map(|side| side.prompts).collect();
    assert_eq!(told, [2], "only the one that somebody else added to");
}

#[test]
fn a_branch_that_a_person_chose_is_not_told_as_lost() {
    let mut w = World::ridden_by("ada");
    // `ride repair --keep`: no Claude Code ran, and the chain is accepted as it is.
    release(&mut w, false);
    for _ in 0..3 {
        for e in w.take() {
            let broken = Outcome::Broken { what: "the kept leaf does not continue the claimed one".into() };
            w.done(e.op, if matches!(e.act, Act::Show { .. }) { broken } else { fine(&e.act) });
        }
        w.wait(300);
    }
    assert_eq!((w.t.phase_name(), w.t.rest.clone()), ("leaving", None));
    release(&mut w, true);
    settle(&mut w, 0, &[]);
    assert_eq!(w.t.rest, Some(Rest { leaf: None, size: mark().size, claude: id(50) }));
}

#[test]
fn a_thief_is_told_since_the_ride_before() {
    let mut w = World::ridden_by("ada");
    writes(&mut w, "ada");
    w.steal("bob", 501, 20);
    let since = settle(&mut w, 200, &[]);
    assert_eq!((w.t.phase_name(), since), ("ridden", Some(rest(mark().size))));
}

// Rule HAND-6.
#[test]
fn adopting_a_conversation_back_tells_what_grew_beside_it() {
    let mut w = World::ridden_by("ada");
    writes(&mut w, "ada");
    release(&mut w, false);
    settle(&mut w, 0, &[]);
    w.adopt("ada", 60, Some(50));
    assert_eq!(settle(&mut w, 10, &[]), None, "of another Claude session nothing is known");
    w.adopt("ada", 50, Some(60));
    assert_eq!(settle(&mut w, 300, &[grown(&["p1"])]), Some(rest(mark().size)));
    let told = match &w.t.last.as_ref().unwrap().why {
        Why::Adopted { beside, .. } => beside.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told, 1);
}
