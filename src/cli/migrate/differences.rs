//! What would behave otherwise than under Argo CD: the V rows of `docs/rules.md` that an Application and its objects really meet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::report::{ObjectRows, Row};
use crate::api::annotations as keys;
use crate::api::{Application, GROUP, KIND, Phase};
use crate::engine::desired::{Desired, Manifest};
use crate::engine::health::{self, is_custom};
use crate::engine::kinds::{barrier, is_precious, is_ranked_elsewhere};
use crate::engine::plan::{Options, Plan, Stage, Task, Work};
use crate::engine::settings::{Class, DeletePolicy, csv, is_deletion};

/// An Application as it was written, and its plan.
pub(super) struct Written<'a> {
    pub(super) application: &'a Application,
    pub(super) desired: &'a Desired,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
}

impl Written<'_> {
    fn has_option(&self, option: &str) -> bool {
        self.application.sync_options().iter().any(|own| own == option)
    }

    fn hooks(&self) -> impl Iterator<Item = &Manifest> {
        self.desired.manifests.iter().map(|manifest| &**manifest).filter(|manifest| is_hook(manifest))
    }

    /// The differences of the Application as a whole.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let stages = &self.plan.stages;
        let has_hooks = stages.iter().any(|stage| stage.tasks.iter().any(|task| matches!(task.work, Work::Hook(_))));
        let automated = self.application.automated();
        let retry = self.application.retry();
        rows.extend(self.last_stage());
        if stages.iter().flat_map(|stage| &stage.tasks).any(|task| task.manifest().is_some_and(|m| is_waited_for(m))) {
            rows.push(Row::new(
                "V2",
                "every wait has a deadline: an attempt 1h, a stage 10m, a hook 30m; spec.syncPolicy.timeouts and swell.dev/timeout set others",
            ));
        }
        if self.plan.sync_fail.len() > 1 {
            rows.push(Row::new(
                "V8",
                "SyncFail hooks run wave by wave, not all at once; one that fails stops none of the later ones",
            ));
        }
        if !self.plan.sync_fail.is_empty() && stages.iter().any(is_mixed) {
            rows.push(Row::new("V9", "SyncFail waits until hooks of the failed wave that still run have ended"));
        }
        if retry.limit != Some(0) {
            let first = crate::api::Duration::from(retry.duration);
            rows.push(Row::new("V10", format!("the pauses between attempts are what the backoff says, from {first} on; there each is one step longer")));
        }
        if self
            .hooks()
            .any(|hook| hook.generate_name.is_none() && hook.settings.phases().iter().any(|p| !is_deletion(*p)))
        {
            rows.push(Row::new(
                "V12",
                "a hook object that its policy has left is deleted after a success once its manifest is gone",
            ));
        }
        if has_hooks || stages.len() > 1 {
            rows.push(Row::new(
                "V14",
                "before the first write everything is rehearsed by a server-side dry run, admission included",
            ));
        }
        if !self.has_option("ServerSideApply=true") && !self.desired.manifests.is_empty() {
            rows.push(Row::new(
                "V15",
                "everything is applied on the server's side; Argo CD does so with ServerSideApply=true only",
            ));
        }
        if self.options.prune {
            rows.push(Row::new(
                "V20",
                "prunes come after the objects of their stage are healthy; PruneFirst=true gives Argo CD's order",
            ));
        }
        if automated.enabled && (has_hooks || stages.len() > 1 || retry.limit != Some(0)) {
            rows.push(Row::new("V21", "a newer revision supersedes an operation that waits or retries at once; hooks that run are finished first"));
        }
        if self.has_option("ApplyOutOfSyncOnly=true") {
            rows.push(Row::new(
                "V23",
                "ApplyOutOfSyncOnly changes nothing: what is unchanged is never written, and always waited for",
            ));
        }
        rows.extend(together(stages));
        if self.application.sync_options().iter().any(|option| option.starts_with("FailOnSharedResource=")) {
            rows.push(Row::new(
                "V25",
                "FailOnSharedResource is always on: no Application takes an object of another one",
            ));
        }
        if self.application.spec.revision_history_limit.is_some() {
            rows.push(Row::new(
                "V31",
                "the history has the ended operations of every outcome, not only the successful ones",
            ));
        }
        if automated.enabled && automated.self_heal {
            rows.push(Row::new("V32", "drift is undone at once; the repairs become rare only against somebody who undoes them within a second"));
        }
        rows
    }

    /// V1: only a last stage without hooks was not waited for.
    fn last_stage(&self) -> Option<Row> {
        let stage = self.plan.stages.last()?;
        let has_hook = stage.tasks.iter().any(|task| matches!(task.work, Work::Hook(_)));
        let held: Vec<_> = stage
            .tasks
            .iter()
            .filter(|task| task.manifest().is_some_and(|manifest| is_waited_for(manifest)))
            .map(|task| task.key.to_string())
            .collect();
        if has_hook || held.is_empty() || !self.options.wait_for_health {
            return None;
        }
        let (named, more) = (held.iter().take(3).cloned().collect::<Vec<_>>().join(", "), held.len().saturating_sub(3));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(Row::new(
            "V1",
            format!(
                "the last stage ({} {}) is waited for until {named}{more} {} healthy; WaitForHealth=false does not",
                stage.phase,
                stage.wave,
                if held.len() == 1 { "is" } else { "are" }
            ),
        ))
    }

    /// The differences of each object that has any, in the order of the source.
    pub(super) fn objects(&self) -> Vec<ObjectRows> {
        let ties = self.ties();
        let place = |manifest: &Manifest| {
            let source = manifest.position.source.as_deref().unwrap_or_default();
            format!("{source}, line {}", manifest.position.line)
        };
        let found = self.desired.manifests.iter().map(|manifest| {
            let mut rows = Self::of_object(manifest);
            rows.extend(ties.get(&manifest.key.to_string()).map(|other| {
                Row::new("V22", format!("{other} has the same wave, kind and name: here the namespace decides their order, there chance does"))
            }));
            rows.sort_by_key(|row| row.id[1..].parse::<u8>().unwrap_or(u8::MAX));
            ObjectRows { object: named(manifest), place: place(manifest), rows }
        });
        found.filter(|object| !object.rows.is_empty()).collect()
    }

    fn of_object(manifest: &Manifest) -> Vec<Row> {
        let mut rows = Vec::new();
        if is_hook(manifest) {
            Self::of_hook(manifest, &mut rows);
        } else if let Class::Skipped(_) = manifest.settings.class {
            return rows;
        }
        of_kind(manifest, &mut rows);
        of_options(manifest, &mut rows);
        rows
    }

    fn of_hook(hook: &Manifest, rows: &mut Vec<Row>) {
        let policies = &hook.settings.delete_policies;
        let before = policies.contains(&DeletePolicy::BeforeHookCreation);
        let phases = hook.settings.phases();
        let in_sync = phases.iter().any(|phase| !is_deletion(*phase));
        if in_sync {
            match (hook.runs_to_end, before) {
                (true, false) if !policies.is_empty() && hook.generate_name.is_none() => rows.push(Row::new(
                    "V5",
                    "an object that an earlier run has left never counts: it is deleted and the hook runs anew; swell.dev/run: Once lets it run once ever",
                )),
                (false, false) if policies.is_empty() => rows.push(Row::new(
                    "V5",
                    "it does not run to an end, so it is applied in place; Argo CD deletes it and makes it anew at each sync",
                )),
                (false, true) if is_precious(&hook.key.kind) => rows.push(Row::new(
                    "V5",
                    format!("a {} is never deleted to be made anew, whatever BeforeHookCreation says", hook.key.kind.kind),
                )),
                _ => {}
            }
            rows.extend(outcome(hook));
        }
        if phases.contains(&Phase::SyncFail) {
            rows.push(Row::new("V7", "it also runs after a passed deadline and when the last wave fails; not after a failed rehearsal, nor on terminate"));
        }
        rows.extend(deletion(hook));
        if hook.generate_name.is_some() {
            rows.push(Row::new(
                "V12",
                "of its objects the last three of each outcome are kept; Argo CD leaves them all",
            ));
        }
        let finalizers = hook.body.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
        if finalizers.filter_map(Value::as_str).any(|finalizer| finalizer == keys::ARGO_HOOK_FINALIZER) {
            rows.push(Row::new(
                "V4",
                format!(
                    "the finalizer {} is in its manifest: nobody takes it off here; take it out",
                    keys::ARGO_HOOK_FINALIZER
                ),
            ));
        }
    }

    /// Objects that Argo CD's order does not tell apart: the same stage, kind and name.
    fn ties(&self) -> BTreeMap<String, String> {
        let mut first: BTreeMap<(usize, String, String), String> = BTreeMap::new();
        let mut ties = BTreeMap::new();
        for (number, stage) in self.plan.stages.iter().enumerate() {
            for task in &stage.tasks {
                let name = task.key.to_string();
                let same = (number, task.key.kind.kind.to_string(), task.key.name.to_string());
                if let Some(other) = first.get(&same) {
                    ties.insert(name, other.clone());
                } else {
                    first.insert(same, name);
                }
            }
        }
        ties
    }
}

/// V6: what the policies that follow an outcome mean.
fn outcome(hook: &Manifest) -> Option<Row> {
    let policies = &hook.settings.delete_policies;
    let (succeeded, failed) =
        (policies.contains(&DeletePolicy::HookSucceeded), policies.contains(&DeletePolicy::HookFailed));
    let text = match (hook.runs_to_end, succeeded, failed) {
        (_, false, false) => return None,
        (true, true, false) => {
            "deleted as soon as its own success is recorded (HookSucceeded), also when the operation fails later"
        }
        (true, false, true) => "deleted as soon as it has failed itself (HookFailed), not when something else has",
        (true, true, true) => {
            "deleted as soon as it has ended itself (HookSucceeded, HookFailed), not when the operation has"
        }
        (false, _, _) => "deleted when its operation ends, by its own outcome, since later hooks may need it",
    };
    Some(Row::new("V6", text))
}

/// V11.
fn deletion(hook: &Manifest) -> Option<Row> {
    let phases = hook.settings.phases();
    let (before, after) = (phases.contains(&Phase::PreDelete), phases.contains(&Phase::PostDelete));
    let stays = hook.settings.delete_policies.is_empty();
    let text = match (before, after) {
        (false, false) => return None,
        (true, _) => {
            "waves, deadlines and policies count for it too; when it fails the objects stay, and it is tried again"
        }
        (false, true) if stays => {
            "waves and deadlines count for it too; without a policy it goes once the deletion has succeeded, there it stays"
        }
        (false, true) => "waves, deadlines and policies count for it as for every other hook",
    };
    Some(Row::new("V11", text))
}

/// What hangs on the kind.
fn of_kind(manifest: &Manifest, rows: &mut Vec<Row>) {
    let kind = &manifest.key.kind;
    let (group, name) = (&*kind.group, &*kind.kind);
    let hook = is_hook(manifest);
    let suspended = manifest.body.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
    if kind.is("batch", "Job") {
        if suspended {
            rows.push(Row::new(
                "V13",
                "once it is resumed it is Progressing until it has ended; Argo CD calls it Healthy at once",
            ));
        }
        if !hook {
            rows.push(Row::new(
                "V19",
                "once it has ended at this content it stays done, also when its object is gone; Argo CD runs it again",
            ));
        }
    }
    if kind.is(GROUP, KIND) {
        rows.push(Row::new(
            "V16",
            "its stage waits until this Application is Ready; Argo CD does not wait for one inside another",
        ));
    } else if is_by_conditions(manifest) && is_waited_for(manifest) {
        rows.push(Row::new(
            "V16",
            "waited for until its standard conditions say Ready; Argo CD takes it for done at once, unless it has a script for the kind; spec.healthChecks gives a rule",
        ));
    }
    rows.extend(of_gate(manifest));
    let degraded_for_a_while = matches!(
        (group, name),
        ("apps", "ReplicaSet")
            | ("batch", "CronJob")
            | ("policy", "PodDisruptionBudget")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    ) || (kind.is("", "Pod") && !hook);
    if degraded_for_a_while && is_waited_for(manifest) {
        rows.push(Row::new("V18", "Degraded fails its wave only after it has lasted 10 s"));
    }
    if is_ranked_elsewhere(kind) {
        rows.push(Row::new("V22", format!("sorted as a custom resource, not as the built-in {name}")));
    }
    match (group, name) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => rows.push(Row::new(
            "V27",
            "pruned only if the live object says Prune=true, deleted with the Application only if it says Delete=true",
        )),
        ("", "Namespace") if !hook => {
            rows.push(Row::new("V27", "neither pruned nor deleted while it holds objects of another Application"));
        }
        _ => {}
    }
}

/// V17: what holds a wave there and not here.
fn of_gate(manifest: &Manifest) -> Option<Row> {
    if manifest.settings.ignore_health {
        return Some(Row::new("V17", "ignore-healthcheck also frees its wave: it is applied and not waited for"));
    }
    if manifest.settings.gate.is_some() {
        return None;
    }
    let kind = &manifest.key.kind;
    let balancer = manifest.body.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer");
    let text = match (&*kind.group, &*kind.kind) {
        ("", "PersistentVolumeClaim") => "while it waits for its first consumer it holds no wave",
        ("", "Service") if balancer => "without an address it holds no wave, unless swell.dev/gate: \"true\"",
        ("networking.k8s.io" | "extensions", "Ingress") => {
            "without an address it holds no wave, unless swell.dev/gate: \"true\""
        }
        ("autoscaling", "HorizontalPodAutoscaler") => "it holds and fails no wave, unless swell.dev/gate: \"true\"",
        _ => return None,
    };
    Some(Row::new("V17", text))
}

/// V15: options of the object, and what server-side apply does not take.
fn of_options(manifest: &Manifest, rows: &mut Vec<Row>) {
    let annotation = manifest.body.pointer("/metadata/annotations").and_then(|a| a.get(keys::ARGO_SYNC_OPTIONS));
    let options = annotation.and_then(Value::as_str).map(csv).unwrap_or_default();
    if options.contains(&"ServerSideApply=false") {
        rows.push(Row::new("V15", "ServerSideApply=false has no effect"));
    }
    let twice = duplicates(&manifest.body);
    if manifest.settings.options.validate == Some(false) {
        rows.push(Row::new("V15", "Validate=false: fields that the schema does not know are left out with a warning, of list items that are there twice the last one counts"));
    } else if !twice.is_empty() {
        rows.push(Row::new(
            "V15",
            format!(
                "server-side apply refuses what is there twice: {}; take one out, or say Validate=false",
                twice.join(", ")
            ),
        ));
    }
}

/// Items of merge lists that are there twice: client-side apply takes them, server-side apply does not.
fn duplicates(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut list = |value: &Value, path: &str, keys: &[(&str, &str)]| {
        let mut seen = BTreeSet::new();
        for item in value.as_array().into_iter().flatten() {
            let of = |(key, default): &(&str, &str)| match item.get(*key) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => (*default).to_owned(),
            };
            let identity: Vec<_> = keys.iter().map(of).collect();
            if !seen.insert(identity.clone()) {
                found.push(format!("{path} {}", identity.join("/")));
            }
        }
    };
    let null = Value::Null;
    for base in ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"] {
        let Some(pod) = body.pointer(base) else { continue };
        list(pod.get("volumes").unwrap_or(&null), "volumes", &[("name", "")]);
        for containers in ["initContainers", "containers"] {
            for container in pod.get(containers).and_then(Value::as_array).into_iter().flatten() {
                let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
                for (field, keys) in [
                    ("env", &[("name", "")][..]),
                    ("ports", &[("containerPort", ""), ("protocol", "TCP")]),
                    ("volumeMounts", &[("mountPath", "")]),
                ] {
                    list(container.get(field).unwrap_or(&null), &format!("{field} of container {name}"), keys);
                }
            }
        }
    }
    if body.get("kind").and_then(Value::as_str) == Some("Service") {
        list(body.pointer("/spec/ports").unwrap_or(&null), "ports", &[("port", ""), ("protocol", "TCP")]);
    }
    found
}

/// V24: kinds that Argo CD applies one after the other and Swell together.
fn together(stages: &[Stage]) -> Option<Row> {
    let mut found: Option<(String, Vec<String>)> = None;
    for stage in stages {
        let mut classes: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        for task in &stage.tasks {
            let kinds = classes.entry(barrier(&task.key.kind)).or_default();
            let kind = task.key.kind.kind.to_string();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let largest = classes.into_values().max_by_key(Vec::len).unwrap_or_default();
        if largest.len() > found.as_ref().map_or(1, |(_, kinds)| kinds.len()) {
            found = Some((format!("{} {}", stage.phase, stage.wave), largest));
        }
    }
    let (stage, kinds) = found?;
    Some(Row::new(
        "V24",
        format!(
            "inside a stage kinds go out together, not one after the other: in {stage} {}; waves keep what needs an order apart",
            kinds.join(", ")
        ),
    ))
}

fn is_hook(manifest: &Manifest) -> bool {
    matches!(manifest.settings.class, Class::Hook(_))
}

/// Whether a stage has a hook that runs to an end beside something else.
fn is_mixed(stage: &Stage) -> bool {
    stage.tasks.len() > 1 && stage.tasks.iter().any(Task::is_running_hook)
}

/// Whether the object's health can hold its stage.
fn is_waited_for(manifest: &Manifest) -> bool {
    let kind = &manifest.key.kind;
    !manifest.settings.ignore_health
        && manifest.settings.gate != Some(false)
        && health::has_rule(&kind.group, &kind.kind)
        && (manifest.settings.gate == Some(true) || !is_for_show(manifest))
}

/// Kinds whose health is shown and holds nothing.
fn is_for_show(manifest: &Manifest) -> bool {
    let kind = &manifest.key.kind;
    matches!(
        (&*kind.group, &*kind.kind),
        ("networking.k8s.io" | "extensions", "Ingress") | ("autoscaling", "HorizontalPodAutoscaler") | ("", "Service")
    )
}

/// Whether only the standard conditions can judge it.
fn is_by_conditions(manifest: &Manifest) -> bool {
    let kind = &manifest.key.kind;
    is_custom(&kind.group)
        && health::rule_name(&kind.group, &kind.kind).is_some_and(|rule| !rule.starts_with("built-in"))
}

/// `Kind namespace/name`, with what the name begins with where it is generated.
fn named(manifest: &Manifest) -> String {
    match &manifest.generate_name {
        Some(prefix) => manifest.key.with_name(&format!("{prefix}<generated>")).to_string(),
        None => manifest.key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_there_twice_in_a_merge_list_is_found_wherever_pods_are_described() {
        let container = json!({"name": "web", "env": [{"name": "A"}, {"name": "B"}, {"name": "A"}],
            "ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]});
        let wanted = ["env of container web A", "ports of container web 53/TCP"];
        let pod = json!({"containers": [container]});
        assert_eq!(duplicates(&json!({"kind": "Pod", "spec": pod})), wanted);
        assert_eq!(duplicates(&json!({"spec": {"template": {"spec": pod}}})), wanted);
        assert_eq!(duplicates(&json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}})), wanted);
        let service =
            json!({"kind": "Service", "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}});
        assert_eq!(duplicates(&service), ["ports 80/TCP"]);
    }
}
