//! Faults that need no proxy: a policy that denies one kind of write to one object, a finalizer of somebody else, and a controller of
//! somebody else that the test plays.

use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Place, document, eventually};

impl Place {
    /// VAP: denies `verb` (`CREATE`, `UPDATE` or `DELETE`) on this object of the place, to everybody, and returns once that is
    /// enforced. `object` must be what a server-side apply would send; for `UPDATE` and `DELETE` it must be there.
    pub(crate) async fn deny(&self, verb: &'static str, object: &Value) -> Denial {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let api_version = text("/apiVersion");
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        let plural = format!("{}s", kind.to_lowercase());
        let policy = format!("{}-{}-{name}", self.namespace, verb.to_lowercase());
        let rules = json!([{"apiGroups": [group], "apiVersions": ["*"], "operations": [verb], "resources": [plural]}]);
        let is_it = format!("(object == null ? oldObject : object).metadata.name == '{name}'");
        let head = |kind: &str| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": policy}});
        let mut whole = head("ValidatingAdmissionPolicy");
        whole["spec"] = json!({
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
                "resourceRules": rules
            },
            "matchConditions": [{"name": "object", "expression": is_it}],
            "validations": [{"expression": "false", "message": DENIED}]
        });
        let mut binding = head("ValidatingAdmissionPolicyBinding");
        binding["spec"] = json!({"policyName": policy, "validationActions": ["Deny"]});
        self.put(&whole).await;
        self.put(&binding).await;
        let denial = Denial {
            api: self.api(&api_version, &kind),
            bindings: self.everywhere("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
            policy,
            verb,
            object: object.clone(),
            name,
        };
        eventually("the denying policy is enforced", || async { denial.denies().await.then_some(()) }).await;
        denial
    }

    /// FIN: puts a foreign finalizer onto an object of this place, so that a delete only begins.
    pub(crate) async fn hold(&self, api_version: &str, kind: &str, name: &str, finalizer: &str) {
        let object = self.api(api_version, kind).get(name).await.unwrap();
        let mut finalizers = object.metadata.finalizers.unwrap_or_default();
        finalizers.push(finalizer.to_owned());
        self.set_finalizers(api_version, kind, name, &finalizers).await;
    }

    /// Takes a foreign finalizer off again; what was to be deleted goes.
    pub(crate) async fn let_go(&self, api_version: &str, kind: &str, name: &str, finalizer: &str) {
        let object = self.api(api_version, kind).get(name).await.unwrap();
        let mut finalizers = object.metadata.finalizers.unwrap_or_default();
        finalizers.retain(|candidate| candidate != finalizer);
        self.set_finalizers(api_version, kind, name, &finalizers).await;
    }

    async fn set_finalizers(&self, api_version: &str, kind: &str, name: &str, finalizers: &[String]) {
        let patch = json!({"metadata": {"finalizers": finalizers}});
        self.api(api_version, kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// CRX: a kind of this place alone, with a status that only the test writes, and the right of the place's account to use it.
    pub(crate) async fn third_party(&self) -> ThirdParty {
        let group = format!("{}.example.com", self.namespace);
        self.put(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("machines.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": "Machine", "listKind": "MachineList", "plural": "machines", "singular": "machine"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
                }]
            }
        }))
        .await;
        let definitions = self.everywhere("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        eventually("the kind is served", || async {
            let definition = definitions.get(&format!("machines.{group}")).await.unwrap();
            let conditions = definition.data.pointer("/status/conditions").and_then(Value::as_array)?;
            let is_established =
                |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
            conditions.iter().any(is_established).then_some(())
        })
        .await;
        let role = format!("{}-machines", self.namespace);
        self.put(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role},
            "rules": [{"apiGroups": [group], "resources": ["*"], "verbs": ["*"]}]
        }))
        .await;
        self.grant(&role, &self.namespace).await;
        let api_version = format!("{group}/v1");
        ThirdParty { api: self.api(&api_version, "Machine"), api_version }
    }

    fn everywhere(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        self.api_of(api_version, kind, None)
    }
}

/// What a denying policy says.
pub(crate) const DENIED: &str = "denied by the test";

/// A policy that denies.
pub(crate) struct Denial {
    api: Api<DynamicObject>,
    bindings: Api<DynamicObject>,
    policy: String,
    verb: &'static str,
    object: Value,
    name: String,
}

impl Denial {
    /// Denies no longer; returns once that is so.
    pub(crate) async fn lift(self) {
        self.bindings.delete(&self.policy, &DeleteParams::default()).await.unwrap();
        eventually("the denying policy is lifted", || async { (!self.denies().await).then_some(()) }).await;
    }

    /// Asks the API server, by a dry run.
    async fn denies(&self) -> bool {
        let answer = if self.verb == "DELETE" {
            self.api.delete(&self.name, &DeleteParams::default().dry_run()).await.map(|_| ())
        } else {
            let params = PatchParams::apply("probe").force().dry_run();
            self.api.patch(&self.name, &params, &Patch::Apply(&self.object)).await.map(|_| ())
        };
        answer.is_err_and(|error| error.to_string().contains(DENIED))
    }
}

/// A controller of somebody else, played by the test.
pub(crate) struct ThirdParty {
    api: Api<DynamicObject>,
    api_version: String,
}

impl ThirdParty {
    /// One of its objects as a document.
    pub(crate) fn machine(&self, name: &str, annotations: &Value, spec: &Value) -> String {
        document(&json!({
            "apiVersion": self.api_version, "kind": "Machine",
            "metadata": {"name": name, "annotations": annotations}, "spec": spec
        }))
    }

    /// Its objects.
    pub(crate) fn machines(&self) -> &Api<DynamicObject> {
        &self.api
    }

    /// Writes the status of an object, now. Only `observedGeneration` is filled in, if the status does not have it.
    pub(crate) async fn write_status(&self, name: &str, status: Value) {
        write_status(&self.api, name, status).await;
    }

    /// From now on writes this status `pause` after each generation of each object, until the returned handle is dropped.
    pub(crate) fn reconcile_after(&self, pause: Duration, status: Value) -> Reconciling {
        let api = self.api.clone();
        Reconciling(tokio::spawn(async move {
            let mut events = Box::pin(api.watch(&WatchParams::default(), "0").await.unwrap());
            let mut seen = std::collections::BTreeMap::new();
            while let Some(event) = events.try_next().await.unwrap() {
                let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
                let (name, generation) = (object.metadata.name.unwrap(), object.metadata.generation);
                if seen.insert(name.clone(), generation) != Some(generation) {
                    let (api, status) = (api.clone(), status.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(pause).await;
                        write_status(&api, &name, status).await;
                    });
                }
            }
        }))
    }
}

async fn write_status(api: &Api<DynamicObject>, name: &str, mut status: Value) {
    if status.get("observedGeneration").is_none() {
        status["observedGeneration"] = json!(api.get(name).await.unwrap().metadata.generation);
    }
    let patch = json!({"status": status});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// A controller that runs; dropping it stops it.
pub(crate) struct Reconciling(JoinHandle<()>);

impl Drop for Reconciling {
    fn drop(&mut self) {
        self.0.abort();
    }
}
