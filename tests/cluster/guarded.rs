//! Metrics behind TLS, as the chart's `webConfig` and `kubernetesAuth` make it: by bearer token, or by password.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tracer_tests::cluster::{User, said};
use tracer_tests::eventually;

use crate::setting::{NAMESPACE, SOON, Setting, Tracer};

/// bcrypt of "secret", at the least cost.
const SECRET: &str = "$2b$04$hwzHhk2n7JnfWXzyu76qn.0REhgiNS/E9Q2DBfWRl0AoSTQUzsEI.";

/// The certificate and the web config, as a Secret.
fn make_secret(setting: &Setting) -> String {
    let folder = setting.cluster.sandbox.folder().join("web");
    std::fs::create_dir_all(&folder).expect("cannot make a folder");
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=h2trace",
            "-addext",
            "subjectAltName=DNS:h2trace",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "tls.key", "-out", "tls.crt"])
        .current_dir(&folder);
    said(&mut openssl, "").unwrap_or_else(|why| panic!("openssl: {why}"));
    let web = format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\nbasic_auth_users:\n  prometheus: {SECRET}\n"
    );
    std::fs::write(folder.join("web.yaml"), web).expect("cannot write the web config");
    let files = ["tls.crt", "tls.key", "web.yaml"]
        .map(|name| format!("--from-file={}", folder.join(name).display()));
    let mut create = vec![
        "create",
        "secret",
        "generic",
        "web",
        "--namespace",
        NAMESPACE,
    ];
    create.extend(files.iter().map(String::as_str));
    setting.cluster.kubectl(&create);
    folder.join("tls.crt").display().to_string()
}

/// The status of an answer over TLS, and its text.
fn ask(setting: &Setting, tracer: &Tracer, certificate: &str, more: &[&str]) -> String {
    let (address, port) = tracer
        .address
        .split_once(':')
        .expect("an address with its port");
    let mut curl = setting
        .cluster
        .client_command(Path::new("curl"), User::Admin);
    curl.args(["--silent", "--max-time", "10", "--cacert", certificate]);
    curl.args(["--connect-to", &format!("h2trace:{port}:{address}:{port}")]);
    curl.args(["--write-out", "\nstatus %{http_code}\n"]);
    curl.args(more);
    curl.arg(format!("https://h2trace:{port}/metrics"));
    said(&mut curl, "").unwrap_or_else(|why| why)
}

pub(crate) fn by_tls_and_token(setting: &mut Setting) {
    setting.namespace(NAMESPACE);
    let certificate = make_secret(setting);
    let values = json!({
        "webConfig": { "secret": "web" }, "kubernetesAuth": { "enabled": true },
        "networkPolicy": { "create": true, "from": [{ "podSelector": {} }] },
    });
    // Ready: the kubelet's probes have a port without either.
    let tracer = setting.tracer_with(&values);
    assert_eq!(setting.cluster.http_get(&tracer.address, "/metrics"), None);
    let status = |more: &[&str]| ask(setting, &tracer, &certificate, more);
    let is = |said: &str, status: u16| said.ends_with(&format!("\nstatus {status}\n"));
    for wrong in [
        &[][..],
        &["--user", "prometheus:wrong"],
        &["--header", "Authorization: Bearer made-up"],
    ] {
        let said = status(wrong);
        assert!(is(&said, 401), "{wrong:?}: {said}");
    }
    let said = status(&["--user", "prometheus:secret"]);
    assert!(
        is(&said, 200) && said.contains("h2trace_self_build_info"),
        "{said}"
    );

    let token = setting
        .cluster
        .kubectl(&["create", "token", "default", "--namespace", NAMESPACE]);
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let by_token = || status(&["--header", &bearer]);
    assert!(is(&by_token(), 403), "{}", by_token());
    let account = format!("--serviceaccount={NAMESPACE}:default");
    setting.cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "scrapers",
        "--clusterrole=h2trace-metrics-reader",
        &account,
    ]);
    assert!(eventually(SOON, || is(&by_token(), 200)), "{}", by_token());
    let pods = setting.pods(NAMESPACE);
    assert!(pods.iter().any(crate::setting::is_ready), "{pods:?}");

    setting
        .cluster
        .kubectl(&["delete", "clusterrolebinding", "scrapers"]);
    // The next tests' tracer has neither.
    setting.tracer_with(&json!({}));
    setting
        .cluster
        .kubectl(&["delete", "secret", "web", "--namespace", NAMESPACE]);
}
