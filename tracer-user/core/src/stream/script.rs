//! Steps written by hand, for tests of this stage and the next.

use std::sync::Arc;

use bytes::Bytes;

use crate::connection::{ConnectionEnd, ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::{
    DataHead, DataPiece, ErrorCode, Fault, Field, Frame, HeaderBlock, Step, StreamId,
};
use crate::limits;
use crate::stream::record::{StreamEvent, StreamRecord};
use crate::stream::table::{Context, Shown, StreamTable};

pub(crate) use Endpoint::{Client as C, Server as S};

/// A millisecond of event time.
pub(crate) const MS: u64 = 1_000_000;

/// A block that was decoded whole.
pub(crate) fn block(fields: &[(&str, &str)]) -> HeaderBlock {
    let field =
        |(name, value): &(&str, &str)| Field::new(Some(name.as_bytes()), Some(value.as_bytes()));
    HeaderBlock::new(fields.iter().map(field).collect(), true, 20)
}

/// A block of which nothing could be decoded (indices older than the attach).
pub(crate) fn unseen_block(n_fields: usize) -> HeaderBlock {
    let mut block = HeaderBlock::new(vec![Field::unseen(); n_fields], false, 2);
    block.list_size = 0;
    block
}

/// A request's HEADERS as gRPC sends them.
pub(crate) fn grpc_request() -> HeaderBlock {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/test.Test/Call"),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// A response's HEADERS as gRPC sends them.
pub(crate) fn grpc_response() -> HeaderBlock {
    block(&[(":status", "200"), ("content-type", "application/grpc")])
}

/// Trailers with this status.
pub(crate) fn trailers(status: &str) -> HeaderBlock {
    block(&[("grpc-status", status), ("grpc-message", "")])
}

/// A gRPC message with its prefix.
pub(crate) fn message(len: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.resize(5 + len as usize, 7);
    bytes
}

/// A stream table and a clock. Each step takes 100 microseconds unless told otherwise.
pub(crate) struct Script {
    pub(crate) table: StreamTable,
    pub(crate) now: u64,
    /// The thread that makes the calls.
    pub(crate) tid: u32,
}

impl Script {
    /// The client's end of a connection seen from its first byte.
    pub(crate) fn new() -> Self {
        Script::at(Some(C), true)
    }

    /// Attached in the middle of a connection.
    pub(crate) fn late() -> Self {
        Script::at(Some(C), false)
    }

    /// This end of a connection.
    pub(crate) fn at(role: Option<Endpoint>, from_start: bool) -> Self {
        Script::on(1, role, from_start)
    }

    /// This end of the connection of this number.
    pub(crate) fn on(connection: u64, role: Option<Endpoint>, from_start: bool) -> Self {
        let shown = Arc::new(Shown::default());
        let mut table = StreamTable::new(ConnectionId(connection), shown, from_start);
        table.set_role(role);
        Script {
            table,
            now: 1_000 * MS,
            tid: 11,
        }
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) -> &mut Self {
        self.now += ms * MS;
        self
    }

    pub(crate) fn step(&mut self, sender: Endpoint, step: &Step) -> &mut Self {
        self.now += MS / 10;
        let context = Context {
            at: Timestamp(self.now),
            tid: self.tid,
            pid: 10,
        };
        self.table.step(sender, step, context);
        self
    }

    pub(crate) fn frame(&mut self, sender: Endpoint, frame: Frame) -> &mut Self {
        self.step(
            sender,
            &Step::Frame {
                len: 0,
                flags: 0,
                frame,
            },
        )
    }

    pub(crate) fn headers(
        &mut self,
        sender: Endpoint,
        id: u32,
        block: HeaderBlock,
        end_stream: bool,
    ) -> &mut Self {
        self.frame(
            sender,
            Frame::Headers {
                stream_id: StreamId(id),
                end_stream,
                priority: None,
                block: block.into(),
            },
        )
    }

    /// A DATA frame: its first five bytes as bytes, the others as a hole, as the kernel sends them.
    pub(crate) fn data(
        &mut self,
        sender: Endpoint,
        id: u32,
        bytes: &[u8],
        end_stream: bool,
    ) -> &mut Self {
        let (first, rest) = bytes.split_at(bytes.len().min(5));
        let mut pieces = Vec::new();
        if !first.is_empty() {
            pieces.push(DataPiece::copy_of(first));
        }
        if !rest.is_empty() {
            pieces.push(DataPiece::Hole(rest.len() as u32));
        }
        self.pieces(sender, id, &pieces, bytes.len() as u32, end_stream)
    }

    pub(crate) fn pieces(
        &mut self,
        sender: Endpoint,
        id: u32,
        pieces: &[DataPiece],
        flow_len: u32,
        end_stream: bool,
    ) -> &mut Self {
        let head = DataHead {
            stream_id: StreamId(id),
            flow_len,
            end_stream,
            padded: false,
        };
        self.step(sender, &Step::DataBegin(head));
        for piece in pieces {
            self.step(
                sender,
                &Step::DataBody {
                    stream_id: StreamId(id),
                    piece: piece.clone(),
                },
            );
        }
        self.step(sender, &Step::DataEnd(head))
    }

    pub(crate) fn rst(&mut self, sender: Endpoint, id: u32, code: ErrorCode) -> &mut Self {
        self.frame(
            sender,
            Frame::RstStream {
                stream_id: StreamId(id),
                code,
            },
        )
    }

    pub(crate) fn window_update(&mut self, sender: Endpoint, id: u32, increment: u32) -> &mut Self {
        self.frame(
            sender,
            Frame::WindowUpdate {
                stream_id: StreamId(id),
                increment,
            },
        )
    }

    pub(crate) fn settings(&mut self, sender: Endpoint, settings: &[(u16, u32)]) -> &mut Self {
        self.frame(sender, Frame::Settings(settings.to_vec()))
    }

    pub(crate) fn go_away(
        &mut self,
        sender: Endpoint,
        last: u32,
        code: ErrorCode,
        debug: &str,
    ) -> &mut Self {
        let debug = Bytes::copy_from_slice(debug.as_bytes());
        self.frame(
            sender,
            Frame::GoAway {
                last_stream_id: StreamId(last),
                code,
                debug,
            },
        )
    }

    pub(crate) fn ping(&mut self, sender: Endpoint, ack: bool) -> &mut Self {
        self.frame(sender, Frame::Ping { ack, data: [0; 8] })
    }

    pub(crate) fn gap(&mut self, sender: Endpoint) -> &mut Self {
        self.step(sender, &Step::Fault(Fault::Gap))
            .step(sender, &Step::Resynced { skipped: None })
    }

    pub(crate) fn close(&mut self, why: ConnectionEnd) -> &mut Self {
        self.now += MS;
        self.table.connection_ended(why, Timestamp(self.now));
        self
    }

    /// A unary gRPC request with END_STREAM on its message.
    pub(crate) fn request(&mut self, id: u32) -> &mut Self {
        self.headers(C, id, grpc_request(), false)
            .data(C, id, &message(11), true)
    }

    /// A unary gRPC request, END_STREAM still to come.
    pub(crate) fn open_request(&mut self, id: u32) -> &mut Self {
        self.headers(C, id, grpc_request(), false)
            .data(C, id, &message(11), false)
    }

    /// A unary gRPC response.
    pub(crate) fn response(&mut self, id: u32) -> &mut Self {
        self.headers(S, id, grpc_response(), false)
            .data(S, id, &message(100), false)
            .headers(S, id, trailers("0"), true)
    }

    /// What happened so far.
    pub(crate) fn events(&mut self) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.table.poll()).collect()
    }

    /// Lets every linger pass; what happened.
    pub(crate) fn settled(&mut self) -> Vec<StreamEvent> {
        self.now += limits::STREAM_LINGER_NS;
        self.table.advance(Timestamp(self.now));
        self.events()
    }

    /// Lets every linger pass; the streams that ended.
    pub(crate) fn ended(&mut self) -> Vec<StreamRecord> {
        self.settled().into_iter().filter_map(ended).collect()
    }

    /// The one stream that ended.
    pub(crate) fn one(&mut self) -> StreamRecord {
        let mut ended = self.ended();
        assert_eq!(ended.len(), 1, "{ended:#?}");
        ended.remove(0)
    }
}

/// The record of a stream that ended.
pub(crate) fn ended(event: StreamEvent) -> Option<StreamRecord> {
    match event {
        StreamEvent::Ended(record) => Some(Arc::unwrap_or_clone(record)),
        _ => None,
    }
}
