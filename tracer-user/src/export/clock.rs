//! Wall time for people, from the kernel's monotonic time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use h2trace_core::event::Timestamp;

const NS_PER_S: u64 = 1_000_000_000;

/// Turns CLOCK_MONOTONIC into wall time. The difference is taken once, so that the order of times never
/// turns round when the system's clock is set.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// Wall time, in ns since 1970, at monotonic time 0.
    boot_ns: u64,
}

impl WallClock {
    /// With the difference of now.
    #[must_use]
    pub fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        Self {
            boot_ns: wall_ns.saturating_sub(monotonic_now().0),
        }
    }

    /// With a difference of one's own: for tests and for captures.
    #[must_use]
    pub const fn with_boot(boot_ns: u64) -> Self {
        Self { boot_ns }
    }

    /// The wall time of `at` in ns since 1970.
    #[must_use]
    pub fn unix_ns(self, at: Timestamp) -> u64 {
        self.boot_ns.saturating_add(at.0)
    }

    /// The wall time of `at`.
    #[must_use]
    pub fn at(self, at: Timestamp) -> WallTime {
        let ns = self.unix_ns(at);
        WallTime {
            seconds: ns / NS_PER_S,
            nanos: u32::try_from(ns % NS_PER_S).unwrap_or(0),
        }
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

/// CLOCK_MONOTONIC now, the clock that `bpf_ktime_get_ns` reads.
#[must_use]
pub fn monotonic_now() -> Timestamp {
    Timestamp(now(libc::CLOCK_MONOTONIC))
}

/// How long this thread has run on a processor.
#[must_use]
pub fn thread_now() -> Duration {
    Duration::from_nanos(now(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// How long all threads of this process have run on processors.
#[must_use]
pub fn process_now() -> Duration {
    Duration::from_nanos(now(libc::CLOCK_PROCESS_CPUTIME_ID))
}

/// A clock that every Linux has, in ns.
fn now(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` has room for a `struct timespec`.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NS_PER_S).saturating_add(nanos)
}

/// A wall time. Shown as RFC 3339 in UTC with microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    seconds: u64,
    nanos: u32,
}

impl WallTime {
    /// `12:34:56.789` in the zone of this machine's user.
    #[must_use]
    pub fn local_time_of_day(self) -> String {
        let seconds = libc::time_t::try_from(self.seconds).unwrap_or(0);
        let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: both pointers are valid; localtime_r fills `parts` or leaves its zeros, which are valid too.
        let parts = unsafe {
            libc::localtime_r(&raw const seconds, parts.as_mut_ptr());
            parts.assume_init()
        };
        format!(
            "{:02}:{:02}:{:02}.{:03}",
            parts.tm_hour,
            parts.tm_min,
            parts.tm_sec,
            self.nanos / 1_000_000
        )
    }
}

impl From<SystemTime> for WallTime {
    fn from(time: SystemTime) -> WallTime {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        WallTime {
            seconds: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds / 86_400);
        let of_day = self.seconds % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60,
            self.nanos / 1_000
        )
    }
}

impl serde::Serialize for WallTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are counted
/// from March here, so that the leap day is a year's last (the method of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_rfc_3339() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            let clock = WallClock::with_boot(seconds * NS_PER_S);
            assert_eq!(clock.at(Timestamp(0)).to_string(), want);
        }
        let clock = WallClock::with_boot(1_735_689_599 * NS_PER_S);
        assert_eq!(
            clock.at(Timestamp(1_234_567_890)).to_string(),
            "2025-01-01T00:00:00.234567Z"
        );
    }

    #[test]
    fn wall_clock_agrees_with_the_system() {
        let of_ours = WallClock::new().at(monotonic_now()).seconds;
        let of_system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(of_system.abs_diff(of_ours) <= 1, "{of_ours} {of_system}");
    }
}
