//! One line a frame: of files only.

use h2trace_core::frame::Frame;
use h2trace_core::frame::head::{flag, frame_type};
use h2trace_core::pipeline::{ConnectionInfo, FrameSeen};

use crate::export::clock::WallClock;
use crate::plain::plain;

/// The line, and below it the fields of a header block.
pub(super) fn lines(clock: WallClock, info: &ConnectionInfo, seen: &FrameSeen) -> Vec<String> {
    let time = clock.at(seen.at).local_time_of_day();
    let head = &seen.head;
    let mut line = format!(
        "{time} {:>4} {:<6} {:>6} {:<13} {:>7}",
        info.id,
        seen.sender,
        head.stream_id,
        seen.name(),
        head.len
    );
    let stream_end = matches!(head.frame_type, frame_type::DATA | frame_type::HEADERS);
    let ack = matches!(head.frame_type, frame_type::SETTINGS | frame_type::PING);
    if stream_end && head.has(flag::END_STREAM) {
        line.push_str(" END_STREAM");
    }
    if ack && head.has(flag::ACK) {
        line.push_str(" ACK");
    }
    match &seen.frame {
        Some(Frame::RstStream { code, .. }) => line.push_str(&format!(" {}", code.name())),
        Some(Frame::GoAway {
            last_stream_id,
            code,
            ..
        }) => line.push_str(&format!(" {}, last stream {last_stream_id}", code.name())),
        Some(Frame::WindowUpdate { increment, .. }) => line.push_str(&format!(" +{increment}")),
        Some(Frame::PushPromise { promised, .. }) => {
            line.push_str(&format!(" promises {promised}"));
        }
        _ => {}
    }
    if let Some(violation) = &seen.violation {
        line.push_str(&format!(" {}: {}", violation.code.name(), violation.rule));
    }
    let mut lines = vec![line];
    for field in seen.fields.iter().flatten() {
        let name = field.name.as_deref().unwrap_or("(unseen)");
        let value = match &field.value {
            Some(value) => plain(value).into_owned(),
            None if field.redacted => "(redacted)".to_owned(),
            None => "(unseen)".to_owned(),
        };
        lines.push(format!("{:38}{}: {value}", "", plain(name)));
    }
    lines
}
