//! The same scenario on both drivers: what the simulation shows, the kernel's ring shows too.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::time::Duration;

use forebay::clock;
use forebay::journal::FileSystem;
use forebay::reactor::{Reactor, Turned};
use forebay::telemetry::Phase;
use forebay::uring::{Ring, RingOptions, Socket};
use uuid::Uuid;

use crate::clients::read;
use crate::driver::Dice;
use crate::scenarios::CALM;
use crate::world::{Clock, Plan, World, parts};

const PLAN: Plan = Plan { clients: 0, ..CALM };

/// One connection's requests, good and bad, more than have places for their answers at once.
fn requests(token: &str) -> Vec<u8> {
    let mut text = String::new();
    let mut post = |path: &str, fields: &str, body: &str| {
        let length = body.len();
        let _ = write!(
            text,
            "POST {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        );
    };
    for round in 0..10 {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(3000 * round));
        post("/v1/events", "", &large);
        post(
            "/v1/events",
            &format!("Forebay-Event-Id: 00000000-0000-4000-8000-00000000000{round}\r\n"),
            "{}",
        );
        post("/v1/events/batch", "Content-Type: application/x-ndjson\r\n", "{}\n[]\n{\"a\":1}\n");
        post("/v1/events", "", "{broken");
        post("/v1/events", "Content-Encoding: zstd\r\n", "{}");
        post("/nowhere", "X-Request-Id: mine\r\n", "{}");
        post("/oauth/token", "", "grant_type=client_credentials");
    }
    text.push_str("GET /livez HTTP/1.1\r\nHost: t\r\n\r\nGET /livez HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n");
    text.into_bytes()
}

/// The answers without what is new in each run: dates, ids, and jitter.
fn said(down: &[u8]) -> Vec<String> {
    let mask = |text: &str| {
        let mut masked = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let taken = match rest.get(..36) {
                Some(id) if Uuid::try_parse(id).is_ok() => {
                    masked.push_str("ID");
                    36
                }
                _ => {
                    masked.push(first);
                    first.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        masked
    };
    let is_lasting = |line: &&str| !line.starts_with("Date: ") && !line.starts_with("Retry-After: ");
    let answers = read(down).into_iter();
    answers
        .map(|answer| {
            let head: Vec<&str> = answer.head.lines().filter(is_lasting).collect();
            mask(&format!("{}\n{}", head.join("\n"), answer.body))
        })
        .collect()
}

fn on_the_simulated_driver() -> Vec<String> {
    let mut world = World::new(PLAN);
    let client = world.connect();
    let requests = requests(&world.token);
    world.wire(client).up.extend(requests);
    world.wire(client).up_ended = true;
    world.wait(Duration::from_secs(3));
    assert!(world.wire(client).closed);
    said(&world.wire(client).down)
}

fn on_the_ring() -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock { wall: clock::wall(), now_ms: clock::ms(clock::monotonic()) };
    let parts = parts(&PLAN, Socket(listener.into_raw_fd()), clock, &FileSystem, folder.path(), Dice(1));
    let (health, doorbell) = (parts.reactor.health.clone(), parts.reactor.doorbell.clone());
    health.enter(Phase::Serving);
    doorbell.ring();
    let ring = Ring::new(RingOptions { entries: 16, buffers: 8, buffer_bytes: 4096 }).expect("io_uring");
    let mut reactor = Reactor::new(ring, parts.reactor, parts.options);

    let mut client = TcpStream::connect(address).expect("loopback");
    client.write_all(&requests(&parts.token)).expect("the kernel keeps it");
    client.shutdown(Shutdown::Write).expect("connected");
    client.set_nonblocking(true).expect("a flag");
    let (mut down, mut piece) = (Vec::new(), [0u8; 4096]);
    let deadline = clock::monotonic() + Duration::from_secs(20);
    loop {
        assert!(clock::monotonic() < deadline, "{} bytes came", down.len());
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => down.extend_from_slice(&piece[..bytes]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert_eq!(reactor.turn(), Ok(Turned::Goes));
            }
        }
    }
    health.enter(Phase::Closing);
    doorbell.ring();
    while reactor.turn().expect("no fatal error") == Turned::Goes {
        assert!(clock::monotonic() < deadline, "it stops");
    }
    drop(parts.dispatch);
    said(&down)
}

#[test]
fn both_drivers_give_the_same_answers() {
    let (simulated, real) = (on_the_simulated_driver(), on_the_ring());
    assert_eq!(simulated.len(), 72, "{simulated:#?}");
    assert!(simulated[0].contains("202 Accepted") && simulated[71].contains("malformed_request"));
    for (number, (simulated, real)) in simulated.iter().zip(&real).enumerate() {
        assert_eq!(simulated, real, "answer {number}");
    }
    assert_eq!(simulated.len(), real.len());
}
