//! Any steps at all, in any order, with any clock: what a hostile peer or a confused reader may bring.

use std::sync::Arc;

use proptest::prelude::*;

use crate::connection::{ConnectionEnd, ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::{
    DataHead, DataPiece, ErrorCode, Fault, Field, Frame, HeaderBlock, Priority, Step, StreamId,
    Violation,
};
use crate::limits::{self, Limit};
use crate::stream::record::StreamEvent;
use crate::stream::script::{C, S};
use crate::stream::table::{Context, Shown, StreamTable};

fn id() -> impl Strategy<Value = StreamId> {
    prop_oneof![8 => 0_u32..10, 1 => any::<u32>()].prop_map(StreamId)
}

fn name_and_value() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = prop::sample::select(vec![
        ":status",
        ":path",
        ":method",
        "content-type",
        "grpc-status",
        "grpc-timeout",
        "cookie",
        "x-request-id",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "200",
            "103",
            "0",
            "00",
            "5",
            "99999999H",
            "1n",
            "application/grpc",
            "/a?b"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..600),
    ];
    (name.prop_map(str::to_owned), value)
}

fn block() -> impl Strategy<Value = HeaderBlock> {
    let field = prop::option::of(name_and_value()).prop_map(|field| match field {
        Some((name, value)) => Field::new(Some(name.as_bytes()), Some(&value)),
        None => Field::unseen(),
    });
    (prop::collection::vec(field, 0..5), any::<bool>())
        .prop_map(|(fields, complete)| HeaderBlock::new(fields, complete, 0))
}

fn frame() -> impl Strategy<Value = Frame> {
    let code = || (0_u32..20).prop_map(ErrorCode);
    prop_oneof![
        6 => (id(), any::<bool>(), block()).prop_map(|(stream_id, end_stream, block)| {
            Frame::Headers { stream_id, end_stream, priority: None, block: block.into() }
        }),
        3 => (id(), code()).prop_map(|(stream_id, code)| Frame::RstStream { stream_id, code }),
        2 => prop::collection::vec((0_u16..8, any::<u32>()), 0..4).prop_map(Frame::Settings),
        1 => (id(), id(), block()).prop_map(|(stream_id, promised, block)| {
            Frame::PushPromise { stream_id, promised, block: block.into() }
        }),
        1 => (id(), code(), prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(last_stream_id, code, debug)| {
            Frame::GoAway { last_stream_id, code, debug: debug.into() }
        }),
        3 => (id(), any::<u32>()).prop_map(|(stream_id, increment)| Frame::WindowUpdate { stream_id, increment }),
        1 => id().prop_map(|stream_id| Frame::PriorityUpdate { stream_id }),
        2 => (any::<bool>(), 0_u8..3).prop_map(|(ack, byte)| Frame::Ping { ack, data: [byte; 8] }),
        1 => Just(Frame::SettingsAck),
        1 => (id(), id()).prop_map(|(stream_id, depends_on)| Frame::Priority {
            stream_id,
            priority: Priority { exclusive: false, depends_on, weight: 0 },
        }),
    ]
}

fn head() -> impl Strategy<Value = DataHead> {
    (id(), any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(stream_id, flow_len, end_stream, padded)| DataHead {
            stream_id,
            flow_len,
            end_stream,
            padded,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let piece = prop_oneof![
        prop::collection::vec(0_u8..3, 0..12).prop_map(|bytes| DataPiece::copy_of(&bytes)),
        any::<u32>().prop_map(DataPiece::Hole),
        (0_u32..9).prop_map(DataPiece::Hole),
    ];
    let fault = prop::sample::select(vec![
        Fault::Gap,
        Fault::HoleInFrame,
        Fault::HeaderBlockLost,
        Fault::Implausible,
        Fault::Limit(Limit::HeaderList),
    ]);
    prop_oneof![
        10 => frame().prop_map(|frame| Step::Frame { len: 0, flags: 0, frame }),
        4 => head().prop_map(Step::DataBegin),
        4 => (id(), piece).prop_map(|(stream_id, piece)| Step::DataBody { stream_id, piece }),
        4 => head().prop_map(Step::DataEnd),
        1 => id().prop_map(|stream_id| Step::Violation(Violation {
            frame: crate::frame::head::Head::default(),
            stream_id,
            code: ErrorCode::PROTOCOL_ERROR,
            connection_error: false,
            rule: crate::frame::Rule::PingLength,
        })),
        1 => (id(), any::<u32>()).prop_map(|(stream_id, n_frames)| Step::LongBlock { stream_id, n_frames }),
        1 => fault.prop_map(Step::Fault),
    ]
}

proptest! {
    #[test]
    fn any_steps_are_taken_and_each_stream_ends_once(
        steps in prop::collection::vec((any::<bool>(), step(), prop_oneof![0_u64..1_000_000_000, any::<u64>()]), 0..80),
        from_start in any::<bool>(),
        role in prop::sample::select(vec![None, Some(C), Some(S)]),
    ) {
        let mut table = StreamTable::new(ConnectionId(1), Arc::new(Shown::default()), from_start);
        table.set_role(role);
        for (by_client, step, at) in steps {
            let sender = if by_client { Endpoint::Client } else { Endpoint::Server };
            table.step(sender, &step, Context { at: Timestamp(at), tid: 1, pid: 1 });
        }
        table.connection_ended(ConnectionEnd::PeerFin, Timestamp(u64::MAX));
        prop_assert_eq!(table.live(), 0);
        let (mut opened, mut ended) = (Vec::new(), Vec::new());
        while let Some(event) = table.poll() {
            match event {
                StreamEvent::Opened { stream_id, .. } => opened.push(stream_id),
                StreamEvent::Ended(record) => {
                    prop_assert!(record.resets.len() <= limits::RESETS);
                    prop_assert!(record.story.len() <= limits::STORY_MOMENTS);
                    prop_assert!(record.shown.by_name().values().all(|value| value.len() <= limits::SHOWN_VALUE));
                    prop_assert!(record.shown.get("cookie").is_none());
                    ended.push(record.stream_id);
                }
                _ => {}
            }
        }
        opened.sort_unstable();
        ended.sort_unstable();
        prop_assert_eq!(&opened, &ended);
        let n = opened.len();
        opened.dedup();
        prop_assert_eq!(n, opened.len(), "a stream was opened twice");
    }
}
