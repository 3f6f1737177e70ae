//! The way to the API server, and what its errors mean for who runs the tracer.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::state::{Reason, Trouble};
use crate::confine::Needs;

/// How long a connection to the API server may take, and a write.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The rule that a role needs.
const RULE: &str =
    "a ClusterRole with the rule: apiGroups [\"\"], resources [pods], verbs [get, list, watch]";

/// Where the API server and its credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// What the kubelet puts into a pod: the service account.
    ServiceAccount,
    /// A file, as kubectl takes it.
    Kubeconfig(PathBuf),
}

impl Access {
    /// What reading the credentials anew takes.
    pub(super) fn needs(&self) -> Needs {
        let Access::Kubeconfig(path) = self else {
            return Needs::NOTHING;
        };
        let programs = Kubeconfig::read_from(path).is_ok_and(|file| {
            let users = file
                .auth_infos
                .iter()
                .filter_map(|user| user.auth_info.as_ref());
            users
                .into_iter()
                .any(|user| user.exec.is_some() || user.auth_provider.is_some())
        });
        // SAFETY: geteuid takes nothing and cannot fail.
        let caller = unsafe { libc::geteuid() };
        Needs {
            others_files: std::fs::metadata(path).is_ok_and(|file| file.uid() != caller),
            programs,
            ..Needs::NOTHING
        }
    }

    /// A client of it. Its token is read anew from the file when that changes.
    pub(super) async fn client(&self) -> Result<Client, Trouble> {
        let mut config = match self {
            Access::ServiceAccount => {
                Config::incluster_env().map_err(|error| in_cluster(&error))?
            }
            Access::Kubeconfig(path) => kubeconfig(path).await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.write_timeout = Some(CONNECT_TIMEOUT);
        // The watch tries again by itself, and says so.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| trouble(&error))
    }
}

fn in_cluster(error: &InClusterError) -> Trouble {
    let said = match error {
        InClusterError::ReadEnvironmentVariable(_) | InClusterError::ParseClusterPort(_) => {
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not name the API server \
             (run it in a pod, or give --kubeconfig PATH)"
                .to_owned()
        }
        error => format!(
            "no service account's token: {} (automountServiceAccountToken: true, and {RULE}; or name pods by \
             the container runtime: --kubernetes cri)",
            causes(error)
        ),
    };
    Trouble {
        reason: Reason::NoAccess,
        said,
    }
}

async fn kubeconfig(path: &Path) -> Result<Config, Trouble> {
    let unusable = |error: kube::config::KubeconfigError| Trouble {
        reason: Reason::NoAccess,
        said: format!(
            "cannot use kubeconfig {}: {}",
            path.display(),
            causes(&error)
        ),
    };
    let file = Kubeconfig::read_from(path).map_err(unusable)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(unusable)
}

/// What an error means.
pub(super) fn trouble(error: &kube::Error) -> Trouble {
    match error {
        kube::Error::Api(status) => answered(status.code, &status.message),
        kube::Error::Auth(error) => Trouble {
            reason: Reason::NoAccess,
            said: format!("the credentials cannot be used: {}", causes(error)),
        },
        kube::Error::Service(_)
        | kube::Error::HyperError(_)
        | kube::Error::ReadEvents(_)
        | kube::Error::RustlsTls(_) => unreachable(&causes(error)),
        error => Trouble {
            reason: Reason::Other,
            said: format!("the API server's answer cannot be used: {}", causes(error)),
        },
    }
}

/// What an answer other than 200 to a question for pods means.
pub(super) fn answered(code: u16, message: &str) -> Trouble {
    refused(code, message, RULE)
}

/// What an answer other than 200 means, where a role takes `rule`.
pub(super) fn refused(code: u16, message: &str, rule: &str) -> Trouble {
    let message = first_line(message);
    let (reason, said) = match code {
        401 => (
            Reason::Unauthorized,
            format!("the API server does not accept the token (401): {message}"),
        ),
        403 => (
            Reason::Forbidden,
            format!("the API server forbids it (403): {message} (it takes {rule})"),
        ),
        410 => (
            Reason::Expired,
            format!("the API server forgot it (410): {message}"),
        ),
        code => (
            Reason::Other,
            format!("the API server answers {code}: {message}"),
        ),
    };
    Trouble { reason, said }
}

pub(super) fn unreachable(cause: &str) -> Trouble {
    Trouble {
        reason: Reason::Unreachable,
        said: format!("the API server cannot be reached: {cause}"),
    }
}

/// An error and its causes, each once: the outer one often repeats the inner.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut said = first_line(&error.to_string()).to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        let text = first_line(&text);
        if !said.contains(text) {
            said.push_str(": ");
            said.push_str(text);
        }
        cause = inner.source();
    }
    said
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default().trim();
    // What a proxy answers may be a page.
    match line.char_indices().nth(300) {
        Some((at, _)) => line.get(..at).unwrap_or(line),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_names_the_rule_that_is_missing() {
        let said = answered(403, "pods is forbidden: User \"x\" cannot list resource");
        assert_eq!(said.reason, Reason::Forbidden);
        for word in ["ClusterRole", "get, list, watch", "pods", "cannot list"] {
            assert!(said.said.contains(word), "{said}");
        }
        assert_eq!(answered(401, "Unauthorized").reason, Reason::Unauthorized);
        assert_eq!(answered(410, "too old").reason, Reason::Expired);
        assert!(
            answered(502, "<html>\nmore")
                .said
                .ends_with("answers 502: <html>")
        );
    }

    #[tokio::test]
    async fn kubeconfig_that_cannot_be_used_is_named() {
        let access = Access::Kubeconfig("/no/such/config".into());
        let trouble = access.client().await.err().unwrap();
        assert_eq!(trouble.reason, Reason::NoAccess);
        assert!(trouble.said.contains("/no/such/config"), "{trouble}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "apiVersion: v1\nkind: Config\n").unwrap();
        let access = Access::Kubeconfig(file.path().into());
        assert_eq!(
            access.client().await.err().unwrap().reason,
            Reason::NoAccess
        );
    }
}
