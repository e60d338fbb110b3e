//! The exploration of every state of a small world; a release build looked at
//! fourteen million in 221 s, with 1.3 GiB (2 shared cores, one thread).

use clap::Args;

/// Look at every state a small world can reach.
#[derive(Args)]
pub(crate) struct Model {
    /// Most states to look at, all worlds together, shared out among them.
    #[arg(long, default_value_t = 400_000)]
    states: usize,
}

impl Model {
    pub(crate) fn run(self) -> bool {
        ride_model::plan::run(self.states, |line| println!("{line}"))
    }
}
