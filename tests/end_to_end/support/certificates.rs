//! Certificates that are made for a test.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// The files of an authority that may be trusted, and of a certificate and key that it has made for `localhost`.
pub(crate) fn trusted_pair(folder: &Path) -> [String; 3] {
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let server = server.signed_by(&key, &ca).expect("a certificate");
    [("ca.pem", ca.pem()), ("cert.pem", server.pem()), ("key.pem", key.serialize_pem())].map(
        |(name, text)| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("a plain path").to_owned()
        },
    )
}
