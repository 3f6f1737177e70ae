//! Limits that receivers are known to have though they do not announce them. What exceeds one is a hint, no proof:
//! a receiver may be set to take more, or have another reason.

use crate::connection::Endpoint;
use crate::frame::ErrorCode;
use crate::stream::record::{Half, Outcome, Reset, ResponsePhase, Seen, StreamRecord};

/// The longest message that a receiver of gRPC takes unless it is told to take more: grpc-go, grpc-java, grpc-core
/// and what is built on it, grpc-js, tonic, .NET, connect-go's and Armeria's are set to it or to more.
const MESSAGE: u32 = 4 * 1024 * 1024;

/// The smallest limit for header lists that is a default somewhere (Netty and grpc-java, nginx, Tomcat, Jetty). A list
/// that is no larger was not refused for its size.
pub(super) const HEADER_LIST: u64 = 8 * 1024;

/// `RESOURCE_EXHAUSTED` and `OUT_OF_RANGE`: what servers answer to a message that is too long for them.
const REFUSES_MESSAGE: [u32; 2] = [8, 11];

/// What a reset may be about, in words to be added to what it did.
pub(super) fn hint(record: &StreamRecord, reset: &Reset) -> String {
    if record.outcome == Outcome::Deadline || !may_refuse(record, reset) {
        return String::new();
    }
    let sender = reset.sender;
    let got = received_by(record, sender);
    message(record, got, sender.peer())
        .or_else(|| header_list(got, sender))
        .unwrap_or_default()
}

/// The same of a connection that `closer` ended under the stream.
pub(super) fn hint_at_end(record: &StreamRecord, closer: Option<Endpoint>) -> String {
    closer
        .and_then(|closer| header_list(received_by(record, closer), closer))
        .unwrap_or_default()
}

const fn received_by(record: &StreamRecord, receiver: Endpoint) -> &Half {
    match receiver {
        Endpoint::Client => &record.response,
        Endpoint::Server => &record.request,
    }
}

/// The code and the moment allow that the sender of the reset did not take what it got.
fn may_refuse(record: &StreamRecord, reset: &Reset) -> bool {
    let by_status = record
        .grpc_status
        .value()
        .is_some_and(|status| REFUSES_MESSAGE.contains(&status));
    match reset.code {
        ErrorCode::REFUSED_STREAM | ErrorCode::STREAM_CLOSED | ErrorCode::FLOW_CONTROL_ERROR => {
            false
        }
        // After a complete response these are how a server ends a stream in good order.
        ErrorCode::NO_ERROR | ErrorCode::CANCEL | ErrorCode::INTERNAL_ERROR
            if reset.response_phase == Some(ResponsePhase::R3) =>
        {
            by_status
        }
        _ => true,
    }
}

/// A message of which the prefix was too much.
fn message(record: &StreamRecord, got: &Half, author: Endpoint) -> Option<String> {
    if record.grpc != Seen::Value(()) {
        return None;
    }
    let open = got.messages.open.and_then(|open| open.promised);
    let promised = open.or_else(|| got.messages.sizes.last().copied())?;
    (promised > MESSAGE).then(|| {
        format!(
            "; the {author}'s message of {promised} bytes is longer than the {MESSAGE} (4 MiB) that receivers of gRPC take \
             unless they are told to take more"
        )
    })
}

/// A header list for whose size no limit was announced.
fn header_list(got: &Half, receiver: Endpoint) -> Option<String> {
    (got.header_list_limit.is_none() && got.header_list > HEADER_LIST).then(|| {
        format!(
            "; the {}'s header list is {} bytes, and the {receiver} announced no limit: many have one all the same, \
             of {HEADER_LIST} bytes and more",
            receiver.peer(),
            got.header_list
        )
    })
}
