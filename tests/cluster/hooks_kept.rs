//! Hooks on the real control plane over more than one operation: when they run again, what becomes of leftovers, what stays.

use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use swell::api::{OperationPhase, ResultStatus};

use crate::hands::{CONFIG_MAP, JOB, blocked, grant_everywhere, hold, let_go, patch};
use crate::support::{Place, config_map, document, eventually, job, job_object};

const HOOK: &str = "argocd.argoproj.io/hook";
const POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const NEVER: &[(&str, &str)] = &[("pods.swell.dev/complete-after", "never")];
const FAIL: &[(&str, &str)] = &[
    ("pods.swell.dev/fail-after", "1s"),
    ("pods.swell.dev/exit-code", "4"),
    ("pods.swell.dev/log", "trying\nno such table\n"),
];

async fn jobs(place: &Place) -> Vec<DynamicObject> {
    place.api(JOB.0, JOB.1).list(&ListParams::default()).await.unwrap().items
}

/// A hook Job with this image.
fn hook_of(name: &str, image: &str, annotations: &[(&str, &str)]) -> String {
    let mut object = job_object(name, annotations, &[]);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    document(&object)
}

fn is_running(job: &Value) -> bool {
    job.pointer("/status/active") == Some(&json!(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_a_change_of_a_hook_alone_runs_it_anew_also_where_there_is_nothing_else() {
    let place = Place::new("onlyhooks").await;
    place.apply("app", &hook_of("migrate", "main:1", &[(HOOK, "PreSync")])).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("app", &hook_of("migrate", "main:2", &[(HOOK, "PreSync")])).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_eq!(place.creates("jobs", "migrate").await, 2);
    let migrate = place.get(JOB.0, JOB.1, "migrate").await.unwrap();
    assert_eq!(migrate.pointer("/spec/template/spec/containers/0/image"), Some(&json!("main:2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_a_hook_that_runs_on_change_or_once_runs_no_more_for_a_change_of_something_else() {
    let place = Place::new("onchange").await;
    let manifests = |image: &str, value: &str| {
        [
            hook_of("always", "main:1", &[(HOOK, "PreSync")]),
            hook_of("once", image, &[(HOOK, "PreSync"), ("swell.dev/run", "Once")]),
            hook_of("onchange", image, &[(HOOK, "PreSync"), ("swell.dev/run", "OnChange")]),
            config_map("settings", &[], value),
        ]
        .concat()
    };
    place.apply("app", &manifests("main:1", "1")).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("app", &manifests("main:1", "2")).await;
    let state = place.ended_after("app", &first, OperationPhase::Succeeded).await.operation_state.unwrap();
    let rows = state.sync_result.unwrap().resources;
    for name in ["once", "onchange"] {
        assert_eq!(place.creates("jobs", name).await, 1, "{name}");
        let row = rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.status, Some(ResultStatus::Skipped), "{row:?}");
        assert!(row.message.as_ref().unwrap().contains("swell.dev/run"), "{row:?}");
    }
    assert_eq!(place.creates("jobs", "always").await, 2);
    place.apply("app", &manifests("main:2", "2")).await;
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    let created = [place.creates("jobs", "once").await, place.creates("jobs", "onchange").await];
    assert_eq!(created, [1, 2], "its own content has changed; once is once");
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_another_comment_is_no_change() {
    let place = Place::new("comment").await;
    let manifests = [job("migrate", &[(HOOK, "PreSync")], &[]), config_map("settings", &[], "1")].concat();
    place.apply("app", &manifests).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("app", &format!("# said otherwise\n{manifests}")).await;
    let generation = place.applications().get("app").await.unwrap().metadata.generation;
    let status = place.status("app", "seen", |status| status.observed_generation == generation).await;
    assert_eq!(status.operation_state.unwrap().id, first);
    assert_eq!(place.creates("jobs", "migrate").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_a_hook_beside_a_failing_object_wedges_nothing_and_runs_again_after_the_fix() {
    let place = Place::new("sibling").await;
    let hook = job("beside", &[(HOOK, "Sync"), (POLICY, "BeforeHookCreation")], &[]);
    let retry = json!({"syncPolicy": {"retry": {"limit": 2, "backoff": {"duration": "1s", "factor": 1}}}});
    place.apply_with("app", &[hook.clone(), job("import", &[], FAIL)].concat(), retry.clone()).await;
    let failed = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert_eq!(failed.attempt, 3, "every attempt came to its end");
    place.apply_with("app", &[hook, job("import-again", &[], &[])].concat(), retry).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
    let beside = place.get(JOB.0, JOB.1, "beside").await.unwrap();
    assert_eq!(beside.pointer("/status/succeeded"), Some(&json!(1)), "it was made anew: {beside}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_a_leftover_that_a_finalizer_holds_is_awaited_and_named_with_the_finalizer() {
    let place = Place::new("leftover").await;
    let manifests =
        |value: &str| [job("migrate", &[(HOOK, "PreSync")], &[]), config_map("settings", &[], value)].concat();
    place.apply("app", &manifests("1")).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    hold(&place, JOB, "migrate").await;
    let before = place.uid(JOB.0, JOB.1, "migrate").await.unwrap();
    place.apply("app", &manifests("2")).await;
    blocked(&place, "app", &["migrate", "earlier run", "example.com/held"]).await;
    assert_eq!(place.uid(JOB.0, JOB.1, "migrate").await.unwrap(), before);
    let_go(&place, JOB, "migrate").await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_ne!(place.uid(JOB.0, JOB.1, "migrate").await.unwrap(), before);
    assert_eq!(place.creates("jobs", "migrate").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_a_leftover_that_no_application_made_is_awaited_too() {
    let place = Place::new("nobodys").await;
    // Its own label is no mark of ours, so no watch tells when it is gone.
    let mut leftover = job_object("migrate", &[], &[]);
    leftover["metadata"]["namespace"] = json!(place.namespace);
    leftover["metadata"]["finalizers"] = json!(["example.com/held", "argocd.argoproj.io/hook-finalizer"]);
    place.put(&leftover).await;
    let before = place.uid(JOB.0, JOB.1, "migrate").await.unwrap();
    place.apply("app", &job("migrate", &[(HOOK, "PreSync")], &[])).await;
    blocked(&place, "app", &["migrate", "earlier run", "example.com/held"]).await;
    let taken_off = |object: &Value| !object["metadata"]["finalizers"].to_string().contains("argocd");
    place.object(JOB.0, JOB.1, "migrate", "without the finalizer of Argo CD's", taken_off).await;
    let_go(&place, JOB, "migrate").await;
    place.ended("app", OperationPhase::Succeeded).await;
    assert_ne!(place.uid(JOB.0, JOB.1, "migrate").await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_f29_hooks_carry_no_finalizer_and_one_of_argo_cds_on_a_leftover_is_taken_off() {
    let place = Place::new("finalizers").await;
    let manifests = [
        job("migrate", &[(HOOK, "PreSync")], &[]),
        config_map("helper", &[(HOOK, "PreSync")], "1"),
        job("late", &[(HOOK, "Sync"), ("swell.dev/timeout", "2s")], NEVER),
        job("notify", &[(HOOK, "SyncFail")], &[]),
    ]
    .concat();
    place.apply("app", &manifests).await;
    let first = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().id;
    let helper = place.api(CONFIG_MAP.0, CONFIG_MAP.1).get("helper").await.unwrap();
    let all = jobs(&place).await;
    assert_eq!(all.len(), 3);
    for object in all.into_iter().chain([helper]) {
        assert_eq!(object.metadata.finalizers, None, "{:?}", object.metadata.name);
    }
    let argo = json!({"metadata": {"finalizers": ["argocd.argoproj.io/hook-finalizer"]}});
    patch(&place, JOB, "migrate", argo).await;
    let before = place.uid(JOB.0, JOB.1, "migrate").await.unwrap();
    place.apply("app", &job("migrate", &[(HOOK, "PreSync")], &[])).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_ne!(place.uid(JOB.0, JOB.1, "migrate").await.unwrap(), before, "nobody else would have taken it off");
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_a_hook_that_succeeded_goes_by_its_policy_although_the_operation_failed() {
    let place = Place::new("ownpolicy").await;
    let failing = [
        job("well", &[(HOOK, "PreSync"), (POLICY, "HookSucceeded")], &[]),
        job("kept", &[(HOOK, "PreSync"), (POLICY, "HookFailed")], &[]),
        job("import", &[], FAIL),
    ];
    place.apply("failing", &failing.concat()).await;
    let terminated = [
        job("hang", &[(HOOK, "PreSync"), (POLICY, "HookFailed")], NEVER),
        job("hang-kept", &[(HOOK, "PreSync"), (POLICY, "HookSucceeded")], NEVER),
    ];
    place.apply("terminated", &terminated.concat()).await;
    for name in ["hang", "hang-kept"] {
        place.object(JOB.0, JOB.1, name, "running", is_running).await;
    }
    place.ask("terminated", json!({"terminate": {}})).await;
    place.ended("terminated", OperationPhase::Failed).await;
    place.ended("failing", OperationPhase::Failed).await;
    for name in ["well", "hang"] {
        place.gone(JOB.0, JOB.1, name).await;
    }
    for name in ["kept", "hang-kept"] {
        assert!(place.uid(JOB.0, JOB.1, name).await.is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_after_the_last_attempt_the_failed_hook_is_still_there_and_the_status_has_its_words() {
    let place = Place::new("evidence").await;
    let retry = json!({"syncPolicy": {"retry": {"limit": 1, "backoff": {"duration": "1s"}}}});
    place.apply_with("app", &job("migrate", &[(HOOK, "PreSync"), (POLICY, "BeforeHookCreation")], FAIL), retry).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    assert_eq!(place.creates("jobs", "migrate").await, 2);
    let migrate = place.get(JOB.0, JOB.1, "migrate").await.unwrap();
    assert_eq!(migrate.pointer("/status/failed"), Some(&json!(1)));
    let message = state.message.unwrap();
    assert!(message.contains("exited with code 4") && message.contains("no such table"), "{message}");
    let rows = state.sync_result.unwrap().resources;
    assert_eq!(rows[0].log.as_deref(), Some("trying\nno such table"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_terminate_leaves_namespaces_and_other_passive_hooks_alone() {
    let mut place = Place::without_operator("precious").await;
    let second = format!("{}-second", place.namespace);
    place.also_look_at(&second);
    place.start_operator().await;
    grant_everywhere(&place, json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}])).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": second, "annotations": {HOOK: "PreSync", "argocd.argoproj.io/sync-wave": "-1"}}});
    let manifests = [
        document(&namespace),
        config_map("helper", &[(HOOK, "PreSync"), ("argocd.argoproj.io/sync-wave", "-1")], "1"),
        job("hang", &[(HOOK, "PreSync")], NEVER),
    ];
    place.apply("app", &manifests.concat()).await;
    place.object(JOB.0, JOB.1, "hang", "running", is_running).await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(place.client.clone());
    let before = (namespaces.get(&second).await.unwrap().metadata.uid, place.uid("v1", "ConfigMap", "helper").await);
    place.ask("app", json!({"terminate": {}})).await;
    place.ended("app", OperationPhase::Failed).await;
    let namespace = namespaces.get(&second).await.unwrap().metadata;
    assert_eq!((namespace.uid, place.uid("v1", "ConfigMap", "helper").await), before);
    assert_eq!(namespace.deletion_timestamp, None);
    assert!(place.writes().await.iter().all(|entry| entry.verb != "delete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_f50_changes_in_quick_succession_run_the_hook_once_an_operation_and_the_last_one_arrives() {
    let place = Place::new("succession").await;
    let mut generated = job_object("x", &[(HOOK, "PreSync")], &[]);
    generated["metadata"]["name"] = json!(null);
    generated["metadata"]["generateName"] = json!("each-");
    let manifests = |value: u32| [document(&generated), config_map("settings", &[], &value.to_string())].concat();
    for value in 1..=4 {
        place.apply("app", &manifests(value)).await;
        // The next change comes while the hook of this one runs.
        let expected = usize::try_from(value).unwrap();
        if value < 4 {
            eventually("a hook runs", || async { (jobs(&place).await.len() >= expected.min(2)).then_some(()) }).await;
        }
    }
    let arrived = |object: &Value| object.pointer("/data/value") == Some(&json!("4"));
    place.object(CONFIG_MAP.0, CONFIG_MAP.1, "settings", "as it was wanted last", arrived).await;
    let status = place.ended("app", OperationPhase::Succeeded).await;
    let last = status.operation_state.unwrap().id;
    assert_eq!(place.creates("jobs", &format!("each-{last}-1-presync")).await, 1, "the last operation ran its hook");
    assert!(status.history.len() > 1, "{:#?}", status.history);
    for entry in &status.history {
        let ran = place.creates("jobs", &format!("each-{}-1-presync", entry.id)).await;
        let least = usize::from(entry.phase == OperationPhase::Succeeded);
        assert!((least..=1).contains(&ran), "operation {} ran its hook {ran} times", entry.id);
    }
}
