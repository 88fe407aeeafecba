//! Every flag, default, unit and check, in one place; and the small types that they are made of.
//!
//! Flags are parsed by clap into [`ServeOptions`] and checked once, before anything starts; the rest of the
//! crate takes values and never looks at the command line or the environment.

mod ack;
mod admin;
mod cpus;
mod crash;
mod fleet;
mod given;
mod network;
mod serve;
mod statsd;
mod units;

pub use ack::AckLevel;
pub use admin::AdminOptions;
pub use cpus::{CpuList, parse_cpus};
pub use crash::CrashOptions;
pub use fleet::FleetOptions;
pub use given::given_flags;
pub use network::parse_network;
pub use serve::{
    BrokerOptions, ConfigError, CredentialOptions, JournalFolder, JournalOptions, LimitOptions, LogFormat,
    LogOptions, QueueType, ServeOptions, WireOptions, is_node_id,
};
pub use statsd::{StatsdAddress, StatsdOptions, parse_statsd};
pub use units::{parse_duration, parse_size};

/// Exit code for a bad configuration: `EX_CONFIG` of `sysexits.h`, which systemd knows too.
pub const EXIT_CONFIG: u8 = 78;
/// Open connections of a node where no flag says otherwise.
pub const MAX_CONNECTIONS_DEFAULT: usize = 100_000;
