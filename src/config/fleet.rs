//! The flags by which nodes share their apps and signing keys.

use std::path::PathBuf;

use clap::Args;

use super::{BrokerOptions, ConfigError};

/// The fleet.
#[derive(Args, Clone, Debug)]
pub struct FleetOptions {
    /// The key that all nodes of a fleet have (`forebay fleet key` makes it; mode 0600). With it, every change of apps and signing keys holds on all
    /// nodes; it travels through the broker, sealed. Needs --amqp-url. [default: the files are this node's alone]
    #[arg(long, env = "FOREBAY_FLEET_KEY_FILE", value_name = "PATH")]
    pub fleet_key_file: Option<PathBuf>,
    /// The RabbitMQ stream that changes of apps and keys travel through; the same for all nodes of a fleet.
    #[arg(long, env = "FOREBAY_CONTROL_STREAM", value_name = "NAME", default_value = "forebay.control")]
    pub control_stream: String,
}

impl FleetOptions {
    /// Checks what the parser cannot see.
    pub(super) fn check(&self, broker: &BrokerOptions) -> Result<(), ConfigError> {
        let flag = |flag, value: String, problem: &str| {
            Err(ConfigError::Flag { flag, value, problem: problem.to_owned() })
        };
        if !(1..=255).contains(&self.control_stream.len()) {
            return flag(
                "control-stream",
                format!("({} bytes)", self.control_stream.len()),
                "AMQP allows between 1 and 255 bytes",
            );
        }
        let Some(path) = &self.fleet_key_file else { return Ok(()) };
        if broker.amqp_url.is_empty() {
            let problem = "nodes of a fleet meet at a broker: give at least one --amqp-url";
            return flag("fleet-key-file", path.display().to_string(), problem);
        }
        if self.control_stream == broker.queue {
            let problem = "is the queue of the events too (--queue): give one of them another name";
            return flag("control-stream", self.control_stream.clone(), problem);
        }
        Ok(())
    }
}
