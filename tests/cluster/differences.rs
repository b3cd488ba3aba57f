//! `ignoreDifferences`: what others set is no drift, and stays with `RespectIgnoreDifferences=true`.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{OperationPhase, SyncStatus};
use swell::engine::fields::applied;

use crate::support::{Place, deployment, kubectl};

/// The manifests of a Deployment whose image changes; only one of its annotations tells which one it is.
fn web(image: &str) -> String {
    deployment("web", &[], &[]).replace("app:1", image)
}

fn spec(options: &[&str], difference: &Value) -> Value {
    let mut whole = json!({"group": "apps", "kind": "Deployment"});
    whole.as_object_mut().unwrap().extend(difference.as_object().unwrap().clone());
    json!({
        "syncPolicy": {"automated": {"selfHeal": true}, "syncOptions": options},
        "ignoreDifferences": [whole]
    })
}

fn field<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

/// Scales as an autoscaler does, and waits until the operator has seen it; it must find no drift in it.
async fn scaled(place: &Place, replicas: &str) {
    kubectl(&["scale", "deployment/web", "--replicas", replicas, "--namespace", &place.namespace]);
    // The status tells the health of the Deployment: all of its pods are there only after the scaling was seen.
    let ready = json!(replicas.parse::<i64>().unwrap());
    place.object("apps/v1", "Deployment", "web", "scaled", |web| *field(web, "/status/readyReplicas") == ready).await;
    place.apply("marker", &crate::support::config_map("marker", &[], replicas)).await;
    place
        .status("marker", "synced", |status| {
            status.operation_state.as_ref().is_some_and(|state| state.phase.is_ended())
        })
        .await;
    let status = place.applications().get("app").await.unwrap().status.unwrap();
    assert_eq!(status.sync.unwrap().status, SyncStatus::Synced);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_autoscaler_sets_is_no_drift_and_stays_over_a_rollout_when_it_is_respected() {
    for (prefix, difference) in [
        ("pointer", json!({"jsonPointers": ["/spec/replicas"]})),
        ("jq", json!({"jqPathExpressions": [".spec.replicas"]})),
        ("manager", json!({"managedFieldsManagers": ["kubectl"]})),
    ] {
        let place = Place::new(prefix).await;
        let spec = spec(&["RespectIgnoreDifferences=true"], &difference);
        place.apply_with("app", &web("app:1"), spec.clone()).await;
        let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
        let created = place.get("apps/v1", "Deployment", "web").await.unwrap();
        assert_eq!(field(&created, "/spec/replicas"), &json!(1), "{prefix}: where there is none, the manifest counts");
        scaled(&place, "3").await;
        assert_eq!(place.writes_to("deployments", "web").await.len(), 1, "{prefix}: no self-heal");
        place.apply_with("app", &web("app:2"), spec).await;
        let status = place.ended_after("app", &first, OperationPhase::Succeeded).await;
        let state = status.operation_state.unwrap();
        assert_eq!(state.self_heal, None, "{prefix}");
        let web = place.get("apps/v1", "Deployment", "web").await.unwrap();
        assert_eq!(field(&web, "/spec/template/spec/containers/0/image"), &json!("app:2"), "{prefix}");
        assert_eq!(field(&web, "/spec/replicas"), &json!(3), "{prefix}");
        let manager = place.owner("app").field_manager();
        let (ours, _) = applied(&web, &manager).unwrap();
        assert_eq!(ours.pointer("/f:spec/f:replicas"), None, "{prefix}: it was not taken either");
        // And the next sync has nothing to write.
        place.ask("app", json!({"sync": {}})).await;
        place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
        assert_eq!(place.writes_to("deployments", "web").await.len(), 2, "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_respecting_it_an_ignored_difference_is_no_drift_and_the_next_sync_resets_it() {
    let place = Place::new("reset").await;
    let spec = spec(&[], &json!({"jsonPointers": ["/spec/replicas"]}));
    place.apply_with("app", &web("app:1"), spec).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    scaled(&place, "3").await;
    assert_eq!(place.writes_to("deployments", "web").await.len(), 1);
    place.ask("app", json!({"sync": {}})).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let web = place.get("apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(field(&web, "/spec/replicas"), &json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_field_that_only_we_own_is_not_removed_by_respecting_it() {
    let place = Place::new("ours").await;
    let two = |image: &str, replicas: i64| web(image).replace("\"replicas\":1", &format!("\"replicas\":{replicas}"));
    let respect = ["RespectIgnoreDifferences=true"];
    let containers = json!({"jsonPointers": ["/spec/replicas", "/spec/template/spec/containers/0/image"]});
    place.apply_with("app", &two("app:1", 2), spec(&respect, &containers)).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    // A field that is left out would go back to its default, which is 1.
    // Somebody sets an image beside; of the rest everything is ours.
    kubectl(&["set", "image", "deployment/web", "app=app:9", "--namespace", &place.namespace]);
    place.apply_with("app", &two("app:2", 3), spec(&respect, &containers)).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let web = place.get("apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(
        field(&web, "/spec/replicas"),
        &json!(2),
        "what is in the cluster stays, also over a change of the manifest"
    );
    assert_eq!(field(&web, "/spec/template/spec/containers/0/image"), &json!("app:9"));
    let status = place.applications().get("app").await.unwrap().status.unwrap();
    assert_eq!(status.sync.unwrap().status, SyncStatus::Synced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_ignored_counts_at_once_and_what_cannot_be_understood_writes_nothing() {
    let place = Place::new("rules").await;
    let patch = |differences: Value| {
        let api = place.applications();
        async move {
            let patch = Patch::Merge(json!({"spec": {"ignoreDifferences": differences}}));
            api.patch("app", &PatchParams::default(), &patch).await.unwrap();
        }
    };
    let bad = json!([{"group": "apps", "kind": "Deployment", "jqPathExpressions": ["..|.replicas?"]}]);
    place.apply_with("app", &web("app:1"), json!({"ignoreDifferences": bad})).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(
        message.contains("spec.ignoreDifferences[0].jqPathExpressions[0]") && message.contains("select(...)"),
        "{message}"
    );
    assert!(place.uid("apps/v1", "Deployment", "web").await.is_none());

    patch(json!([])).await;
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    kubectl(&["scale", "deployment/web", "--replicas", "2", "--namespace", &place.namespace]);
    let sync_is = |wanted: SyncStatus| {
        move |status: &swell::api::ApplicationStatus| status.sync.as_ref().is_some_and(|sync| sync.status == wanted)
    };
    place.status("app", "OutOfSync", sync_is(SyncStatus::OutOfSync)).await;
    patch(json!([{"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}])).await;
    place.status("app", "Synced", sync_is(SyncStatus::Synced)).await;
    patch(json!([])).await;
    place.status("app", "OutOfSync again", sync_is(SyncStatus::OutOfSync)).await;
    assert_eq!(place.writes_to("deployments", "web").await.len(), 1);
}
