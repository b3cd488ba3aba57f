//! Health checks in CEL on the real control plane: what they hold, fail and run to an end, and that a bad one costs nobody else anything.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{ApplicationStatus, HealthStatus, OperationPhase};

use crate::support::{Place, config_map, document, eventually, kubectl};

const WAVE: &str = "argocd.argoproj.io/sync-wave";
const HOOK: &str = "argocd.argoproj.io/hook";

/// A place with a kind `Thing` of its own, in the versions v1 and v1beta1, that its account may write.
struct Things {
    place: Place,
    group: String,
}

impl Things {
    async fn new(prefix: &str) -> Self {
        let mut place = Place::without_operator(prefix).await;
        let group = format!("{}.example", place.namespace);
        let version = |name: &str, storage: bool| {
            json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        };
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("things.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [version("v1", true), version("v1beta1", false)]}
        });
        place.put(&crd).await;
        kubectl(&["wait", "--for=condition=Established", &format!("crd/things.{group}"), "--timeout=60s"]);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "things", "namespace": place.namespace},
            "rules": [{"apiGroups": [group], "resources": ["*"], "verbs": ["*"]}]
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "things", "namespace": place.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "things"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": place.namespace}]
        });
        place.put(&role).await;
        place.put(&binding).await;
        place.start_operator().await;
        Self { place, group }
    }

    fn api_version(&self) -> String {
        format!("{}/v1", self.group)
    }

    fn thing(&self, name: &str, annotations: &[(&str, &str)], spec: &Value) -> String {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        document(&json!({
            "apiVersion": self.api_version(), "kind": "Thing",
            "metadata": {"name": name, "annotations": annotations}, "spec": spec
        }))
    }

    /// The spec's part with one health check for things.
    fn checks(&self, expressions: &Value) -> Value {
        let mut check = json!({"apiVersion": self.api_version(), "kind": "Thing"});
        check.as_object_mut().unwrap().extend(expressions.as_object().unwrap().clone());
        json!({"healthChecks": [check]})
    }

    async fn exists(&self, name: &str) -> String {
        eventually(&format!("Thing {name} is there"), || async {
            self.place.uid(&self.api_version(), "Thing", name).await
        })
        .await
    }

    /// Waits until there is a thing of that name with another uid.
    async fn anew(&self, name: &str, before: &str) -> String {
        eventually(&format!("Thing {name} is there anew"), || async {
            self.place.uid(&self.api_version(), "Thing", name).await.filter(|uid| uid != before)
        })
        .await
    }

    async fn set_status(&self, name: &str, status: Value) {
        let patch = json!({"status": status});
        let api = self.place.api(&self.api_version(), "Thing");
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Waits until the operation that runs says that it waits for this.
    async fn waits(&self, name: &str, what: &str) -> ApplicationStatus {
        self.place.status(name, &format!("waiting: {what}"), |status| told(status).contains(what)).await
    }
}

/// Everything that the status says of the operation that runs.
fn told(status: &ApplicationStatus) -> String {
    status
        .operation_state
        .as_ref()
        .filter(|state| !state.phase.is_ended())
        .map(|state| serde_json::to_string(state).unwrap())
        .unwrap_or_default()
}

fn message(status: ApplicationStatus) -> String {
    status.operation_state.unwrap().message.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_i2_a_wave_goes_when_current_is_true_of_a_status_that_is_newer_than_our_write() {
    let things = Things::new("current").await;
    let checks = things.checks(&json!({"current": "status.phase == 'Up'", "failed": "status.phase == 'Broken'"}));
    let manifests = |size: i64| {
        let after = config_map("after", &[(WAVE, "1")], &size.to_string());
        [things.thing("db", &[], &json!({"size": size})), after].concat()
    };
    things.place.apply_with("app", &manifests(1), checks.clone()).await;
    things.exists("db").await;
    things.waits("app", "healthChecks[0].current is not true: the object has no field").await;
    things.set_status("db", json!({"phase": "Starting"})).await;
    things.waits("app", "healthChecks[0].current is not true: status.phase == 'Up'").await;
    assert!(things.place.uid("v1", "ConfigMap", "after").await.is_none(), "the wave is held");
    things.set_status("db", json!({"phase": "Up", "observedGeneration": 1})).await;
    let id = things.place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;

    // What was true before our write, success and failure alike, says nothing of it.
    for (size, phase) in [(2, "Up"), (3, "Broken")] {
        things.set_status("db", json!({"phase": phase})).await;
        let before = things.place.status("app", "at rest", |status| told(status).is_empty()).await;
        let before = before.operation_state.unwrap().id;
        things.place.apply_with("app", &manifests(size), checks.clone()).await;
        things.waits("app", &format!("generation {size} is not observed yet")).await;
        let after = things.place.get("v1", "ConfigMap", "after").await.unwrap();
        assert_eq!(after["data"]["value"], (size - 1).to_string(), "the wave is held");
        things.set_status("db", json!({"phase": "Up", "observedGeneration": size})).await;
        things.place.ended_after("app", &before, OperationPhase::Succeeded).await;
    }
    assert!(!id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn v18_failed_is_for_good_and_ends_the_stage_at_once() {
    let things = Things::new("failed").await;
    let checks = things.checks(&json!({"current": "status.phase == 'Up'", "failed": "status.phase == 'Broken'"}));
    // No deadline can be what ends it.
    let timeouts = json!({"timeouts": {"stage": "0", "sync": "0"}});
    let mut spec = checks;
    spec["syncPolicy"] = timeouts;
    let manifests = [things.thing("db", &[], &json!({})), config_map("after", &[(WAVE, "1")], "1")].concat();
    things.place.apply_with("app", &manifests, spec).await;
    things.exists("db").await;
    things.waits("app", "healthChecks[0].current is not true").await;
    let conditions = json!([{"type": "Ready", "status": "False", "reason": "Disk", "message": "the disk is full"}]);
    things.set_status("db", json!({"phase": "Broken", "conditions": conditions})).await;
    let message = message(things.place.ended("app", OperationPhase::Failed).await);
    assert!(message.contains("Thing") && message.contains("is Degraded: healthChecks[0].failed is true"), "{message}");
    assert!(message.contains("status.phase == 'Broken'; Ready is False: the disk is full"), "{message}");
    assert!(things.place.uid("v1", "ConfigMap", "after").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_a_kind_whose_check_has_failed_is_a_hook_that_runs_to_an_end_and_is_made_anew_each_time() {
    let things = Things::new("migration").await;
    let checks = things.checks(&json!({"current": "status.phase == 'Done'", "failed": "status.phase == 'Failed'"}));
    let manifests = |value: &str| {
        let hook = things.thing("migrate", &[(HOOK, "PreSync")], &json!({}));
        [hook, config_map("settings", &[], value)].concat()
    };
    things.place.apply_with("app", &manifests("1"), checks.clone()).await;
    let first = things.exists("migrate").await;
    things.waits("app", "migrate").await;
    assert!(things.place.uid("v1", "ConfigMap", "settings").await.is_none(), "PreSync is not over");
    things.set_status("migrate", json!({"phase": "Done"})).await;
    let state = things.place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!(things.place.creates("things", "migrate").await, 1);

    // Its leftover says Done: that is of another run, and does not count.
    things.place.apply_with("app", &manifests("2"), checks).await;
    let second = things.anew("migrate", &first).await;
    things.waits("app", "migrate").await;
    assert_eq!(things.place.get("v1", "ConfigMap", "settings").await.unwrap()["data"]["value"], "1");
    things.set_status("migrate", json!({"phase": "Failed"})).await;
    let message = message(things.place.ended_after("app", &state.id, OperationPhase::Failed).await);
    assert!(
        message.contains("PreSync wave 0 failed") && message.contains("healthChecks[0].failed is true"),
        "{message}"
    );
    assert_eq!(things.place.get("v1", "ConfigMap", "settings").await.unwrap()["data"]["value"], "1");
    assert_eq!(things.place.creates("things", "migrate").await, 2);
    assert_eq!(things.place.uid(&things.api_version(), "Thing", "migrate").await, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_rule_that_cannot_be_understood_is_told_before_any_write_and_the_sync_follows_when_it_is_put_right() {
    let things = Things::new("badrule").await;
    let manifests = [config_map("settings", &[], "1"), things.thing("db", &[], &json!({}))].concat();
    let bad = things.checks(&json!({"current": "status.phase = 'Up'", "failed": "status.phase.startWith('B')"}));
    things.place.apply_with("app", &manifests, bad).await;
    let state = things.place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    let wanted =
        "spec.healthChecks[0].current: is not CEL: column 14: token recognition error at: '= '; equality is ==";
    assert!(message.contains(wanted), "{message}");
    assert!(message.contains("spec.healthChecks[0].failed: there is no function startWith; did you mean"), "{message}");
    assert!(things.place.writes().await.is_empty(), "nothing was written");

    let mut elsewhere = things.checks(&json!({"current": "status.phase == 'Up'"}));
    elsewhere["healthChecks"][0]["apiVersion"] = format!("{}/v7", things.group).into();
    things.place.apply_with("app", &manifests, elsewhere).await;
    let state = things.place.ended_after("app", &state.id, OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(message.contains("spec.healthChecks[0].apiVersion: the cluster does not serve Thing"), "{message}");
    assert!(things.place.writes().await.is_empty(), "nothing was written");

    let good = things.checks(&json!({"current": "status.phase == 'Up'"}));
    things.place.apply_with("app", &manifests, good).await;
    things.exists("db").await;
    things.set_status("db", json!({"phase": "Up"})).await;
    things.place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_an_endless_rule_of_one_application_holds_up_no_other_one() {
    let things = Things::new("endless").await;
    let endless = "spec.list.map(a, spec.list.map(b, spec.list.map(c, a + b + c))).size() > 0";
    let list = json!({"list": (0..400).collect::<Vec<_>>()});
    things
        .place
        .apply_with("bad", &things.thing("bomb", &[], &list), things.checks(&json!({"current": endless})))
        .await;
    things.waits("bad", "it took longer than 1s").await;
    // While that rule is tried and killed again and again, the same kind goes its way in another Application.
    let checks = things.checks(&json!({"current": "status.round == spec.round"}));
    for round in 1..=5 {
        let before = things.place.applications().get_opt("good").await.unwrap();
        let before = before.and_then(|app| app.status?.operation_state).map(|state| state.id).unwrap_or_default();
        let manifests = things.thing("db", &[], &json!({"round": round}));
        things.place.apply_with("good", &manifests, checks.clone()).await;
        let api_version = things.api_version();
        things
            .place
            .object(&api_version, "Thing", "db", "applied", |thing| thing.pointer("/spec/round") == Some(&json!(round)))
            .await;
        things.set_status("db", json!({"round": round})).await;
        things.place.ended_after("good", &before, OperationPhase::Succeeded).await;
    }
    let status = things.waits("bad", "set aside after it had to be stopped 3 times").await;
    assert_eq!(status.health.unwrap().status, HealthStatus::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_watched_as_metadata_is_seen_whole_by_its_check_and_at_the_version_that_the_check_is_for() {
    let things = Things::new("whole").await;
    let checks = json!({"healthChecks": [
        {"apiVersion": "v1", "kind": "ConfigMap", "current": "data.value == 'ready'"},
        {"apiVersion": format!("{}/v1beta1", things.group), "kind": "Thing",
            "current": format!("apiVersion == '{}/v1beta1'", things.group)}
    ]});
    let manifests = [config_map("settings", &[], "starting"), things.thing("db", &[], &json!({}))].concat();
    // Another Application without checks has a kind watched as metadata first.
    things.place.apply("plain", &config_map("other", &[], "1")).await;
    things.place.ended("plain", OperationPhase::Succeeded).await;
    things.place.apply_with("app", &manifests, checks).await;
    things.waits("app", "healthChecks[0].current is not true: data.value == 'ready'").await;
    let ready = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": things.place.namespace}, "data": {"value": "ready"}});
    things.place.put(&ready).await;
    let status = things.place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(status.health.unwrap().status, HealthStatus::Healthy, "the thing too, as v1beta1");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_change_judge_anew_also_when_nothing_is_written() {
    let things = Things::new("change").await;
    let manifests = things.thing("db", &[], &json!({}));
    things.place.apply_with("app", &manifests, things.checks(&json!({"current": "true"}))).await;
    things.place.ended("app", OperationPhase::Succeeded).await;
    things.set_status("db", json!({"phase": "Down"})).await;
    let becomes = async |health: HealthStatus| {
        let is = |status: &ApplicationStatus| status.health.as_ref().is_some_and(|found| found.status == health);
        things.place.status("app", &format!("{health:?}"), is).await;
    };
    becomes(HealthStatus::Healthy).await;
    let writes = things.place.writes().await.len();
    for (expressions, health) in [
        (json!({"current": "status.phase == 'Up'"}), HealthStatus::Progressing),
        (json!({"current": "true", "failed": "status.phase == 'Down'"}), HealthStatus::Degraded),
        (json!({"current": "status.phase == 'Down'"}), HealthStatus::Healthy),
    ] {
        things.place.apply_with("app", &manifests, things.checks(&expressions)).await;
        becomes(health).await;
    }
    assert_eq!(things.place.writes().await.len(), writes);
    // Without a check the kind's own rule judges again.
    things
        .set_status(
            "db",
            json!({"conditions": [{"type": "Stalled", "status": "True", "reason": "No", "message": "no"}]}),
        )
        .await;
    things.place.apply_with("app", &manifests, json!({})).await;
    becomes(HealthStatus::Degraded).await;
}
