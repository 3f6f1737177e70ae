//! Bearer tokens of those who ask: the API server says whether they may, and for a while that is remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use h2trace_core::limits;

use super::guard::Permit;
use super::served::Peer;
use super::turns::Turns;
use crate::workload::kubernetes::{Review, Reviewer};

/// For how long who may goes on to be let in: as long as the components of Kubernetes do not ask again.
const ALLOWED: Duration = Duration::from_secs(60);

/// For how long who may not is refused without a new question.
const REFUSED: Duration = Duration::from_secs(10);

/// What is known of tokens. They themselves are not kept.
pub(super) struct Tokens {
    reviewer: Reviewer,
    known: Mutex<KnownTokens>,
    keys: [RandomState; 2],
    /// It was said that the API server does not answer.
    silent: AtomicBool,
}

#[derive(Default)]
struct KnownTokens(HashMap<[u64; 2], (Permit, Instant)>);

impl KnownTokens {
    fn get(&self, token: &[u64; 2], now: Instant) -> Option<Permit> {
        let (permit, at) = self.0.get(token)?;
        let lasts = match permit {
            Permit::Given => ALLOWED,
            _ => REFUSED,
        };
        (now.duration_since(*at) < lasts).then_some(*permit)
    }

    fn put(&mut self, token: [u64; 2], permit: Permit, now: Instant) {
        if self.0.len() >= limits::TOKENS_REVIEWED {
            // Made-up ones first, or who makes them up would have those forgotten that are let in.
            let oldest = self.0.iter();
            let oldest = oldest.min_by_key(|(_, (permit, at))| (*permit == Permit::Given, *at));
            if let Some(token) = oldest.map(|(token, _)| *token) {
                self.0.remove(&token);
            }
        }
        self.0.insert(token, (permit, now));
    }
}

impl Tokens {
    pub(super) fn new(reviewer: Reviewer) -> Tokens {
        Tokens {
            reviewer,
            known: Mutex::default(),
            keys: Default::default(),
            silent: AtomicBool::new(false),
        }
    }

    /// Whether who holds `token` may get `path`.
    pub(super) async fn permit(
        &self,
        turns: &Turns,
        peer: Peer,
        token: &str,
        path: &str,
    ) -> Permit {
        let hashed = self.keys.each_ref().map(|key| key.hash_one((token, path)));
        if let Some(permit) = self.known(&hashed) {
            return permit;
        }
        let ask = async || {
            // Another connection of the same peer may have asked meanwhile.
            if let Some(permit) = self.known(&hashed) {
                return permit;
            }
            let permit = self.ask(token, path).await;
            if permit != Permit::Unknown {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.put(hashed, permit, Instant::now());
            }
            permit
        };
        // That the API server does not answer is not the fault of who asks, but asking again at once would not help it.
        turns
            .check(peer, ask, |permit| *permit == Permit::Given)
            .await
    }

    fn known(&self, hashed: &[u64; 2]) -> Option<Permit> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hashed, Instant::now())
    }

    async fn ask(&self, token: &str, path: &str) -> Permit {
        match self.reviewer.review(token, path).await {
            Ok(review) => {
                self.silent.store(false, Ordering::Relaxed);
                match review {
                    Review::Allowed => Permit::Given,
                    Review::Forbidden => Permit::Forbidden,
                    Review::Unknown => Permit::Unauthorized,
                }
            }
            Err(why) => {
                if !self.silent.swap(true, Ordering::Relaxed) {
                    tracing::warn!("bearer tokens of scrapers cannot be checked: {why}");
                }
                Permit::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in_is_not_forgotten_for_made_up_tokens() {
        let mut known = KnownTokens::default();
        let now = Instant::now();
        known.put([0, 0], Permit::Given, now);
        for n in 1..=2 * limits::TOKENS_REVIEWED as u64 {
            known.put([n, n], Permit::Unauthorized, now + Duration::from_millis(n));
        }
        assert_eq!(known.0.len(), limits::TOKENS_REVIEWED);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(known.get(&[0, 0], at(59)), Some(Permit::Given));
        assert_eq!(known.get(&[0, 0], at(61)), None);
        let last = 2 * limits::TOKENS_REVIEWED as u64;
        assert_eq!(known.get(&[last, last], at(3)), Some(Permit::Unauthorized));
        assert_eq!(known.get(&[last, last], at(13)), None);
        assert_eq!(known.get(&[1, 1], at(3)), None);
    }
}
