//! What gRPC adds to HTTP/2 (grpc/grpc `doc/PROTOCOL-HTTP2.md`, "G").

pub(super) mod length_prefix;
pub(super) mod media;
pub(super) mod status;
pub(super) mod timeout;
