//! What `h2trace generate` prints.

use std::process::Stdio;

use serde_json::Value;

use super::binary::{command, h2trace};

#[test]
fn completions_are_there_for_the_usual_shells() {
    for (shell, word) in [
        ("bash", "complete "),
        ("zsh", "#compdef h2trace"),
        ("fish", "complete -c h2trace"),
    ] {
        let said = h2trace(&["generate", "completions", shell]);
        assert_eq!(said.status, Some(0), "{}", said.stderr);
        assert!(
            said.stdout.contains(word) && said.stdout.contains("cgroup"),
            "{shell}"
        );
    }
}

#[test]
fn man_pages_are_written_for_every_command() {
    let said = h2trace(&["generate", "man"]);
    assert!(said.stdout.contains(".TH h2trace 1"), "{}", said.stdout);
    let directory = tempfile::tempdir().unwrap();
    let said = h2trace(&[
        "generate",
        "man",
        "--dir",
        directory.path().to_str().unwrap(),
    ]);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    for page in [
        "h2trace.1",
        "h2trace-trace.1",
        "h2trace-serve.1",
        "h2trace-doctor.1",
        "h2trace-explain.1",
        "h2trace-demo.1",
    ] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
}

#[test]
fn schema_describes_every_type_of_line() {
    let said = h2trace(&["generate", "schema"]);
    let schema: Value = serde_json::from_str(&said.stdout).unwrap();
    for line_type in [
        "connection",
        "stream",
        "finding",
        "loss",
        "diagnosis",
        "summary",
    ] {
        let of_type = &schema["$defs"][line_type];
        assert_eq!(of_type["properties"]["type"]["const"], line_type);
        assert_eq!(of_type["properties"]["v"]["const"], 1);
    }
    let required = schema["$defs"]["stream"]["required"].as_array().unwrap();
    for key in [
        "conn",
        "stream_id",
        "role",
        "pid",
        "comm",
        "local",
        "peer",
        "method",
        "headers",
        "request_phase",
        "response_phase",
        "trailers",
        "grpc_status",
        "reset",
        "request_bytes",
        "response_bytes",
        "outcome",
        "tier",
    ] {
        assert!(required.contains(&Value::from(key)), "stream lacks {key}");
    }
    let required = schema["$defs"]["finding"]["required"].as_array().unwrap();
    for key in ["kind", "verdict", "conn", "stream_id", "tier", "story"] {
        assert!(required.contains(&Value::from(key)), "finding lacks {key}");
    }
}

#[test]
fn page_of_metrics_has_the_row_of_every_metric() {
    let said = h2trace(&["generate", "metrics"]);
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tracer-user/docs/metrics.md"
    );
    let page = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = said
        .stdout
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert!(rows.len() > 30, "{}", said.stdout);
    for row in rows {
        assert!(
            page.lines().any(|line| line == row),
            "metrics.md lacks {row}"
        );
    }
}

#[test]
fn reader_that_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&["generate", "schema"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}
