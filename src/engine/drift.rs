//! Drift: a plain object that no longer carries what we applied, with what is missing and who has it now.

use std::borrow::Cow;

use super::desired::{Desired, Manifest};
use super::fields;
use super::ledger::Ledger;
use super::live::{Live, Members};
use super::object::{ObjectKey, Owner};
use super::settings::{Class, Phase};

/// One object that does not carry its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The object.
    pub key: ObjectKey,
    /// What is wrong, as it follows the object's name: `is gone`, `spec.replicas was taken by kubectl`.
    pub what: String,
    /// The managers that have what we lost; empty where nobody has it.
    pub by: Vec<String>,
}

/// The plain objects of a source that do not carry their manifests, in source order.
pub fn drifts(desired: &Desired, members: &Members, ledger: &Ledger, owner: &Owner) -> Vec<Drift> {
    let live = |key: &ObjectKey| members.get(key).map(|live| &**live);
    desired.manifests.iter().filter_map(|manifest| drift(manifest, live(&manifest.key), ledger, owner)).collect()
}

/// How one object differs from its manifest; nothing if it carries it, and for hooks. A Job that has ended with this content may be gone.
pub fn drift(manifest: &Manifest, live: Option<&Live>, ledger: &Ledger, owner: &Owner) -> Option<Drift> {
    if manifest.settings.class != Class::Plain {
        return None;
    }
    let Some(live) = live.filter(|live| live.is_member(owner)) else {
        let what = match live {
            Some(_) => "lost its marks",
            None if has_ended(ledger, manifest) => return None,
            None => "is gone",
        };
        return Some(Drift { key: manifest.key.clone(), what: what.to_owned(), by: Vec::new() });
    };
    if live.deleting.is_some() {
        return Some(Drift { key: manifest.key.clone(), what: "is being deleted".to_owned(), by: Vec::new() });
    }
    if live.carries_but_ignored(manifest) {
        return None;
    }
    let (what, by) = difference(manifest, live);
    Some(Drift { key: manifest.key.clone(), what, by })
}

/// Several drifts in one line: the first three of them, and how many there are.
pub fn told<'a>(drifts: impl ExactSizeIterator<Item = &'a Drift>) -> String {
    const MOST: usize = 3;
    let more = drifts.len().saturating_sub(MOST);
    let first: Vec<_> = drifts.take(MOST).map(|drift| format!("{}: {}", drift.key, drift.what)).collect();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", first.join("; "))
}

/// Whether a plain Job has ended well with this content: its absence is neither failure nor drift.
pub fn has_ended(ledger: &Ledger, manifest: &Manifest) -> bool {
    ledger.hooks().get(&(manifest.key.clone(), Phase::Sync)).is_some_and(|record| {
        record.digest == manifest.content && record.outcome().is_some_and(|outcome| outcome.succeeded)
    })
}

fn difference(manifest: &Manifest, live: &Live) -> (String, Vec<String>) {
    if live.content() != Some(manifest.content) {
        return ("carries another manifest than the source".to_owned(), Vec::new());
    }
    let none = serde_json::Value::Object(serde_json::Map::new());
    let ours = live.entry.as_ref().map_or(&none, |entry| &*entry.fields);
    let wanted = match &manifest.ignored {
        Some(ignored) => ignored.rest(&live.other_fields),
        None => Cow::Borrowed(&manifest.body),
    };
    let mut field = None;
    let mut by: Vec<String> = Vec::new();
    for (manager, theirs) in &live.other_fields {
        let Ok(theirs) = serde_json::from_str(theirs) else { continue };
        if let Some(gained) = fields::gained(&wanted, ours, &theirs)
            && !by.contains(manager)
        {
            field.get_or_insert(gained);
            by.push(manager.clone());
        }
    }
    match field {
        Some(field) => (format!("{field} was taken by {}", by.join(", ")), by),
        None => {
            let field = fields::lost(&wanted, ours).unwrap_or_else(|| "a field".to_owned());
            let others: Vec<_> = live.other_fields.iter().map(|(manager, _)| manager.clone()).collect();
            let by = if others.is_empty() { String::new() } else { format!("; also managed by {}", others.join(", ")) };
            (format!("{field} was taken out{by}"), others)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::desired::{Context, desired};
    use crate::engine::health::Facts;
    use crate::engine::kinds::Kinds;
    use crate::engine::membership::applied;
    use crate::engine::yaml::{Limits, parse};
    use serde_json::{Value, json};

    const MANIFEST: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: '1', b: '2'}}";

    struct Fixture {
        owner: Owner,
        desired: Desired,
    }

    fn fixture() -> Fixture {
        let owner = Owner::new("shop", "app");
        let documents = parse(None, MANIFEST, &Limits::default()).unwrap();
        let kinds = Kinds::builtin();
        let context = Context::new(&owner, "shop", &kinds);
        Fixture { desired: desired(documents, context).unwrap(), owner }
    }

    impl Fixture {
        /// The object after `entries` were put beside ours, which owns the data of these names.
        fn live(&self, ours: &[&str], entries: &Value, change: impl FnOnce(&mut Value)) -> Live {
            let manifest = &self.desired.manifests[0];
            let data: Value = ours.iter().map(|name| (format!("f:{name}"), json!({}))).collect();
            let mut managed = vec![json!({
                "manager": self.owner.field_manager(), "operation": "Apply", "fieldsV1": {"f:data": data}
            })];
            managed.extend(entries.as_array().unwrap().iter().cloned());
            let mut object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": "settings", "namespace": "shop", "uid": "u", "resourceVersion": "5",
                    "labels": {"applyset.kubernetes.io/part-of": self.owner.membership_id()},
                    "annotations": {"swell.dev/applied": applied(&self.owner, &manifest.key, manifest.content)},
                    "managedFields": managed
                }
            });
            change(&mut object);
            Live::reduce(&object, &manifest.key, &self.owner, &Facts::default()).unwrap()
        }

        fn drift(&self, live: Option<Live>) -> Option<(String, Vec<String>)> {
            let members: Members =
                live.into_iter().map(|live| (self.desired.manifests[0].key.clone(), Arc::new(live))).collect();
            let mut found = drifts(&self.desired, &members, &Ledger::default(), &self.owner);
            assert!(found.len() <= 1);
            found.pop().map(|drift| (drift.what, drift.by))
        }
    }

    fn said(what: &str, by: &[&str]) -> (String, Vec<String>) {
        (what.to_owned(), by.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_manager_that_has_what_we_lost_is_named_and_no_other() {
        let fixture = fixture();
        let entries = json!([
            {"manager": "bystander", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {"f:b": {}}}},
            {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:data": {"f:b": {}}}}
        ]);
        assert_eq!(fixture.drift(Some(fixture.live(&["a", "b"], &entries, |_| ()))), None, "beside ours is no drift");
        assert_eq!(
            fixture.drift(Some(fixture.live(&["a"], &entries, |_| ()))),
            Some(said("data.b was taken by kubectl-edit", &["kubectl-edit"]))
        );
        let bystander = json!([entries[0]]);
        assert_eq!(
            fixture.drift(Some(fixture.live(&["b"], &bystander, |_| ()))),
            Some(said("data.a was taken out; also managed by bystander", &["bystander"]))
        );
        assert_eq!(
            fixture.drift(Some(fixture.live(&["b"], &json!([]), |_| ()))),
            Some(said("data.a was taken out", &[]))
        );
    }

    #[test]
    fn what_is_gone_or_going_or_not_ours_any_more_is_drift() {
        let fixture = fixture();
        assert_eq!(fixture.drift(None), Some(said("is gone", &[])));
        let both = ["a", "b"];
        let going = fixture.live(&both, &json!([]), |object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
        assert_eq!(fixture.drift(Some(going)), Some(said("is being deleted", &[])));
        let stray = fixture.live(&both, &json!([]), |object| object["metadata"]["annotations"] = json!({}));
        assert_eq!(fixture.drift(Some(stray)), Some(said("lost its marks", &[])));
        let late = fixture.live(&both, &json!([]), |object| {
            let key = &fixture.desired.manifests[0].key;
            let other = crate::engine::object::Digest::of_bytes(b"late");
            object["metadata"]["annotations"]["swell.dev/applied"] = json!(applied(&fixture.owner, key, other));
        });
        assert_eq!(fixture.drift(Some(late)), Some(said("carries another manifest than the source", &[])));
    }
}
