//! `h2trace explain`: from a name or an error text to a page.

use serde_json::Value;

use super::binary::{command, h2trace, output_of};

/// The lines of JSON.
fn lines(arguments: &[&str]) -> Vec<Value> {
    let said = h2trace(arguments);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    said.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn page_of_findings() -> String {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tracer-user/docs/findings.md"
    );
    std::fs::read_to_string(page).unwrap()
}

#[test]
fn list_has_the_findings_of_their_page() {
    let said = h2trace(&["explain"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    let page = page_of_findings();
    let (_, table) = page.split_once("| finding |").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert!(rows.len() > 60, "{rows:?}");
    for row in &rows {
        let begin = format!("  {row} ");
        assert!(
            said.stdout.lines().any(|line| line.starts_with(&begin)),
            "{row}"
        );
    }
    let listed = said.stdout.lines().filter(|line| line.starts_with("  "));
    assert_eq!(listed.count(), rows.len());
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn name_leads_to_its_page_however_it_is_written() {
    for words in [
        &["missing_trailers"][..],
        &["Missing-Trailers"],
        &["missing", "trailers"],
    ] {
        let said = h2trace(&[&["explain"], words].concat());
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
        let first = said.stdout.lines().next();
        assert_eq!(first, Some("missing_trailers (anomaly)"), "{words:?}");
        for part in [
            "  A gRPC response ended on a DATA frame, without trailers (gRPC \"Responses\").\n",
            "What to do\n",
            "server closed the stream without sending trailers",
            "h2trace_findings_total{kind=\"missing_trailers\"}",
            "grpc/grpc-go#892",
        ] {
            assert!(
                said.stdout.contains(part),
                "no {part:?} in\n{}",
                said.stdout
            );
        }
    }
}

#[test]
fn error_text_leads_to_what_it_proves_and_to_the_findings() {
    let said = h2trace(&[
        "explain",
        "Error: 13 INTERNAL: Received RST_STREAM with code 0 (Call ended without gRPC status)",
    ]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    let places = [
        "grpc-js prints: Received RST_STREAM with code 0",
        "Does not prove: That there was a RST_STREAM",
        "1  proxy_truncated_complete_response",
        "2  response_cut_by_reset",
        "3  missing_trailers",
        "\nproxy_truncated_complete_response (anomaly)\n",
        "What to do\n",
    ]
    .map(|part| said.stdout.find(part));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?}\n{}",
        said.stdout
    );
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn only_a_whole_text_proves_anything() {
    let whole = h2trace(&[
        "explain",
        "server closed the stream without sending trailers",
    ]);
    assert!(whole.stdout.contains("\n  Proves: "), "{}", whole.stdout);
    for part in [
        "closed the stream without",
        "server closed stream witout sending trailer",
    ] {
        let said = h2trace(&["explain", part]);
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
        assert!(!said.stdout.contains("  Proves: "), "{}", said.stdout);
        assert!(
            said.stdout.contains("  If it is the same, it proves: "),
            "{}",
            said.stdout
        );
        let found = lines(&["explain", "-o", "json", part]);
        assert_eq!(found[0]["type"], "match");
        assert!(found[0].get("proves").is_none(), "{}", found[0]);
        assert!(found[0]["would_prove"].is_string(), "{}", found[0]);
    }
}

#[test]
fn sizes_that_are_text_are_decoded() {
    let text = "upstream sent too large http2 frame: 4740180 while reading response header";
    let said = h2trace(&["explain", text]);
    let line = "4740180 is the text \"HTT\", as in \"HTTP/1.1\"";
    assert!(
        said.stdout.lines().any(|of_all| of_all == line),
        "{}",
        said.stdout
    );
    let found = lines(&["explain", "-o", "json", text]);
    let decoded = found.iter().find(|line| line["type"] == "decoded").unwrap();
    assert_eq!(decoded["part"], "4740180");
    assert_eq!(decoded["kinds"][0], "not_http2");
    let page = found.iter().find(|line| line["type"] == "page").unwrap();
    assert_eq!(page["kind"], "not_http2");
}

#[test]
fn json_has_the_texts_and_then_the_pages() {
    let found = lines(&[
        "explain",
        "--output",
        "json",
        "got 9920 bytes of promised 11117 bytes in enveloped message, got 9920 bytes",
    ]);
    assert_eq!(found[0]["type"], "match");
    assert_eq!(found[0]["by"], "connect-es");
    assert_eq!(found[0]["closeness"], "whole");
    assert_eq!(found[1]["type"], "page");
    assert_eq!(found[1]["kind"], "proxy_truncated_complete_response");
    assert_eq!(found[1]["tier"], "T2");
    let all = lines(&["explain", "-o", "json"]);
    assert!(all.len() > 60, "{}", all.len());
    for page in &all {
        assert_eq!((&page["v"], &page["type"]), (&1.into(), &"page".into()));
        for key in ["kind", "doc", "group", "tier", "needs"] {
            let text = page[key].as_str().unwrap();
            assert!(!text.is_empty(), "{key}: {page}");
        }
        for key in [
            "verdicts",
            "meaning",
            "causes",
            "remedies",
            "queries",
            "references",
        ] {
            let items = page[key].as_array().unwrap();
            assert!(!items.is_empty(), "{key}: {page}");
        }
    }
    let mut by_environment = command(&["explain", "missing_trailers"]);
    by_environment.env("H2TRACE_OUTPUT", "json");
    let said = output_of(by_environment);
    let page: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(page["kind"], "missing_trailers");
}

#[test]
fn unknown_words_are_refused_with_the_nearest_name() {
    h2trace(&["explain", "mising_trailer"]).assert_refused(&[
        "\"mising_trailer\"",
        "the nearest finding is missing_trailers",
        "h2trace explain)",
    ]);
    h2trace(&["explain", "-o", "json", "out of cheese"]).assert_refused(&[
        "\"out of cheese\"",
        "give the name of a finding, or an error text",
    ]);
    let log = "transport is closing ".repeat(1_000);
    h2trace(&["explain", &log]).assert_refused(&["3000 words", "at most 500"]);
    h2trace(&["explain", "\u{1b}[31m\n"]).assert_refused(&["\\u{1b}"]);
}

#[test]
fn page_of_findings_shows_what_is_printed() {
    let page = page_of_findings();
    let (_, section) = page.split_once("\n## Explain\n").unwrap();
    let (_, sample) = section.split_once("```text\n").unwrap();
    let (sample, _) = sample.split_once("```\n").unwrap();
    let said = h2trace(&["explain", "Received RST_STREAM with code 0"]);
    let mut printed = said.stdout.lines();
    let mut n_lines = 0;
    for line in sample.lines().filter(|line| *line != "  ...") {
        assert!(
            printed.any(|of_all| of_all == line),
            "not printed, or not in this order: {line:?}"
        );
        n_lines += 1;
    }
    assert!(n_lines > 20, "{n_lines} lines");
}
