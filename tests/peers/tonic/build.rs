//! Client and server stubs of grpc.testing.TestService, without protoc: the messages are in src/messages.rs.

use tonic_build::manual::{Builder, Method, Service};

fn method(name: &str, route: &str, input: &str, output: &str, streams: (bool, bool)) -> Method {
    let mut method = Method::builder()
        .name(name)
        .route_name(route)
        .input_type(format!("crate::messages::{input}"))
        .output_type(format!("crate::messages::{output}"))
        .codec_path("tonic_prost::ProstCodec");
    if streams.0 {
        method = method.client_streaming();
    }
    if streams.1 {
        method = method.server_streaming();
    }
    method.build()
}

fn main() {
    let service = Service::builder()
        .name("TestService")
        .package("grpc.testing")
        .method(method(
            "empty_call",
            "EmptyCall",
            "Empty",
            "Empty",
            (false, false),
        ))
        .method(method(
            "unary_call",
            "UnaryCall",
            "SimpleRequest",
            "SimpleResponse",
            (false, false),
        ))
        .method(method(
            "streaming_output_call",
            "StreamingOutputCall",
            "StreamingOutputCallRequest",
            "StreamingOutputCallResponse",
            (false, true),
        ))
        .method(method(
            "streaming_input_call",
            "StreamingInputCall",
            "StreamingInputCallRequest",
            "StreamingInputCallResponse",
            (true, false),
        ))
        .method(method(
            "full_duplex_call",
            "FullDuplexCall",
            "StreamingOutputCallRequest",
            "StreamingOutputCallResponse",
            (true, true),
        ))
        .build();
    Builder::new().compile(&[service]);
    println!("cargo::rerun-if-changed=build.rs");
}
