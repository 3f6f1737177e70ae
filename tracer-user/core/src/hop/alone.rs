//! Streams whose other side was not seen, and whether that is worth telling.

use super::downstream::DownstreamRequest;
use super::proxy_state::{Consequence, ProxyState};
use super::{HopStream, OtherSide, Side};
use crate::field::digest::path;
use crate::limits;

impl<T> ProxyState<T> {
    /// A request without an upstream stream may have gone on over what is not followed. Whether that is to be
    /// told: of each path once, and of each request that did not end well.
    pub(super) fn tells_alone(&mut self, down: &DownstreamRequest<T>, ended_well: bool) -> bool {
        self.unfollowed(Side::Upstream).is_some()
            && !down.opening.connect
            && self.tells(Side::Downstream, down.opening.path, ended_well)
    }

    /// The same of an upstream stream.
    pub(super) fn tells_lone(&mut self, path: Option<u64>, ended_well: bool) -> bool {
        self.unfollowed(Side::Downstream).is_some() && self.tells(Side::Upstream, path, ended_well)
    }

    fn tells(&mut self, side: Side, path: Option<u64>, ended_well: bool) -> bool {
        // The two sides of one path are two.
        let path = path.map(|path| path ^ side.index() as u64);
        let is_new = path.is_some_and(|path| {
            self.told.len() < limits::HOP_PATHS && self.told.insert(path, ()).is_none()
        });
        is_new || !ended_well
    }

    /// What connections of this side speak that are not followed.
    pub(super) fn unfollowed(&self, side: Side) -> Option<OtherSide> {
        self.unfollowed.get(side.index()).copied().flatten()
    }

    /// A stream that the process opened has ended, and no request is seen that it was opened for.
    pub(super) fn lone_ended(&mut self, ended: HopStream<T>, ended_well: bool) -> Consequence<T> {
        let path = ended.record.path.as_deref().map(path);
        if self.tells_lone(path, ended_well) {
            Consequence::Lone(ended)
        } else {
            Consequence::Nothing
        }
    }
}
