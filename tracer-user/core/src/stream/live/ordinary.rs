//! A whole DATA frame at once.

use super::{DataProgress, Env, Stream};
use crate::connection::Endpoint;
use crate::frame::DataHead;
use crate::stream::record::EndStreamOn;
use crate::stream::state::HalfState;

impl Stream {
    /// DATA of `sender` may come now, and nothing about it is to be said.
    #[inline]
    pub(crate) fn takes_data(&self, sender: Endpoint) -> bool {
        let is_open = matches!(self.direction(sender).state, HalfState::Open { .. });
        is_open && self.finished_at.is_none() && self.resets.is_empty() && !self.pushed
    }

    /// All of a DATA frame but its END_STREAM, where [`takes_data`](Stream::takes_data) says so.
    #[inline]
    pub(crate) fn whole_data(
        &mut self,
        sender: Endpoint,
        head: DataHead,
        (bytes, hole): (&[u8], u32),
        env: Env<'_>,
    ) {
        let at = env.context.at;
        self.touch(at);
        if sender == Endpoint::Server {
            self.unprocessed = false;
        }
        let judged = env.flow.judges(sender);
        let tells = self.has_story;
        let direction = self.direction_mut(sender);
        direction
            .window
            .spend(head.stream_id, head.flow_len, judged, at);
        let n_begun_before = direction.messages.n_begun();
        direction.messages.bytes(bytes);
        direction.messages.hole(hole);
        let n = (bytes.len() as u64).saturating_add(u64::from(hole));
        direction.frame = tells.then_some(DataProgress {
            bytes: n,
            n_begun_before,
        });
        let half = &mut direction.half;
        half.data_frames = half.data_frames.saturating_add(1);
        if n > 0 {
            half.data_bytes = half.data_bytes.saturating_add(n);
            half.first_data_at.get_or_insert(at);
            half.last_data_at = Some(at);
        }
        if tells {
            self.data_moment(sender, head.end_stream, "", env);
        }
    }

    /// Such a frame had END_STREAM.
    pub(crate) fn data_ends(&mut self, sender: Endpoint, env: Env<'_>) {
        let at = env.context.at;
        let direction = self.direction_mut(sender);
        direction.state = direction.state.on_data_end_stream(at);
        self.ended(sender, true, at, EndStreamOn::Data);
    }
}
