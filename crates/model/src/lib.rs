//! Every state a small world can reach, through the product's own `step`.
//!
//! `product` asks the real functions and remembers; `world` is what surrounds the
//! threads; `moves` is what can happen to both, with `requests` and `effects`; `model` is what must hold;
//! `explore` looks at every state, fewest faults first; `plan` lists the worlds;
//! `ways` are the rare ones that must be gone; `mutant` are mistakes that must be found. Absent on purpose: a copy of any decision of `ride_core`.
#![expect(missing_docs, reason = "a tool for this workspace: the fields are the words of ARCHITECTURE.md")]

mod effects;
pub mod explore;
mod hash;
pub mod model;
pub mod moves;
pub mod mutant;
pub mod plan;
mod product;
mod requests;
pub mod ways;
pub mod world;
