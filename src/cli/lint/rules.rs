//! The rules: their ids, why they are there, and an example that each one finds.

use std::fmt::Write as _;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use crate::engine::finding::Rule;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Swell refuses it: nothing of the source is written.
    Error,
    /// Swell takes it, and something goes wrong or is not what is meant.
    Warning,
    /// Good to know.
    Note,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What there is to say about a rule.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    #[serde(skip)]
    pub(super) rule: Rule,
    /// Its name in output and for `--ignore`.
    pub(super) id: &'static str,
    /// How bad what it finds is.
    pub(super) level: Level,
    /// What it finds.
    pub(super) title: &'static str,
    /// Why that is a mistake.
    pub(super) why: &'static str,
    /// Whether a message ends with what happens instead of what would be right.
    #[serde(skip)]
    pub(super) tells_the_effect: bool,
    /// What would be right, where a finding does not say it better.
    pub(super) proposal: &'static str,
    /// Manifests in which it finds something.
    pub(super) example: &'static str,
}

/// All rules, the worst first.
pub(super) fn all() -> Vec<About> {
    Rule::ALL.into_iter().map(about).collect()
}

/// For arguments that name rules.
pub(super) fn parser() -> impl TypedValueParser<Value = Rule> {
    PossibleValuesParser::new(all().iter().map(|about| about.id))
        .map(|id| all().into_iter().find(|about| about.id == id).map_or(Rule::Yaml, |about| about.rule))
}

/// The rules for people.
pub(super) fn text() -> String {
    let mut text = String::new();
    for About { id, level, title, why, proposal, example, .. } in all() {
        let _ = writeln!(text, "{id} ({}): {title}\n\n  {why}\n  Right: {proposal}.\n", level.word());
        for line in example.lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
    }
    text.pop();
    text
}

/// What there is to say about a rule.
pub(super) fn about(rule: Rule) -> About {
    let (id, level, title, why, proposal) = match rule {
        Rule::Yaml => (
            "yaml",
            Level::Error,
            "A text that is no YAML or JSON of objects",
            "What cannot be read cannot be applied; the rest of the source is not applied either.",
            "correct the text at the mark",
        ),
        Rule::Identity => (
            "identity",
            Level::Error,
            "An object without apiVersion, kind or name",
            "Every object is known by apiVersion, kind and name; without them, or with a name that no API server takes, there is nothing to apply.",
            "give it an apiVersion, a kind and a name",
        ),
        Rule::NotAString => (
            "not-a-string",
            Level::Error,
            "An annotation or label whose value is no string",
            "Kubernetes refuses annotations and labels that are numbers, true or false: YAML reads 1 and true so.",
            "write the value in quotes",
        ),
        Rule::UnknownAnnotation => (
            "unknown-annotation",
            Level::Error,
            "An annotation under swell.dev/ that nobody knows",
            "A misspelt annotation would be passed over in silence, and the object would come in another order than is meant.",
            "write a key that there is, or leave it out",
        ),
        Rule::AnnotationValue => (
            "annotation-value",
            Level::Error,
            "A value of an annotation that cannot be understood",
            "A value that nobody knows has no meaning to fall back to: phases, waves, policies, options and durations are refused when they are wrong.",
            "write a value that the annotation takes",
        ),
        Rule::MembershipLabel => (
            "membership-label",
            Level::Error,
            "A label that is Swell's own mark",
            "The label tells to which Application an object belongs; one of the manifest's own would make it somebody else's.",
            "take it out",
        ),
        Rule::GenerateName => (
            "generate-name",
            Level::Error,
            "generateName on an object that is no hook",
            "An object that is kept is found again by its name; a generated one would be another object at each sync.",
            "give it metadata.name, or make it a hook",
        ),
        Rule::UnknownKind => (
            "unknown-kind",
            Level::Error,
            "A kind that is not served in this version",
            "Versions of Kubernetes' own kinds that were removed are refused by every cluster.",
            "write a version that is served",
        ),
        Rule::SelfContained => (
            "self-contained",
            Level::Error,
            "An Application among its own manifests",
            "An Application that deploys itself would wait for itself.",
            "take it out of its source",
        ),
        Rule::ApplicationField => (
            "application-field",
            Level::Error,
            "A field or value that an Application does not take",
            "The API server drops unknown fields or refuses the Application: what is written there would not count.",
            "write a field and a value that the Application takes",
        ),
        Rule::SyncOption => (
            "sync-option",
            Level::Error,
            "A sync option of an Application that nobody knows",
            "An option that cannot be understood would be passed over in silence.",
            "write an option that there is, as Name=value",
        ),
        Rule::HealthCheck => (
            "health-check",
            Level::Error,
            "A health check that cannot be used",
            "An expression that does not compile judges nothing, and the objects of its kind could not become healthy.",
            "correct the check",
        ),
        Rule::IgnoreDifferences => (
            "ignore-differences",
            Level::Error,
            "An entry of ignoreDifferences that cannot be understood",
            "A path that cannot be read ignores nothing.",
            "correct the path",
        ),
        Rule::SourceMissing => (
            "source-missing",
            Level::Error,
            "A source that is not among the files",
            "The manifests of an Application cannot be looked at without the ConfigMap that holds them.",
            "add the file that holds it with -f",
        ),
        Rule::MisspeltAnnotation => (
            "misspelt-annotation",
            Level::Warning,
            "An annotation that is nearly one of Argo CD's or Helm's",
            "Other tools' names are not refused, but one that differs by a letter from an annotation with an effect has none.",
            "write the annotation that is meant",
        ),
        Rule::Contradiction => (
            "contradiction",
            Level::Warning,
            "Annotations of two families that say different things",
            "Of Swell's, Argo CD's and Helm's annotations of one meaning a single one counts; the other misleads whoever reads it.",
            "say the same in both, or leave one out",
        ),
        Rule::PolicyWithoutHook => (
            "policy-without-hook",
            Level::Warning,
            "A hook delete policy on an object that is no hook",
            "Only hooks are deleted by a policy; the object stays, and runs as a plain object.",
            "add the hook annotation, or leave the policy out",
        ),
        Rule::RunWithoutHook => (
            "run-without-hook",
            Level::Warning,
            "A run policy on an object that is no hook",
            "Only hooks run again; a plain Job runs once for each content that it has.",
            "add the hook annotation, or leave the policy out",
        ),
        Rule::UselessOption => (
            "useless-option",
            Level::Warning,
            "A sync option that does nothing",
            "The option is taken for the sake of Argo CD's users, and changes nothing.",
            "leave it out",
        ),
        Rule::ApplicationAnnotation => (
            "application-annotation",
            Level::Warning,
            "An annotation of an Application that has no effect",
            "A misspelt annotation on an Application would be passed over in silence.",
            "write one that there is, or leave it out",
        ),
        Rule::NearlyInSource => (
            "nearly-in-source",
            Level::Warning,
            "A health check or ignored difference for a kind that the source nearly has",
            "Checks and ignored differences of a kind that is misspelt are for nothing.",
            "write the kind that the source has",
        ),
        Rule::DuplicateObject => (
            "duplicate-object",
            Level::Warning,
            "One object twice",
            "Of two manifests of one object only the last one counts.",
            "leave one of them out",
        ),
        Rule::DuplicateApplication => (
            "duplicate-application",
            Level::Warning,
            "One Application twice in a file",
            "Of two Applications of one name in a file the last one stays; in two files they may be versions of one, and nothing is said.",
            "leave one of them out, or give them two names",
        ),
        Rule::LateReference => (
            "late-reference",
            Level::Warning,
            "Pods that use what only a later stage brings",
            "Pods do not start without their ServiceAccount, ConfigMaps, Secrets and volumes; a stage that waits for them waits in vain, for what they need comes only after it.",
            "bring what the pods need in an earlier stage, or in the same one",
        ),
        Rule::LateRights => (
            "late-rights",
            Level::Warning,
            "Pods that run before their account has its rights",
            "The pods start without the rights that the plan gives to their ServiceAccount, for the binding or its role comes only in a later stage.",
            "bring the binding and its role in an earlier stage, or in the same one",
        ),
        Rule::LateService => (
            "late-service",
            Level::Warning,
            "Pods that wait for a Service of a later stage",
            "A Job or an init container that calls a Service which comes only after it waits in vain. Only plain calls are seen: a URL, a full host name, or a host name with a port of the Service.",
            "bring the Service and what answers behind it in an earlier stage",
        ),
        Rule::HooksNeverRun => (
            "hooks-never-run",
            Level::Warning,
            "Hooks of a deletion that never happens",
            "With deletionPolicy Orphan the objects stay, and the hooks around their deletion do not run.",
            "write deletionPolicy: Delete, or leave the hooks out",
        ),
        Rule::NamespaceLeftOut => (
            "namespace-left-out",
            Level::Note,
            "A namespace on an object of the cluster",
            "Objects such as Namespaces and ClusterRoles are in no namespace; what the manifest says is left out.",
            "leave metadata.namespace out",
        ),
        Rule::MovedEarlier => (
            "moved-earlier",
            Level::Note,
            "A Namespace or CRD that comes earlier than is written",
            "A Namespace or CRD is brought in the stage of the first object that needs it, whatever its own annotations say.",
            "write the stage in which it comes",
        ),
        Rule::WaveWithoutEffect => (
            "wave-without-effect",
            Level::Note,
            "A wave that makes no difference",
            "Waves order the hooks of one phase; where all of them have the same one there is nothing to order.",
            "leave it out",
        ),
    };
    let tells_the_effect = matches!(
        rule,
        Rule::UnknownKind
            | Rule::Contradiction
            | Rule::DuplicateObject
            | Rule::DuplicateApplication
            | Rule::HooksNeverRun
            | Rule::NamespaceLeftOut
            | Rule::MovedEarlier
    );
    About { rule, id, level, title, why, proposal, tells_the_effect, example: example(rule) }
}

/// An example for each rule, in `rules/`.
fn example(rule: Rule) -> &'static str {
    match rule {
        Rule::Yaml => include_str!("rules/yaml.yaml"),
        Rule::Identity => include_str!("rules/identity.yaml"),
        Rule::NotAString => include_str!("rules/not-a-string.yaml"),
        Rule::UnknownAnnotation => include_str!("rules/unknown-annotation.yaml"),
        Rule::AnnotationValue => include_str!("rules/annotation-value.yaml"),
        Rule::MembershipLabel => include_str!("rules/membership-label.yaml"),
        Rule::GenerateName => include_str!("rules/generate-name.yaml"),
        Rule::UnknownKind => include_str!("rules/unknown-kind.yaml"),
        Rule::SelfContained => include_str!("rules/self-contained.yaml"),
        Rule::ApplicationField => include_str!("rules/application-field.yaml"),
        Rule::SyncOption => include_str!("rules/sync-option.yaml"),
        Rule::HealthCheck => include_str!("rules/health-check.yaml"),
        Rule::IgnoreDifferences => include_str!("rules/ignore-differences.yaml"),
        Rule::SourceMissing => include_str!("rules/source-missing.yaml"),
        Rule::MisspeltAnnotation => include_str!("rules/misspelt-annotation.yaml"),
        Rule::Contradiction => include_str!("rules/contradiction.yaml"),
        Rule::PolicyWithoutHook => include_str!("rules/policy-without-hook.yaml"),
        Rule::RunWithoutHook => include_str!("rules/run-without-hook.yaml"),
        Rule::UselessOption => include_str!("rules/useless-option.yaml"),
        Rule::ApplicationAnnotation => include_str!("rules/application-annotation.yaml"),
        Rule::NearlyInSource => include_str!("rules/nearly-in-source.yaml"),
        Rule::DuplicateObject => include_str!("rules/duplicate-object.yaml"),
        Rule::DuplicateApplication => include_str!("rules/duplicate-application.yaml"),
        Rule::LateReference => include_str!("rules/late-reference.yaml"),
        Rule::LateRights => include_str!("rules/late-rights.yaml"),
        Rule::LateService => include_str!("rules/late-service.yaml"),
        Rule::HooksNeverRun => include_str!("rules/hooks-never-run.yaml"),
        Rule::NamespaceLeftOut => include_str!("rules/namespace-left-out.yaml"),
        Rule::MovedEarlier => include_str!("rules/moved-earlier.yaml"),
        Rule::WaveWithoutEffect => include_str!("rules/wave-without-effect.yaml"),
    }
}
