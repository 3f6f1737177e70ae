//! How much of a processor the search takes.

use std::time::{Duration, Instant};

/// So much work may be done at once by who has rested: most processes are searched in one go.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Lets the calling thread have a share of one processor.
pub(super) struct Pace {
    share: f64,
    /// Work that may be done before the next rest.
    credit: f64,
    last: (Instant, Duration),
}

impl Pace {
    pub(super) fn new(share: f64) -> Pace {
        Pace {
            share,
            credit: share * AT_ONCE.as_secs_f64(),
            last: (Instant::now(), worked()),
        }
    }

    /// To be called now and then: rests as long as it has to.
    pub(super) fn keep(&mut self) {
        let now = (Instant::now(), worked());
        let passed = now.0.duration_since(self.last.0);
        let worked = now.1.saturating_sub(self.last.1);
        self.last = now;
        if let Some(rest) = self.rest(passed, worked) {
            std::thread::sleep(rest);
        }
    }

    /// How long to rest after so much time with so much work in it.
    fn rest(&mut self, passed: Duration, worked: Duration) -> Option<Duration> {
        let most = self.share * AT_ONCE.as_secs_f64();
        let earned = self.share * passed.as_secs_f64();
        self.credit = (self.credit + earned - worked.as_secs_f64()).min(most);
        let lacks = -self.credit / self.share;
        // Shorter rests are not worth a system call.
        (lacks > 0.01).then(|| Duration::from_secs_f64(lacks.min(60.0)))
    }
}

/// Processor time of the calling thread.
fn worked() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes one `struct timespec`, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_long_time_the_share_is_kept() {
        for share in [0.01, 0.1, 1.0] {
            let mut pace = Pace::new(share);
            let piece = Duration::from_millis(1);
            let (mut passed, mut worked) = (Duration::ZERO, Duration::ZERO);
            let mut rested = Duration::ZERO;
            for _ in 0..10_000 {
                let rest = pace.rest(piece + rested, piece);
                rested = rest.unwrap_or_default();
                passed += piece + rested;
                worked += piece;
            }
            let at_once = AT_ONCE.mul_f64(share);
            let kept = worked.saturating_sub(at_once).as_secs_f64() / passed.as_secs_f64();
            assert!(kept <= share * 1.01, "{share}: {kept}");
        }
    }

    #[test]
    fn who_has_rested_may_work_at_once() {
        let mut pace = Pace::new(0.01);
        assert_eq!(pace.rest(Duration::from_secs(3_600), Duration::ZERO), None);
        let worked = Duration::from_millis(290);
        assert_eq!(pace.rest(worked, worked), None);
        let rest = pace.rest(worked, worked).unwrap();
        assert!(rest > Duration::from_secs(20), "{rest:?}");
    }
}
