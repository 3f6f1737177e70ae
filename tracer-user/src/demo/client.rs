//! The demo's client: a gRPC client with the windows that most clients have (65,535 bytes for a stream
//! and for the connection), and which ends its requests a moment after the message, as grpc-js does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;

use super::part::{self, Call, ClientReport, FirstMessage, Ready};

/// How long after the message END_STREAM follows: one turn of a busy event loop.
const END_STREAM_DELAY: Duration = Duration::from_millis(5);

/// What the client works on a piece of a response before it gives the window back.
const WORK: Duration = Duration::from_millis(1);

/// What a caller does before its call `number`: 1 to 40 ms of something else, so that callers do not
/// march in step.
fn pause(number: u32) -> Duration {
    Duration::from_millis(1 + u64::from(number) * 7_919 % 40)
}

/// Makes `calls` calls, `in_flight` at once, when the first line of standard input comes.
pub(super) async fn run(connect: SocketAddr, calls: u32, in_flight: u32) -> anyhow::Result<()> {
    let go = part::next_input();
    part::say(&Ready { listen: None })?;
    if !go.await.unwrap_or(false) {
        return Ok(());
    }

    let stream = TcpStream::connect(connect)
        .await
        .with_context(|| format!("cannot connect to {connect}"))?;
    stream.set_nodelay(true)?;
    let (send, connection) = h2::client::Builder::new()
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await?;
    tokio::spawn(connection);

    let next = Arc::new(AtomicU32::new(1));
    let report = Arc::new(Mutex::new(ClientReport::default()));
    let mut callers = Vec::new();
    for _ in 0..in_flight.min(calls) {
        let (send, next, report) = (send.clone(), Arc::clone(&next), Arc::clone(&report));
        callers.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > calls {
                    return;
                }
                tokio::time::sleep(pause(number)).await;
                let request_id = format!("demo-{number:04}");
                let error = call(send.clone(), &request_id, connect).await.err();
                report
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .calls
                    .push(Call { request_id, error });
            }
        }));
    }
    for caller in callers {
        caller.await.context("a caller panicked")?;
    }
    let mut said = report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    said.calls.sort_by(|a, b| a.request_id.cmp(&b.request_id));
    part::say(&said)
}

/// Makes one call; the error is what a caller of grpc-js would see.
async fn call(send: SendRequest<Bytes>, request_id: &str, to: SocketAddr) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{to}/demo.Orders/List"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(part::REQUEST_ID, request_id)
        .body(())
        .map_err(|e| format!("13 INTERNAL: {e}"))?;
    let mut send = send.ready().await.map_err(|e| status_of(&e))?;
    let (response, mut body) = send
        .send_request(request, false)
        .map_err(|e| status_of(&e))?;
    body.send_data(part::message(part::REQUEST_MESSAGE), false)
        .map_err(|e| status_of(&e))?;
    let half_close = tokio::spawn(async move {
        tokio::time::sleep(END_STREAM_DELAY).await;
        // Fails when the stream was reset in the meantime, and then there is nothing to end.
        body.send_data(Bytes::new(), true).ok();
    });

    let outcome = receive(response).await;
    half_close.await.ok();
    let (message, trailers) = outcome.map_err(|e| status_of(&e))?;
    match trailers
        .as_ref()
        .and_then(|t| t.get("grpc-status"))
        .map(http::HeaderValue::as_bytes)
    {
        Some(b"0") if message.is_complete() => Ok(()),
        Some(b"0") => Err("13 INTERNAL: the message is incomplete".to_owned()),
        Some(code) => Err(format!("{} from the server", String::from_utf8_lossy(code))),
        None => Err("13 INTERNAL: the call ended without grpc-status".to_owned()),
    }
}

/// Reads a whole response.
async fn receive(
    response: h2::client::ResponseFuture,
) -> Result<(FirstMessage, Option<HeaderMap>), h2::Error> {
    let mut body = response.await?.into_body();
    let mut message = FirstMessage::default();
    while let Some(data) = body.data().await {
        let data = data?;
        message.take(&data);
        tokio::time::sleep(WORK).await;
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    Ok((message, trailers))
}

/// The status and text that grpc-js gives its caller for a failed stream.
fn status_of(error: &h2::Error) -> String {
    match error.reason() {
        Some(h2::Reason::NO_ERROR) => {
            "13 INTERNAL: Received RST_STREAM with code 0 (Call ended without gRPC status)"
                .to_owned()
        }
        Some(reason) => {
            format!(
                "13 INTERNAL: Received RST_STREAM with code {} ({reason})",
                u32::from(reason)
            )
        }
        None => format!("14 UNAVAILABLE: {error}"),
    }
}
