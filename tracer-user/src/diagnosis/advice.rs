//! What to change, with what this run has seen that calls for it. Of `explain`, but by evidence.

use super::report::{Advice, AdviceAt, Agent, ProxyReport};
use crate::unit::{counted, grouped};

/// The first grpc-js that sends END_STREAM with the message (grpc/grpc-node#3031).
const GRPC_JS_MENDED: [u32; 3] = [1, 14, 3];

/// What may be changed where responses were cut; nothing where none was.
pub(super) fn of(proxy: &ProxyReport) -> Vec<Advice> {
    if proxy.cut.responses == 0 {
        return Vec::new();
    }
    let mut advice = clients(proxy);
    advice.push(server(proxy));
    advice.push(window(proxy));
    advice.push(itself(proxy));
    // What the run supports comes first; the order is otherwise that of effect.
    advice.sort_by_key(|advice| !advice.supported);
    advice
}

fn cut_responses(n: u64, of: u64) -> String {
    format!(
        "{} of {}",
        grouped(n),
        counted(of, "cut response", "cut responses")
    )
}

/// The client's library, one piece of advice for each that had responses cut.
fn clients(proxy: &ProxyReport) -> Vec<Advice> {
    let cut = &proxy.cut;
    if cut.client_had_not_ended == 0 {
        return vec![Advice {
            at: AdviceAt::Client,
            change: "end the request together with its last message".to_owned(),
            supported: false,
            evidence: format!(
                "the client had ended its request before the response was complete in {}",
                cut_responses(cut.responses, cut.responses)
            ),
            references: vec!["RFC 9113 section 8.1"],
        }];
    }
    let had_cuts = |agent: &&Agent| agent.cut > 0;
    let named = |agent: &Agent| agent.user_agent.is_some();
    // A few requests from before the trace, of which the name was not seen, need no advice of their own.
    let any_named = proxy.agents.iter().filter(had_cuts).any(named);
    proxy
        .agents
        .iter()
        .filter(had_cuts)
        .filter(|agent| !any_named || named(agent))
        .map(client)
        .collect()
}

fn client(agent: &Agent) -> Advice {
    let name = agent.user_agent.as_deref().unwrap_or_default();
    let (change, references) = if let Some(version) = version_of(name, "grpc-node-js/") {
        if version < GRPC_JS_MENDED {
            (
                "update grpc-js to 1.14.3 or newer, which sends END_STREAM with the message; or turn its \
                 retries off (\"grpc.enable_retries\": 0)"
                    .to_owned(),
                vec!["grpc/grpc-node#3031", "grpc/grpc-node#2569"],
            )
        } else {
            (
                "end the request together with its last message (this grpc-js does so for a unary call)"
                    .to_owned(),
                vec!["grpc/grpc-node#3031"],
            )
        }
    } else if name.contains("connect-es/") {
        (
            "no version of connect-es is known here that ends the request with its message (1.4.0 was \
             measured): change the server, or leave the proxy out"
                .to_owned(),
            vec!["h2trace explain proxy_truncated_complete_response"],
        )
    } else {
        (
            "end the request together with its last message".to_owned(),
            vec!["RFC 9113 section 8.1"],
        )
    };
    let who = match &agent.user_agent {
        None => "a client whose user-agent was not seen",
        Some(name) => name,
    };
    Advice {
        at: AdviceAt::Client,
        change,
        supported: agent.cut_not_ended > 0,
        evidence: format!(
            "{who}: {} of its {} had not ended when the response was complete; {} of them {} cut",
            grouped(agent.not_ended),
            counted(agent.requests, "request", "requests"),
            grouped(agent.cut_not_ended),
            if agent.cut_not_ended == 1 {
                "was"
            } else {
                "were"
            },
        ),
        references,
    }
}

fn server(proxy: &ProxyReport) -> Advice {
    let cut = &proxy.cut;
    let early = cut.after_early_response;
    let evidence = if early == 0 {
        "no cut response was complete before its request had ended".to_owned()
    } else {
        let reset = match cut.server_reset_no_error {
            0 => String::new(),
            n => format!(
                ", and the server reset its stream with NO_ERROR after {} of them",
                grouped(n)
            ),
        };
        format!(
            "{} {} complete before the proxy had ended the request{reset}",
            cut_responses(early, cut.responses),
            if early == 1 { "was" } else { "were" },
        )
    };
    Advice {
        at: AdviceAt::Server,
        change: "let it wait for the end of the request before it ends the response (grpc-go 1.85.0 does; \
                 1.70.0 does not). What it does is legal"
            .to_owned(),
        supported: early > 0,
        evidence,
        references: vec!["grpc/grpc-go#9309", "grpc/grpc-go#8385", "RFC 9113 section 8.1"],
    }
}

fn window(proxy: &ProxyReport) -> Advice {
    let cut = &proxy.cut;
    let (connection, stream) = (cut.connection_window_used_up, cut.stream_window_used_up);
    let mut evidence = Vec::new();
    if connection > 0 {
        evidence.push(format!(
            "the client's connection window was used up (0 bytes) in {}",
            cut_responses(connection, cut.responses)
        ));
    }
    if stream > 0 {
        evidence.push(format!(
            "its stream window in {}",
            cut_responses(stream, cut.responses)
        ));
    }
    if evidence.is_empty() {
        evidence.push(match cut.windows_unknown {
            0 => "both windows had room at every cut".to_owned(),
            n => format!(
                "no window is known to have been used up (unknown in {})",
                cut_responses(n, cut.responses)
            ),
        });
    }
    Advice {
        at: AdviceAt::Window,
        change: "a larger connection window of the client makes it rarer and mends nothing (Node's http2: \
                 session.setLocalWindowSize; grpc-js 1.14: \"grpc-node.flow_control_window\"; grpc-go: \
                 WithInitialConnWindowSize)"
            .to_owned(),
        supported: connection + stream > 0,
        evidence: evidence.join(", "),
        references: vec!["RFC 9113 section 6.9.1"],
    }
}

fn itself(proxy: &ProxyReport) -> Advice {
    let comm = proxy.process.as_ref().and_then(|p| p.comm.as_deref());
    let by_comm = comm.is_some_and(|comm| comm.starts_with("envoy"));
    let by_header = proxy.server_header.as_deref() == Some("envoy");
    let dropped = format!(
        "{} complete at the proxy and left it incomplete",
        counted(proxy.cut.responses, "response was", "responses were")
    );
    if !by_comm && !by_header {
        return Advice {
            at: AdviceAt::Proxy,
            change: "which proxy this is was not seen. A proxy must pass on a complete response, whatever \
                     becomes of the request: ask its maintainers"
                .to_owned(),
            supported: true,
            evidence: dropped,
            references: vec!["RFC 9113 section 8.1"],
        };
    }
    let known_by = match (by_comm, by_header) {
        (true, true) => "by its process name and its server header",
        (true, false) => "by its process name",
        (false, _) => "by its server header",
    };
    Advice {
        at: AdviceAt::Proxy,
        change: "no Envoy from 1.36.2 to 1.40.0 was measured to pass all of it on. The guard \
                 allow_multiplexed_upstream_half_close changes how it fails; http_preserve_rst_no_error \
                 (1.40.0) is for the case with the server's reset"
            .to_owned(),
        supported: true,
        evidence: format!("{dropped}; it is Envoy {known_by}, its version was not seen"),
        references: vec![
            "envoyproxy/envoy#44749",
            "envoyproxy/envoy#34461",
            "envoyproxy/envoy#42269",
        ],
    }
}

/// The version behind `name` in a user-agent.
fn version_of(user_agent: &str, name: &str) -> Option<[u32; 3]> {
    let (_, rest) = user_agent.split_once(name)?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_wherever_they_stand() {
        for (agent, want) in [
            ("grpc-node-js/1.12.6", Some([1, 12, 6])),
            ("my-app/2 grpc-node-js/1.14.3-pre1", Some([1, 14, 3])),
            ("grpc-node-js/1.14", None),
            ("grpc-go/1.70.0", None),
        ] {
            assert_eq!(version_of(agent, "grpc-node-js/"), want, "{agent}");
        }
    }
}
