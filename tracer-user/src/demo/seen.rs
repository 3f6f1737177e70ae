//! What the tracer saw of the demo's calls, sorted by the end it was seen at.

use std::collections::BTreeMap;
use std::sync::Arc;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::connection::Endpoint;
use h2trace_core::hop::{Attempt, Hop};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd, Output, Sink};
use h2trace_core::stream::record::{Seen, StreamRecord};

use super::Part;
use super::part::REQUEST_ID;

/// A stream as it was seen at one end of its connection.
#[derive(Clone, Debug)]
pub(super) struct SeenStream {
    /// The end.
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) record: Arc<StreamRecord>,
    /// What was found about it.
    pub(super) findings: Vec<Finding>,
}

impl SeenStream {
    /// The call's `x-request-id`.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.record.shown.get(REQUEST_ID)
    }

    /// h2trace says that something broke.
    pub(super) fn is_flagged(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.verdict >= Verdict::Suspicious)
    }
}

/// The response came to its end with trailers that say grpc-status 0.
pub(super) fn is_complete(record: &StreamRecord) -> bool {
    record.trailers == Seen::Value(()) && record.grpc_status == Seen::Value(0)
}

/// A request at the proxy, as h2trace joined its two sides.
#[derive(Clone, Debug)]
pub(super) struct SeenHop {
    /// Both sides.
    pub(super) request: Box<Hop<HopEnd>>,
    /// What was found about what the proxy made of it.
    pub(super) findings: Vec<Finding>,
}

impl SeenHop {
    /// The call's `x-request-id`.
    pub(super) fn request_id(&self) -> Option<&str> {
        let shown = &self.request.downstream.record.shown;
        shown.get(REQUEST_ID)
    }

    /// The stream to the server whose response was passed on.
    pub(super) fn upstream(&self) -> Option<&StreamRecord> {
        self.request.serving().and_then(Attempt::record)
    }

    /// h2trace says that the proxy broke it.
    pub(super) fn is_flagged(&self) -> bool {
        self.flagged().next().is_some()
    }

    /// What h2trace found to be wrong.
    pub(super) fn flagged(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.verdict >= Verdict::Suspicious)
    }
}

/// All streams of the demo, from the four ends of its two connections.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenStreams {
    streams: Vec<SeenStream>,
    hops: Vec<SeenHop>,
    n_losses: u64,
}

impl Sink for SeenStreams {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Stream {
                info,
                record,
                findings,
            } => self.streams.push(SeenStream {
                info: Arc::clone(info),
                record: Arc::clone(record),
                findings: findings.clone(),
            }),
            Output::Hop { request, findings } => self.hops.push(SeenHop {
                request: request.clone(),
                findings: findings.clone(),
            }),
            Output::Loss(loss) if !loss.hides_traffic() => {}
            Output::Loss(_) => self.n_losses += 1,
            _ => {}
        }
    }
}

impl SeenStreams {
    /// Streams seen so far, at all ends.
    pub(super) fn n_streams(&self) -> usize {
        self.streams.len()
    }

    /// Times that something could not be seen or decoded.
    pub(super) fn n_losses(&self) -> u64 {
        self.n_losses
    }

    /// Adds what the kernel programs lost.
    pub(super) fn add_losses(&mut self, n: u64) {
        self.n_losses += n;
    }

    /// The requests at the proxy.
    pub(super) fn hops(&self) -> impl Iterator<Item = &SeenHop> {
        let at_proxy = |hop: &&SeenHop| hop.request.downstream.tag.info.comm == Part::Proxy.comm();
        self.hops.iter().filter(at_proxy)
    }

    /// The streams seen at `part`'s sockets where it is the `role`, by their `x-request-id`.
    ///
    /// The process is recognised by its name: the kernel's process ids are those of the initial pid namespace,
    /// which need not be ours.
    pub(super) fn at(&self, part: Part, role: Endpoint) -> BTreeMap<&str, &SeenStream> {
        self.streams
            .iter()
            .filter(|stream| stream.info.comm == part.comm() && stream.record.role == Some(role))
            .filter_map(|stream| Some((stream.request_id()?, stream)))
            .collect()
    }
}
