//! Health: the verdict on one live object, by its kind's rule or by the standard conditions. Pure and total: any JSON gets an
//! answer, nothing panics. What has the wrong type counts as absent. Rules are Argo CD's, with the deviations V13, V16, V17 and V18.

mod api;
pub mod checks;
mod custom;
mod job;
mod network;
mod pod;
mod read;
mod rules;
mod runs;
mod scaling;
mod storage;
mod workload;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use read::{at, list, stated, text};
use rules::Rule;

/// How well an object is, ordered from best to worst, so that the greatest of several is the one to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Health {
    /// Does what it is for.
    Healthy,
    /// Held on purpose (a paused Deployment, a suspended Job); gets no further by itself.
    Suspended,
    /// On its way.
    Progressing,
    /// Wanted, but not there. Never the verdict on an object: whoever looks for one and finds none says it.
    Missing,
    /// Failed, perhaps not for good: see [`Verdict::terminal`].
    Degraded,
    /// Cannot be judged; the reason says why.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        })
    }
}

/// Whether an object's health holds and fails its stage when its manifest says nothing about it (`swell.dev/gate` does).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Gate {
    /// The stage waits for it and fails with it.
    Gating,
    /// Shown, without effect on the stage: what depends on a part that many clusters do not have (V17).
    Informative,
}

/// What the rule of its kind says about one object, as the object stands.
///
/// Whether the object is recent enough to be believed is judged elsewhere, except for the generation that its status names: a status
/// for an older generation gives Progressing, neither success nor failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The health.
    pub health: Health,
    /// One word in CamelCase, the cluster's own where it gave one (`ProgressDeadlineExceeded`); empty when Healthy and there is nothing
    /// to add. At most 128 bytes.
    pub reason: String,
    /// A sentence for people (`2 of 3 replicas available`), or empty. At most 512 bytes.
    pub message: String,
    /// Degraded for good: fails a stage at once, where another Degraded has to last (V18).
    pub terminal: bool,
    /// What the kind does to its stage by default.
    pub gate: Gate,
    /// False if the object says nothing that could be judged (V16); then the health is Healthy with the reason `NoReadinessRule`, and
    /// it counts once the object has settled.
    pub judged: bool,
}

/// How far an object of a kind that runs to an end has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// Has not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed {
        /// One word in CamelCase, the cluster's own where it gave one.
        reason: String,
        /// A sentence for people, or empty.
        message: String,
    },
}

/// What a verdict needs to know of the cluster beside the object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Names of the StorageClasses with `volumeBindingMode: WaitForFirstConsumer`.
    pub late_binding_classes: BTreeSet<String>,
    /// Name of the StorageClass that claims without a class get.
    pub default_class: Option<String>,
}

impl Facts {
    /// Whether a claim of this class (`None`: it names none) is bound only once a pod uses it. `Some("")` asks for no class at all.
    fn bind_late(&self, class: Option<&str>) -> bool {
        class.or(self.default_class.as_deref()).is_some_and(|class| self.late_binding_classes.contains(class))
    }
}

/// The verdict on a live object, or `None` for a kind without health, which is done as soon as it is applied.
///
/// The object must carry its `apiVersion` and `kind` (items of a list come without them: put them in). An object that is being deleted
/// is Progressing whatever its kind.
pub fn assess(object: &Value, facts: &Facts) -> Option<Verdict> {
    let Some((group, version, kind)) = identity(object) else {
        return Some(Verdict::unknown("CannotJudge", "cannot judge: the object has no apiVersion and kind".to_owned()));
    };
    let rule = Rule::of(group, kind);
    let verdict = if let Some(since) = text(object, &["metadata", "deletionTimestamp"]) {
        being_deleted(object, since)
    } else {
        let rule = rule?;
        if rule.reads(version) { rule.judge(object, facts) } else { unread(group, version, kind) }
    };
    Some(if rule.is_some_and(|rule| rule.is_informative(object)) { verdict.informative() } else { verdict })
}

/// Whether objects of this kind have health, so that their bodies must be watched. False for the built-in kinds that are done once
/// applied (ConfigMap, Secret, RBAC, Namespace, …), of which the metadata suffice; true for every kind of a group that Kubernetes does
/// not bring itself.
pub fn has_rule(group: &str, kind: &str) -> bool {
    Rule::of(group, kind).is_some()
}

/// Whether the group is none of those that Kubernetes brings itself, so that its objects are custom resources.
pub fn is_custom(group: &str) -> bool {
    !rules::BUILT_IN.contains(&group)
}

/// The version that the kind's rule is written for, at which the kind is to be watched. `None` if there is no rule, or one to which
/// all versions are alike.
pub fn rule_version(group: &str, kind: &str) -> Option<&'static str> {
    Rule::of(group, kind).and_then(Rule::version)
}

/// Whether objects of this kind come to an end by themselves, so that a hook of it is done when it has ended (V5): Job, Pod, Argo
/// Workflow, and Tekton's runs.
pub fn runs_to_end(group: &str, kind: &str) -> bool {
    Rule::of(group, kind).is_some_and(Rule::runs_to_end)
}

/// How far an object has come whose kind [`runs_to_end`]; `None` for other kinds. An object that is being deleted is judged like any
/// other: its end stays its end.
pub fn completion(object: &Value) -> Option<Completion> {
    let (group, _, kind) = identity(object)?;
    Rule::of(group, kind)?.completion(object)
}

/// The generation that the object's status says it describes. For a custom resource it is the lower one of `status.observedGeneration`
/// and of the condition that it is judged by. `None` if the status does not say, or not by a whole number.
pub fn observed_generation(object: &Value) -> Option<i64> {
    let own = stated_generation(object);
    match identity(object).and_then(|(group, _, kind)| Rule::of(group, kind)) {
        Some(Rule::Custom) => {
            let condition = custom::readiness(object).and_then(|condition| condition.generation().number());
            own.into_iter().chain(condition).min()
        }
        _ => own,
    }
}

/// The generation that `status.observedGeneration` names, whatever the kind.
pub fn stated_generation(object: &Value) -> Option<i64> {
    stated(at(object, &["status", "observedGeneration"])).number()
}

/// The rule that judges the objects of a kind, in words; `None` for a kind without health.
pub fn rule_name(group: &str, kind: &str) -> Option<String> {
    Rule::of(group, kind).map(|rule| match rule {
        Rule::Custom => "standard conditions".to_owned(),
        rule => format!("built-in rule {rule:?}"),
    })
}

/// Whether the kind is a built-in one whose rule compares the generation in the status with the object's, so that a verdict on it can
/// be believed without further proof that its controller has seen our write.
pub fn tracks_generation(group: &str, kind: &str) -> bool {
    Rule::of(group, kind).is_some_and(Rule::tracks_generation)
}

/// The worst of several; Healthy if there are none.
pub fn worst(healths: impl IntoIterator<Item = Health>) -> Health {
    healths.into_iter().max().unwrap_or(Health::Healthy)
}

/// Group, version and kind; `None` if the object does not say them.
fn identity(object: &Value) -> Option<(&str, &str, &str)> {
    let api_version = text(object, &["apiVersion"])?;
    let kind = text(object, &["kind"])?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some((group, version, kind))
}

fn being_deleted(object: &Value, since: &str) -> Verdict {
    let finalizers: Vec<&str> = list(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect();
    let message = match finalizers.as_slice() {
        [] => format!("being deleted since {since}"),
        [one] => format!("being deleted since {since}, held by the finalizer {one}"),
        several => format!("being deleted since {since}, held by the finalizers {}", several.join(", ")),
    };
    Verdict::progressing("BeingDeleted", message)
}

fn unread(group: &str, version: &str, kind: &str) -> Verdict {
    let known = rule_version(group, kind).unwrap_or("another version");
    let slash = if group.is_empty() { "" } else { "/" };
    Verdict::unknown(
        "UnknownVersion",
        format!("cannot judge: {group}{slash}{version} {kind} has no health rule, {group}{slash}{known} has one"),
    )
}

// Controllers may write conditions of 32 KiB; a verdict is kept for every managed object.
const REASON_BYTES: usize = 128;
const MESSAGE_BYTES: usize = 512;

impl Verdict {
    fn new(health: Health, reason: &str, message: String) -> Self {
        Self {
            health,
            reason: clipped(reason.to_owned(), REASON_BYTES),
            message: clipped(message, MESSAGE_BYTES),
            terminal: false,
            gate: Gate::Gating,
            judged: true,
        }
    }

    fn healthy() -> Self {
        Self::new(Health::Healthy, "", String::new())
    }

    fn healthy_because(reason: &str, message: String) -> Self {
        Self::new(Health::Healthy, reason, message)
    }

    fn not_judged() -> Self {
        let message = "not gated: no readiness rule".to_owned();
        Self { judged: false, ..Self::new(Health::Healthy, "NoReadinessRule", message) }
    }

    fn suspended(reason: &str, message: String) -> Self {
        Self::new(Health::Suspended, reason, message)
    }

    fn progressing(reason: &str, message: String) -> Self {
        Self::new(Health::Progressing, reason, message)
    }

    fn degraded(reason: &str, message: String) -> Self {
        Self::new(Health::Degraded, reason, message)
    }

    fn failed(reason: &str, message: String) -> Self {
        Self { terminal: true, ..Self::degraded(reason, message) }
    }

    fn unknown(reason: &str, message: String) -> Self {
        Self::new(Health::Unknown, reason, message)
    }

    fn informative(self) -> Self {
        Self { gate: Gate::Informative, ..self }
    }
}

impl Completion {
    fn failed(reason: &str, message: String) -> Self {
        Self::Failed { reason: clipped(reason.to_owned(), REASON_BYTES), message: clipped(message, MESSAGE_BYTES) }
    }
}

/// Shortened to at most `most` bytes, at a character's border, with an ellipsis in place of the rest.
fn clipped(mut text: String, most: usize) -> String {
    const ELLIPSIS: char = '…';
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - ELLIPSIS.len_utf8()));
        text.push(ELLIPSIS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_is_shown_in_argo_cds_order() {
        use Health::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};
        let ascending = [Healthy, Suspended, Progressing, Missing, Degraded, Unknown];
        for (at, better) in ascending.iter().enumerate() {
            for worse in &ascending[at..] {
                assert_eq!(worst([*better, *worse]), *worse);
                assert_eq!(worst([*worse, *better]), *worse);
            }
        }
        assert_eq!(worst([]), Healthy);
    }

    #[test]
    fn a_health_is_written_as_its_word() {
        for health in [Health::Healthy, Health::Suspended, Health::Progressing, Health::Missing, Health::Unknown] {
            assert_eq!(serde_json::to_value(health).expect("a word"), Value::String(health.to_string()));
        }
        assert_eq!(format!("{:>9}|", Health::Degraded), " Degraded|");
    }

    #[test]
    fn kinds_that_are_done_once_applied_are_watched_without_their_bodies() {
        for (group, kind) in [
            ("", "ConfigMap"),
            ("", "Secret"),
            ("", "ServiceAccount"),
            ("", "Namespace"),
            ("", "PersistentVolume"),
            ("", "ReplicationController"),
            ("rbac.authorization.k8s.io", "ClusterRole"),
            ("networking.k8s.io", "NetworkPolicy"),
            ("storage.k8s.io", "StorageClass"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
            ("scheduling.k8s.io", "PriorityClass"),
            ("apps", "ControllerRevision"),
        ] {
            assert!(!has_rule(group, kind), "{group} {kind}");
            assert_eq!(rule_version(group, kind), None);
        }
    }

    #[test]
    fn kinds_of_foreign_groups_are_watched_with_their_bodies_even_if_named_like_built_in_ones() {
        for (group, kind) in [
            ("example.com", "ConfigMap"),
            ("serving.knative.dev", "Service"),
            ("gateway.networking.k8s.io", "Gateway"),
            ("snapshot.storage.k8s.io", "VolumeSnapshot"),
            ("swell.dev", "Application"),
        ] {
            assert!(has_rule(group, kind), "{group} {kind}");
            assert!(!tracks_generation(group, kind));
            assert_eq!(rule_version(group, kind), None);
        }
        assert!(!runs_to_end("batch.volcano.sh", "Job"));
    }

    #[test]
    fn a_kind_is_watched_at_the_version_its_rule_is_written_for() {
        assert_eq!(rule_version("apps", "Deployment"), Some("v1"));
        assert_eq!(rule_version("autoscaling", "HorizontalPodAutoscaler"), Some("v2"));
        assert_eq!(rule_version("extensions", "Ingress"), Some("v1beta1"));
        assert_eq!(rule_version("argoproj.io", "Workflow"), Some("v1alpha1"));
        assert_eq!(rule_version("tekton.dev", "TaskRun"), None);
    }

    #[test]
    fn v5_jobs_pods_workflows_and_tekton_runs_come_to_an_end() {
        for (group, kind) in [
            ("batch", "Job"),
            ("", "Pod"),
            ("argoproj.io", "Workflow"),
            ("tekton.dev", "PipelineRun"),
            ("tekton.dev", "TaskRun"),
            ("tekton.dev", "CustomRun"),
        ] {
            assert!(runs_to_end(group, kind), "{group} {kind}");
        }
        for (group, kind) in [("batch", "CronJob"), ("apps", "Deployment"), ("argoproj.io", "Rollout"), ("", "Job")] {
            assert!(!runs_to_end(group, kind), "{group} {kind}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let cut = clipped("ü".repeat(400), MESSAGE_BYTES);
        assert!(cut.len() <= MESSAGE_BYTES && cut.len() > MESSAGE_BYTES - 4, "{}", cut.len());
        assert!(cut.ends_with("ü…"));
        assert_eq!(clipped("as it was".to_owned(), 9), "as it was");
    }
}
