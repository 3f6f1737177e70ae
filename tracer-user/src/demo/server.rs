//! The demo's server: a gRPC unary method that answers as soon as it has the message.
//!
//! It does not wait for END_STREAM. When the request has not ended by the time the response is
//! written, RST_STREAM(NO_ERROR) follows the trailers (RFC 9113 section 8.1 allows it, gRPC's "Early Server
//! Closure" recommends it, grpc-go does it).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::part::{self, FirstMessage, ServerReport};
use super::serve;

/// Serves until standard input ends.
pub(super) async fn run() -> anyhow::Result<()> {
    let report = Arc::new(Mutex::new(ServerReport::default()));
    let each = Arc::clone(&report);
    serve::until_told(move |request, respond| answer(request, respond, Arc::clone(&each))).await?;
    let said = report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    part::say(&said)
}

/// Answers one call. When this returns, the last handles of the stream are dropped; `h2` then flushes
/// the response and sends RST_STREAM(NO_ERROR) if the request is still open.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    report: Arc<Mutex<ServerReport>>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut message = FirstMessage::default();
    while !message.is_complete() {
        let Some(data) = body.data().await else { break };
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message.take(&data);
    }
    {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.requests += 1;
    }

    let mut response = Response::new(());
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(response, false)?;
    send.send_data(part::message(part::RESPONSE_MESSAGE), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)?;

    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    report.answered += 1;
    report.early += u32::from(!body.is_end_stream());
    Ok(())
}
