//! What a proxy made of its requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
use h2trace_core::connection::Endpoint;
use h2trace_core::event::Address;
use h2trace_core::frame::ErrorCode;
use h2trace_core::hop::{Confidence, DroppedBy, Ended, Hop, ProxyKey, ended};
use h2trace_core::limits::{self, Limit};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd};
use h2trace_core::stream::record::{RequestPhase, ResponsePhase, Seen, StreamRecord};

use super::report::{Agent, Codes, Cut, Directly, Example, Process, ProxyEnd, ProxyReport};
use super::{ProxyCaseKey, advice, hit};

/// The server's response was complete, and the client did not get all of it.
const CUT: [Kind; 3] = [
    Kind::ProxyTruncatedCompleteResponse,
    Kind::ProxyDroppedTrailers,
    Kind::ProxyLostBytes,
];

#[derive(Clone, Copy, Debug, Default)]
struct OfAgent {
    requests: u64,
    not_ended: u64,
    cut: u64,
    cut_not_ended: u64,
}

/// The proxy that a request is counted at: of two with an opaque leg between them the one that dropped what is missing;
/// both where it is not known which it was.
pub(super) fn key(request: &Hop<HopEnd>) -> ProxyCaseKey {
    let client_side = request.proxy;
    match (request.dropped_by(), request.mesh) {
        (Some(DroppedBy::Server), Some(mesh)) => (mesh.server_side, None),
        (Some(DroppedBy::Both | DroppedBy::Either), Some(mesh)) => {
            (client_side, Some(mesh.server_side))
        }
        _ => (client_side, None),
    }
}

impl ProxyEnd {
    /// Its process, and the address that it is known by.
    fn of(info: &ConnectionInfo, key: ProxyKey) -> ProxyEnd {
        ProxyEnd {
            process: Process::of(info),
            address: match key {
                ProxyKey::Process(_) => info.local.to_string(),
                ProxyKey::Host(address, _) => address.to_string(),
            },
        }
    }
}

/// A proxy, and the sums over its requests.
#[derive(Debug)]
pub(super) struct ProxyCase {
    process: Option<Process>,
    address: String,
    /// It may have been this one instead.
    or: Option<ProxyEnd>,
    server_header: Option<String>,
    requests: u64,
    joined: BTreeMap<&'static str, u64>,
    ambiguous: u64,
    alone: u64,
    findings: BTreeMap<Kind, BTreeMap<Verdict, u64>>,
    sentences: BTreeMap<(Kind, Verdict), String>,
    cut: Cut,
    codes: BTreeMap<(Option<u32>, Option<u32>), u64>,
    broken_by_server: u64,
    server: Option<Process>,
    pub(super) servers: BTreeSet<SocketAddr>,
    /// By `user-agent`; None where it was not seen.
    agents: BTreeMap<Option<String>, OfAgent>,
    example: Option<(u8, Example)>,
}

impl ProxyCase {
    pub(super) fn new(request: &Hop<HopEnd>) -> Self {
        let client_side = ProxyEnd::of(&request.downstream.tag.info, request.proxy);
        let serving = request.serving().and_then(|up| up.stream.as_ref());
        let server_side = request.mesh.zip(serving);
        let server_side =
            server_side.map(|(mesh, up)| ProxyEnd::of(&up.tag.info, mesh.server_side));
        let (of, or) = match (key(request), server_side) {
            ((_, Some(_)), server_side) => (client_side, server_side),
            ((key, None), Some(server_side)) if key != request.proxy => (server_side, None),
            _ => (client_side, None),
        };
        ProxyCase {
            process: of.process,
            address: of.address,
            or,
            server_header: None,
            requests: 0,
            joined: BTreeMap::new(),
            ambiguous: 0,
            alone: 0,
            findings: BTreeMap::new(),
            sentences: BTreeMap::new(),
            cut: Cut::default(),
            codes: BTreeMap::new(),
            broken_by_server: 0,
            server: None,
            servers: BTreeSet::new(),
            agents: BTreeMap::new(),
            example: None,
        }
    }

    pub(super) fn count(
        &mut self,
        request: &Hop<HopEnd>,
        findings: &[Finding],
        hits: &mut BTreeMap<Limit, u64>,
    ) {
        self.requests += 1;
        match request.join {
            None => self.alone += 1,
            Some(join) => {
                *self.joined.entry(join.by.as_str()).or_default() += 1;
                self.ambiguous += u64::from(join.confidence == Confidence::Ambiguous);
            }
        }
        for finding in findings {
            let of_kind = self.findings.entry(finding.kind).or_default();
            *of_kind.entry(finding.verdict).or_default() += 1;
            if finding.verdict >= Verdict::Suspicious {
                let key = (finding.kind, finding.verdict);
                let first = self.sentences.entry(key);
                first.or_insert_with(|| finding.summary.clone());
            }
        }
        let down = &*request.downstream.record;
        let serving = request
            .serving()
            .and_then(|attempt| attempt.stream.as_ref());
        if let Some(serving) = serving {
            let up = &*serving.record;
            self.broken_by_server += u64::from(ended(up) == Ended::ByServer);
            if self.server.is_none() {
                self.server = serving.tag.peer.as_deref().and_then(Process::of);
            }
            if let Address::Inet(server) = &serving.tag.info.peer
                && !self.servers.contains(server)
            {
                if self.servers.len() < limits::DIAGNOSIS_VALUES {
                    self.servers.insert(*server);
                } else {
                    hit(hits, Limit::DiagnosisValues);
                }
            }
            let header = down.shown.get("server");
            if self.server_header.is_none() && header != up.shown.get("server") {
                self.server_header = header.map(str::to_owned);
            }
        }
        let cut = findings
            .iter()
            .find(|finding| CUT.contains(&finding.kind) && finding.verdict == Verdict::Anomaly);
        let up = serving.map(|serving| &*serving.record);
        let not_ended = up.is_some_and(|up| had_not_ended(down, up));
        self.agent(down, not_ended, cut.is_some(), hits);
        if let (Some(cut), Some(serving)) = (cut, serving) {
            self.count_cut(request, &serving.record, not_ended, hits);
            self.keep(request, &serving.record, cut);
        }
    }

    fn agent(
        &mut self,
        down: &StreamRecord,
        not_ended: bool,
        cut: bool,
        hits: &mut BTreeMap<Limit, u64>,
    ) {
        let name = down.shown.get("user-agent").map(str::to_owned);
        let full = self.agents.len() >= limits::DIAGNOSIS_VALUES;
        if full && !self.agents.contains_key(&name) {
            return hit(hits, Limit::DiagnosisValues);
        }
        let agent = self.agents.entry(name).or_default();
        agent.requests += 1;
        agent.not_ended += u64::from(not_ended);
        agent.cut += u64::from(cut);
        agent.cut_not_ended += u64::from(cut && not_ended);
    }

    fn count_cut(
        &mut self,
        request: &Hop<HopEnd>,
        up: &StreamRecord,
        not_ended: bool,
        hits: &mut BTreeMap<Limit, u64>,
    ) {
        let cut = &mut self.cut;
        cut.responses += 1;
        cut.after_early_response += u64::from(request.early_response() == Some(true));
        cut.client_had_not_ended += u64::from(not_ended);
        let no_error = up.resets.iter().any(|reset| {
            reset.sender == Endpoint::Server
                && reset.code == ErrorCode::NO_ERROR
                && reset.response_phase == Some(ResponsePhase::R3)
        });
        cut.server_reset_no_error += u64::from(no_error);
        let windows = request
            .downstream
            .record
            .resets
            .first()
            .map(|reset| reset.response_windows)
            .unwrap_or_default();
        match (windows.connection, windows.stream) {
            (Some(..=0), _) => cut.connection_window_used_up += 1,
            (_, Some(..=0)) => cut.stream_window_used_up += 1,
            (Some(_), Some(_)) => cut.windows_open += 1,
            (None, _) | (_, None) => cut.windows_unknown += 1,
        }
        match request.missing_bytes() {
            Some(missing) => cut.missing_bytes += missing,
            None => cut.missing_bytes_unknown += 1,
        }
        cut.trailers_dropped += u64::from(request.trailers_dropped());
        cut.with_status_ok += u64::from(up.grpc_status == Seen::Value(0));
        let [(received, sent), _] = request.codes();
        let codes = (received.map(|code| code.0), sent.map(|code| code.0));
        if self.codes.len() >= limits::DIAGNOSIS_VALUES && !self.codes.contains_key(&codes) {
            return hit(hits, Limit::DiagnosisValues);
        }
        *self.codes.entry(codes).or_default() += 1;
    }

    /// Keeps it as the example when it shows more than the one before.
    fn keep(&mut self, request: &Hop<HopEnd>, up: &Arc<StreamRecord>, found: &Finding) {
        let down = &request.downstream.record;
        let inside = down.response_phase == Some(ResponsePhase::Rm);
        let shows = u8::from(request.missing_bytes().is_some_and(|n| n > 0)) + u8::from(inside);
        if self
            .example
            .as_ref()
            .is_some_and(|(best, _)| *best >= shows)
        {
            return;
        }
        let example = Example {
            conn: down.connection.0,
            stream_id: down.stream_id.0,
            upstream_conn: up.connection.0,
            upstream_stream_id: up.stream_id.0,
            summary: found.summary.clone(),
            downstream: Arc::clone(down),
            upstream: Arc::clone(up),
        };
        self.example = Some((shows, example));
    }

    pub(super) fn report(&self, directly: Option<Directly>) -> ProxyReport {
        let mut cut = self.cut.clone();
        cut.codes = self
            .codes
            .iter()
            .map(|((received, sent), count)| Codes {
                received: *received,
                sent: *sent,
                count: *count,
            })
            .collect();
        cut.codes
            .sort_by_key(|codes| std::cmp::Reverse(codes.count));
        let mut agents: Vec<Agent> = self
            .agents
            .iter()
            .map(|(name, of)| Agent {
                user_agent: name.clone(),
                requests: of.requests,
                not_ended: of.not_ended,
                cut: of.cut,
                cut_not_ended: of.cut_not_ended,
            })
            .collect();
        agents.sort_by_key(|agent| std::cmp::Reverse((agent.cut, agent.requests)));
        let mut report = ProxyReport {
            process: self.process.clone(),
            address: self.address.clone(),
            or: self.or.clone(),
            server_header: self.server_header.clone(),
            requests: self.requests,
            joined: self.joined.clone(),
            ambiguous: self.ambiguous,
            alone: self.alone,
            findings: self.findings.clone(),
            sentences: self.sentences.clone(),
            cut,
            broken_by_server: self.broken_by_server,
            server: self.server.clone(),
            directly,
            agents,
            example: self.example.as_ref().map(|(_, example)| example.clone()),
            advice: Vec::new(),
        };
        report.advice = advice::of(&report);
        report
    }
}

/// The response was complete at the proxy before the client's END_STREAM had come to it.
fn had_not_ended(down: &StreamRecord, up: &StreamRecord) -> bool {
    let Some(response_end) = up.response.end_stream_at else {
        return false;
    };
    match down.request.end_stream_at {
        Some(request_end) => request_end > response_end,
        None => down
            .request_phase
            .is_some_and(|phase| phase < RequestPhase::Q2),
    }
}
