//! The health rules against objects as an API server returns them: one YAML file a case under `tests/it/health/`, of two documents, what
//! is expected and the object.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use swell::api::HealthCheck;
use swell::cluster::sandbox::Sandbox;
use swell::engine::health::checks::{Checks, judge};
use swell::engine::health::{
    Completion, Facts, Gate, Health, Verdict, assess, completion, has_rule, observed_generation, rule_version,
    runs_to_end, tracks_generation,
};

/// The first document of a case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    expect: Expect,
    /// A health check of the Application, for cases under `check/`.
    check: Option<CheckOfCase>,
    #[serde(default)]
    facts: FactsOfCase,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    health: Expected,
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
    source: Source,
    /// Why it could not be recorded.
    because: Option<String>,
}

/// `none` is for a kind without health.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    Health(Health),
    None(NoHealth),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NoHealth {
    None,
}

#[derive(Debug, Deserialize, PartialEq)]
enum End {
    Running,
    Succeeded,
    Failed,
}

/// `recorded`: what a real API server (1.37) returned, times, uid and resourceVersion made stable; `derived`: written after its types and
/// defaults, because it could not be recorded.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Source {
    Recorded,
    Derived,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckOfCase {
    current: String,
    in_progress: Option<String>,
    failed: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FactsOfCase {
    #[serde(default)]
    late_binding_classes: BTreeSet<String>,
    default_class: Option<String>,
}

fn gating() -> Gate {
    Gate::Gating
}

fn yes() -> bool {
    true
}

struct Case {
    name: String,
    head: Head,
    object: Value,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/health")
}

fn cases() -> Vec<Case> {
    let entries = |directory: PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).expect("a directory of cases");
        entries.map(|entry| entry.expect("an entry of it").path()).collect()
    };
    let files = entries(directory()).into_iter().flat_map(entries);
    let mut found = files.map(|path| case(&path)).collect::<Result<Vec<_>, _>>().expect("every case is well formed");
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
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

fn group_and_kind(object: &Value) -> (&str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    (api_version.split_once('/').map_or("", |(group, _)| group), object["kind"].as_str().unwrap_or_default())
}

#[test]
fn every_case_has_its_expected_verdict() {
    let cases = cases();
    let mut wrong = Vec::new();
    for Case { name, head: Head { expect, facts, check }, object } in &cases {
        let mut differ = |what: &str, expected: String, found: String| {
            if expected != found {
                wrong.push(format!("{name}: {what}: expected {expected}, found {found}"));
            }
        };
        let facts = Facts {
            late_binding_classes: facts.late_binding_classes.clone(),
            default_class: facts.default_class.clone(),
        };
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
            by_check.map_or_else(|| completion(object), |(_, completion)| completion).map(
                |completion| match completion {
                    Completion::Running => End::Running,
                    Completion::Succeeded => End::Succeeded,
                    Completion::Failed { .. } => End::Failed,
                },
            );
        differ("completion", format!("{:?}", expect.completion), format!("{end:?}"));
        if let Some(generation) = expect.observed_generation {
            differ(
                "observed_generation",
                format!("{:?}", Some(generation)),
                format!("{:?}", observed_generation(object)),
            );
        }
    }
    assert!(wrong.is_empty(), "{} mismatches in {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
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

#[test]
fn cases_are_what_a_real_server_returned_and_each_other_one_says_why_not() {
    let cases = cases();
    let silent = |case: &&Case| (case.head.expect.source == Source::Derived) != case.head.expect.because.is_some();
    let wrong: Vec<_> = cases.iter().filter(silent).map(|case| &case.name).collect();
    assert!(wrong.is_empty(), "derived without `because`, or recorded with it: {wrong:?}");
    let recorded = cases.iter().filter(|case| case.head.expect.source == Source::Recorded).count();
    println!("{recorded} of {} cases are recorded", cases.len());
    assert!(recorded * 10 > cases.len() * 9, "only {recorded} of {} cases are recorded", cases.len());
}

#[test]
fn every_kind_with_a_rule_of_its_own_has_cases() {
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases() {
        let (group, kind) = group_and_kind(&case.object);
        *by_kind.entry(format!("{group}/{kind}")).or_default() += 1;
    }
    for (kind, least) in [
        ("apps/Deployment", 8),
        ("apps/StatefulSet", 7),
        ("apps/DaemonSet", 4),
        ("apps/ReplicaSet", 4),
        ("/Pod", 12),
        ("batch/Job", 7),
        ("batch/CronJob", 6),
        ("/Service", 2),
        ("networking.k8s.io/Ingress", 2),
        ("/PersistentVolumeClaim", 6),
        ("autoscaling/HorizontalPodAutoscaler", 4),
        ("policy/PodDisruptionBudget", 3),
        ("apiregistration.k8s.io/APIService", 2),
        ("apiextensions.k8s.io/CustomResourceDefinition", 6),
        ("argoproj.io/Workflow", 4),
        ("tekton.dev/PipelineRun", 2),
        ("tekton.dev/TaskRun", 1),
    ] {
        let found = by_kind.get(kind).copied().unwrap_or_default();
        assert!(found >= least, "{kind}: {found} cases, there must be {least}");
    }
}

#[test]
fn a_failure_is_told_by_the_status_and_by_nothing_else() {
    for Case { name, head, mut object } in cases() {
        let Expected::Health(health) = head.expect.health else { continue };
        if !matches!(health, Health::Degraded) {
            continue;
        }
        object.as_object_mut().expect("an object").remove("status");
        object["metadata"]["annotations"] = json!({});
        let verdict = assess(&object, &Facts::default()).expect("a kind with health");
        assert_ne!(verdict.health, Health::Degraded, "{name}: Degraded without any status");
    }
}

/// Whether the kind is judged by the standard conditions.
fn is_custom(group: &str, kind: &str) -> bool {
    has_rule(group, kind) && rule_version(group, kind).is_none() && !runs_to_end(group, kind)
}

/// What holds for every verdict, whatever the object looks like.
fn lawful(object: &Value, verdict: Option<&Verdict>) -> Result<(), TestCaseError> {
    let (group, kind) = group_and_kind(object);
    let deleted = object["metadata"]["deletionTimestamp"].as_str().is_some_and(|since| !since.is_empty());
    if let Some(verdict) = verdict {
        prop_assert!(!verdict.terminal || verdict.health == Health::Degraded);
        prop_assert!(verdict.judged || verdict.health == Health::Healthy);
        prop_assert!(verdict.health != Health::Missing);
        prop_assert!(verdict.health == Health::Healthy || !verdict.reason.is_empty());
        prop_assert!(verdict.reason.len() <= 128 && verdict.message.len() <= 512);
        prop_assert!(!deleted || matches!(verdict.health, Health::Progressing | Health::Unknown));
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
        if object["status"]["observedGeneration"].as_i64().is_some_and(|seen| seen < generation)
            && (tracks_generation(group, kind) || is_custom(group, kind))
        {
            prop_assert!(!matches!(verdict.health, Health::Healthy | Health::Degraded), "believed an old status");
        }
    }
    prop_assert!(completion(object).is_some() <= runs_to_end(group, kind));
    prop_assert!(
        deleted
            || object["apiVersion"].as_str().is_none_or(str::is_empty)
            || object["kind"].as_str().is_none_or(str::is_empty)
            || verdict.is_some() == has_rule(group, kind)
    );
    Ok(())
}

/// Any JSON, with the words in it that the rules look for.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("True"),
        Just("False"),
        Just("Unknown"),
        Just("Ready"),
        Just("Failed"),
        Just("Complete"),
        Just("Stalled"),
        Just("Always"),
        Just("Running"),
        Just("Pending"),
        Just("2026-03-01T10:00:00Z"),
        Just("ErrImagePull"),
        Just(""),
        Just("7"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        "\\PC{0,700}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("type"),
        Just("status"),
        Just("reason"),
        Just("message"),
        Just("observedGeneration"),
        Just("conditions"),
        Just("phase"),
        Just("replicas"),
        Just("state"),
        Just("terminated"),
        Just("waiting"),
        Just("name"),
        Just("x"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

fn any_identity() -> impl Strategy<Value = (String, String)> {
    let known: Vec<(String, String)> =
        cases().iter().map(|case| (text_of(&case.object["apiVersion"]), text_of(&case.object["kind"]))).collect();
    prop_oneof![
        4 => prop::sample::select(known),
        1 => ("[a-z./0-9]{0,12}", "[A-Za-z]{0,8}"),
    ]
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Paths of all values in an object, as JSON pointers.
fn pointers(value: &Value, prefix: &str, into: &mut Vec<String>) {
    into.push(prefix.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                pointers(value, &format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1")), into);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, &format!("{prefix}/{index}"), into);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_gets_a_lawful_verdict(
        (api_version, kind) in any_identity(),
        spec in any_json(), status in any_json(), conditions in any_json(), metadata in any_json(), whole in any_json(),
    ) {
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), api_version.into());
        object.insert("kind".to_owned(), kind.into());
        object.insert("metadata".to_owned(), metadata);
        object.insert("spec".to_owned(), spec);
        object.insert("status".to_owned(), match status {
            Value::Object(mut fields) => {
                fields.insert("conditions".to_owned(), conditions);
                Value::Object(fields)
            }
            other => other,
        });
        for object in [Value::Object(object), whole] {
            lawful(&object, assess(&object, &Facts::default()).as_ref())?;
            observed_generation(&object);
        }
    }

    #[test]
    fn a_real_object_with_a_part_replaced_gets_a_lawful_verdict(
        case in prop::sample::select(cases().into_iter().map(|case| case.object).collect::<Vec<_>>()),
        place in any::<prop::sample::Index>(),
        part in any_json(),
    ) {
        let mut object = case;
        let mut all = Vec::new();
        pointers(&object, "", &mut all);
        *object.pointer_mut(&all[place.index(all.len())]).expect("a path of the object") = part;
        lawful(&object, assess(&object, &Facts::default()).as_ref())?;
        observed_generation(&object);
    }
}
