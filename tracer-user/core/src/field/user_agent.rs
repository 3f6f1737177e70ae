//! Which library made a request, as far as its `user-agent` tells: a closed set.

/// The family of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UserAgent {
    GrpcNodeJs,
    GrpcGo,
    /// `grpc-java-netty` and the like.
    GrpcJava,
    /// `grpc-python`, `grpc-c++`, `grpc-c`, `grpc-ruby` and the like: those on the C core.
    GrpcCore,
    GrpcDotnet,
    /// `connect-es`, `connect-go` and the like.
    Connect,
    Tonic,
    Other,
    /// Absent, or not seen.
    #[default]
    Unknown,
}

impl UserAgent {
    pub const ALL: [UserAgent; 9] = [
        UserAgent::GrpcNodeJs,
        UserAgent::GrpcGo,
        UserAgent::GrpcJava,
        UserAgent::GrpcCore,
        UserAgent::GrpcDotnet,
        UserAgent::Connect,
        UserAgent::Tonic,
        UserAgent::Other,
        UserAgent::Unknown,
    ];

    /// The family of this value.
    #[must_use]
    pub fn of(value: &[u8]) -> UserAgent {
        // Applications write their own name before the library's.
        let has = |name: &[u8]| value.windows(name.len()).any(|part| part == name);
        if has(b"grpc-node-js") {
            UserAgent::GrpcNodeJs
        } else if has(b"grpc-go/") {
            UserAgent::GrpcGo
        } else if has(b"grpc-java") || has(b"grpc-kotlin") {
            UserAgent::GrpcJava
        } else if has(b"grpc-dotnet") {
            UserAgent::GrpcDotnet
        } else if has(b"connect-") {
            UserAgent::Connect
        } else if has(b"tonic/") {
            UserAgent::Tonic
        } else if has(b"grpc-python") || has(b"grpc-c") || has(b"grpc-ruby") {
            UserAgent::GrpcCore
        } else {
            UserAgent::Other
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            UserAgent::GrpcNodeJs => "grpc-node-js",
            UserAgent::GrpcGo => "grpc-go",
            UserAgent::GrpcJava => "grpc-java",
            UserAgent::GrpcCore => "grpc-core",
            UserAgent::GrpcDotnet => "grpc-dotnet",
            UserAgent::Connect => "connect",
            UserAgent::Tonic => "tonic",
            UserAgent::Other => "other",
            UserAgent::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_recognised() {
        for (value, want) in [
            ("grpc-node-js/1.12.6", "grpc-node-js"),
            ("my-app/2 grpc-go/1.70.0", "grpc-go"),
            ("grpc-java-netty/1.60", "grpc-java"),
            ("grpc-python/1.60 grpc-c/37.0 (linux; chttp2)", "grpc-core"),
            ("grpc-c++/1.60 grpc-c/37.0", "grpc-core"),
            ("connect-es/1.4.0", "connect"),
            ("tonic/0.14.9", "tonic"),
            ("curl/8.5", "other"),
            ("", "other"),
        ] {
            assert_eq!(UserAgent::of(value.as_bytes()).as_str(), want, "{value}");
        }
        assert_eq!(UserAgent::default().as_str(), "unknown");
    }
}
