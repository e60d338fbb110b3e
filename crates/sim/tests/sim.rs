//! Whole rides with faults between every two steps.

use std::collections::BTreeSet;

/// Runs of one test; `cargo xtask sim --seeds N` plays more.
const SEEDS: u64 = 200;

// Rules LEASE-1, LEASE-11, RELAY-1, RELAY-3, RELAY-5, RELAY-7, INBOX-4, HAND-1, HAND-5.
#[test]
fn the_promises_hold_in_whole_rides() {
    let mut all = ride_sim::Run::default();
    for seed in 0..SEEDS {
        let run = ride_sim::play(seed);
        let tail: Vec<&String> = run.log.iter().rev().take(60).collect();
        assert!(run.broken.is_none(), "seed {seed}: {:?}\n{tail:#?}", run.broken);
        all.add(&run);
    }
    // They are rides, not refusals.
    let ride_sim::Run { grants, turns, .. } = all;
    assert!(grants > SEEDS && turns > 4 * SEEDS, "{grants} grants, {turns} turns");
    // And every rare way was gone.
    println!("{:#?}", all.reached);
    assert_eq!(ride_sim::never_reached(&all), Vec::<&str>::new());
}

// Rules RELAY-6, INBOX-2, INBOX-6, INBOX-7.
#[test]
fn a_flooded_chat_holds_up_neither_turns_nor_a_release() {
    let (mut reached, mut grants) = (BTreeSet::new(), 0);
    for seed in 0..6 {
        let run = ride_sim::play_flooded(seed);
        let tail: Vec<&String> = run.log.iter().rev().take(60).collect();
        assert!(run.broken.is_none(), "seed {seed}: {:?}\n{tail:#?}", run.broken);
        reached.extend(run.reached.into_keys().filter(|name| ride_sim::BOUNDS.contains(name)));
        grants += run.grants;
    }
    assert_eq!(reached, BTreeSet::from(ride_sim::BOUNDS), "a bound is never reached");
    assert!(grants > 6, "{grants} grants");
}

#[test]
fn a_seed_gives_the_same_run() {
    for seed in [1, 7, 99] {
        assert_eq!(ride_sim::play(seed).log, ride_sim::play(seed).log);
    }
}
