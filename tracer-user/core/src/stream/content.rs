//! What the header fields of a stream say, as far as they were seen and may be kept.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connection::Endpoint;
use crate::frame::{Field, HeaderBlock};
use crate::limits;
use crate::stream::digest;
use crate::stream::fields::BrokenFieldRule;
use crate::stream::grpc::media::{self, Media};
use crate::stream::grpc::status::GrpcStatus;
use crate::stream::grpc::timeout;
use crate::stream::record::{Malformed, Seen};
use crate::stream::shown::Shown;
use crate::stream::user_agent::UserAgent;

/// Methods that decide what content a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// The response has no content, whatever its content-length.
    Head,
    /// Neither side has content: DATA is a tunnel.
    Connect,
    Other,
}

/// What the header fields of one stream say.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// `:path`, without its query.
    pub(super) path: Option<String>,
    /// `content-type` of the request.
    pub(super) request_type: Seen<Media>,
    /// `content-type` of the response.
    pub(super) response_type: Seen<Media>,
    /// The media type of the response.
    pub(super) response_content_type: Option<String>,
    /// The encodings of its content.
    pub(super) response_coding: u64,
    /// Its content has a coding: what goes by is no sequence of messages, whatever its type.
    pub(super) response_is_coded: bool,
    /// The family of `user-agent`.
    pub(super) user_agent: UserAgent,
    pub(super) http_status: Seen<u16>,
    /// `grpc-status` of the trailers.
    pub(super) grpc_status: Seen<u32>,
    /// It was there and is not well-formed.
    pub(super) grpc_status_malformed: bool,
    /// The worst rule that was broken.
    pub(super) malformed: Option<Malformed>,
    method: Seen<Method>,
    /// `content-length` of the request.
    request_length: Seen<u64>,
    /// `content-length` of the response.
    response_length: Seen<u64>,
    /// `grpc-encoding` of the request is there.
    request_encoding: Seen<()>,
    /// `grpc-encoding` of the response is there.
    response_encoding: Seen<()>,
    pub(super) timeout: Option<Duration>,
    /// Values that may be shown.
    pub(super) shown: BTreeMap<String, String>,
}

impl Content {
    pub(super) fn request(&mut self, block: &HeaderBlock, shown: &Shown) {
        if let Some(path) = block.value(b":path") {
            self.path = Some(shown_value(b":path", path));
        }
        self.request_type = seen(block, b"content-type").map(Media::of);
        if let Some(agent) = block.value(b"user-agent") {
            self.user_agent = UserAgent::of(agent);
        }
        self.method = seen(block, b":method").map(|method| match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        });
        self.request_length = length(block);
        self.request_encoding = seen(block, b"grpc-encoding").map(|_| ());
        self.timeout = block
            .value(b"grpc-timeout")
            .and_then(|value| timeout::parse(value));
        self.keep(block, shown, true);
    }

    /// A request that began as HTTP/1.1 (Upgrade: h2c).
    pub(super) fn upgraded(
        &mut self,
        path: Option<String>,
        headers: &[(String, String)],
        shown: &Shown,
    ) {
        self.request_type = Seen::Absent;
        if let Some(path) = path {
            let path = shown_value(b":path", path.as_bytes());
            if shown.allows(b":path").is_some() {
                self.shown.insert(":path".to_owned(), path.clone());
            }
            self.path = Some(path);
        }
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "content-type" => self.request_type = Seen::Value(Media::of(value.as_bytes())),
                "grpc-timeout" => self.timeout = timeout::parse(value.as_bytes()),
                _ => {}
            }
            if shown.allows(name.as_bytes()).is_some() {
                let value = shown_value(name.as_bytes(), value.as_bytes());
                self.shown.insert(name, value);
            }
        }
    }

    /// The response's final HEADERS.
    pub(super) fn response(&mut self, block: &HeaderBlock, shown: &Shown) {
        self.http_status = status(block);
        self.response_coding = digest::coding(block);
        let coding = block.value(b"content-encoding");
        self.response_is_coded = coding.is_some_and(|coding| &coding[..] != b"identity");
        self.response_type = seen(block, b"content-type").map(Media::of);
        self.response_length = length(block);
        self.response_encoding = seen(block, b"grpc-encoding").map(|_| ());
        if let Some(value) = block.value(b"content-type") {
            self.response_content_type = Some(shown_value(b"content-type", media::essence(value)));
        }
        self.keep(block, shown, false);
    }

    /// The response's trailers, or its Trailers-Only HEADERS.
    pub(super) fn trailers(&mut self, block: &HeaderBlock, shown: &Shown) {
        match seen(block, b"grpc-status") {
            Seen::Absent => self.grpc_status = Seen::Absent,
            Seen::Unknown => self.grpc_status = Seen::Unknown,
            Seen::Value(value) => {
                let status = GrpcStatus::of(value);
                self.grpc_status_malformed = !matches!(status, GrpcStatus::WellFormed(_));
                self.grpc_status = match status {
                    GrpcStatus::WellFormed(n) | GrpcStatus::OddNumber(n) => Seen::Value(n),
                    GrpcStatus::NoNumber => Seen::Unknown,
                };
            }
        }
        self.keep(block, shown, false);
    }

    /// `content-type: application/grpc*`, of the request or, where that is unseen, as the response shows.
    pub(super) fn grpc(&self) -> Seen<()> {
        let response_shows = self.response_type == Seen::Value(Media::Grpc)
            || self.grpc_status.value().is_some()
            || self.grpc_status_malformed;
        match self.request_type {
            Seen::Value(Media::Grpc) => Seen::Value(()),
            Seen::Value(Media::GrpcWeb | Media::Other) | Seen::Absent => Seen::Absent,
            Seen::Unknown if self.grpc_web() => Seen::Absent,
            Seen::Unknown if response_shows => Seen::Value(()),
            // An answer that is not gRPC does not show that the request was none.
            Seen::Unknown => Seen::Unknown,
        }
    }

    pub(super) fn grpc_web(&self) -> bool {
        match self.request_type {
            Seen::Value(media) => media == Media::GrpcWeb,
            Seen::Absent => false,
            Seen::Unknown => self.response_type == Seen::Value(Media::GrpcWeb),
        }
    }

    /// A rule was broken; a grave one outweighs the others, and else the first counts.
    pub(super) fn malformed(&mut self, sender: Endpoint, broken: BrokenFieldRule) {
        if self
            .malformed
            .is_none_or(|before| broken.grave && !before.grave)
        {
            self.malformed = Some(Malformed {
                sender,
                rule: broken.rule,
                grave: broken.grave,
            });
        }
    }

    /// How much DATA request and response must have, where a content-length says it (RFC 9113 section
    /// 8.1.1; RFC 9110 section 6.4.1).
    pub(super) fn content_length(&self) -> (Option<u64>, Option<u64>) {
        let request = match self.method.value() {
            Some(Method::Other | Method::Head) => self.request_length.value(),
            Some(Method::Connect) | None => None,
        };
        let response = match (self.method.value(), self.http_status.value()) {
            (Some(Method::Other), Some(status)) if !matches!(status, 100..=199 | 204 | 304) => {
                self.response_length.value()
            }
            _ => None,
        };
        (request, response)
    }

    /// The sender's messages are gRPC's, says its own content-type (or, of a response, nothing else).
    pub(super) fn is_grpc(&self, sender: Endpoint) -> bool {
        let said = match sender {
            Endpoint::Client => self.request_type,
            Endpoint::Server => self.response_type,
        };
        said == Seen::Value(Media::Grpc)
    }

    /// The sender certainly sent no grpc-encoding.
    pub(super) fn has_no_encoding(&self, sender: Endpoint) -> bool {
        let seen = match sender {
            Endpoint::Client => self.request_encoding,
            Endpoint::Server => self.response_encoding,
        };
        seen == Seen::Absent
    }

    /// Keeps what may be shown. `over`: these win over what is there (the request's do).
    fn keep(&mut self, block: &HeaderBlock, shown: &Shown, over: bool) {
        for field in &block.fields {
            let (Some(name), Some(value)) = (&field.name, &field.value) else {
                continue;
            };
            let Some(name) = shown.allows(name) else {
                continue;
            };
            if over || !self.shown.contains_key(name) {
                self.shown
                    .insert(name.to_owned(), shown_value(name.as_bytes(), value));
            }
        }
    }
}

impl<T: Copy> Seen<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Seen::Absent => Seen::Absent,
            Seen::Value(v) => Seen::Value(f(v)),
            Seen::Unknown => Seen::Unknown,
        }
    }
}

pub(super) fn status(block: &HeaderBlock) -> Seen<u16> {
    match seen(block, b":status") {
        Seen::Value(digits) if digits.len() == 3 => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map_or(Seen::Unknown, Seen::Value),
        Seen::Value(_) | Seen::Unknown => Seen::Unknown,
        Seen::Absent => Seen::Absent,
    }
}

/// `content-length`: unknown where it is no number, or where several say different things.
fn length(block: &HeaderBlock) -> Seen<u64> {
    let parse = |digits: &[u8]| -> Seen<u64> {
        let number = digits.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(digits)
            .ok()
            .filter(|_| number)
            .and_then(|digits| digits.parse().ok())
            .map_or(Seen::Unknown, Seen::Value)
    };
    let mut lengths = block
        .fields
        .iter()
        .filter(|field| field.name.as_deref() == Some(b"content-length"))
        .map(|field| field.value.as_deref().map_or(Seen::Unknown, parse));
    match lengths.next() {
        None if block.complete => Seen::Absent,
        Some(first) if lengths.all(|other| other == first) => first,
        None | Some(_) => Seen::Unknown,
    }
}

/// Any pseudo-header field of a request (RFC 9113 section 8.3.1) is visible in the block.
pub(super) fn shows_request(block: &HeaderBlock) -> bool {
    [&b":method"[..], b":scheme", b":path", b":authority"]
        .iter()
        .any(|name| block.has(name))
}

/// The value of a field: absent only if the whole block was decoded.
fn seen<'a>(block: &'a HeaderBlock, name: &[u8]) -> Seen<&'a [u8]> {
    match block.field(name) {
        Some(Field {
            value: Some(value), ..
        }) => Seen::Value(value),
        None if block.complete => Seen::Absent,
        None | Some(Field { value: None, .. }) => Seen::Unknown,
    }
}

/// A value as it may be kept: text, of bounded length, and of `:path` without the query, which may carry
/// a credential.
fn shown_value(name: &[u8], value: &[u8]) -> String {
    let value = match name {
        b":path" => value.split(|b| *b == b'?').next().unwrap_or_default(),
        _ => value,
    };
    let cut = value.get(..limits::SHOWN_VALUE).unwrap_or(value);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    text.retain(|c| !c.is_control());
    // A character cut in the middle became a replacement character, which is longer than what was cut.
    while text.len() > limits::SHOWN_VALUE {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::script::block;

    #[test]
    fn a_query_is_not_kept() {
        let mut content = Content::default();
        content.request(&block(&[(":path", "/a?token=hunter2")]), &Shown::default());
        assert_eq!(content.path.as_deref(), Some("/a"));
        assert!(!format!("{content:?}").contains("hunter2"));
    }

    #[test]
    fn values_that_may_not_be_shown_are_not_kept() {
        let mut content = Content::default();
        let fields = [
            ("authorization", "Bearer hunter2"),
            ("x-other", "hunter2"),
            ("user-agent", "me"),
        ];
        content.request(&block(&fields), &Shown::default());
        assert!(!format!("{content:?}").contains("hunter2"));
        assert_eq!(
            content.shown.get("user-agent").map(String::as_str),
            Some("me")
        );
    }

    #[test]
    fn long_and_odd_values_are_cut_and_cleaned() {
        let long = "é".repeat(limits::SHOWN_VALUE);
        for value in [long.as_bytes(), &[0xff; 1000], b"a\x1b[31m\n"] {
            let kept = shown_value(b"user-agent", value);
            assert!(kept.len() <= limits::SHOWN_VALUE);
            assert!(!kept.contains(char::is_control));
        }
    }

    #[test]
    fn the_requests_value_wins_over_the_responses() {
        let mut content = Content::default();
        let shown = Shown::default();
        content.response(&block(&[("x-request-id", "response")]), &shown);
        content.request(&block(&[("x-request-id", "request")]), &shown);
        content.trailers(&block(&[("x-request-id", "trailers")]), &shown);
        assert_eq!(
            content.shown.get("x-request-id").map(String::as_str),
            Some("request")
        );
    }

    #[test]
    fn an_unseen_field_is_unknown_not_absent() {
        let mut content = Content::default();
        let mut incomplete = block(&[(":status", "200")]);
        incomplete.complete = false;
        content.trailers(&incomplete, &Shown::default());
        assert_eq!(content.grpc_status, Seen::Unknown);
        content.request(&incomplete, &Shown::default());
        assert_eq!(content.grpc(), Seen::Unknown);
        incomplete.complete = true;
        content.request(&incomplete, &Shown::default());
        assert_eq!(content.grpc(), Seen::Absent);
        content.trailers(&incomplete, &Shown::default());
        assert_eq!(content.grpc_status, Seen::Absent);
    }

    #[test]
    fn what_is_unseen_of_the_request_the_response_may_show() {
        let mut content = Content::default();
        content.response(&block(&[("content-type", "text/html")]), &Shown::default());
        assert_eq!(content.grpc(), Seen::Unknown);
        content.trailers(&block(&[("grpc-status", "3")]), &Shown::default());
        assert_eq!(content.grpc(), Seen::Value(()));
    }
}
