//! Whose objects they are: members carry their marks, nobody else's are touched.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use swell::api::OperationPhase;

use crate::support::{Place, config_map, deployment, job};

#[tokio::test(flavor = "multi_thread")]
async fn i5_members_carry_label_bucket_and_identity_and_the_application_the_applyset_marks() {
    let place = Place::new("marks").await;
    place.apply("app", &config_map("settings", &[], "1")).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let owner = place.owner("app");
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    let labels = settings.pointer("/metadata/labels").unwrap();
    assert_eq!(labels["applyset.kubernetes.io/part-of"], json!(owner.membership_id()));
    assert_eq!(labels["swell.dev/bucket"], json!(owner.bucket()));
    let applied = settings.pointer("/metadata/annotations").unwrap()["swell.dev/applied"].as_str().unwrap().to_owned();
    assert!(applied.starts_with("1."), "{applied}");
    let managers = settings.pointer("/metadata/managedFields").unwrap().as_array().unwrap();
    assert!(
        managers
            .iter()
            .any(|entry| entry["manager"] == json!(owner.field_manager()) && entry["operation"] == json!("Apply"))
    );
    let application = place.applications().get("app").await.unwrap();
    let metadata = application.metadata;
    assert_eq!(metadata.labels.unwrap()["applyset.kubernetes.io/id"], owner.membership_id());
    assert_eq!(metadata.annotations.unwrap()["applyset.kubernetes.io/contains-group-kinds"], "ConfigMap");
    assert_eq!(metadata.finalizers.unwrap(), ["swell.dev/resources"]);
    assert_eq!(application.status.unwrap().inventory.unwrap().kinds, ["/ConfigMap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_object_of_another_application_is_refused_with_its_name() {
    let place = Place::new("shared").await;
    place.apply("one", &config_map("settings", &[], "one")).await;
    place.ended("one", OperationPhase::Succeeded).await;
    place.apply("two", &config_map("settings", &[], "two")).await;
    let message = place.ended("two", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains(&format!("belongs to the Application {}/one", place.namespace)), "{message}");
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(settings.pointer("/data/value"), Some(&json!("one")));
    // With a migration before it, it is told before that has run.
    let migrate = job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[]);
    place.apply("three", &[migrate, config_map("settings", &[], "three")].concat()).await;
    let message = place.ended("three", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.starts_with("nothing was written") && message.contains("belongs to the Application"), "{message}");
    assert_eq!(place.creates("jobs", "migrate").await, 0);
    place.applications().delete("two", &kube::api::DeleteParams::default()).await.unwrap();
    crate::support::eventually("two is gone", || async {
        place.applications().get_opt("two").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some(), "its deletion deletes nothing of the other's");
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_copy_with_our_marks_is_a_stray_that_no_prune_and_no_deletion_touches() {
    let place = Place::new("stray").await;
    place
        .apply_with("app", &config_map("settings", &[], "1"), json!({"syncPolicy": {"automated": {"prune": true}}}))
        .await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let mut copy = place.get("v1", "ConfigMap", "settings").await.unwrap();
    copy["metadata"] = json!({
        "name": "copy", "namespace": place.namespace,
        "labels": copy["metadata"]["labels"], "annotations": copy["metadata"]["annotations"]
    });
    place.put(&copy).await;
    place.ask("app", json!({"sync": {"prune": true}})).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    place.applications().delete("app", &kube::api::DeleteParams::default()).await.unwrap();
    place.gone("v1", "ConfigMap", "settings").await;
    assert!(place.uid("v1", "ConfigMap", "copy").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_object_that_no_application_owns_is_taken_over() {
    let place = Place::new("takeover").await;
    place
        .put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": place.namespace},
            "data": {"value": "by hand"}}))
        .await;
    place.apply("app", &config_map("settings", &[], "ours")).await;
    let rows =
        place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().sync_result.unwrap().resources;
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(settings.pointer("/data/value"), Some(&json!("ours")));
    assert_eq!(rows[0].message.as_deref(), Some("taken over; until now it was managed by test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_seen_by_ownership_and_fields_of_others_are_none() {
    let place = Place::new("drift").await;
    place.apply("app", &deployment("web", &[], &[])).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let synced = |wanted: &'static str| {
        move |status: &swell::api::ApplicationStatus| {
            status.sync.as_ref().is_some_and(|sync| sync.status.as_str() == wanted)
        }
    };
    place.status("app", "Synced", synced("Synced")).await;
    let deployments = place.api("apps/v1", "Deployment");
    let beside = json!({"metadata": {"annotations": {"note": "by hand"}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(&beside)).await.unwrap();
    let over = json!({"spec": {"replicas": 2}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(&over)).await.unwrap();
    place.status("app", "OutOfSync", synced("OutOfSync")).await;
    place.ask("app", json!({"sync": {}})).await;
    place.status("app", "Synced again", synced("Synced")).await;
    let web = place.get("apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(web.pointer("/spec/replicas"), Some(&json!(1)));
    assert_eq!(web.pointer("/metadata/annotations/note"), Some(&json!("by hand")), "what others add stays");
}
