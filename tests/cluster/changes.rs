//! What changes: the spec, the ConfigMaps of the source, what is no longer wanted, and the end of it all.

use serde_json::json;
use swell::api::{OperationPhase, ResultStatus, SyncStatus};

use crate::support::{Place, config_map, deployment, entry_name, eventually, job};

const WAVE: &str = "argocd.argoproj.io/sync-wave";

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_deleted_application_leaves_nothing_and_goes_in_reverse_wave_order() {
    let place = Place::new("deleted").await;
    let manifests = [
        config_map("zero", &[], "1"),
        deployment("first", &[(WAVE, "1")], &[]),
        config_map("second", &[(WAVE, "2")], "1"),
        job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[]),
    ];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    place.applications().delete("app", &kube::api::DeleteParams::default()).await.unwrap();
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    for (api_version, kind, name) in [
        ("v1", "ConfigMap", "zero"),
        ("apps/v1", "Deployment", "first"),
        ("v1", "ConfigMap", "second"),
        ("batch/v1", "Job", "migrate"),
    ] {
        assert!(place.uid(api_version, kind, name).await.is_none(), "{kind} {name} is still there");
    }
    let deletes: Vec<_> = place.writes().await.into_iter().filter(|entry| entry.verb == "delete").collect();
    let order: Vec<_> = deletes.iter().map(entry_name).collect();
    let place_of = |name: &str| order.iter().position(|deleted| deleted == name).unwrap();
    assert!(place_of("second") < place_of("first") && place_of("first") < place_of("zero"), "{order:?}");
    for delete in &deletes {
        let body = delete.request_object.as_ref().unwrap();
        assert!(body.pointer("/preconditions/uid").is_some(), "I6: a delete without uid: {delete:?}");
        assert!(body.pointer("/propagationPolicy").is_some(), "a delete without propagation policy: {delete:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_orphans_its_objects_goes_without_them() {
    let place = Place::new("orphan").await;
    place.apply_with("app", &config_map("zero", &[], "1"), json!({"deletionPolicy": "Orphan"})).await;
    place.ended("app", OperationPhase::Succeeded).await;
    place.applications().delete("app", &kube::api::DeleteParams::default()).await.unwrap();
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(place.uid("v1", "ConfigMap", "zero").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_config_map_of_the_source_is_synced_by_itself() {
    let place = Place::new("maps").await;
    let source = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "manifests", "namespace": place.namespace},
            "data": {"app.yaml": config_map("settings", &[], value)}})
    };
    place.put(&source("1")).await;
    place.apply_spec("app", json!({"source": {"configMaps": [{"name": "manifests"}]}})).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.put(&source("2")).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(settings.pointer("/data/value"), Some(&json!("2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_several_config_maps_counts_once_all_carry_the_same_revision() {
    let place = Place::new("revision").await;
    let source = |name: &str, value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": place.namespace, "annotations": {"swell.dev/revision": value}},
            "data": {"app.yaml": config_map(&format!("{name}-settings"), &[], value)}})
    };
    for name in ["one", "two"] {
        place.put(&source(name, "1")).await;
    }
    place.apply_spec("app", json!({"source": {"configMaps": [{"name": "one"}, {"name": "two"}]}})).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.put(&source("one", "2")).await;
    // The second map comes later than any quiet time; what is in between is no state that anybody wanted.
    tokio::time::timeout(std::time::Duration::from_secs(4), async {
        eventually("an operation for half a change", || async {
            let state = place.applications().get("app").await.unwrap().status.unwrap().operation_state.unwrap();
            (state.id != first).then_some(())
        })
        .await;
    })
    .await
    .expect_err("half a change was synced");
    place.put(&source("two", "2")).await;
    let second = place.ended_after("app", &first, OperationPhase::Succeeded).await.operation_state.unwrap();
    for name in ["one-settings", "two-settings"] {
        let settings = place.get("v1", "ConfigMap", name).await.unwrap();
        assert_eq!(settings.pointer("/data/value"), Some(&json!("2")), "{name}");
    }
    assert_eq!(place.writes_to("configmaps", "one-settings").await.len(), 2, "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_config_map_of_the_source_is_an_error_and_never_an_empty_set() {
    let place = Place::new("nomap").await;
    place.apply_spec("app", json!({"source": {"configMaps": [{"name": "manifests"}]}})).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    assert_eq!(status.sync.unwrap().status, SyncStatus::Unknown);
    let message = status.operation_state.unwrap().message.unwrap();
    assert!(message.contains("names the ConfigMap manifests"), "{message}");
    // Once it is there, it is synced by itself.
    place
        .put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "manifests", "namespace": place.namespace},
            "data": {"app.yaml": config_map("settings", &[], "1")}}))
        .await;
    place.object("v1", "ConfigMap", "settings", "there", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_wanted_is_pruned_only_when_asked_and_after_the_others_are_healthy() {
    let place = Place::new("prune").await;
    place.apply("app", &[config_map("keep", &[], "1"), config_map("old", &[], "1")].concat()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("app", &config_map("keep", &[], "2")).await;
    let kept = place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let second = kept.operation_state.clone().unwrap();
    let row = second.sync_result.unwrap().resources.into_iter().find(|row| row.name == "old").unwrap();
    assert_eq!(row.status, Some(ResultStatus::PruneSkipped), "{row:?}");
    assert_eq!(kept.sync.unwrap().status, SyncStatus::OutOfSync);
    assert!(place.uid("v1", "ConfigMap", "old").await.is_some());
    place.ask("app", json!({"sync": {"prune": true}})).await;
    let pruned = place.ended_after("app", &second.id, OperationPhase::Succeeded).await;
    assert!(place.uid("v1", "ConfigMap", "old").await.is_none());
    let rows = pruned.operation_state.unwrap().sync_result.unwrap().resources;
    assert_eq!(rows.iter().find(|row| row.name == "old").unwrap().status, Some(ResultStatus::Pruned));
    place
        .status("app", "Synced", |status| status.sync.as_ref().is_some_and(|sync| sync.status == SyncStatus::Synced))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v20_f70_the_old_goes_after_the_new_is_there_and_before_it_only_with_prune_first() {
    let place = Place::new("prunefirst").await;
    for (app, options, old_first) in [("default", json!([]), false), ("first", json!(["PruneFirst=true"]), true)] {
        let spec = json!({"syncPolicy": {"automated": {"prune": true}, "syncOptions": options}});
        let (old, new) = (format!("{app}-old"), format!("{app}-new"));
        place.apply_with(app, &config_map(&old, &[], "1"), spec.clone()).await;
        let id = place.ended(app, OperationPhase::Succeeded).await.operation_state.unwrap().id;
        place.apply_with(app, &config_map(&new, &[], "1"), spec).await;
        place.ended_after(app, &id, OperationPhase::Succeeded).await;
        let writes = place.writes().await;
        let deleted = writes.iter().find(|entry| entry.verb == "delete" && entry_name(entry) == old).unwrap();
        let created = writes.iter().find(|entry| entry.code == 201 && entry_name(entry) == new).unwrap();
        assert_eq!(deleted.received_us < created.received_us, old_first, "{app}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o9_what_is_odd_about_the_manifests_is_told_by_an_event() {
    let place = Place::new("warned").await;
    place.apply("app", &[config_map("twice", &[], "1"), config_map("twice", &[], "2")].concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let note = place.event("ManifestWarning").await;
    assert!(note.contains("the last one counts"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f49_a_fix_supersedes_an_operation_that_waits() {
    let place = Place::new("fix").await;
    place.apply("app", &deployment("web", &[], &[("pods.swell.dev/ready", "never")])).await;
    place
        .status("app", "waiting", |status| {
            let stage = status.operation_state.as_ref().and_then(|state| state.stage.as_ref());
            stage.is_some_and(|stage| !stage.blocked_on.is_empty())
        })
        .await;
    place.apply("app", &deployment("web", &[], &[])).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    let first = status.operation_state.unwrap();
    assert!(first.message.unwrap().starts_with("superseded by revision"));
    place.ended_after("app", &first.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f54_terminate_ends_the_operation_and_stops_its_hook_without_syncfail() {
    let place = Place::new("terminate").await;
    let manifests = [
        job("hang", &[("argocd.argoproj.io/hook", "PreSync")], &[("pods.swell.dev/complete-after", "never")]),
        job("notify", &[("argocd.argoproj.io/hook", "SyncFail")], &[]),
    ];
    place.apply("app", &manifests.concat()).await;
    place.object("batch/v1", "Job", "hang", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    place.ask("app", json!({"terminate": {}})).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert!(state.message.as_ref().unwrap().contains("terminated on request"), "{:?}", state.message);
    assert_eq!(place.creates("jobs", "notify").await, 0, "no SyncFail on terminate");
    let hang = place.get("batch/v1", "Job", "hang").await.unwrap();
    assert_eq!(hang.pointer("/spec/suspend"), Some(&json!(true)));
    place.status("app", "cleared", |_| true).await;
    eventually("the request is cleared", || async {
        place.applications().get("app").await.unwrap().operation.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v10_a_failed_attempt_is_tried_again_as_the_retry_policy_says() {
    let place = Place::new("retry").await;
    let hook = job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[("pods.swell.dev/fail-after", "1s")]);
    let spec = json!({"syncPolicy": {"retry": {"limit": 1, "backoff": {"duration": "1s"}}}});
    place.apply_with("app", &hook, spec).await;
    let waiting = place
        .status("app", "waiting for its next attempt", |status| {
            status.operation_state.as_ref().is_some_and(|state| state.retry_at.is_some())
        })
        .await;
    assert_eq!(waiting.operation_state.unwrap().phase, OperationPhase::Running);
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert_eq!((state.attempt, state.retry_count), (2, 1));
    let told = place.event("AttemptFailed").await;
    assert!(told.starts_with("attempt 1 failed: ") && told.contains("; the next attempt begins at "), "{told}");
    assert_eq!(place.creates("jobs", "migrate").await, 2, "each attempt runs its hooks once");
}

#[tokio::test(flavor = "multi_thread")]
async fn f56_a_namespace_that_is_deleted_takes_its_application_along_without_waiting_for_rights_or_hooks() {
    let place = Place::new("doomed").await;
    let manifests = [
        config_map("zero", &[], "1"),
        job("farewell", &[("argocd.argoproj.io/hook", "PreDelete")], &[("pods.swell.dev/complete-after", "never")]),
    ];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(place.client.clone());
    namespaces.delete(&place.namespace, &kube::api::DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", || async {
        namespaces.get_opt(&place.namespace).await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v11_delete_hooks_run_around_the_deletion_and_go_when_it_has_succeeded() {
    let place = Place::new("farewell").await;
    let manifests = [
        config_map("zero", &[], "1"),
        job("before", &[("argocd.argoproj.io/hook", "PreDelete")], &[("pods.swell.dev/complete-after", "2s")]),
        job("after", &[("argocd.argoproj.io/hook", "PostDelete")], &[("pods.swell.dev/complete-after", "1s")]),
    ];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(place.creates("jobs", "before").await, 0, "not at a sync");
    place.applications().delete("app", &kube::api::DeleteParams::default()).await.unwrap();
    place.object("batch/v1", "Job", "before", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    assert!(place.uid("v1", "ConfigMap", "zero").await.is_some(), "nothing goes before the hook has ended");
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    for name in ["before", "after"] {
        assert_eq!(place.creates("jobs", name).await, 1, "{name} ran once");
        place.gone("batch/v1", "Job", name).await;
    }
    assert!(place.uid("v1", "ConfigMap", "zero").await.is_none());
}
