//! Lines of type `hop`, and what a finding about a request at a proxy says of both its sides.

use h2trace_core::anomaly::kind::{Finding, Kind};
use h2trace_core::connection::Endpoint;
use h2trace_core::event::Address;
use h2trace_core::frame::ErrorCode;
use h2trace_core::hop::{
    Alone, Attempt, DeadlineUse, DroppedBy, EndStreamLag, Hop, HopStream, Join, Lone, Part,
    early_response, reset_by,
};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd};
use h2trace_core::stream::record::Seen;
use serde::Serialize;

use super::line::{Head, MomentFields, Stream, known, moments, ms, shown};
use crate::export::clock::WallClock;
use crate::workload::fields::PodFields;

/// A line of type `hop`.
#[derive(Serialize)]
pub(super) struct HopLine<'a> {
    #[serde(flatten)]
    head: Head,
    method: Option<&'a str>,
    #[serde(flatten)]
    facts: HopFacts<'a>,
    /// None: it was not seen.
    downstream: Option<SideFields<'a>>,
    upstream: Vec<SideFields<'a>>,
    findings: Vec<&'static str>,
}

/// What both sides say together.
#[derive(Serialize)]
pub(super) struct HopFacts<'a> {
    proxy: Proxy<'a>,
    client: Option<ProcessFields<'a>>,
    server: Option<ProcessFields<'a>>,
    join: Option<JoinFields>,
    /// Why it stands alone.
    alone: Option<&'static str>,
    others: usize,
    mesh: Option<MeshFields<'a>>,
    attempts: usize,
    /// Bytes of the response's DATA: what came to the proxy, what left it.
    received_bytes: Option<u64>,
    forwarded_bytes: Option<u64>,
    missing_bytes: Option<u64>,
    received_trailers: Option<bool>,
    forwarded_trailers: Option<bool>,
    early_response: Option<bool>,
    end_stream_lag_ms: Option<f64>,
    end_stream_came: Option<bool>,
    blocked_ms: Option<f64>,
    deadline: Option<DeadlineFields>,
    codes: CodesFields,
    symptoms: Vec<&'static str>,
}

#[derive(Serialize)]
struct Proxy<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
    cgroup: u64,
    netns: Option<u32>,
    #[serde(serialize_with = "shown")]
    address: &'a Address,
    #[serde(flatten)]
    pod: PodFields,
}

/// The other one of two proxies, with an opaque leg between them, and which of them dropped what is missing.
#[derive(Serialize)]
struct MeshFields<'a> {
    server_side: Option<Proxy<'a>>,
    dropped_by: Option<&'static str>,
    /// DATA of the response on the leg.
    carried_least: Option<u64>,
    carried_most: Option<u64>,
    /// Bytes that were certainly dropped.
    dropped_client_side: Option<u64>,
    dropped_server_side: Option<u64>,
    together: usize,
    /// Of all of these.
    together_missing: Option<u64>,
    together_server_side_least: Option<u64>,
    together_server_side_most: Option<u64>,
}

impl<'a> MeshFields<'a> {
    fn of(hop: &'a Hop<HopEnd>) -> Option<Self> {
        let mesh = hop.mesh?;
        let serving = hop.serving().and_then(|attempt| attempt.stream.as_ref());
        let dropped = hop.dropped();
        Some(Self {
            server_side: serving.map(|stream| Proxy::of(&stream.tag.info)),
            dropped_by: hop.dropped_by().map(DroppedBy::as_str),
            carried_least: mesh.carried.map(|carried| carried.least),
            carried_most: mesh.carried.map(|carried| carried.most),
            dropped_client_side: dropped.map(|[client, _]| client),
            dropped_server_side: dropped.map(|[_, server]| server),
            together: mesh.together,
            together_missing: mesh.all.map(|all| all.bytes),
            together_server_side_least: mesh.all.map(|all| all.server_side.least),
            together_server_side_most: mesh.all.map(|all| all.server_side.most),
        })
    }
}

#[derive(Serialize)]
struct ProcessFields<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
    #[serde(serialize_with = "shown")]
    address: &'a Address,
    #[serde(flatten)]
    pod: PodFields,
}

#[derive(Serialize)]
struct JoinFields {
    by: &'static str,
    confidence: &'static str,
}

#[derive(Serialize)]
struct CodesFields {
    to_client: Translation,
    to_server: Translation,
}

/// What used a deadline up.
#[derive(Serialize)]
pub(super) struct DeadlineFields {
    timeout_ms: f64,
    elapsed_ms: f64,
    part: Option<&'static str>,
    not_sent_ms: Option<f64>,
    request_ms: Option<f64>,
    server_ms: Option<f64>,
    way_back_ms: Option<f64>,
}

impl DeadlineFields {
    pub(super) fn new(spent: DeadlineUse) -> Self {
        Self {
            timeout_ms: spent.timeout.as_secs_f64() * 1_000.0,
            elapsed_ms: ms(spent.elapsed_ns),
            part: spent.part.map(Part::as_str),
            not_sent_ms: spent.not_sent_ns.map(ms),
            request_ms: spent.request_ns.map(ms),
            server_ms: spent.server_ns.map(ms),
            way_back_ms: spent.way_back_ns.map(ms),
        }
    }
}

#[derive(Serialize)]
struct Translation {
    received: Option<u32>,
    sent: Option<u32>,
}

#[derive(Serialize)]
struct SideFields<'a> {
    conn: u64,
    stream_id: u32,
    join: Option<JoinFields>,
    /// None: it has not ended.
    stream: Option<Stream<'a>>,
}

/// What a finding line says of its request.
#[derive(Serialize)]
pub(super) struct FindingHop<'a> {
    #[serde(flatten)]
    facts: HopFacts<'a>,
    upstream: Vec<StreamName>,
    /// The story of the upstream stream, from its first moment.
    story: Vec<MomentFields>,
}

#[derive(Serialize)]
struct StreamName {
    conn: u64,
    stream_id: u32,
}

impl<'a> Proxy<'a> {
    /// The owner of this end.
    fn of(info: &'a ConnectionInfo) -> Self {
        let (pid, comm) = process(info);
        Self {
            pid,
            comm,
            cgroup: info.cgroup,
            netns: (info.netns != 0).then_some(info.netns),
            address: &info.local,
            pod: PodFields::new(&info.workload),
        }
    }
}

fn process(info: &ConnectionInfo) -> (Option<u32>, Option<&str>) {
    let comm = (!info.comm.is_empty()).then_some(info.comm.as_str());
    (known(info.pid), comm)
}

/// Who is at the other end: the process, when that end is followed too.
fn other_end(end: &HopEnd) -> ProcessFields<'_> {
    let (pid, comm) = end.peer.as_deref().map_or((None, None), process);
    ProcessFields {
        pid,
        comm,
        address: &end.info.peer,
        pod: PodFields::of_peer(end),
    }
}

fn join(join: Join) -> JoinFields {
    JoinFields {
        by: join.by.as_str(),
        confidence: join.confidence.as_str(),
    }
}

fn translation((received, sent): (Option<ErrorCode>, Option<ErrorCode>)) -> Translation {
    Translation {
        received: received.map(|code| code.0),
        sent: sent.map(|code| code.0),
    }
}

fn seen(value: Seen<()>) -> Option<bool> {
    match value {
        Seen::Value(()) => Some(true),
        Seen::Absent => Some(false),
        Seen::Unknown => None,
    }
}

impl<'a> HopFacts<'a> {
    fn new(hop: &'a Hop<HopEnd>) -> Self {
        let down = &hop.downstream;
        let serving = hop.serving().and_then(|attempt| attempt.stream.as_ref());
        let [to_client, to_server] = hop.codes();
        let (end_stream_came, lag) = match hop.end_stream_lag() {
            EndStreamLag::After(ns) => (Some(true), Some(ns)),
            EndStreamLag::Never(ns) => (Some(false), Some(ns)),
            EndStreamLag::Unknown => (None, None),
        };
        Self {
            proxy: Proxy::of(&down.tag.info),
            client: Some(other_end(&down.tag)),
            server: serving.map(|stream| other_end(&stream.tag)),
            join: hop.join.map(join),
            alone: hop.why_alone().map(Alone::as_str),
            others: hop.others.len(),
            mesh: MeshFields::of(hop),
            attempts: hop.upstream.len(),
            received_bytes: hop.received_bytes(),
            forwarded_bytes: Some(down.record.response.data_bytes),
            missing_bytes: hop.missing_bytes(),
            received_trailers: seen(hop.received_trailers()),
            forwarded_trailers: seen(down.record.trailers),
            early_response: hop.early_response(),
            end_stream_lag_ms: lag.map(ms),
            end_stream_came,
            blocked_ms: hop.blocked_ns().map(ms),
            deadline: hop.deadline().map(DeadlineFields::new),
            codes: CodesFields {
                to_client: translation(to_client),
                to_server: translation(to_server),
            },
            symptoms: down.tag.findings.iter().map(|kind| kind.as_str()).collect(),
        }
    }
}

impl<'a> HopFacts<'a> {
    /// What is known where the request was not seen.
    fn lone(lone: &'a Lone<HopEnd>) -> Self {
        let up = &lone.upstream;
        let nothing = |received| Translation {
            received,
            sent: None,
        };
        let reset = reset_by(&up.record, Endpoint::Server);
        let sent = reset_by(&up.record, Endpoint::Client).map(|reset| reset.code.0);
        Self {
            proxy: Proxy::of(&up.tag.info),
            client: None,
            server: Some(other_end(&up.tag)),
            join: None,
            alone: Some(lone.why().as_str()),
            others: 0,
            mesh: None,
            attempts: 1,
            received_bytes: Some(up.record.response.data_bytes),
            forwarded_bytes: None,
            missing_bytes: None,
            received_trailers: seen(up.record.trailers),
            forwarded_trailers: None,
            early_response: Some(early_response(&up.record)),
            end_stream_lag_ms: None,
            end_stream_came: None,
            blocked_ms: None,
            deadline: None,
            codes: CodesFields {
                to_client: nothing(reset.map(|reset| reset.code.0)),
                to_server: Translation {
                    received: None,
                    sent,
                },
            },
            symptoms: Vec::new(),
        }
    }
}

impl<'a> HopLine<'a> {
    /// A stream whose request was not seen.
    pub(super) fn lone(clock: WallClock, lone: &'a Lone<HopEnd>) -> Self {
        Self {
            head: Head::new("hop", clock, lone.at),
            method: lone.upstream.record.path.as_deref(),
            facts: HopFacts::lone(lone),
            downstream: None,
            upstream: vec![side_alone(clock, &lone.upstream)],
            findings: Vec::new(),
        }
    }

    pub(super) fn new(clock: WallClock, hop: &'a Hop<HopEnd>, findings: &[Finding]) -> Self {
        Self {
            head: Head::new("hop", clock, hop.at),
            method: hop.downstream.record.path.as_deref(),
            facts: HopFacts::new(hop),
            downstream: Some(side_alone(clock, &hop.downstream)),
            upstream: hop.upstream.iter().map(|a| side(clock, a)).collect(),
            findings: findings
                .iter()
                .map(|finding| finding.kind)
                .map(Kind::as_str)
                .collect(),
        }
    }
}

fn side_alone(clock: WallClock, of: &HopStream<HopEnd>) -> SideFields<'_> {
    SideFields {
        conn: of.record.connection.0,
        stream_id: of.record.stream_id.0,
        join: None,
        stream: Some(stream(clock, of)),
    }
}

fn side(clock: WallClock, attempt: &Attempt<HopEnd>) -> SideFields<'_> {
    SideFields {
        conn: attempt.connection.0,
        stream_id: attempt.stream_id.0,
        join: Some(join(attempt.join)),
        stream: attempt.stream.as_ref().map(|ended| stream(clock, ended)),
    }
}

fn stream(clock: WallClock, side: &HopStream<HopEnd>) -> Stream<'_> {
    Stream::of_kinds(
        clock,
        &side.tag.info,
        &side.record,
        side.tag.findings.iter().copied(),
    )
}

impl<'a> FindingHop<'a> {
    pub(super) fn new(hop: &'a Hop<HopEnd>) -> Self {
        let story = hop
            .serving()
            .and_then(Attempt::record)
            .map(|record| record.story.moments())
            .unwrap_or_default();
        Self {
            facts: HopFacts::new(hop),
            upstream: hop
                .upstream
                .iter()
                .map(|attempt| StreamName {
                    conn: attempt.connection.0,
                    stream_id: attempt.stream_id.0,
                })
                .collect(),
            story: moments(story),
        }
    }
}
