//! The pages' format, and the way from real lines of logs to findings.

mod decode;
mod lines;
mod more_lines;

use super::messages::{self, MessagesError};
use super::page::{Item, Page};
use super::search::{self, Closeness, SearchResult, nearest};
use super::*;
use crate::export::metrics::METRICS;
use h2trace_core::anomaly::kind::Kind as K;

/// What is found for a question.
fn find(question: &str) -> SearchResult {
    search::find(question).unwrap()
}

/// Queries are printed behind four spaces, on one line of 100.
const QUERY: usize = 95;

#[test]
fn every_page_parses_and_its_first_query_counts_the_finding() {
    for kind in Kind::ALL {
        let page = page(*kind).unwrap();
        let own = format!(
            "sum by (comm) (rate(h2trace_findings_total{{kind=\"{}\"}}[5m]))",
            kind.as_str()
        );
        assert_eq!(page.seen.first(), Some(&Item::Query(own)));
        let silent = messages_of(*kind).unwrap().is_empty();
        assert!(
            !silent || !page.applications.is_empty(),
            "{}: what do applications show?",
            kind.as_str()
        );
    }
}

#[test]
fn every_metric_and_finding_that_a_page_names_exists() {
    for kind in Kind::ALL {
        let text = source(*kind);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("h2trace_")) {
            let name = word.trim_end_matches("_bucket");
            assert!(
                METRICS.iter().any(|metric| metric.name == name),
                "{}: {word}",
                kind.as_str()
            );
        }
        for reference in text.split("see ").skip(1) {
            let name: String = reference
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
                .collect();
            if name.contains('_') {
                assert!(
                    Kind::ALL.iter().any(|kind| kind.as_str() == name),
                    "{}: see {name}",
                    kind.as_str()
                );
            }
        }
        for item in page(*kind).unwrap().seen {
            if let Item::Query(query) = item {
                assert!(query.chars().count() <= QUERY, "{query}");
                assert!(query.contains("h2trace_"), "{query}");
                let compared = query
                    .split(['{', '(', ',', ' '])
                    .filter_map(|word| word.split_once(['=', '!']))
                    .map(|(label, _)| label);
                let grouped = query
                    .split("by (")
                    .skip(1)
                    .filter_map(|rest| rest.split_once(')'))
                    .flat_map(|(labels, _)| labels.split(", "))
                    .filter(|label| *label != "le");
                let labels: Vec<&str> = compared.chain(grouped).collect();
                for label in labels {
                    let known = METRICS.iter().any(|metric| {
                        let ends = metric.about.labels();
                        query.contains(metric.name)
                            && (metric.labels.contains(&label) || ends.contains(&label))
                    });
                    assert!(known, "{query}: {label}");
                }
            }
        }
    }
}

#[test]
fn pages_that_break_the_format_are_refused() {
    let good = source(K::MissingTrailers);
    assert!(Page::parse(K::MissingTrailers, good).is_ok());
    for (from, to, why) in [
        ("# missing_trailers", "# missing_trailer", "title"),
        ("Group: completion", "Group: complete", "group"),
        ("Needs: ", "Need: ", "Needs"),
        ("## Causes", "## Cause", "Causes"),
        ("## Seen", "## Notes\n\nx\n\n## Seen", "Seen"),
        ("\n- ", "\n* ", "no item"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = Page::parse(K::MissingTrailers, &bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{from}: {error}");
    }
    assert!(Page::parse(K::MissingTrailers, "").is_err());
    let (head, _) = good.split_once("## References").unwrap();
    assert!(Page::parse(K::MissingTrailers, &format!("{head}## References\n")).is_err());
}

#[test]
fn every_known_message_is_whole_and_found_by_its_own_text() {
    let mut seen = std::collections::HashSet::new();
    for message in messages::all().unwrap() {
        assert!(
            !message.texts.is_empty() && !message.kinds.is_empty(),
            "{message:?}"
        );
        assert!(
            !message.emitter.is_empty() && !message.source.is_empty(),
            "{message:?}"
        );
        assert!(
            message.proves.ends_with('.') && message.does_not_prove.ends_with('.'),
            "{message:?}"
        );
        for (n, kind) in message.kinds.iter().enumerate() {
            assert!(
                !message.kinds[..n].contains(kind),
                "{message:?}: {kind:?} twice"
            );
        }
        // Each of its texts leads to what it says first.
        for text in &message.texts {
            assert!(
                seen.insert((&message.emitter, text.to_lowercase())),
                "{}: {text:?} twice",
                message.emitter
            );
            let asked = text
                .replace("<N>", "17")
                .replace("<X>", "WORD")
                .replace("...", "and so on");
            let found = find(&asked);
            if found.kinds == message.kinds[..1] {
                // The words are the finding's name too.
                continue;
            }
            assert!(
                found
                    .matches
                    .iter()
                    .any(|found| found.closeness == Closeness::Whole),
                "{text}"
            );
            assert!(
                found.kinds.contains(&message.kinds[0]),
                "{text}: {:?}",
                found.kinds
            );
        }
    }
}

#[test]
fn files_of_messages_that_break_the_form_are_refused() {
    let good = "emitter = \"a\"\nsource = \"a 1.0\"\n[[message]]\ntexts = [\"b\"]\nproves = \"C.\"\n\
         does_not_prove = \"D.\"\nfindings = [\"missing_trailers\"]\n";
    let parsed = messages::parse("a", good).unwrap();
    assert_eq!(parsed[0].kinds, [K::MissingTrailers]);
    assert_eq!(parsed[0].source, "a 1.0");
    let unknown = good.replace("missing_trailers", "missing_trailer");
    assert!(matches!(
        messages::parse("a", &unknown),
        Err(MessagesError::Finding { name, .. }) if name == "missing_trailer"
    ));
    for (from, to) in [
        ("proves", "prove"),
        ("emitter", "by"),
        ("does_not_prove = \"D.\"\n", ""),
        ("[\"b\"]", "\"b\""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(messages::parse("a", &bad).is_err(), "{from}");
    }
}

#[test]
fn lines_of_logs_lead_to_the_finding_that_matters_most() {
    for (line, want) in lines::LINES.iter().chain(more_lines::LINES) {
        let found = find(line);
        assert_eq!(
            found.kinds.first(),
            Some(want),
            "{line}\n{:?}",
            found.matches
        );
        assert!(!found.matches.is_empty(), "{line}");
    }
}

/// What the clients of the reference incident print.
#[test]
fn reference_incident_leads_to_the_proxy_first() {
    for line in [
        "13 INTERNAL: Received RST_STREAM with code 0 (Call ended without gRPC status)",
        "Error: 13 INTERNAL: Received RST_STREAM with code 2 (Internal server error)\n    at callErrorFromStatus",
        "[invalid_argument] protocol error: missing output message for unary method",
        "ConnectError: [invalid_argument] promised 11117 bytes in enveloped message, got 9920 bytes",
        "[invalid_argument] protocol error: incomplete envelope",
        "ConnectError: [internal] Stream closed with error code NGHTTP2_INTERNAL_ERROR",
        "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: NO_ERROR",
        "io.grpc.StatusRuntimeException: UNAVAILABLE: RST_STREAM closed stream. HTTP/2 error code: NO_ERROR",
    ] {
        let want = [
            K::ProxyTruncatedCompleteResponse,
            K::ResponseCutByReset,
            K::MissingTrailers,
        ];
        assert_eq!(find(line).kinds.get(..3), Some(&want[..]), "{line}");
    }
}

#[test]
fn names_are_found_however_they_are_written() {
    for asked in [
        "missing_trailers",
        "missing-trailers",
        "Missing Trailers",
        "  MISSING_TRAILERS ",
    ] {
        assert_eq!(find(asked).kinds, [K::MissingTrailers], "{asked:?}");
    }
    let line = "! response_cut_by_reset (anomaly): the server reset the stream with NO_ERROR";
    assert_eq!(find(line).kinds.first(), Some(&K::ResponseCutByReset));
}

#[test]
fn texts_are_found_with_other_case_numbers_and_slips() {
    let first = |asked: &str| {
        find(asked)
            .matches
            .first()
            .map(|found| (found.message.texts[0].as_str(), found.closeness))
    };
    let go = "server closed the stream without sending trailers";
    assert_eq!(
        first("SERVER CLOSED THE STREAM WITHOUT SENDING TRAILERS"),
        Some((go, Closeness::Whole))
    );
    assert_eq!(
        first("without sending trailers"),
        Some((go, Closeness::Part))
    );
    assert_eq!(
        first("server closed stream witout sending trailer"),
        Some((go, Closeness::Similar))
    );
    let connect = "promised <N> bytes in enveloped message, got <N> bytes";
    assert_eq!(
        first("promised 1 bytes in enveloped message, got 0 bytes"),
        Some((connect, Closeness::Whole))
    );
    // No text is only like another for a few common words.
    for asked in ["connection refused by peer", "error from the server"] {
        assert_ne!(
            first(asked).map(|(_, closeness)| closeness),
            Some(Closeness::Similar),
            "{asked}"
        );
    }
    // A code of its own is not the code of another text.
    let js = "Received RST_STREAM with code <N>";
    assert_eq!(
        first("Received RST_STREAM with code 10"),
        Some((js, Closeness::Whole))
    );
}

#[test]
fn flags_are_capitals_of_their_own() {
    assert_eq!(
        find("503 UC").kinds.first(),
        Some(&K::ConnectionLostStreams)
    );
    assert!(find("uc").matches.is_empty());
    assert!(
        find("a long report about a shop in Washington DC")
            .matches
            .is_empty()
    );
    // The details say more than the flag.
    let line = "\"POST /a.B/C HTTP/2\" 200 UR upstream_reset_after_response_started{remote_reset} - 16 9925";
    assert_eq!(find(line).kinds.first(), Some(&K::ResponseCutByReset));
}

#[test]
fn words_that_are_about_nothing_find_nothing() {
    for asked in [
        "",
        "   ",
        "?",
        "the",
        "xyzzy",
        "mising_trailer",
        "out of cheese",
        "connection refused by peer xyzzy",
    ] {
        let found = find(asked);
        assert!(found.matches.is_empty(), "{asked}: {:?}", found.matches);
        assert!(
            asked == "the" || found.kinds.is_empty(),
            "{asked}: {:?}",
            found.kinds
        );
    }
    assert_eq!(nearest("mising trailer"), Some(K::MissingTrailers));
    assert_eq!(nearest("out of cheese"), None);
    assert_eq!(find("CONTINUATION").kinds, [K::ContinuationFlood]);
}
