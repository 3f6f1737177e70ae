//! Who may scrape, by his bearer token, as the API server says it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use h2trace::export::http::{Guard, Heartbeat, Site, bind};
use h2trace::export::prometheus::Exporter;
use h2trace::workload::kubernetes::{Mode, Reviewer, Settings};
use tracer_tests::cluster::{ApiParts, ApiServer, User};
use tracer_tests::{eventually, require};

use crate::given::{SOON, api};

/// Serves metrics to those whom the API server lets, for as long as the runtime lives.
fn serve(api: &ApiServer) -> (tokio::runtime::Runtime, SocketAddr) {
    let settings = Settings {
        // Names of pods have nothing to do with it.
        mode: Mode::Off,
        kubeconfig: Some(api.credentials().kubeconfig(User::Admin).into()),
        ..Settings::default()
    };
    let guard = Guard::new(None, Some(Reviewer::new(&settings).unwrap())).unwrap();
    let scrape = Exporter::new().unwrap().scrape();
    let site = Site::whole(scrape, Arc::new(Heartbeat::new())).guarded(guard.map(Arc::new));
    let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(site.serve(listener));
    (runtime, address)
}

/// The answer to who shows this.
fn ask(address: SocketAddr, authorization: Option<&str>) -> String {
    let field =
        authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(address: SocketAddr, token: &str) -> u16 {
    let answer = ask(address, Some(&format!("Bearer {token}")));
    let status = answer.split(' ').nth(1);
    status.and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Lets user or service account `subject` get the metrics.
fn bind_role(api: &ApiServer, subject: &str) {
    api.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: metrics-reader}}, \
         rules: [{{nonResourceURLs: [/metrics], verbs: [get]}}]}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: metrics-reader}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics-reader}}, \
         subjects: [{subject}]}}\n"
    ));
}

#[test]
fn only_whom_the_api_server_lets_is_answered() {
    require!(ApiParts);
    let api = api();
    let (_runtime, address) = serve(&api);
    for wrong in [None, Some("Basic YTpi"), Some("Bearer"), Some("Bearer ")] {
        let answer = ask(address, wrong);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{wrong:?}: {answer}");
        assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
    }
    assert_eq!(status(address, "made-up"), 401);
    assert_eq!(status(address, User::Nobody.token()), 403);
    let account = api.kubectl(&["create", "token", "default", "--namespace=shop"]);
    assert_eq!(status(address, account.trim()), 403);
    // system:masters may everything.
    let answer = ask(address, Some(&format!("bearer {}", User::Admin.token())));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\nh2trace_self_build_info"), "{answer}");

    bind_role(
        &api,
        "{kind: ServiceAccount, name: default, namespace: shop}",
    );
    // Who was refused is asked about again after a while.
    let let_in = || status(address, account.trim()) == 200;
    assert!(eventually(SOON, let_in));
    assert_eq!(status(address, User::Nobody.token()), 403);
}

#[test]
fn nobody_new_is_let_in_while_the_api_server_is_gone_and_who_was_is_still() {
    require!(ApiParts);
    let mut api = api();
    let (_runtime, address) = serve(&api);
    assert_eq!(status(address, User::Admin.token()), 200);
    api.stop_server();
    assert_eq!(status(address, User::Admin.token()), 200);
    assert_eq!(status(address, User::Node.token()), 503);
    assert_eq!(status(address, "made-up"), 503);
    api.start_again();
    assert!(eventually(SOON, || status(address, User::Node.token()) == 403));
    assert_eq!(status(address, "made-up"), 401);
}
