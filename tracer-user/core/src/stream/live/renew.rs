//! A stream in the memory of an earlier one.

use super::conditions::Reported;
use super::{Env, Stream};
use crate::connection::Endpoint;
use crate::frame::StreamId;
use crate::stream::condition::FlowNotes;
use crate::stream::content::Content;
use crate::stream::pair::Pair;
use crate::stream::state::HalfState;
use crate::stream::table::CaughtUp;

impl Stream {
    /// A new stream in the memory of one whose record was made.
    pub(crate) fn renew(&mut self, new_id: StreamId, states: (HalfState, HalfState), env: Env<'_>) {
        // All of it, so that nothing is forgotten.
        let Stream {
            id,
            pid,
            first_at,
            last_at,
            beginning_seen,
            whole,
            pushed,
            request,
            response,
            content,
            trailers_seen,
            trailers_only,
            resets,
            flow,
            reported,
            unprocessed,
            n_blocks,
            blocks_complete,
            story,
            has_story,
            lost_at,
            finished_at,
            windows_at_end,
            stopped_at,
            request_after_reset,
            story_limit_told,
            caught_up,
            is_calm,
            conduct,
        } = self;
        let window = |state: HalfState, sender| match state {
            HalfState::Unseen => None,
            _ => env.flow.initial(sender),
        };
        (*id, *pid) = (new_id, env.context.pid);
        (*first_at, *last_at) = (env.context.at, env.context.at);
        request.renew(states.0, window(states.0, Endpoint::Client));
        response.renew(states.1, window(states.1, Endpoint::Server));
        *content = Content::default();
        *flow = FlowNotes::default();
        *reported = Reported::default();
        *windows_at_end = Pair::default();
        (*whole, *blocks_complete, *n_blocks) = (true, true, 0);
        for flag in [
            beginning_seen,
            pushed,
            trailers_seen,
            trailers_only,
            unprocessed,
            request_after_reset,
            story_limit_told,
        ] {
            *flag = false;
        }
        resets.clear();
        story.clear();
        *has_story = env.shown.stories();
        (*lost_at, *finished_at) = (None, None);
        *caught_up = CaughtUp::default();
        *is_calm = Pair::default();
        *stopped_at = None;
        *conduct = None;
    }
}
