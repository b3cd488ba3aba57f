//! How operations end on the real control plane: late, failed, tried again, asked for anew; and what is told of it.

use serde_json::{Value, json};
use swell::api::OperationPhase;
use testbed::audit::Entry;

use crate::hands::{JOB, blocked, delete, version, version_of};
use crate::support::{Place, config_map, deployment, document, entry_name, job};

const HOOK: &str = "argocd.argoproj.io/hook";
const WAVE: &str = "argocd.argoproj.io/sync-wave";
const STUCK: &[(&str, &str)] = &[("pods.swell.dev/ready", "never")];
const NEVER: &[(&str, &str)] = &[("pods.swell.dev/complete-after", "never")];
const FAIL: &[(&str, &str)] = &[("pods.swell.dev/fail-after", "1s")];
const NO_IMAGE: &[(&str, &str)] = &[("pods.swell.dev/image-pull-error", "true")];

/// The resourceVersion with which a Job was created.
fn created_at(writes: &[Entry], name: &str) -> u64 {
    let entry = writes.iter().find(|entry| entry.resource == "jobs" && entry.code == 201 && entry_name(entry) == name);
    version(entry.unwrap().response_object.as_ref().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn f47_f77_the_second_of_three_waves_is_late_and_named_with_where_it_stands() {
    let place = Place::new("latewave").await;
    let manifests = [
        config_map("zero", &[], "1"),
        deployment("one", &[(WAVE, "1"), ("swell.dev/timeout", "4s")], STUCK),
        config_map("two", &[(WAVE, "2")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    blocked(&place, "app", &["one", "replicas"]).await;
    let stage = place.applications().get("app").await.unwrap().status.unwrap().operation_state.unwrap().stage.unwrap();
    assert_eq!((stage.wave, stage.index, stage.total, stage.text.as_str()), (1, 2, 3, "Sync 1 (2/3)"));
    assert_eq!(stage.blocked_on.iter().map(|blocked| blocked.name.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!(stage.blocked_total, Some(1));
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(message.starts_with("Sync wave 1 failed: Deployment") && message.contains("within 4s"), "{message}");
    let rows = state.sync_result.unwrap().resources;
    let waves: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.wave)).collect();
    assert_eq!(waves, [("one", 1), ("zero", 0)], "the rows say which wave counts");
    assert!(place.get("v1", "ConfigMap", "two").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn f48_each_attempt_has_its_own_deadline_and_the_status_says_when_the_next_one_comes() {
    let place = Place::new("attempts").await;
    let policy = json!({"syncPolicy": {"timeouts": {"sync": "4s"},
        "retry": {"limit": 1, "backoff": {"duration": "2s", "factor": 1}}}});
    // A hook, so that each attempt writes something (I4).
    let manifests = [
        job("migrate", &[(HOOK, "PreSync")], &[]),
        deployment("web", &[], STUCK),
        job("notify", &[(HOOK, "SyncFail")], &[]),
    ];
    place.apply_with("app", &manifests.concat(), policy).await;
    let waits = place
        .status("app", "waiting for its next attempt", |status| {
            status.operation_state.as_ref().is_some_and(|state| state.retry_at.is_some())
        })
        .await;
    let retry_at = waits.operation_state.unwrap().retry_at.unwrap();
    let second = place
        .status("app", "in its second attempt", |status| {
            let state = status.operation_state.as_ref();
            state.is_some_and(|s| s.attempt == 2 && s.stage.as_ref().is_some_and(|stage| stage.deadline.is_some()))
        })
        .await;
    let deadline = second.operation_state.unwrap().stage.unwrap().deadline.unwrap();
    assert!(deadline > retry_at, "the second attempt, due at {retry_at}, has its own deadline, not {deadline}");
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert_eq!((state.attempt, state.retry_count), (2, 1));
    let message = state.message.unwrap();
    assert!(message.contains("web") && message.contains("was not healthy within"), "{message}");
    assert!(!message.contains("notify"), "SyncFail has time of its own: {message}");
    assert_eq!(place.creates("jobs", "notify").await, 2, "SyncFail runs at each failed attempt");
    let notify = place.get(JOB.0, JOB.1, "notify").await.unwrap();
    assert_eq!(notify.pointer("/status/succeeded"), Some(&json!(1)), "and to its end: {notify}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f58_without_a_retry_policy_a_failing_hook_runs_once() {
    let place = Place::new("noretry").await;
    place.apply("app", &job("migrate", &[(HOOK, "PreSync")], FAIL)).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert_eq!((state.attempt, state.retry_count, state.retry_at), (1, 0, None));
    // An end is an end: another request is the next thing that happens.
    place.ask("app", json!({"sync": {}})).await;
    place.ended_after("app", &state.id, OperationPhase::Failed).await;
    assert_eq!(place.creates("jobs", "migrate").await, 2, "once for the change, once for the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn f78_a_hook_that_has_failed_for_good_ends_the_wait_long_before_its_deadline() {
    let place = Place::new("forgood").await;
    let hook = job("migrate", &[(HOOK, "PreSync"), ("swell.dev/timeout", "1h")], FAIL);
    place.apply("app", &hook).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert!(state.message.unwrap().contains("failed: Job has reached the specified backoff limit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f79_a_hook_that_cannot_pull_its_image_fails_at_its_deadline_with_the_reason_of_its_pod() {
    let place = Place::new("noimage").await;
    place.apply("app", &job("migrate", &[(HOOK, "PreSync"), ("swell.dev/timeout", "3s")], NO_IMAGE)).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    for words in ["migrate", "did not end within 3s", "container main", "ImagePullBackOff"] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f79_the_reason_of_the_pod_of_a_hook_is_told_while_it_waits() {
    let place = Place::new("backoff").await;
    place.apply("app", &job("migrate", &[(HOOK, "PreSync"), ("swell.dev/timeout", "20s")], NO_IMAGE)).await;
    blocked(&place, "app", &["migrate", "ImagePullBackOff"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f76_the_message_alone_names_phase_wave_object_reason_since_and_until() {
    let place = Place::new("message").await;
    let manifests = [config_map("zero", &[], "1"), deployment("web", &[(WAVE, "2")], NO_IMAGE)];
    place.apply("app", &manifests.concat()).await;
    blocked(&place, "app", &["web", "replicas"]).await;
    let status = place.applications().get("app").await.unwrap().status.unwrap();
    let message = status.operation_state.unwrap().message.unwrap();
    let web = format!("Deployment {}/web", place.namespace);
    for words in ["Sync 2 (2/2)", web.as_str(), "0 of 1", "since ", "until "] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.message, message, "the condition that people wait for says the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn f76_the_reason_of_the_pods_of_a_workload_is_told_while_it_is_waited_for() {
    let place = Place::new("podreason").await;
    place.apply("app", &deployment("web", &[("swell.dev/timeout", "20s")], NO_IMAGE)).await;
    blocked(&place, "app", &["web", "ImagePullBackOff"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_f76_a_workload_that_is_late_fails_with_the_reason_of_its_pods() {
    let place = Place::new("podlate").await;
    place.apply("app", &deployment("web", &[("swell.dev/timeout", "4s")], NO_IMAGE)).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("web") && message.contains("ImagePullBackOff"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn v7_f46_syncfail_runs_for_what_failed_after_a_write_and_for_nothing_else() {
    let place = Place::new("matrix").await;
    let refused = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dataa": {}});
    let cases = [
        ("late", deployment("late", &[("swell.dev/timeout", "2s")], STUCK), 1),
        ("hook", job("hook", &[(HOOK, "PreSync")], FAIL), 1),
        ("stopped", job("stopped", &[(HOOK, "PostSync"), ("swell.dev/timeout", "2s")], NEVER), 1),
        ("ill", job("ill", &[], FAIL), 1),
        ("invalid", config_map("invalid", &[(WAVE, "one")], "1"), 0),
        ("refused", document(&refused), 0),
    ];
    for (app, manifest, _) in &cases {
        let notify = job(&format!("{app}-notify"), &[(HOOK, "SyncFail")], &[]);
        place.apply(app, &[manifest.clone(), notify].concat()).await;
    }
    for (app, _, runs) in &cases {
        place.ended(app, OperationPhase::Failed).await;
        assert_eq!(place.creates("jobs", &format!("{app}-notify")).await, *runs, "{app}");
    }
    // One that a newer revision takes the place of has not failed.
    let notify = job("old-notify", &[(HOOK, "SyncFail")], &[]);
    place.apply("old", &[deployment("old", &[], STUCK), notify.clone()].concat()).await;
    blocked(&place, "old", &["old", "replicas"]).await;
    place.apply("old", &[deployment("old", &[], &[]), notify].concat()).await;
    let superseded = place.ended("old", OperationPhase::Failed).await.operation_state.unwrap().id;
    place.ended_after("old", &superseded, OperationPhase::Succeeded).await;
    assert_eq!(place.creates("jobs", "old-notify").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn v8_syncfail_runs_wave_by_wave_and_a_failing_hook_does_not_stop_the_later_ones() {
    let place = Place::new("syncfail").await;
    let manifests = [
        job("migrate", &[(HOOK, "PreSync")], FAIL),
        job("first", &[(HOOK, "SyncFail")], FAIL),
        job("second", &[(HOOK, "SyncFail"), (WAVE, "1")], &[]),
    ];
    place.apply("app", &manifests.concat()).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    let (cause, then) = message.split_once("; then ").unwrap();
    assert!(cause.contains("migrate") && then.contains("first") && !message.contains("second"), "{message}");
    let second = created_at(&place.writes().await, "second");
    assert!(second > version_of(&place, JOB, "first").await, "the second wave waits for the end of the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn v9_a_running_hook_of_a_failed_stage_is_finished_before_syncfail_starts() {
    let place = Place::new("finish").await;
    let manifests = [
        job("slow", &[(HOOK, "Sync")], &[("pods.swell.dev/complete-after", "4s")]),
        job("import", &[], FAIL),
        job("notify", &[(HOOK, "SyncFail")], &[]),
    ];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Failed).await;
    let slow = place.get(JOB.0, JOB.1, "slow").await.unwrap();
    assert_eq!(slow.pointer("/status/succeeded"), Some(&json!(1)), "it was finished, not stopped: {slow}");
    assert!(created_at(&place.writes().await, "notify") > version(&slow));
}

#[tokio::test(flavor = "multi_thread")]
async fn v29_of_requests_that_come_during_an_operation_the_last_one_is_taken_up_after_it() {
    let place = Place::new("requests").await;
    place.apply("app", &job("slow", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "3s")])).await;
    place.object(JOB.0, JOB.1, "slow", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    for user in ["first", "last"] {
        place.ask("app", json!({"sync": {}, "initiatedBy": {"username": user}})).await;
    }
    let running = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!(running.initiated_by.and_then(|by| by.username), None);
    let state = place.ended_after("app", &running.id, OperationPhase::Succeeded).await;
    assert_eq!(state.operation_state.unwrap().initiated_by.unwrap().username.as_deref(), Some("last"));
    assert_eq!(state.history.len(), 2, "{:#?}", state.history);
}

#[tokio::test(flavor = "multi_thread")]
async fn v31_the_history_has_operations_of_every_outcome_up_to_its_limit() {
    let place = Place::new("history").await;
    let limit = json!({"revisionHistoryLimit": 2});
    place.apply_with("app", &config_map("settings", &[], "1"), limit.clone()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply_with("app", &job("migrate", &[(HOOK, "PreSync")], FAIL), limit.clone()).await;
    let second = place.ended_after("app", &first, OperationPhase::Failed).await;
    assert_eq!(second.history.len(), 2);
    let second = second.operation_state.unwrap().id;
    place.apply_with("app", &config_map("settings", &[], "2"), limit).await;
    let history = place.ended_after("app", &second, OperationPhase::Succeeded).await.history;
    let phases: Vec<_> = history.iter().map(|entry| entry.phase).collect();
    assert_eq!(phases, [OperationPhase::Succeeded, OperationPhase::Failed]);
    assert!(history[1].message.as_ref().unwrap().contains("exited with code 1"), "{:#?}", history[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_a_terminated_operation_is_not_tried_again() {
    let place = Place::new("noagain").await;
    let retry = json!({"syncPolicy": {"retry": {"limit": 3, "backoff": {"duration": "1s"}}}});
    place.apply_with("app", &job("hang", &[(HOOK, "PreSync")], NEVER), retry).await;
    place.object(JOB.0, JOB.1, "hang", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    place.ask("app", json!({"terminate": {}})).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert_eq!((state.attempt, state.retry_at), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn f57_a_failed_attempt_is_tried_again_until_what_hindered_it_is_gone() {
    let place = Place::new("hindered").await;
    // kube-root-ca.crt takes the one place.
    let quota = |count: &str| {
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": place.namespace},
            "spec": {"hard": {"count/configmaps": count}}})
    };
    place.put(&quota("1")).await;
    let counted = |object: &Value| object.pointer("/status/used/count~1configmaps") == Some(&json!("1"));
    place.object("v1", "ResourceQuota", "few", "counted", counted).await;
    let retry = json!({"syncPolicy": {"retry": {"limit": -1, "backoff": {"duration": "1s", "factor": 1}}}});
    place.apply_with("app", &config_map("settings", &[], "1"), retry).await;
    place
        .status("app", "tried twice", |status| status.operation_state.as_ref().is_some_and(|state| state.attempt > 1))
        .await;
    place.put(&quota("5")).await;
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    assert!(state.attempt > 1 && state.retry_count == state.attempt - 1, "{state:#?}");
    delete(&place, ("v1", "ResourceQuota"), "few").await;
}
