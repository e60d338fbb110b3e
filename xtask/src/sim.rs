//! `cargo xtask sim`: whole rides in virtual time, with faults between every two steps.

use clap::Args;

/// Play whole rides with faults.
#[derive(Args)]
pub(crate) struct Sim {
    /// How many runs, of the seeds from 0 on.
    #[arg(long, default_value_t = 5_000)]
    seeds: u64,
    /// One run, with all that happened in it.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

impl Sim {
    pub(crate) fn run(self) -> bool {
        let seeds = self.seed.map_or(0..self.seeds, |seed| seed..seed + 1);
        let (mut runs, mut violations) = (0, 0);
        let mut sum = ride_sim::Run::default();
        for seed in seeds {
            let run = ride_sim::play(seed);
            runs += 1;
            sum.add(&run);
            if self.seed.is_some() {
                run.log.iter().for_each(|line| println!("{line}"));
            }
            if let Some(what) = run.broken {
                violations += 1;
                println!("seed {seed}: {what}    (cargo xtask sim --seed {seed})");
            }
        }
        let ride_sim::Run { steps, faults, grants, turns, messages, marked, .. } = &sum;
        println!(
            "steps: {steps}, grants: {grants}, prompts and answers: {turns}, messages: {messages}, shown again and marked: {marked}"
        );
        let never = ride_sim::never_reached(&sum);
        if self.seed.is_none() && !never.is_empty() {
            violations += 1;
            println!("ways that no run went: {}", never.join("; "));
        }
        println!("runs: {runs}, faults: {faults}, violations: {violations}");
        violations == 0
    }
}
