//! The peers: each starts its programs, records their ports, and has them talk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tracer_tests::call::{Calls, Mode};
use tracer_tests::capture::Tcpdump;
use tracer_tests::envoy::{Envoy, EnvoyOptions, Version};
use tracer_tests::identity::Identity;
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::program::Etcd;
use tracer_tests::skip::{Need, Program};
use tracer_tests::{eventually, free_port, scaled};

use crate::Recording;

pub(crate) type Record = fn(&Path) -> Result<Recording, String>;

/// Every peer, by the name of its row.
pub(crate) const ALL: &[(&str, Record)] = &[
    ("grpc-go 1.70", |to| {
        grpc(to, Peer::GrpcGo1_70, Peer::GrpcGo1_70)
    }),
    ("grpc-go 1.85", |to| {
        grpc(to, Peer::GrpcGo1_85, Peer::GrpcGo1_85)
    }),
    ("grpc-js 1.12 -> grpc-go 1.70", |to| {
        grpc(to, Peer::GrpcGo1_70, Peer::GrpcJs1_12)
    }),
    ("grpc-js 1.14", |to| {
        grpc(to, Peer::GrpcJs1_14, Peer::GrpcJs1_14)
    }),
    ("grpcio", |to| grpc(to, Peer::Grpcio, Peer::Grpcio)),
    ("grpc-java", |to| grpc(to, Peer::GrpcJava, Peer::GrpcJava)),
    ("Envoy 1.36, both hops", |to| envoy(to, Version("1.36.2"))),
    ("Envoy 1.40, both hops", |to| envoy(to, Version("1.40.0"))),
    ("curl", curl),
    ("curl, upgraded", curl_upgraded),
    ("nghttp, h2load", nghttp),
    ("etcd", etcd),
];

pub(crate) const RUN: Duration = Duration::from_secs(180);

pub(crate) fn need(needs: &[&dyn Need]) -> Result<(), String> {
    needs
        .iter()
        .find_map(|need| need.missing())
        .map_or(Ok(()), Err)
}

/// Every kind of call, one client after another, so that several connections begin and end.
fn grpc(to: &Path, server: Peer, client: Peer) -> Result<Recording, String> {
    need(&[&server, &client])?;
    let name = format!("{}-{}.pcap", server.name(), client.name());
    let mut server = Server::start(server, Listen::Ipv4, &[]);
    let (file, ports) = (to.join(name), vec![server.port()]);
    let recorder = Tcpdump::start(&ports, &file);
    for mode in [
        Mode::Unary,
        Mode::Empty,
        Mode::ClientStream,
        Mode::ServerStream,
        Mode::Bidi,
        Mode::Status,
        Mode::Deadline,
        Mode::Cancel,
    ] {
        let calls = Calls::new(mode, scaled(20, 500))
            .at_once(10)
            .bytes(300, 30_000);
        let mut client = Client::start(client, &server.address, &calls);
        client.go();
        client.wait_until_done(RUN);
        client.close();
    }
    server.process.end(libc::SIGTERM);
    Ok(Recording::of(recorder, file, ports))
}

/// The reference incident.
fn envoy(to: &Path, version: Version) -> Result<Recording, String> {
    need(&[&version, &Peer::GrpcGo1_70, &Peer::GrpcJs1_12])?;
    let server = Server::start(Peer::GrpcGo1_70, Listen::Ipv4, &[]);
    let options = EnvoyOptions {
        version,
        concurrency: 1,
        half_close: false,
        hide_ids: false,
    };
    let envoy = Envoy::start(options, server.port());
    let port = envoy
        .address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let port = port.ok_or("Envoy's address has no port")?;
    let (file, ports) = (
        to.join(format!("envoy-{}.pcap", version.0)),
        vec![port, server.port()],
    );
    let mut calls = Calls::new(Mode::Unary, scaled(300, 2_000))
        .at_once(50)
        .bytes(16, 11_000);
    calls.think_ms = 3;
    let mut client = Client::start(Peer::GrpcJs1_12, &envoy.address, &calls);
    let recorder = Tcpdump::start(&ports, &file);
    client.go();
    client.wait_until_done(RUN);
    client.close();
    Ok(Recording::of(recorder, file, ports))
}

pub(crate) fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// nghttpd with a small page, a large one that it pushes with the small one, and trailers.
pub(crate) fn nghttpd(to: &Path, identity: Option<&Identity>) -> (Process, u16) {
    let pages = to.join("pages");
    std::fs::create_dir_all(&pages).expect("cannot make a folder for pages");
    std::fs::write(pages.join("a"), vec![b'a'; 5_000]).expect("cannot write a page");
    std::fs::write(pages.join("b"), vec![b'b'; 300_000]).expect("cannot write a page");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command.args(["--address", "127.0.0.1", "--trailer", "checksum: 1"]);
    if identity.is_none() {
        command.arg("--no-tls");
    }
    command
        .args(["--push", "/a=/b", "--htdocs"])
        .arg(&pages)
        .arg(port.to_string());
    command.args(identity.map(Identity::files).into_iter().flatten());
    let process = Process::start("nghttpd", &mut command);
    assert!(eventually(RUN, || listens(port)), "nghttpd does not listen");
    (process, port)
}

/// Runs a command to its end. Some are told to fail: a client that gives up is part of the traffic.
pub(crate) fn run(command: &str, arguments: &[&str]) {
    let mut process = Process::start(command, Command::new(command).args(arguments));
    process.wait(RUN);
}

fn curl(to: &Path) -> Result<Recording, String> {
    need(&[&Program("curl"), &Program("nghttpd")])?;
    let (_server, port) = nghttpd(to, None);
    let (file, ports) = (to.join("curl.pcap"), vec![port]);
    let recorder = Tcpdump::start(&ports, &file);
    let url = |page: &str| format!("http://127.0.0.1:{port}/{page}");
    let with = |arguments: &[&str], page: &str| {
        let fixed = [
            "--silent",
            "--http2-prior-knowledge",
            "--output",
            "/dev/null",
        ];
        run("curl", &[&fixed, arguments, &[&url(page)]].concat());
    };
    let upload = format!("@{}", to.join("pages/b").display());
    for _ in 0..scaled(3, 50) {
        with(&[], "a");
        with(&[], "b");
        with(&[], "missing");
        with(&["--data-binary", &upload], "a");
        with(&["--head"], "b");
        // Gives up in the middle of the answer.
        with(&["--max-filesize", "1000"], "b");
    }
    // nghttpd knows no Upgrade: it says SETTINGS and closes.
    run(
        "curl",
        &["--silent", "--http2", "--output", "/dev/null", &url("a")],
    );
    recorder.finish();
    Ok(Recording {
        file,
        ports,
        upgraded: false,
        in_vain: 1,
        tls: None,
    })
}

fn curl_upgraded(to: &Path) -> Result<Recording, String> {
    need(&[&Program("curl"), &Program("nghttpd"), &Program("nghttpx")])?;
    let (_server, port) = nghttpd(to, None);
    let front = free_port();
    let mut command = Command::new("nghttpx");
    command.args(["--conf", "/dev/null", "--workers", "1", "--frontend"]);
    command.arg(format!("127.0.0.1,{front};no-tls"));
    command.arg(format!("--backend=127.0.0.1,{port};;proto=h2"));
    let _proxy = Process::start("nghttpx", &mut command);
    assert!(
        eventually(RUN, || listens(front)),
        "nghttpx does not listen"
    );
    let (file, ports) = (to.join("curl-upgraded.pcap"), vec![front]);
    let recorder = Tcpdump::start(&ports, &file);
    for _ in 0..scaled(3, 50) {
        let url = format!("http://127.0.0.1:{front}/a");
        let (first, second) = (
            ["--output", "/dev/null", &url],
            ["--output", "/dev/null", &url],
        );
        run(
            "curl",
            &[&["--silent", "--http2"][..], &first, &second].concat(),
        );
    }
    recorder.finish();
    Ok(Recording {
        file,
        ports,
        upgraded: true,
        in_vain: 0,
        tls: None,
    })
}

fn nghttp(to: &Path) -> Result<Recording, String> {
    need(&[&Program("nghttpd"), &Program("nghttp"), &Program("h2load")])?;
    let (_server, port) = nghttpd(to, None);
    let (file, ports) = (to.join("nghttp.pcap"), vec![port]);
    let recorder = Tcpdump::start(&ports, &file);
    let [a, b] = ["a", "b"].map(|page| format!("http://127.0.0.1:{port}/{page}"));
    let n = scaled("120", "1000");
    run("h2load", &["-n", n, "-c", "4", "-m", "5", &a, &b]);
    let upload = to.join("pages/b").display().to_string();
    run(
        "h2load",
        &["-n", "20", "-c", "2", "-m", "5", "-d", &upload, &a],
    );
    run("nghttp", &["--null-out", &a, &b]);
    run("nghttp", &["--null-out", "--no-dep", "--no-push", &a, &b]);
    run(
        "nghttp",
        &["--null-out", "--padding=100", "--data", &upload, &a],
    );
    // Header blocks beyond one frame: CONTINUATION.
    let long: Vec<_> = (0..8)
        .map(|n| format!("x-long-{n}: {}", "v".repeat(4_000)))
        .collect();
    let long = long.iter().flat_map(|field| ["--header", field]);
    run(
        "nghttp",
        &["--null-out"]
            .into_iter()
            .chain(long)
            .chain([a.as_str()])
            .collect::<Vec<_>>(),
    );
    // A narrow window, and a client that gives up.
    run(
        "nghttp",
        &[
            "--null-out",
            "--no-dep",
            "--window-bits=10",
            "--timeout=1",
            &b,
        ],
    );
    Ok(Recording::of(recorder, file, ports))
}

fn etcd(to: &Path) -> Result<Recording, String> {
    need(&[&Program("etcd"), &Program("etcdctl")])?;
    let etcd = Etcd::start(to);
    let (clients, port) = (&etcd.clients, etcd.port);
    let (file, ports) = (to.join("etcd.pcap"), vec![port]);
    let recorder = Tcpdump::start(&ports, &file);
    let ctl = format!("env ETCDCTL_API=3 etcdctl --endpoints {clients}");
    let n = scaled(10, 100);
    let script = format!(
        "{ctl} watch name >/dev/null & watch=$!
         for i in $(seq {n}); do {ctl} put name value$i; done
         {ctl} get name
         {ctl} get missing
         lease=$({ctl} lease grant 60 | cut -d' ' -f2)
         {ctl} lease keep-alive --once $lease
         {ctl} lease revoke $lease
         {ctl} lease revoke 1234 || true
         {ctl} del name
         kill $watch"
    );
    run("/bin/sh", &["-e", "-c", &script]);
    Ok(Recording::of(recorder, file, ports))
}
