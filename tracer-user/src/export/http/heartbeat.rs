//! Sign of life of the run: what `/healthz` and `/readyz` say.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::export::clock::WallTime;
use crate::workload::kubernetes::state::{PodNameSource, Reach, State};

/// The drain loop is late beyond this: not ready.
const READY_AGE: Duration = Duration::from_secs(5);

/// The drain loop hangs beyond this: not healthy, restart it.
const HEALTHY_AGE: Duration = Duration::from_secs(30);

/// Sign of life of the drain loop, shared with the thread it runs on.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    attached: AtomicBool,
    beat_ms: AtomicU64,
    waiting: Mutex<Option<String>>,
    /// How it stands with who names the pods. It never makes the tracer unready: tracing goes on without.
    pods: OnceLock<Arc<State>>,
}

impl Heartbeat {
    /// Beats now; nothing is attached yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            attached: AtomicBool::new(false),
            beat_ms: AtomicU64::new(0),
            waiting: Mutex::new(None),
            pods: OnceLock::new(),
        }
    }

    /// Says from now on who names the pods.
    pub fn show_pods(&self, state: Arc<State>) {
        // Whoever said it first is right.
        drop(self.pods.set(state));
    }

    /// The drain loop is alive.
    pub fn beat(&self) {
        let age = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(age, Ordering::Relaxed);
    }

    /// All kernel programs are attached, or no longer.
    pub fn set_attached(&self, attached: bool) {
        self.attached.store(attached, Ordering::Relaxed);
    }

    /// What has to come before it does what it shall, and why it has not.
    pub fn set_waiting(&self, why: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Something has to come first.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Time since the last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started
            .elapsed()
            .saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }

    /// Why it is not ready; None when it is.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if !self.attached.load(Ordering::Relaxed) {
            return Some("the kernel programs are not attached\n".to_owned());
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.late(READY_AGE)
            .or_else(|| waiting.as_ref().map(|why| format!("{why}\n")))
    }

    /// Why it is not healthy; None when it is.
    #[must_use]
    pub fn unhealthy(&self) -> Option<String> {
        self.late(HEALTHY_AGE)
    }

    /// What is said when all is well: who names the pods, and since when not.
    #[must_use]
    pub fn remark(&self) -> String {
        let Some(state) = self.pods.get() else {
            return "ok\n".to_owned();
        };
        let who = match (state.api(), state.active_source()) {
            (_, PodNameSource::Api) => "the API server".to_owned(),
            (Reach::Lost { since, why }, PodNameSource::Cri) => {
                format!(
                    "the container runtime since {}: {why}",
                    WallTime::from(since)
                )
            }
            (_, PodNameSource::Cri) => "the container runtime".to_owned(),
            (Reach::Lost { since, why }, PodNameSource::None) => {
                return format!(
                    "ready; pods are named from cache since {}: {why}\n",
                    WallTime::from(since)
                );
            }
            (_, PodNameSource::None) => return self.remark_of_runtime(&state.cri()),
        };
        format!("ready; pods are named by {who}\n")
    }

    fn remark_of_runtime(&self, cri: &Reach) -> String {
        match cri {
            Reach::Lost { since, why } => {
                format!(
                    "ready; pods are named from cache since {}: {why}\n",
                    WallTime::from(*since)
                )
            }
            _ => "ready; pods have no names yet\n".to_owned(),
        }
    }

    fn late(&self, bound: Duration) -> Option<String> {
        let age = self.age();
        (age > bound).then(|| {
            format!(
                "the kernel programs' records were last read {:.1} s ago\n",
                age.as_secs_f64()
            )
        })
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::kubernetes::state::{Reason, Trouble};

    #[test]
    fn ready_without_who_names_pods_and_says_so() {
        let heartbeat = Heartbeat::new();
        heartbeat.set_attached(true);
        assert_eq!(heartbeat.remark(), "ok\n");
        let state = Arc::new(State::default());
        heartbeat.show_pods(Arc::clone(&state));
        assert_eq!(heartbeat.remark(), "ready; pods have no names yet\n");
        state.api_answers();
        assert_eq!(
            heartbeat.remark(),
            "ready; pods are named by the API server\n"
        );
        state.api_fails(Trouble {
            reason: Reason::Unreachable,
            said: "the API server cannot be reached: refused".into(),
        });
        let remark = heartbeat.remark();
        assert!(
            remark.starts_with("ready; pods are named from cache since 20"),
            "{remark}"
        );
        assert!(
            remark.ends_with("Z: the API server cannot be reached: refused\n"),
            "{remark}"
        );
        state.cri_answers();
        let remark = heartbeat.remark();
        assert!(
            remark.starts_with("ready; pods are named by the container runtime since 20"),
            "{remark}"
        );
        assert_eq!((heartbeat.unready(), heartbeat.unhealthy()), (None, None));
    }

    #[test]
    fn late_drain_loop_is_not_healthy() {
        let Some(started) = Instant::now().checked_sub(HEALTHY_AGE * 2) else {
            return;
        };
        let heartbeat = Heartbeat {
            started,
            attached: AtomicBool::new(true),
            beat_ms: AtomicU64::new(0),
            waiting: Mutex::new(None),
            pods: OnceLock::new(),
        };
        assert!(
            heartbeat
                .unhealthy()
                .is_some_and(|why| why.contains("last read 60."))
        );
        heartbeat.beat();
        assert_eq!((heartbeat.unhealthy(), heartbeat.unready()), (None, None));
    }
}
