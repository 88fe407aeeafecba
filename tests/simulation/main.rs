//! The reactor on a simulated driver: virtual time, and faults that no kernel shows on demand, drawn from a seed.
//!
//! A failing seed prints itself; `SIMULATION_SEED=n cargo test --test simulation` runs it again, `SIMULATION_SEEDS=n` runs more of them.

mod both;
mod broker;
mod clients;
mod crashes;
mod disk;
mod driver;
mod durable;
mod patience;
mod scenarios;
mod world;
