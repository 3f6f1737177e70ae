//! Changes of the windows of all streams, which each stream catches up with when it is looked at: a peer may send such a
//! change in 15 bytes, as often as it likes, to thousands of streams.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::stream::live::Stream;

/// So many are kept until all streams catch up at once: the walk over them is shared by as many changes.
const KEPT: usize = 64;

/// The windows of what `sender` sends became larger or smaller.
#[derive(Clone, Copy, Debug)]
struct Change {
    sender: Endpoint,
    /// One after the other.
    deltas: [i64; 2],
    at: Timestamp,
}

/// The last changes, and how many there were.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    kept: Vec<Change>,
    n: u32,
}

impl Changes {
    /// One more. True when all streams have to catch up now, after which [`Changes::forget`] is called.
    pub(super) fn add(&mut self, sender: Endpoint, deltas: [i64; 2], at: Timestamp) -> bool {
        self.kept.push(Change { sender, deltas, at });
        self.n = self.n.wrapping_add(1);
        self.kept.len() >= KEPT
    }

    /// How many there were so far: what a new stream knows of.
    pub(super) const fn n(&self) -> u32 {
        self.n
    }

    /// Some stream may not have caught up.
    pub(super) const fn are_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// All streams have caught up.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    /// A stream catches up.
    #[inline]
    pub(super) fn bring(&self, stream: &mut Stream) {
        if stream.n_changes != self.n {
            self.bring_late(stream);
        }
    }

    #[cold]
    fn bring_late(&self, stream: &mut Stream) {
        let missing = self.n.wrapping_sub(stream.n_changes) as usize;
        let known = self.kept.len().saturating_sub(missing);
        for change in self.kept.iter().skip(known) {
            for delta in change.deltas.into_iter().filter(|delta| *delta != 0) {
                stream.add_window(change.sender, delta, change.at);
            }
        }
        stream.n_changes = self.n;
    }
}
