//! The story of a stream as a sequence diagram: the client on the left, the server on the right, and
//! beside every moment what its sender might still send.

use h2trace_core::connection::Endpoint;
use h2trace_core::event::Timestamp;
use h2trace_core::frame::FrameKind;
use h2trace_core::stream::record::{Moment, Windows};

use super::Paint;
use crate::plain::plain;
use crate::unit::bytes;

/// Columns between the two endpoints.
const SPAN: usize = 52;

/// Columns of the time, and of the indentation before it.
const TIME: usize = 16;

/// The diagram of `story`; nothing when it is empty.
pub(super) fn lines(story: &[Moment], paint: Paint) -> Vec<String> {
    let Some(first) = story.first() else {
        return Vec::new();
    };
    let heading = format!(
        "{:TIME$}client{:>w$}  window: stream/connection",
        "",
        "server",
        w = SPAN - 2
    );
    let mut lines = vec![paint.dim(&heading)];
    for moment in story {
        moment_line(&mut lines, first.at, moment, paint);
    }
    lines
}

fn moment_line(into: &mut Vec<String>, start: Timestamp, moment: &Moment, paint: Paint) {
    let label = label(moment);
    let note = plain(&moment.note);
    let both = if note.is_empty() {
        label.clone()
    } else {
        format!("{label}: {note}")
    };
    // An arrow needs its point, its tail and a space on both sides of the label.
    let (label, below) = if both.chars().count() + 6 <= SPAN {
        (both, None)
    } else {
        (label, Some(note))
    };
    let dashes = SPAN.saturating_sub(label.chars().count() + 3);
    let arrow = match moment.sender {
        Endpoint::Client => format!(
            "-- {label} {}>",
            "-".repeat(dashes.saturating_sub(2).max(1))
        ),
        Endpoint::Server => format!(
            "<{} {label} --",
            "-".repeat(dashes.saturating_sub(2).max(1))
        ),
    };
    let arrow = if matches!(moment.frame, FrameKind::RstStream | FrameKind::GoAway) {
        paint.bad(&arrow)
    } else {
        arrow
    };
    let time = format!(
        "+{:.3} ms",
        std::time::Duration::from_nanos(moment.at.since(start)).as_secs_f64() * 1e3
    );
    into.push(format!(
        "{time:>w$}  |{arrow}|{}",
        windows(moment.windows, paint),
        w = TIME - 2
    ));
    if let Some(below) = below {
        for part in super::wrapped(&below, SPAN - 4) {
            into.push(format!("{:TIME$}|   {part:<w$} |", "", w = SPAN - 4));
        }
    }
}

fn label(moment: &Moment) -> String {
    let mut label = moment.frame.to_string();
    if moment.bytes > 0 && moment.frame == FrameKind::Data {
        label.push_str(&format!(" {}", bytes(moment.bytes)));
    }
    if moment.n_frames > 1 {
        label.push_str(&format!(" in {} frames", moment.n_frames));
    }
    if moment.end_stream {
        label.push_str(" END_STREAM");
    }
    label
}

/// What the sender may still send; a window that is used up stands out.
fn windows(windows: Windows, paint: Paint) -> String {
    if windows == Windows::default() {
        return String::new();
    }
    let one = |window: Option<i64>| match window {
        None => "?".to_owned(),
        Some(left) if left <= 0 => paint.bad(&left.to_string()),
        Some(left) => left.to_string(),
    };
    format!("  {} / {}", one(windows.stream), one(windows.connection))
}
