//! Lines of type `frame`: of files only.

use h2trace_core::frame::Frame;
use h2trace_core::pipeline::{ConnectionInfo, FieldSeen, FrameSeen};
use serde::Serialize;

use super::line::Head;
use crate::export::clock::WallClock;

/// A line of type `frame`. What a frame of its type does not have is left out.
#[derive(Serialize)]
pub(super) struct FrameLine<'a> {
    #[serde(flatten)]
    head: Head,
    conn: u64,
    from: &'static str,
    frame: &'static str,
    frame_type: u8,
    flags: u8,
    stream_id: u32,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    continuations: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<HeaderField<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promised_stream_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_stream_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    increment: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<&'a [(u16, u32)]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
}

#[derive(Serialize)]
struct HeaderField<'a> {
    name: Option<&'a str>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unseen: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
}

impl<'a> FrameLine<'a> {
    pub(super) fn new(clock: WallClock, info: &ConnectionInfo, seen: &'a FrameSeen) -> Self {
        let fields = seen.fields.as_ref();
        let mut line = Self {
            head: Head::new("frame", clock, seen.at),
            conn: info.id.0,
            from: seen.sender.as_str(),
            frame: seen.name(),
            frame_type: seen.head.frame_type,
            flags: seen.head.flags,
            stream_id: seen.head.stream_id.0,
            length: seen.head.len,
            continuations: fields.map(|_| seen.n_frames.saturating_sub(1)),
            fields: fields.map(|fields| fields.iter().map(field).collect()),
            promised_stream_id: None,
            last_stream_id: None,
            code: None,
            increment: None,
            settings: None,
            error: seen.violation.as_ref().map(|v| v.code.name()),
            connection_error: seen.violation.as_ref().map(|v| v.connection_error),
            rule: seen.violation.as_ref().map(|v| v.rule.as_str()),
        };
        match &seen.frame {
            Some(Frame::RstStream { code, .. }) => line.code = Some(code.name()),
            Some(Frame::GoAway {
                last_stream_id,
                code,
                ..
            }) => {
                line.last_stream_id = Some(last_stream_id.0);
                line.code = Some(code.name());
            }
            Some(Frame::PushPromise { promised, .. }) => line.promised_stream_id = Some(promised.0),
            Some(Frame::WindowUpdate { increment, .. }) => line.increment = Some(*increment),
            Some(Frame::Settings(settings)) => line.settings = Some(settings),
            _ => {}
        }
        line
    }
}

fn field(field: &FieldSeen) -> HeaderField<'_> {
    HeaderField {
        name: field.name.as_deref(),
        value: field.value.as_deref(),
        unseen: field.unseen,
        redacted: field.redacted,
    }
}
