//! What h2trace printed: its JSON lines by type.
//! Only the documented keys are read, so that these tests guard the promise to other people's scripts.

use std::collections::BTreeSet;

use serde_json::Value;

/// The lines of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub streams: Vec<Stream>,
    pub findings: Vec<Finding>,
    pub hops: Vec<Hop>,
    /// Streams that proxies opened for requests that were not seen.
    pub lone: Vec<Hop>,
    pub connections: Vec<Value>,
    pub losses: Vec<Value>,
    /// The last of type `diagnosis`, when one has come.
    pub diagnosis: Option<Value>,
    /// Of type `summary`, when it has come.
    pub summary: Option<Value>,
}

/// One end's view of a stream.
#[derive(Clone, Debug)]
pub struct Stream(pub Value);

#[derive(Clone, Debug)]
pub struct Finding(pub Value);

/// A request at a proxy.
#[derive(Clone, Debug)]
pub struct Hop(pub Value);

/// One RST_STREAM of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    pub code: u64,
    pub name: String,
    /// `client` or `server`.
    pub sender: String,
}

impl Trace {
    /// Reads lines.
    ///
    /// # Panics
    /// When a line is not what the contract says.
    #[track_caller]
    #[must_use]
    pub fn read(lines: &[String]) -> Self {
        let mut trace = Trace::default();
        for line in lines {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("h2trace printed no JSON ({error}): {line}"));
            assert_eq!(value["v"], 1, "a line without \"v\":1: {line}");
            match value["type"].as_str() {
                Some("stream") => trace.streams.push(Stream(value)),
                Some("finding") => trace.findings.push(Finding(value)),
                Some("hop") if value["downstream"].is_null() => trace.lone.push(Hop(value)),
                Some("hop") => trace.hops.push(Hop(value)),
                Some("connection") => trace.connections.push(value),
                Some("loss") => trace.losses.push(value),
                Some("diagnosis") => trace.diagnosis = Some(value),
                Some("summary") => trace.summary = Some(value),
                other => panic!("a line of type {other:?}: {line}"),
            }
        }
        trace
    }

    /// What is told of a stream, but for where and when it was.
    #[must_use]
    pub fn words_of(&self, stream: &Stream) -> String {
        let findings = self.findings.iter();
        let mut findings: Vec<_> = findings
            .filter(|finding| finding.is_about(stream))
            .map(Finding::kind)
            .collect();
        findings.sort_unstable();
        format!(
            "{:?} {} {}: {:?} {:?} {:?} trailers {:?} {:?} {:?} {} {} {:?} {findings:?}",
            stream.role(),
            stream.0["headers"]["x-n"],
            stream.0["http_status"],
            stream.outcome(),
            stream.request_phase(),
            stream.response_phase(),
            stream.trailers(),
            stream.grpc_status(),
            stream.tier(),
            stream.request_bytes(),
            stream.response_bytes(),
            stream.resets(),
        )
    }

    /// Streams that process `pid` saw in a role (`client` or `server`).
    pub fn streams_of(&self, pid: u32, role: &str) -> impl Iterator<Item = &Stream> {
        self.streams
            .iter()
            .filter(move |stream| stream.pid() == pid && stream.role() == Some(role))
    }

    /// The one stream of a call at an end.
    ///
    /// # Panics
    /// When there is none, or several.
    #[track_caller]
    #[must_use]
    pub fn stream_of_call(&self, pid: u32, role: &str, id: &str) -> &Stream {
        let all: Vec<_> = self
            .streams_of(pid, role)
            .filter(|s| s.call_id() == Some(id))
            .collect();
        match all.as_slice() {
            [stream] => stream,
            _ => panic!(
                "call {id} has {} streams with role {role} at pid {pid}",
                all.len()
            ),
        }
    }

    /// Findings that say more than "benign".
    #[must_use]
    pub fn flagged(&self) -> Vec<&Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.verdict() != "benign")
            .collect()
    }

    /// Fails unless nothing was found and nothing was lost.
    ///
    /// # Panics
    /// With what was found or lost.
    #[track_caller]
    pub fn assert_healthy(&self) {
        let flagged = self.flagged();
        assert!(
            flagged.is_empty(),
            "{} findings in a healthy run, the first: {}",
            flagged.len(),
            flagged[0].0
        );
        self.assert_lossless();
    }

    /// The program itself never read the bytes: HAProxy lets the kernel throw away (`MSG_TRUNC`) what still comes in on
    /// a connection that it closes.
    fn was_thrown_away(&self, loss: &Value) -> bool {
        let mut thrown = self
            .connections
            .iter()
            .filter(|line| line["event"] == "bytes_unseen" && line["unseen"] == "thrown_away");
        match (loss["source"].as_str(), loss["cause"].as_str()) {
            (Some("kernel"), Some("no_buffer" | "desync")) => {
                loss["count"].as_u64() <= Some(thrown.count() as u64)
            }
            (Some("decoder"), Some("gap" | "desync")) => {
                thrown.any(|line| line["conn"] == loss["conn"])
            }
            _ => false,
        }
    }

    /// Fails when the tracer lost or could not decode anything.
    ///
    /// # Panics
    /// With what was lost.
    #[track_caller]
    pub fn assert_lossless(&self) {
        let losses: Vec<&Value> = self
            .losses
            .iter()
            .filter(|loss| !self.was_thrown_away(loss))
            .collect();
        let unseen = self
            .connections
            .iter()
            .filter(|line| line["event"] == "bytes_unseen" || line["unseen_bytes"].is_object());
        let all = losses.iter().copied().chain(unseen);
        let lines: Vec<String> = all.map(ToString::to_string).collect();
        assert!(
            losses.is_empty(),
            "{} losses, and what they are of:\n{}",
            losses.len(),
            lines.join("\n")
        );
        assert!(self.summary.is_some(), "the tracer printed no summary");
    }
}

impl Stream {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// The process at the observed end.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn connection(&self) -> u64 {
        self.0["conn"].as_u64().unwrap_or_default()
    }

    #[must_use]
    pub fn stream_id(&self) -> u64 {
        self.0["stream_id"].as_u64().unwrap_or_default()
    }

    /// `client` or `server`.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.text("role")
    }

    /// The call's id, when it was seen: `x-call-id`, else `from` (see tests/peers/README.md).
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        let headers = self.0.get("headers")?;
        headers
            .get("x-call-id")
            .or_else(|| headers.get("from"))?
            .as_str()
    }

    /// `:path`.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.text("method")
    }

    /// `Q0` to `Q2`.
    #[must_use]
    pub fn request_phase(&self) -> Option<&str> {
        self.text("request_phase")
    }

    /// `R0` to `R3`.
    #[must_use]
    pub fn response_phase(&self) -> Option<&str> {
        self.text("response_phase")
    }

    /// The response carried trailers; None unknown.
    #[must_use]
    pub fn trailers(&self) -> Option<bool> {
        self.0["trailers"].as_bool()
    }

    /// gRPC status; None absent or unknown.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u64> {
        self.0["grpc_status"].as_u64()
    }

    /// DATA payload of the request.
    #[must_use]
    pub fn request_bytes(&self) -> u64 {
        self.0["request_bytes"].as_u64().unwrap_or_default()
    }

    /// DATA payload of the response.
    #[must_use]
    pub fn response_bytes(&self) -> u64 {
        self.0["response_bytes"].as_u64().unwrap_or_default()
    }

    /// How it ended, in a word.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.text("outcome").unwrap_or_default()
    }

    /// `T0` to `T2`.
    #[must_use]
    pub fn tier(&self) -> &str {
        self.text("tier").unwrap_or_default()
    }

    #[must_use]
    pub fn resets(&self) -> Vec<Reset> {
        let resets = self.0["reset"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let text = |reset: &Value, key: &str| reset[key].as_str().unwrap_or_default().to_owned();
        resets
            .iter()
            .map(|reset| Reset {
                code: reset["code"].as_u64().unwrap_or(u64::MAX),
                name: text(reset, "name"),
                sender: text(reset, "sender"),
            })
            .collect()
    }
}

impl Finding {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    #[must_use]
    pub fn verdict(&self) -> &str {
        self.text("verdict")
    }

    /// It is about this stream.
    #[must_use]
    pub fn is_about(&self, stream: &Stream) -> bool {
        self.0["conn"] == stream.0["conn"] && self.0["stream_id"] == stream.0["stream_id"]
    }
}

impl Hop {
    #[must_use]
    pub fn proxy(&self) -> u32 {
        let pid = self.0["proxy"]["pid"].as_u64();
        pid.and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default()
    }

    /// The stream that the proxy served.
    #[must_use]
    pub fn downstream(&self) -> Stream {
        Stream(self.0["downstream"]["stream"].clone())
    }

    /// The streams that it opened for it and that have ended.
    #[must_use]
    pub fn upstream(&self) -> Vec<Stream> {
        let sides = self.0["upstream"].as_array().map(Vec::as_slice);
        let streams = sides.unwrap_or_default().iter().map(|side| &side["stream"]);
        streams
            .filter(|stream| !stream.is_null())
            .map(|stream| Stream(stream.clone()))
            .collect()
    }

    /// How surely the two sides were found to be one request; None when it stands alone.
    #[must_use]
    pub fn confidence(&self) -> Option<&str> {
        self.0["join"]["confidence"].as_str()
    }

    /// What was found about it.
    #[must_use]
    pub fn findings(&self) -> Vec<&str> {
        let kinds = self.0["findings"].as_array().map(Vec::as_slice);
        let kinds = kinds.unwrap_or_default();
        kinds.iter().filter_map(Value::as_str).collect()
    }
}

/// Call ids of the streams that `wanted` accepts.
pub fn call_ids<'a>(
    streams: impl Iterator<Item = &'a Stream>,
    mut wanted: impl FnMut(&Stream) -> bool,
) -> BTreeSet<String> {
    streams
        .filter(|stream| wanted(stream))
        .map(|stream| {
            let id = stream.call_id();
            id.unwrap_or_else(|| panic!("a stream without x-call-id: {}", stream.0))
                .to_owned()
        })
        .collect()
}
