//! The flags of the operators' listener: who may use it, and what it changes by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ConfigError;
use super::units::parse_duration;

/// Who may use the operators' listener.
#[derive(Args, Clone, Debug, Default)]
pub struct AdminOptions {
    /// A file with the bearer token that operators show: 32 to 512 visible characters, readable by nobody else. A changed file is taken within
    /// a second. [default: none, and whoever reaches the loopback address may do everything]
    #[arg(long, env = "FOREBAY_ADMIN_TOKEN_FILE", value_name = "PATH")]
    pub admin_token_file: Option<PathBuf>,
    /// Leave `/metrics` open to those who have no token.
    #[arg(long, env = "FOREBAY_ADMIN_METRICS_OPEN")]
    pub admin_metrics_open: bool,
    /// The certificate of the operators' listener and the chain behind it, PEM. A changed file is taken within a second.
    #[arg(long, env = "FOREBAY_ADMIN_TLS_CERT", value_name = "PATH", requires = "admin_tls_key")]
    pub admin_tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, env = "FOREBAY_ADMIN_TLS_KEY", value_name = "PATH", requires = "admin_tls_cert")]
    pub admin_tls_key: Option<PathBuf>,
    /// A name under which the operators' listener is reached, besides `localhost` and IP addresses; repeatable. A request to another name is
    /// refused: it may come from a page whose name was made to lead here.
    #[arg(long, env = "FOREBAY_ADMIN_HOST", value_name = "NAME", value_delimiter = ',')]
    pub admin_host: Vec<String>,
    /// Another node whose state the dashboard shows beside this one's: its operators' listener, `https://HOST:PORT` or `http://HOST:PORT`; repeatable.
    /// It is asked by this node, while somebody looks, and shown the token of --admin-token-file: nodes beside each other are taken to have the
    /// same. Its certificate has to be trusted by this machine (`SSL_CERT_FILE` names other authorities).
    #[arg(long, env = "FOREBAY_PEER", value_name = "URL", value_delimiter = ',')]
    pub peer: Vec<String>,
    /// How long a rotation of signing keys waits until every node can have a new key.
    #[arg(long, env = "FOREBAY_KEY_ROTATION_WAIT", value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub key_rotation_wait: Duration,
}

impl AdminOptions {
    /// Checks what the parser cannot see, for a listener at `address`.
    pub fn check(&self, address: SocketAddr) -> Result<(), ConfigError> {
        let is_guarded = self.admin_token_file.is_some() && self.admin_tls_cert.is_some();
        if !address.ip().to_canonical().is_loopback() && !is_guarded {
            return Err(ConfigError::Flag {
                flag: "admin-listen",
                value: address.to_string(),
                problem: "can be reached from outside: give --admin-token-file, --admin-tls-cert and --admin-tls-key, or \
                          listen on a loopback address"
                    .to_owned(),
            });
        }
        let is_name = |name: &str| {
            (1..=253).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        if let Some(name) = self.admin_host.iter().find(|name| !is_name(name)) {
            return Err(ConfigError::Flag {
                flag: "admin-host",
                value: name.clone(),
                problem: "is no name of a host: write it without scheme, port and path".to_owned(),
            });
        }
        if self.key_rotation_wait > Duration::from_hours(24) {
            return Err(ConfigError::Flag {
                flag: "key-rotation-wait",
                value: format!("{}s", self.key_rotation_wait.as_secs_f64()),
                problem: "must be at most 24 hours (1440m)".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_needs_a_token_and_tls() {
        let open = AdminOptions::default();
        let token = AdminOptions { admin_token_file: Some("token".into()), ..open.clone() };
        let both = AdminOptions { admin_tls_cert: Some("cert".into()), ..token.clone() };
        for (address, is_public) in [
            ("127.0.0.1:9090", false),
            ("127.8.8.8:9090", false),
            ("[::1]:9090", false),
            ("[::ffff:127.0.0.1]:9090", false),
            ("0.0.0.0:9090", true),
            ("[::]:9090", true),
            ("192.0.2.1:9090", true),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(both.check(address), Ok(()), "{address}");
            for options in [&open, &token] {
                let checked = options.check(address);
                assert_eq!(checked.is_err(), is_public, "{address}");
                if let Err(error) = checked {
                    let text = error.to_string();
                    for flag in
                        ["--admin-listen", "--admin-token-file", "--admin-tls-cert", "--admin-tls-key"]
                    {
                        assert!(text.contains(flag), "{text}");
                    }
                }
            }
        }
    }
}
