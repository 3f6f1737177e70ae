//! A key and its certificate for `localhost`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;

/// A key and its certificate for `localhost`.
pub struct Identity {
    pub key: PathBuf,
    pub certificate: PathBuf,
}

impl Identity {
    /// Made by openssl in the folder `to`.
    ///
    /// # Panics
    /// When openssl makes none.
    #[track_caller]
    #[must_use]
    pub fn new(to: &Path) -> Identity {
        let identity = Identity {
            key: to.join("key.pem"),
            certificate: to.join("certificate.pem"),
        };
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test"]);
        command.args(curve);
        command.args(["-addext", "subjectAltName=DNS:localhost"]);
        command.arg("-keyout").arg(&identity.key);
        command.arg("-out").arg(&identity.certificate);
        let status = Process::start("openssl req", &mut command).wait(Duration::from_secs(60));
        assert!(status.success(), "openssl makes no certificate");
        identity
    }

    /// The key, and the certificate.
    #[must_use]
    pub fn files(&self) -> [&Path; 2] {
        [&self.key, &self.certificate]
    }
}
