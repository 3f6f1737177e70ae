//! The streams of one connection: steps of both directions go in, [`StreamEvent`]s come out.

mod calm;
mod changes;
mod conditions;
mod conduct;
mod ending;
mod go_aways;
mod leaving;
mod opening;
mod ordinary;
mod slots;
mod streams;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::connection::{ConnectionEnd, ConnectionId, Endpoint};
use crate::event::{Timestamp, earliest};
pub use crate::field::Shown;
use crate::field::{Entry, Facts};
use crate::frame::{
    DataHead, DataPiece, ErrorCode, Fault, Frame, FrameKind, HeaderBlock, Settings, Step, StreamId,
};
use crate::limits::Limit;
use crate::stream::content;
use crate::stream::depth::Depth;
use crate::stream::fields;
use crate::stream::flow::Flow;
use crate::stream::go_away::GoAwayReason;
use crate::stream::header_list::HeaderLists;
use crate::stream::ids::{ConnectionIds, initiator};
use crate::stream::live::{Env, Stream};
use crate::stream::pair::Pair;
use crate::stream::record::{GoAway, Opening, StreamEnd, StreamEvent, StreamRecord};
pub use crate::stream::settings::PeerSettings;
use crate::stream::state::HalfState;
use crate::stream::watch::Watch;
pub(in crate::stream) use changes::CaughtUp;
use conditions::ConditionTimers;
use go_aways::GoAways;
use leaving::Lingering;
use streams::Streams;

/// The time between two looks for streams whose end a gap may have hidden, in event time.
const DOUBT_LOOK_NS: u64 = 1_000_000_000;

/// A last stream id that accepts every stream: the first of two GOAWAYs (RFC 9113 section 6.8).
pub(crate) const EVERY_STREAM: StreamId = StreamId(0x7fff_ffff);

/// When a step went by, and by whose call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// When the socket call had finished.
    pub at: Timestamp,
    /// The thread that made it.
    pub tid: u32,
    /// The process that made it.
    pub pid: u32,
}

/// The streams of one connection end.
#[derive(Debug)]
pub struct StreamTable {
    pub(super) connection: ConnectionId,
    role: Option<Endpoint>,
    pub(super) shown: Arc<Shown>,
    streams: Streams,
    ids: ConnectionIds,
    flow: Flow,
    settings: Pair<PeerSettings>,
    go_aways: GoAways,
    header_lists: HeaderLists,
    lingering: Lingering,
    /// A gap touched streams, and when to look next for those that stay silent.
    doubt_at: Option<Timestamp>,
    /// When that was last: it touched all streams.
    lost_at: Option<Timestamp>,
    /// Streams that waited for their response when the observed end began to throw away what came, unread.
    thrown_away: Vec<StreamId>,
    /// The peer of the observed end is gone, and how; the connection itself is not over yet.
    peer_gone: Option<ConnectionEnd>,
    /// Streams that ended by that.
    lost_with_peer: u32,
    /// Who keeps to the rules, and how often what comes.
    watch: Watch,
    over: bool,
    /// What stands for longer than it should.
    condition_timers: ConditionTimers,
    /// Header blocks so far.
    n_blocks: u32,
    /// Nobody asks for [`StreamEvent::Requested`].
    pub(super) openings_off: bool,
    /// How closely its streams are followed.
    pub(super) depth: Depth,
    out: VecDeque<StreamEvent>,
    /// Records that nobody holds any more: fewer than there are streams.
    spare_records: Vec<Arc<StreamRecord>>,
    /// The same of what header blocks say.
    spare_facts: Vec<Arc<Facts>>,
    /// And of fields.
    spare_entries: Vec<Arc<Entry>>,
}

impl StreamTable {
    /// A connection without streams. `from_start`: it is seen from its first byte, so that windows and
    /// ids are known.
    #[must_use]
    pub fn new(connection: ConnectionId, shown: Arc<Shown>, from_start: bool) -> Self {
        StreamTable {
            connection,
            role: None,
            shown,
            streams: Streams::default(),
            ids: ConnectionIds::new(from_start),
            flow: Flow::new(from_start),
            settings: Pair::default(),
            go_aways: GoAways::default(),
            header_lists: HeaderLists::default(),
            lingering: Lingering::default(),
            doubt_at: None,
            lost_at: None,
            thrown_away: Vec::new(),
            peer_gone: None,
            lost_with_peer: 0,
            watch: Watch::new(from_start),
            over: false,
            condition_timers: ConditionTimers::default(),
            n_blocks: 0,
            openings_off: false,
            depth: Depth::default(),
            out: VecDeque::new(),
            spare_records: Vec::new(),
            spare_facts: Vec::new(),
            spare_entries: Vec::new(),
        }
    }

    /// Bytes of memory that its streams take, about.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> usize {
        self.streams.memory()
            + self.spare_records.len() * size_of::<StreamRecord>()
            + self.spare_facts.len() * size_of::<Facts>()
    }

    /// The role of the observed end became known.
    pub fn set_role(&mut self, role: Option<Endpoint>) {
        self.role = role;
    }

    pub fn step(&mut self, sender: Endpoint, step: &Step, context: Context) {
        if self.over {
            return;
        }
        match step {
            Step::DataBody { stream_id, piece } => {
                self.data_body(sender, *stream_id, piece, context);
                return;
            }
            Step::DataEnd(head) if !head.end_stream => {
                self.data_end(sender, *head, context);
                return;
            }
            _ => {}
        }
        self.pass_time(context.at);
        self.observe(sender, step, context.at);
        match step {
            Step::Preface
            | Step::LongBlock { .. }
            | Step::Resynced { .. }
            | Step::DataBody { .. } => {}
            Step::Frame { frame, .. } => self.frame(sender, frame, context),
            Step::DataBegin(head) => {
                self.flow
                    .on_data(sender, head.stream_id, head.flow_len, context.at);
                if self.follow(head.stream_id, sender, false, context) {
                    let view = self.view(sender, head.stream_id);
                    self.on(head.stream_id, context, |stream, env| {
                        stream.check_frame_allowed(sender, FrameKind::Data, view, context.at);
                        stream.data_begin(sender, *head, env);
                    });
                }
            }
            Step::DataEnd(head) => {
                let mut breaks_length = false;
                self.on(head.stream_id, context, |stream, env| {
                    stream.data_end(sender, *head, env);
                    breaks_length = stream.breaks_length(sender);
                });
                if breaks_length {
                    self.note_length(sender, context.at);
                }
            }
            Step::Violation(violation) => {
                self.on(violation.stream_id, context, |stream, _| {
                    stream.remark(violation.rule.as_str());
                });
            }
            Step::Fault(fault) => match fault {
                Fault::Gap | Fault::Implausible => self.lost(sender, context.at),
                // A frame that was seen, but not all of it: HEADERS come all the same, with an incomplete
                // block. SETTINGS and WINDOW_UPDATE may be missing.
                Fault::HoleInFrame | Fault::Limit(Limit::FramePayload) => {
                    self.hidden_window(sender);
                }
                // These hide fields, not frames.
                Fault::HeaderBlockLost | Fault::Limit(_) => {}
            },
        }
        self.look_out(context.at);
    }

    /// Some data of a frame: nothing begins or ends with it.
    fn data_body(&mut self, sender: Endpoint, id: StreamId, piece: &DataPiece, context: Context) {
        self.watch.control.on_frame(sender, context.at);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.data_body(
                sender,
                piece,
                Env {
                    flow: &self.flow,
                    shown: &self.shown,
                    role: self.role,
                    context,
                },
            );
        }
    }

    /// A DATA frame without END_STREAM is whole.
    fn data_end(&mut self, sender: Endpoint, head: DataHead, context: Context) {
        if let Some(stream) = self.streams.get_mut(head.stream_id) {
            let env = Env {
                flow: &self.flow,
                shown: &self.shown,
                role: self.role,
                context,
            };
            stream.data_end(sender, head, env);
            if stream.take_story_limit() {
                self.out.push_back(StreamEvent::Limit(Limit::StoryMoments));
            }
        }
    }

    /// Streams that were looked at because frames were lost.
    #[cfg(test)]
    pub(super) fn n_lost(&self) -> usize {
        self.streams.n_lost
    }

    /// Of the connection it is not known any more what `sender` did.
    fn on_loss(&mut self, sender: Endpoint) {
        self.flow.on_loss(sender);
        self.watch.on_loss(sender);
        self.ids.on_loss(sender);
    }

    /// Bytes of `sender` that may have held frames went by unseen.
    pub fn lost(&mut self, sender: Endpoint, at: Timestamp) {
        if self.over {
            return;
        }
        self.on_loss(sender);
        self.excuse_by_hidden(sender);
        self.lost_at = Some(at);
        self.doubt_at
            .get_or_insert(Timestamp(at.0.saturating_add(DOUBT_LOOK_NS)));
        // A request that may have ended in the gap does not hold up a complete response.
        for id in self.streams.lose(sender, at) {
            self.settle_unseen(id, at);
        }
    }

    /// The connection was upgraded from HTTP/1.1 (RFC 7540 section 3.2): stream 1 exists and its request
    /// has ended.
    pub fn upgraded(&mut self, path: &str, headers: &[(String, String)], context: Context) {
        let id = StreamId(1);
        if self.over || self.streams.contains(id) {
            return;
        }
        self.open(id, HalfState::Idle, HalfState::Idle, context);
        self.ids.on_open(id);
        self.on(id, context, |stream, env| {
            stream.upgraded(path, headers, env);
        });
    }

    /// Time passes: finished streams whose linger is over are handed out.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.lingering.queue.front().copied() {
            if due > now {
                break;
            }
            self.lingering.queue.pop_front();
            if self.is_due(id, due) {
                self.settle_breaches(id);
                self.hand_out(id, None);
            }
        }
        if self.doubt_at.is_some_and(|look| look <= now) {
            self.look_for_silent(now);
        }
        if self
            .condition_timers
            .next_at
            .is_some_and(|look| look <= now)
        {
            self.look(now);
        }
        self.tell_unanswered(now);
    }

    /// What happened, oldest first.
    pub fn poll(&mut self) -> Option<StreamEvent> {
        self.out.pop_front()
    }

    /// Streams that have not ended, as far as was seen.
    #[must_use]
    pub fn live(&self) -> usize {
        self.streams.len().saturating_sub(self.lingering.n)
    }

    /// When [`StreamTable::advance`] may have something to do next.
    #[must_use]
    #[inline]
    pub fn next_due(&self) -> Option<Timestamp> {
        let lingering = self.lingering.queue.front().map(|(due, _)| *due);
        let is_idle = self.watch.ledger.is_idle();
        if self.doubt_at.is_none() && is_idle {
            // Mostly these two are all there is.
            return match (lingering, self.condition_timers.next_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        let ledger = if is_idle {
            None
        } else {
            self.watch.ledger.due()
        };
        earliest([
            lingering,
            self.doubt_at,
            ledger,
            self.condition_timers.next_at,
        ])
    }

    /// A stream began while the place of `sender`'s frames is lost: what `sender` says of it may go by unseen.
    pub fn begun_unseen(&mut self, sender: Endpoint, id: StreamId, at: Timestamp) {
        if self.over {
            return;
        }
        self.on_loss(sender);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.lost(sender, at);
            self.doubt_at
                .get_or_insert(Timestamp(at.0.saturating_add(DOUBT_LOOK_NS)));
        }
        // A request that may have ended in the gap does not hold up a complete response.
        self.settle_unseen(id, at);
    }

    /// What `sender` announced.
    #[must_use]
    pub fn settings(&self, sender: Endpoint) -> PeerSettings {
        *self.settings.of(sender)
    }

    /// What gives the peer of `sender` more or less to send may have gone by unseen.
    fn hidden_window(&mut self, sender: Endpoint) {
        self.flow.on_hidden_update(sender);
        self.excuse_by_hidden(sender);
        self.streams.forget_windows(sender.peer());
    }

    fn frame(&mut self, sender: Endpoint, frame: &Frame, context: Context) {
        match frame {
            Frame::Headers {
                stream_id,
                end_stream,
                block,
                ..
            } => {
                self.headers(sender, *stream_id, *end_stream, block, context);
            }
            Frame::RstStream { stream_id, .. } if self.answers_peers_end(sender, *stream_id) => {
                self.gone_with_peer(*stream_id, context.at);
            }
            Frame::RstStream { stream_id, code } => {
                let own = initiator(*stream_id) == sender;
                if own && self.ids.is_idle(*stream_id) && self.watch.is_certain(sender) {
                    // It ends nothing, and that is told as a broken rule.
                    return;
                }
                if self.follow(*stream_id, sender, false, context) {
                    self.before_reset(sender, *stream_id, *code);
                    self.on(*stream_id, context, |stream, env| {
                        stream.reset(sender, *code, env);
                    });
                }
            }
            Frame::Settings(settings) => self.on_settings(sender, settings, context.at),
            Frame::PushPromise {
                promised, block, ..
            } => self.promised(*promised, block, context),
            Frame::GoAway {
                last_stream_id,
                code,
                debug,
            } => {
                self.go_away(GoAway {
                    sender,
                    last_stream_id: *last_stream_id,
                    code: *code,
                    reason: GoAwayReason::of(debug),
                    at: context.at,
                    header_list: self
                        .header_lists
                        .too_large_for(sender, self.settings.of(sender)),
                });
            }
            Frame::WindowUpdate {
                stream_id: StreamId(0),
                increment,
            } => {
                self.connection_window_update(sender, *increment, context.at);
            }
            Frame::WindowUpdate {
                stream_id,
                increment,
            } => {
                self.on(*stream_id, context, |stream, env| {
                    stream.window_update(sender, *increment, env);
                });
            }
            Frame::SettingsAck => self.flow.acks_mut(sender.peer()).acknowledged(),
            Frame::Priority { .. }
            | Frame::Ping { .. }
            | Frame::PriorityUpdate { .. }
            | Frame::Unknown { .. } => {}
        }
    }

    /// A reset that only answers that the peer has gone: that is what ended the stream.
    fn gone_with_peer(&mut self, id: StreamId, at: Timestamp) {
        if let Some(why) = self.peer_gone {
            self.lost_with_peer = self.lost_with_peer.saturating_add(1);
            self.leave(id, StreamEnd::Connection(why), at);
        }
    }

    /// PUSH_PROMISE opens the stream that it promises.
    fn promised(&mut self, id: StreamId, block: &HeaderBlock, context: Context) {
        self.condition_timers.pushes = true;
        if self.streams.contains(id) || self.ids.is_over(id) {
            return;
        }
        self.open(id, HalfState::Idle, HalfState::Idle, context);
        self.ids.on_open(id);
        let mut is_malformed = false;
        self.on(id, context, |stream, env| {
            stream.promised(block, env);
            is_malformed = stream.content.malformed.is_some();
        });
        if is_malformed {
            let ledger = &mut self.watch.ledger;
            ledger.note_other(Endpoint::Server, ErrorCode::PROTOCOL_ERROR, context.at);
        }
    }

    fn headers(
        &mut self,
        sender: Endpoint,
        id: StreamId,
        end_stream: bool,
        block: &HeaderBlock,
        context: Context,
    ) {
        // Trailers carry END_STREAM and no pseudo-header fields (RFC 9113 section 8.1). Where nothing was
        // missed, the first HEADERS are no trailers anyway.
        let may_open = sender == Endpoint::Client
            && (!self.ids.may_be_unseen(id) || !end_stream || content::shows_request(block));
        self.header_lists.on_block(sender, id, block);
        self.n_blocks = self.n_blocks.wrapping_add(1).max(1);
        let nth = self.n_blocks;
        if !self.follow(id, sender, may_open, context) {
            return;
        }
        block.read(self.block_reading());
        let view = self.view(sender, id);
        let (mut malformed, mut begun) = ((false, false), (false, false));
        let mut breaks_length = false;
        let unannounced = sender == Endpoint::Client && self.extends_unannounced(block);
        match sender {
            Endpoint::Client => {
                self.on(id, context, |stream, env| {
                    begun.0 = stream.beginning_seen;
                    malformed.0 = stream.content.malformed.is_some();
                    stream.check_frame_allowed(sender, FrameKind::Headers, view, context.at);
                    stream.request_headers(block, end_stream, env);
                    if unannounced {
                        let broken = fields::PROTOCOL_NOT_ANNOUNCED;
                        stream.content.malformed(sender, broken);
                    }
                    stream.request.half.place_headers(nth);
                    begun.1 = stream.beginning_seen;
                    malformed.1 = stream.content.malformed.is_some();
                    breaks_length = end_stream && stream.breaks_length(sender);
                });
                if begun.1 {
                    self.ids.on_open(id);
                    if !begun.0 && self.tells_openings() {
                        self.out.push_back(StreamEvent::Requested(Opening {
                            connection: self.connection,
                            stream_id: id,
                            at: context.at,
                            tid: context.tid,
                            pid: context.pid,
                            digest: Arc::clone(block.facts(&self.shown).digest(block)),
                        }));
                    }
                }
            }
            Endpoint::Server => {
                self.on(id, context, |stream, env| {
                    malformed.0 = stream.content.malformed.is_some();
                    stream.check_frame_allowed(sender, FrameKind::Headers, view, context.at);
                    stream.response_headers(block, end_stream, env);
                    stream.response.half.place_headers(nth);
                    malformed.1 = stream.content.malformed.is_some();
                    breaks_length = end_stream && stream.breaks_length(sender);
                });
            }
        }
        if breaks_length {
            self.note_length(sender, context.at);
        }
        if malformed == (false, true) {
            let ledger = &mut self.watch.ledger;
            ledger.note_other(sender, ErrorCode::PROTOCOL_ERROR, context.at);
        }
    }

    fn on_settings(&mut self, sender: Endpoint, settings: &Settings, at: Timestamp) {
        self.flow.acks_mut(sender).sent(settings);
        // A frame may say the size thousands of times. The windows become what the last one says; on the way they
        // were as large as the largest made them.
        let (mut change, mut highest) = (0_i64, 0_i64);
        for size in self.settings.of_mut(sender).apply(settings) {
            if let Some(delta) = self.flow.on_initial_window_size(sender, size) {
                change = change.saturating_add(delta);
                highest = highest.max(change);
            }
        }
        let deltas = [highest, change.saturating_sub(highest)];
        if deltas != [0, 0] {
            self.streams.change_windows(sender.peer(), deltas, at);
        }
    }

    /// Does something to a stream, if it is followed, and sees whether it is finished now.
    fn on(&mut self, id: StreamId, context: Context, act: impl FnOnce(&mut Stream, Env<'_>)) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let answered = stream.is_answered();
        act(
            stream,
            Env {
                flow: &self.flow,
                shown: &self.shown,
                role: self.role,
                context,
            },
        );
        if stream.take_story_limit() {
            self.out.push_back(StreamEvent::Limit(Limit::StoryMoments));
        }
        let breach_due = stream.breach_due();
        let finished = self.lingering.settle(stream, context.at, &self.flow);
        let answered = (answered, stream.is_answered());
        self.condition_timers.recount_answered(answered);
        if finished {
            self.finished(id, context.at);
        }
        if let Some(due) = breach_due {
            self.look_by(due);
        }
    }
}
