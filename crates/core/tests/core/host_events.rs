//! What the host tells of a ridden thread beside its messages.

use ride_core::event::{Act, Event, Outcome, Reply, Seen};
use ride_core::limits;
use ride_core::view;
use uuid::Uuid;

use super::world::{World, fine, id, route};

fn entry(there: bool, reset_mark: &str, claude: Option<Uuid>) -> Event {
    Event::Seen(Seen::Entry { there, reset_mark: reset_mark.into(), claude })
}

fn stop(name: &str) -> Event {
    Event::Seen(Seen::Stop { name: name.into(), route: Some(route()) })
}

/// The notices sent to the thread, and the news the driver is told.
fn said(w: &mut World) -> (Vec<String>, Vec<String>) {
    let news = view::renewed(&w.t, w.now, &w.rules)
        .map_or_else(Vec::new, |r| r.news.into_iter().map(|n| n.text.into_raw()).collect());
    let notices =
        w.settle().into_iter().filter_map(|a| if let Act::Send { item, .. } = a { Some(item.text) } else { None });
    (notices.collect(), news)
}

// Rule HAND-4.
#[test]
fn each_thing_is_announced_at_once_and_only_once() {
    for (event, notice, news) in [
        (entry(true, "other", None), "was reset", "was reset"),
        (entry(true, "", Some(id(51))), "ran a turn beside it", "a turn of its own"),
        (entry(false, "", None), "was deleted", "was deleted"),
        (stop("Tess"), "nothing to stop here", "Tess asked in the chat to stop"),
    ] {
        let mut w = World::ridden_by("ada");
        assert_eq!(w.does(event.clone()), Reply::Ok);
        w.does(event);
        let (notices, told) = said(&mut w);
        assert!(matches!(&notices[..], [one] if one.contains(notice)), "{notices:?}");
        assert!(told[0].contains(news), "{told:?}");
    }
}

#[test]
fn nothing_is_said_of_an_entry_as_it_should_be() {
    let mut w = World::ridden_by("ada");
    w.does(entry(true, "", None));
    // Restored by another copy a moment ago, or never parked on this host.
    w.does(entry(true, "", Some(id(50))));
    assert_eq!(said(&mut w), (Vec::new(), Vec::new()));
    let mut open = World::new();
    open.does(entry(false, "x", Some(id(51))));
    open.does(stop("Tess"));
    assert!(open.settle().is_empty(), "nobody rides");
}

#[test]
fn what_was_announced_is_not_announced_again_at_release() {
    let mut w = World::ridden_by("ada");
    w.does(entry(true, "other", Some(id(51))));
    said(&mut w);
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let mut sent = Vec::new();
    for _ in 0..20 {
        for e in w.take() {
            match &e.act {
                Act::Restore { over: true, .. } => w.done(e.op, Outcome::RestoredOver { reset: true, deleted: true }),
                Act::Send { item, .. } => {
                    sent.push(item.text.clone());
                    w.done(e.op, fine(&e.act));
                }
                act => w.done(e.op, fine(act)),
            }
        }
    }
    assert!(matches!(&sent[..], [one] if one.contains("was deleted")), "{sent:?}");
}

// Rule HAND-4.
#[test]
fn a_deleted_thread_is_not_bound_again_as_was_announced() {
    for (event, restored) in [(entry(true, "other", None), 1), (entry(false, "", None), 0)] {
        let mut w = World::ridden_by("ada");
        w.does(event);
        let fence = w.fence();
        w.does(Event::Release { fence, accept_broken: false });
        let acts = w.settle();
        let bound =
            acts.iter().find_map(|a| if let Act::Restore { parked, .. } = a { Some(parked.len()) } else { None });
        assert_eq!(bound, Some(restored));
        assert!(!w.t.closed());
    }
}

#[test]
fn somebody_who_keeps_asking_displaces_nothing() {
    let mut w = World::ridden_by("ada");
    w.does(entry(true, "other", None));
    for _ in 0..2 * limits::NEWS {
        w.does(stop("Tess"));
    }
    let (notices, news) = said(&mut w);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert_eq!(news.len(), limits::NEWS);
    assert!(news[0].contains("was reset"));
}

#[test]
fn the_chat_is_told_who_rides() {
    let check = |w: &World, expected: &str| assert_eq!(view::in_chat(Some(&w.t), None, w.now, &w.rules), expected);
    assert_eq!(view::in_chat(None, None, World::new().now, &World::new().rules), "⇄ Nobody rides this thread.");
    let mut w = World::ridden_by("ada");
    check(&w, "⇄ ada@laptop has been riding this thread from a terminal for less than a minute.");
    w.wait(61_000);
    w.says(1, "one");
    check(&w, "⇄ ada@laptop has been riding this thread from a terminal for 1 minute. 1 message waits.");
    w.wait(2 * 3_600_000);
    w.says(2, "two");
    check(&w, "⇄ ada@laptop has been riding this thread from a terminal for 2 h 1 min. 2 messages wait.");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    check(&w, "⇄ This thread is coming back from ada@laptop. 2 messages wait.");
    let holder = view::holder(&w.t, w.now, &w.rules);
    let twin = World::new();
    assert_eq!(
        view::in_chat(Some(&twin.t), holder.as_ref(), w.now, &w.rules),
        "⇄ ada@laptop rides the Claude session of this thread through another thread."
    );
}
