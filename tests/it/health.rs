//! The health rules against objects as an API server returns them: one YAML file a case under `tests/it/health/`, of two documents, what
//! is expected and the object.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use swell::engine::health::{
    Facts, Health, Verdict, assess, completion, has_rule, observed_generation, rule_version, runs_to_end,
    tracks_generation,
};

#[path = "../cases.rs"]
mod cases;

use cases::{Case, Expected, Source, cases, mismatches};

fn group_and_kind(object: &Value) -> (&str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    (api_version.split_once('/').map_or("", |(group, _)| group), object["kind"].as_str().unwrap_or_default())
}

#[test]
fn every_case_has_its_expected_verdict() {
    let cases = cases();
    let wrong: Vec<_> = cases.iter().flat_map(|case| mismatches(case, &case.object)).collect();
    assert!(wrong.is_empty(), "{} mismatches in {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
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
