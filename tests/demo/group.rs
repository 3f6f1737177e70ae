//! A server, a proxy in front of it, clients, and the tracer over all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use tracer_tests::call::{Call, Calls, Mode, failed_ids};
use tracer_tests::envoy::{Envoy, EnvoyOptions, Version};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::skip::{Need, Privileges};
use tracer_tests::trace::{Trace, call_ids};
use tracer_tests::tracer::Tracer;

/// How long one client may take.
const RUN: Duration = Duration::from_secs(180);
/// How long the tracer may take to tell of streams that have ended.
const SETTLE: Duration = Duration::from_secs(20);

/// The server's response was complete, and the client did not get all of it.
const CUT: [&str; 3] = [
    "proxy_truncated_complete_response",
    "proxy_dropped_trailers",
    "proxy_lost_bytes",
];

/// What stands behind the clients.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) envoy: Option<Version>,
    pub(crate) server: Peer,
    pub(crate) workers: u32,
    pub(crate) half_close: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) client: Peer,
    pub(crate) response_bytes: u32,
    pub(crate) at_once: u32,
    pub(crate) calls: u32,
}

/// What is not installed, if anything.
pub(crate) fn missing(parts: &Parts, jobs: &[Job]) -> Option<String> {
    Privileges
        .missing()
        .or_else(|| parts.server.missing())
        .or_else(|| parts.envoy.as_ref().and_then(Need::missing))
        .or_else(|| jobs.iter().find_map(|job| job.client.missing()))
}

/// The running parts; clients wait for their `go`.
pub(crate) struct Group {
    pub(crate) server: Server,
    pub(crate) envoy: Option<Envoy>,
    pub(crate) clients: Vec<Client>,
}

impl Group {
    pub(crate) fn start(parts: Parts, jobs: &[Job]) -> Group {
        let server = Server::start(parts.server, Listen::Ipv4, &[]);
        let envoy = parts.envoy.map(|version| {
            let options = EnvoyOptions {
                version,
                concurrency: parts.workers,
                half_close: parts.half_close,
                hide_ids: false,
            };
            Envoy::start(options, server.port())
        });
        let target = envoy
            .as_ref()
            .map_or(&server.address, |envoy| &envoy.address);
        let clients = jobs.iter().map(|job| start_client(*job, target)).collect();
        Group {
            server,
            envoy,
            clients,
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.clients.iter().map(Client::pid).collect();
        pids.extend(self.envoy.as_ref().map(Envoy::pid));
        pids.push(self.server.pid());
        pids
    }

    /// Lets the clients run one after the other; their channels stay open.
    pub(crate) fn run(&mut self) -> Vec<Vec<Call>> {
        let clients = self.clients.iter_mut();
        clients
            .map(|client| {
                client.go();
                client.wait_until_done(RUN)
            })
            .collect()
    }

    /// The tracer has told of all these calls, and ends.
    pub(crate) fn finish(&mut self, tracer: Tracer, calls: &[Vec<Call>]) -> Trace {
        for client in &mut self.clients {
            client.process.close_stdin();
        }
        for (client, calls) in self.clients.iter().zip(calls) {
            tracer.wait_for_streams(client.pid(), "client", calls.len(), SETTLE);
        }
        tracer.finish()
    }
}

pub(crate) fn start_client(job: Job, target: &str) -> Client {
    let mut calls = Calls::new(Mode::Unary, job.calls)
        .at_once(job.at_once)
        .bytes(16, job.response_bytes);
    // A little work between calls, as real clients have.
    calls.think_ms = 3;
    Client::start(job.client, target, &calls)
}

/// The client's word against h2trace's, by the ids of calls.
pub(crate) struct Compared {
    pub(crate) calls: usize,
    /// Reported as failed by the client.
    pub(crate) failed: BTreeSet<String>,
    /// Reported as a success, though at the client's own end the response came without its trailers.
    pub(crate) silent: BTreeSet<String>,
    /// The proxy was found to have cut them.
    pub(crate) flagged: BTreeSet<String>,
    /// Requests that were found at the proxy, and on both its sides.
    pub(crate) at_proxy: usize,
    pub(crate) joined: usize,
    /// Whether the proxy cut them could not be decided.
    pub(crate) undecided: usize,
    /// About which calls the two disagree, with what was seen at the client's own end.
    pub(crate) quarrels: Vec<String>,
}

impl Compared {
    pub(crate) fn new(trace: &Trace, client: u32, calls: &[Call]) -> Compared {
        let failed = failed_ids(calls);
        // connect-node before 1.5 says nothing when the whole message came, and then a reset with NO_ERROR or
        // END_STREAM on DATA in place of the trailers: the call lost its status all the same.
        let silent = call_ids(trace.streams_of(client, "client"), |stream| {
            stream.trailers() == Some(false) && matches!(stream.response_phase(), Some("Rb" | "R3"))
        });
        let silent = silent.difference(&failed).cloned().collect();
        let certain: BTreeSet<(u64, u64)> = trace
            .findings
            .iter()
            .filter(|found| CUT.contains(&found.kind()) && found.verdict() == "anomaly")
            .map(|found| (number(&found.0["conn"]), number(&found.0["stream_id"])))
            .collect();
        let mut compared = Compared {
            calls: calls.len(),
            failed,
            silent,
            flagged: BTreeSet::new(),
            at_proxy: 0,
            joined: 0,
            undecided: 0,
            quarrels: Vec::new(),
        };
        for hop in &trace.hops {
            if number(&hop.0["client"]["pid"]) != u64::from(client) {
                continue;
            }
            let down = hop.downstream();
            compared.at_proxy += 1;
            compared.joined += usize::from(!hop.upstream().is_empty());
            if !hop.findings().iter().any(|kind| CUT.contains(kind)) {
                continue;
            }
            match (
                certain.contains(&(down.connection(), down.stream_id())),
                down.call_id(),
            ) {
                (true, Some(id)) => drop(compared.flagged.insert(id.to_owned())),
                (true, None) | (false, _) => compared.undecided += 1,
            }
        }
        let broke = compared.broke();
        for id in compared.flagged.symmetric_difference(&broke) {
            let call = calls.iter().find(|call| call.id == *id);
            let mut at_client = trace.streams_of(client, "client");
            let stream = at_client.find(|stream| stream.call_id() == Some(id));
            let seen = stream.map_or_else(
                || "no stream".to_owned(),
                |stream| {
                    format!(
                        "response {}, trailers {:?}, {}",
                        stream.response_phase().unwrap_or("?"),
                        stream.trailers(),
                        stream.outcome()
                    )
                },
            );
            compared
                .quarrels
                .push(format!("{call:?}; at its end: {seen}"));
        }
        compared
    }

    /// What broke on the way: what the client reports, and what it took for a success.
    pub(crate) fn broke(&self) -> BTreeSet<String> {
        self.failed.union(&self.silent).cloned().collect()
    }

    /// Flagged, and nothing was wrong.
    pub(crate) fn wrong(&self) -> usize {
        self.flagged.difference(&self.broke()).count()
    }

    /// Broke, and was not flagged.
    pub(crate) fn missed(&self) -> usize {
        self.broke().difference(&self.flagged).count()
    }
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
