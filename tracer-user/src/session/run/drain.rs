//! The threads of a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::turns::{Pace, Share, Turns};
use super::{Ended, Next, Plan, Session, Source};
use crate::kernel::RingView;

/// The part of the ring that may wait for a thread that gives way.
const MUCH: f64 = 0.125;

/// A run, for the threads that drain the ring and for who watches them.
pub struct Drain {
    /// None: it is over.
    work: Mutex<Option<Work>>,
    ring: Option<RingView>,
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
            ring: source.ring(),
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

    /// Lets the ordinary thread drain if the other one does not do it in time.
    pub fn look(&self) {
        self.turns.look(Instant::now(), self.fills());
    }

    /// Whether it is seen how full the ring is.
    #[must_use]
    pub fn sees_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// More waits in the ring than should.
    fn fills(&self) -> bool {
        self.fill() > MUCH
    }

    /// The part of the ring that waits.
    fn fill(&self) -> f64 {
        self.ring.as_ref().map_or(0.0, RingView::fill)
    }

    /// One turn, and the pause after it.
    fn turn(&self, own: Share) -> anyhow::Result<Option<Ended>> {
        let mut place = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = place.as_mut() else {
            return Ok(None);
        };
        self.turns.set_due(Instant::now(), Duration::ZERO);
        let (time, for_records) = match work.session.turn(&self.is_stopped, self.fill())? {
            Next::Pause { time, for_records } => (time, for_records),
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
        let is_behind = self.fills() || work.session.source.is_urgent();
        let next = work.pace.next(own, now, is_behind);
        drop(place);
        self.turns.set_due(now, time);
        if next != own && !self.is_stopped.load(Ordering::Relaxed) {
            self.turns.give(next);
        }
        self.pause(time, for_records);
        Ok(None)
    }

    fn pause(&self, time: Duration, for_records: bool) {
        match &self.ring {
            Some(ring) if for_records => ring.wait(time),
            _ if !time.is_zero() => thread::park_timeout(time),
            _ => {}
        }
    }
}
