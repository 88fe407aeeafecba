//! Where metrics are pushed to.

use std::os::unix::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Who gets the metrics without asking.
#[derive(Args, Clone, Debug)]
pub struct StatsdOptions {
    /// Push all metrics there once a second, in the DogStatsD protocol: `host:port` (UDP, the name is looked up once, at the start) or `unix:PATH` (a
    /// datagram socket, which may come and go). [default: they are shown at /metrics only]
    #[arg(long, env = "FOREBAY_STATSD", value_name = "ADDR", value_parser = parse_statsd)]
    pub statsd: Option<StatsdAddress>,
}

/// Where a StatsD server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsdAddress {
    /// A host, by name or address, and a port, as they were given.
    Udp(String),
    /// A datagram socket in the file system.
    Unix(PathBuf),
}

/// Parses `host:port` or `unix:PATH`.
pub fn parse_statsd(text: &str) -> Result<StatsdAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let is_path = !path.is_empty() && SocketAddr::from_pathname(path).is_ok();
        return if is_path {
            Ok(StatsdAddress::Unix(path.into()))
        } else {
            Err("the path of a Unix socket has 1 to 107 bytes".to_owned())
        };
    }
    let is_address = text.rsplit_once(':').is_some_and(|(host, port)| {
        // An IPv6 address has brackets around it, or its end would be taken for the port.
        let is_host =
            !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_address {
        Ok(StatsdAddress::Udp(text.to_owned()))
    } else {
        Err(format!(
            "`{text}` is no address: write for example 127.0.0.1:8125, [::1]:8125 or unix:/run/dsd.socket"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_ports_and_paths_are_taken_and_all_else_is_told_what_to_write() {
        for text in ["127.0.0.1:8125", "[::1]:8125", "statsd.example:1", "localhost:65535"] {
            assert_eq!(parse_statsd(text), Ok(StatsdAddress::Udp(text.to_owned())));
        }
        assert_eq!(parse_statsd("unix:/run/dsd.socket"), Ok(StatsdAddress::Unix("/run/dsd.socket".into())));
        for text in
            ["", "localhost", "localhost:", ":8125", "localhost:0", "localhost:65536", "::1:8125", "/run/a"]
        {
            assert!(parse_statsd(text).is_err_and(|error| error.contains("for example")), "{text}");
        }
        for path in ["", &"x".repeat(108)] {
            assert!(parse_statsd(&format!("unix:{path}")).is_err_and(|error| error.contains("107")));
        }
        assert!(parse_statsd(&format!("unix:{}", "x".repeat(107))).is_ok());
    }
}
