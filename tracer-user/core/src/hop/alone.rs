//! Streams whose other side was not seen, and whether that is worth telling.

use super::downstream::DownstreamRequest;
use super::proxy_state::{Consequence, ProxyState, key};
use super::table::Hops;
use super::{HopStream, OtherSide, ProxyKey, Side};
use crate::field::digest::path;
use crate::limits;
use crate::stream::record::StreamRecord;

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

    /// A stream to the client ended. True when no upstream side was seen, so that there is nothing to wait for.
    pub(super) fn down_ended_alone(&mut self, key: u64) -> bool {
        if self.is_proxy() || self.unfollowed(Side::Upstream).is_some() {
            return false;
        }
        let down = self.downs.get(&key);
        if down.is_some_and(|down| !down.attempts.is_empty()) {
            return false;
        }
        if let Some(down) = self.take(key) {
            self.spare(down);
        }
        true
    }

    /// A stream to a server ended, and nobody asks whether it stands alone.
    pub(super) fn asks_for_no_lone(&self, key: u64) -> bool {
        let may_be_joined = self.is_proxy() || self.ups.contains_key(&key);
        !may_be_joined && self.unfollowed(Side::Downstream).is_none()
    }
}

impl<T: Clone> Hops<T> {
    /// A stream of this process ended, and no other is waited for or looked for: true when that is all.
    pub fn ended_alone(&mut self, proxy: ProxyKey, side: Side, record: &StreamRecord) -> bool {
        if self.across.is_some() {
            return false;
        }
        let Some(known) = self.proxies.get_mut(&proxy) else {
            return true;
        };
        let key = key(record.connection.0, record.stream_id.0);
        let before = known.len();
        let is_alone = match side {
            Side::Downstream => known.down_ended_alone(key),
            Side::Upstream => known.asks_for_no_lone(key),
        };
        self.n_streams = (self.n_streams + known.len()).saturating_sub(before);
        if is_alone && known.connections == [0; 2] {
            self.forget_if_empty(proxy);
        }
        is_alone
    }
}
