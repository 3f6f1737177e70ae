//! The RST_STREAM decision table (RFC 9113 sections 7, 8.1 and 8.7; gRPC "Errors").
//!
//! A reset is judged by who sent it, its code, and how far response and request were, never by its code
//! alone: proxies translate codes.

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::words;
use crate::connection::Endpoint;
use crate::frame::ErrorCode;
use crate::stream::record::{
    Outcome, RequestPhase, Reset, ResponsePhase, Seen, StreamRecord, Tier,
};

use Endpoint::{Client, Server};
use Kind::{
    ClientCancel, ClientRejectedResponse, ClientResetNoError, DeadlineReset, EarlyResponseReset,
    RedundantReset, RefusedAfterResponse, ResetAfterResponse, ResetBeforeResponse,
    ResetStreamClosed, ResponseCutByReset, StreamRefused, StreamThrottled,
};
use Verdict::{Anomaly, Benign, Expected, Suspicious};

/// One cell of the table.
type Cell = (Kind, Verdict);

/// The rows of the table, but for the sender: codes that are judged alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NoError,
    /// CANCEL before the deadline, or without one.
    Cancel,
    /// CANCEL at the deadline or after it, and a client's NO_ERROR then.
    Deadline,
    Refused,
    /// INTERNAL_ERROR, CONNECT_ERROR, and numbers the RFC does not have (its section 7 allows to treat
    /// them as INTERNAL_ERROR).
    Internal,
    /// PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR and the like.
    Protocol,
    Calm,
    StreamClosed,
}

/// Columns: R0 | R1, Rm, Rb | R3 and Q0, Q1 | R3 and Q2.
#[rustfmt::skip]
#[expect(clippy::match_same_arms, reason = "a row for each sender and cause")]
const fn row(sender: Endpoint, cause: Cause) -> [Cell; 4] {
    match (sender, cause) {
        (Server, Cause::NoError)      => [(ResetBeforeResponse, Anomaly),    (ResponseCutByReset, Anomaly),     (EarlyResponseReset, Benign),     (RedundantReset, Benign)],
        (Server, Cause::Cancel)       => [(ResetBeforeResponse, Anomaly),    (ResponseCutByReset, Anomaly),     (ResetAfterResponse, Suspicious), (RedundantReset, Benign)],
        (Server, Cause::Deadline)     => [(DeadlineReset, Expected),         (DeadlineReset, Expected),         (ResetAfterResponse, Suspicious), (RedundantReset, Benign)],
        (Server, Cause::Refused)      => [(StreamRefused, Suspicious),       (RefusedAfterResponse, Anomaly),   (RefusedAfterResponse, Anomaly),  (RefusedAfterResponse, Anomaly)],
        (Server, Cause::Internal)     => [(ResetBeforeResponse, Anomaly),    (ResponseCutByReset, Anomaly),     (EarlyResponseReset, Benign),     (ResetAfterResponse, Suspicious)],
        (Server, Cause::Protocol)     => [(ResetBeforeResponse, Anomaly),    (ResponseCutByReset, Anomaly),     (ResetAfterResponse, Suspicious), (ResetAfterResponse, Suspicious)],
        (Server, Cause::Calm)         => [(StreamThrottled, Anomaly),        (StreamThrottled, Anomaly),        (StreamThrottled, Suspicious),    (StreamThrottled, Suspicious)],
        (Client, Cause::Cancel)       => [(ClientCancel, Expected),          (ClientCancel, Expected),          (RedundantReset, Benign),         (RedundantReset, Benign)],
        (Client, Cause::Deadline)     => [(DeadlineReset, Expected),         (DeadlineReset, Expected),         (RedundantReset, Benign),         (RedundantReset, Benign)],
        (Client, Cause::NoError)      => [(ClientResetNoError, Suspicious),  (ClientResetNoError, Suspicious),  (RedundantReset, Benign),         (RedundantReset, Benign)],
        // A client has nothing to refuse but a push (judged apart): as if it had said INTERNAL_ERROR.
        // Nor has it anything to refuse before the response: Envoy since 1.37 writes INTERNAL_ERROR where it
        // passes on a cancel (measured with 1.40.0).
        (Client, Cause::Internal)     => [(ClientRejectedResponse, Suspicious), (ClientRejectedResponse, Anomaly), (ResetAfterResponse, Suspicious), (ResetAfterResponse, Suspicious)],
        (Client, Cause::Protocol | Cause::Refused)
                                      => [(ClientRejectedResponse, Anomaly), (ClientRejectedResponse, Anomaly), (ResetAfterResponse, Suspicious), (ResetAfterResponse, Suspicious)],
        (Client, Cause::Calm)         => [(StreamThrottled, Anomaly),        (StreamThrottled, Anomaly),        (StreamThrottled, Suspicious),    (StreamThrottled, Suspicious)],
        // Late frames after a complete response are legal. Before, the response is lost; at the
        // client that may be the echo of its own end of the stream.
        (Server, Cause::StreamClosed) => [(ResetStreamClosed, Anomaly),      (ResetStreamClosed, Anomaly),      (ResetStreamClosed, Benign),      (ResetStreamClosed, Benign)],
        (Client, Cause::StreamClosed) => [(ResetStreamClosed, Suspicious),   (ResetStreamClosed, Suspicious),   (ResetStreamClosed, Benign),      (ResetStreamClosed, Benign)],
    }
}

/// The cell of a reset; `Verdict::Unknown` where the phases that are not known would decide.
fn cell(reset: &Reset, cause: Cause) -> Cell {
    let [r0, mid, early, late] = row(reset.sender, cause);
    match (reset.response_phase, reset.request_phase) {
        (Some(ResponsePhase::R0), _) => r0,
        (Some(ResponsePhase::R1 | ResponsePhase::Rm | ResponsePhase::Rb), _) => mid,
        (Some(ResponsePhase::R3), Some(RequestPhase::Q0 | RequestPhase::Q1)) => early,
        (Some(ResponsePhase::R3), Some(RequestPhase::Q2)) => late,
        (Some(ResponsePhase::R3), None) => agreed(early, &[late]),
        (None, _) => agreed(mid, &[r0, early, late]),
    }
}

/// The cell, if the others have the same verdict.
fn agreed(cell: Cell, others: &[Cell]) -> Cell {
    if others.iter().all(|other| other.1 == cell.1) {
        cell
    } else {
        (cell.0, Verdict::Unknown)
    }
}

fn cause(record: &StreamRecord, code: ErrorCode) -> Cause {
    match code {
        ErrorCode::CANCEL | ErrorCode::NO_ERROR if record.outcome == Outcome::Deadline => {
            Cause::Deadline
        }
        ErrorCode::NO_ERROR => Cause::NoError,
        ErrorCode::CANCEL => Cause::Cancel,
        ErrorCode::REFUSED_STREAM => Cause::Refused,
        ErrorCode::PROTOCOL_ERROR
        | ErrorCode::FLOW_CONTROL_ERROR
        | ErrorCode::SETTINGS_TIMEOUT
        | ErrorCode::FRAME_SIZE_ERROR
        | ErrorCode::COMPRESSION_ERROR
        | ErrorCode::INADEQUATE_SECURITY
        | ErrorCode::HTTP_1_1_REQUIRED => Cause::Protocol,
        ErrorCode::ENHANCE_YOUR_CALM => Cause::Calm,
        ErrorCode::STREAM_CLOSED => Cause::StreamClosed,
        _ => Cause::Internal,
    }
}

/// The first reset answers a rule that the other end had broken.
pub(super) fn is_provoked(record: &StreamRecord) -> bool {
    let first = record.resets.first();
    first.is_some_and(|reset| record.conduct.provoked(reset.sender))
}

/// The one finding about a stream that was reset.
pub(super) fn judge(record: &StreamRecord) -> Option<Finding> {
    let first = record.resets.first()?;
    // Resets of both ends may cross. Before the response is complete the first one is what happened. After
    // it, whichever came first by chance, the one that is explained explains the other.
    let considered = match first.response_phase {
        Some(ResponsePhase::R3) => record.resets.as_slice(),
        _ => std::slice::from_ref(first),
    };
    let (reset, (kind, verdict)) = considered
        .iter()
        .map(|reset| (reset, judge_one(record, reset)))
        .min_by_key(|(_, (_, verdict))| *verdict)?;
    let mut summary = words::reset(record, reset);
    if kind == DeadlineReset {
        summary.push_str(&words::unsent(record, reset));
    }
    let mut finding = super::finding(record, kind, verdict, summary);
    finding.sender = Some(reset.sender);
    finding.code = Some(reset.code);
    finding.request_phase = reset.request_phase;
    finding.response_phase = reset.response_phase;
    finding.windows = reset.response_windows;
    Some(finding)
}

fn judge_one(record: &StreamRecord, reset: &Reset) -> Cell {
    // A client may decline what was pushed (RFC 9113 section 8.4.2).
    if record.pushed && reset.sender == Client {
        return (ClientCancel, Expected);
    }
    let cause = cause(record, reset.code);
    let (kind, verdict) = cell(reset, cause);
    // Whether the deadline had come can't be told when the request's fields are unseen.
    let timeout_unseen =
        record.timeout.is_none() && record.tier == Tier::T0 && record.grpc != Seen::Absent;
    match (reset.sender, cause, verdict) {
        (Server, Cause::Cancel, Anomaly) if timeout_unseen => (kind, Verdict::Unknown),
        _ => (kind, verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::stream::record::Windows;

    fn reset(
        sender: Endpoint,
        code: ErrorCode,
        response_phase: Option<ResponsePhase>,
        request_phase: Option<RequestPhase>,
    ) -> Reset {
        let response_windows = Windows::default();
        Reset {
            sender,
            code,
            at: Timestamp(0),
            request_phase,
            response_phase,
            response_windows,
            response_blocked_since: None,
        }
    }

    /// The decision table, written a second time, and what was measured of Envoy (its INTERNAL_ERROR at R0): B benign,
    /// E expected, S suspicious, A anomaly.
    #[test]
    fn every_cell_is_as_it_is_written_here_again() {
        for (sender, cause, want) in [
            (Server, Cause::NoError, "A A B B"),
            (Server, Cause::Deadline, "E E S B"),
            (Server, Cause::Cancel, "A A S B"),
            (Server, Cause::Refused, "S A A A"),
            (Server, Cause::Internal, "A A B S"),
            (Server, Cause::Protocol, "A A S S"),
            (Server, Cause::Calm, "A A S S"),
            (Client, Cause::Cancel, "E E B B"),
            (Client, Cause::Deadline, "E E B B"),
            (Client, Cause::NoError, "S S B B"),
            (Client, Cause::Internal, "S A S S"),
            (Client, Cause::Protocol, "A A S S"),
            (Server, Cause::StreamClosed, "A A B B"),
            (Client, Cause::StreamClosed, "S S B B"),
        ] {
            let columns = [
                (ResponsePhase::R0, RequestPhase::Q0),
                (ResponsePhase::Rm, RequestPhase::Q2),
                (ResponsePhase::R3, RequestPhase::Q1),
                (ResponsePhase::R3, RequestPhase::Q2),
            ];
            let got: Vec<&str> = columns
                .iter()
                .map(|(response, request)| {
                    let reset = reset(sender, ErrorCode::NO_ERROR, Some(*response), Some(*request));
                    match cell(&reset, cause).1 {
                        Benign => "B",
                        Expected => "E",
                        Suspicious => "S",
                        Anomaly => "A",
                        Verdict::Unknown => "U",
                    }
                })
                .collect();
            assert_eq!(got.join(" "), want, "{sender} {cause:?}");
        }
    }

    #[test]
    fn the_three_phases_of_a_cut_response_are_one_column() {
        for phase in [ResponsePhase::R1, ResponsePhase::Rm, ResponsePhase::Rb] {
            for request in [None, Some(RequestPhase::Q0), Some(RequestPhase::Q2)] {
                let reset = reset(Server, ErrorCode::NO_ERROR, Some(phase), request);
                assert_eq!(cell(&reset, Cause::NoError), (ResponseCutByReset, Anomaly));
            }
        }
    }

    #[test]
    fn unknown_phases_are_unknown_unless_they_do_not_matter() {
        for (sender, cause, response, want) in [
            (Server, Cause::NoError, None, Verdict::Unknown),
            (Server, Cause::Refused, None, Verdict::Unknown),
            (Client, Cause::Cancel, None, Verdict::Unknown),
            (Client, Cause::NoError, None, Verdict::Unknown),
            (Server, Cause::NoError, Some(ResponsePhase::R3), Benign),
            (Client, Cause::Cancel, Some(ResponsePhase::R3), Benign),
            (
                Server,
                Cause::Internal,
                Some(ResponsePhase::R3),
                Verdict::Unknown,
            ),
            (Server, Cause::Protocol, Some(ResponsePhase::R3), Suspicious),
        ] {
            let reset = reset(sender, ErrorCode::NO_ERROR, response, None);
            assert_eq!(
                cell(&reset, cause).1,
                want,
                "{sender} {cause:?} {response:?}"
            );
        }
    }
}
