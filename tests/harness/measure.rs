//! What benches measure.

use std::time::Duration;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::pipeline::{Output, Sink};

/// Counts the streams of which the pipeline tells, and keeps none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamCount {
    /// Streams that ended.
    pub streams: u32,
    /// Findings that are suspicious or worse.
    pub loud: u32,
}

impl Sink for StreamCount {
    fn accept(&mut self, output: &Output) {
        let findings = match output {
            Output::Stream { findings, .. } => {
                self.streams += 1;
                &findings[..]
            }
            Output::Finding { finding, .. } => std::slice::from_ref(finding),
            _ => &[],
        };
        let loud = |found: &&Finding| found.verdict >= Verdict::Suspicious;
        self.loud += u32::try_from(findings.iter().filter(loud).count()).unwrap_or(u32::MAX);
    }
}

/// How long this thread has run on a processor: other programs on the machine disturb it less than the clock.
///
/// # Panics
/// When the kernel does not count it.
#[must_use]
pub fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime(2) writes one timespec, and `time` is one.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the kernel counts no processor time");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// How long all threads of a process have run on a processor.
#[must_use]
pub fn used_by(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let stats = tasks.into_iter().flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(stats.sum())
}

/// Waits until a process has worked off what waits for it.
///
/// # Panics
/// When it never is.
pub fn until_idle(pid: u32) {
    /// How much it still does in half a second when nothing is left to do.
    const IDLE: Duration = Duration::from_millis(20);
    let idle = crate::eventually(Duration::from_secs(180), || {
        let before = used_by(pid);
        std::thread::sleep(Duration::from_millis(500));
        used_by(pid).saturating_sub(before) <= IDLE
    });
    assert!(idle, "process {pid} is not done with it");
}
