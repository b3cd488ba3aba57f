//! What people and other controllers do beside the operator: patches, finalizers, the status of a custom resource; and what the status
//! of an Application tells meanwhile.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{BlockedOn, OperationState};

use crate::support::{Place, eventually};

/// Kind and version of an object, as the helpers of [`Place`] want them.
pub(crate) type Kind<'a> = (&'a str, &'a str);

pub(crate) const CONFIG_MAP: Kind<'static> = ("v1", "ConfigMap");
pub(crate) const DEPLOYMENT: Kind<'static> = ("apps/v1", "Deployment");
pub(crate) const JOB: Kind<'static> = ("batch/v1", "Job");

const FINALIZER: &str = "example.com/held";

/// Changes an object of a place by a merge patch.
pub(crate) async fn patch(place: &Place, kind: Kind<'_>, name: &str, change: Value) -> Value {
    let changed = place.api(kind.0, kind.1).patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    serde_json::to_value(changed).unwrap()
}

/// Gives an object the finalizer of somebody else.
pub(crate) async fn hold(place: &Place, kind: Kind<'_>, name: &str) {
    patch(place, kind, name, json!({"metadata": {"finalizers": [FINALIZER]}})).await;
}

/// Takes all finalizers off an object.
pub(crate) async fn let_go(place: &Place, kind: Kind<'_>, name: &str) {
    patch(place, kind, name, json!({"metadata": {"finalizers": null}})).await;
}

/// Deletes an object as somebody else would.
pub(crate) async fn delete(place: &Place, kind: Kind<'_>, name: &str) {
    place.api(kind.0, kind.1).delete(name, &DeleteParams::background()).await.unwrap();
}

/// Deletes an Application and waits until it is gone.
pub(crate) async fn depart(place: &Place, name: &str) {
    place.applications().delete(name, &DeleteParams::default()).await.unwrap();
    departed(place, name).await;
}

/// Waits until an Application is gone.
pub(crate) async fn departed(place: &Place, name: &str) {
    eventually(&format!("the Application {name} is gone"), || async {
        place.applications().get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

/// The resourceVersion of an object; those of all objects of this cluster are of one clock.
pub(crate) fn version(object: &Value) -> u64 {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap().parse().unwrap()
}

/// The resourceVersion that an object has now.
pub(crate) async fn version_of(place: &Place, kind: Kind<'_>, name: &str) -> u64 {
    version(&place.get(kind.0, kind.1, name).await.unwrap())
}

/// Waits until an Application waits for something of which the name, health and reason have all these words.
pub(crate) async fn blocked(place: &Place, application: &str, words: &[&str]) -> BlockedOn {
    let told = |blocked: &BlockedOn| {
        let text = format!("{} {} {}", blocked.name, blocked.health, blocked.reason.clone().unwrap_or_default());
        words.iter().all(|word| text.contains(word))
    };
    let find = |state: &OperationState| state.stage.as_ref()?.blocked_on.iter().find(|blocked| told(blocked)).cloned();
    let status = place
        .status(application, &format!("blocked by {words:?}"), |status| {
            status.operation_state.as_ref().is_some_and(|state| find(state).is_some())
        })
        .await;
    find(&status.operation_state.unwrap()).unwrap()
}

/// Brings rights in the whole cluster, one rule or several, to the account of a place.
pub(crate) async fn grant_everywhere(place: &Place, rules: Value) {
    let rules = if rules.is_array() { rules } else { json!([rules]) };
    let name = format!("{}-more", place.namespace);
    place
        .put(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": rules}))
        .await;
    place
        .put(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": place.namespace}]
        }))
        .await;
}

/// A custom resource of a place's own, whose status the test writes as its controller would.
pub(crate) struct Gauges<'a> {
    place: &'a Place,
    api_version: String,
}

impl<'a> Gauges<'a> {
    /// Installs the definition, and lets the account of the place deploy such objects.
    pub(crate) async fn new(place: &'a Place) -> Self {
        let group = format!("{}.example", place.namespace);
        grant_everywhere(place, json!({"apiGroups": [group], "resources": ["*"], "verbs": ["*"]})).await;
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        place
            .put(&json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("gauges.{group}")},
                "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "gauges", "kind": "Gauge"},
                    "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}}}]}
            }))
            .await;
        let gauges = Self { place, api_version: format!("{group}/v1") };
        eventually("gauges are served", || async {
            place.api(&gauges.api_version, "Gauge").list(&kube::api::ListParams::default()).await.ok()
        })
        .await;
        gauges
    }

    pub(crate) fn kind(&self) -> Kind<'_> {
        (&self.api_version, "Gauge")
    }

    /// A manifest.
    pub(crate) fn manifest(&self, name: &str, size: i64, annotations: &Value) -> Value {
        json!({"apiVersion": self.api_version, "kind": "Gauge", "metadata": {"name": name, "annotations": annotations},
            "spec": {"size": size}})
    }

    /// Waits until a gauge has this generation.
    pub(crate) async fn seen(&self, name: &str, generation: i64) {
        let reached = |object: &Value| object.pointer("/metadata/generation") == Some(&json!(generation));
        self.place.object(&self.api_version, "Gauge", name, "in its new generation", reached).await;
    }

    /// Writes its status: one condition, as observed in this generation. Gives the resourceVersion of the write.
    pub(crate) async fn tell(&self, name: &str, generation: impl Into<Value>, condition: &str, status: &str) -> u64 {
        let (generation, kind) = (generation.into(), self.kind());
        let condition = json!({"type": condition, "status": status, "reason": "Told", "message": "says the test",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let change = json!({"status": {"observedGeneration": generation, "conditions": [condition]}});
        let api: Api<DynamicObject> = self.place.api(kind.0, kind.1);
        let told = api.patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
        version(&serde_json::to_value(told).unwrap())
    }

    /// Takes the definition away, with all gauges.
    pub(crate) async fn take_away(&self) {
        let definitions: Api<
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        > = Api::all(self.place.client.clone());
        let name = format!("gauges.{}", self.api_version.trim_end_matches("/v1"));
        definitions.delete(&name, &DeleteParams::default()).await.unwrap();
        eventually("the definition is gone", || async {
            definitions.get_opt(&name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}
