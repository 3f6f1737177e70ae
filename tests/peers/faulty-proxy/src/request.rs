//! The request, on its way to the server.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::oneshot;

use crate::{Defect, say};

/// What [`Defect::CutRequest`] passes on of a request.
const KEPT: usize = 8_192;

/// The whole body.
pub async fn collect(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Sends data as the peer's window allows.
async fn send(out: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        let mut n = out.capacity();
        if n == 0 {
            match poll_fn(|cx| out.poll_capacity(cx)).await {
                Some(granted) => n = granted?,
                None => return Err(Reason::CANCEL.into()),
            }
        }
        out.send_data(data.split_to(n.min(data.len())), false)?;
    }
    Ok(())
}

/// Passes the body on, until `stop` says with which code to reset the server's stream, or its sender is gone.
pub async fn pass(
    mut body: RecvStream,
    mut out: SendStream<Bytes>,
    ended: Arc<AtomicBool>,
    defect: Defect,
    id: String,
    mut stop: oneshot::Receiver<Reason>,
) {
    let passing = async {
        let mut passed = 0;
        let mut cut = false;
        while let Some(data) = body.data().await {
            let mut data = data?;
            body.flow_control().release_capacity(data.len())?;
            if defect == Defect::CutRequest && passed + data.len() > KEPT {
                data.truncate(KEPT - passed);
                cut = true;
            }
            passed += data.len();
            send(&mut out, data).await?;
        }
        if cut {
            // What was passed on leaves before the reset.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        ended.store(true, Ordering::Relaxed);
        if cut {
            say(&id, "cut-request");
            out.send_reset(Reason::CANCEL);
        } else {
            out.send_data(Bytes::new(), true)?;
        }
        Ok::<(), h2::Error>(())
    };
    let mut passing = Box::pin(passing);
    let stopped = tokio::select! {
        biased;
        reason = &mut stop => Some(reason),
        // Also when the client gave up, or the server needs no more: the response's side acts.
        _ = &mut passing => None,
    };
    drop(passing);
    let reason = match stopped {
        Some(reason) => reason,
        None => stop.await,
    };
    if let Ok(reason) = reason {
        out.send_reset(reason);
    }
}

/// Waits until the client resets its stream, before it has got an answer.
pub async fn gone(respond: &mut h2::server::SendResponse<Bytes>) -> Reason {
    poll_fn(|cx| match respond.poll_reset(cx) {
        Poll::Ready(Ok(reason)) => Poll::Ready(reason),
        Poll::Ready(Err(_)) => Poll::Ready(Reason::CANCEL),
        Poll::Pending => Poll::Pending,
    })
    .await
}
