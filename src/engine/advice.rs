//! What will go wrong with a plan though no manifest of it is wrong: what its pods need comes only after them (F43).

mod pods;
mod rights;
mod services;
mod waves;

use std::collections::BTreeMap;
use std::fmt;

use self::pods::Reference;
use super::desired::{Manifest, Problem};
use super::finding::{Part, Remark, Rule, See};
use super::object::ObjectKey;
use super::plan::{Plan, Work};
use super::settings::Phase;
use super::yaml::Position;

pub use self::waves::notes;

/// Pods that use an object which their own plan brings only in a later stage (F43).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateReference {
    /// The hook or workload that the pods belong to.
    pub user: Place,
    /// Whether that is a hook.
    pub is_hook: bool,
    /// How it uses the object, such as `envFrom of container migrate`.
    pub field: String,
    /// The object's name in the manifest.
    pub part: Part,
    /// The object that it uses, at the first stage that brings it.
    pub provider: Place,
}

/// An object of a plan: the stage that it belongs to, and where its manifest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The object.
    pub key: ObjectKey,
    /// Phase of its stage.
    pub phase: Phase,
    /// Wave of its stage.
    pub wave: i64,
    /// Where the manifest stands.
    pub position: Position,
}

impl Place {
    fn stage(&self) -> (Phase, i64) {
        (self.phase, self.wave)
    }

    /// Where it stands, for a reader of the other one's place.
    fn seen_from(&self, other: &Self) -> Position {
        let source = self.position.source.clone().filter(|_| self.position.source != other.position.source);
        Position { source, ..self.position.clone() }
    }

    /// The place for the reader who wants to look it up.
    fn see(&self) -> See {
        let label = format!("comes only in {} wave {}", self.phase, self.wave);
        See { position: self.position.clone(), part: Part::Object, label }
    }
}

/// Without the position of the user.
struct Message<'a>(&'a LateReference);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LateReference { user, is_hook, field, provider, .. } = self.0;
        let (what, comma, waits) = if *is_hook { (", a hook", ",", "the hook") } else { ("", "", "its stage") };
        write!(f, "{}{what} of {} wave {}{comma} uses {}", user.key, user.phase, user.wave, provider.key)?;
        write!(f, " ({field}), which comes only in {} wave {}", provider.phase, provider.wave)?;
        write!(f, " ({}): at a first deployment {waits} waits for it in vain; ", provider.seen_from(user))?;
        let kind = &provider.key.kind.kind;
        if *is_hook {
            write!(f, "make the {kind} a hook of a stage before the {}", user.key.kind.kind)?;
        } else {
            write!(f, "bring the {kind} in {} wave {} or before", user.phase, user.wave)?;
        }
        if provider.key.kind.is("", "ConfigMap") || provider.key.kind.is("", "Secret") {
            f.write_str(", or say optional: true where it is used")?;
        }
        Ok(())
    }
}

/// Both objects with their positions, what will happen, and what would be right.
impl fmt::Display for LateReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.user.position, Message(self))
    }
}

/// Whatever pods of a sync's plan need that only a later stage brings: objects, rights, Services.
pub fn advice(plan: &Plan) -> Vec<Problem> {
    let references = late_references(plan).into_iter().map(|late| {
        let message = Message(&late).to_string();
        let remark = Remark { rule: Rule::LateReference, part: late.part, message };
        Problem { see: Some(late.provider.see()), ..remark.at(&late.user.position, None) }
    });
    let places = Places::of(plan);
    references.chain(rights::late_rights(&places)).chain(services::late_services(&places)).collect()
}

/// What has a place in a plan, in its order.
struct Places<'a> {
    all: Vec<Placed<'a>>,
}

struct Placed<'a> {
    place: Place,
    manifest: &'a Manifest,
    /// A hook, and whether it runs to an end.
    hook: Option<bool>,
}

impl<'a> Places<'a> {
    fn of(plan: &'a Plan) -> Self {
        let tasks =
            plan.stages.iter().chain(&plan.sync_fail).flat_map(|stage| stage.tasks.iter().map(move |t| (stage, t)));
        let all = tasks.filter_map(|(stage, task)| {
            let manifest = task.manifest()?;
            let position = manifest.position.clone();
            let place = Place { key: task.key.clone(), phase: stage.phase, wave: stage.wave, position };
            let hook = matches!(task.work, Work::Hook(_)).then(|| task.is_running_hook());
            Some(Placed { place, manifest, hook })
        });
        Self { all: all.collect() }
    }

    /// Each object at the first stage that brings it.
    fn first(&self) -> BTreeMap<&ObjectKey, &Place> {
        let mut first = BTreeMap::new();
        for placed in &self.all {
            // Stages come in order, so the first one stays.
            first.entry(&placed.place.key).or_insert(&placed.place);
        }
        first
    }
}

impl Placed<'_> {
    /// Whether a stage waits for its pods.
    fn is_waited_for(&self) -> bool {
        let settings = &self.manifest.settings;
        let spec = |field: &str| self.manifest.body.pointer(&format!("/spec/{field}"));
        let idle = spec("replicas").and_then(serde_json::Value::as_i64) == Some(0)
            || spec("suspend").and_then(serde_json::Value::as_bool) == Some(true);
        self.hook == Some(true) || !(idle || settings.ignore_health || settings.gate == Some(false))
    }
}

/// The hooks and workloads of a sync's plan that use what only a later stage brings, in the order of the plan; each pair of two objects
/// once.
///
/// Looked at are Jobs, Pods and the workloads of `apps` that a stage waits for, and in them the ServiceAccount, ConfigMaps, Secrets and
/// PersistentVolumeClaims that their pods cannot start without. An object that the plan does not bring at all may be in the cluster:
/// nothing is said of it. What comes in the same stage is in time, because the kinds in question are applied before or are waited for
/// by the kubelet.
pub fn late_references(plan: &Plan) -> Vec<LateReference> {
    let places = Places::of(plan);
    let first = places.first();
    let mut late = Vec::new();
    for placed in places.all.iter().filter(|placed| placed.is_waited_for()) {
        let user = &placed.place;
        let mut seen = Vec::new();
        for Reference { kind, name, field, path } in pods::references(&user.key, &placed.manifest.body) {
            let key = ObjectKey::new("", kind, user.key.namespace.as_deref(), &name);
            let Some(provider) = first.get(&key) else { continue };
            if provider.stage() > user.stage() && !seen.contains(&key) {
                let (user, provider, part) = (user.clone(), (*provider).clone(), Part::Value(path));
                late.push(LateReference { user, is_hook: placed.hook.is_some(), field, part, provider });
                seen.push(key);
            }
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use super::super::desired::{Context, desired};
    use super::super::kinds::Kinds;
    use super::super::live::Members;
    use super::super::object::Owner;
    use super::super::plan::Options;
    use super::super::yaml;
    use super::*;

    fn late(text: &str) -> Vec<String> {
        let (owner, kinds) = (Owner::new("shop", "web"), Kinds::builtin());
        let context = Context::new(&owner, "shop", &kinds);
        let desired = desired(yaml::parse(None, text, &yaml::Limits::default()).unwrap(), context).unwrap();
        let plan = Plan::sync(&desired, &Members::new(), &owner, "shop", &Options::default(), &|_, _| None);
        late_references(&plan).iter().map(ToString::to_string).collect()
    }

    fn hook(phase: &str, wave: i64, pod: &str) -> String {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations:\n    swell.dev/hook: {phase}\n    swell.dev/wave: '{wave}'\nspec: {{template: {{spec: {pod}}}}}\n---\n"
        )
    }

    fn object(kind: &str, name: &str, annotations: &str) -> String {
        format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n---\n")
    }

    #[test]
    fn f43_a_hook_that_uses_what_only_a_later_phase_brings_is_told_with_both_names_and_places() {
        let source = hook("PreSync", 0, "{containers: [{name: sql, envFrom: [{configMapRef: {name: settings}}]}]}")
            + &object("ConfigMap", "settings", "");
        assert_eq!(
            late(&source),
            [
                "document 1, line 1: Job shop/migrate, a hook of PreSync wave 0, uses ConfigMap shop/settings (envFrom of container sql), which comes only in Sync wave 0 (document 2, line 10): at a first deployment the hook waits for it in vain; make the ConfigMap a hook of a stage before the Job, or say optional: true where it is used"
            ]
        );
    }

    #[test]
    fn f43_every_way_to_use_an_object_counts() {
        for (kind, pod) in [
            ("ServiceAccount", "{serviceAccountName: x}"),
            ("ServiceAccount", "{serviceAccount: x}"),
            ("Secret", "{imagePullSecrets: [{name: x}]}"),
            ("Secret", "{containers: [{name: a, envFrom: [{secretRef: {name: x}}]}]}"),
            ("Secret", "{containers: [{name: a, env: [{name: A, valueFrom: {secretKeyRef: {name: x, key: y}}}]}]}"),
            ("ConfigMap", "{initContainers: [{name: a, envFrom: [{configMapRef: {name: x}}]}]}"),
            (
                "ConfigMap",
                "{containers: [{name: a, env: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: y}}}]}]}",
            ),
            ("ConfigMap", "{volumes: [{name: v, configMap: {name: x}}]}"),
            ("Secret", "{volumes: [{name: v, secret: {secretName: x}}]}"),
            ("PersistentVolumeClaim", "{volumes: [{name: v, persistentVolumeClaim: {claimName: x}}]}"),
            ("ConfigMap", "{volumes: [{name: v, projected: {sources: [{configMap: {name: x}}]}}]}"),
            ("Secret", "{volumes: [{name: v, projected: {sources: [{secret: {name: x}}]}}]}"),
        ] {
            assert_eq!(late(&(hook("PreSync", 0, pod) + &object(kind, "x", ""))).len(), 1, "{kind} {pod}");
        }
    }

    #[test]
    fn f43_a_later_wave_of_the_same_phase_counts_and_the_same_or_an_earlier_one_does_not() {
        let pod = "{volumes: [{name: v, configMap: {name: x}}]}";
        for (wave, warnings) in [(-1, 0), (0, 0), (1, 1)] {
            let provider = object("ConfigMap", "x", &format!("swell.dev/hook: PreSync, swell.dev/wave: '{wave}'"));
            assert_eq!(late(&(hook("PreSync", 0, pod) + &provider)).len(), warnings, "wave {wave}");
        }
    }

    #[test]
    fn f43_what_is_optional_comes_before_or_is_not_of_this_source_is_no_reason_to_warn() {
        let settings = object("ConfigMap", "x", "");
        for (phase, pod) in [
            ("PreSync", "{volumes: [{name: v, configMap: {name: x, optional: true}}]}"),
            ("PreSync", "{volumes: [{name: v, configMap: {name: elsewhere}}]}"),
            ("PreSync", "{serviceAccountName: default}"),
            ("PostSync", "{volumes: [{name: v, configMap: {name: x}}]}"),
            ("SyncFail", "{volumes: [{name: v, configMap: {name: x}}]}"),
        ] {
            let account = object("ServiceAccount", "default", "");
            assert_eq!(late(&(hook(phase, 0, pod) + &settings + &account)), [""; 0], "{phase} {pod}");
        }
    }

    #[test]
    fn f43_a_workload_that_its_stage_waits_for_needs_its_objects_in_time_too() {
        let workload = |kind: &str, annotations: &str, more: &str| {
            format!(
                "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web, annotations: {{{annotations}}}}}\nspec: {{{more}template: {{spec: {{volumes: [{{name: v, secret: {{secretName: x}}}}]}}}}}}\n---\n"
            )
        };
        let secret = object("Secret", "x", "swell.dev/wave: '2'");
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
            let told = late(&(workload(kind, "swell.dev/wave: '1'", "") + &secret));
            assert_eq!(told.len(), 1, "{kind}: {told:?}");
            assert!(
                told[0].contains(&format!("{kind} shop/web of Sync wave 1 uses Secret shop/x (volume v)")),
                "{told:?}"
            );
            assert!(
                told[0].ends_with("bring the Secret in Sync wave 1 or before, or say optional: true where it is used")
            );
        }
        for (annotations, more) in [
            ("swell.dev/wave: '2'", ""),
            ("swell.dev/gate: 'false'", ""),
            ("argocd.argoproj.io/ignore-healthcheck: 'true'", ""),
            ("", "replicas: 0, "),
        ] {
            assert_eq!(late(&(workload("Deployment", annotations, more) + &secret)), [""; 0], "{annotations} {more}");
        }
    }

    #[test]
    fn f43_a_hook_of_two_phases_is_told_for_the_early_one_only_and_an_object_once() {
        let pod = "{volumes: [{name: v, configMap: {name: x}}, {name: w, configMap: {name: x}}]}";
        let told = late(&(hook("PreSync,PostSync", 0, pod) + &object("ConfigMap", "x", "")));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("a hook of PreSync wave 0") && told[0].contains("(volume v)"), "{told:?}");
    }
}
