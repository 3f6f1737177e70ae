//! What promtool says of the rules, and of what the tests beside it expect of them.

use std::process::Command;

use tracer_tests::skip::Program;
use tracer_tests::{require, workspace};

#[track_caller]
fn promtool(arguments: &[&str], file: &std::path::Path) -> String {
    let output = Command::new("promtool").args(arguments).arg(file).output();
    let output = output.expect("cannot run promtool");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}

#[test]
fn rules_are_valid() {
    require!(Program("promtool"));
    let said = promtool(&["check", "rules"], &crate::rules());
    assert!(said.contains("rules found"), "{said}");
}

#[test]
fn every_alert_fires_and_is_silent_as_it_should() {
    require!(Program("promtool"));
    let tests = workspace().join("tests/rules/h2trace.rules-test.yaml");
    promtool(&["test", "rules"], &tests);
    // None is without a test of both.
    let tests = std::fs::read_to_string(tests).expect("cannot read the tests");
    let rules = std::fs::read_to_string(crate::rules()).expect("cannot read the rules");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let of_it: Vec<&str> = tests
            .split("alertname: ")
            .filter_map(|rest| rest.strip_prefix(alert)?.lines().nth(1))
            .map(str::trim)
            .collect();
        assert!(
            of_it.contains(&"exp_alerts:"),
            "{alert} is never made to fire"
        );
        assert!(
            of_it.contains(&"exp_alerts: []"),
            "{alert} is never made silent"
        );
    }
}
