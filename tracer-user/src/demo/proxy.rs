//! The demo's proxy: forwards every call over one upstream connection, and has the reference defect.
//!
//! When the upstream's RST_STREAM(NO_ERROR) arrives, it takes it for a failure of the stream, throws
//! away what it still holds for the client and resets the client's stream. What it holds is what the
//! client's flow-control windows did not let through yet; nothing else decides which calls fail.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::part::{self, ProxyTotals};
use super::serve;

/// What all connections share.
struct ProxyContext {
    upstream_address: SocketAddr,
    /// The connection pool: one connection, opened by the first call.
    upstream: OnceCell<SendRequest<Bytes>>,
    healthy: bool,
    report: Mutex<ProxyTotals>,
}

/// Forwards to `upstream` until standard input ends. A healthy one keeps what it holds.
pub(super) async fn run(upstream: SocketAddr, healthy: bool) -> anyhow::Result<()> {
    let shared = Arc::new(ProxyContext {
        upstream_address: upstream,
        upstream: OnceCell::new(),
        healthy,
        report: Mutex::new(ProxyTotals::default()),
    });
    let each = Arc::clone(&shared);
    serve::until_told(move |request, respond| forward(request, respond, Arc::clone(&each))).await?;
    let said = shared
        .report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    part::say(&said)
}

impl ProxyContext {
    /// The upstream connection, opened if need be.
    async fn upstream(&self) -> anyhow::Result<SendRequest<Bytes>> {
        let connect = || async {
            let stream = TcpStream::connect(self.upstream_address).await?;
            stream.set_nodelay(true)?;
            let (send, connection) = h2::client::Builder::new()
                .enable_push(false)
                .initial_window_size(part::WIDE_WINDOW)
                .initial_connection_window_size(part::WIDE_WINDOW)
                .max_concurrent_reset_streams(part::RESET_STREAMS)
                .handshake::<_, Bytes>(stream)
                .await?;
            tokio::spawn(connection);
            anyhow::Ok(send)
        };
        Ok(self
            .upstream
            .get_or_try_init(connect)
            .await?
            .clone()
            .ready()
            .await?)
    }
}

/// How the upstream stream came to its end for the request.
enum RequestEnd {
    /// END_STREAM was passed on.
    Whole,
    /// The upstream reset the stream while the request was open.
    Reset(Reason),
}

/// Forwards one call.
async fn forward(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    shared: Arc<ProxyContext>,
) -> anyhow::Result<()> {
    let (head, request_body) = request.into_parts();
    let (response, request_send) = shared
        .upstream()
        .await?
        .send_request(Request::from_parts(head, ()), false)?;
    shared
        .report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .requests += 1;

    let request = tokio::spawn(pass_request(request_body, request_send));
    let mut send = pass_response(response, respond).await?;
    shared
        .report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .upstream_ok += 1;

    if let RequestEnd::Reset(reason) = request.await??
        && !shared.healthy
    {
        // What the windows let through is written before the reset is looked at, as in a proxy that
        // writes synchronously: the connection's task runs first.
        tokio::task::yield_now().await;
        // The defect: the response is complete, and its rest is thrown away.
        send.send_reset(reason);
    }
    Ok(())
}

/// Passes the request's DATA on until it ends or the upstream resets the stream.
async fn pass_request(
    mut body: RecvStream,
    mut send: SendStream<Bytes>,
) -> Result<RequestEnd, h2::Error> {
    loop {
        tokio::select! {
            biased;
            reason = poll_fn(|cx| send.poll_reset(cx)) => return Ok(RequestEnd::Reset(reason?)),
            data = body.data() => {
                let Some(data) = data.transpose()? else {
                    send.send_data(Bytes::new(), true)?;
                    return Ok(RequestEnd::Whole);
                };
                body.flow_control().release_capacity(data.len())?;
                send.send_data(data, false)?;
            }
        }
    }
}

/// Passes the response on. `h2` writes as much as the client's windows allow and holds the rest.
async fn pass_response(
    response: ResponseFuture,
    mut respond: SendResponse<Bytes>,
) -> Result<SendStream<Bytes>, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut send = respond.send_response(Response::from_parts(head, ()), false)?;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        send.send_data(data, false)?;
    }
    if let Some(trailers) = body.trailers().await? {
        send.send_trailers(trailers)?;
    }
    Ok(send)
}
