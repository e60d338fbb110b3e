//! Whole rides with faults between every two steps.

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

#[test]
fn a_seed_gives_the_same_run() {
    for seed in [1, 7, 99] {
        assert_eq!(ride_sim::play(seed).log, ride_sim::play(seed).log);
    }
}
