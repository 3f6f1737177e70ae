use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::messages::*;
use crate::service::test_service_client::TestServiceClient;

#[derive(clap::Args)]
pub struct ClientOptions {
    #[arg(long)]
    target: String,
    #[arg(long, default_value = "unary")]
    mode: String,
    #[arg(long, default_value_t = 1)]
    calls: u64,
    #[arg(long, default_value_t = 1)]
    concurrency: u64,
    #[arg(long, default_value_t = 0)]
    request_bytes: usize,
    #[arg(long, default_value_t = 0)]
    response_bytes: i32,
    #[arg(long, default_value_t = 1)]
    messages: usize,
    #[arg(long, default_value_t = 0)]
    interval_us: i32,
    #[arg(long, default_value_t = 0)]
    think_ms: u64,
    #[arg(long, default_value = "c")]
    id_prefix: String,
    #[arg(long)]
    header: Vec<String>,
    #[arg(long, default_value_t = 0)]
    deadline_ms: u64,
    #[arg(long, default_value_t = 9)]
    status_code: i32,
    #[arg(long, default_value_t = 0)]
    warm: u64,
    #[arg(long)]
    wait_go: bool,
    #[arg(long)]
    busy: bool,
    #[arg(long)]
    linger: bool,
}

fn say(line: &serde_json::Value) {
    // A reader that has gone away is no reason to fail.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

struct Client {
    options: ClientOptions,
    stub: TestServiceClient<Channel>,
    ok: Cell<u64>,
}

impl Client {
    fn request<T>(&self, id: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let mut set = |name: &str, value: &str| {
            let key: MetadataKey<Ascii> = name.parse().expect("a header name");
            let value: MetadataValue<Ascii> = value.parse().expect("a header value");
            request.metadata_mut().insert(key, value);
        };
        set("x-call-id", id);
        set("from", id);
        for field in &self.options.header {
            let (name, value) = field.split_once(':').expect("NAME:VALUE");
            set(name, value);
        }
        if self.options.deadline_ms > 0 {
            request.set_timeout(Duration::from_millis(self.options.deadline_ms));
        }
        request
    }

    fn streamed(&self, n: usize) -> StreamingOutputCallRequest {
        let wanted = ResponseParameters {
            size: self.options.response_bytes,
            interval_us: self.options.interval_us,
        };
        StreamingOutputCallRequest {
            response_parameters: vec![wanted; n],
            payload: payload(self.options.request_bytes),
            response_status: None,
        }
    }

    async fn perform(&self, id: &str, got: &Cell<usize>) -> Result<(), Status> {
        let options = &self.options;
        let mut stub = self.stub.clone();
        match options.mode.as_str() {
            "unary" | "deadline" | "status" => {
                let message = SimpleRequest {
                    response_size: options.response_bytes,
                    payload: payload(options.request_bytes),
                    response_status: (options.mode == "status").then(|| EchoStatus {
                        code: options.status_code,
                        message: "as asked".into(),
                    }),
                };
                let response = stub.unary_call(self.request(id, message)).await?;
                got.set(size(response.get_ref().payload.as_ref()));
            }
            "empty" => {
                stub.empty_call(self.request(id, Empty {})).await?;
            }
            "client_stream" => {
                let message = StreamingInputCallRequest {
                    payload: payload(options.request_bytes),
                };
                let messages = tokio_stream::iter(vec![message; options.messages]);
                stub.streaming_input_call(self.request(id, messages))
                    .await?;
            }
            "server_stream" | "cancel" => {
                let request = self.request(id, self.streamed(options.messages));
                let mut stream = stub.streaming_output_call(request).await?.into_inner();
                while let Some(response) = stream.message().await? {
                    got.set(got.get() + size(response.payload.as_ref()));
                    if options.mode == "cancel" {
                        // Dropping the stream is how a tonic client cancels.
                        return Err(Status::cancelled("dropped by the client"));
                    }
                }
            }
            "bidi" => {
                let (out, messages) = mpsc::channel(1);
                let mut left = options.messages;
                let mut next = async |out: &mut Option<mpsc::Sender<_>>| match (left, out.as_ref())
                {
                    (1.., Some(sender)) => {
                        left -= 1;
                        let _ = sender.send(self.streamed(1)).await;
                    }
                    _ => *out = None,
                };
                let mut out = Some(out);
                next(&mut out).await;
                let request = self.request(id, ReceiverStream::new(messages));
                let mut stream = stub.full_duplex_call(request).await?.into_inner();
                while let Some(response) = stream.message().await? {
                    got.set(got.get() + size(response.payload.as_ref()));
                    next(&mut out).await;
                }
            }
            other => panic!("unknown mode {other}"),
        }
        Ok(())
    }

    async fn call(&self, id: String) {
        let got = Cell::new(0);
        let (code, message) = match self.perform(&id, &got).await {
            Ok(()) => (Code::Ok, String::new()),
            Err(status) => (status.code(), status.message().to_owned()),
        };
        if code == Code::Ok {
            self.ok.set(self.ok.get() + 1);
        }
        say(
            &serde_json::json!({ "id": id, "code": code as i32, "message": message, "bytes": got.get() }),
        );
    }

    async fn calls(self: &Rc<Self>, next: impl Fn() -> Option<String> + 'static, think: Duration) {
        let next = Rc::new(next);
        let workers = LocalSet::new();
        for _ in 0..self.options.concurrency {
            let (client, next) = (Rc::clone(self), Rc::clone(&next));
            workers.spawn_local(async move {
                while let Some(id) = next() {
                    client.call(id).await;
                    if !think.is_zero() {
                        tokio::time::sleep(think).await;
                    }
                }
            });
        }
        workers.await;
    }
}

/// Ids prefix-0 to prefix-(n-1), then None.
fn numbered(prefix: String, n: u64) -> impl Fn() -> Option<String> {
    let next = Cell::new(0);
    move || {
        let i = next.replace(next.get() + 1);
        (i < n).then(|| format!("{prefix}-{i}"))
    }
}

pub async fn run(mut options: ClientOptions) -> Result<(), Box<dyn std::error::Error>> {
    if options.mode == "deadline" && options.deadline_ms == 0 {
        options.deadline_ms = 100;
    }
    let channel = if let Some(path) = options.target.strip_prefix("unix:") {
        let path = path.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
    } else {
        Endpoint::from_shared(format!("http://{}", options.target))?.connect_lazy()
    };
    let stub = TestServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let client = Rc::new(Client {
        options,
        stub,
        ok: Cell::new(0),
    });
    let options = &client.options;

    let prefix = options.id_prefix.clone();
    let warm = numbered(format!("{prefix}-warm"), options.warm);
    client.calls(warm, Duration::ZERO).await;
    say(&serde_json::json!({ "ready": true }));
    let mut input = BufReader::new(tokio::io::stdin());
    let counted = numbered(prefix.clone(), options.calls);
    let think = Duration::from_millis(options.think_ms);
    let warmed = Rc::new(Cell::new(options.warm));
    let mut line = String::new();
    if options.busy {
        let (gone, made) = (Rc::new(Cell::new(false)), Rc::clone(&warmed));
        let is_gone = Rc::clone(&gone);
        let next = move || {
            if is_gone.get() {
                return counted();
            }
            let i = made.replace(made.get() + 1);
            Some(format!("{prefix}-warm-{i}"))
        };
        let wait_go = async {
            let read = input.read_line(&mut line).await;
            gone.set(true);
            read
        };
        let (read, ()) = tokio::join!(wait_go, client.calls(next, think));
        if read? == 0 {
            return Err("stdin was closed before go".into());
        }
    } else {
        if options.wait_go && input.read_line(&mut line).await? == 0 {
            return Err("stdin was closed before go".into());
        }
        client.calls(counted, think).await;
    }
    let made = options.calls + warmed.get();
    say(&serde_json::json!({ "done": true, "calls": made, "ok": client.ok.get() }));
    if options.linger {
        input.read_to_end(&mut Vec::new()).await?;
    }
    // A pending read of stdin would keep the runtime from ending.
    std::process::exit(0)
}
