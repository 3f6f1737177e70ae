//! One stream while it is followed.

pub(super) mod conditions;
mod conduct;
pub(super) mod direction;
mod fields;
mod ordinary;
mod renew;
mod telling;
mod windows;

pub(super) use conduct::View;

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::field::{Known, Shown};
use crate::frame::{DataHead, DataPiece, ErrorCode, FrameKind, HeaderBlock, StreamId};
use crate::limits;
use crate::stream::condition::FlowNotes;
use crate::stream::content::{self, Content};
use crate::stream::fields::Section;
use crate::stream::flow::Flow;
use crate::stream::live::conditions::Reported;
use crate::stream::live::direction::{DataProgress, StreamDirection};
use crate::stream::pair::Pair;
use crate::stream::phase;
use crate::stream::record::{
    EndStreamOn, RequestPhase, Reset, ResponsePhase, Seen, StreamEnd, Windows,
};
use crate::stream::state::HalfState;
use crate::stream::story::{Note, Story};
use crate::stream::table::{CaughtUp, Context};
use crate::stream::violation::Conduct;

/// How long after a client's RST_STREAM the server's own END_STREAM, recorded at the server's end, still
/// counts as sent before it. The record of a send is made when the call returns, and the thread that
/// sends may be preempted in the call: the client gets the response, resets, and another thread of the
/// server reads that reset, before the send is recorded. A server that has *processed* the reset sends no
/// END_STREAM at all, so counting it is safe; the time is that of a few scheduler slices.
pub(super) const CROSSING_NS: u64 = 20_000_000;

/// What a step needs to know besides the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Env<'a> {
    /// The connection's windows.
    pub(super) flow: &'a Flow,
    /// What may be shown.
    pub(super) shown: &'a Shown,
    /// The role of the observed end.
    pub(super) role: Option<Endpoint>,
    /// When, and by whom.
    pub(super) context: Context,
}

/// How far both sides are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Phases {
    pub(super) request: Option<RequestPhase>,
    pub(super) response: Option<ResponsePhase>,
}

/// One stream while it is followed.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) pid: u32,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) beginning_seen: bool,
    pub(super) whole: bool,
    pub(super) pushed: bool,
    /// What the client sends (of a pushed stream: what the PUSH_PROMISE says it would have sent).
    pub(super) request: StreamDirection,
    /// What the server sends.
    pub(super) response: StreamDirection,
    pub(super) content: Content,
    pub(super) trailers_seen: bool,
    pub(super) trailers_only: bool,
    pub(super) resets: Vec<Reset>,
    pub(super) flow: FlowNotes,
    /// What was told of it while it stood.
    reported: Reported,
    /// A GOAWAY said that it was not processed, and nothing came back.
    pub(super) unprocessed: bool,
    pub(super) n_blocks: u32,
    pub(super) blocks_complete: bool,
    pub(super) story: Story,
    /// It is kept.
    pub(super) has_story: bool,
    /// When the gap came after which no frame was seen yet.
    pub(super) lost_at: Option<Timestamp>,
    /// When it was finished; it lingers since.
    pub(super) finished_at: Option<Timestamp>,
    pub(super) windows_at_end: Pair<Windows>,
    /// Where both sides were when a reset or the end of the connection stopped them.
    pub(super) stopped_at: Option<Phases>,
    /// The request's HEADERS were recorded after the server's reset.
    request_after_reset: bool,
    story_limit_told: bool,
    /// Changes of all streams' windows that it has caught up with.
    pub(super) caught_up: CaughtUp,
    /// Frames of that end were lost, and nothing happened on the stream since.
    pub(super) is_calm: Pair<bool>,
    /// Rules that were broken on it.
    pub(super) conduct: Option<Box<Conduct>>,
}

impl Stream {
    /// A stream whose halves are in these states.
    pub(super) fn new(id: StreamId, request: HalfState, response: HalfState, env: Env<'_>) -> Self {
        let window = |state: HalfState, sender| match state {
            HalfState::Unseen => None,
            _ => env.flow.initial(sender),
        };
        Stream {
            id,
            pid: env.context.pid,
            first_at: env.context.at,
            last_at: env.context.at,
            beginning_seen: false,
            whole: true,
            pushed: false,
            request: StreamDirection::new(request, window(request, Endpoint::Client)),
            response: StreamDirection::new(response, window(response, Endpoint::Server)),
            content: Content::default(),
            trailers_seen: false,
            trailers_only: false,
            resets: Vec::new(),
            flow: FlowNotes::default(),
            reported: Reported::default(),
            unprocessed: false,
            n_blocks: 0,
            blocks_complete: true,
            story: Story::default(),
            has_story: env.shown.stories(),
            lost_at: None,
            finished_at: None,
            windows_at_end: Pair::default(),
            stopped_at: None,
            request_after_reset: false,
            story_limit_told: false,
            caught_up: CaughtUp::default(),
            is_calm: Pair::default(),
            conduct: None,
        }
    }

    /// HEADERS of the client.
    pub(super) fn request_headers(&mut self, block: &HeaderBlock, end_stream: bool, env: Env<'_>) {
        let at = env.context.at;
        let first = self.request.half.headers_at.is_none() && self.request.half.data_frames == 0;
        // HEADERS without END_STREAM can't be trailers (RFC 9113 section 8.1); trailers have no pseudo-header
        // fields.
        let opening = first
            && (self.request.state == HalfState::Idle
                || !end_stream
                || content::shows_request(block));
        let counts = self.counts(Endpoint::Client, env) || (opening && !self.resets.is_empty());
        self.touch(at);
        self.block(block);
        let mut note = if opening {
            Note::Nothing
        } else {
            Note::Text("trailers")
        };
        let mut remark = "";
        let section = if opening {
            Section::Request
        } else {
            Section::Trailers { end_stream }
        };
        if counts {
            let on = if opening {
                EndStreamOn::Headers
            } else {
                EndStreamOn::Trailers
            };
            let (state, broken) = self.request.state.on_headers(at, end_stream, on);
            self.request.state = state;
            if opening {
                self.request.begin(env.context, env.shown.bodies());
                self.content.request(block.facts(env.shown));
                self.beginning_seen = true;
                self.request_after_reset = !self.resets.is_empty();
                if self.has_story {
                    self.story.set_path(self.content.path.clone());
                }
                note = Note::Path;
            }
            remark = match broken {
                Some(broken) => broken.as_str(),
                None => self.check_fields(Endpoint::Client, block, section, env),
            };
            self.ended(Endpoint::Client, end_stream, at, on);
        } else if self.crosses_reset(Endpoint::Client) {
            remark = self.check_fields(Endpoint::Client, block, section, env);
        }
        self.headers_moment(Endpoint::Client, block, end_stream, (note, remark), env);
        self.recount();
    }

    /// HEADERS of the server.
    pub(super) fn response_headers(&mut self, block: &HeaderBlock, end_stream: bool, env: Env<'_>) {
        let at = env.context.at;
        let counts = self.counts(Endpoint::Server, env);
        self.touch(at);
        self.block(block);
        self.unprocessed = false;
        let status = block.facts(env.shown).status;
        let informational = matches!(status, Seen::Value(100..=199)) && !end_stream;
        if informational {
            let note = Note::Interim(status.value().unwrap_or_default());
            let late = if counts {
                self.check_informational()
            } else {
                None
            };
            let remark = self.check_fields(Endpoint::Server, block, Section::Informational, env);
            let remark = late.unwrap_or(remark);
            self.headers_moment(Endpoint::Server, block, end_stream, (note, remark), env);
            return;
        }
        let half = &self.response.half;
        // HEADERS whose :status could not be seen may have been 1xx.
        let first = half.data_frames == 0
            && (half.headers_at.is_none()
                || (!end_stream && self.content.http_status == Seen::Unknown));
        let is_response = first
            && (self.response.state == HalfState::Idle
                || !end_stream
                || block.get(Known::Status).is_some());
        let mut told = (Note::Nothing, "");
        let section = if is_response {
            Section::Response { end_stream }
        } else {
            Section::Trailers { end_stream }
        };
        if counts {
            let on = if is_response {
                EndStreamOn::Headers
            } else {
                EndStreamOn::Trailers
            };
            let (state, broken) = self.response.state.on_headers(at, end_stream, on);
            self.response.state = state;
            if broken.is_none() {
                if is_response {
                    self.response.begin(env.context, env.shown.bodies());
                    self.content.response(block.facts(env.shown));
                    if self.content.response_is_coded {
                        self.response.messages.lose();
                    }
                }
                if end_stream {
                    self.trailers_seen = true;
                    self.trailers_only = is_response;
                    self.content.trailers(block.facts(env.shown));
                }
            }
            let remark = match broken {
                Some(broken) => broken.as_str(),
                None => self.check_fields(Endpoint::Server, block, section, env),
            };
            told = (self.response_note(is_response, end_stream), remark);
            self.ended(Endpoint::Server, end_stream, at, on);
        } else if self.crosses_reset(Endpoint::Server) {
            told.1 = self.check_fields(Endpoint::Server, block, section, env);
        }
        self.headers_moment(Endpoint::Server, block, end_stream, told, env);
        self.recount();
    }

    /// The block of a PUSH_PROMISE: the request of this stream, made up by the server.
    pub(super) fn promised(&mut self, block: &HeaderBlock, env: Env<'_>) {
        self.pushed = true;
        self.request_headers(block, true, env);
        self.check_promise(block);
    }

    /// A request that came as HTTP/1.1 and was upgraded to h2c (RFC 7540 section 3.2).
    pub(super) fn upgraded(&mut self, path: &str, headers: &[(String, String)], env: Env<'_>) {
        let at = env.context.at;
        self.request.begin(env.context, env.shown.bodies());
        self.content.upgraded(path, headers, env.shown);
        self.beginning_seen = true;
        // The fields came in clear text: they were all seen.
        self.n_blocks = 1;
        let (state, _) = self
            .request
            .state
            .on_headers(at, true, EndStreamOn::Headers);
        self.request.state = state;
        self.ended(Endpoint::Client, true, at, EndStreamOn::Headers);
        self.story.set_path(self.content.path.clone());
        let told = (Note::Path, ["HTTP/1.1 upgraded to h2c", ""]);
        self.tell(Endpoint::Client, FrameKind::Headers, 0, true, told, env);
    }

    /// A DATA frame's header.
    pub(super) fn data_begin(&mut self, sender: Endpoint, head: DataHead, env: Env<'_>) {
        let at = env.context.at;
        let counts = self.counts(sender, env);
        self.touch(at);
        if sender == Endpoint::Server {
            self.unprocessed = false;
        }
        let direction = self.direction_mut(sender);
        let judged = env.flow.judges(sender);
        direction
            .window
            .spend(head.stream_id, head.flow_len, judged, at);
        direction.half.data_frames = direction.half.data_frames.saturating_add(1);
        direction.frame = Some(DataProgress {
            bytes: 0,
            n_begun_before: direction.messages.n_begun(),
        });
        if counts {
            let (state, broken) = direction.state.on_data_begin(at);
            direction.state = state;
            if let Some(broken) = broken {
                self.story.remark(broken.as_str());
            }
        }
    }

    /// Some of its data.
    pub(super) fn data_body(&mut self, sender: Endpoint, piece: &DataPiece, env: Env<'_>) {
        let at = env.context.at;
        let counts = self.counts(sender, env);
        self.touch(at);
        let direction = self.direction_mut(sender);
        let n = match piece {
            DataPiece::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            DataPiece::Hole(n) => u64::from(*n),
        };
        if n == 0 {
            return;
        }
        if let Some(frame) = &mut direction.frame {
            frame.bytes = frame.bytes.saturating_add(n);
        }
        let half = &mut direction.half;
        half.data_bytes = half.data_bytes.saturating_add(n);
        half.first_data_at.get_or_insert(at);
        half.last_data_at = Some(at);
        if counts && !matches!(direction.state, HalfState::Ended(_)) {
            match piece {
                DataPiece::Bytes(bytes) => direction.messages.bytes(bytes),
                DataPiece::Hole(n) => direction.messages.hole(*n),
            }
        }
    }

    /// The DATA frame is whole.
    pub(super) fn data_end(&mut self, sender: Endpoint, head: DataHead, env: Env<'_>) {
        let at = env.context.at;
        let counts = self.counts(sender, env);
        self.touch(at);
        self.data_moment(sender, head.end_stream, "", env);
        if counts && head.end_stream {
            let direction = self.direction_mut(sender);
            direction.state = direction.state.on_data_end_stream(at);
            self.ended(sender, true, at, EndStreamOn::Data);
        }
        self.recount();
    }

    pub(super) fn reset(&mut self, sender: Endpoint, code: ErrorCode, env: Env<'_>) {
        let at = env.context.at;
        self.touch(at);
        self.tell_partial_frames("", env);
        let phases = *self.stopped_at.get_or_insert_with(|| {
            let grpc = self.content.grpc();
            Phases {
                request: phase::of_request(&self.request, grpc),
                response: phase::of_response(&self.response, grpc),
            }
        });
        if self.resets.is_empty() {
            self.flow.stalled = self.stalled(at, env.flow);
        }
        if self.resets.len() < limits::RESETS {
            let response_windows = self.windows(Endpoint::Server, env.flow);
            let (request_phase, response_phase) = (phases.request, phases.response);
            let response_blocked_since = self.response_blocked_since(env.flow);
            self.resets.push(Reset {
                sender,
                code,
                at,
                request_phase,
                response_phase,
                response_windows,
                response_blocked_since,
            });
        }
        let direction = self.direction_mut(sender);
        direction.state = direction.state.on_reset(sender, code);
        self.moment(sender, FrameKind::RstStream, Note::Code(code), env);
    }

    /// Frames of `sender` may have gone by unseen.
    pub(super) fn lost(&mut self, sender: Endpoint, at: Timestamp) {
        self.request.window.forget();
        self.response.window.forget();
        if self.finished_at.is_none() {
            self.whole = false;
            self.lost_at = Some(at);
            self.direction_mut(sender).lose();
        } else if let Some(first) = self.resets.first().filter(|first| first.sender != sender) {
            // At the server's end what crosses the client's reset still counts ([`Stream::counts`]); and behind a complete
            // response a reset explains one of the other end that it crosses.
            let crosses = sender == Endpoint::Server && !self.response.state.end_stream_sent();
            let explains = first.response_phase == Some(ResponsePhase::R3)
                && self.resets.iter().all(|reset| reset.sender != sender);
            self.whole &= !crosses && !explains;
        }
    }

    /// The connection ended, or we stop following.
    pub(super) fn stop(&mut self, end: StreamEnd, env: Env<'_>) {
        self.tell_partial_frames("frame not whole", env);
        let grpc = self.content.grpc();
        let phases = Phases {
            request: phase::of_request(&self.request, grpc),
            response: phase::of_response(&self.response, grpc),
        };
        self.stopped_at.get_or_insert(phases);
        for direction in [&mut self.request, &mut self.response] {
            direction.state = match end {
                StreamEnd::Evicted | StreamEnd::Unseen => direction.state.on_leave(),
                _ => direction.state.on_connection_end(),
            };
        }
        self.finish(env.context.at, env.flow);
    }

    /// Nothing more is to be expected, as far as was seen.
    pub(super) fn is_finished(&self) -> bool {
        let request_over = matches!(self.request.state, HalfState::Ended(_) | HalfState::Unseen);
        !self.resets.is_empty()
            || self.unprocessed
            || (self.response.state.end_stream_sent() && request_over)
    }

    /// Both sides said END_STREAM, all of it was seen, and nothing about it may still change.
    pub(super) fn has_ended_in_good_order(&self) -> bool {
        self.whole
            && self.resets.is_empty()
            && self.request.state.end_stream_sent()
            && self.response.state.end_stream_sent()
            && self.breach_due().is_none()
    }

    /// The client gave up before the response was complete.
    pub(super) fn is_cancelled(&self) -> bool {
        let by_client = |first: &Reset| first.sender == Endpoint::Client;
        self.resets.first().is_some_and(by_client) && !self.response.state.end_stream_sent()
    }

    /// It finished with the frame that went by at `at`.
    pub(super) fn finish(&mut self, at: Timestamp, flow: &Flow) {
        self.finished_at = Some(at);
        self.last_at = self.last_at.max(at);
        for sender in [Endpoint::Client, Endpoint::Server] {
            *self.windows_at_end.of_mut(sender) = self.windows(sender, flow);
        }
    }

    /// A response may still come, for all that was seen (nothing that could have ended it was missed).
    pub(super) fn awaits_response(&self) -> bool {
        self.lost_at.is_none()
            && matches!(
                self.response.state,
                HalfState::Idle | HalfState::Open { .. }
            )
    }

    /// Certainly no part of a response came.
    pub(super) fn has_no_response(&self) -> bool {
        self.response.state == HalfState::Idle
    }

    /// True once, when the story had to leave something out.
    pub(super) fn take_story_limit(&mut self) -> bool {
        let tell = self.story.overflowed() && !self.story_limit_told;
        self.story_limit_told |= tell;
        tell
    }

    /// Notes what a frame said that is worth a word.
    pub(super) fn remark(&mut self, remark: &str) {
        self.story.remark(remark);
    }

    /// A frame of `sender` counts for phases, messages and content. After the first RST_STREAM what is in
    /// flight does not (RFC 9113 section 5.1), but for records that are late (see [`CROSSING_NS`]).
    fn counts(&self, sender: Endpoint, env: Env<'_>) -> bool {
        let Some(first) = self.resets.first() else {
            return true;
        };
        let at = env.context.at;
        if sender == first.sender {
            return false;
        }
        match sender {
            // The rest of the call that sent the HEADERS.
            Endpoint::Client => {
                self.request_after_reset
                    && self
                        .request
                        .half
                        .headers_at
                        .is_some_and(|headers| at <= headers)
            }
            Endpoint::Server => {
                env.role == Some(Endpoint::Server) && at.since(first.at) <= CROSSING_NS
            }
        }
    }

    /// After a frame that counted though a reset had been recorded before it: where both sides were at the
    /// reset is told again.
    fn recount(&mut self) {
        let Some(first) = self.resets.first() else {
            return;
        };
        let grpc = self.content.grpc();
        let mut phases = Phases {
            request: first.request_phase,
            response: first.response_phase,
        };
        if first.sender == Endpoint::Server && self.request_after_reset {
            phases.request = phase::of_request(&self.request, grpc);
        }
        if first.sender == Endpoint::Client && self.response.state.end_stream_sent() {
            phases.response = Some(ResponsePhase::R3);
        }
        self.stopped_at = Some(phases);
        for reset in &mut self.resets {
            reset.request_phase = phases.request;
            reset.response_phase = phases.response;
        }
    }

    fn touch(&mut self, at: Timestamp) {
        self.lost_at = None;
        self.first_at = self.first_at.min(at);
        if self.finished_at.is_none() {
            self.last_at = self.last_at.max(at);
        }
    }

    fn block(&mut self, block: &HeaderBlock) {
        self.n_blocks = self.n_blocks.saturating_add(1);
        self.blocks_complete &= block.complete;
    }

    fn ended(&mut self, sender: Endpoint, end_stream: bool, at: Timestamp, on: EndStreamOn) {
        let half = &mut self.direction_mut(sender).half;
        if end_stream && half.end_stream_at.is_none() {
            half.end_stream_at = Some(at);
            half.end_stream_on = Some(on);
        }
    }

    fn direction(&self, sender: Endpoint) -> &StreamDirection {
        match sender {
            Endpoint::Client => &self.request,
            Endpoint::Server => &self.response,
        }
    }

    fn direction_mut(&mut self, sender: Endpoint) -> &mut StreamDirection {
        match sender {
            Endpoint::Client => &mut self.request,
            Endpoint::Server => &mut self.response,
        }
    }
}
