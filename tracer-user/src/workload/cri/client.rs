//! A gRPC client for unary calls over a Unix socket: as much as the container runtime needs.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use h2trace_core::limits;

/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);

/// Bytes before a message: a flag and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// A connection. It ends when this is dropped.
pub(super) struct CriClient {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

impl Drop for CriClient {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl CriClient {
    /// Connects.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn connect(socket: &Path) -> Result<CriClient, String> {
        let connect = async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|error| error.to_string())?;
            h2::client::handshake(stream)
                .await
                .map_err(|error| error.to_string())
        };
        let (requests, connection) = timeout(CALL, connect)
            .await
            .map_err(|_| "no answer in time".to_owned())??;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the container runtime ended");
            }
        });
        Ok(CriClient {
            requests,
            connection,
        })
    }

    /// Calls `method` of `runtime.v1.RuntimeService`.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, String> {
        let answer = timeout(CALL, self.exchange(method, &request.encode_to_vec()))
            .await
            .map_err(|_| format!("{method}: no answer in time"))?
            .map_err(|why| format!("{method}: {why}"))?;
        A::decode(answer).map_err(|error| format!("{method}: {error}"))
    }

    async fn exchange(&mut self, method: &str, message: &[u8]) -> Result<Bytes, String> {
        let said = |error: h2::Error| error.to_string();
        let head = Request::post(format!(
            "http://localhost/runtime.v1.RuntimeService/{method}"
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "h2trace")
        .body(())
        .map_err(|error| error.to_string())?;
        let mut body = BytesMut::with_capacity(PREFIX + message.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        body.put_slice(message);
        let mut requests = self.requests.clone().ready().await.map_err(said)?;
        let (response, mut stream) = requests.send_request(head, false).map_err(said)?;
        stream.send_data(body.freeze(), true).map_err(said)?;
        let response = response.await.map_err(said)?;
        if response.status() != StatusCode::OK {
            return Err(format!("HTTP status {}", response.status().as_u16()));
        }
        // An answer without a message has its status among the headers.
        status(response.headers())?;
        let mut body = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(said)?;
            body.flow_control()
                .release_capacity(data.len())
                .map_err(said)?;
            if answer.len() + data.len() > limits::CRI_ANSWER_BYTES {
                return Err("its answer is too large".to_owned());
            }
            answer.extend_from_slice(&data);
        }
        if let Some(trailers) = body.trailers().await.map_err(said)? {
            status(&trailers)?;
        }
        if answer.len() < PREFIX || answer.first() != Some(&0) {
            return Err("its answer is no message, or a compressed one".to_owned());
        }
        Ok(answer.split_off(PREFIX).freeze())
    }
}

/// The call's status, where these fields have one.
fn status(fields: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| {
        let value = fields.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status").as_deref() {
        None | Some("0") => Ok(()),
        Some("12") => {
            Err("it does not know CRI's runtime.v1 (is the CRI plugin disabled?)".to_owned())
        }
        Some(code) => Err(format!(
            "grpc-status {code}: {}",
            text("grpc-message").unwrap_or_default()
        )),
    }
}
