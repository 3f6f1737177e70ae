//! The thread that drains the ring leaves the processors to others, as long as it comes round in time that way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tracer_ebpf::http2::frame_type;
use tracer_tests::flood::{Wire, frame};
use tracer_tests::skip::Privileges;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require};

/// The threads that drain, in turn. The second one has `SCHED_IDLE` (sched(7)).
const ORDINARY: &str = "h2trace-drain";
const GIVES_WAY: &str = "h2trace-idle";
const SCHED_IDLE: &str = "5";
/// The ordinary one takes half a minute at most.
const DECIDES: Duration = Duration::from_secs(60);

/// A file of the tracer's thread of this name, in `/proc/PID/task/TID`.
fn of_thread(tracer: &Tracer, name: &str, file: &str) -> Option<String> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", tracer.pid())).ok()?;
    let mut folders = threads.filter_map(|thread| Some(thread.ok()?.path()));
    let is_it = |folder: &std::path::PathBuf| {
        std::fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    std::fs::read_to_string(folders.find(is_it)?.join(file)).ok()
}

/// Field 41 of `stat` (proc(5)).
fn policy(tracer: &Tracer, thread: &str) -> Option<String> {
    let stat = of_thread(tracer, thread, "stat")?;
    let (_, from_third) = stat.rsplit_once(") ")?;
    from_third.split(' ').nth(41 - 3).map(str::to_owned)
}

/// Whether a thread takes turns, before long: it leaves its processor after each, or when it has to.
fn drains(tracer: &Tracer, thread: &str) -> bool {
    let left = || {
        let status = of_thread(tracer, thread, "status")?;
        let counts = status
            .lines()
            .filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
        Some(
            counts
                .filter_map(|(_, n)| n.trim().parse::<u64>().ok())
                .sum(),
        )
    };
    let before: Option<u64> = left();
    eventually(DECIDES, || left() > before.map(|n| n + 2))
}

#[test]
fn it_gives_way_unless_nothing_is_left_for_it() {
    require!(Privileges);
    let tracer = Tracer::with_a_small_ring(&[std::process::id()]);
    assert!(drains(&tracer, GIVES_WAY));
    let policy = policy(&tracer, GIVES_WAY);
    assert_eq!(policy.as_deref(), Some(SCHED_IDLE));
    // More than there are processors: nobody leaves one. And the ring fills meanwhile.
    let n = 2 * thread::available_parallelism().map_or(1, usize::from);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        scope.spawn(|| {
            let priorities = frame(frame_type::PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(1_000);
            let mut wire = Wire::begin().expect("a pair of sockets");
            while !over.load(Ordering::Relaxed) {
                wire.send(&priorities).expect("its other end is here");
            }
        });
        let has_a_share = drains(&tracer, ORDINARY);
        over.store(true, Ordering::Relaxed);
        assert!(has_a_share);
    });
    assert!(drains(&tracer, GIVES_WAY));
}
