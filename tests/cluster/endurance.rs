//! What must neither wedge an Application nor set the operator spinning: half states, missing rights, things that come back.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::support::{Place, config_map, document, eventually, job, testbed};

#[tokio::test(flavor = "multi_thread")]
async fn f51_no_status_written_by_hand_wedges_an_application_or_deletes_anything() {
    let mut place = Place::new("halves").await;
    let now = "2026-01-01T00:00:00Z";
    let head = json!({"id": "a", "attempt": 1, "phase": "Running", "retryCount": 0, "startedAt": now});
    let with = |more: Value| {
        let mut state = head.clone();
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state
    };
    let stage = |phase: &str| json!({"phase": phase, "wave": 0, "index": 1, "total": 1, "text": "x", "since": now});
    let states = [
        ("running", head.clone()),
        ("future", with(json!({"startedAt": "2999-01-01T00:00:00Z", "retryAt": "2999-01-01T00:00:00Z"}))),
        ("terminating", with(json!({"phase": "Terminating"}))),
        ("unfinished", with(json!({"phase": "Succeeded"}))),
        ("foreign-id", with(json!({"id": "9F0C1E5A-7D43-4B53-8F5E-3F2B8C1E0A11", "phase": "Error"}))),
        ("long-id", with(json!({"id": "z".repeat(60), "phase": "Failed"}))),
        ("attempts", with(json!({"attempt": i64::MAX, "retryAt": now}))),
        ("deletion", with(json!({"stage": stage("Delete")}))),
        ("farewell", with(json!({"stage": stage("PostDelete"), "retryAt": now}))),
        ("syncfail", with(json!({"stage": stage("SyncFail"), "message": ""}))),
        ("generation", with(json!({"requestGeneration": 1_000_000, "phase": "Failed"}))),
    ];
    let hooks = json!([
        {"group": "batch", "kind": "Job", "namespace": place.namespace, "name": "gone", "phase": "PreSync", "operation": "a",
            "attempt": 1, "record": "Created", "at": now},
        {"group": "batch", "kind": "Job", "namespace": place.namespace, "name": "migrate", "phase": "PreSync", "operation": "a",
            "attempt": 1, "record": "Ended", "at": now}
    ]);
    place.kill_operator();
    place.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bystander", "namespace": place.namespace}})).await;
    for (name, state) in &states {
        let manifests = [
            job(
                &format!("{name}-migrate"),
                &[("argocd.argoproj.io/hook", "PreSync")],
                &[("pods.swell.dev/complete-after", "0s")],
            ),
            config_map(name, &[], "1"),
        ];
        place.apply(name, &manifests.concat()).await;
        let status = json!({"status": {"operationState": state, "hooks": hooks}});
        place.applications().patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
    place.start_operator().await;
    for (name, _) in &states {
        place
            .status(name, "over with what was written by hand", |status| {
                status.operation_state.as_ref().is_some_and(|state| state.finished_at.is_some())
            })
            .await;
        // Whatever became of it: a person's request is always heard.
        place.ask(name, json!({"sync": {}})).await;
        eventually("the request is taken up", || async {
            place.applications().get(name).await.unwrap().operation.is_none().then_some(())
        })
        .await;
        place
            .status(name, "synced", |status| {
                let state = status.operation_state.as_ref();
                let synced = status.sync.as_ref().is_some_and(|sync| sync.status.as_str() == "Synced");
                synced
                    && state
                        .is_some_and(|state| state.phase == OperationPhase::Succeeded && state.finished_at.is_some())
            })
            .await;
        assert!(place.uid("v1", "ConfigMap", name).await.is_some(), "{name}");
        assert_eq!(place.creates("configmaps", name).await, 1, "{name}: nothing was deleted in between");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_kind_that_the_operator_may_not_watch_fails_the_operation_and_does_not_set_it_spinning() {
    let mut place = Place::without_operator("blind").await;
    let account = format!("{}-operator", place.namespace);
    let rules = json!([
        {"apiGroups": ["swell.dev"], "resources": ["applications"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["swell.dev"], "resources": ["applications/status"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "impersonate"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}
    ]);
    let rbac = "rbac.authorization.k8s.io";
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "limited", "namespace": place.namespace}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": account}, "rules": rules}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": account},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": "limited", "namespace": place.namespace}]}),
    ] {
        place.put(&object).await;
    }
    let bed = testbed();
    let text = testbed::for_service_account(&bed.kubeconfig, &place.namespace, "limited", 7200).await.unwrap();
    let path = bed.dir.join(format!("{account}.kubeconfig"));
    std::fs::write(&path, text).unwrap();
    place.start_operator_with(&path);
    place.apply("app", &config_map("settings", &[], "1")).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let secret = document(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}}));
    place.apply("app", &[config_map("settings", &[], "2"), secret].concat()).await;
    let state = place.ended_after("app", &first, OperationPhase::Failed).await.operation_state.unwrap();
    assert!(state.message.as_ref().unwrap().contains("cannot watch Secret"), "{:?}", state.message);
    let before = place.operator_log().lines().count();
    // The other Applications go on meanwhile: a handful of them takes longer than a spin needs to fill the log.
    for n in 0..3 {
        place.apply(&format!("other-{n}"), &config_map(&format!("other-{n}"), &[], "1")).await;
        place.ended(&format!("other-{n}"), OperationPhase::Succeeded).await;
    }
    let after = place.operator_log().lines().count();
    assert!(after - before < 100, "{} lines:\n{}", after - before, place.operator_log());
    place.apply("app", &config_map("settings", &[], "3")).await;
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_change_that_is_taken_back_while_a_hook_finishes_is_synced_after_all() {
    let place = Place::new("back").await;
    let manifests = |value: &str| {
        let hook =
            job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[("pods.swell.dev/complete-after", "3s")]);
        [hook, config_map("settings", &[], value)].concat()
    };
    place.apply("app", &manifests("1")).await;
    place.object("batch/v1", "Job", "migrate", "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    let first = place.applications().get("app").await.unwrap().status.unwrap().operation_state.unwrap().id;
    place.apply("app", &manifests("2")).await;
    // The operator has seen it when the status speaks of the new generation.
    place.status("app", "told of the change", |status| status.observed_generation.is_some_and(|seen| seen >= 2)).await;
    place.apply("app", &manifests("1")).await;
    let state = place.ended_after("app", &first, OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_ne!(state.id, first);
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(settings.pointer("/data/value"), Some(&json!("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_judged_anew_when_its_storage_class_comes_later() {
    let place = Place::new("claim").await;
    let class = format!("{}-late", place.namespace);
    let claim = document(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}
    }));
    place.apply("app", &claim).await;
    place
        .status("app", "waiting for the claim", |status| {
            let stage = status.operation_state.as_ref().and_then(|state| state.stage.as_ref());
            stage.is_some_and(|stage| {
                stage.blocked_on.iter().any(|blocked| {
                    blocked.reason.as_ref().is_some_and(|reason| reason.contains("waiting for a volume"))
                })
            })
        })
        .await;
    place
        .put(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
            "provisioner": "example.com/none", "volumeBindingMode": "WaitForFirstConsumer"}))
        .await;
    place.ended("app", OperationPhase::Succeeded).await;
}
