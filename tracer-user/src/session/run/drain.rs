//! The threads of a run.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::turns::{Pace, Share, Turns};
use super::{Ended, Next, Plan, Session, Source};

/// A run, for the threads that drain the ring and for who watches them.
pub struct Drain {
    /// None: it is over.
    work: Mutex<Option<Work>>,
    bell: Option<OwnedFd>,
    turns: Turns,
    is_stopped: AtomicBool,
}

struct Work {
    session: Session,
    pace: Pace,
}

impl Drain {
    /// A run that is about to begin.
    #[must_use]
    pub fn new(source: Box<dyn Source>, plan: Plan) -> Self {
        Self {
            bell: source.bell(),
            work: Mutex::new(Some(Work {
                session: Session::new(source, plan),
                pace: Pace::new(Instant::now()),
            })),
            turns: Turns::new(),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Ends it, from another thread.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.turns.give(Share::Ordinary);
        self.turns.wake();
    }

    /// Drains until it is stopped, the time is over, the limit is reached or the reader has gone; then prints the summary.
    /// Everything is printed when it returns. One thread calls this as the ordinary one, and another one may at the same time
    /// as the idle one. None: the other one says what was seen.
    ///
    /// # Errors
    /// The records cannot be read any more.
    pub fn run(&self, own: Share) -> anyhow::Result<Option<Ended>> {
        if !self.turns.enter(own) {
            return Ok(None);
        }
        while self.turns.wait(own) {
            if let Some(ended) = self.turn(own).transpose() {
                self.turns.end();
                return ended.map(Some);
            }
        }
        Ok(None)
    }

    /// When to [`look`](Drain::look) next.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        self.turns.next_look(Instant::now())
    }

    /// Lets the ordinary thread drain if the other one is late.
    pub fn look(&self) {
        self.turns.look(Instant::now());
    }

    /// One turn, and the pause after it.
    fn turn(&self, own: Share) -> anyhow::Result<Option<Ended>> {
        let mut place = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = place.as_mut() else {
            return Ok(None);
        };
        self.turns.set_due(Instant::now(), Duration::ZERO);
        let (time, for_bell) = match work.session.turn(&self.is_stopped)? {
            Next::Pause { time, for_bell } => (time, for_bell),
            Next::Over(_) if own == Share::Idle => {
                // What is left to do is not to wait for others.
                self.turns.give(Share::Ordinary);
                return Ok(None);
            }
            Next::Over(reason) => {
                let work = place.take();
                return work.map(|work| work.session.finish(reason)).transpose();
            }
        };
        let now = Instant::now();
        let next = work.pace.next(own, now, work.session.n_records);
        drop(place);
        self.turns.set_due(now, time);
        if next != own && !self.is_stopped.load(Ordering::Relaxed) {
            self.turns.give(next);
        }
        self.pause(time, for_bell);
        Ok(None)
    }

    fn pause(&self, time: Duration, for_bell: bool) {
        let Some(bell) = self.bell.as_ref().filter(|_| for_bell) else {
            if !time.is_zero() {
                thread::park_timeout(time);
            }
            return;
        };
        let mut bell = libc::pollfd {
            fd: bell.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let time = time.as_millis().try_into().unwrap_or(libc::c_int::MAX);
        // Whatever it returns, records are looked for next: an error (EINTR) only makes the pause shorter.
        // SAFETY: one valid pollfd, and the descriptor is open.
        unsafe { libc::poll(&raw mut bell, 1, time) };
    }
}
