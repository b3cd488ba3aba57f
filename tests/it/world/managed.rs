//! Fields and who owns them: what server-side apply needs, with lists of named items merged by name and all others atomic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The way to one field: `f:<name>` into a map, `k:<name>` into a list of named items.
pub(crate) type Path = Vec<String>;

/// The leaves of a body with their values. Identity (`apiVersion`, `kind`, name, namespace) belongs to nobody.
pub(crate) fn leaves(body: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    let Some(map) = body.as_object() else { return found };
    for (name, value) in map {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !matches!(name.as_str(), "name" | "namespace") {
                        walk(value, &mut vec!["f:metadata".to_owned(), format!("f:{name}")], &mut found);
                    }
                }
            }
            _ => walk(value, &mut vec![format!("f:{name}")], &mut found),
        }
    }
    found
}

/// `FieldsV1` of some leaves.
pub(crate) fn fields_v1(paths: &BTreeSet<Path>) -> Value {
    let mut root = Value::Object(Map::new());
    for path in paths {
        let mut at = &mut root;
        for step in path {
            let name = match step.strip_prefix("k:") {
                Some(name) => format!("k:{}", json!({ "name": name })),
                None => step.clone(),
            };
            at = &mut at[&name];
            if at.is_null() {
                *at = if step.starts_with("k:") { json!({".": {}}) } else { json!({}) };
            }
        }
    }
    root
}

/// The value of a field.
pub(crate) fn get<'a>(body: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(body, |at, step| match step.split_once(':') {
        Some(("k", name)) => at.as_array()?.iter().find(|item| item["name"] == *name),
        Some((_, name)) => at.get(name),
        None => None,
    })
}

/// Sets a field, making what leads to it.
pub(crate) fn set(body: &mut Value, path: &[String], value: Value) {
    let Some((step, rest)) = path.split_first() else {
        *body = value;
        return;
    };
    match step.split_once(':') {
        Some(("k", name)) => {
            if !body.is_array() {
                *body = json!([]);
            }
            let items = body.as_array_mut().expect("it was made a list just now");
            if !items.iter().any(|item| item["name"] == *name) {
                items.push(json!({ "name": name }));
            }
            let item = items.iter_mut().find(|item| item["name"] == *name).expect("it was put in just now");
            set(item, rest, value);
        }
        Some((_, name)) => {
            if !body.is_object() {
                *body = json!({});
            }
            set(&mut body[name], rest, value);
        }
        None => {}
    }
}

/// Takes a field out; list items and maps that it leaves empty go with it.
pub(crate) fn remove(body: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    match step.split_once(':') {
        Some(("k", name)) => {
            let Some(items) = body.as_array_mut() else { return };
            if let Some(item) = items.iter_mut().find(|item| item["name"] == *name) {
                remove(item, rest);
            }
            items.retain(|item| item.as_object().is_none_or(|item| !item.is_empty()));
        }
        Some((_, name)) => {
            let Some(map) = body.as_object_mut() else { return };
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove(child, rest);
                if child.as_object().is_some_and(Map::is_empty) || child.as_array().is_some_and(Vec::is_empty) {
                    map.remove(name);
                }
            }
        }
        None => {}
    }
}

/// Merges a JSON merge patch (RFC 7396).
pub(crate) fn merge(body: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *body = patch.clone();
        return;
    };
    if !body.is_object() {
        *body = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            body.as_object_mut().expect("it was made a map just now").remove(name);
        } else {
            merge(&mut body[name], value);
        }
    }
}

fn walk(value: &Value, path: &mut Path, found: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                path.push(format!("f:{name}"));
                walk(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| item["name"].is_string()) => {
            for item in items {
                path.push(format!("k:{}", item["name"].as_str().unwrap_or_default()));
                walk(item, path, found);
                path.pop();
            }
        }
        _ => {
            found.insert(path.clone(), value.clone());
        }
    }
}
