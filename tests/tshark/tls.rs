//! Peers that speak TLS, and write what opens it into a key log.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tracer_tests::capture::Tcpdump;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::skip::Program;
use tracer_tests::tracer::replay;
use tracer_tests::{eventually, free_port, scaled, workspace};

use crate::peers::{RUN, Record, listens, need, nghttpd, run};
use crate::{Recording, TlsSeen};

/// Every peer, by the name of its row.
pub(crate) const ALL: &[(&str, Record)] = &[
    ("curl, TLS 1.3", |to| curl(to, "--tls13-ciphers", &TLS13)),
    ("curl, TLS 1.2", |to| curl(to, "--ciphers", &TLS12)),
    ("Node, TLS, resumed", node),
    ("openssl, early data, updates", openssl),
];

const TLS13: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

const TLS12: [&str; 3] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];

/// A recording, and the key log that opens it.
fn recorded(
    (recorder, file): (Tcpdump, PathBuf),
    port: u16,
    (keys, connections): (PathBuf, u64),
) -> Result<Recording, String> {
    let tls = Some(TlsSeen { keys, connections });
    let recording = Recording::of(recorder, file, vec![port]);
    Ok(Recording { tls, ..recording })
}

fn curl(to: &Path, option: &str, suites: &[&str]) -> Result<Recording, String> {
    need(&[&Program("curl"), &Program("nghttpd"), &Program("openssl")])?;
    let to = &to.join(option.trim_start_matches('-'));
    std::fs::create_dir(to).map_err(|error| error.to_string())?;
    let identity = Identity::new(to);
    let (_server, port) = nghttpd(to, Some(&identity));
    let (file, keys) = (to.join("curl.pcap"), to.join("curl.keys"));
    let recorder = Tcpdump::start(&[port], &file);
    let url = |page: &str| format!("https://localhost:{port}/{page}");
    let mut connections = 0;
    for suite in suites {
        for _ in 0..scaled(2, 30) {
            let mut command = Command::new("curl");
            command.args(["--silent", "--http2", "--insecure", option, suite]);
            if option == "--ciphers" {
                command.args(["--tls-max", "1.2"]);
            }
            for page in ["a", "b", "missing"] {
                command.args(["--output", "/dev/null", &url(page)]);
            }
            let status = Process::start("curl", command.env("SSLKEYLOGFILE", &keys)).wait(RUN);
            assert!(status.success(), "curl with {suite}: {status}");
            connections += 1;
        }
    }
    recorded((recorder, file), port, (keys, connections))
}

fn node(to: &Path) -> Result<Recording, String> {
    need(&[&Program("node"), &Program("openssl")])?;
    let to = &to.join("node-tls");
    std::fs::create_dir(to).map_err(|error| error.to_string())?;
    let identity = Identity::new(to);
    let (file, keys, port) = (to.join("node.pcap"), to.join("node.keys"), free_port());
    let recorder = Tcpdump::start(&[port], &file);
    let mut command = Command::new("node");
    command.arg(format!("--tls-keylog={}", keys.display()));
    command.arg(workspace().join("tests/peers/node/tls.cjs"));
    command.arg(port.to_string()).args(identity.files());
    let mut node = Process::start("node", command.arg(scaled("30", "300")));
    let status = node.wait(RUN);
    assert!(status.success(), "node: {status}{}", node.complaint());
    recorded((recorder, file), port, (keys, 4))
}

/// A frame with HEADERS of `GET PATH`, END_STREAM.
fn get(stream_id: u8, path: &str) -> Vec<u8> {
    let mut block = b"\x82\x87\x04".to_vec();
    block.push(u8::try_from(path.len()).expect("a short path"));
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x09localhost");
    let len = u8::try_from(block.len()).expect("a short block");
    [&[0, 0, len, 1, 5, 0, 0, 0, stream_id][..], &block].concat()
}

/// `openssl s_client` against nginx: key updates of both kinds, a request as early data, and TLS 1.2.
fn openssl(to: &Path) -> Result<Recording, String> {
    need(&[&Program("nginx"), &Program("openssl")])?;
    let to = &to.join("openssl");
    std::fs::create_dir(to).map_err(|error| error.to_string())?;
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(to.join(name), bytes).expect("cannot write a file");
    };
    write("a", &[b'a'; 5_000]);
    write("b", &[b'b'; 100_000]);
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    write("first", &[&hello[..], &get(1, "/a")].concat());
    write("second", &get(3, "/b"));
    write("third", &get(5, "/a"));
    let (_identity, port) = (Identity::new(to), free_port());
    write(
        "nginx.conf",
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn; events {{}}\n\
             http {{ access_log off; client_body_temp_path 1; proxy_temp_path 2; fastcgi_temp_path 3;\n\
             uwsgi_temp_path 4; scgi_temp_path 5; server {{ listen 127.0.0.1:{port} ssl http2; root .;\n\
             ssl_certificate certificate.pem; ssl_certificate_key key.pem; ssl_early_data on;\n\
             ssl_session_cache shared:sessions:1m; ssl_protocols TLSv1.2 TLSv1.3; }} }}\n"
        )
        .as_bytes(),
    );
    let mut command = Command::new("nginx");
    command.arg("-p").arg(to).args(["-c", "nginx.conf"]);
    let _nginx = Process::start("nginx", &mut command);
    assert!(eventually(RUN, || listens(port)), "nginx does not listen");
    let (file, keys) = (to.join("openssl.pcap"), to.join("openssl.keys"));
    let recorder = Tcpdump::start(&[port], &file);
    let client = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername localhost -alpn h2 -keylogfile {}",
        keys.display()
    );
    // A letter at the beginning of what it reads is a command: K and k update keys, Q ends.
    let script = format!(
        "cd {folder}; exec >/dev/null 2>&1
         (cat first; sleep 0.3; echo K; sleep 0.3; cat second; sleep 0.3; echo k; sleep 0.3; cat third; sleep 0.3;
          echo Q) | {client} -sess_out session
         (sleep 0.5; cat second; sleep 0.3; echo Q) | {client} -sess_in session -early_data first
         (cat first; sleep 0.3; cat second; sleep 0.3; echo Q) | {client} -tls1_2",
        folder = to.display()
    );
    run("/bin/sh", &["-c", &script]);
    let log = std::fs::read_to_string(&keys).map_err(|error| error.to_string())?;
    assert!(
        log.contains("CLIENT_EARLY_TRAFFIC_SECRET"),
        "nothing was sent early"
    );
    recorded((recorder, file), port, (keys, 3))
}

/// What is said of the connections: with the key log all are opened, without it none is, and both say what they are.
pub(crate) fn check_connections(name: &str, file: &Path, seen: &TlsSeen) {
    let keys = seen.keys.display().to_string();
    let with = ["--show", "connections,streams", "--keylog", &keys];
    for (arguments, protocol, key, why) in [
        (&with[..], "http2", "keylog", Value::Null),
        (&with[..2], "tls", "none", "no_key".into()),
    ] {
        let lines: Vec<Value> = replay(file, arguments)
            .iter()
            .map(|line| serde_json::from_str(line).expect("a line of replay is JSON"))
            .collect();
        let begun: Vec<_> = lines
            .iter()
            .filter(|line| line["type"] == "connection" && line["event"] == "seen")
            .collect();
        assert_eq!(begun.len() as u64, seen.connections, "{name}, {key}");
        for line in begun {
            let tls = &line["tls"];
            assert_eq!(line["protocol"], protocol, "{name}: {line}");
            assert_eq!(
                (&tls["key"], &tls["why"]),
                (&key.into(), &why),
                "{name}: {line}"
            );
            assert_eq!(tls["sni"], "localhost", "{name}: {line}");
            assert!(
                tls["suite"]
                    .as_str()
                    .is_some_and(|suite| suite.starts_with("TLS_"))
            );
            let chosen_in_clear = key == "keylog" || tls["version"] == "1.2";
            assert_eq!(tls["alpn"] == "h2", chosen_in_clear, "{name}: {line}");
        }
        let streams = lines.iter().filter(|line| line["type"] == "stream").count();
        assert_eq!(streams > 0, key == "keylog", "{name}: {streams} streams");
    }
}
