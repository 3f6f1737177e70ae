//! Frames as nearly all are, taken whole: what the steps of such a frame do one after the other.

use super::{Context, StreamTable};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::{DataHead, DataPiece, HeaderBlock, Step, StreamId};
use crate::limits::Limit;
use crate::stream::live::Env;
use crate::stream::rate::Counted;
use crate::stream::record::StreamEvent;

impl StreamTable {
    /// A whole DATA frame without padding: its bytes, and behind them so many that were only counted.
    pub(crate) fn data(
        &mut self,
        sender: Endpoint,
        head: DataHead,
        (bytes, hole): (&[u8], u32),
        context: Context,
    ) {
        let (id, at) = (head.stream_id, context.at);
        if self.over {
            return;
        }
        self.pass_time(at);
        let is_ordinary = !self.watch.control.has_processed_reset(sender, id)
            && self
                .streams
                .get(id)
                .is_some_and(|stream| stream.takes_data(sender));
        if !is_ordinary {
            return self.data_by_steps(sender, head, (bytes, hole), context);
        }
        self.watch.on_frame(sender);
        self.flow.on_frame(sender, at);
        self.watch.control.on_frame(sender, at);
        self.count(sender, Counted::Data, at);
        self.flow.on_data(sender, id, head.flow_len, at);
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let env = Env {
            flow: &self.flow,
            shown: &self.shown,
            role: self.role,
            context,
        };
        stream.whole_data(sender, head, (bytes, hole), env);
        if stream.take_story_limit() {
            self.out.push_back(StreamEvent::Limit(Limit::StoryMoments));
        }
        let due = stream.breach_due();
        if let Some(due) = due {
            self.look_by(due);
        }
        self.look_out(at);
        if head.end_stream {
            // What its header began was looked at before its end.
            self.pass_time(at);
            self.on(id, context, |stream, env| stream.data_ends(sender, env));
            self.look_out(at);
        }
    }

    fn data_by_steps(
        &mut self,
        sender: Endpoint,
        head: DataHead,
        (bytes, hole): (&[u8], u32),
        context: Context,
    ) {
        let stream_id = head.stream_id;
        self.step(sender, &Step::DataBegin(head), context);
        let bytes = (!bytes.is_empty()).then(|| DataPiece::copy_of(bytes));
        let hole = (hole > 0).then_some(DataPiece::Hole(hole));
        for piece in bytes.into_iter().chain(hole) {
            self.step(sender, &Step::DataBody { stream_id, piece }, context);
        }
        self.step(sender, &Step::DataEnd(head), context);
    }

    /// HEADERS without priority fields.
    pub(crate) fn headers_frame(
        &mut self,
        sender: Endpoint,
        id: StreamId,
        end_stream: bool,
        block: &HeaderBlock,
        context: Context,
    ) {
        let at = context.at;
        if self.over {
            return;
        }
        self.pass_time(at);
        self.watch.on_frame(sender);
        self.flow.on_frame(sender, at);
        self.watch.control.on_frame(sender, at);
        self.observe_headers(sender, id, None, block, at);
        self.headers(sender, id, end_stream, block, context);
        self.look_out(at);
    }

    /// Time passes: mostly nothing is due.
    #[inline]
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        let is_due = |due: Option<Timestamp>| due.is_some_and(|due| due <= now);
        let lingering = self.lingering.queue.front();
        if lingering.is_some_and(|(due, _)| *due <= now)
            || is_due(self.doubt_at)
            || is_due(self.condition_timers.next_at)
            || !self.watch.ledger.is_idle()
        {
            self.advance(now);
        }
    }
}
