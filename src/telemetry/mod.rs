//! What a node knows about itself: counters with one writer each, read by the operators' thread.
//!
//! Nothing here is contended: a reactor writes only its own [`CoreMetrics`], the forwarder only
//! [`ForwarderMetrics`]. An increment is a load and a store, no locked instruction.

mod apps;
mod books;
mod counters;
mod health;
mod prometheus;
mod refusals;
mod shares;

pub use apps::{AppCounters, AppTally, Apps, Refused};
pub use books::{AppBalance, AppOutcomes, Balance, Books, Earlier, Totals};
pub use counters::{CoreMetrics, Counter, ForwarderMetrics, Gauge, HandshakeMetrics, Latencies, STATUSES};
pub use health::{
    Health, Phase, READINESS_HYSTERESIS_MS, TURN_OVERDUE_MS, Unhealthy, retry_after, verdict_json,
};
pub use prometheus::{Scrape, render};
pub use refusals::{KeptRefusal, RefusalLog, Sample};
pub use shares::{SharedShares, Shares};
