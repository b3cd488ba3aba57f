//! Verdicts on the real control plane: which count, when, and what becomes of those that say neither well nor badly.

use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::hands::{CONFIG_MAP, DEPLOYMENT, Gauges, JOB, blocked, grant_everywhere, patch, version, version_of};
use crate::support::{Place, config_map, deployment, document, job, job_object};
use crate::waves::{first_version, now};

const HOOK: &str = "argocd.argoproj.io/hook";
const WAVE: &str = "argocd.argoproj.io/sync-wave";

#[tokio::test(flavor = "multi_thread")]
async fn f01_f07_neither_success_nor_failure_of_an_older_generation_counts() {
    let place = Place::new("stale").await;
    let gauges = Gauges::new(&place).await;
    let manifests = |size: i64| {
        let gauge = document(&gauges.manifest("one", size, &json!({})));
        [gauge, config_map("after", &[(WAVE, "1")], &size.to_string())].concat()
    };
    place.apply("app", &manifests(1)).await;
    gauges.seen("one", 1).await;
    gauges.tell("one", 1, "Ready", "True").await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;

    place.apply("app", &manifests(2)).await;
    gauges.seen("one", 2).await;
    blocked(&place, "app", &["one", "Progressing"]).await;
    // A failure of generation 1 ends nothing either, though it is one for good.
    gauges.tell("one", 1, "Stalled", "True").await;
    gauges.tell("one", 1, "Ready", "True").await;
    let ready = gauges.tell("one", 2, "Ready", "True").await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let after = version_of(&place, CONFIG_MAP, "after").await;
    assert!(after > ready, "the next wave was written at {after}, before the status of its generation at {ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_f03_a_child_application_holds_its_parents_wave_until_it_is_ready_at_its_new_generation() {
    let place = Place::new("child").await;
    grant_everywhere(&place, json!([{"apiGroups": ["swell.dev"], "resources": ["applications"], "verbs": ["*"]}]))
        .await;
    let parent = |child: &str, value: &str| {
        let child = json!({"apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "child", "annotations": {"swell.dev/timeout": "20s"}}, "spec": {"source": {"inline": child}}});
        [document(&child), config_map("after", &[(WAVE, "1")], value)].concat()
    };
    place.apply("parent", &parent(&deployment("web", &[], &[]), "1")).await;
    let first = place.ended("parent", OperationPhase::Succeeded).await.operation_state.unwrap().id;

    let children = place.api("swell.dev/v1alpha1", "Application");
    let from = now(&children).await;
    let ready = tokio::spawn(first_version(children, from, |object| {
        let data = &object.data;
        let conditions = data.pointer("/status/conditions").and_then(Value::as_array);
        let is_ready = conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
        // The child's first generation is 1, and that of a change a later one.
        object.metadata.name.as_deref() == Some("child")
            && is_ready
            && data["status"]["observedGeneration"].as_i64() > Some(1)
    }));
    let slow = deployment("web", &[], &[("pods.swell.dev/ready-after", "2s")]);
    place.apply("parent", &parent(&slow, "2")).await;
    let second = place.ended_after("parent", &first, OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let (ready, after) = (ready.await.unwrap(), version_of(&place, CONFIG_MAP, "after").await);
    assert!(after > ready, "the parent's next wave was written at {after}, before its child was ready at {ready}");

    // F03: a child that cannot apply one of its objects is not ready, whatever its other objects are.
    let absent = json!({"apiVersion": "absent.example/v1", "kind": "Absent", "metadata": {"name": "x"}});
    let broken = [config_map("fine", &[], "1"), document(&absent)].concat();
    place.apply("parent", &parent(&broken, "3").replace("20s", "3s")).await;
    let failed = place.ended_after("parent", &second, OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    assert!(message.contains("Application") && message.contains("child"), "{message}");
    let value = place.get("v1", "ConfigMap", "after").await.unwrap();
    assert_eq!(value.pointer("/data/value"), Some(&json!("2")), "nothing of the next wave was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_custom_resource_without_a_rule_is_waited_for_until_its_ready_condition_says_so() {
    let place = Place::new("norule").await;
    let gauges = Gauges::new(&place).await;
    let manifests = [document(&gauges.manifest("one", 1, &json!({}))), config_map("after", &[(WAVE, "1")], "1")];
    place.apply("app", &manifests.concat()).await;
    gauges.seen("one", 1).await;
    gauges.tell("one", 1, "Ready", "False").await;
    blocked(&place, "app", &["one", "Progressing", "says the test"]).await;
    let ready = gauges.tell("one", 1, "Ready", "True").await;
    place.ended("app", OperationPhase::Succeeded).await;
    assert!(version_of(&place, CONFIG_MAP, "after").await > ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_degraded_that_passes_is_forgiven_and_one_that_lasts_fails_with_its_condition() {
    let place = Place::new("passing").await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": place.namespace}, "spec": {"hard": {"pods": "0"}}});
    let replica_set = |name: &str| {
        document(&json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}}
        }))
    };
    place.put(&quota).await;
    place.apply("passes", &replica_set("passes")).await;
    blocked(&place, "passes", &["passes", "Degraded", "exceeded quota"]).await;
    place.api("v1", "ResourceQuota").delete("none", &DeleteParams::default()).await.unwrap();
    place.ended("passes", OperationPhase::Succeeded).await;

    place.put(&quota).await;
    place.apply("lasts", &replica_set("lasts")).await;
    let message = place.ended("lasts", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("ReplicaSet") && message.contains("has been Degraded for 10s"), "{message}");
    assert!(message.contains("exceeded quota"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_fix_of_a_deployment_past_its_progress_deadline_is_not_failed_by_the_old_condition() {
    let place = Place::new("blame").await;
    let with_deadline = |pod: &[(&str, &str)]| {
        let text = deployment("web", &[], pod);
        let mut object: Value = serde_json::from_str(text.trim_start_matches("---\n")).unwrap();
        object["spec"]["progressDeadlineSeconds"] = json!(2);
        document(&object)
    };
    place.apply("app", &with_deadline(&[("pods.swell.dev/ready", "never")])).await;
    let failed = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    assert!(message.contains("web") && message.contains("is Degraded"), "for good, so at once: {message}");
    place.apply("app", &with_deadline(&[])).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_f09_a_suspended_job_holds_its_wave_until_the_deadline_and_a_resumed_one_until_it_ends() {
    let place = Place::new("suspended").await;
    let mut plain = job_object("asleep", &[("swell.dev/timeout", "3s")], &[]);
    plain["spec"]["suspend"] = json!(true);
    place.apply("asleep", &[document(&plain), config_map("never", &[(WAVE, "1")], "1")].concat()).await;

    let mut hook = job_object("resumed", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "2s")]);
    hook["spec"]["suspend"] = json!(true);
    place.apply("resumed", &[document(&hook), config_map("after", &[], "1")].concat()).await;
    blocked(&place, "resumed", &["resumed", "Suspended"]).await;
    patch(&place, JOB, "resumed", json!({"spec": {"suspend": false}})).await;
    let running = |job: &Value| job.pointer("/status/active") == Some(&json!(1));
    place.object(JOB.0, JOB.1, "resumed", "running", running).await;
    place.ended("resumed", OperationPhase::Succeeded).await;
    let (ended, after) = (version_of(&place, JOB, "resumed").await, version_of(&place, CONFIG_MAP, "after").await);
    assert!(after > ended, "Sync began at {after}, before the hook had ended at {ended}");

    let message = place.ended("asleep", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("asleep") && message.contains("within 3s: Suspended"), "{message}");
    assert!(place.get("v1", "ConfigMap", "never").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_what_cannot_be_judged_holds_its_wave_until_the_deadline_and_says_why() {
    let place = Place::new("odd").await;
    let gauges = Gauges::new(&place).await;
    let odd = gauges.manifest("odd", 1, &json!({"swell.dev/timeout": "4s"}));
    place.apply("odd", &[document(&odd), config_map("never", &[(WAVE, "1")], "1")].concat()).await;
    gauges.seen("odd", 1).await;
    gauges.tell("odd", "6f7d9c", "Ready", "True").await;

    // A plain Job counts when it has ended, not when it runs.
    let slow = job("slow", &[], &[("pods.swell.dev/complete-after", "2s")]);
    place.apply("slow", &[slow, config_map("after", &[(WAVE, "1")], "1")].concat()).await;
    place.ended("slow", OperationPhase::Succeeded).await;
    let slow = place.get(JOB.0, JOB.1, "slow").await.unwrap();
    assert_eq!(slow.pointer("/status/succeeded"), Some(&json!(1)));
    assert!(version_of(&place, CONFIG_MAP, "after").await > version(&slow));

    let message = place.ended("odd", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("Gauge") && message.contains("within 4s: Unknown: cannot judge"), "{message}");
    assert!(place.get("v1", "ConfigMap", "never").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_an_object_that_is_deleted_while_it_is_waited_for_comes_back_once_and_then_fails_by_name() {
    let place = Place::new("deleted").await;
    place.apply("app", &deployment("web", &[], &[("pods.swell.dev/ready", "never")])).await;
    blocked(&place, "app", &["web", "Progressing", "replicas"]).await;
    let before = place.uid(DEPLOYMENT.0, DEPLOYMENT.1, "web").await.unwrap();
    let deployments: Api<_> = place.api(DEPLOYMENT.0, DEPLOYMENT.1);
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    let is_new = |object: &Value| object.pointer("/metadata/uid") != Some(&json!(before));
    place.object(DEPLOYMENT.0, DEPLOYMENT.1, "web", "applied again", is_new).await;
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    let message = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("web") && message.contains("was deleted by someone else, and again"), "{message}");
    assert_eq!(place.creates("deployments", "web").await, 2);
}
