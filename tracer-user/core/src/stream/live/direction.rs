//! One direction of a stream.

use crate::stream::flow::Window;
use crate::stream::grpc::length_prefix::MessageReader;
use crate::stream::record::Half;
use crate::stream::state::HalfState;
use crate::stream::table::Context;

/// The DATA frame that is going by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataProgress {
    /// Its data so far.
    pub(super) bytes: u64,
    /// Messages that had begun before it.
    pub(super) n_begun_before: u64,
}

/// One direction of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamDirection {
    /// Where it is in the life of a stream.
    pub(crate) state: HalfState,
    /// What is handed on in the end.
    pub(crate) half: Half,
    pub(crate) messages: MessageReader,
    /// What its sender may still send on the stream.
    pub(crate) window: Window,
    /// The DATA frame that is going by.
    pub(crate) frame: Option<DataProgress>,
}

impl StreamDirection {
    /// Nothing of it was seen yet.
    pub(super) fn new(state: HalfState, window: Option<i64>) -> Self {
        StreamDirection {
            state,
            half: Half {
                data_known: state == HalfState::Idle,
                ..Half::default()
            },
            messages: MessageReader::new(),
            window: Window::new(window),
            frame: None,
        }
    }

    /// The same in the memory of an earlier one.
    pub(super) fn renew(&mut self, new_state: HalfState, left: Option<i64>) {
        let StreamDirection {
            state,
            half,
            messages,
            window,
            frame,
        } = self;
        *state = new_state;
        *half = Half {
            data_known: new_state == HalfState::Idle,
            ..Half::default()
        };
        messages.renew();
        *window = Window::new(left);
        *frame = None;
    }

    /// The next byte of DATA is the first. `keeps_stray`: bytes of bodies may be kept.
    pub(super) fn begin(&mut self, context: Context, keeps_stray: bool) {
        self.half.headers_at = Some(context.at);
        self.half.tid = context.tid;
        if self.half.data_frames == 0 {
            self.half.data_known = true;
            self.messages.begin(keeps_stray);
        }
    }

    /// Frames may have gone by unseen.
    pub(super) fn lose(&mut self) {
        self.state = self.state.on_loss();
        if !matches!(self.state, HalfState::Ended(_)) {
            self.half.data_known = false;
            self.messages.lose();
        }
        self.frame = None;
    }
}
