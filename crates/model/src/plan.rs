//! The worlds that are explored, smallest first, and what came of them in words.

use std::time::Instant;

use crate::explore::{Found, explore};
use crate::model::{Model, Scope};
use crate::mutant::Mutant;
use crate::ways::Gone;

/// Most faults of one way through a world.
const FAULTS: usize = 3;

/// With so many states every rare way must be gone; with fewer there may be no room for it.
const ENOUGH: usize = 100_000;

/// What the figures rest on beside the product's functions; tests/model.rs shows what breaks without.
const ASSUMED: &str = "assumed: a hand-over is stopped at the gate once its Claude session is claimed; \
an empty patch of a host entry ends behind the patches whose update callback has run (docs/hosts.md, T)";

/// Every world, smallest first.
pub fn worlds() -> Vec<Scope> {
    let one = Scope::one_thread();
    vec![
        // Small enough for what takes two faults: patches that come late.
        Scope { name: "nothing said", drivers: 1, messages: 0, turns: 0, epochs: 2, ..one.clone() },
        Scope { name: "one driver", drivers: 1, messages: 1, turns: 1, epochs: 1, ..one.clone() },
        Scope { name: "three drivers, no messages", messages: 0, turns: 0, ..one.clone() },
        Scope { name: "two drivers", drivers: 2, messages: 1, turns: 1, epochs: 2, ..one.clone() },
        Scope { name: "two messages, two turns", drivers: 1, epochs: 2, ..one.clone() },
        Scope::silent(),
        Scope::twins(false),
        Scope::twins(true),
        Scope::copy(),
        Scope::two_gateways(),
        Scope::stranger(),
        Scope { name: "three drivers", ..one },
    ]
}

/// Explores them all up to `states` states together, telling of each; true when no promise was broken and every rare way was gone.
pub fn run(states: usize, mut tell: impl FnMut(String)) -> bool {
    let worlds = worlds();
    let (mut left, mut seen, mut violations) = (states, 0, 0);
    let mut gone = Gone::default();
    for (n, scope) in worlds.iter().enumerate() {
        let share = left / (worlds.len() - n);
        let began = Instant::now();
        let mut model = Model::new(scope.clone(), Mutant::None);
        let found = explore(&mut model, share, FAULTS, true);
        gone.add(model.gone);
        left = left.saturating_sub(found.states);
        seen += found.states;
        tell(line(scope, &found, began.elapsed().as_secs_f64()));
        if let Some(broken) = found.violation {
            violations += 1;
            tell(format!("violation: {}", broken.what));
            for (n, step) in broken.trace.iter().enumerate() {
                tell(format!("{:4}. {step}", n + 1));
            }
        }
    }
    let never = gone.never();
    if states >= ENOUGH && !never.is_empty() {
        violations += 1;
        tell(format!("violation: rare ways that were never gone: {}", never.join("; ")));
    }
    tell(ASSUMED.into());
    tell(format!("states: {seen}, violations: {violations}"));
    violations == 0
}

fn line(scope: &Scope, found: &Found, seconds: f64) -> String {
    let whole = match found.faults {
        Some(most) => format!("every way with at most {most} faults"),
        None => "a part of the ways without a fault".into(),
    };
    let more = if found.levels.iter().sum::<usize>() < found.states && found.faults.is_some() {
        " and a part of the rest"
    } else {
        ""
    };
    let out = if found.left_out > 0 { format!(", {} moves left out", found.left_out) } else { String::new() };
    format!(
        "{}: {} states, {} transitions, {} values of a thread, {seconds:.1} s; {whole}{more}{out}",
        scope.name, found.states, found.transitions, found.threads
    )
}
