//! Forebay: the front door for telemetry.
pub mod admin;
pub mod api;
pub mod auth;
pub mod clock;
pub mod config;
pub mod event;
pub mod forward;
pub mod handoff;
pub mod http;
pub mod node;
pub mod reactor;
pub mod telemetry;
pub mod uring;
