//! How an Application goes: with its objects, without them, and when somebody else holds it.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::support::{Place, config_map, deployment, eventually};

/// Adds a finalizer of somebody else to an Application.
async fn hold(place: &Place, name: &str) {
    let application = place.applications().get(name).await.unwrap();
    let mut finalizers = application.metadata.finalizers.unwrap_or_default();
    finalizers.push("example.com/other".to_owned());
    patch(place, name, json!({"metadata": {"finalizers": finalizers}})).await;
}

async fn patch(place: &Place, name: &str, patch: Value) {
    place.applications().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// Waits until only the finalizer of somebody else is left.
async fn only_held_by_another(place: &Place, name: &str) {
    eventually("our finalizer is off", || async {
        let finalizers = place.applications().get(name).await.unwrap().metadata.finalizers.unwrap_or_default();
        (finalizers == ["example.com/other"]).then_some(())
    })
    .await;
}

/// How often the operator began an operation.
fn operations(place: &Place) -> usize {
    place.operator_log().matches("starts an operation").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_an_application_that_another_finalizer_holds_is_deleted_once() {
    let place = Place::new("held").await;
    place.apply("app", &config_map("settings", &[], "1")).await;
    place.ended("app", OperationPhase::Succeeded).await;
    hold(&place, "app").await;
    place.applications().delete("app", &DeleteParams::default()).await.unwrap();
    place.gone("v1", "ConfigMap", "settings").await;
    only_held_by_another(&place, "app").await;
    // Whatever happens to it then begins nothing.
    patch(&place, "app", json!({"metadata": {"annotations": {"note": "by hand"}}})).await;
    place.apply("next", &config_map("other", &[], "1")).await;
    place.ended("next", OperationPhase::Succeeded).await;
    assert_eq!(
        operations(&place),
        3,
        "one sync and one deletion, and the sync of the other:\n{}",
        place.operator_log()
    );
    patch(&place, "app", json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaning_application_that_another_finalizer_holds_keeps_its_objects_and_they_are_found_again() {
    let place = Place::new("orphan").await;
    let orphan = json!({"deletionPolicy": "Orphan", "syncPolicy": {"automated": {"prune": true}}});
    place
        .apply_with("app", &[config_map("keep", &[], "1"), config_map("old", &[], "1")].concat(), orphan.clone())
        .await;
    place.ended("app", OperationPhase::Succeeded).await;
    let uid = place.uid("v1", "ConfigMap", "keep").await.unwrap();
    hold(&place, "app").await;
    place.applications().delete("app", &DeleteParams::default()).await.unwrap();
    // The operator has seen it when it has deployed what came later.
    place.apply("next", &config_map("other", &[], "1")).await;
    place.ended("next", OperationPhase::Succeeded).await;
    assert_eq!(place.uid("v1", "ConfigMap", "keep").await.as_ref(), Some(&uid));
    patch(&place, "app", json!({"metadata": {"finalizers": null}})).await;
    eventually("app is gone", || async { place.applications().get_opt("app").await.unwrap().is_none().then_some(()) })
        .await;
    // I5: what was left behind belongs to the next one of that name, also what it does not want.
    place.apply_with("app", &config_map("keep", &[], "1"), orphan).await;
    place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(place.uid("v1", "ConfigMap", "keep").await, Some(uid));
    place.gone("v1", "ConfigMap", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_changed_to_orphan_in_the_same_breath_as_the_deletion_counts() {
    let mut place = Place::new("breath").await;
    place.apply("app", &config_map("settings", &[], "1")).await;
    place.ended("app", OperationPhase::Succeeded).await;
    place.kill_operator();
    patch(&place, "app", json!({"spec": {"deletionPolicy": "Orphan"}})).await;
    place.applications().delete("app", &DeleteParams::default()).await.unwrap();
    place.start_operator().await;
    eventually("app is gone", || async { place.applications().get_opt("app").await.unwrap().is_none().then_some(()) })
        .await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_an_application_that_is_deleted_and_created_again_at_once_is_synced_each_time() {
    let place = Place::new("again").await;
    for round in 0..4 {
        place.apply("app", &[config_map("settings", &[], "1"), deployment("web", &[], &[])].concat()).await;
        place.ended("app", OperationPhase::Succeeded).await;
        assert!(place.uid("apps/v1", "Deployment", "web").await.is_some(), "round {round}");
        place.applications().delete("app", &DeleteParams::default()).await.unwrap();
        // No pause between its end and the next one of its name.
        let end = tokio::time::Instant::now() + Duration::from_mins(1);
        while place.applications().get_opt("app").await.unwrap().is_some() {
            assert!(tokio::time::Instant::now() < end, "round {round}: never gone\n{}", place.operator_log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_nothing_stays_of_an_application_that_is_deleted_while_it_is_written() {
    let place = Place::new("midway").await;
    let manifests: String = (0..60).map(|n| config_map(&format!("part-{n}"), &[], "1")).collect();
    place.apply("app", &manifests).await;
    eventually("the first object is there", || async { place.uid("v1", "ConfigMap", "part-0").await }).await;
    place.applications().delete("app", &DeleteParams::default()).await.unwrap();
    eventually("app is gone", || async { place.applications().get_opt("app").await.unwrap().is_none().then_some(()) })
        .await;
    let left = place.api("v1", "ConfigMap").list(&kube::api::ListParams::default()).await.unwrap();
    let left: Vec<_> = left.items.iter().filter_map(|item| item.metadata.name.clone()).collect();
    assert!(left.iter().all(|name| !name.starts_with("part-")), "{left:?}");
}
