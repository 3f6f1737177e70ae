//! `kill -9` of the tracer under load: the workload does not notice, nothing stays in the kernel, a restart works.

use std::collections::BTreeSet;
use std::time::Duration;

use tracer_tests::call::{Calls, Mode};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::skip::Privileges;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require, scaled};

use crate::{RUN, SETTLE};

/// Ids of the BPF programs that a process holds, by its file descriptors (programs and links).
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("cannot read {folder}: {error}"));
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let ids = texts.filter_map(|text| {
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("prog_id:"))?;
        id.trim().parse().ok()
    });
    ids.collect()
}

/// A program is loaded: `BPF_PROG_GET_FD_BY_ID` finds it.
fn is_loaded(id: u32) -> bool {
    /// `enum bpf_cmd` of linux/bpf.h.
    const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
    // `union bpf_attr`, its member for this command: id, next id, open flags.
    let attributes: [u32; 3] = [id, 0, 0];
    // SAFETY: the kernel reads `size` bytes of `attributes`, which outlive the call, and writes nothing to them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_FD_BY_ID,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    let Ok(fd) = i32::try_from(fd) else {
        return false;
    };
    if fd < 0 {
        return false;
    }
    // SAFETY: the descriptor is ours, just made.
    unsafe { libc::close(fd) };
    true
}

#[test]
fn the_workload_does_not_notice_and_no_program_stays_loaded() {
    require!(Privileges, Peer::GrpcGo1_85);
    let mut server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let n_calls = scaled(5_000, 100_000);
    // Busy from the start to the end, however long the tracers take to come and go.
    let calls = Calls {
        busy: true,
        ..Calls::new(Mode::Unary, n_calls).at_once(20)
    };
    let mut client = Client::start(Peer::GrpcGo1_85, &server.address, &calls);
    let mut tracer = Tracer::start(&[server.pid(), client.pid()]);
    let programs = programs_of(tracer.pid());
    assert!(
        !programs.is_empty(),
        "the tracer holds no program, so the test would show nothing"
    );
    assert!(
        programs.iter().all(|id| is_loaded(*id)),
        "a program of the tracer is not found by its id"
    );
    client.wait_for_calls(1_000, RUN);

    tracer.process.signal(libc::SIGKILL);
    tracer.process.wait(Duration::from_secs(10));
    let unloaded = eventually(Duration::from_secs(10), || {
        !programs.iter().any(|id| is_loaded(*id))
    });
    assert!(unloaded, "programs of the killed tracer stay loaded");

    let restarted = Tracer::start(&[server.pid(), client.pid()]);
    client.go();
    let said = client.wait_until_done(RUN);
    client.close();
    restarted.wait_for_streams(client.pid(), "client", n_calls as usize, SETTLE);
    let failed = said.iter().filter(|call| call.code != 0).count();
    assert_eq!(failed, 0, "calls that failed while tracers came and went");
    assert_eq!(
        server.stop(),
        said.len() as u64,
        "calls that the server handled"
    );
    let trace = restarted.finish();
    let seen = trace.streams_of(client.pid(), "client").count();
    assert!(
        seen >= n_calls as usize,
        "the restarted tracer saw {seen} streams of {n_calls}"
    );
    assert!(
        trace.flagged().is_empty(),
        "a finding in a healthy run: {}",
        trace.flagged()[0].0
    );
}
