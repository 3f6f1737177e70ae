//! Requests at proxies.

use h2trace_core::anomaly::kind::{Finding, Kind};
use h2trace_core::frame::ErrorCode;
use h2trace_core::hop::{DroppedBy, Hop, Lone};
use h2trace_core::pipeline::HopEnd;

use super::Exporter;
use super::counts::EndCounts;
use super::room::Room;
use super::series::Series;
use super::times::role_index;

impl Exporter {
    /// Counts a stream of a proxy whose request was not seen.
    pub(super) fn count_lone(&mut self, lone: &Lone<HopEnd>) {
        self.at_end(&lone.upstream.tag.info, |end, room| {
            end.add(Series::Hop { join: "alone" }, 1, room);
        });
    }

    /// Counts a request at a proxy, and what was found about it, under the proxy's name. Of two with an opaque leg
    /// between them: of the one that dropped what is missing; under no name where it is not known which it was.
    pub(super) fn count_hop(&mut self, hop: &Hop<HopEnd>, findings: &[Finding]) {
        let serving = hop.serving().and_then(|attempt| attempt.stream.as_ref());
        let info = match (hop.dropped_by(), serving) {
            (Some(DroppedBy::Server), Some(serving)) => &serving.tag.info,
            (Some(DroppedBy::Both | DroppedBy::Either), _) => {
                let other = self.ends.other(true);
                count(&mut other.counts(), hop, findings, &mut self.room_of_other);
                return;
            }
            (Some(DroppedBy::Client | DroppedBy::Server) | None, _) => &hop.downstream.tag.info,
        };
        self.at_end(info, |end, room| {
            count(end, hop, findings, room);
        });
    }
}

fn count(end: &mut EndCounts, hop: &Hop<HopEnd>, findings: &[Finding], room: &mut Room) {
    let join = hop.join.map_or("alone", |join| join.confidence.as_str());
    end.add(Series::Hop { join }, 1, room);
    for finding in findings {
        let series = Series::of_finding(finding);
        end.add_at(Some(role_index(finding.role)), series, 1, room);
        let lost = matches!(
            finding.kind,
            Kind::ProxyTruncatedCompleteResponse
                | Kind::ProxyDroppedTrailers
                | Kind::ProxyLostBytes
        );
        if lost {
            let missing = hop.missing_bytes().unwrap_or(0);
            end.add(Series::HopMissingBytes, missing, room);
        }
    }
    let name = |code: Option<ErrorCode>| code.map_or("none", ErrorCode::name);
    for (towards, (received, sent)) in ["client", "server"].into_iter().zip(hop.codes()) {
        if received.is_some() || sent.is_some() {
            let series = Series::HopReset {
                towards,
                received: name(received),
                sent: name(sent),
            };
            end.add(series, 1, room);
        }
    }
}
