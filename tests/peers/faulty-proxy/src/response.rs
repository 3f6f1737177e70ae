//! The response, on its way to the client: held back while the client's window is used up.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue};

use crate::Defect;

/// So much of a response is held back at most.
const HELD: usize = 1 << 20;
/// What [`Defect::ForgetTail`] keeps of what is held back.
const KEPT: usize = 4_096;

/// How a response went.
pub enum End {
    Passed,
    /// The client reset the stream.
    ClientGone,
    /// The server reset it.
    ServerGone(Reason),
    /// The defect struck; what it did.
    Broken(&'static str),
}

#[derive(Default)]
struct Held {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    ever: bool,
}

enum Client {
    Sent,
    Gone,
}

impl Held {
    /// Sends what the window allows; ready when something went, or the client is gone.
    fn poll_send(&mut self, cx: &mut Context<'_>, out: &mut SendStream<Bytes>) -> Poll<Client> {
        if out.poll_reset(cx).is_ready() {
            return Poll::Ready(Client::Gone);
        }
        if self.bytes == 0 {
            return Poll::Pending;
        }
        out.reserve_capacity(self.bytes);
        let mut n = out.capacity();
        if n == 0 {
            self.ever = true;
            match out.poll_capacity(cx) {
                Poll::Ready(Some(Ok(granted))) => n = granted,
                Poll::Ready(_) => return Poll::Ready(Client::Gone),
                Poll::Pending => return Poll::Pending,
            }
        }
        while n > 0
            && let Some(front) = self.chunks.front_mut()
        {
            let piece = front.split_to(n.min(front.len()));
            (n, self.bytes) = (n - piece.len(), self.bytes - piece.len());
            if front.is_empty() {
                self.chunks.pop_front();
            }
            if out.send_data(piece, false).is_err() {
                return Poll::Ready(Client::Gone);
            }
        }
        Poll::Ready(Client::Sent)
    }

    fn forget_beyond(&mut self, kept: usize) {
        let mut left = kept;
        for chunk in &mut self.chunks {
            chunk.truncate(left);
            left -= chunk.len();
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.bytes = kept - left;
    }
}

/// Passes the body and the trailers on. `ended`: the client's request is whole.
pub async fn pass(
    mut body: RecvStream,
    out: &mut SendStream<Bytes>,
    defect: Defect,
    ended: impl Fn() -> bool,
) -> End {
    let mut held = Held::default();
    let (mut whole, mut trailers): (bool, Option<HeaderMap>) = (false, None);
    let mut did = None;
    while !whole || held.bytes > 0 {
        tokio::select! {
            biased;
            data = body.data(), if !whole && held.bytes < HELD => match data {
                Some(Ok(data)) => {
                    // What was held back costs no window: the limit above bounds it.
                    drop(body.flow_control().release_capacity(data.len()));
                    held.bytes += data.len();
                    held.chunks.push_back(data);
                    held.chunks.retain(|chunk| !chunk.is_empty());
                }
                Some(Err(error)) => return End::ServerGone(error.reason().unwrap_or(Reason::INTERNAL_ERROR)),
                None => match body.trailers().await {
                    Ok(got) => {
                        (whole, trailers) = (true, got);
                        if held.bytes > 0 {
                            match defect {
                                Defect::ResetWhenAnsweredEarly if !ended() => {
                                    out.send_reset(Reason::NO_ERROR);
                                    return End::Broken("reset-when-answered-early");
                                }
                                Defect::ForgetTail if held.bytes > KEPT => {
                                    held.forget_beyond(KEPT);
                                    did = Some("forget-tail");
                                }
                                _ => {}
                            }
                        }
                    }
                    Err(error) => return End::ServerGone(error.reason().unwrap_or(Reason::INTERNAL_ERROR)),
                },
            },
            client = poll_fn(|cx| held.poll_send(cx, out)) => if let Client::Gone = client {
                if defect == Defect::IgnoreCancel {
                    drain(body).await;
                    return End::Broken("ignore-cancel");
                }
                return End::ClientGone;
            },
        }
    }
    match trailers {
        Some(_) if held.ever && defect == Defect::ResetForTrailers => {
            // All DATA leaves before it.
            tokio::time::sleep(Duration::from_millis(20)).await;
            out.send_reset(Reason::NO_ERROR);
            return End::Broken("reset-for-trailers");
        }
        Some(_) if held.ever && defect == Defect::EndForTrailers => {
            drop(out.send_data(Bytes::new(), true));
            return End::Broken("end-for-trailers");
        }
        Some(mut trailers) => {
            if defect == Defect::StatusToZero {
                did = did.or(to_zero(&mut trailers));
            }
            drop(out.send_trailers(trailers));
        }
        None => drop(out.send_data(Bytes::new(), true)),
    }
    did.map_or(End::Passed, End::Broken)
}

async fn drain(mut body: RecvStream) {
    while let Some(Ok(data)) = body.data().await {
        drop(body.flow_control().release_capacity(data.len()));
    }
}

/// What [`Defect::StatusToZero`] does.
pub fn to_zero(fields: &mut HeaderMap) -> Option<&'static str> {
    let zero = HeaderValue::from_static("0");
    let before = fields.get("grpc-status").filter(|status| **status != zero);
    before.is_some().then(|| {
        fields.insert("grpc-status", zero);
        fields.remove("grpc-message");
        "status-to-zero"
    })
}
