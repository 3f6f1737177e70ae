//! Rules of RFC 9113 that an endpoint broke.

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{finding, on_connection};
use crate::connection::{ConnectionId, Endpoint};
use crate::frame::FrameKind;
use crate::stream::record::StreamRecord;
use crate::stream::violation::{Answer, Offence, OffenceKind};

/// A rule of the connection, or one that a frame broke by itself.
pub(super) fn offence(
    connection: ConnectionId,
    role: Option<Endpoint>,
    offence: &Offence,
) -> Finding {
    let (kind, summary) = (kind(offence.kind), words(offence));
    let mut found = on_connection(
        (connection, role),
        offence.at,
        (kind, Verdict::Anomaly, summary),
    );
    found.stream_id = offence.stream_id;
    found.sender = Some(offence.sender);
    found.code = Some(offence.code);
    found
}

/// A frame that came too late or too early on its stream.
pub(super) fn on_stream(record: &StreamRecord) -> Option<Finding> {
    let offence = record.conduct.offence.as_ref()?;
    let (kind, summary) = (kind(offence.kind), words(offence));
    let verdict = if record.whole {
        Verdict::Anomaly
    } else {
        Verdict::Unknown
    };
    let mut found = finding(record, kind, verdict, summary);
    found.sender = Some(offence.sender);
    found.code = Some(offence.code);
    Some(found)
}

const fn kind(kind: OffenceKind) -> Kind {
    match kind {
        OffenceKind::Framing => Kind::FramingViolation,
        OffenceKind::AfterEndStream => Kind::FrameAfterEndStream,
        OffenceKind::AfterReset => Kind::FrameAfterReset,
        OffenceKind::Unexpected => Kind::UnexpectedFrame,
        OffenceKind::Compression => Kind::HpackFailure,
    }
}

fn words(offence: &Offence) -> String {
    let Offence { sender, frame, .. } = *offence;
    let rule = offence.rule;
    let error = if offence.connection_error {
        "connection error"
    } else {
        "stream error"
    };
    let peer = sender.peer();
    let answer = match offence.answer {
        Answer::None => format!("the {peer} let it pass"),
        Answer::Reset(code) => format!("the {peer} answered with RST_STREAM {code}"),
        Answer::GoAway(code) => format!("the {peer} answered with GOAWAY {code}"),
        Answer::Closed => "the connection ended without a word about it".to_owned(),
    };
    // Rules name the frame where they do not hold for any.
    let what = match frame {
        _ if rule.is_of_no_frame() || rule.frame() == Some(frame) => rule.to_string(),
        FrameKind::Unknown => format!("a frame of an unknown type {rule}"),
        _ => format!("{frame} {rule}"),
    };
    format!(
        "the {sender} sent {what}: a {error} of type {}; {answer}",
        offence.code
    )
}
