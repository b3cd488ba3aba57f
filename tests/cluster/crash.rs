//! The operator dies; nothing is done twice and nothing is lost.

use serde_json::json;
use swell::api::OperationPhase;

use crate::support::{Place, config_map, deployment, job};

const HOOK: &str = "argocd.argoproj.io/hook";

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_hook_runs_once_also_when_the_operator_is_killed_while_it_runs() {
    let mut place = Place::new("killed").await;
    let manifests = [
        job("migrate", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "4s")]),
        config_map("settings", &[], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    place.object("batch/v1", "Job", "migrate", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    place.kill_operator();
    let uid = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    let id = place.applications().get("app").await.unwrap().status.unwrap().operation_state.unwrap().id;
    place.start_operator().await;
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!(state.id, id, "the same operation goes on");
    assert_eq!(place.uid("batch/v1", "Job", "migrate").await.unwrap(), uid);
    assert_eq!(place.creates("jobs", "migrate").await, 1);
    assert_eq!(place.creates("configmaps", "settings").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_the_outcome_of_a_hook_that_ended_while_nobody_looked_is_learnt() {
    let mut place = Place::new("unseen").await;
    let mut hook =
        crate::support::job_object("migrate", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "2s")]);
    hook["spec"]["ttlSecondsAfterFinished"] = json!(0);
    place.apply("app", &[crate::support::document(&hook), config_map("settings", &[], "1")].concat()).await;
    place.object("batch/v1", "Job", "migrate", "there", |_| true).await;
    place.kill_operator();
    place
        .object("batch/v1", "Job", "migrate", "complete", |job| job.pointer("/status/succeeded") == Some(&json!(1)))
        .await;
    place.start_operator().await;
    place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(place.creates("jobs", "migrate").await, 1);
    place.gone("batch/v1", "Job", "migrate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f52_a_restart_goes_on_in_the_same_wave_and_writes_nothing_of_a_later_one() {
    let mut place = Place::new("restart").await;
    let manifests = [
        config_map("zero", &[], "1"),
        deployment("first", &[("argocd.argoproj.io/sync-wave", "1")], &[("pods.swell.dev/ready", "never")]),
        config_map("second", &[("argocd.argoproj.io/sync-wave", "2")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    let in_second_stage = |status: &swell::api::ApplicationStatus| {
        let stage = status.operation_state.as_ref().and_then(|state| state.stage.as_ref());
        stage.is_some_and(|stage| stage.text == "Sync 1 (2/3)" && !stage.blocked_on.is_empty())
    };
    let before = place.status("app", "in the second stage", in_second_stage).await;
    place.kill_operator();
    place.start_operator().await;
    // The new process says so itself: the stage begins anew for it.
    let since = before.operation_state.unwrap().stage.unwrap().since;
    place
        .status("app", "in the second stage again", |status| {
            in_second_stage(status) && status.operation_state.as_ref().unwrap().stage.as_ref().unwrap().since > since
        })
        .await;
    assert_eq!(place.writes_to("configmaps", "second").await.len(), 0);
    assert_eq!(place.writes_to("configmaps", "zero").await.len(), 1, "what is done is not written again");
    let pods = place.api("v1", "Pod");
    for pod in pods.list(&kube::api::ListParams::default().labels("app=first")).await.unwrap() {
        let patch = json!({"metadata": {"annotations": {"pods.swell.dev/ready": null}}});
        let params = kube::api::PatchParams::default();
        pods.patch(pod.metadata.name.as_deref().unwrap(), &params, &kube::api::Patch::Merge(&patch)).await.unwrap();
    }
    place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(place.creates("configmaps", "second").await, 1);
}
