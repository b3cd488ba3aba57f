//! Order on the real control plane: waves wait, the last one too, and nothing is written twice.

use futures::StreamExt;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::json;
use swell::api::{HealthStatus, OperationPhase, SyncStatus};
use testbed::audit::Filter;

use crate::support::{Place, config_map, deployment, job, testbed};

const WAVE: &str = "argocd.argoproj.io/sync-wave";

fn number(object: &DynamicObject) -> u64 {
    object.metadata.resource_version.as_ref().unwrap().parse().unwrap()
}

/// The resourceVersion of the first event of a collection for which `is` holds.
pub(crate) async fn first_version(api: Api<DynamicObject>, from: String, is: impl Fn(&DynamicObject) -> bool) -> u64 {
    let mut events = Box::pin(api.watch(&WatchParams::default(), &from).await.unwrap());
    loop {
        match events.next().await.expect("the watch lasts as long as the test").unwrap() {
            WatchEvent::Added(object) | WatchEvent::Modified(object) if is(&object) => return number(&object),
            _ => {}
        }
    }
}

pub(crate) async fn now(api: &Api<DynamicObject>) -> String {
    api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_no_object_of_the_second_wave_exists_before_the_first_is_ready() {
    let place = Place::new("waves").await;
    let (deployments, maps) = (place.api("apps/v1", "Deployment"), place.api("v1", "ConfigMap"));
    let (from_deployments, from_maps) = (now(&deployments).await, now(&maps).await);
    let ready = tokio::spawn(first_version(deployments, from_deployments, |object| {
        object.data.pointer("/status/availableReplicas") == Some(&json!(1))
    }));
    let created =
        tokio::spawn(first_version(maps, from_maps, |object| object.metadata.name.as_deref() == Some("second")));
    let manifests =
        [deployment("first", &[], &[("pods.swell.dev/ready-after", "3s")]), config_map("second", &[(WAVE, "1")], "x")];
    place.apply("app", &manifests.concat()).await;
    let waiting = place
        .status("app", "waiting in its first stage", |status| {
            let stage = status.operation_state.as_ref().and_then(|state| state.stage.as_ref());
            stage.is_some_and(|stage| stage.text == "Sync 0 (1/2)" && stage.deadline.is_some())
        })
        .await;
    let stage = waiting.operation_state.unwrap().stage.unwrap();
    assert_eq!(stage.blocked_on[0].name, "first", "the status says what is waited for");
    assert!(stage.blocked_on[0].reason.is_some(), "and why");
    let status = place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(status.sync.unwrap().status, SyncStatus::Synced);
    assert_eq!(status.health.unwrap().status, HealthStatus::Healthy);
    let (ready, created) = (ready.await.unwrap(), created.await.unwrap());
    assert!(created > ready, "created at {created}, before the first wave was ready at {ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_the_last_wave_is_waited_for_like_every_other() {
    let place = Place::new("last").await;
    let failing = deployment("web", &[("swell.dev/timeout", "4s")], &[("pods.swell.dev/ready", "never")]);
    let sync_fail = job("notify", &[("argocd.argoproj.io/hook", "SyncFail")], &[]);
    place.apply("app", &[failing, sync_fail].concat()).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    let message = status.operation_state.unwrap().message.unwrap();
    assert!(message.contains("Deployment") && message.contains("web") && message.contains("within 4s"), "{message}");
    assert_eq!(place.creates("jobs", "notify").await, 1, "F18: SyncFail covers a late last wave");
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_s9_without_waiting_for_health_the_last_wave_is_applied_and_left_but_earlier_ones_are_waited_for() {
    let place = Place::new("nowait").await;
    let spec = json!({"syncPolicy": {"syncOptions": ["WaitForHealth=false"]}});
    let manifests = [
        deployment("first", &[], &[("pods.swell.dev/ready-after", "2s")]),
        deployment("last", &[(WAVE, "1")], &[("pods.swell.dev/ready", "never")]),
    ];
    place.apply_with("app", &manifests.concat(), spec).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let first = place.get("apps/v1", "Deployment", "first").await.unwrap();
    assert_eq!(first.pointer("/status/availableReplicas"), Some(&json!(1)));
    let last = place.get("apps/v1", "Deployment", "last").await.unwrap();
    assert_ne!(last.pointer("/status/availableReplicas"), Some(&json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_resync_of_a_synced_application_writes_nothing() {
    let mut place = Place::new("quiet").await;
    let manifests =
        [config_map("settings", &[], "1"), deployment("web", &[(WAVE, "1")], &[]), job("import", &[(WAVE, "2")], &[])];
    place.apply("app", &manifests.concat()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await;
    place
        .status("app", "Ready", |status| status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        .await;

    // A restart reads everything anew: still nothing to write, for the Application neither.
    place.kill_operator();
    let audit = testbed().audit();
    audit.flushed(&place.client).await.unwrap();
    let mark = audit.mark().unwrap();
    place.start_operator().await;
    // Whatever the operator does at its start is done when it has taken up the next request: that is its last word.
    let writes = place.writes().await.len();
    place.ask("app", json!({"sync": {}, "initiatedBy": {"username": "test"}})).await;
    let id = first.operation_state.unwrap().id;
    let status = place.ended_after("app", &id, OperationPhase::Succeeded).await;
    let state = status.operation_state.unwrap();
    assert_eq!(state.initiated_by.unwrap().username.as_deref(), Some("test"));
    assert_eq!(place.writes().await.len(), writes, "nothing was written to a managed object");
    let by_operator = audit.read_since(mark, &Filter::namespace(&place.namespace)).unwrap();
    let asked = by_operator
        .iter()
        .find(|entry| {
            entry.resource == "applications" && entry.verb == "patch" && !entry.user_agent.starts_with("swell/")
        })
        .unwrap();
    let early: Vec<_> = by_operator
        .iter()
        .filter(|entry| entry.user_agent.starts_with("swell/") && entry.is_write() && entry.group == "swell.dev")
        .filter(|entry| entry.received_us < asked.received_us)
        .collect();
    assert!(early.is_empty(), "a restart of a quiet Application wrote its status: {early:#?}");
    let application = place.applications().get("app").await.unwrap();
    assert!(application.operation.is_none(), "the request was cleared when it was taken up");
}

#[tokio::test(flavor = "multi_thread")]
async fn f64_a_crd_and_its_resource_in_one_sync_need_no_annotations() {
    let place = Place::new("crd").await;
    let group = format!("{}.example", place.namespace);
    // CRDs are cluster-scoped: the account gets that right for this test.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": place.namespace},
        "rules": [
            {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["*"]},
            {"apiGroups": [group], "resources": ["*"], "verbs": ["*"]}
        ]
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": place.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": place.namespace},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": place.namespace}]
    });
    place.put(&role).await;
    place.put(&binding).await;
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}"), "annotations": {"argocd.argoproj.io/sync-wave": "3"}},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}
    });
    let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "one"}, "size": 1});
    place.apply("app", &format!("{widget}\n---\n{crd}\n")).await;
    let status = place.ended("app", OperationPhase::Succeeded).await;
    let rows = status.operation_state.unwrap().sync_result.unwrap().resources;
    let widget = rows.iter().find(|row| row.kind == "Widget").unwrap();
    assert!(widget.message.as_ref().unwrap().contains("not gated"), "F04: {widget:?}");
}
