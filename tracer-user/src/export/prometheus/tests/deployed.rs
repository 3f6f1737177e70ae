//! Rules, alerts and dashboard of the chart name only what there is. (That they work is for promtool and a real
//! Prometheus to say: tests/rules.)

use std::collections::BTreeSet;

use h2trace_core::anomaly::kind::Kind;

use crate::export::metrics::METRICS;

const RULES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/deploy/chart/files/h2trace.rules.yaml"
));
const DASHBOARD: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/deploy/chart/files/h2trace.dashboard.json"
));

/// Labels that the scrape adds.
const OF_SCRAPE: [&str; 3] = ["job", "instance", "node"];

/// All queries: of the dashboard, and the whole text of the rules.
fn queries() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned());
    queries.chain([RULES.to_owned()]).collect()
}

/// Words of a query that are names of h2trace's metrics or of recorded ones, and what follows each.
fn names(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    query.match_indices("h2trace").filter_map(move |(at, _)| {
        let rest = &query[at..];
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(len);
        let is_first = !query[..at].ends_with(part);
        let is_name = name.contains(['_', ':']) && !name.ends_with([':', '_']);
        (is_first && is_name).then_some((name, rest))
    })
}

/// The matchers of a selector: label and value.
fn matchers(rest: &str) -> Vec<(&str, &str)> {
    let Some((inside, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Vec::new();
    };
    let matchers = inside.split("\",").filter_map(|matcher| {
        let (label, value) = matcher.split_once('"')?;
        let label = label.trim().trim_end_matches(['=', '!', '~']);
        Some((label, value.trim_end_matches('"')))
    });
    matchers.collect()
}

#[test]
fn every_name_and_label_in_them_is_one_of_ours() {
    let recorded: BTreeSet<&str> = RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    for query in queries() {
        for (name, rest) in names(&query) {
            if name.contains(':') {
                assert!(recorded.contains(name), "{name} is not recorded");
                continue;
            }
            let parts = ["", "_bucket", "_sum", "_count"];
            let metric = METRICS.iter().find(|metric| {
                parts
                    .iter()
                    .any(|part| name == format!("{}{part}", metric.name))
            });
            let metric = metric.unwrap_or_else(|| panic!("{name} is no metric"));
            for (label, _) in matchers(rest) {
                let known = metric.about.labels().contains(&label)
                    || metric.labels.contains(&label)
                    || OF_SCRAPE.contains(&label);
                assert!(known, "{name} has no label {label}");
            }
        }
    }
}

#[test]
fn every_finding_in_them_is_one_of_ours_and_so_is_every_page_of_explain() {
    let is_kind = |name: &str| Kind::ALL.iter().any(|kind| kind.as_str() == name);
    let mut seen = 0;
    for query in queries() {
        for (_, rest) in names(&query) {
            for (_, value) in matchers(rest)
                .into_iter()
                .filter(|(label, _)| *label == "kind")
            {
                for kind in value.split('|').filter(|kind| !kind.contains('.')) {
                    assert!(is_kind(kind), "{kind} is no finding");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} findings were looked at");
    let runbooks = RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: h2trace explain "));
    for page in runbooks.filter(|page| !page.starts_with("{{")) {
        assert!(is_kind(page), "there is no page on {page}");
    }
}

#[test]
fn every_alert_says_what_and_with_what_numbers_and_where_to_read_on() {
    let alerts: Vec<&str> = RULES.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 10);
    let pages = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/tracer-user/docs");
    for alert in alerts {
        for part in [
            "severity: ",
            "summary: ",
            "description: ",
            "runbook: ",
            &format!("runbook_url: {pages}/"),
        ] {
            assert!(alert.contains(part), "no {part:?} in {alert}");
        }
        let counts_nothing = ["H2traceAbsent", "H2traceDown"].map(|name| alert.starts_with(name));
        assert!(
            counts_nothing.contains(&true) || alert.contains("{{ $value | "),
            "no number in {alert}"
        );
    }
    let before = format!("runbook_url: {pages}/");
    for target in RULES.split(&before).skip(1) {
        let target = target.lines().next().unwrap_or_default();
        let (page, anchor) = target.split_once('#').unwrap();
        let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let heading = |line: &str| {
            let title = line.trim_start_matches('#').trim();
            line.starts_with('#') && title.to_lowercase().replace(' ', "-") == anchor
        };
        assert!(text.lines().any(heading), "{page} has no heading {anchor}");
    }
}

#[test]
fn every_panel_has_a_description_a_unit_and_a_place() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: not its own id"
        );
        let place = &panel["gridPos"];
        let at = |key: &str| place[key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(
                    x < 24 && taken.insert((x, y)),
                    "{title} is over another panel"
                );
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let said = panel["description"].as_str().unwrap();
        assert!(said.len() > 30 && said.ends_with('.'), "{title}: {said}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        assert!(!unit.is_empty(), "{title} has no unit");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["Overview", "Workload", "Proxy", "Tracer"]);
}
