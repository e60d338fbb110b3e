use ride_model::explore::explore;
use ride_model::model::{Model, Scope};
use ride_model::mutant::Mutant;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let faults: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let which = std::env::args().nth(3).unwrap_or("one".into());
    let mut scope = match which.as_str() { "twins" => Scope::twins(false), "late" => Scope::twins(true), "silent" => Scope::silent(), _ => Scope::one_thread() };
    for a in std::env::args().skip(4) {
        match a.as_str() { "unseen" => scope.hand_seen = false, "patchlate" => scope.late = true, x if x.starts_with("d") => scope.drivers = x[1..].parse().unwrap(), x if x.starts_with("m") => scope.messages = x[1..].parse().unwrap(), x if x.starts_with("t") => scope.turns = x[1..].parse().unwrap(), x if x.starts_with("e") => scope.epochs = x[1..].parse().unwrap(), _ => {} }
    }
    let t = std::time::Instant::now();
    let mut m = Model::new(scope, Mutant::None);
    let f = explore(&mut m, n, faults, true);
    println!("{:?} states {} trans {} threads {} faults {:?} levels {:?} depth {} left out {}", t.elapsed(), f.states, f.transitions, f.threads, f.faults, f.levels, f.depth, f.left_out);
    if let Some(v) = f.violation { println!("VIOLATION {}", v.what); for (i, l) in v.trace.iter().enumerate() { println!("{:3}. {l}", i + 1); } }
}
