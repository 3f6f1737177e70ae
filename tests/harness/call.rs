//! What a peer's client is told to do, and what it says it did.

use std::collections::BTreeSet;

use serde_json::Value;

/// The kind of call (see tests/peers/README.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One message each way.
    Unary,
    Empty,
    /// Many messages, one answer.
    ClientStream,
    /// One message, many answers.
    ServerStream,
    /// Ping-pong.
    Bidi,
    /// The server answers with an error status.
    Status,
    /// The deadline passes before the answer.
    Deadline,
    /// The client cancels after the first message of a server stream.
    Cancel,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Mode::Unary => "unary",
            Mode::Empty => "empty",
            Mode::ClientStream => "client_stream",
            Mode::ServerStream => "server_stream",
            Mode::Bidi => "bidi",
            Mode::Status => "status",
            Mode::Deadline => "deadline",
            Mode::Cancel => "cancel",
        }
    }
}

/// Arguments of a client.
#[derive(Clone, Debug)]
pub struct Calls {
    pub mode: Mode,
    pub calls: u32,
    /// How many at a time.
    pub concurrency: u32,
    /// Payload of a request message.
    pub request_bytes: u32,
    /// Payload of a response message.
    pub response_bytes: u32,
    /// Messages of a streaming direction.
    pub messages: u32,
    /// Pause of the server before each streamed message.
    pub interval_us: u32,
    /// Pause after each call.
    pub think_ms: u32,
    /// Calls made before the client is ready.
    pub warm: u32,
    /// Calls go on from ready until `go`, besides those that are counted; ids `c-warm-<n>`.
    pub busy: bool,
    /// More header fields, `NAME:VALUE`.
    pub headers: Vec<String>,
    /// Deadline of each call; 0 none (in mode `deadline`: 100 ms).
    pub deadline_ms: u32,
    /// The call's id goes into this field alone (the Node peers).
    pub id_field: Option<&'static str>,
    /// What the ids begin with.
    pub id_prefix: &'static str,
    /// The status asked for in mode `status`.
    pub status_code: u32,
}

impl Calls {
    /// `calls` of a kind, one at a time, with small messages.
    #[must_use]
    pub fn new(mode: Mode, calls: u32) -> Self {
        Calls {
            mode,
            calls,
            concurrency: 1,
            request_bytes: 10,
            response_bytes: 100,
            messages: 5,
            interval_us: 0,
            think_ms: 0,
            warm: 0,
            busy: false,
            headers: Vec::new(),
            deadline_ms: 0,
            id_field: None,
            id_prefix: "c",
            status_code: 9,
        }
    }

    /// So many at a time.
    #[must_use]
    pub fn at_once(mut self, concurrency: u32) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Payload bytes of each message, both ways.
    #[must_use]
    pub fn bytes(mut self, request: u32, response: u32) -> Self {
        (self.request_bytes, self.response_bytes) = (request, response);
        self
    }

    /// One more header field.
    #[must_use]
    pub fn header(mut self, field: impl Into<String>) -> Self {
        self.headers.push(field.into());
        self
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["--wait-go", "--linger", "--mode", self.mode.as_str()]
            .map(str::to_owned)
            .into();
        for (name, value) in [
            ("--calls", self.calls),
            ("--concurrency", self.concurrency),
            ("--request-bytes", self.request_bytes),
            ("--response-bytes", self.response_bytes),
            ("--messages", self.messages),
            ("--interval-us", self.interval_us),
            ("--think-ms", self.think_ms),
            ("--warm", self.warm),
            ("--deadline-ms", self.deadline_ms),
            ("--status-code", self.status_code),
        ] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        if self.busy {
            arguments.push("--busy".to_owned());
        }
        arguments.extend(["--id-prefix".to_owned(), self.id_prefix.to_owned()]);
        if let Some(field) = self.id_field {
            arguments.extend(["--id-field".to_owned(), field.to_owned()]);
        }
        for field in &self.headers {
            arguments.extend(["--header".to_owned(), field.clone()]);
        }
        arguments
    }
}

/// One call, as its client reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its `x-call-id`.
    pub id: String,
    pub code: u32,
    /// What the library says about it.
    pub message: String,
    /// Response payload.
    pub bytes: u64,
}

impl Call {
    /// Reads a line of a client; None when it is no call.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Call {
            id: value.get("id")?.as_str()?.to_owned(),
            code: u32::try_from(value.get("code")?.as_u64()?).ok()?,
            message: value.get("message")?.as_str()?.to_owned(),
            bytes: value.get("bytes")?.as_u64()?,
        })
    }
}

impl Call {
    /// It began before `go`.
    #[must_use]
    pub fn is_warm_up(&self) -> bool {
        self.id.starts_with("c-warm-")
    }
}

/// Ids of the calls that failed.
#[must_use]
pub fn failed_ids(calls: &[Call]) -> BTreeSet<String> {
    calls
        .iter()
        .filter(|call| call.code != 0)
        .map(|call| call.id.clone())
        .collect()
}
