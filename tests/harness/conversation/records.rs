//! A conversation as the records that the kernel programs write of one of its ends: frame headers, header
//! blocks and message prefixes copied, the rest counted (`tracer-ebpf/src/walk`).

use std::collections::HashMap;

use tracer_ebpf::event::{self, BOUNDARY_UNKNOWN, Bytes, Header, SEGMENT_HOLE};
use tracer_ebpf::http2::{Head, PREFACE, flag, frame_type};

use super::{Conversation, Side};

/// DATA up to this length is copied whole.
const DATA_COPY_WHOLE_MAX: usize = event::DATA_COPY_WHOLE_MAX as usize;
/// Payload of one other frame that is copied.
const FRAME_COPY_MAX: usize = event::FRAME_COPY_MAX as usize;
/// Where a record is closed and the next one begun.
const RECORD_FULL: usize = 15 * 1024;
/// Bytes that are copied at once.
const CHUNK: usize = 512;
const HEADER: usize = size_of::<Header>();
const BYTES_BODY: usize = size_of::<Bytes>();

/// One record of the ring, and what a test may want to know of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// It tells bytes of a connection: to lose it makes a gap.
    pub is_bytes: bool,
    /// Where in its direction it stands, and how many bytes it covers.
    pub offset: u64,
    /// See `offset`.
    pub len: usize,
}

/// How a conversation is observed.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// At which end.
    pub end: Side,
    /// Number of the socket.
    pub socket: u64,
    /// When the conversation began, in nanoseconds.
    pub at_ns: u64,
    /// Bytes of each side (client, server) that went by before the tracer came. It is sure of nothing then:
    /// with 0 the connection is seen from its first byte.
    pub unseen: [usize; 2],
    /// The kernel programs know where frames begin. (They do not where they came in the middle of one.)
    pub knows_boundaries: bool,
    /// Payload is copied whole, as of a capture file.
    pub copies_all: bool,
}

impl Observed {
    /// From its first byte.
    #[must_use]
    pub const fn from_start(end: Side) -> Observed {
        Observed {
            end,
            socket: 1,
            at_ns: 1_000_000_000,
            unseen: [0, 0],
            knows_boundaries: true,
            copies_all: false,
        }
    }
}

/// What the kernel programs write of a conversation.
#[must_use]
pub fn of(conversation: &Conversation, observed: &Observed) -> Vec<Record> {
    let from_start = observed.unseen == [0, 0];
    let mut walkers = [Walker::new(true), Walker::new(false)];
    let mut records = Vec::new();
    let mut last_at = observed.at_ns;
    let mut opened = false;
    for write in &conversation.writes {
        last_at = observed.at_ns + write.at_ns;
        let walker = &mut walkers[write.by.index()];
        walker.knows_boundaries = observed.knows_boundaries;
        walker.copies_all = observed.copies_all;
        let hidden = observed.unseen[write.by.index()].saturating_sub(walker.seen);
        let (before, seen) = write.bytes.split_at(hidden.min(write.bytes.len()));
        walker.seen += write.bytes.len();
        walker.pass(before);
        if seen.is_empty() {
            continue;
        }
        if !opened {
            opened = true;
            records.push(open(observed, last_at, from_start));
        }
        let towards = if write.by == observed.end { 0 } else { 1 };
        walker.call(seen, observed, towards, last_at, &mut records);
    }
    if conversation.closes {
        let ours = observed.end == Side::Client;
        let causes: &[u8] = if ours { &[1, 2, 5] } else { &[2, 1, 5] };
        let by_end = |end: Side| walkers[end.index()].offset;
        let offsets = [by_end(observed.end), by_end(observed.end.other())];
        for cause in causes {
            last_at += 10_000;
            records.push(end(observed, last_at, *cause, offsets));
        }
    }
    records
}

fn header(kind: u8, direction: u8, observed: &Observed, at_ns: u64) -> Vec<u8> {
    let mut bytes = vec![kind, direction, 0, 0, 0, 0, 0, 0];
    bytes.extend(at_ns.to_le_bytes());
    bytes.extend((0xffff_0000_0000_0000 | observed.socket).to_le_bytes());
    bytes.extend(observed.at_ns.to_le_bytes());
    bytes.extend(4_242_u32.to_le_bytes());
    bytes.extend(4_243_u32.to_le_bytes());
    bytes.extend(77_u64.to_le_bytes());
    bytes
}

fn finished(mut bytes: Vec<u8>, tells: Option<(u64, usize)>) -> Record {
    let len = u32::try_from(bytes.len()).unwrap_or(0);
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    Record {
        bytes,
        is_bytes: tells.is_some(),
        offset: tells.map_or(0, |(offset, _)| offset),
        len: tells.map_or(0, |(_, len)| len),
    }
}

fn open(observed: &Observed, at_ns: u64, from_start: bool) -> Record {
    let mut bytes = header(1, 0, observed, at_ns);
    let opened = match (from_start, observed.end) {
        (false, _) => 0,
        (true, Side::Client) => 1,
        (true, Side::Server) => 2,
    };
    let client = (40_000_u16, [10, 0, 0, 1]);
    let server = (8_080_u16, [10, 0, 0, 2]);
    let (local, peer) = match observed.end {
        Side::Client => (client, server),
        Side::Server => (server, client),
    };
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend([opened, u8::from(from_start)]);
    bytes.extend(local.0.to_le_bytes());
    bytes.extend(peer.0.to_le_bytes());
    for (_, address) in [local, peer] {
        bytes.extend(address);
        bytes.extend([0; 12]);
    }
    bytes.extend(4_026_531_840_u32.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(observed.socket.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(b"orders\0\0\0\0\0\0\0\0\0\0");
    bytes.extend([0; 112]);
    finished(bytes, None)
}

fn end(observed: &Observed, at_ns: u64, cause: u8, offsets: [u64; 2]) -> Record {
    let mut bytes = header(3, 0, observed, at_ns);
    bytes.extend([cause, 0, 0, 0, 0, 0, 0, 0]);
    for offset in offsets {
        bytes.extend(offset.to_le_bytes());
    }
    finished(bytes, None)
}

/// Where a walker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Preface { left: usize },
    Head,
    Payload { left: usize, copy: usize },
    Data { left: usize, pad: bool, tail: usize },
}

/// A gRPC message that goes on in the stream's next DATA.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    prefix: [u8; 5],
    prefix_len: usize,
    left: usize,
}

struct Walker {
    position: Position,
    head: Vec<u8>,
    messages: HashMap<u32, Message>,
    /// Offset of the next byte, from the first one seen.
    offset: u64,
    /// Bytes of the conversation that this side has said.
    seen: usize,
    knows_boundaries: bool,
    copies_all: bool,
}

/// A run of bytes: copied or counted.
type Taken = (usize, bool);

impl Walker {
    fn new(client: bool) -> Walker {
        let preface = Position::Preface {
            left: PREFACE.len(),
        };
        Walker {
            position: if client { preface } else { Position::Head },
            head: Vec::new(),
            messages: HashMap::new(),
            offset: 0,
            seen: 0,
            knows_boundaries: true,
            copies_all: false,
        }
    }

    /// Bytes that the tracer did not see: only the place is kept.
    fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (n, _) = self.take(rest);
            rest = &rest[n..];
        }
    }

    /// One socket call.
    fn call(
        &mut self,
        bytes: &[u8],
        observed: &Observed,
        towards: u8,
        at_ns: u64,
        records: &mut Vec<Record>,
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = self.offset;
            let mut record = header(2, towards, observed, at_ns);
            record.extend(offset.to_le_bytes());
            record.extend([0; 4]);
            self.boundary(&mut record);
            let mut last: Option<(usize, bool)> = None;
            while !rest.is_empty() && record.len() < RECORD_FULL {
                // What is copied is copied in chunks, so that a record can end in between.
                let (n, copied) = self.take(&rest[..rest.len().min(CHUNK)]);
                let copied = copied || self.copies_all;
                let (now, later) = rest.split_at(n);
                rest = later;
                self.offset += n as u64;
                let at = match last {
                    Some((at, was)) if was == copied => at,
                    _ => {
                        record.extend([0; 4]);
                        last = Some((record.len() - 4, copied));
                        record.len() - 4
                    }
                };
                let mut word = [0; 4];
                word.copy_from_slice(&record[at..at + 4]);
                let len = (u32::from_le_bytes(word) & !SEGMENT_HOLE) + n as u32;
                let flag = if copied { 0 } else { SEGMENT_HOLE };
                record[at..at + 4].copy_from_slice(&(len | flag).to_le_bytes());
                if copied {
                    record.extend(now);
                }
            }
            let total = (self.offset - offset) as u32;
            record[HEADER + 8..HEADER + 12].copy_from_slice(&total.to_le_bytes());
            records.push(finished(record, Some((offset, total as usize))));
        }
    }

    /// What a record says of the place where it begins.
    fn boundary(&self, record: &mut Vec<u8>) {
        let (mut after, mut stream, mut kind, mut flags) = (0, 0, 0, 0);
        let mut partial = [0; 9];
        match self.position {
            _ if !self.knows_boundaries => after = BOUNDARY_UNKNOWN,
            Position::Preface { .. } => after = BOUNDARY_UNKNOWN,
            Position::Head => partial[..self.head.len()].copy_from_slice(&self.head),
            Position::Payload { left, .. } | Position::Data { left, .. } => {
                after = left as u32;
                (_, kind, flags, stream) = self.frame();
            }
        }
        let partial_len = if self.knows_boundaries && self.position == Position::Head {
            self.head.len()
        } else {
            0
        };
        record.extend(after.to_le_bytes());
        record.push(partial_len as u8);
        record.extend(partial);
        let confidence = if self.knows_boundaries { 2 } else { 0 };
        record.extend([confidence, 0, 0, 0, 0, 0]);
        record.extend(stream.to_le_bytes());
        record.extend([kind, flags, 0, 0]);
        debug_assert_eq!(record.len(), HEADER + BYTES_BODY);
    }

    /// Length, type, flags and stream of the current frame.
    fn frame(&self) -> (usize, u8, u8, u32) {
        let Ok(bytes) = <[u8; Head::LEN]>::try_from(&self.head[..]) else {
            return (0, 0, 0, 0);
        };
        let head = Head::parse(bytes);
        (
            head.len as usize,
            head.frame_type,
            head.flags,
            head.stream(),
        )
    }

    /// Takes some of `bytes`, which are not empty: how many, and whether they are copied.
    fn take(&mut self, bytes: &[u8]) -> Taken {
        match self.position {
            Position::Preface { left } => {
                let n = left.min(bytes.len());
                self.position = if n == left {
                    Position::Head
                } else {
                    Position::Preface { left: left - n }
                };
                (n, true)
            }
            Position::Head => {
                let n = (Head::LEN - self.head.len()).min(bytes.len());
                self.head.extend(&bytes[..n]);
                if self.head.len() == Head::LEN {
                    self.begin();
                }
                (n, true)
            }
            Position::Payload { left, copy } => {
                let copied = copy > 0;
                let n = left.min(bytes.len()).min(if copied { copy } else { left });
                self.go_on(Position::Payload {
                    left: left - n,
                    copy: copy.saturating_sub(n),
                });
                (n, copied)
            }
            Position::Data { left, pad, tail } => self.data(bytes, left, pad, tail),
        }
    }

    fn begin(&mut self) {
        let (len, kind, flags, _) = self.frame();
        self.go_on(if kind == frame_type::DATA {
            Position::Data {
                left: len,
                pad: flags & flag::PADDED != 0,
                tail: 0,
            }
        } else {
            Position::Payload {
                left: len,
                copy: len.min(FRAME_COPY_MAX),
            }
        });
    }

    fn go_on(&mut self, position: Position) {
        self.position = position;
        if let Position::Payload { left: 0, .. } | Position::Data { left: 0, .. } = position {
            self.position = Position::Head;
            self.head.clear();
        }
    }

    fn data(&mut self, bytes: &[u8], left: usize, pad: bool, tail: usize) -> Taken {
        let (len, _, _, stream) = self.frame();
        let whole = len <= DATA_COPY_WHOLE_MAX;
        if pad {
            let tail = usize::from(bytes[0]);
            self.go_on(Position::Data {
                left: left - 1,
                pad: false,
                tail,
            });
            return (1, true);
        }
        let rest = left.saturating_sub(tail);
        let message = self.messages.entry(stream).or_default();
        let (n, copied) = if rest == 0 {
            (left.min(bytes.len()), false)
        } else if message.left > 0 {
            let n = message.left.min(rest).min(bytes.len());
            message.left -= n;
            (n, false)
        } else {
            let n = (5 - message.prefix_len).min(rest).min(bytes.len());
            message.prefix[message.prefix_len..message.prefix_len + n].copy_from_slice(&bytes[..n]);
            message.prefix_len += n;
            if message.prefix_len == 5 {
                let [_, a, b, c, d] = message.prefix;
                message.left = u32::from_be_bytes([a, b, c, d]) as usize;
                message.prefix_len = 0;
            }
            (n, true)
        };
        self.go_on(Position::Data {
            left: left - n,
            pad: false,
            tail,
        });
        (n, copied || whole)
    }
}
