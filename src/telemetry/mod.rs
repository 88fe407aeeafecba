//! What a node knows about itself: counters with one writer each, read by the operators' thread.
//!
//! What leaves the node is one list of [`Families`], made by [`Scrape`], and written by two: [`render`] for Prometheus, [`Dogstatsd`] for StatsD.
//!
//! Nothing here is contended: a reactor writes only its own [`CoreMetrics`], the forwarder only
//! [`ForwarderMetrics`]. An increment is a load and a store, no locked instruction.

mod apps;
mod books;
mod capacity;
mod counters;
mod dogstatsd;
mod family;
mod fleet;
mod health;
mod listed;
mod observed;
mod peaks;
mod percentiles;
mod prometheus;
mod pulse;
mod refusals;
mod sample;
mod scrape;
mod shares;
mod traffic;
mod trends;
mod verdict;

pub use apps::{AppCounters, AppTally, Apps, Refused};
pub use books::{AppBalance, AppOutcomes, Balance, Books, Earlier, Totals};
pub use capacity::{Bound, Capacity, Headroom};
pub use counters::{CoreMetrics, Counter, ForwarderMetrics, Gauge, HandshakeMetrics, Latencies, STATUSES};
pub use dogstatsd::{Datagram, Dogstatsd};
pub use family::{Decimal, Families, Family, Kind, Labels, Number, Reading, Spread, Value};
pub use fleet::FleetMetrics;
pub use health::{
    Health, Phase, READINESS_HYSTERESIS_MS, TURN_OVERDUE_MS, Unhealthy, retry_after, verdict_json,
};
pub use listed::ListedApps;
pub use observed::{Observed, SharedObserved, ThreadTime, ThreadTimes, Usage};
pub use percentiles::Percentiles;
pub use prometheus::render;
pub use pulse::{AppLabel, Broker, Circumstances, Pulse, Pulses};
pub use refusals::{Excerpt, KeptRefusal, RefusalLog};
pub use sample::{CoreSample, LatencyParts, OtherThreads, Sample, Work};
pub use scrape::Scrape;
pub use shares::{SharedShares, Shares};
pub use traffic::{AppTraffic, Traffic};
pub use trends::{POINTS_MAX, Point, Rates, Trends};
pub use verdict::{Signs, Verdict, Word};
