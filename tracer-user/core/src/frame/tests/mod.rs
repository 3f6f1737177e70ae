//! Tests of the reader as its users see it: bytes, holes and gaps in, steps out.

pub(super) use super::head::{flag, frame_type};
pub(super) use super::{
    DataHead, DataPiece, ErrorCode, Fault, Frame, FrameReader, HeaderBlock, PREFACE, Priority,
    Start, Step, StreamId,
};
pub(super) use crate::event::Boundary;
pub(super) use crate::limits;

pub(super) use flag::{ACK, END_HEADERS, END_STREAM, PADDED};
pub(super) use frame_type::{
    ALTSVC, CONTINUATION, DATA, GOAWAY, HEADERS, PING, PRIORITY, PRIORITY_UPDATE, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

mod bounds;
mod late_attach;
mod loss;
mod properties;
mod violations;
mod whole_frames;

fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([frame_type, flags]);
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A reader at a direction's first byte, past its SETTINGS.
fn from_start() -> FrameReader {
    let mut reader = FrameReader::new(Start::Boundary { first: true });
    reader.push(&frame(SETTINGS, 0, 0, &[]));
    assert_eq!(drain(&mut reader).len(), 1);
    reader
}

/// The next frame is read as if nothing had been.
fn goes_on(reader: &mut FrameReader) {
    check(reader, &frame(SETTINGS, ACK, 0, &[]), &["settings ack"]);
}

fn drain(reader: &mut FrameReader) -> Vec<Step> {
    reader.steps()
}

fn read(reader: &mut FrameReader, bytes: &[u8]) -> Vec<Step> {
    reader.push(bytes);
    drain(reader)
}

/// One line per step, short enough to compare a whole story by eye.
fn line(step: &Step) -> String {
    let block_line = |block: &HeaderBlock| {
        let part = |part: Option<&[u8]>| {
            part.map_or("?".into(), |b| String::from_utf8_lossy(b).into_owned())
        };
        let fields: Vec<String> = block
            .fields
            .iter()
            .map(|f| format!("{}={}", part(f.name()), part(f.value())))
            .collect();
        let complete = if block.complete { "" } else { " incomplete" };
        format!("[{}]{complete}", fields.join(" "))
    };
    match step {
        Step::Preface => "preface".into(),
        Step::Frame { frame, .. } => match frame {
            Frame::Headers {
                stream_id,
                end_stream,
                block,
                ..
            } => {
                let end = if *end_stream { " end_stream" } else { "" };
                format!("headers {stream_id}{end} {}", block_line(block))
            }
            Frame::PushPromise {
                stream_id,
                promised,
                block,
            } => {
                format!("push_promise {stream_id} {promised} {}", block_line(block))
            }
            Frame::Priority {
                stream_id,
                priority,
            } => {
                format!(
                    "priority {stream_id} on {} {}",
                    priority.depends_on, priority.weight
                )
            }
            Frame::RstStream { stream_id, code } => {
                format!("rst_stream {stream_id} {}", code.name())
            }
            Frame::Settings(list) => format!("settings {list:?}"),
            Frame::SettingsAck => "settings ack".into(),
            Frame::Ping { ack, data } => format!("ping {ack} {data:?}"),
            Frame::GoAway {
                last_stream_id,
                code,
                debug,
            } => {
                format!(
                    "goaway {last_stream_id} {} {}",
                    code.name(),
                    String::from_utf8_lossy(debug)
                )
            }
            Frame::WindowUpdate {
                stream_id,
                increment,
            } => {
                format!("window_update {stream_id} {increment}")
            }
            Frame::PriorityUpdate { stream_id } => format!("priority_update {stream_id}"),
            Frame::Unknown {
                frame_type,
                stream_id,
                len,
            } => {
                format!("unknown {frame_type:#x} {stream_id} {len}")
            }
        },
        Step::DataBegin(head) => format!("data {} {}", head.stream_id, head.flow_len),
        Step::DataBody {
            piece: DataPiece::Bytes(bytes),
            ..
        } => {
            format!("body {}", String::from_utf8_lossy(bytes))
        }
        Step::DataBody {
            piece: DataPiece::Hole(len),
            ..
        } => format!("body {len} unseen"),
        Step::DataEnd(head) => {
            format!(
                "data_end {}{}",
                head.stream_id,
                if head.end_stream { " end_stream" } else { "" }
            )
        }
        Step::LongBlock {
            stream_id,
            n_frames,
        } => format!("long_block {stream_id} {n_frames}"),
        Step::Violation(violation) => format!(
            "{} {} {}",
            if violation.connection_error {
                "connection_error"
            } else {
                "stream_error"
            },
            violation.stream_id,
            violation.code.name()
        ),
        Step::Fault(fault) => format!("fault {fault:?}"),
        Step::Resynced { skipped } => format!("resynced {skipped:?}"),
    }
}

fn lines(reader: &mut FrameReader) -> Vec<String> {
    drain(reader).iter().map(line).collect()
}

fn check(reader: &mut FrameReader, bytes: &[u8], want: &[&str]) {
    reader.push(bytes);
    assert_eq!(lines(reader), want);
}

const BLOCK: &[u8] = &[0x82, 0x84];
const BLOCK_LINE: &str = "[:method=GET :path=/]";

fn at(after: u32, frame_type: u8, flags: u8, stream_id: u32) -> Boundary {
    Boundary::At {
        after,
        frame_type,
        flags,
        stream_id,
    }
}
