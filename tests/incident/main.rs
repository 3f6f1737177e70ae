//! The reference incident with real parts: a server that answers early, Envoy that throws away what it still holds
//! when the reset comes, a client with a small connection window. h2trace must name exactly the calls that the
//! client reports as failed, show them complete on the upstream hop, and be silent in the controls.

mod below_shedding;
mod dumped;
mod flooded;
mod recorded;
mod reproduction;
mod traced;

use std::time::Duration;

use tracer_tests::call::{Calls, Mode};
use tracer_tests::envoy::{Envoy, EnvoyOptions, Version};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::scaled;

const ENVOY_1_36: Version = Version("1.36.2");
const ENVOY_1_37: Version = Version("1.37.0");
const ENVOY_1_40: Version = Version("1.40.0");

/// How long a run may take.
const RUN: Duration = Duration::from_secs(180);

/// How long the tracer may take to tell of streams that have ended.
const SETTLE: Duration = Duration::from_secs(10);

/// The parts of a run.
#[derive(Clone, Copy)]
struct Parts {
    envoy: Option<Version>,
    server: Peer,
    client: Peer,
    half_close: bool,
    workers: u32,
    response_bytes: u32,
    /// The proxy takes away what tells the calls apart.
    hide_ids: bool,
}

impl Parts {
    /// The incident as it was: 11 KB responses.
    const fn incident(envoy: Version, client: Peer) -> Self {
        Parts {
            envoy: Some(envoy),
            server: Peer::GrpcGo1_70,
            client,
            half_close: false,
            workers: 1,
            response_bytes: 11_000,
            hide_ids: false,
        }
    }
}

/// Server, proxy and client. A busy client is making calls, another waits.
struct IncidentRun {
    server: Server,
    envoy: Option<Envoy>,
    client: Client,
    n_calls: u32,
}

impl IncidentRun {
    fn start(parts: Parts, busy: bool) -> Self {
        let server = Server::start(parts.server, Listen::Ipv4, &[]);
        let envoy = parts.envoy.map(|version| {
            let options = EnvoyOptions {
                version,
                concurrency: parts.workers,
                half_close: parts.half_close,
                hide_ids: parts.hide_ids,
            };
            Envoy::start(options, server.port())
        });
        let target = envoy
            .as_ref()
            .map_or(&server.address, |envoy| &envoy.address);
        let n_calls = scaled(500, 2_000);
        let mut calls = Calls::new(Mode::Unary, n_calls)
            .at_once(50)
            .bytes(16, parts.response_bytes);
        (calls.think_ms, calls.busy) = (3, busy);
        let client = Client::start(parts.client, target, &calls);
        IncidentRun {
            server,
            envoy,
            client,
            n_calls,
        }
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.server.pid(), self.client.pid()];
        pids.extend(self.envoy.as_ref().map(Envoy::pid));
        pids
    }
}
