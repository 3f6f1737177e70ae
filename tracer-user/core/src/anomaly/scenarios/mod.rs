//! The scenarios of the taxonomy, each as steps through stream table and rules.
//! C is the client role, S the server role.

use crate::anomaly::Rules;
use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::Endpoint;
use crate::stream::record::{
    Outcome, RequestPhase, ResponsePhase, StreamEvent, StreamRecord, Tier,
};
use crate::stream::script::Script;

mod abuse;
mod anomalies;
mod benign;
mod benign_resets;
mod completion;
mod concurrency;
mod conduct;
mod connections;
mod content;
mod fields;
mod flow_control;
mod hops;
mod hops_order;
mod hops_requests;
mod idle;
mod late_attach;
mod pings;
mod proxied;
mod refusals;
mod windows;

/// A part of a script, with its name.
type Part = (&'static str, fn(&mut Script));

/// What came of a script.
struct Judged {
    streams: Vec<StreamRecord>,
    findings: Vec<Finding>,
}

/// Lets every linger pass and judges everything.
fn judge(script: &mut Script) -> Judged {
    let mut rules = Rules::new();
    judge_with(script, &mut rules)
}

fn judge_with(script: &mut Script, rules: &mut Rules) -> Judged {
    let mut judged = Judged {
        streams: Vec::new(),
        findings: Vec::new(),
    };
    for event in script.settled() {
        judged.findings.extend(rules.judge(&event));
        if let StreamEvent::Ended(record) = event {
            judged.streams.push((*record).clone());
        }
    }
    judged
}

impl Judged {
    /// The only stream.
    fn stream(&self) -> &StreamRecord {
        assert_eq!(self.streams.len(), 1, "{:#?}", self.streams);
        &self.streams[0]
    }

    /// The only finding.
    fn finding(&self) -> &Finding {
        assert_eq!(self.findings.len(), 1, "{:#?}", self.findings);
        &self.findings[0]
    }

    /// Nothing was found at all, and each stream ended so.
    fn nothing(&self, outcome: Outcome) {
        assert!(self.findings.is_empty(), "{:#?}", self.findings);
        for stream in &self.streams {
            assert_eq!(stream.outcome, outcome, "{stream:#?}");
        }
    }

    /// Findings worse than expected.
    fn trouble(&self) -> Vec<(Kind, Verdict)> {
        self.findings
            .iter()
            .filter(|finding| finding.verdict > Verdict::Expected)
            .map(|finding| (finding.kind, finding.verdict))
            .collect()
    }

    /// How many findings of this kind and verdict there are.
    fn n(&self, kind: Kind, verdict: Verdict) -> usize {
        self.findings
            .iter()
            .filter(|f| f.kind == kind && f.verdict == verdict)
            .count()
    }
}

/// Asserts what a finding is, and that its story and its sentence are there.
#[track_caller]
fn is(
    finding: &Finding,
    kind: Kind,
    verdict: Verdict,
    sender: Endpoint,
    phases: (RequestPhase, ResponsePhase),
    tier: Tier,
) {
    assert_eq!(
        (finding.kind, finding.verdict),
        (kind, verdict),
        "{finding:#?}"
    );
    assert_eq!(finding.sender, Some(sender), "{finding:#?}");
    assert_eq!(
        (finding.request_phase, finding.response_phase),
        (Some(phases.0), Some(phases.1))
    );
    assert_eq!(finding.tier, tier);
    assert!(!finding.story.is_empty());
    assert!(
        finding.summary.len() > 20 && !finding.summary.contains("  "),
        "{}",
        finding.summary
    );
}
