//! One run: server, proxy, client, tracer; and what is said about it, against what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracer_tests::call::{Call, Calls, failed_ids};
use tracer_tests::envoy::{self, Envoy};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::proxy::{self, Proxy};
use tracer_tests::trace::{Hop, Stream, Trace};
use tracer_tests::tracer::Tracer;

/// How long a run may take.
pub(crate) const RUN: Duration = Duration::from_secs(120);

/// How long the tracer may take to tell of streams that have ended.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

/// The field that the join leaves out of account.
pub(crate) const NOT_COMPARED: &str = "x-forwarded-call";

/// Another one, whose name a tracer knows that comes late: it is in HPACK's static table.
pub(crate) const HIDDEN: &str = "via";

/// A field that tests can read a call's id from, on either hop.
const ID_FIELDS: [&str; 5] = ["x-call-id", "x-other-id", NOT_COMPARED, HIDDEN, "from"];

/// Envoy, told to pass the id on under another name and with another value.
const OTHER_ID: &str =
    "request_headers_to_add: [{ header: { key: x-other-id, value: \"other-%REQ(x-call-id)%\" } }]";

/// What the join can go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// The id passes unchanged.
    Plain,
    /// It has another name and value upstream.
    Renamed,
    /// All requests are the same but for a field that is not compared.
    Alike,
}

/// The proxy of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Packaged(proxy::ProxyKind),
    Envoy(envoy::Version),
    /// `httputil.ReverseProxy`.
    GoReverseProxy,
}

/// A proxy that runs.
pub(crate) enum Running {
    Packaged(Proxy),
    Envoy(Envoy),
    Go(Server),
}

impl Which {
    pub(crate) fn name(self) -> String {
        match self {
            Which::Packaged(kind) => kind.program().0.to_owned(),
            Which::Envoy(version) => format!("envoy {}", version.0),
            Which::GoReverseProxy => "Go's ReverseProxy".to_owned(),
        }
    }

    pub(crate) fn start(self, workers: u32, ids: Ids, upstream: u16) -> Running {
        let rename = ids == Ids::Renamed;
        match self {
            Which::Packaged(kind) => {
                let options = proxy::ProxyOptions {
                    kind,
                    workers,
                    rename,
                    read_timeout_s: proxy::READ_TIMEOUT_S,
                };
                Running::Packaged(Proxy::start(options, upstream))
            }
            Which::Envoy(version) => {
                let options = envoy::EnvoyOptions {
                    version,
                    concurrency: workers,
                    half_close: false,
                    hide_ids: rename,
                };
                let mut more = envoy::More::default();
                if rename {
                    more.route = OTHER_ID;
                }
                Running::Envoy(Envoy::with(options, &more, upstream))
            }
            Which::GoReverseProxy => {
                assert!(!rename, "it is not told to rename a field");
                Running::Go(Server::proxy(Peer::GrpcGo1_85, upstream))
            }
        }
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Running::Packaged(proxy) => proxy.pid(),
            Running::Envoy(envoy) => envoy.pid(),
            Running::Go(proxy) => proxy.pid(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        match self {
            Running::Packaged(proxy) => &proxy.address,
            Running::Envoy(envoy) => &envoy.address,
            Running::Go(proxy) => &proxy.address,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self.address().rsplit(':').next();
        port.and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("{} has no port", self.address()))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) proxy: Which,
    pub(crate) workers: u32,
    pub(crate) ids: Ids,
    pub(crate) server: Peer,
    pub(crate) client: Peer,
    pub(crate) calls: Calls,
}

/// What came out of it.
pub(crate) struct Outcome {
    pub(crate) trace: Trace,
    pub(crate) calls: Vec<Call>,
    pub(crate) proxy: u32,
}

/// The id of the call that a stream carries.
pub(crate) fn id(stream: &Stream) -> Option<&str> {
    let headers = stream.0.get("headers")?;
    let value = ID_FIELDS
        .iter()
        .find_map(|name| headers.get(*name)?.as_str())?;
    Some(value.strip_prefix("other-").unwrap_or(value))
}

impl Setup {
    /// Runs it under the tracer.
    #[track_caller]
    pub(crate) fn run(&self) -> Outcome {
        self.run_until(|tracer, [_, proxy, _], n| {
            tracer.wait_for_streams(proxy, "server", n, SETTLE);
            tracer.wait_for_streams(proxy, "client", n, SETTLE);
        })
    }

    /// The same, where nothing is decoded at the proxy.
    #[track_caller]
    pub(crate) fn run_around(&self) -> Outcome {
        self.run_until(|tracer, [client, _, server], n| {
            tracer.wait_for_streams(client, "client", n, SETTLE);
            tracer.wait_for_streams(server, "server", n, SETTLE);
        })
    }

    /// `wait`: for what is to be seen of so many calls, at client, proxy and server.
    #[track_caller]
    fn run_until(&self, wait: impl FnOnce(&Tracer, [u32; 3], usize)) -> Outcome {
        let mut calls = self.calls.clone();
        if self.ids == Ids::Alike {
            calls.id_field = Some(NOT_COMPARED);
        }
        let server = Server::start(self.server, Listen::Ipv4, &[]);
        let proxy = self.proxy.start(self.workers, self.ids, server.port());
        let mut client = Client::start(self.client, proxy.address(), &calls);
        let pids = [client.pid(), proxy.pid(), server.pid()];
        let tracer = Tracer::showing(&pids, &ID_FIELDS[1..3]);
        client.go();
        let calls = client.wait_until_done(RUN);
        wait(&tracer, pids, calls.len());
        client.close();
        let trace = tracer.finish();
        Outcome {
            trace,
            calls,
            proxy: proxy.pid(),
        }
    }
}

/// How the requests of a run were joined.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Calls that the client made.
    pub(crate) calls: usize,
    /// Those that failed there.
    pub(crate) failed: usize,
    /// Requests with an upstream stream, and certain of it.
    pub(crate) surely: usize,
    /// Requests with an upstream stream that may be another one's, and it says so.
    pub(crate) ambiguous: usize,
    /// Requests without one, though the server got the call.
    pub(crate) not: usize,
    /// Certain, and wrong.
    pub(crate) wrong: usize,
    /// What they were joined by.
    pub(crate) by: BTreeMap<String, usize>,
}

impl Outcome {
    /// What the trace says of requests at the proxy.
    pub(crate) fn hops(&self) -> impl Iterator<Item = &Hop> {
        let proxy = self.proxy;
        self.trace
            .hops
            .iter()
            .filter(move |hop| hop.proxy() == proxy)
    }

    /// Compares the join with what is known.
    #[track_caller]
    pub(crate) fn joined(&self) -> Joined {
        let mut joined = Joined {
            calls: self.calls.len(),
            failed: failed_ids(&self.calls).len(),
            ..Joined::default()
        };
        let passed_on: BTreeSet<_> = self
            .trace
            .streams_of(self.proxy, "client")
            .filter_map(|stream| id(stream).map(str::to_owned))
            .collect();
        let mut told = BTreeSet::new();
        for hop in self.hops() {
            let downstream = hop.downstream();
            let of = id(&downstream).unwrap_or_else(|| panic!("no id: {}", downstream.0));
            assert!(told.insert(of.to_owned()), "two requests with the id {of}");
            let upstream = hop.upstream();
            if upstream.is_empty() {
                continue;
            }
            let by = hop.0["join"]["by"].as_str().unwrap_or_default();
            *joined.by.entry(by.to_owned()).or_default() += 1;
            if hop.confidence() == Some("ambiguous") {
                joined.ambiguous += 1;
                continue;
            }
            joined.surely += 1;
            if upstream.iter().any(|stream| id(stream) != Some(of)) {
                joined.wrong += 1;
                println!("wrong: {}", hop.0);
            }
        }
        joined.not = passed_on.len() - joined.surely.min(passed_on.len());
        joined.not -= joined.ambiguous.min(joined.not);
        joined
    }

    /// Findings that say more than "benign", by kind.
    pub(crate) fn flagged(&self) -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for finding in self.trace.flagged() {
            *kinds.entry(finding.kind()).or_default() += 1;
        }
        kinds
    }

    /// Calls whose request at the proxy has a finding of one of these kinds.
    pub(crate) fn found(&self, kinds: &[&str]) -> BTreeSet<String> {
        let hops = self.hops();
        let with = hops.filter(|hop| hop.findings().iter().any(|kind| kinds.contains(kind)));
        with.filter_map(|hop| id(&hop.downstream()).map(str::to_owned))
            .collect()
    }

    /// Calls whose stream to the client was reset after the whole response, other than by NO_ERROR.
    pub(crate) fn reset_after_response(&self) -> BTreeSet<String> {
        let findings = self.trace.flagged();
        let reset: Vec<_> = findings
            .iter()
            .filter(|finding| finding.kind() == "reset_after_response")
            .collect();
        self.trace
            .streams_of(self.proxy, "server")
            .filter(|stream| reset.iter().any(|finding| finding.is_about(stream)))
            .filter_map(|stream| {
                println!("reset after the response: {:?}", stream.resets());
                id(stream).map(str::to_owned)
            })
            .collect()
    }

    /// A line of the table.
    pub(crate) fn print(&self, name: &str, joined: &Joined) {
        println!(
            "TABLE {name}: {} calls, {} failed; {} joined, {} ambiguous, {} not, {} wrong, by {:?}; flagged {:?}",
            joined.calls,
            joined.failed,
            joined.surely,
            joined.ambiguous,
            joined.not,
            joined.wrong,
            joined.by,
            self.flagged()
        );
    }
}
