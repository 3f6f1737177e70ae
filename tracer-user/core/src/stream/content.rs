//! What the header fields of a stream say, as far as they were seen and may be kept.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::Endpoint;
use crate::field::media::Media;
use crate::field::user_agent::UserAgent;
use crate::field::{
    Encoding, Facts, Field, GrpcStatus, HeaderBlock, Known, Method, Seen, Shown, ShownFields,
};
use crate::stream::fields::{self, BrokenFieldRule};
use crate::stream::record::Malformed;

/// What the header fields of one stream say.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// `:path`, without its query.
    pub(super) path: Option<Arc<str>>,
    /// `content-type` of the request.
    pub(super) request_type: Seen<Media>,
    /// `content-type` of the response.
    pub(super) response_type: Seen<Media>,
    /// The media type of the response.
    pub(super) response_content_type: Option<Arc<str>>,
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
    /// `grpc-encoding` of the request.
    request_encoding: Seen<Encoding>,
    /// `grpc-encoding` of the response.
    response_encoding: Seen<Encoding>,
    /// The encodings that the client accepts, if it says so.
    accepted: Option<Encoding>,
    pub(super) timeout: Option<Duration>,
    /// Values that may be shown.
    pub(super) shown: ShownFields,
}

impl Content {
    /// The request's HEADERS.
    pub(super) fn request(&mut self, facts: &Arc<Facts>) {
        if facts.path.is_some() {
            self.path.clone_from(&facts.path);
        }
        self.request_type = facts.media;
        if let Some(agent) = facts.user_agent {
            self.user_agent = agent;
        }
        self.method = facts.method;
        self.request_length = facts.length;
        self.request_encoding = facts.grpc_encoding;
        self.accepted = facts.accepted;
        self.timeout = facts.timeout;
        // With the stream its memory comes back for the facts of another one.
        self.shown.request = Some(Arc::clone(facts));
    }

    /// A request that began as HTTP/1.1 (Upgrade: h2c).
    pub(super) fn upgraded(&mut self, path: &str, headers: &[(String, String)], shown: &Shown) {
        let path = std::iter::once((":path", path));
        let headers = headers.iter().map(|(name, value)| (&**name, &**value));
        let fields = path.chain(headers).map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            Field::new(Some(name.as_bytes()), Some(value.as_bytes()))
        });
        let block = HeaderBlock::new(fields.collect(), true, 0);
        let facts = block.facts(shown);
        self.path.clone_from(&facts.path);
        self.request_type = facts.media;
        self.timeout = facts.timeout;
        self.shown.request = facts.to_show();
    }

    /// The response's final HEADERS.
    pub(super) fn response(&mut self, facts: &Arc<Facts>) {
        self.http_status = facts.status;
        self.response_coding = facts.coding;
        self.response_is_coded = facts.is_coded;
        self.response_type = facts.media;
        self.response_length = facts.length;
        self.response_encoding = facts.grpc_encoding;
        if facts.content_type.is_some() {
            self.response_content_type.clone_from(&facts.content_type);
        }
        self.shown.response = facts.to_show();
    }

    /// The response's trailers, or its Trailers-Only HEADERS.
    pub(super) fn trailers(&mut self, facts: &Arc<Facts>) {
        match facts.grpc_status {
            Seen::Absent => self.grpc_status = Seen::Absent,
            Seen::Unknown => self.grpc_status = Seen::Unknown,
            Seen::Value(status) => {
                self.grpc_status_malformed = !matches!(status, GrpcStatus::WellFormed(_));
                self.grpc_status = match status {
                    GrpcStatus::WellFormed(n) | GrpcStatus::OddNumber(n) => Seen::Value(n),
                    GrpcStatus::NoNumber => Seen::Unknown,
                };
            }
        }
        self.shown.trailers = facts.to_show();
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

    /// A rule was broken.
    pub(super) fn malformed(&mut self, sender: Endpoint, broken: BrokenFieldRule) {
        let weight = fields::weight(broken.rule, broken.grave);
        let outweighs = |told: Malformed| weight > fields::weight(told.rule, told.grave);
        if self.malformed.is_none_or(outweighs) {
            self.malformed = Some(Malformed {
                sender,
                rule: broken.rule,
                grave: broken.grave,
                field: broken.field,
                name: None,
                stray: None,
            });
        }
    }

    /// How much DATA request and response must have, where a content-length says it (RFC 9113 section
    /// 8.1.1; RFC 9110 section 6.4.1).
    pub(super) fn content_length(&self) -> (Option<u64>, Option<u64>) {
        let request = match self.method.value() {
            Some(Method::Other | Method::Post | Method::Head) => self.request_length.value(),
            Some(Method::Connect) | None => None,
        };
        let response = match (self.method.value(), self.http_status.value()) {
            (Some(Method::Other | Method::Post), Some(status))
                if !matches!(status, 100..=199 | 204 | 304) =>
            {
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

    /// The rule that a compressed message of the sender breaks.
    pub(super) fn rule_against_compression(&self, sender: Endpoint) -> Option<BrokenFieldRule> {
        let encoding = match sender {
            Endpoint::Client => self.request_encoding,
            Endpoint::Server => self.response_encoding,
        };
        match (encoding, self.accepted) {
            (Seen::Absent, _) => Some(fields::COMPRESSED_WITHOUT_ENCODING),
            (Seen::Value(Encoding::IDENTITY), _) => Some(fields::COMPRESSED_AS_IDENTITY),
            (Seen::Value(encoding), Some(accepted))
                if sender == Endpoint::Server && accepted.leaves_out(encoding) =>
            {
                Some(fields::ENCODING_NOT_ACCEPTED)
            }
            _ => None,
        }
    }

    /// The response has no content, whatever its fields say (RFC 9110 section 6.4.1).
    pub(super) fn response_has_no_content(&self) -> bool {
        match (self.method.value(), self.http_status.value()) {
            (Some(Method::Head), Some(status)) => status >= 200,
            (Some(Method::Other | Method::Post), Some(status)) => matches!(status, 204 | 205 | 304),
            _ => false,
        }
    }
}

/// Any pseudo-header field of a request (RFC 9113 section 8.3.1) is visible in the block.
pub(super) fn shows_request(block: &HeaderBlock) -> bool {
    [Known::Method, Known::Scheme, Known::Path, Known::Authority]
        .iter()
        .any(|known| block.get(*known).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::script::block;

    fn facts(block: &HeaderBlock) -> Arc<Facts> {
        Arc::clone(block.clone().facts(&Shown::default()))
    }

    #[test]
    fn a_query_is_not_kept() {
        let mut content = Content::default();
        content.request(&facts(&block(&[(":path", "/a?token=hunter2")])));
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
        content.request(&facts(&block(&fields)));
        assert!(!format!("{content:?}").contains("hunter2"));
        assert_eq!(content.shown.get("user-agent"), Some("me"));
    }

    #[test]
    fn the_requests_value_wins_over_the_responses() {
        let mut content = Content::default();
        content.response(&facts(&block(&[("x-request-id", "response")])));
        content.request(&facts(&block(&[("x-request-id", "request")])));
        content.trailers(&facts(&block(&[("x-request-id", "trailers")])));
        assert_eq!(content.shown.get("x-request-id"), Some("request"));
    }

    #[test]
    fn an_unseen_field_is_unknown_not_absent() {
        let mut content = Content::default();
        let mut incomplete = block(&[(":status", "200")]);
        incomplete.complete = false;
        content.trailers(&facts(&incomplete));
        assert_eq!(content.grpc_status, Seen::Unknown);
        content.request(&facts(&incomplete));
        assert_eq!(content.grpc(), Seen::Unknown);
        incomplete.complete = true;
        content.request(&facts(&incomplete));
        assert_eq!(content.grpc(), Seen::Absent);
        content.trailers(&facts(&incomplete));
        assert_eq!(content.grpc_status, Seen::Absent);
    }

    #[test]
    fn what_is_unseen_of_the_request_the_response_may_show() {
        let mut content = Content::default();
        content.response(&facts(&block(&[("content-type", "text/html")])));
        assert_eq!(content.grpc(), Seen::Unknown);
        content.trailers(&facts(&block(&[("grpc-status", "3")])));
        assert_eq!(content.grpc(), Seen::Value(()));
    }
}
