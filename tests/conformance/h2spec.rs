//! h2spec against servers, case by case: each runs on a connection of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tracer_tests::process::Process;
use tracer_tests::require;
use tracer_tests::skip::{Need as _, Privileges, say};
use tracer_tests::trace::{Finding, Trace};
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, scaled};

use crate::cases::{self, Case, Expected};
use crate::peers::{Suite, Tested, conformance};
use crate::{RUN, SETTLE, table};

/// What the suite says of a case, and what h2trace says of its connection.
pub(crate) struct SpecOutcome {
    pub(crate) case: Case,
    /// What the case does.
    pub(crate) what: String,
    /// The server did as the suite asks; None when the suite skipped the case.
    pub(crate) passed: Option<bool>,
    pub(crate) findings: Vec<Finding>,
    /// What its connection is told to speak.
    protocol: String,
    /// What could not be seen or decoded on it.
    losses: Vec<Value>,
}

impl SpecOutcome {
    /// What is wrong with what h2trace said.
    pub(crate) fn fault(&self, server: Tested) -> Option<String> {
        let expected = self.case.expected(server);
        let told: Vec<String> = self.findings.iter().map(told).collect();
        let of = |finding: &&Finding, author: &str| finding.0["sender"].as_str() == Some(author);
        let named = |kinds: &[&str], author: &str| {
            let mut findings = self.findings.iter();
            findings.any(|finding| kinds.contains(&finding.kind()) && of(&finding, author))
        };
        let only = |kinds: &[&str], author: &str| {
            let mut findings = self.findings.iter();
            findings.all(|finding| kinds.contains(&finding.kind()) && of(&finding, author))
        };
        let fault = match expected {
            _ if self.passed.is_none() => return None,
            Expected::Broken(kinds) if !named(kinds, "client") => {
                Some("the violation is not told of the client")
            }
            Expected::Broken(_) => {
                let blamed = self.findings.iter().any(|finding| of(&finding, "server"));
                blamed.then_some("the server is blamed too")
            }
            Expected::Legal(_) if !self.losses.is_empty() && !self.case.has_long_block() => {
                Some("something was lost")
            }
            Expected::Legal(kinds) => (!only(kinds, "client")).then_some("nothing was wrong"),
            Expected::Refused(_) if only(cases::LEAVES, "client") => None,
            Expected::Refused(kinds) => {
                (!only(kinds, "server")).then_some("the server alone does wrong")
            }
            Expected::Foreign => (self.protocol != "other" || !only(&["not_http2"], "client"))
                .then_some("it is not told as another protocol"),
        };
        fault.map(|fault| {
            format!(
                "{}, {} ({}): {fault}: {}",
                server.name(),
                self.case.id,
                self.what,
                told.join("; ")
                    + &self
                        .losses
                        .iter()
                        .map(|loss| format!("; {loss}"))
                        .collect::<String>()
            )
        })
    }
}

fn told(finding: &Finding) -> String {
    let summary = finding.0["summary"].as_str().unwrap_or_default();
    let sender = finding.0["sender"].as_str().unwrap_or("nobody");
    format!("{} by the {sender} ({summary})", finding.kind())
}

#[test]
fn violations_of_h2spec_are_told_of_their_author() {
    require!(Privileges, Suite("conformance"));
    let wanted: Vec<Case> = scaled(cases::small(), cases::ALL.to_vec());
    let (mut outcomes, mut faults) = (Vec::new(), Vec::new());
    for server in Tested::ALL {
        if let Some(missing) = server.missing() {
            say(&missing);
            continue;
        }
        let of_server = run(server, &wanted);
        faults.extend(of_server.iter().filter_map(|outcome| outcome.fault(server)));
        outcomes.push((server, of_server));
    }
    table::write("h2spec", &table::h2spec(&outcomes));
    assert!(
        faults.is_empty(),
        "{} wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn run(server: Tested, wanted: &[Case]) -> Vec<SpecOutcome> {
    let running = server.start();
    let tracer = Tracer::start(&[running.pid()]);
    let mut command = conformance("h2spec");
    command.args(["--port", &running.port.to_string()]);
    if wanted.len() < cases::ALL.len() {
        let ids: Vec<&str> = wanted.iter().map(|case| case.id).collect();
        command.args(["--only", &ids.join(",")]);
    }
    let mut suite = Process::start("h2spec", &mut command);
    let status = suite.wait(RUN);
    assert!(
        status.success(),
        "h2spec ended with {status}{}",
        suite.complaint()
    );
    let results: Vec<Value> = suite
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|result: &Value| result.get("id").is_some())
        .collect();
    let ids: BTreeSet<&str> = results
        .iter()
        .filter_map(|result| result["id"].as_str())
        .collect();
    let known: BTreeSet<&str> = wanted.iter().map(|case| case.id).collect();
    assert_eq!(
        ids, known,
        "the suite's cases are not those that are expected"
    );

    // All is told once the connections have ended; one of another protocol is told once.
    let ended = || {
        let lines = tracer.process.lines();
        Trace::read(&lines)
            .connections
            .iter()
            .filter(|line| line["event"] == "ended" || line["protocol"] == "other")
            .count()
    };
    eventually(SETTLE, || ended() >= results.len());
    let trace = tracer.finish();
    let mut losses: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for loss in &trace.losses {
        let of = |line: &&Value| line["conn"] == loss["conn"];
        let connection = trace.connections.iter().find(of);
        let port = connection.map(client_port).unwrap_or_default();
        losses.entry(port).or_default().push(loss.clone());
    }
    let mut findings: BTreeMap<u64, Vec<Finding>> = BTreeMap::new();
    for finding in trace.flagged() {
        let port = client_port(&finding.0);
        findings.entry(port).or_default().push(finding.clone());
    }
    results
        .iter()
        .map(|result| SpecOutcome {
            case: *wanted
                .iter()
                .find(|case| result["id"].as_str() == Some(case.id))
                .expect("only cases that were asked for are run"),
            what: result["what"].as_str().unwrap_or_default().to_owned(),
            passed: result["passed"].as_bool(),
            findings: findings.remove(&port(result)).unwrap_or_default(),
            protocol: protocol_of(&trace, port(result)),
            losses: losses.remove(&port(result)).unwrap_or_default(),
        })
        .collect()
}

/// The client's port of a line that was told at the server's end.
fn client_port(line: &Value) -> u64 {
    let peer = line["peer"]
        .as_str()
        .and_then(|peer| peer.rsplit(':').next());
    peer.and_then(|port| port.parse().ok()).unwrap_or_default()
}

/// The client's port of a result.
fn port(result: &Value) -> u64 {
    result["port"].as_u64().unwrap_or_default()
}

/// What the connection of the client's port is told to speak.
fn protocol_of(trace: &Trace, port: u64) -> String {
    let mut lines = trace.connections.iter();
    let line = lines.find(|line| client_port(line) == port);
    let protocol = line.and_then(|line| line["protocol"].as_str());
    protocol.unwrap_or_default().to_owned()
}
