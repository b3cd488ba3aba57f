//! What will go wrong with a plan though no manifest of it is wrong: hooks that need an object which comes only after them (F43).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::object::ObjectKey;
use super::plan::{Plan, Work};
use super::settings::Phase;
use super::yaml::Position;

/// A hook that uses an object which its own plan brings only in a later stage (F43).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateReference {
    /// The hook, a Job or a Pod.
    pub hook: Place,
    /// How it uses the object, such as `envFrom of container migrate`.
    pub field: String,
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

/// Both objects with their positions, what will happen, and what would be right.
impl fmt::Display for LateReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hook, field, provider } = self;
        let same_source = hook.position.source == provider.position.source;
        let there =
            Position { source: provider.position.source.clone().filter(|_| !same_source), ..provider.position.clone() };
        write!(
            f,
            "{}: {}, a hook of {} wave {}, uses {}",
            hook.position, hook.key, hook.phase, hook.wave, provider.key
        )?;
        write!(f, " ({field}), which comes only in {} wave {} ({there}): ", provider.phase, provider.wave)?;
        f.write_str("at a first deployment the hook waits for it in vain; ")?;
        write!(f, "make the {} a hook of a stage before the {}", provider.key.kind.kind, hook.key.kind.kind)?;
        if provider.key.kind.is("", "ConfigMap") || provider.key.kind.is("", "Secret") {
            f.write_str(", or say optional: true where it is used")?;
        }
        Ok(())
    }
}

/// The hooks of a sync's plan that use what only a later stage brings, in the order of the plan; each pair of hook and object once.
///
/// Looked at are Jobs and Pods, and in them the ServiceAccount, ConfigMaps, Secrets and PersistentVolumeClaims that their pods cannot
/// start without. An object that the plan does not bring at all may be in the cluster: nothing is said of it. What comes in the
/// same stage is in time, because the kinds in question are applied before Jobs and Pods or are waited for by the kubelet.
pub fn late_references(plan: &Plan) -> Vec<LateReference> {
    let places: Vec<(Place, &Work)> = plan
        .stages
        .iter()
        .chain(&plan.sync_fail)
        .flat_map(|stage| stage.tasks.iter().map(move |task| (stage, task)))
        .filter_map(|(stage, task)| {
            let position = task.manifest()?.position.clone();
            Some((Place { key: task.key.clone(), phase: stage.phase, wave: stage.wave, position }, &task.work))
        })
        .collect();
    let mut first: BTreeMap<&ObjectKey, &Place> = BTreeMap::new();
    for (place, _) in &places {
        // Stages come in order, so the first one stays.
        first.entry(&place.key).or_insert(place);
    }
    let mut late = Vec::new();
    for (hook, work) in &places {
        let Work::Hook(manifest) = work else { continue };
        let mut seen = Vec::new();
        for Reference { kind, name, field } in pod_spec(&hook.key, &manifest.body).map(references).unwrap_or_default() {
            let key = ObjectKey::new("", kind, hook.key.namespace.as_deref(), &name);
            let Some(provider) = first.get(&key) else { continue };
            if (provider.phase, provider.wave) > (hook.phase, hook.wave) && !seen.contains(&key) {
                late.push(LateReference { hook: hook.clone(), field, provider: (*provider).clone() });
                seen.push(key);
            }
        }
    }
    late
}

/// One use of an object of the core group by a pod, without which the pod does not start.
struct Reference {
    kind: &'static str,
    name: String,
    field: String,
}

fn pod_spec<'a>(key: &ObjectKey, body: &'a Value) -> Option<&'a Value> {
    if key.kind.is("batch", "Job") {
        body.pointer("/spec/template/spec")
    } else if key.kind.is("", "Pod") {
        body.get("spec")
    } else {
        None
    }
}

fn references(pod: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    // `serviceAccount` is the old name of the field. The account `default` is made by Kubernetes in every namespace.
    let account = text(pod, "serviceAccountName").or_else(|| text(pod, "serviceAccount"));
    if let Some(name) = account.filter(|name| *name != "default") {
        found.push(Reference { kind: "ServiceAccount", name: name.to_owned(), field: "serviceAccountName".to_owned() });
    }
    for secret in list(pod, "imagePullSecrets") {
        found.extend(required("Secret", Some(secret), "name", "imagePullSecrets"));
    }
    for container in list(pod, "initContainers").chain(list(pod, "containers")) {
        let of = format!("of container {}", text(container, "name").unwrap_or("without a name"));
        for from in list(container, "envFrom") {
            let field = format!("envFrom {of}");
            found.extend(required("ConfigMap", from.get("configMapRef"), "name", &field));
            found.extend(required("Secret", from.get("secretRef"), "name", &field));
        }
        for variable in list(container, "env") {
            let field = format!("env {} {of}", text(variable, "name").unwrap_or_default());
            found.extend(required("ConfigMap", variable.pointer("/valueFrom/configMapKeyRef"), "name", &field));
            found.extend(required("Secret", variable.pointer("/valueFrom/secretKeyRef"), "name", &field));
        }
    }
    for volume in list(pod, "volumes") {
        let field = format!("volume {}", text(volume, "name").unwrap_or_default());
        found.extend(required("ConfigMap", volume.get("configMap"), "name", &field));
        found.extend(required("Secret", volume.get("secret"), "secretName", &field));
        found.extend(required("PersistentVolumeClaim", volume.get("persistentVolumeClaim"), "claimName", &field));
        for source in volume.get("projected").into_iter().flat_map(|projected| list(projected, "sources")) {
            found.extend(required("ConfigMap", source.get("configMap"), "name", &field));
            found.extend(required("Secret", source.get("secret"), "name", &field));
        }
    }
    found
}

/// The reference in the map `holder`, unless it is optional.
fn required(kind: &'static str, holder: Option<&Value>, name: &str, field: &str) -> Option<Reference> {
    let holder = holder?;
    if holder.get("optional").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    Some(Reference { kind, name: text(holder, name)?.to_owned(), field: field.to_owned() })
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
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
    fn f43_a_hook_of_two_phases_is_told_for_the_early_one_only_and_an_object_once() {
        let pod = "{volumes: [{name: v, configMap: {name: x}}, {name: w, configMap: {name: x}}]}";
        let told = late(&(hook("PreSync,PostSync", 0, pod) + &object("ConfigMap", "x", "")));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("a hook of PreSync wave 0") && told[0].contains("(volume v)"), "{told:?}");
    }
}
