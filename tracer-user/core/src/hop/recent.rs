//! Upstream streams that ended lately, kept where several requests could not be told apart.

use std::collections::VecDeque;
use std::sync::Arc;

use super::proxy_state::key;
use crate::event::Timestamp;
use crate::field::digest;
use crate::limits;
use crate::stream::record::StreamRecord;

/// One of them, with what it is compared by: very many are looked at, and few are taken.
#[derive(Debug)]
pub(super) struct RecentStream {
    pub(super) key: u64,
    pub(super) whole: Option<u64>,
    pub(super) path: Option<u64>,
    pub(super) began_at: Timestamp,
    pub(super) record: Arc<StreamRecord>,
}

/// Those of one process.
#[derive(Debug, Default)]
pub(super) struct RecentStreams {
    kept: Option<VecDeque<RecentStream>>,
    /// So many upstream streams went by since they were asked for.
    idle: u32,
    /// The latest end of those that were not kept.
    forgotten: Option<Timestamp>,
}

impl RecentStreams {
    /// There are requests that cannot be told apart: from now on they are kept.
    pub(super) fn keep(&mut self) {
        self.idle = 0;
        self.kept.get_or_insert_default();
    }

    /// An upstream stream went by, and nobody asked for them: after very many nobody will.
    pub(super) fn put_away(&mut self) {
        self.idle = self.idle.saturating_add(1);
        if self.idle > limits::HOP_KEPT_FOR
            && let Some(kept) = self.kept.take()
        {
            let last = kept.iter().map(|stream| stream.record.last_at).max();
            self.forgotten = self.forgotten.max(last);
        }
    }

    /// An upstream stream leaves.
    pub(super) fn add(&mut self, whole: Option<u64>, record: &Arc<StreamRecord>) {
        let gone = match &mut self.kept {
            Some(kept) => {
                kept.push_back(RecentStream {
                    key: key(record.connection.0, record.stream_id.0),
                    whole,
                    path: record.path.as_deref().map(digest::path),
                    began_at: record.request.headers_at.unwrap_or(record.first_at),
                    record: Arc::clone(record),
                });
                let is_full = kept.len() > limits::HOP_RECENT;
                let gone = if is_full { kept.pop_front() } else { None };
                gone.map(|stream| stream.record.last_at)
            }
            None => Some(record.last_at),
        };
        self.forgotten = self.forgotten.max(gone);
    }

    /// Those that are kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RecentStream> {
        self.kept.iter().flatten()
    }

    /// Some that ended since then are not kept.
    pub(super) fn forgot_since(&self, from: Timestamp) -> bool {
        self.forgotten.is_some_and(|last| last >= from)
    }
}
