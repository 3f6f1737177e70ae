//! Servers that speak TLS and HTTP/2, over TLS or in clear: how they are started.

use std::path::Path;
use std::process::Command;

use crate::envoy::Version;
use crate::free_port;
use crate::identity::Identity;

/// The Envoy of these tests.
pub const ENVOY: Version = Version("1.40.0");

/// etcd with its data in a folder.
#[must_use]
pub fn etcd(folder: &Path, port: u16, identity: Option<&Identity>) -> Command {
    let scheme = if identity.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", free_port());
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.join("data"));
    command.args(["--listen-client-urls", &url]);
    command.args(["--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    command.args(["--log-level", "error"]);
    if let Some(identity) = identity {
        command.arg("--cert-file").arg(&identity.certificate);
        command.arg("--key-file").arg(&identity.key);
    }
    command
}

/// An Envoy whose listener answers everything by itself.
///
/// # Panics
/// When its configuration cannot be written.
#[must_use]
pub fn envoy(folder: &Path, port: u16, identity: Option<&Identity>) -> Command {
    let path = crate::workspace().join("tests/keys/envoy.yaml");
    let text = std::fs::read_to_string(path).expect("the tests' own file");
    let mut text = text.replace("@PORT@", &port.to_string());
    if let Some([key, certificate]) = identity.map(Identity::files) {
        text = text.replace("@KEY@", &key.display().to_string());
        text = text.replace("@CERTIFICATE@", &certificate.display().to_string());
    } else {
        let begin = text.find("    - transport_socket:").expect("its TLS");
        let end = text.find("      filters:").expect("its filters");
        text.replace_range(begin..end + 6, "    - ");
    }
    let file = folder.join("envoy.yaml");
    std::fs::write(&file, text).expect("a file of the test's own");
    let mut command = Command::new(ENVOY.binary());
    command.arg("--config-path").arg(&file);
    command.args(["--log-level", "warn"]);
    command.args(["--concurrency", "1", "--use-dynamic-base-id"]);
    command
}
