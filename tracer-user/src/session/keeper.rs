//! Keeps the kernel's maps up to date while the programs run, on a thread of its own: neither the cgroup file
//! system nor the pods hold up the loop that drains the ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::confine::{self, Needs};
use crate::kernel::LiveCgroups;
use crate::workload::select::membership::{Change, PodCounts};
use crate::workload::select::{CgroupKind, Membership};

/// How long it may take until a pod that was told of is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often cgroups are read while one is missing that the kernel would not tell of.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// How often they are read although nothing was told.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// How many pods are selected, shared between threads.
#[derive(Clone, Debug, Default)]
pub struct Selected(Arc<Mutex<PodCounts>>);

impl Selected {
    /// As it is now.
    #[must_use]
    pub fn counts(&self) -> PodCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, counts: PodCounts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Keeper {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<(Membership, LiveCgroups)>>,
}

impl Keeper {
    /// From now on `members` go into `maps`; those that it has already are there.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        mut membership: Membership,
        mut maps: LiveCgroups,
        selected: Selected,
    ) -> std::io::Result<Keeper> {
        selected.set(membership.counts());
        let over = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&over);
        let thread = confine::spawn("h2trace-cgroups", Needs::NOTHING, move || {
            let mut refreshed_at = Instant::now();
            while !of_thread.load(Ordering::Relaxed) {
                let told = membership.wait(LOOK_EVERY);
                let every = if membership.is_waiting() && !membership.is_watching() {
                    POLL_EVERY
                } else {
                    REFRESH_EVERY
                };
                if told || refreshed_at.elapsed() >= every {
                    refreshed_at = Instant::now();
                    let change = membership.refresh();
                    put(&mut maps, membership.kind(), &change);
                    tell(&selected.counts(), &membership.counts());
                    selected.set(membership.counts());
                }
            }
            (membership, maps)
        })?;
        Ok(Keeper {
            over,
            thread: Some(thread),
        })
    }
}

impl Keeper {
    /// Ends the thread and gives back what it kept, and the maps.
    #[must_use]
    pub fn finish(mut self) -> Option<(Membership, LiveCgroups)> {
        self.end()
    }

    fn end(&mut self) -> Option<(Membership, LiveCgroups)> {
        self.over.store(true, Ordering::Relaxed);
        // It does not panic; and if it had, the run is over all the same.
        self.thread.take()?.join().ok()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// New members before old ones go: one that is selected by its pod and then by its container stays.
fn put(maps: &mut LiveCgroups, kind: CgroupKind, change: &Change) {
    let added = if change.add.is_empty() {
        Ok(())
    } else {
        maps.add(kind, &change.add)
    };
    let removed = if change.remove.is_empty() {
        Ok(())
    } else {
        maps.remove(kind, &change.remove)
    };
    maps.forget(kind, &change.forget);
    if let Err(error) = added.and(removed) {
        tracing::warn!(%error, "cannot tell the kernel programs which pods are traced");
    }
}

fn tell(before: &PodCounts, now: &PodCounts) {
    if now.known && !before.known {
        tracing::info!(matching = now.matching, "the pods of this node are known");
    }
    if now.beyond > 0 && before.beyond == 0 {
        tracing::warn!(
            beyond = now.beyond,
            "more cgroups of pods are selected than the kernel programs are told of"
        );
    }
    if now.traced != before.traced {
        tracing::debug!(pods = now.traced, "pods are traced");
    }
}
