//! What a node knows about itself: counters with one writer each, read by the operators' thread.
//!
//! Nothing here is contended: a reactor writes only its own [`CoreMetrics`], the forwarder only
//! [`ForwarderMetrics`]. An increment is a load and a store, no locked instruction.

mod books;
mod counters;
mod fleet;
mod health;
mod prometheus;
mod shares;

pub use books::{AppBalance, Balance, Books, Earlier};
pub use counters::{
    AppCounters, AppTally, CoreMetrics, Counter, ForwarderMetrics, Gauge, HandshakeMetrics, Latencies,
    STATUSES,
};
pub use fleet::FleetMetrics;
pub use health::{
    Health, Phase, READINESS_HYSTERESIS_MS, TURN_OVERDUE_MS, Unhealthy, retry_after, verdict_json,
};
pub use prometheus::{Scrape, render};
pub use shares::{SharedShares, Shares};
