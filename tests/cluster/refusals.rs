//! What is refused before anything is written, and how it is told.

use serde_json::json;
use swell::api::OperationPhase;

use crate::support::{Place, config_map, deployment, document, job, namespace};

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_bad_wave_is_refused_before_any_write_by_name_and_line() {
    let place = Place::new("badwave").await;
    let manifests = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: good
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  annotations:
    argocd.argoproj.io/sync-wave: \"one\"
";
    place.apply("app", manifests).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    let message = status.operation_state.unwrap().message.unwrap();
    assert!(message.contains("document 2, line 11: ConfigMap settings"), "{message}");
    assert!(message.contains("argocd.argoproj.io/sync-wave: \"one\" is not a whole number"), "{message}");
    assert!(place.writes().await.is_empty(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_an_object_that_the_account_may_not_write_is_told_before_any_write_with_the_command_that_grants_it() {
    let mut place = Place::without_operator("rights").await;
    let other = namespace(&place.client, "foreign").await;
    place.also_look_at(&other);
    place.start_operator().await;
    let foreign =
        document(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": other}}));
    let manifests = [config_map("good", &[], "1"), foreign].concat();
    place.apply("app", &manifests).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(message.starts_with("nothing was written"), "{message}");
    let said = format!("service account {}/default may not create configmaps in namespace {other}", place.namespace);
    assert!(message.contains(&said), "{message}");
    let command = format!(
        "kubectl create rolebinding default-edit --namespace {other} --clusterrole edit --serviceaccount {}:default",
        place.namespace
    );
    assert!(message.contains(&command), "{message}");
    assert!(place.writes().await.is_empty(), "nothing was written");
    // The command is one that works.
    let words: Vec<_> = command.split(' ').skip(1).collect();
    crate::support::kubectl(&words);
    place.ask("app", json!({"sync": {}})).await;
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_account_that_does_not_exist_is_told_with_the_command_that_creates_it() {
    let place = Place::new("noaccount").await;
    place.apply_with("app", &config_map("settings", &[], "1"), json!({"serviceAccountName": "deployer"})).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    let command = format!("kubectl create serviceaccount deployer --namespace {}", place.namespace);
    assert!(message.contains("deployer does not exist") && message.contains(&command), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f63_what_the_rehearsal_refuses_is_told_before_the_migration_has_run() {
    let place = Place::new("rehearsal").await;
    let mut bad =
        serde_json::from_str::<serde_json::Value>(deployment("web", &[], &[]).trim_start_matches("---\n")).unwrap();
    bad["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let manifests = [job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[]), document(&bad)].concat();
    place.apply("app", &manifests).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("the rehearsal was refused: Deployment") && message.contains("selector"), "{message}");
    assert!(place.writes().await.is_empty(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_the_rehearsal_itself_creates_nothing() {
    let place = Place::new("dry").await;
    let manifests = [
        job("first", &[("argocd.argoproj.io/hook", "PreSync")], &[("pods.swell.dev/complete-after", "2s")]),
        job("second", &[("argocd.argoproj.io/hook", "PostSync")], &[]),
        config_map("settings", &[], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    place.object("batch/v1", "Job", "first", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    assert!(place.uid("batch/v1", "Job", "second").await.is_none());
    place.ended("app", OperationPhase::Succeeded).await;
    for name in ["first", "second"] {
        assert_eq!(place.creates("jobs", name).await, 1);
    }
}
