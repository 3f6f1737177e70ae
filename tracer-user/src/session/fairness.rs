//! Who takes more than his share while records are lost.
//!
//! All that is traced shares one ring, and one thread that reads it. As long as both suffice nobody is measured closely.
//! When records are lost for a while, the processes with the most of the thread's time and of the ring give up their
//! largest connections, until what all take together is half: those with less than the others keep theirs. A connection
//! that was let go comes back after a while, and for longer each time that it is one of the largest again.

use std::collections::HashMap;
use std::time::Duration;

use h2trace_core::event::{Event, SocketKey, Timestamp, What};
use h2trace_core::limits::LET_GO_NS;

use crate::export::clock::thread_now;

/// How long use is summed before it is looked at.
const WINDOW_NS: u64 = 50_000_000;

/// Windows in a row in which records must be lost, or more of them with others in between: one may be a burst, or a pause of
/// the reader.
const WINDOWS: u32 = 2;

/// What may be left of all use when the largest have gone.
const KEPT: f64 = 0.5;

/// Events that are measured before anybody is judged by them.
const MEASURED: u32 = 64;

/// One event of so many is measured, and stands for all of them. A prime: where the ends of a connection take turns, each of
/// them is measured.
const EVERY: u32 = 31;

/// One of so many bytes in the ring is always measured, and stands for itself.
const LARGE: usize = 4_096;

/// How often the time for which a connection is let go becomes four times as long.
const LENGTHENED: u32 = 2;

/// How long a process that had to give up connections is remembered.
const REMEMBERED_NS: u64 = 60_000_000_000;

/// Sockets measured in one window, those let go at once, and processes remembered, at most.
const MOST: usize = 4_096;

/// What a socket took, of the processor and of the ring.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    pid: u32,
    ns: u64,
    bytes: u64,
}

/// How often a process had to give up connections, and when it was last.
#[derive(Clone, Copy, Debug)]
struct Conduct {
    times: u32,
    at: Timestamp,
}

/// An event that is measured.
pub(super) struct Measured {
    /// In the time of this thread: it may be interrupted for long meanwhile.
    began: Duration,
    socket: SocketKey,
    pid: u32,
    bytes: usize,
    stands_for: u32,
}

/// Watches who takes how much.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    used: HashMap<SocketKey, Use>,
    /// Events since the last one that was measured.
    n_unmeasured: u32,
    /// Events measured of what is in `used`.
    n_measured: u32,
    window_began: Timestamp,
    n_lost: u64,
    /// Two for each window in which records were lost, and one less for each other.
    losing: u32,
    away: HashMap<SocketKey, Timestamp>,
    conduct: HashMap<u32, Conduct>,
}

impl Fairness {
    /// Its socket was let go: what comes of it was still on its way, and nobody looks at it.
    #[inline]
    pub(super) fn is_passed_over(&self, event: &Event<'_>) -> bool {
        !self.away.is_empty()
            && matches!(event.what, What::Bytes(_) | What::TlsBytes(_))
            && self.away.contains_key(&event.socket)
    }

    /// An event is taken; [`Fairness::end`] wants what this returns.
    #[inline]
    pub(super) fn begin(&mut self, event: &Event<'_>) -> Option<Measured> {
        let bytes = match &event.what {
            What::Bytes(bytes) | What::TlsBytes(bytes) => bytes.encoded.len(),
            _ => 0,
        };
        let stands_for = if bytes >= LARGE {
            1
        } else {
            self.n_unmeasured += 1;
            if self.n_unmeasured < EVERY {
                return None;
            }
            self.n_unmeasured = 0;
            EVERY
        };
        Some(Measured {
            began: thread_now(),
            socket: event.socket,
            pid: event.task.pid,
            bytes: bytes + size_of::<tracer_ebpf::event::Header>(),
            stands_for,
        })
    }

    /// It was taken.
    #[inline]
    pub(super) fn end(&mut self, measured: Option<Measured>) {
        if let Some(measured) = measured {
            self.count(&measured, thread_now().saturating_sub(measured.began));
        }
    }

    fn count(&mut self, measured: &Measured, took: Duration) {
        self.n_measured = self.n_measured.saturating_add(1);
        if self.used.len() >= MOST && !self.used.contains_key(&measured.socket) {
            return;
        }
        let used = self.used.entry(measured.socket).or_default();
        let times = u64::from(measured.stands_for);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Whoever makes the calls; an end comes from no task.
        if measured.pid != 0 {
            used.pid = measured.pid;
        }
        used.ns = used.ns.saturating_add(ns.saturating_mul(times));
        used.bytes += measured.bytes as u64 * times;
    }

    /// Is it time to look at what was taken?
    #[inline]
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.window_began) >= WINDOW_NS
    }

    /// Looks at what was taken since the last time; `n_lost` records did not fit into the ring so far. `gains` says whether
    /// anybody would gain by it who is neither one of these sockets nor the other end of one. Returns who has to go, the
    /// largest first.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        n_lost: u64,
        gains: impl FnOnce(&[SocketKey]) -> bool,
    ) -> Vec<SocketKey> {
        self.window_began = now;
        let lost = n_lost > self.n_lost;
        self.n_lost = n_lost;
        if !lost {
            self.losing = self.losing.saturating_sub(1);
            if self.losing == 0 {
                self.forget();
            }
            return Vec::new();
        }
        self.losing = (self.losing + 2).min(2 * WINDOWS);
        if self.n_measured < MEASURED {
            return Vec::new();
        }
        let shares = self.shares();
        let Excess {
            mut gone,
            mut large,
        } = excess(&shares);
        if self.losing < 2 * WINDOWS {
            // Whoever did it before gets no second chance.
            gone.retain(|socket| self.is_known(socket.pid, now));
        }
        self.forget();
        let Some(least) = gone.iter().map(|socket| socket.part).reduce(f64::min) else {
            return Vec::new();
        };
        // Where all have about as much, nobody would gain; nor would who has been let go. (Who has little may not have been
        // measured at all.)
        large.retain(|socket| socket.part * 2.0 >= least);
        let mut taken: Vec<SocketKey> = large.iter().map(|socket| socket.socket).collect();
        taken.extend(self.away.keys());
        if !gains(&taken) {
            return Vec::new();
        }
        self.losing = 0;
        let mut pids: Vec<u32> = gone.iter().map(|socket| socket.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            self.remember(pid, now);
        }
        gone.truncate(MOST.saturating_sub(self.away.len()));
        for Share { socket, pid, .. } in &gone {
            let times = self.conduct.get(pid).map_or(1, |conduct| conduct.times);
            let time = LET_GO_NS << (2 * times.saturating_sub(1).min(LENGTHENED));
            self.away
                .insert(*socket, Timestamp(now.0.saturating_add(time)));
        }
        gone.into_iter().map(|share| share.socket).collect()
    }

    /// Begins to measure anew.
    fn forget(&mut self) {
        self.used.clear();
        self.n_measured = 0;
    }

    /// Those that may come back.
    pub(super) fn returning(&mut self, now: Timestamp) -> Vec<SocketKey> {
        let over = self.away.extract_if(|_, until| *until <= now);
        over.map(|(socket, _)| socket).collect()
    }

    /// It could not be let go.
    pub(super) fn keep(&mut self, socket: &SocketKey) {
        self.away.remove(socket);
    }

    fn is_known(&self, pid: u32, now: Timestamp) -> bool {
        let conduct = self.conduct.get(&pid);
        conduct.is_some_and(|conduct| now.since(conduct.at) < REMEMBERED_NS)
    }

    fn remember(&mut self, pid: u32, now: Timestamp) {
        if self.conduct.len() >= MOST {
            self.conduct
                .retain(|_, conduct| now.since(conduct.at) < REMEMBERED_NS);
        }
        if self.conduct.len() >= MOST && !self.conduct.contains_key(&pid) {
            return;
        }
        let times = match self.conduct.get(&pid) {
            Some(conduct) if now.since(conduct.at) < REMEMBERED_NS => conduct.times + 1,
            _ => 1,
        };
        self.conduct.insert(pid, Conduct { times, at: now });
    }

    /// What part of all use each socket's is. The largest first.
    fn shares(&self) -> Vec<Share> {
        let (mut ns, mut bytes) = (1, 1);
        for used in self.used.values() {
            ns += used.ns;
            bytes += used.bytes;
        }
        let half = |of: u64, all: u64| of as f64 / all as f64 / 2.0;
        let mut shares: Vec<Share> = self
            .used
            .iter()
            .map(|(socket, used)| Share {
                socket: *socket,
                pid: used.pid,
                part: half(used.ns, ns) + half(used.bytes, bytes),
            })
            .collect();
        shares.sort_unstable_by(|a, b| b.part.total_cmp(&a.part).then(a.socket.cmp(&b.socket)));
        shares
    }
}

/// What part of all use is a socket's: half of it by time and half by bytes.
#[derive(Clone, Copy, Debug)]
struct Share {
    socket: SocketKey,
    pid: u32,
    part: f64,
}

/// What processes have that take more than the others leave them.
struct Excess {
    /// Their largest sockets, as many as bring each of them down to that.
    gone: Vec<Share>,
    /// All of their sockets.
    large: Vec<Share>,
}

/// `shares`: the largest first.
fn excess(shares: &[Share]) -> Excess {
    let mut processes: HashMap<u32, f64> = HashMap::default();
    for share in shares {
        *processes.entry(share.pid).or_default() += share.part;
    }
    let mut sizes: Vec<f64> = processes.values().copied().collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let most = level(&sizes);
    let takes_more = |share: &&Share| processes.get(&share.pid).is_some_and(|size| *size > most);
    let large: Vec<Share> = shares.iter().filter(takes_more).copied().collect();
    let mut gone = Vec::new();
    for share in &large {
        if let Some(size) = processes.get_mut(&share.pid)
            && *size > most
        {
            *size -= share.part;
            gone.push(*share);
        }
    }
    Excess { gone, large }
}

/// The most that each may have so that all together have [`KEPT`]; of `sizes`, the smallest first.
fn level(sizes: &[f64]) -> f64 {
    let mut left = KEPT;
    for (n, size) in sizes.iter().enumerate() {
        let each = left / (sizes.len() - n) as f64;
        if *size > each {
            return each;
        }
        left -= size;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn socket(n: u64) -> SocketKey {
        SocketKey { sk: n, born_ns: 1 }
    }

    struct Driver {
        fairness: Fairness,
        now: Timestamp,
        n_lost: u64,
        /// Sockets that speak HTTP/2, each with the other end of its connection where that is followed too.
        http2: HashMap<SocketKey, Option<SocketKey>>,
    }

    impl Driver {
        /// Somebody whom nobody measures speaks HTTP/2 too.
        fn new() -> Driver {
            Driver::beside(&[999_999], &[])
        }

        /// These sockets speak HTTP/2, and both ends of these connections.
        fn beside(alone: &[u64], pairs: &[(u64, u64)]) -> Driver {
            let mut http2: HashMap<_, _> = alone.iter().map(|n| (socket(*n), None)).collect();
            for (one, other) in pairs {
                http2.insert(socket(*one), Some(socket(*other)));
                http2.insert(socket(*other), Some(socket(*one)));
            }
            Driver {
                fairness: Fairness::default(),
                now: Timestamp(1_000 * MS),
                n_lost: 0,
                http2,
            }
        }

        /// A window in which these (process, socket) took so many microseconds, and so many records were lost.
        fn window(&mut self, took: &[(u32, u64, u64)], lost: u64) -> Vec<SocketKey> {
            for (pid, n, us) in took {
                let measured = Measured {
                    began: Duration::ZERO,
                    socket: socket(*n),
                    pid: *pid,
                    bytes: usize::try_from(*us).unwrap(),
                    stands_for: 1,
                };
                self.fairness.count(&measured, Duration::from_micros(*us));
            }
            self.fairness.n_measured += MEASURED;
            self.now = Timestamp(self.now.0 + WINDOW_NS);
            assert!(self.fairness.is_due(self.now));
            self.n_lost += lost;
            let http2 = &self.http2;
            let mut gone = self.fairness.look(self.now, self.n_lost, |taken| {
                let is_taken = |socket: &SocketKey| taken.contains(socket);
                let is_other = |other: &Option<SocketKey>| other.as_ref().is_some_and(is_taken);
                http2
                    .iter()
                    .any(|(one, other)| !is_taken(one) && !is_other(other))
            });
            gone.sort_unstable();
            gone
        }
    }

    /// Two processes flood each other, a third one makes calls.
    const FLOOD: &[(u32, u64, u64)] = &[(1, 1, 45_000), (2, 2, 45_000), (3, 3, 600), (3, 4, 400)];

    #[test]
    fn who_floods_is_let_go_and_comes_back() {
        let mut driver = Driver::new();
        assert_eq!(driver.window(FLOOD, 9), []);
        assert_eq!(driver.window(FLOOD, 9), [socket(1), socket(2)]);
        assert!(driver.fairness.returning(driver.now).is_empty());
        let later = Timestamp(driver.now.0 + LET_GO_NS);
        let mut back = driver.fairness.returning(later);
        back.sort_unstable();
        assert_eq!(back, [socket(1), socket(2)]);
        assert!(driver.fairness.returning(later).is_empty());
    }

    #[test]
    fn who_does_it_again_goes_at_once_and_for_longer_up_to_a_bound() {
        let mut driver = Driver::new();
        driver.window(FLOOD, 9);
        let mut away = Vec::new();
        for _ in 0..6 {
            assert_eq!(driver.window(FLOOD, 9), [socket(1), socket(2)]);
            let until = driver.fairness.away[&socket(1)];
            away.push(until.since(driver.now) / LET_GO_NS);
            driver.now = until;
            driver.fairness.returning(until);
        }
        assert_eq!(away, [1, 4, 16, 16, 16, 16]);
        // A new socket of the same process is no way out.
        let other = [(1, 7, 90_000), (3, 3, 1_000)];
        assert_eq!(driver.window(&other, 9), [socket(7)]);
        driver.now = Timestamp(driver.now.0 + REMEMBERED_NS);
        assert_eq!(driver.window(FLOOD, 9), []);
    }

    #[test]
    fn nobody_goes_while_nothing_is_lost_or_for_one_burst() {
        let mut driver = Driver::new();
        for lost in [0, 0, 9, 0, 9, 0] {
            assert_eq!(driver.window(FLOOD, lost), []);
        }
    }

    #[test]
    fn few_events_are_no_ground_to_judge_by() {
        let mut driver = Driver::new();
        for n_lost in 1..10 {
            let (took, now) = (Duration::from_millis(9), Timestamp(n_lost * 2 * WINDOW_NS));
            driver.fairness.count(
                &Measured {
                    began: Duration::ZERO,
                    socket: socket(1),
                    pid: 1,
                    bytes: 9,
                    stands_for: EVERY,
                },
                took,
            );
            assert_eq!(driver.fairness.look(now, n_lost, |_| true), []);
        }
    }

    #[test]
    fn a_process_keeps_its_smaller_connections() {
        let mut driver = Driver::new();
        let took: Vec<_> = (1..=10).map(|n| (1, n, 1_000 * n)).collect();
        driver.window(&took, 9);
        // 21 of 55 are left: with the 7th it would be more than half.
        assert_eq!(
            driver.window(&took, 9),
            [socket(7), socket(8), socket(9), socket(10)]
        );
    }

    #[test]
    fn where_nobody_would_gain_nobody_goes() {
        let ends = [(1, 1, 9_000), (1, 2, 1_000)];
        for (took, alone, pairs) in [
            (&[(1, 1, 9_000), (2, 2, 9_000)][..], &[1, 2][..], &[][..]),
            // Nor where both are of one process, and one is a little larger.
            (&[(1, 1, 9_000), (1, 2, 7_000)], &[1, 2], &[]),
            // Nor where they are the ends of one connection, and what was not lost was mostly of one of them, or all.
            (&ends, &[], &[(1, 2)]),
            (&ends[..1], &[], &[(1, 2)]),
            // Nor where that is so of several.
            (
                &[(1, 1, 9_000), (1, 2, 1_000), (3, 3, 9_000), (3, 4, 900)],
                &[],
                &[(1, 2), (3, 4)],
            ),
            // Nor where nobody else speaks HTTP/2.
            (&[(1, 1, 9_000), (1, 2, 7_000)], &[], &[]),
        ] {
            let mut driver = Driver::beside(alone, pairs);
            for _ in 0..5 {
                assert_eq!(driver.window(took, 9), [], "{took:?}");
            }
        }
        // Who goes need not speak HTTP/2.
        let mut driver = Driver::beside(&[3, 4], &[]);
        let took = [(1, 1, 9_000), (1, 2, 7_000)];
        driver.window(&took, 9);
        assert_eq!(driver.window(&took, 9), [socket(1)]);
    }

    /// Its other end is not followed, and is not taken for the one that would gain.
    #[test]
    fn nobody_hides_behind_the_only_one_who_would_gain() {
        let mut driver = Driver::beside(&[1, 3], &[]);
        driver.window(&[(1, 1, 90_000), (3, 3, 900)], 9);
        assert_eq!(
            driver.window(&[(1, 1, 90_000), (3, 3, 900)], 9),
            [socket(1)]
        );
    }

    /// Each of its connections is as small as those of who takes little in all.
    #[test]
    fn nobody_hides_by_many_connections() {
        let flood = (100..1_100).map(|n| (1, n, 50));
        let took: Vec<_> = flood.chain([(3, 3, 60), (3, 4, 60)]).collect();
        let many: Vec<u64> = (100..1_100).collect();
        let mut driver = Driver::beside(&many, &[(3, 4)]);
        driver.window(&took, 9);
        let gone = driver.window(&took, 9);
        assert!(gone.len() > 400, "{}", gone.len());
        assert!(gone.iter().all(|gone| gone.sk >= 100));
    }

    /// All who would gain are the other ends of who was let go before.
    #[test]
    fn nobody_has_to_go_for_the_other_ends_of_a_flood() {
        let mut driver = Driver::beside(&[], &[(1, 2), (3, 4), (5, 6)]);
        let flood = [(1, 1, 45_000), (3, 3, 45_000), (5, 5, 500), (5, 6, 500)];
        driver.window(&flood, 9);
        assert_eq!(driver.window(&flood, 9), [socket(1), socket(3)]);
        let left = [(2, 2, 100), (4, 4, 100), (5, 5, 9_000), (5, 6, 9_000)];
        for _ in 0..5 {
            assert_eq!(driver.window(&left, 9), []);
        }
    }

    #[test]
    fn many_small_ones_are_no_match_for_a_large_one() {
        let mut driver = Driver::new();
        let mut took: Vec<_> = (10..60_u32).map(|n| (n, n.into(), 1_000)).collect();
        took.push((1, 1, 60_000));
        driver.window(&took, 9);
        assert_eq!(driver.window(&took, 9), [socket(1)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut driver = Driver::new();
        for round in 0..4_u32 {
            let ids = 0..2 * u32::try_from(MOST).unwrap();
            let ids = ids.map(|n| n + round * 100_000);
            let took: Vec<_> = ids.map(|n| (n, n.into(), 10 + u64::from(n % 2))).collect();
            driver.window(&took, 9);
        }
        let fairness = &driver.fairness;
        assert!(fairness.away.len() <= MOST && fairness.conduct.len() <= MOST);
        assert!(fairness.away.len() > MOST / 4);
    }
}
