//! What broke in a run, where, and what to change: gathered from all outputs, in bounded memory.
//!
//! A diagnosis says no more than was seen. What broke at a proxy is told where both its sides were joined;
//! the streams of its two hops that are symptoms of it are not told again. What broke on one hop alone is
//! told with the ends of that hop, and with what can not be known of what is behind it.

mod advice;
mod case;
mod proxy;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
use h2trace_core::connection::{ConnectionId, Endpoint};
use h2trace_core::event::{Address, OtherProtocol};
use h2trace_core::frame::StreamId;
use h2trace_core::hop::{Ended, Hop, ProxyKey, early_response, ended};
use h2trace_core::limits::{self, Limit};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd, Output, Protocol, Sink};
use h2trace_core::stream::record::{Outcome, StreamRecord};

use self::case::{Broken, Case, CaseEnd, CaseKey};
use self::proxy::ProxyCase;
pub use self::report::{
    Advice, AdviceAt, Agent, CaseReport, Codes, Cut, Directly, Example, Process, ProxyEnd,
    ProxyReport, Report,
};

type StreamKey = (ConnectionId, StreamId);
type ProxyCaseKey = (ProxyKey, Option<ProxyKey>);

/// A connection end, and what became of its streams.
#[derive(Debug)]
struct Conn {
    pid: u32,
    role: Endpoint,
    client: Option<SocketAddr>,
    server: Option<SocketAddr>,
    /// A proxy's stream to a server was found on it.
    proxied: bool,
    n_streams: u64,
    n_broken: u64,
}

/// Gathers what a run says.
#[derive(Debug, Default)]
pub struct Diagnosis {
    n_streams: u64,
    n_unknown: u64,
    n_anomalies: u64,
    /// Responses that were complete before their request, at clients' ends and at servers'.
    n_early: [u64; 2],
    /// By what broke requests; of two where it is not known which it was, both.
    proxies: BTreeMap<ProxyCaseKey, ProxyCase>,
    connections: BTreeMap<ConnectionId, Conn>,
    /// Broken streams that nothing explains yet.
    waiting: BTreeMap<StreamKey, Broken>,
    /// Streams that are explained, and had not ended at this end.
    explained: BTreeSet<StreamKey>,
    cases: BTreeMap<CaseKey, Case>,
    /// What processes speak towards servers that is not followed.
    unfollowed: BTreeMap<u32, OtherProtocol>,
    /// The same of hosts, in a file that knows no processes.
    unfollowed_hosts: BTreeMap<IpAddr, OtherProtocol>,
    /// Connections whose beginning was not seen, and of which it stayed unknown what they speak.
    n_undecided: u64,
    /// Times that something was not captured or could not be read.
    n_losses: u64,
    hits: BTreeMap<Limit, u64>,
}

impl Diagnosis {
    /// Anomalies so far: when this rises, there is something new to say.
    #[must_use]
    pub fn n_anomalies(&self) -> u64 {
        self.n_anomalies
    }

    /// What can be said so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut cases = self.cases.clone();
        let mut hits = self.hits.clone();
        for broken in self.waiting.values() {
            case::add(&mut cases, broken.clone(), &mut hits);
        }
        let mut cases: Vec<CaseReport> = cases
            .into_iter()
            .map(|(key, case)| case.report(key))
            .collect();
        for case in &mut cases {
            case.server_is_proxy = self.is_proxy(&case.server_address);
            let pid = case.server.as_ref().and_then(|server| server.pid);
            let host = case.server_address.parse::<SocketAddr>().ok();
            let of_host = host.and_then(|host| self.unfollowed_hosts.get(&host.ip()));
            let of_process = pid.and_then(|pid| self.unfollowed.get(&pid));
            case.server_speaks = of_process.or(of_host.filter(|_| pid.is_none())).copied();
        }
        cases.sort_by_key(|case| std::cmp::Reverse((case.rank(), case.streams())));
        let mut proxies: Vec<ProxyReport> = self
            .proxies
            .iter()
            .map(|((key, _), case)| case.report(self.directly(*key, case)))
            .collect();
        proxies.sort_by_key(|proxy| std::cmp::Reverse(proxy.cut.responses));
        Report {
            streams: self.n_streams,
            unknown: self.n_unknown,
            anomalies: self.n_anomalies,
            early_responses: self.n_early.into_iter().max().unwrap_or(0),
            undecided_connections: self.n_undecided,
            losses: self.n_losses,
            proxies,
            cases,
            limit_hits: hits
                .into_iter()
                .map(|(limit, n)| (limit.label(), n))
                .collect(),
        }
    }

    /// The address is that of a host which passes requests on.
    fn is_proxy(&self, address: &str) -> bool {
        let address = address.parse::<SocketAddr>();
        address.is_ok_and(|address| {
            let is_host = |(key, other): &ProxyCaseKey| {
                let mut keys = [Some(*key), *other].into_iter().flatten();
                keys.any(|key| matches!(key, ProxyKey::Host(ip, _) if ip == address.ip()))
            };
            self.proxies.keys().any(is_host)
        })
    }

    /// Requests that the servers of a proxy answered without it. None: there were none, or not all are known.
    fn directly(&self, key: ProxyKey, case: &ProxyCase) -> Option<Directly> {
        let ProxyKey::Process(pid) = key else {
            return None;
        };
        if self.hits.contains_key(&Limit::DiagnosisConnections) {
            return None;
        }
        let own: BTreeSet<SocketAddr> = self
            .connections
            .values()
            .filter(|conn| conn.pid == pid && conn.role == Endpoint::Client)
            .filter_map(|conn| conn.client)
            .collect();
        let count = |role| {
            let direct = self.connections.values().filter(|conn| {
                let answers = conn
                    .server
                    .is_some_and(|server| case.servers.contains(&server));
                let of_proxy = conn.pid == pid || conn.client.is_some_and(|at| own.contains(&at));
                conn.role == role && answers && !of_proxy && !conn.proxied
            });
            direct.fold((0, 0), |(n, broken), conn| {
                (n + conn.n_streams, broken + conn.n_broken)
            })
        };
        // Where both ends are followed, each request is counted at both.
        let (requests, broken) = count(Endpoint::Client).max(count(Endpoint::Server));
        (requests > 0).then_some(Directly { requests, broken })
    }

    fn stream(&mut self, info: &ConnectionInfo, record: &StreamRecord, findings: &[Finding]) {
        self.n_streams += 1;
        if record.outcome == Outcome::Unknown {
            self.n_unknown += 1;
        }
        let n_anomalies = count_of(findings, Verdict::Anomaly);
        self.n_anomalies += n_anomalies;
        if let Some(role) = info.role {
            self.count(info, role, n_anomalies > 0);
            if early_response(record)
                && let Some(n) = self.n_early.get_mut(role.index())
            {
                *n += 1;
            }
        }
        let worst = findings.iter().fold(None::<&Finding>, |worst, finding| {
            worst
                .filter(|worst| worst.verdict >= finding.verdict)
                .or(Some(finding))
        });
        let Some(worst) = worst.filter(|worst| worst.verdict >= Verdict::Suspicious) else {
            return;
        };
        let key = (record.connection, record.stream_id);
        if self.explained.remove(&key) {
            return;
        }
        if self.waiting.len() >= limits::DIAGNOSIS_WAITING
            && let Some((_, oldest)) = self.waiting.pop_first()
        {
            hit(&mut self.hits, Limit::DiagnosisWaiting);
            case::add(&mut self.cases, oldest, &mut self.hits);
        }
        self.waiting.insert(key, Broken::new(info, worst));
    }

    /// Of connections that are not followed.
    fn connection(&mut self, info: &ConnectionInfo) {
        let protocol = match info.protocol {
            Protocol::Undecided(_) | Protocol::Other(OtherProtocol::Other) => {
                self.n_undecided += u64::from(!info.beginning_seen);
                return;
            }
            Protocol::Http2 | Protocol::Unseen(_) => return,
            Protocol::Other(protocol) => protocol,
        };
        if info.role == Some(Endpoint::Client)
            && info.pid == 0
            && let Address::Inet(address) = &info.local
        {
            if self.unfollowed_hosts.len() < limits::DIAGNOSIS_CONNECTIONS {
                self.unfollowed_hosts.insert(address.ip(), protocol);
            } else {
                hit(&mut self.hits, Limit::DiagnosisConnections);
            }
        }
        if info.role == Some(Endpoint::Client) && info.pid != 0 {
            if self.unfollowed.len() < limits::DIAGNOSIS_CONNECTIONS {
                self.unfollowed.insert(info.pid, protocol);
            } else {
                hit(&mut self.hits, Limit::DiagnosisConnections);
            }
        }
    }

    fn count(&mut self, info: &ConnectionInfo, role: Endpoint, broken: bool) {
        if self.connections.len() >= limits::DIAGNOSIS_CONNECTIONS
            && !self.connections.contains_key(&info.id)
        {
            hit(&mut self.hits, Limit::DiagnosisConnections);
            return;
        }
        let inet = |address: &Address| match address {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) | Address::Unknown => None,
        };
        let (client, server) = match role {
            Endpoint::Client => (inet(&info.local), inet(&info.peer)),
            Endpoint::Server => (inet(&info.peer), inet(&info.local)),
        };
        let conn = self.connections.entry(info.id).or_insert(Conn {
            pid: info.pid,
            role,
            client,
            server,
            proxied: false,
            n_streams: 0,
            n_broken: 0,
        });
        conn.n_streams += 1;
        conn.n_broken += u64::from(broken);
    }

    fn hop(&mut self, request: &Hop<HopEnd>, findings: &[Finding]) {
        self.n_anomalies += count_of(findings, Verdict::Anomaly);
        for attempt in &request.upstream {
            let peer = attempt.stream.as_ref().and_then(|s| s.tag.peer.as_ref());
            for id in [Some(attempt.connection), peer.map(|peer| peer.id)] {
                if let Some(conn) = id.and_then(|id| self.connections.get_mut(&id)) {
                    conn.proxied = true;
                }
            }
        }
        let worst = findings.iter().map(|finding| finding.verdict).max();
        let up = request.serving().and_then(|attempt| attempt.record());
        // What came broken from the server is told of the server's hop, not of the client's as well.
        let passed_on = up.is_some_and(|up| ended(up) == Ended::ByServer);
        if worst >= Some(Verdict::Suspicious) || passed_on {
            let down = &request.downstream;
            let peer = down.tag.peer.as_ref().map(|peer| peer.id);
            for id in [Some(down.record.connection), peer].into_iter().flatten() {
                self.explain((id, down.record.stream_id));
            }
        }
        if findings.iter().any(|found| found.kind == Kind::ProxyGaveUp) {
            // How it ended the streams to servers is a symptom too, and no client's doing.
            for attempt in &request.upstream {
                let peer = attempt.stream.as_ref().and_then(|s| s.tag.peer.as_ref());
                self.waiting
                    .remove(&(attempt.connection, attempt.stream_id));
                if let Some(peer) = peer {
                    self.explain((peer.id, attempt.stream_id));
                }
            }
        }
        let key = proxy::key(request);
        let is_known = self.proxies.contains_key(&key);
        if !is_known && request.upstream.is_empty() && !request.passes_on {
            // Whether it passes anything on is not known.
            return;
        }
        if !is_known && self.proxies.len() >= limits::DIAGNOSIS_PROXIES {
            hit(&mut self.hits, Limit::DiagnosisProxies);
            return;
        }
        let case = self
            .proxies
            .entry(key)
            .or_insert_with(|| ProxyCase::new(request));
        case.count(request, findings, &mut self.hits);
    }

    fn explain(&mut self, key: StreamKey) {
        if self.waiting.remove(&key).is_some() {
            return;
        }
        if self.explained.len() >= limits::DIAGNOSIS_WAITING {
            self.explained.pop_first();
            hit(&mut self.hits, Limit::DiagnosisWaiting);
        }
        self.explained.insert(key);
    }
}

impl Sink for Diagnosis {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Stream {
                info,
                record,
                findings,
            } => self.stream(info, record, findings),
            Output::Hop { request, findings } => self.hop(request, findings),
            Output::Finding { info, finding } => {
                if finding.verdict == Verdict::Anomaly {
                    self.n_anomalies += 1;
                }
                if finding.verdict >= Verdict::Suspicious {
                    case::add(&mut self.cases, Broken::new(info, finding), &mut self.hits);
                }
            }
            Output::Connection(info) => self.connection(info),
            Output::Loss(_) => self.n_losses += 1,
            Output::Lone(_)
            | Output::ConnectionEnded { .. }
            | Output::BytesUnseen { .. }
            | Output::StreamOpened { .. }
            | Output::GoAway { .. }
            | Output::Frame { .. } => {}
        }
    }
}

fn count_of(findings: &[Finding], verdict: Verdict) -> u64 {
    let n = findings.iter().filter(|f| f.verdict == verdict).count();
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A bound of the diagnosis was reached.
fn hit(hits: &mut BTreeMap<Limit, u64>, limit: Limit) {
    *hits.entry(limit).or_default() += 1;
}

/// The process at the observed end of a connection, and its address there.
fn process(info: &ConnectionInfo) -> CaseEnd {
    CaseEnd {
        process: Process::of(info),
        address: info.local.clone(),
    }
}
