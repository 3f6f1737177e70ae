//! Series of a connection end that come into being when something of their sort happens first.

use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};

use crate::export::metrics;

/// One of them: its metric, and the values of the metric's own labels but the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Series {
    Ended {
        cause: &'static str,
    },
    /// The same, with open streams.
    Broken {
        cause: &'static str,
    },
    GoAway {
        sender: &'static str,
        code: &'static str,
    },
    Reset {
        sender: &'static str,
        code: &'static str,
        request_phase: &'static str,
        response_phase: &'static str,
        verdict: Verdict,
    },
    /// A gRPC stream without trailers.
    MissingTrailers {
        end: &'static str,
    },
    /// A gRPC stream that ended inside a message.
    Truncated {
        direction: &'static str,
        end: &'static str,
    },
    /// A gRPC stream whose method is not shown by its name.
    Status {
        method: &'static str,
        code: &'static str,
    },
    Finding {
        kind: Kind,
        verdict: Verdict,
    },
    /// A connection that is not decoded.
    Undecoded {
        reason: &'static str,
    },
    /// A request at a proxy.
    Hop {
        join: &'static str,
    },
    /// Bytes that a proxy lost.
    HopMissingBytes,
    /// A reset at a proxy.
    HopReset {
        towards: &'static str,
        received: &'static str,
        sent: &'static str,
    },
}

type Label = (&'static str, &'static str);

impl Series {
    /// The one that counts this finding.
    pub(super) const fn of_finding(finding: &Finding) -> Series {
        Series::Finding {
            kind: finding.kind,
            verdict: finding.verdict,
        }
    }

    /// The name of its metric.
    pub(super) const fn metric(&self) -> &'static str {
        match self {
            Series::Ended { .. } => metrics::CONNECTIONS_ENDED.name,
            Series::Broken { .. } => metrics::CONNECTIONS_BROKEN.name,
            Series::GoAway { .. } => metrics::GO_AWAYS.name,
            Series::Reset { .. } => metrics::RESETS.name,
            Series::MissingTrailers { .. } => metrics::MISSING_TRAILERS.name,
            Series::Truncated { .. } => metrics::TRUNCATED_MESSAGES.name,
            Series::Status { .. } => metrics::GRPC_STATUS.name,
            Series::Finding { .. } => metrics::FINDINGS.name,
            Series::Undecoded { .. } => metrics::CONNECTIONS_UNDECODED.name,
            Series::Hop { .. } => metrics::HOP_REQUESTS.name,
            Series::HopMissingBytes => metrics::HOP_MISSING_BYTES.name,
            Series::HopReset { .. } => metrics::HOP_RESET_CODES.name,
        }
    }

    /// Hands its labels on.
    pub(super) fn with_labels(&self, with: impl FnOnce(&[Label])) {
        match *self {
            Series::Ended { cause } | Series::Broken { cause } => with(&[("cause", cause)]),
            Series::GoAway { sender, code } => with(&[("sender", sender), ("code", code)]),
            Series::Reset {
                sender,
                code,
                request_phase,
                response_phase,
                verdict,
            } => with(&[
                ("sender", sender),
                ("code", code),
                ("request_phase", request_phase),
                ("response_phase", response_phase),
                ("verdict", verdict.as_str()),
            ]),
            Series::MissingTrailers { end } => with(&[("end", end)]),
            Series::Truncated { direction, end } => with(&[("direction", direction), ("end", end)]),
            Series::Status { method, code } => with(&[
                ("grpc_service", method),
                ("grpc_method", method),
                ("grpc_code", code),
            ]),
            Series::Finding { kind, verdict } => {
                with(&[("kind", kind.as_str()), ("verdict", verdict.as_str())]);
            }
            Series::Undecoded { reason } => with(&[("reason", reason)]),
            Series::Hop { join } => with(&[("join", join)]),
            Series::HopMissingBytes => with(&[]),
            Series::HopReset {
                towards,
                received,
                sent,
            } => with(&[
                ("towards", towards),
                ("code_in", received),
                ("code_out", sent),
            ]),
        }
    }
}
