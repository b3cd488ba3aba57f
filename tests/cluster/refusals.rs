//! What is refused before anything is written, and how it is told.

use serde_json::{Value, json};
use swell::api::{OperationPhase, SyncStatus};

use crate::support::{Place, config_map, deployment, document, job};

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

#[tokio::test(flavor = "multi_thread")]
async fn f41_misspelt_annotations_of_every_kind_are_refused_together_before_any_write() {
    let place = Place::new("misspelt").await;
    let manifests = [
        config_map("good", &[], "1"),
        job("one", &[("argocd.argoproj.io/hook", "PostSnyc")], &[]),
        job("two", &[("helm.sh/hook", "post-instal")], &[]),
        job(
            "three",
            &[("argocd.argoproj.io/hook", "Sync"), ("argocd.argoproj.io/hook-delete-policy", "HookSuceeded")],
            &[],
        ),
        config_map("four", &[("argocd.argoproj.io/sync-wave", "1.5")], "1"),
        config_map("five", &[("argocd.argoproj.io/sync-options", "Purne=false")], "1"),
        config_map("six", &[("swell.dev/timeout", "soon")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    let message = status.operation_state.unwrap().message.unwrap();
    for words in ["\"PostSync\"", "\"post-install\"", "\"HookSucceeded\"", "\"1.5\"", "\"Prune\"", "\"soon\""] {
        assert!(message.contains(words), "{words} is not in {message}");
    }
    for name in ["one", "two", "three", "four", "five", "six"] {
        assert!(message.contains(&format!(" {name}:")), "{name} is not in {message}");
    }
    assert!(place.writes().await.is_empty(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn f61_a_field_of_another_manager_is_a_conflict_by_name_or_taken_by_force() {
    let place = Place::new("conflict").await;
    place
        .put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": place.namespace},
            "data": {"value": "theirs", "more": "theirs"}}))
        .await;
    place.apply("app", &config_map("settings", &[("swell.dev/conflicts", "Fail")], "ours")).await;
    let failed = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    for words in ["settings", "\"test\"", ".data.value"] {
        assert!(message.contains(words), "{words} is not in {message}");
    }
    let data = |object: &serde_json::Value| object.pointer("/data").unwrap().clone();
    assert_eq!(data(&place.get("v1", "ConfigMap", "settings").await.unwrap())["value"], json!("theirs"));
    place.apply("app", &config_map("settings", &[], "ours")).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
    let settings = data(&place.get("v1", "ConfigMap", "settings").await.unwrap());
    assert_eq!(settings, json!({"value": "ours", "more": "theirs"}), "what the manifest does not name stays theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn f62_what_the_server_refuses_to_change_fails_with_the_path_of_the_field() {
    let place = Place::new("immutable").await;
    place.apply("app", &deployment("web", &[], &[])).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("app", &deployment("web", &[], &[]).replace("\"app\":\"web\"", "\"app\":\"other\"")).await;
    let failed = place.ended_after("app", &first, OperationPhase::Failed).await;
    let message = failed.operation_state.unwrap().message.unwrap();
    for words in ["Deployment", "web", "spec.selector", "field is immutable"] {
        assert!(message.contains(words), "{words} is not in {message}");
    }
    assert_ne!(failed.sync.unwrap().status, SyncStatus::Synced);
}

fn with_unknown_field(annotations: &Value) -> String {
    document(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "annotations": annotations},
        "data": {"value": "1"}, "dataa": {"value": "2"}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn f63_a_field_outside_the_schema_is_told_before_the_migration_has_run() {
    let place = Place::new("validate").await;
    let migrate = job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[]);
    place.apply("app", &[migrate, with_unknown_field(&json!({}))].concat()).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("settings") && message.contains(".dataa"), "{message}");
    assert!(place.writes().await.is_empty(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn v15_validate_false_leaves_out_what_the_schema_does_not_know_and_says_so_on_objects_and_on_the_application() {
    let place = Place::new("lenient").await;
    let web = |name: &str, options: Value| {
        document(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": options},
            "spec": {"replicaz": 2, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1", "env": [
                    {"name": "LEVEL", "value": "old"}, {"name": "LEVEL", "value": "new"}
                ]}]}
            }}
        }))
    };
    let lenient = json!({"argocd.argoproj.io/sync-options": "Validate=false"});
    place.apply("strict", &web("strict", json!({}))).await;
    place.apply("object", &web("object", lenient)).await;
    let whole = json!({"syncPolicy": {"syncOptions": ["Validate=false"], "automated": {"selfHeal": true}}});
    place.apply_with("whole", &web("whole", json!({})), whole).await;
    let message = place.ended("strict", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("replicaz"), "{message}");
    for name in ["object", "whole"] {
        let status = place.ended(name, OperationPhase::Succeeded).await;
        assert_eq!(status.sync.unwrap().status, SyncStatus::Synced, "what was left out is no drift");
        let state = status.operation_state.unwrap();
        let row = state.sync_result.unwrap().resources.remove(0).message.unwrap();
        assert!(row.contains("Validate=false") && row.contains(".spec.replicaz") && row.contains("LEVEL"), "{row}");
        let live = place.get("apps/v1", "Deployment", name).await.unwrap();
        let env = live.pointer("/spec/template/spec/containers/0/env").unwrap();
        assert_eq!(env, &json!([{"name": "LEVEL", "value": "new"}]), "the last one counts");
        let writes = place.writes_to("deployments", name).await.len();
        place.ask(name, json!({"sync": {}})).await;
        place.ended_after(name, &state.id, OperationPhase::Succeeded).await;
        assert_eq!(place.writes_to("deployments", name).await.len(), writes, "V23: it is unchanged");
    }
}
