//! The health cases under `tests/it/health/`: one YAML file each, of two documents, what is expected and the object. Read and judged
//! here for the tests without a control plane (`tests/it/health.rs`) and for the one that records them (`tests/cluster/recorded.rs`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use swell::api::HealthCheck;
use swell::cluster::sandbox::Sandbox;
use swell::engine::health::checks::{Checks, judge};
use swell::engine::health::{Completion, Facts, Gate, Health, Verdict, assess, completion, observed_generation};

/// One file.
pub(crate) struct Case {
    /// Its path under the directory of cases.
    pub(crate) name: String,
    pub(crate) head: Head,
    pub(crate) object: Value,
}

/// The first document of a case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) expect: Expect,
    /// A health check of the Application, for cases under `check/`.
    pub(crate) check: Option<CheckOfCase>,
    #[serde(default)]
    pub(crate) facts: FactsOfCase,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) health: Expected,
    #[serde(default)]
    reason: String,
    /// Compared where it is given.
    message: Option<String>,
    #[serde(default)]
    terminal: bool,
    #[serde(default = "gating")]
    gate: Gate,
    #[serde(default = "yes")]
    judged: bool,
    /// Required for kinds that run to an end, and for no others.
    completion: Option<End>,
    /// Compared where it is given.
    observed_generation: Option<i64>,
    /// Where the object comes from.
    pub(crate) source: Source,
    /// Why it cannot be recorded: required of a derived case, and of no other.
    pub(crate) because: Option<String>,
}

/// `none` is for a kind without health.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expected {
    Health(Health),
    None(NoHealth),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NoHealth {
    None,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) enum End {
    Running,
    Succeeded,
    Failed,
}

/// `recorded`: what an API server returned, with its uid, resourceVersion, times and namespace replaced by those of the file;
/// `tests/cluster/recorded.rs` writes these and holds them against a real one. `derived`: written after its types and
/// defaults, because no server that we run returns it, for the reason in `because`.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Recorded,
    Derived,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckOfCase {
    current: String,
    in_progress: Option<String>,
    failed: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactsOfCase {
    #[serde(default)]
    late_binding_classes: BTreeSet<String>,
    default_class: Option<String>,
}

/// All of them, by name.
pub(crate) fn cases() -> Vec<Case> {
    let entries = |directory: PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).expect("a directory of cases");
        entries.map(|entry| entry.expect("an entry of it").path()).collect()
    };
    let files = entries(directory()).into_iter().flat_map(entries);
    let mut found = files.map(|path| case(&path)).collect::<Result<Vec<_>, _>>().expect("every case is well formed");
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// What is wrong with the verdict on `object` as an object of this case, in words; nothing when it is as expected. Blocks.
pub(crate) fn mismatches(Case { name, head: Head { expect, facts, check }, .. }: &Case, object: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut differ = |what: &str, expected: String, found: String| {
        if expected != found {
            wrong.push(format!("{name}: {what}: expected {expected}, found {found}"));
        }
    };
    let facts =
        Facts { late_binding_classes: facts.late_binding_classes.clone(), default_class: facts.default_class.clone() };
    let by_check = check.as_ref().map(|check| judged(check, object));
    let found = by_check.as_ref().map_or_else(|| assess(object, &facts), |(verdict, _)| Some(verdict.clone()));
    match (&expect.health, &found) {
        (Expected::Health(health), Some(verdict)) => {
            differ("health", health.to_string(), verdict.health.to_string());
            differ("reason", expect.reason.clone(), verdict.reason.clone());
            if let Some(message) = &expect.message {
                differ("message", message.clone(), verdict.message.clone());
            }
            differ("terminal", expect.terminal.to_string(), verdict.terminal.to_string());
            differ("gate", format!("{:?}", expect.gate), format!("{:?}", verdict.gate));
            differ("judged", expect.judged.to_string(), verdict.judged.to_string());
        }
        (Expected::None(NoHealth::None), None) => {}
        (expected, found) => differ("verdict", format!("{expected:?}"), format!("{found:?}")),
    }
    let end =
        by_check.map_or_else(|| completion(object), |(_, completion)| completion).map(|completion| match completion {
            Completion::Running => End::Running,
            Completion::Succeeded => End::Succeeded,
            Completion::Failed { .. } => End::Failed,
        });
    differ("completion", format!("{:?}", expect.completion), format!("{end:?}"));
    if let Some(generation) = expect.observed_generation {
        differ("observed_generation", format!("{:?}", Some(generation)), format!("{:?}", observed_generation(object)));
    }
    wrong
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/health")
}

fn case(path: &Path) -> Result<Case, String> {
    let name = path.strip_prefix(directory()).unwrap_or(path).display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| format!("{name}: {error}"))?;
    let [head, object] = <[Value; 2]>::try_from(documents)
        .map_err(|documents| format!("{name}: {} documents, there must be two", documents.len()))?;
    let head = serde_json::from_value(head).map_err(|error| format!("{name}: {error}"))?;
    Ok(Case { name, head, object })
}

fn gating() -> Gate {
    Gate::Gating
}

fn yes() -> bool {
    true
}

/// What a health check says of an object, evaluated in the real sandbox.
fn judged(check: &CheckOfCase, object: &Value) -> (Verdict, Option<Completion>) {
    let text = |field: &str| object[field].as_str().expect("an object").to_owned();
    let (checks, mistakes) = Checks::read(&[HealthCheck {
        api_version: text("apiVersion"),
        kind: text("kind"),
        current: check.current.clone(),
        in_progress: check.in_progress.clone(),
        failed: check.failed.clone(),
    }]);
    assert_eq!(mistakes, []);
    let (_, check) = checks.iter().next().expect("one check");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_swell").into()).with_time(Duration::from_mins(1));
    let (verdict, end) = judge(object, check, &runtime.block_on(sandbox.find("shop/app", check, object)).finding);
    (verdict, end.or_else(|| completion(object)))
}
