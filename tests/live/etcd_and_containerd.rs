//! Two servers that everybody runs, with their own clients: etcd over TCP, containerd over its Unix socket.
//! Both count the calls that they handle themselves.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::process::Process;
use tracer_tests::program::{Etcd, http_get, started_calls};
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require};

use crate::{RUN, SETTLE};

/// A shell script that waits until it is let go.
fn held_script(name: &str, script: &str) -> Process {
    let mut command = Command::new("/bin/sh");
    command.args(["-e", "-c", script]);
    Process::start_held(name, &command)
}

/// Streams by method at the server's end.
fn by_method(trace: &Trace, server: u32) -> BTreeMap<String, u64> {
    let mut methods = BTreeMap::new();
    for stream in trace.streams_of(server, "server") {
        *methods
            .entry(stream.method().unwrap_or("?").to_owned())
            .or_default() += 1;
    }
    methods
}

fn page(address: &str, path: &str) -> String {
    http_get(address, path).unwrap_or_else(|| panic!("cannot get {address}{path}"))
}

#[test]
fn etcd_counts_the_same_calls_by_method() {
    require!(Privileges, Program("etcd"), Program("etcdctl"));
    let folder = TempDir::new().expect("cannot make a folder for etcd");
    let Etcd {
        process: etcd,
        clients,
        metrics,
        ..
    } = Etcd::start(folder.path());
    let before = started_calls(&page(&metrics, "/metrics"));

    let ctl = format!("env ETCDCTL_API=3 etcdctl --endpoints {clients}");
    let mut watch = held_script("etcdctl watch", &format!("exec {ctl} watch name"));
    let script = format!(
        "for i in $(seq 20); do {ctl} put name value$i; done
         {ctl} get name
         printf 'value(\"name\") = \"value20\"\\n\\nput name swapped\\n\\nput name other\\n\\n' | {ctl} txn
         lease=$({ctl} lease grant 60 | cut -d' ' -f2)
         {ctl} lease keep-alive --once $lease
         {ctl} lease revoke $lease
         {ctl} del name"
    );
    let mut work = held_script("etcdctl", &script);
    let tracer = Tracer::start(&[etcd.pid(), watch.pid(), work.pid()]);
    watch.write_line("go");
    // The watch is there when etcd says so; only then does something happen that it must show.
    let watching = || {
        started_calls(&page(&metrics, "/metrics"))
            .keys()
            .any(|method| method.ends_with("/Watch"))
    };
    assert!(
        eventually(Duration::from_secs(20), watching),
        "etcdctl does not watch{}",
        watch.complaint()
    );
    work.write_line("go");
    let status = work.wait(RUN);
    assert!(status.success(), "etcdctl failed{}", work.complaint());
    watch.wait_for_line(0, Duration::from_secs(20), |line| {
        line.contains("swapped").then_some(())
    });
    watch.wait_for_line(0, Duration::from_secs(20), |line| {
        (line == "DELETE").then_some(())
    });
    watch.end(libc::SIGTERM);

    let mut want = started_calls(&page(&metrics, "/metrics"));
    for (method, n) in &before {
        if let Some(count) = want.get_mut(method) {
            *count -= n;
        }
    }
    want.retain(|_, n| *n > 0);
    let n_calls: u64 = want.values().sum();
    assert!(
        n_calls >= 26,
        "etcdctl made fewer calls than it was told: {want:?}"
    );
    tracer.wait_for_streams(
        etcd.pid(),
        "server",
        usize::try_from(n_calls).unwrap_or(usize::MAX),
        SETTLE,
    );
    let trace = tracer.finish();
    println!("{want:?}");
    assert_eq!(
        by_method(&trace, etcd.pid()),
        want,
        "streams by method, and etcd's own count"
    );
    for stream in trace.streams_of(etcd.pid(), "server") {
        if stream
            .method()
            .is_some_and(|method| method.ends_with("/Watch"))
        {
            // It was open until its client was ended.
            assert!(
                ["connection_lost", "cancelled"].contains(&stream.outcome()),
                "{}",
                stream.0
            );
        } else {
            // LeaseKeepAlive is a stream that etcdctl leaves by closing its connection.
            let left = stream
                .method()
                .is_some_and(|method| method.ends_with("/LeaseKeepAlive"));
            assert!(stream.outcome() == "ok" || left, "{}", stream.0);
        }
    }
    let streams: Vec<_> = trace
        .streams
        .iter()
        .filter(|stream| stream.outcome() == "ok")
        .collect();
    let on_good = trace
        .flagged()
        .into_iter()
        .find(|f| streams.iter().any(|s| f.is_about(s)));
    assert!(
        on_good.is_none(),
        "a finding about a good stream: {}",
        on_good.map_or(String::new(), |f| f.0.to_string())
    );
    trace.assert_lossless();
}

#[test]
fn containerd_counts_the_same_calls_by_method_over_its_unix_socket() {
    require!(Privileges, Program("containerd"), Program("ctr"));
    let folder = TempDir::new().expect("cannot make a folder for containerd");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let socket = path("containerd.sock");
    let metrics = format!("127.0.0.1:{}", free_port());
    let configuration = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {socket:?}\n[metrics]\naddress = {metrics:?}\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
        path("root"),
        path("state"),
        path("opt"),
    );
    std::fs::write(path("config.toml"), configuration)
        .expect("cannot write containerd's configuration");
    let mut command = Command::new("containerd");
    command.args(["--config", &path("config.toml")]);
    let containerd = Process::start("containerd", &mut command);
    let up =
        || http_get(&metrics, "/v1/metrics").is_some() && std::path::Path::new(&socket).exists();
    assert!(
        eventually(Duration::from_secs(30), up),
        "containerd did not come up{}",
        containerd.complaint()
    );
    let before = started_calls(&page(&metrics, "/v1/metrics"));

    let ctr = format!("ctr --address {socket}");
    let script = format!(
        "{ctr} version
         {ctr} namespaces create h2trace-test
         {ctr} namespaces ls
         for i in $(seq 5); do {ctr} --namespace h2trace-test images ls; {ctr} --namespace h2trace-test containers ls; done
         {ctr} --namespace h2trace-test content ls
         {ctr} --namespace h2trace-test snapshots ls
         {ctr} plugins ls
         {ctr} namespaces rm h2trace-test"
    );
    let mut work = held_script("ctr", &script);
    let tracer = Tracer::start(&[containerd.pid(), work.pid()]);
    work.write_line("go");
    let status = work.wait(RUN);
    assert!(status.success(), "ctr failed{}", work.complaint());

    let mut want = started_calls(&page(&metrics, "/v1/metrics"));
    for (method, n) in &before {
        if let Some(count) = want.get_mut(method) {
            *count -= n;
        }
    }
    want.retain(|_, n| *n > 0);
    let n_calls: u64 = want.values().sum();
    assert!(
        n_calls >= 17,
        "ctr made fewer calls than it was told: {want:?}"
    );
    tracer.wait_for_streams(
        containerd.pid(),
        "server",
        usize::try_from(n_calls).unwrap_or(usize::MAX),
        SETTLE,
    );
    let trace = tracer.finish();
    println!("{want:?}");
    assert_eq!(
        by_method(&trace, containerd.pid()),
        want,
        "streams by method, and containerd's own count"
    );
    let clients = trace
        .streams
        .iter()
        .filter(|stream| stream.role() == Some("client"))
        .count();
    assert_eq!(
        clients as u64, n_calls,
        "streams at the ends of ctr's processes"
    );
    for stream in &trace.streams {
        assert_eq!(stream.outcome(), "ok", "{}", stream.0);
        assert_eq!(stream.grpc_status(), Some(0), "{}", stream.0);
    }
    trace.assert_healthy();
}
