//! A network between a node and its broker that cuts connections anywhere.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;

/// No connection hears more of the broker than this while they are cut.
const HEARD_MOST: u64 = 6000;

/// Hands connections on to a broker; see [`Cutter::begin`].
pub(crate) struct Cutter {
    address: SocketAddr,
    /// The broker's, with this address in it.
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    broker: SocketAddr,
    is_cutting: AtomicBool,
    is_over: AtomicBool,
    cuts: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

impl Cutter {
    pub(crate) fn in_front_of(url: &str) -> Self {
        let broker = url.split(['@', '/']).find_map(|part| part.parse().ok()).expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            broker,
            is_cutting: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        let url = url.replace(&broker.to_string(), &address.to_string());
        let cutter = Self { address, url, shared: shared.clone() };
        thread::spawn(move || {
            for (number, client) in (0..).zip(listener.incoming()) {
                if shared.is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (shared, client) = (shared.clone(), client.expect("a connection"));
                thread::spawn(move || shared.hand_on(number, &client));
            }
        });
        cutter
    }

    /// From now on each connection ends after a number of bytes from the broker that no other one has; those that are open, at once.
    pub(crate) fn begin(&self) {
        self.shared.is_cutting.store(true, Ordering::Relaxed);
        self.shared.cut_all();
    }

    /// Connections last again; those that are open are cut once more.
    pub(crate) fn end(&self) {
        self.shared.is_cutting.store(false, Ordering::Relaxed);
        self.shared.cut_all();
    }

    /// How many connections were cut on their way.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn hand_on(&self, number: u64, client: &TcpStream) {
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        let clones = [client, &broker].map(|stream| stream.try_clone().expect("a descriptor"));
        self.connections.lock().extend(clones);
        // 5003 is prime to the most: all numbers come.
        let is_cut = self.is_cutting.load(Ordering::Relaxed);
        let heard_most = if is_cut { number * 5003 % HEARD_MOST } else { u64::MAX };
        thread::scope(|scope| {
            scope.spawn(|| io::copy(&mut &*client, &mut &broker));
            let heard = io::copy(&mut (&broker).take(heard_most), &mut &*client);
            if heard.is_ok_and(|heard| heard == heard_most) {
                self.cuts.fetch_add(1, Ordering::Relaxed);
            }
            for stream in [client, &broker] {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    fn cut_all(&self) {
        for stream in self.connections.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.cut_all();
        // Whoever waits for a connection sees it with the next one.
        let _ = TcpStream::connect(self.address);
    }
}
