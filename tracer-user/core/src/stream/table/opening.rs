//! How a stream comes to be followed.

use super::{Context, StreamTable};
use crate::connection::Endpoint;
use crate::frame::StreamId;
use crate::limits;
use crate::stream::depth::Depth;
use crate::stream::ids::initiator;
use crate::stream::live::Env;
use crate::stream::record::StreamEvent;
use crate::stream::state::HalfState;

impl StreamTable {
    /// Makes sure that the stream is followed. False: it has ended already, or is none.
    /// `opening`: the frame is the request's HEADERS.
    pub(super) fn follow(
        &mut self,
        id: StreamId,
        sender: Endpoint,
        opening: bool,
        context: Context,
    ) -> bool {
        if self.streams.contains(id) {
            return true;
        }
        if id == StreamId(0) || self.ids.is_over(id) {
            return false;
        }
        // Where nothing was missed before, and where the request begins, nothing can have come before. Else
        // it is late: anything may have.
        let before = if opening || !self.ids.may_be_unseen(id) {
            HalfState::Idle
        } else {
            HalfState::Unseen
        };
        self.open(id, before, before, context);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.pushed = initiator(id) == Endpoint::Server;
        }
        if opening && sender == Endpoint::Client {
            self.mark_unprocessed(id, context.at);
        }
        true
    }

    pub(super) fn open(
        &mut self,
        id: StreamId,
        request: HalfState,
        response: HalfState,
        context: Context,
    ) {
        while self.streams.len() >= limits::STREAMS_PER_CONNECTION {
            self.evict(context.at);
        }
        let env = Env {
            flow: &self.flow,
            shown: &self.shown,
            role: self.role,
            context,
        };
        self.streams.insert(id, (request, response), env);
        if self.depth != Depth::Whole
            && !self.tells_story(id)
            && let Some(stream) = self.streams.get_mut(id)
        {
            stream.has_story = false;
        }
        self.condition_timers.opened = Some(id);
        self.go_aways.on_open(id);
        let connection = self.connection;
        self.out.push_back(StreamEvent::Opened {
            connection,
            stream_id: id,
            at: context.at,
        });
    }
}
