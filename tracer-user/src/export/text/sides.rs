//! One request on both hops of a proxy, frame by frame, side by side.

use std::time::Duration;

use h2trace_core::connection::Endpoint;
use h2trace_core::event::Timestamp;
use h2trace_core::frame::FrameKind;
use h2trace_core::hop::{Confidence, DeadlineUse, Hop, HopStream, Lone, OtherSide, Part};
use h2trace_core::pipeline::HopEnd;
use h2trace_core::stream::record::{Moment, StreamRecord};

use super::name;
use crate::plain::plain;
use crate::unit::grouped;

/// Width of a column of frames. Two of them, and the time, make 100 columns.
const COLUMN: usize = 44;

/// Who is at both ends of the proxy, and how the two sides were found to be one request.
pub(super) fn who(request: &Hop<HopEnd>) -> Vec<String> {
    let end = |end: &HopEnd| match &end.peer {
        Some(peer) => format!(
            "{} at {}",
            name::end(peer, peer.pid),
            name::address(&end.info.peer)
        ),
        None => name::peer(&end.info),
    };
    let mut lines = vec![format!("client {}", end(&request.downstream.tag))];
    for attempt in &request.upstream {
        let join = match attempt.join.confidence {
            Confidence::Ambiguous => "one of several that cannot be told apart".to_owned(),
            confidence => {
                format!("joined by {}", attempt.join.by.as_str())
                    + match confidence {
                        Confidence::Time => ", not certain",
                        _ => "",
                    }
            }
        };
        let server = match &attempt.stream {
            Some(stream) if request.mesh.is_some() => format!(
                "{} behind {}, over a leg in TLS",
                end(&stream.tag),
                beyond(stream)
            ),
            Some(stream) => end(&stream.tag),
            None => "still open".to_owned(),
        };
        lines.push(format!(
            "server {server}, connection {} stream {}, {}",
            attempt.connection,
            attempt.stream_id,
            join.replace('_', " ")
        ));
    }
    lines
}

/// A request at a proxy in one line.
pub(super) fn one_line(request: &Hop<HopEnd>) -> String {
    let down = &request.downstream;
    let mut line = format!(
        "hop: {}, {}, connection {} stream {}",
        name::end(&down.tag.info, down.record.pid),
        plain(down.record.path.as_deref().unwrap_or("?")),
        down.record.connection,
        down.record.stream_id
    );
    if request.upstream.is_empty() {
        line.push_str(" stands alone");
        line.push_str(&why(request.other_side));
    }
    for attempt in &request.upstream {
        line.push_str(&format!(
            " -> connection {} stream {} by {}",
            attempt.connection,
            attempt.stream_id,
            attempt.join.by.as_str().replace('_', " ")
        ));
    }
    let serving = request.serving().and_then(|up| up.stream.as_ref());
    if let Some(beyond) = serving.filter(|_| request.mesh.is_some()) {
        line.push_str(&format!(" of {}, over a leg in TLS", self::beyond(beyond)));
    }
    if let Some(missing) = request.missing().filter(|missing| missing.bytes > 0) {
        let least = if missing.is_least { "at least " } else { "" };
        let bytes = grouped(missing.bytes);
        line.push_str(&format!(", {least}{bytes} bytes missing"));
    }
    if let Some(spent) = request.deadline() {
        line.push_str(&deadline(&spent));
    }
    line
}

/// The proxy at the other end of a leg in TLS.
fn beyond(stream: &HopStream<HopEnd>) -> String {
    match stream.record.pid {
        0 => format!("the proxy at {}", name::address(&stream.tag.info.local)),
        pid => name::end(&stream.tag.info, pid),
    }
}

/// `, its deadline of 1s was used up by the server (980ms)`.
fn deadline(spent: &DeadlineUse) -> String {
    let (what, took) = match spent.part {
        Some(Part::NotSent) => ("before the proxy sent it on", spent.not_sent_ns),
        Some(Part::Request) => ("by the request on its way", spent.request_ns),
        Some(Part::Window) => ("by a flow-control window", None),
        Some(Part::Server) => ("by the server", spent.server_ns),
        Some(Part::WayBack) => ("by the answer on its way back", spent.way_back_ns),
        None => ("where that was not seen", None),
    };
    let took = took.map_or_else(String::new, |ns| {
        format!(" ({:?})", Duration::from_millis(ns / 1_000_000))
    });
    format!(
        ", its deadline of {:?} was used up {what}{took}",
        spent.timeout
    )
}

/// A stream towards a server whose request was not seen, in one line.
pub(super) fn lone(lone: &Lone<HopEnd>) -> String {
    let up = &lone.upstream;
    format!(
        "hop: {}, {}, towards the server connection {} stream {} stands alone{}",
        name::end(&up.tag.info, up.record.pid),
        plain(up.record.path.as_deref().unwrap_or("?")),
        up.record.connection,
        up.record.stream_id,
        why(lone.other_side)
    )
}

fn why(other_side: Option<OtherSide>) -> String {
    other_side.map_or_else(String::new, |other_side| {
        format!(" (its other side may be {})", other_side.name())
    })
}

/// Writes the frames of both streams in the order the proxy saw them, one a row, the client's hop on the left.
pub(crate) fn write(out: &mut Vec<String>, left: &StreamRecord, right: &StreamRecord) {
    let (left_story, right_story) = (left.story.moments(), right.story.moments());
    let mut rows: Vec<(&Moment, bool)> = left_story.iter().map(|moment| (moment, true)).collect();
    rows.extend(right_story.iter().map(|moment| (moment, false)));
    rows.sort_by_key(|(moment, _)| moment.at);
    let start = rows.first().map_or(Timestamp(0), |(moment, _)| moment.at);

    let hop = format!("client <-> proxy, stream {}", left.stream_id);
    out.push(format!(
        "      ms   {hop:<COLUMN$} proxy <-> server, stream {}",
        right.stream_id
    ));
    for (moment, is_left) in rows {
        let micros = moment.at.since(start) / 1_000;
        let time = format!("{:>5}.{:03}", micros / 1_000, micros % 1_000);
        for (n, line) in cell(moment, is_left).into_iter().enumerate() {
            let time = if n == 0 { time.as_str() } else { "" };
            let row = if is_left {
                format!("{time:>9}  {line}")
            } else {
                format!("{time:>9}  {:<COLUMN$} {line}", "")
            };
            out.push(row.trim_end().to_owned());
        }
    }
}

/// A frame: who sent it to whom, what it is, and below it the windows where they matter.
fn cell(moment: &Moment, is_left: bool) -> Vec<String> {
    let arrow = match moment.sender {
        Endpoint::Client => "-->",
        Endpoint::Server => "<--",
    };
    let mut head = format!("{arrow} {}", moment.frame);
    if moment.n_frames > 1 {
        head.push_str(&format!(" x{}", moment.n_frames));
    }
    if moment.frame == FrameKind::Data {
        head.push_str(&format!(" {} bytes", grouped(moment.bytes)));
    }
    if moment.end_stream {
        head.push_str(" END_STREAM");
    }
    let mut lines = vec![head];
    let mut add = |text: &str| {
        if text.is_empty() {
            return;
        }
        let last = lines
            .last_mut()
            .filter(|last| last.chars().count() + 2 + text.chars().count() <= COLUMN);
        match last {
            Some(last) => {
                last.push_str("  ");
                last.push_str(text);
            }
            None => lines.push(format!("      {}", cut(text, COLUMN - 6))),
        }
    };
    add(&plain(&moment.note));
    // The proxy's windows towards the client are the ones that the story is about.
    if is_left
        && moment.sender == Endpoint::Server
        && matches!(moment.frame, FrameKind::Data | FrameKind::RstStream)
    {
        let shown = |window: Option<i64>| window.map_or_else(|| "?".to_owned(), signed);
        add(&format!(
            "window {}, connection {}",
            shown(moment.windows.stream),
            shown(moment.windows.connection)
        ));
    }
    lines
}

/// A window's size with thousands separators.
pub(crate) fn signed(window: i64) -> String {
    let sign = if window < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(window.unsigned_abs()))
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}
