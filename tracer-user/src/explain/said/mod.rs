//! What applications, libraries and proxies print, what it proves, and what it does not.
//!
//! In a text `<N>` stands for a number, `<X>` for one word, `...` for some words.

mod connect;
mod envoy;
mod envoy_stats;
mod go;
mod java;
mod node;
mod other;

use h2trace_core::anomaly::kind::Kind;

/// Who prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// google.golang.org/grpc.
    GrpcGo,
    /// The HTTP/2 of Go itself (golang.org/x/net/http2).
    GoHttp2,
    /// @grpc/grpc-js.
    GrpcJs,
    /// Node's own HTTP/2.
    Node,
    /// @connectrpc/connect.
    ConnectEs,
    /// io.grpc, with Netty or okhttp.
    GrpcJava,
    /// The C++ core: grpcio (Python), Ruby, C++, PHP.
    GrpcCore,
    /// The Rust crate h2 (tonic, hyper).
    H2,
    /// A response flag of Envoy's access log.
    EnvoyFlag,
    /// A response code detail of Envoy's access log.
    EnvoyDetail,
    /// A counter or gauge of Envoy.
    EnvoyStat,
    /// The text of an answer that Envoy makes itself.
    EnvoyAnswer,
    /// nginx.
    Nginx,
    /// haproxy.
    Haproxy,
    /// linkerd.
    Linkerd,
}

impl By {
    /// For people and for JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            By::GrpcGo => "grpc-go",
            By::GoHttp2 => "Go's HTTP/2",
            By::GrpcJs => "grpc-js",
            By::Node => "Node's HTTP/2",
            By::ConnectEs => "connect-es",
            By::GrpcJava => "grpc-java",
            By::GrpcCore => "grpc-core",
            By::H2 => "Rust's h2",
            By::EnvoyFlag => "Envoy flag",
            By::EnvoyDetail => "Envoy detail",
            By::EnvoyStat => "Envoy stat",
            By::EnvoyAnswer => "Envoy answer",
            By::Nginx => "nginx",
            By::Haproxy => "haproxy",
            By::Linkerd => "linkerd",
        }
    }
}

/// What is known of a text.
#[derive(Debug)]
pub struct Said {
    /// Who prints it.
    pub by: By,
    /// The text, in its variants. The first is the one to show.
    pub texts: &'static [&'static str],
    /// What it proves.
    pub proves: &'static str,
    /// What it does not prove.
    pub leaves_open: &'static str,
    /// The findings that it may come from, likeliest first.
    pub kinds: &'static [Kind],
}

/// All of them.
pub static SAID: &[&[Said]] = &[
    node::GRPC_JS,
    node::NODE,
    connect::CONNECT_ES,
    go::GRPC_GO,
    go::GO_HTTP2,
    java::GRPC_JAVA,
    other::GRPC_CORE,
    other::H2,
    envoy::DETAILS,
    envoy::ANSWERS,
    envoy_stats::STATS,
    envoy::FLAGS,
    other::NGINX,
    other::HAPROXY,
    other::LINKERD,
];
