//! How it stands with what names the pods: for metrics, for `/readyz` and for the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Why pods cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No service account, or a kubeconfig that cannot be used.
    NoAccess,
    /// 401: the API server does not know the token.
    Unauthorized,
    /// 403: the role does not allow it.
    Forbidden,
    /// 410: what was told since is no longer kept; all pods are listed anew.
    Expired,
    /// No answer.
    Unreachable,
    /// Any other answer.
    Other,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Reason; 6] = [
        Reason::NoAccess,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::Expired,
        Reason::Unreachable,
        Reason::Other,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::NoAccess => "no_access",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::Expired => "expired",
            Reason::Unreachable => "unreachable",
            Reason::Other => "other",
        }
    }
}

/// Why it failed, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The sort.
    pub reason: Reason,
    /// In words, with the remedy.
    pub said: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// How it stands with one of the two that know the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// It is not asked.
    #[default]
    Off,
    /// It has not answered yet.
    Asking,
    Connected {
        since: SystemTime,
    },
    /// It does not answer.
    Lost {
        since: SystemTime,
        why: Trouble,
    },
}

impl Reach {
    #[must_use]
    pub const fn connected(&self) -> bool {
        matches!(self, Reach::Connected { .. })
    }
}

/// Who names the pods now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PodNameSource {
    /// The API server.
    Api,
    /// The container runtime.
    Cri,
    /// Nobody: what was told before still counts.
    None,
}

impl PodNameSource {
    pub const ALL: [PodNameSource; 3] =
        [PodNameSource::Api, PodNameSource::Cri, PodNameSource::None];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PodNameSource::Api => "api",
            PodNameSource::Cri => "cri",
            PodNameSource::None => "none",
        }
    }
}

/// How it stands, shared between threads.
#[derive(Debug, Default)]
pub struct State {
    api: Mutex<Reach>,
    cri: Mutex<Reach>,
    errors: [AtomicU64; Reason::ALL.len()],
    unnamed: AtomicU64,
    containers_forgotten: AtomicU64,
    cri_calls: AtomicU64,
}

impl State {
    /// How it stands with the API server.
    #[must_use]
    pub fn api(&self) -> Reach {
        lock(&self.api).clone()
    }

    /// How it stands with the container runtime.
    #[must_use]
    pub fn cri(&self) -> Reach {
        lock(&self.cri).clone()
    }

    /// Who names the pods now.
    #[must_use]
    pub fn active_source(&self) -> PodNameSource {
        if lock(&self.api).connected() {
            PodNameSource::Api
        } else if lock(&self.cri).connected() {
            PodNameSource::Cri
        } else {
            PodNameSource::None
        }
    }

    /// Failures of the watch so far.
    #[must_use]
    pub fn errors(&self, reason: Reason) -> u64 {
        self.errors
            .get(reason as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Connections of pods that were not named when they were opened.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.unnamed.load(Ordering::Relaxed)
    }

    /// Times that all containers were forgotten because there were too many.
    #[must_use]
    pub fn containers_forgotten(&self) -> u64 {
        self.containers_forgotten.load(Ordering::Relaxed)
    }

    /// Times that the container runtime was asked.
    #[must_use]
    pub fn cri_calls(&self) -> u64 {
        self.cri_calls.load(Ordering::Relaxed)
    }

    pub(crate) fn count_unnamed(&self) {
        self.unnamed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_containers_forgotten(&self) {
        self.containers_forgotten.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_cri_call(&self) {
        self.cri_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn api_asked(&self) {
        asked(&mut lock(&self.api));
    }

    pub(crate) fn cri_asked(&self) {
        asked(&mut lock(&self.cri));
    }

    /// True when it did not before.
    pub(crate) fn api_answers(&self) -> bool {
        answers(&mut lock(&self.api))
    }

    /// True when it did not before.
    pub(crate) fn cri_answers(&self) -> bool {
        answers(&mut lock(&self.cri))
    }

    /// True when that is new.
    pub(crate) fn api_fails(&self, why: Trouble) -> bool {
        if let Some(counter) = self.errors.get(why.reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        fails(&mut lock(&self.api), why)
    }

    /// True when that is new.
    pub(crate) fn cri_fails(&self, why: Trouble) -> bool {
        fails(&mut lock(&self.cri), why)
    }

    /// Counts a list that had to be made anew; the API server answers all the same.
    pub(crate) fn api_expired(&self) {
        if let Some(counter) = self.errors.get(Reason::Expired as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn lock(reach: &Mutex<Reach>) -> std::sync::MutexGuard<'_, Reach> {
    reach.lock().unwrap_or_else(PoisonError::into_inner)
}

fn asked(reach: &mut Reach) {
    if *reach == Reach::Off {
        *reach = Reach::Asking;
    }
}

fn answers(reach: &mut Reach) -> bool {
    if reach.connected() {
        return false;
    }
    *reach = Reach::Connected {
        since: SystemTime::now(),
    };
    true
}

fn fails(reach: &mut Reach, why: Trouble) -> bool {
    let since = match &*reach {
        Reach::Lost { since, why: before } => {
            if *before == why {
                return false;
            }
            *since
        }
        _ => SystemTime::now(),
    };
    *reach = Reach::Lost { since, why };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(said: &str) -> Trouble {
        Trouble {
            reason: Reason::Unreachable,
            said: said.to_owned(),
        }
    }

    #[test]
    fn each_change_is_told_once() {
        let state = State::default();
        assert_eq!(
            (state.api(), state.active_source()),
            (Reach::Off, PodNameSource::None)
        );
        state.api_asked();
        assert_eq!(state.api(), Reach::Asking);
        assert!(state.api_fails(trouble("refused")));
        assert!(!state.api_fails(trouble("refused")));
        assert!(state.api_fails(trouble("forbidden")));
        assert!(state.api_answers() && !state.api_answers());
        assert_eq!(state.active_source(), PodNameSource::Api);
        assert!(state.api_fails(trouble("refused")));
        assert_eq!(state.errors(Reason::Unreachable), 4);
        assert!(state.cri_answers());
        assert_eq!(state.active_source(), PodNameSource::Cri);
    }

    #[test]
    fn another_cause_does_not_change_since_when_it_is_lost() {
        let state = State::default();
        let since = |state: &State| match state.api() {
            Reach::Lost { since, .. } => since,
            reach => panic!("{reach:?}"),
        };
        state.api_fails(trouble("refused"));
        let first = since(&state);
        state.api_fails(trouble("forbidden"));
        assert_eq!(since(&state), first);
    }
}
