//! The flags of `forebay serve`: each defined once, with its default, unit, check and help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use lapin::uri::AMQPUri;

use super::units::{parse_duration, parse_size};
use super::{
    AckLevel, AdminOptions, CpuList, CrashOptions, FleetOptions, StatsdOptions, parse_cpus, parse_network,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The type of the queue that is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QueueType {
    /// Classic queue.
    Classic,
    /// Quorum queue.
    Quorum,
    /// Stream.
    Stream,
}

impl QueueType {
    /// The value of `x-queue-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }
}

/// Where logs go and what they say; shared by all commands.
#[derive(Args, Clone, Debug)]
pub struct LogOptions {
    /// How log lines look.
    #[arg(long, env = "FOREBAY_LOG_FORMAT", value_enum, default_value = "human", global = true)]
    pub log_format: LogFormat,
    /// What is logged: a level, or `tracing` directives such as `info,forebay::forward=debug`.
    #[arg(long, env = "FOREBAY_LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: String,
}

/// The files with apps and signing keys.
#[derive(Args, Clone, Debug)]
pub struct CredentialOptions {
    /// The registry of applications (JSON); edited with `forebay app`, watched by running nodes.
    #[arg(long, env = "FOREBAY_APPS_FILE", value_name = "PATH", default_value = "./forebay-data/apps.json")]
    pub apps_file: PathBuf,
    /// The fleet's token signing keys; made on the first start if missing, mode 0600.
    #[arg(
        long,
        env = "FOREBAY_SIGNING_KEY_FILE",
        value_name = "PATH",
        default_value = "./forebay-data/signing-keys.json"
    )]
    pub signing_key_file: PathBuf,
    /// How long a token is valid; at most 24 h.
    #[arg(long, env = "FOREBAY_TOKEN_LIFETIME", value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub token_lifetime: Duration,
}

/// The bounds of the public listener.
#[derive(Args, Clone, Debug)]
pub struct LimitOptions {
    /// Largest body of one event.
    #[arg(long, env = "FOREBAY_MAX_BODY", value_name = "SIZE", default_value = "256KiB", value_parser = parse_size)]
    pub max_body: usize,
    /// Largest body of a batch; each item is held to --max-body.
    #[arg(long, env = "FOREBAY_MAX_BATCH_BODY", value_name = "SIZE", default_value = "2MiB", value_parser = parse_size)]
    pub max_batch_body: usize,
    /// Largest head of a request: request line and header fields.
    #[arg(long, env = "FOREBAY_MAX_HEAD", value_name = "SIZE", default_value = "16KiB", value_parser = parse_size)]
    pub max_head: usize,
    /// Bytes in the queues between reactors and forwarder that the broker has not confirmed, all cores together.
    #[arg(long, env = "FOREBAY_QUEUE_MAX", value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub queue_max: usize,
    /// What the node may hold in memory for clients and for the queue; past it new bodies get 503. [default: half of the machine or its cgroup]
    #[arg(long, env = "FOREBAY_MEMORY_MAX", value_name = "SIZE", value_parser = parse_size)]
    pub memory_max: Option<usize>,
    /// From the first byte of a head to its last.
    #[arg(long, env = "FOREBAY_HEAD_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub head_timeout: Duration,
    /// From the end of the head to the last byte of the body.
    #[arg(long, env = "FOREBAY_BODY_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub body_timeout: Duration,
    /// Without a request, or without progress of an answer.
    #[arg(long, env = "FOREBAY_IDLE_TIMEOUT", value_name = "DURATION", default_value = "75s", value_parser = parse_duration)]
    pub idle_timeout: Duration,
    /// Open connections of the node; lowered with a warning where the descriptor limit is smaller, unless given here. [default: 100000]
    #[arg(long, env = "FOREBAY_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Open connections of one address (of an IPv6 network of 64 bits). [default: no bound]
    #[arg(long, env = "FOREBAY_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<usize>,
    /// Past this age, a tenth more or less, a connection's next answer is its last, so that a balancer can spread the load.
    #[arg(long, env = "FOREBAY_MAX_CONNECTION_AGE", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub max_connection_age: Duration,
}

/// What comes before HTTP on the public listener.
#[derive(Args, Clone, Debug)]
pub struct WireOptions {
    /// A balancer's network: its connections have to begin with a PROXY header (version 1 or 2), which is believed. Repeatable.
    #[arg(long, env = "FOREBAY_PROXY_PROTOCOL_FROM", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub proxy_protocol_from: Vec<IpNet>,
    /// An HTTP proxy's network: its `X-Forwarded-For` is believed. Repeatable.
    #[arg(long, env = "FOREBAY_FORWARDED_FOR_FROM", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub forwarded_for_from: Vec<IpNet>,
    /// The certificate and the chain behind it, PEM: with it, TLS is spoken. A changed file is taken within a second.
    #[arg(long, env = "FOREBAY_TLS_CERT", value_name = "PATH", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, env = "FOREBAY_TLS_KEY", value_name = "PATH", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Where the journal is; shared with `forebay journal`.
#[derive(Args, Clone, Debug)]
pub struct JournalFolder {
    /// The journal's folder; one node's alone.
    #[arg(
        long,
        env = "FOREBAY_JOURNAL_DIR",
        value_name = "PATH",
        default_value = "./forebay-data/journal",
        global = true
    )]
    pub journal_dir: PathBuf,
}

/// The journal.
#[derive(Args, Clone, Debug)]
pub struct JournalOptions {
    /// Where it is.
    #[command(flatten)]
    pub folder: JournalFolder,
    /// Bytes that the journal may take on the disk; past it new events get 503, nothing is dropped.
    #[arg(long, env = "FOREBAY_JOURNAL_MAX", value_name = "SIZE", default_value = "8GiB", value_parser = parse_size)]
    pub journal_max: usize,
}

/// The broker and how it is spoken to.
#[derive(Args, Clone, Debug)]
pub struct BrokerOptions {
    /// A RabbitMQ node, `amqp://user:password@host:port/vhost` or `amqps://…`; repeatable, tried in order. None: events stay in the journal.
    #[arg(long, env = "FOREBAY_AMQP_URL", value_name = "URL", value_delimiter = ' ', hide_env_values = true)]
    pub amqp_url: Vec<String>,
    /// The topic exchange that messages are published to.
    #[arg(long, env = "FOREBAY_EXCHANGE", value_name = "NAME", default_value = "forebay")]
    pub exchange: String,
    /// The queue that is bound to it.
    #[arg(long, env = "FOREBAY_QUEUE", value_name = "NAME", default_value = "forebay.events")]
    pub queue: String,
    /// The type of that queue.
    #[arg(long, env = "FOREBAY_QUEUE_TYPE", value_enum, default_value = "quorum")]
    pub queue_type: QueueType,
    /// The routing key of every message.
    #[arg(long, env = "FOREBAY_ROUTING_KEY", value_name = "KEY", default_value = "events")]
    pub routing_key: String,
    /// Declare nothing: exchange, queue and binding are made by others.
    #[arg(long, env = "FOREBAY_NO_DECLARE")]
    pub no_declare: bool,
    /// Target size of a message; a larger event travels alone.
    #[arg(long, env = "FOREBAY_BATCH_BYTES", value_name = "SIZE", default_value = "64KiB", value_parser = parse_size)]
    pub batch_bytes: usize,
    /// Extra wait for more events before a message smaller than --batch-bytes is sent.
    #[arg(long, env = "FOREBAY_BATCH_LINGER", value_name = "DURATION", default_value = "0ms", value_parser = parse_duration)]
    pub batch_linger: Duration,
    /// Messages sent and not yet confirmed.
    #[arg(long, env = "FOREBAY_CONFIRM_WINDOW", value_name = "N", default_value = "64")]
    pub confirm_window: usize,
    /// AMQP heartbeat; a silent broker is given up after twice this time.
    #[arg(long, env = "FOREBAY_AMQP_HEARTBEAT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub amqp_heartbeat: Duration,
    /// A message without a confirm for this long: reconnect and publish again.
    #[arg(long, env = "FOREBAY_CONFIRM_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub confirm_timeout: Duration,
    /// CPUs that the forwarder is pinned to. [default: not pinned]
    #[arg(long, env = "FOREBAY_FORWARDER_CPUS", value_name = "LIST", value_parser = parse_cpus)]
    pub forwarder_cpus: Option<CpuList>,
}

/// Every flag of `forebay serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// Public listener; repeatable. One `SO_REUSEPORT` socket a reactor.
    #[arg(
        long,
        env = "FOREBAY_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080",
        value_delimiter = ','
    )]
    pub listen: Vec<SocketAddr>,
    /// Operators' listener: health, metrics, and the API to change things. A public address needs a token and TLS.
    #[arg(long, env = "FOREBAY_ADMIN_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,
    /// Who may use it.
    #[command(flatten)]
    pub admin: AdminOptions,
    /// Reactor threads. [default: one a CPU allowed to the process]
    #[arg(long, env = "FOREBAY_REACTORS", value_name = "N")]
    pub reactors: Option<u16>,
    /// CPUs that the reactors are pinned to, in order. [default: those allowed to the process]
    #[arg(long, env = "FOREBAY_CPUS", value_name = "LIST", value_parser = parse_cpus)]
    pub cpus: Option<CpuList>,
    /// Where the node keeps what is its own: its id and the events that no broker would take.
    #[arg(long, env = "FOREBAY_DATA_DIR", value_name = "PATH", default_value = "./forebay-data")]
    pub data_dir: PathBuf,
    /// The node's name in messages and logs. [default: a random id kept in the data directory]
    #[arg(long, env = "FOREBAY_NODE_ID", value_name = "ID")]
    pub node_id: Option<String>,
    /// What releases the 202: `queued` (in memory), `written` (survives a crash of the process), `synced` (survives a power cut) or `confirmed`
    /// (by the broker).
    #[arg(long, env = "FOREBAY_ACK", value_name = "LEVEL", default_value = "written")]
    pub ack: AckLevel,
    /// How long a 202 may wait for its level before it becomes a 503 `ack_timeout`.
    #[arg(long, env = "FOREBAY_ACK_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub ack_timeout: Duration,
    /// After a stop signal: how long to go on accepting while readiness says 503.
    #[arg(long, env = "FOREBAY_DRAIN_DELAY", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub drain_delay: Duration,
    /// After the drain delay: how long to finish requests and to have everything confirmed.
    #[arg(long, env = "FOREBAY_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// Apps and signing keys.
    #[command(flatten)]
    pub credentials: CredentialOptions,
    /// What comes before HTTP.
    #[command(flatten)]
    pub wire: WireOptions,
    /// Bounds of the public listener.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// The journal.
    #[command(flatten)]
    pub journal: JournalOptions,
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerOptions,
    /// The fleet.
    #[command(flatten)]
    pub fleet: FleetOptions,
    /// Crash reports.
    #[command(flatten)]
    pub crash: CrashOptions,
    /// Who gets the metrics.
    #[command(flatten)]
    pub statsd: StatsdOptions,
}

/// A flag whose value cannot work. The process ends with [`super::EXIT_CONFIG`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could confirm.
    #[error("--ack confirmed needs a broker: give at least one --amqp-url, or use written or synced")]
    NobodyConfirms,
    /// Two flags or a flag and a bound contradict each other.
    #[error("--{flag} {value}: {problem}")]
    Flag {
        /// The flag's name, without dashes.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl BrokerOptions {
    /// The brokers' addresses. Read here and not by the parser of flags, which would show the password.
    pub fn urls(&self) -> Result<Vec<AMQPUri>, ConfigError> {
        let read = |(index, text): (usize, &String)| {
            text.parse().map_err(|_| ConfigError::Flag {
                flag: "amqp-url",
                value: format!("(number {})", index + 1),
                problem: "is no URL like amqp://user:password@host:5672/%2f; special characters of user and password are \
                          percent-encoded"
                    .to_owned(),
            })
        };
        self.amqp_url.iter().enumerate().map(read).collect()
    }
}

/// Whether a name of a node can be used in message ids and logs.
pub fn is_node_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl ServeOptions {
    /// Checks what the parser cannot see in one flag alone.
    pub fn check(&self) -> Result<(), ConfigError> {
        let flag = |flag, value: String, problem: &str| {
            Err(ConfigError::Flag { flag, value, problem: problem.to_owned() })
        };
        if self.ack == AckLevel::Confirmed && self.broker.amqp_url.is_empty() {
            return Err(ConfigError::NobodyConfirms);
        }
        self.broker.urls()?;
        self.fleet.check(&self.broker)?;
        self.admin.check(self.admin_listen)?;
        for (name, value) in [
            ("exchange", &self.broker.exchange),
            ("queue", &self.broker.queue),
            ("routing-key", &self.broker.routing_key),
        ] {
            if value.len() > 255 {
                return flag(name, format!("({} bytes)", value.len()), "AMQP allows 255 bytes");
            }
        }
        let seconds = |d: Duration| format!("{}s", d.as_secs_f64());
        let lifetime = self.credentials.token_lifetime;
        if lifetime < Duration::from_secs(1) || lifetime > Duration::from_hours(24) {
            return flag(
                "token-lifetime",
                seconds(lifetime),
                "a token lives between 1s and 24 hours (1440m)",
            );
        }
        if self.reactors == Some(0) {
            return flag("reactors", "0".into(), "at least one reactor is needed");
        }
        if let (Some(reactors), Some(CpuList(cpus))) = (self.reactors, &self.cpus)
            && cpus.len() < usize::from(reactors)
        {
            let problem = "fewer CPUs than --reactors: a reactor has a CPU of its own";
            return flag("cpus", format!("({} CPUs)", cpus.len()), problem);
        }
        let limits = &self.limits;
        for (name, value, least, most) in [
            ("max-body", limits.max_body, 1, 64 << 20),
            ("max-batch-body", limits.max_batch_body, limits.max_body, 256 << 20),
            ("max-head", limits.max_head, 1024, 1 << 20),
            ("queue-max", limits.queue_max, 1, usize::MAX),
            ("batch-bytes", self.broker.batch_bytes, 1024, 64 << 20),
            ("confirm-window", self.broker.confirm_window, 1, 65_535),
            ("max-connections", limits.max_connections.unwrap_or(1), 1, 16 << 20),
            ("max-connections-per-address", limits.max_connections_per_address.unwrap_or(1), 1, 16 << 20),
        ] {
            if value < least || value > most {
                return flag(name, value.to_string(), &format!("must lie between {least} and {most}"));
            }
        }
        for (name, value) in [
            ("head-timeout", limits.head_timeout),
            ("body-timeout", limits.body_timeout),
            ("idle-timeout", limits.idle_timeout),
            ("max-connection-age", limits.max_connection_age),
            ("ack-timeout", self.ack_timeout),
            ("confirm-timeout", self.broker.confirm_timeout),
        ] {
            if value.is_zero() || value > Duration::from_hours(24) {
                return flag(name, seconds(value), "must lie between 1ms and 24 hours (1440m)");
            }
        }
        let heartbeat = self.broker.amqp_heartbeat;
        if heartbeat < Duration::from_secs(1) || heartbeat > Duration::from_mins(10) {
            return flag("amqp-heartbeat", seconds(heartbeat), "must lie between 1s and 10m");
        }
        if let Some(id) = &self.node_id
            && !is_node_id(id)
        {
            return flag("node-id", id.clone(), "1 to 64 characters of letters, digits, `.`, `_` and `-`");
        }
        Ok(())
    }
}

#[cfg(test)]
impl ServeOptions {
    /// What these flags come to.
    pub(crate) fn of_flags<'a>(flags: impl IntoIterator<Item = &'a str>) -> Self {
        use clap::FromArgMatches;
        let command = Self::augment_args(clap::Command::new("serve").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).expect("flags that parse");
        Self::from_arg_matches(&matches).expect("flags that parse")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn command() -> clap::Command {
        ServeOptions::augment_args(clap::Command::new("serve"))
    }

    fn parse(args: &[&str]) -> ServeOptions {
        let with_broker = ["--amqp-url", "amqp://127.0.0.1:5672/%2f"];
        ServeOptions::of_flags(with_broker.iter().chain(args).copied())
    }

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(parse(&[]).check(), Ok(()));
    }

    #[test]
    fn without_a_broker_all_levels_but_confirmed_can_be_kept() {
        for level in AckLevel::ALL {
            let alone = ServeOptions::of_flags(["--ack", level.as_str()]);
            let is_kept = level != AckLevel::Confirmed;
            assert_eq!(alone.check(), if is_kept { Ok(()) } else { Err(ConfigError::NobodyConfirms) });
            assert_eq!(parse(&["--ack", level.as_str()]).check(), Ok(()));
        }
    }

    #[test]
    fn a_value_out_of_bounds_names_its_flag() {
        for (name, value) in [
            ("--token-lifetime", "25m"),
            ("--token-lifetime", "1441m"),
            ("--reactors", "0"),
            ("--max-batch-body", "1KiB"),
            ("--queue-max", "0"),
            ("--confirm-window", "0"),
            ("--head-timeout", "0s"),
            ("--node-id", "a b"),
            ("--amqp-heartbeat", "100ms"),
            ("--queue", &"q".repeat(256)),
            ("--control-stream", ""),
            ("--admin-listen", "0.0.0.0:9090"),
            ("--admin-host", "https://forebay.example"),
            ("--key-rotation-wait", "1441m"),
        ] {
            let checked = parse(&[name, value]).check();
            if (name, value) == ("--token-lifetime", "25m") {
                assert_eq!(checked, Ok(()));
            } else {
                let error = checked.expect_err("out of bounds").to_string();
                assert!(error.starts_with(name), "{error}");
            }
        }
    }

    #[test]
    fn a_fleet_needs_a_broker_and_a_stream_of_its_own() {
        let fleet = ["--fleet-key-file", "k"];
        assert_eq!(parse(&fleet).check(), Ok(()));
        let alone = ServeOptions::of_flags(fleet);
        assert!(alone.check().is_err_and(|error| error.to_string().contains("--amqp-url")));
        let shared = parse(&[&fleet[..], &["--control-stream", "forebay.events"]].concat());
        assert!(shared.check().is_err_and(|error| error.to_string().contains("--queue")));
    }

    #[test]
    fn a_broken_url_is_refused_without_its_password() {
        let url = "amqp://user:se#cret@[host";
        let options = ServeOptions::of_flags(["--amqp-url", url]);
        let error = options.check().expect_err("no URL").to_string();
        assert!(error.starts_with("--amqp-url") && !error.contains("cret"), "{error}");
        let mut help = command();
        let amqp_url = help.get_arguments().find(|arg| arg.get_long() == Some("amqp-url")).expect("a flag");
        assert!(amqp_url.is_hide_env_values_set());
        assert!(help.render_long_help().to_string().contains("amqp://user:password@host"));
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        for arg in command().get_arguments().filter(|arg| arg.get_long().is_some_and(|l| l != "help")) {
            let long = arg.get_long().expect("filtered");
            let expected = format!("FOREBAY_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(expected.as_str()), "--{long}");
        }
    }
}
