//! The demo's server: a gRPC unary method that answers as soon as it has the message.
//!
//! It does not wait for END_STREAM. When the request has not ended by the time the response is
//! written, RST_STREAM(NO_ERROR) follows the trailers (RFC 9113 section 8.1 allows it, gRPC's "Early Server
//! Closure" recommends it, grpc-go does it).

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::part::{self, FirstMessage, Ready, ServerReport};

/// Serves until standard input ends.
pub(super) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("cannot listen on loopback")?;
    let listen = listener.local_addr().context("no local address")?;
    let stop = part::next_input();
    part::say(&Ready {
        listen: Some(listen),
    })?;

    let report = Arc::new(Mutex::new(ServerReport::default()));
    let accept = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&report)));
            }
        }
    };
    tokio::select! {
        _ = stop => {}
        () = accept => {}
    }
    let said = report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    part::say(&said)
}

async fn connection(stream: TcpStream, report: Arc<Mutex<ServerReport>>) -> Result<(), h2::Error> {
    // Without it Nagle's algorithm would hold back small frames for tens of milliseconds.
    stream
        .set_nodelay(true)
        .map_err(|_| h2::Reason::INTERNAL_ERROR)?;
    let mut connection = h2::server::Builder::new()
        .initial_window_size(part::WIDE_WINDOW)
        .initial_connection_window_size(part::WIDE_WINDOW)
        .max_concurrent_reset_streams(part::RESET_STREAMS)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(answer(request, respond, Arc::clone(&report)));
    }
    Ok(())
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
