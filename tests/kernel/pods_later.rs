//! Pods that come and go while the kernel programs run: directories of real v2 cgroups, named as the kubelet names
//! them, and real processes in them.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use h2trace::session::{Keeper, Selected};
use h2trace::workload::pod::{Container, Pod};
use h2trace::workload::pods::Pods;
use h2trace::workload::select::{CgroupKind, Membership, Selection};
use h2trace_core::event::Direction;
use tracer_ebpf::counter::Counter;
use tracer_tests::skip::Program;
use tracer_tests::{eventually, free_port, require};

use super::{
    capture::{Capture, Tracing},
    pods::{Cgroup, no_pod_yet, opening, start},
};

fn uid(n: u32) -> String {
    format!("2c48913c-b29f-11e7-9350-{n:012x}")
}

fn pod(n: u32, namespace: &str) -> Pod {
    Pod {
        uid: uid(n),
        namespace: namespace.into(),
        name: format!("cart-{n}"),
        ..Pod::default()
    }
}

/// The kubelet's part of a node: below a cgroup of this test's own.
struct Node {
    root: Cgroup,
    pods: Arc<Pods>,
}

impl Node {
    fn new(name: &str) -> Option<Node> {
        let root = Cgroup::new(name)?;
        fs::create_dir(root.path.join("kubepods")).expect("mkdir");
        fs::create_dir(root.path.join("kubepods/burstable")).expect("mkdir");
        let pods = Arc::default();
        Some(Node { root, pods })
    }

    fn path(&self, n: u32) -> PathBuf {
        let pod = format!("kubepods/burstable/pod{}", uid(n));
        self.root.path.join(pod)
    }

    /// Traces the pods of namespace shop, with `containers` alone if there are any.
    fn trace(&self, containers: &[&str]) -> (Capture, Keeper, Selected) {
        let selection = Selection {
            namespaces: vec!["shop".into()],
            containers: containers.iter().map(|name| (*name).into()).collect(),
            ..Selection::default()
        };
        let root = self.root.path.clone();
        let membership = Membership::new(selection, Arc::clone(&self.pods), root);
        let (capture, live) = start(no_pod_yet());
        let selected = Selected::default();
        let keeper = Keeper::start(membership, live, selected.clone()).expect("thread");
        (capture, keeper, selected)
    }
}

impl Drop for Node {
    /// Also what a test left that failed.
    fn drop(&mut self) {
        self.root.leave();
        clear(&self.root.path);
    }
}

/// Removes the cgroups below one.
fn clear(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
            drop(fs::remove_dir(entry.path()));
        }
    }
}

/// A program in a cgroup, from its first instruction on.
fn run_in(cgroup: &Path, program: &[&str]) -> Child {
    let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    Command::new("/bin/sh")
        .args(["-c", enter])
        .arg(cgroup)
        .args(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh")
}

/// A server in no pod, until it is dropped.
struct Nghttpd(Child, u16);

impl Nghttpd {
    fn start() -> Nghttpd {
        let port = free_port();
        let server = Command::new("nghttpd")
            .args(["--no-tls", "--address", "127.0.0.1", "--htdocs", "/"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("nghttpd");
        let server = Nghttpd(server, port);
        assert!(eventually(Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        }));
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/proc/version", self.1)
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const CURL: [&str; 4] = ["curl", "--silent", "--http2-prior-knowledge", "--fail"];

/// The kubelet makes a pod's cgroup, then its sandbox, then its container: 100 ms at the least.
const UNTIL_FIRST_PROCESS: Duration = Duration::from_millis(100);

#[test]
fn first_request_of_a_pod_that_starts_later_is_seen_whole_and_nobody_elses() {
    require!(Tracing, Program("curl"), Program("nghttpd"));
    let Some(node) = Node::new("later") else {
        return;
    };
    let (mut capture, keeper, selected) = node.trace(&[]);
    let server = Nghttpd::start();
    let url = server.url();
    node.pods.replace([pod(1, "bank")]);
    fs::create_dir(node.path(1)).expect("mkdir");
    assert!(eventually(Duration::from_secs(5), || selected
        .counts()
        .known));
    let mut stranger = run_in(&node.path(1), &[&CURL[..], &[&url]].concat());
    assert!(stranger.wait().expect("curl").success());
    capture.drain();
    assert_eq!(capture.seen.len(), 0);
    // The server and the stranger: looked at, and not one byte of them copied.
    assert_eq!(capture.count(Counter::BytesCopied), 0);
    assert!(capture.count(Counter::SocketsUnwanted) >= 2);
    for n in 2..7 {
        node.pods.put(pod(n, "shop"));
        fs::create_dir(node.path(n)).expect("mkdir");
        std::thread::sleep(UNTIL_FIRST_PROCESS);
        let mut curl = run_in(&node.path(n), &[&CURL[..], &[&url]].concat());
        assert!(curl.wait().expect("curl").success());
        capture.drain();
        let seen = capture.seen.last().expect("its connection");
        assert_eq!(seen.open.comm, "curl");
        assert!(seen.open.from_start);
        assert_eq!(seen.stream(Direction::Tx).gaps, []);
        assert_eq!(capture.seen.len(), n as usize - 1);
        fs::remove_dir(node.path(n)).expect("rmdir");
        node.pods.remove(&uid(n));
    }
    fs::remove_dir(node.path(1)).expect("rmdir");
    drop(server);
    assert!(keeper.finish().is_some());
    capture.assert_no_loss(&[]);
}

/// How long it takes from the pod's directory to its membership: told, not polled.
#[test]
fn new_pod_is_a_member_long_before_its_first_process() {
    require!(Tracing);
    let Some(node) = Node::new("soon") else {
        return;
    };
    let (_capture, keeper, selected) = node.trace(&[]);
    node.pods.replace((0..20).map(|n| pod(n, "shop")));
    let mut took: Vec<Duration> = (0..20)
        .map(|n| {
            let made = Instant::now();
            fs::create_dir(node.path(n)).expect("mkdir");
            while selected.counts().traced <= n as usize {
                assert!(made.elapsed() < Duration::from_secs(5));
                std::thread::yield_now();
            }
            made.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!(
        "from mkdir to member: median {:?}, worst {:?}",
        took[10], took[19]
    );
    assert!(took[10] < Duration::from_millis(20), "{took:?}");
    for n in 0..20 {
        fs::remove_dir(node.path(n)).expect("rmdir");
    }
    drop(keeper);
}

#[test]
fn two_hundred_pods_come_and_go_and_leave_nothing() {
    require!(Tracing);
    let Some(node) = Node::new("churn") else {
        return;
    };
    let Some(steady) = Cgroup::new("steady") else {
        return;
    };
    let (mut capture, keeper, selected) = node.trace(&["app"]);
    let mut steady_pod = pod(1_000, "shop");
    steady_pod.containers = vec![container("app", "")];
    steady_pod.is_specified = true;
    node.pods.replace([steady_pod]);
    fs::create_dir(node.path(1_000)).expect("mkdir");
    assert!(eventually(Duration::from_secs(5), || selected
        .counts()
        .traced
        == 1));
    // One connection lives through all of it.
    fs::write(
        node.path(1_000).join("cgroup.procs"),
        std::process::id().to_string(),
    )
    .expect("move");
    let (client, server) = super::io::pair("ipv4");
    super::io::pass(&client, &server, &opening());
    let id = "5d3ae4a1b9e0d8f6c7b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29181f2e3d4c";
    let watches_before = inotify_watches();
    for batch in 0..20 {
        for n in batch * 10..batch * 10 + 10 {
            let mut pod = pod(n, "shop");
            pod.containers = vec![container("app", id), container("envoy", "")];
            node.pods.put(pod);
            fs::create_dir(node.path(n)).expect("mkdir");
            fs::create_dir(node.path(n).join(id)).expect("mkdir");
        }
        super::io::pass(&client, &server, &super::wire::call(2 * batch + 1, 20));
        assert!(eventually(Duration::from_secs(5), || selected
            .counts()
            .traced
            == 11));
        for n in batch * 10..batch * 10 + 10 {
            fs::remove_dir(node.path(n).join(id)).expect("rmdir");
            fs::remove_dir(node.path(n)).expect("rmdir");
            node.pods.remove(&uid(n));
        }
        assert!(eventually(Duration::from_secs(5), || selected
            .counts()
            .traced
            == 1));
    }
    assert_eq!(inotify_watches(), watches_before);
    let seen = capture.of(&client);
    assert_eq!(seen.stream(Direction::Tx).gaps, []);
    assert_eq!(seen.ends, []);
    let (_membership, mut maps) = keeper.finish().expect("kept");
    assert_eq!(maps.count(CgroupKind::Pod), 1);
    assert_eq!(maps.count(CgroupKind::Excluded), 0);
    capture.assert_no_loss(&[]);
    steady.leave();
    fs::remove_dir(node.path(1_000)).expect("rmdir");
}

fn container(name: &str, id: &str) -> Container {
    Container {
        name: name.into(),
        id: id.into(),
    }
}

/// Watches of all inotify descriptors of this process (proc(5), fdinfo).
fn inotify_watches() -> usize {
    fs::read_dir("/proc/self/fdinfo")
        .expect("fdinfo")
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with("inotify "))
                .count()
        })
        .sum()
}
