//! The socket that metrics are pushed to. It never waits: what it does not take now goes with the next push.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::{info, warn};

use crate::config::{ConfigError, ServeOptions, StatsdAddress};
use crate::telemetry::{Dogstatsd, Families};

/// Bytes of a datagram that no network on the way has to split: 1500 of Ethernet, without the headers and what tunnels add to them.
const UDP_BYTES_MAX: usize = 1432;
/// Bytes that receivers of Unix datagrams have room for.
const UNIX_BYTES_MAX: usize = 8192;

/// Who gets the metrics, and what was said to them.
#[derive(Debug)]
pub(super) struct Statsd {
    sink: Sink,
    encoder: Dogstatsd,
    is_failing: bool,
}

#[derive(Debug)]
enum Sink {
    Udp(UdpSocket),
    /// By its path each time: a server that was started anew is found again.
    Unix(UnixDatagram, PathBuf),
}

impl Statsd {
    /// What `--statsd` asks for, if it is given.
    pub(super) fn of(options: &ServeOptions, node: &str) -> Result<Option<Self>, ConfigError> {
        let Some(address) = &options.statsd.statsd else { return Ok(None) };
        let (sink, datagram_bytes_max) = match address {
            StatsdAddress::Udp(text) => (connect(text).map(Sink::Udp), UDP_BYTES_MAX),
            StatsdAddress::Unix(path) => {
                (unbound().map(|socket| Sink::Unix(socket, path.clone())), UNIX_BYTES_MAX)
            }
        };
        let sink = sink.map_err(|error| ConfigError::Flag {
            flag: "statsd",
            value: match address {
                StatsdAddress::Udp(text) => text.clone(),
                StatsdAddress::Unix(path) => format!("unix:{}", path.display()),
            },
            problem: format!("cannot be reached: {error}"),
        })?;
        Ok(Some(Self { sink, encoder: Dogstatsd::new(node, datagram_bytes_max), is_failing: false }))
    }

    /// Takes what was counted by now for said.
    pub(super) fn pass_over(&mut self, families: &Families) {
        self.encoder.pass_over(families);
    }

    /// Says what has come since the last push, as far as the socket takes it now.
    pub(super) fn push(&mut self, families: &Families) {
        for datagram in self.encoder.push(families) {
            if let Err(error) = self.sink.send(datagram.bytes()) {
                // Once for each time that it goes wrong.
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(%error, "cannot push metrics: what is counted goes with a later push");
                }
                return;
            }
            self.encoder.handle_sent(datagram);
        }
        if std::mem::replace(&mut self.is_failing, false) {
            info!("metrics are pushed again");
        }
    }
}

impl Sink {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                socket.send(bytes)?;
                // On this machine the answer that nobody listens is there at once.
                let is_near = socket.peer_addr().is_ok_and(|address| address.ip().is_loopback());
                match socket.take_error() {
                    Ok(Some(error)) if is_near => Err(error),
                    _ => Ok(()),
                }
            }
            Self::Unix(socket, path) => socket.send_to(bytes, path).map(drop),
        }
    }
}

fn connect(text: &str) -> io::Result<UdpSocket> {
    let address = text.to_socket_addrs()?.next();
    let address =
        address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(socket)
}

fn unbound() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statsd(address: &str) -> Result<Option<Statsd>, ConfigError> {
        Statsd::of(&ServeOptions::of_flags(["--statsd", address]), "n")
    }

    fn list(count: u64) -> Families {
        let mut families = Families::default();
        families.counter("events_total", "E.").single(count);
        families
    }

    fn received(text: io::Result<usize>, buffer: &[u8]) -> String {
        String::from_utf8(buffer[..text.expect("a datagram")].to_vec()).expect("text")
    }

    #[test]
    fn what_a_unix_socket_does_not_take_goes_with_a_later_push() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dsd.socket");
        let mut statsd = statsd(&format!("unix:{}", path.display())).expect("good").expect("given");
        statsd.push(&list(2));
        let server = UnixDatagram::bind(&path).expect("a free path");
        statsd.push(&list(3));
        let mut buffer = [0u8; UNIX_BYTES_MAX];
        assert_eq!(received(server.recv(&mut buffer), &buffer), "events.total:3|c|#node:n");
        // Full: net.unix.max_dgram_qlen is 10 to 512 on all machines that we know.
        let mut pushes = 3;
        while !statsd.is_failing {
            pushes += 1;
            statsd.push(&list(pushes));
        }
        server.set_nonblocking(true).expect("ours");
        let mut taken = 3;
        while let Ok(count) = server.recv(&mut buffer) {
            assert_eq!(received(Ok(count), &buffer), "events.total:1|c|#node:n");
            taken += 1;
        }
        assert_eq!(taken, pushes - 1);
        drop(server);
        std::fs::remove_file(&path).expect("ours");
        let again = UnixDatagram::bind(&path).expect("a free path");
        statsd.push(&list(pushes + 5));
        assert_eq!(received(again.recv(&mut buffer), &buffer), "events.total:6|c|#node:n");
        assert!(!statsd.is_failing);
    }

    #[test]
    fn a_udp_server_on_this_machine_that_is_away_is_noticed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = UdpSocket::bind(address) else { continue };
            let address = server.local_addr().expect("bound").to_string();
            let mut statsd = statsd(&address).expect("good").expect("given");
            drop(server);
            statsd.push(&list(2));
            assert!(statsd.is_failing, "nobody listens");
            let server = UdpSocket::bind(&address).expect("still free");
            statsd.push(&list(3));
            let mut buffer = [0u8; UDP_BYTES_MAX];
            assert_eq!(received(server.recv(&mut buffer), &buffer), "events.total:3|c|#node:n");
        }
    }

    #[test]
    fn a_name_that_is_not_known_names_its_flag() {
        let error = statsd("no.such.host.invalid:8125").expect_err("RFC 2606 section 2").to_string();
        assert!(error.starts_with("--statsd no.such.host.invalid:8125: cannot be reached"), "{error}");
    }
}
