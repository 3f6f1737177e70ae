//! One request through the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::sync::oneshot;

use crate::response::End;
use crate::{Defect, Proxy, Server, request, response, say};

type Answer = Result<Response<RecvStream>, h2::Error>;

/// Passes a request on, and its response back.
pub async fn on(proxy: Proxy, asked: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let value = asked
        .headers()
        .get("x-call-id")
        .and_then(|id| id.to_str().ok());
    let id = value.unwrap_or_default().to_owned();
    let (head, body) = asked.into_parts();
    let mut ask = Request::from_parts(head, ());
    if proxy.defect == Defect::IgnoreCancel {
        // Else the server would end the call by itself.
        ask.headers_mut().remove("grpc-timeout");
    }
    if let Some(first) = proxy.first.clone() {
        return twice(&proxy, first, ask, body, respond, &id).await;
    }
    let defect = proxy.defect;
    // An answer counts as early only when the client's END_STREAM had not come.
    let whole = Arc::new(AtomicBool::new(body.is_end_stream()));
    if let Some(batch) = &proxy.requests {
        batch.turn().await;
    }
    let has_deadline = ask.headers().contains_key("grpc-timeout");
    let Ok(mut server) = proxy.upstream.clone().ready().await else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let (answer, out) = match server.send_request(ask, body.is_end_stream()) {
        Ok(sent) => sent,
        Err(_) => return respond.send_reset(Reason::INTERNAL_ERROR),
    };
    let (stop, stopped) = oneshot::channel();
    if body.is_end_stream() {
        tokio::spawn(hold(out, stopped));
    } else {
        tokio::spawn(request::pass(
            body,
            out,
            Arc::clone(&whole),
            defect,
            id.clone(),
            stopped,
        ));
    }
    tokio::pin!(answer);
    let mut told = false;
    let answer: Answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            _ = request::gone(&mut respond), if !told => {
                if defect != Defect::IgnoreCancel {
                    stop.send(Reason::CANCEL).ok();
                    return;
                }
                told = true;
                say(&id, "ignore-cancel");
            }
        }
    };
    if let Some(batch) = &proxy.answers {
        batch.turn().await;
    }
    if defect == Defect::KeepAnswer
        && has_deadline
        && let Ok(answer) = answer
    {
        drain(answer).await;
        request::gone(&mut respond).await;
        return say(&id, "keep-answer");
    }
    if told {
        if let Ok(answer) = answer {
            drain(answer).await;
        }
        return;
    }
    let early = move || whole.load(Ordering::Relaxed);
    if let End::ClientGone = back(&proxy, answer, &mut respond, &id, early).await {
        stop.send(Reason::CANCEL).ok();
    }
}

/// Reads all of an answer, for nobody.
async fn drain(answer: Response<RecvStream>) {
    let mut body = answer.into_body();
    while let Some(Ok(data)) = body.data().await {
        drop(body.flow_control().release_capacity(data.len()));
    }
}

/// Keeps the server's stream until it is to be reset.
async fn hold(mut out: SendStream<Bytes>, stopped: oneshot::Receiver<Reason>) {
    if let Ok(reason) = stopped.await {
        out.send_reset(reason);
    }
}

/// Passes the response back.
async fn back(
    proxy: &Proxy,
    answer: Answer,
    respond: &mut SendResponse<Bytes>,
    id: &str,
    ended: impl Fn() -> bool,
) -> End {
    let defect = proxy.defect;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let reason = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
            failed(defect, reason, respond, id);
            return End::Passed;
        }
    };
    let (mut head, body) = answer.into_parts();
    let trailers_only = body.is_end_stream();
    if trailers_only
        && defect == Defect::StatusToZero
        && response::to_zero(&mut head.headers).is_some()
    {
        say(id, "status-to-zero");
    }
    let Ok(mut out) = respond.send_response(Response::from_parts(head, ()), trailers_only) else {
        return End::ClientGone;
    };
    if trailers_only {
        return End::Passed;
    }
    let end = response::pass(body, &mut out, defect, ended).await;
    match end {
        End::Broken(did) => say(id, did),
        End::ServerGone(reason) => {
            // What came of the response leaves before the reset.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            out.send_reset(told(defect, reason, id));
        }
        End::Passed | End::ClientGone => {}
    }
    end
}

/// The code that the client is told.
fn told(defect: Defect, reason: Reason, id: &str) -> Reason {
    if defect != Defect::CodeToNoError || reason == Reason::NO_ERROR {
        return reason;
    }
    say(id, "code-to-no-error");
    Reason::NO_ERROR
}

/// The server failed before it answered.
fn failed(defect: Defect, reason: Reason, respond: &mut SendResponse<Bytes>, id: &str) {
    if defect != Defect::Synthesize {
        let reason = match defect {
            // Its own reset is none of the client's business.
            Defect::CutRequest => Reason::INTERNAL_ERROR,
            _ => told(defect, reason, id),
        };
        return respond.send_reset(reason);
    }
    say(id, "synthesize");
    let answer = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "14")
        .header("grpc-message", "the server failed");
    if let Ok(answer) = answer.body(()) {
        drop(respond.send_response(answer, true));
    }
}

/// With two servers: one after the other, or both at once.
async fn twice(
    proxy: &Proxy,
    first: Server,
    ask: Request<()>,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    id: &str,
) {
    let Ok(body) = request::collect(body).await else {
        return;
    };
    let (a, b) = (
        attempt(first, &ask, &body),
        attempt(proxy.upstream.clone(), &ask, &body),
    );
    let answer = if proxy.hedge {
        tokio::pin!(a, b);
        // Dropping the other one resets its stream with CANCEL.
        tokio::select! { answer = &mut a => answer, answer = &mut b => answer }
    } else {
        match a.await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                say(id, "retried");
                b.await
            }
        }
    };
    back(proxy, answer, &mut respond, id, || true).await;
}

async fn attempt(server: Server, ask: &Request<()>, body: &Bytes) -> Answer {
    let mut server = server.ready().await?;
    let mut request = Request::new(());
    *request.method_mut() = ask.method().clone();
    *request.uri_mut() = ask.uri().clone();
    *request.headers_mut() = ask.headers().clone();
    let (answer, mut out) = server.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        out.send_data(body.clone(), true)?;
    }
    answer.await
}
