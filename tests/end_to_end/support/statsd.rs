//! A StatsD server of a test's own, strict about what it is sent.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::dogstatsd::Received;

/// How often the server looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A running server.
pub(crate) struct StatsdServer {
    /// For `--statsd`.
    pub(crate) address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
    is_over: AtomicBool,
}

impl StatsdServer {
    /// On a port of its own.
    pub(crate) fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // What the tests do not read in time is lost, which is UDP's way and not the node's fault.
        set_socket_recv_buffer_size(&socket, 4 << 20).expect("a size");
        let address = socket.local_addr().expect("bound").to_string();
        Self::run(address, 1432, move |buffer| socket.recv(buffer))
    }

    /// On a socket at `path`.
    pub(crate) fn unix(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a free path");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::run(format!("unix:{}", path.display()), 8192, move |buffer| socket.recv(buffer))
    }

    fn run(
        address: String,
        bytes_max: usize,
        receive: impl Fn(&mut [u8]) -> std::io::Result<usize> + Send + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let kept = shared.clone();
        let thread = thread::spawn(move || {
            // More than may come, so that what is too long shows.
            let mut buffer = vec![0u8; 65_536];
            loop {
                match receive(&mut buffer) {
                    Ok(count) => {
                        assert!(count <= bytes_max, "a datagram of {count} bytes");
                        let mut received = kept.received.lock().unwrap_or_else(PoisonError::into_inner);
                        received.take(&buffer[..count]).unwrap_or_else(|error| panic!("{error}"));
                    }
                    // All that was sent before the end is read before the end.
                    Err(_) if kept.is_over.load(Ordering::Acquire) => return,
                    Err(_) => {}
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Datagrams so far.
    pub(crate) fn datagrams(&self) -> u64 {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).datagrams
    }

    /// Reads what is there, and ends; all that it has received.
    pub(crate) fn stop(mut self) -> Received {
        self.shared.is_over.store(true, Ordering::Release);
        self.thread.take().expect("it runs").join().expect("all datagrams were good");
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for StatsdServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}
