//! Self-heal: drift is undone at once, in order, without hooks; a fight about a field becomes rare and is told.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{ApplicationStatus, OperationPhase, OperationState, SyncStatus};

use crate::support::{Place, config_map, deployment, document, entry_name, job, kubectl, testbed};

const HOOK: &str = "argocd.argoproj.io/hook";
const WAVE: &str = "argocd.argoproj.io/sync-wave";

fn healing() -> Value {
    json!({"syncPolicy": {"automated": {"selfHeal": true}}})
}

fn is_synced(status: &ApplicationStatus) -> bool {
    status.sync.as_ref().is_some_and(|sync| sync.status == SyncStatus::Synced)
}

fn condition<'a>(status: &'a ApplicationStatus, name: &str) -> (&'a str, &'a str, &'a str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == name).unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

/// Waits for the end of the self-heal that follows an operation.
async fn healed(place: &Place, after: &str) -> OperationState {
    let state = place.ended_after("app", after, OperationPhase::Succeeded).await.operation_state.unwrap();
    assert!(state.self_heal.is_some() && state.initiated_by.as_ref().is_some_and(|by| by.automated), "{state:?}");
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn v32_h7_what_kubectl_scaled_is_undone_at_once_without_hooks_and_the_message_says_who_it_was() {
    let place = Place::new("heal").await;
    let manifests = [
        job("migrate", &[(HOOK, "PreSync")], &[]),
        job("smoke", &[(HOOK, "PostSync")], &[]),
        deployment("web", &[], &[]),
        config_map("settings", &[(WAVE, "1")], "1"),
    ];
    place.apply_with("app", &manifests.concat(), healing()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    kubectl(&["scale", "deployment/web", "--replicas", "3", "--namespace", &place.namespace]);
    let second = healed(&place, &first).await;
    let cause = format!("Deployment {}/web: spec.replicas was taken by kubectl", place.namespace);
    assert!(second.self_heal.as_ref().unwrap().starts_with(&cause), "{:?}", second.self_heal);
    assert!(second.message.as_ref().unwrap().contains(&cause), "{:?}", second.message);
    let web = place.get("apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(web.pointer("/spec/replicas"), Some(&json!(1)));

    place.api("v1", "ConfigMap").delete("settings", &DeleteParams::default()).await.unwrap();
    let third = healed(&place, &second.id).await;
    assert!(third.message.unwrap().contains("settings: is gone"));
    assert!(place.uid("v1", "ConfigMap", "settings").await.is_some());
    for (resource, name, writes) in
        [("jobs", "migrate", 1), ("jobs", "smoke", 1), ("deployments", "web", 2), ("configmaps", "settings", 2)]
    {
        let found = place.writes_to(resource, name).await;
        assert_eq!(found.len(), writes, "{name}: {found:?}");
    }
    let status = place.status("app", "Synced", is_synced).await;
    let told: Vec<_> = status.history.iter().map(|entry| (entry.id.clone(), entry.self_heals)).collect();
    assert_eq!(told, [(third.id, Some(2)), (first, None)], "repairs in a row are one line");

    // I10: nothing is asked of the server once it is healed; a handful of other Applications takes longer than a poll would need.
    let audit = testbed().audit();
    let requests = || async {
        audit.flushed(&place.client).await.unwrap();
        let about_us = |entry: &testbed::audit::Entry| {
            entry.acting_user() == format!("system:serviceaccount:{}:default", place.namespace)
                || (entry.resource == "applications" && entry.name == "app" && entry.is_write())
        };
        let entries = audit.read(&testbed::audit::Filter::default()).unwrap();
        entries.iter().filter(|entry| entry.namespace == place.namespace && about_us(entry)).count()
    };
    let before = requests().await;
    kubectl(&["wait", "--for=condition=Ready", "swapp/app", "--namespace", &place.namespace, "--timeout=30s"]);
    let marker = Place::without_operator("marker").await;
    marker
        .put(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": marker.namespace}}),
        )
        .await;
    assert_eq!(requests().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_deleted_namespace_is_made_anew_first_and_everything_in_it_in_one_run_and_in_order() {
    let mut place = Place::without_operator("heal-ns").await;
    let other = format!("{}-data", place.namespace);
    for (kind, name, role) in [("ClusterRole", &other, None), ("ClusterRoleBinding", &other, Some(&other))] {
        let mut object =
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        match role {
            None => object["rules"] = json!([{"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["*"]}]),
            Some(role) => {
                object["roleRef"] =
                    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
                object["subjects"] =
                    json!([{"kind": "ServiceAccount", "name": "default", "namespace": place.namespace}]);
            }
        }
        place.put(&object).await;
    }
    place.also_look_at(&other);
    place.start_operator().await;
    let inside = |object: String, wave: &str| {
        let mut object: Value = serde_json::from_str(object.trim_start_matches("---\n")).unwrap();
        object["metadata"]["namespace"] = json!(other);
        object["metadata"]["annotations"][WAVE] = json!(wave);
        document(&object)
    };
    let manifests = [
        document(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})),
        inside(config_map("settings", &[], "1"), "0"),
        inside(deployment("web", &[], &[]), "1"),
        inside(config_map("last", &[], "1"), "2"),
    ];
    place.apply_with("app", &manifests.concat(), healing()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let written = place.writes().await.len();
    kubectl(&["delete", "namespace", &other]);
    let second = healed(&place, &first).await;
    let status = place.status("app", "Synced", is_synced).await;
    assert_eq!(status.operation_state.unwrap().id, second.id, "one run repairs all of it");
    let writes = place.writes().await.split_off(written);
    let order: Vec<_> = writes.iter().filter(|entry| entry.code == 201).map(entry_name).collect();
    assert_eq!(order, [other.as_str(), "settings", "web", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn v32_who_undoes_each_repair_at_once_is_named_by_a_condition_and_the_repairs_become_rare() {
    let place = Place::new("fight").await;
    place.apply_with("app", &config_map("settings", &[], "wanted"), healing()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let maps = place.api("v1", "ConfigMap");
    let fighter = tokio::spawn(async move {
        let params = PatchParams { field_manager: Some("fighter".to_owned()), ..PatchParams::default() };
        loop {
            let map = maps.get("settings").await.unwrap();
            if map.data.pointer("/data/value") == Some(&json!("wanted")) {
                let patch = Patch::Merge(json!({"data": {"value": "mine"}}));
                maps.patch("settings", &params, &patch).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    let status = place
        .status("app", "contested", |status| status.conditions.iter().any(|condition| condition.reason == "Contested"))
        .await;
    let (stalled, _, message) = condition(&status, "Stalled");
    assert_eq!(stalled, "True");
    let said = format!("ConfigMap {}/settings was undone within a second of its self-heal", place.namespace);
    assert!(message.starts_with(&said) && message.contains("data.value was taken by fighter"), "{message}");
    assert_eq!(condition(&status, "Ready").0, "False");
    assert_eq!(condition(&status, "Reconciling").0, "False");
    // Three repairs at once, and then one for each pause: the fourth or fifth may have come meanwhile.
    let repairs = place.writes_to("configmaps", "settings").await.len() - 1;
    assert!((3..=5).contains(&repairs), "{repairs}");
    fighter.abort();
    // Nobody undoes the next one.
    let status = place
        .status("app", "at peace", |status| {
            is_synced(status) && condition(status, "Stalled").0 == "False" && condition(status, "Ready").0 == "True"
        })
        .await;
    let latest = status.history.first().unwrap();
    assert!(latest.self_heals.is_some_and(|repairs| repairs >= 4), "{latest:?}");
    assert_eq!(status.history.len(), 2, "a fight pushes no deployment out of the history");
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_a_new_revision_runs_its_hooks_also_when_there_is_drift_at_the_same_time() {
    let mut place = Place::new("heal-both").await;
    let manifests = |value: &str| {
        [job("migrate", &[(HOOK, "PreSync")], &[]), config_map("settings", &[], value), config_map("drifts", &[], "1")]
            .concat()
    };
    place.apply_with("app", &manifests("1"), healing()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    // The operator sees both at once when it comes back.
    place.kill_operator();
    place.api("v1", "ConfigMap").delete("drifts", &DeleteParams::default()).await.unwrap();
    place.apply_with("app", &manifests("2"), healing()).await;
    place.start_operator().await;
    let second = place.ended_after("app", &first, OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!(second.self_heal, None);
    assert_eq!(place.creates("jobs", "migrate").await, 2);
    assert_eq!(place.creates("configmaps", "drifts").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_drift_that_came_while_no_operator_ran_is_repaired_when_one_comes_back() {
    let mut place = Place::new("heal-restart").await;
    place
        .apply_with(
            "app",
            &[job("migrate", &[(HOOK, "PreSync")], &[]), config_map("settings", &[], "1")].concat(),
            healing(),
        )
        .await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.kill_operator();
    let patch = Patch::Merge(json!({"data": {"value": "mine"}}));
    place.api("v1", "ConfigMap").patch("settings", &PatchParams::default(), &patch).await.unwrap();
    place.start_operator().await;
    healed(&place, &first).await;
    let settings = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(settings.pointer("/data/value"), Some(&json!("1")));
    assert_eq!(place.creates("jobs", "migrate").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_self_heal_drift_is_shown_and_left_alone() {
    let place = Place::new("drift").await;
    place.apply("app", &[deployment("web", &[], &[]), config_map("settings", &[], "1")].concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    kubectl(&["scale", "deployment/web", "--replicas", "2", "--namespace", &place.namespace]);
    let status = place.status("app", "OutOfSync", |status| !is_synced(status)).await;
    let (ready, reason, message) = condition(&status, "Ready");
    assert_eq!((ready, reason), ("False", "OutOfSync"));
    assert!(message.contains("web: spec.replicas was taken by kubectl"), "{message}");
    place.apply("other", &config_map("other", &[], "1")).await;
    place.ended("other", OperationPhase::Succeeded).await;
    assert_eq!(place.writes_to("deployments", "web").await.len(), 1);
    // A paused Application does not heal either.
    let paused = json!({"syncPolicy": {"automated": {"enabled": false, "selfHeal": true}}});
    place.apply_with("app", &[deployment("web", &[], &[]), config_map("settings", &[], "1")].concat(), paused).await;
    place.status("app", "told of the change", |status| status.observed_generation.is_some_and(|seen| seen >= 2)).await;
    assert_eq!(place.writes_to("deployments", "web").await.len(), 1);
    let web = place.get("apps/v1", "Deployment", "web").await.unwrap();
    assert_eq!(web.pointer("/spec/replicas"), Some(&json!(2)));
}
