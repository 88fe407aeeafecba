//! TLS on the wire: nothing panics, what is said is bounded, and any cut of the bytes comes to the same.
//!
//! The first byte chooses who speaks, the second says how many of the next bytes are cuts. Then either the rest is what the client sends, or a real client
//! shakes hands: as many bytes of what it sends as the next byte says are changed, each at a place and to a value from the input, and the rest
//! is what it sends as HTTP.

#![no_main]

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use forebay::wire::{Session, Step, Tls, Wire};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// More than a handshake, its tickets and its alerts take, whatever the client sends.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Round trips that no handshake takes.
const ROUNDS_MAX: usize = 16;
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

struct Setting {
    tls: Arc<Tls>,
    clients: [Arc<ClientConfig>; 2],
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([String::from("localhost")]).expect("a name");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    let pem = (certificate.pem(), key.serialize_pem());
    let tls = Tls::new(pem.0.as_bytes(), pem.1.as_bytes(), Arc::default()).expect("they belong together");
    let clients = [&TLS13, &TLS12].map(|version| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.der().to_vec())).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(&[version]).expect("it is known");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // Each input begins anew.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    });
    Setting { tls: Arc::new(tls), clients }
});

/// The server's side, and what came of it.
struct Server<'a> {
    wire: Wire,
    cuts: std::iter::Copied<std::slice::Iter<'a, u8>>,
    away: Option<Box<Session>>,
    plain: Vec<u8>,
    has_failed: bool,
    output_bytes: usize,
}

/// What may not depend on cuts.
#[derive(Debug, PartialEq)]
struct Told {
    plain: Vec<u8>,
    has_failed: bool,
    has_ended: bool,
    is_open: bool,
}

impl<'a> Server<'a> {
    fn new(cuts: &'a [u8]) -> Self {
        let wire = Wire::new(false, Some(SETTING.tls.clone()));
        let cuts = cuts.iter().copied();
        Self { wire, cuts, away: None, plain: Vec::new(), has_failed: false, output_bytes: 0 }
    }

    /// Takes bytes in pieces, until it fails. Behind an odd cut a session that is away stays away, and what comes next is kept for it.
    fn receive(&mut self, mut input: &[u8]) {
        while !input.is_empty() && !self.has_failed {
            let length = self.cuts.next().map_or(usize::MAX, usize::from);
            let (piece, rest) = input.split_at(input.len().min(length.max(1)));
            input = rest;
            self.receive_piece(&mut piece.to_vec());
            while (length.is_multiple_of(2) || input.is_empty())
                && let Some(mut session) = self.away.take()
            {
                session.shake(&mut self.plain);
                self.has_failed = session.has_failed();
                let mut kept = self.wire.come_back(session);
                assert_eq!(self.wire.kept_bytes(), 0);
                if !self.has_failed {
                    self.receive_piece(&mut kept);
                }
            }
        }
    }

    fn receive_piece(&mut self, piece: &mut [u8]) {
        if piece.is_empty() {
            return;
        }
        let (used, step) = self.wire.receive(piece, &mut self.plain);
        assert_eq!(used, piece.len());
        match step {
            Step::Plain => {}
            Step::Broken(_) | Step::Failed => self.has_failed = true,
            Step::Shake(session) => assert!(self.away.replace(session).is_none(), "away once"),
            Step::Client(_) | Step::TurnedAway => panic!("no header, and one handshake: {step:?}"),
        }
    }

    /// What goes on the wire.
    fn send(&mut self, plain: &[u8], is_last: bool) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.wire.send(plain, is_last, &mut sealed);
        assert!(!self.wire.has_output());
        self.output_bytes += sealed.len();
        assert!(self.output_bytes <= OUTPUT_BYTES_MAX + plain.len(), "what is said is bounded");
        sealed
    }

    fn told(&self) -> Told {
        Told {
            plain: self.plain.clone(),
            has_failed: self.has_failed,
            has_ended: self.wire.has_ended(),
            is_open: self.wire.is_open(),
        }
    }
}

/// The rest is what the client sends.
fn feed(input: &[u8], cuts: &[u8]) -> Told {
    let mut server = Server::new(cuts);
    server.receive(input);
    server.send(b"", false);
    server.send(ANSWER, true);
    server.told()
}

/// A real client, of whose bytes some are changed.
fn shake(config: &Arc<ClientConfig>, changes: &[u8], http: &[u8], cuts: &[u8]) {
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(config.clone(), name).expect("a client");
    let mut server = Server::new(cuts);
    let mut sent_bytes = 0;
    let mut is_changed = false;
    let mut pass_on = |client: &mut ClientConnection, server: &mut Server<'_>| {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory takes all");
        }
        for change in changes.as_chunks::<3>().0 {
            let place = usize::from(u16::from_be_bytes([change[0], change[1]]));
            if let Some(byte) = place.checked_sub(sent_bytes).and_then(|at| bytes.get_mut(at)) {
                is_changed |= *byte != change[2];
                *byte = change[2];
            }
        }
        sent_bytes += bytes.len();
        server.receive(&bytes);
        is_changed
    };
    let hand_back = |client: &mut ClientConnection, mut sealed: &[u8]| {
        while !sealed.is_empty() {
            client.read_tls(&mut sealed).expect("memory gives all");
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    };
    for _ in 0..ROUNDS_MAX {
        if !client.is_handshaking() {
            break;
        }
        let is_changed = pass_on(&mut client, &mut server);
        assert!(is_changed || !server.has_failed);
        let sealed = server.send(b"", false);
        let goes_on = hand_back(&mut client, &sealed);
        assert!(goes_on || is_changed, "a client takes what it is sent");
        if !goes_on {
            // The server hears why.
            pass_on(&mut client, &mut server);
            server.send(ANSWER, true);
            return;
        }
    }
    client.writer().write_all(http).expect("memory takes all");
    client.send_close_notify();
    let is_changed = pass_on(&mut client, &mut server);
    let sealed = server.send(ANSWER, true);
    if is_changed {
        return;
    }
    assert_eq!(
        server.told(),
        Told { plain: http.to_vec(), has_failed: false, has_ended: true, is_open: true }
    );
    assert!(hand_back(&mut client, &sealed));
    let mut answer = Vec::new();
    client.reader().read_to_end(&mut answer).expect("it ends as it should");
    assert_eq!(answer, ANSWER);
}

fuzz_target!(|data: &[u8]| {
    let [choice, count, rest @ ..] = data else { return };
    let (cuts, input) = rest.split_at(rest.len().min(usize::from(*count)));
    match choice % 3 {
        0 => assert_eq!(feed(input, &[]), feed(input, cuts)),
        version => {
            let Some((changes, rest)) = input.split_first() else { return };
            let (changes, http) = rest.split_at(rest.len().min(3 * usize::from(*changes)));
            shake(&SETTING.clients[usize::from(version) - 1], changes, http, cuts);
        }
    }
});
