//! What broke on one hop.

use std::collections::BTreeMap;

use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
use h2trace_core::connection::Endpoint;
use h2trace_core::event::Address;
use h2trace_core::limits::{self, Limit};
use h2trace_core::pipeline::ConnectionInfo;

use super::report::{CaseReport, Process};
use super::{hit, process};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaseEnd {
    pub(super) process: Option<Process>,
    pub(super) address: Address,
}

/// What is told together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CaseKey {
    verdict: Verdict,
    kind: Kind,
    /// Who caused it: 0 client, 1 server, 2 not known.
    sender: usize,
    server: String,
}

/// A stream or connection that broke, as one end saw it.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    key: CaseKey,
    role: Option<Endpoint>,
    client: CaseEnd,
    server: CaseEnd,
    summary: String,
}

impl Broken {
    pub(super) fn new(info: &ConnectionInfo, finding: &Finding) -> Self {
        let own = process(info);
        let other = CaseEnd {
            process: None,
            address: info.peer.clone(),
        };
        let (client, server) = match info.role {
            Some(Endpoint::Server) => (other, own),
            Some(Endpoint::Client) | None => (own, other),
        };
        Broken {
            key: CaseKey {
                verdict: finding.verdict,
                kind: finding.kind,
                sender: finding.sender.map_or(2, Endpoint::index),
                server: server.address.to_string(),
            },
            role: info.role,
            client,
            server,
            summary: finding.summary.clone(),
        }
    }
}

/// How often, and between whom.
#[derive(Clone, Debug)]
pub(super) struct Case {
    sender: Option<Endpoint>,
    at_client: u64,
    at_server: u64,
    client: Option<Process>,
    server: Option<Process>,
    several_clients: bool,
    summary: String,
}

impl Case {
    fn count(&mut self, broken: Broken) {
        match broken.role {
            Some(Endpoint::Server) => self.at_server += 1,
            Some(Endpoint::Client) | None => self.at_client += 1,
        }
        if let Some(client) = broken.client.process {
            self.several_clients |= self.client.as_ref().is_some_and(|known| *known != client);
            self.client.get_or_insert(client);
        }
        if let Some(server) = broken.server.process {
            self.server.get_or_insert(server);
        }
    }

    pub(super) fn report(self, key: CaseKey) -> CaseReport {
        CaseReport {
            kind: key.kind,
            verdict: key.verdict,
            sender: self.sender,
            at_client: self.at_client,
            at_server: self.at_server,
            client: self.client,
            several_clients: self.several_clients,
            server: self.server,
            server_address: key.server,
            server_is_proxy: false,
            server_speaks: None,
            example: self.summary,
        }
    }
}

pub(super) fn add(
    cases: &mut BTreeMap<CaseKey, Case>,
    broken: Broken,
    hits: &mut BTreeMap<Limit, u64>,
) {
    if cases.len() >= limits::DIAGNOSIS_CASES && !cases.contains_key(&broken.key) {
        return hit(hits, Limit::DiagnosisCases);
    }
    let case = cases.entry(broken.key.clone()).or_insert_with(|| Case {
        sender: match broken.key.sender {
            0 => Some(Endpoint::Client),
            1 => Some(Endpoint::Server),
            _ => None,
        },
        at_client: 0,
        at_server: 0,
        client: None,
        server: None,
        several_clients: false,
        summary: broken.summary.clone(),
    });
    case.count(broken);
}
