//! One connection end on its way through the stages.

mod ordinary;
mod over;
mod protocol;
mod requests;
mod steps;
mod tunnels;
mod undecided;
mod unrecognised;
mod unseen;
mod waiting;

use std::sync::Arc;

use crate::anomaly::kind::Finding;
use crate::connection::end::Ending;
use crate::connection::role::Role;
use crate::connection::upgrade::UpgradeRequest;
use crate::connection::{ConnectionId, Endpoint};
use crate::event::{
    Address, Bytes, Direction, End, EndCause, Open, Opened, ProtocolConfidence, SocketKey, Task,
    Timestamp, Unseen, UnseenBytes, earliest,
};
use crate::frame::{Fault, Frame, FrameReader, Step};
use crate::hop::Over;
use crate::pipeline::analysis::Analysis;
use crate::pipeline::frames::{FrameTeller, Frames};
use crate::pipeline::lane::Lane;
use crate::pipeline::memory::{Budget, Share};
use crate::pipeline::{ConnectionInfo, FrameSeen, Live, Loss, LossCause, Output, Sink, say};
use crate::stream::condition::Condition;
use crate::stream::depth::Depth;
use crate::stream::record::StreamEvent;
use crate::stream::table::{Context, Shown, StreamTable};
use crate::tls::TlsInfo;
use protocol::Spoken;
pub(super) use requests::GapNews;
use requests::Requests;
use tunnels::Tunnels;
use waiting::Waiting;

pub(crate) struct Conn {
    /// As it was when it was opened; `Arc`ed anew when the protocol and the role are known.
    info: Arc<ConnectionInfo>,
    /// Its inode number; 0 when that is not known.
    inode: u64,
    unix_peer_sk: u64,
    role: Role,
    spoken: Spoken,
    lanes: [Lane; 2],
    waiting: Vec<Waiting>,
    n_waiting_bytes: usize,
    /// Memory for the steps of a reader while they are taken; empty between two calls.
    steps: Vec<Step>,
    streams: StreamTable,
    shown: Arc<Shown>,
    frames: FrameTeller,
    /// By sender: a fault said that the place was lost, and nothing since that it was found again.
    lost_place: [bool; 2],
    /// Not every frame was seen, and the later stages do not know it yet.
    is_blinded: bool,
    /// Nobody looks at its socket any more until that is opened anew; which was told.
    is_let_go: bool,
    upgrade: Option<UpgradeRequest>,
    /// HTTP/1.1 led to a tunnel before.
    is_behind_http1: bool,
    /// Its CONNECT streams, once there was one whose content is followed.
    tunnels: Option<Box<Tunnels>>,
    follows_tunnels: bool,
    ending: Ending,
    /// The last sign of its end told where both directions stood.
    is_end_told: bool,
    /// Bytes whose buffer was not known.
    unseen: UnseenBytes,
    /// What went by before it was known what it speaks.
    undecided: undecided::Before,
    /// Reasons for some that are not told yet: each of them once.
    unseen_untold: Vec<(Unseen, Timestamp)>,
    /// What is known of its requests.
    requests: Requests,
    /// The stage that joins hops knows that requests may go by here which it is not told of.
    is_doubted: bool,
    last_bytes: Timestamp,
    /// What was last said of a stream that was opened.
    opened: Option<Box<Output>>,
    /// The process that used it last.
    last_pid: u32,
    /// The earliest wake-up of this connection that stands in the pipeline's heap.
    pub(crate) scheduled: Option<Timestamp>,
    /// What is accounted to it.
    pub(crate) share: Share,
    /// Since then nothing went by but ordinary frames. The memory that these take is that of streams, and of the fields
    /// that open and end them.
    pub(crate) is_accounted: bool,
}

impl Conn {
    pub(crate) fn new(
        info: ConnectionInfo,
        open: &Open,
        shown: Arc<Shown>,
        frames: Frames,
    ) -> Conn {
        let role = Role::from_opening(open.opened);
        let mut streams = StreamTable::new(info.id, Arc::clone(&shown), open.from_start);
        streams.set_role(role.get());
        Conn {
            last_bytes: info.first_at,
            last_pid: info.pid,
            is_blinded: !info.beginning_seen,
            info: Arc::new(info),
            inode: open.inode,
            unix_peer_sk: open.unix_peer_sk,
            role,
            spoken: Spoken::Undecided,
            lanes: [Lane::default(), Lane::default()],
            waiting: Vec::new(),
            n_waiting_bytes: 0,
            steps: Vec::new(),
            streams,
            shown,
            frames: FrameTeller::new(frames),
            lost_place: [false; 2],
            is_let_go: false,
            upgrade: None,
            is_behind_http1: false,
            tunnels: None,
            follows_tunnels: false,
            ending: Ending::default(),
            is_end_told: false,
            unseen: UnseenBytes::default(),
            undecided: undecided::Before::default(),
            unseen_untold: Vec::new(),
            requests: Requests::default(),
            is_doubted: false,
            opened: None,
            scheduled: None,
            share: Share::default(),
            is_accounted: false,
        }
    }

    /// It is known to speak HTTP/2, though its beginning was not seen; and who is at its observed end.
    pub(crate) fn told_http2(&mut self, role: Endpoint) {
        self.role.assume(role);
        self.streams.set_role(self.role.get());
        self.spoken.believe();
        for lane in &mut self.lanes {
            lane.expects = true;
        }
    }

    /// Accounts its memory.
    pub(crate) fn account(&mut self, budget: &mut Budget, key: SocketKey) {
        let bytes = self.memory();
        budget.account(key, &mut self.share, bytes);
    }

    /// Bytes of memory that are kept for it, about.
    #[inline]
    pub(crate) fn memory(&self) -> usize {
        /// Its names, and what tables of connections take for it.
        const AROUND: usize = 1_024;
        let [tx, rx] = &self.lanes;
        let of = |lane: &Lane| lane.reader.as_ref().map_or(0, FrameReader::memory);
        let tunnels = self.tunnels.as_deref().map_or(0, Tunnels::memory);
        let around = size_of::<Conn>() + AROUND + self.n_waiting_bytes + tunnels;
        around + self.streams.memory() + of(tx) + of(rx)
    }

    /// This is known of its TLS.
    pub(crate) fn learn_tls(&mut self, tls: &Arc<TlsInfo>) {
        let mut info = (*self.info).clone();
        info.tls = Some(Arc::clone(tls));
        self.info = Arc::new(info);
    }

    /// From now on its streams are followed so closely.
    #[inline]
    pub(crate) fn set_depth(&mut self, depth: Depth) {
        self.streams.set_depth(depth);
    }

    /// Nobody asks for the openings of its streams.
    pub(crate) fn without_openings(&mut self) {
        self.streams.without_openings();
    }

    pub(crate) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.info.id
    }

    pub(crate) fn opening(&self) -> (Opened, bool) {
        (self.info.opened, self.info.beginning_seen)
    }

    pub(crate) fn live(&self) -> Live {
        Live {
            connections: usize::from(self.spoken.is_announced()),
            streams: self.streams.live(),
        }
    }

    pub(crate) fn unix_peer(&self) -> Option<u64> {
        (self.unix_peer_sk != 0).then_some(self.unix_peer_sk)
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.unix_peer_sk != 0 || matches!(self.info.local, Address::Unix(_))
    }

    /// It is followed as HTTP/2, has not ended, and is the socket of this inode.
    pub(crate) fn is_socket(&self, inode: u64) -> bool {
        let is_followed = self.spoken.is_announced() && !self.ending.begun();
        is_followed && self.inode == inode && inode != 0
    }

    /// When something may have finished next.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if self.waiting.is_empty() && !self.ending.begun() {
            return self.streams.next_due();
        }
        let ending = self.ending.due(self.last_bytes);
        earliest([ending, self.streams.next_due(), self.waits_until()])
    }

    pub(crate) fn bytes(
        &mut self,
        at: Timestamp,
        task: Task,
        bytes: &Bytes<'_>,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) {
        self.last_bytes = self.last_bytes.max(at);
        self.last_pid = task.pid;
        if self.spoken == Spoken::Foreign {
            // The client may take a while to understand, and the kernel may take what it says for frames.
            return;
        }
        if self.is_let_go {
            // It was on its way, or of a call that was under way: nobody sees what comes after it.
            return;
        }
        let context = Context {
            at,
            tid: task.tid,
            pid: task.pid,
        };
        if !self.ordinary_bytes(bytes, context, sink) {
            self.any_bytes(bytes, context, sink);
        }
        self.events(analysis, sink);
        self.doubt_requests(at, analysis);
    }

    fn any_bytes(&mut self, bytes: &Bytes<'_>, context: Context, sink: &mut dyn Sink) {
        self.count_unseen(bytes, context.at);
        self.count_undecided(bytes);
        self.note_thrown_away(bytes);
        if bytes.confidence >= ProtocolConfidence::Plausible {
            self.spoken.believe();
        }
        let direction = bytes.direction;
        let from_start = self.info.beginning_seen;
        let upgraded = self.upgrade.is_some() || self.is_behind_http1;
        if self.lane(direction).reader.is_none() && !from_start && !upgraded && bytes.offset > 0 {
            // Bytes of this direction went by since the connection was first seen, and were not told. That is
            // no loss of a connection that was joined late, but it may have ended streams of the other side.
            for step in [
                Step::Fault(Fault::Gap),
                Step::Resynced {
                    skipped: Some(bytes.offset),
                },
            ] {
                self.take(direction, &step, context, sink);
            }
        }
        self.lane(direction).place(bytes, from_start, upgraded);
        if self.is_behind_http1 && self.role.sender(direction) != Some(Endpoint::Client) {
            // The server may greet before anybody looks for frames.
            if let Some(reader) = self.lane(direction).reader.as_mut() {
                reader.may_have_begun();
            }
        }
        if let Some(reader) = self.lane(direction).reader.as_mut() {
            reader.set_now(context.at);
        }
        self.steps(direction, context, sink);
        for segment in bytes.segments() {
            self.feed(direction, segment, context, sink);
        }
        self.settle_bytes(direction, context, sink);
    }

    /// A record was read.
    fn settle_bytes(&mut self, direction: Direction, context: Context, sink: &mut dyn Sink) {
        self.tell_passed_over(direction, context, sink);
        self.believe_whole_frames(context);
        self.flush(sink);
        self.tell_unseen(sink);
        if let Some(sender) = self.role.sender(direction) {
            let alone = self.frames.settle(sender);
            self.tell_frames(alone, sink);
        }
    }

    pub(crate) fn end(
        &mut self,
        at: Timestamp,
        end: &End,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) {
        if let EndCause::Desync(direction) = end.cause {
            if self.spoken == Spoken::Foreign {
                return;
            }
            self.let_go(sink);
            self.desync(direction, at, sink);
            self.events(analysis, sink);
            return;
        }
        self.tell_end(end);
        self.let_go(sink);
        if matches!(end.cause, EndCause::Closed) {
            self.miss_the_end(at, sink);
        }
        self.note_closer(end, at);
        self.ending.sign(end.cause, at);
        self.streams.end_begun(self.ending.cause());
        self.flush(sink);
        self.events(analysis, sink);
    }

    /// Time passes. True when the connection is over.
    pub(crate) fn advance(
        &mut self,
        now: Timestamp,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) -> bool {
        if self.waits_until().is_some_and(|until| until <= now) {
            self.let_go(sink);
        }
        self.streams
            .advance(self.oldest_waiting().map_or(now, |at| at.min(now)));
        let over = self.ending.over(now, self.last_bytes);
        if let Some((why, at)) = over {
            self.let_go(sink);
            self.miss_the_end(at, sink);
            self.doubt_the_end(analysis, at);
            self.streams.connection_ended(why, at);
            self.end_tunnels(Some(why), at);
        }
        self.events(analysis, sink);
        if over.is_some() {
            self.leave_hops(now, analysis, sink);
        }
        over.is_some()
    }

    /// All connections together have `excess` streams too many: this one, the last to open one, gives
    /// up its oldest.
    pub(crate) fn relieve(
        &mut self,
        excess: usize,
        at: Timestamp,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) {
        for _ in 0..excess.min(self.streams.live()) {
            self.streams.relieve(at);
        }
        self.events(analysis, sink);
    }

    fn leave_hops(&mut self, now: Timestamp, analysis: &mut Analysis, sink: &mut dyn Sink) {
        self.requests.over(now);
        self.tell_gaps(analysis);
        analysis.release_of(self.info.id, sink);
        if self.spoken.is_at_hops() {
            analysis.disconnected(&self.info);
        }
        analysis.never_decided(&self.info);
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        let [tx, rx] = &mut self.lanes;
        match direction {
            Direction::Tx => tx,
            Direction::Rx => rx,
        }
    }

    /// Hands a step on.
    fn hand(&mut self, sender: Endpoint, step: &Step, context: Context, sink: &mut dyn Sink) {
        self.know_requests(sender, step, context.at);
        if self.frames.is_on() {
            let told = self.frames.step(sender, step, context.at, &self.shown);
            self.tell_frames(told, sink);
        }
        if let Step::Resynced { skipped } = step
            && *skipped != Some(0)
        {
            // What was passed over may have been of streams that were first seen meanwhile.
            self.streams.lost(sender, context.at);
        }
        self.streams.step(sender, step, context);
        self.tunnel_step(sender, step, context, sink);
        if matches!(
            step,
            Step::DataBegin(_) | Step::DataBody { .. } | Step::DataEnd(_)
        ) {
            return;
        }
        if let Some(lost) = self.lost_place.get_mut(sender.index()) {
            match step {
                Step::Fault(Fault::Gap | Fault::Implausible) => *lost = true,
                Step::Resynced { .. } => *lost = false,
                _ => {}
            }
        }
        if let Step::Frame {
            frame: Frame::Headers { stream_id, .. },
            ..
        } = step
            && self.has_lost_place(sender.peer())
        {
            self.streams
                .begun_unseen(sender.peer(), *stream_id, context.at);
        }
    }

    /// Frames of `sender` are being searched for, or were when the last step handed on was read.
    fn has_lost_place(&self, sender: Endpoint) -> bool {
        let lost = self.lost_place.get(sender.index()).copied();
        let lanes = [Direction::Tx, Direction::Rx].into_iter().zip(&self.lanes);
        let mut readers = lanes
            .filter(|(direction, _)| self.role.sender(*direction) == Some(sender))
            .filter_map(|(_, lane)| lane.reader.as_ref());
        lost.unwrap_or(false) || readers.any(|reader| !reader.is_synchronised())
    }

    fn tell_frames(&self, told: impl IntoIterator<Item = FrameSeen>, sink: &mut dyn Sink) {
        for frame in told {
            sink.accept(&Output::Frame {
                info: Arc::clone(&self.info),
                frame: Box::new(frame),
            });
        }
    }

    /// Hands on what the stream table has ready.
    fn events(&mut self, analysis: &mut Analysis, sink: &mut dyn Sink) {
        if self.spoken.join_hops() {
            analysis.connected(&self.info);
        }
        // Of one that is never recognised nothing is found that it could bear witness of.
        if self.spoken.is_at_hops() && std::mem::take(&mut self.is_blinded) {
            analysis.blind(self.info.id);
        }
        self.tell_gaps(analysis);
        while let Some(event) = self.streams.poll() {
            match event {
                StreamEvent::Requested(opening) => analysis.requested(&self.info, &opening),
                StreamEvent::Finished {
                    stream_id,
                    at,
                    cancelled,
                    ..
                } => analysis.finished(&self.info, stream_id, Over { at, cancelled }),
                StreamEvent::Opened { .. } => self.tell_opened(sink),
                StreamEvent::Ended(record) => {
                    if let Some(record) = analysis.ended(&self.info, record, sink) {
                        self.streams.give_back(record);
                        self.reuse_entries();
                    }
                }
                event => self.rare_event(event, analysis, sink),
            }
        }
        self.settle_requests(analysis);
    }

    /// A stream was opened. It is said in the same words for all streams of a connection.
    fn tell_opened(&mut self, sink: &mut dyn Sink) {
        let is_said = |opened: &Output| matches!(opened, Output::StreamOpened { info } if Arc::ptr_eq(info, &self.info));
        let opened = match self.opened.take().filter(|opened| is_said(opened)) {
            Some(opened) => opened,
            None => Box::new(Output::StreamOpened {
                info: Arc::clone(&self.info),
            }),
        };
        sink.accept(&opened);
        self.opened = Some(opened);
    }

    /// What few connections have.
    #[cold]
    fn rare_event(&mut self, event: StreamEvent, analysis: &mut Analysis, sink: &mut dyn Sink) {
        if let StreamEvent::ConnectionEnded { .. } = event {
            analysis.release_of(self.info.id, sink);
        }
        let findings = analysis.rules.judge(&event);
        match event {
            // Nothing is to be found about these, or it is judged when it is told of.
            StreamEvent::Ended(_)
            | StreamEvent::Opened { .. }
            | StreamEvent::Requested(_)
            | StreamEvent::Finished { .. } => {}
            StreamEvent::GoAway { go_away, .. } => {
                let (info, go_away) = (Arc::clone(&self.info), *go_away);
                sink.accept(&Output::GoAway { info, go_away });
                self.say(findings, sink);
            }
            StreamEvent::Condition(condition) => {
                self.say(findings, sink);
                if let Condition::Overdue { .. } = condition.what {
                    let kept = analysis.overdue(&self.info, &condition);
                    self.say(kept, sink);
                }
            }
            StreamEvent::Offence { offence, .. } => {
                analysis.offended(&self.info, &offence, findings, sink);
            }
            StreamEvent::NotHttp2 { .. } | StreamEvent::Flood { .. } => {
                self.say(findings, sink);
            }
            StreamEvent::Limit(limit) => sink.accept(&Output::Loss(Loss {
                connection: Some(Arc::clone(&self.info)),
                at: self.last_bytes,
                cause: LossCause::Limit(limit),
                bytes: None,
            })),
            StreamEvent::ConnectionEnded {
                why,
                at,
                open_streams,
                ..
            } => {
                if self.spoken.is_announced() || self.conclude_unseen(sink) {
                    sink.accept(&Output::ConnectionEnded {
                        info: Arc::clone(&self.info),
                        why,
                        at,
                        open_streams,
                        unseen: self.unseen,
                    });
                }
                self.say(findings, sink);
            }
        }
    }

    /// What fields of streams that are told of took is used again, mostly for those of the next requests.
    fn reuse_entries(&mut self) {
        let spare = self.streams.spare_entries();
        if spare.is_empty() {
            return;
        }
        let client = self.role.direction_of(Endpoint::Client);
        let lane = client.and_then(|direction| self.lanes.get_mut(direction.index()));
        match lane.and_then(|lane| lane.reader.as_mut()) {
            Some(reader) => reader.take_spare_entries(spare),
            None => spare.clear(),
        }
    }

    fn say(&self, findings: impl IntoIterator<Item = Finding>, sink: &mut dyn Sink) {
        say(&self.info, findings, sink);
    }

    fn loss(&self, at: Timestamp, cause: LossCause, bytes: Option<u64>, sink: &mut dyn Sink) {
        // What a connection loses before it is known to be HTTP/2 is no loss of HTTP/2.
        if self.spoken.is_announced() || matches!(cause, LossCause::Limit(_)) {
            let connection = self.spoken.is_announced().then(|| Arc::clone(&self.info));
            sink.accept(&Output::Loss(Loss {
                connection,
                at,
                cause,
                bytes,
            }));
        }
    }
}
