//! Members of a filter that come and go while the kernel programs run: the cgroups of pods.

use std::{fs, os::fd::AsRawFd, os::unix::fs::MetadataExt, path::PathBuf, process};

use h2trace::kernel::{Filter, Hooks, LiveCgroups, Options};
use h2trace::workload::cgroup;
use h2trace::workload::select::CgroupKind;
use h2trace_core::event::{Direction, EndCause};
use tracer_ebpf::counter::Counter;
use tracer_tests::require;

use super::{
    capture::{Capture, Tracing, assert_is, own},
    io::{pair, pass},
    wire::{PREFACE, call, settings},
};

/// A v2 cgroup of this test's own. When it is dropped this process is back where it was, and the cgroup gone.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
    home: PathBuf,
}

impl Cgroup {
    pub(crate) fn new(name: &str) -> Option<Cgroup> {
        let mount = cgroup::mount_point()?;
        let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let path = mount.join(format!("h2trace-test-{}-{name}", process::id()));
        fs::create_dir(&path).expect("mkdir");
        let home = mount.join(own.trim_start_matches('/'));
        Some(Cgroup { path, home })
    }

    fn id(&self) -> u64 {
        fs::metadata(&self.path).expect("cgroup").ino()
    }

    /// Moves this process into it.
    fn enter(&self) {
        enter(&self.path);
    }

    pub(crate) fn leave(&self) {
        enter(&self.home);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.leave();
        drop(fs::remove_dir(&self.path));
    }
}

fn enter(path: &std::path::Path) {
    fs::write(path.join("cgroup.procs"), process::id().to_string()).expect("cgroup.procs");
}

pub(crate) fn opening() -> Vec<u8> {
    [PREFACE.to_vec(), settings()].concat()
}

/// Traces this process where `filter` wants it.
pub(crate) fn start(filter: Filter) -> (Capture, LiveCgroups) {
    let filter = Filter {
        pids: vec![process::id()],
        ..filter
    };
    let mut capture = Capture::with(&Options { filter, ..own() });
    let live = capture.tracer.take_live_cgroups().expect("given once");
    assert!(capture.tracer.take_live_cgroups().is_none());
    (capture, live)
}

pub(crate) fn no_pod_yet() -> Filter {
    Filter {
        pods: Some(Vec::new()),
        ..Filter::default()
    }
}

#[test]
fn no_pod_selected_is_nothing_traced() {
    require!(Tracing);
    let (mut capture, _live) = start(no_pod_yet());
    let (client, server) = pair("ipv4");
    for _ in 0..3 {
        pass(&client, &server, &opening());
    }
    assert!(!capture.knows(&client) && !capture.knows(&server));
    assert_eq!(capture.count(Counter::Calls), 0);
    assert_eq!(capture.count(Counter::BytesCopied), 0);
    assert!(capture.count(Counter::CallsSkipped) >= 4);
}

#[test]
fn pod_added_later_is_traced_from_its_first_byte_and_until_it_is_removed() {
    require!(Tracing);
    let (mut capture, mut live) = start(no_pod_yet());
    let Some(pod) = Cgroup::new("pod") else {
        return;
    };
    let Some(other) = Cgroup::new("other") else {
        return;
    };
    let calls = [call(1, 20), call(3, 20)].concat();
    // Before it was added its connections are refused, and taken up in the middle afterwards.
    pod.enter();
    let (early, early_server) = pair("ipv4");
    pass(&early, &early_server, &opening());
    assert_eq!(capture.count(Counter::BytesCopied), 0);
    live.add(CgroupKind::Pod, &[pod.id()]).expect("added");
    pass(&early, &early_server, &calls);
    assert_is(capture.of(&early).stream(Direction::Tx), &calls, false);
    assert!(!capture.of(&early).open.from_start);
    // One that is opened afterwards is seen whole.
    let (client, server) = pair("ipv4");
    let whole = [opening(), calls.clone()].concat();
    pass(&client, &server, &opening());
    // What happens to other members does not touch it.
    live.add(CgroupKind::Pod, &[other.id()]).expect("added");
    pass(&client, &server, &call(1, 20));
    live.forget(CgroupKind::Pod, &[other.id()]);
    assert_eq!(live.count(CgroupKind::Pod), 1);
    pass(&client, &server, &call(3, 20));
    for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
        let seen = capture.of(end);
        assert!(seen.open.from_start);
        assert_is(seen.stream(direction), &whole, true);
        assert_eq!(seen.ends, []);
    }
    // Nothing is copied once it is removed, and that is told once, whatever its calls return.
    live.remove(CgroupKind::Pod, &[pod.id()]).expect("removed");
    let copied = capture.count(Counter::BytesCopied);
    for _ in 0..3 {
        let mut byte = [0_u8; 1];
        // SAFETY: one byte of room; nothing waits, so the call fails at once.
        let n = unsafe {
            libc::recv(
                client.as_raw_fd(),
                byte.as_mut_ptr().cast(),
                1,
                libc::MSG_DONTWAIT,
            )
        };
        assert_eq!(n, -1);
    }
    capture.drain();
    // At the exit of system calls one that fails is not looked at: the next one tells it.
    let at_once = capture.tracer.hooks() == Hooks::SocketTracepoints;
    if at_once {
        assert_eq!(capture.of(&client).ends, [EndCause::Closed]);
    }
    let copied_of_end = capture.count(Counter::BytesCopied) - copied;
    pass(&client, &server, &calls);
    pass(&early, &early_server, &calls);
    for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
        assert_eq!(capture.of(end).ends, [EndCause::Closed]);
        assert_eq!(capture.of(end).stream(direction).bytes.len(), whole.len());
    }
    // Four ends were told, and no byte of a call.
    if at_once {
        let copied_of_all = capture.count(Counter::BytesCopied) - copied;
        assert_eq!(copied_of_all, 4 * copied_of_end);
    }
    capture.assert_no_loss(&[]);
}

#[test]
fn member_far_above_the_task_is_found_and_its_neighbour_is_not() {
    require!(Tracing);
    let (mut capture, mut live) = start(no_pod_yet());
    let Some(pod) = Cgroup::new("deep") else {
        return;
    };
    let below = ["a", "b", "c"].iter().fold(pod.path.clone(), |path, name| {
        let path = path.join(name);
        fs::create_dir(&path).expect("mkdir");
        path
    });
    let Some(neighbour) = Cgroup::new("neighbour") else {
        return;
    };
    live.add(CgroupKind::Pod, &[pod.id()]).expect("added");
    neighbour.enter();
    let (unwanted, its_server) = pair("ipv4");
    pass(&unwanted, &its_server, &opening());
    assert!(!capture.knows(&unwanted));
    assert_eq!(capture.count(Counter::BytesCopied), 0);
    enter(&below);
    let (wanted, its_server) = pair("ipv4");
    pass(&wanted, &its_server, &opening());
    assert!(capture.knows(&wanted));
    pod.leave();
    for path in below.ancestors().take(3) {
        fs::remove_dir(path).expect("rmdir");
    }
}

#[test]
fn excluded_cgroup_is_not_copied_and_all_else_is() {
    require!(Tracing);
    let Some(excluded) = Cgroup::new("excluded") else {
        return;
    };
    let (mut capture, mut live) = start(Filter {
        excluded: Some(vec![excluded.id()]),
        ..Filter::default()
    });
    let (before, before_server) = pair("ipv4");
    pass(&before, &before_server, &opening());
    assert!(capture.knows(&before));
    let copied = capture.count(Counter::BytesCopied);
    excluded.enter();
    let (client, server) = pair("ipv4");
    pass(&client, &server, &opening());
    assert!(!capture.knows(&client));
    assert_eq!(capture.count(Counter::BytesCopied), copied);
    live.remove(CgroupKind::Excluded, &[excluded.id()])
        .expect("removed");
    pass(&client, &server, &call(1, 20));
    assert!(capture.knows(&client));
    // Excluded while it is followed: it is over.
    live.add(CgroupKind::Excluded, &[excluded.id()])
        .expect("added");
    pass(&client, &server, &call(3, 20));
    assert_eq!(
        capture.of(&client).stream(Direction::Tx).bytes.len(),
        call(1, 20).len()
    );
}

/// A pod filter and a cgroup filter are two kinds: both must hold.
#[test]
fn pod_and_cgroup_are_joined_by_and() {
    require!(Tracing);
    let Some(pod) = Cgroup::new("both") else {
        return;
    };
    for (cgroups, wanted) in [(vec![pod.id()], true), (vec![u64::MAX], false)] {
        let (mut capture, _live) = start(Filter {
            cgroups,
            pods: Some(vec![pod.id()]),
            ..Filter::default()
        });
        pod.enter();
        let (client, server) = pair("ipv4");
        pass(&client, &server, &opening());
        assert_eq!(capture.knows(&client), wanted);
        pod.leave();
    }
}
