//! What the pods of a workload need to start, as their manifest says it.

use serde_json::Value;

use super::super::object::ObjectKey;

/// One use of an object of the core group by a pod, without which the pod does not start.
pub(super) struct Reference {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) field: String,
    /// Where the name stands in the manifest.
    pub(super) path: Vec<String>,
}

/// A value with its path in the manifest.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) value: &'a Value,
    pub(super) path: Vec<String>,
}

impl<'a> At<'a> {
    pub(super) fn get(&self, field: &str) -> Option<Self> {
        let value = self.value.get(field)?;
        Some(Self { value, path: [&self.path[..], &[field.to_owned()]].concat() })
    }

    /// The items of a list in a field.
    pub(super) fn list(&self, field: &str) -> Vec<Self> {
        let items = self.value.get(field).and_then(Value::as_array).into_iter().flatten().enumerate();
        let path = |index: usize| [&self.path[..], &[field.to_owned(), index.to_string()]].concat();
        items.map(|(index, value)| Self { value, path: path(index) }).collect()
    }

    pub(super) fn text(&self, field: &str) -> Option<&'a str> {
        self.value.get(field)?.as_str().filter(|text| !text.is_empty())
    }
}

/// The spec of the pods of a Job, a Pod or a workload of `apps`.
pub(super) fn pod_spec<'a>(key: &ObjectKey, body: &'a Value) -> Option<At<'a>> {
    let root = At { value: body, path: Vec::new() };
    let workload =
        ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].iter().any(|kind| key.kind.is("apps", kind));
    if workload || key.kind.is("batch", "Job") {
        root.get("spec")?.get("template")?.get("spec")
    } else if key.kind.is("", "Pod") {
        root.get("spec")
    } else {
        None
    }
}

/// The account that the pods name. `serviceAccount` is the old name of the field. The account `default` is made by Kubernetes in every
/// namespace.
pub(super) fn account(pod: &At<'_>) -> Option<(&'static str, String)> {
    let named = |field: &'static str| Some((field, pod.text(field)?.to_owned()));
    named("serviceAccountName").or_else(|| named("serviceAccount")).filter(|(_, name)| name != "default")
}

/// Everything of the core group that the pods need.
pub(super) fn references(key: &ObjectKey, body: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    let Some(pod) = pod_spec(key, body) else { return found };
    if let Some((field, name)) = account(&pod) {
        let path = [&pod.path[..], &[field.to_owned()]].concat();
        found.push(Reference { kind: "ServiceAccount", name, field: "serviceAccountName".to_owned(), path });
    }
    for secret in pod.list("imagePullSecrets") {
        found.extend(required("Secret", Some(secret), "name", "imagePullSecrets"));
    }
    for container in pod.list("initContainers").into_iter().chain(pod.list("containers")) {
        let of = format!("of container {}", container.text("name").unwrap_or("without a name"));
        for from in container.list("envFrom") {
            let field = format!("envFrom {of}");
            found.extend(required("ConfigMap", from.get("configMapRef"), "name", &field));
            found.extend(required("Secret", from.get("secretRef"), "name", &field));
        }
        for variable in container.list("env") {
            let field = format!("env {} {of}", variable.text("name").unwrap_or_default());
            let from = |source: &str| variable.get("valueFrom")?.get(source);
            found.extend(required("ConfigMap", from("configMapKeyRef"), "name", &field));
            found.extend(required("Secret", from("secretKeyRef"), "name", &field));
        }
    }
    for volume in pod.list("volumes") {
        let field = format!("volume {}", volume.text("name").unwrap_or_default());
        found.extend(required("ConfigMap", volume.get("configMap"), "name", &field));
        found.extend(required("Secret", volume.get("secret"), "secretName", &field));
        found.extend(required("PersistentVolumeClaim", volume.get("persistentVolumeClaim"), "claimName", &field));
        for source in volume.get("projected").iter().flat_map(|projected| projected.list("sources")) {
            found.extend(required("ConfigMap", source.get("configMap"), "name", &field));
            found.extend(required("Secret", source.get("secret"), "name", &field));
        }
    }
    found
}

/// The reference in the map `holder`, unless it is optional.
fn required(kind: &'static str, holder: Option<At<'_>>, name: &str, field: &str) -> Option<Reference> {
    let holder = holder?;
    if holder.value.get("optional").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let path = [&holder.path[..], &[name.to_owned()]].concat();
    Some(Reference { kind, name: holder.text(name)?.to_owned(), field: field.to_owned(), path })
}
