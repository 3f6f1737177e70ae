//! The pods that are traced: the parts of the incident as images and Deployments.

use std::time::Duration;

use tracer_tests::call::Call;
use tracer_tests::cluster::Image;
use tracer_tests::peer::{Peer, installed};
use tracer_tests::skip::Program;
use tracer_tests::{eventually, scaled, workspace};

use crate::setting::{SOON, Setting, text};

/// The server, which is a client too: `client --target ...`.
pub(crate) const SERVER: &str = "localhost/h2trace-test-server:1";
const ENVOY: &str = "localhost/h2trace-test-envoy:1";
const CLIENT: &str = "localhost/h2trace-test-client:1";

/// The images of the server, the proxy and the client, from the peers that `cargo xtask setup` installs.
pub(crate) fn images() -> Vec<Image> {
    let peers = workspace().join("tests/peers");
    let node = Program("node").path().expect("Node is not installed");
    vec![
        Image::new(SERVER, &["/server"]).with_program(Peer::GrpcGo1_70.file(), "/server"),
        Image::new(ENVOY, &["/envoy"])
            .with_program(installed("envoy-1.40.0").join("envoy/_bin/envoy"), "/envoy"),
        Image::new(
            CLIENT,
            &["/node", "/peers/node/grpc-js.cjs", "1.12.6", "client"],
        )
        .with_program(node, "/node")
        .with(peers.join("node"), "/peers/node")
        .with(peers.join("proto"), "/peers/proto")
        .with(Peer::GrpcJs1_12.file(), "/modules")
        .environment("NODE_PATH=/modules"),
    ]
}

/// A Deployment of one pod with one container.
pub(crate) struct Deployment<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    image: &'a str,
    arguments: Vec<String>,
    /// A ConfigMap of the same name at /config.
    configured: bool,
}

impl<'a> Deployment<'a> {
    /// The server of the incident.
    pub(crate) fn server(namespace: &'a str, name: &'a str) -> Self {
        Deployment {
            namespace,
            name,
            image: SERVER,
            arguments: words(&["server", "--listen", "0.0.0.0:50051"]),
            configured: false,
        }
    }

    /// A client that makes these calls when it starts, and then stays.
    pub(crate) fn client(namespace: &'a str, name: &'a str, target: &str, calls: &[&str]) -> Self {
        Deployment {
            namespace,
            name,
            image: CLIENT,
            arguments: [words(&["--target", target, "--linger"]), words(calls)].concat(),
            configured: false,
        }
    }

    /// A client that never stops calling, gently.
    pub(crate) fn busy_client(namespace: &'a str, name: &'a str, target: &str) -> Self {
        let calls = [
            "--busy",
            "--concurrency",
            "2",
            "--think-ms",
            "20",
            "--response-bytes",
            "100",
        ];
        Self::client(namespace, name, target, &calls)
    }

    fn envoy(namespace: &'a str, name: &'a str) -> Self {
        let start = ["--config-path", "/config/envoy.yaml", "--concurrency", "1"];
        Deployment {
            namespace,
            name,
            image: ENVOY,
            arguments: [words(&start), words(&["--log-level", "warn"])].concat(),
            configured: true,
        }
    }

    /// As Kubernetes wants it.
    pub(crate) fn manifest(&self) -> String {
        let Deployment {
            namespace,
            name,
            image,
            ..
        } = self;
        let arguments = serde_json::to_string(&self.arguments).expect("words are JSON");
        let (mounts, volumes) = if self.configured {
            (
                "\n          volumeMounts: [{name: config, mountPath: /config}]".to_owned(),
                format!("\n      volumes: [{{name: config, configMap: {{name: {name}}}}}]"),
            )
        } else {
            (String::new(), String::new())
        };
        // stdin: clients stay until theirs ends.
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
             metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
             terminationGracePeriodSeconds: 1\n      automountServiceAccountToken: false\n      containers:\n        \
             - name: {name}-container\n          image: {image}\n          imagePullPolicy: Never\n          \
             stdin: true\n          args: {arguments}{mounts}{volumes}\n"
        )
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The only pod of a Deployment.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) deployment: String,
}

impl Pod {
    /// Where it listens, if it is a server's.
    pub(crate) fn target(&self) -> String {
        format!("{}:50051", self.address)
    }
}

impl Setting {
    /// Makes a namespace, unless it is there. With its service account: the controller that makes it hears of the
    /// namespace up to a minute after the API server was silent, and who is refused a pod without it waits longer each
    /// time.
    #[track_caller]
    pub(crate) fn namespace(&self, name: &str) {
        self.cluster.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"
        ));
        let account = ["create", "serviceaccount", "default", "--namespace", name];
        match self.cluster.try_kubectl(&account) {
            Err(why) if !why.contains("already exists") => panic!("{why}"),
            _ => {}
        }
    }

    /// Makes it and waits for its pod.
    #[track_caller]
    pub(crate) fn deploy(&self, deployment: &Deployment<'_>) -> Pod {
        self.cluster.apply(&deployment.manifest());
        self.pod_of(deployment.namespace, deployment.name)
    }

    /// The pod of a Deployment, once it runs.
    #[track_caller]
    pub(crate) fn pod_of(&self, namespace: &str, deployment: &str) -> Pod {
        let mut found = None;
        // After minutes without the API server, controllers and kubelet try again at long intervals.
        eventually(scaled(SOON, 5 * SOON), || {
            found = self.pods(namespace).iter().find_map(|pod| {
                let ours = pod["metadata"]["labels"]["app"] == deployment;
                let running = pod["status"]["containerStatuses"][0]["ready"] == true;
                (ours && running).then(|| Pod {
                    namespace: namespace.to_owned(),
                    name: text(&pod["metadata"]["name"]),
                    address: text(&pod["status"]["podIP"]),
                    deployment: deployment.to_owned(),
                })
            });
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("{namespace}/{deployment} has no running pod"))
    }

    /// Deploys Envoy as in the incident, before a server.
    #[track_caller]
    pub(crate) fn deploy_envoy(&self, namespace: &str, name: &str, upstream: &str) -> Pod {
        let template = workspace().join("tests/peers/envoy/proxy.yaml");
        let mut text = std::fs::read_to_string(template).expect("cannot read Envoy's template");
        for (hole, value) in [
            ("127.0.0.1", "0.0.0.0"),
            ("@ADMIN_PORT@", "9901"),
            ("@LISTEN_PORT@", "10000"),
            ("@UPSTREAM_HOST@", upstream),
            ("@UPSTREAM_PORT@", "50051"),
            ("@ACCESS_LOG@", "/dev/stdout"),
            ("@HIDDEN@", ""),
            ("@RUNTIME@", ""),
            ("@TIMEOUT@", "0s"),
            ("@RETRY@", ""),
            ("@ROUTE@", ""),
            ("@FILTER@", ""),
        ] {
            text = text.replace(hole, value);
        }
        let map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": namespace },
            "data": { "envoy.yaml": text },
        });
        self.cluster.apply(&map.to_string());
        self.deploy(&Deployment::envoy(namespace, name))
    }

    /// Waits until a client has made all of its calls; what became of them.
    #[track_caller]
    pub(crate) fn calls_of(&self, client: &Pod, limit: Duration) -> Vec<Call> {
        let mut log = String::new();
        let done = eventually(limit, || {
            let arguments = ["logs", "--namespace", &client.namespace, &client.name];
            log = self.cluster.try_kubectl(&arguments).unwrap_or_default();
            log.contains("\"done\":true")
        });
        assert!(done, "{} did not make its calls:\n{log}", client.name);
        log.lines().filter_map(Call::of_line).collect()
    }
}
