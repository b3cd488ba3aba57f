//! Findings as SARIF 2.1.0, which GitHub's code scanning and other tools read.

use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::output::{Finding, Output};
use super::places::Spot;
use super::rules::{self, About, Level};

/// The whole log: one run with all rules, also those that found nothing.
pub(super) fn log(output: &Output<'_>) -> Value {
    let rules: Vec<_> = rules::all().iter().map(rule).collect();
    let results: Vec<_> = output.findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "swell",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(about: &About) -> Value {
    let help = format!("{} {}", about.why, sentence(about.proposal));
    json!({
        "id": about.id,
        "name": about.id,
        "shortDescription": {"text": about.title},
        "fullDescription": {"text": about.why},
        "help": {"text": help, "markdown": format!("{help}\n\n```yaml\n{}```\n", about.example)},
        "defaultConfiguration": {"level": level(about.level)},
        "properties": {"problem.severity": match about.level { Level::Note => "recommendation", Level::Warning => "warning", Level::Error => "error" }},
    })
}

fn sentence(proposal: &str) -> String {
    let mut chars = proposal.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).chain(['.']).collect()).unwrap_or_default()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

fn result(finding: &Finding<'_>) -> Value {
    let index = rules::all().iter().position(|about| about.id == finding.rule);
    let inside = finding.location.inside.as_ref().map_or_else(String::new, |inside| format!(" ({inside})"));
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.level),
        "message": {"text": format!("{}{inside}\n{}", finding.message, finding.proposal)},
        "locations": [{"physicalLocation": location(&finding.location)}],
    });
    if let Some(related) = &finding.related {
        let mut other = Map::new();
        other.insert("id".to_owned(), json!(1));
        other.insert("physicalLocation".to_owned(), location(&related.location));
        other.insert("message".to_owned(), json!({"text": related.message}));
        result["relatedLocations"] = json!([other]);
    }
    result
}

fn location(spot: &Spot<'_>) -> Value {
    json!({
        "artifactLocation": {"uri": uri(&spot.file)},
        "region": {"startLine": spot.line, "startColumn": spot.column, "endLine": spot.line, "endColumn": spot.end_column},
    })
}

/// What a path may have in a reference as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The reference of a file: relative as it was given, so that it counts from where `swell` was called.
fn uri(file: &str) -> String {
    let scheme = if Path::new(file).is_absolute() { "file://" } else { "" };
    format!("{scheme}{}", utf8_percent_encode(file.strip_prefix("./").unwrap_or(file), PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_relative_reference_unless_its_path_is_absolute() {
        assert_eq!(uri("./a b/ü#.yaml"), "a%20b/%C3%BC%23.yaml");
        assert_eq!(uri("/a/b.yaml"), "file:///a/b.yaml");
    }
}
