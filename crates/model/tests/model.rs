//! The promises hold in every state looked at, and every seeded mistake is found.

use ride_model::explore::explore;
use ride_model::model::{Model, Scope};
use ride_model::mutant::Mutant;
use ride_model::plan;

/// States of one test run; `cargo xtask model --states N` looks at more.
const STATES: usize = 120_000;
/// Most mistakes show early; the others need two faults.
const MUTANT_STATES: [usize; 2] = [20_000, 180_000];

// Rules LEASE-1, LEASE-2, LEASE-8, LEASE-11, GATE-1, RELAY-1, INBOX-3, HAND-1, COPY-1.
#[test]
fn the_promises_hold() {
    let mut lines = Vec::new();
    let held = plan::run(STATES, |line| lines.push(line));
    assert!(held, "{}", lines.join("\n"));
}

fn caught(mutant: Mutant) -> Option<(&'static str, usize)> {
    let small = |drivers, messages, turns, epochs| Scope { drivers, messages, turns, epochs, ..Scope::one_thread() };
    let worlds = [
        small(1, 0, 1, 1),
        Scope::two_gateways(),
        Scope::stranger(),
        small(1, 1, 0, 1),
        small(2, 0, 1, 2),
        small(2, 1, 0, 2),
        Scope { messages: 0, ..Scope::copy() },
    ];
    MUTANT_STATES.iter().flat_map(|states| worlds.iter().map(move |world| (world, states))).find_map(
        |(world, states)| {
            let found = explore(&mut Model::new(world.clone(), mutant), *states, 2, true);
            found.violation.map(|v| (v.what, v.trace.len()))
        },
    )
}

#[test]
fn every_seeded_mistake_is_found() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL.iter().filter(|m| **m != Mutant::None) {
        match caught(*mutant) {
            Some((what, steps)) => println!("{mutant:?}: {what}, {steps} steps"),
            None => missed.push(*mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

// Rule LEASE-3.
#[test]
fn a_turn_that_another_gateway_had_let_in_is_a_second_writer() {
    let found = explore(&mut Model::new(Scope::two_gateways(), Mutant::NoAcknowledgement), 60_000, 1, true);
    let violation = found.violation.expect("a promise breaks");
    println!("{}", violation.trace.join("\n"));
    assert_eq!(violation.what, "I1: a driver's Claude Code and another gateway's child live on one Claude session");
}

/// What is asked of the gateway plugin is needed: without it a promise breaks.
#[test]
fn what_the_gateway_plugin_must_see_to() {
    let broken = |scope: Scope| {
        let violation =
            explore(&mut Model::new(scope, Mutant::None), 100_000, 2, true).violation.expect("a promise breaks");
        println!("{}\n{}", violation.what, violation.trace.join("\n"));
        violation.what
    };
    // A message on its way to the agent is stopped when a twin is claimed meanwhile.
    assert_eq!(
        broken(Scope { door: false, ..Scope::twins(false) }),
        "I3: a turn that was let in ran beside its own Claude session"
    );
}
