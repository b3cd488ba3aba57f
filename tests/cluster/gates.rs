//! What holds a wave on the real control plane, and what does not.

use serde_json::{Value, json};
use swell::api::{HealthStatus, OperationPhase};

use crate::hands::{CONFIG_MAP, Gauges, JOB, Kind, blocked, grant_everywhere, patch};
use testbed::audit::Filter;

use crate::support::{Place, config_map, deployment, document, entry_name, job, testbed};

const HOOK: &str = "argocd.argoproj.io/hook";
const WAVE: &str = "argocd.argoproj.io/sync-wave";
const CLAIM: Kind<'static> = ("v1", "PersistentVolumeClaim");

fn load_balancer(name: &str, annotations: &Value) -> String {
    document(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}
    }))
}

fn ingress(name: &str) -> String {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    document(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": {"defaultBackend": backend}
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_an_ingress_and_a_load_balancer_hold_nothing_unless_they_are_told_to() {
    let place = Place::new("balancer").await;
    let free = [load_balancer("free", &json!({})), ingress("way"), config_map("after", &[(WAVE, "1")], "1")];
    place.apply("free", &free.concat()).await;
    let annotations = json!({"swell.dev/gate": "true", "swell.dev/timeout": "3s"});
    let gated = [load_balancer("gated", &annotations), config_map("never", &[(WAVE, "1")], "1")];
    place.apply("gated", &gated.concat()).await;
    let status = place.ended("free", OperationPhase::Succeeded).await;
    assert_eq!(status.health.unwrap().status, HealthStatus::Progressing, "their health is shown all the same");
    let message = place.ended("gated", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("Service") && message.contains("gated") && message.contains("within 3s"), "{message}");
    assert!(place.get("v1", "ConfigMap", "never").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_claim_that_waits_for_its_first_consumer_holds_nothing() {
    let place = Place::new("claims").await;
    let claim = |name: &str, class: &str| {
        document(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}
        }))
    };
    for (app, class) in [("late", "standard"), ("early", "immediate")] {
        let after = config_map(&format!("after-{app}"), &[(WAVE, "1")], "1");
        place.apply(app, &[claim(app, class), after].concat()).await;
    }
    for app in ["late", "early"] {
        place.ended(app, OperationPhase::Succeeded).await;
    }
    let late = place.get(CLAIM.0, CLAIM.1, "late").await.unwrap();
    assert_eq!(late.pointer("/status/phase"), Some(&json!("Pending")));
    let early = place.get(CLAIM.0, CLAIM.1, "early").await.unwrap();
    assert_eq!(early.pointer("/status/phase"), Some(&json!("Bound")));
    // The claim is written again after it is bound: what counts is when its status first said so.
    let audit = testbed();
    audit.audit().flushed(&place.client).await.unwrap();
    let filter = Filter::namespace(&place.namespace);
    let entries = audit.audit().read(&filter).unwrap();
    let of = |resource: &'static str, name: &'static str| {
        entries.iter().filter(move |entry| entry.resource == resource && entry.name == name && entry.is_write())
    };
    let bound = of("persistentvolumeclaims", "early").find(|entry| entry.subresource == "status").unwrap();
    let after = of("configmaps", "after-early").next().unwrap();
    assert!(bound.received_us < after.received_us, "a claim that can be bound holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_an_object_whose_health_is_ignored_frees_its_wave_and_the_verdict() {
    let place = Place::new("ignored").await;
    let cases = [
        ("ignored", ("argocd.argoproj.io/ignore-healthcheck", "true"), HealthStatus::Healthy),
        ("ungated", ("swell.dev/gate", "false"), HealthStatus::Progressing),
    ];
    for (app, annotation, _) in &cases {
        let never = deployment(app, &[*annotation], &[("pods.swell.dev/ready", "never")]);
        place.apply(app, &[never, config_map(&format!("after-{app}"), &[(WAVE, "1")], "1")].concat()).await;
    }
    for (app, _, health) in cases {
        place.ended(app, OperationPhase::Succeeded).await;
        place
            .status(app, &format!("{health}"), |status| status.health.as_ref().is_some_and(|h| h.status == health))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_what_is_unchanged_is_not_written_and_still_waited_for() {
    let place = Place::new("unchanged").await;
    let database = document(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "annotations": {WAVE: "1"}},
        "spec": {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": {
            "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}}}
    }));
    let manifests = |value: &str| [database.clone(), config_map("after", &[(WAVE, "2")], value)].concat();
    place.apply("app", &manifests("1")).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let writes = place.writes_to("statefulsets", "db").await.len();
    let pod = ("v1", "Pod");
    patch(&place, pod, "db-0", json!({"metadata": {"annotations": {"pods.swell.dev/ready": "never"}}})).await;
    let ill = |object: &Value| object.pointer("/status/readyReplicas").is_none_or(|ready| ready == &json!(0));
    place.object("apps/v1", "StatefulSet", "db", "not ready", ill).await;
    place.apply("app", &manifests("2")).await;
    blocked(&place, "app", &["db", "Progressing"]).await;
    let after = place.get("v1", "ConfigMap", "after").await.unwrap();
    assert_eq!(after.pointer("/data/value"), Some(&json!("1")), "the wave after waits for what was not written");
    patch(&place, pod, "db-0", json!({"metadata": {"annotations": {"pods.swell.dev/ready": null}}})).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_eq!(place.writes_to("statefulsets", "db").await.len(), writes, "unchanged, so not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_v7_a_workload_of_the_only_wave_that_fails_for_good_fails_the_operation_and_runs_syncfail() {
    let place = Place::new("onlywave").await;
    let manifests =
        [job("import", &[], &[("pods.swell.dev/fail-after", "1s")]), job("notify", &[(HOOK, "SyncFail")], &[])];
    place.apply("app", &manifests.concat()).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.starts_with("Sync wave 0 failed: Job") && message.contains("import"), "{message}");
    assert!(message.contains("container main exited with code 1"), "I8: {message}");
    assert_eq!(place.creates("jobs", "notify").await, 1);
    let notify = place.get(JOB.0, JOB.1, "notify").await.unwrap();
    assert_eq!(notify.pointer("/status/succeeded"), Some(&json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn f64_a_kind_that_a_controller_brings_during_the_sync_is_awaited() {
    let place = Place::new("broughtkind").await;
    let group = format!("{}.example", place.namespace);
    let annotations = json!({WAVE: "1", "argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true",
        "swell.dev/settle": "0s"});
    let gauge = json!({"apiVersion": format!("{group}/v1"), "kind": "Gauge",
        "metadata": {"name": "one", "namespace": place.namespace, "annotations": annotations}, "spec": {"size": 1}});
    place.apply("app", &[config_map("operator", &[], "1"), document(&gauge)].concat()).await;
    blocked(&place, "app", &["one", "Missing", "not applied yet"]).await;
    // The wave before has brought who brings the kind.
    assert!(place.get("v1", "ConfigMap", "operator").await.is_some());
    let gauges = Gauges::new(&place).await;
    place.ended("app", OperationPhase::Succeeded).await;
    gauges.seen("one", 1).await;
}

fn namespaces(place: &Place) -> kube::Api<k8s_openapi::api::core::v1::Namespace> {
    kube::Api::all(place.client.clone())
}

/// A place with a second namespace of the manifests' own, in which its account may edit.
async fn with_second_namespace(prefix: &str) -> (Place, String) {
    let mut place = Place::without_operator(prefix).await;
    let second = format!("{}-second", place.namespace);
    place.also_look_at(&second);
    place.start_operator().await;
    let everything = json!([{"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["*"]}]);
    grant_everywhere(&place, everything).await;
    (place, second)
}

fn in_namespace(namespace: &str, value: &str) -> String {
    let namespace_object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let inside = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inside", "namespace": namespace},
        "data": {"value": value}});
    [document(&inside), document(&namespace_object)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn v24_what_needs_a_namespace_waits_for_it_inside_one_stage() {
    let (place, second) = with_second_namespace("barrier").await;
    place.apply("app", &in_namespace(&second, "1")).await;
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    let rows = state.sync_result.unwrap().resources;
    assert!(rows.iter().all(|row| row.wave == 0), "{rows:#?}");
    let writes = place.writes().await;
    let created = |name: &str| writes.iter().find(|entry| entry_name(entry) == name && entry.code == 201).unwrap();
    assert!(created("inside").received_us > created(&second).received_us);
    assert!(writes.iter().all(|entry| entry.code < 400), "nothing was tried that could not be: {writes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f66_a_namespace_that_is_going_is_awaited_and_made_anew_with_what_is_in_it() {
    let (place, second) = with_second_namespace("going").await;
    place.apply("app", &in_namespace(&second, "1")).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let before = namespaces(&place).get(&second).await.unwrap().metadata.uid;
    let inside = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(place.client.clone(), &second);
    let change = |finalizers: Value| kube::api::Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let params = kube::api::PatchParams::default();
    inside.patch("inside", &params, &change(json!(["example.com/held"]))).await.unwrap();
    namespaces(&place).delete(&second, &kube::api::DeleteParams::default()).await.unwrap();
    place.apply("app", &in_namespace(&second, "2")).await;
    blocked(&place, "app", &[&second, "being deleted"]).await;
    inside.patch("inside", &params, &change(json!(null))).await.unwrap();
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_ne!(namespaces(&place).get(&second).await.unwrap().metadata.uid, before);
    let value = inside.get("inside").await.unwrap().data.unwrap();
    assert_eq!(value.get("value").map(String::as_str), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f66_an_object_of_nobodys_that_is_going_is_awaited_and_then_made() {
    let place = Place::new("nobodysgoing").await;
    place
        .put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "theirs"},
            "metadata": {"name": "settings", "namespace": place.namespace, "finalizers": ["example.com/held"]}}))
        .await;
    crate::hands::delete(&place, CONFIG_MAP, "settings").await;
    let before = place.uid("v1", "ConfigMap", "settings").await.unwrap();
    place.apply("app", &config_map("settings", &[], "ours")).await;
    blocked(&place, "app", &["settings", "being deleted", "example.com/held"]).await;
    let going = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(going.pointer("/data/value"), Some(&json!("theirs")), "nothing is applied onto what is going");
    crate::hands::let_go(&place, CONFIG_MAP, "settings").await;
    place.ended("app", OperationPhase::Succeeded).await;
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_ne!(settings.pointer("/metadata/uid"), Some(&json!(before)));
    assert_eq!(settings.pointer("/data/value"), Some(&json!("ours")));
}
