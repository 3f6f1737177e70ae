//! Whose credentials are checked next. A check costs something, here or at the API server, and anybody may ask for one:
//! each peer has one at a time, and waits after a wrong one, so that who guesses holds up nobody but himself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::served::Peer;

/// How long a peer whose credentials were wrong waits for his next check.
pub(super) const WRONG_PAUSE: Duration = Duration::from_millis(500);

/// Checks at once.
const CHECKS: usize = 2;

/// The turns of all peers.
pub(super) struct Turns {
    checks: Semaphore,
    /// Those who have one, or wait for it: no more than are served.
    by_peer: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            checks: Semaphore::new(CHECKS),
            by_peer: Mutex::default(),
        }
    }
}

impl Turns {
    /// What `check` says, when it is this peer's turn.
    pub(super) async fn check<T>(
        &self,
        peer: Peer,
        check: impl AsyncFnOnce() -> T,
        is_right: impl FnOnce(&T) -> bool,
    ) -> T {
        let own = self.of(peer);
        // They are never closed: each is a turn.
        let _own_turn = own.acquire().await;
        let said = {
            let _turn = self.checks.acquire().await;
            check().await
        };
        if !is_right(&said) {
            tokio::time::sleep(WRONG_PAUSE).await;
        }
        said
    }

    fn of(&self, peer: Peer) -> Arc<Semaphore> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        by_peer.retain(|_, turn| Arc::strong_count(turn) > 1);
        let new = || Arc::new(Semaphore::new(1));
        Arc::clone(by_peer.entry(peer).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use h2trace_core::limits;

    use super::*;

    #[tokio::test]
    async fn who_guesses_holds_up_himself_alone() {
        let turns = Arc::new(Turns::default());
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        let guesses: Vec<_> = (0..limits::HTTP_CONNECTIONS)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move {
                    let guessed = turns.check(peer("10.0.0.66"), async || false, |is| *is);
                    guessed.await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert!(turns.check(peer("10.0.0.1"), async || true, |is| *is).await);
        assert!(began.elapsed() < WRONG_PAUSE, "{:?}", began.elapsed());
        assert!(guesses.iter().filter(|guess| guess.is_finished()).count() <= 1);
        assert_eq!(turns.by_peer.lock().unwrap().len(), 2);
        guesses.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
