//! The windows of what each end of a stream sends.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::FrameKind;
use crate::stream::flow::Flow;
use crate::stream::live::{Env, Stream};
use crate::stream::record::Windows;
use crate::stream::state::HalfState;
use crate::stream::story::Note;

impl Stream {
    /// WINDOW_UPDATE of this stream: its sender gives its peer more to send.
    pub(crate) fn window_update(&mut self, sender: Endpoint, increment: u32, env: Env<'_>) {
        self.touch(env.context.at);
        self.add_window(sender.peer(), i64::from(increment), env.context.at);
        if increment == 0 {
            self.zero_increment(sender, env.context.at);
        }
        self.moment(
            sender,
            FrameKind::WindowUpdate,
            Note::Increment(increment),
            env,
        );
    }

    /// The window of what `sender` sends changes.
    pub(crate) fn add_window(&mut self, sender: Endpoint, delta: i64, at: Timestamp) {
        let id = self.id;
        let direction = self.direction_mut(sender);
        // Whoever has nothing more to send has no window.
        let is_over = matches!(direction.state, HalfState::Ended(_));
        if !is_over || !direction.window.overflows(delta) {
            direction.window.add(id, delta, at);
        }
    }

    /// What changes the window of what `sender` sends may have gone by unseen.
    pub(crate) fn window_unknown(&mut self, sender: Endpoint) {
        self.direction_mut(sender).window.forget();
    }

    /// Since when the server could send nothing of the response, because a window was used up.
    pub(super) fn response_blocked_since(&self, flow: &Flow) -> Option<Timestamp> {
        let stream = self.response.window.used_up_since();
        let connection = flow.window(Endpoint::Server).used_up_since();
        stream.into_iter().chain(connection).min()
    }

    pub(super) fn windows(&self, sender: Endpoint, flow: &Flow) -> Windows {
        let stream = match sender {
            Endpoint::Client => self.request.window.left(),
            Endpoint::Server => self.response.window.left(),
        };
        Windows {
            stream,
            connection: flow.connection(sender),
        }
    }
}
