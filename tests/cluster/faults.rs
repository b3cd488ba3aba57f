//! What the network and other people do to a sync: late and lost events, lost answers, refusals, foreign finalizers and controllers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use swell::api::{ApplicationStatus, HookVerdict, OperationPhase};
use testbed::faults::{EventFate, Fate, Moment, When};

use crate::support::tools::DENIED;
use crate::support::{Place, config_map, deployment, document, eventually, job, job_ends, job_object, kubectl};

const HOOK: &str = "argocd.argoproj.io/hook";
const POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const WAVE: &str = "argocd.argoproj.io/sync-wave";
const QUICK: &[(&str, &str)] = &[("pods.swell.dev/complete-after", "100ms")];

fn id(status: ApplicationStatus) -> String {
    status.operation_state.unwrap().id
}

/// Whether some object that is waited for is told with these words.
fn waits_because(status: &ApplicationStatus, words: &str) -> bool {
    let stage = status.operation_state.as_ref().and_then(|state| state.stage.as_ref());
    stage.is_some_and(|stage| {
        stage.blocked_on.iter().any(|blocked| blocked.reason.as_ref().is_some_and(|reason| reason.contains(words)))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_no_wave_of_objects_without_health_waits_for_a_watch_event() {
    let (mut place, proxy) = Place::with_proxy("silent").await;
    place.start_operator_behind(&proxy);
    place.apply("first", &config_map("before", &[], "1")).await;
    place.ended("first", OperationPhase::Succeeded).await;
    // The Applications come through, of what is deployed nothing.
    let held = proxy.events(|event| event.resource != "applications", EventFate::Hold);
    let waves: String = (0..30).map(|n| config_map(&format!("map-{n:02}"), &[(WAVE, &n.to_string())], "1")).collect();
    place.apply("app", &waves).await;
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    held.hit(1).await.unwrap();
    assert_eq!(state.stage.unwrap().total, 30);
    let names: Vec<_> = place
        .writes()
        .await
        .iter()
        .filter(|entry| entry.resource == "configmaps" && entry.name.starts_with("map-"))
        .map(|entry| entry.name.clone())
        .collect();
    assert!(names.is_sorted() && names.len() == 30, "each wave once, in order: {names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_hook_that_is_replaced_deleted_or_expires_is_never_called_missing_though_events_come_late() {
    let (mut place, proxy) = Place::with_proxy("missing").await;
    place.start_operator_behind(&proxy);
    let _late = proxy.events(|event| event.resource == "jobs", EventFate::Delay(Duration::from_secs(2)));
    let mut expires = job_object("expires", &[(HOOK, "PreSync")], QUICK);
    expires["spec"]["ttlSecondsAfterFinished"] = json!(0);
    let manifests = [
        job("replaced", &[(HOOK, "PreSync"), (POLICY, "BeforeHookCreation")], QUICK),
        job("deleted", &[(HOOK, "PreSync"), (POLICY, "HookSucceeded")], QUICK),
        document(&expires),
    ]
    .concat();
    place.apply("app", &manifests).await;
    let mut before = id(place.ended("app", OperationPhase::Succeeded).await);
    for _ in 0..5 {
        place.ask("app", json!({"sync": {}})).await;
        before = id(place.ended_after("app", &before, OperationPhase::Succeeded).await);
    }
    for name in ["replaced", "deleted", "expires"] {
        assert_eq!(place.creates("jobs", name).await, 6, "{name}: once in each operation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_time_to_live_of_zero_loses_no_outcome_when_events_are_late_and_the_operator_dies_while_the_hook_runs() {
    let (mut place, proxy) = Place::with_proxy("expires").await;
    let _late = proxy.events(|event| event.resource == "jobs", EventFate::Delay(Duration::from_secs(3)));
    for (app, pod, phase, verdict) in [
        ("good", &[("pods.swell.dev/complete-after", "1s")][..], OperationPhase::Succeeded, HookVerdict::Succeeded),
        ("bad", &[("pods.swell.dev/fail-after", "1s")], OperationPhase::Failed, HookVerdict::Failed),
    ] {
        place.start_operator_behind(&proxy);
        let mut hook = job_object(app, &[(HOOK, "PreSync")], pod);
        hook["spec"]["ttlSecondsAfterFinished"] = json!(0);
        place.apply(app, &document(&hook)).await;
        place.object("batch/v1", "Job", app, "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
        place.kill_operator();
        place.start_operator_behind(&proxy);
        let status = place.ended(app, phase).await;
        assert_eq!(status.hooks[0].outcome.as_ref().unwrap().phase, verdict);
        place.gone("batch/v1", "Job", app).await;
        assert_eq!(place.creates("jobs", app).await, 1);
        place.kill_operator();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f22_the_end_of_a_hook_is_noticed_within_a_minute_though_every_event_of_it_is_lost() {
    let (mut place, proxy) = Place::with_proxy("lost").await;
    place.start_operator_behind(&proxy);
    let lost = proxy.events(|event| event.resource == "jobs" && event.kind == "MODIFIED", EventFate::Drop);
    let manifests = [job("migrate", &[(HOOK, "PreSync")], QUICK), config_map("settings", &[], "1")];
    place.apply("app", &manifests.concat()).await;
    place.object("v1", "ConfigMap", "settings", "applied after all", |_| true).await;
    place.ended("app", OperationPhase::Succeeded).await;
    lost.hit(1).await.unwrap();
    let reads = |name: &'static str| proxy.calls().iter().filter(|call| call.is("GET", "jobs", name)).count();
    assert_eq!(reads("migrate"), 2, "before it was created, and once in the silence");
    assert_eq!(place.creates("jobs", "migrate").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_a_complete_hook_of_the_run_before_is_not_taken_for_this_runs_though_events_come_late() {
    let (mut place, proxy) = Place::with_proxy("earlier").await;
    place.start_operator_behind(&proxy);
    let manifests = |value: &str| {
        let hook = job("migrate", &[(HOOK, "PreSync"), (POLICY, "BeforeHookCreation")], QUICK);
        [hook, config_map("settings", &[], value)].concat()
    };
    place.apply("app", &manifests("1")).await;
    let first = id(place.ended("app", OperationPhase::Succeeded).await);
    let before = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    let late = proxy.events(|event| event.resource == "jobs", EventFate::Delay(Duration::from_secs(5)));
    place.apply("app", &manifests("2")).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert!(late.hits() > 0);
    assert_ne!(place.uid("batch/v1", "Job", "migrate").await.unwrap(), before);
    let ends = job_ends(&place, "migrate").await;
    let settings = place.writes_to("configmaps", "settings").await;
    assert_eq!((ends.len(), settings.len()), (2, 2));
    assert!(ends[1] < settings[1].received_us, "the second run was over before Sync began");
}

#[tokio::test(flavor = "multi_thread")]
async fn f37_a_hook_whose_create_was_done_and_not_answered_when_the_operator_died_is_not_created_again() {
    let (mut place, proxy) = Place::with_proxy("orphan").await;
    let mut generated = job_object("x", &[(HOOK, "PreSync")], QUICK);
    generated["metadata"]["name"] = Value::Null;
    generated["metadata"]["generateName"] = json!("generated-");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "single", "annotations": {HOOK: "PostSync", "pods.swell.dev/complete-after": "100ms"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "main:1"}]}
    });
    let helm = job("named", &[("helm.sh/hook", "pre-install,pre-upgrade"), ("helm.sh/hook-weight", "5")], QUICK);
    place.apply("app", &[document(&generated), helm, document(&pod)].concat()).await;
    place.start_operator_behind(&proxy);
    for (resource, prefix) in [("jobs", "generated-"), ("jobs", "named"), ("pods", "single")] {
        let is_create = When::calls(move |call| {
            call.is_write() && call.method == "POST" && call.resource == resource && call.name.starts_with(prefix)
        });
        let stop = proxy.stop(is_create, Moment::After);
        let call = stop.reached().await.unwrap();
        assert_eq!(call.code, Some(201));
        place.kill_operator();
        stop.cut();
        place.start_operator_behind(&proxy);
    }
    let status = place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(status.hooks.len(), 3);
    for hook in status.hooks {
        let resource = format!("{}s", hook.kind.to_lowercase());
        assert_eq!(place.creates(&resource, &hook.name).await, 1, "{}", hook.name);
        assert_eq!(
            place.uid(if hook.kind == "Pod" { "v1" } else { "batch/v1" }, &hook.kind, &hook.name).await,
            hook.uid
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f52_after_a_restart_nothing_is_written_before_what_is_waited_for_was_read_anew() {
    let (mut place, proxy) = Place::with_proxy("reread").await;
    place.start_operator_behind(&proxy);
    let manifests = [
        config_map("zero", &[], "1"),
        deployment("first", &[(WAVE, "1")], &[("pods.swell.dev/ready", "never")]),
        config_map("second", &[(WAVE, "2")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    let waits = |status: &ApplicationStatus| {
        let stage = status.operation_state.as_ref().and_then(|state| state.stage.as_ref());
        stage.is_some_and(|stage| stage.text == "Sync 1 (2/3)" && !stage.blocked_on.is_empty())
    };
    let before = place.status("app", "waiting for the Deployment", waits).await;
    place.kill_operator();
    let calls = proxy.calls().len();
    let unread = proxy.rule(When::calls(|call| call.resource == "deployments" && call.name.is_empty()), Fate::Hold);
    place.start_operator_behind(&proxy);
    unread.hit(1).await.unwrap();
    // The other kinds are listed, and it stays at that: every further call would need the view.
    eventually("ConfigMaps are listed", || async {
        let listed = |call: &testbed::faults::Call| call.resource == "configmaps" && call.code == Some(200);
        proxy.calls()[calls..].iter().any(listed).then_some(())
    })
    .await;
    let objects = ["configmaps", "deployments"];
    let writes = || {
        let after = proxy.calls().split_off(calls);
        after.into_iter().filter(|call| call.is_write() && objects.contains(&&*call.resource)).collect::<Vec<_>>()
    };
    assert_eq!(writes(), []);
    unread.end();
    let since = before.operation_state.unwrap().stage.unwrap().since;
    place
        .status("app", "waiting for the Deployment again", |status| {
            waits(status) && status.operation_state.as_ref().unwrap().stage.as_ref().unwrap().since > since
        })
        .await;
    assert_eq!(writes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn f54_terminate_ends_every_phase_though_it_is_said_twice_and_every_second_answer_is_lost() {
    let (mut place, proxy) = Place::with_proxy("terminate").await;
    place.start_operator_behind(&proxy);
    let never = &[("pods.swell.dev/complete-after", "never")];
    let apps = [
        ("pre", job("pre-hook", &[(HOOK, "PreSync")], never)),
        ("sync", deployment("sync-web", &[], &[("pods.swell.dev/ready", "never")])),
        ("post", [config_map("post-map", &[], "1"), job("post-hook", &[(HOOK, "PostSync")], never)].concat()),
    ];
    for (app, manifests) in &apps {
        place.apply(app, manifests).await;
    }
    let mut ids = Vec::new();
    for (app, _) in &apps {
        let waits = |status: &ApplicationStatus| {
            let state = status.operation_state.as_ref();
            state.and_then(|state| state.stage.as_ref()).is_some_and(|stage| !stage.blocked_on.is_empty())
        };
        ids.push(id(place.status(app, "waiting", waits).await));
    }
    for hook in ["pre-hook", "post-hook"] {
        place.object("batch/v1", "Job", hook, "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
    }
    let number = AtomicUsize::new(0);
    let is_second =
        move |call: &testbed::faults::Call| call.is_write() && number.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let lossy = proxy.rule(When::calls(is_second), Fate::Lose);
    for _ in 0..2 {
        for (app, _) in &apps {
            place.ask(app, json!({"terminate": {}})).await;
        }
    }
    for ((app, _), id) in apps.iter().zip(&ids) {
        let state = place.ended(app, OperationPhase::Failed).await.operation_state.unwrap();
        assert_eq!(&state.id, id);
        assert!(state.message.as_ref().unwrap().contains("terminated on request"), "{:?}", state.message);
        eventually("the request is cleared", || async {
            place.applications().get(app).await.unwrap().operation.is_none().then_some(())
        })
        .await;
    }
    assert!(lossy.hits() >= 3, "{} answers were lost", lossy.hits());
    lossy.end();
    for ((app, _), id) in apps.iter().zip(&ids) {
        place.apply(app, &config_map(&format!("{app}-next"), &[], "1")).await;
        place.ended_after(app, id, OperationPhase::Succeeded).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f67_refusals_that_pass_are_tried_again_inside_the_wave_and_told_meanwhile() {
    let (mut place, proxy) = Place::with_proxy("busy").await;
    place.start_operator_behind(&proxy);
    let of = |name: &'static str| When::calls(move |call| call.name == name && call.method != "GET");
    // The dry run of the rehearsal is refused too: it cannot say, and stops nothing.
    let unavailable = proxy.rule(of("late"), Fate::Refuse(503, None));
    let busy = proxy.rule(of("web").times(3), Fate::Refuse(429, Some(1)));
    let manifests = [
        config_map("first", &[], "1"),
        config_map("late", &[(WAVE, "1")], "1"),
        deployment("web", &[(WAVE, "1")], &[]),
        config_map("last", &[(WAVE, "2")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    place.status("app", "told of the refusals", |status| waits_because(status, "refused by the test with 503")).await;
    unavailable.hit(4).await.unwrap();
    assert_eq!(place.writes_to("configmaps", "last").await.len(), 0);
    unavailable.end();
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!((state.attempt, busy.hits()), (1, 3));
    for name in ["first", "late", "last"] {
        assert_eq!(place.creates("configmaps", name).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f67_a_webhook_that_is_not_there_yet_holds_its_wave_by_name_and_fails_nothing() {
    let place = Place::new("webhook").await;
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": place.namespace},
        "webhooks": [{
            "name": "absent.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 1,
            "clientConfig": {"url": "https://127.0.0.1:9/validate"}, "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
            "objectSelector": {"matchLabels": {"guarded": "yes"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}]
        }]
    });
    place.put(&webhook).await;
    let guarded = document(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "guarded", "labels": {"guarded": "yes"}, "annotations": {WAVE: "1"}}
    }));
    place
        .apply("app", &[config_map("first", &[], "1"), guarded, config_map("last", &[(WAVE, "2")], "1")].concat())
        .await;
    // The rehearsal meets it too: it cannot say, and stops nothing.
    let named = |status: &ApplicationStatus| waits_because(status, "absent.example.com");
    place.status("app", "told which webhook does not answer", named).await;
    assert_eq!(place.writes_to("configmaps", "last").await.len(), 0);
    kubectl(&["delete", "validatingwebhookconfiguration", &place.namespace]);
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!(state.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_log_that_cannot_be_read_is_told_as_such_beside_what_is_known() {
    let (mut place, proxy) = Place::with_proxy("unread").await;
    place.start_operator_behind(&proxy);
    let _unread = proxy.rule(When::calls(|call| call.subresource == "log"), Fate::Refuse(503, None));
    let pod = &[("pods.swell.dev/exit-code", "3"), ("pods.swell.dev/log", "no answer\n")];
    place.apply("app", &job("migrate", &[(HOOK, "PreSync")], pod)).await;
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(
        message.contains("exited with code 3 (Error); its log could not be read: refused by the test"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_status_of_a_third_party_that_is_older_than_our_write_releases_no_wave() {
    let place = Place::new("third").await;
    let third = place.third_party().await;
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let manifests = |value: &str| {
        [third.machine("db", &json!({}), &json!({"size": value})), config_map("after", &[(WAVE, "1")], value)].concat()
    };
    let _reconciling = third.reconcile_after(Duration::from_secs(3), ready);
    place.apply("app", &manifests("1")).await;
    let first = id(place.ended("app", OperationPhase::Succeeded).await);
    place.apply("app", &manifests("2")).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let statuses = place.log("machines").await;
    let statuses: Vec<_> = statuses.iter().filter(|entry| entry.subresource == "status").collect();
    let after = place.writes_to("configmaps", "after").await;
    assert_eq!((statuses.len(), after.len()), (2, 2));
    for (status, write) in statuses.iter().zip(&after) {
        assert!(status.received_us < write.received_us, "the wave waited for the status of this generation");
    }
    assert!(third.machines().get("db").await.unwrap().data.pointer("/status/observedGeneration") == Some(&json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_a_leftover_hook_that_somebody_else_holds_is_named_with_its_finalizer_and_replaced_when_it_is_let_go() {
    let place = Place::new("held").await;
    let hook = job("migrate", &[(HOOK, "PreSync"), (POLICY, "BeforeHookCreation")], QUICK);
    place.apply("app", &[hook.clone(), config_map("settings", &[], "1")].concat()).await;
    let first = id(place.ended("app", OperationPhase::Succeeded).await);
    let before = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    place.hold("batch/v1", "Job", "migrate", "example.com/held").await;
    place.apply("app", &[hook, config_map("settings", &[], "2")].concat()).await;
    place.status("app", "told of the finalizer", |status| waits_because(status, "example.com/held")).await;
    place.let_go("batch/v1", "Job", "migrate", "example.com/held").await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_ne!(place.uid("batch/v1", "Job", "migrate").await.unwrap(), before);
    assert_eq!(place.creates("jobs", "migrate").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f57_what_a_policy_denies_is_tried_again_and_comes_soon_after_the_policy_is_gone() {
    let place = Place::new("denied").await;
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": place.namespace},
        "data": {"value": "1"}
    });
    let denial = place.deny("CREATE", &object).await;
    let spec = json!({"syncPolicy": {"retry": {"limit": 100, "backoff": {"duration": "1s", "factor": 1}}}});
    let manifests = [job("migrate", &[(HOOK, "PreSync")], QUICK), config_map("settings", &[], "1")];
    place.apply_with("app", &manifests.concat(), spec).await;
    let told = |status: &ApplicationStatus| {
        let state = status.operation_state.as_ref();
        state.is_some_and(|state| {
            state.attempt >= 2 && state.message.as_ref().is_some_and(|message| message.contains(DENIED))
        })
    };
    let first = id(place.status("app", "told of the denial, in a further attempt", told).await);
    assert_eq!(place.creates("jobs", "migrate").await, 0, "what the rehearsal refuses costs no hook");
    denial.lift().await;
    assert_eq!(id(place.ended("app", OperationPhase::Succeeded).await), first);
    assert_eq!(place.creates("jobs", "migrate").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_do_what_they_say() {
    let place = Place::without_operator("tools").await;
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": place.namespace}, "data": {"a": "1"}});
    let maps = place.api("v1", "ConfigMap");
    place.put(&object("mine")).await;
    place.put(&object("other")).await;
    for verb in ["UPDATE", "DELETE"] {
        let denial = place.deny(verb, &object("mine")).await;
        let delete = |name: &'static str| {
            let maps = maps.clone();
            async move { maps.delete(name, &kube::api::DeleteParams::default().dry_run()).await.is_ok() }
        };
        assert_eq!((delete("mine").await, delete("other").await), (verb != "DELETE", true), "{verb}");
        let mut changed = object("other");
        changed["data"]["a"] = json!(verb);
        place.put(&changed).await;
        denial.lift().await;
        place.put(&object("mine")).await;
    }
    place.hold("v1", "ConfigMap", "mine", "example.com/held").await;
    maps.delete("mine", &kube::api::DeleteParams::default()).await.unwrap();
    assert!(place.get("v1", "ConfigMap", "mine").await.unwrap().pointer("/metadata/deletionTimestamp").is_some());
    place.let_go("v1", "ConfigMap", "mine", "example.com/held").await;
    place.gone("v1", "ConfigMap", "mine").await;

    let third = place.third_party().await;
    let mut machine: Value =
        serde_json::from_str(third.machine("m", &json!({}), &json!({"size": 1})).trim_start_matches("---")).unwrap();
    machine["metadata"]["namespace"] = json!(place.namespace);
    place.put(&machine).await;
    third.write_status("m", json!({"phase": "Odd"})).await;
    let seen = third.machines().get("m").await.unwrap().data;
    assert_eq!((&seen["status"]["phase"], &seen["status"]["observedGeneration"]), (&json!("Odd"), &json!(1)));
    let _reconciling = third.reconcile_after(Duration::from_millis(10), json!({"phase": "Done"}));
    machine["spec"]["size"] = json!(2);
    place.put(&machine).await;
    eventually("the second generation is reconciled", || async {
        let status = third.machines().get("m").await.unwrap().data["status"].clone();
        (status["phase"] == "Done" && status["observedGeneration"] == 2).then_some(())
    })
    .await;
}
