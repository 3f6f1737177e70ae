//! Arbitrary operations on the streams of one connection, and the rules' judgement of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use h2trace_core::anomaly::Rules;
use h2trace_core::anomaly::kind::Verdict;
use h2trace_core::connection::{ConnectionEnd, ConnectionId, Endpoint};
use h2trace_core::event::Timestamp;
use h2trace_core::frame::head::Head;
use h2trace_core::frame::{
    DataHead, DataPiece, ErrorCode, Fault, Field, Frame, HeaderBlock, Rule, Step, StreamId,
    Violation,
};
use h2trace_core::limits::{self, Limit};
use h2trace_core::stream::record::StreamEvent;
use h2trace_core::stream::table::{Context, Shown, StreamTable};

use crate::bounded;
use crate::sound::{finding_is_sound, record_is_sound};

/// Something that happens on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// HEADERS with the fields that these bits choose of [`FIELDS`].
    Headers {
        by: bool,
        id: u8,
        end: bool,
        fields: u32,
    },
    /// A whole DATA frame: a message prefix with this length, if any, and so many bytes unseen.
    Data {
        by: bool,
        id: u8,
        end: bool,
        prefix: Option<u16>,
        len: u16,
    },
    /// DATA of which only the beginning comes.
    HalfData { by: bool, id: u8, len: u16 },
    Reset { by: bool, id: u8, code: u8 },
    WindowUpdate { by: bool, id: u8, increment: u32 },
    Settings { by: bool, parameter: u8, value: u32 },
    SettingsAck { by: bool },
    Ping { by: bool, ack: bool, data: u8 },
    /// GOAWAY; `last` 255: every stream.
    GoAway {
        by: bool,
        last: u8,
        code: u8,
        calm: bool,
    },
    PushPromise { by: bool, id: u8, promised: u8 },
    /// A broken rule.
    Violation { id: u8 },
    /// Something was not seen.
    Fault { by: bool, which: u8 },
    /// Frames may have been missed.
    Lost { by: bool },
    /// So many milliseconds pass.
    Advance { ms: u16 },
    /// The end begins.
    EndBegun { why: u8 },
    /// Another connection needs room.
    Relieve,
    /// The connection ended.
    Ended { why: u8 },
}

const FIELDS: [(&str, &str); 20] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "a"),
    (":status", "200"),
    (":status", "100"),
    (":status", "503"),
    ("content-type", "application/grpc"),
    ("content-type", "text/html"),
    ("content-length", "7"),
    ("grpc-status", "0"),
    ("grpc-status", "14"),
    ("grpc-status", "00"),
    ("grpc-timeout", "1S"),
    ("grpc-message", "no"),
    ("te", "trailers"),
    ("Upper", "x"),
    ("connection", "close"),
    ("cookie", "secret"),
    ("?", ""),
];

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let head: u8 = u.arbitrary()?;
        let by = head & 0x80 != 0;
        let end = head & 0x40 != 0;
        Ok(match head & 0x1f {
            0..=4 => Operation::Headers {
                by,
                end,
                id: u.arbitrary()?,
                fields: u.arbitrary()?,
            },
            5..=7 => Operation::Data {
                by,
                end,
                id: u.arbitrary()?,
                prefix: Some(u.arbitrary()?),
                len: u.arbitrary()?,
            },
            8 | 9 => Operation::Data {
                by,
                end,
                id: u.arbitrary()?,
                prefix: None,
                len: u.arbitrary()?,
            },
            10 => Operation::HalfData {
                by,
                id: u.arbitrary()?,
                len: u.arbitrary()?,
            },
            11 | 12 => Operation::Reset {
                by,
                id: u.arbitrary()?,
                code: u.arbitrary()?,
            },
            13 => Operation::WindowUpdate {
                by,
                id: u.arbitrary()?,
                increment: u.arbitrary()?,
            },
            14 => Operation::Settings {
                by,
                parameter: u.arbitrary()?,
                value: u.arbitrary()?,
            },
            15 => Operation::SettingsAck { by },
            16 => Operation::Ping {
                by,
                ack: end,
                data: u.arbitrary()?,
            },
            17 => Operation::GoAway {
                by,
                calm: end,
                last: u.arbitrary()?,
                code: u.arbitrary()?,
            },
            18 => Operation::PushPromise {
                by,
                id: u.arbitrary()?,
                promised: u.arbitrary()?,
            },
            19 => Operation::Violation { id: u.arbitrary()? },
            20 => Operation::Fault {
                by,
                which: u.arbitrary()?,
            },
            21 => Operation::Lost { by },
            22 => Operation::EndBegun {
                why: u.arbitrary()?,
            },
            23 => Operation::Relieve,
            24 => Operation::Ended {
                why: u.arbitrary()?,
            },
            _ => Operation::Advance { ms: u.arbitrary()? },
        })
    }
}

impl Operation {
    /// The input that becomes it.
    pub fn encode(&self, input: &mut Vec<u8>) {
        let head = |kind: u8, by: bool, end: bool| kind | u8::from(by) << 7 | u8::from(end) << 6;
        match *self {
            Operation::Headers {
                by,
                id,
                end,
                fields,
            } => {
                input.extend([head(0, by, end), id]);
                input.extend(fields.to_le_bytes());
            }
            Operation::Data {
                by,
                id,
                end,
                prefix,
                len,
            } => {
                input.extend([head(if prefix.is_some() { 5 } else { 8 }, by, end), id]);
                input.extend(prefix.iter().flat_map(|prefix| prefix.to_le_bytes()));
                input.extend(len.to_le_bytes());
            }
            Operation::HalfData { by, id, len } => {
                input.extend([head(10, by, false), id]);
                input.extend(len.to_le_bytes());
            }
            Operation::Reset { by, id, code } => input.extend([head(11, by, false), id, code]),
            Operation::WindowUpdate { by, id, increment } => {
                input.extend([head(13, by, false), id]);
                input.extend(increment.to_le_bytes());
            }
            Operation::Settings {
                by,
                parameter,
                value,
            } => {
                input.extend([head(14, by, false), parameter]);
                input.extend(value.to_le_bytes());
            }
            Operation::SettingsAck { by } => input.push(head(15, by, false)),
            Operation::Ping { by, ack, data } => input.extend([head(16, by, ack), data]),
            Operation::GoAway {
                by,
                last,
                code,
                calm,
            } => {
                input.extend([head(17, by, calm), last, code]);
            }
            Operation::PushPromise { by, id, promised } => {
                input.extend([head(18, by, false), id, promised]);
            }
            Operation::Violation { id } => input.extend([19, id]),
            Operation::Fault { by, which } => input.extend([head(20, by, false), which]),
            Operation::Lost { by } => input.push(head(21, by, false)),
            Operation::EndBegun { why } => input.extend([22, why]),
            Operation::Relieve => input.push(23),
            Operation::Ended { why } => input.extend([24, why]),
            Operation::Advance { ms } => {
                input.push(25);
                input.extend(ms.to_le_bytes());
            }
        }
    }
}

/// The first byte: which end is observed, and whether from the start.
pub fn run(data: &[u8]) {
    bounded(data.len(), 4 << 20, 2_048, || drive(data));
}

struct Watch {
    table: StreamTable,
    rules: Rules,
    now: u64,
    /// By stream: opened and not ended.
    open: BTreeMap<StreamId, i32>,
    /// Ends of the connection.
    ended: u32,
}

fn drive(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(first) = u.arbitrary::<u8>() else {
        return;
    };
    let role = [None, Some(Endpoint::Client), Some(Endpoint::Server), None][usize::from(first % 4)];
    let mut table = StreamTable::new(ConnectionId(1), Arc::new(Shown::default()), first & 4 != 0);
    table.set_role(role);
    let mut watch = Watch {
        table,
        rules: Rules::new(),
        now: 1_000_000_000,
        open: BTreeMap::new(),
        ended: 0,
    };
    while !u.is_empty() {
        let Ok(operation) = Operation::arbitrary(&mut u) else {
            break;
        };
        watch.take(&operation);
    }
    watch.table.advance(Timestamp(watch.now));
    watch
        .table
        .connection_ended(ConnectionEnd::PeerFin, Timestamp(watch.now));
    watch.events();
    assert_eq!(watch.table.live(), 0);
    assert!(
        watch.open.is_empty(),
        "streams that never ended: {:?}",
        watch.open
    );
    assert!(
        watch.ended <= 1,
        "the connection ended {} times",
        watch.ended
    );
}

impl Watch {
    fn step(&mut self, by: bool, step: &Step) {
        self.now += 20_000;
        let context = Context {
            at: Timestamp(self.now),
            tid: 2,
            pid: 1,
        };
        let sender = if by {
            Endpoint::Server
        } else {
            Endpoint::Client
        };
        self.table.step(sender, step, context);
    }

    fn frame(&mut self, by: bool, frame: Frame) {
        self.step(
            by,
            &Step::Frame {
                len: 0,
                flags: 0,
                frame,
            },
        );
    }

    fn take(&mut self, operation: &Operation) {
        let id = |id: u8| StreamId(u32::from(id));
        match *operation {
            Operation::Headers {
                by,
                id: stream,
                end,
                fields,
            } => {
                let frame = Frame::Headers {
                    stream_id: id(stream),
                    end_stream: end,
                    priority: None,
                    block: block(fields).into(),
                };
                self.frame(by, frame);
            }
            Operation::Data {
                by,
                id: stream,
                end,
                prefix,
                len,
            } => {
                let head = data(
                    stream,
                    u32::from(len) + if prefix.is_some() { 5 } else { 0 },
                    end,
                );
                self.step(by, &Step::DataBegin(head));
                if let Some(prefix) = prefix {
                    let mut bytes = vec![0, 0, 0];
                    bytes.extend(prefix.to_be_bytes());
                    self.body(by, stream, DataPiece::copy_of(&bytes));
                }
                if len > 0 {
                    self.body(by, stream, DataPiece::Hole(u32::from(len)));
                }
                self.step(by, &Step::DataEnd(head));
            }
            Operation::HalfData {
                by,
                id: stream,
                len,
            } => {
                self.step(by, &Step::DataBegin(data(stream, u32::from(len) + 1, true)));
                self.body(by, stream, DataPiece::Hole(u32::from(len).max(1)));
            }
            Operation::Reset {
                by,
                id: stream,
                code,
            } => {
                let code = ErrorCode(u32::from(code % 16));
                self.frame(
                    by,
                    Frame::RstStream {
                        stream_id: id(stream),
                        code,
                    },
                );
            }
            Operation::WindowUpdate {
                by,
                id: stream,
                increment,
            } => {
                self.frame(
                    by,
                    Frame::WindowUpdate {
                        stream_id: id(stream),
                        increment,
                    },
                );
            }
            Operation::Settings {
                by,
                parameter,
                value,
            } => {
                self.frame(by, Frame::Settings(vec![(u16::from(parameter % 9), value)]));
            }
            Operation::SettingsAck { by } => self.frame(by, Frame::SettingsAck),
            Operation::Ping { by, ack, data } => self.frame(
                by,
                Frame::Ping {
                    ack,
                    data: [data; 8],
                },
            ),
            Operation::GoAway {
                by,
                last,
                code,
                calm,
            } => {
                let last = if last == 255 {
                    0x7fff_ffff
                } else {
                    u32::from(last)
                };
                let debug: &[u8] = if calm { b"too_many_pings" } else { b"" };
                let frame = Frame::GoAway {
                    last_stream_id: StreamId(last),
                    code: ErrorCode(u32::from(code % 16)),
                    debug: Bytes::from_static(debug),
                };
                self.frame(by, frame);
            }
            Operation::PushPromise {
                by,
                id: stream,
                promised,
            } => {
                let (stream_id, promised, block) = (id(stream), id(promised), block(7));
                self.frame(
                    by,
                    Frame::PushPromise {
                        stream_id,
                        promised,
                        block: block.into(),
                    },
                );
            }
            Operation::Violation { id: stream } => {
                let violation = Violation {
                    frame: Head::default(),
                    stream_id: id(stream),
                    code: ErrorCode::PROTOCOL_ERROR,
                    connection_error: stream == 0,
                    rule: Rule::PingLength,
                };
                self.step(false, &Step::Violation(violation));
            }
            Operation::Fault { by, which } => {
                let faults = [
                    Fault::Gap,
                    Fault::HoleInFrame,
                    Fault::HeaderBlockLost,
                    Fault::Implausible,
                    Fault::Limit(Limit::HeaderList),
                    Fault::Limit(Limit::FramePayload),
                ];
                self.step(by, &Step::Fault(faults[usize::from(which) % faults.len()]));
            }
            Operation::Lost { by } => {
                let sender = if by {
                    Endpoint::Server
                } else {
                    Endpoint::Client
                };
                self.table.lost(sender, Timestamp(self.now));
            }
            Operation::Advance { ms } => self.advance(u64::from(ms) * 1_000_000),
            Operation::EndBegun { why } => self.table.end_begun(Some(end(why))),
            Operation::Relieve => self.table.relieve(Timestamp(self.now)),
            Operation::Ended { why } => {
                self.table.connection_ended(end(why), Timestamp(self.now));
            }
        }
        self.events();
        assert!(self.open.len() <= limits::STREAMS_PER_CONNECTION);
        assert!(self.table.live() <= self.open.len());
    }

    fn body(&mut self, by: bool, stream: u8, piece: DataPiece) {
        let stream_id = StreamId(u32::from(stream));
        self.step(by, &Step::DataBody { stream_id, piece });
    }

    /// Time passes as a driver lets it: not beyond what is due next at once.
    fn advance(&mut self, ns: u64) {
        let until = self.now + ns;
        for _ in 0..64 {
            let Some(due) = self.table.next_due().filter(|due| due.0 <= until) else {
                break;
            };
            self.now = self.now.max(due.0);
            self.table.advance(Timestamp(self.now));
            self.events();
            let next = self.table.next_due();
            assert!(
                next.is_none_or(|next| next.0 > self.now),
                "a wake-up that does nothing"
            );
        }
        self.now = until;
        self.table.advance(Timestamp(self.now));
    }

    fn events(&mut self) {
        while let Some(event) = self.table.poll() {
            for finding in self.rules.judge(&event) {
                finding_is_sound(&finding);
                if let StreamEvent::Ended(record) = &event {
                    assert_eq!(finding.stream_id, record.stream_id);
                    assert!(
                        record.whole || finding.verdict <= Verdict::Unknown,
                        "{finding:?}"
                    );
                }
            }
            match &event {
                StreamEvent::Opened { stream_id, .. } => {
                    assert!(self.open.insert(*stream_id, 1).is_none(), "opened twice");
                }
                StreamEvent::Ended(record) => {
                    record_is_sound(record);
                    assert!(self.open.remove(&record.stream_id).is_some(), "ended twice");
                }
                StreamEvent::ConnectionEnded { .. } => self.ended += 1,
                _ => {}
            }
        }
        assert_eq!(self.rules.take_limit_hits().iter().next(), None);
    }
}

fn end(why: u8) -> ConnectionEnd {
    [
        ConnectionEnd::LocalClose,
        ConnectionEnd::PeerFin,
        ConnectionEnd::PeerReset,
        ConnectionEnd::LocalReset,
        ConnectionEnd::Unknown,
    ][usize::from(why % 5)]
}

fn data(stream: u8, len: u32, end_stream: bool) -> DataHead {
    DataHead {
        stream_id: StreamId(u32::from(stream)),
        flow_len: len,
        end_stream,
        padded: false,
    }
}

fn block(bits: u32) -> HeaderBlock {
    let chosen = FIELDS
        .iter()
        .enumerate()
        .filter(|(n, _)| bits >> n & 1 == 1);
    let fields: Vec<Field> = chosen
        .map(|(_, (name, value))| match *name {
            "?" => Field::unseen(),
            name => Field::new(Some(name.as_bytes()), Some(value.as_bytes())),
        })
        .collect();
    let complete = fields.iter().all(|field| field.name().is_some());
    HeaderBlock::new(fields, complete, 10)
}
