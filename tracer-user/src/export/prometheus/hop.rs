//! Requests at proxies.

use super::Exporter;
use crate::anomaly::kind::{Finding, Kind};
use crate::export::labels;
use crate::frame::ErrorCode;
use crate::hop::{Hop, Lone};
use crate::pipeline::HopEnd;

impl Exporter {
    /// Counts a stream of a proxy whose request was not seen.
    pub(super) fn count_lone(&mut self, lone: &Lone<HopEnd>) {
        let vectors = &self.vectors;
        let info = &lone.upstream.tag.info;
        let comm = Self::comm(&mut self.workloads, vectors, &info.comm);
        let requests = vectors.hop_requests.with_label_values(&[comm, "alone"]);
        requests.inc();
    }

    /// Counts a request at a proxy, and what was found about it, under the proxy's name.
    pub(super) fn count_hop(&mut self, hop: &Hop<HopEnd>, findings: &[Finding]) {
        let info = &hop.downstream.tag.info;
        let vectors = &self.vectors;
        let comm = Self::comm(&mut self.workloads, vectors, &info.comm);
        let join = hop.join.map_or("alone", |join| join.confidence.as_str());
        vectors.hop_requests.with_label_values(&[comm, join]).inc();
        for finding in findings {
            let values = [
                labels::role(finding.role),
                comm,
                finding.kind.as_str(),
                finding.verdict.as_str(),
            ];
            vectors.findings.with_label_values(&values).inc();
            let lost = matches!(
                finding.kind,
                Kind::ProxyTruncatedCompleteResponse
                    | Kind::ProxyDroppedTrailers
                    | Kind::ProxyLostBytes
            );
            if lost {
                let missing = vectors.hop_missing_bytes.with_label_values(&[comm]);
                missing.inc_by(hop.missing_bytes().unwrap_or(0));
            }
        }
        let name = |code: Option<ErrorCode>| code.map_or("none", ErrorCode::name);
        for (towards, (received, sent)) in ["client", "server"].into_iter().zip(hop.codes()) {
            if received.is_some() || sent.is_some() {
                vectors
                    .hop_reset_codes
                    .with_label_values(&[comm, towards, name(received), name(sent)])
                    .inc();
            }
        }
    }
}
