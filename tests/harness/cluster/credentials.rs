//! Keys, certificates and tokens of one cluster, made anew for it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may speak to the API, by a token that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// All rights (`system:masters`): kubectl of the tests, controller manager, scheduler.
    Admin,
    /// The node's kubelet: what the Node authorizer allows.
    Node,
    /// No rights at all until a test grants some: user `nobody`.
    Nobody,
}

impl User {
    const ALL: [User; 3] = [User::Admin, User::Node, User::Nobody];

    /// Its bearer token.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            User::Admin => "token-of-admin",
            User::Node => "token-of-node",
            User::Nobody => "token-of-nobody",
        }
    }

    const fn line(self) -> &'static str {
        match self {
            User::Admin => "admin,admin,\"system:masters\"",
            User::Node => "system:node:node,node,\"system:nodes\"",
            User::Nobody => "nobody,nobody,",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            User::Admin => "admin.kubeconfig",
            User::Node => "node.kubeconfig",
            User::Nobody => "nobody.kubeconfig",
        }
    }
}

/// The files, in one folder.
pub struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// Makes them; the API will be at `https://HOST:PORT`.
    ///
    /// # Panics
    /// When openssl fails.
    #[must_use]
    pub fn make(folder: &Path, host: &str, port: u16) -> Self {
        std::fs::create_dir_all(folder).expect("cannot make a folder for credentials");
        let this = Credentials {
            folder: folder.to_owned(),
        };
        let (ca_key, ca) = (this.file("ca.key"), this.file("ca.crt"));
        this.openssl(&[
            "req",
            "-x509",
            "-days",
            "30",
            "-subj",
            "/CN=h2trace test CA",
        ])
        .new_key(&ca_key)
        .out(&ca);
        // The API server's certificate, and the one that it shows to the kubelet.
        let names = format!(
            "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
             IP:127.0.0.1,IP:10.96.0.1,IP:{host}"
        );
        for (name, subject, extension) in [
            ("apiserver", "/CN=kube-apiserver", names.as_str()),
            (
                "kubelet-client",
                "/O=system:masters/CN=kube-apiserver-kubelet-client",
                "extendedKeyUsage=clientAuth",
            ),
        ] {
            let key = this.file(&format!("{name}.key"));
            this.openssl(&["req", "-x509", "-days", "30", "-subj", subject])
                .with(&[
                    "-addext",
                    extension,
                    "-addext",
                    "basicConstraints=critical,CA:FALSE",
                ])
                .with(&["-CA", &ca, "-CAkey", &ca_key])
                .new_key(&key)
                .out(&this.file(&format!("{name}.crt")));
        }
        let accounts = this.file("service-accounts.key");
        this.openssl(&["genrsa"]).out(&accounts);

        let mut tokens = String::new();
        for user in User::ALL {
            writeln!(tokens, "{},{}", user.token(), user.line()).expect("a string takes it");
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
                 clusters: [{{name: test, cluster: {{server: 'https://{host}:{port}', certificate-authority: '{ca}'}}}}]\n\
                 users: [{{name: test, user: {{token: {}}}}}]\n\
                 contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
                user.token()
            );
            std::fs::write(this.kubeconfig(user), text).expect("cannot write a kubeconfig");
        }
        std::fs::write(this.file("tokens.csv"), tokens).expect("cannot write tokens");
        this
    }

    /// The path of one of the files.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// What a client of the API is configured with.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> String {
        self.file(user.file())
    }

    fn openssl(&self, arguments: &[&str]) -> Openssl {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&self.folder);
        Openssl(command)
    }
}

struct Openssl(Command);

impl Openssl {
    fn with(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    /// An elliptic key without a password: quick to make.
    fn new_key(self, path: &str) -> Self {
        self.with(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .with(&["-nodes", "-keyout", path])
    }

    fn out(self, path: &str) {
        let mut command = self.with(&["-out", path]).0;
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot run openssl: {error}"));
        assert!(
            output.status.success(),
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
