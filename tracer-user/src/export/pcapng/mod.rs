//! Traced connections as a pcapng file that Wireshark opens: every byte that the socket calls passed, in TCP
//! segments made up around them, with the processes and the findings as comments.
//!
//! ```text
//! events of the kernel side -> conversation -> segment -> queue -> blocks of the file
//! outputs of the pipeline -> comment on a packet in the queue --^
//! ```
//!
//! Pure like the stages before it: [`Recorder::take`] hands out bytes, somebody else writes them. Findings come
//! some time after the frames they are about, so packets wait in a queue for [`limits::RECORD_HOLD_NS`]; a
//! finding that comes later stands on a packet without payload. Where both ends of a connection are traced,
//! one of them is written, the client's if possible.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod block;
mod comment;
mod conversation;
mod ending;
mod pairing;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::connection::ConnectionId;
use h2trace_core::connection::table::Table;
use h2trace_core::event::{
    Bytes, Direction, Event, Open, OtherProtocol, Segment, SocketKey, Timestamp, Unrecognised, What,
};
use h2trace_core::limits;
use h2trace_core::pipeline::{ConnectionInfo, Output, Protocol, Sink};

use crate::export::clock::WallClock;
use conversation::{Conversation, sender};
use pairing::Pairing;

/// Room that is kept in a bounded file for its last block.
const LAST_BLOCK: u64 = 512;

/// HTTP/1.1 calls that are kept until it is known whether HTTP/2 follows: one each way, and one to spare.
const BEFORE_MAX: usize = 3;

/// Server ports that are remembered for what is said at the end.
const SERVER_PORTS_MAX: usize = 8;

/// What went into the file, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingCounts {
    /// Connections with at least one packet.
    pub connections: u64,
    pub packets: u64,
    pub payload_bytes: u64,
    /// Findings that stand in comments.
    pub findings: u64,
    /// Places where bytes are missing.
    pub holes: u64,
    /// Bytes that passed and are missing.
    pub missing_bytes: u64,
    /// Packets that found no room in a file of limited size.
    pub beyond_size: u64,
    /// Times that [`limits::RECORD_WAITING`] was reached: packets were written before findings could come.
    pub limit_waiting: u64,
    /// Connections that were let go for others at [`limits::CONNECTIONS`].
    pub limit_connections: u64,
}

/// Blocks that are ready to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Whole blocks.
    pub bytes: Vec<u8>,
    /// Packets among them.
    pub packets: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct RecordingSettings {
    /// Turns the kernel's times into wall times.
    pub clock: WallClock,
    /// The least bad verdict that is worth a comment.
    pub shown_from: Verdict,
    /// The file grows to so many bytes at most.
    pub max_bytes: u64,
    /// So many bytes wait for findings at most ([`limits::RECORD_WAITING`], or less where memory is short).
    pub max_waiting: usize,
}

struct Socket {
    conversation: u64,
    /// The pipeline's number of it is known.
    named: bool,
}

struct PendingPacket {
    conversation: u64,
    bytes: Vec<u8>,
    payload: u64,
    comments: Vec<String>,
}

/// Makes the file.
pub struct Recorder {
    settings: RecordingSettings,
    sockets: Table<Socket>,
    conversations: HashMap<u64, Conversation>,
    pairing: Pairing,
    ids: HashMap<ConnectionId, u64>,
    queue: BTreeMap<(Timestamp, u64), PendingPacket>,
    /// Bytes of the queue.
    waiting: usize,
    /// Conversations with a reset that waits, in the order of its time.
    resets: VecDeque<(Timestamp, u64)>,
    /// Conversations that are over, and since when.
    over: VecDeque<(Timestamp, u64)>,
    next_number: u64,
    next_packet: u64,
    now: Timestamp,
    ready: Taken,
    written: u64,
    full: bool,
    server_ports: BTreeSet<u16>,
    counts: RecordingCounts,
}

impl Recorder {
    /// A file that begins now: its head is ready to be taken.
    #[must_use]
    pub fn new(settings: RecordingSettings) -> Recorder {
        let mut recorder = Recorder {
            settings,
            sockets: Table::new(limits::CONNECTIONS),
            conversations: HashMap::new(),
            pairing: Pairing::default(),
            ids: HashMap::new(),
            queue: BTreeMap::new(),
            waiting: 0,
            resets: VecDeque::new(),
            over: VecDeque::new(),
            next_number: 1,
            next_packet: 1,
            now: Timestamp(0),
            ready: Taken::default(),
            written: 0,
            full: false,
            server_ports: BTreeSet::new(),
            counts: RecordingCounts::default(),
        };
        let head = &mut recorder.ready.bytes;
        block::section(head, comment::APPLICATION, "Linux", comment::SECTION);
        block::interface(head, "h2trace");
        recorder.written = head.len() as u64;
        recorder
    }

    /// What went into the file so far.
    #[must_use]
    pub fn counts(&self) -> RecordingCounts {
        self.counts
    }

    /// A packet found no room in a file of limited size: nothing more is written.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// How many bytes of blocks are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.bytes.len()
    }

    /// Ports of servers in the file, some of them: Wireshark must be told that HTTP/2 is spoken there.
    pub fn server_ports(&self) -> impl Iterator<Item = u16> {
        self.server_ports.iter().copied()
    }

    /// Hands out the blocks that are ready.
    pub fn take(&mut self) -> Taken {
        std::mem::take(&mut self.ready)
    }

    /// Takes an event, oldest first; to be called before the pipeline takes it.
    pub fn event(&mut self, event: &Event<'_>) {
        let (key, at) = (event.socket, event.at);
        match &event.what {
            What::Open(open) => self.open(key, at, open),
            What::Bytes(bytes) => {
                if self.sockets.touch(&key, at).is_none() {
                    self.open(key, at, &Open::unseen());
                }
                self.bytes(key, at, bytes);
            }
            What::Unrecognised(unrecognised) => self.unrecognised(key, at, unrecognised),
            // What was opened of it is recorded as if it had been in clear.
            What::Tls(_) | What::TlsBytes(..) | What::OpenedBytes(..) | What::Opaque(..) => {}
            What::End(end) => self.end(key, at, end),
        }
    }

    /// The pipeline's number of a socket is worth asking for.
    pub fn wants_id(&mut self, key: &SocketKey) -> bool {
        self.sockets
            .peek_mut(key)
            .is_some_and(|socket| !socket.named)
    }

    /// The pipeline's number of a socket.
    pub fn name(&mut self, key: &SocketKey, id: ConnectionId) {
        let Some(socket) = self.sockets.peek_mut(key) else {
            return;
        };
        socket.named = true;
        let number = socket.conversation;
        if let Some(conversation) = self.conversations.get_mut(&number) {
            conversation.ids.push(id);
            if conversation.keys.first() == Some(key) {
                conversation.owner = Some(id);
            }
            self.ids.insert(id, number);
        }
    }

    /// Time passes: packets that no finding can be about any more become ready.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some((at, number)) = self.resets.front().copied() {
            if now.since(at) < limits::CONNECTION_LINGER_NS {
                break;
            }
            self.resets.pop_front();
            self.reset(number);
        }
        while let Some((at, _)) = self.queue.first_key_value().map(|(key, _)| *key) {
            if now.since(at) < limits::RECORD_HOLD_NS {
                break;
            }
            self.write_first();
        }
        while let Some((at, number)) = self.over.front().copied() {
            if now.since(at) < 2 * limits::HALF_CLOSED_QUIET_NS {
                break;
            }
            self.over.pop_front();
            self.forget(number);
        }
    }

    /// The recording ends: everything becomes ready, with `lost` records of the kernel side told at the end.
    pub fn finish(&mut self, now: Timestamp, lost: u64) {
        while let Some((_, number)) = self.resets.pop_front() {
            self.reset(number);
        }
        while !self.queue.is_empty() {
            self.write_first();
        }
        let counts = self.counts;
        let at_ns = self.settings.clock.unix_ns(now);
        let received = counts.packets + counts.beyond_size + lost;
        let dropped = counts.beyond_size + lost;
        let words = comment::end(&counts, lost);
        block::statistics(&mut self.ready.bytes, at_ns, received, dropped, &words);
    }

    fn open(&mut self, key: SocketKey, at: Timestamp, open: &Open) {
        let number = match self.pairing.twin(&key, open) {
            Some(number) => {
                self.join(number, key, at, open);
                number
            }
            None => self.converse(key, at, open),
        };
        let socket = Socket {
            conversation: number,
            named: false,
        };
        if let Some(evicted) = self.sockets.insert(key, at, socket) {
            self.counts.limit_connections += 1;
            self.is_over(evicted.1.conversation, at);
        }
    }

    /// A connection whose other end is not known.
    fn converse(&mut self, key: SocketKey, at: Timestamp, open: &Open) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let (place, words) = self.pairing.place(open);
        let mut conversation = Conversation::new(number, place, at);
        conversation.opened = open.opened;
        conversation.from_start = open.from_start;
        conversation.words = words;
        conversation.keys.push(key);
        self.pairing.add(&mut conversation, &key, open);
        self.conversations.insert(number, conversation);
        number
    }

    /// The other end of a connection that is known. If this is the client's, or more was seen of it, and nothing
    /// of the other stands in the file, this one is written in its stead: replay shows a connection from the
    /// client's end too.
    fn join(&mut self, number: u64, key: SocketKey, at: Timestamp, open: &Open) {
        let Some(conversation) = self.conversations.get_mut(&number) else {
            return;
        };
        conversation.keys.push(key);
        if !pairing::is_better(conversation, open) {
            return;
        }
        let queued = std::mem::take(&mut conversation.queued);
        let mut anew = Conversation::new(number, pairing::turned(conversation.place), at);
        anew.opened = open.opened;
        anew.from_start = open.from_start;
        anew.words = conversation.words.take();
        anew.ids = std::mem::take(&mut conversation.ids);
        anew.keys = std::mem::take(&mut conversation.keys);
        anew.keys.rotate_right(1);
        self.pairing.turn(conversation, &mut anew);
        for packet in queued {
            if let Some(packet) = self.queue.remove(&packet) {
                self.waiting = self.waiting.saturating_sub(packet.bytes.len());
                anew.comments.extend(packet.comments);
            }
        }
        anew.comments.append(&mut conversation.comments);
        *conversation = anew;
    }

    /// The conversation of a socket, if it is this end of it that is written.
    fn written_end(&mut self, key: &SocketKey) -> Option<&mut Conversation> {
        let number = self.sockets.peek_mut(key)?.conversation;
        let conversation = self.conversations.get_mut(&number)?;
        (conversation.keys.first() == Some(key) && !conversation.over).then_some(conversation)
    }

    fn bytes(&mut self, key: SocketKey, at: Timestamp, bytes: &Bytes<'_>) {
        let Some(conversation) = self.written_end(&key) else {
            return;
        };
        let number = conversation.number;
        if !conversation.begun {
            let before = std::mem::take(&mut conversation.before);
            let first = match bytes.segments().next() {
                Some(Segment::Bytes(first)) => first,
                _ => &[],
            };
            let (direction, first) = match before.first() {
                Some((_, direction, first)) => (*direction, first.as_slice()),
                None => (bytes.direction, first),
            };
            conversation.begin(direction, first);
            if conversation.from_start {
                let opened_at = conversation.opened_at;
                for packet in conversation.handshake() {
                    self.put(number, opened_at, packet, 0);
                }
            }
            for (at, direction, first) in before {
                // Its offset is not told. It is the first call of its direction.
                self.data(number, at, direction, 0, &first);
            }
        }
        let mut offset = bytes.offset;
        for segment in bytes.segments() {
            match segment {
                Segment::Bytes(piece) => {
                    self.data(number, at, bytes.direction, offset, piece);
                    offset = offset.saturating_add(piece.len() as u64);
                }
                Segment::Hole(len) => offset = offset.saturating_add(u64::from(len)),
            }
        }
        self.data(number, at, bytes.direction, offset, &[]);
    }

    /// Bytes at an offset; what is missing before it is counted.
    fn data(
        &mut self,
        number: u64,
        at: Timestamp,
        direction: Direction,
        offset: u64,
        piece: &[u8],
    ) {
        let side = sender(direction);
        let Some(conversation) = self.conversations.get_mut(&number) else {
            return;
        };
        let (missing, known) = conversation.go_to(side, offset);
        let known = usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        let fresh = piece.get(known..).unwrap_or_default();
        self.counts.missing_bytes += missing;
        self.counts.holes += u64::from(missing > 0);
        for payload in fresh.chunks(segment::PAYLOAD_MAX) {
            if let Some(conversation) = self.conversations.get_mut(&number) {
                let packet = conversation.data(side, payload);
                self.put(number, at, packet, payload.len() as u64);
            }
        }
    }

    fn unrecognised(&mut self, key: SocketKey, at: Timestamp, unrecognised: &Unrecognised<'_>) {
        let Some(conversation) = self.written_end(&key) else {
            return;
        };
        if unrecognised.protocol != OtherProtocol::Http1 {
            let number = conversation.number;
            self.is_over(number, at);
        } else if !conversation.begun && conversation.before.len() < BEFORE_MAX {
            let (direction, first) = (unrecognised.direction, unrecognised.first.to_vec());
            // Only the first call each way stands at a known place.
            if conversation.before.iter().all(|(_, d, _)| *d != direction) {
                conversation.before.push((at, direction, first));
            }
        }
    }

    /// Puts a packet into the queue.
    fn put(&mut self, number: u64, at: Timestamp, bytes: Vec<u8>, payload: u64) {
        let Some(conversation) = self.conversations.get_mut(&number) else {
            return;
        };
        let at = at.max(conversation.last_at);
        conversation.last_at = at;
        let key = (at, self.next_packet);
        self.next_packet += 1;
        conversation.queued.insert(key);
        let comments = std::mem::take(&mut conversation.comments);
        self.waiting = self.waiting.saturating_add(bytes.len());
        let packet = PendingPacket {
            conversation: number,
            bytes,
            payload,
            comments,
        };
        self.queue.insert(key, packet);
        while self.waiting > self.settings.max_waiting {
            self.counts.limit_waiting += 1;
            self.write_first();
        }
    }

    /// The oldest packet of the queue goes into the file.
    fn write_first(&mut self) {
        let Some((key, packet)) = self.queue.pop_first() else {
            return;
        };
        self.waiting = self.waiting.saturating_sub(packet.bytes.len());
        let mut is_first = false;
        if let Some(conversation) = self.conversations.get_mut(&packet.conversation) {
            conversation.queued.remove(&key);
            is_first = !std::mem::replace(&mut conversation.written, true);
        }
        if self.full {
            self.counts.beyond_size += 1;
            return;
        }
        let start = self.ready.bytes.len();
        let at_ns = self.settings.clock.unix_ns(key.0);
        block::packet(
            &mut self.ready.bytes,
            at_ns,
            &packet.bytes,
            &packet.comments,
        );
        let grown = (self.ready.bytes.len() - start) as u64;
        if self.written + grown + LAST_BLOCK > self.settings.max_bytes {
            self.ready.bytes.truncate(start);
            self.full = true;
            self.counts.beyond_size += 1;
            return;
        }
        self.written += grown;
        self.ready.packets += 1;
        self.counts.connections += u64::from(is_first);
        self.counts.packets += 1;
        self.counts.payload_bytes += packet.payload;
    }

    /// A comment on the last packet of a conversation up to `at`, or on one of its own.
    fn comment(&mut self, number: u64, at: Timestamp, words: String) {
        let Some(conversation) = self.conversations.get(&number) else {
            return;
        };
        let last = conversation.queued.range(..=(at, u64::MAX)).next_back();
        if let Some(packet) = last.and_then(|key| self.queue.get_mut(key)) {
            packet.comments.push(words);
            return;
        }
        if !conversation.begun {
            return;
        }
        let packet = conversation.nothing();
        if let Some(conversation) = self.conversations.get_mut(&number) {
            conversation.comments.push(words);
        }
        self.put(number, at, packet, 0);
    }

    fn finding(&mut self, info: &ConnectionInfo, finding: &Finding, at: Timestamp) {
        if finding.verdict < self.settings.shown_from {
            return;
        }
        if let Some(number) = self.ids.get(&info.id).copied() {
            self.counts.findings += 1;
            self.comment(number, at, comment::finding(info, finding));
        }
    }

    /// Says whose connection it is, at its first packet.
    fn introduce(&mut self, info: &ConnectionInfo) {
        let Some(number) = self.ids.get(&info.id).copied() else {
            return;
        };
        let Some(conversation) = self.conversations.get_mut(&number) else {
            return;
        };
        if conversation.correct(info) {
            for key in &conversation.queued {
                if let Some(packet) = self.queue.get_mut(key) {
                    segment::turn(&mut packet.bytes);
                }
            }
        }
        if self.server_ports.len() < SERVER_PORTS_MAX {
            self.server_ports.extend(conversation.server_port(info));
        }
        let mut words = vec![comment::connection(info, conversation.address_of(info))];
        words.extend(conversation.words.take());
        let first = conversation.queued.first();
        match first.and_then(|key| self.queue.get_mut(key)) {
            Some(packet) if !conversation.written => packet.comments.extend(words),
            _ => conversation.comments.extend(words),
        }
    }
}

impl Sink for Recorder {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Connection(info) if info.protocol == Protocol::Http2 => self.introduce(info),
            Output::Stream {
                info,
                record,
                findings,
            } => {
                for finding in findings {
                    self.finding(info, finding, record.last_at);
                }
            }
            Output::Finding { info, finding } => self.finding(info, finding, finding.at),
            _ => {}
        }
    }
}
