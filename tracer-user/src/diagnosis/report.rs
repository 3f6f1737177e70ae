//! What a diagnosis says, ready to be written down. The JSON line of type `diagnosis` has the same fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use h2trace_core::anomaly::kind::{Kind, Verdict};
use h2trace_core::attribution::WorkloadHandle;
use h2trace_core::connection::Endpoint;
use h2trace_core::event::OtherProtocol;
use h2trace_core::pipeline::ConnectionInfo;
use h2trace_core::stream::record::StreamRecord;
use serde::{Serialize, Serializer};

use crate::workload::fields::PodFields;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Streams that ended, at all ends.
    pub streams: u64,
    /// Those of them of which it cannot be said how they ended.
    pub unknown: u64,
    /// Findings with the verdict anomaly.
    pub anomalies: u64,
    /// Responses that were complete before their request (RFC 9113 section 8.1), at the role's ends that saw
    /// most of them.
    pub early_responses: u64,
    /// Connections whose beginning was not seen, and of which it stayed unknown what they speak: nothing is said of them.
    pub undecided_connections: u64,
    /// Times that something was not captured or could not be read.
    pub losses: u64,
    /// Proxies that were seen from both sides, the one that broke most first.
    pub proxies: Vec<ProxyReport>,
    /// What broke on one hop and is not told of a proxy, the worst first.
    pub cases: Vec<CaseReport>,
    /// Bounds of the diagnosis that were reached: what lies beyond them is not told apart.
    pub limit_hits: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its id; None where a file tells none.
    pub pid: Option<u32>,
    pub comm: Option<String>,
    /// Its pod, which may be named until the report is printed.
    #[serde(flatten, serialize_with = "pod_fields")]
    pub workload: WorkloadHandle,
}

/// One process, whatever is known of its pod by now.
impl PartialEq for Process {
    fn eq(&self, other: &Process) -> bool {
        (self.pid, &self.comm) == (other.pid, &other.comm)
    }
}

impl Eq for Process {}

fn pod_fields<S: Serializer>(workload: &WorkloadHandle, serializer: S) -> Result<S::Ok, S::Error> {
    PodFields::new(workload).serialize(serializer)
}

impl Process {
    /// Who owns the observed end; None where a file tells none.
    pub(super) fn of(info: &ConnectionInfo) -> Option<Process> {
        (info.pid != 0).then(|| Process {
            pid: Some(info.pid),
            comm: (!info.comm.is_empty()).then(|| info.comm.clone()),
            workload: info.workload.clone(),
        })
    }
}

/// A proxy that it may have been.
#[derive(Clone, Debug, Serialize)]
pub struct ProxyEnd {
    /// Its process; of a file None.
    pub process: Option<Process>,
    /// Its end of a connection.
    pub address: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ProxyReport {
    /// Its process; of a file None.
    pub process: Option<Process>,
    /// Its end of a client's connection.
    pub address: String,
    /// The proxy at the other end of an opaque leg, where it is not known which of the two dropped what is missing.
    pub or: Option<ProxyEnd>,
    /// `server` of the responses that left it, if that is not what came to it.
    pub server_header: Option<String>,
    /// Requests that came to it.
    pub requests: u64,
    /// Those of them whose other side was found, by what it was found.
    pub joined: BTreeMap<&'static str, u64>,
    /// Those of the joined that could not be told apart from others.
    pub ambiguous: u64,
    /// Those without another side.
    pub alone: u64,
    /// What was found about them, by verdict.
    #[serde(serialize_with = "by_name")]
    pub findings: BTreeMap<Kind, BTreeMap<Verdict, u64>>,
    /// What was said of the first of each, where it is worth a look.
    #[serde(skip)]
    pub sentences: BTreeMap<(Kind, Verdict), String>,
    /// Responses that were complete at the proxy and did not leave it whole.
    pub cut: Cut,
    /// Requests that the server itself broke off.
    pub broken_by_server: u64,
    /// Whom it asks: the first that was seen.
    pub server: Option<Process>,
    /// Requests that the same servers answered without it.
    pub directly: Option<Directly>,
    /// Who made the requests.
    pub agents: Vec<Agent>,
    /// One of the cut responses.
    pub example: Option<Example>,
    /// What to change, and what of it this run supports.
    pub advice: Vec<Advice>,
}

/// Responses that a proxy cut.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cut {
    pub responses: u64,
    /// Complete before the proxy had ended the request.
    pub after_early_response: u64,
    /// The client had not ended its request when they were complete.
    pub client_had_not_ended: u64,
    /// The server then reset its stream with `NO_ERROR`.
    pub server_reset_no_error: u64,
    /// Cut while the connection window towards the client was used up.
    pub connection_window_used_up: u64,
    /// Cut while the stream window was used up, and the connection window was not.
    pub stream_window_used_up: u64,
    /// Cut while both had room.
    pub windows_open: u64,
    /// The windows at the cut are not known.
    pub windows_unknown: u64,
    /// Bytes of DATA that did not leave the proxy.
    pub missing_bytes: u64,
    /// Responses of which the bytes cannot be compared: not in `missing_bytes`.
    pub missing_bytes_unknown: u64,
    /// Responses whose trailers did not leave the proxy.
    pub trailers_dropped: u64,
    /// Responses with grpc-status 0 in the trailers that came to the proxy.
    pub with_status_ok: u64,
    /// The server's reset code, and the one that the client got.
    pub codes: Vec<Codes>,
}

/// Reset codes in and out; None: no reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Codes {
    /// From the server.
    pub received: Option<u32>,
    /// To the client.
    pub sent: Option<u32>,
    pub count: u64,
}

/// Requests without the proxy in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Directly {
    pub requests: u64,
    /// Those with an anomaly.
    pub broken: u64,
}

/// A `user-agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its value; None, in JSON `unknown`, where it was not seen.
    #[serde(serialize_with = "user_agent")]
    pub user_agent: Option<String>,
    pub requests: u64,
    /// Those that had not ended when their response was complete.
    pub not_ended: u64,
    /// Those whose response was cut.
    pub cut: u64,
    /// Those of which both is true.
    pub cut_not_ended: u64,
}

/// A request whose response was cut.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// The connection towards the client.
    pub conn: u64,
    pub stream_id: u32,
    /// The connection towards the server.
    pub upstream_conn: u64,
    pub upstream_stream_id: u32,
    pub summary: String,
    /// The client's hop.
    #[serde(skip)]
    pub downstream: Arc<StreamRecord>,
    /// The server's.
    #[serde(skip)]
    pub upstream: Arc<StreamRecord>,
}

/// Where something can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdviceAt {
    Client,
    Server,
    /// The client's window.
    Window,
    Proxy,
}

/// Something that can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub at: AdviceAt,
    pub change: String,
    /// What was seen in this run calls for it.
    pub supported: bool,
    /// What was seen.
    pub evidence: String,
    /// Where it is written.
    pub references: Vec<&'static str>,
}

/// What broke on one hop.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    #[serde(serialize_with = "kind")]
    pub kind: Kind,
    #[serde(serialize_with = "verdict")]
    pub verdict: Verdict,
    /// Who caused it, as far as this hop shows.
    #[serde(serialize_with = "endpoint")]
    pub sender: Option<Endpoint>,
    /// Streams (or connections) at the client's end.
    pub at_client: u64,
    /// At the server's end. Where both ends are followed the same ones are seen at both.
    pub at_server: u64,
    /// The client, when its end is followed: the first that was seen.
    pub client: Option<Process>,
    /// There were others.
    pub several_clients: bool,
    /// The server, when its end is followed.
    pub server: Option<Process>,
    pub server_address: String,
    /// It is one of the proxies that are told: what is behind it was seen.
    #[serde(skip)]
    pub server_is_proxy: bool,
    /// What its process speaks towards others that is not followed: the cause may be behind it.
    #[serde(skip)]
    pub server_speaks: Option<OtherProtocol>,
    /// What was found about one of them.
    pub example: String,
}

impl CaseReport {
    /// How many there are: where both ends are followed, one is seen twice.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.at_client.max(self.at_server)
    }

    pub(super) fn rank(&self) -> Verdict {
        self.verdict
    }
}

impl ProxyReport {
    /// Requests of which both sides were found.
    #[must_use]
    pub fn n_joined(&self) -> u64 {
        self.joined.values().sum()
    }
}

fn kind<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

fn verdict<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}

#[expect(
    clippy::ref_option,
    reason = "serde hands over a reference to the field"
)]
fn endpoint<S: Serializer>(endpoint: &Option<Endpoint>, serializer: S) -> Result<S::Ok, S::Error> {
    endpoint.map(Endpoint::as_str).serialize(serializer)
}

#[expect(
    clippy::ref_option,
    reason = "serde hands over a reference to the field"
)]
fn user_agent<S: Serializer>(name: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_deref().unwrap_or("unknown"))
}

fn by_name<S: Serializer>(
    findings: &BTreeMap<Kind, BTreeMap<Verdict, u64>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(findings.iter().map(|(kind, verdicts)| {
        let verdicts: BTreeMap<&str, u64> = verdicts
            .iter()
            .map(|(verdict, n)| (verdict.as_str(), *n))
            .collect();
        (kind.as_str(), verdicts)
    }))
}
