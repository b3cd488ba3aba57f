//! Reading `managedFields`: does our field manager's entry still cover the manifest (drift by ownership)?

use serde_json::{Map, Value, json};

use super::path::{Path, Step};

/// The fields of the Apply entry of `manager` in an object's `managedFields`, if there is one, and its time.
pub fn applied<'a>(object: &'a Value, manager: &str) -> Option<(&'a Value, Option<&'a str>)> {
    entries(object).find_map(|entry| {
        is_apply(entry, manager).then(|| Some((entry.get("fieldsV1")?, entry.get("time").and_then(Value::as_str))))?
    })
}

/// Whether any entry, of either operation, belongs to `manager`.
pub fn has_entry(object: &Value, manager: &str) -> bool {
    entries(object).any(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager))
}

/// The names of the managers that own something of the object beside `manager`, sorted, each once.
pub fn other_managers(object: &Value, manager: &str) -> Vec<String> {
    let mut names: Vec<_> = entries(object)
        .filter_map(|entry| entry.get("manager")?.as_str())
        .filter(|name| *name != manager)
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a deploying tool, or `also`, owns fields of the object, or `manager` itself by anything but an apply.
pub fn has_other_tools(object: &Value, manager: &str, also: Option<&str>) -> bool {
    entries(object).any(|entry| is_other_tool(entry, manager, also))
}

/// `managedFields` with the entries of the deploying tools merged into our Apply entry, for a patch before the next apply: what that does
/// not name goes then. `None` if there is nothing to merge.
pub fn merged(object: &Value, manager: &str, also: Option<&str>) -> Option<Value> {
    let (theirs, mut rest): (Vec<&Value>, Vec<&Value>) =
        entries(object).partition(|entry| is_other_tool(entry, manager, also));
    if theirs.is_empty() {
        return None;
    }
    let ours = rest.iter().position(|entry| is_apply(entry, manager)).map(|place| rest.remove(place).clone());
    let mut ours = ours.unwrap_or_else(|| {
        let version = theirs[0].get("apiVersion").cloned().unwrap_or_default();
        json!({"manager": manager, "operation": "Apply", "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": {}})
    });
    for entry in theirs {
        if let (Some(into), Some(fields)) = (ours.get_mut("fieldsV1"), entry.get("fieldsV1")) {
            unite(into, fields);
        }
    }
    Some(std::iter::once(&ours).chain(rest).cloned().collect())
}

/// The tools that deploy manifests, by the names under which they write.
const OTHER_TOOLS: &[&str] = &[
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-create",
    "kubectl-replace",
    "helm",
    "Helm",
    "helm-controller",
    "kustomize-controller",
    "argocd-controller",
    "argocd-application-controller",
];

fn is_other_tool(entry: &Value, manager: &str, also: Option<&str>) -> bool {
    let name = entry.get("manager").and_then(Value::as_str).unwrap_or_default();
    let ours = name == manager && !is_apply(entry, manager);
    entry.get("subresource").is_none() && (OTHER_TOOLS.contains(&name) || Some(name) == also || ours)
}

fn is_apply(entry: &Value, manager: &str) -> bool {
    entry.get("manager").and_then(Value::as_str) == Some(manager)
        && entry.get("operation").and_then(Value::as_str) == Some("Apply")
        && entry.get("subresource").is_none()
}

/// Adds the fields of one `FieldsV1` to another.
fn unite(into: &mut Value, fields: &Value) {
    let (Some(into), Some(fields)) = (into.as_object_mut(), fields.as_object()) else { return };
    for (name, value) in fields {
        unite(into.entry(name.clone()).or_insert_with(|| json!({})), value);
    }
}

/// The managers beside `manager` that own fields other than the status, with those fields as JSON text (a third of the size of a value in
/// memory); at most `most`.
pub fn others(object: &Value, manager: &str, most: usize) -> Vec<(String, Box<str>)> {
    entries(object)
        .filter(|entry| entry.get("subresource").and_then(Value::as_str) != Some("status"))
        .filter_map(|entry| Some((entry.get("manager")?.as_str()?, entry.get("fieldsV1")?)))
        .filter(|(name, _)| *name != manager)
        .map(|(name, fields)| (name.to_owned(), fields.to_string().into_boxed_str()))
        .take(most)
        .collect()
}

/// Who owns what of an object: our Apply entry, and those of everybody else, the status included.
pub fn sides<'a>(object: &'a Value, manager: &str) -> (Option<&'a Value>, Vec<(&'a str, &'a Value)>) {
    let ours = applied(object, manager).map(|(fields, _)| fields);
    let entries = entries(object).filter_map(|entry| Some((entry.get("manager")?.as_str()?, entry.get("fieldsV1")?)));
    (ours, entries.filter(|(_, fields)| !ours.is_some_and(|ours| std::ptr::eq(ours, *fields))).collect())
}

/// The fields of `manifest` that an entry owns, outermost first.
pub fn owned(manifest: &Value, theirs: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    own(manifest, theirs, &mut Vec::new(), &mut found);
    found
}

/// What an entry says of a field of a map.
pub(super) fn child<'a>(fields: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    fields?.get(format!("f:{name}"))
}

/// The keys of the item that an entry names `k:{...}`.
pub(super) fn item_key(name: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(name.strip_prefix("k:")?).ok()
}

/// Whether an item of a list is the one that an entry names `k:{...}` or `v:...`; keys that it leaves to a default are no difference.
pub(super) fn is_item(item: &Value, name: &str) -> bool {
    if let Some(value) = name.strip_prefix("v:") {
        return serde_json::from_str::<Value>(value).is_ok_and(|owned| owned == *item);
    }
    item.is_object()
        && item_key(name)
            .is_some_and(|key| key.iter().all(|(field, owned)| item.get(field).is_none_or(|value| value == owned)))
}

/// The first field of `manifest` that the entry `ours` does not own any more; nothing if all are covered.
pub fn lost(manifest: &Value, ours: &Value) -> Option<String> {
    first(manifest, &|value, path| lost_field(value, entry_at(ours, path), path))
}

/// The first field of `manifest` that the entry `ours` does not own, and `theirs` does.
pub fn gained(manifest: &Value, ours: &Value, theirs: &Value) -> Option<String> {
    first(manifest, &|value, path| gained_field(value, entry_at(ours, path), entry_at(theirs, path), path))
}

/// Whether every field of `manifest` (in the sent form) is owned by the entry `fields` (a `FieldsV1`).
///
/// Names, not values, are compared: the content is told by the digest in `swell.dev/applied`. An atomic list or map is a
/// leaf of the entry; items of a keyed list are found by their keys, where a defaulted key may be missing in the manifest.
pub fn covers(manifest: &Value, fields: &Value) -> bool {
    let (Some(manifest), Some(fields)) = (manifest.as_object(), fields.as_object()) else { return false };
    manifest.iter().all(|(name, value)| match name.as_str() {
        "apiVersion" | "kind" => true,
        "metadata" => covers_metadata(value, fields.get("f:metadata")),
        _ => covers_field(value, fields.get(&format!("f:{name}"))),
    })
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// Looks at the fields of a manifest, one after the other, until `look` finds something. Identity is not a field that anybody owns.
fn first(manifest: &Value, look: &dyn Fn(&Value, &str) -> Option<String>) -> Option<String> {
    manifest.as_object()?.iter().find_map(|(name, value)| match (name.as_str(), value) {
        ("apiVersion" | "kind", _) => None,
        ("metadata", Value::Object(metadata)) => metadata
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "name" | "namespace" | "generateName"))
            .find_map(|(name, value)| look(value, &format!("metadata.{name}"))),
        _ => look(value, name),
    })
}

/// What an entry says of a field at the top or below the metadata.
fn entry_at<'a>(fields: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(fields, |fields, name| fields.get(format!("f:{name}")))
}

/// `path` and what follows it; names with a dot in brackets, as kubectl writes them.
fn below(path: &str, name: &str) -> String {
    if name.contains(['.', '/']) { format!("{path}[{name}]") } else { format!("{path}.{name}") }
}

fn lost_field(value: &Value, ours: Option<&Value>, path: &str) -> Option<String> {
    if covers_field(value, ours) {
        return None;
    }
    let Some(entry) = ours.and_then(Value::as_object) else { return Some(path.to_owned()) };
    let deeper = match value {
        Value::Object(map) => {
            map.iter().find_map(|(name, value)| lost_field(value, entry.get(&format!("f:{name}")), &below(path, name)))
        }
        Value::Array(items) => items.iter().find_map(|item| {
            let place = format!("{path}[{}]", name_of(item));
            match item_in(item, entry) {
                Some(child) => lost_field(item, Some(child), &place),
                None => (!covers_item(item, entry)).then_some(place),
            }
        }),
        _ => None,
    };
    deeper.or_else(|| Some(path.to_owned()))
}

fn gained_field(value: &Value, ours: Option<&Value>, theirs: Option<&Value>, path: &str) -> Option<String> {
    let (entry, others) = (ours.and_then(Value::as_object), theirs?.as_object()?);
    if covers_field(value, ours) {
        return None;
    }
    if others.is_empty() {
        return Some(path.to_owned());
    }
    match value {
        Value::Object(map) => map.iter().find_map(|(name, value)| {
            let name_in_entry = format!("f:{name}");
            let ours = entry.and_then(|entry| entry.get(&name_in_entry));
            gained_field(value, ours, others.get(&name_in_entry), &below(path, name))
        }),
        Value::Array(items) => items.iter().find_map(|item| {
            let place = format!("{path}[{}]", name_of(item));
            if item.is_object() {
                let ours = entry.and_then(|entry| item_in(item, entry));
                gained_field(item, ours, item_in(item, others), &place)
            } else {
                let is_lost = entry.is_none_or(|entry| !covers_item(item, entry));
                (is_lost && covers_item(item, others)).then_some(place)
            }
        }),
        _ => Some(path.to_owned()),
    }
}

/// What tells an item of a list from the others, for people.
fn name_of(item: &Value) -> String {
    let key = ["name", "key", "mountPath", "containerPort", "port", "ip", "type"].iter().find_map(|key| item.get(key));
    match key.unwrap_or(item) {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => "...".to_owned(),
        other => other.to_string(),
    }
}

/// The child of a list's entry that stands for an item; keys that the manifest leaves to a default are no difference.
fn item_in<'a>(item: &Value, fields: &'a Map<String, Value>) -> Option<&'a Value> {
    fields.iter().find_map(|(name, child)| is_item(item, name).then_some(child))
}

fn own(value: &Value, theirs: &Value, path: &mut Path, found: &mut Vec<Path>) {
    let Some(fields) = theirs.as_object() else { return };
    if fields.is_empty() || !(value.is_object() || value.is_array()) {
        found.push(path.clone());
        return;
    }
    let children: Vec<(Step, &Value, Option<&Value>)> = match value {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (Step::Name(name.clone()), value, child(Some(theirs), name))).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (Step::Index(index), item, item_in(item, fields))).collect()
        }
        _ => Vec::new(),
    };
    for (step, value, theirs) in children {
        if let Some(theirs) = theirs {
            path.push(step);
            own(value, theirs, path, found);
            path.pop();
        }
    }
}

fn covers_metadata(value: &Value, fields: Option<&Value>) -> bool {
    let Some(metadata) = value.as_object() else { return true };
    metadata.iter().all(|(name, value)| match name.as_str() {
        // Identity is not a field that anybody owns.
        "name" | "namespace" | "generateName" => true,
        _ => covers_field(value, fields.and_then(|fields| fields.get(format!("f:{name}")))),
    })
}

fn covers_field(value: &Value, fields: Option<&Value>) -> bool {
    let Some(fields) = fields.and_then(Value::as_object) else {
        // An empty map or list may leave no trace in the entry.
        return is_empty(value);
    };
    if fields.is_empty() {
        return true;
    }
    match value {
        Value::Object(map) => map.iter().all(|(name, value)| covers_field(value, fields.get(&format!("f:{name}")))),
        Value::Array(items) => items.iter().all(|item| covers_item(item, fields)),
        _ => true,
    }
}

fn covers_item(item: &Value, fields: &Map<String, Value>) -> bool {
    fields
        .iter()
        .any(|(name, child)| is_item(item, name) && (name.starts_with("v:") || covers_field(item, Some(child))))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}},
            "spec": {
                "replicas": 2,
                "template": {"spec": {
                    "containers": [{
                        "name": "web", "image": "web:1", "args": ["--port", "80"], "resources": {},
                        "ports": [{"containerPort": 80}],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
                    }],
                    "volumes": [{"name": "tmp", "emptyDir": {}}]
                }}
            }
        })
    }

    fn entry() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:app": {}, "f:tier": {}}, "f:annotations": {"f:swell.dev/applied": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {
                    "f:containers": {"k:{\"name\":\"web\"}": {
                        ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                        "f:env": {
                            "k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}},
                            "k:{\"name\":\"B\"}": {".": {}, "f:name": {}, "f:value": {}}
                        }
                    }},
                    "f:volumes": {"k:{\"name\":\"tmp\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}}
                }}
            }
        })
    }

    #[test]
    fn an_untouched_entry_covers_its_manifest_with_defaulted_list_keys_and_atomic_lists() {
        assert!(covers(&deployment(), &entry()));
    }

    #[test]
    fn each_field_taken_out_of_the_entry_is_drift() {
        for pointer in [
            "/f:spec/f:replicas",
            "/f:metadata/f:labels/f:app",
            "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}/f:image",
            "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}/f:env/k:{\"name\":\"A\"}",
        ] {
            let mut shrunk = entry();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let removed = shrunk.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            assert!(removed.is_some(), "{pointer} is in the fixture");
            assert!(!covers(&deployment(), &shrunk), "{pointer} is gone, so the manifest is not covered");
        }
    }

    #[test]
    fn the_field_that_was_lost_and_the_one_who_has_it_now_are_named() {
        let scaled = json!({"f:spec": {"f:replicas": {}}});
        let mut ours = entry();
        ours["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        assert_eq!(lost(&deployment(), &entry()), None);
        assert_eq!(lost(&deployment(), &ours).as_deref(), Some("spec.replicas"));
        assert_eq!(gained(&deployment(), &ours, &scaled).as_deref(), Some("spec.replicas"));
        assert_eq!(gained(&deployment(), &entry(), &scaled), None, "a field that both own is not lost");
        assert_eq!(gained(&deployment(), &ours, &json!({"f:spec": {"f:paused": {}}})), None, "nor one beside ours");

        let mut ours = entry();
        let container = ours.pointer_mut("/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}").unwrap();
        container.as_object_mut().unwrap().remove("f:image");
        let image =
            json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:image": {}}}}}}});
        let path = "spec.template.spec.containers[web].image";
        assert_eq!(lost(&deployment(), &ours).as_deref(), Some(path));
        assert_eq!(gained(&deployment(), &ours, &image).as_deref(), Some(path));
        let container = ours.pointer_mut("/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}").unwrap();
        container["f:image"] = json!({});
        container["f:env"].as_object_mut().unwrap().remove("k:{\"name\":\"A\"}");
        assert_eq!(lost(&deployment(), &ours).as_deref(), Some("spec.template.spec.containers[web].env[A]"));

        let mut ours = entry();
        ours["f:metadata"]["f:labels"].as_object_mut().unwrap().remove("f:app");
        assert_eq!(lost(&deployment(), &ours).as_deref(), Some("metadata.labels.app"));
        ours["f:metadata"].as_object_mut().unwrap().remove("f:labels");
        assert_eq!(lost(&deployment(), &ours).as_deref(), Some("metadata.labels"));
        let labels = json!({"f:metadata": {"f:labels": {"f:tier": {}}}});
        assert_eq!(gained(&deployment(), &ours, &labels).as_deref(), Some("metadata.labels.tier"));
    }

    #[test]
    fn a_set_of_values_is_covered_value_by_value() {
        let manifest = json!({"metadata": {"name": "x", "finalizers": ["a", "b"]}});
        assert!(covers(&manifest, &json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}, "v:\"b\"": {}}}})));
        assert!(!covers(&manifest, &json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}}})));
    }

    #[test]
    fn only_our_own_apply_entry_counts() {
        let object = json!({"metadata": {"managedFields": [
            {"manager": "swell-1", "operation": "Update", "fieldsV1": {"f:a": {}}},
            {"manager": "swell-1", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:b": {}}},
            {"manager": "swell-1", "operation": "Apply", "time": "2026-11-24T08:00:00Z", "fieldsV1": {"f:c": {}}},
            {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:d": {}}}
        ]}});
        assert_eq!(applied(&object, "swell-1"), Some((&json!({"f:c": {}}), Some("2026-11-24T08:00:00Z"))));
        assert_eq!(other_managers(&object, "swell-1"), ["kubectl"]);
    }
}
