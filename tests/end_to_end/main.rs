//! End to end: a real node, a real RabbitMQ, real sockets. One file a promise.
//!
//! The tests start what they need themselves (`scripts/broker`), in places of their own.

mod accepts;
mod admin;
mod balancers;
mod broker_loss;
mod browser;
mod config;
mod connections;
mod cors;
mod crash_reports;
mod credentials;
mod dashboard;
mod disk_full;
mod encodings;
mod fleet;
mod hostile_json;
mod https;
mod journal;
mod journal_tool;
mod large_bodies;
mod load;
mod metrics;
mod overload;
mod rates;
mod raygun;
mod refusals;
mod refused_by_broker;
mod sdks;
mod service_manager;
mod stops;
mod strictness;
#[allow(dead_code, unused_imports, reason = "shared with the chaos tests, which need other parts of it")]
mod support;
mod tls;
mod why_refused;
