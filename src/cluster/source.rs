//! Where manifests come from: the Application's own text, or ConfigMaps of its namespace, read as its account.

use serde_json::Value;

use super::client::Calls;
use crate::api::annotations::REVISION;
use crate::api::{Application, ConfigMapSource, Source};
use crate::engine::action::{Fault, FaultKind};
use crate::engine::object::Digest;
use crate::engine::yaml::{Document, Limits, parse};

/// A source as it was read.
pub struct Loaded {
    /// The documents, or why they cannot be used: one line for each problem.
    pub documents: Result<Vec<Document>, String>,
    /// Digest of the raw text: the revision of a source that cannot be used.
    pub digest: String,
}

/// Reads the source of an Application. A fault means that nobody knows what it says (to be tried again; `Conflict`: when one of its
/// ConfigMaps changes); an unusable source is no fault.
pub async fn load(application: &Application, calls: &Calls) -> Result<Loaded, Fault> {
    match &application.spec.source {
        Source::Inline(text) => Ok(read(&[(None, text.clone())])),
        Source::ConfigMaps(maps) => {
            let mut texts = Vec::new();
            let mut revisions = Vec::new();
            for map in maps {
                match config_map(calls, application.namespace(), map).await? {
                    Ok((found, revision)) => {
                        texts.extend(found.into_iter().map(|(label, text)| (Some(label), text)));
                        revisions.push((map.name.as_str(), revision));
                    }
                    Err(problem) => {
                        let digest = Digest::of_parts(&["missing", &problem]).to_string();
                        return Ok(Loaded { documents: Err(problem), digest });
                    }
                }
            }
            match half_a_change(&revisions) {
                Some(message) => Err(Fault { kind: FaultKind::Conflict, message, retry_after: None }),
                None => Ok(read(&texts)),
            }
        }
    }
}

/// Several ConfigMaps count once all carry the same `swell.dev/revision`, if any does.
fn half_a_change(revisions: &[(&str, Option<String>)]) -> Option<String> {
    let (_, first) = revisions.first()?;
    if revisions.iter().all(|(_, revision)| revision == first) {
        return None;
    }
    let told = revisions.iter().map(|(name, revision)| format!("{name}: {}", revision.as_deref().unwrap_or("none")));
    Some(format!(
        "the ConfigMaps of the source do not carry the same {REVISION} ({}): that is half a change, and the rest is waited for",
        told.collect::<Vec<_>>().join(", ")
    ))
}

fn read(texts: &[(Option<String>, String)]) -> Loaded {
    let parts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    let digest = Digest::of_parts(&parts).to_string();
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for (label, text) in texts {
        match parse(label.as_deref(), text, &Limits::default()) {
            Ok(found) => documents.extend(found),
            Err(errors) => problems.extend(errors.iter().map(ToString::to_string)),
        }
    }
    let documents = if problems.is_empty() { Ok(documents) } else { Err(problems.join("; ")) };
    Loaded { documents, digest }
}

/// The texts of a ConfigMap with their labels `name/key`, and its `swell.dev/revision`.
type Texts = (Vec<(String, String)>, Option<String>);

/// Reads one ConfigMap; an error in words where it is missing.
async fn config_map(calls: &Calls, namespace: &str, map: &ConfigMapSource) -> Result<Result<Texts, String>, Fault> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{}", map.name);
    let object = match calls.get(path).await {
        Ok(object) => object,
        Err(fault) => {
            let name = &map.name;
            return match fault.kind {
                FaultKind::NotFound => Ok(Err(format!(
                    "spec.source.configMaps names the ConfigMap {name}, which is not in namespace {namespace}"
                ))),
                FaultKind::Forbidden => Ok(Err(format!("the ConfigMap {name} cannot be read: {}", fault.message))),
                FaultKind::Conflict
                | FaultKind::Exists
                | FaultKind::KindMissing
                | FaultKind::Invalid
                | FaultKind::Transient => Err(fault),
            };
        }
    };
    let revision = object.pointer("/metadata/annotations").and_then(|a| a.get(REVISION)).and_then(Value::as_str);
    let revision = revision.map(str::to_owned);
    let data = object.get("data").and_then(Value::as_object);
    let text = |key: &str| data.and_then(|data| data.get(key)?.as_str().map(str::to_owned));
    if let Some(key) = &map.key {
        return Ok(match text(key) {
            Some(text) => Ok((vec![(format!("{}/{key}", map.name), text)], revision)),
            None => Err(format!("the ConfigMap {} has no key {key:?} with text", map.name)),
        });
    }
    let mut keys: Vec<_> = data.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    if keys.is_empty() {
        return Ok(Err(format!("the ConfigMap {} has no keys with text", map.name)));
    }
    let texts = keys.into_iter().filter_map(|key| Some((format!("{}/{key}", map.name), text(&key)?))).collect();
    Ok(Ok((texts, revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_change_is_told_from_no_revisions_at_all_and_from_one_for_all() {
        let of = |values: [Option<&str>; 2]| {
            half_a_change(&[("one", values[0].map(str::to_owned)), ("two", values[1].map(str::to_owned))])
        };
        assert_eq!(of([None, None]), None);
        assert_eq!(of([Some("2"), Some("2")]), None);
        assert!(of([Some("2"), Some("1")]).unwrap().contains("(one: 2, two: 1)"));
        assert!(of([None, Some("1")]).unwrap().contains("(one: none, two: 1)"));
        assert_eq!(half_a_change(&[]), None);
    }
}
