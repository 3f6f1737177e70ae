//! gRPC's negative HTTP/2 interoperability cases: its own client against a server that behaves as each case says.

use tracer_tests::skip::Privileges;
use tracer_tests::trace::Stream;
use tracer_tests::tracer::Tracer;
use tracer_tests::{require, scaled};

use crate::interop::{self, Outcome};
use crate::peers::{Suite, TestedServer, conformance};
use crate::{RUN, table};

/// A case: its calls as `(outcome, how many)`, and the finding that has to be made of the server, if any.
struct NegativeCase {
    name: &'static str,
    calls: (&'static str, usize),
    finding: Option<&'static [&'static str]>,
}

const ALL: [NegativeCase; 6] = [
    NegativeCase {
        name: "goaway",
        calls: ("ok", 2),
        finding: None,
    },
    NegativeCase {
        name: "rst_after_header",
        calls: ("reset", 1),
        finding: Some(&["response_cut_by_reset"]),
    },
    NegativeCase {
        name: "rst_during_data",
        calls: ("reset", 1),
        finding: Some(&["response_cut_by_reset", "truncated_response"]),
    },
    NegativeCase {
        name: "rst_after_data",
        calls: ("reset", 1),
        finding: Some(&["response_cut_by_reset"]),
    },
    NegativeCase {
        name: "ping",
        calls: ("ok", 1),
        finding: None,
    },
    NegativeCase {
        name: "max_streams",
        calls: ("ok", 16),
        finding: None,
    },
];

#[test]
fn negative_http2_interop_cases_are_told_of_the_server() {
    let client = Suite("interop-negative");
    require!(Privileges, client, Suite("conformance"));
    let few = ["rst_during_data", "rst_after_data", "ping"];
    let cases: Vec<&NegativeCase> = ALL
        .iter()
        .filter(|case| scaled(few.contains(&case.name), true))
        .collect();
    let servers: Vec<TestedServer> = cases
        .iter()
        .map(|case| {
            let mut command = conformance("misbehave");
            TestedServer::that_says_where(
                "the misbehaving server",
                command.args(["--case", case.name]),
            )
        })
        .collect();
    let ports = cases
        .iter()
        .zip(&servers)
        .map(|(case, server)| (case.name, server.port));
    let mut clients = interop::clients(&client, ports);
    let mut pids: Vec<u32> = servers.iter().map(TestedServer::pid).collect();
    pids.push(clients.pid());
    let tracer = Tracer::start(&pids);
    clients.write_line("go");
    clients.wait(RUN);
    let verdicts = interop::verdicts(&clients);
    interop::settle(&tracer, cases.iter().map(|case| case.calls.1).sum());
    let trace = tracer.finish();
    trace.assert_lossless();

    let mut wrong = Vec::new();
    let mut outcomes = Vec::new();
    for case in cases {
        let Some(&(pid, passed)) = verdicts.get(case.name) else {
            panic!("{} was not run{}", case.name, clients.complaint());
        };
        let streams: Vec<_> = trace.streams_of(pid, "client").cloned().collect();
        let told: Vec<&str> = streams.iter().map(Stream::outcome).collect();
        if told != vec![case.calls.0; case.calls.1] {
            wrong.push(format!("{}: its calls were told as {told:?}", case.name));
        }
        for finding in trace
            .flagged()
            .into_iter()
            .filter(|finding| finding.0["pid"] == pid)
        {
            let is_right = case
                .finding
                .is_some_and(|kinds| kinds.contains(&finding.kind()));
            if !is_right || finding.0["sender"] != "server" {
                wrong.push(format!("{}: falsely {}", case.name, finding.0));
            }
        }
        let findings = interop::flagged(&trace, pid);
        if case.finding.is_some() && findings.is_empty() {
            wrong.push(format!("{}: nothing is told", case.name));
        }
        outcomes.push(Outcome {
            name: case.name,
            passed,
            streams,
            findings,
        });
    }
    table::write("negative", &table::interop(&outcomes));
    assert!(
        wrong.is_empty(),
        "{}{}",
        wrong.join("\n"),
        clients.complaint()
    );
}
