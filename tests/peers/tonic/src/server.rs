use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::messages::*;
use crate::service::test_service_server::{TestService, TestServiceServer};

type Messages = Pin<Box<ReceiverStream<Result<StreamingOutputCallResponse, Status>>>>;

#[derive(clap::Args)]
pub struct ServerOptions {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    #[arg(long, default_value_t = 0)]
    max_connection_age_ms: u64,
}

#[derive(Clone, Default)]
struct Service {
    handled: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Service {
    async fn begin(&self, method: &'static str, metadata: &MetadataMap) {
        *self.handled.lock().unwrap().entry(method).or_default() += 1;
        let delay = metadata
            .get("x-delay-ms")
            .and_then(|v| v.to_str().ok()?.parse().ok());
        if let Some(ms) = delay.filter(|ms| *ms > 0) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}

fn asked(status: Option<&EchoStatus>) -> Result<(), Status> {
    match status {
        Some(s) if s.code != 0 => Err(Status::new(Code::from(s.code), s.message.clone())),
        _ => Ok(()),
    }
}

/// Sends the messages asked for; false when nobody listens any more.
async fn respond(
    request: &StreamingOutputCallRequest,
    out: &mpsc::Sender<Result<StreamingOutputCallResponse, Status>>,
) -> bool {
    for wanted in &request.response_parameters {
        if wanted.interval_us > 0 {
            tokio::time::sleep(Duration::from_micros(wanted.interval_us as u64)).await;
        }
        let message = StreamingOutputCallResponse {
            payload: payload(wanted.size as usize),
        };
        if out.send(Ok(message)).await.is_err() {
            return false;
        }
    }
    if let Err(status) = asked(request.response_status.as_ref()) {
        let _ = out.send(Err(status)).await;
        return false;
    }
    true
}

#[tonic::async_trait]
impl TestService for Service {
    async fn empty_call(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.begin("EmptyCall", request.metadata()).await;
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        self.begin("UnaryCall", request.metadata()).await;
        let request = request.into_inner();
        asked(request.response_status.as_ref())?;
        Ok(Response::new(SimpleResponse {
            payload: payload(request.response_size as usize),
        }))
    }

    type StreamingOutputCallStream = Messages;

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Messages>, Status> {
        self.begin("StreamingOutputCall", request.metadata()).await;
        let (out, messages) = mpsc::channel(1);
        tokio::spawn(async move { respond(request.get_ref(), &out).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        self.begin("StreamingInputCall", request.metadata()).await;
        let mut requests = request.into_inner();
        let mut sum = 0;
        while let Some(message) = requests.message().await? {
            sum += size(message.payload.as_ref());
        }
        Ok(Response::new(StreamingInputCallResponse {
            aggregated_payload_size: sum as i32,
        }))
    }

    type FullDuplexCallStream = Messages;

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Messages>, Status> {
        self.begin("FullDuplexCall", request.metadata()).await;
        let mut requests = request.into_inner();
        let (out, messages) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(message)) = requests.message().await {
                if !respond(&message, &out).await {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

pub async fn run(options: ServerOptions) -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::default();
    let mut builder = tonic::transport::Server::builder();
    if options.max_connection_age_ms > 0 {
        builder = builder.max_connection_age(Duration::from_millis(options.max_connection_age_ms));
    }
    let router = builder
        .add_service(TestServiceServer::new(service.clone()).max_decoding_message_size(64 << 20));
    let mut terminate = signal(SignalKind::terminate())?;
    let served = async {
        if let Some(path) = options.listen.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
            let listener = UnixListener::bind(path)?;
            println!("ready {}", options.listen);
            router
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await?;
        } else {
            let listener = TcpListener::bind(&options.listen).await?;
            println!("ready {}", listener.local_addr()?);
            router
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await?;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    tokio::select! {
        result = served => result?,
        _ = terminate.recv() => {}
    }
    println!(
        "{}",
        serde_json::json!({ "handled": *service.handled.lock().unwrap() })
    );
    Ok(())
}
