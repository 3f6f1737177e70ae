//! TLS and basic authentication, by the file format of Prometheus' exporters (exporter-toolkit's `web.config`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebConfig {
    tls_server_config: Option<Tls>,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    min_version: Option<MinVersion>,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum MinVersion {
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

/// What the files say.
pub(super) struct Rules {
    pub(super) tls: Option<TlsAcceptor>,
    /// bcrypt hashes of their passwords.
    pub(super) users: BTreeMap<String, String>,
    /// When they were changed.
    changed: Vec<Option<SystemTime>>,
    files: Vec<PathBuf>,
}

impl Rules {
    fn read(path: &Path) -> anyhow::Result<Rules> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
        let config: WebConfig =
            serde_saphyr::from_str(&text).with_context(|| format!("{path:?} is no web config"))?;
        for (user, hash) in &config.basic_auth_users {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                anyhow::bail!("{path:?}: the password of {user:?} is no bcrypt hash");
            }
        }
        // As exporter-toolkit does: beside the file that names them.
        let beside = |file: &Path| path.parent().unwrap_or(Path::new("")).join(file);
        let mut files = vec![path.to_owned()];
        let mut tls = None;
        if let Some(config) = &config.tls_server_config {
            files.extend([beside(&config.cert_file), beside(&config.key_file)]);
            files.extend(config.client_ca_file.as_deref().map(beside));
            tls = Some(acceptor(config, beside)?);
        }
        Ok(Rules {
            tls,
            users: config.basic_auth_users,
            changed: changed(&files),
            files,
        })
    }
}

fn changed(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let at = |file: &PathBuf| fs::metadata(file).and_then(|data| data.modified()).ok();
    files.iter().map(at).collect()
}

fn acceptor(config: &Tls, beside: impl Fn(&Path) -> PathBuf) -> anyhow::Result<TlsAcceptor> {
    let certificates = |file: &Path| {
        let file = beside(file);
        CertificateDer::pem_file_iter(&file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read certificates of {file:?}"))
    };
    let key_file = beside(&config.key_file);
    let key = PrivateKeyDer::from_pem_file(&key_file)
        .with_context(|| format!("cannot read the key of {key_file:?}"))?;
    let versions: &[&SupportedProtocolVersion] = match config.min_version {
        Some(MinVersion::Tls13) => &[&version::TLS13],
        Some(MinVersion::Tls12) | None => &[&version::TLS13, &version::TLS12],
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?;
    let builder = match (config.client_auth_type, &config.client_ca_file) {
        (ClientAuth::NoClientCert, _) => builder.with_no_client_auth(),
        (_, None) => anyhow::bail!("client_auth_type needs client_ca_file"),
        (auth, Some(file)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match auth {
                ClientAuth::VerifyClientCertIfGiven => verifier.allow_unauthenticated(),
                ClientAuth::NoClientCert | ClientAuth::RequireAndVerifyClientCert => verifier,
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut server = builder
        .with_single_cert(certificates(&config.cert_file)?, key)
        .context("the certificate and the key do not fit")?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// The file, and those that it names; they are read anew when they change.
pub(super) struct WebConfigFile {
    path: PathBuf,
    rules: Mutex<(Arc<Rules>, Instant)>,
}

impl WebConfigFile {
    /// The file at `path`.
    ///
    /// # Errors
    /// It, or a file that it names, cannot be used.
    pub(super) fn read(path: &Path) -> anyhow::Result<WebConfigFile> {
        let rules = Arc::new(Rules::read(path)?);
        Ok(WebConfigFile {
            path: path.to_owned(),
            rules: Mutex::new((rules, Instant::now())),
        })
    }

    /// What they say now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        let mut kept = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let (rules, looked) = &mut *kept;
        if looked.elapsed() >= LOOK_EVERY {
            *looked = Instant::now();
            if changed(&rules.files) != rules.changed {
                match Rules::read(&self.path) {
                    Ok(new) => *rules = Arc::new(new),
                    Err(error) => tracing::warn!("the web config stays as it was: {error:#}"),
                }
            }
        }
        Arc::clone(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        fs::write(&path, text).unwrap();
        match WebConfigFile::read(&path) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused() {
        for (text, why) in [
            ("basic_auth_user: {}\n", "is no web config"),
            ("basic_auth_users:\n  a: secret\n", "no bcrypt hash"),
            (
                "tls_server_config:\n  cert_file: a.pem\n  key_file: b.pem\n",
                "b.pem",
            ),
            (
                "tls_server_config:\n  cert_file: a.pem\n",
                "is no web config",
            ),
        ] {
            let told = refused(text);
            assert!(told.contains(why), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
