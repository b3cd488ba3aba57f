//! Prunes on the real control plane: their order, what holds them, what refuses them.

use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::hands::{CONFIG_MAP, blocked, hold, let_go};
use crate::support::{Place, config_map, document, entry_name, eventually};

const WAVE: &str = "argocd.argoproj.io/sync-wave";

#[tokio::test(flavor = "multi_thread")]
async fn f69_p4_prunes_go_from_the_highest_wave_down_each_gone_before_the_next() {
    let place = Place::new("mirrored").await;
    let pruning = json!({"syncPolicy": {"automated": {"prune": true}}});
    let waves = [("low", "0"), ("middle", "1"), ("high", "2")];
    let all: String = waves.iter().map(|(name, wave)| config_map(name, &[(WAVE, wave)], "1")).collect();
    place.apply_with("app", &[all, config_map("kept", &[], "1")].concat(), pruning.clone()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    hold(&place, CONFIG_MAP, "high").await;
    place.apply_with("app", &config_map("kept", &[], "2"), pruning).await;
    blocked(&place, "app", &["high", "example.com/held"]).await;
    for name in ["low", "middle"] {
        assert!(place.uid("v1", "ConfigMap", name).await.is_some(), "{name} goes after what stands in a higher wave");
    }
    let_go(&place, CONFIG_MAP, "high").await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let deletes: Vec<_> = place.writes().await.into_iter().filter(|entry| entry.verb == "delete").collect();
    assert_eq!(deletes.iter().map(entry_name).collect::<Vec<_>>(), ["high", "middle", "low"]);
    for entry in &deletes {
        let body = entry.request_object.as_ref().unwrap();
        assert_eq!(body["propagationPolicy"], json!("Foreground"), "{body}");
        assert!(
            body["preconditions"]["uid"].is_string() && body["preconditions"]["resourceVersion"].is_string(),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f71_a_prune_that_a_finalizer_holds_is_bounded_and_names_the_finalizer() {
    let place = Place::new("undeletable").await;
    let pruning = json!({"syncPolicy": {"automated": {"prune": true}, "timeouts": {"stage": "3s"}}});
    place.apply_with("app", &config_map("old", &[], "1"), pruning.clone()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    hold(&place, CONFIG_MAP, "old").await;
    place.apply_with("app", &config_map("new", &[(WAVE, "5")], "1"), pruning).await;
    let failed = place.ended_after("app", &first, OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    for words in ["old", "example.com/held", "within 3s"] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    assert!(place.get("v1", "ConfigMap", "new").await.is_none(), "order wins: a later wave waits");
    let_go(&place, CONFIG_MAP, "old").await;
    place.ask("app", json!({"sync": {"prune": true}})).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
    assert!(place.get("v1", "ConfigMap", "new").await.is_some());
}

/// Refuses every deletion of a ConfigMap of that name, until it is lifted.
struct Refusal {
    name: String,
}

impl Refusal {
    async fn of_deleting(place: &Place, object: &str) -> Self {
        let name = format!("{}-no-delete", place.namespace);
        let rule =
            json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["DELETE"]});
        let only_here = json!({"matchLabels": {"kubernetes.io/metadata.name": place.namespace}});
        place
            .put(&json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
                "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule], "namespaceSelector": only_here},
                    "validations": [{"expression": format!("oldObject.metadata.name != '{object}'"), "message": "it is still needed"}]}
            }))
            .await;
        place
            .put(&json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
                "spec": {"policyName": name, "validationActions": ["Deny"]}
            }))
            .await;
        let refusal = Self { name };
        refusal.until(place, object, true).await;
        refusal
    }

    async fn lift(self, place: &Place, object: &str) {
        crate::support::kubectl(&["delete", "validatingadmissionpolicybinding", &self.name]);
        self.until(place, object, false).await;
    }

    /// It takes a moment until the server goes by it.
    async fn until(&self, place: &Place, object: &str, refused: bool) {
        eventually(&format!("deletes are refused: {refused}"), || async {
            let params = kube::api::DeleteParams { dry_run: true, ..kube::api::DeleteParams::default() };
            let answer = place.api("v1", "ConfigMap").delete(object, &params).await;
            (answer.is_err() == refused).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f73_a_refused_delete_fails_by_name_and_is_made_up_for_by_the_next_sync() {
    let place = Place::new("refused").await;
    let pruning = json!({"syncPolicy": {"automated": {"prune": true}}});
    let both = [config_map("kept", &[], "1"), config_map("old", &[], "1")].concat();
    place.apply_with("app", &both, pruning.clone()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let refusal = Refusal::of_deleting(&place, "old").await;
    place.apply_with("app", &config_map("kept", &[], "2"), pruning).await;
    let failed = place.ended_after("app", &first, OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    assert!(message.contains("old") && message.contains("it is still needed"), "{message}");
    refusal.lift(&place, "old").await;
    place.ask("app", json!({"sync": {"prune": true}})).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
    assert!(place.get("v1", "ConfigMap", "old").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn v20_a_port_that_the_old_object_holds_is_taken_once_that_is_pruned() {
    let place = Place::new("port").await;
    let pruning = json!({"syncPolicy": {"automated": {"prune": true}}});
    let service = |name: &str, port: &Value| {
        document(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": port}]}
        }))
    };
    place.apply_with("app", &service("old", &json!(null)), pruning.clone()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let old = place.get("v1", "Service", "old").await.unwrap();
    let port = old.pointer("/spec/ports/0/nodePort").unwrap();
    place.apply_with("app", &service("new", port), pruning).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let new = place.get("v1", "Service", "new").await.unwrap();
    assert_eq!(new.pointer("/spec/ports/0/nodePort"), Some(port));
    assert!(place.get("v1", "Service", "old").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_an_empty_source_prunes_everything_only_when_that_is_allowed() {
    let place = Place::new("empty").await;
    let policy = |allow: bool| json!({"syncPolicy": {"automated": {"prune": true, "allowEmpty": allow}}});
    place.apply_with("app", &config_map("settings", &[], "1"), policy(false)).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply_with("app", "# nothing\n", policy(false)).await;
    let failed = place.ended_after("app", &first, OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    assert!(message.contains("everything would be pruned") && message.contains("allowEmpty"), "{message}");
    assert!(place.get("v1", "ConfigMap", "settings").await.is_some());
    place.apply_with("app", "# nothing\n", policy(true)).await;
    place.ask("app", json!({"sync": {"prune": true}})).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
    assert!(place.get("v1", "ConfigMap", "settings").await.is_none());
}
