//! How closely streams are followed where there is not the time for all of it.

use super::table::StreamTable;
use crate::connection::ConnectionId;
use crate::frame::StreamId;

/// One stream of so many is followed as closely as ever.
const SAMPLED: u64 = 64;

/// How closely streams are followed. Whatever it is, each of them is counted, and judged by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// With their stories, and the two sides of a proxy are joined.
    #[default]
    Whole,
    /// Without either: stories are kept of a sample alone.
    Counts,
}

/// This stream is of the sample that is followed as closely as ever.
#[must_use]
pub const fn is_sampled(connection: ConnectionId, stream: StreamId) -> bool {
    // A client takes every other id; and many connections carry one stream each.
    (connection.0 + (stream.0 >> 1) as u64).is_multiple_of(SAMPLED)
}

impl StreamTable {
    /// Does not tell the openings of streams, so that their fields are not digested.
    pub fn without_openings(&mut self) {
        self.openings_off = true;
    }

    /// From now on its streams are followed so closely.
    #[inline]
    pub(crate) fn set_depth(&mut self, depth: Depth) {
        self.depth = depth;
    }

    /// Somebody asks for the openings of streams.
    #[inline]
    pub(super) fn tells_openings(&self) -> bool {
        !self.openings_off && self.depth == Depth::Whole
    }

    /// The story of a stream that opens now is kept.
    #[inline]
    pub(super) fn tells_story(&self, id: StreamId) -> bool {
        self.shown.stories() && (self.depth == Depth::Whole || is_sampled(self.connection, id))
    }
}
