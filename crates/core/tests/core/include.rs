//! Held messages that ride along with a prompt of the driver.

use ride_core::event::{Act, Event, Reply};
use ride_core::id::Fence;
use ride_core::limits;
use ride_core::view;
use ride_core::wire::Reason;

use super::world::{World, id};

/// Ridden, with so many messages held.
fn held(count: u32) -> World {
    let mut w = World::ridden_by("ada");
    for n in 1..=count {
        assert_eq!(w.says(n, &format!("message {n}")), Reply::Hold);
    }
    w.settle();
    w
}

fn take(w: &mut World, fence: Fence, seqs: &[u64]) -> Reply {
    w.does(Event::TakeAlong { fence, prompt: id(900), seqs: seqs.to_vec() })
}

fn seqs(w: &World) -> Vec<u64> {
    w.t.inbox.iter().map(|held| held.seq).collect()
}

fn sent(acts: &[Act]) -> Vec<&str> {
    acts.iter()
        .filter_map(|act| if let Act::Send { item, .. } = act { Some(item.text.as_str()) } else { None })
        .collect()
}

fn handed(acts: &[Act]) -> Vec<&str> {
    acts.iter()
        .filter_map(|act| if let Act::Hand { held, .. } = act { Some(held.text.as_str()) } else { None })
        .collect()
}

// Rule INBOX-4.
#[test]
fn what_rode_along_is_said_once_and_not_handed_to_the_agent() {
    let mut w = held(3);
    let (fence, all) = (w.fence(), seqs(&w));
    assert_eq!(take(&mut w, fence, &all[..2]), Reply::Taken { waiting: 1 });
    assert_eq!(
        sent(&w.settle()),
        ["⇄ ada included the 2 messages of Ada in a prompt. The agent will not answer them again."]
    );
    // Its answer was lost: asked again, it is said no more.
    assert_eq!(take(&mut w, fence, &all[..2]), Reply::Taken { waiting: 1 });
    assert_eq!(sent(&w.settle()), [""; 0]);
    // The channel delivers one again: it is known.
    assert_eq!(w.says(1, "message 1"), Reply::Hold);
    assert_eq!(seqs(&w), all[2..]);

    w.does(Event::Release { fence, accept_broken: false });
    assert_eq!(handed(&w.settle()), ["message 3"]);
}

// Rule INBOX-4.
#[test]
fn only_the_driver_takes() {
    let mut w = held(1);
    let (fence, all) = (w.fence(), seqs(&w));
    for stale in [
        Fence { epoch: fence.epoch - 1, ..fence },
        Fence { grant: id(1), ..fence },
        Fence { incarnation: id(9), ..fence },
    ] {
        let Reply::Refused { refusal, .. } = take(&mut w, stale, &all) else { panic!("taken with {stale:?}") };
        assert_eq!((refusal.reason, seqs(&w)), (Reason::Stale, all.clone()));
    }
    // As the last items of a ride are: after Claude Code has ended, and no later.
    w.does(Event::Release { fence, accept_broken: false });
    assert_eq!(take(&mut w, fence, &all), Reply::Taken { waiting: 0 });
    w.settle();
    assert!(matches!(take(&mut w, fence, &all), Reply::Refused { .. }));
}

// Rule INBOX-4.
#[test]
fn a_lease_that_ran_out_takes_nothing() {
    let mut w = held(1);
    let (fence, all) = (w.fence(), seqs(&w));
    w.wait(limits::LEASE_MS);
    assert!(matches!(take(&mut w, fence, &all), Reply::Refused { .. }));
    assert_eq!(handed(&w.settle()), ["message 1"]);
}

#[test]
fn too_many_at_once_are_refused() {
    let mut w = held(1);
    let (fence, all) = (w.fence(), seqs(&w));
    let many: Vec<u64> = (0..=limits::WAITING_LISTED as u64).map(|n| n + all[0]).collect();
    let Reply::Refused { message, refusal } = take(&mut w, fence, &many) else { panic!() };
    assert_eq!((message.as_str(), refusal.reason), ("21 messages; at most 20 at once", Reason::TooLarge));
    assert_eq!(seqs(&w), all);
}

#[test]
fn the_inbox_is_read_whole_in_pieces() {
    let mut w = World::ridden_by("ada");
    let long = "x".repeat(50_000);
    (1..=4).for_each(|n| {
        w.says(n, &long);
    });
    let fence = w.fence();
    let read = |after: u64| {
        let read = view::inbox(&w.t, fence, after).unwrap();
        assert!(read.messages.iter().all(|message| message.text.raw() == long));
        (read.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), read.more)
    };
    let all = seqs(&w);
    assert_eq!(read(0), (all[..2].to_vec(), true));
    assert_eq!(read(all[1]), (all[2..].to_vec(), false));
    assert_eq!(read(all[3]), (Vec::new(), false));
    assert_eq!(view::inbox(&w.t, Fence { epoch: 0, ..fence }, 0), None);
}
