//! Hooks around the deletion of an Application, and what must not hold it.

use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::hands::{Gauges, JOB, depart, patch};
use crate::support::{Place, config_map, document, eventually, job, job_object};

const HOOK: &str = "argocd.argoproj.io/hook";
const POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const SLOW: &[(&str, &str)] = &[("pods.swell.dev/complete-after", "2s")];

fn is_running(job: &Value) -> bool {
    job.pointer("/status/active") == Some(&json!(1))
}

async fn begin_to_delete(place: &Place, name: &str) {
    place.applications().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_a_predelete_hook_runs_before_anything_is_deleted_although_an_object_of_its_name_is_there() {
    let place = Place::new("predelete").await;
    let mut leftover = job_object("farewell", &[], &[]);
    leftover["metadata"]["namespace"] = json!(place.namespace);
    place.put(&leftover).await;
    let complete = |job: &Value| job.pointer("/status/succeeded") == Some(&json!(1));
    let before = place.object(JOB.0, JOB.1, "farewell", "complete", complete).await["metadata"]["uid"].clone();
    let manifests = [config_map("settings", &[], "1"), job("farewell", &[(HOOK, "PreDelete")], SLOW)];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    begin_to_delete(&place, "app").await;
    // Somebody keeps changing the Application meanwhile.
    for number in 0..20 {
        let change = kube::api::Patch::Merge(json!({"metadata": {"labels": {"number": number.to_string()}}}));
        place.applications().patch("app", &kube::api::PatchParams::default(), &change).await.unwrap();
    }
    let is_new = |job: &Value| job["metadata"]["uid"] != before && is_running(job);
    place.object(JOB.0, JOB.1, "farewell", "running anew", is_new).await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some(), "nothing goes before the hook has ended");
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_none());
    assert_eq!(place.creates("jobs", "farewell").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f39_delete_hooks_have_waves_and_several_types_and_their_account_lives_until_they_have_ended() {
    let place = Place::new("delhooks").await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "helper", "annotations": {
        HOOK: "PreSync,PreDelete", POLICY: "HookSucceeded", "argocd.argoproj.io/sync-wave": "-1"}}});
    let mut uses = job_object("uses", &[(HOOK, "PreSync,PreDelete"), (POLICY, "HookSucceeded")], SLOW);
    uses["spec"]["template"]["spec"]["serviceAccountName"] = json!("helper");
    place.apply("app", &[document(&account), document(&uses), config_map("settings", &[], "1")].concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    place.gone(JOB.0, JOB.1, "uses").await;
    place.gone("v1", "ServiceAccount", "helper").await;
    begin_to_delete(&place, "app").await;
    place.object(JOB.0, JOB.1, "uses", "running", is_running).await;
    assert!(place.uid("v1", "ServiceAccount", "helper").await.is_some(), "its account is there while it runs");
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some());
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    for (kind, name) in [(JOB, "uses"), (("v1", "ServiceAccount"), "helper"), (("v1", "ConfigMap"), "settings")] {
        assert!(place.uid(kind.0, kind.1, name).await.is_none(), "{name} stayed");
    }
    assert_eq!(place.creates("jobs", "uses").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn v11_a_failed_predelete_hook_keeps_the_objects_and_is_tried_again() {
    let place = Place::new("faildelete").await;
    let manifests =
        |pod: &[(&str, &str)]| [config_map("settings", &[], "1"), job("drain", &[(HOOK, "PreDelete")], pod)].concat();
    place.apply("app", &manifests(&[("pods.swell.dev/fail-after", "1s")])).await;
    place.ended("app", OperationPhase::Succeeded).await;
    begin_to_delete(&place, "app").await;
    let told = place
        .status("app", "told of the failed hook", |status| {
            let state = status.operation_state.as_ref();
            state.and_then(|state| state.message.as_deref()).is_some_and(|message| message.contains("is tried again"))
        })
        .await;
    let message = told.operation_state.unwrap().message.unwrap();
    for words in ["drain", "exited with code 1", "swell.dev/release=now"] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some());
    place.apply("app", &manifests(&[])).await;
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_none());
    assert!(place.creates("jobs", "drain").await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn x6_f40_release_lets_an_application_go_also_while_its_deletion_waits_for_its_next_attempt() {
    let place = Place::new("releasewait").await;
    let manifests = [
        config_map("settings", &[], "1"),
        job("drain", &[(HOOK, "PreDelete")], &[("pods.swell.dev/fail-after", "1s")]),
    ];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    begin_to_delete(&place, "app").await;
    let waits = |status: &swell::api::ApplicationStatus| {
        let state = status.operation_state.as_ref();
        // The longer the pause, the later would a tick have found the annotation.
        state.is_some_and(|state| state.attempt >= 2 && state.message.as_deref().unwrap_or("").contains("tried again"))
    };
    place.status("app", "told of the second failure", waits).await;
    let release = json!({"metadata": {"annotations": {"swell.dev/release": "now"}}});
    let change = kube::api::Patch::Merge(release);
    place.applications().patch("app", &kube::api::PatchParams::default(), &change).await.unwrap();
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some(), "its objects stay");
    assert!(place.creates("jobs", "drain").await <= 2, "it went by the annotation, not by a further attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_an_application_with_a_long_name_is_deleted_with_its_hooks() {
    let place = Place::new("long").await;
    let name = format!("a{}", "-very-long-name".repeat(6));
    assert!(name.len() > 70);
    let mut drain = job_object("x", &[(HOOK, "PreSync,PreDelete")], &[]);
    drain["metadata"]["name"] = json!(null);
    drain["metadata"]["generateName"] = json!("drain-before-the-very-last-of-all-of-them-is-gone-");
    place.apply(&name, &[document(&drain), config_map("settings", &[], "1")].concat()).await;
    place.ended(&name, OperationPhase::Succeeded).await;
    depart(&place, &name).await;
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_none());
    let created = place.writes().await.into_iter().filter(|entry| entry.resource == "jobs" && entry.code == 201);
    assert_eq!(created.count(), 2, "one for the sync, one for the deletion");
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_f74_objects_whose_kind_was_removed_hold_neither_a_prune_nor_a_deletion() {
    let place = Place::new("nokind").await;
    let gauges = Gauges::new(&place).await;
    let pruning = json!({"syncPolicy": {"automated": {"prune": true}}});
    for app in ["pruned", "deleted"] {
        let settle = json!({"swell.dev/settle": "0s"});
        let manifests = [document(&gauges.manifest(app, 1, &settle)), config_map(&format!("{app}-settings"), &[], "1")];
        place.apply_with(app, &manifests.concat(), pruning.clone()).await;
    }
    let mut ids = Vec::new();
    for app in ["pruned", "deleted"] {
        ids.push(place.ended(app, OperationPhase::Succeeded).await.operation_state.unwrap().id);
    }
    gauges.take_away().await;
    place.apply_with("pruned", &config_map("pruned-settings", &[], "2"), pruning).await;
    place.ended_after("pruned", &ids[0], OperationPhase::Succeeded).await;
    depart(&place, "deleted").await;
    assert!(place.uid("v1", "ConfigMap", "deleted-settings").await.is_none());
    depart(&place, "pruned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f56_an_application_that_is_deleted_in_the_middle_of_a_sync_ends_it_and_applies_nothing_more() {
    let place = Place::new("midsync").await;
    let manifests = [
        crate::support::deployment("web", &[], &[("pods.swell.dev/ready", "never")]),
        config_map("after", &[("argocd.argoproj.io/sync-wave", "1")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    crate::hands::blocked(&place, "app", &["web", "replicas"]).await;
    begin_to_delete(&place, "app").await;
    // What would let the wave go comes too late.
    let pods: Api<DynamicObject> = place.api("v1", "Pod");
    for pod in pods.list(&kube::api::ListParams::default()).await.unwrap().items {
        let ready = json!({"metadata": {"annotations": {"pods.swell.dev/ready": null}}});
        patch(&place, ("v1", "Pod"), &pod.metadata.name.unwrap(), ready).await;
    }
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(place.writes_to("configmaps", "after").await.len(), 0);
    assert!(place.uid("apps/v1", "Deployment", "web").await.is_none());
}
