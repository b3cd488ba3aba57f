//! Where manifests come from: the Application's own text, or ConfigMaps of its namespace, read as its account.

use serde_json::Value;

use super::account::is_dns_name;
use super::client::Calls;
use crate::api::annotations::REVISION;
use crate::api::{Application, ConfigMapSource, Source};
use crate::engine::action::{Fault, FaultKind};
use crate::engine::object::Digest;
use crate::engine::rights::{Account, Lack, Right};
use crate::engine::yaml::{Document, Limits, parse_together};

/// A source as it was read.
pub struct Loaded {
    /// The documents, or why they cannot be used: one line for each problem.
    pub documents: Result<Vec<Document>, String>,
    /// Digest of the raw text: the revision of a source that cannot be used.
    pub digest: String,
    /// Whether the account may not read it: nothing tells when it may.
    pub denied: bool,
}

/// Reads the source of an Application. A fault means that nobody knows what it says (to be tried again; `Conflict`: when one of its
/// ConfigMaps changes); an unusable source is no fault.
pub async fn load(
    application: &Application,
    calls: &Calls,
    account: Option<&(String, String)>,
) -> Result<Loaded, Fault> {
    match &application.spec.source {
        Source::Inline(text) => Ok(read(&[(None, text.clone())])),
        Source::ConfigMaps(maps) => {
            let mut texts = Vec::new();
            let mut revisions = Vec::new();
            for map in maps {
                match config_map(calls, application.namespace(), map, account).await? {
                    Ok((found, revision)) => {
                        texts.extend(found.into_iter().map(|(label, text)| (Some(label), text)));
                        let bytes: usize = texts.iter().map(|(_, text): &(_, String)| text.len()).sum();
                        if bytes > MOST_BYTES {
                            let problem = format!(
                                "the ConfigMaps of the source have more than {MOST_BYTES} bytes: split the Application"
                            );
                            let digest = Digest::of_parts(&["too large", &problem]).to_string();
                            return Ok(Loaded { documents: Err(problem), digest, denied: false });
                        }
                        revisions.push((map.name.as_str(), revision));
                    }
                    Err(Unusable { problem, denied }) => {
                        let digest = Digest::of_parts(&["missing", &problem]).to_string();
                        return Ok(Loaded { documents: Err(problem), digest, denied });
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

/// What the ConfigMaps of a source may hold together.
const MOST_BYTES: usize = 32 << 20;

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
    let texts: Vec<_> = texts.iter().map(|(label, text)| (label.as_deref(), text.as_str())).collect();
    let documents = parse_together(&texts, &Limits::default())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    Loaded { documents, digest, denied: false }
}

/// The texts of a ConfigMap with their labels `name/key`, and its `swell.dev/revision`.
type Texts = (Vec<(String, String)>, Option<String>);

/// Why a ConfigMap gives no texts.
struct Unusable {
    problem: String,
    denied: bool,
}

impl From<String> for Unusable {
    fn from(problem: String) -> Self {
        Self { problem, denied: false }
    }
}

/// Reads one ConfigMap; an error in words where it is missing.
async fn config_map(
    calls: &Calls,
    namespace: &str,
    map: &ConfigMapSource,
    account: Option<&(String, String)>,
) -> Result<Result<Texts, Unusable>, Fault> {
    let name = &map.name;
    if !is_dns_name(name) {
        return Ok(Err(format!("spec.source.configMaps names {name:?}, which is not the name of a ConfigMap").into()));
    }
    let object = match calls.get(format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await {
        Ok(object) => object,
        Err(fault) => {
            return match fault.kind {
                FaultKind::NotFound => Ok(Err(format!(
                    "spec.source.configMaps names the ConfigMap {name}, which is not in namespace {namespace}"
                )
                .into())),
                FaultKind::Forbidden => {
                    Ok(Err(Unusable { problem: unreadable(namespace, name, account, &fault), denied: true }))
                }
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
            None => Err(format!("the ConfigMap {} has no key {key:?} with text", map.name).into()),
        });
    }
    let mut keys: Vec<_> = data.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    if keys.is_empty() {
        return Ok(Err(format!("the ConfigMap {} has no keys with text", map.name).into()));
    }
    let texts = keys.into_iter().filter_map(|key| Some((format!("{}/{key}", map.name), text(&key)?))).collect();
    Ok(Ok((texts, revision)))
}

/// A ConfigMap that the account may not read, with the command that lets it.
fn unreadable(namespace: &str, name: &str, account: Option<&(String, String)>, fault: &Fault) -> String {
    let Some((of, account)) = account else {
        return format!("the ConfigMap {name} cannot be read: {}", fault.message);
    };
    let right = Right {
        namespace: Some(namespace.to_owned()),
        group: String::new(),
        resource: "configmaps".to_owned(),
        verb: "get",
    };
    let lack = Lack::Place {
        namespace: right.namespace.clone(),
        absent: false,
        account: Account::Service { namespace: of.clone(), name: account.clone() },
        rights: vec![right],
    };
    format!("the ConfigMap {name} cannot be read: {lack}; it is read again by itself within 10 minutes after that")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_may_not_cost_more_together_than_one() {
        // Each is far below every limit.
        let bomb = |name: &str| {
            let items = |of: &str| vec![of; 40].join(",");
            let text = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\na: &a [{}]\nb: &b [{}]\nc: [{}]\n",
                items("x"),
                items("*a"),
                items("*b")
            );
            (Some(name.to_owned()), text)
        };
        let one = read(&[bomb("a")]);
        assert_eq!(one.documents.unwrap().len(), 1);
        let many: Vec<_> = (0..100).map(|number| bomb(&format!("key-{number}"))).collect();
        let refused = read(&many).documents.unwrap_err();
        assert!(refused.contains("anchors and aliases copy more values than the limit of 200000"), "{refused}");
        let plain = |from: usize| -> String {
            let one = |n| format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{n}}}}}\n");
            (from..from + 6000).map(one).collect::<Vec<_>>().concat()
        };
        let refused = read(&[(None, plain(0)), (None, plain(6000))]).documents.unwrap_err();
        assert!(refused.contains("more objects than the limit of 10000"), "{refused}");
    }

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
