//! Each pair of peers at 1, 50 and 1000 calls in flight: as many streams as calls at both ends, every status the
//! client's, no finding, no loss.

use std::collections::BTreeMap;

use tracer_tests::call::{Calls, Mode};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::skip::Privileges;
use tracer_tests::tracer::Tracer;
use tracer_tests::{require, scaled};

use crate::{RUN, SETTLE};

fn counted(client: Peer, server: Peer, listen: Listen) {
    require!(Privileges, client, server);
    for (concurrency, calls) in [
        (1, scaled(50, 1_000)),
        (50, scaled(500, 5_000)),
        (1_000, scaled(2_000, 20_000)),
    ] {
        counted_at(
            client,
            server,
            listen,
            &Calls::new(Mode::Unary, calls).at_once(concurrency),
        );
    }
}

fn counted_at(client: Peer, server: Peer, listen: Listen, calls: &Calls) {
    let mut server = Server::start(server, listen, &[]);
    let mut client = Client::start(client, &server.address, calls);
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
    client.go();
    let said = client.wait_until_done(RUN);
    client.close();
    let (at_client, at_server) = (client.pid(), server.pid());
    tracer.wait_for_streams(at_client, "client", said.len(), SETTLE);
    tracer.wait_for_streams(at_server, "server", said.len(), SETTLE);
    let handled = server.stop();
    let trace = tracer.finish();

    trace.assert_lossless();
    let what = format!("at {} calls in flight", calls.concurrency);
    let failed: Vec<_> = said.iter().filter(|call| call.code != 0).collect();
    assert!(
        failed.is_empty(),
        "{what}: {} calls failed: {:?}",
        failed.len(),
        failed[0]
    );
    assert_eq!(
        handled,
        said.len() as u64,
        "{what}: calls that the server handled"
    );
    for (pid, role) in [(at_client, "client"), (at_server, "server")] {
        let n_streams = trace.streams_of(pid, role).count();
        assert_eq!(n_streams, said.len(), "{what}: streams at the {role}'s end");
        let mut statuses = BTreeMap::new();
        for stream in trace.streams_of(pid, role) {
            let id = stream
                .call_id()
                .unwrap_or_else(|| panic!("no call id: {}", stream.0));
            statuses.insert(id.to_owned(), stream.grpc_status());
            assert_eq!(stream.outcome(), "ok", "{what}: {}", stream.0);
            assert_eq!(stream.response_phase(), Some("R3"), "{what}: {}", stream.0);
        }
        let want: BTreeMap<_, _> = said
            .iter()
            .map(|call| (call.id.clone(), Some(u64::from(call.code))))
            .collect();
        assert!(
            statuses == want,
            "{what}: ids or statuses differ at the {role}'s end"
        );
    }
    trace.assert_healthy();
}

macro_rules! pairs {
    ($($name:ident: $client:ident -> $server:ident, $listen:ident;)+) => {
        $(#[test]
        fn $name() {
            counted(Peer::$client, Peer::$server, Listen::$listen);
        })+
    };
}

pairs! {
    grpc_go_calls_grpc_go: GrpcGo1_85 -> GrpcGo1_85, Ipv4;
    grpc_go_calls_grpc_go_over_ipv6: GrpcGo1_85 -> GrpcGo1_85, Ipv6;
    grpc_go_calls_grpc_go_over_a_unix_socket: GrpcGo1_85 -> GrpcGo1_85, Unix;
    old_grpc_go_calls_old_grpc_go: GrpcGo1_70 -> GrpcGo1_70, Ipv4;
    old_grpc_js_calls_old_grpc_go_which_resets_early: GrpcJs1_12 -> GrpcGo1_70, Ipv4;
    old_grpc_js_calls_grpc_go: GrpcJs1_12 -> GrpcGo1_85, Ipv4;
    grpc_js_calls_grpc_js: GrpcJs1_14 -> GrpcJs1_14, Ipv4;
    grpc_js_calls_tonic_over_a_unix_socket: GrpcJs1_14 -> Tonic, Unix;
    connect_node_calls_grpc_go: ConnectNode -> GrpcGo1_85, Ipv4;
    connect_node_calls_grpc_java: ConnectNode -> GrpcJava, Ipv4;
    grpcio_calls_grpcio: Grpcio -> Grpcio, Ipv4;
    grpcio_calls_grpc_go_over_a_unix_socket: Grpcio -> GrpcGo1_85, Unix;
    grpc_java_calls_grpc_java: GrpcJava -> GrpcJava, Ipv4;
    grpc_java_calls_grpc_java_over_a_unix_socket: GrpcJava -> GrpcJava, Unix;
    grpc_java_calls_grpcio: GrpcJava -> Grpcio, Ipv4;
    tonic_calls_tonic: Tonic -> Tonic, Ipv4;
    tonic_calls_grpc_java_over_ipv6: Tonic -> GrpcJava, Ipv6;
    grpc_go_calls_grpc_js: GrpcGo1_85 -> GrpcJs1_14, Ipv4;
    grpcio_calls_tonic: Grpcio -> Tonic, Ipv4;
}
