//! Breadth first, by faults: every state without a fault, then every state with
//! one, and so on, until the bound. So a violation comes with the fewest faults
//! it needs, and among those by the shortest way.

use crate::hash::{Seen, fingerprint};
use crate::model::Model;
use crate::moves::{self, Move};
use crate::world::World;

/// What an exploration found.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    pub transitions: u64,
    /// Distinct values of the product's own state.
    pub threads: usize,
    /// Every state that needs at most so many faults was looked at.
    pub faults: Option<usize>,
    /// Longest way to a state.
    pub depth: usize,
    /// States each level of faults added.
    pub levels: Vec<usize>,
    /// Moves left out because the world has room for six effects under way.
    pub left_out: u64,
    pub violation: Option<Violation>,
}

/// A broken promise and how to get there.
#[derive(Debug)]
pub struct Violation {
    pub what: &'static str,
    /// A line per move.
    pub trace: Vec<String>,
}

/// Explores until every state is seen, `bound` is reached or a promise is broken.
/// With `liveness`, each state must also lead home.
pub fn explore(model: &mut Model, bound: usize, most_faults: usize, liveness: bool) -> Found {
    let (moves, free) = moves::all();
    let start = model.start();
    let mut states: Vec<World> = Vec::with_capacity(bound.min(1 << 26));
    let mut parents: Vec<(u32, u16)> = Vec::with_capacity(bound.min(1 << 26));
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    states.push(start);
    parents.push((0, u16::MAX));
    let mut found = Found {
        states: 0,
        transitions: 0,
        threads: 0,
        faults: None,
        depth: 0,
        levels: Vec::new(),
        left_out: 0,
        violation: None,
    };
    let mut from = 0;
    'levels: for level in 0..=most_faults {
        let mut at = from;
        let begun = states.len();
        // The level's first states: one fault after each state of the level before.
        if level > 0 {
            while at < begun {
                if !grow(model, &moves[free..], free, at, &mut states, &mut parents, &mut seen, &mut found, liveness)
                    || states.len() >= bound
                {
                    break 'levels;
                }
                at += 1;
            }
            from = begun;
        }
        while at < states.len() {
            if !grow(model, &moves[..free], 0, at, &mut states, &mut parents, &mut seen, &mut found, liveness)
                || states.len() >= bound
            {
                break 'levels;
            }
            at += 1;
        }
        found.levels.push(states.len() - found.levels.iter().sum::<usize>());
        found.faults = Some(level);
        if from == states.len() {
            break;
        }
    }
    found.states = states.len();
    found.threads = model.product.distinct();
    let mut depth: usize = 0;
    let mut at = states.len() - 1;
    while at != 0 {
        at = parents[at].0 as usize;
        depth += 1;
    }
    found.depth = depth;
    found
}

/// Tries the moves from one state; false when a promise is broken.
#[expect(clippy::too_many_arguments, reason = "the state of one loop")]
fn grow(
    model: &mut Model,
    moves: &[Move],
    offset: usize,
    at: usize,
    states: &mut Vec<World>,
    parents: &mut Vec<(u32, u16)>,
    seen: &mut Seen,
    found: &mut Found,
    liveness: bool,
) -> bool {
    let world = states[at];
    for (n, what) in moves.iter().enumerate() {
        let Some(next) = model.after(&world, *what) else { continue };
        found.transitions += 1;
        if std::mem::take(&mut model.full) {
            found.left_out += 1;
            continue;
        }
        if let Some(wrong) = model.wrong {
            let mut trace = way(model, states, parents, at);
            trace.push(format!("{what:?} => {}", model.words(&next)));
            found.violation = Some(Violation { what: wrong, trace });
            return false;
        }
        if !seen.insert(fingerprint(&next)) {
            continue;
        }
        states.push(next);
        parents.push((at as u32, (offset + n) as u16));
        if liveness && let Err(fair) = model.comes_home(&next) {
            let mut trace = way(model, states, parents, states.len() - 1);
            trace.push("every driver is gone, the host and the channel work".into());
            trace.extend(fair.iter().take(12).map(|m| format!("{m:?}")));
            trace.push("… and never comes home".into());
            found.violation = Some(Violation {
                what: "liveness: a thread whose drivers are gone does not become the agent's",
                trace,
            });
            return false;
        }
    }
    true
}

fn way(model: &Model, states: &[World], parents: &[(u32, u16)], at: usize) -> Vec<String> {
    let (moves, _) = moves::all();
    let mut trace = Vec::new();
    let mut here = at;
    while here != 0 {
        let (parent, what) = parents[here];
        trace.push(format!("{:?} => {}", moves[what as usize], model.words(&states[here])));
        here = parent as usize;
    }
    trace.reverse();
    trace
}
