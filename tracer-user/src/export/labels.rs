//! Label values: closed sets, and what of open ones may be shown.

use h2trace_core::connection::Endpoint;
use h2trace_core::event::{OtherProtocol, Unseen};
use h2trace_core::pipeline::{FirstBytes, Protocol};
use h2trace_core::stream::record::{RequestPhase, ResponsePhase, Seen, StreamEnd, StreamRecord};

/// What stands for a value beyond a bound.
pub const OTHER: &str = "other";

/// What stands for a value that could not be seen.
pub const UNKNOWN: &str = "unknown";

/// Longest service or method that becomes a label value, in bytes. Longer ones are [`OTHER`].
pub const METHOD_LEN: usize = 128;

/// The role of the observed end: `client`, `server` or `unknown`.
#[must_use]
pub const fn role(role: Option<Endpoint>) -> &'static str {
    match role {
        Some(endpoint) => endpoint.as_str(),
        None => UNKNOWN,
    }
}

/// How far the request was: `Q0` to `Q2` or `unknown`.
#[must_use]
pub const fn request_phase(phase: Option<RequestPhase>) -> &'static str {
    match phase {
        Some(phase) => phase.as_str(),
        None => UNKNOWN,
    }
}

/// How far the response was: `R0` to `R3` or `unknown`.
#[must_use]
pub const fn response_phase(phase: Option<ResponsePhase>) -> &'static str {
    match phase {
        Some(phase) => phase.as_str(),
        None => UNKNOWN,
    }
}

/// How a stream came to its end, the cause of a connection's end left out.
#[must_use]
pub const fn stream_end(end: StreamEnd) -> &'static str {
    match end {
        StreamEnd::Complete => "complete",
        StreamEnd::Reset => "reset",
        StreamEnd::Connection(_) => "connection",
        StreamEnd::Unprocessed => "unprocessed",
        StreamEnd::Evicted => "evicted",
        StreamEnd::Unseen => "unseen",
    }
}

/// What a connection speaks: `http2`, `tls`, `http1` or `other`; `unseen` when its bytes were not seen.
#[must_use]
pub const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http2 => "http2",
        Protocol::Other(OtherProtocol::Tls) => "tls",
        Protocol::Other(OtherProtocol::Http1) => "http1",
        Protocol::Other(OtherProtocol::Other) | Protocol::Undecided(_) => OTHER,
        Protocol::Unseen(_) => "unseen",
    }
}

/// Why a connection is not decoded: what it speaks, or why its bytes were not seen.
#[must_use]
pub const fn undecoded(of: Protocol) -> &'static str {
    match of {
        Protocol::Unseen(Unseen::IoUring) => "unseen_io_uring",
        Protocol::Unseen(Unseen::Splice) => "unseen_splice",
        Protocol::Unseen(Unseen::Compat) => "unseen_compat",
        Protocol::Unseen(Unseen::ThrownAway) => "unseen_thrown_away",
        Protocol::Unseen(Unseen::Other) => "unseen_other",
        Protocol::Undecided(_) => "undecided",
        Protocol::Http2 | Protocol::Other(_) => protocol(of),
    }
}

/// What the first bytes of a connection look like, in words.
#[must_use]
pub const fn first_bytes(first: FirstBytes) -> &'static str {
    match first {
        FirstBytes::Unseen => "the first not captured",
        FirstBytes::Frame => "the first look like a frame",
        FirstBytes::Text => "the first are text",
        FirstBytes::Binary => "the first are binary",
    }
}

/// Why bytes of a connection were not seen, in words.
#[must_use]
pub const fn unseen(reason: Unseen) -> &'static str {
    match reason {
        Unseen::IoUring => "moved by io_uring",
        Unseen::Splice => "moved by sendfile or splice",
        Unseen::Compat => "moved by 32-bit system calls",
        Unseen::ThrownAway => "thrown away by MSG_TRUNC",
        Unseen::Other => "moved by a call whose buffer is not known",
    }
}

/// Names of the status codes 0 to 16 (grpc/grpc `doc/statuscodes.md`).
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a gRPC status, None beyond 16.
#[must_use]
pub fn grpc_code_name(status: u32) -> Option<&'static str> {
    GRPC_CODES.get(usize::try_from(status).ok()?).copied()
}

/// The label `grpc_code` of a stream: a status' name, `missing` (the response ended without one),
/// `malformed` (there, and no status), or `unseen`.
#[must_use]
pub fn grpc_code(record: &StreamRecord) -> &'static str {
    if record.grpc_status_malformed {
        return "malformed";
    }
    match record.grpc_status {
        Seen::Value(status) => grpc_code_name(status).unwrap_or("malformed"),
        Seen::Absent => "missing",
        Seen::Unknown => "unseen",
    }
}

/// The gRPC service and method of a `:path` (`/package.Service/Method`, gRPC "Requests"). [`OTHER`] for
/// what has another form: it is no gRPC method, and it may hold anything.
#[must_use]
pub fn service_and_method(path: &str) -> (&str, &str) {
    let fits = |part: &str| {
        !part.is_empty()
            && part.len() <= METHOD_LEN
            && part.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match path
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
    {
        Some((service, method)) if fits(service) && fits(method) => (service, method),
        _ => (OTHER, OTHER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_and_method_are_the_path_of_a_grpc_call() {
        for (path, want) in [
            (
                "/grpc.testing.TestService/UnaryCall",
                ("grpc.testing.TestService", "UnaryCall"),
            ),
            ("/a/b/C/D", ("a/b/C", "D")),
            ("/", (OTHER, OTHER)),
            ("", (OTHER, OTHER)),
            ("*", (OTHER, OTHER)),
            ("/favicon.ico", (OTHER, OTHER)),
            ("//Method", (OTHER, OTHER)),
            ("/Service/", (OTHER, OTHER)),
            ("/a b/C", (OTHER, OTHER)),
        ] {
            assert_eq!(service_and_method(path), want, "{path}");
        }
        assert_eq!(
            service_and_method(&format!("/{}/m", "s".repeat(METHOD_LEN + 1))),
            (OTHER, OTHER)
        );
    }

    #[test]
    fn grpc_codes_stand_at_their_numbers() {
        assert_eq!(grpc_code_name(0), Some("OK"));
        assert_eq!(grpc_code_name(14), Some("UNAVAILABLE"));
        assert_eq!(grpc_code_name(16), Some("UNAUTHENTICATED"));
        assert_eq!(grpc_code_name(17), None);
    }
}
