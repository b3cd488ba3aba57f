//! Hostile texts: sources that are too much, names and messages that forge, and the values of Secrets.

use std::fmt::Write as _;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{OperationPhase, SyncStatus};

use super::tenants::{Tenants, refused};
use crate::support::{Place, config_map, document, eventually, kubectl};

#[tokio::test(flavor = "multi_thread")]
async fn huge_and_binary_config_maps_alias_bombs_and_more_than_10000_documents_are_refused_with_the_bound_and_hold_nobody_else_up()
 {
    let tenants = Tenants::new("bombs").await;
    let place = &tenants.attacker;
    let mut bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (one, next) in ('a'..'i').zip('b'..='i') {
        let aliases = vec![format!("*{one}"); 10].join(",");
        let _ = writeln!(bomb, "{next}: &{next} [{aliases}]");
    }
    place.apply("bomb", &bomb).await;
    place
        .apply(
            "deep",
            &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: deep}}\ndata: {}", "[".repeat(10_000)),
        )
        .await;
    let map = |name: &str, data: Value, binary: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": place.namespace}, "data": data, "binaryData": binary});
    let many = |from: usize| {
        let one = |n| format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{n}}}}}\n");
        (from..from + 6000).map(one).collect::<Vec<_>>().concat()
    };
    place.put(&map("many", json!({"a": many(0), "b": many(6000)}), json!({}))).await;
    place.put(&map("binary", json!({}), json!({"a": "AAECAwQ="}))).await;
    for n in 0..10 {
        let huge = format!("# {}\n", "x".repeat(1_000_000));
        // Too large for the last-applied annotation, and for a server-side apply all the same.
        let maps = tenants.api(&place.namespace, "v1", "ConfigMap");
        let object = serde_json::from_value(map(&format!("huge-{n}"), json!({"a": huge}), json!({}))).unwrap();
        maps.create(&kube::api::PostParams::default(), &object).await.unwrap();
    }
    place.apply_spec("many", json!({"source": {"configMaps": [{"name": "many"}]}})).await;
    place.apply_spec("binary", json!({"source": {"configMaps": [{"name": "binary"}]}})).await;
    let huge: Vec<_> = (0..10).map(|n| json!({"name": format!("huge-{n}")})).collect();
    place.apply_spec("huge", json!({"source": {"configMaps": huge}})).await;
    // The same ones again and again cost as much as others.
    let endless: Vec<_> = (0..34).map(|n| json!({"name": format!("huge-{}", n % 10)})).collect();
    place.apply_spec("endless", json!({"source": {"configMaps": endless}})).await;
    tenants.victim_applies("app", &config_map("settings", &[], "1"), json!({})).await;
    tenants.victim_succeeds("app").await;
    for (name, why) in [
        ("bomb", "anchors and aliases copy more values than the limit of 200000"),
        ("deep", "nested deeper than the limit of 128 levels"),
        ("many", "more objects than the limit of 10000"),
        ("binary", "has no keys with text"),
        ("endless", "the ConfigMaps of the source have more than 33554432 bytes"),
        ("huge", ""),
    ] {
        let message = match name {
            // Comments alone are no manifests: what counts is that ten megabytes of them are read and let go.
            "huge" => place
                .status(name, "ended", |status| {
                    status.operation_state.as_ref().is_some_and(|state| state.phase.is_ended())
                })
                .await
                .operation_state
                .unwrap()
                .message
                .unwrap(),
            _ => refused(place, name).await,
        };
        assert!(message.contains(why), "{name}: {message}");
        assert!(message.len() < 8 * 1024, "{name}: {} bytes", message.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_or_message_forges_a_line_of_the_log_or_reaches_a_terminal() {
    for format in ["text", "json"] {
        let mut place = Place::without_operator(&format!("inject-{format}")).await;
        place.start_operator_told(&["--log", "swell=debug", "--log-format", format]).await;
        let things = place.third_party().await;
        let evil = "x\n2026-01-01T00:00:00Z  INFO swell: forged\u{1b}[2J\u{9b}31m\u{202e}\r";
        let named = |field: &str| {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
            *object.pointer_mut(field).unwrap() = json!(evil);
            document(&object)
        };
        let annotated = document(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "annotations": {(evil): 1, "swell.dev/timeout": evil}}}),
        );
        for (name, manifests) in [
            ("name", named("/metadata/name")),
            ("kind", named("/kind")),
            ("version", named("/apiVersion")),
            ("annotation", annotated),
        ] {
            // YAML takes such a character in its escaped form only.
            place.apply(name, &manifests.replace('\u{9b}', "\\u009b")).await;
            refused(&place, name).await;
        }
        // What somebody's controller says of an object.
        place.apply("said", &things.machine("engine", &json!({}), &json!({}))).await;
        place.object(&format!("{}.example.com/v1", place.namespace), "Machine", "engine", "there", |_| true).await;
        let condition = json!({"type": "Stalled", "status": "True", "reason": "Broken", "message": evil, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        things.write_status("engine", json!({"conditions": [condition]})).await;
        refused(&place, "said").await;
        // What a request says.
        place.ask("said", json!({"sync": {}, "initiatedBy": {"username": evil}})).await;
        place
            .status("said", "asked for", |status| {
                status
                    .operation_state
                    .as_ref()
                    .is_some_and(|state| state.initiated_by.as_ref().is_some_and(|by| by.username.is_some()))
            })
            .await;
        for application in place.applications().list(&kube::api::ListParams::default()).await.unwrap() {
            let mut status = serde_json::to_value(application.status.unwrap()).unwrap();
            // The request itself is kept as it was asked for.
            if let Some(state) = status.get_mut("operationState").and_then(Value::as_object_mut) {
                state.remove("operation");
            }
            each_text(&status, &mut |text| assert!(!is_harmful(text), "{:?}: {text:?}", application.metadata.name));
        }
        let events = kubectl(&["get", "events", "--namespace", &place.namespace, "-o", "json"]);
        let events: Value = serde_json::from_str(&events).unwrap();
        each_text(&events, &mut |text| assert!(!is_harmful(text), "{text:?}"));
        let log = place.operator_log();
        assert!(log.lines().count() > 10);
        for line in log.lines() {
            let is_ours = if format == "json" {
                serde_json::from_str::<Value>(line).is_ok()
            } else {
                line.starts_with("20") && line.contains(" swell")
            };
            assert!(is_ours && !line.starts_with("2026-01-01T00:00:00Z  INFO swell: forged"), "{line:?}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

fn is_harmful(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}')
}

fn each_text(value: &Value, check: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, check)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            check(key);
            each_text(item, check);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_secret_comes_into_status_events_metrics_or_logs_at_any_level() {
    let mut place = Place::without_operator("canary").await;
    place.start_operator_told(&["--log", "trace", "--listen", "127.0.0.1:0"]).await;
    let canary = "c4n4ry-v4lue";
    let encoded = "YzRuNHJ5LXY0bHVl";
    // A policy that quotes what it denies.
    let policy = format!("{}-quotes", place.namespace);
    let head = |kind: &str| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": policy}});
    let mut whole = head("ValidatingAdmissionPolicy");
    whole["spec"] = json!({
        "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}]},
        "matchConditions": [{"name": "quoted", "expression": "object.metadata.name == 'quoted'"}],
        "validations": [{"expression": "false", "messageExpression": "'too weak: ' + string(object.data['password'])"}]
    });
    let mut binding = head("ValidatingAdmissionPolicyBinding");
    binding["spec"] = json!({"policyName": policy, "validationActions": ["Deny"]});
    place.put(&whole).await;
    place.put(&binding).await;
    eventually("the policy denies", || async {
        let trial = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "quoted"}, "stringData": {"password": "x"}});
        let params = kube::api::PostParams { dry_run: true, ..Default::default() };
        place.api("v1", "Secret").create(&params, &serde_json::from_value(trial).unwrap()).await.err()
    })
    .await;
    let secret = |name: &str, field: &str, value: Value| {
        document(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "annotations": {"note": "x"}}, (field): {"password": value}}),
        )
    };
    let sources = [
        ("good", secret("good", "stringData", json!(canary))),
        ("number", secret("number", "data", json!({"nested": canary}))),
        ("plain", secret("plain", "data", json!(canary))),
        ("quoted", secret("quoted", "stringData", json!(canary))),
        ("typed", secret("typed", "type", json!(canary))),
        (
            "broken",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: broken}}\nstringData:\n  password: {canary}: {canary}\n  other: \"{canary}\n"
            ),
        ),
        (
            "doubled",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: doubled}}\nstringData:\n  password: {canary}\n  password: {canary}\n"
            ),
        ),
    ];
    for (name, manifests) in &sources {
        // The manifests come from a Secret-keeping ConfigMap, so that the Application itself does not hold the value.
        place.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": place.namespace}, "data": {"all": manifests}})).await;
        place.apply_spec(name, json!({"source": {"configMaps": [{"name": name}]}})).await;
    }
    for (name, _) in &sources {
        let phase = if *name == "good" { OperationPhase::Succeeded } else { OperationPhase::Failed };
        place.ended(name, phase).await;
    }
    // Drift of a Secret, and a conflict about one.
    let patch = json!({"stringData": {"password": format!("{canary}-changed")}});
    place.api("v1", "Secret").patch("good", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    place
        .status("good", "OutOfSync", |status| {
            status.sync.as_ref().is_some_and(|sync| sync.status == SyncStatus::OutOfSync)
        })
        .await;
    let applications = kubectl(&["get", "swapp", "--namespace", &place.namespace, "-o", "json"]);
    let events = kubectl(&["get", "events", "--namespace", &place.namespace, "-o", "json"]);
    let metrics = place.pages(1).await.samples().await.text;
    let log = place.operator_log();
    assert!(log.lines().count() > 100, "the log is one of the level trace");
    for (what, text) in [("Applications", &applications), ("events", &events), ("metrics", &metrics), ("log", &log)] {
        for needle in [canary, encoded, "c4n4ry"] {
            let found = text.find(needle).map(|at| text[at.saturating_sub(200)..(at + 50).min(text.len())].to_owned());
            assert_eq!(found, None, "{needle} in the {what}");
        }
    }
    assert!(!log.contains("Bearer ey"), "a token of the operator is in its log");
}
