//! How far request and response are (the vocabulary of the RST_STREAM decision table).

use crate::stream::live::direction::StreamDirection;
use crate::stream::record::{RequestPhase, ResponsePhase, Seen};
use crate::stream::state::HalfState;

/// How far the request is; None when unknown. `grpc`: the stream is gRPC.
pub(super) fn of_request(request: &StreamDirection, grpc: Seen<()>) -> Option<RequestPhase> {
    match request.state {
        state if state.end_stream_sent() => Some(RequestPhase::Q2),
        HalfState::Open { .. } if grpc != Seen::Absent && request.messages.known() => {
            if request.messages.n_complete() > 0 && !request.messages.inside() {
                Some(RequestPhase::Q1)
            } else {
                Some(RequestPhase::Q0)
            }
        }
        HalfState::Open { .. } => Some(RequestPhase::Q1),
        // Idle: the response was seen before the request's record; what the request had sent is not known.
        HalfState::Idle | HalfState::Unseen | HalfState::Ended(_) => None,
    }
}

/// How far the response is; None when unknown.
pub(super) fn of_response(response: &StreamDirection, grpc: Seen<()>) -> Option<ResponsePhase> {
    match response.state {
        HalfState::Idle => Some(ResponsePhase::R0),
        state if state.end_stream_sent() => Some(ResponsePhase::R3),
        HalfState::Open { .. }
            if response.half.data_bytes == 0 && response.half.headers_at.is_some() =>
        {
            Some(ResponsePhase::R1)
        }
        HalfState::Open { .. } if grpc != Seen::Absent && response.messages.inside() => {
            Some(ResponsePhase::Rm)
        }
        HalfState::Open { .. } => Some(ResponsePhase::Rb),
        HalfState::Unseen | HalfState::Ended(_) => None,
    }
}
