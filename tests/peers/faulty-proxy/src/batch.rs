//! Work that is done together: what comes within a while goes on in the order it came, or in the other one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long the first waits for others.
const WHILE: Duration = Duration::from_millis(2);

/// Those that wait.
#[derive(Clone)]
pub struct Batch {
    waiting: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    last_first: bool,
}

impl Batch {
    pub fn new(last_first: bool) -> Self {
        Batch {
            waiting: Arc::default(),
            last_first,
        }
    }

    /// Waits for those beside it, and for its turn.
    pub async fn turn(&self) {
        let (go, mine) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(go);
            waiting.len() == 1
        };
        if is_first {
            let batch = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(WHILE).await;
                let mut waiting = {
                    let mut waiting = batch.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    std::mem::take(&mut *waiting)
                };
                if batch.last_first {
                    waiting.reverse();
                }
                for go in waiting {
                    go.send(()).ok();
                }
            });
        }
        mine.await.ok();
    }
}
