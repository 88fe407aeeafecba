//! A request of the node to itself, at the door where its clients come.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use uuid::Uuid;

use crate::config::ServeOptions;

/// How long the node may take to take the connection, and to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// How the node is spoken to.
#[derive(Debug)]
pub(super) struct SelfRequest {
    /// Where its clients come.
    pub(super) address: SocketAddr,
    /// From where it wants a PROXY header.
    balancers: Vec<IpNet>,
    /// The certificate that it shows, if it speaks TLS.
    certificate: Option<PathBuf>,
}

impl SelfRequest {
    pub(super) fn of(options: &ServeOptions) -> Self {
        Self {
            address: options.listen.first().copied().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            balancers: options.wire.proxy_protocol_from.clone(),
            certificate: options.wire.tls_cert.clone(),
        }
    }

    /// Posts an event; the status of the answer.
    pub(super) fn post(&self, token: &str, id: Uuid, body: &[u8]) -> io::Result<u16> {
        let address = reachable(self.address);
        let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let own = socket.local_addr()?.ip().to_canonical();
        if self.balancers.iter().any(|network| network.contains(&own)) {
            // Of the PROXY protocol's version 1: nobody else's connection.
            socket.write_all(b"PROXY UNKNOWN\r\n")?;
        }
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nForebay-Event-Id: {id}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        match &self.certificate {
            None => ask(socket, &request),
            Some(path) => ask(tls(socket, address.ip(), &fs::read(path)?)?, &request),
        }
    }
}

/// An address that can be connected to, for one that is listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(mut stream: impl Read + Write, request: &[u8]) -> io::Result<u16> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut stream = stream.take(ANSWER_BYTES_MAX);
    let mut piece = [0u8; 1024];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first_chunk::<3>());
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

fn tls(
    socket: TcpStream,
    ip: IpAddr,
    certificate: &[u8],
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let own = CertificateDer::from_pem_slice(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Own { certificate: own, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let session = ClientConnection::new(Arc::new(config), ServerName::from(ip)).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, socket))
}

/// Takes the node's own certificate and no other, whatever names it has: nobody else has its key.
#[derive(Debug)]
struct Own {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_on_everywhere_is_reached_at_home() {
        for (listen, connect) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen), connect.parse().expect("an address"));
        }
    }
}
