//! Who drains the ring: one of two threads, in turn.
//!
//! Draining takes a small part of a processor, but wakes hundreds of times a second, each time in the way of a program
//! that wants to answer. So the thread that does it runs where nobody else wants the processor (SCHED_IDLE, sched(7)), as
//! long as the ring does not fill and nothing gets old that way. Where it does, a thread with an ordinary share takes its
//! place for a while. There are two because a thread without rights can't come back from SCHED_IDLE.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How late the thread may come round: nobody is to wait longer for what is told.
const LATE: Duration = Duration::from_millis(500);

/// Time between two looks at the ring.
const LOOK: Duration = Duration::from_millis(20);

/// How long the ordinary thread drains: twice as long each time that it is needed again soon.
const HURRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32);

/// Soon: within so many times the last hurry.
const SOON: u32 = 4;

/// No moment at which a thread has to come round.
const NEVER: u64 = u64::MAX;

/// What share of the processors a thread has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Share {
    /// What nobody else wants.
    Idle,
    /// That of any thread.
    Ordinary,
}

/// Shared by both threads, and by who watches them.
#[derive(Debug)]
pub(super) struct Turns {
    began: Instant,
    /// The [`Share`] of the thread whose turn it is.
    whose: AtomicU8,
    /// When that thread has to come round, in microseconds from `began`.
    due: AtomicU64,
    is_over: AtomicBool,
    threads: [OnceLock<Thread>; 2],
}

/// How long the turn of the ordinary thread lasts.
#[derive(Debug)]
pub(super) struct Pace {
    last: Share,
    until: Instant,
    hurry: Duration,
}

impl Turns {
    /// The ordinary thread begins.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            whose: AtomicU8::new(Share::Ordinary as u8),
            due: AtomicU64::new(NEVER),
            is_over: AtomicBool::new(false),
            threads: [const { OnceLock::new() }; 2],
        }
    }

    /// The calling thread is the one with this share from now on. False: it can't be.
    pub(super) fn enter(&self, own: Share) -> bool {
        if own == Share::Idle && !become_idle() {
            tracing::debug!("there is no SCHED_IDLE: the ordinary thread drains alone");
            return false;
        }
        self.threads
            .get(own as usize)
            .is_some_and(|thread| thread.set(thread::current()).is_ok())
    }

    /// Waits for the turn of the thread with this share. False: it is over.
    pub(super) fn wait(&self, own: Share) -> bool {
        while !self.is_over() && !self.is_of(own) {
            thread::park();
        }
        !self.is_over()
    }

    pub(super) fn is_of(&self, own: Share) -> bool {
        self.whose.load(Ordering::Acquire) == own as u8
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// There are no more turns.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake();
    }

    /// Wakes who sleeps between two turns, or waits for one.
    pub(super) fn wake(&self) {
        for thread in self.threads.iter().filter_map(OnceLock::get) {
            thread.unpark();
        }
    }

    /// The next turn is that of the thread with this share, if there is one.
    pub(super) fn give(&self, to: Share) {
        let thread = self.threads.get(to as usize).and_then(OnceLock::get);
        if let Some(thread) = thread {
            self.whose.store(to as u8, Ordering::Release);
            thread.unpark();
        }
    }

    /// The thread whose turn it is comes round after `time`.
    pub(super) fn set_due(&self, now: Instant, time: Duration) {
        let due = (now + time + LATE).saturating_duration_since(self.began);
        let due = u64::try_from(due.as_micros()).unwrap_or(NEVER);
        self.due.store(due, Ordering::Release);
    }

    /// When to look after them next: soon after the pause that is taken now.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        let pause = |due: Instant| due.checked_sub(LATE).map(|over| over + LOOK);
        let next = self.due().and_then(pause);
        next.map_or(now + LOOK, |next| next.max(now + LOOK))
    }

    /// None: it did not come round yet.
    fn due(&self) -> Option<Instant> {
        let due = self.due.load(Ordering::Acquire);
        let due = (due != NEVER).then(|| Duration::from_micros(due))?;
        self.began.checked_add(due)
    }

    /// Looks whether the thread whose turn it is comes round in time. `fills`: too much waits for it.
    pub(super) fn look(&self, now: Instant, fills: bool) {
        let is_late = || self.due().is_some_and(|due| now > due);
        if self.is_of(Share::Idle) && (fills || is_late()) {
            self.give(Share::Ordinary);
        }
    }
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: Share::Ordinary,
            until: now,
            hurry: *HURRY.start(),
        }
    }

    /// The thread with this share comes round; `is_behind`: too much is left. Whose turn is next?
    pub(super) fn next(&mut self, own: Share, now: Instant, is_behind: bool) -> Share {
        let comes_back = own == Share::Ordinary && self.last == Share::Idle;
        if comes_back {
            let is_soon = now.saturating_duration_since(self.until) < self.hurry * SOON;
            self.hurry = if is_soon {
                (self.hurry * 2).min(*HURRY.end())
            } else {
                *HURRY.start()
            };
        }
        self.last = own;
        match own {
            Share::Idle if is_behind => return Share::Ordinary,
            Share::Idle => return Share::Idle,
            Share::Ordinary if comes_back || is_behind => self.until = now + self.hurry,
            Share::Ordinary => {}
        }
        if now < self.until {
            Share::Ordinary
        } else {
            Share::Idle
        }
    }
}

/// The calling thread gets what nobody else wants, for ever.
fn become_idle() -> bool {
    let parameter = libc::sched_param { sched_priority: 0 };
    // Not by the C library: that of musl refuses. 0 is the calling thread.
    // SAFETY: one `struct sched_param`, which outlives the call.
    unsafe {
        let parameter = &raw const parameter;
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, parameter) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Share::{Idle, Ordinary};

    const MS: Duration = Duration::from_millis(1);
    const SHORT: Duration = *HURRY.start();

    #[test]
    fn whoever_is_late_or_lets_the_ring_fill_loses_its_turn() {
        let turns = Turns::new();
        let start = turns.began;
        assert!(turns.enter(Ordinary));
        turns.give(Idle);
        assert!(turns.is_of(Ordinary), "there is no other thread");
        thread::scope(|scope| {
            scope.spawn(|| assert!(turns.enter(Idle)));
        });
        turns.give(Idle);
        assert_eq!(
            turns.next_look(start),
            start + LOOK,
            "nobody came round yet"
        );
        turns.set_due(start, 8 * MS);
        turns.look(start + 8 * MS + LATE, false);
        assert!(turns.is_of(Idle), "it is not late yet");
        let now = start + 9 * MS + LATE;
        assert!(turns.next_look(now) > now, "not without a pause");
        turns.look(now, false);
        assert!(turns.is_of(Ordinary));
        turns.give(Idle);
        turns.look(start, true);
        assert!(turns.is_of(Ordinary));
        turns.end();
        assert!(!turns.wait(Ordinary));
    }

    #[test]
    fn hurries_last_longer_when_they_follow_soon() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        assert_eq!(pace.next(Ordinary, now, false), Idle);
        assert_eq!(pace.next(Idle, now, false), Idle);
        now += SHORT * SOON - MS;
        assert_eq!(
            pace.next(Ordinary, now, false),
            Ordinary,
            "it was given the turn"
        );
        assert_eq!(pace.next(Ordinary, now + SHORT * 2 - MS, false), Ordinary);
        now += SHORT * 2;
        assert_eq!(pace.next(Ordinary, now, false), Idle);
        // Much later: as for the first time.
        now += SHORT * 2 * SOON;
        assert_eq!(pace.next(Idle, now, true), Ordinary);
        assert_eq!(pace.next(Ordinary, now, false), Ordinary);
        assert_eq!(pace.next(Ordinary, now + SHORT, false), Idle);
    }

    #[test]
    fn whoever_stays_behind_stays_ordinary() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        for _ in 0..1_000 {
            now += SHORT;
            assert_eq!(pace.next(Ordinary, now, true), Ordinary);
        }
        assert_eq!(pace.next(Ordinary, now + SHORT, false), Idle);
    }
}
