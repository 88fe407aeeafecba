//! What all TLS connections of a node share: certificate, versions, tickets, and how many handshakes there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::HandshakeKind;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::telemetry::HandshakeMetrics;

/// Handshakes under way in a node; past it a new connection is closed. What is waiting for its turn would wait longer than clients do.
const HANDSHAKES_MAX: usize = 1024;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// No certificate in the file.
    #[error("the certificate file holds no certificate in PEM form")]
    NoCertificate,
    /// Not PEM.
    #[error("the certificate file: {0}")]
    Certificate(rustls::pki_types::pem::Error),
    /// No private key, or not PEM.
    #[error("the key file: {0}")]
    Key(rustls::pki_types::pem::Error),
    /// The two do not belong together, or are of a kind that is not known.
    #[error("certificate and key do not belong together, or cannot be used: {0}")]
    Pair(rustls::Error),
}

/// The node's side of all TLS connections.
#[derive(Debug)]
pub struct Tls {
    config: Mutex<Arc<ServerConfig>>,
    /// Kept over a change of the certificate, so that clients resume across it.
    ticketer: Arc<dyn ProducesTickets>,
    under_way: Arc<AtomicUsize>,
    metrics: Arc<HandshakeMetrics>,
}

/// The right to shake hands; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Tls {
    /// Serves with this certificate (its chain behind it) and key, both PEM.
    pub fn new(
        certificate: &[u8],
        key: &[u8],
        metrics: Arc<HandshakeMetrics>,
    ) -> Result<Self, TlsFilesError> {
        let ticketer = Ticketer::new().map_err(TlsFilesError::Pair)?;
        let config = Mutex::new(configure(certificate, key, ticketer.clone())?);
        metrics.certificate_not_after_seconds.set(not_after_seconds(certificate));
        Ok(Self { config, ticketer, under_way: Arc::default(), metrics })
    }

    /// New connections are served with these; those that are open go on.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsFilesError> {
        let config = configure(certificate, key, self.ticketer.clone())?;
        *self.config.lock() = config;
        self.metrics.certificate_not_after_seconds.set(not_after_seconds(certificate));
        Ok(())
    }

    /// What a new connection is served with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.lock().clone()
    }

    pub(super) fn permit(&self) -> Option<Permit> {
        let permit = Permit(self.under_way.clone());
        if self.under_way.fetch_add(1, Ordering::Relaxed) < HANDSHAKES_MAX {
            return Some(permit);
        }
        self.metrics.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// A handshake has ended; `kind` if it was completed.
    pub(super) fn count(&self, kind: Option<HandshakeKind>) {
        let counter = match kind {
            Some(HandshakeKind::Resumed) => &self.metrics.resumed,
            Some(_) => &self.metrics.full,
            None => &self.metrics.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn configure(
    certificate: &[u8],
    key: &[u8],
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, TlsFilesError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(TlsFilesError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsFilesError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsFilesError::Key)?;
    let provider = Arc::new(default_provider());
    // Whether the two belong together: the builder alone would take any pair.
    let pair =
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(TlsFilesError::Pair)?;
    pair.keys_match().map_err(TlsFilesError::Pair)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsFilesError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets alone, which the client keeps: sessions kept here would need a lock and memory for clients that never come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer;
    Ok(Arc::new(config))
}

/// When the first certificate of a file ends, seconds since the Unix epoch. One that cannot be read here has none (0), and is served all the same.
fn not_after_seconds(certificate: &[u8]) -> u64 {
    let first = CertificateDer::from_pem_slice(certificate).ok();
    let read = first.and_then(|der| Certificate::from_der(&der).ok());
    read.map_or(0, |read| read.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn it_is_known_when_the_certificate_in_use_ends() {
        let pair = |year| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, 7, 1);
            let certificate = params.self_signed(&key).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        let metrics = Arc::<HandshakeMetrics>::default();
        let ends = || metrics.certificate_not_after_seconds.value();
        // The form of the date changes with 2050: RFC 5280 section 4.1.2.5.
        let (first, second) = (pair(2030), pair(2050));
        let tls = Tls::new(first.0.as_bytes(), first.1.as_bytes(), metrics.clone()).expect("a pair");
        assert_eq!(ends(), 1_909_094_400);
        tls.replace(first.0.as_bytes(), second.1.as_bytes()).expect_err("of two pairs");
        assert_eq!(ends(), 1_909_094_400);
        tls.replace(second.0.as_bytes(), second.1.as_bytes()).expect("a pair");
        assert_eq!(ends(), 2_540_246_400);
        assert_eq!(not_after_seconds(b"no certificate"), 0);
    }
}
