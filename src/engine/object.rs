//! Identities: which object, which kind, which Application, and the digests that tell one content from another.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An API group and kind, without a version: the identity of a kind of objects. The core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// Kind, as in a manifest's `kind`.
    pub kind: Arc<str>,
}

impl GroupKind {
    /// The group and kind of the two strings.
    pub fn new(group: &str, kind: &str) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }

    /// Reads the form of the ApplySet annotation: `Kind.group`, or `Kind` for the core group.
    pub fn from_applyset(text: &str) -> Self {
        match text.split_once('.') {
            Some((kind, group)) => Self::new(group, kind),
            None => Self::new("", text),
        }
    }

    /// Whether this is the kind `kind` of the group `group`.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        &*self.group == group && &*self.kind == kind
    }
}

/// `Kind.group`, or `Kind` for the core group: the form of the ApplySet annotation and of kubectl.
impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}

/// The identity of one object: group, kind, namespace and name. Cluster-scoped objects have no namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Group and kind.
    pub kind: GroupKind,
    /// Namespace; `None` for a cluster-scoped object.
    pub namespace: Option<Arc<str>>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of the parts; an empty namespace counts as none.
    pub fn new(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            kind: GroupKind::new(group, kind),
            namespace: namespace.filter(|n| !n.is_empty()).map(Into::into),
            name: name.into(),
        }
    }

    /// The same object under another name (a generated one).
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// The namespace, or the empty string.
    pub fn namespace_or_empty(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }
}

/// `Kind namespace/name`, or `Kind name`: how messages name an object.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {}/{}", self.kind.kind, namespace, self.name),
            None => write!(f, "{} {}", self.kind.kind, self.name),
        }
    }
}

/// Which Application: its namespace and name, and what follows from them for the objects that it owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    namespace: Arc<str>,
    name: Arc<str>,
    hash: [u8; 32],
}

impl Owner {
    /// The Application `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        let hash = Sha256::digest(format!("{name}.{namespace}.Application.swell.dev")).into();
        Self { namespace: namespace.into(), name: name.into(), hash }
    }

    /// The Application's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Application's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ApplySet id of KEP-3659, value of the label `applyset.kubernetes.io/part-of` on every member.
    pub fn membership_id(&self) -> String {
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.hash);
        format!("applyset-{encoded}-v1")
    }

    /// The shard bucket: two hex digits, value of the label `swell.dev/bucket`.
    pub fn bucket(&self) -> String {
        format!("{:02x}", self.hash[0])
    }

    /// The same as a number.
    pub fn bucket_number(&self) -> u8 {
        self.hash[0]
    }

    /// The field manager of every write for this Application: `swell-` and eight hex digits.
    pub fn field_manager(&self) -> String {
        let [a, b, c, d, ..] = self.hash;
        format!("swell-{a:02x}{b:02x}{c:02x}{d:02x}")
    }

    /// The identity part of the annotation `swell.dev/applied`: a digest of Application and object, so that a copied annotation does not make a member.
    pub fn identity(&self, key: &ObjectKey) -> Digest {
        Digest::of_parts(&[
            &self.namespace,
            &self.name,
            &key.kind.group,
            &key.kind.kind,
            key.namespace_or_empty(),
            &key.name,
        ])
    }
}

/// `namespace/name`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A digest of 80 bits, shown as 20 hex digits: enough that equal digests mean equal content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 10]);

impl Digest {
    /// The digest of a JSON value. Maps are sorted by key, so equal values have equal digests.
    pub fn of(value: &Value) -> Self {
        Self::of_bytes(&serde_json::to_vec(value).unwrap_or_default())
    }

    /// The digest of bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::finish(&Sha256::digest(bytes))
    }

    /// The digest of strings, each kept apart from the next.
    pub fn of_parts(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self::finish(&hasher.finalize())
    }

    /// Reads the 20 hex digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 20 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 10];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn finish(hash: &[u8]) -> Self {
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&hash[..10]);
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a text can be one segment of a path, as the server asks it of every name: it leads nowhere else.
pub fn is_path_segment(text: &str) -> bool {
    !matches!(text, "." | "..") && !text.contains(['/', '%', '?', '#'])
}

/// The group of an `apiVersion`: `apps` of `apps/v1`, empty for `v1`.
pub fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// The version of an `apiVersion`: `v1` of `apps/v1`.
pub fn version_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or(api_version, |(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_id_fits_a_label_and_follows_the_applyset_convention() {
        let owner = Owner::new("shop", "web");
        let id = owner.membership_id();
        assert!(id.len() <= 63, "{id}");
        assert!(id.starts_with("applyset-") && id.ends_with("-v1"), "{id}");
        assert!(owner.field_manager().ends_with(&owner.field_manager()[6..]));
        assert_eq!(&owner.field_manager()[6..8], owner.bucket());
    }

    #[test]
    fn an_identity_names_one_object_of_one_application() {
        let key = ObjectKey::new("apps", "Deployment", Some("shop"), "web");
        let here = Owner::new("shop", "web").identity(&key);
        assert_eq!(here, Owner::new("shop", "web").identity(&key));
        assert_ne!(here, Owner::new("shop", "api").identity(&key));
        assert_ne!(here, Owner::new("shop", "web").identity(&key.with_name("web2")));
        assert_eq!(Digest::parse(&here.to_string()), Some(here));
    }

    #[test]
    fn parts_of_a_digest_do_not_run_into_each_other() {
        assert_ne!(Digest::of_parts(&["ab", "c"]), Digest::of_parts(&["a", "bc"]));
    }
}
