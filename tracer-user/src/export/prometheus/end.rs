//! The series of one connection end: of one `comm` and role.

use std::collections::HashMap;

use prometheus::{Histogram, IntCounter};

use super::vectors::Vectors;
use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::Endpoint;
use crate::export::labels::{self, Capped, OTHER, UNKNOWN};
use crate::export::{duration_ns, early_complete, first_byte_ns};
use crate::stream::record::{Outcome, Reset, Seen, StreamEnd, StreamRecord, Tier};

/// Number of outcomes.
const OUTCOMES: usize = Outcome::Unknown as usize + 1;

/// The series of one `comm` and role.
pub(super) struct EndSeries {
    comm: String,
    role: &'static str,
    pub(super) opened: IntCounter,
    ended: [Option<IntCounter>; OUTCOMES],
    duration: Histogram,
    first_byte: Histogram,
    early: IntCounter,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    resets: HashMap<ResetKey, IntCounter>,
    findings: HashMap<(Kind, Verdict), IntCounter>,
    grpc: HashMap<String, HashMap<&'static str, IntCounter>>,
}

/// Sender, code, request phase, response phase, verdict.
type ResetKey = (Endpoint, &'static str, &'static str, &'static str, Verdict);

impl EndSeries {
    /// The series of `role` and `comm`, most of them at 0: a rate over a series that has just been born
    /// misses its first rise.
    pub(super) fn new(vectors: &Vectors, role: &'static str, comm: &str) -> Self {
        let both = [role, comm];
        Self {
            comm: comm.to_owned(),
            role,
            opened: vectors.streams_opened.with_label_values(&both),
            ended: std::array::from_fn(|_| None),
            duration: vectors.stream_duration.with_label_values(&both),
            first_byte: vectors.stream_first_byte.with_label_values(&both),
            early: vectors.early_responses.with_label_values(&both),
            request_bytes: vectors
                .data_bytes
                .with_label_values(&[role, comm, "request"]),
            response_bytes: vectors
                .data_bytes
                .with_label_values(&[role, comm, "response"]),
            resets: HashMap::new(),
            findings: HashMap::new(),
            grpc: HashMap::new(),
        }
    }

    pub(super) fn count(&mut self, vectors: &Vectors, methods: &mut Capped, record: &StreamRecord) {
        let (role, comm) = (self.role, self.comm.as_str());
        if let Some(ended) = self.ended.get_mut(record.outcome as usize) {
            ended
                .get_or_insert_with(|| {
                    vectors
                        .streams_ended
                        .with_label_values(&[role, comm, record.outcome.as_str()])
                })
                .inc();
        }
        if let Some(duration) = duration_ns(record) {
            self.duration.observe(seconds(duration));
        }
        if let Some(first_byte) = first_byte_ns(record) {
            self.first_byte.observe(seconds(first_byte));
        }
        self.request_bytes.inc_by(record.request.data_bytes);
        self.response_bytes.inc_by(record.response.data_bytes);
        if early_complete(record) {
            self.early.inc();
        }
        if record.tier == Tier::T0 {
            vectors.hpack_unseen.inc();
        }
        if record.grpc == Seen::Value(()) {
            self.count_grpc(vectors, methods, record);
        }
    }

    fn count_grpc(&mut self, vectors: &Vectors, methods: &mut Capped, record: &StreamRecord) {
        let (role, comm) = (self.role, self.comm.as_str());
        let end = labels::stream_end(record.end);
        if record.trailers == Seen::Absent
            && !matches!(record.end, StreamEnd::Evicted | StreamEnd::Unseen)
        {
            vectors
                .missing_trailers
                .with_label_values(&[role, comm, end])
                .inc();
        }
        for (direction, half) in [("request", &record.request), ("response", &record.response)] {
            if half.messages.known && half.messages.open.is_some() {
                vectors
                    .truncated_messages
                    .with_label_values(&[role, comm, direction, end])
                    .inc();
            }
        }
        let code = labels::grpc_code(record);
        let path = record.path.as_deref().unwrap_or("");
        // One path has one handle; a path that is not admitted shares the handle of `other`.
        if let Some(counter) = self.grpc.get(path).and_then(|codes| codes.get(code)) {
            counter.inc();
            return;
        }
        let (service, method) = match record.path.as_deref() {
            None => (UNKNOWN, UNKNOWN),
            Some(path) => labels::service_and_method(path),
        };
        let bounded = service == OTHER || service == UNKNOWN;
        // The cap holds for the whole series but the status: role and comm come from the observed end.
        let admitted = bounded || methods.admits(&format!("{role} {comm} {path}"));
        let (service, method) = if admitted {
            (service, method)
        } else {
            (OTHER, OTHER)
        };
        let counter = vectors
            .grpc_status
            .with_label_values(&[role, comm, service, method, code]);
        counter.inc();
        if admitted && !(bounded && record.path.is_some()) {
            self.grpc
                .entry(path.to_owned())
                .or_default()
                .insert(code, counter);
        } else if !admitted {
            vectors
                .label_overflow
                .with_label_values(&["grpc_method"])
                .inc();
        }
    }

    pub(super) fn count_reset(&mut self, vectors: &Vectors, reset: &Reset, findings: &[Finding]) {
        let verdict = verdict_of(reset, findings);
        let request_phase = labels::request_phase(reset.request_phase);
        let response_phase = labels::response_phase(reset.response_phase);
        let key = (
            reset.sender,
            reset.code.name(),
            request_phase,
            response_phase,
            verdict,
        );
        self.resets
            .entry(key)
            .or_insert_with(|| {
                vectors.resets.with_label_values(&[
                    self.role,
                    &self.comm,
                    reset.sender.as_str(),
                    reset.code.name(),
                    request_phase,
                    response_phase,
                    verdict.as_str(),
                ])
            })
            .inc();
    }

    pub(super) fn count_finding(&mut self, vectors: &Vectors, finding: &Finding) {
        self.findings
            .entry((finding.kind, finding.verdict))
            .or_insert_with(|| {
                vectors.findings.with_label_values(&[
                    self.role,
                    &self.comm,
                    finding.kind.as_str(),
                    finding.verdict.as_str(),
                ])
            })
            .inc();
    }
}

/// What was found about this very RST_STREAM: the worst verdict that names its sender and code.
pub(super) fn verdict_of(reset: &Reset, findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .filter(|finding| finding.code == Some(reset.code) && finding.sender == Some(reset.sender))
        .map(|finding| finding.verdict)
        .max()
        .unwrap_or(Verdict::Unknown)
}

fn seconds(ns: u64) -> f64 {
    std::time::Duration::from_nanos(ns).as_secs_f64()
}
