//! What a node knows about itself: counters with one writer each, read by the operators' thread.
//!
//! Nothing here is contended: a reactor writes only its own [`CoreMetrics`], the forwarder only
//! [`ForwarderMetrics`]. An increment is a load and a store, no locked instruction.

mod books;
mod capacity;
mod counters;
mod health;
mod percentiles;
mod prometheus;
mod pulse;
mod sample;
mod shares;
mod traffic;
mod trends;
mod verdict;

pub use books::{AppBalance, Balance, Books, Earlier};
pub use capacity::{Bound, Capacity, Headroom};
pub use counters::{
    AppCounters, AppTally, CoreMetrics, Counter, ForwarderMetrics, Gauge, HandshakeMetrics, Latencies,
    STATUSES,
};
pub use health::{
    Health, Phase, READINESS_HYSTERESIS_MS, TURN_OVERDUE_MS, Unhealthy, retry_after, verdict_json,
};
pub use percentiles::Percentiles;
pub use prometheus::{Scrape, render};
pub use pulse::{AppLabel, Broker, Circumstances, Pulse, Pulses};
pub use sample::{CoreSample, LatencyParts, OtherThreads, Sample, Work};
pub use shares::{SharedShares, Shares};
pub use traffic::{AppTraffic, Traffic};
pub use trends::{POINTS_MAX, Point, Rates, Trends};
pub use verdict::{Signs, Verdict, Word};
