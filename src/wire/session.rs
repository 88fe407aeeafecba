//! The server's side of one TLS connection.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::tls::{Permit, Tls};

/// What a record takes besides what it holds: header, content type, and the authentication of any suite.
const RECORD_BYTES_EXTRA: usize = 64;
const RECORD_BYTES_MAX: usize = 16 << 10;

/// The connection cannot go on: the other side broke the rules, or nothing is spoken that both know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFailed;

/// One TLS connection. It keeps what is not a whole record, and nothing else: an idle one holds no buffers.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// Bytes of records that are not complete.
    incoming: Vec<u8>,
    /// Records of TLS's own: handshake, tickets, alerts.
    outgoing: Vec<u8>,
    has_ended: bool,
    has_failed: bool,
    /// Held while hands are shaken.
    permit: Option<Permit>,
    tls: Arc<Tls>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of what is encrypted.
        f.debug_struct("Session").field("is_shaking", &self.is_shaking()).finish_non_exhaustive()
    }
}

impl Session {
    /// A session of which nothing has come yet; none if there are as many handshakes as there may be.
    pub(super) fn begin(tls: &Arc<Tls>) -> Option<Self> {
        let permit = tls.permit()?;
        let connection = UnbufferedServerConnection::new(tls.config()).ok()?;
        Some(Self {
            connection,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            has_ended: false,
            has_failed: false,
            permit: Some(permit),
            tls: tls.clone(),
        })
    }

    /// Whether the handshake goes on.
    pub fn is_shaking(&self) -> bool {
        self.permit.is_some()
    }

    /// Whether it cannot go on.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn has_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
    }

    /// Keeps bytes for [`Self::shake`].
    pub(super) fn keep(&mut self, input: &[u8]) {
        self.incoming.extend_from_slice(input);
    }

    /// Goes on with the handshake as far as the bytes reach. Takes long: up to a millisecond, by the kind of the private key.
    ///
    /// HTTP that came with the end of the handshake is in `plain`.
    pub fn shake(&mut self, plain: &mut Vec<u8>) {
        let outcome = self.receive(&mut [], plain);
        if outcome.is_err() || !self.connection.is_handshaking() {
            self.permit = None;
            let kind = self.connection.handshake_kind().filter(|_| outcome.is_ok());
            self.tls.count(kind);
        }
    }

    /// Takes bytes, which are written over; what they held is appended to `plain`.
    pub(super) fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), TlsFailed> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let outcome = if incoming.is_empty() {
            let (used, outcome) = self.process(input, plain);
            incoming.extend_from_slice(&input[used..]);
            outcome
        } else {
            incoming.extend_from_slice(input);
            let (used, outcome) = self.process(&mut incoming, plain);
            incoming.drain(..used);
            outcome
        };
        if !incoming.is_empty() {
            self.incoming = incoming;
        }
        self.has_failed |= outcome.is_err();
        outcome
    }

    /// Works through whole records in `bytes`; returns how many bytes are done with.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> (usize, Result<(), TlsFailed>) {
        let (mut used, mut outcome) = (0, Ok(()));
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut bytes[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, 0, |room| {
                        data.encode(room).map_err(|error| match error {
                            EncodeError::InsufficientSize(needed) => needed.required_size,
                            EncodeError::AlreadyEncoded => unreachable!("encoded once"),
                        })
                    });
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.has_ended = true;
                    true
                }
                // Goes on for the alert that says why.
                Err(_) => {
                    outcome = Err(TlsFailed);
                    true
                }
                // More has to come. Early data never does: anybody who has seen it could send it again, so it is not taken.
                Ok(_) => false,
            };
            used += discard;
            // A failure is met once: going on would find the same record again, and say so again.
            let is_told = outcome.is_err() && !self.connection.wants_write();
            if !goes_on || is_told {
                return (used, outcome);
            }
        }
    }

    pub(super) fn send(&mut self, plain: &[u8], is_last: bool, sealed: &mut Vec<u8>) {
        sealed.append(&mut self.outgoing);
        self.outgoing = Vec::new();
        if self.has_failed || self.is_shaking() {
            return;
        }
        // With what is not a whole record: the state in between is all that is asked for.
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incoming);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else { return };
        let or_needed = |error| match error {
            EncryptError::InsufficientSize(needed) => needed.required_size,
            EncryptError::EncryptExhausted => 0,
        };
        if !plain.is_empty() {
            let records = plain.len() / RECORD_BYTES_MAX + 1;
            append(sealed, plain.len() + records * RECORD_BYTES_EXTRA, |room| {
                traffic.encrypt(plain, room).map_err(or_needed)
            });
        }
        if is_last {
            append(sealed, RECORD_BYTES_EXTRA, |room| traffic.queue_close_notify(room).map_err(or_needed));
        }
    }
}

/// Appends what `write` writes, which is given `room` bytes, or as many as it says that it needs.
fn append(out: &mut Vec<u8>, mut room: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return;
            }
            Err(needed) if needed > room => room = needed,
            Err(_) => {
                out.truncate(start);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn what_breaks_the_rules_is_told_so_once() {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let tls = Tls::new(certificate.as_bytes(), key.as_bytes(), Arc::default());
        let tls = Arc::new(tls.expect("a pair"));
        for (records, reason) in [
            // RFC 8446 section 5.1: longer than a record may be.
            (&b"\x16\x03\x01\xff\xff"[..], 50),
            // Section 5: of no type that there is.
            (b"\x16\x03\x01\0\x01\x01\xff\x03\x01\0\x01\x01", 50),
            // Section 4: application data before hands are shaken.
            (b"\x17\x03\x03\0\x01\x01", 10),
        ] {
            let mut session = Session::begin(&tls).expect("a permit");
            let (mut plain, mut sent) = (Vec::new(), Vec::new());
            session.keep(records);
            session.shake(&mut plain);
            assert!(session.has_failed() && !session.is_shaking());
            session.send(b"", true, &mut sent);
            assert_eq!((plain, sent), (Vec::new(), vec![21, 3, 3, 0, 2, 2, reason]), "{records:?}");
        }
    }
}
