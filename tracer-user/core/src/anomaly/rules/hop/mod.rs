//! What a proxy made of a request.
//!
//! A request is judged once, when both its hops are over. One root cause, one finding: a response that the
//! proxy cut is that, not also a translated code. The downstream stream has had its own finding when it
//! ended (`response_cut_by_reset`): that one is the symptom, and what is found here is its cause; the two
//! have different kinds, so that nobody who counts one counts the other.

mod gave_up;
mod mesh;
mod request;
mod response;
mod words;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::hop::facts::cut_at;
use crate::hop::{Attempt, Confidence, Ended, Hop, ended};
use crate::stream::record::{StreamRecord, Tier};

/// What was found of a request.
#[derive(Clone, Debug)]
struct HopFinding {
    kind: Kind,
    verdict: Verdict,
    summary: String,
    /// Who caused it, of the downstream stream's two ends.
    sender: Option<Endpoint>,
    code: Option<ErrorCode>,
    /// It is so whatever was lost of the streams to servers.
    holds: bool,
}

impl HopFinding {
    fn new(kind: Kind, verdict: Verdict, summary: String) -> HopFinding {
        HopFinding {
            kind,
            verdict,
            summary,
            sender: None,
            code: None,
            holds: false,
        }
    }

    fn whatever_was_lost(self) -> HopFinding {
        HopFinding {
            holds: true,
            ..self
        }
    }

    fn by(mut self, sender: Endpoint, code: Option<ErrorCode>) -> HopFinding {
        (self.sender, self.code) = (Some(sender), code);
        self
    }
}

/// The upstream streams of a request: those that have ended, and how many have not.
struct Upstream<'a> {
    ended: Vec<&'a StreamRecord>,
    /// The one whose response was passed on.
    serving: Option<&'a StreamRecord>,
    n_open: usize,
}

/// What is to be said about a request.
pub(super) fn judge<T>(hop: &Hop<T>) -> Vec<Finding> {
    let down = &*hop.downstream.record;
    let is_certain = hop.is_served_certainly();
    // Beside one that is certain, those that may be another request's say nothing.
    let counts = |attempt: &&Attempt<T>| {
        let is_open = attempt.join.confidence == Confidence::Ambiguous;
        !is_certain || !is_open || hop.upstream.len() == 1
    };
    let own: Vec<&Attempt<T>> = hop.upstream.iter().filter(counts).collect();
    let ended: Vec<&StreamRecord> = own.iter().filter_map(|attempt| attempt.record()).collect();
    let n_open = own.len().saturating_sub(ended.len());
    let serving = hop.serving().and_then(|attempt| attempt.record());
    let upstream = Upstream {
        ended,
        serving,
        n_open,
    };
    let mut found = if hop.upstream.is_empty() {
        alone(hop).into_iter().collect()
    } else {
        of(down, &upstream)
    };
    if !is_certain {
        whichever(&mut found, hop);
    }
    if let Some(up) = serving {
        mesh::of_two(&mut found, hop, up);
    } else if hop.mesh.is_some() {
        found.clear();
    }
    let whole = upstream.ended.iter().all(|up| up.whole);
    found
        .into_iter()
        .map(|found| {
            let is_certain = down.whole && (whole || found.holds);
            finding(down, found, is_certain)
        })
        .collect()
}

/// What is to be said about a request to which no response has come for long: its streams to servers are all over.
pub(super) fn judge_waiting(
    down: &StreamRecord,
    ups: &[&StreamRecord],
    now: Timestamp,
) -> Option<Finding> {
    let upstream = Upstream {
        ended: ups.to_vec(),
        serving: ups.last().copied(),
        n_open: 0,
    };
    if !passed_on(down, &upstream) {
        return None;
    }
    let found = request::left_waiting(down, &upstream, now)?;
    let whole = down.whole && ups.iter().all(|up| up.whole);
    let at = now;
    Some(Finding {
        at,
        ..finding(down, found, whole)
    })
}

/// Where several requests cannot be told apart: what holds whichever it is stays, the rest is unknown.
fn whichever<T>(found: &mut Vec<HopFinding>, hop: &Hop<T>) {
    let down = &*hop.downstream.record;
    let others: Vec<Vec<HopFinding>> = hop
        .others
        .iter()
        .map(|other| {
            let upstream = Upstream {
                ended: vec![other],
                serving: Some(other),
                n_open: 0,
            };
            of(down, &upstream)
        })
        .collect();
    for found in &mut *found {
        let everywhere = others.iter().all(|other| {
            other
                .iter()
                .any(|o| (o.kind, o.verdict) == (found.kind, found.verdict))
        });
        if everywhere && hop.others_known {
            let differs =
                |other: &HopFinding| other.kind == found.kind && other.summary != found.summary;
            let same_words = !others.iter().flatten().any(differs);
            found.summary = words::whichever(found.kind, &found.summary, same_words);
        } else if found.verdict > Verdict::Unknown {
            found.verdict = Verdict::Unknown;
            found.summary = words::perhaps(found.kind, &found.summary);
        }
    }
    for other in others.into_iter().flatten() {
        if other.verdict > Verdict::Unknown && found.iter().all(|found| found.kind != other.kind) {
            found.push(HopFinding {
                verdict: Verdict::Unknown,
                summary: words::perhaps(other.kind, &other.summary),
                ..other
            });
        }
    }
}

/// A request without an upstream stream, though others of its path have one.
fn alone<T>(hop: &Hop<T>) -> Option<HopFinding> {
    let down = &*hop.downstream.record;
    let answered = ended(down) == Ended::Complete;
    (answered && hop.others_known && down.whole).then(|| {
        let summary = format!(
            "the proxy answered by itself: it opened no stream for this request ({})",
            words::answer(down)
        );
        HopFinding::new(Kind::SynthesizedAnswer, Verdict::Expected, summary)
    })
}

/// All that is to be said of a request with these upstream streams.
fn of(down: &StreamRecord, upstream: &Upstream<'_>) -> Vec<HopFinding> {
    if !passed_on(down, upstream) {
        return Vec::new();
    }
    if let Some(cut) = response::cut(down, upstream) {
        return vec![cut];
    }
    let mut found = Vec::new();
    match ended(down) {
        Ended::ByClient => {
            found.extend(request::cancel_not_propagated(down, upstream));
            found.extend(request::left_waiting(down, upstream, cut_at(down)));
            if found.is_empty() {
                found.extend(response::cancel_translated(down, upstream));
            }
        }
        Ended::Complete | Ended::ByServer => {
            found.extend(request::truncated(down, upstream));
            if found.is_empty() {
                found.extend(gave_up::gave_up(down, upstream));
            }
            found.extend(request::retried(down, upstream));
            found.extend(request::refused(down, upstream));
            found.extend(response::synthesized(down, upstream));
            found.extend(response::status_changed(down, upstream));
            if found.is_empty() {
                found.extend(response::reset_translated(down, upstream));
            }
        }
        Ended::Unprocessed | Ended::Unknown => {}
    }
    if found.is_empty() {
        found.extend(response::early(upstream));
    }
    found
}

/// The streams are of one request, not of one that the process made to serve another.
fn passed_on(down: &StreamRecord, upstream: &Upstream<'_>) -> bool {
    let same = |a: Option<&str>, b: Option<&str>| match (a, b) {
        // A proxy may add or take away what its routes begin with.
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        _ => true,
    };
    upstream
        .ended
        .iter()
        .all(|up| same(down.path.as_deref(), up.path.as_deref()))
}

fn finding(down: &StreamRecord, found: HopFinding, whole: bool) -> Finding {
    let cut = down.resets.first();
    let verdict = if whole {
        found.verdict
    } else {
        found.verdict.min(Verdict::Unknown)
    };
    let mut finding = super::finding(down, found.kind, verdict, found.summary);
    finding.tier = Tier::T2;
    (finding.sender, finding.code) = (found.sender, found.code);
    if let Some(cut) = cut {
        finding.request_phase = cut.request_phase;
        finding.response_phase = cut.response_phase;
        finding.windows = cut.response_windows;
    }
    finding
}
