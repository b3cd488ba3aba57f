//! Hooks on the real control plane: when they run, how often, what becomes of them, and what is told of a failure.

use serde_json::json;
use swell::api::{HookVerdict, OperationPhase, RecordState};

use crate::support::{Place, config_map, deployment, document, eventually, job, job_object};

const HOOK: &str = "argocd.argoproj.io/hook";
const POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const FAIL: &[(&str, &str)] = &[
    ("pods.swell.dev/fail-after", "1s"),
    ("pods.swell.dev/exit-code", "3"),
    ("pods.swell.dev/log", "applying 002\nERROR: column is null\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn i4_i8_a_failing_presync_job_stops_everything_runs_syncfail_once_and_is_told_with_its_last_words() {
    let place = Place::new("presync").await;
    let manifests = [
        job("migrate", &[(HOOK, "PreSync"), (POLICY, "HookFailed")], FAIL),
        config_map("settings", &[], "1"),
        job("notify", &[(HOOK, "SyncFail"), (POLICY, "BeforeHookCreation")], &[]),
    ];
    place.apply("app", &manifests.concat()).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    let state = status.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(message.starts_with("PreSync wave 0 failed: Job"), "{message}");
    assert!(message.contains("migrate") && message.contains("exited with code 3"), "{message}");
    assert!(message.contains("ERROR: column is null"), "the container's last words: {message}");
    assert_eq!(place.writes_to("configmaps", "settings").await.len(), 0, "nothing of Sync was written");
    assert_eq!(place.creates("jobs", "notify").await, 1, "SyncFail ran once");
    assert_eq!(place.creates("jobs", "migrate").await, 1);
    place.gone("batch/v1", "Job", "migrate").await;
    let rows = state.sync_result.unwrap().resources;
    let row = rows.iter().find(|row| row.name == "migrate").unwrap();
    assert_eq!(row.log.as_deref(), Some("applying 002\nERROR: column is null"), "kept after the object is gone");
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.message.contains("code 3")), ("True", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_postsync_runs_only_after_everything_is_healthy() {
    let place = Place::new("postsync").await;
    let manifests = [
        deployment("web", &[], &[("pods.swell.dev/ready-after", "3s")]),
        job("smoke", &[(HOOK, "PostSync")], &[("pods.swell.dev/complete-after", "1s")]),
    ];
    place.apply("app", &manifests.concat()).await;
    let web = place
        .object("apps/v1", "Deployment", "web", "available", |object| {
            object.pointer("/status/availableReplicas") == Some(&json!(1))
        })
        .await;
    place.ended("app", OperationPhase::Succeeded).await;
    let smoke = place.get("batch/v1", "Job", "smoke").await.unwrap();
    let time =
        |object: &serde_json::Value, pointer: &str| object.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let conditions = web.pointer("/status/conditions").unwrap().as_array().unwrap();
    let available = conditions.iter().find(|condition| condition["type"] == "Available").unwrap();
    assert!(
        time(&smoke, "/metadata/creationTimestamp") >= time(available, "/lastTransitionTime"),
        "created at {}, before the Deployment was available at {}",
        time(&smoke, "/metadata/creationTimestamp"),
        time(available, "/lastTransitionTime")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn v6_each_delete_policy_follows_the_outcome_of_its_own_hook() {
    let place = Place::new("policies").await;
    let policies = [
        ("none", None),
        ("succeeded", Some("HookSucceeded")),
        ("failed", Some("HookFailed")),
        ("before", Some("BeforeHookCreation")),
    ];
    for (outcome, pod) in [("ok", &[][..]), ("bad", FAIL)] {
        let jobs: String = policies
            .iter()
            .map(|(name, policy)| {
                let mut annotations = vec![(HOOK, "PreSync")];
                annotations.extend(policy.map(|policy| (POLICY, policy)));
                job(&format!("{outcome}-{name}"), &annotations, pod)
            })
            .collect();
        place.apply(outcome, &jobs).await;
    }
    let ok = place.ended("ok", OperationPhase::Succeeded).await;
    let bad = place.ended("bad", OperationPhase::Failed).await;
    for gone in ["ok-succeeded", "bad-failed"] {
        place.gone("batch/v1", "Job", gone).await;
    }
    for stays in ["ok-none", "ok-failed", "ok-before", "bad-none", "bad-succeeded", "bad-before"] {
        assert!(
            place.uid("batch/v1", "Job", stays).await.is_some(),
            "{stays} stays\n{bad:#?}\n{}",
            place.operator_log()
        );
    }
    for (status, deleted) in [(ok, "ok-succeeded"), (bad, "bad-failed")] {
        assert_eq!(status.hooks.len(), 4);
        for hook in status.hooks {
            let expected = if hook.name == deleted { RecordState::Cleared } else { RecordState::Ended };
            assert_eq!(hook.record, expected, "{}", hook.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_hook_job_with_a_time_to_live_of_zero_is_recorded_with_its_outcome() {
    let place = Place::new("ttl").await;
    for (app, pod, phase, verdict) in [
        ("good", &[][..], OperationPhase::Succeeded, HookVerdict::Succeeded),
        ("bad", FAIL, OperationPhase::Failed, HookVerdict::Failed),
    ] {
        let mut hook = job_object(&format!("{app}-job"), &[(HOOK, "PreSync")], pod);
        hook["spec"]["ttlSecondsAfterFinished"] = json!(0);
        place.apply(app, &document(&hook)).await;
        let status = place.ended(app, phase).await;
        assert_eq!(status.hooks[0].outcome.as_ref().unwrap().phase, verdict);
        place.gone("batch/v1", "Job", &format!("{app}-job")).await;
        assert_eq!(place.creates("jobs", &format!("{app}-job")).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_a_second_sync_deletes_the_leftover_and_runs_the_hook_anew() {
    let place = Place::new("again").await;
    let hook = job("migrate", &[(HOOK, "PreSync"), (POLICY, "BeforeHookCreation")], &[]);
    place.apply("app", &[hook.clone(), config_map("settings", &[], "1")].concat()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let before = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    place.apply("app", &[hook, config_map("settings", &[], "2")].concat()).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let after = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    assert_ne!(before, after);
    assert_eq!(place.creates("jobs", "migrate").await, 2);
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(settings.pointer("/data/value"), Some(&json!("2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_passive_hook_is_applied_in_place_and_f30_outlives_the_jobs_that_need_it() {
    let place = Place::new("passive").await;
    let helper = config_map(
        "helper",
        &[(HOOK, "PreSync"), ("argocd.argoproj.io/sync-wave", "-1"), (POLICY, "HookSucceeded")],
        "1",
    );
    let kept = config_map("kept", &[(HOOK, "PreSync")], "1");
    let migrate = job("migrate", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "2s")]);
    let manifests = [helper, kept, migrate].concat();
    place.apply("app", &manifests).await;
    let running = place
        .object("batch/v1", "Job", "migrate", "running", |job| job.pointer("/status/active") == Some(&json!(1)))
        .await;
    assert!(
        place.uid("v1", "ConfigMap", "helper").await.is_some(),
        "the helper is there while the Job runs: {running}"
    );
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.gone("v1", "ConfigMap", "helper").await;
    let before = place.uid("v1", "ConfigMap", "kept").await.unwrap();
    place.ask("app", json!({"sync": {}})).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_eq!(place.uid("v1", "ConfigMap", "kept").await.unwrap(), before, "applied in place");
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_a_hook_with_a_generated_name_runs_once_an_operation_and_helm_hooks_run_unchanged() {
    let place = Place::new("helm").await;
    let mut generated = job_object("x", &[(HOOK, "PreSync")], &[]);
    generated["metadata"]["name"] = json!(null);
    generated["metadata"]["generateName"] = json!("migrate-");
    let helm = job(
        "smoke",
        &[("helm.sh/hook", "post-install,post-upgrade"), ("helm.sh/hook-delete-policy", "hook-succeeded")],
        &[],
    );
    let test = job("test", &[("helm.sh/hook", "test")], &[]);
    place.apply("app", &[document(&generated), helm, test].concat()).await;
    let status = place.ended("app", OperationPhase::Succeeded).await;
    let state = status.operation_state.unwrap();
    let name = format!("migrate-{}-1-presync", state.id);
    assert_eq!(place.creates("jobs", &name).await, 1);
    place.gone("batch/v1", "Job", "smoke").await;
    assert_eq!(place.creates("jobs", "smoke").await, 1, "several Helm events of one phase are one run");
    assert_eq!(place.creates("jobs", "test").await, 0);
    let skipped = state.sync_result.unwrap().resources.into_iter().find(|row| row.name == "test").unwrap();
    assert!(skipped.message.unwrap().contains("has no phase here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn v12_f45_hooks_that_left_the_source_go_after_a_success_and_generated_ones_beyond_the_last_three() {
    let place = Place::new("garbage").await;
    let mut generated = job_object("x", &[(HOOK, "PreSync")], &[]);
    generated["metadata"]["name"] = json!(null);
    generated["metadata"]["generateName"] = json!("each-");
    let generated = document(&generated);
    let leaves = [job("leaves", &[(HOOK, "PreSync")], &[]), config_map("helper", &[(HOOK, "PreSync")], "1")].concat();
    place.apply("app", &[generated.clone(), leaves].concat()).await;
    let mut ids = vec![place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id];
    for round in 0..4 {
        place.apply("app", &[generated.clone(), config_map("settings", &[], &round.to_string())].concat()).await;
        let before = ids.last().unwrap().clone();
        ids.push(place.ended_after("app", &before, OperationPhase::Succeeded).await.operation_state.unwrap().id);
    }
    place.gone("batch/v1", "Job", "leaves").await;
    place.gone("v1", "ConfigMap", "helper").await;
    for (round, id) in ids.iter().enumerate() {
        let name = format!("each-{id}-1-presync");
        if round < 2 {
            place.gone("batch/v1", "Job", &name).await;
        } else {
            assert!(place.uid("batch/v1", "Job", &name).await.is_some(), "{name} is one of the last three");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_hook_that_does_not_end_is_stopped_at_its_deadline_and_syncfail_follows() {
    let place = Place::new("late").await;
    let manifests = [
        job("hang", &[(HOOK, "PreSync"), ("swell.dev/timeout", "3s")], &[("pods.swell.dev/complete-after", "never")]),
        job("notify", &[(HOOK, "SyncFail")], &[]),
    ];
    place.apply("app", &manifests.concat()).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("hang") && message.contains("did not end within 3s"), "{message}");
    let hang = place.get("batch/v1", "Job", "hang").await.unwrap();
    assert_eq!(hang.pointer("/spec/suspend"), Some(&json!(true)), "a Job is stopped by suspending it");
    assert_eq!(place.creates("jobs", "notify").await, 1);
    eventually("the pods of the stopped hook are gone", || async {
        let hang = place.get("batch/v1", "Job", "hang").await?;
        hang.pointer("/status/active").is_none_or(|active| active == &json!(0)).then_some(())
    })
    .await;
}
