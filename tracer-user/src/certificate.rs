//! A certificate for the tests that speak TLS.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{RootCertStore, crypto::CryptoProvider, crypto::ring};

/// Its file, and that of its key.
pub(crate) const CERTIFICATE: &str = "cert.pem";
pub(crate) const KEY: &str = "key.pem";

/// Makes one of its own for `localhost` in a folder, and says whom its clients trust.
pub(crate) fn made_in(folder: &Path) -> RootCertStore {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let who = ["-nodes", "-days", "2", "-subj", "/CN=h2trace"];
    let name = ["-addext", "subjectAltName=DNS:localhost"];
    let no_ca = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let made = Command::new("openssl")
        .args(["req", "-x509", "-keyout", KEY, "-out", CERTIFICATE])
        .args([&key[..], &who, &name, &no_ca].concat())
        .current_dir(folder)
        .output()
        .expect("openssl makes the certificate of this test");
    assert!(made.status.success(), "{made:?}");
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join(CERTIFICATE)).unwrap();
    roots.add(certificate).unwrap();
    roots
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
