//! A broker that takes no more than so many bytes a second: the same broker, behind a narrow place.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What passes at once.
const PIECE_BYTES: usize = 4 << 10;

/// Listens ahead of `url`'s broker; the URL by which it is reached through here. Ends with the process.
pub(crate) fn throttled(url: &str, bytes_per_second: u64) -> String {
    let (_, place) = url.rsplit_once('@').expect("a user");
    let place = place.split('/').next().expect("a host and a port");
    let broker: SocketAddr = place.replace("localhost", "127.0.0.1").parse().expect("a host and a port");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let narrow = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for node in listener.incoming().map_while(Result::ok) {
            let Ok(broker) = TcpStream::connect(broker) else { continue };
            let (from_node, to_node) = (node.try_clone().expect("a descriptor"), node);
            let (from_broker, to_broker) = (broker.try_clone().expect("a descriptor"), broker);
            thread::spawn(move || pass(from_node, to_broker, Some(bytes_per_second)));
            thread::spawn(move || pass(from_broker, to_node, None));
        }
    });
    url.replace(place, &narrow)
}

fn pass(mut from: TcpStream, mut to: TcpStream, bytes_per_second: Option<u64>) {
    let mut piece = [0; PIECE_BYTES];
    let mut free = Instant::now();
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if let Some(bytes_per_second) = bytes_per_second {
            let now = Instant::now();
            free = free.max(now) + Duration::from_nanos(count as u64 * 1_000_000_000 / bytes_per_second);
            while Instant::now() < free {
                thread::park_timeout(free.saturating_duration_since(Instant::now()));
            }
        }
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
