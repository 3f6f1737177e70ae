//! How closely streams are followed, where there is not the time for all of it.

use super::analysis::Analysis;
use super::{Depth, Pipeline};
use crate::event::Timestamp;

impl Pipeline {
    /// From now on streams are followed so closely. Of what was in flight when that changed some is not said, and of none
    /// of it what is not so.
    pub fn set_depth(&mut self, depth: Depth, now: Timestamp) {
        if depth != self.depth {
            self.depth = depth;
            self.analysis.set_depth(depth, now);
        }
    }

    /// Records did not fit into the ring, until now, and it is not known whose: whatever ends without a word of where it
    /// stood may have said more.
    pub fn records_were_lost(&mut self, now: Timestamp) {
        self.analysis.records_lost_at = Some(now);
    }
}

impl Analysis {
    fn set_depth(&mut self, depth: Depth, now: Timestamp) {
        match depth {
            Depth::Whole => self.hops.come_back(now),
            Depth::Counts => self.hops.leave(now),
        }
    }
}
