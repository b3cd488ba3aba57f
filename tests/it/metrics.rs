//! What the operator exports is what `docs/metrics.md` tells, and all that the dashboard and the alerts ask for.
//!
//! `SWELL_UPDATE_GOLDEN=1 cargo test --test it docs_` (`make generate`) writes the table anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use swell::telemetry::Metrics;

const INTRO: &str = "<!-- Made of src/telemetry/metrics.rs by `make generate`. -->
# Metrics

`swell operator --listen ADDRESS` serves them on `/metrics`, as OpenMetrics to those who ask for it and else in Prometheus' text format.
Counters begin at zero. Every label has a closed set of values: Applications, objects and messages are in status, Events, logs and traces.
Kinds are no label either: they are as many as the cluster has, and what a person asks of one is answered by the status.
`deploy/observability/` has a dashboard for Grafana and alert rules.

";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn docs_metrics_say_what_the_code_exports() {
    let mut text = INTRO.to_owned();
    text.push_str("| Metric | Type | Labels | What it tells |\n|---|---|---|---|\n");
    for metric in Metrics::default().described() {
        let labels: Vec<_> = metric.labels.iter().map(|(name, values)| format!("`{name}`: {values}")).collect();
        let _ = writeln!(text, "| `{}` | {} | {} | {}. |", metric.name, metric.kind, labels.join("<br>"), metric.help);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/metrics.md is not what the code exports: run make generate");
}

/// The names of series that each metric has, with the labels that may be asked for.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::default();
    let mut series = BTreeMap::new();
    for metric in metrics.described() {
        let mut labels: BTreeSet<_> = metric.labels.iter().map(|(name, _)| (*name).to_owned()).collect();
        // Whoever scrapes adds these.
        labels.extend(["job", "instance"].map(str::to_owned));
        if metric.kind == "histogram" {
            labels.insert("le".to_owned());
            for part in ["_bucket", "_sum", "_count"] {
                series.insert(format!("{}{part}", metric.name), labels.clone());
            }
        } else {
            series.insert(metric.name.clone(), labels);
        }
    }
    series
}

/// Words that look like a metric, each with the text in the braces behind it.
fn selectors(expression: &str) -> Vec<(String, String)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_word) {
        let word = &rest[start..];
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (name, behind) = word.split_at(end);
        if name.starts_with("swell_") || name.starts_with("process_") {
            let braces = behind.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(inner, _)| inner);
            found.push((name.to_owned(), braces.unwrap_or_default().to_owned()));
        }
        rest = behind;
    }
    found
}

/// Everything that is wrong with an expression, as far as that can be told without Prometheus.
fn mistakes(expression: &str) -> Vec<String> {
    let series = series();
    let mut wrong = Vec::new();
    let found = selectors(expression);
    if found.is_empty() {
        wrong.push("asks for nothing of Swell's".to_owned());
    }
    let mut known = BTreeSet::new();
    for (name, braces) in &found {
        let Some(labels) = series.get(name) else {
            wrong.push(format!("{name} is not exported"));
            continue;
        };
        known.extend(labels.iter().cloned());
        for matcher in braces.split(',').filter(|matcher| !matcher.is_empty()) {
            let label = matcher.split(['=', '!']).next().unwrap_or_default().trim();
            if !labels.contains(label) {
                wrong.push(format!("{name} has no label {label}"));
            }
        }
    }
    for grouped in expression.split("by (").skip(1) {
        for label in grouped.split(')').next().unwrap_or_default().split(',').map(str::trim) {
            if !known.contains(label) {
                wrong.push(format!("no label {label} to group by"));
            }
        }
    }
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        if expression.matches(open).count() != expression.matches(close).count() {
            wrong.push(format!("{open} and {close} are no pairs"));
        }
    }
    wrong
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    #[serde(rename = "for")]
    _for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn every_alert_asks_for_what_is_exported_and_says_what_to_do() {
    let rules: Rules = serde_saphyr::from_str(&read("deploy/observability/alerts.yaml")).unwrap();
    let mut names = BTreeSet::new();
    for alert in rules.groups.iter().flat_map(|group| &group.rules) {
        assert_eq!(mistakes(&alert.expr), Vec::<String>::new(), "{}", alert.name);
        assert!(names.insert(&alert.name), "{} is there twice", alert.name);
        assert!(["critical", "warning", "info"].contains(&alert.labels["severity"].as_str()), "{}", alert.name);
        assert!(!alert.annotations["summary"].is_empty() && !alert.annotations["description"].is_empty());
    }
    assert!(names.len() > 10, "{names:?}");
}

#[test]
fn every_panel_of_the_dashboard_asks_for_what_is_exported() {
    let dashboard: Value = serde_json::from_str(&read("deploy/observability/dashboard.json")).unwrap();
    let mut ids = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{title}: an id twice");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(mistakes(expression), Vec::<String>::new(), "{title}: {expression}");
            asked.extend(selectors(expression).into_iter().map(|(name, _)| name));
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
}

#[test]
fn an_expression_that_asks_for_what_is_not_there_is_told() {
    assert_eq!(mistakes("sum(swell_nothing_total)"), ["swell_nothing_total is not exported"]);
    assert_eq!(mistakes("swell_waits{phase=\"Sync\"}"), ["swell_waits has no label phase"]);
    assert_eq!(mistakes("sum by (phase) (swell_waits)"), ["no label phase to group by"]);
    assert_eq!(mistakes("sum(swell_waits"), ["( and ) are no pairs"]);
    assert_eq!(mistakes("up == 0"), ["asks for nothing of Swell's"]);
    assert_eq!(
        mistakes("histogram_quantile(0.9, sum by (le, phase) (rate(swell_stage_duration_seconds_bucket[5m])))"),
        [""; 0]
    );
}
