//! A ride on a copy: what is pushed, and when the thread is released.

use super::*;

fn on_copy(pushed: u64, size: u64) -> Ride {
    let mut ride = riding();
    ride.on_copy(pushed, size, 1_000);
    ride
}

fn end(size: u64) -> CopyEnd {
    CopyEnd { size, tail_sha256: "ab".into(), leaf: None }
}

fn pushes(effects: &[Effect]) -> Vec<(u64, u64)> {
    effects.iter().filter_map(|e| if let Effect::Push { from, to } = e { Some((*from, *to)) } else { None }).collect()
}

fn outcome(effects: &[Effect]) -> Option<&Outcome> {
    effects.iter().find_map(|e| if let Effect::Done(outcome) = e { Some(outcome) } else { None })
}

#[test]
fn what_never_reached_the_gateway_goes_to_the_thread_in_the_order_it_was_said() {
    let item = |id: &str| RelayItem { id: id.into(), kind: RelayKind::Prompt, text: id.into() };
    // The outbox has an older one, and two of these; the answer between them was never told.
    let left = ["older", "p1", "p2"].map(item).to_vec();
    let mut ride = Ride::new(&grant(), "secret", left, 0);
    ride.on_copy(100, 150, 0);
    ride.said_before(["p1", "a1", "p2"].map(item).to_vec());
    let mut effects = ride.step(Event::Renewed { sent_ms: 0, answer: Ok(renewed()) }, 0);
    effects.extend(ride.step(Event::Up, 0));
    let relayed = effects.iter().find_map(|e| {
        if let Effect::Relay(items) = e { Some(items.iter().map(|i| i.id.as_str()).collect::<Vec<_>>()) } else { None }
    });
    assert_eq!(relayed, Some(vec!["older", "p1", "a1", "p2"]));
}

#[test]
fn each_finished_turn_is_pushed_one_range_at_a_time() {
    let mut ride = on_copy(100, 100);
    assert_eq!(pushes(&step(&mut ride, Event::Tick, 1_100)), []);
    assert_eq!(pushes(&step(&mut ride, Event::Grown(150), 1_200)), [(100, 150)]);
    // The next turn waits for the answer, and then goes with all that was said since.
    assert_eq!(pushes(&step(&mut ride, Event::Grown(170), 1_300)), []);
    assert_eq!(pushes(&step(&mut ride, Event::Grown(190), 1_400)), []);
    assert_eq!(pushes(&step(&mut ride, Event::Pushed(Ok(150)), 1_500)), [(150, 190)]);
    assert_eq!(pushes(&step(&mut ride, Event::Pushed(Ok(190)), 1_600)), []);
    assert_eq!(ride.unpushed(), 0);
    // What an earlier ride left goes first thing.
    let mut ride = on_copy(100, 130);
    assert_eq!(pushes(&step(&mut ride, Event::Tick, 1_100)), [(100, 130)]);
}

#[test]
fn a_push_of_unknown_outcome_is_repeated_and_a_cut_line_waited_for() {
    let mut ride = on_copy(100, 150);
    assert_eq!(pushes(&step(&mut ride, Event::Tick, 1_100)), [(100, 150)]);
    assert_eq!(pushes(&step(&mut ride, Event::Pushed(Err(unsure())), 1_200)), []);
    assert_eq!(pushes(&step(&mut ride, Event::Tick, 1_200 + PAUSE_MS)), [(100, 150)]);
    step(&mut ride, Event::Down("gone".into()), 2_000);
    assert_eq!(pushes(&step(&mut ride, Event::Tick, 9_000)), []);
    assert_eq!(pushes(&step(&mut ride, Event::Up, 9_100)), [(100, 150)]);
}

// Rule COPY-5.
#[test]
fn it_is_released_when_all_of_it_is_there_and_says_where_it_ends() {
    let mut ride = on_copy(100, 100);
    step(&mut ride, Event::Grown(150), 1_100);
    let released = |effects: &[Effect]| {
        effects.iter().find_map(|e| if let Effect::Release(request) = e { Some(request.copy.clone()) } else { None })
    };
    assert_eq!(released(&step(&mut ride, Event::ClaudeGone, 2_000)), None);
    assert_eq!(released(&step(&mut ride, Event::Pushed(Ok(150)), 2_100)), None, "nobody has said yet where it ends");
    let rests = step(&mut ride, Event::Rests(Ok(end(180))), 2_200);
    assert_eq!((pushes(&rests), released(&rests)), (vec![(150, 180)], None));
    // A large one may take its time, while it moves.
    for at in 0..10 {
        assert_eq!(outcome(&step(&mut ride, Event::Pushing, 12_000 + at * 15_000)), None);
    }
    assert_eq!(released(&step(&mut ride, Event::Pushed(Ok(180)), 150_000)), Some(Some(end(180))));
}

// Rule COPY-5.
#[test]
fn what_does_not_get_there_is_not_released_over() {
    let mut ride = on_copy(100, 150);
    step(&mut ride, Event::Down("gone".into()), 1_100);
    step(&mut ride, Event::ClaudeGone, 2_000);
    step(&mut ride, Event::Rests(Ok(end(150))), 2_100);
    assert_eq!(outcome(&step(&mut ride, Event::Tick, 22_000)), None);
    let over = step(&mut ride, Event::Tick, 22_101);
    assert_eq!(outcome(&over), Some(&Outcome::Unreleased("gone".into())));
    assert!(!over.iter().any(|e| matches!(e, Effect::Release(_))));
    assert_eq!(ride.unpushed(), 50);
}

// Rule COPY-4.
#[test]
fn a_gateway_that_has_something_else_ends_the_ride() {
    let diverged = || Event::Pushed(Err(refused(Reason::Diverged, "other lines are there")));
    let mut ride = on_copy(100, 150);
    step(&mut ride, Event::Tick, 1_100);
    let ended = step(&mut ride, diverged(), 1_200);
    assert!(ended.contains(&Effect::EndClaude), "{ended:?}");
    assert!(verdict(&mut ride, ask(1), 1_300).is_err(), "nothing more is said");
    let why = "the gateway cannot be given what was said here: other lines are there";
    assert_eq!(
        outcome(&step(&mut ride, Event::ClaudeGone, 1_400)),
        Some(&Outcome::Lost { why: why.into(), holder: None })
    );

    let mut ride = on_copy(100, 150);
    step(&mut ride, Event::ClaudeGone, 1_100);
    let refused = step(&mut ride, diverged(), 1_200);
    assert_eq!(outcome(&refused), Some(&Outcome::Refused { reason: Reason::Diverged, message: why.into() }));
}
