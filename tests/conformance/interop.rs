//! gRPC's interoperability suite, its own client against its own server: every status, the count of messages, and
//! nothing that is flagged.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use tracer_tests::process::Process;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::{Stream, Trace};
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require, scaled};

use crate::peers::{Suite, TestedServer};
use crate::{RUN, SETTLE, table};

/// A call as it has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    method: &'static str,
    outcome: &'static str,
    status: Option<u64>,
    /// Whole messages of the request and of the response; None where it depends on who is faster.
    messages: Option<(u64, u64)>,
}

/// A case of the suite and its calls. Those of credentials are left out: they need a cloud; and `pick_first_unary`, as
/// the suite's server in Go gives no id of itself.
pub(crate) struct InteropCase {
    pub(crate) name: &'static str,
    calls: Vec<Told>,
}

const fn ok(method: &'static str, requests: u64, responses: u64) -> Told {
    Told {
        method,
        outcome: "ok",
        status: Some(0),
        messages: Some((requests, responses)),
    }
}

const fn status(method: &'static str, status: u64, requests: u64) -> Told {
    Told {
        method,
        outcome: "error_status",
        status: Some(status),
        messages: Some((requests, 0)),
    }
}

const fn given_up(
    method: &'static str,
    outcome: &'static str,
    messages: Option<(u64, u64)>,
) -> Told {
    Told {
        method,
        outcome,
        status: None,
        messages,
    }
}

const UNARY: &str = "/grpc.testing.TestService/UnaryCall";
const DUPLEX: &str = "/grpc.testing.TestService/FullDuplexCall";
const INPUT: &str = "/grpc.testing.TestService/StreamingInputCall";
const OUTPUT: &str = "/grpc.testing.TestService/StreamingOutputCall";

/// The cases that need no cloud.
fn all() -> Vec<InteropCase> {
    let case = |name, calls: &[Told]| InteropCase {
        name,
        calls: calls.to_vec(),
    };
    vec![
        case(
            "empty_unary",
            &[ok("/grpc.testing.TestService/EmptyCall", 1, 1)],
        ),
        case("large_unary", &[ok(UNARY, 1, 1)]),
        case("client_streaming", &[ok(INPUT, 4, 1)]),
        case("server_streaming", &[ok(OUTPUT, 1, 4)]),
        case("ping_pong", &[ok(DUPLEX, 4, 4)]),
        case("empty_stream", &[ok(DUPLEX, 0, 0)]),
        // Of a deadline of one millisecond, so it may have passed before the call is sent.
        case(
            "timeout_on_sleeping_server",
            &[given_up(DUPLEX, "deadline", None)],
        ),
        case("cancel_after_begin", &[given_up(INPUT, "cancelled", None)]),
        case(
            "cancel_after_first_response",
            &[given_up(DUPLEX, "cancelled", Some((1, 1)))],
        ),
        case(
            "status_code_and_message",
            &[status(UNARY, 2, 1), status(DUPLEX, 2, 1)],
        ),
        case("special_status_message", &[status(UNARY, 2, 1)]),
        case("custom_metadata", &[ok(UNARY, 1, 1), ok(DUPLEX, 1, 1)]),
        case(
            "unimplemented_method",
            &[status("/grpc.testing.TestService/UnimplementedCall", 12, 1)],
        ),
        // The answer may be faster than the message.
        case(
            "unimplemented_service",
            &[Told {
                messages: None,
                ..status(
                    "/grpc.testing.UnimplementedService/UnimplementedCall",
                    12,
                    1,
                )
            }],
        ),
        case("rpc_soak", &[ok(UNARY, 1, 1); 10]),
        case("channel_soak", &[ok(UNARY, 1, 1); 10]),
        case("orca_per_rpc", &[ok(UNARY, 1, 1)]),
        // The client gives the stream up when it has its reports.
        case("orca_oob", &[given_up(DUPLEX, "cancelled", Some((2, 2)))]),
    ]
}

/// A case that was run.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// The client's own verdict.
    pub(crate) passed: bool,
    /// What h2trace says of its calls at the client's end.
    pub(crate) streams: Vec<Stream>,
    pub(crate) findings: Vec<String>,
}

/// Runs the client once for each case, one after another: the shell's children are traced with it. It waits for a line.
pub(crate) fn clients<'a>(program: &Suite, cases: impl Iterator<Item = (&'a str, u16)>) -> Process {
    // The cases of load reports ask for the suite's own load balancer.
    const SCRIPT: &str = r#"
        reports='{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}'
        for case in "$@"; do
            set -- --server_host=127.0.0.1 "--server_port=${case#*:}" "--test_case=${case%:*}"
            case $case in orca*) set -- "$@" "--service_config_json=$reports" ;; esac
            "$0" "$@" & pid=$!
            wait $pid
            echo "case ${case%:*} $pid $?"
        done"#;
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(SCRIPT)
        .arg(program.command().get_program());
    command.args(cases.map(|(name, port)| format!("{name}:{port}")));
    Process::start_held("the suite's clients", &command)
}

/// What the clients' shell said of each case: its process, and whether it passed.
pub(crate) fn verdicts(clients: &Process) -> BTreeMap<String, (u32, bool)> {
    let lines = clients.lines();
    let cases = lines.iter().filter_map(|line| {
        let mut words = line.strip_prefix("case ")?.split(' ');
        let name = words.next()?.to_owned();
        let pid = words.next()?.parse().ok()?;
        Some((name, (pid, words.next()? == "0")))
    });
    cases.collect()
}

/// What is flagged about the connections of the process `pid`.
pub(crate) fn flagged(trace: &Trace, pid: u32) -> Vec<String> {
    let of_it = trace
        .flagged()
        .into_iter()
        .filter(|finding| finding.0["pid"] == pid);
    let told = of_it.map(|finding| {
        let summary = finding.0["summary"].as_str().unwrap_or_default();
        format!("{}: {summary}", finding.kind())
    });
    told.collect()
}

#[test]
fn grpc_interop_cases_are_told_as_they_went() {
    let (client, server) = (Suite("interop-client"), Suite("interop-server"));
    require!(Privileges, client, server);
    let mut cases = all();
    let few = [
        "empty_unary",
        "ping_pong",
        "status_code_and_message",
        "cancel_after_first_response",
    ];
    cases.retain(|case| scaled(few.contains(&case.name), true));

    let port = free_port();
    let mut command = server.command();
    let server = TestedServer::told(
        "the suite's server",
        command.arg(format!("--port={port}")),
        port,
        None,
    );
    let mut clients = clients(&client, cases.iter().map(|case| (case.name, port)));
    let tracer = Tracer::start(&[server.pid(), clients.pid()]);
    clients.write_line("go");
    clients.wait(RUN);
    let verdicts = verdicts(&clients);
    let n_calls: usize = cases.iter().map(|case| case.calls.len()).sum();
    settle(&tracer, n_calls);
    let trace = tracer.finish();

    let mut wrong = Vec::new();
    let mut outcomes = Vec::new();
    for case in &cases {
        let Some(&(pid, passed)) = verdicts.get(case.name) else {
            panic!("{} was not run{}", case.name, clients.complaint());
        };
        let streams: Vec<Stream> = trace.streams_of(pid, "client").cloned().collect();
        let outcome = Outcome {
            name: case.name,
            passed,
            findings: flagged(&trace, pid),
            streams,
        };
        if !passed {
            wrong.push(format!(
                "{}: the client itself says that it failed",
                case.name
            ));
        }
        wrong.extend(case.faults(&outcome.streams));
        outcomes.push(outcome);
    }
    table::write("interop", &table::interop(&outcomes));
    assert!(
        wrong.is_empty(),
        "{}{}",
        wrong.join("\n"),
        clients.complaint()
    );
    trace.assert_healthy();
}

/// Waits until both ends of so many calls are told, or nothing more comes.
pub(crate) fn settle(tracer: &Tracer, n_calls: usize) {
    let told = || {
        let trace = Trace::read(&tracer.process.lines());
        trace.streams.len() >= 2 * n_calls
    };
    eventually(SETTLE, told);
    // The connections' ends come behind.
    std::thread::sleep(Duration::from_secs(1));
}

impl InteropCase {
    /// How the calls differ from what they have to be, in their order.
    fn faults(&self, streams: &[Stream]) -> Vec<String> {
        // A reflected service of another name may be asked too; what counts are the suite's own calls.
        let own: Vec<&Stream> = streams
            .iter()
            .filter(|stream| {
                self.calls
                    .iter()
                    .any(|call| stream.method() == Some(call.method))
            })
            .collect();
        let may_be_unsent = self.calls.iter().any(|call| call.status.is_none());
        if own.len() != self.calls.len() && !(may_be_unsent && own.is_empty()) {
            return vec![format!(
                "{}: {} calls were told, {} were made",
                self.name,
                own.len(),
                self.calls.len()
            )];
        }
        let pairs = own.iter().zip(&self.calls);
        let differs = pairs.filter(|(stream, call)| {
            let is = Told {
                method: call.method,
                outcome: call.outcome,
                status: stream.grpc_status(),
                messages: call.messages.and(messages(stream)),
            };
            stream.outcome() != call.outcome || is != **call
        });
        differs
            .map(|(stream, call)| format!("{}: not {call:?} but {}", self.name, stream.0))
            .collect()
    }
}

/// Whole messages of the request and of the response.
pub(crate) fn messages(stream: &Stream) -> Option<(u64, u64)> {
    let complete = |side: &str| stream.0["messages"][side]["complete"].as_u64();
    Some((complete("request")?, complete("response")?))
}
