//! The table of call shapes: what happened, what h2trace said, at both ends.

use tracer_tests::call::{Call, Calls, Mode};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::require;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::{Stream, Trace};
use tracer_tests::tracer::Tracer;

use crate::{RUN, SETTLE};

/// What the calls of one row were, and what became of them.
struct Seen {
    trace: Trace,
    calls: Vec<Call>,
    client: u32,
    server: u32,
}

impl Seen {
    /// The streams of a call at the client's and at the server's end.
    fn both_ends(&self, call: &Call) -> [&Stream; 2] {
        [
            self.trace.stream_of_call(self.client, "client", &call.id),
            self.trace.stream_of_call(self.server, "server", &call.id),
        ]
    }

    /// Prints the table's row, and fails on any finding that says more than "expected".
    fn nothing_is_flagged(&self) {
        let flagged: Vec<_> =
            self.trace.flagged().into_iter().filter(|f| f.verdict() != "expected").collect();
        assert!(flagged.is_empty(), "{} findings, the first: {}", flagged.len(), flagged[0].0);
        self.trace.assert_lossless();
    }
}

/// Makes the calls of a row under the tracer. `peers` are client and server.
fn run(peers: (Peer, Peer), arguments: &[&str], calls: &Calls) -> Seen {
    let server = Server::start(peers.1, Listen::Ipv4, arguments);
    // The warm-up call opens the connection and loads the client's code, so that deadlines measure the call.
    let calls = Calls { warm: 1, mode: calls.mode, ..calls.clone() };
    let mut client = Client::start(peers.0, &server.address, &Calls { warm: 0, ..calls.clone() });
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
    client.go();
    let said = client.wait_until_done(RUN);
    client.close();
    tracer.wait_for_streams(client.pid(), "client", said.len(), SETTLE);
    tracer.wait_for_streams(server.pid(), "server", said.len(), SETTLE);
    let trace = tracer.finish();
    let seen = Seen { trace, calls: said, client: client.pid(), server: server.pid() };
    for stream in seen.trace.streams_of(seen.client, "client").take(1) {
        println!(
            "{:>14} -> {:<14} {:?}: {} {}/{} status {:?} resets {:?}",
            peers.0.name(),
            peers.1.name(),
            calls.mode,
            stream.outcome(),
            stream.request_phase().unwrap_or("?"),
            stream.response_phase().unwrap_or("?"),
            stream.grpc_status(),
            stream.resets()
        );
    }
    seen
}
