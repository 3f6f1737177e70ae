//! What gRPC adds to HTTP/2 (grpc/grpc `doc/PROTOCOL-HTTP2.md`, "G").

pub(super) mod length_prefix;
