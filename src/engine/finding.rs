//! What there is to say against manifests: by which rule, and about which part of an object. The rules are made where the manifests
//! are read and planned; here are their names.

use std::fmt;

use super::desired::Problem;
use super::object::ObjectKey;
use super::yaml::Position;

/// The rules by which manifests are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A text that is no YAML or JSON of objects.
    Yaml,
    /// An object without `apiVersion`, `kind` or name, or with one that cannot be.
    Identity,
    /// An annotation or label whose value is no string.
    NotAString,
    /// A key under `swell.dev/` that nobody knows.
    UnknownAnnotation,
    /// A value of an annotation that cannot be understood.
    AnnotationValue,
    /// A label that is Swell's own mark.
    MembershipLabel,
    /// `generateName` on an object that is no hook.
    GenerateName,
    /// A kind that is not served, or not in this version.
    UnknownKind,
    /// An Application among its own manifests.
    SelfContained,
    /// A field of an Application that is not known, or has a value that it does not take.
    ApplicationField,
    /// A sync option of an Application that cannot be understood.
    SyncOption,
    /// A health check that cannot be compiled.
    HealthCheck,
    /// An entry of `ignoreDifferences` that cannot be understood.
    IgnoreDifferences,
    /// A source that is not there.
    SourceMissing,
    /// A key of Argo CD's or Helm's that is nearly one which has an effect.
    MisspeltAnnotation,
    /// Annotations of two families that say different things.
    Contradiction,
    /// A hook delete policy on an object that is no hook.
    PolicyWithoutHook,
    /// A run policy on an object that is no hook.
    RunWithoutHook,
    /// A sync option that is understood and does nothing.
    UselessOption,
    /// An annotation of an Application that has no effect there.
    ApplicationAnnotation,
    /// Checks or ignored differences of a kind that the source has not, but nearly.
    NearlyInSource,
    /// One object twice.
    DuplicateObject,
    /// One Application twice.
    DuplicateApplication,
    /// Pods that use an object of a later stage.
    LateReference,
    /// Pods that run before their account has its rights.
    LateRights,
    /// Pods that wait for a Service of a later stage.
    LateService,
    /// Hooks of a deletion that never run.
    HooksNeverRun,
    /// A namespace on an object of the cluster.
    NamespaceLeftOut,
    /// A Namespace or CRD that comes earlier than its annotation says.
    MovedEarlier,
    /// A wave that makes no difference.
    WaveWithoutEffect,
}

impl Rule {
    /// All of them, the worst first.
    pub const ALL: [Self; 30] = [
        Self::Yaml,
        Self::Identity,
        Self::NotAString,
        Self::UnknownAnnotation,
        Self::AnnotationValue,
        Self::MembershipLabel,
        Self::GenerateName,
        Self::UnknownKind,
        Self::SelfContained,
        Self::ApplicationField,
        Self::SyncOption,
        Self::HealthCheck,
        Self::IgnoreDifferences,
        Self::SourceMissing,
        Self::MisspeltAnnotation,
        Self::Contradiction,
        Self::PolicyWithoutHook,
        Self::RunWithoutHook,
        Self::UselessOption,
        Self::ApplicationAnnotation,
        Self::NearlyInSource,
        Self::DuplicateObject,
        Self::DuplicateApplication,
        Self::LateReference,
        Self::LateRights,
        Self::LateService,
        Self::HooksNeverRun,
        Self::NamespaceLeftOut,
        Self::MovedEarlier,
        Self::WaveWithoutEffect,
    ];
}

/// The part of an object that a finding is about; paths are of keys and list indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object as a whole.
    Object,
    /// A key.
    Key(Vec<String>),
    /// A value; its key, where it is no scalar.
    Value(Vec<String>),
    /// A word in a value.
    Word(Vec<String>, String),
}

impl Part {
    /// The value at a path.
    pub fn value(path: &[&str]) -> Self {
        Self::Value(owned(path))
    }

    /// The key at the end of a path.
    pub fn key(path: &[&str]) -> Self {
        Self::Key(owned(path))
    }

    /// The value of an annotation.
    pub fn annotation(key: &str) -> Self {
        Self::value(&["metadata", "annotations", key])
    }

    /// The key of an annotation.
    pub fn annotation_key(key: &str) -> Self {
        Self::key(&["metadata", "annotations", key])
    }

    /// A word in the value of an annotation.
    pub fn annotation_word(key: &str, word: &str) -> Self {
        Self::Word(owned(&["metadata", "annotations", key]), word.to_owned())
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|key| (*key).to_owned()).collect()
}

/// Something odd about an object that is no reason to refuse it. Displayed as its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// By which rule.
    pub rule: Rule,
    /// About which part of the object.
    pub part: Part,
    /// What is odd, and what would be right.
    pub message: String,
}

impl Remark {
    /// The remark at an object's position. Without a key where the message names the object.
    pub fn at(self, position: &Position, key: Option<ObjectKey>) -> Problem {
        let Self { rule, part, message } = self;
        Problem { rule, position: Some(position.clone()), key, part, see: None, message }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Another object that a finding speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct See {
    /// Where its manifest stands.
    pub position: Position,
    /// The part of it that matters.
    pub part: Part,
    /// What it has to do with the finding, in a few words.
    pub label: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_rules_has_each_once_in_their_order() {
        assert!(Rule::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Rule::ALL.len(), Rule::WaveWithoutEffect as usize + 1);
    }
}
