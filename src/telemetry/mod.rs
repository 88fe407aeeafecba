//! What a node knows about itself: counters with one writer each, read by the operators' thread.
//!
//! What leaves the node is one list of [`Families`], made by [`Scrape`], and written by two: [`render`] for Prometheus, [`Dogstatsd`] for StatsD.
//!
//! Nothing here is contended: a reactor writes only its own [`CoreMetrics`], the forwarder only
//! [`ForwarderMetrics`]. An increment is a load and a store, no locked instruction.

mod apps;
mod books;
mod counters;
mod dogstatsd;
mod family;
mod health;
mod observed;
mod prometheus;
mod refusals;
mod scrape;
mod shares;

pub use apps::{AppCounters, AppTally, Apps, Refused};
pub use books::{AppBalance, AppOutcomes, Balance, Books, Earlier, Totals};
pub use counters::{CoreMetrics, Counter, ForwarderMetrics, Gauge, HandshakeMetrics, Latencies, STATUSES};
pub use dogstatsd::{Datagram, Dogstatsd};
pub use family::{Decimal, Families, Family, Kind, Labels, Number, Reading, Spread, Value};
pub use health::{
    Health, Phase, READINESS_HYSTERESIS_MS, TURN_OVERDUE_MS, Unhealthy, retry_after, verdict_json,
};
pub use observed::{Observed, SharedObserved, ThreadTime, ThreadTimes, Usage};
pub use prometheus::render;
pub use refusals::{KeptRefusal, RefusalLog, Sample};
pub use scrape::Scrape;
pub use shares::{SharedShares, Shares};
