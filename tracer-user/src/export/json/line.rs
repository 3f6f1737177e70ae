//! The lines' fields, in the order they are printed. Every key is always there; what is not known is null.

use std::collections::BTreeMap;

use h2trace_core::anomaly::kind::{Finding, Kind};
use h2trace_core::connection::{ConnectionEnd, Endpoint};
use h2trace_core::event::{Address, Opened, Timestamp, Unseen, UnseenBytes};
use h2trace_core::frame::ErrorCode;
use h2trace_core::hop::{DeadlineUse, Hop, early_response};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd, Loss};
use h2trace_core::stream::go_away::GoAwayReason;
use h2trace_core::stream::record::{
    EndStreamOn, GoAway, Half, Messages, Moment, OpenMessage, RequestPhase, Reset, ResponsePhase,
    Seen, StreamEnd, StreamRecord, Windows,
};
use serde::{Serialize, Serializer};

use super::hop::{DeadlineFields, FindingHop};
use super::tls::TlsFields;
use super::tunnel::TunnelFields;
use super::undecided::UndecidedFields;
use crate::export::clock::{WallClock, WallTime, monotonic_now};
use crate::export::{duration_ns, first_byte_ns, labels};
use crate::workload::fields::PodFields;

/// The version of the lines' form. Keys are added without a new version; none is taken away or changed.
const VERSION: u32 = 1;

/// What every line begins with.
#[derive(Serialize)]
pub(super) struct Head {
    v: u32,
    #[serde(rename = "type")]
    line_type: &'static str,
    time: WallTime,
    at_ns: u64,
}

impl Head {
    pub(super) fn new(line_type: &'static str, clock: WallClock, at: Timestamp) -> Self {
        Self {
            v: VERSION,
            line_type,
            time: clock.at(at),
            at_ns: at.0,
        }
    }
}

/// What every line about a connection end names it with.
#[derive(Serialize)]
struct EndFields<'a> {
    conn: u64,
    role: Option<&'static str>,
    pid: Option<u32>,
    comm: Option<&'a str>,
    cgroup: u64,
    netns: Option<u32>,
    #[serde(serialize_with = "shown")]
    local: &'a Address,
    #[serde(serialize_with = "shown")]
    peer: &'a Address,
    #[serde(flatten)]
    pod: PodFields,
    /// As far as the peer's address names a pod.
    peer_workload: Option<PodFields>,
}

impl<'a> EndFields<'a> {
    fn new(info: &'a ConnectionInfo) -> Self {
        Self {
            conn: info.id.0,
            role: info.role.map(Endpoint::as_str),
            pid: known(info.pid),
            comm: (!info.comm.is_empty()).then_some(info.comm.as_str()),
            cgroup: info.cgroup,
            netns: (info.netns != 0).then_some(info.netns),
            local: &info.local,
            peer: &info.peer,
            pod: PodFields::new(&info.workload),
            peer_workload: PodFields::of_address(&info.peer_workload),
        }
    }
}

/// Process ids begin at 1; files know none.
pub(super) const fn known(pid: u32) -> Option<u32> {
    match pid {
        0 => None,
        pid => Some(pid),
    }
}

pub(super) fn shown<S: Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration: 2^53 ns are 104 days"
)]
pub(super) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn seen(value: Seen<()>) -> Option<bool> {
    match value {
        Seen::Value(()) => Some(true),
        Seen::Absent => Some(false),
        Seen::Unknown => None,
    }
}

/// A line of type `connection`.
#[derive(Serialize)]
pub(super) struct ConnectionLine<'a> {
    #[serde(flatten)]
    head: Head,
    event: &'static str,
    #[serde(flatten)]
    place: EndFields<'a>,
    protocol: &'static str,
    opened: &'static str,
    beginning_seen: bool,
    upgraded: bool,
    tls: Option<TlsFields<'a>>,
    tunnel: Option<TunnelFields<'a>>,
    /// Why it ended; event `ended`.
    cause: Option<&'static str>,
    open_streams: Option<u32>,
    duration_ms: Option<f64>,
    go_away: Option<GoAwayFields>,
    undecided: Option<UndecidedFields>,
    /// Why bytes are not seen; event `bytes_unseen`.
    unseen: Option<&'static str>,
    /// Bytes that were not seen, by reason; event `ended`.
    unseen_bytes: Option<BTreeMap<&'static str, u64>>,
}

#[derive(Serialize)]
struct GoAwayFields {
    sender: &'static str,
    code: u32,
    name: &'static str,
    last_stream_id: u32,
    reason: &'static str,
}

impl<'a> ConnectionLine<'a> {
    fn new(clock: WallClock, event: &'static str, info: &'a ConnectionInfo, at: Timestamp) -> Self {
        Self {
            head: Head::new("connection", clock, at),
            event,
            place: EndFields::new(info),
            protocol: labels::protocol(info.protocol),
            opened: match info.opened {
                Opened::Unseen => "unseen",
                Opened::Active => "active",
                Opened::Passive => "passive",
            },
            beginning_seen: info.beginning_seen,
            upgraded: info.upgraded,
            tls: info.tls.as_deref().map(TlsFields::new),
            tunnel: info.tunnel.as_deref().map(TunnelFields::new),
            cause: None,
            open_streams: None,
            duration_ms: None,
            go_away: None,
            undecided: UndecidedFields::of(info.protocol),
            unseen: None,
            unseen_bytes: None,
        }
    }

    /// What of the connection was not seen.
    pub(super) fn with_unseen(mut self, unseen: &UnseenBytes) -> Self {
        let by_reason = unseen.iter().map(|(reason, n)| (reason.as_str(), n));
        self.unseen_bytes = Some(by_reason.collect());
        self
    }

    pub(super) fn bytes_unseen(
        clock: WallClock,
        info: &'a ConnectionInfo,
        at: Timestamp,
        reason: Unseen,
    ) -> Self {
        Self {
            unseen: Some(reason.as_str()),
            ..Self::new(clock, "bytes_unseen", info, at)
        }
    }

    pub(super) fn seen(clock: WallClock, info: &'a ConnectionInfo) -> Self {
        Self::new(clock, "seen", info, info.first_at)
    }

    pub(super) fn ended(
        clock: WallClock,
        info: &'a ConnectionInfo,
        why: ConnectionEnd,
        at: Timestamp,
        open_streams: u32,
    ) -> Self {
        Self {
            cause: Some(why.as_str()),
            open_streams: Some(open_streams),
            duration_ms: Some(ms(at.since(info.first_at))),
            ..Self::new(clock, "ended", info, at)
        }
    }

    pub(super) fn go_away(clock: WallClock, info: &'a ConnectionInfo, go_away: &GoAway) -> Self {
        Self {
            go_away: Some(GoAwayFields {
                sender: go_away.sender.as_str(),
                code: go_away.code.0,
                name: go_away.code.name(),
                last_stream_id: go_away.last_stream_id.0,
                reason: go_away.reason.map_or("", GoAwayReason::as_str),
            }),
            ..Self::new(clock, "go_away", info, go_away.at)
        }
    }
}

/// A line of type `stream`.
#[derive(Serialize)]
pub(super) struct Stream<'a> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    place: EndFields<'a>,
    stream_id: u32,
    method: Option<&'a str>,
    headers: BTreeMap<&'a str, &'a str>,
    grpc: Option<bool>,
    grpc_web: bool,
    request_phase: Option<&'static str>,
    response_phase: Option<&'static str>,
    http_status: Option<u16>,
    content_type: Option<&'a str>,
    trailers: Option<bool>,
    trailers_only: bool,
    grpc_status: Option<u32>,
    grpc_code: Option<&'static str>,
    reset: Option<Vec<ResetFields>>,
    request_bytes: u64,
    response_bytes: u64,
    bytes_known: bool,
    messages: Option<BothMessages<'a>>,
    windows: BothWindows,
    end: &'static str,
    end_cause: Option<&'static str>,
    request_end_on: Option<&'static str>,
    response_end_on: Option<&'static str>,
    early_complete: bool,
    outcome: &'static str,
    tier: &'static str,
    beginning_seen: bool,
    whole: bool,
    pushed: bool,
    started: WallTime,
    started_ns: u64,
    duration_ms: Option<f64>,
    ttfb_ms: Option<f64>,
    timeout_ms: Option<f64>,
    findings: Vec<&'static str>,
}

#[derive(Serialize)]
struct ResetFields {
    code: u32,
    name: &'static str,
    sender: &'static str,
    at_ns: u64,
    request_phase: Option<&'static str>,
    response_phase: Option<&'static str>,
    stream_window: Option<i64>,
    connection_window: Option<i64>,
}

impl ResetFields {
    fn new(reset: &Reset) -> Self {
        Self {
            code: reset.code.0,
            name: reset.code.name(),
            sender: reset.sender.as_str(),
            at_ns: reset.at.0,
            request_phase: reset.request_phase.map(RequestPhase::as_str),
            response_phase: reset.response_phase.map(ResponsePhase::as_str),
            stream_window: reset.response_windows.stream,
            connection_window: reset.response_windows.connection,
        }
    }
}

#[derive(Serialize)]
struct BothMessages<'a> {
    request: MessagesFields<'a>,
    response: MessagesFields<'a>,
}

#[derive(Serialize)]
struct MessagesFields<'a> {
    complete: u64,
    known: bool,
    sizes: &'a [u32],
    open: Option<OpenFields>,
}

#[derive(Serialize)]
struct OpenFields {
    promised: Option<u32>,
    got: u32,
}

impl<'a> MessagesFields<'a> {
    fn new(messages: &'a Messages) -> Self {
        let open = messages.open.filter(|_| messages.known);
        Self {
            complete: messages.complete,
            known: messages.known,
            sizes: &messages.sizes,
            open: open.map(|OpenMessage { promised, got }| OpenFields { promised, got }),
        }
    }
}

#[derive(Serialize)]
struct BothWindows {
    request: WindowFields,
    response: WindowFields,
}

#[derive(Serialize)]
struct WindowFields {
    stream: Option<i64>,
    connection: Option<i64>,
}

impl WindowFields {
    const fn new(windows: Windows) -> Self {
        Self {
            stream: windows.stream,
            connection: windows.connection,
        }
    }
}

fn end_on(half: &Half) -> Option<&'static str> {
    half.end_stream_on.map(|frame| match frame {
        EndStreamOn::Headers => "headers",
        EndStreamOn::Data => "data",
        EndStreamOn::Trailers => "trailers",
    })
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        clock: WallClock,
        info: &'a ConnectionInfo,
        record: &'a StreamRecord,
        findings: &[Finding],
    ) -> Self {
        Self::of_kinds(
            clock,
            info,
            record,
            findings.iter().map(|finding| finding.kind),
        )
    }

    pub(super) fn of_kinds(
        clock: WallClock,
        info: &'a ConnectionInfo,
        record: &'a StreamRecord,
        findings: impl Iterator<Item = Kind>,
    ) -> Self {
        let grpc_messages = || BothMessages {
            request: MessagesFields::new(&record.request.messages),
            response: MessagesFields::new(&record.response.messages),
        };
        Self {
            head: Head::new("stream", clock, record.last_at),
            place: EndFields {
                pid: known(record.pid),
                role: record.role.map(Endpoint::as_str),
                ..EndFields::new(info)
            },
            stream_id: record.stream_id.0,
            method: record.path.as_deref(),
            headers: record.shown.by_name(),
            grpc: seen(record.grpc),
            grpc_web: record.grpc_web,
            request_phase: record.request_phase.map(RequestPhase::as_str),
            response_phase: record.response_phase.map(ResponsePhase::as_str),
            http_status: record.http_status.value(),
            content_type: record.response_content_type.as_deref(),
            trailers: seen(record.trailers),
            trailers_only: record.trailers_only,
            grpc_status: record.grpc_status.value(),
            grpc_code: record.grpc_status.value().and_then(labels::grpc_code_name),
            reset: (!record.resets.is_empty())
                .then(|| record.resets.iter().map(ResetFields::new).collect()),
            request_bytes: record.request.data_bytes,
            response_bytes: record.response.data_bytes,
            bytes_known: record.request.data_known && record.response.data_known,
            messages: (record.grpc == Seen::Value(())).then(grpc_messages),
            windows: BothWindows {
                request: WindowFields::new(record.request.windows_at_end),
                response: WindowFields::new(record.response.windows_at_end),
            },
            end: labels::stream_end(record.end),
            end_cause: match record.end {
                StreamEnd::Connection(why) => Some(why.as_str()),
                _ => None,
            },
            request_end_on: end_on(&record.request),
            response_end_on: end_on(&record.response),
            early_complete: early_response(record),
            outcome: record.outcome.as_str(),
            tier: record.tier.as_str(),
            beginning_seen: record.beginning_seen,
            whole: record.whole,
            pushed: record.pushed,
            started: clock.at(record.first_at),
            started_ns: record.first_at.0,
            duration_ms: duration_ns(record).map(ms),
            ttfb_ms: first_byte_ns(record).map(ms),
            timeout_ms: record.timeout.map(|timeout| timeout.as_secs_f64() * 1e3),
            findings: findings.map(Kind::as_str).collect(),
        }
    }
}

/// A line of type `finding`.
#[derive(Serialize)]
pub(super) struct FindingLine<'a> {
    #[serde(flatten)]
    head: Head,
    kind: &'static str,
    verdict: &'static str,
    #[serde(flatten)]
    place: EndFields<'a>,
    /// 0 for the connection.
    stream_id: u32,
    tier: &'static str,
    method: Option<&'a str>,
    headers: Option<BTreeMap<&'a str, &'a str>>,
    sender: Option<&'static str>,
    code: Option<u32>,
    name: Option<&'static str>,
    request_phase: Option<&'static str>,
    response_phase: Option<&'static str>,
    stream_window: Option<i64>,
    connection_window: Option<i64>,
    summary: &'a str,
    deadline: Option<DeadlineFields>,
    story: Vec<MomentFields>,
    /// Of a request at a proxy: both its sides.
    hop: Option<FindingHop<'a>>,
}

/// One moment of a story. `t_us` counts from its first moment.
#[derive(Serialize)]
pub(super) struct MomentFields {
    t_us: f64,
    sender: &'static str,
    frame: &'static str,
    n_frames: u32,
    bytes: u64,
    end_stream: bool,
    stream_window: Option<i64>,
    connection_window: Option<i64>,
    note: String,
}

impl MomentFields {
    fn new(start: Timestamp, moment: Moment) -> Self {
        Self {
            t_us: ms(moment.at.since(start).saturating_mul(1_000)),
            sender: moment.sender.as_str(),
            frame: moment.frame.as_str(),
            n_frames: moment.n_frames,
            bytes: moment.bytes,
            end_stream: moment.end_stream,
            stream_window: moment.windows.stream,
            connection_window: moment.windows.connection,
            note: moment.note,
        }
    }
}

/// The moments of a story.
pub(super) fn moments(story: Vec<Moment>) -> Vec<MomentFields> {
    let start = story.first().map_or(Timestamp(0), |moment| moment.at);
    let field = |moment| MomentFields::new(start, moment);
    story.into_iter().map(field).collect()
}

impl<'a> FindingLine<'a> {
    /// What it says of both sides of a request at a proxy.
    pub(super) fn with_hop(mut self, hop: &'a Hop<HopEnd>) -> Self {
        self.hop = Some(FindingHop::new(hop));
        self
    }

    pub(super) fn new(
        clock: WallClock,
        info: &'a ConnectionInfo,
        record: Option<&'a StreamRecord>,
        finding: &'a Finding,
    ) -> Self {
        let place = EndFields::new(info);
        Self {
            head: Head::new("finding", clock, finding.at),
            kind: finding.kind.as_str(),
            verdict: finding.verdict.as_str(),
            place: EndFields {
                pid: record.map_or(place.pid, |record| known(record.pid)),
                role: finding.role.map(Endpoint::as_str),
                ..place
            },
            stream_id: finding.stream_id.0,
            tier: finding.tier.as_str(),
            method: record.and_then(|record| record.path.as_deref()),
            headers: record.map(|record| record.shown.by_name()),
            sender: finding.sender.map(Endpoint::as_str),
            code: finding.code.map(|code| code.0),
            name: finding.code.map(ErrorCode::name),
            request_phase: finding.request_phase.map(RequestPhase::as_str),
            response_phase: finding.response_phase.map(ResponsePhase::as_str),
            stream_window: finding.windows.stream,
            connection_window: finding.windows.connection,
            summary: &finding.summary,
            deadline: record
                .filter(|_| finding.kind == Kind::DeadlineReset)
                .and_then(DeadlineUse::of_stream)
                .map(DeadlineFields::new),
            story: moments(finding.story.moments()),
            hop: None,
        }
    }
}

/// A line of type `loss`.
#[derive(Serialize)]
pub(super) struct LossLine<'a> {
    #[serde(flatten)]
    head: Head,
    source: &'static str,
    cause: &'static str,
    count: u64,
    bytes: Option<u64>,
    conn: Option<u64>,
    pid: Option<u32>,
    comm: Option<&'a str>,
}

impl<'a> LossLine<'a> {
    pub(super) fn new(clock: WallClock, loss: &'a Loss) -> Self {
        let info = loss.connection.as_deref();
        Self {
            head: Head::new("loss", clock, loss.at),
            source: "decoder",
            cause: loss.cause.as_str(),
            count: 1,
            bytes: loss.bytes,
            conn: info.map(|info| info.id.0),
            pid: info.and_then(|info| known(info.pid)),
            comm: info
                .map(|info| info.comm.as_str())
                .filter(|comm| !comm.is_empty()),
        }
    }

    pub(super) fn of_kernel(clock: WallClock, cause: &'static str, count: u64) -> Self {
        let head = Head::new("loss", clock, monotonic_now());
        Self {
            head,
            source: "kernel",
            cause,
            count,
            bytes: None,
            conn: None,
            pid: None,
            comm: None,
        }
    }
}
