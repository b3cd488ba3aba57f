//! The marks on every object that we write, and who is a member by them: label, identity and field manager together.

use serde_json::{Map, Value};

use super::desired::Manifest;
use super::object::{Digest, ObjectKey, Owner};
use super::settings::Phase;
use crate::api::annotations as keys;

/// One run of a hook: it is on the hook object, in generated names and in its record (I3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookRun {
    /// Id of the operation.
    pub operation: String,
    /// Attempt of the operation, from 1.
    pub attempt: i64,
    /// Phase in which the hook runs.
    pub phase: Phase,
}

impl HookRun {
    /// The name of a hook that gives only `generateName`: the same for the whole run, so that a restart finds the same object.
    pub fn generated_name(&self, prefix: &str) -> String {
        let suffix = format!("{}-{}-{}", self.operation, self.attempt, self.phase.as_str().to_lowercase());
        // Labels of a Job's pods carry its name, and labels end at 63 characters.
        let room = 63_usize.saturating_sub(suffix.len());
        let mut end = prefix.len().min(room);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{suffix}", &prefix[..end])
    }
}

/// The value of `swell.dev/applied` for an object with this content.
pub fn applied(owner: &Owner, key: &ObjectKey, content: Digest) -> String {
    format!("1.{}.{content}", owner.identity(key))
}

/// The body to send: the manifest with the marks of membership, and of the run if it is a hook.
pub fn marked(owner: &Owner, manifest: &Manifest, key: &ObjectKey, run: Option<&HookRun>) -> Value {
    let mut body = manifest.body.clone();
    let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else { return body };
    metadata.remove("generateName");
    metadata.insert("name".to_owned(), Value::from(&*key.name));
    let labels = section(metadata, "labels");
    labels.insert(keys::PART_OF.to_owned(), Value::from(owner.membership_id()));
    labels.insert(keys::BUCKET.to_owned(), Value::from(owner.bucket()));
    let annotations = section(metadata, "annotations");
    annotations.insert(keys::APPLIED.to_owned(), Value::from(applied(owner, key, manifest.content)));
    if let Some(run) = run {
        annotations.insert(keys::OPERATION.to_owned(), Value::from(run.operation.clone()));
        annotations.insert(keys::ATTEMPT.to_owned(), Value::from(run.attempt.to_string()));
        annotations.insert(keys::PHASE.to_owned(), Value::from(run.phase.as_str()));
        if let Some(ttl) = manifest.ttl {
            annotations.insert(keys::TTL.to_owned(), Value::from(ttl.to_string()));
        }
    }
    body
}

/// What the marks on a live object say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marks {
    /// No membership label.
    None,
    /// The label of this membership id, but no identity that names the object, or no entry of the field manager: a copy.
    Stray(String),
    /// A member of the Application with this membership id, with the digest of what was applied.
    Member {
        /// The membership id.
        id: String,
        /// Digest of the content as it was sent.
        content: Digest,
    },
}

/// Reads the marks of a live object. Only the Application `owner` can tell its members; for another one's label the claim is believed,
/// because it only keeps us away from the object.
pub fn marks(object: &Value, key: &ObjectKey, owner: Option<&Owner>, has_our_entry: bool) -> Marks {
    let Some(id) =
        object.pointer("/metadata/labels").and_then(|labels| labels.get(keys::PART_OF)).and_then(Value::as_str)
    else {
        return Marks::None;
    };
    let id = id.to_owned();
    let applied = object.pointer("/metadata/annotations").and_then(|a| a.get(keys::APPLIED)).and_then(Value::as_str);
    let parsed = applied.and_then(|text| {
        let (identity, content) = text.strip_prefix("1.")?.split_once('.')?;
        Some((Digest::parse(identity)?, Digest::parse(content)?))
    });
    match (parsed, owner) {
        (Some((identity, content)), Some(owner)) if identity == owner.identity(key) && has_our_entry => {
            Marks::Member { id, content }
        }
        (Some((_, content)), None) => Marks::Member { id, content },
        _ => Marks::Stray(id),
    }
}

/// The run that a live hook object names.
pub fn hook_run(object: &Value) -> Option<HookRun> {
    let annotations = object.pointer("/metadata/annotations")?;
    Some(HookRun {
        operation: annotations.get(keys::OPERATION)?.as_str()?.to_owned(),
        attempt: annotations.get(keys::ATTEMPT)?.as_str()?.parse().ok()?,
        phase: Phase::parse(annotations.get(keys::PHASE)?.as_str()?)?,
    })
}

fn section<'a>(metadata: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = metadata.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object just now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(owner: &Owner, key: &ObjectKey) -> Value {
        json!({"metadata": {
            "name": &*key.name,
            "labels": {"applyset.kubernetes.io/part-of": owner.membership_id()},
            "annotations": {"swell.dev/applied": applied(owner, key, Digest::of_bytes(b"x"))}
        }})
    }

    #[test]
    fn i6_a_copied_object_is_a_stray_and_not_a_member() {
        let owner = Owner::new("shop", "web");
        let key = ObjectKey::new("", "Service", Some("shop"), "web");
        let ours = object(&owner, &key);
        assert!(matches!(marks(&ours, &key, Some(&owner), true), Marks::Member { .. }));
        assert!(matches!(marks(&ours, &key.with_name("copy"), Some(&owner), true), Marks::Stray(_)), "another name");
        assert!(matches!(marks(&ours, &key, Some(&owner), false), Marks::Stray(_)), "no entry of our field manager");
        let endpoints = ObjectKey::new("discovery.k8s.io", "EndpointSlice", Some("shop"), "web");
        assert!(
            matches!(marks(&ours, &endpoints, Some(&owner), true), Marks::Stray(_)),
            "label copied by a controller"
        );
        assert_eq!(marks(&json!({"metadata": {}}), &key, Some(&owner), true), Marks::None);
    }

    #[test]
    fn a_generated_hook_name_is_the_same_for_the_whole_run_and_fits_a_label() {
        let run = HookRun { operation: "mhz3k2a1".to_owned(), attempt: 2, phase: Phase::PreSync };
        assert_eq!(run.generated_name("migrate-"), "migrate-mhz3k2a1-2-presync");
        assert!(run.generated_name(&"x".repeat(200)).len() <= 63);
    }
}
